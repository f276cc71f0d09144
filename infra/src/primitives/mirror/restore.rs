//! Reads the mirror back into a Redis that lost what it had: only what is newer than what is there, tombstones too.
//!
//! And the other way round: what Redis has and the mirror has not ([`Restoring::ahead`]) is owed to the mirror once more.

use crate::primitives::keys;
use crate::primitives::state::changes::{Stored, StoredPast};
use crate::redis::{Call, Redis, RedisError, Script};
use redis::{Pipeline, Value};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::primitives::state::range as range_of;
use synod_protocol::{Name, Workspace};

/// Records written in one go.
const BATCH: usize = 64;
/// How long a restored key's history is kept, and how many lines it may have: as a write keeps it.
const HISTORY: (Duration, u64) = (Duration::from_secs(7 * 24 * 3600), 100);
/// Keys looked at in one step of a scan.
const SCANNED: usize = 1000;

static RESTORE: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_restore", include_str!("../scripts/state_restore.lua")));

/// What the mirror has of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The text of its entry.
    Written(String),
    /// The text of its tombstone's line.
    Gone(String),
}

/// What a restore came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records of this range that the mirror had.
    pub read: u64,
    /// Those that were newer than what Redis had.
    pub written: u64,
    /// Records that do not read.
    pub unreadable: u64,
}

/// What Redis has and the mirror has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Whose.
    pub workspace: Workspace,
    /// The key.
    pub key: Name,
    /// What it is now.
    pub kept: Kept,
}

/// One range on its way back.
pub struct Restoring {
    redis: Redis,
    range: u32,
    waiting: Vec<Call>,
    /// The highest version of each key that the mirror has.
    known: HashMap<String, u64>,
    restored: Restored,
}

#[derive(Serialize)]
struct Tail<'a> {
    op: &'static str,
    outcome: &'static str,
    strategy: Option<()>,
    base_version: Option<()>,
    updated_ms: i64,
    updated_by: &'a str,
    reason: &'static str,
}

impl Restoring {
    /// Nothing was read yet.
    pub fn new(redis: Redis, range: u32) -> Restoring {
        Restoring { redis, range, waiting: Vec::new(), known: HashMap::new(), restored: Restored::default() }
    }

    /// Takes one record of the mirror; those of other ranges are passed over. Whether enough wait to be [written](Self::write).
    pub fn take(&mut self, workspace: &Workspace, key: &Name, kept: &Kept) -> bool {
        if range_of(workspace, key) != self.range {
            return false;
        }
        self.restored.read += 1;
        let member = format!("{workspace}/{key}");
        match self.call(workspace, key, &member, kept) {
            Ok((version, call)) => {
                // The log may hold an older version behind a newer one: the highest counts.
                let known = self.known.entry(member).or_default();
                if version > *known {
                    *known = version;
                    self.waiting.push(call);
                }
            }
            Err(error) => {
                self.restored.unreadable += 1;
                tracing::error!(%workspace, %key, %error, "a record of the mirror of shared state does not read");
            }
        }
        self.waiting.len() >= BATCH
    }

    fn call(
        &self,
        workspace: &Workspace,
        key: &Name,
        member: &str,
        kept: &Kept,
    ) -> Result<(u64, Call), serde_json::Error> {
        let group = key.as_str().split_once('/').map_or("", |(before, _)| before);
        let (version, words) = match kept {
            Kept::Written(text) => {
                let stored: Stored = serde_json::from_str(text)?;
                let tail = Tail {
                    op: "put",
                    outcome: "written",
                    strategy: None,
                    base_version: None,
                    updated_ms: stored.updated_ms,
                    updated_by: &stored.updated_by,
                    reason: "read back from the mirror",
                };
                let tail = serde_json::to_string(&tail)?.replacen('{', ",", 1);
                let bytes = stored.value.as_str().len();
                let expires = stored.expires_ms.map(|ms| ms.to_string()).unwrap_or_default();
                let words = [
                    "written".to_owned(),
                    stored.version.to_string(),
                    text.clone(),
                    bytes.to_string(),
                    expires,
                    stored.created_ms.to_string(),
                    tail,
                ];
                (stored.version, words)
            }
            Kept::Gone(text) => {
                let past: StoredPast = serde_json::from_str(text)?;
                let version = past.version.unwrap_or_default();
                let none = String::new;
                (
                    version,
                    ["gone".to_owned(), version.to_string(), text.clone(), none(), none(), none(), none()],
                )
            }
        };
        let args = [key.to_string(), member.to_owned(), group.to_owned()].into_iter().chain(words);
        let args = args.chain([HISTORY.0.as_millis().to_string(), HISTORY.1.to_string()]).collect();
        let keys = vec![
            keys::state_entry(self.range, workspace, key),
            keys::state_past(self.range, workspace, key),
            keys::state_index(self.range, workspace),
            keys::state_expiring(self.range),
            keys::state_counts(self.range, workspace),
        ];
        Ok((version, Call { keys, args }))
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// Those of any call; what was written stays, and may be written again.
    pub async fn write(&mut self) -> Result<(), RedisError> {
        for answer in RESTORE.run_all(&self.redis, &self.waiting).await {
            let words: Vec<String> = redis::from_redis_value(answer?)?;
            self.restored.written += u64::from(words.first().is_some_and(|word| word == "wrote"));
        }
        self.waiting.clear();
        Ok(())
    }

    /// What came of it so far.
    pub fn restored(&self) -> Restored {
        self.restored
    }

    /// Looks at some of what Redis has of this range: what is newer than what the mirror has. `cursor` is `"0"` first and
    /// then what the call before answered; `"0"` again means that all was looked at. A key may come twice.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn ahead(&self, cursor: &str) -> Result<(String, Vec<Ahead>), RedisError> {
        let begin = format!("synod:{{state/{}}}:entry:", self.range);
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{begin}*")).arg("COUNT").arg(SCANNED);
        let (next, found): (String, Vec<String>) = self.redis.query(&scan).await?;
        if found.is_empty() {
            return Ok((next, Vec::new()));
        }
        let mut versions = Pipeline::with_capacity(found.len());
        for entry in &found {
            versions.cmd("HGET").arg(entry).arg("v");
        }
        let mut ahead = Vec::new();
        for (entry, version) in found.into_iter().zip(self.redis.pipeline(&versions).await?.values) {
            let Some(member) = entry.strip_prefix(&begin) else { continue };
            let version: Option<u64> = redis::from_redis_value(version.extract_error()?)?;
            if version.is_some_and(|version| version > self.known.get(member).copied().unwrap_or_default()) {
                ahead.extend(self.one_ahead(&entry, member).await?);
            }
        }
        Ok((next, ahead))
    }

    async fn one_ahead(&self, entry: &str, member: &str) -> Result<Option<Ahead>, RedisError> {
        let parts = member.split_once('/').and_then(|(w, k)| Some((w.parse().ok()?, k.parse().ok()?)));
        let Some((workspace, key)): Option<(Workspace, Name)> = parts else { return Ok(None) };
        let text: Option<String> = self.redis.query(redis::cmd("HGET").arg(entry).arg("e")).await?;
        if let Some(text) = text {
            return Ok(Some(Ahead { workspace, key, kept: Kept::Written(text) }));
        }
        let mut last = redis::cmd("XREVRANGE");
        last.arg(keys::state_past(self.range, &workspace, &key)).arg("+").arg("-").arg("COUNT").arg(8);
        let lines: Vec<(String, HashMap<String, Value>)> = self.redis.query(&last).await?;
        let texts =
            lines.into_iter().filter_map(|(_, mut line)| redis::from_redis_value(line.remove("h")?).ok());
        let gone = |text: &String| {
            serde_json::from_str::<StoredPast>(text).is_ok_and(|past| {
                use synod_protocol::primitives::state::Op;
                past.version.is_some() && matches!(past.op, Op::Delete | Op::Expire)
            })
        };
        // Without a line that says so there is nothing to mirror: the tombstone's version is in the entry alone.
        Ok(texts.into_iter().find(gone).map(|text| Ahead { workspace, key, kept: Kept::Gone(text) }))
    }
}
