//! The hot cache of one memory in this process, and the uses that it owes Redis.
//!
//! A hit costs no call; its use is noted here. Notes are sent in the order of the uses: with the next call, which does
//! them first, or by themselves within [`SENT_WITHIN`]. While notes are on their way no call overtakes them.

use super::{STATISTICS, answers, call};
use crate::redis::{Once, Redis, RedisError, Repeatable};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_protocol::primitives::memory::MemoryEntry;
use synod_protocol::{Id, Name, Timestamp, Workspace};
use tokio::sync::RwLock;
use tokio::time::Instant;

/// A use is with Redis after so long.
const SENT_WITHIN: Duration = Duration::from_millis(100);
/// The most entries of one cache, and the bytes of their values.
const ENTRIES: usize = 1_000;
const BYTES: usize = 16 << 20;

/// Uses that Redis does not know of yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// How many.
    pub(super) hits: u64,
    /// Of which keys, in the order of their last use.
    pub(super) keys: Vec<Name>,
}

/// The cache and its debts.
pub(super) struct Hot {
    redis: Redis,
    workspace: Workspace,
    agent: Id,
    cache: Mutex<Cache>,
    /// Held for writing by a call that carries uses, for reading by any other.
    carrying: RwLock<()>,
}

/// What is in it.
pub(super) struct Cache {
    staleness: Duration,
    kept: HashMap<Name, Kept>,
    bytes: usize,
    /// Grows with everything that is forgotten: what was asked for before is not kept.
    forgotten: u64,
    hits: u64,
    /// The uses by key: the newest has the highest number.
    uses: HashMap<Name, u64>,
    last_use: u64,
    is_sending: bool,
}

struct Kept {
    entry: MemoryEntry,
    until: Instant,
}

/// That something was asked for, and when.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    forgotten: u64,
    at: Instant,
}

impl Cache {
    /// Before a read is sent.
    pub(super) fn asking(&self) -> Asking {
        Asking { forgotten: self.forgotten, at: Instant::now() }
    }

    /// Keeps what was read, if nothing was written here meanwhile. `now` is Redis' time of the reading.
    pub(super) fn keep(&mut self, entry: &MemoryEntry, now: Timestamp, asked: Asking) {
        let size = entry.value.as_str().len();
        if self.staleness.is_zero() || asked.forgotten != self.forgotten || size > BYTES {
            return;
        }
        let lives = Duration::from_millis(entry.expires_at.millis_since(now));
        let until = asked.at + self.staleness.min(lives);
        self.drop_one(&entry.key);
        if self.kept.len() >= ENTRIES || self.bytes + size > BYTES {
            let now = Instant::now();
            self.kept.retain(|_, kept| kept.until > now);
            self.bytes = self.kept.values().map(|kept| kept.entry.value.as_str().len()).sum();
        }
        if self.kept.len() < ENTRIES && self.bytes + size <= BYTES {
            self.bytes += size;
            self.kept.insert(entry.key.clone(), Kept { entry: entry.clone(), until });
        }
    }

    /// What was written here is asked for again; with no key, everything is.
    pub(super) fn forget(&mut self, key: Option<&Name>) {
        self.forgotten += 1;
        match key {
            Some(key) => self.drop_one(key),
            None => {
                self.kept.clear();
                self.bytes = 0;
            }
        }
    }

    fn drop_one(&mut self, key: &Name) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.entry.value.as_str().len();
        }
    }

    fn used(&mut self, key: &Name) {
        self.hits += 1;
        self.last_use += 1;
        self.uses.insert(key.clone(), self.last_use);
    }

    fn take_uses(&mut self) -> Uses {
        let mut uses: Vec<(Name, u64)> = self.uses.drain().collect();
        uses.sort_unstable_by_key(|(_, n)| *n);
        let keys = uses.into_iter().map(|(key, _)| key).collect();
        Uses { hits: std::mem::take(&mut self.hits), keys }
    }

    /// What could not be sent is owed still, unless it was used again since.
    fn owe(&mut self, uses: Uses) {
        self.hits += uses.hits;
        for key in uses.keys {
            self.uses.entry(key).or_insert(0);
        }
    }
}

impl Hot {
    pub(super) fn new(redis: Redis, workspace: &Workspace, agent: &Id, staleness: Duration) -> Hot {
        let cache = Cache {
            staleness,
            kept: HashMap::new(),
            bytes: 0,
            forgotten: 0,
            hits: 0,
            uses: HashMap::new(),
            last_use: 0,
            is_sending: false,
        };
        Hot {
            redis,
            workspace: workspace.clone(),
            agent: agent.clone(),
            cache: Mutex::new(cache),
            carrying: RwLock::new(()),
        }
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry, if it is here and not too old; then it is used.
    pub(super) fn hit(self: &Arc<Self>, key: &Name) -> Option<MemoryEntry> {
        let mut cache = self.cache();
        let kept = cache.kept.get(key).filter(|kept| Instant::now() < kept.until)?;
        let entry = kept.entry.clone();
        cache.used(key);
        if !std::mem::replace(&mut cache.is_sending, true) {
            let hot = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(SENT_WITHIN).await;
                hot.cache().is_sending = false;
                if let Err(error) = hot.flush().await {
                    tracing::debug!(%error, "uses of a memory are not told yet");
                }
            });
        }
        Some(entry)
    }

    /// Sends what is owed.
    pub(super) async fn flush(&self) -> Result<(), RedisError> {
        if self.cache().hits == 0 {
            return Ok(());
        }
        self.run(&STATISTICS, Vec::new(), None).await.map(drop)
    }

    pub(super) async fn run(
        &self,
        script: &Repeatable,
        args: Vec<String>,
        once: Option<&Once>,
    ) -> Result<Vec<String>, RedisError> {
        self.run_with(script, Vec::new(), args, once).await
    }

    /// Runs a script behind the uses that are owed, and behind those that are on their way.
    pub(super) async fn run_with(
        &self,
        script: &Repeatable,
        more_keys: Vec<String>,
        args: Vec<String>,
        once: Option<&Once>,
    ) -> Result<Vec<String>, RedisError> {
        let is_owing = self.cache().hits > 0;
        let _alone = if is_owing { Some(self.carrying.write().await) } else { None };
        let _beside = if !is_owing { Some(self.carrying.read().await) } else { None };
        let uses = if is_owing { self.cache().take_uses() } else { Uses::default() };
        // A repeat of the same request does not run: its uses go before it.
        if once.is_some() && uses.hits > 0 {
            let first = call(&self.workspace, &self.agent, Vec::new(), &uses, Vec::new());
            self.owing(uses.clone(), STATISTICS.run(&self.redis, first, None).await)?;
            let call = call(&self.workspace, &self.agent, more_keys, &Uses::default(), args);
            return answers::words(script.run(&self.redis, call, once).await?);
        }
        let call = call(&self.workspace, &self.agent, more_keys, &uses, args);
        let answer = self.owing(uses, script.run(&self.redis, call, once).await);
        answers::words(answer?)
    }

    fn owing(
        &self,
        uses: Uses,
        answer: Result<redis::Value, RedisError>,
    ) -> Result<redis::Value, RedisError> {
        if answer.is_err() && uses.hits > 0 {
            self.cache().owe(uses);
        }
        answer
    }
}
