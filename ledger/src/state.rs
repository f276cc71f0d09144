//! The state of a shard: its entities, its place in the commands topic, and the indexes over them.
//!
//! Everything in here follows from the events alone; `apply` is total and is used by the owner, the fold
//! and every later replay alike.

use crate::agent::AgentState;
use crate::approvals::{self, Approvals};
use crate::executions::{self, Executions};
use crate::memory::{Keep, Kept, Moved, Thing};
use crate::negotiations::{NegotiationKey, Negotiations, is_about_one};
use crate::pauses::PausesInForce;
use crate::record::Step;
use crate::seen::Seen;
use crate::subject::{EntityKey, Subject};
use crate::task::TaskState;
use crate::workflows::{Shared, Workflows};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::AgentKey;
use synod_protocol::breaker::BreakerOrdered;
use synod_protocol::event::{AgentChanged, Event, TaskSubmitted, What};
use synod_protocol::track::AgentAppraised;
use synod_protocol::view::TaskStatus;
use synod_protocol::{Capability, EntityId, Id, Incarnation, Timestamp, Workspace};

/// One task of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub task: EntityId,
}

/// What a waiting task waits for; those that wait for the very same thing, and take the same permits, wait in one line,
/// so that where its first finds nobody none of it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Whose.
    pub workspace: Workspace,
    /// An agent that can do this.
    pub capability: Option<Capability>,
    /// This agent.
    pub agent: Option<Id>,
    /// What it must have, as JSON.
    requires: Option<String>,
    /// Who has declined.
    avoid: Vec<Id>,
}

/// Everything a shard knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What is the shard's own.
    pub(crate) shard: ShardImage,
    /// The shard's newest image or its birth.
    pub(crate) shard_base: u64,
    /// Commands had.
    pub(crate) seen: Seen,
    /// The latest recorded time.
    pub now: Timestamp,
    pub(crate) tasks: BTreeMap<TaskKey, Kept<TaskState>>,
    pub(crate) agents: BTreeMap<AgentKey, Kept<AgentState>>,
    pub(crate) negotiations: Negotiations,
    pub(crate) workflows: Workflows,
    pub(crate) executions: Executions,
    pub(crate) approvals: Approvals,
    /// What the executions in memory keep to, each once.
    pub(crate) definitions: Shared,
    pub(crate) timers: BTreeSet<(Timestamp, TaskKey)>,
    pub(crate) retries: BTreeSet<(Timestamp, TaskKey)>,
    pub(crate) agent_timers: BTreeSet<(Timestamp, AgentKey)>,
    pub(crate) waiting: BTreeSet<TaskKey>,
    pub(crate) held: BTreeMap<AgentKey, BTreeMap<TaskKey, Incarnation>>,
    pub(crate) ended: BTreeSet<(Timestamp, TaskKey)>,
    pub(crate) ended_weight: usize,
    pub(crate) live_weight: usize,
    pub(crate) live: BTreeMap<TaskStatus, u64>,
    /// The bases of blocks of commands that were dropped since the shard's newest image, which does not tell of it.
    pub(crate) dropped: Vec<u64>,
    /// Every thing by its newest image or birth: the first has gone longest without one.
    pub(crate) by_base: BTreeSet<(u64, Thing)>,
    /// What stays in memory.
    pub(crate) keep: Keep,
}

/// What is the shard's own, as it stands in an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardImage {
    /// The next offset of the commands topic.
    pub position: u64,
    /// The last command that was taken from there, by which the topic is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_input: Option<LastInput>,
    /// Tasks that have ended, by how.
    pub ended: BTreeMap<TaskStatus, u64>,
    /// Commands asked for until then may have been had and forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<Timestamp>,
    /// The latest recorded time, for a fold that meets no step behind this image; only in images, and not in those of
    /// earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// What of the fleet is paused; in the shard of the fleet's root alone.
    #[serde(default, skip_serializing_if = "PausesInForce::is_empty")]
    pub pauses: PausesInForce,
}

/// A record of the commands topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastInput {
    /// Where it stood.
    pub offset: u64,
    /// Its `ce_id`.
    pub ce_id: String,
}

impl State {
    /// The state at a shard's birth.
    pub fn new(keep: Keep) -> State {
        State { keep, ..State::default() }
    }

    /// The next offset of the commands topic.
    pub fn position(&self) -> u64 {
        self.shard.position
    }

    /// The last command that was taken from the topic, if it could be read.
    pub fn last_input(&self) -> Option<&LastInput> {
        self.shard.last_input.as_ref()
    }

    /// Commands asked for until then may have been had and forgotten; `None` while none has been.
    pub fn forgotten(&self) -> Option<Timestamp> {
        self.shard.forgotten
    }

    /// Commands that are remembered.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }

    /// Tasks by where they stand, those that have left memory included.
    pub fn counts(&self) -> BTreeMap<TaskStatus, u64> {
        let live = self.live.iter().filter(|(status, _)| !status.is_final());
        live.chain(&self.shard.ended).map(|(status, n)| (*status, *n)).collect()
    }

    /// One task.
    pub fn task(&self, key: &TaskKey) -> Option<&TaskState> {
        self.tasks.get(key).map(|kept| &kept.state)
    }

    /// One agent.
    pub fn agent(&self, key: &AgentKey) -> Option<&AgentState> {
        self.agents.get(key).map(|kept| &kept.state)
    }

    /// Every task in memory, by workspace and id.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskKey, &TaskState)> {
        self.tasks.iter().map(|(key, kept)| (key, &kept.state))
    }

    /// Tasks in memory after this one, for paging.
    pub fn tasks_after<'a>(&'a self, after: &TaskKey) -> impl Iterator<Item = (&'a TaskKey, &'a TaskState)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.tasks.range((Excluded(after.clone()), Unbounded)).map(|(key, kept)| (key, &kept.state))
    }

    /// Every agent of this shard.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentKey, &AgentState)> {
        self.agents.iter().map(|(key, kept)| (key, &kept.state))
    }

    /// What of the fleet is paused, by what this shard knows.
    pub fn pauses(&self) -> &PausesInForce {
        &self.shard.pauses
    }

    /// Tasks that have not ended.
    pub fn live_tasks(&self) -> u64 {
        self.live.iter().filter(|(status, _)| !status.is_final()).map(|(_, n)| n).sum()
    }

    /// The tasks that an agent holds, with the process start that holds each.
    pub fn held_by(&self, agent: &AgentKey) -> impl Iterator<Item = (&TaskKey, &Incarnation)> {
        self.held.get(agent).into_iter().flatten()
    }

    /// Agents that hold tasks of this shard.
    pub fn holders(&self) -> impl Iterator<Item = &AgentKey> {
        self.held.keys()
    }

    /// When something is next due by itself.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let retry = self.retries.first().map(|(at, _)| *at);
        let agent = self.agent_timers.first().map(|(at, _)| *at);
        let negotiation = self.negotiations.first_due().map(|(at, _)| *at);
        let execution = self.executions.first_due().map(|(at, _)| *at);
        let approval = self.approvals.first_due().map(|(at, _)| *at);
        [timer, retry, agent, negotiation, execution, approval].into_iter().flatten().min()
    }

    /// Those whose back-off is over wait from now on. Not an event: that they wait follows from the time. Who they are.
    pub fn wake_retries(&mut self, now: Timestamp) -> Vec<TaskKey> {
        let mut woken = Vec::new();
        while let Some((at, key)) = self.retries.first().cloned() {
            if at > now {
                break;
            }
            self.retries.remove(&(at, key.clone()));
            self.waiting.insert(key.clone());
            woken.push(key);
        }
        woken
    }

    /// Negotiations, executions and approvals that have not ended.
    pub fn live_others(&self) -> (usize, usize, usize) {
        (self.negotiations.live(), self.executions.live(), self.approvals.live())
    }

    /// Since when a task has waited for an agent for the longest, among the first so many that wait; and an approval for people.
    pub fn waits_since(&self, most: usize) -> (Option<Timestamp>, Option<Timestamp>) {
        let tasks = self.waiting.iter().take(most).filter_map(|key| Some(self.task(key)?.submitted_at));
        let approvals = self.approvals.iter().take(most).map(|(_, it)| it);
        let pending = approvals.filter(|it| !it.status.is_final()).map(|it| it.asked_at);
        (tasks.min(), pending.min())
    }

    /// Tasks that wait for an agent.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether this task waits for an agent: none was found yet, and it does not back off.
    pub fn waits(&self, key: &TaskKey) -> bool {
        self.waiting.contains(key)
    }

    /// Which tasks wait for an agent.
    pub(crate) fn who_waits(&self) -> impl Iterator<Item = &TaskKey> {
        self.waiting.iter()
    }

    /// A task with the number by which it came: of two, the lower came first.
    pub(crate) fn arrived(&self, key: &TaskKey) -> Option<(u64, &TaskState)> {
        self.tasks.get(key).map(|kept| (kept.arrival, &kept.state))
    }

    /// The state after an event of the step at `offset`; total. What is not known changes nothing: its image comes.
    pub(crate) fn apply(
        &mut self,
        offset: u64,
        step: &Step,
        workspace: &Workspace,
        event: &Event,
        moved: &mut Vec<Moved>,
    ) {
        let now = step.now;
        match &event.what {
            What::AgentRegistered(e) => {
                let key = AgentKey { workspace: workspace.clone(), agent: e.agent_id.clone() };
                match self.agents.contains_key(&key) {
                    true => self.apply_to_agent(&key, &event.what, now),
                    false => moved.push(self.put_agent(step.place(), offset, key, AgentState::new(e, now))),
                }
            }
            What::AgentDeregistered(AgentChanged { agent_id, .. })
            | What::AgentLost(AgentChanged { agent_id, .. })
            | What::AgentStatusChanged(AgentChanged { agent_id, .. })
            | What::AgentBreakerOrdered(BreakerOrdered { agent_id, .. })
            | What::AgentAppraised(AgentAppraised { agent_id, .. }) => {
                let key = AgentKey { workspace: workspace.clone(), agent: agent_id.clone() };
                self.apply_to_agent(&key, &event.what, now);
            }
            What::AgentRemoved(e) => {
                let key = AgentKey { workspace: workspace.clone(), agent: e.agent_id.clone() };
                let from = self.remove_agent(&key);
                moved.extend(from.map(|from| Moved { from: Some(from), to: None }));
            }
            What::FleetPaused(_) | What::FleetResumed(_) => self.shard.pauses.apply(&event.what, now),
            what if is_about_one(what) => {
                let key = NegotiationKey { workspace: workspace.clone(), negotiation: event.entity.clone() };
                self.apply_to_negotiation((offset, step.place()), now, &key, what, moved);
            }
            What::WorkflowDefined(defined) => {
                let key = EntityKey::of(workspace, &event.entity);
                self.apply_to_workflow((offset, step.place()), now, &key, defined, moved);
            }
            what if executions::is_about_one(what) => {
                let key = EntityKey::of(workspace, &event.entity);
                self.apply_to_execution((offset, step.place()), now, &key, what, moved);
            }
            what if approvals::is_about_one(what) => {
                let key = EntityKey::of(workspace, &event.entity);
                self.apply_to_approval((offset, step.place()), now, &key, what, moved);
            }
            _ => self.apply_to_task(offset, step, workspace, event, moved),
        }
    }

    fn apply_to_agent(&mut self, key: &AgentKey, what: &What, now: Timestamp) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        let before = agent.state.timer();
        agent.state.apply(what, now);
        let after = agent.state.timer();
        self.move_agent_timer(key, before, after);
    }

    pub(crate) fn move_agent_timer(
        &mut self,
        key: &AgentKey,
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    ) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.agent_timers.remove(&(at, key.clone()));
        }
        if let Some(at) = after {
            self.agent_timers.insert((at, key.clone()));
        }
    }

    fn apply_to_task(
        &mut self,
        offset: u64,
        step: &Step,
        workspace: &Workspace,
        event: &Event,
        moved: &mut Vec<Moved>,
    ) {
        let (now, place) = (step.now, step.place());
        let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
        if let Some(status) = event.what.task_ends() {
            *self.shard.ended.entry(status).or_default() += 1;
            self.remember((place, offset), now, &Subject::Task(key.clone()), moved);
        }
        if let Some(mut kept) = self.tasks.remove(&key) {
            self.unindex(&key, &kept);
            kept.state.apply(&event.what, now);
            self.index(&key, &kept);
            self.tasks.insert(key, kept);
        } else if let What::TaskSubmitted(submitted) = &event.what {
            self.remember((place, offset), now, &Subject::Task(key.clone()), moved);
            moved.push(self.put_task(place, offset, key, TaskState::new(submitted.clone(), now)));
        }
    }

    /// Its id stays for the window from now on, however long ago it was made. `at`: the step's place, and its offset.
    pub(crate) fn remember(
        &mut self,
        at: (u64, u64),
        now: Timestamp,
        subject: &Subject,
        moved: &mut Vec<Moved>,
    ) {
        let born = self.seen.insert_entity(at, now, subject);
        moved.extend(born.map(|block| self.block_born(at.1, block)));
    }

    /// Whether there is, or was within the window, such a thing.
    pub(crate) fn knows(&self, subject: &Subject) -> bool {
        subject.standing(self).is_some() || self.seen.entity(subject).is_some()
    }

    pub(crate) fn index(&mut self, key: &TaskKey, kept: &Kept<TaskState>) {
        let task = &kept.state;
        *self.live.entry(task.status).or_default() += 1;
        if let Some(at) = task.timer() {
            self.timers.insert((at, key.clone()));
        }
        if let Some((agent, incarnation)) = task.holder() {
            let holder = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
            self.held.entry(holder).or_default().insert(key.clone(), incarnation.clone());
        }
        match (task.status, task.retry_at) {
            (TaskStatus::Retrying, Some(at)) => {
                self.retries.insert((at, key.clone()));
            }
            (TaskStatus::Waiting, _) => {
                self.waiting.insert(key.clone());
            }
            _ => {}
        }
        if let Some(at) = task.completed_at {
            self.ended_weight += task.weight();
            self.ended.insert((at, key.clone()));
        } else {
            self.live_weight += task.weight();
        }
    }

    pub(crate) fn unindex(&mut self, key: &TaskKey, kept: &Kept<TaskState>) {
        let task = &kept.state;
        if let Some(count) = self.live.get_mut(&task.status) {
            *count -= 1;
            if *count == 0 {
                self.live.remove(&task.status);
            }
        }
        if let Some(at) = task.timer() {
            self.timers.remove(&(at, key.clone()));
        }
        if let Some((agent, _)) = task.holder() {
            let holder = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
            if let Some(held) = self.held.get_mut(&holder) {
                held.remove(key);
                if held.is_empty() {
                    self.held.remove(&holder);
                }
            }
        }
        if let Some(at) = task.retry_at {
            self.retries.remove(&(at, key.clone()));
        }
        if let Some(at) = task.completed_at {
            self.ended_weight -= task.weight();
            self.ended.remove(&(at, key.clone()));
        } else {
            self.live_weight -= task.weight();
        }
        self.waiting.remove(key);
    }

    /// The state after a step that counts at `offset`: its events, the position, and the command that it answers.
    pub fn take(&mut self, offset: u64, step: &Step) -> Vec<Moved> {
        let mut moved = Vec::new();
        self.now = self.now.max(step.now);
        // First: what ends by this step stays at least until the next, so that its effects can show it. What is taken up again by
        // it stays too: it was there when that was decided.
        let goes_on = self.executions.set_aside(executions::taken_up(step));
        self.forget(&mut moved);
        self.executions.put_back(goes_on);
        let input = &step.input;
        if let Some(at) = input.offset {
            self.shard.position = self.shard.position.max(at + 1);
            self.shard.last_input = input.ce_id.clone().map(|ce_id| LastInput { offset: at, ce_id });
        }
        if let Some(workspace) = &step.workspace {
            for event in &step.events {
                self.apply(offset, step, workspace, event, &mut moved);
            }
            if let Some(ce_id) = input.ce_id.as_ref().filter(|_| step.is_had())
                && self.seen.command(workspace, ce_id).is_none()
            {
                let born = self.seen.insert_command((step.place(), offset), step.now, workspace, ce_id);
                moved.extend(born.map(|block| self.block_born(offset, block)));
            }
        }
        moved
    }

    /// The least base that a step's entities had before it: what a fold must find to issue its effects again.
    pub(crate) fn needs(&self, offset: u64, step: &Step) -> u64 {
        let Some(workspace) = &step.workspace else { return offset };
        let ids = step.events.iter().map(|event| &event.entity).chain(&step.input.entity);
        let mut least = offset;
        for id in ids {
            let task = Thing::Task(TaskKey { workspace: workspace.clone(), task: id.clone() });
            let agent = || {
                let agent = id.as_str().parse().ok()?;
                Some(Thing::Agent(AgentKey { workspace: workspace.clone(), agent }))
            };
            let negotiation =
                Thing::Negotiation(NegotiationKey { workspace: workspace.clone(), negotiation: id.clone() });
            let of = |thing: fn(EntityKey) -> Thing| Some(thing(EntityKey::of(workspace, id)));
            let flow = [of(Thing::Workflow), of(Thing::Execution), of(Thing::Approval)];
            let things = [Some(task), agent(), Some(negotiation)].into_iter().chain(flow);
            let bases = things.flatten().filter_map(|thing| self.base_of(&thing));
            least = bases.fold(least, u64::min);
        }
        least
    }
}

impl Line {
    /// The line of a task whose next attempt is for this capability or agent.
    pub(crate) fn of(
        workspace: &Workspace,
        (capability, agent): (Option<&Capability>, Option<&Id>),
        submitted: &TaskSubmitted,
        avoid: &BTreeSet<Id>,
    ) -> Line {
        Line {
            workspace: workspace.clone(),
            capability: capability.cloned(),
            agent: agent.cloned(),
            // What was read from JSON has a JSON form.
            requires: submitted.requires.as_ref().and_then(|r| serde_json::to_string(r).ok()),
            avoid: avoid.iter().cloned().collect(),
        }
    }
}
