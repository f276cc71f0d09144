//! An agent: who takes work from its inbox, does it, and says what came of it.
//!
//! ```text
//!   inbox --take--> Desk: waiting --room--> running --> attempt.rs --> complete, fail, decline
//!     | run.rs        ^ withdrawn, cancelled |
//!   keeper.rs: the agent's own context, saved and found again
//!   life.rs: register, presence, heartbeats (what runs), "do you still know me?"
//! ```
//!
//! It never decides whether a result counts: the ledger does.

mod attempt;
mod builder;
mod checkpoint;
pub(crate) mod context;
mod control;
mod desk;
mod handler;
mod keeper;
mod life;
mod run;
mod running;
mod seat;
mod span;
mod standing;

pub use builder::{AgentBuilder, BuildError};
pub use checkpoint::{
    Checkpoint, CheckpointError, CheckpointPolicy, Restored, SavedCheckpoint, SkippedCheckpoint,
};
pub use context::Context;
pub use control::{AgentControl, Recover};
pub use handler::TaskError;
pub use running::RunningAgent;
pub use seat::Question;
pub use span::{WorkKind, WorkSpan};
pub use standing::StatusChange;

use crate::mesh::Mesh;
use handler::Handler;
use keeper::Checkpoints;
use run::{Run, Turn};
use seat::Answers;
use standing::{Listening, Standing};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::Redis;
use synod_protocol::command::RegisterAgent;
use synod_protocol::{Capability, Error, Id, Incarnation};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// An agent, not yet running.
///
/// ```no_run
/// use agent_sdk::{Agent, Context, Mesh, MeshConfig, TaskError};
///
/// async fn add(_: Context, (a, b): (i64, i64)) -> Result<i64, TaskError> {
///     a.checked_add(b).ok_or_else(|| TaskError::permanent("overflow", "the sum is too large"))
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = Mesh::connect(MeshConfig::from_env()?)?;
/// let agent = Agent::builder("adder-1").capability("add", add).concurrency(8).build(&mesh)?;
/// agent.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Agent {
    mesh: Mesh,
    redis: Redis,
    register: RegisterAgent,
    handlers: BTreeMap<Capability, Handler>,
    direct: Option<Handler>,
    answers: Arc<Answers>,
    drain: Duration,
    grace: Duration,
    checkpointing: Option<checkpoint::Checkpointing>,
    callbacks: Vec<standing::Callback>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentReport {
    /// Attempts with a result that the mesh took.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that were declined.
    pub declined: u64,
    /// Attempts that nobody waited for any more.
    pub moot: u64,
    /// Attempts whose end the mesh could not be told.
    pub unreported: u64,
}

impl AgentReport {
    fn add(&mut self, other: &AgentReport) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.declined += other.declined;
        self.moot += other.moot;
        self.unreported += other.unreported;
    }
}

/// Why an agent ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The mesh did not take its registration.
    #[error("agent {agent_id} was not taken: {error}")]
    Refused {
        /// Which agent.
        agent_id: Id,
        /// Why.
        error: Error,
    },
    /// A newer process start of the same agent is there; this one is over.
    #[error("agent {agent_id} was started anew as {by}; this one is over")]
    Superseded {
        /// Which agent.
        agent_id: Id,
        /// The newer process start, as far as it is known.
        by: Incarnation,
    },
    /// It was killed.
    #[error("agent {0} was killed")]
    Killed(Id),
}

impl Agent {
    /// An agent with this id. Two processes with the same id are one agent: the later one ends the earlier.
    pub fn builder(agent_id: impl AsRef<str>) -> AgentBuilder {
        AgentBuilder::new(agent_id.as_ref().parse())
    }

    /// An agent with an id of its own: `<prefix>-<UUIDv7>`.
    pub fn generated(prefix: &str) -> AgentBuilder {
        AgentBuilder::new(format!("{prefix}-{}", Uuid::now_v7()).parse())
    }

    /// Its id.
    pub fn id(&self) -> &Id {
        &self.register.agent_id
    }

    /// Registers and works until `shutdown`, then finishes what runs and leaves. It outlives every outage of
    /// the mesh: what cannot be reached is tried again.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<AgentReport, AgentError> {
        let (standing, listening) = self.stand();
        self.live(shutdown, None, standing, listening, &watch::Sender::new(None)).await
    }

    fn stand(&self) -> (Standing, Option<Listening>) {
        Standing::new(Incarnation::from(Uuid::now_v7()), self.callbacks.clone())
    }

    /// One process start after the other, until it has not to be started anew.
    async fn live(
        self,
        shutdown: impl Future<Output = ()> + Send,
        mut registered: Option<oneshot::Sender<()>>,
        standing: Standing,
        listening: Option<Listening>,
        checkpoints: &watch::Sender<Option<Arc<Checkpoints>>>,
    ) -> Result<AgentReport, AgentError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut report = AgentReport::default();
        let grace = self.grace;
        let ended = loop {
            let run = Run::new(self.clone(), &standing);
            checkpoints.send_replace(run.checkpoints());
            match run.go(&mut shutdown, registered.take()).await {
                Ok((done, turn)) => {
                    report.add(&done);
                    if turn == Turn::Ended {
                        break Ok(report);
                    }
                    standing.restarted(Incarnation::from(Uuid::now_v7()));
                }
                Err(error) => break Err(error),
            }
        };
        standing.close();
        if let Some(listening) = listening {
            listening.end(grace).await;
        }
        ended
    }

    /// The same in the background; answers once it is registered.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn start(self) -> Result<RunningAgent, AgentError> {
        let agent_id = self.register.agent_id.clone();
        let stop = CancellationToken::new();
        let (tell, registered) = oneshot::channel();
        let (standing, listening) = self.stand();
        let (mesh, incarnation) = (self.mesh.clone(), standing.incarnation());
        let control = AgentControl { mesh, agent_id: agent_id.clone(), standing: standing.clone() };
        let (keeping, checkpoints) = watch::channel(None);
        let stopped = stop.clone().cancelled_owned();
        let mut task =
            tokio::spawn(async move { self.live(stopped, Some(tell), standing, listening, &keeping).await });
        match registered.await {
            Ok(()) => Ok(RunningAgent { control, incarnation, checkpoints, stop, task: Some(task) }),
            // It ended before: its error says why.
            Err(_) => match (&mut task).await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) | Err(_) => Err(AgentError::Killed(agent_id)),
            },
        }
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("register", &self.register).finish_non_exhaustive()
    }
}
