//! Waiting is bounded by age: nothing that comes later by all that priority can be worth is given out before what waits
//! for the very same.
//!
//! A reader of the ledger's steps and of the state after each. Of two tasks that wait in one line (the same agents would do,
//! and the same permits are taken) the more urgent goes first, and a level of priority is worth `aging_ms`; so a task that
//! comes `9 × aging_ms` later is never more urgent. It may be given out first all the same where its permits were
//! asked for before the other waited: once, for a line asks for one at a time.

use std::collections::BTreeMap;
use synod_ledger::{State, Step, TaskKey, TaskState};
use synod_protocol::event::What;

/// How often a task may be overtaken by what age forbids.
const OVERTAKEN: u32 = 1;
/// The levels of priority above the lowest.
const LEVELS: u64 = 9;

/// How often those that wait have been overtaken.
#[derive(Debug)]
pub(crate) struct Turns {
    aging_ms: u64,
    overtaken: BTreeMap<TaskKey, u32>,
}

impl Turns {
    pub(crate) fn new(aging_ms: u64) -> Turns {
        Turns { aging_ms, overtaken: BTreeMap::new() }
    }

    /// Takes in a step that counts, with the state after it.
    ///
    /// # Errors
    /// Who was overtaken, by whom, too often.
    pub(crate) fn see(&mut self, step: &Step, state: &State) -> Result<(), String> {
        let Some(workspace) = &step.workspace else { return Ok(()) };
        for event in &step.events {
            if !matches!(event.what, What::TaskAssigned(_)) {
                continue;
            }
            let given = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
            self.overtaken.remove(&given);
            let Some(task) = state.task(&given) else { continue };
            for (key, waiting) in state.tasks().filter(|(key, _)| state.waits(key)) {
                let is_due = waiting.attempts.is_empty() && waiting.submitted.deadline > step.now;
                if !is_due || key.workspace != *workspace || !self.forbids(task, waiting) {
                    continue;
                }
                let times = self.overtaken.entry(key.clone()).or_default();
                *times += 1;
                if *times > OVERTAKEN {
                    return Err(format!(
                        "{} waits since {} and was overtaken {times} times, now by {}, which came at {}; a level of priority is worth {} ms",
                        key.task, waiting.submitted_at, event.entity, task.submitted_at, self.aging_ms
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether age forbids that the one is given out before the other.
    fn forbids(&self, given: &TaskState, waiting: &TaskState) -> bool {
        let wants = |task: &TaskState| {
            let submitted = &task.submitted;
            let who = (task.capability().cloned(), task.agent().cloned(), task.avoid.clone());
            (who, submitted.concurrency_key.clone(), submitted.requires.clone())
        };
        let later_ms = given.submitted_at.millis_since(waiting.submitted_at);
        later_ms > LEVELS * self.aging_ms && wants(given) == wants(waiting)
    }
}
