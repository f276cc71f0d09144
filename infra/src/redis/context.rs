//! An agent's own context, in versions: saved by one process start, found again by the next.
//!
//! ```text
//!   open --script--> fenced, or: from now on only this process start writes --> restore: newest version that is whole
//!   SET draft, save --script--> fenced, or: one more version, the oldest gone          --> news --BLPOP--> a coordinator publishes
//! ```
//!
//! Who is newer is told by the ledger: `order` is the time of the registration there, in ms. An older process start is
//! refused by the script from the moment at which a newer one has opened or saved. What is kept lives as long as Redis
//! keeps it; the ledger knows nothing of it.

use super::blocking::{BlockingReader, Read, seconds};
use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use crate::primitives::keys::MEMORY_NEWS;
use crate::primitives::memory::MemoryNews;
use redis::{Pipeline, Value};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::checkpoint::{ContextNote, ContextVersion};
use synod_protocol::{Id, Incarnation, Timestamp, Workspace};
use tokio::time::Instant;
use uuid::Uuid;

/// The most bytes of one version.
pub const CONTEXT_BYTES_LIMIT: usize = 4 << 20;
/// The most versions that are kept.
pub const CONTEXT_KEEP_LIMIT: u32 = 50;
/// How long a context outlives its last use.
pub const CONTEXT_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// News that may wait for a coordinator, the newest ones.
pub const NEWS_LIMIT: i64 = 10_000;
/// News taken at a time.
const NEWS_AT_ONCE: usize = 256;

static SAVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("save_context", include_str!("scripts/save_context.lua")));
static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new("open_context", include_str!("scripts/open_context.lua")));

/// Whose context, and in whose name it is touched.
#[derive(Clone, Debug)]
pub struct ContextOf {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// The agent.
    pub agent: Id,
    /// The process start that writes.
    pub incarnation: Incarnation,
    /// When the ledger registered it, in ms: of two process starts the later one wins.
    pub order: u64,
}

/// What became of a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is kept.
    Kept {
        /// Under this version.
        version: u64,
        /// By Redis' clock.
        at: Timestamp,
    },
    /// A newer process start of the agent has been here; nothing was changed.
    Fenced {
        /// Which.
        by: Incarnation,
    },
}

/// What became of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Only this process start writes from now on; these versions are there, newest first.
    Versions(Vec<u64>),
    /// A newer process start of the agent has been here; nothing was changed.
    Fenced {
        /// Which.
        by: Incarnation,
    },
}

/// That a context has a new version, for whoever publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// The agent.
    pub agent_id: Id,
    /// The version.
    pub version: ContextVersion,
}

/// The contexts in this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Contexts {
    redis: Redis,
}

impl Contexts {
    /// All contexts of this Redis.
    pub fn new(redis: Redis) -> Contexts {
        Contexts { redis }
    }

    /// Takes the context over for this process start.
    ///
    /// # Errors
    /// Those of any call. Opening again is harmless.
    pub async fn open(&self, of: &ContextOf) -> Result<Opened, RedisError> {
        let call = Call {
            keys: vec![keys::context(&of.workspace, &of.agent)],
            args: vec![of.incarnation.to_string(), of.order.to_string(), kept_ms()],
        };
        let words: Vec<String> = redis::from_redis_value(OPEN.run(&self.redis, call).await?)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["open", versions] => Ok(Opened::Versions(newest_first(versions)?)),
            ["fenced", by] => Ok(Opened::Fenced { by: incarnation(by)? }),
            other => Err(RedisError::Unexpected(format!("opening a context answered {other:?}"))),
        }
    }

    /// Keeps one more version, greater than `known`, and no more than `keep` of them.
    ///
    /// # Errors
    /// `InvalidConfig` over a hard limit ([`CONTEXT_BYTES_LIMIT`], [`CONTEXT_KEEP_LIMIT`]); those of any call: then it may
    /// be there all the same, as one version more.
    pub async fn save(
        &self,
        of: &ContextOf,
        note: &ContextNote,
        bytes: &[u8],
        known: u64,
        keep: u32,
    ) -> Result<Saved, RedisError> {
        if bytes.len() > CONTEXT_BYTES_LIMIT || !(1..=CONTEXT_KEEP_LIMIT).contains(&keep) {
            return Err(RedisError::InvalidConfig(format!(
                "a context of {} bytes in {keep} versions; the limits are {CONTEXT_BYTES_LIMIT} and 1 to {CONTEXT_KEEP_LIMIT}",
                bytes.len()
            )));
        }
        let note = serde_json::to_string(note).map_err(|e| RedisError::Unexpected(e.to_string()))?;
        let draft = keys::context_draft(&of.workspace, &of.agent, &Uuid::new_v4());
        let call = Call {
            keys: vec![keys::context(&of.workspace, &of.agent), draft.clone()],
            args: vec![
                of.incarnation.to_string(),
                of.order.to_string(),
                known.to_string(),
                keep.to_string(),
                kept_ms(),
                note,
            ],
        };
        // A draft of its own: one that was sent before and comes late does not mix with this one.
        let mut set = redis::cmd("SET");
        set.arg(&draft).arg(bytes).arg("PX").arg(kept_ms());
        let words: Vec<String> = redis::from_redis_value(SAVE.run_after(&self.redis, set, &call).await?)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["kept", version, ms] => match (version.parse(), ms.parse()) {
                (Ok(version), Ok(ms)) => Ok(Saved::Kept { version, at: Timestamp::from_millis(ms) }),
                _ => Err(RedisError::Unexpected(format!("a context was kept as {version:?} at {ms:?}"))),
            },
            ["fenced", by] => Ok(Saved::Fenced { by: incarnation(by)? }),
            other => Err(RedisError::Unexpected(format!("saving a context answered {other:?}"))),
        }
    }

    /// The versions that are there, newest first. One whose note does not read is left out.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn versions(
        &self,
        workspace: &Workspace,
        agent: &Id,
    ) -> Result<Vec<ContextVersion>, RedisError> {
        let key = keys::context(workspace, agent);
        let listed: Option<String> = self.redis.query(redis::cmd("HGET").arg(&key).arg("versions")).await?;
        let versions = newest_first(&listed.unwrap_or_default())?;
        if versions.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<String> = versions.iter().map(|version| format!("note:{version}")).collect();
        let notes: Vec<Option<String>> = self.redis.query(redis::cmd("HMGET").arg(&key).arg(&fields)).await?;
        let read = |(version, note): (&u64, Option<String>)| noted(*version, note?.as_str());
        Ok(versions.iter().zip(notes).filter_map(read).collect())
    }

    /// One version with its bytes, whether or not they are whole; `None` if it is not there or its note does not read.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn version(
        &self,
        workspace: &Workspace,
        agent: &Id,
        version: u64,
    ) -> Result<Option<(ContextVersion, Vec<u8>)>, RedisError> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("HGET").arg(keys::context(workspace, agent)).arg(format!("note:{version}"));
        both.cmd("GET").arg(keys::context_bytes(workspace, agent, version));
        let mut values = self.redis.pipeline(&both).await?.values.into_iter();
        let mut next = || values.next().unwrap_or(Value::Nil).extract_error();
        let note: Option<String> = redis::from_redis_value(next()?)?;
        let data: Option<Vec<u8>> = redis::from_redis_value(next()?)?;
        Ok(note.and_then(|note| noted(version, &note)).map(|note| (note, data.unwrap_or_default())))
    }

    /// Has a coordinator publish that there is a new version.
    ///
    /// # Errors
    /// Those of any call; what is not heard is not published.
    pub async fn tell(&self, news: &News) -> Result<(), RedisError> {
        let text = serde_json::to_string(news).map_err(|e| RedisError::Unexpected(e.to_string()))?;
        let mut both = Pipeline::with_capacity(2);
        both.cmd("RPUSH").arg(keys::CONTEXT_NEWS).arg(text);
        both.cmd("LTRIM").arg(keys::CONTEXT_NEWS).arg(-NEWS_LIMIT).arg(-1);
        for value in self.redis.pipeline(&both).await?.values {
            value.extract_error()?;
        }
        Ok(())
    }
}

/// What there is to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A context has a new version.
    Context(News),
    /// An agent's memory was written.
    Memory(MemoryNews),
}

/// Takes the news of all contexts and memories, over a blocking connection of its own. Of several readers one gets each.
pub struct NewsReader {
    reader: BlockingReader,
}

impl NewsReader {
    /// A reader; it connects with the first `next`.
    pub fn new(redis: Redis) -> NewsReader {
        NewsReader { reader: BlockingReader::new(redis, redis::cmd("PING")) }
    }

    /// What has come, waited for up to `wait`; empty when nothing did. What does not read is logged and left out.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Those of any call; news may be lost with the connection that carried them.
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<Heard>, RedisError> {
        let deadline = Instant::now() + wait;
        loop {
            let pop = |piece: Duration| {
                let mut commands = Pipeline::with_capacity(1);
                // One blocks for the first and brings what else is there.
                commands.cmd("BLMPOP").arg(seconds(piece)).arg(2).arg(keys::CONTEXT_NEWS).arg(MEMORY_NEWS);
                commands.arg("LEFT").arg("COUNT").arg(NEWS_AT_ONCE);
                commands
            };
            match self.reader.next(deadline, pop).await? {
                None => return Ok(Vec::new()),
                Some(Read::Opened(_)) => {}
                Some(Read::Answer(Value::Nil)) if Instant::now() >= deadline => return Ok(Vec::new()),
                Some(Read::Answer(Value::Nil)) => {}
                Some(Read::Answer(answer)) => {
                    let (list, texts): (String, Vec<String>) = redis::from_redis_value(answer)?;
                    let is_memory = list == MEMORY_NEWS;
                    return Ok(texts.iter().filter_map(|text| heard(text, is_memory)).collect());
                }
            }
        }
    }
}

fn heard(text: &str, is_memory: bool) -> Option<Heard> {
    let read = match is_memory {
        true => serde_json::from_str(text).map(Heard::Memory),
        false => serde_json::from_str(text).map(Heard::Context),
    };
    read.inspect_err(|error| tracing::warn!(%error, "news of a context do not read")).ok()
}

fn kept_ms() -> String {
    CONTEXT_KEPT.as_millis().to_string()
}

/// `<saved at, ms> <note as JSON>`, as the script writes it.
fn noted(version: u64, text: &str) -> Option<ContextVersion> {
    let (ms, note) = text.split_once(' ')?;
    let note: ContextNote = serde_json::from_str(note).ok()?;
    Some(ContextVersion {
        version,
        saved_at: Timestamp::from_millis(ms.parse().ok()?),
        incarnation: note.incarnation,
        cause: note.cause,
        form: note.form,
        bytes: note.bytes,
        checksum: note.checksum,
    })
}

fn newest_first(versions: &str) -> Result<Vec<u64>, RedisError> {
    let read = |text: &str| text.parse().ok();
    let all: Option<Vec<u64>> = versions.split_whitespace().rev().map(read).collect();
    all.ok_or_else(|| RedisError::Unexpected(format!("a context lists the versions {versions:?}")))
}

fn incarnation(text: &str) -> Result<Incarnation, RedisError> {
    text.parse().map_err(|_| RedisError::Unexpected(format!("a context was written by {text:?}")))
}
