//! The fold: from the records to the state, with the one rule by which they count.

use crate::counting::{Counting, Verdict};
use crate::record::{Record, RecordError, Step};
use crate::state::State;
use std::collections::VecDeque;
use synod_protocol::Timestamp;

/// A reader of one shard's ledger, from its floor through a claim.
#[derive(Debug, Default)]
pub struct Fold {
    counting: Counting,
    state: State,
    born: Option<u64>,
    last: Option<u64>,
    claimed_at: Option<Timestamp>,
    done: u64,
    owed: VecDeque<(u64, Box<Step>)>,
    void: u64,
    counted: u64,
}

/// What a fold came to.
#[derive(Debug)]
pub struct Folded {
    /// The latest claim's offset.
    pub epoch: u64,
    /// The shard's birth: its first claim's offset.
    pub born: u64,
    /// The state, proven.
    pub state: State,
    /// The broker's time of the latest claim, never before the last recorded time.
    pub now: Timestamp,
    /// Steps whose effects are not known to be confirmed, in order.
    pub owed: VecDeque<(u64, Box<Step>)>,
    /// The `done` of the last step that counts.
    pub done: u64,
    /// Records that counted.
    pub counted: u64,
    /// Records that did not.
    pub void: u64,
}

/// Why a fold must stop.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// Records are missing.
    #[error("the ledger jumps from offset {after:?} to {found}: records that were acknowledged are lost")]
    Jump {
        /// The last offset read.
        after: Option<u64>,
        /// The next one found.
        found: u64,
    },
    /// A record cannot be read by this build.
    #[error("offset {offset}: {why}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// Why.
        why: RecordError,
    },
    /// The fold ended without a claim.
    #[error("no claim stands in what was read of the ledger")]
    NoClaim,
}

impl Fold {
    /// Takes the next record. `at` is the broker's time of it.
    ///
    /// # Errors
    /// Records are missing before it, or it was written by a newer build and cannot be read. What is no record of ours
    /// is void.
    pub fn record(&mut self, offset: u64, at: Option<Timestamp>, bytes: &[u8]) -> Result<Verdict, FoldError> {
        if self.last.map_or(0, |last| last + 1) != offset {
            return Err(FoldError::Jump { after: self.last, found: offset });
        }
        self.last = Some(offset);
        let record = match Record::read(bytes) {
            Ok(record) => record,
            Err(RecordError::Foreign(_)) => {
                self.void += 1;
                return Ok(Verdict::Void);
            }
            Err(RecordError::Unknown { epoch, n, .. }) if !self.counting.expects(epoch, n) => {
                self.void += 1;
                return Ok(Verdict::Void);
            }
            Err(why) => return Err(FoldError::Unreadable { offset, why }),
        };
        let verdict = self.counting.see(offset, &record);
        match (verdict, record) {
            (Verdict::Claim, _) => {
                self.born.get_or_insert(offset);
                self.claimed_at = at;
            }
            (Verdict::Counts, Record::Step(step)) => self.step(offset, step),
            _ => self.void += 1,
        }
        Ok(verdict)
    }

    fn step(&mut self, offset: u64, step: Box<Step>) {
        self.counted += 1;
        self.state.take(&step);
        self.done = step.done;
        self.owed.push_back((offset, step));
        while self.owed.front().is_some_and(|(at, _)| *at < self.done) {
            self.owed.pop_front();
        }
    }

    /// The state as it is now; for a reader that is no owner.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Ends the fold at the last record read, which should be the caller's own claim.
    ///
    /// # Errors
    /// There was no claim.
    pub fn finish(self) -> Result<Folded, FoldError> {
        let (Some(epoch), Some(born)) = (self.counting.epoch(), self.born) else {
            return Err(FoldError::NoClaim);
        };
        let now = self.claimed_at.unwrap_or_default().max(self.state.now);
        let Fold { state, owed, done, counted, void, .. } = self;
        Ok(Folded { epoch, born, state, now, owed, done, counted, void })
    }
}
