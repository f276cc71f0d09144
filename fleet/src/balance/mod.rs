//! Choosing among those that can: one small trait, and the rules that come with it.
//!
//! | rule | what it does | when to use it |
//! |---|---|---|
//! | `round_robin` | each in turn | agents and tasks much alike, and you want to see each agent used |
//! | `weighted_round_robin` | each in turn, as often as its weight says | agents of known, different strength, tasks much alike |
//! | `least_connections` | the smallest share of its room in use | the default: tasks of different length, agents whose room says how much they bear |
//! | `performance` | two at random; the one that answers sooner, is less busy and fails less | agents whose speed you do not know, or that changes |
//! | `resources` | the least loaded in its scarcest resource, among those in which the task fits | tasks that ask for memory, GPUs or the like |
//! | `random` | anyone | many coordinators that know little of each other; a yardstick for the rest |
//!
//! A rule never sees who may not be chosen: agents that are not healthy, are shut, or have no room left are not in the
//! pool when it is asked. It must not remember anything itself: what it says follows from its arguments,
//! so that the same state and the same random number give the same choice.
//!
//! Ramping up is the same for all: an agent with a share below one has its room cut to that share, gets its turn
//! that much less often, and a draw of it counts with that probability only.
//!
//! ```text
//! Need --> Registry --> Pool of (capability, rule) --Rule::rank--> Pick {who, rule, candidates, figures}
//! ```

mod bag;
mod draw;
mod heap;
mod least_connections;
mod performance;
pub(crate) mod pool;
mod random;
mod resources;
mod round_robin;
mod seeded;
mod turns;

pub use least_connections::LeastConnections;
pub use performance::Performance;
pub use random::Random;
pub use resources::Resources;
pub use round_robin::{RoundRobin, WeightedRoundRobin};
pub use seeded::Seeded;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The most agents that a rule may draw ([`Method::Draw`]).
pub const DRAWS: usize = 4;

/// A balancing rule.
///
/// An embedder adds one with [`Registry::add_rule`](crate::Registry::add_rule):
///
/// ```
/// use synod_fleet::balance::{Candidate, Figures, Method, Moment, Rank, Rule};
///
/// /// Fills one agent before it begins with the next, so that idle ones can be switched off.
/// #[derive(Debug)]
/// struct Pack;
///
/// impl Rule for Pack {
///     fn name(&self) -> &'static str {
///         "pack"
///     }
///     fn method(&self) -> Method {
///         Method::Least
///     }
///     fn rank(&self, candidate: &Candidate, _: &Moment) -> Rank {
///         Rank::new(u64::from(u32::MAX - candidate.in_flight), 0)
///     }
///     fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
///         Figures::of([("in_flight", f64::from(candidate.in_flight))])
///     }
/// }
///
/// let mut registry = synod_fleet::Registry::default();
/// registry.add_rule(std::sync::Arc::new(Pack))?;
/// registry.set_default_rule("pack")?;
/// # Ok::<(), synod_fleet::RuleError>(())
/// ```
pub trait Rule: fmt::Debug + Send + Sync {
    /// The name by which tasks ask for it, such as `least_connections`.
    fn name(&self) -> &'static str;

    /// How it goes about choosing.
    fn method(&self) -> Method;

    /// What choosing this one costs; the least is chosen, among equals the one with the lowest
    /// [`Member::number`](crate::Member::number).
    ///
    /// [`Method::Least`] asks when something about the candidate has changed, with a moment of zeros, since ranks are kept
    /// there; and a rank must not fall when `dominant` grows.
    fn rank(&self, candidate: &Candidate, moment: &Moment) -> Rank {
        let _ = (candidate, moment);
        Rank::EQUAL
    }

    /// How much work it is to get in relation to others: how often its turn comes ([`Method::Turns`]), or the
    /// probability, at most 1, that a draw of it counts ([`Method::Draw`]). Zero, less, or no number at all: never by
    /// turns, and drawn only where everyone else is so too.
    fn weight(&self, candidate: &Candidate) -> f64 {
        candidate.share
    }

    /// The figures that decided for this one, for people.
    fn figures(&self, candidate: &Candidate, moment: &Moment) -> Figures;
}

/// How a rule goes about choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The least rank of all. The pick costs nothing; a change of rank costs the logarithm of their number.
    Least,
    /// Each in turn, by weight. The pick costs the logarithm of their number.
    Turns,
    /// So many at random (1 to [`DRAWS`]); of these the least rank, asked at that moment. What it costs does not
    /// depend on their number.
    Draw(u8),
}

/// One agent that may be chosen, as a rule sees it. In one line of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub struct Candidate {
    /// The attempts that it holds.
    pub in_flight: u32,
    /// The attempts that it may hold now: its capacity, or while it ramps up a part of it. At least 1.
    pub room: u32,
    /// Its peak-sensitive average of the time an attempt takes, in µs, as of [`Candidate::heard_ms`].
    pub latency_us: f64,
    /// Its average of successes, 0 to 1, as of [`Candidate::heard_ms`].
    pub success: f32,
    /// Its slot, and in the highest bit whether it may be drawn.
    place: u32,
    heard: Option<NonZeroU64>,
    /// How far it may be used: above 0, at most 1.
    pub share: f64,
    /// Its own weight: what its label says, or else its capacity.
    pub weight: f64,
    /// The share of its scarcest resource that is in use, 0 to 1; where a task asks for resources, with the task.
    pub dominant: f64,
    /// Attempts given to it so far.
    pub assigned: u64,
}

const OPEN: u32 = 1 << 31;

impl Candidate {
    pub(crate) fn new(slot: u32) -> Candidate {
        Candidate {
            in_flight: 0,
            room: 0,
            latency_us: 0.0,
            success: 1.0,
            place: slot & !OPEN,
            heard: None,
            share: 1.0,
            weight: 1.0,
            dominant: 0.0,
            assigned: 0,
        }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.place & !OPEN
    }

    fn is_open(&self) -> bool {
        self.place & OPEN != 0
    }

    fn set_open(&mut self, open: bool) {
        self.place = if open { self.place | OPEN } else { self.place & !OPEN };
    }

    /// When an attempt last ended, in ms of the registry's time; `None` while nothing is known of its speed.
    pub fn heard_ms(&self) -> Option<u64> {
        self.heard.map(|at| at.get() - 1)
    }

    fn hear(&mut self, now_ms: u64) {
        let at = self.heard_ms().map_or(now_ms, |before| before.max(now_ms));
        self.heard = NonZeroU64::new(at.saturating_add(1));
    }
}

/// What a rule may know besides the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The registry's time, in ms.
    pub now_ms: u64,
    /// The average time that a successful attempt for this capability takes, in µs; 0 while nothing is known.
    pub typical_us: f64,
}

/// What a choice costs: two numbers, the first more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64, u64);

impl Rank {
    /// As good as anyone.
    pub const EQUAL: Rank = Rank(0, 0);

    /// By `first`, among equals by `then`.
    pub fn new(first: u64, then: u64) -> Rank {
        Rank(first, then)
    }

    /// By a cost, among equals by `then`. Below zero is zero; no number at all is the worst there is.
    pub fn cost(cost: f64, then: u64) -> Rank {
        if cost.is_nan() {
            return Rank(u64::MAX, then);
        }
        // The bits of floating-point numbers from zero up are in their order.
        Rank((cost.max(0.0) + 0.0).to_bits(), then)
    }

    pub(crate) fn turn(turn: u128) -> Rank {
        Rank((turn >> 64) as u64, turn as u64)
    }
}

/// `part / whole` as a 64-bit fraction, without a rounding that could make two different shares equal: those of numbers
/// below 2^32 lie at least 2^-64 apart. One and more, and any share of nothing, is the greatest.
pub fn fraction(part: u32, whole: u32) -> u64 {
    if part >= whole {
        return u64::MAX;
    }
    ((u128::from(part) << 64) / u128::from(whole)) as u64
}

/// A few named numbers that say why.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    held: [(&'static str, f64); Figures::LIMIT],
    len: u8,
}

impl Figures {
    /// The most there are.
    pub const LIMIT: usize = 4;

    /// These; what is beyond the limit is left out.
    pub fn of<const N: usize>(figures: [(&'static str, f64); N]) -> Figures {
        let mut all = Figures::default();
        for figure in figures.into_iter().take(Figures::LIMIT) {
            all.held[usize::from(all.len)] = figure;
            all.len += 1;
        }
        all
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.held.iter().take(usize::from(self.len)).copied()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// The rules that come with the registry; the first is the one by default.
pub(crate) fn built_in() -> Vec<Arc<dyn Rule>> {
    vec![
        Arc::new(LeastConnections),
        Arc::new(RoundRobin),
        Arc::new(WeightedRoundRobin),
        Arc::new(Performance),
        Arc::new(Resources),
        Arc::new(Random),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_shares_stay_different() {
        let big = u32::MAX;
        assert!(fraction(big - 2, big - 1) < fraction(big - 1, big));
        assert!(fraction(1, big) < fraction(1, big - 1));
        assert_eq!(fraction(1, 3), fraction(2, 6));
        assert_eq!(
            (fraction(0, 5), fraction(5, 5), fraction(7, 5), fraction(0, 0)),
            (0, u64::MAX, u64::MAX, u64::MAX)
        );
    }

    #[test]
    fn any_cost_has_its_place() {
        let ordered = [f64::NEG_INFINITY, 0.0, 1e-300, 0.5, 1.0, 1e300, f64::INFINITY, f64::NAN];
        for pair in ordered.windows(2) {
            assert!(Rank::cost(pair[0], 0) <= Rank::cost(pair[1], 0), "{pair:?}");
        }
        assert_eq!(Rank::cost(-0.0, 7), Rank::cost(-3.0, 7));
        assert!(Rank::cost(1.0, 1) < Rank::cost(1.0, 2) && Rank::cost(1.0, 9) < Rank::cost(2.0, 0));
    }

    #[test]
    fn figures_are_few() {
        let figures = Figures::of([("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)]);
        assert_eq!(figures.iter().map(|(name, _)| name).collect::<String>(), "abcd");
        assert_eq!((figures.get("b"), figures.get("e")), (Some(2.0), None));
    }
}
