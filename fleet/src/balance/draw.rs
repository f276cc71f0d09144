//! Drawing from a pool at random.

use super::bag::Bag;
use super::pool::{Fits, Pool};
use super::seeded::Seeded;
use super::{DRAWS, Moment};

/// Draws that are tried, where something is asked beyond the capability, before all are gone through.
const PROBES: usize = 64;

/// Draws that may fail to count, because those drawn are to get less work, before one counts all the same.
const TRIES: usize = 8;

/// One that was drawn: its seat, and with what dominant share it would be left.
type Drawn = (u32, Option<f64>);

/// The few that were drawn.
#[derive(Default)]
struct Hand {
    held: [Drawn; DRAWS],
    len: usize,
}

impl Hand {
    fn drawn(&self) -> &[Drawn] {
        &self.held[..self.len]
    }

    fn has(&self, seat: u32) -> bool {
        self.drawn().iter().any(|(held, _)| *held == seat)
    }

    fn take(&mut self, drawn: Drawn) {
        self.held[self.len] = drawn;
        self.len += 1;
    }
}

impl Pool {
    /// Draws `n` different ones; the seat of the one with the least rank at this moment.
    pub(super) fn draw(
        &self,
        bag: &Bag,
        n: usize,
        mut seeded: Seeded,
        moment: &Moment,
        fits: Option<Fits<'_>>,
    ) -> Option<Drawn> {
        let n = n.min(bag.len());
        let hand = match fits {
            None => self.deal(bag, n, &mut seeded),
            Some(fits) => self
                .probe(bag, n, &mut seeded, fits)
                .unwrap_or_else(|| self.go_through(bag, n, &mut seeded, fits)),
        };
        if let [one] = hand.drawn() {
            return Some(*one);
        }
        let rank = |(seat, dominant): &Drawn| (self.rank(*seat, *dominant, moment), self.seat(*seat).slot());
        hand.drawn().iter().min_by_key(|drawn| rank(drawn)).copied()
    }

    /// Where anyone will do.
    fn deal(&self, bag: &Bag, n: usize, seeded: &mut Seeded) -> Hand {
        let mut hand = Hand::default();
        while hand.len < n {
            let mut seat = self.another(bag, &hand, seeded);
            for _ in 1..TRIES {
                if self.counts(seat, seeded) {
                    break;
                }
                seat = self.another(bag, &hand, seeded);
            }
            hand.take((seat, None));
        }
        hand
    }

    /// One that is not yet in the hand; there is one. Each with the same probability.
    fn another(&self, bag: &Bag, hand: &Hand, seeded: &mut Seeded) -> u32 {
        // Where most may be chosen, a seat at random mostly may; to look into the bag would cost as much again.
        if bag.len() >= self.seats() / 2 {
            for _ in 0..TRIES {
                let seat = seeded.below(self.seats()) as u32;
                if self.seat(seat).is_open() && !hand.has(seat) {
                    return seat;
                }
            }
        }
        loop {
            let seat = bag.at(seeded.below(bag.len()));
            if !hand.has(seat) {
                return seat;
            }
        }
    }

    /// Draws until as many fit as are wanted; or as many as there are, once it has taken long. `None`: not one.
    fn probe(&self, bag: &Bag, n: usize, seeded: &mut Seeded, fits: Fits<'_>) -> Option<Hand> {
        let mut hand = Hand::default();
        for _ in 0..PROBES {
            if hand.len == n {
                break;
            }
            let seat = bag.at(seeded.below(bag.len()));
            if hand.has(seat) {
                continue;
            }
            let Some(dominant) = fits(self.seat(seat).slot()) else { continue };
            if self.counts(seat, seeded) {
                hand.take((seat, Some(dominant)));
            }
        }
        (hand.len > 0).then_some(hand)
    }

    /// Looks at all and keeps `n` of those that fit, each with the same probability (reservoir sampling).
    fn go_through(&self, bag: &Bag, n: usize, seeded: &mut Seeded, fits: Fits<'_>) -> Hand {
        let (mut hand, mut seen, mut last_resort) = (Hand::default(), 0, None);
        for seat in (0..bag.len()).map(|place| bag.at(place)) {
            let Some(dominant) = fits(self.seat(seat).slot()) else { continue };
            let drawn = (seat, Some(dominant));
            if !self.counts(seat, seeded) {
                last_resort = Some(drawn);
                continue;
            }
            seen += 1;
            if hand.len < n {
                hand.take(drawn);
            } else if let Some(held) = hand.held[..n].get_mut(seeded.below(seen)) {
                *held = drawn;
            }
        }
        if let Some(drawn) = last_resort.filter(|_| hand.len == 0) {
            hand.take(drawn);
        }
        hand
    }

    /// Whether a draw of this one counts.
    fn counts(&self, seat: u32, seeded: &mut Seeded) -> bool {
        let weight = self.rule().weight(self.seat(seat));
        weight >= 1.0 || seeded.unit() < weight
    }
}
