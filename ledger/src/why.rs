//! Why a task waits, for people: where it stands in the queue, or until when it backs off.
//!
//! That nobody was found says nothing of the fleet: the shell adds how many are able and what is the matter with them.

use crate::agenda::Agenda;
use crate::state::{State, TaskKey};
use synod_fleet::queue::{Permit, Why};
use synod_protocol::view::{TaskStatus, WaitReason, WaitsFor};

/// Why a task waits; `None`: it does not, or is not known.
pub(crate) fn why_waiting(state: &State, agenda: &Agenda, key: &TaskKey) -> Option<WaitsFor> {
    let task = state.task(key)?;
    if !state.waits(key) {
        let until = task.retry_at.filter(|_| task.status == TaskStatus::Retrying)?;
        let message = format!("it backs off until {until}, after {} failed attempts", task.failures);
        return Some(WaitsFor { until: Some(until), ..told(WaitReason::Retry, message) });
    }
    if agenda.holds_back(key) {
        let message = "its back-off is over, and so many others are tried again that it is not yet its turn";
        return Some(told(WaitReason::Retry, message.into()));
    }
    let wanted = match (task.capability(), task.agent()) {
        (Some(capability), _) => format!("with capability {capability}"),
        (None, Some(agent)) => format!("{agent}, which it names,"),
        (None, None) => String::new(),
    };
    let (why, no_permits) = agenda.why(key, task)?;
    Some(match why {
        Why::Turn => told(WaitReason::Turn, "its turn comes soon".into()),
        Why::Nobody => {
            told(WaitReason::Agent, format!("no agent {wanted} was found that is well and has room"))
        }
        Why::Unknown => {
            let why = no_permits.unwrap_or("others are asked for first");
            told(WaitReason::Permits, format!("its permits cannot be taken yet: {why}"))
        }
        Why::Limit(permit) => {
            let most = agenda.rules().most(&permit).unwrap_or(u32::MAX);
            let message = match &permit {
                Permit::Workspace(workspace) => {
                    format!("all {most} permits of workspace {workspace} are out")
                }
                Permit::Capability(_, capability) => {
                    format!("all {most} permits for capability {capability} are out")
                }
                Permit::Key(_, key) => format!("all {most} permits of concurrency key {key} are out"),
            };
            WaitsFor { permit: Some(permit.to_string()), ..told(WaitReason::Permit, message) }
        }
    })
}

fn told(reason: WaitReason, message: String) -> WaitsFor {
    WaitsFor { reason, message, permit: None, until: None, agents: None }
}
