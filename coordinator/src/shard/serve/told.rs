//! Spans of what this shard decided, told once that is proven.
//!
//! ```text
//!   who asked ── synod.task.submit       the command: taken, decided, proven
//!             └─ task ocr                from its submission to its end
//!                └─ attempt ocr          what the agent's own span hangs under
//! ```
//!
//! Ids follow from the ledger ([`TraceContext::child`] of the trace with which the work came), and times are the ledger's: whoever
//! owns the shard at the end tells of the whole, whoever began it.

use super::Serving;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};
use synod_infra::telemetry::TraceContext;
use synod_infra::telemetry::spans::{self, Kind, Scope, Span};
use synod_ledger::{
    AttemptState, EntityKey, Input, Meta, NegotiationKey, State, TaskKey, TaskState, attempt_id, round_id,
};
use synod_protocol::command::Delivery;
use synod_protocol::event::{Event, What};
use synod_protocol::view::{Outcome, TaskStatus};
use synod_protocol::workflow::StepDoing;
use synod_protocol::{EntityId, Timestamp, Workspace, topics};

/// Attempts, and rounds, of one entity that are told of: the latest.
const MOST: usize = 32;

/// Spans of steps that are not proven yet, by their numbers.
#[derive(Default)]
pub(super) struct Unproven(VecDeque<(u64, Vec<Span>)>);

impl Unproven {
    pub(super) fn wait(&mut self, n: u64, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.0.push_back((n, spans));
        }
    }

    pub(super) fn proven(&mut self, through: u64) {
        while self.0.front().is_some_and(|(n, _)| *n <= through) {
            let spans = self.0.pop_front().map(|(_, spans)| spans);
            spans.into_iter().flatten().for_each(Span::end);
        }
    }
}

/// The span of a command, begun; none where nobody listens or it is none.
pub(super) fn command(shard: u32, input: &Input) -> Option<(TraceContext, Span)> {
    let Input::Command { command, meta } = input else { return None };
    let trace = meta.traceparent.as_deref().filter(|_| spans::on()).and_then(TraceContext::parse)?;
    Some((trace, of_command(shard, command.ce_type(), meta, &trace)))
}

fn of_command(shard: u32, ty: &'static str, meta: &Meta, trace: &TraceContext) -> Span {
    // Where nobody else began the trace, this is its first.
    let is_first = trace.trace_id == TraceContext::of(meta.workspace.as_str(), &meta.ce_id).trace_id;
    let context = if is_first { *trace } else { trace.child(&meta.ce_id) };
    let kind = if meta.offset.is_some() { Kind::Consumer } else { Kind::Server };
    let mut span = Span::new(context, Scope::Coordinator, kind, ty)
        .with("messaging.message.id", meta.ce_id.clone())
        .with("messaging.operation.type", "process")
        .with("messaging.operation.name", "decide")
        .with("synod.shard", shard)
        .with("synod.workspace", meta.workspace.to_string())
        .with_some("messaging.message.conversation_id", meta.correlation_id.clone());
    if !is_first {
        span = span.under(trace.span_id);
    }
    match meta.offset {
        Some(offset) => span
            .with("messaging.system", "kafka")
            .with("messaging.destination.name", topics::COMMANDS)
            .with("messaging.destination.partition.id", shard.to_string())
            .with("messaging.kafka.offset", offset)
            .with("synod.waited_ms", meta.waited_ms),
        None => span.with("synod.door", "http"),
    }
}

/// The ledger's times as this process has them.
#[derive(Clone, Copy)]
struct Clock {
    wall: SystemTime,
    shard: Timestamp,
}

impl Clock {
    fn at(self, time: Timestamp) -> SystemTime {
        self.wall - Duration::from_millis(self.shard.millis_since(time))
    }

    fn lasted(self, span: Span, began: Timestamp, ended: Option<Timestamp>) -> Span {
        span.lasted(self.at(began), ended.map_or(self.wall, |ended| self.at(ended)))
    }
}

/// One who tells of the ends in one step.
struct Teller<'a> {
    state: &'a State,
    workspace: &'a Workspace,
    shard: u32,
    clock: Clock,
    told: Vec<Span>,
}

impl Serving<'_> {
    /// What of these events is the end of something.
    pub(super) fn ends(&self, workspace: &Workspace, events: &[Event]) -> Vec<Span> {
        let clock = Clock { wall: SystemTime::now(), shard: self.now() };
        let (state, shard) = (self.owner.state(), self.shard);
        let mut teller = Teller { state, workspace, shard, clock, told: Vec::new() };
        events.iter().for_each(|event| teller.hears(event));
        teller.told
    }

    /// Whether more of the same trace is to come from what a command was about.
    pub(super) fn goes_on_in(&self, input: &Input, trace: &TraceContext) -> bool {
        let Input::Command { command, meta } = input else { return false };
        let Ok(id) = command.root().parse::<EntityId>() else { return false };
        let key = EntityKey { workspace: meta.workspace.clone(), id };
        let of = |is_over: bool, traceparent: Option<&str>| {
            let same = |it: TraceContext| it.trace_id == trace.trace_id;
            !is_over && traceparent.and_then(TraceContext::parse).is_some_and(same)
        };
        let state = self.owner.state();
        if let Some(run) = state.execution(&key) {
            return of(run.status().is_final(), run.started().traceparent.as_deref());
        }
        let key = TaskKey { workspace: key.workspace, task: key.id };
        if let Some(task) = state.task(&key) {
            return of(task.status.is_final(), task.submitted.traceparent.as_deref());
        }
        let key = NegotiationKey { workspace: key.workspace, negotiation: key.task };
        let it = state.negotiation(&key);
        it.is_some_and(|it| of(it.status.is_final(), it.opened.traceparent.as_deref()))
    }
}

impl Teller<'_> {
    fn hears(&mut self, event: &Event) {
        match &event.what {
            What::TaskCompleted(_)
            | What::TaskFailed(_)
            | What::TaskCancelled(_)
            | What::TaskDeadLettered(_) => self.task(&event.entity),
            What::NegotiationDecided(_) | What::NegotiationFailed(_) | What::NegotiationCancelled(_) => {
                self.negotiation(&event.entity);
            }
            What::ExecutionStepCompleted(e) => self.step(&event.entity, &e.step, &e.items),
            What::ExecutionStepFailed(e) => self.step(&event.entity, &e.step, &e.items),
            What::ExecutionCompleted(_) | What::ExecutionFailed(_) | What::ExecutionCancelled(_) => {
                self.execution(&event.entity);
            }
            What::ApprovalGranted(_)
            | What::ApprovalRejected(_)
            | What::ApprovalChangesRequested(_)
            | What::ApprovalCancelled(_)
            | What::ApprovalTimedOut(_) => self.approval(&event.entity),
            _ => {}
        }
    }

    fn key(&self, id: &EntityId) -> EntityKey {
        EntityKey::of(self.workspace, id)
    }

    fn root(&self, id: &EntityId) -> Option<EntityKey> {
        Some(EntityKey { workspace: self.workspace.clone(), id: id.root().parse().ok()? })
    }

    /// A span of an entity: its id follows from the entity's. What is a child hangs under its step, or its root.
    fn of(
        &self,
        trace: &TraceContext,
        id: &EntityId,
        name: impl Into<Cow<'static, str>>,
        correlation: &str,
    ) -> Span {
        let span = Span::new(trace.child(id.as_str()), Scope::Coordinator, Kind::Internal, name)
            .with("openinference.span.kind", "CHAIN")
            .with("session.id", correlation.to_owned())
            .with("synod.id", id.to_string())
            .with("synod.workspace", self.workspace.to_string())
            .with("synod.shard", self.shard);
        match id.root() == id.as_str() {
            true => span.under(trace.span_id).ends_its_part(),
            false => span.under(self.over(trace, id)),
        }
    }

    /// What a child hangs under.
    fn over(&self, trace: &TraceContext, id: &EntityId) -> [u8; 8] {
        let run = self.root(id).and_then(|root| self.state.execution(&root));
        let step = run.and_then(|run| run.step(&run.child(id)?.key));
        match step {
            Some(step) => trace.child(&step_id(id.root(), &step)).span_id,
            None => trace.child(id.root()).span_id,
        }
    }

    fn task(&mut self, id: &EntityId) {
        let key = TaskKey { workspace: self.workspace.clone(), task: id.clone() };
        let Some(task) = self.state.task(&key) else { return };
        let Some(trace) = parsed(task.submitted.traceparent.as_deref()) else { return };
        let what = what(task);
        let mut span = self
            .of(&trace, id, format!("task {what}"), &task.submitted.correlation_id)
            .with("synod.status", task.status.as_str())
            .with("synod.attempts", task.attempts.len());
        if id.root() == id.as_str() {
            span.set("graph.node.id", what.clone());
        }
        if spans::payloads() {
            span.set("input.value", task.submitted.input.as_str().to_owned());
            span.set("input.mime_type", "application/json");
        }
        if matches!(task.status, TaskStatus::Failed | TaskStatus::DeadLettered) {
            let why = task.attempts.last().and_then(|attempt| attempt.seen.why.clone());
            span = span.failed(why.unwrap_or_else(|| task.status.as_str().to_owned()));
        }
        let span = self.clock.lasted(span, task.submitted_at, task.completed_at);
        for attempt in task.attempts.iter().rev().take(MOST) {
            let over = span.context().span_id;
            self.told.push(self.attempt(&trace, id, &what, attempt).under(over));
        }
        self.told.push(span);
    }

    fn attempt(&self, trace: &TraceContext, id: &EntityId, what: &str, attempt: &AttemptState) -> Span {
        let seen = &attempt.seen;
        let context = trace.child(&attempt_id(id, seen.attempt));
        let (system, to) = match &attempt.delivery {
            Delivery::Redis => ("redis", format!("inbox of {}", seen.agent_id)),
            Delivery::Kafka { topic } => ("kafka", topic.clone()),
        };
        let mut span = Span::new(context, Scope::Coordinator, Kind::Producer, format!("attempt {what}"))
            .with("messaging.system", system)
            .with("messaging.destination.name", to)
            .with("messaging.operation.type", "send")
            .with("messaging.message.id", attempt_id(id, seen.attempt))
            .with("gen_ai.agent.id", seen.agent_id.to_string())
            .with("synod.attempt", seen.attempt)
            .with_some("synod.outcome", seen.outcome.map(outcome))
            .with_some("synod.balance.rule", seen.choice.as_ref().map(|choice| choice.rule.clone()));
        if let Some(Outcome::Failed | Outcome::TimedOut | Outcome::Lost) = seen.outcome {
            span = span.failed(seen.why.clone().unwrap_or_default());
        }
        self.clock.lasted(span, seen.started_at, seen.ended_at)
    }

    fn negotiation(&mut self, id: &EntityId) {
        let key = NegotiationKey { workspace: self.workspace.clone(), negotiation: id.clone() };
        let Some(it) = self.state.negotiation(&key) else { return };
        let Some(trace) = parsed(it.opened.traceparent.as_deref()) else { return };
        let (protocol, status) = (it.opened.protocol.clone(), it.status.as_str());
        let mut span = self
            .of(&trace, id, format!("negotiation {protocol}"), &it.opened.correlation_id)
            .with("synod.status", status)
            .with("graph.node.id", it.opened.protocol.clone())
            .with("synod.rounds", it.rounds.len());
        if status == "failed" {
            span = span.failed(it.reason.clone().unwrap_or_default());
        }
        let span = self.clock.lasted(span, it.opened_at, it.ended_at);
        for round in it.rounds.iter().rev().take(MOST) {
            let context = trace.child(&round_id(id, round.round));
            let of_round =
                Span::new(context, Scope::Coordinator, Kind::Producer, format!("round {}", round.kind))
                    .under(span.context().span_id)
                    .with("synod.round", round.round)
                    .with("synod.asked", round.asked.len())
                    .with("synod.answers", round.answers.len());
            self.told.push(self.clock.lasted(of_round, round.opened_at, round.closed_at));
        }
        self.told.push(span);
    }

    fn execution(&mut self, id: &EntityId) {
        let Some(run) = self.state.execution(&self.key(id)) else { return };
        let Some(trace) = parsed(run.started().traceparent.as_deref()) else { return };
        let status = run.status().as_str();
        let workflow = run.started().workflow_id.to_string();
        let mut span = self
            .of(&trace, id, format!("execution {workflow}"), &run.started().correlation_id)
            .with("synod.status", status)
            .with("graph.node.id", workflow);
        if status == "failed" {
            span = span.failed("a step has failed");
        }
        self.told.push(self.clock.lasted(span, run.started_at(), run.ended_at()));
    }

    /// A doing of a step that is over; one that is tried again is not.
    fn step(&mut self, execution: &EntityId, step: &str, items: &[u32]) {
        let Some(run) = self.state.execution(&self.key(execution)) else { return };
        let Some(trace) = parsed(run.started().traceparent.as_deref()) else { return };
        let doing = run.key(step, items).and_then(|key| run.step(&key));
        let Some(doing) = doing.filter(|doing| doing.ended_at.is_some()) else { return };
        let context = trace.child(&step_id(execution.as_str(), &doing));
        let over = trace.child(execution.as_str()).span_id;
        let mut span = Span::new(context, Scope::Coordinator, Kind::Internal, format!("step {}", doing.step))
            .under(over)
            .with("openinference.span.kind", "CHAIN")
            .with("session.id", run.started().correlation_id.clone())
            .with("graph.node.id", doing.step.clone())
            .with("graph.node.parent_id", run.started().workflow_id.to_string())
            .with("synod.step.kind", doing.kind.clone())
            .with("synod.attempts", doing.attempts);
        if let Some(error) = &doing.error {
            span = span.failed(error.message.clone());
        }
        self.told.push(self.clock.lasted(span, doing.started_at, doing.ended_at));
    }

    /// How long people were waited for.
    fn approval(&mut self, id: &EntityId) {
        let Some(it) = self.state.approval(&self.key(id)) else { return };
        let run = self.root(id).and_then(|root| self.state.execution(&root));
        let trace = run.and_then(|run| parsed(run.started().traceparent.as_deref()));
        let trace = trace.unwrap_or_else(|| spans::trace_of(self.workspace.as_str(), id.as_str()));
        let span = self
            .of(&trace, id, "approval", &it.required.correlation_id)
            .with("synod.status", it.status.as_str())
            .with("synod.revision", it.required.revision);
        self.told.push(self.clock.lasted(span, it.asked_at, it.ended_at));
    }
}

fn parsed(traceparent: Option<&str>) -> Option<TraceContext> {
    traceparent.and_then(TraceContext::parse)
}

/// The id of a doing of a step in its trace.
fn step_id(execution: &str, doing: &StepDoing) -> String {
    format!("{execution}/{}{:?}", doing.step, doing.items)
}

/// What a task asks for, in few words.
fn what(task: &TaskState) -> String {
    let capability = task.submitted.capability.as_ref().map(ToString::to_string);
    capability.unwrap_or_else(|| "for one agent".to_owned())
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Declined => "declined",
        Outcome::Lost => "lost",
        Outcome::Withdrawn => "withdrawn",
        Outcome::Cancelled => "cancelled",
    }
}
