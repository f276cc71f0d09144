//! Who holds what: which event begins an attempt of an agent's, and which ends one. The fleet is told by this.

use crate::state::{State, TaskKey};
use std::collections::BTreeMap;
use synod_fleet::AgentKey;
use synod_protocol::event::{Event, What};
use synod_protocol::view::Outcome;
use synod_protocol::{Capability, Incarnation, Workspace};

/// An attempt that an event begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// Whose.
    pub agent: AgentKey,
    /// Of which process start.
    pub incarnation: Incarnation,
    /// Which try of its task.
    pub attempt: u32,
    /// What it is asked to do; `None` where the task names its agent.
    pub capability: Option<Capability>,
    /// What it takes of its agent's resources.
    pub resources: Option<BTreeMap<String, f64>>,
    /// How it ended; `None` where it begins.
    pub end: Option<End>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// How long after it was given, in milliseconds of the shard's time.
    pub took_ms: u64,
    /// The code of the error that it ended with.
    pub code: Option<String>,
}

impl State {
    /// The attempt that an event, which this state has taken in, begins or ends.
    pub fn holding(&self, workspace: &Workspace, event: &Event) -> Option<Holding> {
        let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
        let task = self.task(&key)?;
        let (attempt, outcome, code) = match &event.what {
            What::TaskAssigned(e) => (e.attempt, None, None),
            What::TaskCompleted(e) => (e.attempt, Some(Outcome::Completed), None),
            What::TaskAttemptFailed(e) => {
                let outcome = if e.timed_out { Outcome::TimedOut } else { Outcome::Failed };
                (e.attempt, Some(outcome), Some(e.error.code.clone()))
            }
            What::TaskDeclined(e) => (e.attempt, Some(Outcome::Declined), Some(e.error.code.clone())),
            What::TaskReassigned(e) => {
                // One that was declined has ended by that.
                let ended = task.attempts.iter().find(|a| a.seen.attempt == e.attempt)?.seen.outcome;
                let ended = ended.filter(|o| matches!(o, Outcome::Lost | Outcome::Withdrawn))?;
                (e.attempt, Some(ended), None)
            }
            What::TaskCancelled(_) => {
                let last = &task.attempts.last()?.seen;
                let ended = last.outcome.filter(|o| *o == Outcome::Cancelled)?;
                (last.attempt, Some(ended), None)
            }
            _ => return None,
        };
        let seen = &task.attempts.iter().find(|a| a.seen.attempt == attempt)?.seen;
        let took_ms = seen.ended_at.map_or(0, |ended_at| ended_at.millis_since(seen.started_at));
        Some(Holding {
            agent: AgentKey { workspace: workspace.clone(), agent: seen.agent_id.clone() },
            incarnation: seen.incarnation.clone(),
            attempt,
            capability: task.asked_for(seen).cloned(),
            resources: task.resources().cloned(),
            end: outcome.map(|outcome| End { outcome, took_ms, code }),
        })
    }
}
