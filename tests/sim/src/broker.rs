//! Kafka's stand-in: per shard a commands topic, a ledger and a directory, each a list of records at consecutive
//! offsets whose beginning may be deleted. It never reorders, changes or forgets anything else.

use std::rc::Rc;
use synod_ledger::Meta;
use synod_protocol::view::DirectoryEntry;
use synod_protocol::{Command, Timestamp};

/// The records of one partition.
#[derive(Debug)]
pub(crate) struct Log<R> {
    records: Vec<R>,
    start: u64,
}

impl<R> Default for Log<R> {
    fn default() -> Self {
        Log { records: Vec::new(), start: 0 }
    }
}

impl<R> Log<R> {
    /// Appends, and says where it landed.
    pub(crate) fn append(&mut self, record: R) -> u64 {
        self.records.push(record);
        self.end() - 1
    }

    /// The record at an offset, if it is there and not deleted.
    pub(crate) fn get(&self, offset: u64) -> Option<&R> {
        if offset < self.start { None } else { self.records.get(offset as usize) }
    }

    /// The record at an offset, deleted or not: for checks only.
    pub(crate) fn ever(&self, offset: u64) -> Option<&R> {
        self.records.get(offset as usize)
    }

    /// The first offset that is not deleted.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The offset of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// Deletes what stands before `offset`.
    pub(crate) fn trim(&mut self, offset: u64) {
        self.start = self.start.max(offset.min(self.end()));
    }
}

/// A record of the commands topic, as its reader finds it.
#[derive(Clone, Debug)]
pub(crate) enum Produced {
    /// A command of this or another partition, asked for and come at these moments.
    Command { command: Rc<Command>, meta: Meta, asked_at: u64, came_at: u64 },
    /// Something that cannot be read, and what is known of who sent it.
    Poison { meta: Option<Meta> },
}

impl Produced {
    /// The command's id, if it can be read.
    pub(crate) fn ce_id(&self) -> Option<&String> {
        match self {
            Produced::Command { meta, .. } | Produced::Poison { meta: Some(meta) } => Some(&meta.ce_id),
            Produced::Poison { meta: None } => None,
        }
    }
}

/// One shard's partitions.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    pub(crate) commands: Log<Produced>,
    pub(crate) ledger: Log<(Timestamp, Vec<u8>)>,
    pub(crate) directory: Vec<(u64, DirectoryEntry)>,
}
