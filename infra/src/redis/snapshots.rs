//! Snapshots of the mesh: kept for a while, in a limited number and weight, found again by id or newest first.
//!
//! ```text
//!   draft <--HSET-- agents, a thousand to a field
//!   keep --script--> draft becomes the snapshot, unless its id is there; what is over the limits goes
//! ```
//!
//! One that is half written is a draft, which nobody finds and which ends by itself. This room does not know what is in
//! a snapshot: a head, and fields of text.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::{Pipeline, Value};
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::{Id, Workspace};
use uuid::Uuid;

/// A draft that nobody keeps ends after this.
const DRAFT_KEPT: Duration = Duration::from_secs(60);
/// Fields written at a time; more would hold up other users of the shared connection.
const FIELDS_PER_WRITE: usize = 8;
/// What Redis needs for a snapshot besides its texts, about.
const OVERHEAD_BYTES: usize = 500;
/// Ids looked at in one go when a page is filled.
const IDS_PER_LOOK: usize = 256;

static KEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new("keep_snapshot", include_str!("scripts/keep_snapshot.lua")));

/// The scope of what covers every workspace; no workspace has this name.
const EVERYONE: &str = "*";

/// How much is kept, of each workspace and of those that cover all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// How many, at least 1.
    pub count: u64,
    /// How many bytes, about; the newest stays however large it is.
    pub bytes: u64,
    /// For how long.
    pub kept: Duration,
}

/// A snapshot to be kept.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Its id.
    pub id: Id,
    /// Whose it is; `None` for one that covers every workspace.
    pub workspace: Option<Workspace>,
    /// What lists show.
    pub head: String,
    /// Its agents: workspace, number from 0, text.
    pub fields: Vec<(Workspace, usize, String)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there now.
    Now,
    /// One of this id was there before; nothing was changed.
    Before,
}

/// One page of heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The heads, newest first.
    pub heads: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

/// The snapshots in this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Snapshots {
    redis: Redis,
}

impl Snapshots {
    /// All snapshots of this Redis.
    pub fn new(redis: Redis) -> Snapshots {
        Snapshots { redis }
    }

    /// Asks for the turn to take one for this reason: `None` if it is ours, and nobody else's for `every`; otherwise how
    /// long until the next.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn turn(&self, what: &str, every: Duration) -> Result<Option<Duration>, RedisError> {
        let key = keys::snapshot_turn(what);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg("").arg("NX").arg("PX").arg(every.as_millis().max(1) as u64);
        match self.redis.query::<Value>(&set).await? {
            Value::Nil => {
                let left: i64 = self.redis.query(redis::cmd("PTTL").arg(&key)).await?;
                Ok(Some(Duration::from_millis(left.max(1).unsigned_abs())))
            }
            _ => Ok(None),
        }
    }

    /// Keeps a snapshot, unless one of this id is there.
    ///
    /// # Errors
    /// Those of any call. Then it may be there all the same; nobody sees half of it.
    pub async fn keep(&self, new: &NewSnapshot, shelf: &Shelf) -> Result<Kept, RedisError> {
        let draft = keys::snapshot_draft(&Uuid::new_v4());
        for some in new.fields.chunks(FIELDS_PER_WRITE) {
            let mut write = Pipeline::with_capacity(2);
            write.cmd("HSET").arg(&draft);
            for (workspace, number, text) in some {
                write.arg(field(workspace, *number)).arg(text);
            }
            write.cmd("PEXPIRE").arg(&draft).arg(DRAFT_KEPT.as_millis() as u64);
            for value in self.redis.pipeline(&write).await?.values {
                value.extract_error()?;
            }
        }
        let weight = OVERHEAD_BYTES + new.head.len() + new.fields.iter().map(|f| f.2.len()).sum::<usize>();
        let (index, bytes) = keys::snapshots_of(scope(new.workspace.as_ref()));
        let call = Call {
            keys: vec![draft, keys::snapshot(&new.id), index, bytes, keys::SNAPSHOT_LAST.to_owned()],
            args: vec![
                new.id.to_string(),
                new.head.clone(),
                weight.to_string(),
                shelf.count.max(1).to_string(),
                shelf.bytes.to_string(),
                shelf.kept.as_millis().max(1).to_string(),
            ],
        };
        let words: Vec<String> = redis::from_redis_value(KEEP.run(&self.redis, call).await?)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["exists"] => Ok(Kept::Before),
            ["kept", _, gone @ ..] => {
                self.unlink(gone).await;
                Ok(Kept::Now)
            }
            other => Err(RedisError::Unexpected(format!("keeping a snapshot answered {other:?}"))),
        }
    }

    /// What no list shows any more; what is not removed now goes by itself.
    async fn unlink(&self, gone: &[&str]) {
        let gone: Vec<String> =
            gone.iter().filter_map(|id| id.parse().ok()).map(|id: Id| keys::snapshot(&id)).collect();
        if !gone.is_empty()
            && let Err(error) = self.redis.query::<u64>(redis::cmd("UNLINK").arg(&gone)).await
        {
            tracing::debug!(%error, "old snapshots are not removed");
        }
    }

    /// What a workspace may see, newest first: its own and those that cover all, from before this place on.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(
        &self,
        workspace: &Workspace,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page, RedisError> {
        let mut page = Page::default();
        let mut from = before;
        loop {
            let (ids, more) = self.ids(workspace, from).await?;
            let Some((last, _)) = ids.last() else { return Ok(page) };
            let last = *last;
            let mut heads = Pipeline::with_capacity(ids.len());
            for (_, id) in &ids {
                heads.cmd("HGET").arg(keys::snapshot(id)).arg("head");
            }
            for ((came, _), head) in ids.iter().zip(self.redis.pipeline(&heads).await?.values) {
                // What has gone by itself is still in the index until the next one comes.
                let head: Option<String> = redis::from_redis_value(head.extract_error()?)?;
                if let Some(head) = head {
                    if page.heads.len() == limit {
                        // There is one more: the next page begins with it.
                        page.next = Some(came + 1);
                        return Ok(page);
                    }
                    page.heads.push(head);
                }
            }
            if !more {
                return Ok(page);
            }
            from = Some(last);
        }
    }

    /// The next ids before a place, newest first, with when they came; whether there may be more.
    async fn ids(
        &self,
        workspace: &Workspace,
        before: Option<u64>,
    ) -> Result<(Vec<(u64, Id)>, bool), RedisError> {
        let from = before.map_or("+inf".to_owned(), |before| format!("({before}"));
        let mut both = Pipeline::with_capacity(2);
        for scope in [workspace.as_str(), EVERYONE] {
            both.cmd("ZRANGE").arg(keys::snapshots_of(scope).0).arg(&from).arg("-inf");
            both.arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(IDS_PER_LOOK).arg("WITHSCORES");
        }
        let mut ids: Vec<(u64, Id)> = Vec::new();
        for value in self.redis.pipeline(&both).await?.values {
            let pairs: Vec<(String, f64)> = redis::from_redis_value(value.extract_error()?)?;
            let read = |(id, came): (String, f64)| Some((came as u64, id.parse().ok()?));
            ids.extend(pairs.into_iter().filter_map(read));
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        // Each look brought the newest of its own, so the newest of both are all there; what is older comes with the next.
        let more = ids.len() >= IDS_PER_LOOK;
        ids.truncate(IDS_PER_LOOK);
        Ok((ids, more))
    }

    /// What a list would show of it; `None` if it is not there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn head(&self, id: &Id) -> Result<Option<String>, RedisError> {
        self.redis.query(redis::cmd("HGET").arg(keys::snapshot(id)).arg("head")).await
    }

    /// Some of its agents; `None` if there are not so many.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn agents(
        &self,
        id: &Id,
        workspace: &Workspace,
        number: usize,
    ) -> Result<Option<String>, RedisError> {
        self.redis.query(redis::cmd("HGET").arg(keys::snapshot(id)).arg(field(workspace, number))).await
    }

    /// Removes it; whether it was there.
    ///
    /// # Errors
    /// Those of any call. Removing it again is harmless.
    pub async fn remove(&self, id: &Id, workspace: Option<&Workspace>) -> Result<bool, RedisError> {
        let (index, bytes) = keys::snapshots_of(scope(workspace));
        let mut all = Pipeline::with_capacity(3);
        all.cmd("UNLINK").arg(keys::snapshot(id));
        all.cmd("ZREM").arg(index).arg(id.as_str());
        all.cmd("HDEL").arg(bytes).arg(id.as_str());
        let mut removed = 0u64;
        for value in self.redis.pipeline(&all).await?.values {
            removed += redis::from_redis_value::<u64>(value.extract_error()?)?;
        }
        Ok(removed > 0)
    }
}

fn scope(workspace: Option<&Workspace>) -> &str {
    workspace.map_or(EVERYONE, Workspace::as_str)
}

fn field(workspace: &Workspace, number: usize) -> String {
    format!("{workspace}/{number}")
}
