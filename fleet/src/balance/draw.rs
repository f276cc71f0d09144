//! Drawing from a pool at random.

use super::pool::{Fits, Pool};
use super::seeded::Seeded;
use super::{DRAWS, Moment};

/// Draws that are tried, where something is asked beyond the capability, before all are gone through.
const PROBES: usize = 64;

/// Draws that may fail to count, because those drawn are to get less work, before one counts all the same.
const TRIES: usize = 8;

/// One that was drawn: its place among the open ones, and with what dominant share it would be left.
type Drawn = (usize, Option<f64>);

/// The few that were drawn.
#[derive(Default)]
struct Hand {
    held: [Drawn; DRAWS],
    len: usize,
}

impl Hand {
    fn places(&self) -> impl Iterator<Item = usize> {
        self.held[..self.len].iter().map(|(place, _)| *place)
    }

    fn take(&mut self, drawn: Drawn) {
        self.held[self.len] = drawn;
        self.len += 1;
    }
}

impl Pool {
    /// Draws `n` different ones; the place of the one with the least rank at this moment.
    pub(super) fn draw(&self, n: usize, mut seeded: Seeded, moment: &Moment, fits: Option<Fits<'_>>) -> Option<Drawn> {
        let n = n.min(self.open_len());
        let hand = match fits {
            None => self.deal(n, &mut seeded),
            Some(fits) => self.probe(n, &mut seeded, fits).unwrap_or_else(|| self.sift(n, &mut seeded, fits)),
        };
        let drawn = &hand.held[..hand.len];
        if drawn.len() < 2 {
            return drawn.first().copied();
        }
        drawn.iter().min_by_key(|(place, dominant)| self.rank_of(*place, *dominant, moment)).copied()
    }

    /// Where anyone will do.
    fn deal(&self, n: usize, seeded: &mut Seeded) -> Hand {
        let mut hand = Hand::default();
        while hand.len < n {
            let mut place = 0;
            for _ in 0..TRIES {
                place = self.another(&hand, seeded);
                if self.counts(place, seeded) {
                    break;
                }
            }
            hand.take((place, None));
        }
        hand
    }

    /// One that is not yet in the hand.
    fn another(&self, hand: &Hand, seeded: &mut Seeded) -> usize {
        let mut place = seeded.below(self.open_len() - hand.len);
        let mut taken = [usize::MAX; DRAWS];
        for (at, held) in hand.places().enumerate() {
            taken[at] = held;
        }
        taken[..hand.len].sort_unstable();
        for held in &taken[..hand.len] {
            place += usize::from(place >= *held);
        }
        place
    }

    /// Draws until as many fit as are wanted; or as many as there are, once it has taken long. `None`: not one.
    fn probe(&self, n: usize, seeded: &mut Seeded, fits: Fits<'_>) -> Option<Hand> {
        let mut hand = Hand::default();
        for _ in 0..PROBES {
            let place = seeded.below(self.open_len());
            if hand.places().any(|held| held == place) {
                continue;
            }
            let Some(dominant) = fits(self.slot_at(place)) else { continue };
            if self.counts(place, seeded) {
                hand.take((place, Some(dominant)));
            }
            if hand.len == n {
                break;
            }
        }
        (hand.len > 0).then_some(hand)
    }

    /// Goes through all and keeps `n` of those that fit, each with the same probability (reservoir sampling).
    fn sift(&self, n: usize, seeded: &mut Seeded, fits: Fits<'_>) -> Hand {
        let (mut hand, mut seen, mut last_resort) = (Hand::default(), 0, None);
        for place in 0..self.open_len() {
            let Some(dominant) = fits(self.slot_at(place)) else { continue };
            let drawn = (place, Some(dominant));
            if !self.counts(place, seeded) {
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
    fn counts(&self, place: usize, seeded: &mut Seeded) -> bool {
        let weight = self.weight_at(place);
        weight >= 1.0 || seeded.unit() < weight
    }
}
