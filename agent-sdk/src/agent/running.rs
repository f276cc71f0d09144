//! An agent in the background, in the hands of whoever started it.

use super::keeper::Checkpoints;
use super::{AgentError, AgentReport, CheckpointError, SavedCheckpoint};
use std::sync::Arc;
use synod_protocol::checkpoint::CheckpointCause;
use synod_protocol::{Id, Incarnation};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An agent that runs in the background. Dropped, it is asked to end and goes on until it has.
pub struct RunningAgent {
    pub(super) agent_id: Id,
    pub(super) incarnation: Incarnation,
    pub(super) checkpoints: Option<Arc<Checkpoints>>,
    pub(super) stop: CancellationToken,
    pub(super) task: Option<JoinHandle<Result<AgentReport, AgentError>>>,
}

impl RunningAgent {
    /// Its id.
    pub fn id(&self) -> &Id {
        &self.agent_id
    }

    /// This process start.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// Saves the agent's own context now.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub async fn save_checkpoint(&self) -> Result<SavedCheckpoint, CheckpointError> {
        match &self.checkpoints {
            Some(checkpoints) => checkpoints.save(CheckpointCause::Hand).await,
            None => Err(CheckpointError::None),
        }
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
        let agent_id = self.agent_id.clone();
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
        let RunningAgent { agent_id, incarnation, .. } = self;
        f.debug_struct("RunningAgent")
            .field("agent_id", agent_id)
            .field("incarnation", incarnation)
            .finish_non_exhaustive()
    }
}
