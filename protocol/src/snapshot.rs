//! A snapshot of the mesh: every agent, every shard and what waits, at one moment, or what comes nearest to it.
//!
//! Nothing is decided by a snapshot. It is taken for people, and says itself how exact it is: over which span its parts
//! were collected, and which shards could not be asked.

use crate::id::{Id, Incarnation, Workspace};
use crate::time::Timestamp;
use crate::view::{AgentStatistics, AgentStatus, Breaker, Health, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What made somebody take a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// Somebody asked.
    Demand,
    /// It was time (`snapshot_every`).
    Interval,
    /// An agent's status became `error`.
    AgentError,
    /// A breaker opened.
    BreakerOpened,
    /// A shard was taken over from a coordinator that is gone.
    TakeOver,
    /// Everything was told to stop.
    EmergencyStop,
}

impl CauseKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CauseKind::Demand => "demand",
            CauseKind::Interval => "interval",
            CauseKind::AgentError => "agent_error",
            CauseKind::BreakerOpened => "breaker_opened",
            CauseKind::TakeOver => "take_over",
            CauseKind::EmergencyStop => "emergency_stop",
        }
    }
}

/// Why a snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotCause {
    /// What kind of reason.
    pub kind: CauseKind,
    /// The newest of the reasons, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many reasons of this kind came together in it.
    pub times: u64,
}

/// An agent at the moment of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentMoment {
    /// Its id.
    pub agent_id: Id,
    /// Its newest process start.
    pub incarnation: Incarnation,
    /// What it is doing.
    pub status: AgentStatus,
    /// Whether it can be counted on.
    pub health: Health,
    /// Its circuit breaker.
    pub breaker: Breaker,
    /// Attempts that it holds, over all shards that were asked.
    pub in_flight: u32,
    /// Attempts at a time.
    pub max_concurrency: u32,
    /// What it has done, over all shards that were asked.
    pub statistics: AgentStatistics,
    /// The last sign of life.
    pub last_seen_at: Timestamp,
    /// Whether its own shard could not be asked: then this is what another coordinator knew of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hearsay: bool,
}

impl AgentMoment {
    /// Many as one JSON array. Here, so that it is built with this crate's optimisation.
    ///
    /// # Errors
    /// None in practice: everything in it can be written.
    pub fn array(agents: &[AgentMoment]) -> Result<String, serde_json::Error> {
        serde_json::to_string(agents)
    }

    /// Reads what [`AgentMoment::array`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn of_array(text: &str) -> Result<Vec<AgentMoment>, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The agents of one workspace in a snapshot, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentCounts {
    /// All of them.
    pub total: u64,
    /// By what they do.
    pub by_status: BTreeMap<String, u64>,
    /// By whether they can be counted on.
    pub by_health: BTreeMap<String, u64>,
    /// Attempts that they hold together.
    pub in_flight: u64,
}

impl AgentCounts {
    /// Counts these.
    pub fn of(agents: &[AgentMoment]) -> AgentCounts {
        let mut counts = AgentCounts { total: agents.len() as u64, ..AgentCounts::default() };
        let (mut statuses, mut healths) = (BTreeMap::new(), BTreeMap::new());
        for agent in agents {
            *statuses.entry(agent.status.as_str()).or_insert(0) += 1;
            *healths.entry(agent.health.as_str()).or_insert(0) += 1;
            counts.in_flight += u64::from(agent.in_flight);
        }
        counts.by_status = statuses.into_iter().map(|(status, n)| (status.to_owned(), n)).collect();
        counts.by_health = healths.into_iter().map(|(health, n)| (health.to_owned(), n)).collect();
        counts
    }
}

/// A shard at the moment of a snapshot, as its owner told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardMoment {
    /// Its number.
    pub shard: u32,
    /// Who owned it.
    pub owner: Id,
    /// The owner's claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The next offset of the commands topic.
    pub position: u64,
    /// Records appended and not yet proven.
    pub in_flight: u64,
    /// Steps whose effects are not confirmed.
    pub owed: u64,
    /// Tasks that wait for an agent.
    pub waiting: u64,
    /// Records of the commands topic that are not handled yet, as of the last look.
    pub lag: u64,
    /// Tasks by where they stand.
    pub tasks: BTreeMap<TaskStatus, u64>,
}

/// A shard that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardMissing {
    /// Its number.
    pub shard: u32,
    /// Why.
    pub why: String,
}

/// What was collected from one coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartTold {
    /// The coordinator, by id or by address.
    pub coordinator: String,
    /// When it was asked, in µs after the snapshot began.
    pub asked_us: u64,
    /// When it had answered, in µs after the snapshot began: its part is of some moment in between.
    pub answered_us: u64,
}

/// A snapshot without its agents, as it is kept: counts of every workspace that it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its id.
    pub snapshot_id: Id,
    /// Whose it is; `None` for one that covers every workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Why it was taken.
    pub cause: SnapshotCause,
    /// As asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When collecting began, by the wall clock of the coordinator that took it.
    pub taken_at: Timestamp,
    /// How long collecting took, in µs: all that it shows is of some moment in that span.
    pub span_us: u64,
    /// When it goes by itself.
    pub expires_at: Timestamp,
    /// Who was asked, and when.
    pub parts: Vec<PartTold>,
    /// Shards that could not be asked: their tasks are not counted, their agents are told by hearsay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ShardMissing>,
    /// Tasks by status, over all shards asked.
    pub tasks: BTreeMap<TaskStatus, u64>,
    /// Tasks that wait for an agent, over all shards asked.
    pub waiting: u64,
    /// The shards asked, with their owners.
    pub shards: Vec<ShardMoment>,
    /// The agents of each workspace, counted.
    pub agents: BTreeMap<Workspace, AgentCounts>,
    /// Fingerprint of what was asked for, by which a repeat under the same `Idempotency-Key` is told from something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// A snapshot as one workspace sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id.
    pub snapshot_id: Id,
    /// Whether it covers every workspace; then any of them may read its own part.
    pub mesh_wide: bool,
    /// Why it was taken.
    pub cause: SnapshotCause,
    /// As asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When collecting began, by the wall clock of the coordinator that took it.
    pub taken_at: Timestamp,
    /// How long collecting took, in µs: all that it shows is of some moment in that span.
    pub span_us: u64,
    /// When it goes by itself.
    pub expires_at: Timestamp,
    /// Who was asked, and when.
    pub parts: Vec<PartTold>,
    /// Shards that could not be asked: their tasks are not counted, their agents are told by hearsay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ShardMissing>,
    /// Tasks by status, of all workspaces, over all shards asked.
    pub tasks: BTreeMap<TaskStatus, u64>,
    /// Tasks that wait for an agent, of all workspaces, over all shards asked.
    pub waiting: u64,
    /// The agents of this workspace, counted.
    pub agents: AgentCounts,
    /// The shards asked, with their owners.
    pub shards: Vec<ShardMoment>,
    /// The agents themselves, in order of their ids, where one snapshot is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<AgentMoment>>,
    /// Where the next page of agents begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl SnapshotRecord {
    /// Whether this workspace may see it.
    pub fn is_for(&self, workspace: &Workspace) -> bool {
        self.workspace.as_ref().is_none_or(|whose| whose == workspace)
    }

    /// As a workspace sees it, without its agents.
    pub fn seen_by(mut self, workspace: &Workspace) -> Snapshot {
        Snapshot {
            snapshot_id: self.snapshot_id,
            mesh_wide: self.workspace.is_none(),
            cause: self.cause,
            label: self.label,
            taken_at: self.taken_at,
            span_us: self.span_us,
            expires_at: self.expires_at,
            parts: self.parts,
            missing: self.missing,
            tasks: self.tasks,
            waiting: self.waiting,
            agents: self.agents.remove(workspace).unwrap_or_default(),
            shards: self.shards,
            items: None,
            next_cursor: None,
        }
    }
}
