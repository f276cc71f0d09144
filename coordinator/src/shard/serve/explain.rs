//! Why a task is where it is: how its agents were chosen, and what it waits for.

use super::Serving;
use synod_ledger::{Answer, TaskKey};
use synod_protocol::view::{Explanation, WaitReason, WaitsFor};
use synod_protocol::{Code, Error, Json};

impl Serving<'_> {
    /// For a task that is in memory; one that has left it waits for nothing, and is read like any other.
    pub(super) fn explain(&self, key: &TaskKey) -> Answer {
        let task = self.owner.state().task(key).ok_or_else(|| Error::not_found("task", key.task.as_str()))?;
        let explanation = Explanation {
            task_id: key.task.clone(),
            status: task.status,
            attempts: task.attempts.iter().map(|attempt| attempt.seen.clone()).collect(),
            waiting: self.why_waiting(key),
        };
        let json = Json::of(&explanation).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok((json, false))
    }

    /// Why a task waits; where nobody was found for it, with how many are able and what is the matter with them.
    pub(super) fn why_waiting(&self, key: &TaskKey) -> Option<WaitsFor> {
        let why = self.owner.why_waiting(key)?;
        if why.reason != WaitReason::Agent {
            return Some(why);
        }
        let task = self.owner.state().task(key)?;
        let fleet = self.shared.fleet.lock();
        let agents = Some(fleet.registry.headcount(&task.need(&key.workspace, 0)));
        let capability = task.capability();
        let Some(pause) = fleet.pauses.covering(&key.workspace, capability).next() else {
            return Some(WaitsFor { agents, ..why });
        };
        let reason = pause.reason.as_deref().unwrap_or("no reason given");
        let message = format!("it is paused since {}: {reason}", pause.since);
        Some(WaitsFor { reason: WaitReason::Pause, message, agents, ..why })
    }
}
