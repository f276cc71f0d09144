//! What must hold of a shard's state at any time, whatever has happened to it.
//!
//! One function, shared by the tests, the seeded simulation and `synod replay`. It never repairs anything, and it
//! recomputes each index from the entities alone, so a forgotten update of an index cannot hide in it.

use crate::agent::AgentState;
use crate::memory::Thing;
use crate::negotiations;
use crate::state::{State, TaskKey};
use crate::task::{LOSS_LIMIT, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::AgentKey;
use synod_protocol::view::{AgentStatus, Outcome, TaskStatus};

/// Checks a state: every task and agent by itself, and every index against them.
///
/// # Errors
/// A sentence that names the first thing found wrong and the entity that it was found at.
pub fn invariants(state: &State) -> Result<(), String> {
    for (key, task) in state.tasks() {
        of_task(task).map_err(|why| format!("task {}: {why}", key.task))?;
    }
    for (key, agent) in state.agents() {
        of_agent(agent).map_err(|why| format!("agent {}: {why}", key.agent))?;
    }
    timers(state)?;
    waiting(state)?;
    holders(state)?;
    ended(state)?;
    counts(state)?;
    arrivals(state)?;
    bases(state)?;
    negotiations::consistent(&state.negotiations)?;
    ensure(state.workflows.is_consistent(), || "the indexes of workflows differ from the workflows".into())?;
    ensure(state.executions.is_consistent(), || {
        "the indexes of executions differ from the executions".into()
    })?;
    ensure(state.approvals.is_consistent(), || "the indexes of approvals differ from the approvals".into())?;
    state.seen.consistent()
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn of_task(task: &TaskState) -> Result<(), String> {
    let status = task.status;
    let name = status.as_str();
    let held = matches!(status, TaskStatus::Assigned | TaskStatus::Running);
    ensure(held == task.current().is_some(), || format!("{name}, but an attempt in force: {}", !held))?;
    ensure(status.is_final() == task.completed_at.is_some(), || {
        format!("{name}, but ended at {:?}", task.completed_at)
    })?;
    ensure((status == TaskStatus::Retrying) == task.retry_at.is_some(), || {
        format!("{name}, but to be tried again at {:?}", task.retry_at)
    })?;
    let completed = task.attempts.last().is_some_and(|a| a.seen.outcome == Some(Outcome::Completed));
    ensure((status == TaskStatus::Completed) == completed, || {
        format!("{name}, but its last attempt completed: {completed}")
    })?;
    let of = |wanted: &[Outcome]| {
        task.attempts.iter().filter(|a| a.seen.outcome.is_some_and(|o| wanted.contains(&o))).count()
    };
    let (failed, lost) = (of(&[Outcome::Failed, Outcome::TimedOut]), of(&[Outcome::Lost]));
    ensure(failed == task.failures as usize && lost == task.losses as usize, || {
        format!(
            "counts {} failures and {} losses, its attempts {failed} and {lost}",
            task.failures, task.losses
        )
    })?;
    let max = task.submitted.retry.max_attempts;
    ensure(task.failures <= max && task.losses <= LOSS_LIMIT, || {
        format!("{} failures of {max}, {} losses of {LOSS_LIMIT}", task.failures, task.losses)
    })?;
    attempts(task)
}

fn attempts(task: &TaskState) -> Result<(), String> {
    let mut tokens = BTreeSet::new();
    for (index, attempt) in task.attempts.iter().enumerate() {
        let (seen, last) = (&attempt.seen, index + 1 == task.attempts.len());
        ensure(seen.attempt as usize == index + 1, || {
            format!("attempt {} stands at place {index}", seen.attempt)
        })?;
        ensure(last || seen.ended_at.is_some(), || {
            format!("attempt {} was overtaken unended", seen.attempt)
        })?;
        ensure(seen.ended_at.is_some() == seen.outcome.is_some(), || {
            format!("attempt {} ended at {:?} with {:?}", seen.attempt, seen.ended_at, seen.outcome)
        })?;
        ensure(seen.ended_at.is_none_or(|at| at >= seen.started_at), || {
            format!("attempt {} ended before it began", seen.attempt)
        })?;
        ensure(attempt.deadline <= task.submitted.deadline, || {
            format!("attempt {} may outlast the task", seen.attempt)
        })?;
        ensure(!attempt.token.is_empty() && tokens.insert(&attempt.token), || {
            format!("attempt {} has no token of its own", seen.attempt)
        })?;
        ensure(seen.outcome != Some(Outcome::Declined) || task.avoid.contains(&seen.agent_id), || {
            format!("agent {} declined it and may be asked again", seen.agent_id)
        })?;
    }
    Ok(())
}

fn of_agent(agent: &AgentState) -> Result<(), String> {
    ensure(agent.status != AgentStatus::Running, || "running is durable".into())?;
    ensure(!agent.gone || agent.status == AgentStatus::Completed, || {
        format!("gone, but {}", agent.status.as_str())
    })?;
    ensure(agent.timer().is_none() || agent.status == AgentStatus::Error, || {
        format!("it comes back by itself, but is {}", agent.status.as_str())
    })?;
    ensure(!agent.is_superseded(agent.incarnation()), || "its process start was superseded".into())
}

/// Every live task has one timer, an agent that comes back by itself has one, and nothing else has.
fn timers(state: &State) -> Result<(), String> {
    let want: BTreeSet<_> =
        state.tasks().filter_map(|(key, task)| Some((task.timer()?, key.clone()))).collect();
    ensure(want == state.timers, || format!("timers are {:?}, should be {want:?}", state.timers))?;
    let want: BTreeSet<_> =
        state.agents().filter_map(|(key, agent)| Some((agent.timer()?, key.clone()))).collect();
    ensure(want == state.agent_timers, || {
        format!("agents' timers are {:?}, should be {want:?}", state.agent_timers)
    })
}

/// A waiting task is known to wait; a retrying one does or is still backing off; nobody else does either.
fn waiting(state: &State) -> Result<(), String> {
    let mut standing = state.waiting.clone();
    let mut backing_off = state.retries.clone();
    for (key, task) in state.tasks() {
        let stands = standing.remove(key);
        let backs_off = task.retry_at.is_some_and(|at| backing_off.remove(&(at, key.clone())));
        let right = match task.status {
            TaskStatus::Waiting => stands && !backs_off,
            TaskStatus::Retrying => stands != backs_off,
            _ => !stands && !backs_off,
        };
        ensure(right, || {
            format!("task {} is {}; waits: {stands}, backs off: {backs_off}", key.task, task.status.as_str())
        })?;
    }
    ensure(standing.is_empty() && backing_off.is_empty(), || {
        format!("no task stands behind {standing:?} and {backing_off:?}")
    })
}

/// Whoever holds an attempt in force is known to hold it, and nobody else.
fn holders(state: &State) -> Result<(), String> {
    let mut want: BTreeMap<AgentKey, BTreeMap<TaskKey, _>> = BTreeMap::new();
    for (key, task) in state.tasks() {
        if let Some((agent, incarnation)) = task.holder() {
            let holder = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
            want.entry(holder).or_default().insert(key.clone(), incarnation.clone());
        }
    }
    ensure(want == state.held, || format!("held is {:?}, should be {want:?}", state.held))
}

/// Each ended task in memory waits exactly once to be forgotten, and they weigh what they weigh.
fn ended(state: &State) -> Result<(), String> {
    let want: BTreeSet<_> =
        state.tasks().filter_map(|(key, task)| Some((task.completed_at?, key.clone()))).collect();
    ensure(want == state.ended, || format!("to be forgotten: {:?}, should be {want:?}", state.ended))?;
    let weigh = |ended: bool| -> usize {
        state.tasks().filter(|(_, t)| t.completed_at.is_some() == ended).map(|(_, t)| t.weight()).sum()
    };
    let (want, counted) = ((weigh(true), weigh(false)), (state.ended_weight, state.live_weight));
    ensure(want == counted, || format!("tasks ended and live weigh {want:?} bytes, counted as {counted:?}"))
}

/// The counts of tasks in memory are exact; of ended ones, at least those in memory are counted.
fn counts(state: &State) -> Result<(), String> {
    let mut want: BTreeMap<TaskStatus, u64> = BTreeMap::new();
    for (_, task) in state.tasks() {
        *want.entry(task.status).or_default() += 1;
    }
    let of = |map: &BTreeMap<TaskStatus, u64>, status| map.get(&status).copied().unwrap_or(0);
    let statuses: BTreeSet<_> = want.keys().chain(state.live.keys()).copied().collect();
    for status in statuses {
        let (found, in_memory) = (of(&state.live, status), of(&want, status));
        ensure(found == in_memory, || {
            format!("{found} tasks are counted as {}, {in_memory} are", status.as_str())
        })?;
        ensure(!status.is_final() || of(&state.shard.ended, status) >= in_memory, || {
            format!("fewer tasks have ever ended as {} than are in memory", status.as_str())
        })?;
    }
    Ok(())
}

fn arrivals(state: &State) -> Result<(), String> {
    let mut roots: BTreeMap<u64, &str> = BTreeMap::new();
    for (key, kept) in &state.tasks {
        // Only what is of one root comes by one step.
        let root = *roots.entry(kept.arrival).or_insert(key.task.root());
        ensure(root == key.task.root(), || format!("tasks of {root} and {} arrived as one", key.task))?;
    }
    Ok(())
}

/// Every thing stands once in the order in which things are imaged, at its base.
fn bases(state: &State) -> Result<(), String> {
    let tasks = state.tasks.iter().map(|(key, kept)| (kept.base, Thing::Task(key.clone())));
    let agents = state.agents.iter().map(|(key, kept)| (kept.base, Thing::Agent(key.clone())));
    let blocks = state.seen.bases().map(|(block, base)| (base, Thing::Seen(block)));
    let negotiations = state.negotiations.bases().map(|(base, key)| (base, Thing::Negotiation(key.clone())));
    let workflows = state.workflows.bases().map(|(base, key)| (base, Thing::Workflow(key.clone())));
    let executions = state.executions.bases().map(|(base, key)| (base, Thing::Execution(key.clone())));
    let approvals = state.approvals.bases().map(|(base, key)| (base, Thing::Approval(key.clone())));
    let flow = workflows.chain(executions).chain(approvals);
    let mut want: BTreeSet<_> = tasks.chain(agents).chain(blocks).chain(negotiations).chain(flow).collect();
    if state.by_base.contains(&(state.shard_base, Thing::Shard)) {
        want.insert((state.shard_base, Thing::Shard));
    }
    ensure(want == state.by_base, || {
        format!("the order of images is {:?}, should be {want:?}", state.by_base)
    })
}
