//! Commands: what is asked, in the imperative. The shapes are the contract's, section 2.
//!
//! Every optional field is an `Option`, since `null` is as absent and both codecs must carry it; the
//! defaults are applied where the command is decided. What `check` refuses can never reach a shard.

use crate::approval::{DecideApproval, RequestApproval, ResubmitApproval};
use crate::breaker::OrderBreaker;
use crate::codec::{self, ContentType};
use crate::error::Error;
use crate::id::{Capability, EntityId, Id, Incarnation};
use crate::json::Json;
use crate::limits::{LIST_ENTRIES, Limits, TEXT_BYTES};
use crate::negotiation::{CancelNegotiation, OpenNegotiation, RespondNegotiation};
use crate::time::Timestamp;
use crate::topics;
use crate::track::AppraiseAgent;
use crate::workflow::{
    ChangeExecution, DefineWorkflow, ExecutionChange, RetryExecution, SignalExecution, StartExecution, Usage,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

mod life;
mod names;

pub use life::{PauseFleet, PauseMode, RESUME_AFTER_MS, Recovery, ReportError, ResumeFleet};

/// One thing that is asked of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `synod.agent.register`
    RegisterAgent(RegisterAgent),
    /// `synod.agent.deregister`, `.drain`, `.start`, `.pause`, `.resume`, `.stop`
    ChangeAgent(AgentChange, ChangeAgent),
    /// `synod.agent.order_breaker`
    OrderBreaker(OrderBreaker),
    /// `synod.agent.appraise`
    AppraiseAgent(AppraiseAgent),
    /// `synod.agent.report_error`
    ReportError(ReportError),
    /// `synod.fleet.pause`
    PauseFleet(PauseFleet),
    /// `synod.fleet.resume`
    ResumeFleet(ResumeFleet),
    /// `synod.task.submit`
    SubmitTask(SubmitTask),
    /// `synod.task.start`
    StartTask(ReportProgress),
    /// `synod.task.progress`
    ProgressTask(ReportProgress),
    /// `synod.task.complete`
    CompleteTask(CompleteTask),
    /// `synod.task.fail`
    FailTask(FailTask),
    /// `synod.task.decline`
    DeclineTask(FailTask),
    /// `synod.task.cancel`
    CancelTask(CancelTask),
    /// `synod.negotiation.open`
    OpenNegotiation(Box<OpenNegotiation>),
    /// `synod.negotiation.respond`
    RespondNegotiation(RespondNegotiation),
    /// `synod.negotiation.cancel`
    CancelNegotiation(CancelNegotiation),
    /// `synod.workflow.define`
    DefineWorkflow(DefineWorkflow),
    /// `synod.execution.start`
    StartExecution(Box<StartExecution>),
    /// `synod.execution.cancel`, `.pause`, `.resume`
    ChangeExecution(ExecutionChange, ChangeExecution),
    /// `synod.execution.signal`
    SignalExecution(SignalExecution),
    /// `synod.execution.retry`
    RetryExecution(RetryExecution),
    /// `synod.approval.request`
    RequestApproval(Box<RequestApproval>),
    /// `synod.approval.decide`
    DecideApproval(DecideApproval),
    /// `synod.approval.resubmit`
    ResubmitApproval(ResubmitApproval),
}

/// What is asked of an agent's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentChange {
    /// Leave the fleet; what it holds is given to others.
    Deregister,
    /// Finish what runs and take no more.
    Drain,
    /// Take work (again).
    Start,
    /// Take no new work for now.
    Pause,
    /// Take work again after a pause.
    Resume,
    /// End for good.
    Stop,
}

/// `synod.agent.register`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterAgent {
    /// Who.
    pub agent_id: Id,
    /// This process start; a newer one ends the older.
    pub incarnation: Incarnation,
    /// What it can do; at least one.
    pub capabilities: Vec<Capability>,
    /// Attempts at a time, 1 to 10,000; 1 by default.
    #[serde(default)]
    pub max_concurrency: Option<u32>,
    /// Free labels to match by.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// What it has, such as `{"gpu": 1}`; finite and not negative.
    #[serde(default)]
    pub resources: Option<BTreeMap<String, f64>>,
    /// How its work reaches it; `redis` by default.
    #[serde(default)]
    pub delivery: Option<Delivery>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
}

impl Eq for RegisterAgent {}

/// How work reaches an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Delivery {
    /// A Redis list of its own.
    #[default]
    Redis,
    /// A Kafka topic of its own.
    Kafka {
        /// Begins with `synod.inbox.`.
        topic: String,
    },
}

/// `synod.agent.deregister` and the other changes of an agent's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAgent {
    /// Who.
    pub agent_id: Id,
    /// Only this incarnation; any by default.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `synod.task.submit`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitTask {
    /// The task's id, chosen by who submits it.
    pub task_id: EntityId,
    /// Any agent that can do this; or `agent_id`.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// This agent and no other; or `capability`.
    #[serde(default)]
    pub agent_id: Option<Id>,
    /// Handed to the agent as it is; `null` by default.
    #[serde(default)]
    pub input: Json,
    /// 0 (may wait) to 9 (goes first); 5 by default.
    #[serde(default)]
    pub priority: Option<u8>,
    /// The time limit of one attempt, 1 ms to 7 days; 30,000 by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// When it is no longer wanted.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// What happens after a failure.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
    /// The balancing rule to choose by.
    #[serde(default)]
    pub strategy: Option<String>,
    /// What the agent must have.
    #[serde(default)]
    pub requires: Option<Requires>,
    /// Give it to another at the first suspicion, not only at loss.
    #[serde(default)]
    pub retry_on_suspect: Option<bool>,
    /// Free labels to find it by.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Of the tasks with the same key only so many run at a time, one by default.
    #[serde(default)]
    pub concurrency_key: Option<Id>,
    /// The last of several attempts goes to an agent with this capability.
    #[serde(default)]
    pub escalate_to: Option<Capability>,
    /// JSON merge patches (RFC 7396), at most 100: the n-th makes the input of the attempt after the n-th failure from the input
    /// as submitted; the last goes on.
    #[serde(default)]
    pub adjustments: Option<Vec<Json>>,
}

impl Eq for SubmitTask {}

/// What happens after a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, 1 to 100; 3 by default.
    #[serde(default)]
    pub max_attempts: Option<u32>,
    /// Before the second attempt; 200 by default.
    #[serde(default)]
    pub initial_backoff_ms: Option<u64>,
    /// Never longer than this; 30,000 by default.
    #[serde(default)]
    pub max_backoff_ms: Option<u64>,
    /// From one wait to the next, 1 to 100; 2 by default.
    #[serde(default)]
    pub multiplier: Option<f64>,
}

/// What an agent must have to be chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Each with exactly this value.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// At least this much of each.
    #[serde(default)]
    pub resources: Option<BTreeMap<String, f64>>,
}

/// `synod.task.start` and `synod.task.progress`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportProgress {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it, from 1.
    pub attempt: u32,
    /// The secret that came with the work.
    pub attempt_token: String,
    /// 0 to 1.
    #[serde(default)]
    pub progress: Option<f64>,
    /// For people.
    #[serde(default)]
    pub note: Option<String>,
    /// A part of the output, ahead of the rest.
    #[serde(default)]
    pub partial: Option<Json>,
}

impl Eq for ReportProgress {}

/// `synod.task.complete`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteTask {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it, from 1.
    pub attempt: u32,
    /// The secret that came with the work.
    pub attempt_token: String,
    /// The result; `null` by default.
    #[serde(default)]
    pub output: Json,
    /// How sure the agent is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// What it used up, against the budget of the execution that it belongs to.
    #[serde(default)]
    pub usage: Option<Usage>,
}

impl Eq for CompleteTask {}

impl CompleteTask {
    /// In bincode, which knows no defaults, what is newer may be missing: as with [`SubmitTask::read`].
    fn read(content_type: ContentType, bytes: &[u8], limits: &Limits) -> Result<CompleteTask, Error> {
        let read = codec::decode(content_type, bytes, limits);
        match content_type {
            ContentType::Bincode if read.is_err() => {
                codec::decode(content_type, &[bytes, &[0]].concat(), limits).or(read)
            }
            _ => read,
        }
    }

    /// The same: without it its bytes are what they were before there was any.
    fn write(&self, content_type: ContentType) -> Result<Vec<u8>, Error> {
        let mut bytes = codec::encode(content_type, self)?;
        if content_type == ContentType::Bincode && self.usage.is_none() {
            bytes.pop();
        }
        Ok(bytes)
    }
}

/// `synod.task.fail` and `synod.task.decline`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailTask {
    /// Which task.
    pub task_id: EntityId,
    /// Which try of it, from 1.
    pub attempt: u32,
    /// The secret that came with the work.
    pub attempt_token: String,
    /// Why.
    pub error: Failure,
}

/// Why an attempt failed, in the agent's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The agent's own code, or one of Synod's.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Whether another attempt may succeed; true by default.
    #[serde(default = "yes")]
    pub retryable: bool,
}

fn yes() -> bool {
    true
}

/// `synod.task.cancel`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelTask {
    /// Which task.
    pub task_id: EntityId,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

impl AgentChange {
    const ALL: [(AgentChange, &'static str); 6] = [
        (AgentChange::Deregister, "synod.agent.deregister"),
        (AgentChange::Drain, "synod.agent.drain"),
        (AgentChange::Start, "synod.agent.start"),
        (AgentChange::Pause, "synod.agent.pause"),
        (AgentChange::Resume, "synod.agent.resume"),
        (AgentChange::Stop, "synod.agent.stop"),
    ];

    /// The `ce_type`.
    pub fn ce_type(self) -> &'static str {
        // Every variant stands in the table.
        Self::ALL.iter().find(|(change, _)| *change == self).map_or("", |(_, ty)| ty)
    }
}

impl Command {
    /// The `ce_type`.
    pub fn ce_type(&self) -> &'static str {
        match self {
            Command::RegisterAgent(_) => "synod.agent.register",
            Command::ChangeAgent(change, _) => change.ce_type(),
            Command::OrderBreaker(_) => "synod.agent.order_breaker",
            Command::AppraiseAgent(_) => "synod.agent.appraise",
            Command::ReportError(_) => "synod.agent.report_error",
            Command::PauseFleet(_) => "synod.fleet.pause",
            Command::ResumeFleet(_) => "synod.fleet.resume",
            Command::SubmitTask(_) => "synod.task.submit",
            Command::StartTask(_) => "synod.task.start",
            Command::ProgressTask(_) => "synod.task.progress",
            Command::CompleteTask(_) => "synod.task.complete",
            Command::FailTask(_) => "synod.task.fail",
            Command::DeclineTask(_) => "synod.task.decline",
            Command::CancelTask(_) => "synod.task.cancel",
            Command::OpenNegotiation(_) => "synod.negotiation.open",
            Command::RespondNegotiation(_) => "synod.negotiation.respond",
            Command::CancelNegotiation(_) => "synod.negotiation.cancel",
            Command::DefineWorkflow(_) => "synod.workflow.define",
            Command::StartExecution(_) => "synod.execution.start",
            Command::ChangeExecution(change, _) => change.ce_type(),
            Command::SignalExecution(_) => "synod.execution.signal",
            Command::RetryExecution(_) => "synod.execution.retry",
            Command::RequestApproval(_) => "synod.approval.request",
            Command::DecideApproval(_) => "synod.approval.decide",
            Command::ResubmitApproval(_) => "synod.approval.resubmit",
        }
    }

    /// The id of the root whose shard decides it, which is also the record's key.
    pub fn root(&self) -> &str {
        match self {
            Command::RegisterAgent(c) => c.agent_id.as_str(),
            Command::ChangeAgent(_, c) => c.agent_id.as_str(),
            Command::OrderBreaker(c) => c.agent_id.as_str(),
            Command::AppraiseAgent(c) => c.agent_id.as_str(),
            Command::ReportError(c) => c.agent_id.as_str(),
            Command::PauseFleet(_) | Command::ResumeFleet(_) => topics::FLEET_ROOT,
            Command::SubmitTask(c) => c.task_id.root(),
            Command::StartTask(c) | Command::ProgressTask(c) => c.task_id.root(),
            Command::CompleteTask(c) => c.task_id.root(),
            Command::FailTask(c) | Command::DeclineTask(c) => c.task_id.root(),
            Command::CancelTask(c) => c.task_id.root(),
            Command::OpenNegotiation(c) => c.negotiation_id.root(),
            Command::RespondNegotiation(c) => c.negotiation_id.root(),
            Command::CancelNegotiation(c) => c.negotiation_id.root(),
            Command::DefineWorkflow(c) => c.workflow_id.as_str(),
            Command::StartExecution(c) => c.execution_id.as_str(),
            Command::ChangeExecution(_, c) => c.execution_id.as_str(),
            Command::SignalExecution(c) => c.execution_id.as_str(),
            Command::RetryExecution(c) => c.execution_id.as_str(),
            Command::RequestApproval(c) => c.approval_id.root(),
            Command::DecideApproval(c) => c.approval_id.root(),
            Command::ResubmitApproval(c) => c.approval_id.root(),
        }
    }

    /// Whether it brings new work, which may be refused under load; all else must always pass.
    pub fn is_admission(&self) -> bool {
        matches!(
            self,
            Command::SubmitTask(_)
                | Command::OpenNegotiation(_)
                | Command::StartExecution(_)
                | Command::RequestApproval(_)
        )
    }

    /// Reads and checks a command.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the offending place.
    pub fn decode(
        ce_type: &str,
        content_type: ContentType,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Command, Error> {
        let unknown = || {
            let shown = crate::id::shown(ce_type);
            Error::invalid(format!("ce_type {shown} is not a command that is known here"))
        };
        let command = Command::read(ce_type, content_type, bytes, limits).ok_or_else(unknown)??;
        command.check()?;
        Ok(command)
    }

    /// Encodes the payload.
    ///
    /// # Errors
    /// `internal`: a number in it is not finite.
    pub fn encode(&self, content_type: ContentType) -> Result<Vec<u8>, Error> {
        match self {
            Command::RegisterAgent(c) => codec::encode(content_type, c),
            Command::ChangeAgent(_, c) => codec::encode(content_type, c),
            Command::OrderBreaker(c) => codec::encode(content_type, c),
            Command::AppraiseAgent(c) => codec::encode(content_type, c),
            Command::ReportError(c) => codec::encode(content_type, c),
            Command::PauseFleet(c) => codec::encode(content_type, c),
            Command::ResumeFleet(c) => codec::encode(content_type, c),
            Command::SubmitTask(c) => c.write(content_type),
            Command::StartTask(c) | Command::ProgressTask(c) => codec::encode(content_type, c),
            Command::CompleteTask(c) => c.write(content_type),
            Command::FailTask(c) | Command::DeclineTask(c) => codec::encode(content_type, c),
            Command::CancelTask(c) => codec::encode(content_type, c),
            Command::OpenNegotiation(c) => codec::encode(content_type, c),
            Command::RespondNegotiation(c) => codec::encode(content_type, c),
            Command::CancelNegotiation(c) => codec::encode(content_type, c),
            Command::DefineWorkflow(c) => codec::encode(content_type, c),
            Command::StartExecution(c) => codec::encode(content_type, c),
            Command::ChangeExecution(_, c) => codec::encode(content_type, c),
            Command::SignalExecution(c) => codec::encode(content_type, c),
            Command::RetryExecution(c) => codec::encode(content_type, c),
            Command::RequestApproval(c) => codec::encode(content_type, c),
            Command::DecideApproval(c) => codec::encode(content_type, c),
            Command::ResubmitApproval(c) => codec::encode(content_type, c),
        }
    }

    /// What the types alone cannot say.
    ///
    /// # Errors
    /// `invalid_argument`, with the offending place.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Command::RegisterAgent(c) => c.check(),
            Command::ChangeAgent(_, c) => check_text("/reason", c.reason.as_deref()),
            Command::OrderBreaker(c) => check_text("/reason", c.reason.as_deref()),
            Command::AppraiseAgent(c) => c.check(),
            Command::ReportError(c) => c.check(),
            Command::PauseFleet(c) => check_text("/reason", c.reason.as_deref()),
            Command::ResumeFleet(c) => check_text("/reason", c.reason.as_deref()),
            Command::SubmitTask(c) => c.check(),
            Command::StartTask(c) | Command::ProgressTask(c) => {
                check_unit("/progress", c.progress)?;
                check_text("/note", c.note.as_deref())
            }
            Command::CompleteTask(c) => check_unit("/confidence", c.confidence),
            Command::FailTask(c) | Command::DeclineTask(c) => {
                check_text("/error/code", Some(&c.error.code))?;
                check_text("/error/message", Some(&c.error.message))
            }
            Command::CancelTask(c) => check_text("/reason", c.reason.as_deref()),
            Command::OpenNegotiation(c) => c.check(),
            Command::RespondNegotiation(c) => c.check(),
            Command::CancelNegotiation(c) => c.check(),
            Command::DefineWorkflow(_) => Ok(()),
            Command::StartExecution(c) => c.check(),
            Command::ChangeExecution(_, c) => check_text("/reason", c.reason.as_deref()),
            Command::SignalExecution(c) => c.check(),
            Command::RetryExecution(c) => c.check(),
            Command::RequestApproval(c) => c.check(),
            Command::DecideApproval(c) => c.check(),
            Command::ResubmitApproval(c) => c.check(),
        }
    }
}

impl RegisterAgent {
    fn check(&self) -> Result<(), Error> {
        check_range("/capabilities", "capabilities", self.capabilities.len() as u64, 1, LIST_ENTRIES as u64)?;
        check_range(
            "/max_concurrency",
            "max_concurrency",
            self.max_concurrency.unwrap_or(1).into(),
            1,
            10_000,
        )?;
        check_labels("/labels", self.labels.as_ref())?;
        check_resources("/resources", self.resources.as_ref())?;
        check_text("/description", self.description.as_deref())?;
        match &self.delivery {
            Some(Delivery::Kafka { topic }) if !is_inbox(topic) => Err(Error::invalid(format!(
                "delivery topic {} must begin with {} and be a Kafka topic's name",
                crate::id::shown(topic),
                topics::INBOX_PREFIX
            ))
            .with_field("/delivery/kafka/topic")),
            _ => Ok(()),
        }
    }
}

fn is_inbox(topic: &str) -> bool {
    topic.len() > topics::INBOX_PREFIX.len()
        && topic.starts_with(topics::INBOX_PREFIX)
        && topics::is_topic_name(topic)
}

impl SubmitTask {
    /// In bincode, which knows no defaults, the fields may be missing that are newer than what else stands there.
    fn read(content_type: ContentType, bytes: &[u8], limits: &Limits) -> Result<SubmitTask, Error> {
        let read = codec::decode(content_type, bytes, limits);
        match (content_type, read) {
            (ContentType::Bincode, Err(error)) => {
                let with_none = |missing| [bytes, &[0].repeat(missing)].concat();
                let mut reads = (1..=Self::NEWER)
                    .filter_map(|missing| codec::decode(content_type, &with_none(missing), limits).ok());
                reads.next().ok_or(error)
            }
            (_, read) => read,
        }
    }

    /// The same: without them its bytes are what they were before there were any.
    fn write(&self, content_type: ContentType) -> Result<Vec<u8>, Error> {
        let mut bytes = codec::encode(content_type, self)?;
        if content_type == ContentType::Bincode {
            let newer =
                [self.adjustments.is_some(), self.escalate_to.is_some(), self.concurrency_key.is_some()];
            let missing = newer.iter().take_while(|is_there| !**is_there).count();
            bytes.truncate(bytes.len() - missing);
        }
        Ok(bytes)
    }

    /// Fields that bincode may lack: from `concurrency_key` on.
    const NEWER: usize = 3;

    /// A task for any agent with this capability, all else by default.
    pub fn new(task_id: EntityId, capability: Capability, input: Json) -> SubmitTask {
        SubmitTask { capability: Some(capability), ..SubmitTask::for_anyone(task_id, input) }
    }

    /// A task of which it is still to be said for whom it is.
    pub fn for_anyone(task_id: EntityId, input: Json) -> SubmitTask {
        SubmitTask {
            task_id,
            capability: None,
            agent_id: None,
            input,
            priority: None,
            timeout_ms: None,
            deadline: None,
            retry: None,
            strategy: None,
            requires: None,
            retry_on_suspect: None,
            labels: None,
            concurrency_key: None,
            escalate_to: None,
            adjustments: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.capability.is_some() == self.agent_id.is_some() {
            return Err(Error::invalid(
                "a task names one of capability and agent_id, not both and not neither",
            )
            .with_field("/capability"));
        }
        check_range("/priority", "priority", self.priority.unwrap_or(5).into(), 0, 9)?;
        check_range("/timeout_ms", "timeout_ms", self.timeout_ms.unwrap_or(1), 1, 7 * 24 * 3_600_000)?;
        check_labels("/labels", self.labels.as_ref())?;
        if let Some(requires) = &self.requires {
            check_labels("/requires/labels", requires.labels.as_ref())?;
            check_resources("/requires/resources", requires.resources.as_ref())?;
        }
        if let Some(rule) = self.strategy.as_deref() {
            check_rule_name(rule)?;
        }
        let max_attempts = self.retry.as_ref().and_then(|retry| retry.max_attempts);
        if self.escalate_to.is_some() && max_attempts == Some(1) {
            let message = "the last attempt is escalated only if there is one before it: max_attempts must be 2 or more";
            return Err(Error::invalid(message).with_field("/escalate_to"));
        }
        let adjustments = self.adjustments.as_ref().map_or(0, Vec::len);
        check_range("/adjustments", "adjustments", adjustments as u64, 0, 100)?;
        self.retry.as_ref().map_or(Ok(()), RetryPolicy::check)
    }
}

/// Which rules there are, the coordinator knows: an embedder may have added some.
fn check_rule_name(name: &str) -> Result<(), Error> {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name {
        return Ok(());
    }
    let shown = crate::id::shown(name);
    let message = format!("strategy {shown} is no name of a rule: 1 to 64 of a-z, 0-9 and _");
    Err(Error::invalid(message).with_field("/strategy"))
}

impl RetryPolicy {
    fn check(&self) -> Result<(), Error> {
        const DAY_MS: u64 = 24 * 3_600_000;
        let max_attempts = self.max_attempts.unwrap_or(1).into();
        check_range("/retry/max_attempts", "max_attempts", max_attempts, 1, 100)?;
        let initial = self.initial_backoff_ms.unwrap_or(0);
        check_range("/retry/initial_backoff_ms", "initial_backoff_ms", initial, 0, DAY_MS)?;
        check_range("/retry/max_backoff_ms", "max_backoff_ms", self.max_backoff_ms.unwrap_or(0), 0, DAY_MS)?;
        match self.multiplier {
            Some(m) if !(1.0..=100.0).contains(&m) => {
                Err(Error::invalid(format!("multiplier is {m}, it must be 1 to 100"))
                    .with_field("/retry/multiplier"))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_range(field: &str, name: &str, value: u64, low: u64, high: u64) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value}, it must be {low} to {high}")).with_field(field))
}

fn check_unit(field: &str, value: Option<f64>) -> Result<(), Error> {
    match value {
        Some(v) if !(0.0..=1.0).contains(&v) => {
            Err(Error::invalid(format!("{} is {v}, it must be 0 to 1", &field[1..])).with_field(field))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_text(field: &str, text: Option<&str>) -> Result<(), Error> {
    match text {
        Some(t) if t.len() > TEXT_BYTES => {
            let name = field.rsplit('/').next().unwrap_or_default();
            Err(Error::invalid(format!("{name} has {} bytes, the limit is {TEXT_BYTES}", t.len()))
                .with_field(field))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_labels(field: &str, labels: Option<&BTreeMap<String, String>>) -> Result<(), Error> {
    let Some(labels) = labels else { return Ok(()) };
    check_range(field, "the number of labels", labels.len() as u64, 0, LIST_ENTRIES as u64)?;
    for (name, value) in labels {
        check_range(field, "the length of a label's name", name.len() as u64, 1, 128)?;
        check_text(field, Some(value))?;
    }
    Ok(())
}

fn check_resources(field: &str, resources: Option<&BTreeMap<String, f64>>) -> Result<(), Error> {
    let Some(resources) = resources else { return Ok(()) };
    check_range(field, "the number of resources", resources.len() as u64, 0, LIST_ENTRIES as u64)?;
    for (name, value) in resources {
        check_range(field, "the length of a resource's name", name.len() as u64, 1, 128)?;
        if !value.is_finite() || *value < 0.0 {
            return Err(Error::invalid(format!(
                "resource {name} is {value}, it must be finite and not negative"
            ))
            .with_field(format!("{field}/{name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ty: &str, body: &str, want: Result<&str, Option<&str>>) {
        let got = Command::decode(ty, ContentType::Json, body.as_bytes(), &Limits::default());
        match (&got, want) {
            (Ok(command), Ok(root)) => assert_eq!(command.root(), root, "{body}"),
            (Err(error), Err(field)) => assert_eq!(error.field.as_deref(), field, "{body}: {error}"),
            _ => panic!("{ty} {body}: {got:?}"),
        }
    }

    #[test]
    fn bincode_of_a_task_is_read_with_and_without_its_newest_field() {
        let limits = Limits::default();
        let ty = "synod.task.submit";
        let plain = SubmitTask::new("t".parse().unwrap(), "c".parse().unwrap(), Json::null());
        let keyed = SubmitTask { concurrency_key: Some("k".parse().unwrap()), ..plain.clone() };
        let read = |bytes: &[u8]| Command::decode(ty, ContentType::Bincode, bytes, &limits);
        let short = Command::SubmitTask(plain.clone()).encode(ContentType::Bincode).unwrap();
        let whole = codec::encode(ContentType::Bincode, &plain).unwrap();
        assert_eq!(whole, [short.as_slice(), &[0; 3]].concat(), "as before there were such fields");
        for (bytes, task) in [(short.clone(), &plain), (whole, &plain)] {
            assert_eq!(read(&bytes).unwrap(), Command::SubmitTask(task.clone()));
        }
        let adjusted = SubmitTask { adjustments: Some(vec![Json::null()]), ..plain };
        for task in [keyed, adjusted] {
            let bytes = Command::SubmitTask(task.clone()).encode(ContentType::Bincode).unwrap();
            assert_eq!(read(&bytes).unwrap(), Command::SubmitTask(task));
        }
        // What ends earlier is no task, and what goes on none either.
        assert!(read(&short[..short.len() - 1]).is_err());
        assert!(read(&[short.as_slice(), &[0; 4]].concat()).is_err());
    }

    #[test]
    fn commands_are_read_and_checked() {
        let submit = "synod.task.submit";
        check(submit, r#"{"task_id":"t:a/b","capability":"c","input":{"x":[1]}}"#, Ok("t"));
        check(
            submit,
            r#"{"task_id":"t","agent_id":"a","priority":null,"retry":{"max_attempts":5}}"#,
            Ok("t"),
        );
        check(submit, r#"{"task_id":"t"}"#, Err(Some("/capability")));
        check(submit, r#"{"task_id":"t","capability":"c","agent_id":"a"}"#, Err(Some("/capability")));
        check(submit, r#"{"task_id":"a b","capability":"c"}"#, Err(Some("/task_id")));
        check(submit, r#"{"task_id":"t","capability":"c","priority":10}"#, Err(Some("/priority")));
        check(submit, r#"{"task_id":"t","capability":"c","priority":-1}"#, Err(Some("/priority")));
        check(submit, r#"{"task_id":"t","capability":"c","timeout_ms":0}"#, Err(Some("/timeout_ms")));
        check(
            submit,
            r#"{"task_id":"t","capability":"c","retry":{"max_attempts":0}}"#,
            Err(Some("/retry/max_attempts")),
        );
        check(
            submit,
            r#"{"task_id":"t","capability":"c","retry":{"multiplier":0.5}}"#,
            Err(Some("/retry/multiplier")),
        );
        check(submit, r#"{"task_id":"t","capability":"c","strategy":"Fastest"}"#, Err(Some("/strategy")));
        let once = r#"{"task_id":"t","capability":"c","retry":{"max_attempts":1},"escalate_to":"e"}"#;
        check(submit, once, Err(Some("/escalate_to")));
        let many = format!(r#"{{"task_id":"t","capability":"c","adjustments":[{}]}}"#, ["1"; 101].join(","));
        check(submit, &many, Err(Some("/adjustments")));
        check(submit, r#"{"task_id":"t","capability":"c","nope":1}"#, Err(Some("/nope")));
        check(submit, r#"{"task_id":"t","capability":"c","task_id":"u"}"#, Err(None));
        check("synod.task.obey", r#"{}"#, Err(None));
        check(
            "synod.task.complete",
            r#"{"task_id":"t","attempt":1,"attempt_token":"x","confidence":2}"#,
            Err(Some("/confidence")),
        );
        let register = "synod.agent.register";
        let agent = |more: &str| {
            format!(
                r#"{{"agent_id":"a","incarnation":"0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10","capabilities":["c"]{more}}}"#
            )
        };
        check(register, &agent(""), Ok("a"));
        check(register, &agent(r#","delivery":"redis""#), Ok("a"));
        check(register, &agent(r#","delivery":{"kafka":{"topic":"synod.inbox.a"}}"#), Ok("a"));
        check(
            register,
            &agent(r#","delivery":{"kafka":{"topic":"synod.ledger.v1"}}"#),
            Err(Some("/delivery/kafka/topic")),
        );
        check(register, &agent(r#","max_concurrency":0"#), Err(Some("/max_concurrency")));
        check(register, &agent(r#","resources":{"gpu":-1}"#), Err(Some("/resources/gpu")));
        check("synod.agent.drain", r#"{"agent_id":"a","reason":null}"#, Ok("a"));
        let error = "synod.agent.report_error";
        check(error, r#"{"agent_id":"a","recovery":"resume","resume_after_ms":3600000}"#, Ok("a"));
        for after in ["0", "3600001"] {
            let body = format!(r#"{{"agent_id":"a","recovery":"resume","resume_after_ms":{after}}}"#);
            check(error, &body, Err(Some("/resume_after_ms")));
        }
        check(error, r#"{"agent_id":"a","resume_after_ms":5}"#, Err(Some("/resume_after_ms")));
        check(error, r#"{"agent_id":"a","recovery":"pray"}"#, Err(Some("/recovery")));
        check("synod.fleet.pause", r#"{"capability":"c","mode":"halt"}"#, Ok("synod.fleet"));
        let open = "synod.negotiation.open";
        let vote = |more: &str| format!(r#"{{"negotiation_id":"n","protocol":"vote"{more}}}"#);
        check(open, &vote(r#","participants":["a","b"]"#), Ok("n"));
        check(open, &vote(""), Err(Some("/participants")));
        check(open, &vote(r#","participants":["a","b","a"]"#), Err(Some("/participants/2")));
        let many: Vec<String> = (0..1_001).map(|n| format!("\"a{n}\"")).collect();
        check(open, &vote(&format!(r#","participants":[{}]"#, many.join(","))), Err(Some("/participants")));
        check(open, &vote(r#","participants":["a"],"weights":{"a":-1}"#), Err(Some("/weights/a")));
        check(open, &vote(r#","participants":["a"],"quorum":{"share":"4/3"}"#), Err(Some("/quorum/share")));
        check(open, &vote(r#","participants":["a"],"quorum":{"count":0}"#), Err(Some("/quorum/count")));
        check(open, &vote(r#","participants":["a"],"round_ms":1"#), Err(Some("/round_ms")));
        check(open, &vote(r#","participants":["a"],"then":{"task":{}}"#), Err(Some("/then/task")));
        check(
            open,
            r#"{"negotiation_id":"n","protocol":"Vote!","participants":["a"]}"#,
            Err(Some("/protocol")),
        );
        let respond = "synod.negotiation.respond";
        check(respond, r#"{"negotiation_id":"n:1","participant":"a","abstain":true}"#, Ok("n"));
        check(respond, r#"{"negotiation_id":"n","participant":"a"}"#, Err(Some("/response")));
        check("synod.fleet.pause", r#"{"workspace":"other"}"#, Err(Some("/workspace")));
        check("synod.fleet.resume", r#"{"everything":true}"#, Ok("synod.fleet"));
    }

    #[test]
    fn every_command_survives_both_codecs() {
        let samples = [
            (
                "synod.task.submit",
                r#"{"task_id":"t","capability":"c","input":{"x":[1.5,null]},"labels":{"a":"b"},"retry":{"multiplier":1.5},"requires":{"resources":{"gpu":1}}}"#,
            ),
            (
                "synod.task.fail",
                r#"{"task_id":"t","attempt":2,"attempt_token":"x","error":{"code":"c","message":"m"}}"#,
            ),
            (
                "synod.task.progress",
                r#"{"task_id":"t","attempt":2,"attempt_token":"x","progress":0.5,"partial":{"a":1}}"#,
            ),
            (
                "synod.agent.register",
                r#"{"agent_id":"a","incarnation":"0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10","capabilities":["c"],"delivery":{"kafka":{"topic":"synod.inbox.a"}}}"#,
            ),
        ];
        let samples = samples.into_iter().chain([
            ("synod.agent.report_error", r#"{"agent_id":"a","recovery":"resume","resume_after_ms":5}"#),
            ("synod.fleet.pause", r#"{"capability":"c","mode":"halt"}"#),
            ("synod.fleet.resume", r#"{"everything":true,"reason":"over"}"#),
            (
                "synod.negotiation.open",
                r#"{"negotiation_id":"n","protocol":"vote","participants":["a"],"weights":{"a":"1/3"},"quorum":{"share":0.5},"on_timeout":{"default":{"x":1}}}"#,
            ),
            ("synod.negotiation.respond", r#"{"negotiation_id":"n","participant":"a","response":[1]}"#),
        ]);
        for (ty, body) in samples {
            let first = Command::decode(ty, ContentType::Json, body.as_bytes(), &Limits::default()).unwrap();
            for content_type in [ContentType::Json, ContentType::Bincode] {
                let bytes = first.encode(content_type).unwrap();
                assert_eq!(
                    Command::decode(ty, content_type, &bytes, &Limits::default()).unwrap(),
                    first,
                    "{ty}"
                );
            }
        }
    }
}
