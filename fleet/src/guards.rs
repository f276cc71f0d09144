//! Every breaker of a fleet, and how load comes back: what keeps work from agents that fail, and new agents from drowning.
//!
//! Each agent has one breaker for all that it does and one for each capability that it was given work for; an attempt
//! needs the permission of both. What they allow stands in the registry as gates, so that choosing looks at no breaker.
//!
//! ```text
//! attempt given --> given() --try_acquire--> breakers --gate open?--> Registry::set_open
//! attempt ended --> ended() ----record-----> breakers --transition--> Told (events)
//! time ---------->  tick() -----poll-------> breakers
//!                           `---ramp-------> Registry::set_share
//! ```
//!
//! **Half-open** no more attempts are out than the policy permits: the permission is asked in the same step in which
//! the agent is chosen. An attempt that ends without saying anything of its agent (withdrawn, cancelled, declined, lost, or
//! failed by its caller's fault) gives its permit back, if it was begun on this trial; one begun before has none to give.
//! That a lost agent's attempts count neither way is deliberate: its health is judged elsewhere, and its
//! next process start is not to pay for the death of the last.
//!
//! **Load returns gradually**: after a breaker has closed its agent's share grows from the ramp's least to 1. So
//! does that of an agent that joins others; where a capability has nobody else with a whole share there is
//! nobody to spare it, and it is used in full.

use crate::breaker::{self, Breaker, IllegalTransition, Kept, Order, Policy, State, Status};
use crate::ramp::Ramp;
use crate::registry::{AgentKey, Gate, Member, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use synod_protocol::{Capability, EntityId, Workspace};

const NANOS_PER_MS: u64 = 1_000_000;

/// Agents that are brought up to their whole share at a time; who comes beyond it is used in full at once.
const RAMPING: usize = 10_000;

/// One try of a task, by the shard that gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptKey {
    /// The shard.
    pub shard: u32,
    /// The task's workspace.
    pub workspace: Workspace,
    /// The task.
    pub task: EntityId,
    /// Which try of it, from 1.
    pub attempt: u32,
}

/// An attempt at an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub attempt: AttemptKey,
    /// Whose.
    pub agent: AgentKey,
    /// For what; `None` where the task named its agent.
    pub capability: Option<Capability>,
}

/// Which breaker of an agent: that of a capability, or (`None`) that of all it does.
pub type Scope = Option<Capability>;

/// Something that happened to a breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whose.
    pub agent: AgentKey,
    /// Which of its breakers.
    pub scope: Scope,
    /// What.
    pub event: breaker::Event,
    /// How it stands after everything that happened with it.
    pub status: Status,
}

/// All breakers of a fleet, and all ramps.
#[derive(Debug)]
pub struct Guards {
    policy: Arc<Policy>,
    ramp: Ramp,
    breakers: BTreeMap<AgentKey, BTreeMap<Scope, Breaker>>,
    /// Those that time may change, and whether they let anything through.
    unsettled: BTreeMap<(AgentKey, Scope), bool>,
    /// There may be room where there was none.
    room: bool,
    /// Attempts that hold a permit of a half-open breaker, and since when that is half-open.
    trials: BTreeMap<AttemptKey, Vec<(AgentKey, Scope, u64)>>,
    /// Agents whose breakers have counted something, or stand elsewhere, since that was last asked for.
    changed: BTreeSet<AgentKey>,
    /// Since when a share grows, and whether it is that of an agent that has joined.
    ramping: BTreeMap<AgentKey, (u64, bool)>,
}

impl Guards {
    /// Closed breakers by this policy, and this ramp.
    pub fn new(policy: Policy, ramp: Ramp) -> Guards {
        Guards {
            policy: Arc::new(policy),
            ramp,
            breakers: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            room: false,
            trials: BTreeMap::new(),
            changed: BTreeSet::new(),
            ramping: BTreeMap::new(),
        }
    }

    /// An attempt was given to an agent that the registry had open for it.
    pub fn given(&mut self, registry: &mut Registry, call: &Call, now_ns: u64) -> Vec<Told> {
        let Call { attempt, agent, .. } = call;
        let mut told = Vec::new();
        for scope in call.scopes() {
            // One that was never asked for is closed, and lets everything through.
            let Some(breaker) = self.breakers.get_mut(agent).and_then(|all| all.get_mut(&scope)) else {
                continue;
            };
            let permission = breaker.try_acquire(now_ns);
            if permission.granted && breaker.state() == State::HalfOpen {
                let since_ns = breaker.status(now_ns).since_ns;
                let trials = self.trials.entry(attempt.clone()).or_default();
                trials.push((agent.clone(), scope.clone(), since_ns));
            }
            self.happened(registry, agent, &scope, permission.events, now_ns, &mut told);
        }
        told
    }

    /// An attempt has ended: as its breakers are to count it, after so many nanoseconds, or `None` if it says nothing of its
    /// agent.
    pub fn ended(
        &mut self,
        registry: &mut Registry,
        call: &Call,
        end: Option<(breaker::Outcome, u64)>,
        now_ns: u64,
    ) -> Vec<Told> {
        use breaker::Outcome::{Failure, Success};
        let Call { attempt, agent, .. } = call;
        let trials = self.trials.remove(attempt).unwrap_or_default();
        let mut told = Vec::new();
        let Some((outcome @ (Success | Failure), took_ns)) = end else {
            self.give_back(registry, trials, now_ns, &mut told);
            return told;
        };
        if registry.get(agent).is_none() {
            return told;
        }
        for scope in call.scopes() {
            let all = self.breakers.entry(agent.clone()).or_default();
            let breaker =
                all.entry(scope.clone()).or_insert_with(|| Breaker::new(self.policy.clone(), now_ns));
            let events = breaker.record(outcome, took_ns, now_ns);
            self.happened(registry, agent, &scope, events, now_ns, &mut told);
        }
        told
    }

    fn give_back(
        &mut self,
        registry: &mut Registry,
        trials: Vec<(AgentKey, Scope, u64)>,
        now_ns: u64,
        told: &mut Vec<Told>,
    ) {
        for (agent, scope, since_ns) in trials {
            let Some(breaker) = self.breakers.get_mut(&agent).and_then(|all| all.get_mut(&scope)) else {
                continue;
            };
            let mut events = breaker.poll(now_ns);
            // Another trial has permits of its own.
            if breaker.state() == State::HalfOpen && breaker.status(now_ns).since_ns == since_ns {
                events.extend(breaker.release(now_ns));
            }
            self.happened(registry, &agent, &scope, events, now_ns, told);
        }
    }

    /// How the attempts of a shard end will be heard elsewhere: their permits come back.
    pub fn forget_shard(&mut self, registry: &mut Registry, shard: u32, now_ns: u64) -> Vec<Told> {
        let of_it = |attempt: &AttemptKey| attempt.shard == shard;
        let attempts: Vec<AttemptKey> = self.trials.keys().filter(|key| of_it(key)).cloned().collect();
        let mut told = Vec::new();
        for attempt in attempts {
            let trials = self.trials.remove(&attempt).unwrap_or_default();
            self.give_back(registry, trials, now_ns, &mut told);
        }
        told
    }

    /// An agent, or another process start of it, has joined a fleet that is at work.
    pub fn joined(&mut self, registry: &mut Registry, agent: &AgentKey, now_ns: u64) {
        self.begin_ramp(agent, true, now_ns);
        self.grow(registry, now_ns);
    }

    /// An agent has left.
    pub fn left(&mut self, agent: &AgentKey) {
        let scopes = self.breakers.remove(agent).unwrap_or_default();
        for scope in scopes.into_keys() {
            self.unsettled.remove(&(agent.clone(), scope));
        }
        self.ramping.remove(agent);
        self.changed.remove(agent);
    }

    /// Up to so many agents whose breakers have changed since they were last given out here, with what is to be kept of them.
    pub fn changed(&mut self, most: usize, now_ns: u64) -> Vec<(AgentKey, Vec<(Scope, Kept)>)> {
        let some: Vec<AgentKey> = self.changed.iter().take(most).cloned().collect();
        let keep = |agent: AgentKey| {
            self.changed.remove(&agent);
            let all = self.breakers.get(&agent).into_iter().flatten();
            let kept =
                all.filter_map(|(scope, breaker)| Some((scope.clone(), breaker.kept(now_ns)?))).collect();
            (agent, kept)
        };
        some.into_iter().map(keep).collect()
    }

    /// Goes on with what was kept of an agent's breakers so many nanoseconds ago. One that has counted something here, or
    /// stands under an operator's word, stays as it is.
    pub fn restore(
        &mut self,
        registry: &mut Registry,
        agent: &AgentKey,
        kept: &[(Scope, Kept)],
        ago_ns: u64,
        now_ns: u64,
    ) {
        if registry.get(agent).is_none() {
            return;
        }
        for (scope, kept) in kept {
            let all = self.breakers.entry(agent.clone()).or_default();
            if all.get(scope).is_some_and(|breaker| !breaker.is_blank(now_ns)) {
                continue;
            }
            all.insert(scope.clone(), Breaker::restored(self.policy.clone(), kept, ago_ns, now_ns));
            self.happened(registry, agent, scope, Vec::new(), now_ns, &mut Vec::new());
        }
    }

    /// Does what an operator orders; `Reset` begins anew.
    ///
    /// # Errors
    /// [`IllegalTransition`]; nothing has changed then.
    pub fn order(
        &mut self,
        registry: &mut Registry,
        agent: &AgentKey,
        scope: &Scope,
        order: Option<Order>,
        now_ns: u64,
    ) -> Result<Vec<Told>, IllegalTransition> {
        let mut told = Vec::new();
        if registry.get(agent).is_none() {
            return Ok(told);
        }
        let all = self.breakers.entry(agent.clone()).or_default();
        let breaker = all.entry(scope.clone()).or_insert_with(|| Breaker::new(self.policy.clone(), now_ns));
        let events = match order {
            Some(order) => breaker.order(order, now_ns)?,
            None => breaker.reset(now_ns),
        };
        self.happened(registry, agent, scope, events, now_ns, &mut told);
        Ok(told)
    }

    /// It is so late: what time alone does.
    pub fn tick(&mut self, registry: &mut Registry, now_ns: u64) -> Vec<Told> {
        let mut told = Vec::new();
        for (agent, scope) in self.unsettled.keys().cloned().collect::<Vec<_>>() {
            let breaker = self.breakers.get_mut(&agent).and_then(|all| all.get_mut(&scope));
            let events = breaker.map(|breaker| breaker.poll(now_ns)).unwrap_or_default();
            self.happened(registry, &agent, &scope, events, now_ns, &mut told);
        }
        self.grow(registry, now_ns);
        told
    }

    /// Whether there may be room now where there was none at the last question: those that wait are to be looked at then.
    pub fn has_made_room(&mut self) -> bool {
        std::mem::take(&mut self.room)
    }

    /// Each breaker of an agent that has counted anything or is not closed, the one for all first.
    pub fn of<'a>(
        &'a self,
        agent: &AgentKey,
        now_ns: u64,
    ) -> impl Iterator<Item = (&'a Scope, Status)> + use<'a> {
        let all = self.breakers.get(agent).into_iter().flatten();
        all.filter(move |(_, breaker)| !breaker.is_blank(now_ns))
            .map(move |(scope, breaker)| (scope, breaker.status(now_ns)))
    }

    /// What the breaker for all that an agent does is doing; `None`: it was never asked, and is closed.
    pub fn state(&self, agent: &AgentKey) -> Option<State> {
        self.breakers.get(agent)?.get(&None).map(Breaker::state)
    }

    /// How many breakers stand in each state; closed ones that were never asked are not counted.
    pub fn count(&self) -> BTreeMap<State, u64> {
        let mut count = BTreeMap::new();
        for breaker in self.breakers.values().flat_map(BTreeMap::values) {
            *count.entry(breaker.state()).or_default() += 1;
        }
        count
    }

    /// Opens or shuts the gate, begins a ramp, and tells.
    fn happened(
        &mut self,
        registry: &mut Registry,
        agent: &AgentKey,
        scope: &Scope,
        events: Vec<breaker::Event>,
        now_ns: u64,
        told: &mut Vec<Told>,
    ) {
        let breaker = self.breakers.get(agent).and_then(|all| all.get(scope));
        let here = (agent.clone(), scope.clone());
        let Some(breaker) = breaker else {
            self.unsettled.remove(&here);
            return;
        };
        self.changed.insert(agent.clone());
        let (status, opens) = (breaker.status(now_ns), breaker.would_permit(now_ns));
        if registry.set_open(agent, Gate::Breaker, scope.as_ref(), opens).is_err() {
            // The agent has left, or can do that no more.
            self.unsettled.remove(&here);
            self.breakers.get_mut(agent).map(|all| all.remove(scope));
            self.changed.remove(agent);
            return;
        }
        match status.state {
            State::Open | State::HalfOpen => {
                let opened_before = self.unsettled.insert(here, opens).unwrap_or(true);
                self.room |= opens && !opened_before;
            }
            _ => {
                self.room |=
                    self.unsettled.remove(&here).is_some_and(|opened_before| opens && !opened_before);
            }
        }
        let closes = |event: &breaker::Event| matches!(event, breaker::Event::Transition { from, to: State::Closed, .. } if *from != State::MetricsOnly);
        if events.iter().any(closes) {
            self.begin_ramp(agent, false, now_ns);
            self.grow(registry, now_ns);
        }
        let of = |event| Told { agent: agent.clone(), scope: scope.clone(), event, status };
        told.extend(events.into_iter().map(of));
    }

    fn begin_ramp(&mut self, agent: &AgentKey, new: bool, now_ns: u64) {
        if self.ramping.len() < RAMPING || self.ramping.contains_key(agent) {
            self.ramping.insert(agent.clone(), (now_ns / NANOS_PER_MS, new));
        }
    }

    /// Gives each that ramps up the share that it has by now.
    fn grow(&mut self, registry: &mut Registry, now_ns: u64) {
        if self.ramping.is_empty() {
            return;
        }
        let now_ms = now_ns / NANOS_PER_MS;
        let spared = if self.ramping.values().any(|(_, new)| *new) {
            self.able_without(registry)
        } else {
            BTreeSet::new()
        };
        let mut over = Vec::new();
        for (agent, (since_ms, new)) in &self.ramping {
            let Some(member) = registry.get(agent) else {
                over.push(agent.clone());
                continue;
            };
            let is_alone = *new && !abilities(agent, member).all(|ability| spared.contains(&ability));
            let share = if is_alone { 1.0 } else { self.ramp.share(*since_ms, now_ms) };
            if share >= 1.0 {
                over.push(agent.clone());
            }
            if (member.share() - share).abs() > f64::EPSILON {
                self.room |= share > member.share();
                // It is known, and a ramp's share is one.
                let _ = registry.set_share(agent, share);
            }
        }
        for agent in over {
            self.ramping.remove(&agent);
        }
    }

    /// What there are others for that may be used in full.
    fn able_without(&self, registry: &Registry) -> BTreeSet<(Workspace, Capability)> {
        let others = registry.iter().filter(|(key, member)| {
            member.is_well() && member.is_open(None) && !self.ramping.contains_key(key)
        });
        others.flat_map(|(key, member)| abilities(key, member)).collect()
    }
}

fn abilities(key: &AgentKey, member: &Member) -> impl Iterator<Item = (Workspace, Capability)> {
    member.entry.capabilities.iter().map(|capability| (key.workspace.clone(), capability.clone()))
}

impl Call {
    /// Those whose permission it needs.
    fn scopes(&self) -> impl Iterator<Item = Scope> {
        std::iter::once(None).chain(self.capability.clone().map(Some))
    }
}
