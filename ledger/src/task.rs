//! A task as an entity: one state, one match for each thing that can happen to it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use synod_fleet::{Need, retry};
use synod_protocol::command::{Delivery, SubmitTask};
use synod_protocol::event::{Retry, TaskSubmitted, What};
use synod_protocol::json::there;
use synod_protocol::view::{Attempt, Outcome, Task, TaskStatus};
use synod_protocol::{Capability, Code, Error, Id, Incarnation, Json, Timestamp, Workspace};

/// How long a task without a deadline is wanted.
pub const DEFAULT_DEADLINE_MS: u64 = 24 * 3_600_000;
/// The time limit of one attempt where none is given.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
/// Losses of an agent that end a task: it may be what kills them.
pub const LOSS_LIMIT: u32 = 3;

/// What the ledger knows of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    /// The command, every default applied.
    pub submitted: Arc<TaskSubmitted>,
    /// When it came.
    pub submitted_at: Timestamp,
    /// Where it stands.
    pub status: TaskStatus,
    /// Every try of it.
    pub attempts: Vec<AttemptState>,
    /// Not before this, while `Retrying`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Who declined it and is not asked again.
    pub avoid: BTreeSet<Id>,
    /// Failures and time-outs, which use up attempts.
    pub failures: u32,
    /// Agents lost with it.
    pub losses: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    output: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// One try, with what only coordinators and the agent may know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptState {
    /// As a reader sees it.
    pub seen: Attempt,
    /// To be given back with the result.
    pub token: String,
    /// How it reached the agent.
    pub delivery: Delivery,
    /// When its time is over.
    pub deadline: Timestamp,
    /// The permits that it holds while it is in force, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permits: Vec<String>,
}

impl TaskState {
    /// The state right after its submission.
    pub(crate) fn new(submitted: TaskSubmitted, now: Timestamp) -> TaskState {
        TaskState {
            status: submitted.status,
            submitted: Arc::new(submitted),
            submitted_at: now,
            attempts: Vec::new(),
            retry_at: None,
            avoid: BTreeSet::new(),
            failures: 0,
            losses: 0,
            progress: None,
            output: None,
            confidence: None,
            error: None,
            completed_at: None,
        }
    }

    /// What an attempt of it was asked for; `None` where it names its agent.
    pub fn asked_for(&self, attempt: &Attempt) -> Option<&Capability> {
        let escalated_to = attempt.escalated_to.as_ref().and(self.submitted.escalate_to.as_ref());
        escalated_to.or(self.submitted.capability.as_ref())
    }

    /// What an attempt of it is handed.
    pub(crate) fn input(&self, attempt: &Attempt) -> Json {
        let adjustment = attempt.adjusted.and_then(|n| self.submitted.adjustments.get(n as usize - 1));
        adjustment.map_or_else(|| self.submitted.input.clone(), |patch| self.submitted.input.merged(patch))
    }

    /// The attempt in force, if one is.
    pub fn current(&self) -> Option<&AttemptState> {
        self.attempts.last().filter(|a| a.seen.ended_at.is_none())
    }

    /// What each attempt of it takes of its agent's resources.
    pub fn resources(&self) -> Option<&std::collections::BTreeMap<String, f64>> {
        self.submitted.requires.as_ref()?.resources.as_ref()
    }

    /// About what it takes in memory, in bytes: by this, and never by the time alone, ended tasks make room.
    pub fn weight(&self) -> usize {
        let output = self.output.as_ref().map_or(0, |output| output.as_str().len());
        2_048 + self.submitted.input.as_str().len() + output + self.attempts.len() * 512
    }

    /// When something is due by itself: the attempt's time limit or the deadline.
    pub fn timer(&self) -> Option<Timestamp> {
        if self.status.is_final() {
            return None;
        }
        let attempt = self.current().map(|a| a.deadline);
        Some(attempt.map_or(self.submitted.deadline, |at| at.min(self.submitted.deadline)))
    }

    /// The state after an event; total.
    pub(crate) fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::TaskAssigned(e) => {
                let (token, delivery) = e
                    .secret
                    .as_ref()
                    .map_or_else(Default::default, |s| (s.attempt_token.clone(), s.delivery.clone()));
                self.retry_at = None;
                self.status = e.status;
                self.attempts.push(AttemptState {
                    seen: Attempt {
                        attempt: e.attempt,
                        agent_id: e.agent_id.clone(),
                        incarnation: e.incarnation.clone(),
                        started_at: now,
                        ended_at: None,
                        outcome: None,
                        why: Some(format!(
                            "{} of {} candidate{}, {} in flight",
                            e.choice.rule,
                            e.choice.candidates,
                            if e.choice.candidates == 1 { "" } else { "s" },
                            e.choice.in_flight
                        )),
                        choice: Some(e.choice.clone()),
                        escalated_to: e.escalated_to.clone(),
                        adjusted: e.adjusted,
                    },
                    token,
                    delivery,
                    deadline: e.deadline,
                    permits: e.permits.clone(),
                });
            }
            What::TaskStarted(e) => self.status = e.status,
            What::TaskProgressed(e) => {
                self.status = e.status;
                self.progress = e.progress.or(self.progress);
            }
            What::TaskAttemptFailed(e) => {
                let outcome = if e.timed_out { Outcome::TimedOut } else { Outcome::Failed };
                let why = format!("{}: {}", e.error.code, e.error.message);
                self.end_attempt(now, outcome, Some(why.clone()));
                self.error = Some(Error::new(Code::Unprocessable, why));
                self.failures += 1;
                self.status = e.status;
            }
            What::TaskDeclined(e) => {
                self.end_attempt(
                    now,
                    Outcome::Declined,
                    Some(format!("{}: {}", e.error.code, e.error.message)),
                );
                self.avoid.insert(e.agent_id.clone());
                self.status = e.status;
            }
            What::TaskReassigned(e) => {
                // A decline has ended its attempt already; a loss or a leave ends it here.
                let outcome = if e.lost { Outcome::Lost } else { Outcome::Withdrawn };
                self.end_attempt(now, outcome, Some(e.reason.clone()));
                self.losses += u32::from(e.lost);
                self.status = e.status;
            }
            What::TaskRetryScheduled(e) => {
                self.retry_at = Some(e.at);
                self.status = e.status;
            }
            What::TaskCompleted(e) => {
                self.end_attempt(now, Outcome::Completed, None);
                self.output = Some(e.output.clone());
                self.confidence = e.confidence;
                self.error = None;
                self.end(e.status, now);
            }
            What::TaskFailed(e) | What::TaskDeadLettered(e) => {
                self.end_attempt(now, Outcome::Failed, Some(e.error.message.clone()));
                self.error = Some(e.error.clone());
                self.end(e.status, now);
            }
            What::TaskCancelled(e) => {
                self.end_attempt(now, Outcome::Cancelled, e.reason.clone());
                self.end(e.status, now);
            }
            _ => {}
        }
    }

    fn end_attempt(&mut self, now: Timestamp, outcome: Outcome, why: Option<String>) {
        if let Some(last) = self.attempts.last_mut().filter(|a| a.seen.ended_at.is_none()) {
            last.seen.ended_at = Some(now);
            last.seen.outcome = Some(outcome);
            last.seen.why = why.or(last.seen.why.take());
            self.progress = None;
        }
    }

    fn end(&mut self, status: TaskStatus, now: Timestamp) {
        self.status = status;
        self.retry_at = None;
        self.completed_at = Some(now);
    }

    /// The attempt that a result speaks of, if it may.
    ///
    /// # Errors
    /// `invalid_transition` when the task has ended, `fenced` when the attempt or its token is not the one in force.
    pub(crate) fn authorise(&self, attempt: u32, token: &str) -> Result<&AttemptState, Error> {
        let id = &self.submitted.task_id;
        if self.status.is_final() {
            let status = self.status.as_str();
            return Err(Error::invalid_transition(format!("task {id} has ended as {status}"), status));
        }
        match self.current() {
            Some(current) if current.seen.attempt == attempt && same_token(&current.token, token) => {
                Ok(current)
            }
            Some(current) if current.seen.attempt == attempt => {
                Err(Error::fenced(format!("the token of attempt {attempt} of task {id} is another")))
            }
            Some(current) => Err(Error::fenced(format!(
                "attempt {attempt} of task {id} is not in force; attempt {} is",
                current.seen.attempt
            ))),
            None => Err(Error::fenced(format!(
                "attempt {attempt} of task {id} is over and no other is in force yet"
            ))),
        }
    }

    /// As a reader sees it.
    pub fn view(&self, workspace: &Workspace) -> Task {
        let s = &self.submitted;
        let last = self.attempts.last();
        Task {
            task_id: s.task_id.clone(),
            workspace: workspace.clone(),
            status: self.status,
            capability: s.capability.clone(),
            agent_id: s.agent_id.clone(),
            input: s.input.clone(),
            output: self.output.clone(),
            error: self.error.clone(),
            confidence: self.confidence,
            progress: self.progress,
            priority: s.priority,
            deadline: s.deadline,
            attempts: self.attempts.iter().map(|a| a.seen.clone()).collect(),
            labels: s.labels.clone(),
            submitted_at: self.submitted_at,
            completed_at: self.completed_at,
            processing_ms: last.and_then(|a| Some(a.seen.ended_at?.millis_since(a.seen.started_at))),
            correlation_id: s.correlation_id.clone(),
            concurrency_key: s.concurrency_key.clone(),
            waits_for: None,
        }
    }

    /// Whether the next attempt is the one that is escalated.
    fn escalates(&self) -> bool {
        let is_last = self.failures > 0 && self.failures + 1 >= self.submitted.retry.max_attempts;
        is_last && self.submitted.escalate_to.is_some()
    }

    /// What whoever gets the next attempt must be able to do.
    pub fn capability(&self) -> Option<&Capability> {
        if self.escalates() {
            self.submitted.escalate_to.as_ref()
        } else {
            self.submitted.capability.as_ref()
        }
    }

    /// Who alone may get the next attempt.
    pub fn agent(&self) -> Option<&Id> {
        self.submitted.agent_id.as_ref().filter(|_| !self.escalates())
    }

    /// The capability that the next attempt is escalated to, if it is, and the adjustment that makes its input, from 1.
    pub(crate) fn next_is_changed(&self) -> (Option<Capability>, Option<u32>) {
        let adjusted = self.failures.min(self.submitted.adjustments.len() as u32);
        let escalated_to = self.submitted.escalate_to.clone().filter(|_| self.escalates());
        (escalated_to, Some(adjusted).filter(|adjusted| *adjusted > 0))
    }

    /// What it needs of an agent, to be chosen by this random number.
    pub fn need<'a>(&'a self, workspace: &'a Workspace, random: u64) -> Need<'a> {
        self.need_avoiding(workspace, &self.avoid, random)
    }

    /// The same, of anybody but these.
    pub fn need_avoiding<'a>(
        &'a self,
        workspace: &'a Workspace,
        avoid: &'a BTreeSet<Id>,
        random: u64,
    ) -> Need<'a> {
        Need {
            workspace,
            capability: self.capability(),
            agent: self.agent(),
            requires: self.submitted.requires.as_ref(),
            avoid,
            rule: self.submitted.strategy.as_deref(),
            random,
        }
    }

    /// How long the next attempt waits: exponential back-off with full jitter, drawn by the task's own id.
    pub(crate) fn backoff_ms(&self) -> u64 {
        let print = blake3::hash(format!("{}#{}", self.submitted.task_id, self.failures).as_bytes());
        let random = print.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        retry::backoff_ms(&self.submitted.retry, self.failures, random)
    }

    /// What it is lost to: the agent's process start that holds it.
    pub fn holder(&self) -> Option<(&Id, &Incarnation)> {
        self.current().map(|a| (&a.seen.agent_id, &a.seen.incarnation))
    }
}

/// Compares in a time that does not tell how much was right.
fn same_token(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

/// The submission with every default applied.
pub(crate) fn submission(
    command: &SubmitTask,
    now: Timestamp,
    correlation_id: String,
    traceparent: Option<String>,
) -> Result<TaskSubmitted, Error> {
    let retry = command.retry.clone().unwrap_or_default();
    let mut submitted = TaskSubmitted {
        task_id: command.task_id.clone(),
        status: TaskStatus::Waiting,
        capability: command.capability.clone(),
        agent_id: command.agent_id.clone(),
        input: command.input.clone(),
        priority: command.priority.unwrap_or(5),
        timeout_ms: command.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        // Not the time of arrival: the fingerprint below must be the same for a repeat.
        deadline: command.deadline.unwrap_or_default(),
        retry: Retry {
            max_attempts: retry.max_attempts.unwrap_or(3),
            initial_backoff_ms: retry.initial_backoff_ms.unwrap_or(200),
            max_backoff_ms: retry.max_backoff_ms.unwrap_or(30_000),
            multiplier: retry.multiplier.unwrap_or(2.0),
        },
        // Told apart no further than this, so that fingerprints stay what they were before rules could be chosen.
        strategy: Some(command.strategy.clone().unwrap_or_else(|| synod_fleet::LEAST_CONNECTIONS.to_owned())),
        requires: command.requires.clone(),
        escalate_to: command.escalate_to.clone(),
        adjustments: command.adjustments.clone().unwrap_or_default(),
        retry_on_suspect: command.retry_on_suspect.unwrap_or(false),
        concurrency_key: command.concurrency_key.clone(),
        labels: command.labels.clone().unwrap_or_default(),
        feedback: None,
        execution_id: None,
        correlation_id: String::new(),
        traceparent: None,
        body: String::new(),
    };
    let canonical = Json::of(&submitted)
        .map_err(|e| Error::new(Code::Internal, format!("a submission cannot be written: {e}")))?
        .canonical();
    submitted.body = blake3::hash(canonical.as_bytes()).to_hex()[..32].to_owned();
    submitted.strategy.clone_from(&command.strategy);
    submitted.correlation_id = correlation_id;
    submitted.traceparent = traceparent;
    if command.deadline.is_none() {
        submitted.deadline = now.plus_millis(DEFAULT_DEADLINE_MS);
    }
    Ok(submitted)
}
