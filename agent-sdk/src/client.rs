//! Who submits work: submit, call, look, cancel.

use crate::door::{Accepted, DoorError, Origin, waits};
use crate::handle::{TaskHandle, WaitError};
use crate::http::{self, Said, encoded};
use crate::mesh::Mesh;
use crate::task::{TaskRequest, TaskResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_infra::telemetry::spans::{Kind, Scope};
use synod_protocol::command::{CancelTask, SubmitTask};
use synod_protocol::view::{Agent, Task};
use synod_protocol::{Code, Command, EntityId, Error};
use tokio::time::Instant;

/// The longest that a coordinator is asked to hold a request, in ms.
const HOLD_LIMIT_MS: u128 = 60_000;
/// What an answer may take beyond what it is held.
const MARGIN: Duration = Duration::from_secs(5);

/// Submits tasks and waits for them; a cheap clone.
///
/// ```no_run
/// use agent_sdk::{Mesh, MeshConfig, task};
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Mesh::connect(MeshConfig::from_env()?)?.client();
/// // One round trip: submit and wait.
/// let sum = client.call::<i64>(task("add").input([1, 2]), Duration::from_secs(5)).await?;
/// assert_eq!(sum.output, 3);
/// // Or a handle, to wait on, watch or cancel.
/// let handle = client.submit(task("add").input([3, 4])).await?;
/// println!("{}", handle.wait::<i64>(Duration::from_secs(5)).await?.output);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    mesh: Mesh,
    origin: Origin,
}

impl Client {
    pub(crate) fn new(mesh: Mesh, origin: Origin) -> Client {
        Client { mesh, origin }
    }

    /// The same client; what it submits is part of this piece of work.
    #[must_use]
    pub fn correlated(mut self, correlation_id: impl Into<String>) -> Client {
        self.origin.correlation_id = Some(correlation_id.into());
        self
    }

    /// The same client; what it submits is part of this trace (W3C `traceparent`).
    #[must_use]
    pub fn traced(mut self, traceparent: impl Into<String>) -> Client {
        self.origin.traceparent = Some(traceparent.into());
        self
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The mesh that it speaks to.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Submits a task; it is safe from then on.
    ///
    /// # Errors
    /// `Refused`; `NoAnswer` after the configuration's `command_limit`, in which case the task may be there
    /// all the same: submit the same request again.
    pub async fn submit(&self, request: TaskRequest) -> Result<TaskHandle, DoorError> {
        let submit = request.command()?;
        let task_id = submit.task_id.clone();
        let origin = request.origin_within(&self.origin);
        let limit = self.mesh.config().command_limit;
        let accepted = self.mesh.command(&Command::SubmitTask(submit), &origin, limit).await?;
        Ok(TaskHandle::new(self.clone(), task_id, accepted == Accepted::Queued))
    }

    /// Submits a task and waits up to `limit` for its end, in one round trip where that is possible.
    ///
    /// # Errors
    /// As [`Client::submit`] and [`TaskHandle::wait`]. The task goes on when time is up.
    pub async fn call<T: DeserializeOwned>(
        &self,
        request: TaskRequest,
        limit: Duration,
    ) -> Result<TaskResult<T>, WaitError> {
        let submit = request.command().map_err(DoorError::Refused)?;
        Command::SubmitTask(submit.clone()).check().map_err(DoorError::Refused)?;
        let mut origin = request.origin_within(&self.origin);
        let span = origin.span(Kind::Client, "call");
        origin.traceparent = origin.under(span.as_ref());
        let called = self.called(request, submit, &origin, limit).await;
        if let Some(span) = span {
            let span = match &called {
                Ok(done) => span.with("synod.id", done.task.task_id.to_string()),
                Err(error) => span.failed(error.to_string()),
            };
            span.end();
        }
        called
    }

    async fn called<T: DeserializeOwned>(
        &self,
        request: TaskRequest,
        submit: SubmitTask,
        origin: &Origin,
        limit: Duration,
    ) -> Result<TaskResult<T>, WaitError> {
        let deadline = Instant::now() + limit;
        let said = self.posted::<Task>("/v1/tasks", &submit, origin, limit);
        let late = || WaitError::NotInTime { task_id: submit.task_id.clone(), limit };
        let handle = TaskHandle::new(self.clone(), submit.task_id.clone(), false);
        // What follows repeats the same task id with the same body: it is one task, however often it is sent.
        let handle = match tokio::time::timeout_at(deadline, said).await.map_err(|_| late())?? {
            Posted::Taken(Some(task)) if task.status.is_final() => return handle.result(task),
            Posted::Taken(_) => handle,
            Posted::Not => {
                let inner = Origin { inner_of: Some(Scope::Client), ..origin.clone() };
                let inner = Client::new(self.mesh.clone(), inner);
                let request = request.with_origin(origin.clone());
                match tokio::time::timeout_at(deadline, inner.submit(request)).await {
                    Ok(submitted) => submitted?,
                    Err(_) => return Err(late()),
                }
            }
        };
        handle.wait_until(deadline, limit).await
    }

    /// Has an entity made and held until it has ended, up to `limit`.
    ///
    /// # Errors
    /// `Refused`, where asking again would end the same way.
    pub(crate) async fn posted<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        origin: &Origin,
        limit: Duration,
    ) -> Result<Posted<T>, DoorError> {
        let body = serde_json::to_vec(body)
            .map_err(|e| DoorError::Refused(Error::new(Code::Internal, format!("a request: {e}"))))?;
        let path = format!("{path}?wait_ms={}", held_ms(limit));
        match self.mesh.http().post(&path, &headers(origin), body, held(limit) + MARGIN).await {
            Said::Done(_, body) => Ok(Posted::Taken(http::read(&body).ok())),
            // A workflow that its shard has not heard of can be brought along.
            Said::Refused(error) if error.code.is_retryable() || error.code == Code::NotFound => {
                Ok(Posted::Not)
            }
            Said::Refused(error) => Err(error.into()),
            Said::Silent(_) => Ok(Posted::Not),
        }
    }

    /// A handle on a task submitted elsewhere.
    pub fn task(&self, task_id: EntityId) -> TaskHandle {
        TaskHandle::new(self.clone(), task_id, false)
    }

    /// The task as it is now.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn get(&self, task_id: &EntityId) -> Result<Task, DoorError> {
        let path = format!("/v1/tasks/{}", encoded(task_id.as_str()));
        self.ask(&path, self.mesh.config().command_limit).await
    }

    /// The agent as it is now.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn agent(&self, agent_id: &str) -> Result<Agent, DoorError> {
        let path = format!("/v1/agents/{}", encoded(agent_id));
        self.ask(&path, self.mesh.config().command_limit).await
    }

    /// Cancels a task. One that has ended already stays as it is.
    ///
    /// # Errors
    /// `Refused` with `invalid_transition` when it has ended; `NoAnswer`.
    pub async fn cancel(&self, task_id: &EntityId, reason: impl Into<String>) -> Result<(), DoorError> {
        let cancel = CancelTask { task_id: task_id.clone(), reason: Some(reason.into()) };
        let limit = self.mesh.config().command_limit;
        self.mesh.command(&Command::CancelTask(cancel), &self.origin, limit).await.map(drop)
    }

    /// Asks a question until it is answered, within `limit`.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, DoorError> {
        let deadline = Instant::now() + limit;
        let http = self.mesh.http();
        if !http.coordinators.possible() {
            return Err(DoorError::NoDoor("a coordinator's URL, or Redis"));
        }
        let mut waits = waits();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let why = match http.get(path, left.min(MARGIN)).await {
                Said::Done(_, body) => return Ok(http::read(&body)?),
                Said::Refused(error) if !error.code.is_retryable() => return Err(error.into()),
                Said::Refused(error) => error.to_string(),
                Said::Silent(why) => why,
            };
            let wait = waits.next().unwrap_or(Duration::from_secs(1));
            if Instant::now() + wait >= deadline {
                return Err(DoorError::NoAnswer { within: limit, why });
            }
            tokio::time::sleep(wait).await; // the backoff itself
        }
    }

    /// An entity once it is over, however long that takes. `queued`: only Kafka had it when it was accepted, and a coordinator
    /// may not know it yet.
    pub(crate) async fn ended<T: DeserializeOwned>(
        &self,
        path: &str,
        queued: bool,
        deadline: Instant,
        is_over: impl Fn(&T) -> bool,
    ) -> Result<T, DoorError> {
        let mut backoff = waits();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = match self.held::<T>(path, left).await {
                Ok(Some(entity)) if is_over(&entity) => return Ok(entity),
                Ok(Some(_)) => {
                    // It was held as long as asked for, or a coordinator that goes answered early.
                    backoff = waits();
                    Duration::from_millis(5)
                }
                Ok(None) => backoff.next().unwrap_or(Duration::from_secs(1)),
                Err(error) if queued && error.code() == Some(Code::NotFound) => {
                    backoff.next().unwrap_or(Duration::from_secs(1))
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(pause).await; // the backoff itself
        }
    }

    /// An entity as it is when it has ended or when `wait` is over; `None` when nobody answered usefully.
    async fn held<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<Option<T>, DoorError> {
        let http = self.mesh.http();
        if !http.coordinators.possible() {
            return Err(DoorError::NoDoor("a coordinator's URL, or Redis"));
        }
        match http.get(&format!("{path}?wait_ms={}", held_ms(wait)), held(wait) + MARGIN).await {
            Said::Done(202, body) => Ok(http::read(&body).ok()),
            Said::Done(_, body) => Ok(Some(http::read(&body)?)),
            Said::Refused(error) if error.code.is_retryable() => Ok(None),
            Said::Refused(error) => Err(error.into()),
            Said::Silent(why) => {
                tracing::debug!(path, %why, "nobody answers");
                Ok(None)
            }
        }
    }
}

/// What came of making an entity and waiting for its end, in one request.
pub(crate) enum Posted<T> {
    /// It was made; as it then stood, where that reads.
    Taken(Option<T>),
    /// Nobody has said that it was: it is to be made the usual way.
    Not,
}

fn headers(origin: &Origin) -> Vec<(&'static str, String)> {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(origin.traceparent.clone().map(|v| ("traceparent", v)));
    headers.extend(origin.tracestate.clone().map(|v| ("tracestate", v)));
    headers.extend(origin.correlation_id.clone().map(|v| ("synod-correlation-id", v)));
    headers.extend(origin.causation_id.clone().map(|v| ("synod-causation-id", v)));
    headers
}

fn held_ms(wait: Duration) -> u128 {
    wait.as_millis().min(HOLD_LIMIT_MS)
}

fn held(wait: Duration) -> Duration {
    wait.min(Duration::from_secs(60))
}
