//! Events into state. Total: any event of the run's own changes it, and nothing else does.

use super::doing::{Doing, Held, Items, Left};
use super::{Key, Run};
use crate::definition::{Kind, OnFailure, Wait};
use crate::workflow::Role;
use serde_json::json;
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::workflow::{
    ExecutionEnded, ExecutionSignalled, ExecutionStands, ExecutionStatus, StepAdvised, StepCompleted,
    StepConsulted, StepFailed, StepLeft, StepStarted, StepStatus, Usage,
};
use synod_protocol::{Json, Timestamp};

impl Run {
    /// The state after an event of its own; total. It is exactly the state that [`Run::decide`] left.
    pub fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::ExecutionStepStarted(e) => self.step_started(e, now),
            What::ExecutionStepCompleted(e) => self.step_completed(e, now),
            What::ExecutionStepConsulted(e) => self.step_consulted(e),
            What::ExecutionStepAdvised(e) => self.step_advised(e),
            What::ExecutionStepFailed(e) => self.step_failed(e, now),
            What::ExecutionStepDue(e) => self.step_due(e),
            What::ExecutionStepSkipped(e) => self.step_left(e, StepStatus::Skipped, now),
            What::ExecutionStepCancelled(e) => self.step_left(e, StepStatus::Cancelled, now),
            What::ExecutionRevised(e) => self.revised(e, now),
            What::ExecutionRetried(e) => self.retried(e, now),
            What::ExecutionSignalled(e) => self.signalled(e),
            What::ExecutionPaused(e) => self.stands(e),
            What::ExecutionResumed(e) => {
                self.stands(e);
                self.budget_lifted = true;
            }
            What::ExecutionCompleted(e) | What::ExecutionFailed(e) | What::ExecutionCancelled(e) => {
                self.ended(e, now);
            }
            _ => {}
        }
    }

    fn step_started(&mut self, e: &StepStarted, now: Timestamp) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.attempts += u64::from(e.attempt > 0);
        if self.doings.contains_key(&key) {
            self.unready(&key);
            return self.change(&key, |doing| {
                doing.status = StepStatus::Running;
                (doing.attempt, doing.wake_at) = (e.attempt, e.wake_at);
            });
        }
        let begun = self.begun(&key, now);
        let items = e.over.as_deref().map(Items::new);
        let attempt = begun.attempt.max(e.attempt);
        self.add(&key, Doing { attempt, wake_at: e.wake_at, branch: e.branch, items, ..begun });
        if e.branch.is_some() {
            self.leave_other_branch(&key, now);
        }
        self.look_inside(&key);
    }

    /// A doing that begins, with what it has from earlier ones.
    fn begun(&mut self, key: &Key, now: Timestamp) -> Doing {
        let doing = match self.past.get(key).cloned() {
            None => Doing::new(StepStatus::Running, now),
            Some(past) => {
                self.forget(key);
                Doing::after(past, now)
            }
        };
        Doing { due_at: self.time_limit(key, now), ..doing }
    }

    /// When the time of a step that begins now is up.
    pub(super) fn time_limit(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        self.workflow.step(key.step)?.timeout_ms.map(|ms| now.plus_millis(ms))
    }

    /// The steps of the way that was not taken are skipped.
    fn leave_other_branch(&mut self, key: &Key, now: Timestamp) {
        let taken = self.members(key);
        for step in self.workflow.clone().members(Some(key.step)) {
            let member = self.key_for(step, &key.items);
            if !taken.contains(&member) {
                self.leave_unbegun(&member, StepStatus::Skipped, None, now);
            }
        }
    }

    fn step_completed(&mut self, e: &StepCompleted, now: Timestamp) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.spend(e.usage);
        self.close_inside(&key, now);
        self.change(&key, |doing| {
            doing.fell_back = doing.status == StepStatus::FallingBack;
            doing.failure = doing.failure.take().filter(|_| doing.fell_back);
            if let Some(output) = held(e.output.as_ref()) {
                doing.output = Some(output);
            }
            doing.confidence = e.confidence;
            doing.agent_id.clone_from(&e.agent_id);
            doing.end(StepStatus::Completed, now);
        });
        self.settled(&key);
    }

    fn step_consulted(&mut self, e: &StepConsulted) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.spend(e.usage);
        self.change(&key, |doing| {
            doing.status = StepStatus::Consulting;
            doing.output = held(Some(&e.output));
            doing.confidence = e.confidence;
            doing.agent_id.clone_from(&e.agent_id);
        });
    }

    fn step_advised(&mut self, e: &StepAdvised) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.spend(e.usage);
        let error = |why: &Failure| json!({ "error": { "code": why.code, "message": why.message } }).into();
        let error: Option<Json> = e.error.as_ref().map(error);
        self.change(&key, |doing| doing.advice = held(e.advice.as_ref().or(error.as_ref())));
    }

    fn step_failed(&mut self, e: &StepFailed, now: Timestamp) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.spend(e.usage);
        if !self.doings.contains_key(&key) {
            // It failed before it began: it is there from now on, so that its fallback stands in something.
            let begun = self.begun(&key, now);
            self.add(&key, begun);
        }
        self.unready(&key);
        let failure = Some(e.error.clone());
        if let Some(at) = e.retry_at {
            self.change(&key, |doing| {
                doing.status = StepStatus::Retrying;
                doing.failure = failure;
                doing.wake_at = Some(at).filter(|at| *at > now);
            });
            return self.look_inside(&key);
        }
        self.close_inside(&key, now);
        self.change(&key, |doing| doing.failure = failure);
        if e.falls_back {
            self.not_over(&key);
            self.change(&key, |doing| {
                doing.status = StepStatus::FallingBack;
                (doing.wake_at, doing.signalled) = (None, false);
            });
            return self.look_inside(&key);
        }
        self.change(&key, |doing| doing.end(StepStatus::Failed, now));
        self.settled(&key);
    }

    fn step_due(&mut self, e: &StepLeft) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        self.change(&key, |doing| doing.wake_at = None);
        self.look_inside(&key);
    }

    /// Not begun, and not to begin: neither is what is within it.
    fn step_left(&mut self, e: &StepLeft, status: StepStatus, now: Timestamp) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        let begun = self.begun(&key, now);
        let mut doing = Doing { failure: e.error.clone(), ..begun };
        doing.end(status, now);
        self.add(&key, doing);
        self.leave_members(&key, status, e.error.as_ref(), now);
        self.settled(&key);
    }

    fn signalled(&mut self, e: &ExecutionSignalled) {
        let payload = held(Some(&e.payload));
        for key in self.waiting_for(&e.name) {
            self.change(&key, |doing| {
                doing.output.clone_from(&payload);
                doing.signalled = true;
            });
            self.look_over(&key);
        }
    }

    /// Every doing that waits for a signal.
    pub(super) fn waiting_for(&self, name: &str) -> Vec<Key> {
        let is_it = |step: &usize| matches!(self.workflow.step(*step).map(|step| &step.kind), Some(Kind::Wait(Wait::Signal(wanted))) if wanted == name);
        let waits = (0..self.workflow.len()).filter(is_it).flat_map(|step| self.doings_of(step, &[]));
        let open = waits.filter(|(_, doing)| doing.status == StepStatus::Running && !doing.signalled);
        open.map(|(key, _)| key.clone()).collect()
    }

    fn stands(&mut self, e: &ExecutionStands) {
        self.status = e.status;
        self.paused_because = e.reason.clone().filter(|_| e.status == ExecutionStatus::Paused);
    }

    /// The run is over, and so is all of it that is under way.
    fn ended(&mut self, e: &ExecutionEnded, now: Timestamp) {
        (self.status, self.ended_at, self.paused_because) = (e.status, Some(now), None);
        self.output = held(e.output.as_ref()).map(|output| output.json().clone());
        self.output_left_out = e.output_left_out;
        self.failure.clone_from(&e.error);
        let open: Vec<Key> = self.open(None).cloned().collect();
        let why = failure("run_over", "the run is over");
        open.iter().for_each(|key| self.leave_open(key, &why, now));
        self.unready_all();
    }

    /// Everything under way, or everything under way within a doing.
    pub(super) fn open<'r>(&'r self, key: Option<&'r Key>) -> impl Iterator<Item = &'r Key> {
        let all = key.is_none().then(|| self.doings.iter()).into_iter().flatten();
        let inside = key.into_iter().flat_map(|key| self.inside(key));
        all.chain(inside).filter(|(_, doing)| !doing.status.is_final()).map(|(key, _)| key)
    }

    /// A doing will be over: what is under way within it is over, and what has not begun never will.
    fn close_inside(&mut self, key: &Key, now: Timestamp) {
        self.not_over(key);
        if self.workflow.children(Some(key.step)).next().is_none() {
            return;
        }
        let open: Vec<Key> = self.open(Some(key)).cloned().collect();
        let why = failure("not_needed", "what is around it is over");
        open.iter().for_each(|inside| self.leave_open(inside, &why, now));
        self.leave_members(key, StepStatus::Skipped, None, now);
        open.iter().for_each(|inside| self.look_after(inside));
    }

    fn leave_open(&mut self, key: &Key, why: &Failure, now: Timestamp) {
        self.change(key, |doing| {
            doing.end(StepStatus::Cancelled, now);
            (doing.left, doing.failure) = (Some(Left::Open), Some(why.clone()));
        });
    }

    /// What has not begun within a doing is left over, so that nobody waits for it for ever. What a map does for each item is
    /// known to nobody outside.
    fn leave_members(&mut self, key: &Key, status: StepStatus, why: Option<&Failure>, now: Timestamp) {
        self.unready_inside(key);
        let is_map = matches!(self.workflow.step(key.step).map(|step| &step.kind), Some(Kind::Map(_)));
        if is_map {
            return;
        }
        for step in self.workflow.clone().members(Some(key.step)) {
            self.leave_unbegun(&self.key_for(step, &key.items), status, why, now);
        }
    }

    /// It, if it has not begun, and what has not begun within it. The recursion is as deep as blocks are nested.
    fn leave_unbegun(&mut self, key: &Key, status: StepStatus, why: Option<&Failure>, now: Timestamp) {
        let is_new = !self.doings.contains_key(key);
        if is_new {
            let begun = self.begun(key, now);
            let mut doing = Doing { left: Some(Left::Unbegun), failure: why.cloned(), ..begun };
            doing.end(status, now);
            self.add(key, doing);
        }
        self.leave_members(key, status, why, now);
        if is_new {
            self.look_after(key);
        }
    }

    /// A doing is over: whoever waited for it may go on, and what is around it may be over too.
    fn settled(&mut self, key: &Key) {
        self.look_after(key);
        if let Some(parent) = self.parent(key) {
            self.look_over(&parent);
            self.offer_next(&parent);
        }
    }

    fn spend(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        self.usage.tokens = self.usage.tokens.saturating_add(usage.tokens);
        self.usage.money_micros = self.usage.money_micros.saturating_add(usage.money_micros);
    }

    /// Whether what waits for it may go on.
    pub(super) fn is_good(&self, step: usize, doing: &Doing) -> bool {
        match doing.status {
            StepStatus::Completed | StepStatus::Skipped => true,
            StepStatus::Failed => {
                let says = self.workflow.step(step).and_then(|step| step.on_failure);
                says == Some(OnFailure::Continue)
            }
            _ => false,
        }
    }

    /// Whether it is done instead of another step.
    pub(super) fn is_fallback(&self, key: &Key) -> bool {
        self.workflow.role(key.step) == Role::Fallback
    }
}

/// A failure that another attempt would not mend.
pub(super) fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure { code: code.to_owned(), message: message.into(), retryable: false }
}

/// A result to keep. A `null` in an event is read as if it were absent, and so it is kept.
fn held(json: Option<&Json>) -> Option<Held> {
    json.filter(|json| !is_null(json)).cloned().map(Held::new)
}

pub(super) fn is_null(json: &Json) -> bool {
    json.as_str() == "null"
}
