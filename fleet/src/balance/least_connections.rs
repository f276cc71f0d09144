//! Least connections: the smallest share of its room in use.

use super::{Candidate, Figures, Method, Moment, Rank, Rule, fraction};

/// The agent with the smallest share of its room in use; among equals the one that was given least so far.
///
/// The share is exact: 3 of 9 and 1 of 3 are equal, and no rounding ever makes others so.
#[derive(Clone, Copy, Debug)]
pub struct LeastConnections;

impl Rule for LeastConnections {
    fn name(&self) -> &'static str {
        crate::LEAST_CONNECTIONS
    }

    fn method(&self) -> Method {
        Method::Least
    }

    fn rank(&self, candidate: &Candidate, _: &Moment) -> Rank {
        Rank::new(fraction(candidate.in_flight, candidate.room), candidate.assigned)
    }

    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([
            ("in_flight", f64::from(candidate.in_flight)),
            ("room", f64::from(candidate.room)),
            ("assigned", candidate.assigned as f64),
        ])
    }
}
