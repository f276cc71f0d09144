//! Fencing by contiguity: the one rule by which all readers agree on what is in force.
//!
//! A record counts if its epoch is the latest claim before it and its `n` is one more than the last that
//! counted in that epoch. The rest is void, and a void record does not advance `n`. (DESIGN, section 1;
//! checked exhaustively by the protocol's model.)

use crate::planted::{self, Bug};
use crate::record::Record;

/// What a reader makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A new epoch begins.
    Claim,
    /// It counts.
    Counts,
    /// It is as if it were not there.
    Void,
}

/// A reader's place in the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    epoch: Option<u64>,
    n: u64,
}

impl Counting {
    /// Takes the record at `offset` into account.
    pub fn see(&mut self, offset: u64, record: &Record) -> Verdict {
        match record {
            Record::Claim(_) => {
                *self = Counting { epoch: Some(offset), n: 0 };
                Verdict::Claim
            }
            Record::Step(step) => self.numbered(step.epoch, step.n),
            Record::Image(image)
                if planted::is(Bug::OldImageBelieved) && !self.expects(image.epoch, image.n) =>
            {
                Verdict::Counts
            }
            Record::Image(image) => self.numbered(image.epoch, image.n),
        }
    }

    fn numbered(&mut self, epoch: u64, n: u64) -> Verdict {
        if !self.expects(epoch, n) {
            return Verdict::Void;
        }
        self.n = n;
        Verdict::Counts
    }

    /// A reader that begins at a floor: the record there counts by definition, and sets epoch and count.
    pub fn at_floor(record: &Record) -> Counting {
        match record {
            Record::Claim(_) => Counting::default(),
            Record::Step(step) => Counting { epoch: Some(step.epoch), n: step.n.saturating_sub(1) },
            Record::Image(image) => Counting { epoch: Some(image.epoch), n: image.n.saturating_sub(1) },
        }
    }

    /// Whether a record of this epoch and number would count here.
    pub fn expects(&self, epoch: u64, n: u64) -> bool {
        let (fenced, counted) = (planted::is(Bug::EpochUnchecked), planted::is(Bug::NumberUnchecked));
        let anything = planted::is(Bug::FencingOff);
        anything || (self.epoch == Some(epoch) || fenced) && (n == self.n + 1 || counted)
    }

    /// The latest claim's offset.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The `n` of the last record that counted in this epoch; 0 right after a claim.
    pub fn n(&self) -> u64 {
        self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Claim, Door, InputRef, Kind, Step};
    use synod_protocol::Timestamp;

    fn claim() -> Record {
        Record::Claim(Claim::by("x", Timestamp::from_millis(0)))
    }

    fn step(epoch: u64, n: u64) -> Record {
        let (v, kind, now) = (1, Kind::Step, Timestamp::from_millis(0));
        let input = InputRef::of(Door::Timer);
        let (events, rejected, floor, done) = (vec![], None, 0, 0);
        Record::Step(Box::new(Step {
            v,
            kind,
            epoch,
            n,
            now,
            workspace: None,
            root: None,
            input,
            events,
            rejected,
            floor,
            done,
        }))
    }

    #[test]
    fn only_the_next_of_the_newest_epoch_counts() {
        use Verdict::{Claim as C, Counts as Y, Void as N};
        let log = [
            (step(0, 1), N), // nobody has claimed
            (claim(), C),    // 1
            (step(1, 1), Y),
            (step(1, 3), N), // one is missing
            (step(1, 2), Y),
            (step(1, 2), N), // twice
            (claim(), C),    // 6
            (step(1, 3), N), // dethroned
            (step(6, 1), Y),
            (step(6, 2), Y),
            (step(1, 3), N),
            (step(6, 3), Y),
        ];
        let mut counting = Counting::default();
        for (offset, (record, want)) in log.iter().enumerate() {
            assert_eq!(counting.see(offset as u64, record), *want, "at {offset}");
        }
    }
}
