//! Prints, by which histories and views are told apart.

/// One more record on top of a history.
pub(crate) fn lineage(before: u64, bytes: &[u8]) -> u64 {
    let mut print = Print(before ^ 0xcbf2_9ce4_8422_2325);
    print.bytes(bytes);
    print.0
}

/// FNV-1a, eight bytes at a time where it can: no more is asked of it than to tell two histories of one run apart.
struct Print(u64);

impl Print {
    fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            let word = u64::from_le_bytes(std::array::from_fn(|i| word[i]));
            self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        for byte in words.remainder() {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The print of a text.
pub(crate) fn hash(text: &str) -> u64 {
    lineage(0, text.as_bytes())
}
