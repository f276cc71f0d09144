//! All leases at a look, and word of what changes in between.
//!
//! One write asks for everything that a judgement needs: the leases, whose process is subscribed, and whether
//! this is still the server with the data that we knew. A newcomer costs one look more.

use super::client::{Redis, run_id_in};
use super::error::RedisError;
use super::keys;
use super::lease::Standing;
use super::listener::Heard;
use redis::{Pipeline, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_protocol::Id;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The leases at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The server's id, drawn at its start.
    pub run_id: String,
    /// Counts our own connections.
    pub connection: u64,
    /// Redis' time in µs of the first lease since its data began; 0 if there was none yet.
    pub era_us: u64,
    /// For how long the data are known to have been there: since the era, and since the server's start.
    pub age: Duration,
    /// Every lease that stands, by id.
    pub standing: Vec<Standing>,
}

/// Looks at the leases; remembers whom to ask about.
#[derive(Debug)]
pub struct Leases {
    redis: Redis,
    known: BTreeMap<Id, Option<String>>,
}

impl Leases {
    /// Of this Redis.
    pub fn new(redis: Redis) -> Leases {
        Leases { redis, known: BTreeMap::new() }
    }

    /// Looks at them all. One that does not read is logged and left out.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn look(&mut self) -> Result<Look, RedisError> {
        loop {
            let (look, members) = self.ask().await?;
            // Who has come is asked about before anything is judged without him; who has gone is forgotten.
            let is_new = members.iter().any(|id| !self.known.contains_key(id));
            let holder =
                |id: &Id| look.standing.iter().find(|s| s.coordinator.id == *id).map(|s| s.holder.clone());
            let ended: Vec<&Id> =
                members.iter().filter(|id| self.known.contains_key(*id) && holder(id).is_none()).collect();
            if !ended.is_empty() {
                let mut sweep = redis::cmd("SREM");
                sweep.arg(keys::COORDINATORS);
                sweep.arg(ended.iter().map(|id| id.as_str()).collect::<Vec<_>>());
                // One that takes its lease this instant adds itself again with its next renewal.
                self.redis.query::<()>(&sweep).await?;
            }
            self.known = members.iter().map(|id| (id.clone(), holder(id))).collect();
            if !is_new {
                return Ok(look);
            }
        }
    }

    async fn ask(&self) -> Result<(Look, BTreeSet<Id>), RedisError> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("INFO")
            .arg("server")
            .cmd("TIME")
            .cmd("GET")
            .arg(keys::ERA)
            .cmd("SMEMBERS")
            .arg(keys::COORDINATORS);
        let channel = |(id, holder): (&Id, &Option<String>)| {
            keys::coordinator_presence(id, holder.as_deref().unwrap_or_default())
        };
        pipeline.cmd("PUBSUB").arg("NUMSUB").arg(self.known.iter().map(channel).collect::<Vec<_>>());
        for id in self.known.keys() {
            pipeline.cmd("GET").arg(keys::coordinator(id));
        }
        let answers = self.redis.pipeline(&pipeline).await?;
        let mut values = answers.values.into_iter().map(Value::extract_error);
        let mut next = || values.next().unwrap_or(Ok(Value::Nil));
        let info: String = redis::from_redis_value(next()?)?;
        let (seconds, micros): (u64, u64) = redis::from_redis_value(next()?)?;
        let era_us = redis::from_redis_value::<Option<u64>>(next()?)?.unwrap_or(0);
        let members: BTreeSet<String> = redis::from_redis_value(next()?)?;
        let counts: Vec<(String, u64)> = redis::from_redis_value(next()?)?;
        let mut standing = Vec::new();
        for ((id, holder), (_, subscribers)) in self.known.iter().zip(counts) {
            let Some(text) = redis::from_redis_value::<Option<String>>(next()?)? else { continue };
            match serde_json::from_str::<Standing>(&text) {
                // Who is another process than the one we knew was not asked about yet: he is taken to be there.
                Ok(lease) => standing.push(Standing {
                    present: subscribers > 0 || holder.as_deref() != Some(&lease.holder),
                    ..lease
                }),
                Err(error) => tracing::warn!(%id, %error, "a lease does not read"),
            }
        }
        let uptime = Duration::from_secs(number_in(&info, "uptime_in_seconds"));
        let since_era = Duration::from_micros((seconds * 1_000_000 + micros).saturating_sub(era_us));
        let age = if era_us == 0 { Duration::ZERO } else { since_era.min(uptime) };
        let look = Look { run_id: run_id_in(&info)?, connection: answers.generation, era_us, age, standing };
        Ok((look, members.iter().filter_map(|id| id.parse().ok()).collect()))
    }

    /// Has every coordinator look at once.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn tell(&self) -> Result<(), RedisError> {
        self.redis.query(redis::cmd("PUBLISH").arg(keys::NEWS).arg("released")).await
    }
}

fn number_in(info: &str, name: &str) -> u64 {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A coordinator's subscription: it says that its process runs, and hears when to look. Held until dropped and
/// renewed after every reconnect.
#[derive(Debug)]
pub struct Presence {
    news: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Presence {
    /// Subscribes in the background, on a connection of its own.
    pub fn start(redis: Redis, id: &Id, holder: &str) -> Presence {
        let (publish, news) = watch::channel(0);
        let channels = [keys::coordinator_presence(id, holder), keys::NEWS.to_owned()];
        let task = tokio::spawn(async move {
            let hold = redis.listener().listen(channels.into(), |heard| match heard {
                Heard::Stands | Heard::Said { .. } => publish.send_modify(|count| *count += 1),
                Heard::Broke => {}
            });
            match hold.await {}
        });
        Presence { news, task }
    }

    /// Returns when there is news, and after every subscription: something may have been missed before it.
    pub async fn news(&mut self) {
        if self.news.changed().await.is_err() {
            // The task ends only with us.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.task.abort();
    }
}
