//! Who coordinates: one lease per coordinator, with its address and the shards that it holds.
//!
//! A lease says who may be handed shards and where to reach them. It fences nothing: the claim in the ledger
//! does. A lease that Redis lost is simply taken again. How it is judged is no matter of this room.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::{Pipeline, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use synod_protocol::Id;

static HOLD: LazyLock<Script> =
    LazyLock::new(|| Script::new("hold_lease", include_str!("scripts/hold_lease.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new("release_lease", include_str!("scripts/release_lease.lua")));

/// A coordinator that holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coordinator {
    /// Its id.
    pub id: Id,
    /// Where its HTTP API is reached, `host:port`.
    pub address: String,
}

/// What a coordinator says of its part in the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whether it takes shards.
    #[serde(default)]
    pub takes: bool,
    /// The shards that it holds.
    #[serde(default)]
    pub held: BTreeSet<u32>,
    /// What of these it serves.
    #[serde(default)]
    pub serving: BTreeSet<u32>,
}

/// What is stored: the coordinator, its part, and which process holds the lease in its name.
#[derive(Serialize)]
struct Stored<'a> {
    id: &'a Id,
    address: &'a str,
    holder: &'a str,
    beat: u64,
    #[serde(flatten)]
    part: &'a Part,
}

/// A lease that stood at a look.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// The coordinator.
    #[serde(flatten)]
    pub coordinator: Coordinator,
    /// Which process holds it.
    pub holder: String,
    /// Grows with every renewal by this holder.
    #[serde(default)]
    pub beat: u64,
    /// Its part in the work.
    #[serde(flatten)]
    pub part: Part,
    /// Whether that process is subscribed to its channel.
    #[serde(skip)]
    pub present: bool,
}

/// What became of an attempt to hold a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is ours now and was nobody's before: the first time, or it had ended or been lost meanwhile.
    Taken,
    /// It was ours and is prolonged.
    Renewed,
    /// Another process holds it under the same id.
    ByAnother {
        /// How long that lasts, unless it is renewed.
        remaining: Duration,
    },
}

/// One process' lease on one coordinator's id.
#[derive(Clone, Debug)]
pub struct Lease {
    redis: Redis,
    coordinator: Coordinator,
    holder: String,
    ttl: Duration,
    beat: Arc<AtomicU64>,
}

impl Lease {
    /// A lease for this coordinator, not yet held; `ttl` in whole milliseconds, at least 1.
    pub fn new(redis: Redis, coordinator: Coordinator, ttl: Duration) -> Lease {
        let ttl = ttl.max(Duration::from_millis(1));
        let holder = uuid::Uuid::new_v4().to_string();
        Lease { redis, coordinator, holder, ttl, beat: Arc::default() }
    }

    /// Which process it is held by: a name drawn with the lease.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Takes or prolongs it for `ttl` from now, if no other process holds it.
    ///
    /// # Errors
    /// Those of any call; it may be held all the same.
    pub async fn hold(&self, part: &Part) -> Result<Held, RedisError> {
        let Coordinator { id, address } = &self.coordinator;
        let beat = self.beat.fetch_add(1, Ordering::Relaxed);
        let stored = serde_json::to_string(&Stored { id, address, holder: &self.holder, beat, part })
            .map_err(|e| RedisError::Unexpected(e.to_string()))?;
        // The set comes first: a member without a lease is swept, a lease without a member would be unseen.
        self.redis.query::<()>(redis::cmd("SADD").arg(keys::COORDINATORS).arg(id.as_str())).await?;
        let args = vec![self.holder.clone(), stored, self.ttl.as_millis().to_string()];
        let answer = HOLD
            .run(&self.redis, Call { keys: vec![keys::coordinator(id), keys::ERA.to_owned()], args })
            .await?;
        let words: Vec<String> = redis::from_redis_value(answer)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["taken"] => Ok(Held::Taken),
            ["renewed"] => Ok(Held::Renewed),
            ["held", remaining] => {
                Ok(Held::ByAnother { remaining: Duration::from_millis(remaining.parse().unwrap_or(0)) })
            }
            other => Err(RedisError::Unexpected(format!("a lease answered {other:?}"))),
        }
    }

    /// Ends it, if it is still this process'; whether it was.
    ///
    /// # Errors
    /// Those of any call; it ends by itself then.
    pub async fn release(&self) -> Result<bool, RedisError> {
        let id = &self.coordinator.id;
        let call = Call { keys: vec![keys::coordinator(id)], args: vec![self.holder.clone()] };
        let ended: bool = redis::from_redis_value(RELEASE.run(&self.redis, call).await?)?;
        if ended {
            self.redis.query::<()>(redis::cmd("SREM").arg(keys::COORDINATORS).arg(id.as_str())).await?;
        }
        Ok(ended)
    }
}

/// Every coordinator whose lease stands, by id. Ids whose lease has ended are swept from the set.
///
/// # Errors
/// Those of any call.
pub async fn live(redis: &Redis) -> Result<Vec<Coordinator>, RedisError> {
    let members: BTreeSet<String> = redis.query(redis::cmd("SMEMBERS").arg(keys::COORDINATORS)).await?;
    let ids: Vec<Id> = members.iter().filter_map(|id| id.parse().ok()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::with_capacity(ids.len());
    for id in &ids {
        pipeline.cmd("GET").arg(keys::coordinator(id));
    }
    let (mut live, mut ended) = (Vec::new(), Vec::new());
    for (id, value) in ids.iter().zip(redis.pipeline(&pipeline).await?.values) {
        match value.extract_error()? {
            Value::Nil => ended.push(id.as_str()),
            value => live.push(read(id, value)?),
        }
    }
    if !ended.is_empty() {
        // One that takes its lease this instant adds itself again with its next renewal.
        redis.query::<()>(redis::cmd("SREM").arg(keys::COORDINATORS).arg(&ended)).await?;
    }
    Ok(live)
}

fn read(id: &Id, value: Value) -> Result<Coordinator, RedisError> {
    let text: String = redis::from_redis_value(value)?;
    serde_json::from_str(&text)
        .map_err(|e| RedisError::Unexpected(format!("the lease of coordinator {id} does not read: {e}")))
}
