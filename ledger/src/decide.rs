//! Deciding: what an input does, as events. One match; nothing is changed here.

use crate::agenda::Agenda;
use crate::agent;
use crate::approvals;
use crate::executions;
use crate::negotiations::{self, NegotiationKey};
use crate::owner::Limits;
use crate::past::Past;
use crate::planted::{self, Bug};
use crate::state::{State, TaskKey};
use crate::subject::{EntityKey, Subject};
use crate::task::{self, AttemptState, LOSS_LIMIT, TaskState};
use crate::workflows::{self, Definitions};
use std::collections::BTreeMap;
use synod_fleet::{AgentKey, Choice, Fleet};
use synod_negotiation::Protocols;
use synod_protocol::command::{CancelTask, CompleteTask, FailTask, Failure, ReportProgress, SubmitTask};
use synod_protocol::event::{
    AssignmentSecret, ChoiceMade, Event, GivesBack, TaskAssigned, TaskAttemptFailed, TaskCancelled,
    TaskCompleted, TaskEnded, TaskProgressed, TaskReassigned, TaskRetryScheduled, TaskStarted, TaskSubmitted,
    What,
};
use synod_protocol::negotiation::NegotiationOpened;
use synod_protocol::view::TaskStatus;
use synod_protocol::{
    Code, Command, EntityId, Error, Id, Incarnation, ReplyTo, Timestamp, Workspace, topics,
};

/// By so much a command may seem to have been asked for after it was had: the shard's time lags by what the claim's
/// acknowledgement took, and clients' clocks are not the brokers'. At most a quarter of the window.
const SLACK_MS: u64 = 10_000;

/// Everything that can happen to a shard.
#[derive(Clone, Debug)]
pub enum Input {
    /// A command, through either door.
    Command {
        /// What is asked.
        command: Box<Command>,
        /// What is known of the asking.
        meta: Meta,
    },
    /// A record of the commands topic that could not be read.
    Poison {
        /// Its offset.
        offset: u64,
        /// Why.
        error: Box<Error>,
        /// What could be read of its envelope.
        meta: Option<Meta>,
    },
    /// A record of the commands topic that belongs to another partition, to which it has been passed on.
    PassedOn {
        /// Its offset.
        offset: u64,
        /// Where to.
        partition: u32,
    },
    /// A task's time limit or deadline.
    Due(TaskKey),
    /// There may be room in the fleet for a task that waits.
    Dispatch(TaskKey),
    /// The same, for a task whose permits have been taken.
    Permitted {
        /// Which task.
        task: TaskKey,
        /// The permits, by their names.
        permits: Vec<String>,
    },
    /// The process start that holds a task's attempt is gone.
    HolderGone {
        /// Which task.
        task: TaskKey,
        /// Which process start.
        incarnation: Incarnation,
        /// Whether it was lost, rather than having left in good order: three losses end a task.
        lost: bool,
        /// Why it is thought to be gone.
        reason: String,
    },
    /// An attempt has waited in its agent's inbox for too long, and was taken out of there.
    Unclaimed {
        /// Which task.
        task: TaskKey,
        /// Which try of it.
        attempt: u32,
        /// For how long, in words.
        reason: String,
    },
    /// An agent of this shard was judged lost, or was heard of again.
    Judged {
        /// Which agent.
        agent: AgentKey,
        /// Which process start.
        incarnation: Incarnation,
        /// Lost, or heard of again.
        lost: bool,
        /// The evidence.
        reason: String,
    },
    /// A round of a negotiation has used up its time.
    NegotiationDue(NegotiationKey),
    /// The process of a participant of a negotiation is gone.
    ParticipantGone {
        /// Which negotiation.
        negotiation: NegotiationKey,
        /// Who.
        participant: Id,
        /// Which process start of it had been asked.
        incarnation: Incarnation,
        /// Why it is thought to be gone.
        reason: String,
    },
    /// An approval's time is up.
    ApprovalDue(EntityKey),
    /// Something of an execution is due.
    ExecutionDue(EntityKey),
    /// An execution has more to start than one step could hold.
    ExecutionGoesOn(EntityKey),
    /// Participants of a negotiation who are still to answer run now, as what they have not been asked as.
    ParticipantsThere(NegotiationKey),
    /// An agent's own timer.
    AgentDue(AgentKey),
    /// An agent of this shard has been gone for long.
    Forget {
        /// Which agent.
        agent: AgentKey,
        /// Which process start.
        incarnation: Incarnation,
        /// How long one that is gone is kept, in milliseconds.
        kept_ms: u64,
    },
}

impl Input {
    /// It has waited so much longer since it was read, in milliseconds.
    pub fn has_waited(&mut self, ms: u64) {
        if let Input::Command { meta, .. } = self {
            meta.waited_ms = meta.waited_ms.saturating_add(ms);
        }
    }
}

/// What is known of a command besides what it asks.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Its `ce_id`.
    pub ce_id: String,
    /// Its workspace.
    pub workspace: Workspace,
    /// How old its `ce_time` was when it arrived, in milliseconds.
    pub age_ms: u64,
    /// How long it has stood in the topic and waited since, in milliseconds.
    pub waited_ms: u64,
    /// Its offset in the commands topic; `None` through the quick door.
    pub offset: Option<u64>,
    /// Where its answer goes.
    pub reply_to: Option<ReplyTo>,
    /// The piece of work that it belongs to.
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// What deciding may look at besides the state.
pub struct Context<'a> {
    /// The shard's time.
    pub now: Timestamp,
    /// Random bytes for this input alone, from which secrets are made.
    pub seed: [u8; 16],
    /// Who can be chosen.
    pub fleet: &'a dyn Fleet,
    /// How negotiations are decided.
    pub protocols: &'a Protocols,
    /// Workflows that are known beside the shard's own.
    pub definitions: &'a dyn Definitions,
}

/// What is decided with: the context, and who waits.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    cx: &'a Context<'a>,
    /// `None`: nobody.
    agenda: Option<&'a Agenda>,
    /// The longest record, in bytes.
    pub(crate) record_bytes: usize,
}

impl<'a> std::ops::Deref for Desk<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        self.cx
    }
}

impl Context<'_> {
    /// A secret of an entity, which the seed of others' cannot be told from.
    pub(crate) fn secret(&self, of: &EntityId) -> String {
        let mut secret = blake3::Hasher::new();
        secret.update(&self.seed).update(b"secret").update(of.as_str().as_bytes());
        secret.finalize().to_hex().to_string()
    }

    /// A random number to choose by, from which the seed of the secrets cannot be told.
    fn random(&self) -> u64 {
        let hash = blake3::Hasher::new().update(&self.seed).update(b"choice").finalize();
        hash.as_bytes().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

/// What an input does.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What happened.
    pub events: Vec<Event>,
    /// Why nothing did.
    pub rejected: Option<Error>,
    /// The entity that an answer shows.
    pub subject: Option<Subject>,
    /// It was had before; nothing is to be recorded for its own sake.
    pub repeat: bool,
    /// Its answer is not in memory.
    pub past: Option<Past>,
}

/// What an input does to this state, where nobody waits for a permit or before others.
pub fn decide(state: &State, cx: &Context<'_>, input: &Input) -> Decision {
    decide_at(state, Desk { cx, agenda: None, record_bytes: Limits::default().record_bytes }, input)
}

/// What an input does to this state, with those who wait.
pub(crate) fn decide_among(
    state: &State,
    cx: &Context<'_>,
    agenda: &Agenda,
    record_bytes: usize,
    input: &Input,
) -> Decision {
    decide_at(state, Desk { cx, agenda: Some(agenda), record_bytes }, input)
}

fn decide_at(state: &State, cx: Desk<'_>, input: &Input) -> Decision {
    let mut decision = decide_one(state, cx, input);
    // An execution whose child has ended by it goes on by the same step. One that was asked itself has done so.
    let of_child = decision.subject.as_ref().filter(|subject| !matches!(subject, Subject::Execution(_)));
    if let Some(workspace) = of_child.and_then(Subject::at).map(|(workspace, _)| workspace.clone()) {
        decision.events = executions::follow(state, cx, &workspace, decision.events);
    }
    decision
}

fn decide_one(state: &State, cx: Desk<'_>, input: &Input) -> Decision {
    match input {
        Input::Command { command, meta } => decide_command(state, cx, command, meta),
        Input::Poison { error, .. } => Decision { rejected: Some((**error).clone()), ..Decision::default() },
        Input::PassedOn { .. } => Decision::default(),
        Input::Due(key) => on_task(state, cx, key, |draft| draft.due()),
        Input::Dispatch(key) => on_task(state, cx, key, |draft| draft.dispatch(&[])),
        Input::Permitted { task, permits } => on_task(state, cx, task, |draft| draft.dispatch(permits)),
        Input::HolderGone { task, incarnation, lost, reason } => {
            on_task(state, cx, task, |draft| draft.holder_gone(incarnation, *lost, reason))
        }
        Input::Unclaimed { task, attempt, reason } => {
            on_task(state, cx, task, |draft| draft.unclaimed(*attempt, reason))
        }
        Input::Judged { agent, incarnation, lost, reason } => {
            let whats = agent::judged(state.agent(agent), incarnation, *lost, reason);
            about_agent(agent.clone(), Ok(whats))
        }
        Input::NegotiationDue(key) => negotiations::due(state, cx, key),
        Input::ApprovalDue(key) => approvals::due(state, cx, key),
        Input::ExecutionDue(key) => executions::due(state, cx, key, true),
        Input::ExecutionGoesOn(key) => executions::due(state, cx, key, false),
        Input::ParticipantGone { negotiation, participant, incarnation, reason } => {
            negotiations::gone(state, cx, negotiation, participant, incarnation, reason)
        }
        Input::ParticipantsThere(key) => negotiations::seats(state, cx, key),
        Input::AgentDue(key) => about_agent(key.clone(), Ok(agent::due(state.agent(key), cx.now))),
        Input::Forget { agent, incarnation, kept_ms } => {
            let whats = agent::forgotten(state.agent(agent), incarnation, *kept_ms, cx.now);
            about_agent(agent.clone(), Ok(whats))
        }
    }
}

fn decide_command(state: &State, cx: Desk<'_>, command: &Command, meta: &Meta) -> Decision {
    if let Some(at) =
        state.seen.command(&meta.workspace, &meta.ce_id).filter(|_| !planted::is(Bug::DeduplicationOff))
    {
        return Decision { repeat: true, past: Some(Past::Command { at }), ..Decision::default() };
    }
    let window = state.keep.window.ms;
    if meta.age_ms > window {
        return refused(Error::invalid(format!(
            "ce_time is {} s old; a command older than {} s may have been had before and is refused",
            meta.age_ms / 1000,
            window / 1000
        )));
    }
    // Asked for at this time, by the shard's.
    let asked_at = cx.now.minus_millis(meta.age_ms.saturating_add(meta.waited_ms));
    let slack = SLACK_MS.min(window / 4);
    if state.shard.forgotten.is_some_and(|until| asked_at <= until.plus_millis(slack)) {
        return refused(Error::invalid(format!(
            "ce_time is {} s old, and so many commands have come since that this one may have been had before and forgotten; it is refused",
            meta.age_ms / 1000
        )));
    }
    let task = |id: &EntityId| TaskKey { workspace: meta.workspace.clone(), task: id.clone() };
    let negotiation =
        |id: &EntityId| NegotiationKey { workspace: meta.workspace.clone(), negotiation: id.clone() };
    let entity = |id: &EntityId| EntityKey::of(&meta.workspace, id);
    let root = |id: &Id| entity(&EntityId::from(id.clone()));
    match command {
        Command::SubmitTask(c) => submit(state, cx, task(&c.task_id), c, meta),
        Command::StartTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.start(c)),
        Command::ProgressTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.progress(c)),
        Command::CompleteTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.complete(c)),
        Command::FailTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.fail(c)),
        Command::DeclineTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.decline(c)),
        Command::CancelTask(c) => asked_of_task(state, cx, task(&c.task_id), |draft| draft.cancel(c)),
        Command::RegisterAgent(c) => {
            let key = AgentKey { workspace: meta.workspace.clone(), agent: c.agent_id.clone() };
            let whats = agent::register(state.agent(&key), c, cx.now);
            about_agent(key, whats)
        }
        Command::ChangeAgent(change, c) => {
            let key = AgentKey { workspace: meta.workspace.clone(), agent: c.agent_id.clone() };
            let whats = agent::change(state.agent(&key), *change, c);
            about_agent(key, whats)
        }
        Command::OrderBreaker(c) => {
            let key = AgentKey { workspace: meta.workspace.clone(), agent: c.agent_id.clone() };
            let whats = agent::order_breaker(state.agent(&key), c);
            about_agent(key, whats)
        }
        Command::AppraiseAgent(c) => {
            let key = AgentKey { workspace: meta.workspace.clone(), agent: c.agent_id.clone() };
            let whats = agent::appraise(state.agent(&key), c, cx.now);
            about_agent(key, whats)
        }
        Command::ReportError(c) => {
            let key = AgentKey { workspace: meta.workspace.clone(), agent: c.agent_id.clone() };
            let whats = agent::report_error(state.agent(&key), c, cx.now);
            about_agent(key, whats)
        }
        Command::PauseFleet(c) => about_fleet(state.shard.pauses.pause(&meta.workspace, c)),
        Command::ResumeFleet(c) => about_fleet(state.shard.pauses.resume(&meta.workspace, c)),
        Command::OpenNegotiation(c) => {
            negotiations::opened(state, cx, negotiation(&c.negotiation_id), c, meta)
        }
        Command::RespondNegotiation(c) => {
            negotiations::responded(state, cx, negotiation(&c.negotiation_id), c)
        }
        Command::CancelNegotiation(c) => {
            negotiations::cancelled(state, cx, negotiation(&c.negotiation_id), c)
        }
        Command::DefineWorkflow(c) => workflows::defined(state, root(&c.workflow_id), c),
        Command::StartExecution(c) => executions::started(state, cx, &root(&c.execution_id), c, meta),
        Command::ChangeExecution(change, c) => {
            executions::changed(state, cx, root(&c.execution_id), *change, c)
        }
        Command::SignalExecution(c) => executions::signalled(state, cx, root(&c.execution_id), c),
        Command::RetryExecution(c) => executions::retried(state, cx, root(&c.execution_id), c),
        Command::RequestApproval(c) => approvals::requested(state, cx, entity(&c.approval_id), c, meta),
        Command::DecideApproval(c) => approvals::decided(state, cx, entity(&c.approval_id), c),
        Command::ResubmitApproval(c) => approvals::resubmitted(state, cx, entity(&c.approval_id), c),
    }
}

pub(crate) fn refused(error: Error) -> Decision {
    Decision { rejected: Some(error), ..Decision::default() }
}

/// Something is asked of what is not in memory.
pub(crate) fn nobody(state: &State, subject: Subject) -> Decision {
    let Some(at) = state.seen.entity(&subject) else {
        return refused(Error::not_found(subject.noun(), subject.id()));
    };
    // Only what has ended leaves memory; how it ended, the shell finds.
    let error = Error::new(Code::InvalidTransition, format!("{} {} has ended", subject.noun(), subject.id()));
    Decision { past: Some(Past::Over { subject, at }), ..refused(error) }
}

fn about_agent(key: AgentKey, whats: Result<Vec<What>, Error>) -> Decision {
    let entity = EntityId::from(key.agent.clone());
    match whats {
        Ok(whats) => Decision {
            events: whats.into_iter().map(|what| Event { entity: entity.clone(), what }).collect(),
            subject: Some(Subject::Agent(key)),
            ..Decision::default()
        },
        Err(error) => refused(error),
    }
}

fn about_fleet(whats: Result<Vec<What>, Error>) -> Decision {
    let of_fleet = |what| Some(Event { entity: topics::FLEET_ROOT.parse().ok()?, what });
    match whats {
        Ok(whats) => Decision {
            events: whats.into_iter().filter_map(of_fleet).collect(),
            subject: Some(Subject::Fleet),
            ..Decision::default()
        },
        Err(error) => refused(error),
    }
}

fn submit(state: &State, cx: Desk<'_>, key: TaskKey, command: &SubmitTask, meta: &Meta) -> Decision {
    let correlation = meta.correlation_id.clone().unwrap_or_else(|| key.task.root().to_owned());
    let submitted = match task::submission(command, cx.now, correlation, meta.traceparent.clone()) {
        Ok(submitted) => submitted,
        Err(error) => return refused(error),
    };
    if let Some(known) = state.task(&key) {
        if known.submitted.body == submitted.body {
            return Decision { subject: Some(Subject::Task(key)), repeat: true, ..Decision::default() };
        }
        return refused(Subject::Task(key).made_otherwise());
    }
    if let Some(at) = state.seen.entity(&Subject::Task(key.clone())) {
        let past = Past::Again { subject: Subject::Task(key), at, body: submitted.body };
        return Decision { repeat: true, past: Some(past), ..Decision::default() };
    }
    if let Some(rule) = &command.strategy
        && let Err(unknown) = cx.fleet.check_rule(rule)
    {
        return refused(Error::invalid(format!("strategy: {unknown}")).with_field("/strategy"));
    }
    let events = submitted_now(cx, &key, submitted, true);
    Decision { events, subject: Some(Subject::Task(key)), ..Decision::default() }
}

/// The task that a decision starts, if one of these events is a decision that does.
pub(crate) fn started_by(state: &State, cx: Desk<'_>, negotiation: &NegotiationKey, events: &mut Vec<Event>) {
    let is_decided = |event: &Event| matches!(event.what, What::NegotiationDecided(_));
    let Some(at) = events.iter().position(is_decided) else { return };
    let opened = events.iter().find_map(|event| match &event.what {
        What::NegotiationOpened(opened) => Some(&**opened),
        _ => None,
    });
    let Some(opened) = opened.or_else(|| state.negotiation(negotiation).map(|it| &*it.opened)) else {
        return;
    };
    let What::NegotiationDecided(decided) = &events[at].what else { return };
    let Some((mut starts, task)) = synod_negotiation::starts(opened, decided) else { return };
    let mut of_task = Vec::new();
    match task.map(|command| submitted_by(state, cx, negotiation, opened, &command)) {
        Some(Ok((id, events))) => (starts.task, of_task) = (Some(id), events),
        Some(Err(why)) => starts.not_started.push(why),
        None => {}
    }
    if let What::NegotiationDecided(decided) = &mut events[at].what {
        decided.starts = Some(starts);
    }
    events.extend(of_task);
}

/// The task that a decision starts, as it is submitted; or why it is not.
fn submitted_by(
    state: &State,
    cx: Desk<'_>,
    negotiation: &NegotiationKey,
    opened: &NegotiationOpened,
    command: &SubmitTask,
) -> Result<(EntityId, Vec<Event>), String> {
    let key = TaskKey { workspace: negotiation.workspace.clone(), task: command.task_id.clone() };
    if state.knows(&Subject::Task(key.clone())) {
        return Err(format!("the task: there is a task {} already", key.task));
    }
    let (correlation, trace) = (opened.correlation_id.clone(), opened.traceparent.clone());
    let submitted = task::submission(command, cx.now, correlation, trace)
        .map_err(|error| format!("the task: {}", error.message))?;
    Ok((key.task.clone(), submitted_now(cx, &key, submitted, true)))
}

/// What a new task begins with; `at_once`: it may be given to an agent by this very step.
pub(crate) fn submitted_now(
    cx: Desk<'_>,
    key: &TaskKey,
    submitted: TaskSubmitted,
    at_once: bool,
) -> Vec<Event> {
    let task = TaskState::new(submitted.clone(), cx.now);
    let mut draft = Draft {
        task,
        events: vec![Event { entity: key.task.clone(), what: What::TaskSubmitted(submitted) }],
        key,
        cx,
    };
    if draft.task.submitted.deadline <= cx.now {
        draft.end_failed(Code::DeadlineExceeded, "the deadline had passed when the task came".into());
    } else if at_once {
        draft.dispatch_at_once();
    }
    draft.events
}

/// A task, as it is now, is wanted no more.
pub(crate) fn take_back_task(task: TaskState, cx: Desk<'_>, key: &TaskKey, reason: &str) -> Vec<What> {
    let mut draft = Draft { task, events: Vec::new(), key, cx };
    if !draft.task.status.is_final() {
        draft.cancelled(Some(reason.to_owned()));
    }
    draft.events.into_iter().map(|event| event.what).collect()
}

/// What the shell asks of a task that may have moved on meanwhile.
fn on_task(state: &State, cx: Desk<'_>, key: &TaskKey, act: impl FnOnce(&mut Draft<'_>)) -> Decision {
    let Some(task) = state.task(key) else { return Decision::default() };
    let mut draft = Draft { task: task.clone(), events: Vec::new(), key, cx };
    act(&mut draft);
    Decision { events: draft.events, subject: Some(Subject::Task(key.clone())), ..Decision::default() }
}

/// What a command asks of a task.
fn asked_of_task(
    state: &State,
    cx: Desk<'_>,
    key: TaskKey,
    act: impl FnOnce(&mut Draft<'_>) -> Result<(), Error>,
) -> Decision {
    let Some(task) = state.task(&key) else {
        return nobody(state, Subject::Task(key));
    };
    let mut draft = Draft { task: task.clone(), events: Vec::new(), key: &key, cx };
    match act(&mut draft) {
        Ok(()) => {
            let events = draft.events;
            Decision { events, subject: Some(Subject::Task(key)), ..Decision::default() }
        }
        Err(error) => refused(error),
    }
}

/// A task on which events are tried out, so that the second follows from the first.
struct Draft<'a> {
    task: TaskState,
    events: Vec<Event>,
    key: &'a TaskKey,
    cx: Desk<'a>,
}

impl Draft<'_> {
    fn emit(&mut self, what: What) {
        let ended = self.task.current().filter(|attempt| !attempt.permits.is_empty());
        let back = ended
            .map(|attempt| GivesBack { attempt: attempt.seen.attempt, permits: attempt.permits.clone() });
        let what = what.giving_back(back);
        self.task.apply(&what, self.cx.now);
        self.events.push(Event { entity: self.key.task.clone(), what });
    }

    /// Gives it to an agent in the very step by which it comes, unless it has to wait for a permit or behind others.
    fn dispatch_at_once(&mut self) {
        if self.cx.agenda.is_none_or(|agenda| agenda.may_pass(self.key, &self.task)) {
            self.dispatch(&[]);
        }
    }

    /// Gives it to an agent, if one has room; for these permits.
    fn dispatch(&mut self, permits: &[String]) {
        self.dispatch_but(permits, None);
    }

    /// The same, but not to this agent.
    fn dispatch_but(&mut self, permits: &[String], than: Option<Id>) {
        if !matches!(self.task.status, TaskStatus::Waiting | TaskStatus::Retrying) {
            return;
        }
        // Whoever asks may have looked at an earlier moment: not before its back-off, not after its deadline.
        let backs_off = self.task.retry_at.is_some_and(|at| at > self.cx.now);
        if backs_off || self.task.submitted.deadline <= self.cx.now {
            return;
        }
        let timeout_ms = self.task.submitted.timeout_ms;
        let mut avoid = self.task.avoid.clone();
        avoid.extend(than);
        let need = self.task.need_avoiding(&self.key.workspace, &avoid, self.cx.random());
        let Some(choice) = self.cx.fleet.choose(&need) else { return };
        let assigned = self.assignment(choice, timeout_ms, permits);
        self.emit(What::TaskAssigned(assigned));
    }

    fn assignment(&self, choice: Choice, timeout_ms: u64, permits: &[String]) -> TaskAssigned {
        let attempt = self.task.attempts.len() as u32 + 1;
        let figures = figures(&choice);
        let (escalated_to, adjusted) = self.task.next_is_changed();
        let mut secret = blake3::Hasher::new();
        secret.update(&self.cx.seed).update(self.key.task.as_str().as_bytes()).update(&attempt.to_le_bytes());
        TaskAssigned {
            task_id: self.key.task.clone(),
            status: TaskStatus::Assigned,
            attempt,
            agent_id: choice.agent,
            incarnation: choice.incarnation,
            deadline: self.cx.now.plus_millis(timeout_ms).min(self.task.submitted.deadline),
            choice: ChoiceMade {
                rule: choice.rule.to_owned(),
                candidates: choice.candidates,
                in_flight: choice.in_flight,
                figures,
            },
            escalated_to,
            adjusted,
            permits: permits.to_vec(),
            secret: Some(AssignmentSecret {
                attempt_token: secret.finalize().to_hex()[..32].to_owned(),
                delivery: choice.delivery,
            }),
        }
    }

    fn start(&mut self, c: &ReportProgress) -> Result<(), Error> {
        let agent_id = self.task.authorise(c.attempt, &c.attempt_token)?.seen.agent_id.clone();
        if self.task.status != TaskStatus::Running {
            let (task_id, attempt) = (c.task_id.clone(), c.attempt);
            self.emit(What::TaskStarted(TaskStarted {
                task_id,
                status: TaskStatus::Running,
                attempt,
                agent_id,
            }));
        }
        Ok(())
    }

    fn progress(&mut self, c: &ReportProgress) -> Result<(), Error> {
        let agent_id = self.task.authorise(c.attempt, &c.attempt_token)?.seen.agent_id.clone();
        self.emit(What::TaskProgressed(TaskProgressed {
            task_id: c.task_id.clone(),
            status: TaskStatus::Running,
            attempt: c.attempt,
            agent_id,
            progress: c.progress,
            note: c.note.clone(),
            partial: c.partial.clone(),
        }));
        Ok(())
    }

    fn complete(&mut self, c: &CompleteTask) -> Result<(), Error> {
        let current = &self.task.authorise(c.attempt, &c.attempt_token)?.seen;
        let (agent_id, started_at) = (current.agent_id.clone(), current.started_at);
        self.emit(What::TaskCompleted(TaskCompleted {
            task_id: c.task_id.clone(),
            status: TaskStatus::Completed,
            attempt: c.attempt,
            agent_id,
            output: c.output.clone(),
            confidence: c.confidence,
            usage: c.usage,
            processing_ms: self.cx.now.millis_since(started_at),
            gives_back: None,
        }));
        Ok(())
    }

    fn fail(&mut self, c: &FailTask) -> Result<(), Error> {
        self.task.authorise(c.attempt, &c.attempt_token)?;
        self.attempt_failed(&c.error, false);
        Ok(())
    }

    fn decline(&mut self, c: &FailTask) -> Result<(), Error> {
        let agent_id = self.task.authorise(c.attempt, &c.attempt_token)?.seen.agent_id.clone();
        let is_escalated = self.task.current().is_some_and(|a| a.seen.escalated_to.is_some());
        let named = self.task.submitted.agent_id.is_some() && !is_escalated;
        self.emit(What::TaskDeclined(TaskAttemptFailed {
            task_id: c.task_id.clone(),
            status: TaskStatus::Waiting,
            attempt: c.attempt,
            agent_id: agent_id.clone(),
            error: c.error.clone(),
            timed_out: false,
            gives_back: None,
        }));
        if named {
            self.end_failed(
                Code::Unprocessable,
                format!("agent {agent_id}, which the task names, declined it"),
            );
            return Ok(());
        }
        self.emit(What::TaskReassigned(TaskReassigned {
            task_id: c.task_id.clone(),
            status: TaskStatus::Waiting,
            attempt: c.attempt,
            agent_id,
            reason: format!("declined: {}", c.error.message),
            lost: false,
            gives_back: None,
        }));
        self.dispatch_at_once();
        Ok(())
    }

    fn cancel(&mut self, c: &CancelTask) -> Result<(), Error> {
        match self.task.status {
            TaskStatus::Cancelled => Ok(()),
            status if status.is_final() => Err(Error::invalid_transition(
                format!("task {} has ended as {}", c.task_id, status.as_str()),
                status.as_str(),
            )),
            _ => {
                self.cancelled(c.reason.clone());
                Ok(())
            }
        }
    }

    fn cancelled(&mut self, reason: Option<String>) {
        self.emit(What::TaskCancelled(TaskCancelled {
            task_id: self.key.task.clone(),
            status: TaskStatus::Cancelled,
            reason,
            gives_back: None,
        }));
    }

    /// A time limit has passed: the task's own, or its attempt's.
    fn due(&mut self) {
        if self.task.status.is_final() {
            return;
        }
        if self.task.submitted.deadline <= self.cx.now {
            self.end_attempt(&out_of_time("the task's deadline passed".into(), false), true);
            self.end_failed(Code::DeadlineExceeded, self.why_late());
        } else if self.task.current().is_some_and(|a| a.deadline <= self.cx.now) {
            let timeout_ms = self.task.submitted.timeout_ms;
            let error = out_of_time(format!("the attempt took longer than its {timeout_ms} ms"), true);
            self.attempt_failed(&error, true);
        }
    }

    fn why_late(&self) -> String {
        let s = &self.task.submitted;
        if self.task.attempts.is_empty() {
            let wanted = match (&s.capability, &s.agent_id) {
                (Some(capability), _) => format!("an agent with capability {capability} and room"),
                (None, Some(agent)) => format!("agent {agent} with room"),
                (None, None) => "an agent".into(),
            };
            return format!("the deadline passed and {wanted} was never found");
        }
        "the deadline passed".into()
    }

    /// Records that the attempt in force, if there is one, ended without a result; whether there was one.
    fn end_attempt(&mut self, error: &Failure, timed_out: bool) -> bool {
        let Some(current) = self.task.current() else { return false };
        let (attempt, agent_id) = (current.seen.attempt, current.seen.agent_id.clone());
        self.emit(What::TaskAttemptFailed(TaskAttemptFailed {
            task_id: self.key.task.clone(),
            status: TaskStatus::Retrying,
            attempt,
            agent_id,
            error: error.clone(),
            timed_out,
            gives_back: None,
        }));
        true
    }

    fn attempt_failed(&mut self, error: &Failure, timed_out: bool) {
        if !self.end_attempt(error, timed_out) {
            return;
        }
        let task_id = self.key.task.clone();
        if !error.retryable {
            let error = Error::new(Code::Unprocessable, format!("{}: {}", error.code, error.message));
            self.emit(What::TaskFailed(TaskEnded { task_id, status: TaskStatus::Failed, error }));
            return;
        }
        let max = self.task.submitted.retry.max_attempts;
        if self.task.failures >= max {
            let why = format!("all {max} attempts failed, the last with {}: {}", error.code, error.message);
            // What becomes of a step is for its execution to say: nobody has to look after it.
            match self.task.submitted.execution_id {
                Some(_) => self.end_failed(Code::Unprocessable, why),
                None => self.end_dead_lettered(why),
            }
            return;
        }
        self.emit(What::TaskRetryScheduled(TaskRetryScheduled {
            task_id,
            status: TaskStatus::Retrying,
            attempt: self.task.attempts.len() as u32 + 1,
            at: self.cx.now.plus_millis(self.task.backoff_ms()),
        }));
    }

    fn holder_gone(&mut self, incarnation: &Incarnation, lost: bool, reason: &str) {
        let Some(current) = self.task.current().filter(|a| a.seen.incarnation == *incarnation) else {
            return;
        };
        let (attempt, agent_id) = (current.seen.attempt, current.seen.agent_id.clone());
        self.emit(What::TaskReassigned(TaskReassigned {
            task_id: self.key.task.clone(),
            status: TaskStatus::Waiting,
            attempt,
            agent_id,
            reason: reason.to_owned(),
            lost,
            gives_back: None,
        }));
        if self.task.losses >= LOSS_LIMIT {
            self.end_dead_lettered(format!(
                "{LOSS_LIMIT} agents were lost with it; it may be what kills them (the last: {reason})"
            ));
            return;
        }
        self.dispatch_at_once();
    }

    fn unclaimed(&mut self, attempt: u32, reason: &str) {
        let waits = |current: &&AttemptState| current.seen.attempt == attempt;
        let Some(current) = self.task.current().filter(waits) else { return };
        if self.task.status != TaskStatus::Assigned {
            return;
        }
        let agent_id = current.seen.agent_id.clone();
        self.emit(What::TaskReassigned(TaskReassigned {
            task_id: self.key.task.clone(),
            status: TaskStatus::Waiting,
            attempt,
            agent_id: agent_id.clone(),
            reason: reason.to_owned(),
            lost: false,
            gives_back: None,
        }));
        if self.cx.agenda.is_none_or(|agenda| agenda.may_pass(self.key, &self.task)) {
            self.dispatch_but(&[], Some(agent_id));
        }
    }

    fn end_failed(&mut self, code: Code, message: String) {
        let task_id = self.key.task.clone();
        let error = Error::new(code, message);
        self.emit(What::TaskFailed(TaskEnded { task_id, status: TaskStatus::Failed, error }));
    }

    fn end_dead_lettered(&mut self, message: String) {
        let task_id = self.key.task.clone();
        let error = Error::new(Code::Unprocessable, message);
        self.emit(What::TaskDeadLettered(TaskEnded { task_id, status: TaskStatus::DeadLettered, error }));
    }
}

/// The figures that decided; what is no finite number cannot stand in a record.
fn figures(choice: &Choice) -> BTreeMap<String, f64> {
    let told = choice.figures.iter().filter(|(_, value)| value.is_finite());
    told.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A failure by time.
fn out_of_time(message: String, retryable: bool) -> Failure {
    Failure { code: Code::DeadlineExceeded.as_str().into(), message, retryable }
}
