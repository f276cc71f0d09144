//! Entities as a reader sees them: the answers of HTTP, of replies and of the command line.

use crate::breaker::{AgentBreaker, StandingOrder};
use crate::command::{Delivery, PauseMode, Recovery};
use crate::error::Error;
use crate::event::{ChoiceMade, is_zero};
use crate::id::{Capability, EntityId, Id, Incarnation, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use crate::track::{WorkRecord, WorkRecords};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// No agent has it.
    Waiting,
    /// An agent has been given it.
    Assigned,
    /// An agent has said that it works on it.
    Running,
    /// It failed and will be tried again.
    Retrying,
    /// It waits for somebody's word.
    InputRequired,
    /// Done.
    Completed,
    /// Over: not retryable, or its deadline passed.
    Failed,
    /// Over: somebody cancelled it.
    Cancelled,
    /// Over: attempts used up, or lost with three agents.
    DeadLettered,
}

impl TaskStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Waiting => "waiting",
            TaskStatus::Assigned => "assigned",
            TaskStatus::Running => "running",
            TaskStatus::Retrying => "retrying",
            TaskStatus::InputRequired => "input_required",
            TaskStatus::Completed => "completed",
            TaskStatus::Failed => "failed",
            TaskStatus::Cancelled => "cancelled",
            TaskStatus::DeadLettered => "dead_lettered",
        }
    }

    /// Whether it stays so.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::DeadLettered
        )
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub task_id: EntityId,
    /// Its workspace.
    pub workspace: Workspace,
    /// Where it stands.
    pub status: TaskStatus,
    /// What an agent must be able to do, unless it names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capability: Option<Capability>,
    /// The one agent that may do it, if it names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent_id: Option<Id>,
    /// As submitted.
    pub input: Json,
    /// Once completed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Json>,
    /// Once it ended otherwise; before that, what the last attempt died of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Error>,
    /// As its agent said, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<f64>,
    /// As its agent last said, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<f64>,
    /// 0 to 9.
    pub priority: u8,
    /// When it is no longer wanted.
    pub deadline: Timestamp,
    /// Every try of it.
    pub attempts: Vec<Attempt>,
    /// Free labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    /// When the ledger took it.
    pub submitted_at: Timestamp,
    /// When it ended, in whatever way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// From the last attempt's start to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processing_ms: Option<u64>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// Of the tasks with the same key only so many run at a time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_key: Option<Id>,
    /// Why it waits, while it does; only where its shard's owner was asked for this one task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits_for: Option<WaitsFor>,
}

/// Why a task waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    /// What for.
    pub reason: WaitReason,
    /// The same in words, with the figures.
    pub message: String,
    /// The permit that is out, by its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub permit: Option<String>,
    /// When its back-off is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
    /// Who could do it, and what is the matter with them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agents: Option<AgentsCounted>,
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Its turn.
    Turn,
    /// A permit: all of them are out.
    Permit,
    /// Redis, of which its permits are asked for.
    Permits,
    /// An agent: nobody was found who is able, well and has room.
    Agent,
    /// The end of its back-off.
    Retry,
    /// That an operator ends a pause.
    Pause,
}

/// Agents that are able, each but in that in one count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentsCounted {
    /// Who have the capability, or are the agent named.
    pub able: u32,
    /// Who declined it and are not asked again.
    pub avoided: u32,
    /// Who lack what is required, or have too little of it free.
    pub unfit: u32,
    /// Who are not healthy, or paused, drained or done.
    pub unwell: u32,
    /// Who are shut off by a breaker.
    pub shut: u32,
    /// Who have no room.
    pub full: u32,
    /// Who could be chosen now.
    pub ready: u32,
}

/// One try of a task by one agent incarnation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
    /// Which process start of it.
    pub incarnation: Incarnation,
    /// When it was given.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// Why it went there, or why it ended so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// How that agent was chosen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub choice: Option<ChoiceMade>,
    /// The capability that it was escalated to, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub escalated_to: Option<Capability>,
    /// Which of the task's adjustments made its input, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub adjusted: Option<u32>,
}

/// Why a task's attempts went where they went, and what it waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Which task.
    pub task_id: EntityId,
    /// Where it stands.
    pub status: TaskStatus,
    /// Every try of it.
    pub attempts: Vec<Attempt>,
    /// What it waits for, while it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<WaitsFor>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// Not in time.
    TimedOut,
    /// The agent did not want it.
    Declined,
    /// The agent was lost.
    Lost,
    /// Taken back: the agent left in good order.
    Withdrawn,
    /// Somebody cancelled the task.
    Cancelled,
}

/// What an agent is doing, as far as its own life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Ready, with nothing to do.
    Idle,
    /// At work.
    Running,
    /// Takes no new work for now.
    Paused,
    /// Ended for good.
    Completed,
    /// Found itself unable to work.
    Error,
}

impl AgentStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentStatus::Idle => "idle",
            AgentStatus::Running => "running",
            AgentStatus::Paused => "paused",
            AgentStatus::Completed => "completed",
            AgentStatus::Error => "error",
        }
    }
}

/// Whether an agent can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It gives signs of life.
    Healthy,
    /// It has gone silent; no new work goes there.
    Suspected,
    /// It is gone; its work was given to others.
    Lost,
    /// It finishes what it has and takes no more.
    Draining,
}

impl Health {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Suspected => "suspected",
            Health::Lost => "lost",
            Health::Draining => "draining",
        }
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Its id.
    pub agent_id: Id,
    /// Its workspace.
    pub workspace: Workspace,
    /// Its newest process start.
    pub incarnation: Incarnation,
    /// What it is doing.
    pub status: AgentStatus,
    /// Whether it can be counted on.
    pub health: Health,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Attempts at a time.
    pub max_concurrency: u32,
    /// Attempts that it holds, as far as this coordinator knows.
    pub in_flight: u32,
    /// Its circuit breaker for all that it does, as the owner of its shard has it.
    pub breaker: Breaker,
    /// Its breakers that are not closed, or have counted something: for all that it does, and for each capability.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub breakers: Vec<AgentBreaker>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub resources: BTreeMap<String, f64>,
    /// How its work reaches it.
    pub delivery: Delivery,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// What it has done.
    pub statistics: AgentStatistics,
    /// When this incarnation registered.
    pub registered_at: Timestamp,
    /// The last sign of life that this coordinator knows of.
    pub last_seen_at: Timestamp,
    /// How many changes of its life the ledger has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// Process starts after its first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
    /// How it is to come back from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// When it comes back by itself from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<Timestamp>,
    /// What is odd about its process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What became of its promises, by kind of work; at most 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, WorkRecord>)]
    pub track_records: WorkRecords,
}

/// A circuit breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Work flows.
    Closed,
    /// No work.
    Open,
    /// A few trials.
    HalfOpen,
}

/// Counts of attempts given to an agent by the shards of this coordinator, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatistics {
    /// Given.
    pub assigned: u64,
    /// With a result.
    pub completed: u64,
    /// With an error, a decline or not in time.
    pub failed: u64,
    /// Gone with the agent.
    pub lost: u64,
}

/// The shape of a value in the directory topic: what a coordinator must know of an agent to choose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DirectoryEntry {
    /// Its id.
    pub agent_id: Id,
    /// Its workspace.
    pub workspace: Workspace,
    /// Its newest process start.
    pub incarnation: Incarnation,
    /// What it is doing.
    pub status: AgentStatus,
    /// Whether it can be counted on.
    pub health: Health,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Attempts at a time.
    pub max_concurrency: u32,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub resources: BTreeMap<String, f64>,
    /// How its work reaches it.
    pub delivery: Delivery,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// When this incarnation registered.
    pub registered_at: Timestamp,
    /// The last order for each of its breakers that was ever ordered anything.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub breaker_orders: Vec<StandingOrder>,
    /// Whether it has left for good.
    #[serde(default)]
    pub gone: bool,
    /// How many changes of its life the ledger has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// Process starts after its first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
    /// How it is to come back from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// When it comes back by itself from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<Timestamp>,
    /// What is odd about its process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What became of its promises, by kind of work; at most 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, WorkRecord>)]
    pub track_records: WorkRecords,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// Whose tasks; absent: everyone's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Which tasks of theirs; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// What becomes of what runs.
    pub mode: PauseMode,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, by its shard's time.
    pub since: Timestamp,
}

impl Pause {
    /// Whether a task of this workspace that asks for this (`None`: for an agent by its name) is held up by it.
    pub fn covers(&self, workspace: &Workspace, capability: Option<&Capability>) -> bool {
        self.workspace.as_ref().is_none_or(|paused| paused == workspace)
            && self.capability.as_ref().is_none_or(|paused| Some(paused) == capability)
    }
}

/// Every pause in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pauses {
    /// Each scope once.
    pub pauses: Vec<Pause>,
}

/// Work, as it reaches an agent (`synod.task.assigned` on its inbox).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it, from 1.
    pub attempt: u32,
    /// To be given back with the result.
    pub attempt_token: String,
    /// What is asked of the agent; absent where the task names the agent itself.
    pub capability: Option<Capability>,
    /// As submitted.
    pub input: Json,
    /// Why it is done once more, where a workflow asks again: what was wrong, or which changes people want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Json>,
    /// When this attempt's time is over.
    pub deadline: Timestamp,
    /// The process start that it is meant for.
    pub incarnation: Incarnation,
}

/// Work taken back (`synod.task.cancelled`, `synod.task.withdrawn` on an inbox).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawal {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it.
    pub attempt: u32,
    /// For people.
    pub reason: String,
}

/// A sign of life (`synod.agent.heartbeat`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Heartbeat {
    /// Who.
    pub agent_id: Id,
    /// Which process start.
    pub incarnation: Incarnation,
    /// What it holds.
    #[serde(default)]
    pub in_flight: Vec<Held>,
    /// How busy it is.
    #[serde(default)]
    pub load: Option<Load>,
}

/// An attempt that an agent holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it.
    pub attempt: u32,
}

/// How busy an agent's process is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Load {
    /// Cores in use.
    #[serde(default)]
    pub cpu: Option<f64>,
    /// Resident memory in MB.
    #[serde(default)]
    pub memory_mb: Option<f64>,
}
