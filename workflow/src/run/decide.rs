//! What follows from an input: results are taken, and whatever may start then starts.

use super::{Event, Failure, Input, Key, Refused, Run, RunStatus, Status};
use crate::definition::{Kind, Wait};
use crate::expression::{EvalError, Value};
use crate::schema::Schema;
use crate::workflow::{Role, Workflow};
use serde_json::Value as Json;
use std::collections::VecDeque;
use synod_protocol::Timestamp;

impl Run {
    /// Begins a run.
    ///
    /// # Errors
    /// [`Refused::Input`] where the input does not fit the definition's schema.
    pub fn start(workflow: &Workflow, id: &str, input: Json, now: u64) -> Result<(Run, Vec<Event>), Refused> {
        if let Some(Ok(schema)) = workflow.definition().input_schema.as_ref().map(Schema::new) {
            schema.check(&input).map_err(Refused::Input)?;
        }
        let mut run = Run::empty(workflow, id);
        let mut step = Step::new(&mut run, now);
        step.record(Event::RunStarted { input, at: now });
        step.look.extend(workflow.children(None).map(|step| Key { step, items: Vec::new() }));
        let events = step.go();
        Ok((run, events))
    }

    /// Takes an input: the state is changed, and the events say how.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn decide(&mut self, now: u64, input: Input) -> Result<Vec<Event>, Refused> {
        if self.is_over() {
            return Err(Refused::Over(self.status));
        }
        let mut step = Step::new(self, now);
        match input {
            Input::Completed { key, attempt, output, confidence, tokens, money_micros } => {
                step.under_way(&key, attempt)?;
                if tokens > 0 || money_micros > 0 {
                    step.record(Event::Spent { tokens, money_micros });
                }
                step.result(&key, output, confidence);
            }
            Input::Failed { key, attempt, failure } => {
                step.under_way(&key, attempt)?;
                step.attempt_failed(&key, failure);
            }
            Input::Signal { name, payload } => step.signal(&name, &payload)?,
            Input::Tick => step.tick(),
            Input::Pause if step.run.status == RunStatus::Running => {
                step.record(Event::RunPaused { why: "asked for".into() });
            }
            Input::Resume if step.run.status == RunStatus::Paused => {
                step.record(Event::RunResumed {});
                step.tick();
            }
            Input::Pause | Input::Resume => return Err(Refused::Standing(step.run.status)),
            Input::Cancel => step.end_run(RunStatus::Cancelled, Json::Null, None),
        }
        Ok(step.go())
    }
}

impl Run {
    /// What waits for a limit is not in the events: it follows from the rest of the state.
    pub(super) fn restore(&mut self) {
        if self.is_over() {
            return;
        }
        // A run that is paused starts nothing: whatever could start is put by.
        let status = std::mem::replace(&mut self.status, RunStatus::Paused);
        let mut look: Vec<Key> =
            self.workflow.children(None).map(|step| Key { step, items: Vec::new() }).collect();
        for (key, doing) in &self.doings {
            match doing.status {
                Status::Running => {
                    let absent =
                        self.members(key).into_iter().filter(|member| !self.doings.contains_key(member));
                    look.extend(absent.take(self.width(key)));
                }
                Status::FallingBack => {
                    let fallbacks = self.workflow.children(Some(key.step));
                    let fallbacks = fallbacks.filter(|step| self.workflow.role(*step) == Role::Fallback);
                    look.extend(fallbacks.map(|step| self.key_for(step, &key.items)));
                }
                _ => {}
            }
        }
        let mut step = Step::new(self, 0);
        look.iter()
            .filter(|key| !step.run.doings.contains_key(key))
            .cloned()
            .collect::<Vec<_>>()
            .iter()
            .for_each(|key| step.consider(key));
        self.status = status;
    }

    /// How many steps of a block may be under way at once.
    pub(super) fn width(&self, key: &Key) -> usize {
        match self.workflow.step(key.step).map(|step| &step.kind) {
            Some(Kind::Parallel(parallel)) => parallel.concurrency.map_or(usize::MAX, |wide| wide as usize),
            Some(Kind::Map(map)) => map.concurrency.unwrap_or(16) as usize,
            _ => usize::MAX,
        }
    }
}

/// One input's way through the run.
pub(super) struct Step<'r> {
    pub(super) run: &'r mut Run,
    pub(super) now: u64,
    events: Vec<Event>,
    /// What may have become startable.
    pub(super) look: VecDeque<Key>,
}

impl<'r> Step<'r> {
    fn new(run: &'r mut Run, now: u64) -> Step<'r> {
        Step { run, now, events: Vec::new(), look: VecDeque::new() }
    }

    pub(super) fn record(&mut self, event: Event) {
        self.run.apply(&event);
        self.events.push(event);
    }

    /// Starts what may start, until nothing more may.
    fn go(mut self) -> Vec<Event> {
        loop {
            while let Some(key) = self.look.pop_front() {
                if !self.run.is_over() {
                    self.consider(&key);
                }
            }
            if !self.next_ready() {
                break;
            }
        }
        self.events
    }

    /// Takes up what waits for a limit, as far as the limits go now.
    fn next_ready(&mut self) -> bool {
        if self.run.status != RunStatus::Running {
            return false;
        }
        let can = |key: &&Key| self.has_room(key);
        let next = self.run.ready.iter().find(can).cloned();
        self.look.extend(next.clone());
        next.is_some()
    }

    fn consider(&mut self, key: &Key) {
        // Whoever is still to wait is put back below.
        self.run.ready.remove(key);
        let retrying = self.run.doings.get(key).map(|doing| doing.status);
        if !matches!(retrying, None | Some(Status::Retrying)) || !self.is_open_above(key) {
            return;
        }
        let fallback = self.run.workflow.role(key.step) == Role::Fallback;
        if retrying.is_none() && !fallback {
            let before: Vec<Key> = self
                .run
                .workflow
                .starts_after(key.step)
                .into_iter()
                .map(|step| self.run.key_for(step, &key.items))
                .collect();
            if before.iter().any(|before| !self.is_settled(before)) {
                return;
            }
            if let Some(bad) = before.iter().find(|before| !self.run.is_good(before)) {
                let what = self.run.id_of(bad).map(ToString::to_string).unwrap_or_default();
                let why =
                    Failure::new("dependency_failed", format!("{what} was needed and is not completed"));
                self.cancel(key, &why);
                return;
            }
        }
        if self.run.status != RunStatus::Running || !self.has_room(key) {
            self.run.ready.insert(key.clone());
            return;
        }
        match retrying {
            Some(_) => self.attempt(key),
            None => self.begin(key),
        }
    }

    /// Whether the block around is open, or waits for its fallback where this is one.
    fn is_open_above(&self, key: &Key) -> bool {
        let Some(parent) = self.run.parent(key) else { return true };
        let wanted = if self.run.workflow.role(key.step) == Role::Fallback {
            Status::FallingBack
        } else {
            Status::Running
        };
        self.run.doings.get(&parent).is_some_and(|doing| doing.status == wanted)
    }

    /// Whether the limits allow one more.
    fn has_room(&self, key: &Key) -> bool {
        let most = self.run.workflow.definition().concurrency.unwrap_or(u32::MAX);
        if self.run.is_work(key) && self.run.working >= most {
            return false;
        }
        let Some(parent) = self.run.parent(key).filter(|_| !self.run.doings.contains_key(key)) else {
            return true;
        };
        let wide = self.run.width(&parent);
        self.run.doings.get(&parent).is_some_and(|doing| (doing.open as usize) < wide)
    }

    fn is_settled(&self, key: &Key) -> bool {
        let status = self.run.doings.get(key).map(|doing| doing.status);
        matches!(status, Some(Status::Completed | Status::Skipped | Status::Failed | Status::Cancelled))
    }

    /// The first start of a step that may start.
    fn begin(&mut self, key: &Key) {
        let workflow = self.run.workflow.clone();
        let compiled = workflow.compiled(key.step);
        if let Some(when) = compiled.and_then(|compiled| compiled.when.as_ref()) {
            match self.run.value(key, when) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return self.skip(key),
                Ok(other) => return self.expression_failed(key, &format!("`when` gives {}", other.noun())),
                Err(error) => return self.expression_failed(key, &error.to_string()),
            }
        }
        let Some(step) = workflow.step(key.step) else { return };
        let head = compiled.and_then(|compiled| compiled.head.as_ref()).map(|head| self.run.value(key, head));
        let (mut branch, mut items) = (None, None);
        match (&step.kind, head) {
            (_, Some(Err(error))) => return self.expression_failed(key, &error.to_string()),
            (Kind::Condition(_), Some(Ok(Value::Bool(way)))) => branch = Some(way),
            (Kind::Map(map), Some(Ok(list @ Value::List(_)))) => {
                let most = map.max_items.unwrap_or(crate::definition::MAP_ITEMS_MAX) as usize;
                match list.json() {
                    Ok(Json::Array(all)) if all.len() <= most => items = Some(all),
                    Ok(_) => {
                        return self.expression_failed(key, &format!("`items` gives more than {most} items"));
                    }
                    Err(error) => return self.expression_failed(key, &error.to_string()),
                }
            }
            (Kind::Wait(Wait::Until(_)), Some(Ok(value))) => return self.wait_until(key, &value),
            (Kind::Condition(_) | Kind::Map(_), Some(Ok(other))) => {
                return self.expression_failed(key, &format!("its expression gives {}", other.noun()));
            }
            (Kind::Wait(Wait::ForMs(time)), _) => {
                return self.wait(key, Some(self.now.saturating_add(*time)));
            }
            (Kind::Wait(_), _) => return self.wait(key, None),
            (Kind::Task(_) | Kind::Agent(_) | Kind::Negotiation(_) | Kind::Approval(_), _) => {
                return self.attempt(key);
            }
            (Kind::Parallel(_) | Kind::Sequential(_) | Kind::Condition(_) | Kind::Map(_), _) => {}
        }
        self.record(Event::BlockOpened { key: key.clone(), branch, items, at: self.now });
        self.opened(key);
    }

    fn wait_until(&mut self, key: &Key, value: &Value) {
        let time = match value {
            Value::Text(text) => Timestamp::parse(text).map_err(|error| error.message),
            other => Err(format!("`until` gives {}", other.noun())),
        };
        match time {
            Ok(time) => self.wait(key, Some(u64::try_from(time.as_millis()).unwrap_or(0))),
            Err(why) => self.expression_failed(key, &why),
        }
    }

    fn wait(&mut self, key: &Key, wake_at: Option<u64>) {
        self.record(Event::StepStarted {
            key: key.clone(),
            attempt: 1,
            request: Json::Null,
            at: self.now,
            wake_at,
        });
        if wake_at.is_some_and(|at| at <= self.now) {
            self.ended(key, Status::Completed, Json::Null, None);
        }
    }

    /// The next attempt of what agents or people do.
    fn attempt(&mut self, key: &Key) {
        if self.over_budget() {
            self.record(Event::RunPaused { why: "its budget is used up".into() });
            self.run.ready.insert(key.clone());
            return;
        }
        let workflow = self.run.workflow.clone();
        let template = workflow.compiled(key.step).and_then(|compiled| compiled.request.as_ref());
        match self.run.filled(Some(key), template) {
            Ok(request) => {
                let attempt = self.run.doings.get(key).map_or(0, |doing| doing.attempt) + 1;
                self.record(Event::StepStarted {
                    key: key.clone(),
                    attempt,
                    request,
                    at: self.now,
                    wake_at: None,
                });
            }
            Err(error) => self.expression_failed(key, &error.to_string()),
        }
    }

    fn over_budget(&self) -> bool {
        let Some(budget) = self.run.workflow.definition().budget.as_ref().filter(|_| !self.run.budget_lifted)
        else {
            return false;
        };
        budget.steps.is_some_and(|most| self.run.started >= most)
            || budget.tokens.is_some_and(|most| self.run.tokens >= most)
            || budget.money_micros.is_some_and(|most| self.run.money_micros >= most)
    }

    fn under_way(&self, key: &Key, attempt: u32) -> Result<(), Refused> {
        match self.run.doings.get(key) {
            Some(doing) if doing.status == Status::Running && doing.attempt == attempt && attempt > 0 => {
                Ok(())
            }
            _ => Err(Refused::NotUnderWay { key: key.clone(), attempt }),
        }
    }

    fn result(&mut self, key: &Key, output: Json, confidence: Option<f64>) {
        let workflow = self.run.workflow.clone();
        let schema = workflow.compiled(key.step).and_then(|compiled| compiled.output_schema.as_ref());
        match schema.map_or(Ok(()), |schema| schema.check(&output)) {
            Ok(()) => self.ended(key, Status::Completed, output, confidence),
            Err(why) => {
                let message = format!("the output does not fit its schema: {why}");
                self.attempt_failed(
                    key,
                    Failure { retryable: true, ..Failure::new("output_schema", message) },
                );
            }
        }
    }

    fn attempt_failed(&mut self, key: &Key, failure: Failure) {
        let retry = self.run.workflow.step(key.step).and_then(|step| step.retry.clone());
        let attempt = self.run.doings.get(key).map_or(1, |doing| doing.attempt);
        let again = retry.filter(|retry| failure.retryable && attempt < retry.attempts());
        let retry_at = again.map(|retry| self.now.saturating_add(retry.backoff_ms(attempt)));
        self.record(Event::AttemptFailed { key: key.clone(), failure: failure.clone(), retry_at });
        match retry_at {
            Some(at) if at <= self.now => self.look.push_back(key.clone()),
            Some(_) => {}
            None => self.failed(key, failure),
        }
    }

    fn expression_failed(&mut self, key: &Key, why: &str) {
        self.failed(key, Failure::new("expression", why));
    }

    fn signal(&mut self, name: &str, payload: &Json) -> Result<(), Refused> {
        let waits = |key: &Key| matches!(self.run.workflow.step(key.step).map(|step| &step.kind), Some(Kind::Wait(Wait::Signal(wanted))) if wanted == name);
        let open =
            self.run.doings.iter().filter(|(key, doing)| doing.status == Status::Running && waits(key));
        let keys: Vec<Key> = open.map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return Err(Refused::NoSuchSignal(name.to_owned()));
        }
        keys.iter().for_each(|key| self.ended(key, Status::Completed, payload.clone(), None));
        Ok(())
    }

    /// Everything that is due.
    fn tick(&mut self) {
        let deadline =
            self.run.workflow.definition().deadline_ms.map(|ms| self.run.started_at.saturating_add(ms));
        if deadline.is_some_and(|at| at <= self.now) {
            let why = Failure::new("deadline_exceeded", "the run's time is up");
            return self.end_run(RunStatus::Failed, Json::Null, Some(why));
        }
        let due: Vec<Key> = self
            .run
            .timers
            .iter()
            .take_while(|(at, _)| *at <= self.now)
            .map(|(_, key)| key.clone())
            .collect();
        for key in due {
            let Some(doing) = self.run.doings.get(&key) else { continue };
            let (status, is_due) = (doing.status, |at: Option<u64>| at.is_some_and(|at| at <= self.now));
            if is_due(doing.due_at) {
                let message = "the step's time is up";
                self.failed(&key, Failure::new("deadline_exceeded", message));
            } else if is_due(doing.wake_at) && status == Status::Retrying {
                self.look.push_back(key);
            } else if is_due(doing.wake_at) && status == Status::Running {
                self.ended(&key, Status::Completed, Json::Null, None);
            }
        }
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Failure {
        Failure::new("expression", error.to_string())
    }
}
