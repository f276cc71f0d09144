//! An agent's memory: what it wants to know again, under keys, for a while. What was used least recently goes first.

use super::checked;
use crate::error::Error;
use crate::id::{Id, Name};
use crate::json::Json;
use crate::time::Timestamp;
use crate::view::{AgentStatus, Health};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;
use utoipa::ToSchema;

/// Bytes of one value, as compact JSON.
pub const VALUE_BYTES: usize = 512 * 1024;
/// How long an entry may live.
pub const TTL_MS: RangeInclusive<u64> = 1..=1_000_000_000_000;
/// Tags of one entry.
pub const TAGS: usize = 32;
/// Bytes of one tag.
pub const TAG_BYTES: usize = 128;
/// Entries of one hand-over.
pub const THREAD_KEYS: usize = 100;
/// Bytes of the values on one page: one entry at least, however long.
pub const PAGE_BYTES: usize = 4 << 20;
/// What no entry can be called, since a path over HTTP is.
pub const NO_KEYS: [&str; 2] = ["thread", "statistics"];

/// How much an agent may remember; the same for all processes of a mesh, or the smallest counts at each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Entries of one agent, 1 to 100,000; 1,000 by default.
    pub entries: u64,
    /// Bytes of keys, tags and values of one agent; 100,000,000 by default.
    pub bytes: u64,
    /// How long an entry lives that does not say; 24 h by default.
    pub ttl: Duration,
}

impl Default for MemoryLimits {
    fn default() -> MemoryLimits {
        MemoryLimits { entries: 1_000, bytes: 100_000_000, ttl: Duration::from_secs(24 * 3600) }
    }
}

/// What is to be remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMemory {
    /// Any JSON, `null` included, up to 512 KiB without white space.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// For how long; 1 to 10^12, 24 h by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// To find it by; up to 32 different ones of 1 to 128 bytes without control characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl PutMemory {
    /// A value, for as long as is usual.
    pub fn new(value: Json) -> PutMemory {
        PutMemory { value, ttl_ms: None, tags: Vec::new() }
    }

    /// The value as compact JSON, if everything is within its limits.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the place.
    pub fn checked(&self) -> Result<String, Error> {
        if let Some(ttl_ms) = self.ttl_ms {
            checked::within("/ttl_ms", ttl_ms, TTL_MS)?;
        }
        if self.tags.len() > TAGS {
            let said = format!("there are {} tags, the limit is {TAGS}", self.tags.len());
            return Err(Error::invalid(said).with_field("/tags"));
        }
        for (n, tag) in self.tags.iter().enumerate() {
            check_tag(tag, &format!("/tags/{n}"))?;
        }
        checked::value("/value", &self.value, VALUE_BYTES)
    }
}

/// Refuses what is no tag.
///
/// # Errors
/// `invalid_argument`, with the place.
pub fn check_tag(tag: &str, field: &str) -> Result<(), Error> {
    if (1..=TAG_BYTES).contains(&tag.len()) && !tag.chars().any(char::is_control) {
        return Ok(());
    }
    let said = format!("a tag has 1 to {TAG_BYTES} bytes without control characters, this one is not so");
    Err(Error::invalid(said).with_field(field))
}

/// Reads the key of an entry: a name, but not `thread` or `statistics`.
///
/// # Errors
/// `invalid_argument`, with the place.
pub fn key(text: &str, field: &str) -> Result<Name, Error> {
    if NO_KEYS.contains(&text) {
        return Err(Error::invalid(format!("{text:?} cannot be a key of memory")).with_field(field));
    }
    checked::name(field, text)
}

/// Where an entry was copied from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// Whose it was.
    pub from: Id,
    /// Under which key.
    pub key: Name,
    /// When it was copied, by Redis' clock.
    pub at: Timestamp,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryEntry {
    /// Its key.
    pub key: Name,
    /// The value.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// To find it by.
    pub tags: Vec<String>,
    /// When the key was first written, by Redis' clock.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Where it was copied from, until it is written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// Hands entries to another agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// To whom.
    pub to: Id,
    /// 1 to 100 different keys.
    pub keys: Vec<String>,
}

impl Thread {
    /// The keys, if everything is within its limits.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn checked(&self, from: &Id) -> Result<Vec<Name>, Error> {
        if self.to == *from {
            return Err(Error::invalid("to is the agent itself, it must be another one").with_field("/to"));
        }
        if !(1..=THREAD_KEYS).contains(&self.keys.len()) {
            let said = format!("there are {} keys, there must be 1 to {THREAD_KEYS}", self.keys.len());
            return Err(Error::invalid(said).with_field("/keys"));
        }
        let each = |(n, text): (usize, &String)| {
            let field = format!("/keys/{n}");
            if self.keys[..n].contains(text) {
                return Err(Error::invalid("the key stands there twice").with_field(field));
            }
            key(text, &field)
        };
        self.keys.iter().enumerate().map(each).collect()
    }
}

/// What was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Threaded {
    /// To whom.
    pub to: Id,
    /// How many entries.
    pub copied: u64,
}

/// What an agent's memory is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryStatistics {
    /// Entries.
    pub entries: u64,
    /// Bytes of their keys, tags and values.
    pub bytes: u64,
    /// Entries that had to make room for newer ones, ever since the memory was first used within 30 days.
    pub evicted: u64,
    /// Reads that found an entry, those from hot caches included.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
}

/// What was done to a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryOp {
    /// An entry was written.
    Put,
    /// An entry was removed.
    Delete,
    /// Entries came from another agent.
    Thread,
    /// All was removed.
    Clear,
}

/// The value of `synod.agent.context_updated` where an agent's memory was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryUpdated {
    /// Whose memory.
    pub agent_id: Id,
    /// Its status, as the publishing coordinator knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    /// Its health, as the publishing coordinator knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What was done.
    pub op: MemoryOp,
    /// To which keys; empty for `clear`.
    pub keys: Vec<Name>,
    /// From whom they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Id>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_be_said_and_null_is_one() {
        assert_eq!(serde_json::from_str::<PutMemory>("{\"value\":null}").unwrap().value, Json::null());
        assert!(serde_json::from_str::<PutMemory>("{}").is_err());
        assert!(serde_json::from_str::<PutMemory>("{\"value\":1,\"x\":1}").is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_its_place() {
        let check = |ttl_ms, tags: &[&str], field: Option<&str>| {
            let tags = tags.iter().map(|t| (*t).to_owned()).collect();
            let put = PutMemory { value: Json::null(), ttl_ms, tags };
            assert_eq!(put.checked().err().and_then(|e| e.field).as_deref(), field, "{put:?}");
        };
        check(Some(1), &["a", "{b}*"], None);
        check(Some(0), &[], Some("/ttl_ms"));
        check(Some(1_000_000_000_001), &[], Some("/ttl_ms"));
        check(None, &["a", "b\0"], Some("/tags/1"));
        check(None, &[""; 1], Some("/tags/0"));
        check(None, &["a"; 33], Some("/tags"));
        assert!(key("statistics", "/key").is_err() && key("thread", "/key").is_err());
        assert!(key("thread/x", "/key").is_ok());
    }

    #[test]
    fn a_hand_over_names_each_key_once_and_another_agent() {
        let of = |to: &str, keys: &[&str]| {
            let keys = keys.iter().map(|k| (*k).to_owned()).collect();
            let thread = Thread { to: to.parse().unwrap(), keys };
            thread.checked(&"me".parse().unwrap()).err().and_then(|e| e.field)
        };
        assert_eq!(of("you", &["a", "b"]), None);
        assert_eq!(of("me", &["a"]).as_deref(), Some("/to"));
        assert_eq!(of("you", &[]).as_deref(), Some("/keys"));
        assert_eq!(of("you", &["a", "b", "a"]).as_deref(), Some("/keys/2"));
        assert_eq!(of("you", &["a", "\n"]).as_deref(), Some("/keys/1"));
    }
}
