//! A submitted task in its submitter's hands: wait, watch, cancel.

use crate::client::Client;
use crate::door::DoorError;
use crate::http::encoded;
use crate::task::TaskResult;
use crate::watch::{Watch, watch};
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_protocol::EntityId;
use synod_protocol::view::{Task, TaskStatus};
use tokio::time::Instant;

/// A submitted task; a cheap clone. Dropping it changes nothing: the task goes on.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    client: Client,
    task_id: EntityId,
    /// Only Kafka had it when it was accepted: a coordinator may not know it yet.
    queued: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It ended otherwise: failed, cancelled or dead-lettered.
    #[error("task {} ended as {}: {}", task.task_id, status.as_str(), why(task))]
    Ended {
        /// How.
        status: TaskStatus,
        /// What it died of, its attempts, everything.
        task: Box<Task>,
    },
    /// It has not ended in time, and goes on.
    #[error("task {task_id} has not ended within {} ms", limit.as_millis())]
    NotInTime {
        /// Which task.
        task_id: EntityId,
        /// The limit that passed.
        limit: Duration,
    },
    /// It completed with an output of another shape.
    #[error("the output of task {} is not what was expected: {source}", task.task_id)]
    Output {
        /// With its output.
        task: Box<Task>,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// It was not accepted, or cannot be asked for.
    #[error(transparent)]
    Door(#[from] DoorError),
}

fn why(task: &Task) -> String {
    task.error.as_ref().map_or_else(|| "no reason given".to_owned(), ToString::to_string)
}

impl TaskHandle {
    pub(crate) fn new(client: Client, task_id: EntityId, queued: bool) -> TaskHandle {
        TaskHandle { client, task_id, queued }
    }

    /// Its id.
    pub fn task_id(&self) -> &EntityId {
        &self.task_id
    }

    /// Waits for its end, up to `limit`.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub async fn wait<T: DeserializeOwned>(&self, limit: Duration) -> Result<TaskResult<T>, WaitError> {
        self.wait_until(Instant::now() + limit, limit).await
    }

    pub(crate) async fn wait_until<T: DeserializeOwned>(
        &self,
        deadline: Instant,
        limit: Duration,
    ) -> Result<TaskResult<T>, WaitError> {
        match tokio::time::timeout_at(deadline, self.ended(deadline)).await {
            Ok(task) => self.result(task?),
            Err(_) => Err(WaitError::NotInTime { task_id: self.task_id.clone(), limit }),
        }
    }

    pub(crate) fn result<T: DeserializeOwned>(&self, task: Task) -> Result<TaskResult<T>, WaitError> {
        match task.status {
            TaskStatus::Completed => TaskResult::of(task.clone())
                .map_err(|source| WaitError::Output { task: Box::new(task), source }),
            status => Err(WaitError::Ended { status, task: Box::new(task) }),
        }
    }

    /// The task once it has ended, however long that takes.
    async fn ended(&self, deadline: Instant) -> Result<Task, DoorError> {
        let path = format!("/v1/tasks/{}", encoded(self.task_id.as_str()));
        let is_over = |task: &Task| task.status.is_final();
        self.client.ended(&path, self.queued, deadline, is_over).await
    }

    /// What happens to it, from its submission to its end, one event after the other.
    pub fn watch(&self) -> Watch {
        watch(self.client.clone(), self.task_id.clone())
    }

    /// The task as it is now.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get(&self) -> Result<Task, DoorError> {
        self.client.get(&self.task_id).await
    }

    /// Cancels it: its agent is told to stop.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.client.cancel(&self.task_id, reason).await
    }
}
