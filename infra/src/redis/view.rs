//! The view of each entity: what readers are shown without asking the ledger.
//!
//! Written only after the record is proven, refused when a later record's view is there already, so the
//! order of writes does not matter.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::{Pipeline, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::{EntityId, Workspace};

static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new("put_view", include_str!("scripts/put_view.lua")));

static SHELVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("shelve_views", include_str!("scripts/shelve_views.lua")));

/// What Redis needs for a view besides its key and its body, about.
const OVERHEAD_BYTES: usize = 400;
/// Views noted in one script; more would hold up others.
const NOTES_PER_CALL: usize = 256;

/// Views read in one write; more would hold up other users of the shared connection.
const READS_PER_WRITE: usize = 256;

/// A view to be written.
#[derive(Clone, Debug)]
pub struct ViewWrite {
    /// The entity's workspace.
    pub workspace: Workspace,
    /// The entity's kind, such as `task`.
    pub kind: &'static str,
    /// The entity.
    pub id: EntityId,
    /// The ledger offset, in the entity's shard, of the record that made this state; below 2^53.
    pub offset: u64,
    /// The state, as JSON.
    pub body: String,
    /// When it goes by itself; `None` keeps it until it is written again.
    pub ttl: Option<Duration>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is the view now.
    Written,
    /// A later record's view is there; nothing was changed.
    Older {
        /// That record's offset.
        newest: u64,
    },
}

/// A view as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The ledger offset of the record that made this state.
    pub offset: u64,
    /// The state, as JSON.
    pub body: String,
}

/// The views in this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Views {
    redis: Redis,
}

impl Views {
    /// All views of this Redis.
    pub fn new(redis: Redis) -> Views {
        Views { redis }
    }

    /// Writes each, pipelined; the results stand in the order of the batch.
    ///
    /// # Errors
    /// Per view: those of any call. Writing it again is harmless.
    pub async fn put_views(&self, batch: Vec<ViewWrite>) -> Vec<Result<Put, RedisError>> {
        let call = |write: ViewWrite| Call {
            keys: vec![keys::view(&write.workspace, write.kind, &write.id)],
            args: vec![
                write.offset.to_string(),
                write.body,
                write.ttl.map_or(0, |ttl| ttl.as_millis().max(1)).to_string(),
            ],
        };
        let calls: Vec<Call> = batch.into_iter().map(call).collect();
        PUT.run_all(&self.redis, &calls).await.into_iter().map(|answer| answer.and_then(put)).collect()
    }

    /// Writes each, and removes the oldest of what was written by this under the same shard, so that all of that stays
    /// within about `limit_bytes`: views must not fill a Redis that the mesh works with. All must have the same `ttl`.
    ///
    /// # Errors
    /// Per view: those of any call. Where only the removal failed what was not removed goes by its `ttl`.
    pub async fn put_within(
        &self,
        limit_bytes: usize,
        batch: impl IntoIterator<Item = (u32, ViewWrite)>,
    ) -> Vec<Result<Put, RedisError>> {
        let (mut notes, mut writes, mut ttl_ms) =
            (BTreeMap::<u32, Vec<(usize, String)>>::new(), Vec::new(), 0);
        for (shard, write) in batch {
            let key = keys::view(&write.workspace, write.kind, &write.id);
            notes.entry(shard).or_default().push((key.len() + write.body.len() + OVERHEAD_BYTES, key));
            ttl_ms = write.ttl.map_or(0, |ttl| ttl.as_millis().max(1));
            writes.push(write);
        }
        let put = self.put_views(writes).await;
        let calls: Vec<Call> = notes
            .iter()
            .flat_map(|(shard, notes)| {
                notes.chunks(NOTES_PER_CALL).map(move |some| (keys::shelf(*shard), some))
            })
            .map(|((shelf, bytes), some)| Call {
                keys: vec![shelf, bytes],
                args: [limit_bytes.to_string(), ttl_ms.to_string()]
                    .into_iter()
                    .chain(some.iter().flat_map(|(bytes, key)| [bytes.to_string(), key.clone()]))
                    .collect(),
            })
            .collect();
        let mut old: Vec<String> = Vec::new();
        for answer in SHELVE.run_all(&self.redis, &calls).await {
            match answer.and_then(|value| Ok(redis::from_redis_value::<Vec<String>>(value)?)) {
                Ok(keys) => old.extend(keys),
                Err(error) => tracing::debug!(%error, "views are not counted"),
            }
        }
        for some in old.chunks(READS_PER_WRITE) {
            if let Err(error) = self.redis.query::<u64>(redis::cmd("UNLINK").arg(some)).await {
                tracing::debug!(%error, "old views are not removed");
            }
        }
        put
    }

    /// The view of one entity.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_view(
        &self,
        workspace: &Workspace,
        kind: &'static str,
        id: &EntityId,
    ) -> Result<Option<View>, RedisError> {
        Ok(self.get_views(workspace, kind, std::slice::from_ref(id)).await?.pop().flatten())
    }

    /// The views of these entities, in their order.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_views(
        &self,
        workspace: &Workspace,
        kind: &'static str,
        ids: &[EntityId],
    ) -> Result<Vec<Option<View>>, RedisError> {
        let mut views = Vec::with_capacity(ids.len());
        for some in ids.chunks(READS_PER_WRITE) {
            let mut pipeline = Pipeline::with_capacity(some.len());
            for id in some {
                pipeline.cmd("HMGET").arg(keys::view(workspace, kind, id)).arg("position").arg("body");
            }
            for value in self.redis.pipeline(&pipeline).await?.values {
                let read: (Option<u64>, Option<String>) = redis::from_redis_value(value.extract_error()?)?;
                views.push(read.0.zip(read.1).map(|(offset, body)| View { offset, body }));
            }
        }
        Ok(views)
    }
}

fn put(value: Value) -> Result<Put, RedisError> {
    let words: Vec<String> = redis::from_redis_value(value)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["written"] => Ok(Put::Written),
        ["older", newest] => match newest.parse() {
            Ok(newest) => Ok(Put::Older { newest }),
            Err(_) => Err(RedisError::Unexpected(format!("a view stands at {newest:?}"))),
        },
        other => Err(RedisError::Unexpected(format!("a view answered {other:?}"))),
    }
}
