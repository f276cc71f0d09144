//! Effects: what a step owes to the world, as values. The shell performs them once the step is proven.
//!
//! Each is idempotent by an id that follows from its record, so that a new owner may issue it again.

mod started;

use crate::approvals;
use crate::executions;
use crate::negotiations::{self, NegotiationKey};
use crate::past::Past;
use crate::recent::{Had, Recent};
use crate::record::{Door, Step};
use crate::rules::Try;
use crate::state::{State, TaskKey};
use crate::subject::{EntityKey, Subject};
use synod_fleet::AgentKey;
use synod_negotiation::{Negotiation, certificate};
use synod_protocol::command::Delivery;
use synod_protocol::event::{Event, GivesBack, What};
use synod_protocol::negotiation::{Ask, NegotiationAsked, Seat};
use synod_protocol::primitives::state::Put;
use synod_protocol::trace::TraceParent;
use synod_protocol::track::AppraiseAgent;
use synod_protocol::view::{Assignment, DirectoryEntry, Health, Pauses, Withdrawal};
use synod_protocol::workflow::Workflow;
use synod_protocol::{
    Code, Command, EntityId, Envelope, Error, Id, Json, Name, Position, ReplyTo, Timestamp, Workspace,
};

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Publish an event on `synod.events.v1`.
    Publish {
        /// The record's key.
        root: String,
        /// Its headers.
        envelope: Box<Envelope>,
        /// Its value.
        value: Json,
    },
    /// Hand something to an agent: work, or word that work is taken back.
    Deliver {
        /// To whom.
        agent: AgentKey,
        /// By which way.
        delivery: Delivery,
        /// `<task>#<attempt>` for work, by which the receiver drops what it has; `None` for a notice.
        attempt_id: Option<String>,
        /// Whether it goes ahead of what waits.
        urgent: bool,
        /// The record's key where it goes by Kafka.
        root: String,
        /// Its headers.
        envelope: Box<Envelope>,
        /// Its value.
        value: Json,
    },
    /// Hold the permits of an attempt for as long as it may run.
    HoldPermits {
        /// Which attempt.
        by: Try,
        /// The permits, by their names.
        permits: Vec<String>,
        /// How long, in milliseconds from now on.
        for_ms: u64,
    },
    /// Give back the permits of an attempt that has ended.
    GiveBack {
        /// Which attempt.
        by: Try,
        /// The permits, by their names.
        permits: Vec<String>,
    },
    /// Ask something of an entity of any shard: a command, once for its `ce_id`.
    Command {
        /// The record's key.
        root: String,
        /// Its headers.
        envelope: Box<Envelope>,
        /// Its value.
        value: Json,
    },
    /// Answer a command.
    Reply {
        /// Where to.
        to: ReplyTo,
        /// Its headers.
        envelope: Box<Envelope>,
        /// Its value.
        value: Json,
    },
    /// Answer a command with what is not in memory any more.
    ReplyPast {
        /// Where to.
        to: ReplyTo,
        /// Its headers, as of an answer that is no refusal.
        envelope: Box<Envelope>,
        /// What to look for.
        past: Past,
    },
    /// Keep the view of what has ended. The ledger has it too: a view that is lost is no harm.
    View {
        /// Of which kind it is, such as `task`.
        kind: &'static str,
        /// Its workspace.
        workspace: Workspace,
        /// Which.
        id: EntityId,
        /// The ledger offset that it stands for.
        offset: u64,
        /// The entity as JSON.
        value: Json,
    },
    /// Write to shared state, once for this request.
    PutState {
        /// In which workspace.
        workspace: Workspace,
        /// Which key.
        key: Name,
        /// What is written.
        put: Box<Put>,
        /// Who writes: the negotiation whose decision it is, or the execution whose result.
        by: EntityId,
        /// By which a repeat is known.
        request: String,
    },
    /// Write an agent's entry in the directory.
    Directory(Box<DirectoryEntry>),
    /// Remove an agent's entry from the directory.
    DirectoryRemoval(AgentKey),
    /// Write a workflow's newest version into the directory.
    DirectoryWorkflow(Box<Workflow>),
    /// Write what of the fleet is paused into the directory.
    DirectoryPauses(Pauses),
    /// Copy a command that could not be read to its dead-letter topic.
    DeadLetter {
        /// Its offset in the commands topic.
        offset: u64,
        /// Why.
        error: Error,
    },
}

/// The `ce_type` of what a participant is asked.
const ASKED: &str = "synod.negotiation.asked";

/// By which an inbox knows an attempt.
pub fn attempt_id(task: &EntityId, attempt: u32) -> String {
    format!("{task}#{attempt}")
}

/// The id of one round of a negotiation in its trace.
pub fn round_id(negotiation: &EntityId, round: u32) -> String {
    format!("{negotiation}#r{round}")
}

/// So much longer than its attempt may run a permit is held, in ms: what a take-over takes, and until the time limit is seen to.
const HOLD_SLACK_MS: u64 = 30_000;

/// What is told to who asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// The entity, and whether this command made it; or the refusal.
    Now(Result<(Json, bool), Error>),
    Past(Past),
}

/// What this step owes, with the state right after it (or a later one: what has been overtaken is left out).
pub(crate) fn effects(state: &State, shard: u32, offset: u64, step: &Step, told: Told) -> Vec<Effect> {
    let mut out = Vec::new();
    let writer = Writer { state, shard, offset, step };
    for (index, event) in step.events.iter().enumerate() {
        writer.of_event(index, event, &mut out);
    }
    if let Some(to) = &step.input.reply_to {
        out.push(writer.reply(to, told));
    }
    if let (true, Some(at), Some(error)) = (step.input.poison, step.input.offset, &step.rejected) {
        out.push(Effect::DeadLetter { offset: at, error: error.clone() });
    }
    out
}

/// What a recorded step tells who asked.
pub(crate) fn told(state: &State, recent: &Recent, step: &Step) -> Told {
    if let (Some(error), Some(over)) = (&step.rejected, ended(state, step)) {
        return match error.code {
            Code::InvalidTransition => Told::Past(over),
            _ => Told::Now(Err(error.clone())),
        };
    }
    if let (Some(at), Some(body), Some(subject)) = (step.input.repeats, &step.input.body, Subject::of(step)) {
        return Told::Past(Past::Again { subject, at, body: body.clone() });
    }
    match (&step.rejected, step.input.repeats) {
        (Some(error), _) => Told::Now(Err(error.clone())),
        (None, Some(at)) => had(state, recent, at),
        (None, None) => match Subject::of(step) {
            Some(subject) => shown(state, &subject),
            None => Told::Now(Err(Error::new(Code::Internal, "the command had no entity to show"))),
        },
    }
}

/// What a step was about, where that has left memory.
fn ended(state: &State, step: &Step) -> Option<Past> {
    let subject = Subject::of(step).filter(|subject| subject.standing(state).is_none())?;
    let at = state.seen.entity(&subject)?;
    Some(Past::Over { subject, at })
}

/// What a command that was had by the step at `at` is answered with now.
pub(crate) fn had(state: &State, recent: &Recent, at: u64) -> Told {
    match recent.get(at) {
        Some(Had::Refused(error)) => Told::Now(Err((**error).clone())),
        Some(Had::Taken(subject)) => shown(state, subject),
        Some(Had::Again(past)) => Told::Past(past.clone()),
        None => Told::Past(Past::Command { at }),
    }
}

/// The entity in the state, for an answer.
pub(crate) fn shown(state: &State, subject: &Subject) -> Told {
    if subject.ends() && subject.standing(state).is_none() {
        let at = state.seen.entity(subject);
        return Told::Past(Past::Entity { subject: subject.clone(), at });
    }
    let nobody = || Told::Now(Err(Error::not_found(subject.noun(), subject.id())));
    let json = match subject {
        Subject::Task(key) => state.task(key).map(|task| Json::of(&task.view(&key.workspace))),
        Subject::Agent(key) => state.agent(key).map(|agent| Json::of(&agent.view(key))),
        Subject::Negotiation(key) => state.negotiation(key).map(|it| Json::of(&it.view(&key.workspace))),
        Subject::NegotiationBrief(key) => {
            state.negotiation(key).map(|it| Json::of(&it.brief(&key.workspace)))
        }
        Subject::Certificate(key) => match state.negotiation(key).map(|it| certificate(&key.workspace, it)) {
            Some(Ok(certificate)) => Some(Json::of(&certificate)),
            Some(Err(error)) => {
                let status = error.status.as_str();
                return Told::Now(Err(Error::invalid_transition(error.to_string(), status)));
            }
            None => None,
        },
        Subject::Fleet => Some(Json::of(&state.shard.pauses.view())),
        Subject::Workflow(key) => state.workflow(key).map(|workflow| Json::of(&workflow.view(key))),
        Subject::Execution(key) => state.execution(key).map(|run| Json::of(&run.view(&key.workspace))),
        Subject::Approval(key) => state.approval(key).map(|it| Json::of(&it.view(&key.workspace))),
    };
    let Some(json) = json else { return nobody() };
    let json = json.map_err(|e| Error::new(Code::Internal, format!("an entity cannot be written: {e}")));
    Told::Now(json.map(|json| (json, true)))
}

struct Writer<'a> {
    state: &'a State,
    shard: u32,
    offset: u64,
    step: &'a Step,
}

impl Writer<'_> {
    fn of_event(&self, index: usize, event: &Event, out: &mut Vec<Effect>) {
        let Some(workspace) = &self.step.workspace else { return };
        let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
        if matches!(event.what, What::TaskAssigned(_)) {
            out.extend(holds(self.state, &key, self.step.now));
        }
        if let Some(GivesBack { attempt, permits }) = event.what.gives_back() {
            let by = Try { task: key.clone(), attempt: *attempt };
            out.push(Effect::GiveBack { by, permits: permits.clone() });
        }
        out.extend(self.publish(index, event, workspace));
        if event.what.task_ends().is_some() {
            out.extend(self.view(&Subject::Task(key.clone())));
        }
        if let What::NegotiationDecided(decided) = &event.what {
            out.extend(self.started(index, decided, workspace));
        }
        match &event.what {
            What::TaskAssigned(_) => out.extend(self.dispatch(index, event, &key)),
            What::TaskAttemptFailed(e) if e.timed_out => {
                out.extend(self.take_back(index, &key, e.attempt, "synod.task.withdrawn", &e.error.message));
            }
            What::TaskReassigned(e) if self.was_taken_back(&key, e.attempt) => {
                out.extend(self.take_back(index, &key, e.attempt, "synod.task.withdrawn", &e.reason));
            }
            What::TaskCancelled(e) => {
                let last = self.state.task(&key).and_then(|t| t.attempts.last());
                if let Some(attempt) =
                    last.filter(|a| a.seen.outcome == Some(synod_protocol::view::Outcome::Cancelled))
                {
                    let reason = e.reason.as_deref().unwrap_or("cancelled");
                    out.extend(self.take_back(
                        index,
                        &key,
                        attempt.seen.attempt,
                        "synod.task.cancelled",
                        reason,
                    ));
                }
            }
            What::AgentRegistered(_)
            | What::AgentDeregistered(_)
            | What::AgentLost(_)
            | What::AgentStatusChanged(_)
            | What::AgentBreakerOrdered(_)
            | What::AgentAppraised(_) => {
                let agent = self.step.root.as_deref().and_then(|id| id.parse().ok());
                let key = agent.map(|agent| AgentKey { workspace: workspace.clone(), agent });
                out.extend(key.clone().and_then(|key| {
                    let entry = self.state.agent(&key)?.directory_entry(&key);
                    Some(Effect::Directory(Box::new(entry)))
                }));
                out.extend(key.and_then(|key| self.tell_agent(index, event, key)));
            }
            What::AgentRemoved(e) => {
                let key = AgentKey { workspace: workspace.clone(), agent: e.agent_id.clone() };
                // One that has come again meanwhile has an entry of its own.
                if self.state.agent(&key).is_none() {
                    out.push(Effect::DirectoryRemoval(key));
                }
            }
            What::NegotiationAsked(e) => {
                let key = NegotiationKey { workspace: workspace.clone(), negotiation: event.entity.clone() };
                out.extend(self.asks(index, &key, e));
            }
            what if what.is_end() && negotiations::is_about_one(what) => {
                out.extend(self.appraises(index, event, workspace));
                let key = NegotiationKey { workspace: workspace.clone(), negotiation: event.entity.clone() };
                out.extend(self.view(&Subject::Negotiation(key)));
            }
            What::WorkflowDefined(defined) => {
                let key = EntityKey::of(workspace, &event.entity);
                // A newer version that has come meanwhile writes its own.
                let newest =
                    self.state.workflow(&key).filter(|known| known.defined.version == defined.version);
                out.extend(newest.map(|known| Effect::DirectoryWorkflow(Box::new(known.view(&key)))));
            }
            What::ExecutionStepCompleted(step) => out.extend(self.saved(index, step, event, workspace)),
            what if what.is_end() && executions::is_about_one(what) => {
                let key = EntityKey::of(workspace, &event.entity);
                out.extend(self.view(&Subject::Execution(key)));
            }
            what if what.is_end() && approvals::is_about_one(what) => {
                let key = EntityKey::of(workspace, &event.entity);
                out.extend(self.view(&Subject::Approval(key)));
            }
            What::FleetPaused(_) | What::FleetResumed(_) => {
                out.push(Effect::DirectoryPauses(self.state.shard.pauses.view()));
            }
            _ => {}
        }
    }

    /// The view of what has ended.
    fn view(&self, subject: &Subject) -> Option<Effect> {
        subject.standing(self.state).filter(|standing| standing.is_over)?;
        let value = subject.shown(self.state).ok()?;
        let (workspace, id) = subject.at()?;
        let (kind, workspace, id) = (subject.view()?, workspace.clone(), id.parse().ok()?);
        Some(Effect::View { kind, workspace, id, offset: self.offset, value })
    }

    /// What participants are asked, unless it has been overtaken.
    fn asks(&self, index: usize, key: &NegotiationKey, asked: &NegotiationAsked) -> Vec<Effect> {
        let Some(it) = self.state.negotiation(key) else { return Vec::new() };
        let Some(round) = it.round().filter(|round| round.round == asked.round) else { return Vec::new() };
        let awaited = asked.asked.iter().filter(|(id, _)| !round.answers.contains_key(*id));
        let of = |(id, seat): (&Id, &Seat)| {
            let envelope_id = format!("{}-{}-{index}-{id}", self.shard, self.offset);
            let round = round_id(&key.negotiation, round.round);
            let envelope = self.envelope(envelope_id, ASKED, &key.workspace, &round);
            ask(it, key, id, seat, envelope)
        };
        awaited.filter_map(of).collect()
    }

    /// What a negotiation that is over tells of promises, each to the shard of the agent that made it.
    fn appraises(&self, index: usize, event: &Event, workspace: &Workspace) -> Vec<Effect> {
        let appraisals = match &event.what {
            What::NegotiationDecided(e) => &e.appraisals,
            What::NegotiationFailed(e) => &e.appraisals,
            _ => return Vec::new(),
        };
        let of = |appraisal: &AppraiseAgent| {
            let root = appraisal.agent_id.to_string();
            let id = format!("{}-{}-{index}-appraise-{root}", self.shard, self.offset);
            let command = Command::AppraiseAgent(appraisal.clone());
            let mut envelope = self.envelope(id.clone(), command.ce_type(), workspace, &id);
            envelope.subject = Some(event.entity.to_string());
            // A position is for what stands in the ledger.
            envelope.position = None;
            Some(Effect::Command { root, envelope: Box::new(envelope), value: Json::of(appraisal).ok()? })
        };
        appraisals.iter().filter_map(of).collect()
    }

    /// Tells an agent that its status or health has changed. One that is lost hears it when it asks again; one that has
    /// left does not.
    fn tell_agent(&self, index: usize, event: &Event, key: AgentKey) -> Option<Effect> {
        let What::AgentStatusChanged(changed) = &event.what else { return None };
        let agent = self.state.agent(&key).filter(|agent| !agent.gone)?;
        if changed.health == Health::Lost || *agent.incarnation() != changed.incarnation {
            return None;
        }
        let id = format!("{}-{}-{index}-told", self.shard, self.offset);
        let mut envelope = self.envelope(id, event.what.ce_type(), &key.workspace, "told");
        envelope.subject = Some(key.agent.to_string());
        Some(Effect::Deliver {
            delivery: agent.registered.delivery.clone(),
            attempt_id: None,
            urgent: false,
            root: key.agent.to_string(),
            agent: key,
            envelope: Box::new(envelope),
            value: Json::of(changed).ok()?,
        })
    }

    /// Whether the agent that had this attempt still has to hear of its end: it ended it neither itself nor by a decline.
    fn was_taken_back(&self, key: &TaskKey, attempt: u32) -> bool {
        use synod_protocol::view::Outcome::{Lost, Withdrawn};
        let mut attempts = self.state.task(key).into_iter().flat_map(|task| &task.attempts);
        let outcome = attempts.find(|a| a.seen.attempt == attempt).and_then(|a| a.seen.outcome);
        matches!(outcome, Some(Lost | Withdrawn))
    }

    /// An envelope of ours about this step: causation, correlation and a child of the input's trace.
    fn envelope(&self, id: String, ty: &str, workspace: &Workspace, what: &str) -> Envelope {
        let input = &self.step.input;
        let root = self.step.root.as_deref().and_then(|root| root.parse().ok());
        let (correlation, trace) = root.and_then(|root| belongs(self.state, workspace, root)).unzip();
        let trace = trace.flatten().or(input.traceparent.as_deref());
        Envelope {
            time: Some(self.step.now),
            workspace: workspace.clone(),
            correlation_id: correlation.map(str::to_owned).or_else(|| input.correlation_id.clone()),
            causation_id: input.ce_id.clone(),
            position: Some(Position { shard: self.shard, offset: self.offset }),
            traceparent: trace.and_then(TraceParent::parse).map(|t| t.child(what).to_string()),
            ..Envelope::new(id, format!("/synod/shards/{}", self.shard), ty)
        }
    }

    fn publish(&self, index: usize, event: &Event, workspace: &Workspace) -> Option<Effect> {
        let id = format!("{}-{}-{index}", self.shard, self.offset);
        let mut envelope = self.envelope(id.clone(), event.what.ce_type(), workspace, &id);
        envelope.subject = Some(event.entity.to_string());
        let value = event.public_value().ok()?;
        Some(Effect::Publish { root: event.entity.root().to_owned(), envelope: Box::new(envelope), value })
    }

    /// The work itself, unless it has been overtaken.
    fn dispatch(&self, index: usize, event: &Event, key: &TaskKey) -> Option<Effect> {
        let What::TaskAssigned(assigned) = &event.what else { return None };
        let task = self.state.task(key)?;
        let current = task.current().filter(|a| a.seen.attempt == assigned.attempt)?;
        let assignment = Assignment {
            task_id: key.task.clone(),
            attempt: assigned.attempt,
            attempt_token: current.token.clone(),
            capability: task.asked_for(&current.seen).cloned(),
            input: task.input(&current.seen),
            feedback: task.submitted.feedback.clone(),
            deadline: assigned.deadline,
            incarnation: assigned.incarnation.clone(),
        };
        let attempt_id = attempt_id(&key.task, assigned.attempt);
        let id = format!("{}-{}-{index}-work", self.shard, self.offset);
        let mut envelope = self.envelope(id, "synod.task.assigned", &key.workspace, &attempt_id);
        envelope.subject = Some(key.task.to_string());
        envelope.deadline = Some(assigned.deadline);
        Some(Effect::Deliver {
            agent: AgentKey { workspace: key.workspace.clone(), agent: assigned.agent_id.clone() },
            delivery: current.delivery.clone(),
            attempt_id: Some(attempt_id),
            urgent: false,
            root: key.task.root().to_owned(),
            envelope: Box::new(envelope),
            value: Json::of(&assignment).ok()?,
        })
    }

    /// Tells whom the work was given that it is no longer theirs.
    fn take_back(&self, index: usize, key: &TaskKey, attempt: u32, ty: &str, reason: &str) -> Option<Effect> {
        let task = self.state.task(key)?;
        let given = task.attempts.iter().find(|a| a.seen.attempt == attempt)?;
        let withdrawal = Withdrawal { task_id: key.task.clone(), attempt, reason: reason.to_owned() };
        let id = format!("{}-{}-{index}-back", self.shard, self.offset);
        let mut envelope = self.envelope(id, ty, &key.workspace, ty);
        envelope.subject = Some(key.task.to_string());
        Some(Effect::Deliver {
            agent: AgentKey { workspace: key.workspace.clone(), agent: given.seen.agent_id.clone() },
            delivery: given.delivery.clone(),
            attempt_id: None,
            urgent: false,
            root: key.task.root().to_owned(),
            envelope: Box::new(envelope),
            value: Json::of(&withdrawal).ok()?,
        })
    }

    fn reply(&self, to: &ReplyTo, told: Told) -> Effect {
        let workspace = self.step.workspace.clone().unwrap_or_default();
        let refused = matches!(told, Told::Now(Err(_)));
        let ty = if refused { "synod.rejected" } else { "synod.reply" };
        let id = format!("{}-{}-reply", self.shard, self.offset);
        let mut envelope = self.envelope(id, ty, &workspace, "reply");
        envelope.subject.clone_from(&self.step.root);
        let (to, envelope) = (to.clone(), Box::new(envelope));
        match told {
            Told::Now(Ok((value, _))) => Effect::Reply { to, envelope, value },
            Told::Now(Err(error)) => {
                Effect::Reply { to, envelope, value: Json::of(&error).unwrap_or_default() }
            }
            Told::Past(past) => Effect::ReplyPast { to, envelope, past },
        }
    }
}

/// The piece of work that an entity belongs to: its correlation id, and its trace as it came.
fn belongs<'a>(state: &'a State, workspace: &Workspace, id: EntityId) -> Option<(&'a str, Option<&'a str>)> {
    let key = EntityKey { workspace: workspace.clone(), id };
    if let Some(run) = state.execution(&key) {
        return Some((&run.started().correlation_id, run.started().traceparent.as_deref()));
    }
    let key = TaskKey { workspace: key.workspace, task: key.id };
    if let Some(task) = state.task(&key) {
        return Some((&task.submitted.correlation_id, task.submitted.traceparent.as_deref()));
    }
    let key = NegotiationKey { workspace: key.workspace, negotiation: key.task };
    let opened = &state.negotiation(&key)?.opened;
    Some((&opened.correlation_id, opened.traceparent.as_deref()))
}

/// What one participant is asked.
fn ask(
    it: &Negotiation,
    key: &NegotiationKey,
    id: &Id,
    seat: &Seat,
    mut envelope: Envelope,
) -> Option<Effect> {
    let (round, opened) = (it.round()?, &it.opened);
    let ask = Ask {
        negotiation_id: key.negotiation.clone(),
        protocol: opened.protocol.clone(),
        round: round.round,
        kind: round.kind.clone(),
        question: opened.question.clone(),
        rules: opened.rules.clone(),
        content: round.content.clone(),
        participant: id.clone(),
        incarnation: seat.incarnation.clone(),
        closes_at: round.closes_at,
        urgent: opened.urgent,
    };
    envelope.subject = Some(key.negotiation.to_string());
    envelope.deadline = Some(round.closes_at);
    Some(Effect::Deliver {
        agent: AgentKey { workspace: key.workspace.clone(), agent: id.clone() },
        delivery: seat.delivery.clone(),
        attempt_id: Some(format!("{}#r{}#{}", key.negotiation, round.round, seat.incarnation)),
        urgent: opened.urgent,
        root: key.negotiation.root().to_owned(),
        envelope: Box::new(envelope),
        value: Json::of(&ask).ok()?,
    })
}

/// What the participants of a negotiation who are still to answer were asked, once more: after Redis has lost what it held.
pub(crate) fn asked_again(state: &State, shard: u32, key: &NegotiationKey, it: &Negotiation) -> Vec<Effect> {
    let Some(round) = it.round() else { return Vec::new() };
    let awaited = it.asked.iter().filter(|(id, seat)| seat.delivery == Delivery::Redis && round.awaits(id));
    let trace = it.opened.traceparent.as_deref().and_then(TraceParent::parse);
    let of = |(id, seat): (&Id, &Seat)| {
        let envelope = Envelope {
            time: Some(state.now),
            workspace: key.workspace.clone(),
            correlation_id: Some(it.opened.correlation_id.clone()),
            traceparent: trace.map(|t| t.child(&round_id(&key.negotiation, round.round)).to_string()),
            ..Envelope::new(
                format!("{shard}-{}-{}-{id}-again", key.negotiation, round.round),
                format!("/synod/shards/{shard}"),
                ASKED,
            )
        };
        ask(it, key, id, seat, envelope)
    };
    awaited.filter_map(of).collect()
}

/// What the attempt in force holds, if one is and it takes permits.
pub(crate) fn holds(state: &State, key: &TaskKey, now: Timestamp) -> Option<Effect> {
    let current = state.task(key)?.current().filter(|current| !current.permits.is_empty())?;
    let by = Try { task: key.clone(), attempt: current.seen.attempt };
    let for_ms = current.deadline.millis_since(now).saturating_add(HOLD_SLACK_MS);
    Some(Effect::HoldPermits { by, permits: current.permits.clone(), for_ms })
}

/// The work of an attempt in force, once more: after Redis has lost what it held.
pub(crate) fn again(state: &State, shard: u32, key: &TaskKey) -> Option<Effect> {
    let task = state.task(key)?;
    let current = task.current().filter(|a| a.delivery == Delivery::Redis)?;
    let attempt_id = attempt_id(&key.task, current.seen.attempt);
    let assignment = Assignment {
        task_id: key.task.clone(),
        attempt: current.seen.attempt,
        attempt_token: current.token.clone(),
        capability: task.asked_for(&current.seen).cloned(),
        input: task.input(&current.seen),
        feedback: task.submitted.feedback.clone(),
        deadline: current.deadline,
        incarnation: current.seen.incarnation.clone(),
    };
    let trace = task.submitted.traceparent.as_deref().and_then(TraceParent::parse);
    let envelope = Envelope {
        time: Some(state.now),
        workspace: key.workspace.clone(),
        subject: Some(key.task.to_string()),
        correlation_id: Some(task.submitted.correlation_id.clone()),
        traceparent: trace.map(|t| t.child(&attempt_id).to_string()),
        deadline: Some(current.deadline),
        ..Envelope::new(
            format!("{shard}-{attempt_id}-again"),
            format!("/synod/shards/{shard}"),
            "synod.task.assigned",
        )
    };
    Some(Effect::Deliver {
        agent: AgentKey { workspace: key.workspace.clone(), agent: current.seen.agent_id.clone() },
        delivery: current.delivery.clone(),
        attempt_id: Some(attempt_id),
        urgent: false,
        root: key.task.root().to_owned(),
        envelope: Box::new(envelope),
        value: Json::of(&assignment).ok()?,
    })
}

impl Effect {
    /// The kind, for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Effect::Publish { .. } => "publish",
            Effect::Deliver { .. } => "deliver",
            Effect::HoldPermits { .. } | Effect::GiveBack { .. } => "permits",
            Effect::Command { .. } => "command",
            Effect::Reply { .. } | Effect::ReplyPast { .. } => "reply",
            Effect::View { .. } => "view",
            Effect::PutState { .. } => "state",
            Effect::Directory(_)
            | Effect::DirectoryRemoval(_)
            | Effect::DirectoryWorkflow(_)
            | Effect::DirectoryPauses(_) => "directory",
            Effect::DeadLetter { .. } => "dead_letter",
        }
    }
}

impl Door {
    /// The name on the wire, for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Door::Kafka => "kafka",
            Door::Http => "http",
            Door::Timer => "timer",
            Door::Fleet => "fleet",
        }
    }
}
