//! How attempts, steps and the run end: results are looked at before they are accepted, failures are retried or fall back.

use super::apply::failure;
use super::asks::bad_expression;
use super::decide::Draft;
use super::doing::{Held, readable};
use super::index::End;
use super::start::shortened;
use super::values::Own;
use super::{Child, DOINGS_MAX, Key, RESULTS_BYTES, Run};
use crate::definition::Consult;
use crate::expression::{RESULT_BYTES, Value};
use serde_json::json;
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus};
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::id::Name;
use synod_protocol::workflow::{
    ExecutionEnded, ExecutionStatus, StepAdvised, StepCompleted, StepConsulted, StepFailed, StepLeft,
    StepRevised, StepStatus, Usage,
};
use synod_protocol::{Id, Json, Timestamp};

/// What came with a result: how sure, who, what it used up.
pub(super) type With = (Option<f64>, Option<Id>, Option<Usage>);

impl Draft<'_> {
    /// A task or a negotiation has a result.
    pub(super) fn completed(&mut self, child: &Child, output: Json, with: With) {
        match (child.advice, readable(&output)) {
            (false, _) => self.accept(&child.key, Some(output), with),
            (true, Ok(_)) => self.advised(&child.key, Ok(output), with.2),
            (true, Err(why)) => self.advised(&child.key, Err(failure("unreadable", why)), with.2),
        }
    }

    /// A task or a negotiation failed.
    pub(super) fn child_failed(&mut self, child: &Child, failure: Failure, usage: Option<Usage>) {
        match child.advice {
            true => self.advised(&child.key, Err(failure), usage),
            false => self.attempt_failed(&child.key, failure, usage),
        }
    }

    /// People have decided, or their time is up.
    pub(super) fn approval_ended(&mut self, key: &Key, ended: &ApprovalEnded) {
        let decision = ended.decision.as_ref();
        let comment = |instead: &str| {
            let said = decision.and_then(|decision| decision.comment.clone());
            said.unwrap_or_else(|| instead.to_owned())
        };
        match ended.status {
            ApprovalStatus::Approved => {
                let data = decision.and_then(|decision| decision.response_data.clone()).unwrap_or_default();
                let output = super::block::object([
                    ("status", json!("approved").into()),
                    ("approver", json!(decision.and_then(|decision| decision.approver.as_ref())).into()),
                    ("comment", json!(decision.and_then(|decision| decision.comment.as_ref())).into()),
                    ("response_data", data),
                    ("revision", json!(ended.revision).into()),
                ]);
                self.accept(key, Some(output), (None, None, None));
            }
            ApprovalStatus::ChangesRequested => self.changes_requested(key, ended),
            ApprovalStatus::Rejected => self.fail(key, failure("rejected", comment("it was rejected")), None),
            ApprovalStatus::TimedOut => {
                self.fail(key, failure("timed_out", "nobody decided in time"), None);
            }
            ApprovalStatus::Cancelled | ApprovalStatus::Pending => {
                self.fail(key, failure("cancelled", comment("the approval was cancelled")), None);
            }
        }
    }

    /// A revision begins, where one is left.
    fn changes_requested(&mut self, key: &Key, ended: &ApprovalEnded) {
        let from = self.run.revised_from(key);
        let revision = ended.revision.saturating_add(1);
        let (Some(from), Some(feedback), true) = (from, &ended.decision, revision <= self.run.revisions(key))
        else {
            let message = "changes were requested, and no revision is left";
            return self.fail(key, failure("changes_requested", message), None);
        };
        let (_, again) = self.run.between(&from, key);
        let others: Vec<Key> = again.into_iter().filter(|other| other != key).collect();
        self.take_back(&others);
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        let (from, feedback) = (self.run.name(&from).to_owned(), feedback.clone());
        let revised = StepRevised { execution_id, status, step, items, from, revision, feedback };
        self.record(What::ExecutionRevised(revised));
    }

    /// A result, before it is accepted: whether it fits, under which key it is put, whether an expert is asked. Without
    /// `output` it is what follows from the steps within, from the fallback or from a signal.
    fn accept(&mut self, key: &Key, output: Option<Json>, with: With) {
        let is_running = self.run.doings.get(key).is_some_and(|doing| doing.status == StepStatus::Running);
        let is_attempt = is_running && self.run.attempt_child(key, 1).is_some();
        let refused = |draft: &mut Self, why: Failure| match is_attempt {
            true => draft.attempt_failed(key, Failure { retryable: true, ..why }, with.2),
            false => draft.fail(key, why, with.2),
        };
        if let Err(why) = self.run.fits(key, output.as_ref()) {
            return refused(self, why);
        }
        let saved_as = match self.run.saved_as(key) {
            Ok(saved_as) => saved_as,
            Err(why) => return self.fail(key, why, with.2),
        };
        match self.asks_expert(key, output.as_ref(), with.0) {
            Ok(None) => self.complete(key, output, saved_as, with),
            Ok(Some((consult, value))) => self.consult(key, &consult, (value, output, saved_as), with),
            Err(why) => self.fail(key, why, with.2),
        }
    }

    /// A wait is over, or what a doing waited for within itself is.
    pub(super) fn finish(&mut self, key: &Key, output: Option<Json>) {
        self.accept(key, output, (None, None, None));
    }

    fn complete(&mut self, key: &Key, output: Option<Json>, saved_as: Option<String>, with: With) {
        self.take_back_inside(key);
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        let attempt = self.run.doings.get(key).map_or(0, |doing| doing.attempt);
        let (confidence, agent_id, usage) = with;
        self.record(What::ExecutionStepCompleted(StepCompleted {
            execution_id,
            status,
            step,
            items,
            attempt,
            output,
            confidence,
            agent_id,
            usage,
            saved_as,
        }));
    }

    /// Whether an expert is asked about a result, which is then given as expressions see it.
    fn asks_expert(
        &self,
        key: &Key,
        output: Option<&Json>,
        confidence: Option<f64>,
    ) -> Result<Option<(Consult, Value)>, Failure> {
        let run = &self.run;
        let consult = run.workflow.step(key.step).and_then(|step| step.consult.clone());
        // What a fallback gave is no result of the step's own, and advice is not asked for twice.
        let is_own = run.doings.get(key).is_some_and(|doing| doing.status == StepStatus::Running);
        let (Some(consult), Some(output), true) = (consult, output, is_own) else { return Ok(None) };
        let value = Held::new(output.clone()).value();
        let confidence = confidence.unwrap_or(1.0);
        let below = consult.below.is_some_and(|below| confidence < below);
        let compiled = run.workflow.compiled(key.step).and_then(|compiled| compiled.consult.as_ref());
        let when = match compiled.and_then(|consult| consult.when.as_ref()).filter(|_| !below) {
            None => false,
            Some(when) => {
                let own: Own<'_> = &[("output", value.clone()), ("confidence", Value::Double(confidence))];
                match run.value(key, when, own).map_err(|error| bad_expression(&error))? {
                    Value::Bool(when) => when,
                    other => {
                        return Err(failure("expression", format!("`consult.when` gives {}", other.noun())));
                    }
                }
            }
        };
        Ok((below || when).then_some((consult, value)))
    }

    /// An expert is asked; where even that cannot be, the result is accepted with why.
    fn consult(
        &mut self,
        key: &Key,
        consult: &Consult,
        (value, output, saved_as): (Value, Option<Json>, Option<String>),
        with: With,
    ) {
        let attempt = self.run.doings.get(key).map_or(0, |doing| doing.attempt);
        let run = &self.run;
        let child = Child::of(&run.workflow, &run.started.execution_id, key, attempt, true);
        let own = [("output", value), ("confidence", Value::Double(with.0.unwrap_or(1.0)))];
        let ask = child.map(|child| run.advice_request(&child, &own, self.now));
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        match (ask, output) {
            (Some(Ok(ask)), Some(output)) => {
                let (confidence, agent_id, usage) = with;
                self.record(What::ExecutionStepConsulted(StepConsulted {
                    execution_id,
                    status,
                    step,
                    items,
                    attempt,
                    output,
                    confidence,
                    agent_id,
                    usage,
                    child: ask.id.clone(),
                }));
                self.ask(ask);
            }
            (ask, output) => {
                let why = ask.and_then(Result::err);
                let why = why.unwrap_or_else(|| {
                    failure("expression", format!("{} cannot be asked", consult.capability))
                });
                self.record(What::ExecutionStepAdvised(StepAdvised {
                    execution_id,
                    status,
                    step,
                    items,
                    advice: None,
                    error: Some(why),
                    usage: None,
                }));
                self.complete(key, output, saved_as, with);
            }
        }
    }

    /// The expert has answered, or there is no answer: the step is completed either way.
    fn advised(&mut self, key: &Key, said: Result<Json, Failure>, usage: Option<Usage>) {
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        let (advice, error) = match said {
            Ok(advice) => (Some(advice), None),
            Err(why) => (None, Some(why)),
        };
        let advised = StepAdvised { execution_id, status, step, items, advice, error, usage };
        self.record(What::ExecutionStepAdvised(advised));
        let with = self.run.doings.get(key).map(|doing| (doing.confidence, doing.agent_id.clone(), None));
        match self.run.saved_as(key) {
            Ok(saved_as) => self.complete(key, None, saved_as, with.unwrap_or_default()),
            Err(why) => self.fail(key, why, None),
        }
    }

    /// The step's time is up while an expert is asked: the result counts without him.
    pub(super) fn advice_late(&mut self, key: &Key) {
        self.take_back(std::slice::from_ref(key));
        self.advised(key, Err(failure("deadline_exceeded", "the time of the step is up")), None);
    }

    /// An attempt failed: there is another, or the step has failed for good.
    fn attempt_failed(&mut self, key: &Key, why: Failure, usage: Option<Usage>) {
        let Some(doing) = self.run.doings.get(key) else { return };
        let retry = self.run.workflow.step(key.step).and_then(|step| step.retry.as_ref());
        let failed = doing.attempt - doing.attempts_before;
        let again = retry.filter(|retry| why.retryable && failed < retry.attempts());
        let Some(retry) = again else { return self.fail(key, why, usage) };
        let wait = self.run.jittered(key, doing.attempt, retry.backoff_ms(failed));
        let retry_at = Some(self.now.plus_millis(wait));
        self.record_failed(key, why, (retry_at, false), usage);
    }

    /// A step has failed for good: its fallback comes, or it is over.
    pub(super) fn fail(&mut self, key: &Key, why: Failure, usage: Option<Usage>) {
        let doing = self.run.doings.get(key);
        if doing.is_some_and(|doing| doing.status.is_final()) {
            return;
        }
        let fell_back = doing.is_some_and(|doing| doing.status == StepStatus::FallingBack);
        let in_time = doing.is_none_or(|doing| doing.due_at.is_none_or(|at| at > self.now));
        let falls_back = self.run.workflow.fallback(key.step).is_some() && !fell_back && in_time;
        self.take_back_inside(key);
        self.record_failed(key, why, (None, falls_back), usage);
    }

    fn record_failed(
        &mut self,
        key: &Key,
        error: Failure,
        (retry_at, falls_back): (Option<Timestamp>, bool),
        usage: Option<Usage>,
    ) {
        let StepLeft { execution_id, status, step, items, .. } = self.left(key, None);
        let attempt = self.run.doings.get(key).map_or(0, |doing| doing.attempt);
        self.record(What::ExecutionStepFailed(StepFailed {
            execution_id,
            status,
            step,
            items,
            attempt,
            error,
            retry_at,
            falls_back,
            usage,
        }));
    }

    /// The end of a block, of a wait or of a step whose fallback is over has come.
    pub(super) fn say_end(&mut self, key: &Key) {
        let Some(doing) = self.run.doings.get(key) else { return };
        if doing.status == StepStatus::FallingBack {
            let fallback =
                self.run.workflow.fallback(key.step).map(|step| self.run.key_for(step, &key.items));
            let fallback = fallback.and_then(|fallback| self.run.doings.get(&fallback));
            let good =
                fallback.filter(|doing| matches!(doing.status, StepStatus::Completed | StepStatus::Skipped));
            return match good.map(|doing| (doing.confidence, doing.agent_id.clone(), None)) {
                Some(with) => self.accept(key, None, with),
                None => {
                    let why = doing.failure.clone();
                    self.fail(
                        key,
                        why.unwrap_or_else(|| failure("fallback_failed", "its fallback failed")),
                        None,
                    );
                }
            };
        }
        match self.run.block_end(key, doing) {
            Some(End::Lost) => {
                let message = self.run.lost_because(key);
                self.fail(key, failure("steps_failed", message), None);
            }
            Some(End::Reached) | None => self.finish(key, None),
        }
    }

    /// What is asked for these doings is wanted no more.
    pub(super) fn take_back(&mut self, keys: &[Key]) {
        let children: Vec<Child> = keys.iter().filter_map(|key| self.run.child_under_way(key)).collect();
        self.bytes += 300 * children.len();
        self.out.taken_back.extend(children);
    }

    fn take_back_inside(&mut self, key: &Key) {
        let open: Vec<Key> = self.run.open(Some(key)).cloned().collect();
        self.take_back(&open);
    }

    /// The run is over: what is under way is taken back.
    pub(super) fn end_run(&mut self, status: ExecutionStatus, output: Option<Json>, error: Option<Failure>) {
        let open: Vec<Key> = self.run.open(None).cloned().collect();
        self.take_back(&open);
        let execution_id = self.run.started.execution_id.clone();
        let output_left_out = status == ExecutionStatus::Completed && output.is_none();
        let ended = ExecutionEnded { execution_id, status, output, output_left_out, error };
        self.record(match status {
            ExecutionStatus::Completed => What::ExecutionCompleted(ended),
            ExecutionStatus::Cancelled => What::ExecutionCancelled(ended),
            _ => What::ExecutionFailed(ended),
        });
    }
}

impl Run {
    /// Whether a result fits the step's schema.
    fn fits(&self, key: &Key, output: Option<&Json>) -> Result<(), Failure> {
        let schema = self.workflow.compiled(key.step).and_then(|compiled| compiled.output_schema.as_ref());
        let derived = schema.is_some().then(|| self.coming_output(key)).flatten();
        let Some(output) = output.or(derived.as_ref()) else { return Ok(()) };
        let value = readable(output).map_err(|why| failure("unreadable", why))?;
        schema.map_or(Ok(()), |schema| schema.check(&value)).map_err(|why| {
            failure("output_schema", shortened(&format!("the output does not fit its schema: {why}")))
        })
    }

    /// The output that a doing will have which has none of its own.
    fn coming_output(&self, key: &Key) -> Option<Json> {
        let doing = self.doings.get(key)?;
        if let Some(output) = &doing.output {
            return Some(output.json().clone());
        }
        match doing.status {
            StepStatus::FallingBack => {
                let fallback = self.workflow.fallback(key.step)?;
                Some(self.output_json(&self.key_for(fallback, &key.items)).unwrap_or_default())
            }
            _ => Some(self.block_output(key)),
        }
    }

    /// The key under which the step's output is put, where it has one.
    fn saved_as(&self, key: &Key) -> Result<Option<String>, Failure> {
        let template = self.workflow.compiled(key.step).and_then(|compiled| compiled.save_as.as_ref());
        let Some(template) = template else { return Ok(None) };
        let filled = self.filled(Some(key), template, &[]).map_err(|error| bad_expression(&error))?;
        let text = filled.as_str().ok_or_else(|| failure("save_as", "`save_as` gives no text"))?;
        let name = text.parse::<Name>().map_err(|error| failure("save_as", error.message))?;
        Ok(Some(name.as_str().to_owned()))
    }

    /// The child of a doing that is under way.
    pub(super) fn child_under_way(&self, key: &Key) -> Option<Child> {
        let doing = self.doings.get(key).filter(|doing| doing.attempt > 0)?;
        match doing.status {
            StepStatus::Running => self.attempt_child(key, doing.attempt),
            StepStatus::Consulting => {
                Child::of(&self.workflow, &self.started.execution_id, key, doing.attempt, true)
            }
            _ => None,
        }
    }

    /// From which step on a request for changes has things done again.
    fn revised_from(&self, key: &Key) -> Option<Key> {
        let crate::definition::Kind::Approval(approval) = &self.workflow.step(key.step)?.kind else {
            return None;
        };
        let from = self.workflow.number(approval.revise.as_ref()?.step.as_str())?;
        Some(self.key_for(from, &key.items))
    }

    /// A wait before the next attempt, 80 to 120 % of what the definition says: by a hash of the failed attempt's id, so that
    /// many that failed at once do not come back at once, and a fold waits as long.
    fn jittered(&self, key: &Key, attempt: u32, wait_ms: u64) -> u64 {
        let id = self.attempt_child(key, attempt).map(|child| child.id);
        let hash = blake3::hash(id.as_ref().map_or("", |id| id.as_str()).as_bytes());
        let drawn = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]) % 401;
        let wait = u128::from(wait_ms) * (800 + u128::from(drawn)) / 1_000;
        u64::try_from(wait).unwrap_or(u64::MAX)
    }

    /// Why it cannot go on, where it has grown too large.
    pub(super) fn too_large(&self) -> Option<Failure> {
        if self.index.held > RESULTS_BYTES {
            let message = format!(
                "its results have {} bytes, the limit is {RESULTS_BYTES}; pass larger data by reference",
                self.index.held
            );
            return Some(failure("run_too_large", message));
        }
        let doings = self.doings.size();
        (doings > DOINGS_MAX).then(|| {
            let message =
                format!("{doings} doings of steps, the limit is {DOINGS_MAX}; do several items in one step");
            failure("run_too_large", message)
        })
    }

    /// Why the first step at the top failed that was needed.
    pub(super) fn first_bad_at_top(&self) -> Option<Failure> {
        let top = self.workflow.members(None).map(|step| Key { step, items: Vec::new() });
        let mut bad = top.filter_map(|key| self.doings.get(&key).map(|doing| (key.step, doing)));
        let bad = bad.find(|(step, doing)| doing.status.is_final() && !self.is_good(*step, doing));
        bad.and_then(|(_, doing)| doing.failure.clone())
    }

    /// The run's output; nothing where it is too large to be told and nothing smaller was asked for.
    pub(super) fn run_output(&self) -> Result<Option<Json>, Failure> {
        if let Some(template) = self.workflow.output_template() {
            let filled = self.filled(None, template, &[]).map_err(|error| bad_expression(&error))?;
            return Ok(Some(filled.into()));
        }
        let graph = self.workflow.graph();
        let last = self.workflow.members(None).filter(|step| graph.after(*step).is_empty());
        let last = last.map(|step| Key { step, items: Vec::new() });
        let outputs: Vec<(Key, Json)> =
            last.map(|key| (key.clone(), self.output_json(&key).unwrap_or_default())).collect();
        let output =
            super::block::object(outputs.iter().map(|(key, output)| (self.name(key), output.clone())));
        Ok(Some(output).filter(|output| output.as_str().len() <= RESULT_BYTES))
    }
}
