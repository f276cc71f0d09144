//! The words of workflows: definitions, executions (one run of a definition), what happens to them, and how they are shown.

use crate::approval::DecisionMade;
use crate::command::{Failure, check_labels, check_text};
use crate::error::Error;
use crate::id::{EntityId, Id, Workspace};
use crate::json::{Json, there};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Steps that a view of an execution shows; the others are read page by page.
pub const STEPS_SHOWN: usize = 200;

/// `synod.workflow.define`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineWorkflow {
    /// Its id, which the definition names too.
    pub workflow_id: Id,
    /// The definition: its JSON, or a text of YAML.
    pub definition: Json,
}

/// `synod.execution.start`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartExecution {
    /// Its id, chosen by who starts it.
    pub execution_id: Id,
    /// Of which workflow.
    pub workflow_id: Id,
    /// What its steps read as `input`; null by default.
    #[serde(default)]
    pub input: Json,
    /// The version with this hash and no other; the newest that is known by default.
    #[serde(default)]
    pub hash: Option<String>,
    /// The definition itself, where it need not be defined beforehand.
    #[serde(default)]
    pub definition: Option<Json>,
    /// Free labels to find it by, beside the definition's.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What is asked of an execution beyond a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionChange {
    /// End it; what is under way is taken back.
    Cancel,
    /// Start nothing more; what is under way goes on.
    Pause,
    /// Go on; a budget that is used up counts no more.
    Resume,
}

impl ExecutionChange {
    /// Each with its `ce_type`.
    pub const ALL: [(ExecutionChange, &'static str); 3] = [
        (ExecutionChange::Cancel, "synod.execution.cancel"),
        (ExecutionChange::Pause, "synod.execution.pause"),
        (ExecutionChange::Resume, "synod.execution.resume"),
    ];

    /// The `ce_type`.
    pub fn ce_type(self) -> &'static str {
        match self {
            ExecutionChange::Cancel => "synod.execution.cancel",
            ExecutionChange::Pause => "synod.execution.pause",
            ExecutionChange::Resume => "synod.execution.resume",
        }
    }
}

/// `synod.execution.cancel`, `.pause`, `.resume`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeExecution {
    /// Which.
    pub execution_id: Id,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `synod.execution.signal`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalExecution {
    /// Which.
    pub execution_id: Id,
    /// The signal's name, as a step waits for it.
    pub name: String,
    /// What it brings; null by default.
    #[serde(default)]
    pub payload: Json,
}

/// `synod.execution.retry`: a step that failed for good is done once more, and so is what it kept from being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryExecution {
    /// Which.
    pub execution_id: Id,
    /// The step.
    pub step: String,
    /// In each map around it, from the outside in, for which item; none by default.
    #[serde(default)]
    pub items: Option<Vec<u32>>,
}

impl StartExecution {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("/hash", self.hash.as_deref())?;
        check_labels("/labels", self.labels.as_ref())
    }
}

impl SignalExecution {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("/name", Some(&self.name))
    }
}

impl RetryExecution {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("/step", Some(&self.step))
    }
}

/// How an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Under way.
    Running,
    /// Starts nothing; what is under way goes on.
    Paused,
    /// Over, with an output.
    Completed,
    /// Over: a step that was needed failed, or the time was up.
    Failed,
    /// Over: somebody said so.
    Cancelled,
}

impl ExecutionStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecutionStatus::Running => "running",
            ExecutionStatus::Paused => "paused",
            ExecutionStatus::Completed => "completed",
            ExecutionStatus::Failed => "failed",
            ExecutionStatus::Cancelled => "cancelled",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        !matches!(self, ExecutionStatus::Running | ExecutionStatus::Paused)
    }
}

/// How one doing of a step stands. One that has not begun is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Under way; a block is while its steps are.
    Running,
    /// Its result is there, and an expert is asked besides.
    Consulting,
    /// Between two attempts.
    Retrying,
    /// It has failed, and its fallback is under way.
    FallingBack,
    /// Done.
    Completed,
    /// Not needed.
    Skipped,
    /// Failed for good.
    Failed,
    /// Taken back, or what it needed failed.
    Cancelled,
}

impl StepStatus {
    /// Whether it is over.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            StepStatus::Completed | StepStatus::Skipped | StepStatus::Failed | StepStatus::Cancelled
        )
    }
}

/// What an attempt used up, as its agent reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens.
    #[serde(default)]
    pub tokens: u64,
    /// Money in millionths of its unit, so that sums are exact.
    #[serde(default)]
    pub money_micros: u64,
}

/// `synod.workflow.defined`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowDefined {
    /// Which.
    pub workflow_id: Id,
    /// The how-manieth, from 1. The same document again is no new one.
    pub version: u32,
    /// The document's fingerprint, to which executions are pinned.
    pub hash: String,
    /// The document.
    pub definition: Json,
}

/// `synod.execution.started`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionStarted {
    /// Which.
    pub execution_id: Id,
    /// Its status after this.
    pub status: ExecutionStatus,
    /// Of which workflow.
    pub workflow_id: Id,
    /// The definition's fingerprint.
    pub hash: String,
    /// The definition, to which it keeps whatever becomes of the workflow.
    pub definition: Json,
    /// What its steps read as `input`.
    pub input: Json,
    /// Free labels: the definition's, and those that it was started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// The trace that it belongs to, as the caller sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Fingerprint of the command's body, by which a repeat is told from another execution of that id.
    pub body: String,
}

/// `synod.execution.step_started`: an attempt is made, or a block opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepStarted {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// From 1; 0 for a block.
    pub attempt: u32,
    /// The task, negotiation or approval that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<EntityId>,
    /// When a wait is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// Of a condition: which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<bool>,
    /// Of a map: what it goes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Vec<Json>>,
}

/// `synod.execution.step_completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepCompleted {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// Which attempt; 0 for a block.
    pub attempt: u32,
    /// The result; absent where it follows from earlier events: of a block, of a step whose fallback was done instead, of one on
    /// which an expert was asked, of a wait for a signal.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub output: Option<Json>,
    /// How sure, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// What it used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The key of shared state under which the result is put, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_as: Option<String>,
}

/// `synod.execution.step_consulted`: the result is there and an expert is asked besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepConsulted {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// Which attempt.
    pub attempt: u32,
    /// The result.
    pub output: Json,
    /// How sure, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// What it used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The expert's task.
    pub child: EntityId,
}

/// `synod.execution.step_advised`: the expert's answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepAdvised {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// The expert's answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub advice: Option<Json>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What the expert used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// `synod.execution.step_failed`: an attempt failed; for good, unless `retry_at` or `falls_back` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepFailed {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// Which attempt; 0 for one that did not begin.
    pub attempt: u32,
    /// Why.
    pub error: Failure,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Whether its fallback is done instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub falls_back: bool,
    /// What the attempt used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// `synod.execution.step_skipped`, `.step_cancelled`, `.step_due`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepLeft {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// `synod.execution.revised`: from this step on up to the approval that asked for it, all is done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepRevised {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// The step from which on.
    pub from: String,
    /// The revision that begins, from 2.
    pub revision: u32,
    /// The request for changes.
    pub feedback: DecisionMade,
}

/// `synod.execution.retried`: a step that had failed for good is done once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepRetried {
    /// Which execution.
    pub execution_id: Id,
    /// The execution's status after this.
    pub status: ExecutionStatus,
    /// The step's id.
    pub step: String,
    /// In each map around it, from the outside in, for which item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
}

/// `synod.execution.signalled`: every step that waits for it has it as its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionSignalled {
    /// Which.
    pub execution_id: Id,
    /// Its status after this.
    pub status: ExecutionStatus,
    /// The signal's name.
    pub name: String,
    /// What it brings.
    pub payload: Json,
}

/// `synod.execution.paused`, `.resumed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionStands {
    /// Which.
    pub execution_id: Id,
    /// Its status after this.
    pub status: ExecutionStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `synod.execution.completed`, `.failed`, `.cancelled`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionEnded {
    /// Which.
    pub execution_id: Id,
    /// Its status after this.
    pub status: ExecutionStatus,
    /// Its output, where it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub output: Option<Json>,
    /// Whether its output is larger than 256 KiB and so stands with its steps alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_left_out: bool,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// A workflow as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// Which.
    pub workflow_id: Id,
    /// Whose.
    pub workspace: Workspace,
    /// The how-manieth, from 1.
    pub version: u32,
    /// The document's fingerprint.
    pub hash: String,
    /// The document.
    pub definition: Json,
    /// When it was defined first.
    pub created_at: Timestamp,
    /// When this version was defined.
    pub updated_at: Timestamp,
}

/// A workflow in short, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowBrief {
    /// Which.
    pub workflow_id: Id,
    /// Whose.
    pub workspace: Workspace,
    /// The how-manieth, from 1.
    pub version: u32,
    /// The document's fingerprint.
    pub hash: String,
    /// When it was defined first.
    pub created_at: Timestamp,
    /// When this version was defined.
    pub updated_at: Timestamp,
}

impl WorkflowBrief {
    /// All but the document.
    pub fn of(workflow: Workflow) -> WorkflowBrief {
        let Workflow { workflow_id, workspace, version, hash, created_at, updated_at, .. } = workflow;
        WorkflowBrief { workflow_id, workspace, version, hash, created_at, updated_at }
    }
}

/// An execution as a reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Execution {
    /// Which.
    pub execution_id: Id,
    /// Whose.
    pub workspace: Workspace,
    /// Of which workflow.
    pub workflow_id: Id,
    /// The fingerprint of the definition that it keeps to.
    pub hash: String,
    /// How it stands.
    pub status: ExecutionStatus,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// What its steps read as `input`.
    pub input: Json,
    /// Its output, once it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub output: Option<Json>,
    /// Whether its output is larger than 256 KiB and so stands with its steps alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_left_out: bool,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Its first 200 doings of steps, in the order of the definition.
    pub steps: Vec<StepDoing>,
    /// Doings of steps in all, by how they stand.
    pub step_counts: BTreeMap<StepStatus, u64>,
    /// What it has used up.
    pub usage: Usage,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
}

/// An execution in short, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionBrief {
    /// Which.
    pub execution_id: Id,
    /// Whose.
    pub workspace: Workspace,
    /// Of which workflow.
    pub workflow_id: Id,
    /// The fingerprint of the definition that it keeps to.
    pub hash: String,
    /// How it stands.
    pub status: ExecutionStatus,
    /// Doings of steps in all, by how they stand.
    pub step_counts: BTreeMap<StepStatus, u64>,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// One doing of a step as a reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepDoing {
    /// The step's id.
    pub step: String,
    /// For which items of the maps around it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
    /// What it is, such as `task`.
    pub kind: String,
    /// How it stands.
    pub status: StepStatus,
    /// Attempts so far; 0 for a block.
    pub attempts: u32,
    /// Which revision this is, from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub revision: u32,
    /// The task, negotiation or approval of the latest attempt; its attempts are read there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<EntityId>,
    /// What the latest attempt was given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub input: Option<Json>,
    /// Its output.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub output: Option<Json>,
    /// How sure, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What an expert said.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub advice: Option<Json>,
    /// Why it failed, or why its latest attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Id>,
    /// What became of its earlier revisions, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<RevisionDone>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// What became of one revision of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionDone {
    /// Which, from 1.
    pub revision: u32,
    /// Its output.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub output: Option<Json>,
    /// Of an approval: the request for changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionMade>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(count: &u32) -> bool {
    *count == 1
}
