//! The fold: from the records to the state, with the one rule by which they count.

use crate::counting::{Counting, Verdict};
use crate::memory::{Bases, Keep};
use crate::recent::Recent;
use crate::record::{Record, RecordError, Step};
use crate::state::State;
use std::collections::VecDeque;
use synod_protocol::Timestamp;

/// A reader of one shard's ledger, from its beginning or a floor, through a claim.
#[derive(Debug, Default)]
pub struct Fold {
    /// Where it begins, if not at the ledger's beginning.
    floor: Option<u64>,
    counting: Counting,
    state: State,
    bases: Bases,
    recent: Recent,
    born: Option<u64>,
    last: Option<u64>,
    claimed_at: Option<Timestamp>,
    done: u64,
    trim_to: u64,
    owed: VecDeque<Owed>,
    void: u64,
    counted: u64,
}

/// A step whose effects are not known to be confirmed.
#[derive(Debug)]
pub struct Owed {
    /// Where it stands.
    pub offset: u64,
    /// The base that its entity had before it: no floor may pass that.
    pub needs: u64,
    /// It.
    pub step: Box<Step>,
}

/// What a fold came to.
#[derive(Debug)]
pub struct Folded {
    /// The latest claim's offset.
    pub epoch: u64,
    /// The first claim that was met: the shard's birth, where nothing counts yet.
    pub born: u64,
    /// The state, proven.
    pub state: State,
    /// The broker's time of the latest claim, never before the last recorded time.
    pub now: Timestamp,
    /// Steps whose effects are not known to be confirmed, in order.
    pub owed: VecDeque<Owed>,
    /// The `done` of the last step that counts.
    pub done: u64,
    /// The newest floor that a counting step carries.
    pub trim_to: u64,
    /// Records that counted.
    pub counted: u64,
    /// Records that did not.
    pub void: u64,
    pub(crate) bases: Bases,
    pub(crate) recent: Recent,
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
    /// An image that counts shows what cannot be.
    #[error("offset {offset}: an image cannot be taken in: {why}")]
    Image {
        /// Where.
        offset: u64,
        /// Why.
        why: String,
    },
    /// The fold ended without a claim.
    #[error("no claim stands in what was read of the ledger")]
    NoClaim,
}

impl Fold {
    /// From the ledger's beginning, offset 0.
    pub fn whole(keep: Keep) -> Fold {
        Fold { state: State::new(keep), ..Fold::default() }
    }

    /// From a recorded floor. The record there counts by definition; a step on what is not known yet changes
    /// nothing until its image.
    pub fn from_floor(keep: Keep, floor: u64) -> Fold {
        Fold { floor: Some(floor), done: floor, ..Fold::whole(keep) }
    }

    /// Takes the next record. `at` is the broker's time of it.
    ///
    /// # Errors
    /// Records are missing before it, or it was written by a newer build and cannot be read. What is no record of ours
    /// is void.
    pub fn record(&mut self, offset: u64, at: Option<Timestamp>, bytes: &[u8]) -> Result<Verdict, FoldError> {
        if self.last.map_or(self.floor.unwrap_or(0), |last| last + 1) != offset {
            return Err(FoldError::Jump { after: self.last, found: offset });
        }
        let first = self.last.replace(offset).is_none();
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
        if first && self.floor.is_some() {
            self.counting = Counting::at_floor(&record);
        }
        let verdict = self.counting.see(offset, &record);
        match (verdict, record) {
            (Verdict::Claim, _) => {
                // A claim that is a floor is the shard's birth.
                let is_birth = self.born.is_none() && (first || self.floor.is_none());
                self.born.get_or_insert(offset);
                if is_birth {
                    let moved = self.state.born(offset);
                    self.bases.take(&[moved]);
                }
                self.claimed_at = at;
            }
            (Verdict::Counts, Record::Step(step)) => self.step(offset, step),
            (Verdict::Counts, Record::Image(image)) => {
                self.counted += 1;
                let restored = self.state.restore(offset, &image.of);
                let moved = restored.map_err(|why| FoldError::Image { offset, why })?;
                self.bases.take(&moved);
            }
            _ => self.void += 1,
        }
        Ok(verdict)
    }

    fn step(&mut self, offset: u64, step: Box<Step>) {
        self.counted += 1;
        let needs = self.state.needs(offset, &step);
        let moved = self.state.take(offset, &step);
        self.bases.take(&moved);
        self.recent.step(&step);
        // Below the floor all is done, whatever a step that was appended before that was known says.
        self.done = self.done.max(step.done);
        self.trim_to = self.trim_to.max(step.floor);
        self.owed.push_back(Owed { offset, needs, step });
        while self.owed.front().is_some_and(|owed| owed.offset < self.done) {
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
    pub fn finish(mut self) -> Result<Folded, FoldError> {
        let (Some(epoch), Some(born)) = (self.counting.epoch(), self.born) else {
            return Err(FoldError::NoClaim);
        };
        let mut moved = Vec::new();
        self.state.forget(&mut moved);
        self.bases.take(&moved);
        let now = self.claimed_at.unwrap_or_default().max(self.state.now);
        let Fold { state, owed, done, trim_to, counted, void, bases, recent, .. } = self;
        Ok(Folded { epoch, born, state, now, owed, done, trim_to, counted, void, bases, recent })
    }
}
