//! A ledger topic in memory: bytes at offsets, each with the broker's time.

use synod_ledger::{Claim, Fold, Folded, Keep, Record, Step, floor_of};
use synod_protocol::Timestamp;

/// One partition of `synod.ledger.v1`.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<(Timestamp, Vec<u8>)>,
}

impl Log {
    /// Appends, and says where it landed.
    pub(crate) fn append(&mut self, at: Timestamp, bytes: Vec<u8>) -> u64 {
        self.records.push((at, bytes));
        self.records.len() as u64 - 1
    }

    /// Somebody claims the shard.
    pub(crate) fn claim(&mut self, who: &str, at: Timestamp) -> u64 {
        self.append(at, Claim::by(who, at).to_bytes().unwrap())
    }

    /// The fold through the last record.
    pub(crate) fn fold(&self) -> Folded {
        let mut fold = Fold::default();
        for (offset, (at, bytes)) in self.records.iter().enumerate() {
            fold.record(offset as u64, Some(*at), bytes).unwrap();
        }
        fold.finish().unwrap()
    }

    /// The same with other rules of what is kept.
    pub(crate) fn fold_with(&self, keep: Keep) -> Folded {
        self.read_into(Fold::whole(keep), 0)
    }

    /// The fold of a new owner: from the floor of the nearest step before its claim.
    pub(crate) fn fold_from_floor(&self, keep: Keep, claim: u64) -> (Folded, u64) {
        let floor = (0..claim).rev().find_map(|at| floor_of(at, &self.records[at as usize].1));
        match floor {
            Some(floor) => (self.read_into(Fold::from_floor(keep, floor), floor), floor),
            None => (self.fold_with(keep), 0),
        }
    }

    fn read_into(&self, mut fold: Fold, from: u64) -> Folded {
        for (offset, (at, bytes)) in self.records.iter().enumerate().skip(from as usize) {
            fold.record(offset as u64, Some(*at), bytes).unwrap();
        }
        fold.finish().unwrap()
    }

    /// The step at an offset.
    pub(crate) fn step(&self, offset: u64) -> Step {
        read(&self.records[offset as usize].1)
    }
}

/// A step's bytes, read.
pub(crate) fn read(bytes: &[u8]) -> Step {
    match Record::read(bytes) {
        Ok(Record::Step(step)) => *step,
        other => panic!("a step, not {other:?}"),
    }
}
