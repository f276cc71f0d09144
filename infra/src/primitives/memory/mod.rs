//! Agents' memories in Redis: every operation is one script, every time is Redis' own.
//!
//! ```text
//! get --hot cache--> a hit: its use is noted, and sent with the next call, or within 100 ms
//!      `--script---> touches, reads      put --script--> noted uses first, then writes, then what is too much goes
//! ```
//!
//! Which entry goes is decided by the order of use alone, uses in this process' hot cache included: they are there before
//! the write that needs room. Uses in other processes' caches arrive within 100 ms. All of a memory is under one hash tag;
//! a hand-over touches two, which one Redis does and a cluster would not.

mod answers;
mod hot;
mod news;

pub use news::{MemoryNews, tell};

use super::keys;
use crate::redis::{Call, Once, Redis, Repeatable};
use hot::{Hot, Uses};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use synod_protocol::primitives::memory::{
    MemoryEntry, MemoryLimits, MemoryOp, MemoryStatistics, PAGE_BYTES, PutMemory, Thread,
};
use synod_protocol::{Code, Error, Id, Name, Workspace};

/// How old what a hot cache answers may be, where nothing else is said.
pub const STALENESS: Duration = Duration::from_secs(1);

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            let shared = include_str!("../scripts/memory.lua");
            Repeatable::new(
                $name,
                &format!("{shared}\n{}", include_str!(concat!("../scripts/", $name, ".lua"))),
            )
        })
    };
}
static PUT: LazyLock<Repeatable> = script!("put_memory");
static GET: LazyLock<Repeatable> = script!("get_memory");
static DELETE: LazyLock<Repeatable> = script!("delete_memory");
static LIST: LazyLock<Repeatable> = script!("list_memory");
static THREAD: LazyLock<Repeatable> = script!("thread_memory");
static STATISTICS: LazyLock<Repeatable> = script!("memory_statistics");
static CLEAR: LazyLock<Repeatable> = script!("clear_memory");

/// Which entries are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those whose keys begin so.
    pub prefix: String,
    /// Those that have this tag.
    pub tag: Option<String>,
    /// Where the page before ended.
    pub before: Option<u64>,
    /// Entries of the page at most.
    pub limit: usize,
}

/// One page of entries, newest written first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPage {
    /// The entries.
    pub items: Vec<MemoryEntry>,
    /// Where the page ended, if there are more.
    pub next: Option<u64>,
}

/// Those that some handle holds.
type HotCaches = HashMap<(Workspace, Id), Weak<Hot>>;

/// The memories in this Redis; a cheap clone. Clones share the hot caches.
#[derive(Clone)]
pub struct Memories {
    redis: Redis,
    limits: MemoryLimits,
    staleness: Duration,
    hot: Arc<Mutex<HotCaches>>,
}

impl Memories {
    /// All memories of this Redis; what a hot cache answers is no older than `staleness`. Zero: there is none.
    pub fn new(redis: Redis, limits: MemoryLimits, staleness: Duration) -> Memories {
        Memories { redis, limits, staleness, hot: Arc::default() }
    }

    /// An agent's memory. All handles of one process on it share one hot cache, as long as there is one.
    pub fn of(&self, workspace: &Workspace, agent: &Id) -> Memory {
        let mut all = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (workspace.clone(), agent.clone());
        let hot = all.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            all.retain(|_, hot| hot.strong_count() > 0);
            let hot = Arc::new(Hot::new(self.redis.clone(), workspace, agent, self.staleness));
            all.insert(key, Arc::downgrade(&hot));
            hot
        });
        Memory { limits: self.limits, workspace: workspace.clone(), agent: agent.clone(), hot }
    }
}

impl fmt::Debug for Memories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memories").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// One agent's memory; a cheap clone.
#[derive(Clone)]
pub struct Memory {
    limits: MemoryLimits,
    workspace: Workspace,
    agent: Id,
    hot: Arc<Hot>,
}

impl Memory {
    /// Whose it is.
    pub fn agent(&self) -> &Id {
        &self.agent
    }

    /// Writes an entry whole; whether its key is new. Then the least recently used go, as many as are too many.
    ///
    /// # Errors
    /// `invalid_argument`, `payload_too_large`, with the place; those of any call: then it may be written.
    pub async fn put(
        &self,
        key: &Name,
        put: &PutMemory,
        once: Option<&Once>,
    ) -> Result<(MemoryEntry, bool), Error> {
        synod_protocol::primitives::memory::key(key.as_str(), "/key")?;
        let value = put.checked()?;
        let usual = u64::try_from(self.limits.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut tags = put.tags.clone();
        tags.sort_unstable();
        tags.dedup();
        let mut args = vec![
            key.to_string(),
            value,
            put.ttl_ms.unwrap_or(usual).to_string(),
            self.limits.entries.to_string(),
            self.limits.bytes.to_string(),
        ];
        args.extend(tags);
        let answer = self.hot.run(&PUT, args, once).await;
        self.hot.cache().forget(Some(key));
        let answer = answer?;
        if answer.first().map(String::as_str) == Some("again") {
            return Err(self.too_large());
        }
        let written = answers::written(&answer)?;
        self.news(MemoryOp::Put, vec![key.clone()], None).await;
        Ok(written)
    }

    /// Reads an entry, which uses it.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get(&self, key: &Name) -> Result<Option<MemoryEntry>, Error> {
        if let Some(entry) = self.hot.hit(key) {
            return Ok(Some(entry));
        }
        let asked = self.hot.cache().asking();
        let answer = self.hot.run(&GET, vec![key.to_string()], None).await?;
        let found = answers::found(&answer)?;
        if let Some((entry, now)) = &found {
            self.hot.cache().keep(entry, *now, asked);
        }
        Ok(found.map(|(entry, _)| entry))
    }

    /// Removes an entry; whether it was there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn delete(&self, key: &Name, once: Option<&Once>) -> Result<bool, Error> {
        let answer = self.hot.run(&DELETE, vec![key.to_string()], once).await;
        self.hot.cache().forget(Some(key));
        let was_there = answer?.first().map(String::as_str) == Some("done");
        if was_there {
            self.news(MemoryOp::Delete, vec![key.clone()], None).await;
        }
        Ok(was_there)
    }

    /// One page of entries, newest written first; this uses none of them.
    ///
    /// # Errors
    /// `invalid_argument` for what is no tag; those of any call.
    pub async fn list(&self, listing: &Listing) -> Result<MemoryPage, Error> {
        if let Some(tag) = &listing.tag {
            synod_protocol::primitives::memory::check_tag(tag, "/tag")?;
        }
        let args = vec![
            listing.limit.to_string(),
            PAGE_BYTES.to_string(),
            listing.before.map_or("+inf".to_owned(), |n| n.to_string()),
            listing.prefix.clone(),
            listing.tag.clone().unwrap_or_default(),
        ];
        Ok(answers::page(&self.hot.run(&LIST, args, None).await?)?)
    }

    /// Copies entries into another agent's memory, over what is there under these keys: all of them, or none. The copies
    /// end when the originals do, and say where they came from. Reading the originals so does not use them.
    ///
    /// # Errors
    /// `invalid_argument`; `not_found` with the place of the first that is not there; `payload_too_large` where they are
    /// more than a memory holds; those of any call.
    pub async fn thread(&self, thread: &Thread, once: Option<&Once>) -> Result<u64, Error> {
        let names = thread.checked(&self.agent)?;
        let mut args =
            vec![self.agent.to_string(), self.limits.entries.to_string(), self.limits.bytes.to_string()];
        args.extend(names.iter().map(Name::to_string));
        let to = keys::memory(&self.workspace, &thread.to);
        let answer = self.hot.run_with(&THREAD, to, args, once).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["done", copied] => {
                let copied = answers::figure(copied)?;
                let news = MemoryNews {
                    workspace: self.workspace.clone(),
                    agent_id: thread.to.clone(),
                    op: MemoryOp::Thread,
                    keys: names,
                    from: Some(self.agent.clone()),
                };
                tell(self.hot.redis(), &news).await;
                Ok(copied)
            }
            ["again", "unknown", n] => {
                let n = answers::figure(n)? as usize;
                let key = names.get(n).map_or("", Name::as_str);
                let said =
                    format!("agent {} remembers nothing under {key:?}; nothing was copied", self.agent);
                Err(Error::new(Code::NotFound, said).with_field(format!("/keys/{n}")))
            }
            ["again", "large"] => Err(self.too_large()),
            other => Err(Error::new(Code::Internal, format!("a hand-over on Redis answered {other:?}"))),
        }
    }

    /// What it is like.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn statistics(&self) -> Result<MemoryStatistics, Error> {
        Ok(answers::statistics(&self.hot.run(&STATISTICS, Vec::new(), None).await?)?)
    }

    /// Removes all entries; what was counted stays.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn clear(&self, once: Option<&Once>) -> Result<(), Error> {
        let answer = self.hot.run(&CLEAR, Vec::new(), once).await;
        self.hot.cache().forget(None);
        answer?;
        self.news(MemoryOp::Clear, Vec::new(), None).await;
        Ok(())
    }

    /// Sends the uses that are noted and not sent yet.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn flush(&self) -> Result<(), Error> {
        Ok(self.hot.flush().await?)
    }

    async fn news(&self, op: MemoryOp, keys: Vec<Name>, from: Option<Id>) {
        let (workspace, agent_id) = (self.workspace.clone(), self.agent.clone());
        tell(self.hot.redis(), &MemoryNews { workspace, agent_id, op, keys, from }).await;
    }

    fn too_large(&self) -> Error {
        let MemoryLimits { entries, bytes, .. } = self.limits;
        let said = format!("that is more than one memory holds: {entries} entries and {bytes} bytes");
        Error::new(Code::PayloadTooLarge, said)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&self.workspace).field(&self.agent).finish()
    }
}

/// What a call with these uses and arguments says.
fn call(workspace: &Workspace, agent: &Id, more_keys: Vec<String>, uses: &Uses, args: Vec<String>) -> Call {
    let mut keys = keys::memory(workspace, agent);
    keys.extend(more_keys);
    let mut all = vec![uses.hits.to_string(), uses.keys.len().to_string()];
    all.extend(uses.keys.iter().map(Name::to_string));
    all.extend(args);
    Call { keys, args: all }
}
