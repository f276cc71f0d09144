//! Shared state: versioned values under keys.
//!
//! ```text
//! put, delete, batch, restore, sweep --> write_state.lua: entry + history + change + counts, or nothing
//! get, at --> read_state.lua     history --> list_past.lua     list --> page_state.lua on each range, then reads
//! ```
//!
//! The keys are divided into [`RANGES`]; whatever belongs to one range has one hash tag, one stream of changes
//! ([`changes`]) and one relay. A range is served while its key `open` is there: whoever wipes Redis wipes that too, so
//! nobody sees an empty state before the mirror was read back. A range whose stream is full takes no writes.
//!
//! A version is `max(last + 1, Redis' time in µs)`. The last one of a key outlives its removal as long as its history
//! does; afterwards the clock alone makes it grow.
//!
//! Texts are never parsed in Redis: scripts join pieces that were made here, so no number of a value passes through Lua.
//! A merge is made here of what was read, and written if that is still there, else made again.

pub mod changes;
mod history;
mod list;
mod policies;
mod statistics;
mod sweep;
mod write;

pub use history::HistoryPage;
pub use list::Page;
pub use write::{Done, Place, Removed, Writer, Written};

use super::keys;
use crate::redis::{Call, Redis, RedisError, Script};
use changes::{Stored, StoredPast};
use policies::Policies;
use redis::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use synod_protocol::primitives::state::{Entry, RANGES, range};
use synod_protocol::{Applied, Error, Name, Workspace};

static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("read_state", include_str!("../scripts/read_state.lua")));

/// How much of a key's history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Lines of it: 100.
    pub entries: u32,
    /// How old a line may be, and how long a tombstone stays: 7 days.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { entries: 100, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// The policies of a workspace as each range had them when they were last read.
type Remembered = HashMap<(u32, Workspace), Arc<Policies>>;

/// The shared state of this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct State {
    redis: Redis,
    retention: Retention,
    policies: Arc<Mutex<Remembered>>,
}

impl State {
    /// All of this Redis, with the usual retention.
    pub fn new(redis: Redis) -> State {
        State::keeping(redis, Retention::default())
    }

    /// All of this Redis, with another retention. All who write should use the same.
    pub fn keeping(redis: Redis, retention: Retention) -> State {
        State { redis, retention, policies: Arc::default() }
    }

    /// Serves every range: for a mesh without a mirror, and for tests.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn open_all(&self) -> Result<(), RedisError> {
        let mut all = redis::cmd("MSET");
        (0..RANGES).for_each(|range| {
            all.arg(keys::state_open(range)).arg("1");
        });
        self.redis.query(&all).await
    }

    /// What is there now.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn get(&self, workspace: &Workspace, key: &Name) -> Result<Option<Entry>, Error> {
        one(self.read(&[(workspace, key)], None).await?)
    }

    /// What was there at a version, if its history still has it; nothing for the version of a removal.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn at(&self, workspace: &Workspace, key: &Name, version: u64) -> Result<Option<Entry>, Error> {
        one(self.read(&[(workspace, key)], Some(version)).await?)
    }

    async fn read(
        &self,
        which: &[(&Workspace, &Name)],
        version: Option<u64>,
    ) -> Result<Vec<Option<Entry>>, Error> {
        let version = version.map(|v| v.to_string()).unwrap_or_default();
        let call = |(workspace, key): &(&Workspace, &Name)| {
            let at = range(workspace, key);
            let keys = vec![
                keys::state_open(at),
                keys::state_entry(at, workspace, key),
                keys::state_past(at, workspace, key),
            ];
            Call { keys, args: vec![version.clone()] }
        };
        let calls: Vec<Call> = which.iter().map(call).collect();
        let answers = READ.run_all(&self.redis, &calls).await;
        which.iter().zip(answers).map(|((_, key), answer)| read_entry(key, answer?)).collect()
    }
}

fn one(mut entries: Vec<Option<Entry>>) -> Result<Option<Entry>, Error> {
    Ok(entries.pop().flatten())
}

/// What `read_state.lua` answers.
fn read_entry(key: &Name, answer: Value) -> Result<Option<Entry>, Error> {
    let words = words(answer)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["none"] => Ok(None),
        ["entry", text] => entry(key, text).map(Some),
        ["past", text, more] => {
            let past: StoredPast = serde_json::from_str(text).map_err(|e| unreadable(key, &e))?;
            let version = past.version.unwrap_or_default();
            entry(key, &format!("{{\"value\":{},\"version\":{version}{more}", past.value.as_str())).map(Some)
        }
        ["shut"] => Err(shut()),
        other => Err(unexpected("read_state", other)),
    }
}

fn entry(key: &Name, text: &str) -> Result<Entry, Error> {
    serde_json::from_str::<Stored>(text).map(|s| s.entry(key.clone())).map_err(|e| unreadable(key, &e))
}

/// The words that a script answers.
fn words(answer: Value) -> Result<Vec<String>, RedisError> {
    Ok(redis::from_redis_value(answer)?)
}

fn unreadable(key: &Name, why: &dyn std::fmt::Display) -> Error {
    RedisError::Unexpected(format!("the state under {key:?} does not read: {why}")).into()
}

fn unexpected(script: &str, words: &[&str]) -> Error {
    let first = words.first().copied().unwrap_or_default();
    RedisError::Unexpected(format!("{script} answered {first:?}")).into()
}

/// The range is not served: nothing was done.
fn shut() -> Error {
    let said = "Redis: shared state is being restored from the mirror; try again a little later";
    Error { applied: Some(Applied::No), ..Error::unavailable(said) }
}
