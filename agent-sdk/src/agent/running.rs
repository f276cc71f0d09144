//! An agent in the background, in the hands of whoever started it.

use super::keeper::Checkpoints;
use super::{AgentControl, AgentError, AgentReport, CheckpointError, Recover, SavedCheckpoint};
use crate::door::DoorError;
use std::sync::Arc;
use synod_protocol::checkpoint::CheckpointCause;
use synod_protocol::view::{AgentStatus, Health};
use synod_protocol::{Id, Incarnation};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An agent that runs in the background. Dropped, it is asked to end and goes on until it has.
pub struct RunningAgent {
    pub(super) control: AgentControl,
    pub(super) incarnation: Incarnation,
    /// Those of the process start that runs now.
    pub(super) checkpoints: watch::Receiver<Option<Arc<Checkpoints>>>,
    pub(super) stop: CancellationToken,
    pub(super) task: Option<JoinHandle<Result<AgentReport, AgentError>>>,
}

impl RunningAgent {
    /// Its id.
    pub fn id(&self) -> &Id {
        self.control.agent_id()
    }

    /// The process start as which it was started; see [`AgentControl::incarnation`] for the one after a restart.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// Saves the agent's own context now.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub async fn save_checkpoint(&self) -> Result<SavedCheckpoint, CheckpointError> {
        let checkpoints = self.checkpoints.borrow().clone();
        match checkpoints {
            Some(checkpoints) => checkpoints.save(CheckpointCause::Hand).await,
            None => Err(CheckpointError::None),
        }
    }

    /// A hand on its life that can be kept apart from this.
    pub fn control(&self) -> AgentControl {
        self.control.clone()
    }

    /// As [`AgentControl::status`].
    pub fn status(&self) -> AgentStatus {
        self.control.status()
    }

    /// As [`AgentControl::health`].
    pub fn health(&self) -> Health {
        self.control.health()
    }

    /// As [`AgentControl::start`].
    ///
    /// # Errors
    /// As there.
    pub async fn start(&self) -> Result<(), DoorError> {
        self.control.start().await
    }

    /// As [`AgentControl::pause`].
    ///
    /// # Errors
    /// As there.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.control.pause(reason).await
    }

    /// As [`AgentControl::resume`].
    ///
    /// # Errors
    /// As there.
    pub async fn resume(&self) -> Result<(), DoorError> {
        self.control.resume().await
    }

    /// As [`AgentControl::drain`].
    ///
    /// # Errors
    /// As there.
    pub async fn drain(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.control.drain(reason).await
    }

    /// As [`AgentControl::report_error`].
    ///
    /// # Errors
    /// As there.
    pub async fn report_error(&self, reason: impl Into<String>, recover: Recover) -> Result<(), DoorError> {
        self.control.report_error(reason, recover).await
    }

    /// Lets what runs finish, leaves, and says what was done.
    ///
    /// # Errors
    /// It had ended by itself before; see [`AgentError`].
    pub async fn stop(self) -> Result<AgentReport, AgentError> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn ended(mut self) -> Result<AgentReport, AgentError> {
        let agent_id = self.control.agent_id().clone();
        match self.task.take() {
            Some(task) => task.await.unwrap_or(Err(AgentError::Killed(agent_id))),
            None => Err(AgentError::Killed(agent_id)),
        }
    }

    /// Ends it at once and without a word, as if its process had been killed: for tests of what happens then.
    pub fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for RunningAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RunningAgent { incarnation, .. } = self;
        f.debug_struct("RunningAgent")
            .field("agent_id", self.id())
            .field("incarnation", incarnation)
            .finish_non_exhaustive()
    }
}
