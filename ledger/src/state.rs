//! The state of a shard: its entities, its place in the commands topic, and the indexes over them.
//!
//! Everything in here follows from the events alone; `apply` is total and is used by the owner, the fold
//! and every later replay alike.

use crate::agent::AgentState;
use crate::decide::Subject;
use crate::record::Step;
use crate::seen::{Had, Seen};
use crate::task::TaskState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_fleet::AgentKey;
use synod_protocol::event::{Event, What};
use synod_protocol::view::TaskStatus;
use synod_protocol::{Capability, EntityId, Id, Incarnation, Timestamp, Workspace};

/// How long an ended task stays in memory: the deduplication window, so that a repeat can be answered.
const ENDED_KEPT_MS: u64 = crate::seen::WINDOW_MS;
/// How many ended tasks stay in memory at most.
const ENDED_LIMIT: usize = 100_000;

/// One task of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub task: EntityId,
}

/// What a waiting task waits for; those that wait for the very same thing wait in one line, so that where its
/// first finds nobody none of it does.
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

/// A place in a line: the urgent first, then who came first.
type Place = (u8, u64, EntityId);

/// Everything a shard knows.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The next offset of the commands topic.
    pub position: u64,
    /// Commands had.
    pub seen: Seen,
    /// The latest recorded time.
    pub now: Timestamp,
    pub(crate) tasks: BTreeMap<TaskKey, (u64, TaskState)>,
    agents: BTreeMap<AgentKey, AgentState>,
    pub(crate) arrivals: u64,
    pub(crate) timers: BTreeSet<(Timestamp, TaskKey)>,
    pub(crate) retries: BTreeSet<(Timestamp, TaskKey)>,
    pub(crate) waiting: BTreeMap<Line, BTreeSet<Place>>,
    pub(crate) held: BTreeMap<AgentKey, BTreeMap<TaskKey, Incarnation>>,
    pub(crate) ended: VecDeque<(Timestamp, TaskKey)>,
    /// Tasks by where they stand, those that have left memory included.
    pub counts: BTreeMap<TaskStatus, u64>,
}

impl State {
    /// One task.
    pub fn task(&self, key: &TaskKey) -> Option<&TaskState> {
        self.tasks.get(key).map(|(_, task)| task)
    }

    /// One agent.
    pub fn agent(&self, key: &AgentKey) -> Option<&AgentState> {
        self.agents.get(key)
    }

    /// Every task in memory, by workspace and id.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskKey, &TaskState)> {
        self.tasks.iter().map(|(key, (_, task))| (key, task))
    }

    /// Tasks in memory after this one, for paging.
    pub fn tasks_after<'a>(&'a self, after: &TaskKey) -> impl Iterator<Item = (&'a TaskKey, &'a TaskState)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.tasks.range((Excluded(after.clone()), Unbounded)).map(|(key, (_, task))| (key, task))
    }

    /// Every agent of this shard.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentKey, &AgentState)> {
        self.agents.iter()
    }

    /// Tasks that have not ended.
    pub fn live_tasks(&self) -> u64 {
        self.counts.iter().filter(|(status, _)| !status.is_final()).map(|(_, n)| n).sum()
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
        [timer, retry].into_iter().flatten().min()
    }

    /// The task whose timer is due first, if one is due.
    pub fn due(&self, now: Timestamp) -> Option<&TaskKey> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// Puts those whose back-off is over into their lines. Not an event: that they wait follows from the time.
    pub fn wake_retries(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.retries.first().cloned() {
            if at > now {
                break;
            }
            self.retries.remove(&(at, key.clone()));
            if let Some((arrival, task)) = self.tasks.get(&key) {
                let (line, place) = place_of(&key, *arrival, task);
                self.waiting.entry(line).or_default().insert(place);
            }
        }
    }

    /// The lines in which somebody waits.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.waiting.keys()
    }

    /// The line after this one, in which somebody waits.
    pub fn line_after(&self, line: Option<&Line>) -> Option<&Line> {
        use std::ops::Bound::{Excluded, Unbounded};
        match line {
            Some(line) => self.waiting.range((Excluded(line), Unbounded)).next().map(|(line, _)| line),
            None => self.waiting.keys().next(),
        }
    }

    /// The first of a line.
    pub fn first_in(&self, line: &Line) -> Option<TaskKey> {
        let (_, _, task) = self.waiting.get(line)?.first()?;
        Some(TaskKey { workspace: line.workspace.clone(), task: task.clone() })
    }

    /// Whether somebody waits in the line that this task would join.
    pub(crate) fn has_waiting(&self, line: &Line) -> bool {
        self.waiting.contains_key(line)
    }

    /// Tasks that wait for an agent.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// The state after an event; total.
    pub fn apply(&mut self, now: Timestamp, workspace: &Workspace, event: &Event) {
        match &event.what {
            What::AgentRegistered(registered) => {
                let key = AgentKey { workspace: workspace.clone(), agent: registered.agent_id.clone() };
                match self.agents.get_mut(&key) {
                    Some(agent) => agent.apply(&event.what, now),
                    None => {
                        self.agents.insert(key, AgentState::new(registered, now));
                    }
                }
            }
            What::AgentDeregistered(e) | What::AgentLost(e) | What::AgentStatusChanged(e) => {
                let key = AgentKey { workspace: workspace.clone(), agent: e.agent_id.clone() };
                if let Some(agent) = self.agents.get_mut(&key) {
                    agent.apply(&event.what, now);
                }
            }
            _ => self.apply_to_task(now, workspace, event),
        }
    }

    fn apply_to_task(&mut self, now: Timestamp, workspace: &Workspace, event: &Event) {
        let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
        if let Some((arrival, task)) = self.tasks.remove(&key) {
            self.unindex(&key, arrival, &task);
            let mut task = task;
            task.apply(&event.what, now);
            self.index(&key, arrival, &task);
            self.tasks.insert(key, (arrival, task));
        } else if let What::TaskSubmitted(submitted) = &event.what {
            self.arrivals += 1;
            let task = TaskState::new(submitted.clone(), now);
            self.index(&key, self.arrivals, &task);
            self.tasks.insert(key, (self.arrivals, task));
        }
        self.forget_ended(now);
    }

    fn index(&mut self, key: &TaskKey, arrival: u64, task: &TaskState) {
        *self.counts.entry(task.status).or_default() += 1;
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
                let (line, place) = place_of(key, arrival, task);
                self.waiting.entry(line).or_default().insert(place);
            }
            _ => {}
        }
        if let Some(at) = task.completed_at {
            self.ended.push_back((at, key.clone()));
        }
    }

    fn unindex(&mut self, key: &TaskKey, arrival: u64, task: &TaskState) {
        if let Some(count) = self.counts.get_mut(&task.status) {
            *count -= 1;
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
        if matches!(task.status, TaskStatus::Waiting | TaskStatus::Retrying) {
            let (line, place) = place_of(key, arrival, task);
            if let Some(waiting) = self.waiting.get_mut(&line) {
                waiting.remove(&place);
                if waiting.is_empty() {
                    self.waiting.remove(&line);
                }
            }
        }
    }

    /// Ended tasks leave memory after the window, or earlier when they are too many.
    fn forget_ended(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.ended.front() {
            if self.ended.len() <= ENDED_LIMIT && now.millis_since(*at) <= ENDED_KEPT_MS {
                break;
            }
            self.tasks.remove(key);
            self.ended.pop_front();
        }
    }

    /// The state after a step that counts: its events, the position, and the command that it answers.
    pub fn take(&mut self, step: &Step) {
        self.now = self.now.max(step.now);
        if let Some(offset) = step.input.offset {
            self.position = self.position.max(offset + 1);
        }
        let Some(workspace) = &step.workspace else { return };
        for event in &step.events {
            self.apply(step.now, workspace, event);
        }
        let input = &step.input;
        let (Some(ce_id), None, false) = (&input.ce_id, input.passed_on_to, input.poison) else { return };
        let had = match (&step.rejected, subject_of(step)) {
            (Some(error), _) => Had::Refused(Box::new(error.clone())),
            (None, Some(subject)) => Had::Taken(subject),
            (None, None) => return,
        };
        if self.seen.get(workspace, ce_id).is_none() {
            self.seen.insert(step.now, workspace, ce_id, had);
        }
    }
}

/// The entity that the answer to a step shows: what its command did, also where this is a repeat with another body.
pub(crate) fn answered(state: &State, step: &Step) -> Option<Subject> {
    let had = step.workspace.as_ref().zip(step.input.ce_id.as_ref());
    match had.and_then(|(workspace, ce_id)| state.seen.get(workspace, ce_id)) {
        Some(Had::Taken(subject)) => Some(subject.clone()),
        _ => subject_of(step),
    }
}

/// The entity that a step's input is about.
fn subject_of(step: &Step) -> Option<Subject> {
    let (workspace, entity) = (step.workspace.clone()?, step.input.entity.clone()?);
    if step.input.ty.as_deref()?.starts_with("synod.agent.") {
        let agent = entity.as_str().parse().ok()?;
        Some(Subject::Agent(AgentKey { workspace, agent }))
    } else {
        Some(Subject::Task(TaskKey { workspace, task: entity }))
    }
}

/// The line of a task.
pub(crate) fn line_of(workspace: &Workspace, task: &TaskState) -> Line {
    let submitted = &task.submitted;
    Line {
        workspace: workspace.clone(),
        capability: submitted.capability.clone(),
        agent: submitted.agent_id.clone(),
        // What was read from JSON has a JSON form.
        requires: submitted.requires.as_ref().and_then(|r| serde_json::to_string(r).ok()),
        avoid: task.avoid.iter().cloned().collect(),
    }
}

pub(crate) fn place_of(key: &TaskKey, arrival: u64, task: &TaskState) -> (Line, Place) {
    (line_of(&key.workspace, task), (9 - task.submitted.priority.min(9), arrival, key.task.clone()))
}
