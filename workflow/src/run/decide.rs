//! What follows from an input: results are taken, and whatever may start then starts, as far as one input goes.

use super::apply::failure;
use super::doing::{len, readable};
use super::index::End;
use super::{Child, ChildKind, Input, Key, Opening, Outcome, Run};
use crate::schema::Schema;
use crate::workflow::Workflow;
use synod_protocol::approval::ApprovalEnded;
use synod_protocol::event::What;
use synod_protocol::workflow::{
    ExecutionSignalled, ExecutionStarted, ExecutionStatus, StepRetried, StepStatus,
};
use synod_protocol::{Code, EntityId, Error, Json, Timestamp};

/// Bytes of events and requests after which one input starts nothing more: 320 KiB. With the last request, and with the event of
/// a child that brought a result, it stays within one record of the ledger (900 KiB).
pub const BYTES: usize = 320 * 1024;
/// Requests after which one input starts nothing more: 500.
const STARTS: usize = 500;
/// Events after which one input does nothing more: 2,000.
const EVENTS: usize = 2_000;

impl Run {
    /// Begins a run: the run after it, and what follows.
    ///
    /// # Errors
    /// The input does not fit the definition's schema: `invalid_argument` at `/input`.
    pub fn start(workflow: &Workflow, opening: Opening, now: Timestamp) -> Result<(Run, Outcome), Error> {
        Run::start_after(workflow, opening, now, 0)
    }

    /// The same, where the record has so many bytes already; see [`Run::decide_after`].
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start_after(
        workflow: &Workflow,
        opening: Opening,
        now: Timestamp,
        taken: usize,
    ) -> Result<(Run, Outcome), Error> {
        let refused =
            |why: String| Error::invalid(format!("the input does not fit: {why}")).with_field("/input");
        let input = readable(&opening.input).map_err(refused)?;
        let definition = workflow.definition();
        if let Some(Ok(schema)) = definition.input_schema.as_ref().map(Schema::new) {
            schema.check(&input).map_err(refused)?;
        }
        let workflow_id = definition.id.parse().map_err(|error: Error| error.with_field("/workflow_id"))?;
        let mut labels = definition.labels.clone();
        labels.extend(opening.labels);
        let started = ExecutionStarted {
            execution_id: opening.execution_id,
            status: ExecutionStatus::Running,
            workflow_id,
            hash: workflow.hash().to_owned(),
            definition: workflow.document().clone(),
            input: opening.input,
            labels,
            correlation_id: opening.correlation_id,
            traceparent: opening.traceparent,
            body: opening.body,
        };
        let mut run = Run::new(&started, workflow, now);
        let mut draft = Draft::new(&mut run, now);
        draft.bytes = taken + len(&started.definition) + len(&started.input);
        draft.out.whats.push(What::ExecutionStarted(Box::new(started)));
        let outcome = draft.go();
        Ok((run, outcome))
    }

    /// What an input does; `self` is changed by it, so that a working copy is what it should be called on. To cancel what is
    /// cancelled, pause what is paused or resume what goes on does nothing.
    ///
    /// # Errors
    /// Nothing follows from it, and nothing was changed: `invalid_transition` with the status that stands in the way,
    /// `not_found` for a child, a step or a signal that nobody knows, `invalid_argument` for what cannot be read.
    pub fn decide(&mut self, now: Timestamp, input: Input) -> Result<Outcome, Error> {
        self.decide_after(now, input, 0)
    }

    /// The same, where the record has so many bytes already: of several inputs by one step all has to fit into it.
    ///
    /// # Errors
    /// As [`Run::decide`].
    pub fn decide_after(&mut self, now: Timestamp, input: Input, taken: usize) -> Result<Outcome, Error> {
        let status = self.status;
        // Asked for twice, it is as if asked for once.
        match (&input, status) {
            (Input::Cancel { .. }, ExecutionStatus::Cancelled)
            | (Input::Pause { .. }, ExecutionStatus::Paused)
            | (Input::Resume, ExecutionStatus::Running) => return Ok(Outcome::default()),
            _ => {}
        }
        if status.is_final() && !matches!(input, Input::Retry { .. }) {
            return Err(Error::invalid_transition("the execution is over", status.as_str()));
        }
        let mut draft = Draft { bytes: taken, ..Draft::new(self, now) };
        match input {
            Input::Completed { child, output, confidence, agent_id, usage } => {
                let child = draft.under_way(&child)?;
                if child.kind == ChildKind::Approval {
                    let message = format!("{} is an approval: people decide it", child.id);
                    return Err(Error::invalid_transition(message, "running"));
                }
                draft.completed(&child, output, (confidence, agent_id, usage));
            }
            Input::Failed { child, failure, usage } => {
                let child = draft.under_way(&child)?;
                draft.child_failed(&child, failure, usage);
            }
            Input::Decided(ended) => draft.decided(&ended)?,
            Input::Signal { name, payload } => draft.signal(name, payload)?,
            Input::Due => draft.due(),
            Input::GoOn => {}
            Input::Pause { reason } => {
                let reason = reason.or_else(|| Some("somebody said so".to_owned()));
                let stands = draft.stands(ExecutionStatus::Paused, reason);
                draft.record(What::ExecutionPaused(stands));
            }
            Input::Resume => {
                let stands = draft.stands(ExecutionStatus::Running, None);
                draft.record(What::ExecutionResumed(stands));
            }
            Input::Cancel { reason } => {
                let why = reason.map(|reason| failure("cancelled", reason));
                draft.end_run(ExecutionStatus::Cancelled, None, why);
            }
            Input::Retry { step, items } => draft.retry(&step, &items)?,
        }
        Ok(draft.go())
    }
}

/// One input's way through the run.
pub(super) struct Draft<'r> {
    pub(super) run: &'r mut Run,
    pub(super) now: Timestamp,
    pub(super) out: Outcome,
    pub(super) bytes: usize,
    pub(super) starts: usize,
}

impl<'r> Draft<'r> {
    fn new(run: &'r mut Run, now: Timestamp) -> Draft<'r> {
        Draft { run, now, out: Outcome::default(), bytes: 0, starts: 0 }
    }

    pub(super) fn record(&mut self, what: What) {
        self.bytes += bytes(&what);
        self.run.apply(&what, self.now);
        self.out.whats.push(what);
    }

    /// Says what is over and starts what may start, until nothing more may or one input has done enough.
    fn go(mut self) -> Outcome {
        while !self.run.status.is_final() {
            if let Some(why) = self.run.too_large() {
                self.end_run(ExecutionStatus::Failed, None, Some(why));
            } else if self.is_enough() {
                break;
            } else if let Some(end) = self.run.top_end() {
                self.end_at_top(end);
            } else if let Some(key) = self.run.next_over().cloned() {
                self.say_end(&key);
            } else if self.is_out_of_time() {
                // What begins now would end at once; a result that came in time but late to us is taken all the same.
                self.end_out_of_time();
            } else if let Some(key) = self.run.next_ready().cloned() {
                self.consider(&key);
            } else {
                break;
            }
        }
        self.out
    }

    fn is_out_of_time(&self) -> bool {
        self.run.deadline().is_some_and(|at| at <= self.now)
    }

    fn end_out_of_time(&mut self) {
        let why = failure("deadline_exceeded", "the time of the execution is up");
        self.end_run(ExecutionStatus::Failed, None, Some(why));
    }

    fn is_enough(&self) -> bool {
        self.bytes >= BYTES || self.starts >= STARTS || self.out.whats.len() >= EVENTS
    }

    /// The child, if it is under way.
    fn under_way(&self, id: &EntityId) -> Result<Child, Error> {
        let child = self.run.child(id).ok_or_else(|| {
            Error::new(
                Code::NotFound,
                format!("{id} is no child of execution {}", self.run.started.execution_id),
            )
        })?;
        let doing = self.run.doings.get(&child.key);
        let wanted = if child.advice { StepStatus::Consulting } else { StepStatus::Running };
        match doing {
            Some(doing) if doing.status == wanted && doing.attempt == child.attempt => Ok(child),
            _ => {
                let status = doing.map_or("waiting".to_owned(), |doing| self.run.status_of(doing));
                Err(Error::invalid_transition(format!("{id} is not under way in its execution"), &status))
            }
        }
    }

    fn decided(&mut self, ended: &ApprovalEnded) -> Result<(), Error> {
        let child = self.under_way(&ended.approval_id)?;
        if child.kind != ChildKind::Approval || !ended.status.is_final() {
            let message = format!("{} is no approval that is over", child.id);
            return Err(Error::invalid_transition(message, ended.status.as_str()));
        }
        self.approval_ended(&child.key, ended);
        Ok(())
    }

    fn signal(&mut self, name: String, payload: Json) -> Result<(), Error> {
        readable(&payload).map_err(|why| Error::invalid(why).with_field("/payload"))?;
        if self.run.waiting_for(&name).is_empty() {
            let message = format!("no step waits for the signal {name} now");
            return Err(Error::new(Code::NotFound, message).with_field("/name"));
        }
        let (execution_id, status) = (self.run.started.execution_id.clone(), self.run.status);
        self.record(What::ExecutionSignalled(ExecutionSignalled { execution_id, status, name, payload }));
        Ok(())
    }

    /// Everything that is due, as far as one input goes; the rest is due still.
    fn due(&mut self) {
        if self.is_out_of_time() {
            return self.end_out_of_time();
        }
        for key in self.run.due(self.now, EVENTS) {
            if self.is_enough() {
                break;
            }
            let Some(doing) = self.run.doings.get(&key).filter(|_| !self.run.is_to_be_said(&key)) else {
                continue;
            };
            let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
            match doing.status {
                StepStatus::Consulting if is_due(doing.due_at) => self.advice_late(&key),
                _ if is_due(doing.due_at) => {
                    self.take_back(std::slice::from_ref(&key));
                    self.fail(&key, failure("deadline_exceeded", "the time of the step is up"), None);
                }
                StepStatus::Retrying if is_due(doing.wake_at) => match self.run.has_room(&key) {
                    true => self.attempt(&key),
                    false => self.due_later(&key),
                },
                StepStatus::Running if is_due(doing.wake_at) => self.finish(&key, Some(Json::null())),
                _ => {}
            }
        }
    }

    fn due_later(&mut self, key: &Key) {
        let left = self.left(key, None);
        self.record(What::ExecutionStepDue(left));
    }

    fn retry(&mut self, step: &str, items: &[u32]) -> Result<(), Error> {
        let run = &self.run;
        let status = run.status;
        if matches!(status, ExecutionStatus::Completed | ExecutionStatus::Cancelled) {
            let message = format!(
                "the execution is {}; only one that failed or goes on has steps to retry",
                status.as_str()
            );
            return Err(Error::invalid_transition(message, status.as_str()));
        }
        if run.workflow.number(step).is_none() {
            let message = format!("the workflow {} has no step {step}", run.started.workflow_id);
            return Err(Error::new(Code::NotFound, message).with_field("/step"));
        }
        let Some(key) = run.key(step, items) else {
            let maps = run.workflow.number(step).map_or(0, |step| run.workflow.maps_around(step));
            let message =
                format!("{step} stands in {maps} maps, {} items are named; name one for each", items.len());
            return Err(Error::invalid(message).with_field("/items"));
        };
        let doing = run.doings.get(&key);
        if doing.is_none_or(|doing| doing.status != StepStatus::Failed) {
            let status = doing.map_or("waiting".to_owned(), |doing| run.status_of(doing));
            let message = format!("the step is {status}; only one that failed for good is retried");
            return Err(Error::invalid_transition(message, &status));
        }
        if self.is_out_of_time() {
            let message = "the time of the execution is up; start another";
            return Err(Error::invalid_transition(message, status.as_str()));
        }
        if !run.can_be_open_around(&key) {
            let message = "what is around the step is over, or a fallback is done instead; retry that";
            return Err(Error::invalid_transition(message, "failed"));
        }
        let status = if status.is_final() { ExecutionStatus::Running } else { status };
        let left = self.left(&key, None);
        let retried =
            StepRetried { execution_id: left.execution_id, status, step: left.step, items: left.items };
        self.record(What::ExecutionRetried(retried));
        Ok(())
    }

    fn end_at_top(&mut self, end: End) {
        match end {
            End::Lost => {
                let why = self.run.first_bad_at_top();
                self.end_run(ExecutionStatus::Failed, None, why);
            }
            End::Reached => match self.run.run_output() {
                Ok(output) => self.end_run(ExecutionStatus::Completed, output, None),
                Err(why) => self.end_run(ExecutionStatus::Failed, None, Some(why)),
            },
        }
    }
}

/// What an event takes in a record of the ledger, in bytes, about.
fn bytes(what: &What) -> usize {
    320 + carried_by(what)
}

/// What an event of a run carries, in bytes; what it began with is not counted.
pub fn carried_by(what: &What) -> usize {
    let said = |json: &Option<Json>| json.as_ref().map_or(0, len);
    match what {
        What::ExecutionStepStarted(e) => e.over.iter().flatten().map(|item| len(item) + 1).sum(),
        What::ExecutionStepCompleted(e) => said(&e.output),
        What::ExecutionStepConsulted(e) => len(&e.output),
        What::ExecutionStepAdvised(e) => said(&e.advice),
        What::ExecutionStepFailed(e) => e.error.message.len(),
        What::ExecutionSignalled(e) => len(&e.payload),
        What::ExecutionCompleted(e) => said(&e.output),
        What::ExecutionRevised(e) => e.feedback.response_data.as_ref().map_or(0, len),
        _ => 0,
    }
}
