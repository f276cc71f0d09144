//! Executions as entities of a shard: which there are, when each is due, what an input does to one, and how it moves its
//! children: the tasks, negotiations and approvals that do its steps, all of the same root and so of the same shard.
//!
//! What a run does next is none of this room's: that is `synod-workflow`'s. Here its asks become children and their ends
//! become its inputs, all in the one step by which it happens, so that parent and child can never disagree.
//!
//! ```text
//!   input --> events --> Family: each end of a child --> Run::decide --> its events, asks, what it takes back --+
//!                  ^                                                                                            |
//!                  +---- children's own events: submitted, opened, required; cancelled <------------------------+
//! ```

use crate::approvals;
use crate::decide::{Decision, Desk, Meta, nobody, refused, submitted_now, take_back_task};
use crate::memory::{Kept, Moved};
use crate::negotiations::{self, NegotiationKey};
use crate::planted::{self, Bug};
use crate::record::Step;
use crate::shelf::{Shelf, Shelved};
use crate::state::{State, TaskKey};
use crate::subject::{EntityKey, Subject};
use crate::task::{self, TaskState};
use crate::workflows::{definition_for, definition_given, is_of, read_definition};
use synod_negotiation::Negotiation;
use synod_protocol::command::Failure;
use synod_protocol::event::{Event, What};
use synod_protocol::negotiation::CancelNegotiation;
use synod_protocol::workflow::{
    ChangeExecution, ExecutionChange, RetryExecution, SignalExecution, StartExecution,
};
use synod_protocol::{EntityId, Error, Id, Json, Timestamp, Workspace};
use synod_workflow::approval::{Approval, Asked, Revision, required};
use synod_workflow::run::{Ask, BYTES, Child, ChildKind, Input, Opening, Outcome, Request, Run, carried_by};

/// The executions of a shard.
pub(crate) type Executions = Shelf<EntityKey, Run>;

impl Shelved for Run {
    fn timer(&self) -> Option<Timestamp> {
        self.next_deadline()
    }

    fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at()
    }

    fn weight(&self) -> usize {
        self.weight()
    }

    fn goes_on(&self) -> bool {
        self.goes_on()
    }
}

/// Whether this is about an execution.
pub(crate) fn is_about_one(what: &What) -> bool {
    what.ce_type().starts_with("synod.execution.")
}

impl State {
    /// One execution.
    pub fn execution(&self, key: &EntityKey) -> Option<&Run> {
        self.executions.get(key)
    }

    /// Every execution in memory, by workspace and id.
    pub fn executions(&self) -> impl Iterator<Item = (&EntityKey, &Run)> {
        self.executions.iter()
    }

    /// Executions in memory after this one, for paging.
    pub fn executions_after(&self, key: &EntityKey) -> impl Iterator<Item = (&EntityKey, &Run)> {
        self.executions.after(key)
    }

    pub(crate) fn apply_to_execution(
        &mut self,
        (offset, place): (u64, u64),
        now: Timestamp,
        key: &EntityKey,
        what: &What,
        moved: &mut Vec<Moved>,
    ) {
        let is_new = self.executions.get(key).is_none();
        let mut is_told = what.is_end();
        match what {
            What::ExecutionStarted(started) if is_new => {
                let known = self.definitions.get(&started.hash).cloned();
                // It was checked before it was recorded; what this build cannot read any more is its defect.
                let Some(workflow) = known.or_else(|| read_definition(&started.definition).ok()) else {
                    return;
                };
                is_told = true;
                let state = Run::new(started, &workflow, now);
                moved.push(self.put_execution(key.clone(), Kept { arrival: place, base: offset, state }));
            }
            _ => self.executions.change(key, |run| run.apply(what, now)),
        }
        if is_told {
            self.remember((place, offset), now, &Subject::Execution(key.clone()), moved);
        }
    }
}

/// The execution that a step takes up again after its end.
pub(crate) fn taken_up(step: &Step) -> Option<EntityKey> {
    let retried = step.events.iter().find(|event| matches!(event.what, What::ExecutionRetried(_)))?;
    Some(EntityKey { workspace: step.workspace.clone()?, id: retried.entity.clone() })
}

/// Starts one.
pub(crate) fn started(
    state: &State,
    cx: Desk<'_>,
    key: &EntityKey,
    command: &StartExecution,
    meta: &Meta,
) -> Decision {
    let subject = Subject::Execution(key.clone());
    let body = match fingerprint(command) {
        Ok(body) => body,
        Err(error) => return refused(error),
    };
    if state.knows(&subject) {
        return approvals::again(state, subject, body);
    }
    let of = EntityKey { workspace: key.workspace.clone(), id: command.workflow_id.clone().into() };
    let workflow = match &command.definition {
        Some(definition) => {
            definition_given(cx, &of, definition).and_then(|workflow| fits(workflow, command))
        }
        None => definition_for(state, cx, &of, command.hash.as_deref()),
    };
    let begun = workflow.and_then(|workflow| {
        let opening = Opening {
            execution_id: command.execution_id.clone(),
            input: command.input.clone(),
            labels: command.labels.clone().unwrap_or_default(),
            correlation_id: meta.correlation_id.clone().unwrap_or_else(|| command.execution_id.to_string()),
            traceparent: meta.traceparent.clone(),
            body,
        };
        Run::start_after(&workflow, opening, cx.now, taken(cx))
    });
    match begun {
        Ok((run, outcome)) => {
            let mut family = Family::of(state, cx, key, Some(run), Vec::new());
            family.comes(outcome);
            family.decided()
        }
        Err(error) => refused(error),
    }
}

/// A definition that came with the command has to be what the command says it is.
fn fits(
    workflow: synod_workflow::Workflow,
    command: &StartExecution,
) -> Result<synod_workflow::Workflow, Error> {
    is_of(&workflow, &command.workflow_id)?;
    match &command.hash {
        Some(hash) if hash != workflow.hash() => {
            let why = format!("the definition has the hash {}, the command says {hash}", workflow.hash());
            Err(Error::invalid(why).with_field("/hash"))
        }
        _ => Ok(workflow),
    }
}

/// By which a repeat is told from another execution of that id. That the definition comes with it changes nothing.
fn fingerprint(command: &StartExecution) -> Result<String, Error> {
    let asked = StartExecution { definition: None, hash: None, ..command.clone() };
    let json = Json::of(&asked)
        .map_err(|e| Error::new(synod_protocol::Code::Internal, format!("a start cannot be written: {e}")))?;
    Ok(blake3::hash(json.canonical().as_bytes()).to_hex()[..32].to_owned())
}

/// It is paused, resumed or cancelled.
pub(crate) fn changed(
    state: &State,
    cx: Desk<'_>,
    key: EntityKey,
    change: ExecutionChange,
    command: &ChangeExecution,
) -> Decision {
    let reason = command.reason.clone();
    let input = match change {
        ExecutionChange::Cancel => Input::Cancel { reason },
        ExecutionChange::Pause => Input::Pause { reason },
        ExecutionChange::Resume => Input::Resume,
    };
    asked(state, cx, key, input)
}

/// A signal comes.
pub(crate) fn signalled(state: &State, cx: Desk<'_>, key: EntityKey, command: &SignalExecution) -> Decision {
    asked(state, cx, key, Input::Signal { name: command.name.clone(), payload: command.payload.clone() })
}

/// A step that failed for good is to be done once more.
pub(crate) fn retried(state: &State, cx: Desk<'_>, key: EntityKey, command: &RetryExecution) -> Decision {
    let (step, items) = (command.step.clone(), command.items.clone().unwrap_or_default());
    asked(state, cx, key, Input::Retry { step, items })
}

/// Something of it is due, or it goes on with what it has left for later.
pub(crate) fn due(state: &State, cx: Desk<'_>, key: &EntityKey, is_due: bool) -> Decision {
    if state.execution(key).is_none() {
        return Decision::default();
    }
    let mut family = Family::of(state, cx, key, None, Vec::new());
    // One that has ended meanwhile has no timer, and nothing to go on with.
    let _ = family.takes(if is_due { Input::Due } else { Input::GoOn });
    family.decided()
}

fn asked(state: &State, cx: Desk<'_>, key: EntityKey, input: Input) -> Decision {
    if state.execution(&key).is_none() {
        return nobody(state, Subject::Execution(key));
    }
    let mut family = Family::of(state, cx, &key, None, Vec::new());
    match family.takes(input) {
        Ok(()) => family.decided(),
        Err(error) => refused(error),
    }
}

/// Tells an execution of its children that have ended by these events, and adds what follows.
pub(crate) fn follow(state: &State, cx: Desk<'_>, workspace: &Workspace, events: Vec<Event>) -> Vec<Event> {
    let root = events.iter().find(|event| is_end_of_child(event)).map(|event| event.entity.root());
    let Some(id) = root.and_then(|root| root.parse().ok()) else { return events };
    let key = EntityKey { workspace: workspace.clone(), id };
    if state.execution(&key).is_none() {
        return events;
    }
    Family::of(state, cx, &key, None, events).decided().events
}

fn is_end_of_child(event: &Event) -> bool {
    let told = !planted::is(Bug::EndUntold) || !matches!(event.what, What::TaskFailed(_));
    event.entity.root() != event.entity.as_str() && event.what.is_end() && told
}

/// Where a record may be so much shorter than usual, so much of the room for starting more is taken from the beginning.
fn taken(cx: Desk<'_>) -> usize {
    BYTES.saturating_sub(cx.record_bytes / 3)
}

/// An execution and its children, as they are after the events so far.
struct Family<'a> {
    state: &'a State,
    cx: Desk<'a>,
    key: &'a EntityKey,
    run: Option<Run>,
    events: Vec<Event>,
    /// Of the events, those whose ends were told.
    told: usize,
    /// What of the room for starting more they have taken, in bytes, about.
    weight: usize,
}

impl<'a> Family<'a> {
    fn of(
        state: &'a State,
        cx: Desk<'a>,
        key: &'a EntityKey,
        run: Option<Run>,
        events: Vec<Event>,
    ) -> Family<'a> {
        let run = run.or_else(|| state.execution(key).cloned());
        let mut family = Family { state, cx, key, run, events: Vec::new(), told: 0, weight: taken(cx) };
        family.adds(events);
        family
    }

    /// Tells it of every end of a child so far, which may start others and end others.
    fn goes_on(&mut self) {
        while let Some(event) = self.events.get(self.told) {
            self.told += 1;
            if let Some(input) = is_end_of_child(event).then(|| self.ended(self.told - 1)).flatten() {
                // A child that it has taken back, or has never known, is nothing to it.
                let _ = self.takes(input);
            }
        }
    }

    /// All that has happened, once it has heard of every end.
    fn decided(mut self) -> Decision {
        self.goes_on();
        let subject = Some(Subject::Execution(self.key.clone()));
        Decision { events: self.events, subject, ..Decision::default() }
    }

    /// The execution takes an input.
    fn takes(&mut self, input: Input) -> Result<(), Error> {
        let Some(run) = self.run.as_mut() else { return Ok(()) };
        let outcome = run.decide_after(self.cx.now, input, self.weight)?;
        self.comes(outcome);
        Ok(())
    }

    fn adds(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.weight += weight(&event);
            self.events.push(event);
        }
    }

    fn tells(&mut self, id: &EntityId, whats: Vec<What>) {
        self.adds(whats.into_iter().map(|what| Event { entity: id.clone(), what }));
    }

    /// What comes of an input: its events, its asks, and what it takes back.
    fn comes(&mut self, outcome: Outcome) {
        let Outcome { whats, asks, taken_back } = outcome;
        self.tells(&self.key.id, whats);
        for child in taken_back.iter().filter(|_| !planted::is(Bug::NotTakenBack)) {
            self.take_back(child);
        }
        // Where several are asked at once they wait in line: all would be given to whoever has the most room now.
        let alone = asks.len() == 1;
        for ask in asks {
            let id = ask.id.clone();
            let asked = self.ask(ask, alone);
            if let Err(error) = asked {
                let failure = Failure {
                    code: error.code.as_str().to_owned(),
                    message: error.message,
                    retryable: false,
                };
                let _ = self.takes(failed(&id, failure));
            }
        }
    }

    fn ask(&mut self, ask: Ask, alone: bool) -> Result<(), Error> {
        let Some(run) = &self.run else { return Ok(()) };
        let workspace = self.key.workspace.clone();
        let execution_id: Option<Id> = self.key.id.as_str().parse().ok();
        let (correlation, trace) = (run.started().correlation_id.clone(), run.started().traceparent.clone());
        let id = ask.id;
        let taken = |subject: Subject| match self.state.knows(&subject) {
            true => Err(subject.made_otherwise()),
            false => Ok(()),
        };
        match ask.what {
            Request::Task(command, feedback) => {
                let key = TaskKey { workspace, task: id };
                taken(Subject::Task(key.clone()))?;
                if let Some(rule) = &command.strategy {
                    let unknown = |unknown: String| Error::invalid(format!("strategy: {unknown}"));
                    self.cx.fleet.check_rule(rule).map_err(|why| unknown(why.to_string()))?;
                }
                let mut submitted = task::submission(&command, self.cx.now, correlation, trace)?;
                (submitted.feedback, submitted.execution_id) = (feedback, execution_id);
                self.adds(submitted_now(self.cx, &key, submitted, alone));
            }
            Request::Negotiation(command) => {
                let key = NegotiationKey { workspace, negotiation: id };
                taken(Subject::Negotiation(key.clone()))?;
                let opened = negotiations::opened_as(
                    self.state,
                    self.cx,
                    key,
                    &command,
                    correlation,
                    trace.as_deref(),
                );
                match opened.rejected {
                    Some(error) => return Err(error),
                    None => self.adds(opened.events),
                }
            }
            Request::Approval(command, revision) => {
                taken(Subject::Approval(EntityKey { workspace, id: id.clone() }))?;
                let revision = revision.as_ref().map(|of| Revision {
                    parent: &of.parent,
                    number: of.number,
                    feedback: &of.feedback,
                });
                let asked = Asked { now: self.cx.now, correlation_id: correlation, execution_id, revision };
                let asked = required(&command, asked)?;
                self.adds([Event { entity: id, what: What::ApprovalRequired(Box::new(asked)) }]);
            }
        }
        Ok(())
    }

    /// A child is wanted no more. One that has ended by now is left alone.
    fn take_back(&mut self, child: &Child) {
        const WHY: &str = "its execution wants it no more";
        let (workspace, id) = (self.key.workspace.clone(), child.id.clone());
        let whats: Vec<What> = match child.kind {
            ChildKind::Task => {
                let key = TaskKey { workspace, task: id.clone() };
                self.task(&key).map(|task| take_back_task(task, self.cx, &key, WHY)).unwrap_or_default()
            }
            ChildKind::Negotiation => {
                let key = NegotiationKey { workspace, negotiation: id.clone() };
                let cancel = CancelNegotiation { negotiation_id: id.clone(), reason: Some(WHY.to_owned()) };
                let taken_back = self.negotiation(&key).map(|it| it.cancel(&cancel));
                // One that is over has nothing to take back.
                taken_back.and_then(Result::ok).unwrap_or_default()
            }
            ChildKind::Approval => {
                let key = EntityKey { workspace, id: id.clone() };
                self.approval(&key).map(|it| it.take_back(WHY, self.cx.now)).unwrap_or_default()
            }
        };
        self.tells(&id, whats);
    }

    fn task(&self, key: &TaskKey) -> Option<TaskState> {
        let mut task = self.state.task(key).cloned();
        for event in self.events.iter().filter(|event| event.entity == key.task) {
            match (&mut task, &event.what) {
                (None, What::TaskSubmitted(submitted)) => {
                    task = Some(TaskState::new(submitted.clone(), self.cx.now));
                }
                (Some(task), what) => task.apply(what, self.cx.now),
                (None, _) => {}
            }
        }
        task
    }

    fn negotiation(&self, key: &NegotiationKey) -> Option<Negotiation> {
        let mut it = self.state.negotiation(key).cloned();
        for event in self.events.iter().filter(|event| event.entity == key.negotiation) {
            match (&mut it, &event.what) {
                (None, What::NegotiationOpened(opened)) => {
                    it = Some(Negotiation::new(opened, self.cx.now, 0));
                }
                (Some(it), what) => it.apply(what, self.cx.now, 0),
                (None, _) => {}
            }
        }
        it
    }

    fn approval(&self, key: &EntityKey) -> Option<Approval> {
        let mut it = self.state.approval(key).cloned();
        for event in self.events.iter().filter(|event| event.entity == key.id) {
            match (&mut it, &event.what) {
                (None, What::ApprovalRequired(asked)) => it = Some(Approval::new(asked, self.cx.now)),
                (Some(it), what) => it.apply(what, self.cx.now),
                (None, _) => {}
            }
        }
        it
    }

    /// What the end of a child is to its execution.
    fn ended(&self, at: usize) -> Option<Input> {
        let Event { entity: id, what } = self.events.get(at)?;
        Some(match what {
            What::TaskCompleted(e) => Input::Completed {
                child: id.clone(),
                output: if planted::is(Bug::ResultChanged) { Json::null() } else { e.output.clone() },
                confidence: e.confidence,
                agent_id: Some(e.agent_id.clone()),
                usage: e.usage,
            },
            What::TaskFailed(e) | What::TaskDeadLettered(e) => {
                // Why its last attempt failed says more than that all have.
                let same = self.events[..at].iter().rev().filter(|before| before.entity == *id);
                let attempt = same.filter_map(|before| match &before.what {
                    What::TaskAttemptFailed(e) => Some(e.error.clone()),
                    _ => None,
                });
                let end = || Failure {
                    code: e.error.code.as_str().to_owned(),
                    message: e.error.message.clone(),
                    retryable: false,
                };
                failed(id, attempt.into_iter().next().unwrap_or_else(end))
            }
            What::TaskCancelled(e) => failed(id, cancelled(e.reason.as_deref())),
            What::NegotiationDecided(e) => Input::Completed {
                child: id.clone(),
                output: e.outcome.clone(),
                confidence: None,
                agent_id: None,
                usage: None,
            },
            What::NegotiationFailed(e) => failed(
                id,
                Failure {
                    code: "negotiation_failed".into(),
                    message: e.reason.clone().unwrap_or_else(|| "it came to no decision".into()),
                    retryable: true,
                },
            ),
            What::NegotiationCancelled(e) => failed(id, cancelled(e.reason.as_deref())),
            What::ApprovalGranted(e)
            | What::ApprovalRejected(e)
            | What::ApprovalChangesRequested(e)
            | What::ApprovalCancelled(e)
            | What::ApprovalTimedOut(e) => Input::Decided(Box::new(e.clone())),
            _ => return None,
        })
    }
}

fn failed(child: &EntityId, failure: Failure) -> Input {
    Input::Failed { child: child.clone(), failure, usage: None }
}

fn cancelled(reason: Option<&str>) -> Failure {
    let message =
        reason.map_or_else(|| "it was cancelled".to_owned(), |why| format!("it was cancelled: {why}"));
    Failure { code: "cancelled".into(), message, retryable: false }
}

/// What an event takes in a record, in bytes, about: what it carries, and room for the rest.
fn weight(event: &Event) -> usize {
    let carried = match &event.what {
        What::TaskSubmitted(e) => {
            e.input.as_str().len() + e.feedback.as_ref().map_or(0, |json| json.as_str().len())
        }
        What::TaskCompleted(e) => e.output.as_str().len(),
        What::ExecutionStarted(e) => e.input.as_str().len() + e.definition.as_str().len(),
        What::ApprovalRequired(e) => e.show.as_str().len() + 4_096,
        What::NegotiationOpened(_) | What::NegotiationDecided(_) | What::NegotiationFailed(_) => {
            event.public_value().map_or(0, |value| value.as_str().len())
        }
        what => carried_by(what),
    };
    carried + 640
}
