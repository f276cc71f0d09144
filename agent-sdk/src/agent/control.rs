//! An agent's own hand on its life: what it may ask of the mesh about itself.

use super::standing::Standing;
use crate::door::{DoorError, Origin};
use crate::mesh::Mesh;
use std::time::Duration;
use synod_protocol::command::{AgentChange, ChangeAgent, Recovery, ReportError};
use synod_protocol::view::{AgentStatus, Health};
use synod_protocol::{Command, Id, Incarnation};

/// Starts, pauses, resumes, drains, stops an agent, or reports its error, for the process start that runs; a cheap clone.
///
/// Each call answers once the ledger has it, or Kafka. The agent acts when it hears of it through its inbox, as if somebody else
/// had asked, and so do its callbacks. A change that its status does not allow is refused with `invalid_transition`; `fenced` says
/// that a newer process start of it is there.
#[derive(Clone)]
pub struct AgentControl {
    pub(super) mesh: Mesh,
    pub(super) agent_id: Id,
    pub(super) standing: Standing,
}

/// How an agent is to come back from its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// By itself after so long, 1 ms to 1 h.
    ResumeAfter(Duration),
    /// As a new process start; what runs is told to stop, and goes to others.
    Restart,
    /// Not before somebody starts it.
    Park,
}

impl AgentControl {
    /// Its id.
    pub fn agent_id(&self) -> &Id {
        &self.agent_id
    }

    /// The process start that runs; another after a restart.
    pub fn incarnation(&self) -> Incarnation {
        self.standing.incarnation()
    }

    /// What it does, as far as it has heard.
    pub fn status(&self) -> AgentStatus {
        self.standing.seen().0
    }

    /// How the mesh thinks of it, as far as it has heard.
    pub fn health(&self) -> Health {
        self.standing.seen().1
    }

    /// Takes work (again): after a pause, a drain, or an error.
    ///
    /// # Errors
    /// `invalid_transition`, `fenced`; or the mesh cannot be reached.
    pub async fn start(&self) -> Result<(), DoorError> {
        self.change(AgentChange::Start, None).await
    }

    /// Begins nothing new until it is resumed; what runs goes on.
    ///
    /// # Errors
    /// As [`AgentControl::start`].
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.change(AgentChange::Pause, Some(reason.into())).await
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    /// As [`AgentControl::start`].
    pub async fn resume(&self) -> Result<(), DoorError> {
        self.change(AgentChange::Resume, None).await
    }

    /// Finishes what it has and takes no more; it keeps running.
    ///
    /// # Errors
    /// As [`AgentControl::start`].
    pub async fn drain(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.change(AgentChange::Drain, Some(reason.into())).await
    }

    /// Ends for good: finishes what runs, within its drain limit, and leaves.
    ///
    /// # Errors
    /// As [`AgentControl::start`].
    pub async fn stop(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.change(AgentChange::Stop, Some(reason.into())).await
    }

    /// Says that it cannot work, and how it is to come back. Until then it gets no work and begins none.
    ///
    /// # Errors
    /// As [`AgentControl::start`]; `invalid_argument`: a time beyond its limits.
    pub async fn report_error(&self, reason: impl Into<String>, recover: Recover) -> Result<(), DoorError> {
        let ms = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let (recovery, resume_after_ms) = match recover {
            Recover::ResumeAfter(after) => (Recovery::Resume, Some(ms(after))),
            Recover::Restart => (Recovery::Restart, None),
            Recover::Park => (Recovery::Park, None),
        };
        let report = ReportError {
            agent_id: self.agent_id.clone(),
            incarnation: Some(self.incarnation()),
            reason: Some(reason.into()),
            recovery: Some(recovery),
            resume_after_ms,
        };
        self.send(&Command::ReportError(report)).await
    }

    async fn change(&self, change: AgentChange, reason: Option<String>) -> Result<(), DoorError> {
        let (agent_id, incarnation) = (self.agent_id.clone(), Some(self.incarnation()));
        self.send(&Command::ChangeAgent(change, ChangeAgent { agent_id, incarnation, reason })).await
    }

    async fn send(&self, command: &Command) -> Result<(), DoorError> {
        self.mesh.command(command, &Origin::default(), self.mesh.config().command_limit).await.map(drop)
    }
}

impl std::fmt::Debug for AgentControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentControl").field("agent_id", &self.agent_id).finish_non_exhaustive()
    }
}
