//! Random numbers that follow from the caller's.

/// SplitMix64 (Steele, Lea and Flood 2014): from one random number as many as are needed, the same ones each time.
///
/// Not for secrets.
#[derive(Clone, Copy, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Those that follow from this number.
    pub fn new(seed: u64) -> Seeded {
        Seeded(seed)
    }

    /// The next, any 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `limit`; 0 where the limit is 0. Even to within `limit` / 2^64.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next_u64()) * limit as u128) >> 64) as usize
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_published() {
        // The first outputs of the reference implementation for seed 1234567.
        let mut seeded = Seeded::new(1_234_567);
        let first: Vec<u64> = (0..5).map(|_| seeded.next_u64()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn below_stays_below() {
        let mut seeded = Seeded::new(1);
        assert_eq!(seeded.below(0), 0);
        let mut seen = [0; 7];
        for _ in 0..7_000 {
            seen[seeded.below(7)] += 1;
            assert!((0.0..1.0).contains(&seeded.unit()));
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
    }
}
