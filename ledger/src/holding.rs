//! Who holds what: which event begins an attempt of an agent's, and which ends one. The fleet is told by this.

use crate::state::{State, TaskKey};
use synod_fleet::AgentKey;
use synod_protocol::event::{Event, What};
use synod_protocol::view::Outcome;
use synod_protocol::{Incarnation, Workspace};

/// An attempt that an event begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub agent: AgentKey,
    /// Of which process start.
    pub incarnation: Incarnation,
    /// How it ended; `None` where it begins.
    pub outcome: Option<Outcome>,
}

impl State {
    /// The attempt that an event, which this state has taken in, begins or ends.
    pub fn holding(&self, workspace: &Workspace, event: &Event) -> Option<Holding> {
        let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
        let task = self.task(&key)?;
        let (attempt, outcome) = match &event.what {
            What::TaskAssigned(e) => (e.attempt, None),
            What::TaskCompleted(e) => (e.attempt, Some(Outcome::Completed)),
            What::TaskAttemptFailed(e) => {
                (e.attempt, Some(if e.timed_out { Outcome::TimedOut } else { Outcome::Failed }))
            }
            What::TaskDeclined(e) => (e.attempt, Some(Outcome::Declined)),
            What::TaskReassigned(e) => {
                // One that was declined has ended by that.
                let ended = task.attempts.iter().find(|a| a.seen.attempt == e.attempt)?.seen.outcome;
                (e.attempt, Some(ended.filter(|o| matches!(o, Outcome::Lost | Outcome::Withdrawn))?))
            }
            What::TaskCancelled(_) => {
                let last = &task.attempts.last()?.seen;
                (last.attempt, Some(last.outcome.filter(|o| *o == Outcome::Cancelled)?))
            }
            _ => return None,
        };
        let seen = &task.attempts.iter().find(|a| a.seen.attempt == attempt)?.seen;
        Some(Holding {
            agent: AgentKey { workspace: workspace.clone(), agent: seen.agent_id.clone() },
            incarnation: seen.incarnation.clone(),
            outcome,
        })
    }
}
