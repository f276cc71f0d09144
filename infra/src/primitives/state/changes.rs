//! The stream of changes of one range: written in the same script as the change, read by the relay and by subscriptions.
//!
//! Each element has four fields: `w` (workspace), `k` (key), `c` (`written`, `gone`, `lost`) and `e` (the entry, or the
//! line of history, as the scripts write it: [`Stored`] or [`StoredPast`] in JSON). Nothing trims it but the relay, which
//! knows what the mirror has; a range whose stream has [`CHANGES_LIMIT`] elements takes no writes.

use crate::redis::RedisError;
use redis::Value;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use synod_protocol::primitives::state::{Change, Changed, Entry, Metadata, Op, Outcome, Past, Strategy};
use synod_protocol::{Json, Name, Timestamp};

/// Elements of one range's stream at which writes are refused: the relay is far behind.
pub const CHANGES_LIMIT: u64 = 200_000;

/// An entry as it lies in Redis: times in ms, so that scripts can write them; in this order, which `write_state.lua` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The value.
    pub value: Json,
    /// Its version.
    pub version: u64,
    /// When the key was made.
    pub created_ms: i64,
    /// When this version was written.
    pub updated_ms: i64,
    /// When it ends by itself.
    #[serde(default)]
    pub expires_ms: Option<i64>,
    /// By whom.
    pub updated_by: String,
    /// What describes it.
    pub metadata: Metadata,
}

/// A line of history as it lies in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPast {
    /// The version it was written under (for `gone`: the tombstone's).
    #[serde(default)]
    pub version: Option<u64>,
    /// The value.
    #[serde(default)]
    pub value: Json,
    /// What was done.
    pub op: Op,
    /// Whether it counts.
    pub outcome: Outcome,
    /// By which rule it was decided.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// The version that its writer knew.
    #[serde(default)]
    pub base_version: Option<u64>,
    /// When.
    pub updated_ms: i64,
    /// By whom.
    pub updated_by: String,
    /// Why it lost.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Stored {
    /// As it is shown.
    pub fn entry(self, key: Name) -> Entry {
        Entry {
            key,
            value: self.value,
            version: self.version,
            metadata: self.metadata,
            created_at: Timestamp::from_millis(self.created_ms),
            updated_at: Timestamp::from_millis(self.updated_ms),
            updated_by: self.updated_by,
            expires_at: self.expires_ms.map(Timestamp::from_millis),
        }
    }
}

impl StoredPast {
    /// As it is shown.
    pub fn past(self) -> Past {
        Past {
            version: self.version,
            value: self.value,
            op: self.op,
            outcome: self.outcome,
            strategy: self.strategy,
            base_version: self.base_version,
            updated_at: Timestamp::from_millis(self.updated_ms),
            updated_by: self.updated_by,
            reason: self.reason,
        }
    }
}

/// Reads one element of the stream, as `XRANGE` and `XREAD` answer it: its id and its fields.
///
/// # Errors
/// `Unexpected` where it does not read.
pub fn read(element: Value) -> Result<Change, RedisError> {
    let (place, fields): (String, HashMap<String, String>) = redis::from_redis_value(element)?;
    let unreadable = |why: &dyn std::fmt::Display| {
        RedisError::Unexpected(format!("the change {place} of shared state does not read: {why}"))
    };
    let field =
        |name: &str| fields.get(name).map(String::as_str).ok_or_else(|| unreadable(&format!("no {name}")));
    let key: Name = field("k")?.parse().map_err(|e| unreadable(&e))?;
    let text = field("e")?;
    let past = || serde_json::from_str::<StoredPast>(text).map(StoredPast::past);
    let what = match field("c")? {
        "written" => {
            serde_json::from_str::<Stored>(text).map(|stored| Changed::Written(stored.entry(key.clone())))
        }
        "gone" => past().map(Changed::Gone),
        "lost" => past().map(Changed::Lost),
        other => return Err(unreadable(&format!("unknown kind {other:?}"))),
    };
    let what = what.map_err(|e| unreadable(&e))?;
    let workspace = field("w")?.parse().map_err(|e| unreadable(&e))?;
    Ok(Change { place: place.clone(), workspace, key, what })
}
