//! Events: what happened, in the past tense. The ledger's steps are made of them, and each is
//! published on `synod.events.v1` without what only the coordinators may know (`secret`).

use crate::approval::{ApprovalEnded, ApprovalRequired, ApprovalSigned};
use crate::breaker::{BreakerOrdered, BreakerState};
use crate::catalogue::Shape;
use crate::command::{Delivery, Failure, PauseMode, Recovery, Requires};
use crate::error::Error;
use crate::id::{Capability, EntityId, Id, Incarnation, Workspace};
use crate::json::Json;
use crate::negotiation::{
    NegotiationAsked, NegotiationDecided, NegotiationEnded, NegotiationExtended, NegotiationOpened,
    NegotiationResponded, ParticipantGone, RoundClosed,
};
use crate::time::Timestamp;
use crate::track::AgentAppraised;
use crate::view::{AgentStatus, Health, TaskStatus};
use crate::workflow::{
    ExecutionEnded, ExecutionSignalled, ExecutionStands, ExecutionStarted, StepAdvised, StepCompleted,
    StepConsulted, StepFailed, StepLeft, StepRetried, StepRevised, StepStarted, Usage, WorkflowDefined,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Something that happened to one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To whom.
    pub entity: EntityId,
    /// What.
    pub what: What,
}

/// The type in a `Box`, or the type itself.
macro_rules! unboxed {
    (Box<$inner:ty>) => {
        $inner
    };
    ($plain:ty) => {
        $plain
    };
}

/// Declares the closed list of events: variant, payload and public name in one line each.
macro_rules! events {
    ($($(#[doc = $says:literal])* $variant:ident($($payload:tt)+) = $ty:literal,)*) => {
        /// What happened; each variant's payload is the event's value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum What { $($(#[doc = $says])* $variant($($payload)+)),* }

        impl What {
            /// The public name, which is the `ce_type`.
            pub fn ce_type(&self) -> &'static str {
                match self { $(What::$variant(_) => $ty),* }
            }

            /// The value as JSON, secrets included where they are set.
            pub(crate) fn to_json(&self) -> Result<Json, serde_json::Error> {
                match self { $(What::$variant(payload) => Json::of(payload)),* }
            }

            /// Reads a value by its public name.
            pub(crate) fn read(ty: &str, data: &Json) -> Result<What, Error> {
                let read = match ty {
                    $($ty => data.to().map(What::$variant),)*
                    _ => return Err(Error::invalid(format!("event type {} is not known", crate::id::shown(ty)))),
                };
                read.map_err(|e| Error::invalid(format!("event {ty}: {e}")))
            }

            /// Every public name.
            pub const TYPES: &'static [&'static str] = &[$($ty),*];

            /// Every event: its public name, in a sentence, and the schema of its value.
            pub fn shapes() -> Vec<Shape> {
                vec![$(Shape::of::<unboxed!($($payload)+)>($ty, concat!($($says),*).trim().trim_end_matches('.'))),*]
            }
        }
    };
}

events! {
    /// An agent's process start is known.
    AgentRegistered(AgentRegistered) = "synod.agent.registered",
    /// It left.
    AgentDeregistered(AgentChanged) = "synod.agent.deregistered",
    /// It was given up.
    AgentLost(AgentChanged) = "synod.agent.lost",
    /// Its status or health changed.
    AgentStatusChanged(AgentChanged) = "synod.agent.status_changed",
    /// An operator has ordered what one of its breakers does.
    AgentBreakerOrdered(BreakerOrdered) = "synod.agent.breaker_ordered",
    /// What became of a promise of it is known.
    AgentAppraised(AgentAppraised) = "synod.agent.appraised",
    /// It was gone for so long that it is forgotten.
    AgentRemoved(AgentChanged) = "synod.agent.removed",
    /// A part of the fleet gets no work.
    FleetPaused(FleetChanged) = "synod.fleet.paused",
    /// It gets work again.
    FleetResumed(FleetChanged) = "synod.fleet.resumed",
    /// A task is in the ledger.
    TaskSubmitted(TaskSubmitted) = "synod.task.submitted",
    /// An agent was chosen.
    TaskAssigned(TaskAssigned) = "synod.task.assigned",
    /// The agent works on it.
    TaskStarted(TaskStarted) = "synod.task.started",
    /// The agent told how far it is.
    TaskProgressed(TaskProgressed) = "synod.task.progressed",
    /// An attempt ended without a result.
    TaskAttemptFailed(TaskAttemptFailed) = "synod.task.attempt_failed",
    /// An agent did not want it.
    TaskDeclined(TaskAttemptFailed) = "synod.task.declined",
    /// It will be tried again.
    TaskRetryScheduled(TaskRetryScheduled) = "synod.task.retry_scheduled",
    /// It goes to another agent.
    TaskReassigned(TaskReassigned) = "synod.task.reassigned",
    /// Done.
    TaskCompleted(TaskCompleted) = "synod.task.completed",
    /// Over: not retryable, or its deadline passed.
    TaskFailed(TaskEnded) = "synod.task.failed",
    /// Over: attempts used up, or the third loss.
    TaskDeadLettered(TaskEnded) = "synod.task.dead_lettered",
    /// Over: somebody cancelled it.
    TaskCancelled(TaskCancelled) = "synod.task.cancelled",
    /// Participants are asked to decide something.
    NegotiationOpened(Box<NegotiationOpened>) = "synod.negotiation.opened",
    /// A participant answered.
    NegotiationResponded(NegotiationResponded) = "synod.negotiation.responded",
    /// Processes of participants are asked.
    NegotiationAsked(NegotiationAsked) = "synod.negotiation.asked",
    /// A participant will not answer any more.
    NegotiationParticipantGone(ParticipantGone) = "synod.negotiation.participant_gone",
    /// A round goes on.
    NegotiationExtended(NegotiationExtended) = "synod.negotiation.extended",
    /// A round is over.
    NegotiationRoundClosed(RoundClosed) = "synod.negotiation.round_closed",
    /// Over, with an outcome.
    NegotiationDecided(NegotiationDecided) = "synod.negotiation.decided",
    /// Over, without one.
    NegotiationFailed(NegotiationEnded) = "synod.negotiation.failed",
    /// Over: somebody cancelled it.
    NegotiationCancelled(NegotiationEnded) = "synod.negotiation.cancelled",
    /// A workflow has a new version.
    WorkflowDefined(Box<WorkflowDefined>) = "synod.workflow.defined",
    /// A run of a workflow began.
    ExecutionStarted(Box<ExecutionStarted>) = "synod.execution.started",
    /// An attempt of a step is made, or a block opens.
    ExecutionStepStarted(StepStarted) = "synod.execution.step_started",
    /// A step is done.
    ExecutionStepCompleted(StepCompleted) = "synod.execution.step_completed",
    /// Its result is there, and an expert is asked besides.
    ExecutionStepConsulted(StepConsulted) = "synod.execution.step_consulted",
    /// The expert has answered, or has not.
    ExecutionStepAdvised(StepAdvised) = "synod.execution.step_advised",
    /// An attempt failed; for good, unless it says otherwise.
    ExecutionStepFailed(StepFailed) = "synod.execution.step_failed",
    /// It is due again, and waits for room.
    ExecutionStepDue(StepLeft) = "synod.execution.step_due",
    /// It is not needed.
    ExecutionStepSkipped(StepLeft) = "synod.execution.step_skipped",
    /// It was taken back, or what it needed failed.
    ExecutionStepCancelled(StepLeft) = "synod.execution.step_cancelled",
    /// Steps are done again, as somebody wants.
    ExecutionRevised(StepRevised) = "synod.execution.revised",
    /// A step that had failed for good is done once more.
    ExecutionRetried(StepRetried) = "synod.execution.retried",
    /// A signal came that steps wait for.
    ExecutionSignalled(ExecutionSignalled) = "synod.execution.signalled",
    /// Nothing starts any more.
    ExecutionPaused(ExecutionStands) = "synod.execution.paused",
    /// It goes on.
    ExecutionResumed(ExecutionStands) = "synod.execution.resumed",
    /// Over, with an output.
    ExecutionCompleted(ExecutionEnded) = "synod.execution.completed",
    /// Over, without one.
    ExecutionFailed(ExecutionEnded) = "synod.execution.failed",
    /// Over: somebody cancelled it.
    ExecutionCancelled(ExecutionEnded) = "synod.execution.cancelled",
    /// People are asked to decide.
    ApprovalRequired(Box<ApprovalRequired>) = "synod.approval.required",
    /// One has approved, and more have to.
    ApprovalSigned(ApprovalSigned) = "synod.approval.signed",
    /// Over: as many as are needed have approved.
    ApprovalGranted(ApprovalEnded) = "synod.approval.granted",
    /// Over: somebody rejected it.
    ApprovalRejected(ApprovalEnded) = "synod.approval.rejected",
    /// Over: somebody wants it otherwise.
    ApprovalChangesRequested(ApprovalEnded) = "synod.approval.changes_requested",
    /// Over: it was wanted no more.
    ApprovalCancelled(ApprovalEnded) = "synod.approval.cancelled",
    /// Over: its time was up.
    ApprovalTimedOut(ApprovalEnded) = "synod.approval.timed_out",
}

impl What {
    /// The permits that an attempt which ended by this gives back.
    pub fn gives_back(&self) -> Option<&GivesBack> {
        match self {
            What::TaskCompleted(e) => e.gives_back.as_ref(),
            What::TaskAttemptFailed(e) | What::TaskDeclined(e) => e.gives_back.as_ref(),
            What::TaskReassigned(e) => e.gives_back.as_ref(),
            What::TaskCancelled(e) => e.gives_back.as_ref(),
            _ => None,
        }
    }

    /// The same, with these permits to be given back, where an attempt ends by it.
    #[must_use]
    pub fn giving_back(mut self, back: Option<GivesBack>) -> What {
        match &mut self {
            What::TaskCompleted(e) => e.gives_back = back,
            What::TaskAttemptFailed(e) | What::TaskDeclined(e) => e.gives_back = back,
            What::TaskReassigned(e) => e.gives_back = back,
            What::TaskCancelled(e) => e.gives_back = back,
            _ => {}
        }
        self
    }

    /// Whether the task, negotiation, execution or approval that it happened to is over by it.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            What::NegotiationDecided(_)
                | What::NegotiationFailed(_)
                | What::NegotiationCancelled(_)
                | What::ExecutionCompleted(_)
                | What::ExecutionFailed(_)
                | What::ExecutionCancelled(_)
                | What::ApprovalGranted(_)
                | What::ApprovalRejected(_)
                | What::ApprovalChangesRequested(_)
                | What::ApprovalCancelled(_)
                | What::ApprovalTimedOut(_)
        ) || self.task_ends().is_some()
    }

    /// How a task has ended, where that is what happened.
    pub fn task_ends(&self) -> Option<TaskStatus> {
        match self {
            What::TaskCompleted(e) => Some(e.status),
            What::TaskFailed(e) | What::TaskDeadLettered(e) => Some(e.status),
            What::TaskCancelled(e) => Some(e.status),
            _ => None,
        }
    }
}

/// `synod.agent.registered`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentRegistered {
    /// Who.
    pub agent_id: Id,
    /// Its status after this.
    pub status: AgentStatus,
    /// Its health after this.
    pub health: Health,
    /// This process start.
    pub incarnation: Incarnation,
    /// The process start that this one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Incarnation>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Attempts at a time.
    pub max_concurrency: u32,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it has.
    #[serde(default)]
    pub resources: BTreeMap<String, f64>,
    /// How its work reaches it.
    pub delivery: Delivery,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The how-manieth change of its life this is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// What is odd about its process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Whether a count says nothing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(crate) fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The `ce_type` of an event behind which no ledger record stands: an agent may be gone, and no new work goes there. Its value
/// is an [`AgentChanged`].
pub const AGENT_SUSPECTED: &str = "synod.agent.suspected";

/// The `ce_type` of an event behind which no ledger record stands: a breaker lets nothing through. The value of this one and the
/// two after it is a [`BreakerChanged`].
pub const BREAKER_OPENED: &str = "synod.breaker.opened";
/// A breaker lets a few attempts through, on trial.
pub const BREAKER_HALF_OPENED: &str = "synod.breaker.half_opened";
/// A breaker lets everything through.
pub const BREAKER_CLOSED: &str = "synod.breaker.closed";

/// `synod.breaker.opened`, `.half_opened`, `.closed`: as one coordinator sees the agent; each has breakers of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BreakerChanged {
    /// Whose.
    pub agent_id: Id,
    /// Its breaker for this capability alone; none: the one for all that it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// The state after this.
    pub status: BreakerState,
    /// The state before.
    pub before: BreakerState,
    /// Share of failed attempts in its window, in percent; none while there are too few to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f32>,
    /// Share of slow attempts, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_rate: Option<f32>,
    /// Attempts in its window.
    pub attempts: u32,
    /// Which coordinator's breaker.
    pub coordinator: Id,
}

/// `synod.agent.deregistered`, `.suspected`, `.lost`, `.status_changed`, `.removed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentChanged {
    /// Who.
    pub agent_id: Id,
    /// Which process start.
    pub incarnation: Incarnation,
    /// Its status after this.
    pub status: AgentStatus,
    /// Its health after this.
    pub health: Health,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The how-manieth change of its life this is; absent where no ledger record stands behind it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// How it is to come back, where it reported an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// When it comes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<Timestamp>,
}

/// `synod.fleet.paused`, `.resumed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FleetChanged {
    /// Whose tasks; absent: everyone's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Which tasks of theirs; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// `paused` or `running`: how this scope stands after it.
    pub status: FleetStatus,
    /// What becomes of what runs.
    #[serde(default)]
    pub mode: PauseMode,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a part of the fleet gets work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FleetStatus {
    /// It gets none.
    Paused,
    /// It does.
    Running,
}

/// `synod.task.submitted`: the command with every default applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskSubmitted {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Any agent that can do this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// This agent and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// Handed to the agent as it is.
    pub input: Json,
    /// 0 to 9.
    pub priority: u8,
    /// The time limit of one attempt.
    pub timeout_ms: u64,
    /// When it is no longer wanted.
    pub deadline: Timestamp,
    /// What happens after a failure.
    pub retry: Retry,
    /// The balancing rule that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// What the agent must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
    /// Give it to another at the first suspicion.
    pub retry_on_suspect: bool,
    /// Of the tasks with the same key only so many run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Id>,
    /// Where the last of several attempts goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<Capability>,
    /// What retries change of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Json>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Why it is done once more, where a workflow asks again: handed to the agent beside the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Json>,
    /// The execution whose step it does, which decides what becomes of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Id>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// The trace that it belongs to, as the submitter sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Fingerprint of the command's body, by which a repeat is told from another task of that id.
    pub body: String,
}

/// A retry policy with every default applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Retry {
    /// Attempts in all.
    pub max_attempts: u32,
    /// Before the second attempt.
    pub initial_backoff_ms: u64,
    /// Never longer than this.
    pub max_backoff_ms: u64,
    /// From one wait to the next.
    pub multiplier: f64,
}

/// `synod.task.assigned`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskAssigned {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Which try of it.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
    /// Which process start of it.
    pub incarnation: Incarnation,
    /// When this attempt's time is over.
    pub deadline: Timestamp,
    /// The capability that it was escalated to, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_to: Option<Capability>,
    /// Which adjustment made its input, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjusted: Option<u32>,
    /// Why this agent.
    pub choice: ChoiceMade,
    /// The permits that were taken for it, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permits: Vec<String>,
    /// What only coordinators and the agent may know; not in the published event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<AssignmentSecret>,
}

/// Why an agent was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChoiceMade {
    /// The balancing rule.
    pub rule: String,
    /// How many agents could have done it.
    pub candidates: u32,
    /// The attempts that the chosen one held.
    pub in_flight: u32,
    /// The figures that decided, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// What only coordinators and the agent may know of an assignment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssignmentSecret {
    /// To be given back with the result.
    pub attempt_token: String,
    /// How the work reaches the agent.
    pub delivery: Delivery,
}

/// `synod.task.started`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskStarted {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Which try of it.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
}

/// `synod.task.progressed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskProgressed {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Which try of it.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A part of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Json>,
}

/// `synod.task.attempt_failed`, `.declined`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskAttemptFailed {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Which try of it.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
    /// Why.
    pub error: Failure,
    /// Whether its time ran out, rather than the agent saying so.
    #[serde(default)]
    pub timed_out: bool,
    /// What the attempt that ended by this had permits for, and gives back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_back: Option<GivesBack>,
}

/// `synod.task.retry_scheduled`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskRetryScheduled {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// The attempt that comes next.
    pub attempt: u32,
    /// Not before.
    pub at: Timestamp,
}

/// `synod.task.reassigned`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskReassigned {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// The attempt that is over.
    pub attempt: u32,
    /// Who had it.
    pub agent_id: Id,
    /// Why it goes to another.
    pub reason: String,
    /// Whether the agent was lost, which the third time ends the task.
    pub lost: bool,
    /// What the attempt that ended by this had permits for, and gives back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_back: Option<GivesBack>,
}

/// `synod.task.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskCompleted {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Which try of it.
    pub attempt: u32,
    /// Who.
    pub agent_id: Id,
    /// The result.
    pub output: Json,
    /// How sure the agent is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What the attempt used up, where the agent says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// From this attempt's start to its end.
    pub processing_ms: u64,
    /// What the attempt that ended by this had permits for, and gives back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_back: Option<GivesBack>,
}

/// `synod.task.failed`, `.dead_lettered`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskEnded {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Why.
    pub error: Error,
}

/// `synod.task.cancelled`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskCancelled {
    /// Which task.
    pub task_id: EntityId,
    /// Its status after this.
    pub status: TaskStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the attempt that ended by this had permits for, and gives back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_back: Option<GivesBack>,
}

/// The permits that an attempt held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GivesBack {
    /// Which try of the task.
    pub attempt: u32,
    /// The permits, by their names.
    pub permits: Vec<String>,
}

/// The written form of an event inside a step.
#[derive(Serialize, Deserialize)]
struct Written {
    entity: EntityId,
    #[serde(rename = "type")]
    ty: String,
    data: Json,
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let data = self.what.to_json().map_err(serde::ser::Error::custom)?;
        Written { entity: self.entity.clone(), ty: self.what.ce_type().to_owned(), data }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(d)?;
        let what = What::read(&written.ty, &written.data).map_err(serde::de::Error::custom)?;
        Ok(Event { entity: written.entity, what })
    }
}

impl Event {
    /// The value that is published: without `secret`.
    ///
    /// # Errors
    /// `internal`: a number in it is not finite.
    pub fn public_value(&self) -> Result<Json, Error> {
        let public = match &self.what {
            What::TaskAssigned(assigned) if assigned.secret.is_some() => {
                Json::of(&TaskAssigned { secret: None, ..assigned.clone() })
            }
            What::NegotiationOpened(opened) => {
                Json::of(&NegotiationOpened { secret: None, ..(**opened).clone() })
            }
            What::NegotiationResponded(responded) if responded.sealed => {
                Json::of(&NegotiationResponded { response: None, ..responded.clone() })
            }
            what => what.to_json(),
        };
        public.map_err(|e| Error::new(crate::Code::Internal, format!("an event cannot be written: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_recorded_and_never_published() {
        let event = Event {
            entity: "t".parse().unwrap(),
            what: What::TaskAssigned(TaskAssigned {
                task_id: "t".parse().unwrap(),
                status: TaskStatus::Assigned,
                attempt: 1,
                agent_id: "a".parse().unwrap(),
                incarnation: "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap(),
                deadline: Timestamp::from_millis(0),
                escalated_to: None,
                adjusted: None,
                choice: ChoiceMade {
                    rule: "least_connections".into(),
                    candidates: 1,
                    in_flight: 0,
                    figures: BTreeMap::new(),
                },
                permits: Vec::new(),
                secret: Some(AssignmentSecret { attempt_token: "hush".into(), delivery: Delivery::Redis }),
            }),
        };
        let recorded = serde_json::to_string(&event).unwrap();
        assert!(recorded.contains("hush"));
        assert_eq!(serde_json::from_str::<Event>(&recorded).unwrap(), event);
        assert!(!event.public_value().unwrap().as_str().contains("hush"));
    }
}
