//! Health is progress: what each shard is doing, and whether it moves.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_protocol::view::TaskStatus;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use utoipa::ToSchema;

/// A shard that has input and has not advanced for this long is unhealthy.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// An append without an acknowledgement for this long means that Kafka does not answer.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What a shard is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Not begun.
    #[default]
    Waiting,
    /// Appending its claim.
    Claiming,
    /// Reading its ledger.
    Folding,
    /// Handling the commands that were there when it claimed.
    CatchingUp,
    /// Serving.
    Serving,
    /// Stopped: acknowledged records are missing.
    DataLost,
    /// Ended in good order.
    Stopped,
}

/// One shard, as `/v1/status` shows it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct ShardStatus {
    /// Its number.
    pub(crate) shard: u32,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// Who owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The owner's claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// The next offset of the commands topic.
    pub(crate) position: u64,
    /// Records appended and not yet proven.
    pub(crate) in_flight: usize,
    /// Steps whose effects are not confirmed.
    pub(crate) owed: usize,
    /// Tasks that wait for an agent.
    pub(crate) waiting: usize,
    /// Tasks by where they stand.
    pub(crate) tasks: BTreeMap<TaskStatus, u64>,
    /// Whether it moves, or has nothing to do.
    pub(crate) advancing: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    #[serde(skip)]
    oldest_flight: Option<Instant>,
}

/// What a coordinator says of itself.
pub(crate) struct Status {
    inside: Mutex<Inside>,
    changed: watch::Sender<()>,
}

struct Inside {
    shards: Vec<ShardStatus>,
    kafka: Result<(), String>,
    redis: Result<(), String>,
    broken: Option<String>,
}

impl Status {
    pub(crate) fn new(partitions: u32) -> Status {
        let shards = (0..partitions).map(|shard| ShardStatus { shard, ..ShardStatus::default() }).collect();
        let away = |who: &str| Err(format!("{who} has not been reached yet"));
        let inside = Inside { shards, kafka: away("Kafka"), redis: away("Redis"), broken: None };
        Status { inside: Mutex::new(inside), changed: watch::channel(()).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn kafka(&self, reached: Result<(), String>) {
        self.lock().kafka = reached;
        self.changed.send_replace(());
    }

    pub(crate) fn redis(&self, reached: Result<(), String>) {
        self.lock().redis = reached;
        self.changed.send_replace(());
    }

    pub(crate) fn broken(&self, why: String) {
        self.lock().broken = Some(why);
        self.changed.send_replace(());
    }

    /// Changes what is said of a shard.
    pub(crate) fn shard(&self, shard: u32, change: impl FnOnce(&mut ShardStatus)) {
        let mut inside = self.lock();
        let Some(status) = inside.shards.get_mut(shard as usize) else { return };
        let before = status.phase;
        change(status);
        let changed = status.phase != before;
        drop(inside);
        if changed {
            self.changed.send_replace(());
        }
    }

    /// Notes since when a shard's oldest append has been on its way.
    pub(crate) fn flying(&self, shard: u32, since: Option<Instant>) {
        if let Some(status) = self.lock().shards.get_mut(shard as usize) {
            status.oldest_flight = since;
        }
    }

    /// Whether some append has waited so long that Kafka cannot be thought to answer.
    pub(crate) fn is_stalled(&self) -> bool {
        let inside = self.lock();
        inside.kafka.is_err() || inside.shards.iter().any(|s| is_older(s.oldest_flight, STALLED_AFTER))
    }

    /// Every shard, as it is now.
    pub(crate) fn shards(&self) -> Vec<ShardStatus> {
        let mut shards = self.lock().shards.clone();
        for shard in &mut shards {
            shard.advancing = shard.phase == Phase::Serving && !is_older(shard.oldest_flight, STUCK_AFTER);
        }
        shards
    }

    /// Why it is not ready; empty when it is.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let inside = self.lock();
        let mut out: Vec<String> = inside.broken.iter().cloned().collect();
        out.extend(inside.kafka.as_ref().err().map(|why| format!("Kafka: {why}")));
        out.extend(inside.redis.as_ref().err().map(|why| format!("Redis: {why}")));
        for shard in &inside.shards {
            let trouble = shard.trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default();
            if shard.phase != Phase::Serving {
                out.push(format!("shard {} is not serving ({:?}){trouble}", shard.shard, shard.phase));
            } else if is_older(shard.oldest_flight, STUCK_AFTER) {
                out.push(format!("shard {} does not advance{trouble}", shard.shard));
            }
        }
        out
    }

    pub(crate) async fn wait_ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.troubles().is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn is_older(since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|at| at.elapsed() > limit)
}
