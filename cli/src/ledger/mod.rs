//! A shard's ledger as the tools of people read it, from Kafka or from a file that `synod ledger export` wrote.
//!
//! ```text
//! Source ──> Entry, Entry, … ──┬─> Line    one record of an exported file
//!  Kafka │ file                ├─> Life    what one entity went through
//!                              └─> replay  the state folded again, every invariant checked
//! ```
//!
//! Everything streams: what is held in memory follows from what was asked, not from the ledger's length. Nothing
//! here writes to Kafka.

mod life;
mod line;
mod replay;
mod source;

pub use life::{Life, Moment, Standing};
pub use line::{Line, LineError};
pub use replay::{Found, Near, Replayed, Schedule, replay};
pub use source::{Extent, Source, SourceError, Which};

/// One record of a shard's ledger, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub offset: u64,
    /// The broker's time, in ms since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; a record of ours always has one.
    pub value: Option<Vec<u8>>,
}

impl Entry {
    /// The value's bytes; none where there is no value.
    pub fn bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// The broker's time.
    pub fn appended_at(&self) -> Option<synod_protocol::Timestamp> {
        self.timestamp_ms.map(synod_protocol::Timestamp::from_millis)
    }
}
