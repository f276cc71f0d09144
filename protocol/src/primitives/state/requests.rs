//! What may be asked of shared state, checked against its limits before anything is done.

use super::{Condition, Metadata, Rules, Strategy, VERSION_LIMIT, hash_tag};
use crate::error::{Code, Error};
use crate::id::Name;
use crate::json::Json;
use crate::limits::{NESTING, check_nesting};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Bytes of a value, without white space.
pub const VALUE_BYTES: usize = 512 * 1024;
/// Bytes of a value's metadata, as JSON.
pub const METADATA_BYTES: usize = 8 * 1024;
/// The longest time to live: 10^12 ms, about 32 years.
pub const TTL_LIMIT_MS: u64 = 1_000_000_000_000;
/// Operations of one batch.
pub const BATCH_LIMIT: usize = 128;
/// Bytes of all values of one batch: it is one script, and holds up everyone else while it runs.
pub const BATCH_BYTES: usize = 4 << 20;
/// Policies of one workspace.
pub const POLICIES_LIMIT: usize = 256;

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once Redis has it; the mirror has it a little later.
    #[default]
    Memory,
    /// Once the mirror in Kafka has it.
    Ledger,
}

/// A lock that must be held for a write to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LockHeld {
    /// The lock.
    pub name: Name,
    /// The token that its holder was given.
    pub token: u64,
}

/// A write of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The value: any JSON, up to 512 KiB without white space, nested up to 64 levels.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// It ends by itself after so many ms, 1 to 10^12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// What describes it, up to 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What becomes of it in a conflict; by default as the key's policy says, or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Rules of a merge; by default the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// When it is answered.
    #[serde(default)]
    pub durability: Durability,
    /// A lock that must be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockHeld>,
}

impl Put {
    /// A plain write of this value.
    pub fn of(value: Json) -> Put {
        Put {
            value,
            ttl_ms: None,
            metadata: None,
            strategy: None,
            rules: None,
            durability: Durability::Memory,
            lock: None,
        }
    }

    /// Checks everything against its limit, and takes the white space out of the value.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the offending field.
    pub fn checked(mut self) -> Result<Put, Error> {
        self.value = checked_value(&self.value)?;
        check_ttl(self.ttl_ms)?;
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
        }
        if let Some(rules) = &self.rules {
            rules.check()?;
            if self.strategy.is_some_and(|s| s != Strategy::Merge) && !rules.is_empty() {
                return Err(
                    Error::invalid("rules are for a merge; set strategy to merge").with_field("/rules")
                );
            }
        }
        Ok(self)
    }
}

/// The value without white space, if it is within the limits.
///
/// # Errors
/// `invalid_argument` (nesting) or `payload_too_large`, at `/value`.
pub fn checked_value(value: &Json) -> Result<Json, Error> {
    check_nesting(value.as_str().as_bytes(), NESTING).map_err(|error| error.with_field("/value"))?;
    let value = value.compact();
    let bytes = value.as_str().len();
    if bytes > VALUE_BYTES {
        let said =
            format!("the value has {bytes} bytes, the limit is {VALUE_BYTES}; pass larger data by reference");
        return Err(Error::new(Code::PayloadTooLarge, said).with_field("/value"));
    }
    Ok(value)
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<(), Error> {
    match ttl_ms {
        Some(ms) if !(1..=TTL_LIMIT_MS).contains(&ms) => {
            Err(Error::invalid(format!("ttl_ms is {ms}, it must be 1 to {TTL_LIMIT_MS}"))
                .with_field("/ttl_ms"))
        }
        _ => Ok(()),
    }
}

fn check_metadata(metadata: &Metadata) -> Result<(), Error> {
    let bytes = Json::of(metadata).map_or(usize::MAX, |json| json.as_str().len());
    if bytes > METADATA_BYTES {
        let said = format!("the metadata has {bytes} bytes, the limit is {METADATA_BYTES}");
        return Err(Error::new(Code::PayloadTooLarge, said).with_field("/metadata"));
    }
    Ok(())
}

/// What an operation of a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Writes the value.
    Put,
    /// Removes the key.
    Delete,
    /// Reads the key, after the writes that stand before it.
    Get,
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// What it does.
    pub op: OperationKind,
    /// To which key.
    pub key: Name,
    /// `put`: the value.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Json>,
    /// The version that the writer knows; 0 where it knows of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
    /// `put`: as for one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// `put`: as for one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What becomes of it in a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// `put`: rules of a merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// A lock that must be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockHeld>,
}

/// A field that is there with `null` is there.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(d).map(Some)
}

impl Operation {
    /// The condition of its write.
    pub fn condition(&self) -> Condition {
        self.if_version.map_or(Condition::None, Condition::Version)
    }

    /// What it writes, for a `put`.
    pub fn put(&self) -> Option<Put> {
        Some(Put {
            ttl_ms: self.ttl_ms,
            metadata: self.metadata.clone(),
            strategy: self.strategy,
            rules: self.rules.clone(),
            durability: Durability::Memory,
            lock: self.lock.clone(),
            value: self.value.clone()?,
        })
    }

    fn checked(mut self) -> Result<Operation, Error> {
        if self.if_version.is_some_and(|v| v > VERSION_LIMIT) {
            let said = format!("if_version must be 0 to {VERSION_LIMIT}");
            return Err(Error::invalid(said).with_field("/if_version"));
        }
        let refused = |field: &str, why: &str| Err(Error::invalid(why).with_field(field));
        if self.op == OperationKind::Put {
            let Some(put) = self.put() else { return refused("/value", "a put needs a value; null is one") };
            self.value = Some(put.checked()?.value);
            return Ok(self);
        }
        let only_put = "only a put has it; leave it out";
        match &self {
            Operation { value: Some(_), .. } => refused("/value", only_put),
            Operation { ttl_ms: Some(_), .. } => refused("/ttl_ms", only_put),
            Operation { metadata: Some(_), .. } => refused("/metadata", only_put),
            Operation { rules: Some(_), .. } => refused("/rules", only_put),
            Operation { op: OperationKind::Get, if_version: Some(_), .. } => {
                refused("/if_version", "a get has no condition; leave it out")
            }
            Operation { op: OperationKind::Get, strategy: Some(_), .. } => {
                refused("/strategy", "a get has no strategy; leave it out")
            }
            Operation { op: OperationKind::Get, lock: Some(_), .. } => {
                refused("/lock", "a get needs no lock; leave it out")
            }
            _ => Ok(self),
        }
    }
}

/// Operations on keys of one hash tag, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// 1 to 128 of them; each key is written once at most.
    pub operations: Vec<Operation>,
    /// When it is answered.
    #[serde(default)]
    pub durability: Durability,
}

impl Batch {
    /// Checks everything against its limit, and takes the white space out of the values.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the offending field: for keys of different hash tags that of the
    /// first odd one.
    pub fn checked(mut self) -> Result<Batch, Error> {
        let count = self.operations.len();
        if !(1..=BATCH_LIMIT).contains(&count) {
            let said = format!("there are {count} operations, there must be 1 to {BATCH_LIMIT}");
            return Err(Error::invalid(said).with_field("/operations"));
        }
        let mut written = std::collections::BTreeSet::new();
        let mut bytes = 0;
        let mut checked = Vec::with_capacity(count);
        let tag = hash_tag(&self.operations[0].key).to_owned();
        for (n, operation) in self.operations.into_iter().enumerate() {
            let at = |field: &str| format!("/operations/{n}{field}");
            if hash_tag(&operation.key) != tag {
                let said = format!(
                    "all keys of a batch share one hash tag, the text in the first braces: {:?} has not {tag:?}",
                    operation.key.as_str()
                );
                return Err(Error::invalid(said).with_field(at("/key")));
            }
            if operation.op != OperationKind::Get && !written.insert(operation.key.clone()) {
                return Err(Error::invalid("a batch writes a key once at most").with_field(at("/key")));
            }
            let operation = operation.checked().map_err(|error| {
                let field = at(error.field.as_deref().unwrap_or_default());
                error.with_field(field)
            })?;
            bytes += operation.value.as_ref().map_or(0, |value| value.as_str().len());
            checked.push(operation);
        }
        if bytes > BATCH_BYTES {
            let said =
                format!("the values of the batch have {bytes} bytes in all, the limit is {BATCH_BYTES}");
            return Err(Error::new(Code::PayloadTooLarge, said).with_field("/operations"));
        }
        self.operations = checked;
        Ok(self)
    }
}

/// Which version is to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// A version in the key's history.
    pub version: u64,
}

/// What is left of a key that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tombstone {
    /// The key.
    pub key: Name,
    /// The version of its removal.
    pub version: u64,
}

/// What becomes of writes of keys that begin with a prefix, where they do not say themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// In a conflict; with `merge` every put is a merge.
    pub strategy: Strategy,
    /// Rules of a merge.
    #[serde(default)]
    pub rules: Rules,
}

impl Policy {
    /// Checks its rules.
    ///
    /// # Errors
    /// `invalid_argument`, with the offending field.
    pub fn checked(self) -> Result<Policy, Error> {
        self.rules.check()?;
        if self.strategy != Strategy::Merge && !self.rules.is_empty() {
            return Err(Error::invalid("rules are for a merge; set strategy to merge").with_field("/rules"));
        }
        Ok(self)
    }
}

/// Figures of keys that share what stands before their first slash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrefixCounts {
    /// What stands before the first slash, with it; empty for keys without one.
    pub prefix: String,
    /// Keys that are there.
    pub keys: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Puts, merges and restores that counted.
    pub writes: u64,
    /// Deletes that found something.
    pub deletes: u64,
    /// Keys whose time was over.
    pub expired: u64,
    /// Writes whose condition did not hold, whatever became of them.
    pub conflicts: u64,
    /// Values kept as lost.
    pub lost: u64,
}

/// Figures of a workspace's shared state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statistics {
    /// All together; operations since Redis was last empty. Its `prefix` is empty.
    pub total: PrefixCounts,
    /// Each prefix that has keys, in order.
    pub prefixes: Vec<PrefixCounts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Result<Batch, Error> {
        serde_json::from_str::<Batch>(text)
            .map_err(|e| Error::invalid(e.to_string()))
            .and_then(Batch::checked)
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_over_it() {
        let check = |put: Put, field: Option<&str>| {
            let refused = put.checked().err();
            assert_eq!(refused.as_ref().and_then(|e| e.field.as_deref()), field, "{refused:?}");
        };
        let text = |bytes: usize| Put::of(Json::of(&"x".repeat(bytes - 2)).unwrap());
        check(text(VALUE_BYTES), None);
        check(text(VALUE_BYTES + 1), Some("/value"));
        check(text(VALUE_BYTES * 4), Some("/value"));
        check(Put::of(Json::parse(&format!("[{}1]", " ".repeat(VALUE_BYTES))).unwrap()), None);
        let nested = |n: usize| Put::of(Json::parse(&format!("{}{}", "[".repeat(n), "]".repeat(n))).unwrap());
        check(nested(64), None);
        check(nested(65), Some("/value"));
        let ttl = |ms| Put { ttl_ms: Some(ms), ..Put::of(Json::null()) };
        check(ttl(0), Some("/ttl_ms"));
        check(ttl(1), None);
        check(ttl(TTL_LIMIT_MS), None);
        check(ttl(TTL_LIMIT_MS + 1), Some("/ttl_ms"));
        check(ttl(u64::MAX), Some("/ttl_ms"));
        let tags = |n: usize| {
            let metadata = Metadata { tags: vec!["x".repeat(n)], ..Metadata::default() };
            Put { metadata: Some(metadata), ..Put::of(Json::null()) }
        };
        let frame = r#"{"tags":[""]}"#.len();
        check(tags(METADATA_BYTES - frame), None);
        check(tags(METADATA_BYTES - frame + 1), Some("/metadata"));
        assert!(serde_json::from_str::<Put>(r#"{"value":1,"ttl_ms":-1}"#).is_err());
        assert!(serde_json::from_str::<Put>(r#"{"value":1,"ttl_ms":1e30}"#).is_err());
        assert!(serde_json::from_str::<Put>(r#"{}"#).is_err());
        assert!(serde_json::from_str::<Put>(r#"{"value":null,"x":1}"#).is_err());
    }

    #[test]
    fn a_batch_is_of_one_hash_tag_and_writes_a_key_once() {
        let check = |text: &str, field: Option<&str>| {
            let refused = batch(text).err();
            assert_eq!(refused.as_ref().and_then(|e| e.field.as_deref()), field, "{text}: {refused:?}");
        };
        let of = |operations: &str| format!(r#"{{"operations":[{operations}]}}"#);
        let put = |key: &str| format!(r#"{{"op":"put","key":"{key}","value":null}}"#);
        check(&of(&[put("{a}1"), put("{a}2")].join(",")), None);
        check(&of(&[put("{a}1"), put("{b}1"), put("{c}1")].join(",")), Some("/operations/1/key"));
        check(&of(&[put("{a}1"), put("a")].join(",")), None);
        check(&of(&[put("{}1"), put("{}2")].join(",")), Some("/operations/1/key"));
        check(
            &of(&[put("a"), r#"{"op":"get","key":"a"}"#.to_owned(), put("a")].join(",")),
            Some("/operations/2/key"),
        );
        check(&of(r#"{"op":"put","key":"a"}"#), Some("/operations/0/value"));
        check(&of(r#"{"op":"get","key":"a","value":null}"#), Some("/operations/0/value"));
        check(&of(r#"{"op":"get","key":"a","if_version":1}"#), Some("/operations/0/if_version"));
        check(
            &of(r#"{"op":"delete","key":"a","if_version":9007199254740992}"#),
            Some("/operations/0/if_version"),
        );
        check(&of(""), Some("/operations"));
        let many = |n: usize| of(&(0..n).map(|n| put(&format!("{{a}}{n}"))).collect::<Vec<_>>().join(","));
        check(&many(BATCH_LIMIT), None);
        check(&many(BATCH_LIMIT + 1), Some("/operations"));
        let big = format!(r#""{}""#, "x".repeat(VALUE_BYTES - 2));
        let large = |n: usize| {
            let one = |n| format!(r#"{{"op":"put","key":"{{a}}{n}","value":{big}}}"#);
            of(&(0..n).map(one).collect::<Vec<_>>().join(","))
        };
        check(&large(8), None);
        check(&large(9), Some("/operations"));
    }
}
