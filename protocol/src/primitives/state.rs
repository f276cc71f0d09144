//! Shared state: versioned values under keys, and what becomes of them.
//!
//! ```text
//! put, delete, expiry --> the entry, its history, and one Change in its range's stream
//!                                                     |--> the mirror (synod.state.v1)
//!                                                     |--> subscriptions
//! ```

mod conditions;
mod cursor;
mod merge;
mod requests;

pub use conditions::Condition;
pub use cursor::{cursor, read_cursor};
pub use merge::{RULES_LIMIT, Rule, Rules, merge};
pub use requests::{
    BATCH_BYTES, BATCH_LIMIT, Batch, Durability, LockHeld, METADATA_BYTES, Operation, OperationKind,
    POLICIES_LIMIT, Policy, PrefixCounts, Put, Restore, Statistics, TTL_LIMIT_MS, Tombstone, VALUE_BYTES,
    checked_value,
};

use crate::id::{Name, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use crate::topics::murmur2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Into so many ranges the keys are divided; what is in one range has one order of changes and one relay. Fixed for
/// good: it is part of where things are in Redis and in the mirror.
pub const RANGES: u32 = 16;
/// The largest version.
pub const VERSION_LIMIT: u64 = (1 << 53) - 1;

/// What a key is hashed by: the text in its first braces, where there are any with something in them; else all of it.
/// Keys that share it can be written in one batch.
pub fn hash_tag(key: &Name) -> &str {
    let inner = key.as_str().split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    inner.filter(|tag| !tag.is_empty()).unwrap_or(key.as_str())
}

/// The range of a key: murmur2, as Kafka places keys, of `<workspace>/<hash tag>`.
pub fn range(workspace: &Workspace, key: &Name) -> u32 {
    let text = format!("{workspace}/{}", hash_tag(key));
    (murmur2(text.as_bytes()) & 0x7fff_ffff).unsigned_abs() % RANGES
}

/// What describes a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Metadata {
    /// A media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// To find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whatever else.
    #[serde(flatten)]
    pub more: BTreeMap<String, String>,
}

/// A key's value as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// The key.
    pub key: Name,
    /// The value.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// Greater than every earlier one of this key, 1 to 2^53-1.
    pub version: u64,
    /// What describes it.
    pub metadata: Metadata,
    /// When the key was made (again).
    pub created_at: Timestamp,
    /// When this version was written.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What becomes of a write whose version is not the current one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It is refused; its caller is told and nothing is kept.
    #[default]
    Reject,
    /// It is applied; what it overwrites is kept as lost.
    LastWriteWins,
    /// It is not applied and kept as lost.
    FirstWriteWins,
    /// It is merged into what is there.
    Merge,
}

impl Strategy {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Reject => "reject",
            Strategy::LastWriteWins => "last_write_wins",
            Strategy::FirstWriteWins => "first_write_wins",
            Strategy::Merge => "merge",
        }
    }
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A value was written.
    Put,
    /// A value was merged into what was there.
    Merge,
    /// It was removed.
    Delete,
    /// Its time was over.
    Expire,
    /// An earlier value was written again.
    Restore,
}

/// Whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StateOutcome)]
pub enum Outcome {
    /// It was written under its version.
    Written,
    /// It lost against another write.
    Lost,
}

/// One line of a key's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Past {
    /// The version it was written under; `null` for what lost.
    pub version: Option<u64>,
    /// The value; `null` for a delete or an expiry.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// What was done.
    pub op: Op,
    /// Whether it counts.
    pub outcome: Outcome,
    /// By which rule it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The version that its writer knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<u64>,
    /// When.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
    /// Why it lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One change of the shared state, in the order of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the range's stream: a Redis stream id, `<ms>-<n>`.
    pub place: String,
    /// The workspace.
    pub workspace: Workspace,
    /// The key.
    pub key: Name,
    /// What happened to it.
    pub what: Changed,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It has this value now (a put, a merge, a restore).
    Written(Entry),
    /// It was deleted, or has expired: what the tombstone says; its `version` is always there.
    Gone(Past),
    /// Nothing was written: this write lost, or was overwritten by one that did not know it.
    Lost(Past),
}
