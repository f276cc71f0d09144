//! What a shard says of the fleet: attempts that a pause covers, and agents that are long gone.

use crate::Shared;
use crate::cleanup::{Away, BATCH};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use synod_ledger::{Answer, State, TaskKey};
use synod_protocol::view::Pause;
use synod_protocol::{Code, EntityId, Error, Id, Json, Timestamp, Workspace, topics};
use utoipa::ToSchema;

/// Attempts that are named; the count is of all.
pub(crate) const NAMED: usize = 1_000;

/// An attempt that has not stopped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(crate) struct Running {
    /// The task's workspace.
    pub(crate) workspace: Workspace,
    /// Which task.
    pub(crate) task_id: EntityId,
    /// Which try of it.
    pub(crate) attempt: u32,
    /// Who has it.
    pub(crate) agent_id: Id,
    /// Whether it was taken back, and its agent's heartbeats say that it is held all the same.
    pub(crate) taken_back: bool,
}

/// Attempts that have not stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Attempts {
    /// In force: neither ended nor taken back.
    pub(crate) in_force: u64,
    /// With those that were taken back and that heartbeats still name.
    pub(crate) not_stopped_total: u64,
    /// The first thousand of them.
    pub(crate) not_stopped: Vec<Running>,
}

fn answered<T: Serialize>(value: &T) -> Answer {
    Json::of(value).map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

/// Attempts of this shard's tasks that a pause covers: those in force, and those that heartbeats name although they were
/// taken back.
pub(super) fn attempts(shared: &Shared, shard: u32, state: &State, pause: &Pause) -> Answer {
    let covers = |key: &TaskKey| {
        let task = state.task(key);
        task.is_some_and(|task| {
            let current = task.current().map(|current| task.asked_for(&current.seen));
            pause.covers(&key.workspace, current.unwrap_or_else(|| task.capability()))
        })
    };
    let mut found = BTreeSet::new();
    for holder in state.holders() {
        for (key, _) in state.held_by(holder).filter(|(key, _)| covers(key)) {
            let Some(current) = state.task(key).and_then(|task| task.current()) else { continue };
            found.insert(Running {
                workspace: key.workspace.clone(),
                task_id: key.task.clone(),
                attempt: current.seen.attempt,
                agent_id: holder.agent.clone(),
                taken_back: false,
            });
        }
    }
    let in_force = found.len() as u64;
    let ours = |id: &EntityId| topics::partition(id.root().as_bytes(), shared.config.partitions) == shard;
    for (agent, incarnation, held) in shared.fleet.said_to_hold(|_, held| ours(&held.task_id)) {
        let key = TaskKey { workspace: agent.workspace, task: held.task_id };
        if !covers(&key) {
            continue;
        }
        let attempts = state.task(&key).into_iter().flat_map(|task| &task.attempts);
        let mut attempts = attempts.map(|attempt| &attempt.seen);
        let is_over = |seen: &&synod_protocol::view::Attempt| {
            seen.attempt == held.attempt && seen.incarnation == incarnation && seen.ended_at.is_some()
        };
        if attempts.any(|seen| is_over(&seen)) {
            found.insert(Running {
                workspace: key.workspace,
                task_id: key.task,
                attempt: held.attempt,
                agent_id: agent.agent,
                taken_back: true,
            });
        }
    }
    let not_stopped_total = found.len() as u64;
    let not_stopped = found.into_iter().take(NAMED).collect();
    answered(&Attempts { in_force, not_stopped_total, not_stopped })
}

/// Agents of this shard that have been gone for so long, some of them.
pub(super) fn away(state: &State, now: Timestamp, kept_ms: u64) -> Answer {
    let long = state
        .agents()
        .filter(|(_, agent)| agent.away_since().is_some_and(|since| now.millis_since(since) >= kept_ms));
    let away: Vec<Away> = long
        .take(BATCH)
        .map(|(key, agent)| Away {
            workspace: key.workspace.clone(),
            agent: key.agent.clone(),
            incarnation: agent.incarnation().clone(),
        })
        .collect();
    answered(&away)
}
