//! Random: anyone.

use super::{Candidate, Figures, Method, Moment, Rule};

/// Anyone, with the same probability; one that ramps up with its share of it.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl Rule for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn method(&self) -> Method {
        Method::Draw(1)
    }

    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([("share", candidate.share)])
    }
}
