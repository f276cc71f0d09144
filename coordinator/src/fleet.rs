//! The fleet as all shards of this coordinator share it: the pure registry behind a small lock, and the
//! two kinds of news that shards wait for.

use crate::overdue::Overdue;
use crate::pauses::Following;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_fleet::breaker::{Kept, Order, Outcome as Verdict, Policy};
use synod_fleet::ramp::Ramp;
use synod_fleet::{AgentKey, AttemptKey, Call, Cause, Doubt, Guards, Member, Registry, Scope, Silence, Told};
use synod_ledger::Holding;
use synod_protocol::breaker::{BreakerOrder, StandingOrder};
use synod_protocol::view::{Agent, AgentStatus, DirectoryEntry, Health, Held};
use synod_protocol::{Id, Incarnation, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Of it the time of breakers is ahead of this coordinator's beginning.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// So many newcomers are looked for at once; the others have their turn.
const NEWCOMERS: usize = 1_000;

/// Attempts that one agent's heartbeat may name; what it says beyond is not heard.
const HELD_LIMIT: usize = 10_000;

/// The registry, and when each agent was last heard of. Never held across an await.
pub(crate) struct SharedFleet {
    inside: Mutex<Inside>,
    members: watch::Sender<u64>,
    room: watch::Sender<u64>,
    /// Somebody holds work, where nobody did, or is new.
    held: Notify,
    /// Tasks that wait for an agent, over all shards.
    waiting: AtomicU64,
    began: Instant,
}

pub(crate) struct Inside {
    /// Whose.
    coordinator: Id,
    pub(crate) registry: Registry,
    pub(crate) guards: Guards,
    /// What has happened to breakers and is not yet published.
    told: Vec<Told>,
    /// Whose presence nobody has looked for yet.
    newcomers: Vec<(AgentKey, Incarnation)>,
    /// The directory was read: who is learned of from now on has just joined.
    at_work: bool,
    pub(crate) silence: Silence,
    beats: BTreeMap<AgentKey, (Incarnation, u64)>,
    pub(crate) overdue: Overdue,
    pub(crate) pauses: Following,
    /// What each agent's heartbeats say that it holds, where that is something.
    held: BTreeMap<AgentKey, (Incarnation, Vec<Held>)>,
    /// When each that is lost was found to be, in milliseconds since this coordinator began: what is heard of it must be
    /// newer to bring it back.
    lost_at: BTreeMap<AgentKey, u64>,
}

impl Inside {
    /// An attempt has begun or ended.
    pub(crate) fn holding(&mut self, holding: &Holding, attempt: AttemptKey, now_ns: u64) {
        let Inside { registry, guards, told, .. } = self;
        let Holding { agent, incarnation, capability, resources, end, .. } = holding;
        let (shard, resources) = (attempt.shard, resources.as_ref());
        let call = Call { attempt, agent: agent.clone(), capability: capability.clone() };
        let Some(end) = end else {
            registry.given_holding(agent, incarnation, shard, resources);
            told.extend(guards.given(registry, &call, now_ns));
            return;
        };
        registry.ended_holding(agent, incarnation, shard, end.outcome, resources);
        let took_ns = end.took_ms.saturating_mul(1_000_000);
        let verdict = crate::breakers::verdict(end);
        if let (Some(capability), Some(verdict @ (Verdict::Success | Verdict::Failure))) =
            (capability, verdict)
        {
            let (took_us, success) = (end.took_ms as f64 * 1_000.0, verdict == Verdict::Success);
            registry.observe(agent, incarnation, capability, took_us, success);
        }
        told.extend(guards.ended(registry, &call, verdict.map(|verdict| (verdict, took_ns)), now_ns));
    }

    /// A shard is not ours any more, or is folded anew: what it has given is not known.
    pub(crate) fn forget_shard(&mut self, shard: u32, now_ns: u64) {
        let Inside { registry, guards, told, .. } = self;
        told.extend(guards.forget_shard(registry, shard, now_ns));
        registry.forget_shard(shard);
    }

    /// Those whose presence is to be looked for at once.
    pub(crate) fn newcomers(&mut self) -> Vec<(AgentKey, Incarnation)> {
        std::mem::take(&mut self.newcomers)
    }

    /// What follows from a new directory entry.
    fn learned(
        &mut self,
        key: &AgentKey,
        before: Option<&DirectoryEntry>,
        orders: &[StandingOrder],
        now_ns: u64,
    ) {
        let Inside { registry, guards, told, newcomers, at_work, .. } = self;
        let Some(start) = registry.get(key).map(|member| member.entry.incarnation.clone()) else { return };
        if before.is_none_or(|before| before.incarnation != start) {
            if newcomers.len() < NEWCOMERS {
                newcomers.push((key.clone(), start));
            }
            if *at_work {
                guards.joined(registry, key, now_ns);
            }
        }
        let known = before.map_or(&[][..], |before| &before.breaker_orders);
        for standing in orders.iter().filter(|standing| !known.contains(standing)) {
            // A reset is done once; one from before we began has nothing left to reset.
            let order = match standing.order {
                BreakerOrder::ForceOpen => Some(Order::ForceOpen),
                BreakerOrder::ForceClosed => Some(Order::ForceClosed),
                BreakerOrder::Reset => None,
            };
            match guards.order(registry, key, &standing.capability, order, now_ns) {
                Ok(more) => told.extend(more),
                Err(error) => tracing::warn!(agent = %key.agent, %error, "an order for a breaker"),
            }
        }
    }

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
            breaker: crate::breakers::plain(&self.guards, key),
            breakers: crate::breakers::views(
                &self.guards,
                key,
                now_ms.saturating_mul(1_000_000),
                &self.coordinator,
            ),
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
            track_records: entry.track_records,
        }
    }
}

/// What it is doing: at work, if it holds any and is not kept from it.
pub(crate) fn status_of(member: &Member) -> AgentStatus {
    let at_work = member.in_flight() > 0 && member.entry.status == AgentStatus::Idle;
    if at_work { AgentStatus::Running } else { member.entry.status }
}

impl SharedFleet {
    pub(crate) fn new(coordinator: Id, registry: Registry, breakers: Policy, ramp: Ramp) -> SharedFleet {
        let inside = Inside {
            coordinator,
            registry,
            guards: Guards::new(breakers, ramp),
            told: Vec::new(),
            newcomers: Vec::new(),
            at_work: false,
            silence: Silence::default(),
            beats: BTreeMap::new(),
            overdue: Overdue::default(),
            pauses: Following::default(),
            held: BTreeMap::new(),
            lost_at: BTreeMap::new(),
        };
        SharedFleet {
            inside: Mutex::new(inside),
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

    /// The same in nanoseconds, a day later: so that what breakers have counted before this coordinator began has a time.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from((DAY + self.began.elapsed()).as_nanos()).unwrap_or(u64::MAX)
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
                inside.guards.left(&key);
                inside.held.remove(&key);
            } else {
                inside.silence.expect(&key, &entry.incarnation, now);
            }
            let orders = entry.breaker_orders.clone();
            let before = inside.registry.get(&key).map(|member| member.entry.clone());
            let changed = inside.registry.learn(entry, offset);
            if changed {
                inside.learned(&key, before.as_ref(), &orders, self.now_ns());
            }
            changed
        };
        if changed {
            self.held.notify_one();
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
        // What another process start says is no sign of this one.
        if inside.registry.get(key).is_none_or(|m| m.entry.incarnation != *incarnation) {
            return;
        }
        // A number that we see for the first time may be that of a process long dead: only its growth is a sign.
        if let Some(beat) = beat {
            let seen = (incarnation.clone(), beat);
            let before = inside.beats.insert(key.clone(), seen.clone());
            if before.is_none_or(|before| before.0 != seen.0 || before == seen) {
                return;
            }
        }
        inside.silence.heard(key, incarnation, now);
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

    /// Returns when somebody was given work, or is new.
    pub(crate) async fn work_is_held(&self) {
        self.held.notified().await;
    }

    /// Tells those who watch over who holds work that somebody does.
    pub(crate) fn was_given(&self) {
        self.held.notify_one();
    }

    /// Tells those who wait that there is room.
    pub(crate) fn has_ended(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.room.send_modify(|version| *version += 1);
        }
    }

    /// Lets time do what it does to breakers and ramps; what has happened to breakers since the last time.
    pub(crate) fn breakers_tick(&self) -> Vec<Told> {
        let now_ns = self.now_ns();
        let mut inside = self.lock();
        let Inside { registry, guards, told, .. } = &mut *inside;
        told.extend(guards.tick(registry, now_ns));
        let (told, has_made_room) = (std::mem::take(told), guards.has_made_room());
        drop(inside);
        if has_made_room {
            self.has_ended();
        }
        told
    }

    /// What is to be kept of breakers that have changed, of up to so many agents.
    pub(crate) fn breakers_changed(&self, most: usize) -> Vec<(AgentKey, Vec<(Scope, Kept)>)> {
        let now_ns = self.now_ns();
        self.lock().guards.changed(most, now_ns)
    }

    /// Goes on with what was kept of an agent's breakers, so long ago.
    pub(crate) fn breakers_kept(&self, agent: &AgentKey, kept: &[(Scope, Kept)], ago: Duration) {
        let now_ns = self.now_ns();
        let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        let mut inside = self.lock();
        let Inside { registry, guards, .. } = &mut *inside;
        guards.restore(registry, agent, kept, ago_ns, now_ns);
    }

    /// The directory was read.
    pub(crate) fn begins_work(&self) {
        self.lock().at_work = true;
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Nobody, and settings as by default.
    pub(crate) fn empty() -> SharedFleet {
        let breakers = crate::config::Breakers::default().policy();
        SharedFleet::new("coordinator".parse().unwrap(), Registry::default(), breakers, Ramp::default())
    }
}
