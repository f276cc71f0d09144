//! Effects: what a step owes to the world, as values. The shell performs them once the step is proven.
//!
//! Each is idempotent by an id that follows from its record, so that a new owner may issue it again.

use crate::decide::Subject;
use crate::record::{Door, Step};
use crate::state::{State, TaskKey};
use synod_fleet::AgentKey;
use synod_protocol::command::Delivery;
use synod_protocol::event::{Event, What};
use synod_protocol::trace::TraceParent;
use synod_protocol::view::{Assignment, DirectoryEntry, Withdrawal};
use synod_protocol::{Code, Envelope, Error, Json, Position, ReplyTo, Workspace};

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
        /// The record's key where it goes by Kafka.
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
    /// Write an agent's entry in the directory.
    Directory(Box<DirectoryEntry>),
    /// Copy a command that could not be read to its dead-letter topic.
    DeadLetter {
        /// Its offset in the commands topic.
        offset: u64,
        /// Why.
        error: Error,
    },
}

/// What this step owes, with the state right after it (or a later one: what has been overtaken is left out).
pub fn effects(
    state: &State,
    shard: u32,
    offset: u64,
    step: &Step,
    subject: Option<&Subject>,
) -> Vec<Effect> {
    let mut out = Vec::new();
    let writer = Writer { state, shard, offset, step };
    for (index, event) in step.events.iter().enumerate() {
        writer.of_event(index, event, &mut out);
    }
    if let Some(to) = &step.input.reply_to {
        out.push(writer.reply(to, subject));
    }
    if let (true, Some(at), Some(error)) = (step.input.poison, step.input.offset, &step.rejected) {
        out.push(Effect::DeadLetter { offset: at, error: error.clone() });
    }
    out
}

/// The entity in the state as JSON, for an answer.
pub(crate) fn shown(state: &State, subject: &Subject) -> Result<Json, Error> {
    let gone = || Error::new(Code::NotFound, "the entity has left memory; read it from the ledger");
    let json = match subject {
        Subject::Task(key) => Json::of(&state.task(key).ok_or_else(gone)?.view(&key.workspace)),
        Subject::Agent(key) => Json::of(&state.agent(key).ok_or_else(gone)?.view(key)),
    };
    json.map_err(|e| Error::new(Code::Internal, format!("an entity cannot be written: {e}")))
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
        out.extend(self.publish(index, event, workspace));
        match &event.what {
            What::TaskAssigned(_) => out.extend(self.dispatch(index, event, &key)),
            What::TaskAttemptFailed(e) if e.timed_out => {
                out.extend(self.take_back(index, &key, e.attempt, "synod.task.withdrawn", &e.error.message));
            }
            What::TaskReassigned(e) if e.lost => {
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
            | What::AgentStatusChanged(_) => {
                let agent = self.step.root.as_deref().and_then(|id| id.parse().ok());
                let key = agent.map(|agent| AgentKey { workspace: workspace.clone(), agent });
                out.extend(key.and_then(|key| {
                    let entry = self.state.agent(&key)?.directory_entry(&key);
                    Some(Effect::Directory(Box::new(entry)))
                }));
            }
            _ => {}
        }
    }

    /// An envelope of ours about this step: causation, correlation and a child of the input's trace.
    fn envelope(&self, id: String, ty: &str, workspace: &Workspace, what: &str) -> Envelope {
        let input = &self.step.input;
        let task = self.step.root.as_deref().and_then(|root| root.parse().ok());
        let task = task.and_then(|task| self.state.task(&TaskKey { workspace: workspace.clone(), task }));
        let trace = task.and_then(|t| t.submitted.traceparent.as_deref()).or(input.traceparent.as_deref());
        Envelope {
            time: Some(self.step.now),
            workspace: workspace.clone(),
            correlation_id: task
                .map(|t| t.submitted.correlation_id.clone())
                .or_else(|| input.correlation_id.clone()),
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
            capability: task.submitted.capability.clone(),
            input: task.submitted.input.clone(),
            deadline: assigned.deadline,
            incarnation: assigned.incarnation.clone(),
        };
        let attempt_id = format!("{}#{}", key.task, assigned.attempt);
        let id = format!("{}-{}-{index}-work", self.shard, self.offset);
        let mut envelope = self.envelope(id, "synod.task.assigned", &key.workspace, &attempt_id);
        envelope.subject = Some(key.task.to_string());
        envelope.deadline = Some(assigned.deadline);
        Some(Effect::Deliver {
            agent: AgentKey { workspace: key.workspace.clone(), agent: assigned.agent_id.clone() },
            delivery: current.delivery.clone(),
            attempt_id: Some(attempt_id),
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
            root: key.task.root().to_owned(),
            envelope: Box::new(envelope),
            value: Json::of(&withdrawal).ok()?,
        })
    }

    fn reply(&self, to: &ReplyTo, subject: Option<&Subject>) -> Effect {
        let workspace = self.step.workspace.clone().unwrap_or_default();
        let entity = match (&self.step.rejected, subject) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(subject)) => shown(self.state, subject),
            (None, None) => Err(Error::new(Code::Internal, "the command had no entity to show")),
        };
        let (ty, value) = match &entity {
            Ok(json) => ("synod.reply", json.clone()),
            Err(error) => ("synod.rejected", Json::of(error).unwrap_or_default()),
        };
        let id = format!("{}-{}-reply", self.shard, self.offset);
        let mut envelope = self.envelope(id, ty, &workspace, "reply");
        envelope.subject.clone_from(&self.step.root);
        Effect::Reply { to: to.clone(), envelope: Box::new(envelope), value }
    }
}

impl Effect {
    /// The kind, for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Effect::Publish { .. } => "publish",
            Effect::Deliver { .. } => "deliver",
            Effect::Reply { .. } => "reply",
            Effect::Directory(_) => "directory",
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
