//! Resources: the dominant share that fits.

use super::{Candidate, Figures, Method, Moment, Rank, Rule};

/// The agent whose scarcest resource would be used least with this task, among those in which it fits; its room counts as
/// a resource, of which a task takes one. Among equals the one that was given least so far.
///
/// An agent's dominant share is the greatest of its shares in use (Ghodsi et al. 2011 speak of users' dominant shares; here the
/// owner is the agent). To keep it small everywhere keeps every resource of every agent usable longest.
#[derive(Clone, Copy, Debug)]
pub struct Resources;

fn with_one_more(candidate: &Candidate) -> f64 {
    let room = (f64::from(candidate.in_flight) + 1.0) / f64::from(candidate.room.max(1));
    candidate.dominant.max(room)
}

impl Rule for Resources {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn method(&self) -> Method {
        Method::Least
    }

    fn rank(&self, candidate: &Candidate, _: &Moment) -> Rank {
        Rank::cost(with_one_more(candidate), candidate.assigned)
    }

    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([
            ("dominant_share", with_one_more(candidate)),
            ("in_flight", f64::from(candidate.in_flight)),
            ("room", f64::from(candidate.room)),
        ])
    }
}
