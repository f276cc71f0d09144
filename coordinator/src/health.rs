//! Health is progress: what each shard is doing, and whether it moves.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_protocol::view::TaskStatus;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use utoipa::ToSchema;

/// A shard that has input and has not advanced for this long is unhealthy.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Ends of the commands topic that are remembered, to tell how long the oldest input waits.
const ENDS: usize = 240;
/// An append without an acknowledgement for this long means that Kafka does not answer.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What a shard is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Not held by this coordinator.
    #[default]
    StandingBy,
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
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ShardStatus {
    /// Its number.
    pub(crate) shard: u32,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// Who owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The owner's claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// Records of the commands topic that are not handled yet, as of the last look.
    #[serde(default)]
    pub(crate) lag: u64,
    /// How long the oldest of them waits, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest_waiting_ms: Option<u64>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    /// Negotiations, executions and approvals that have not ended.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) live: (usize, usize, usize),
    /// How long the oldest task waits for an agent, and the oldest approval for people, in ms.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) oldest_ms: (u64, u64),
    #[serde(skip)]
    oldest_flight: Option<Instant>,
    /// Records proven in this epoch.
    #[serde(skip)]
    proven: u64,
    /// When position or proof last moved.
    #[serde(skip)]
    moved_at: Option<Instant>,
    /// The topic's end, and when it was first seen to be there.
    #[serde(skip)]
    #[schema(ignore)]
    ends: VecDeque<End>,
}

/// The commands topic's end, and when it was first seen to be there.
#[derive(Clone, Copy, Debug)]
struct End {
    offset: u64,
    seen: Instant,
}

impl ShardStatus {
    /// The owner has come so far.
    pub(crate) fn moved_to(&mut self, position: u64, proven: u64) {
        self.moved_to_at(position, proven, Instant::now());
    }

    fn moved_to_at(&mut self, position: u64, proven: u64, now: Instant) {
        if (self.position, self.proven) != (position, proven) || !self.has_input() {
            (self.position, self.proven, self.moved_at) = (position, proven, Some(now));
        }
        while self.ends.front().is_some_and(|end| end.offset <= position) {
            self.ends.pop_front();
        }
        self.lag = self.ends.back().map_or(0, |end| end.offset - position);
    }

    /// The commands topic ends there.
    fn ends_at(&mut self, end: u64, now: Instant) {
        if end > self.position && self.ends.back().is_none_or(|before| before.offset < end) {
            if !self.has_input() {
                self.moved_at = Some(now);
            }
            if self.ends.len() >= ENDS {
                // The oldest stays: it is the one whose age is told.
                self.ends.pop_back();
            }
            self.ends.push_back(End { offset: end, seen: now });
        }
        self.lag = self.ends.back().map_or(0, |end| end.offset.saturating_sub(self.position));
    }

    fn has_input(&self) -> bool {
        self.lag > 0 || self.in_flight > 0
    }

    /// Input waits, and neither position nor proof has moved for too long. However lively the rest of the process
    /// is, and whatever it appends besides.
    fn is_stuck(&self, now: Instant) -> bool {
        self.has_input() && self.moved_at.is_some_and(|at| now.saturating_duration_since(at) > STUCK_AFTER)
    }

    fn tell(&mut self, now: Instant) {
        self.advancing = self.phase == Phase::Serving && !self.is_stuck(now);
        let oldest = self.ends.front().map(|end| now.saturating_duration_since(end.seen));
        self.oldest_waiting_ms = oldest.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    }
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
    /// Why Redis is not used, although it answers.
    unfit: Option<String>,
    /// It has looked at Kafka, Redis and the directory. Until then others may hold every shard, and yet nothing is known
    /// of whether this one can work.
    joined: bool,
}

impl Status {
    pub(crate) fn new(partitions: u32) -> Status {
        let shards = (0..partitions).map(|shard| ShardStatus { shard, ..ShardStatus::default() }).collect();
        let away = |who: &str| Err(format!("{who} has not been reached yet"));
        let (kafka, redis) = (away("Kafka"), away("Redis"));
        let inside = Inside { shards, kafka, redis, broken: None, unfit: None, joined: false };
        Status { inside: Mutex::new(inside), changed: watch::channel(()).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn kafka(&self, reached: Result<(), String>) {
        let mut inside = self.lock();
        if inside.kafka != reached {
            inside.kafka = reached;
            drop(inside);
            self.changed.send_replace(());
        }
    }

    pub(crate) fn redis(&self, reached: Result<(), String>) {
        let mut inside = self.lock();
        if inside.redis != reached {
            inside.redis = reached;
            drop(inside);
            self.changed.send_replace(());
        }
    }

    /// Redis answers, and is not to be used; or is, from now on.
    pub(crate) fn unfit(&self, why: Option<String>) {
        self.lock().unfit = why;
        self.changed.send_replace(());
    }

    /// It knows what it stands on, and begins.
    pub(crate) fn joined(&self) {
        self.lock().joined = true;
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

    /// It is not held here, but by this one.
    pub(crate) fn elsewhere(&self, shard: u32, owner: Option<String>) {
        let mut inside = self.lock();
        let Some(status) = inside.shards.get_mut(shard as usize) else { return };
        if status.phase == Phase::StandingBy && status.owner == owner {
            return;
        }
        let trouble = status.trouble.take().filter(|_| owner.is_none());
        *status = ShardStatus { shard, owner, trouble, ..ShardStatus::default() };
        drop(inside);
        self.changed.send_replace(());
    }

    /// Its commands topic was seen to end there.
    pub(crate) fn commands_end(&self, shard: u32, end: u64) {
        if let Some(status) = self.lock().shards.get_mut(shard as usize) {
            status.ends_at(end, Instant::now());
        }
    }

    /// Changes with phases, owners, and Kafka or Redis coming and going.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
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
        let now = Instant::now();
        shards.iter_mut().for_each(|shard| shard.tell(now));
        shards
    }

    /// Why it is not ready; empty when it is.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let inside = self.lock();
        let mut out: Vec<String> = inside.broken.iter().cloned().collect();
        out.extend((!inside.joined).then(|| "it has not joined the mesh yet".to_owned()));
        out.extend(inside.kafka.as_ref().err().map(|why| format!("Kafka: {why}")));
        out.extend(inside.redis.as_ref().err().map(|why| format!("Redis: {why}")));
        out.extend(inside.unfit.as_ref().map(|why| format!("Redis: {why}")));
        for shard in &inside.shards {
            let trouble = shard.trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default();
            if shard.phase == Phase::StandingBy {
                if shard.owner.is_none() {
                    out.push(format!("shard {} is held by nobody{trouble}", shard.shard));
                }
            } else if shard.phase != Phase::Serving {
                out.push(format!("shard {} is not serving ({:?}){trouble}", shard.shard, shard.phase));
            } else if shard.is_stuck(Instant::now()) {
                out.push(format!("shard {} does not advance while input waits{trouble}", shard.shard));
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

    /// Waits until a shard is served here.
    pub(crate) async fn wait_serving(&self) {
        let mut changed = self.changed.subscribe();
        while !self.lock().shards.iter().any(|shard| shard.phase == Phase::Serving) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn is_older(since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|at| at.elapsed() > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Status {
        let status = Status::new(2);
        status.kafka(Ok(()));
        status.redis(Ok(()));
        status.joined();
        status.elsewhere(1, Some("other".into()));
        status.shard(0, |s| {
            s.phase = Phase::Serving;
            s.moved_to(10, 0);
        });
        status
    }

    #[test]
    fn input_that_waits_while_nothing_moves_is_no_progress() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let told = |shard: &mut ShardStatus, seconds| {
            shard.tell(at(seconds));
            (shard.lag, shard.oldest_waiting_ms, shard.advancing)
        };
        let mut shard = ShardStatus { phase: Phase::Serving, ..ShardStatus::default() };
        shard.moved_to_at(10, 0, began);
        assert_eq!(told(&mut shard, 60), (0, None, true), "nothing to do is no trouble");
        shard.ends_at(13, at(60));
        assert_eq!(told(&mut shard, 69), (3, Some(9_000), true));
        // More comes; it does not help. Nor do other records (timers, the fleet) that are never proven.
        shard.ends_at(20, at(69));
        shard.in_flight = 3;
        shard.moved_to_at(10, 0, at(70));
        assert_eq!(told(&mut shard, 71), (10, Some(11_000), false));
        shard.moved_to_at(14, 0, at(72));
        assert_eq!(told(&mut shard, 73), (6, Some(4_000), true));
        // Proof is progress too.
        shard.moved_to_at(14, 5, at(81));
        assert_eq!(told(&mut shard, 90), (6, Some(21_000), true));
        assert_eq!(told(&mut shard, 92), (6, Some(23_000), false));
    }

    #[test]
    fn one_that_has_not_looked_at_what_it_stands_on_is_not_ready() {
        let status = Status::new(1);
        status.kafka(Ok(()));
        status.redis(Ok(()));
        status.elsewhere(0, Some("one that is about to be lost".into()));
        assert_eq!(status.troubles(), ["it has not joined the mesh yet"]);
        status.joined();
        assert_eq!(status.troubles(), Vec::<String>::new());
    }

    #[test]
    fn one_without_shards_is_ready_when_somebody_holds_each() {
        let status = serving();
        status.elsewhere(0, Some("another".into()));
        assert_eq!(status.troubles(), Vec::<String>::new());
        status.elsewhere(1, None);
        assert_eq!(status.troubles(), ["shard 1 is held by nobody"]);
    }
}
