//! An agent in the background, in the hands of whoever started it.

use super::{AgentError, AgentReport};
use synod_protocol::{Id, Incarnation};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An agent that runs in the background. Dropped, it is asked to end and goes on until it has.
#[derive(Debug)]
pub struct RunningAgent {
    pub(super) agent_id: Id,
    pub(super) incarnation: Incarnation,
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
