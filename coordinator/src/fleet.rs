//! The fleet as all shards of this coordinator share it: the pure registry behind a small lock, and the
//! two kinds of news that shards wait for.

use crate::overdue::Overdue;
use crate::pauses::Following;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_fleet::{AgentKey, Cause, Doubt, Member, Registry, Silence};
use synod_protocol::view::{Agent, AgentStatus, DirectoryEntry, Health, Held, Outcome};
use synod_protocol::{Incarnation, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What a task takes of its agent, by name.
type Resources = BTreeMap<String, f64>;

/// Attempts that one agent's heartbeat may name; what it says beyond is not heard.
const HELD_LIMIT: usize = 10_000;

/// The registry, and when each agent was last heard of. Never held across an await.
pub(crate) struct SharedFleet {
    inside: Mutex<Inside>,
    members: watch::Sender<u64>,
    room: watch::Sender<u64>,
    /// Somebody holds work, where nobody did.
    held: Notify,
    /// Tasks that wait for an agent, over all shards.
    waiting: AtomicU64,
    began: Instant,
}

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) registry: Registry,
    pub(crate) silence: Silence,
    beats: BTreeMap<AgentKey, u64>,
    pub(crate) overdue: Overdue,
    pub(crate) pauses: Following,
    /// What each agent's heartbeats say that it holds, where that is something.
    held: BTreeMap<AgentKey, (Incarnation, Vec<Held>)>,
    /// When each that is lost was found to be, in milliseconds since this coordinator began: what is heard of it must be
    /// newer to bring it back.
    lost_at: BTreeMap<AgentKey, u64>,
}

impl Inside {
    /// When this process start was last heard of, if that was after its loss.
    pub(crate) fn heard_since_loss(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        now_ms: u64,
    ) -> Option<u64> {
        let at = now_ms.saturating_sub(self.silence.since_heard(key, incarnation, now_ms)?);
        self.lost_at.get(key).is_none_or(|lost_at| at > *lost_at).then_some(at)
    }
}

impl Inside {
    /// When it was last heard of, for people.
    pub(crate) fn last_seen(
        &self,
        key: &AgentKey,
        member: &Member,
        now_ms: u64,
        wall: Timestamp,
    ) -> Timestamp {
        let silent = self.silence.since_heard(key, &member.entry.incarnation, now_ms);
        let at = |ms| wall.as_millis().saturating_sub(i64::try_from(ms).unwrap_or(0));
        silent.map_or(member.entry.registered_at, |ms| Timestamp::from_millis(at(ms)))
    }

    /// An agent as a reader sees it.
    pub(crate) fn view(&self, key: &AgentKey, member: &Member, now_ms: u64, wall: Timestamp) -> Agent {
        let (entry, health) = (member.entry.clone(), member.health());
        Agent {
            last_seen_at: self.last_seen(key, member, now_ms, wall),
            agent_id: entry.agent_id,
            workspace: entry.workspace,
            incarnation: entry.incarnation,
            status: status_of(member),
            health,
            capabilities: entry.capabilities,
            max_concurrency: entry.max_concurrency,
            in_flight: member.in_flight(),
            breaker: synod_protocol::view::Breaker::Closed,
            labels: entry.labels,
            resources: entry.resources,
            delivery: entry.delivery,
            description: entry.description,
            statistics: member.statistics,
            registered_at: entry.registered_at,
            revision: entry.revision,
            restarts: entry.restarts,
            recovery: entry.recovery,
            resume_at: entry.resume_at,
            warning: entry.warning,
        }
    }
}

/// What it is doing: at work, if it holds any and is not kept from it.
pub(crate) fn status_of(member: &Member) -> AgentStatus {
    let at_work = member.in_flight() > 0 && member.entry.status == AgentStatus::Idle;
    if at_work { AgentStatus::Running } else { member.entry.status }
}

impl SharedFleet {
    pub(crate) fn new() -> SharedFleet {
        SharedFleet {
            inside: Mutex::default(),
            members: watch::channel(0).0,
            room: watch::channel(0).0,
            held: Notify::new(),
            waiting: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Monotonic milliseconds since this coordinator began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Changes when an agent comes, goes or changes.
    pub(crate) fn members(&self) -> watch::Receiver<u64> {
        self.members.subscribe()
    }

    /// Changes when there may be room for a task that waits.
    pub(crate) fn room(&self) -> watch::Receiver<u64> {
        self.room.subscribe()
    }

    /// Takes a directory entry that stands for this ledger offset.
    pub(crate) fn learn(&self, entry: DirectoryEntry, offset: u64) {
        let key = AgentKey { workspace: entry.workspace.clone(), agent: entry.agent_id.clone() };
        let now = self.now_ms();
        let changed = {
            let mut inside = self.lock();
            if entry.gone || entry.health != Health::Lost {
                inside.lost_at.remove(&key);
            } else {
                inside.lost_at.entry(key.clone()).or_insert(now);
            }
            if entry.gone {
                inside.silence.forget(&key);
                inside.beats.remove(&key);
                inside.overdue.forget(&key);
                inside.held.remove(&key);
            } else {
                inside.silence.expect(&key, &entry.incarnation, now);
            }
            inside.registry.learn(entry, offset)
        };
        if changed {
            self.changed();
        }
    }

    /// Tells those who wait that whom they may choose is another.
    pub(crate) fn changed(&self) {
        self.members.send_modify(|version| *version += 1);
        self.room.send_modify(|version| *version += 1);
    }

    /// The ledger has forgotten an agent, by this offset.
    pub(crate) fn forget(&self, key: &AgentKey, offset: u64) {
        let changed = {
            let mut inside = self.lock();
            if !inside.registry.forget(key, offset) {
                return;
            }
            inside.lost_at.remove(key);
            inside.silence.forget(key);
            inside.overdue.forget(key);
            inside.beats.remove(key).is_some() | inside.held.remove(key).is_some()
        };
        tracing::debug!(agent = %key.agent, had_beaten = changed, "an agent is forgotten");
        self.changed();
    }

    /// A sign of life; `beat`, where there is one, must have grown.
    pub(crate) fn heard(&self, key: &AgentKey, incarnation: &Incarnation, beat: Option<u64>) {
        let now = self.now_ms();
        let mut inside = self.lock();
        // A number that we see for the first time may be that of a process long dead: only its growth is a sign.
        if let Some(beat) = beat
            && inside.beats.insert(key.clone(), beat).is_none_or(|before| before == beat)
        {
            return;
        }
        if inside.registry.get(key).is_some_and(|m| m.entry.incarnation == *incarnation) {
            inside.silence.heard(key, incarnation, now);
        }
    }

    /// When this process start was last heard of, in milliseconds since this coordinator began.
    pub(crate) fn heard_at(&self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        let since = self.lock().silence.since_heard(key, incarnation, now_ms)?;
        Some(now_ms.saturating_sub(since))
    }

    /// Raises or drops a doubt about a process start; its health by the ledger and as it is seen now, if that is news.
    pub(crate) fn doubt(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        cause: Cause,
        doubt: Option<Doubt>,
    ) -> Option<(Health, Health)> {
        let mut inside = self.lock();
        let Inside { registry, lost_at, .. } = &mut *inside;
        let lost_ms = doubt.as_ref().filter(|doubt| doubt.lost).map(|doubt| doubt.since_ms);
        // Who is present again is no longer lost, whether or not it was we who found it so.
        let is_back = doubt.is_none() && cause == Cause::Absence;
        let changed = registry.doubt(key, incarnation, cause, doubt);
        let member = registry.get(key).filter(|member| member.entry.incarnation == *incarnation)?;
        let (durable, health) = (member.entry.health, member.health());
        if let Some(lost_ms) = lost_ms {
            lost_at.entry(key.clone()).or_insert(lost_ms);
        } else if health != Health::Lost {
            lost_at.remove(key);
        }
        drop(inside);
        if changed {
            self.changed();
        }
        (changed || (is_back && durable == Health::Lost)).then_some((durable, health))
    }

    /// A heartbeat says what its agent holds: the doubt that follows, or `Some(None)` if none does where one may have been.
    pub(crate) fn holds(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        held: &[Held],
    ) -> Option<Option<Doubt>> {
        let now_ms = self.now_ms();
        let mut inside = self.lock();
        if held.is_empty() {
            inside.held.remove(key);
        } else if inside.registry.get(key).is_some()
            && inside.held.get(key).is_none_or(|(start, known)| start != incarnation || known != held)
        {
            let held = held.iter().take(HELD_LIMIT).cloned().collect();
            inside.held.insert(key.clone(), (incarnation.clone(), held));
        }
        inside.overdue.holds(key, incarnation, held, now_ms)
    }

    /// What the heartbeats say of attempts of tasks that `wanted` names.
    pub(crate) fn said_to_hold(
        &self,
        wanted: impl Fn(&AgentKey, &Held) -> bool,
    ) -> Vec<(AgentKey, Incarnation, Held)> {
        let inside = self.lock();
        let mut found = Vec::new();
        let speaks = |key: &AgentKey, incarnation: &Incarnation| {
            let member = inside.registry.get(key);
            member.is_some_and(|m| m.entry.incarnation == *incarnation && m.health() != Health::Lost)
        };
        for (key, (incarnation, held)) in inside.held.iter().filter(|(key, (start, _))| speaks(key, start)) {
            let wanted = held.iter().filter(|held| wanted(key, held));
            found.extend(wanted.map(|held| (key.clone(), incarnation.clone(), held.clone())));
        }
        found
    }

    /// An attempt was given.
    pub(crate) fn given(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        shard: u32,
        takes: Option<&Resources>,
    ) {
        self.lock().registry.given_holding(key, incarnation, shard, takes);
        self.held.notify_one();
    }

    /// Returns when somebody was given work.
    pub(crate) async fn work_is_held(&self) {
        self.held.notified().await;
    }

    /// An attempt has ended; tells those who wait that there is room.
    pub(crate) fn ended(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        shard: u32,
        outcome: Outcome,
        took: Option<&Resources>,
    ) {
        self.lock().registry.ended_holding(key, incarnation, shard, outcome, took);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.room.send_modify(|version| *version += 1);
        }
    }

    /// A shard's number of waiting tasks went from `before` to `after`.
    pub(crate) fn waiting_changed(&self, before: usize, after: usize) {
        if after >= before {
            self.waiting.fetch_add((after - before) as u64, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub((before - after) as u64, Ordering::Relaxed);
        }
    }

    /// An agent as a reader sees it.
    pub(crate) fn view(&self, key: &AgentKey) -> Option<Agent> {
        let (now, wall) = (self.now_ms(), wall_clock());
        let inside = self.lock();
        let member = inside.registry.get(key)?;
        Some(inside.view(key, member, now, wall))
    }

    /// How many agents there are, by health.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for health in [Health::Healthy, Health::Suspected, Health::Lost, Health::Draining] {
            counts.insert(health.as_str(), 0);
        }
        for (_, member) in self.lock().registry.iter() {
            *counts.entry(member.health().as_str()).or_default() += 1;
        }
        counts
    }
}

/// For people only: what a view calls "last seen". Nothing is decided by it.
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
