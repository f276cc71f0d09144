//! What has left memory: named here, so that the shell can find it in a view or in the ledger. A step is named by its
//! place ([`Step::place`](crate::Step::place)), and stands there or a little behind.

use crate::record::{Record, Step};
use crate::subject::Subject;
use std::ops::ControlFlow;

/// An answer that memory cannot give.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// What the command of the step with this place came to, which a repeat is answered with.
    Command {
        /// The step.
        at: u64,
    },
    /// Something as it ended.
    Entity {
        /// What.
        subject: Subject,
        /// The step by which it was made, or ended; see [`life_from`].
        at: Option<u64>,
    },
    /// Something that was made again: with this body it is answered with it, with another it is refused.
    Again {
        /// What.
        subject: Subject,
        /// The step by which it was made, or ended; see [`life_from`].
        at: u64,
        /// Fingerprint of the body of the one that came again.
        body: String,
    },
    /// Something was asked of what has ended: refused as `invalid_transition`, with how it ended.
    Over {
        /// Of what.
        subject: Subject,
        /// The step by which it was made, or ended; see [`life_from`].
        at: u64,
    },
}

/// Where a fold has to begin that is to meet something whole, by the step under whose place its id is known: where it was
/// made, which is that step for most; or at what was then the floor, if it lived for so long that the step is
/// that of its end.
pub fn life_from(offset: u64, step: &Step, subject: &Subject) -> u64 {
    if subject.body_in(step).is_some() { offset } else { step.floor }
}

/// Looks for the step that counts among those with one place: owners that were dethroned may have left others of the
/// same place behind it, or before it.
///
/// A record that counts at or behind its place has the newest claim before that place as its epoch; whoever else wrote
/// one with this place claimed earlier. So of all until the next claim it is the one with the latest epoch.
#[derive(Debug)]
pub struct Search {
    place: u64,
    found: Option<(u64, Box<Step>)>,
}

impl Search {
    /// For the step with this place.
    pub fn of(place: u64) -> Search {
        Search { place, found: None }
    }

    /// Takes the next record, from the offset `place` on. `Break`: what follows cannot change what was found.
    pub fn record(&mut self, offset: u64, bytes: &[u8]) -> ControlFlow<()> {
        match Record::read(bytes) {
            Ok(Record::Claim(_)) => return ControlFlow::Break(()),
            Ok(Record::Step(step)) => {
                let (found, epoch) = match &self.found {
                    Some((found, of)) => (*found, Some(of.epoch)),
                    None => (offset, None),
                };
                // Nobody sees anything done behind the claim by which he is dethroned.
                if epoch == Some(step.epoch) && step.done > found {
                    return ControlFlow::Break(());
                }
                if step.place() == self.place && epoch.is_none_or(|epoch| epoch < step.epoch) {
                    self.found = Some((offset, step));
                }
            }
            Ok(Record::Image(_)) | Err(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// What was found, and where it stands.
    pub fn found(self) -> Option<(u64, Step)> {
        self.found.map(|(offset, step)| (offset, *step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Claim, Door, InputRef, Kind, VERSION};
    use synod_protocol::Timestamp;

    fn step(epoch: u64, n: u64, done: u64) -> Vec<u8> {
        let step = Step {
            v: VERSION,
            kind: Kind::Step,
            epoch,
            n,
            now: Timestamp::from_millis(0),
            workspace: None,
            root: None,
            input: InputRef::of(Door::Timer),
            events: Vec::new(),
            rejected: None,
            floor: 0,
            done,
        };
        serde_json::to_vec(&step).unwrap()
    }

    /// Looks for the step with this place; where it is found, and how many records were read for it.
    #[track_caller]
    fn check(what: &str, log: &[Vec<u8>], place: u64, want: (Option<u64>, usize)) {
        let (mut search, mut read) = (Search::of(place), 0);
        for (offset, bytes) in log.iter().enumerate().skip(place as usize) {
            read += 1;
            if search.record(offset as u64, bytes).is_break() {
                break;
            }
        }
        assert_eq!((search.found().map(|(offset, _)| offset), read), want, "{what}");
    }

    #[test]
    fn a_dethroned_owners_step_is_not_taken_for_the_one_that_counts() {
        let claim = || Claim::by("x", Timestamp::from_millis(0)).to_bytes().unwrap();
        let log = |steps: &[(u64, u64, u64)]| {
            let steps = steps.iter().map(|(epoch, n, done)| step(*epoch, *n, *done));
            [claim(), claim()].into_iter().chain(steps).collect::<Vec<_>>()
        };
        check("in its place", &log(&[(1, 1, 0), (1, 2, 0)]), 2, (Some(2), 2));
        check("before it", &log(&[(0, 1, 0), (0, 2, 0), (1, 1, 0)]), 2, (Some(4), 3));
        check("in its place, before it", &log(&[(0, 2, 0), (1, 1, 0), (1, 2, 0)]), 2, (Some(3), 3));
        check("behind it", &log(&[(1, 1, 0), (0, 2, 0), (1, 2, 0)]), 2, (Some(2), 3));
        check("no further than is needed", &log(&[(1, 1, 0), (1, 2, 3), (1, 3, 3)]), 2, (Some(2), 2));
        check("its own is not done yet", &log(&[(0, 2, 0), (0, 3, 1), (1, 1, 1)]), 2, (Some(4), 3));
        let mut next = log(&[(1, 1, 0)]);
        next.extend([claim(), step(3, 1, 0)]);
        check("no further than the next claim", &next, 2, (Some(2), 2));
    }
}
