//! What the tenure of shards is told and what it answers: plain values.

use std::collections::BTreeSet;
use synod_protocol::Id;

/// How long what takes, in milliseconds, and how many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease that is not renewed ends after this.
    pub lease_ms: u64,
    /// A lease is renewed as often as this.
    pub renew_ms: u64,
    /// A holder may ignore the one to whom the shard belongs for so long.
    pub patience_ms: u64,
    /// Shards that one coordinator hands over at a time.
    pub moves: usize,
    /// The same for one that leaves.
    pub leaving_moves: usize,
    /// One that leaves waits so long for the next to serve what it was given.
    pub settle_ms: u64,
    /// The first and the longest pause before a shard is claimed again.
    pub pause_ms: (u64, u64),
    /// After so long in service the pause begins at its first again.
    pub steady_ms: u64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            lease_ms: 1_800,
            renew_ms: 400,
            patience_ms: 10_000,
            moves: 2,
            leaving_moves: 4,
            settle_ms: 2_000,
            pause_ms: (20, 2_000),
            steady_ms: 5_000,
        }
    }
}

/// One lease that stood when the table was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The coordinator.
    pub id: Id,
    /// Which process holds the lease in its name.
    pub holder: String,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Whether it takes shards: it has joined Kafka and is not leaving.
    pub takes: bool,
    /// What it holds, from before its claim until it has let go.
    pub held: BTreeSet<u32>,
    /// What of this it serves.
    pub serving: BTreeSet<u32>,
    /// Grows with every renewal.
    pub beat: u64,
    /// Whether its process was seen to be connected; `None` if nobody looked.
    pub present: Option<bool>,
}

/// The leases as read in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// When the reading began, monotonic.
    pub at_ms: u64,
    /// The server's id, drawn at its start.
    pub run_id: String,
    /// Counts our connections to it: absence means something only on one connection.
    pub connection: u64,
    /// What tells one life of its data from the next: it changes when everything was wiped.
    pub era: String,
    /// For how long it is known to have had these data, in ms.
    pub age_ms: u64,
    /// Every lease.
    pub rows: Vec<Row>,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Claim these; they count as held from now on.
    pub claim: Vec<u32>,
    /// Finish these in good order and let go.
    pub hand_over: Vec<u32>,
    /// Let go of these: another holds them, or may have held them since our claim.
    pub stand_down: Vec<u32>,
}

/// Where a request for a shard goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// We hold it.
    Here,
    /// This one holds it, or is about to.
    There {
        /// The coordinator.
        id: Id,
        /// `host:port`
        address: String,
    },
    /// It is ours and we are about to claim it.
    Soon,
    /// Nobody is known who would.
    Nobody,
}
