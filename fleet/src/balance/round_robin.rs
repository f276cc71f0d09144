//! Round robin, plain and weighted.

use super::{Candidate, Figures, Method, Moment, Rule};

/// Each in turn.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin;

impl Rule for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn method(&self) -> Method {
        Method::Turns
    }

    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([("share", candidate.share), ("assigned", candidate.assigned as f64)])
    }
}

/// Each in turn, as often as its weight says. A weight of zero: never.
///
/// The turns are those of stride scheduling (Waldspurger and Weihl 1995), which come to the weights and stay there; begun at different
/// moments, so that of weights 5, 1, 1 the first goes 5 times in 7, but not 5 times in a row.
#[derive(Clone, Copy, Debug)]
pub struct WeightedRoundRobin;

impl Rule for WeightedRoundRobin {
    fn name(&self) -> &'static str {
        "weighted_round_robin"
    }

    fn method(&self) -> Method {
        Method::Turns
    }

    fn weight(&self, candidate: &Candidate) -> f64 {
        candidate.weight * candidate.share
    }

    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([
            ("weight", candidate.weight),
            ("share", candidate.share),
            ("assigned", candidate.assigned as f64),
        ])
    }
}
