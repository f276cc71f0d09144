//! What a handler has in its hands: who asks, how long there is, and a line back to the mesh.

use super::checkpoint::{CheckpointError, SavedCheckpoint};
use super::control::AgentControl;
use super::keeper::Checkpoints;
use super::span::{WorkKind, WorkSpan};
use crate::client::Client;
use crate::door::{Accepted, DoorError, Origin};
use crate::mesh::Mesh;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_infra::telemetry::spans::{Scope, Span};
use synod_protocol::checkpoint::CheckpointCause;
use synod_protocol::command::ReportProgress;
use synod_protocol::view::Assignment;
use synod_protocol::workflow::Usage;
use synod_protocol::{Capability, Code, Command, EntityId, Envelope, Error, Id, Json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a word on progress is repeated before it is given up.
const PROGRESS_LIMIT: Duration = Duration::from_secs(5);

/// One attempt, as its handler sees it; a cheap clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    mesh: Mesh,
    agent: AgentControl,
    assignment: Assignment,
    origin: Origin,
    /// When this attempt's time is over, on our own clock.
    until: Instant,
    cancelled: CancellationToken,
    /// Whether the mesh has been told that it runs.
    started: AtomicBool,
    confidence: Mutex<Option<f64>>,
    usage: Mutex<Option<Usage>>,
    checkpoints: Option<Arc<Checkpoints>>,
    /// This attempt's own span, until it ends.
    span: Mutex<Option<Span>>,
}

impl Context {
    pub(crate) fn new(
        mesh: Mesh,
        agent: AgentControl,
        (assignment, envelope): (Assignment, Envelope),
        until: Instant,
        cancelled: CancellationToken,
        checkpoints: Option<Arc<Checkpoints>>,
        span: Option<Span>,
    ) -> Context {
        let origin = Origin {
            inner_of: span.as_ref().map(|_| Scope::Agent),
            traceparent: match &span {
                Some(span) => Some(span.context().to_string()),
                None => envelope.traceparent,
            },
            tracestate: envelope.tracestate,
            correlation_id: envelope.correlation_id,
            causation_id: Some(envelope.id),
        };
        let (started, confidence, usage) = Default::default();
        let inner = Inner {
            mesh,
            agent,
            assignment,
            origin,
            until,
            cancelled,
            started,
            confidence,
            usage,
            checkpoints,
            span: Mutex::new(span),
        };
        Context { inner: Arc::new(inner) }
    }

    /// The task.
    pub fn task_id(&self) -> &EntityId {
        &self.inner.assignment.task_id
    }

    /// Which try of it, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.assignment.attempt
    }

    /// What is asked of this agent; `None` where the task names the agent itself.
    pub fn capability(&self) -> Option<&Capability> {
        self.inner.assignment.capability.as_ref()
    }

    /// Who we are.
    pub fn agent_id(&self) -> &Id {
        self.inner.agent.agent_id()
    }

    /// Our own hand on our life: to pause, or to report that we cannot work.
    pub fn agent(&self) -> &AgentControl {
        &self.inner.agent
    }

    /// When this attempt's time is over, on our own clock; the handler is aborted then.
    pub fn deadline(&self) -> Instant {
        self.inner.until
    }

    /// How much of it is left.
    pub fn remaining(&self) -> Duration {
        self.inner.until.saturating_duration_since(Instant::now())
    }

    /// The trace that the task belongs to (W3C `traceparent`), if it came with one.
    pub fn traceparent(&self) -> Option<&str> {
        self.inner.origin.traceparent.as_deref()
    }

    /// The piece of work that the task belongs to.
    pub fn correlation_id(&self) -> Option<&str> {
        self.inner.origin.correlation_id.as_deref()
    }

    /// Begins a span within this attempt: a call of a tool, of a model. It is told of when it is dropped, if anybody listens.
    pub fn span(&self, kind: WorkKind, name: impl Into<String>) -> WorkSpan {
        WorkSpan::begin(self.inner.origin.trace(), kind, name.into())
    }

    /// Waits until the attempt is no longer wanted: the task was cancelled, given to another, or ran out of time.
    /// A handler that goes on is aborted after the agent's grace; what it returns no longer counts.
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Whether the attempt is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// The same as a token, to be passed on.
    pub fn cancellation(&self) -> CancellationToken {
        self.inner.cancelled.clone()
    }

    /// Tells how far it is, 0 to 1, and a note for people.
    ///
    /// # Errors
    /// The mesh does not answer, or refuses: `fenced` or `invalid_transition` mean that the attempt is no
    /// longer wanted, and cancel it.
    pub async fn progress(&self, fraction: f64, note: &str) -> Result<(), DoorError> {
        let note = (!note.is_empty()).then(|| note.to_owned());
        self.tell(Some(fraction), note, None).await
    }

    /// Hands over a part of the output, ahead of the rest.
    ///
    /// # Errors
    /// As [`Context::progress`].
    pub async fn partial(&self, part: impl Serialize) -> Result<(), DoorError> {
        let part = Json::of(&part)
            .map_err(|e| Error::invalid(format!("a partial output: {e}")).with_field("/partial"))?;
        self.tell(None, None, Some(part)).await
    }

    /// How sure the handler is of what it is going to return, 0 to 1.
    pub fn set_confidence(&self, confidence: f64) {
        *self.inner.confidence.lock().unwrap_or_else(PoisonError::into_inner) = Some(confidence);
    }

    /// Adds to what this attempt has used up, which counts against the budget of the workflow that it is a step of: tokens,
    /// and money in millionths of its unit.
    pub fn add_usage(&self, tokens: u64, money_micros: u64) {
        let mut usage = self.inner.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = usage.get_or_insert_default();
        sum.tokens = sum.tokens.saturating_add(tokens);
        sum.money_micros = sum.money_micros.saturating_add(money_micros);
    }

    /// Why it is done once more, where a workflow asks again: `{"attempt", "error"}` after a failure, or the changes that people
    /// want, `{"revision", "approver", "comment", "response_data"}`.
    pub fn feedback(&self) -> Option<&Json> {
        self.inner.assignment.feedback.as_ref()
    }

    /// Saves the agent's own context now.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub async fn save_checkpoint(&self) -> Result<SavedCheckpoint, CheckpointError> {
        match &self.inner.checkpoints {
            Some(checkpoints) => checkpoints.save(CheckpointCause::Hand).await,
            None => Err(CheckpointError::None),
        }
    }

    /// A client whose tasks belong to the same piece of work and the same trace.
    pub fn client(&self) -> Client {
        Client::new(self.inner.mesh.clone(), self.inner.origin.clone())
    }

    /// This attempt's own span, to be ended.
    pub(crate) fn take_span(&self) -> Option<Span> {
        self.inner.span.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn confidence(&self) -> Option<f64> {
        *self.inner.confidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        *self.inner.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.inner.assignment
    }

    /// Tells the mesh that it runs, unless progress has told so already.
    pub(crate) async fn start(&self) {
        if self.inner.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let command = Command::StartTask(self.report(None, None, None));
        if let Err(error) = self.send(&command).await {
            tracing::debug!(task_id = %self.task_id(), %error, "the mesh was not told that it runs");
        }
    }

    async fn tell(
        &self,
        progress: Option<f64>,
        note: Option<String>,
        partial: Option<Json>,
    ) -> Result<(), DoorError> {
        self.inner.started.store(true, Ordering::Release);
        self.send(&Command::ProgressTask(self.report(progress, note, partial))).await.map(drop)
    }

    fn report(&self, progress: Option<f64>, note: Option<String>, partial: Option<Json>) -> ReportProgress {
        let Assignment { task_id, attempt, attempt_token, .. } = &self.inner.assignment;
        ReportProgress {
            task_id: task_id.clone(),
            attempt: *attempt,
            attempt_token: attempt_token.clone(),
            progress,
            note,
            partial,
        }
    }

    async fn send(&self, command: &Command) -> Result<Accepted, DoorError> {
        let limit = PROGRESS_LIMIT.min(self.remaining()).max(Duration::from_millis(50));
        let sent = self.inner.mesh.command(command, &self.inner.origin, limit).await;
        if let Err(DoorError::Refused(error)) = &sent
            && is_moot(error.code)
        {
            self.inner.cancelled.cancel();
        }
        sent
    }
}

/// A word about an attempt that the mesh no longer waits for.
pub(crate) fn is_moot(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::InvalidTransition | Code::NotFound)
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("task_id", self.task_id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
