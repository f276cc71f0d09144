//! A ledger topic in memory: bytes at offsets, each with the broker's time.

use synod_ledger::{Claim, Fold, Folded, Record, Step};
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
