//! What is on its way: requests to the broker, calls to Redis, and who hears of them.

use crate::broker::Produced;
use crate::redis::{Lease, ViewKey};
use crate::world::Pid;
use std::rc::Rc;
use synod_ledger::{Effect, State, Wanted};
use synod_protocol::Json;

/// What the broker is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// A claim or a step, and how its author hears of it, if it does.
    Append { shard: u32, bytes: Vec<u8>, ghost: Ghost, ack: Option<Ack> },
    /// A command.
    Produce { shard: u32, produced: Produced, back: Back },
    /// An effect.
    Effect(Issued),
    /// An entry of the directory, mended after a fold.
    Mend { shard: u32, offset: u64, entry: Box<synod_protocol::view::DirectoryEntry> },
    /// The ledger is to begin here.
    Trim { shard: u32, below: u64 },
}

/// What only the watch knows of a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ghost {
    /// The author's whole history, if it is one of ours.
    pub(crate) lineage: Option<u64>,
    /// The state that its author had after it.
    pub(crate) state: Option<Rc<State>>,
}

/// Who hears of an append, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) pid: Pid,
    pub(crate) shard: u32,
    pub(crate) of: Of,
    pub(crate) how: How,
    pub(crate) takes: u64,
}

/// What was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Claim { try_no: u64 },
    Step { epoch: u64, n: u64 },
}

/// How an append is acknowledged once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    WithOffset,
    Without,
    AsFailed,
}

/// Who hears of a produced command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Back {
    Party { party: usize, life: u32, ask: u64 },
    PassedOn { pid: Pid, shard: u32, epoch: u64, offset: u64 },
    Nobody,
}

/// An effect on its way.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) pid: Pid,
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) effect: Effect,
    pub(crate) tries: u32,
}

/// What Redis is asked.
#[derive(Debug)]
pub(crate) enum Call {
    Look {
        pid: Pid,
        at_ms: u64,
    },
    Lease {
        pid: Pid,
        lease: Lease,
        began_ms: u64,
    },
    Release(Pid),
    Effect(Issued),
    Take {
        agent: usize,
        life: u32,
    },
    View {
        key: ViewKey,
        offset: u64,
        value: Json,
    },
    /// Permits that an owner wants for one of its tasks.
    Permits {
        pid: Pid,
        shard: u32,
        epoch: u64,
        wanted: Wanted,
    },
    /// Permits that were granted and lead to nothing.
    GiveUp {
        shard: u32,
        epoch: u64,
        wanted: Wanted,
        at: u64,
    },
}
