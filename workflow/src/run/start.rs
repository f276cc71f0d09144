//! How steps start: whatever may start and has room, in the order of the document.

use super::apply::failure;
use super::decide::Draft;
use super::{Ask, Key};
use crate::definition::{Kind, MAP_ITEMS_MAX, Wait};
use crate::expression::Value;
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::limits::TEXT_BYTES;
use synod_protocol::workflow::{ExecutionStands, ExecutionStatus, StepLeft, StepStarted};
use synod_protocol::{Json, Timestamp};

impl Draft<'_> {
    /// A step that may start and has room: it starts, or it is found that it will not.
    pub(super) fn consider(&mut self, key: &Key) {
        if self.run.doings.contains_key(key) {
            return self.attempt(key);
        }
        if let Some(bad) = self.run.bad_dependency(key) {
            let message = format!("{} was needed and is not completed", self.run.name(&bad));
            let left = self.left(key, Some(failure("dependency_failed", message)));
            return self.record(What::ExecutionStepCancelled(left));
        }
        self.begin(key);
    }

    /// The first start of a step.
    fn begin(&mut self, key: &Key) {
        let workflow = self.run.workflow.clone();
        let (Some(step), Some(compiled)) = (workflow.step(key.step), workflow.compiled(key.step)) else {
            return;
        };
        if let Some(when) = &compiled.when {
            match self.run.value(key, when, &[]) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => {
                    let left = self.left(key, None);
                    return self.record(What::ExecutionStepSkipped(left));
                }
                Ok(other) => return self.expression_failed(key, &format!("`when` gives {}", other.noun())),
                Err(error) => return self.expression_failed(key, &error.to_string()),
            }
        }
        let head = compiled.head.as_ref().map(|head| self.run.value(key, head, &[])).transpose();
        let head = match head {
            Ok(head) => head,
            Err(error) => return self.expression_failed(key, &error.to_string()),
        };
        match (&step.kind, head) {
            (Kind::Task(_) | Kind::Agent(_) | Kind::Negotiation(_) | Kind::Approval(_), _) => {
                self.attempt(key);
            }
            (Kind::Parallel(_) | Kind::Sequential(_), _) => self.open_block(key, None, None),
            (Kind::Condition(_), Some(Value::Bool(way))) => self.open_block(key, Some(way), None),
            (Kind::Map(map), Some(list @ Value::List(_))) => {
                match items(&list, map.max_items.unwrap_or(MAP_ITEMS_MAX)) {
                    Ok(all) => self.open_block(key, None, Some(all)),
                    Err(why) => self.expression_failed(key, &why),
                }
            }
            (Kind::Wait(Wait::Until(_)), Some(value)) => match time(&value) {
                Ok(time) => self.wait(key, Some(time)),
                Err(why) => self.expression_failed(key, &why),
            },
            (Kind::Wait(Wait::ForMs(time)), _) => self.wait(key, Some(self.now.plus_millis(*time))),
            (Kind::Wait(_), _) => self.wait(key, None),
            (Kind::Condition(_) | Kind::Map(_), value) => {
                let noun = value.as_ref().map_or("nothing", Value::noun);
                self.expression_failed(key, &format!("its expression gives {noun}"));
            }
        }
    }

    fn open_block(&mut self, key: &Key, branch: Option<bool>, over: Option<Vec<Json>>) {
        let started = StepStarted { branch, over, ..self.started(key, 0) };
        self.record(What::ExecutionStepStarted(started));
    }

    fn wait(&mut self, key: &Key, wake_at: Option<Timestamp>) {
        let attempt = self.run.past.get(key).map_or(0, |past| past.attempt) + 1;
        let started = StepStarted { wake_at, ..self.started(key, attempt) };
        self.record(What::ExecutionStepStarted(started));
        if wake_at.is_some_and(|at| at <= self.now) {
            self.finish(key, Some(Json::null()));
        }
    }

    /// The next attempt of what agents or people do.
    pub(super) fn attempt(&mut self, key: &Key) {
        if self.over_budget() {
            let reason = Some("its budget is used up".to_owned());
            let stands = self.stands(ExecutionStatus::Paused, reason);
            return self.record(What::ExecutionPaused(stands));
        }
        let attempt = self.run.next_attempt(key);
        let asked = self.run.attempt_child(key, attempt).map(|child| self.run.request(&child, self.now));
        match asked {
            Some(Ok(ask)) => {
                let started = StepStarted { child: Some(ask.id.clone()), ..self.started(key, attempt) };
                self.record(What::ExecutionStepStarted(started));
                self.ask(ask);
            }
            Some(Err(why)) => self.fail(key, why, None),
            // Only what asks something of others comes here.
            None => {}
        }
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        self.bytes += ask.bytes();
        self.starts += 1;
        self.out.asks.push(ask);
    }

    fn over_budget(&self) -> bool {
        let run = &self.run;
        let budget = run.workflow.definition().budget.as_ref().filter(|_| !run.budget_lifted);
        budget.is_some_and(|budget| {
            budget.steps.is_some_and(|most| run.attempts >= most)
                || budget.tokens.is_some_and(|most| run.usage.tokens >= most)
                || budget.money_micros.is_some_and(|most| run.usage.money_micros >= most)
        })
    }

    fn expression_failed(&mut self, key: &Key, why: &str) {
        self.fail(key, failure("expression", shortened(why)), None);
    }

    fn started(&self, key: &Key, attempt: u32) -> StepStarted {
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        StepStarted {
            execution_id,
            status,
            step,
            items,
            attempt,
            child: None,
            wake_at: None,
            branch: None,
            over: None,
        }
    }

    pub(super) fn left(&self, key: &Key, error: Option<Failure>) -> StepLeft {
        StepLeft {
            execution_id: self.run.started.execution_id.clone(),
            status: self.run.status,
            step: self.run.name(key).to_owned(),
            items: key.items.clone(),
            error,
        }
    }

    pub(super) fn stands(&self, status: ExecutionStatus, reason: Option<String>) -> ExecutionStands {
        ExecutionStands { execution_id: self.run.started.execution_id.clone(), status, reason }
    }
}

/// What a map goes over.
fn items(list: &Value, most: u32) -> Result<Vec<Json>, String> {
    match list.json() {
        Ok(serde_json::Value::Array(all)) if all.len() <= most as usize => {
            Ok(all.into_iter().map(Json::from).collect())
        }
        Ok(_) => Err(format!("`items` gives more than {most} items")),
        Err(error) => Err(error.to_string()),
    }
}

fn time(value: &Value) -> Result<Timestamp, String> {
    if let Some(at) = value.instant_ms() {
        return Ok(Timestamp::from_millis(at));
    }
    match value {
        Value::Text(text) => Timestamp::parse(text).map_err(|error| error.message),
        other => Err(format!("`until` gives {}", other.noun())),
    }
}

/// A message within the bounds of a text.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = TEXT_BYTES / 4;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
