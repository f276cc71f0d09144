//! Why a task is where it is: how its agents were chosen, and what it waits for.

use super::Serving;
use synod_fleet::{Headcount, Need};
use synod_ledger::{Answer, TaskKey, TaskState};
use synod_protocol::view::{Explanation, TaskStatus, WaitsFor};
use synod_protocol::{Code, Error, Json};

impl Serving<'_> {
    /// For a task that is in memory; one that has left it waits for nothing, and is read like any other.
    pub(super) fn explain(&self, key: &TaskKey) -> Answer {
        let task = self.owner.state().task(key).ok_or_else(|| Error::not_found("task", key.task.as_str()))?;
        let explanation = Explanation {
            task_id: key.task.clone(),
            status: task.status,
            attempts: task.attempts.iter().map(|attempt| attempt.seen.clone()).collect(),
            waiting: self.waits_for(key, task),
        };
        let json = Json::of(&explanation).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok((json, false))
    }

    fn waits_for(&self, key: &TaskKey, task: &TaskState) -> Option<WaitsFor> {
        if !matches!(task.status, TaskStatus::Waiting | TaskStatus::Retrying) {
            return None;
        }
        let now = self.now();
        let need = task.need(&key.workspace, &task.avoid, 0);
        let count = self.shared.fleet.lock().registry.headcount(&need);
        let backs_off = task.retry_at.filter(|at| *at > now);
        let because = match backs_off {
            Some(at) => format!("it is tried again in {} ms", at.millis_since(now)),
            None => because(&need, &count),
        };
        Some(WaitsFor {
            for_ms: now.millis_since(task.submitted_at),
            because,
            able: count.able,
            avoided: count.avoided,
            unfit: count.unfit,
            unwell: count.unwell,
            shut: count.shut,
            full: count.full,
            ready: count.ready,
        })
    }
}

fn because(need: &Need<'_>, count: &Headcount) -> String {
    let whom = match (need.agent, need.capability) {
        (Some(agent), _) => format!("agent {agent}"),
        (None, Some(capability)) => format!("an agent that can do {capability}"),
        (None, None) => "an agent".to_owned(),
    };
    if count.able == 0 {
        return format!("it waits for {whom}: there is none");
    }
    if count.ready > 0 {
        return format!("it waits for its turn: {} could take it", agents(count.ready));
    }
    let said = [
        (count.full, "full"),
        (count.unwell, "not well or not at work"),
        (count.shut, "kept from work by a breaker or an operator"),
        (count.unfit, "without what it requires"),
        (count.avoided, "those who declined it"),
    ];
    let said: Vec<String> =
        said.iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{n} {how}")).collect();
    format!("it waits for {whom}: of {} {}", agents(count.able), said.join(", "))
}

fn agents(n: u32) -> String {
    format!("{n} agent{}", if n == 1 { "" } else { "s" })
}
