//! An agent: who takes work from its inbox, does it, and says what came of it.
//!
//! ```text
//!   inbox --take--> Desk: waiting --room--> running --> attempt.rs --> complete, fail, decline
//!     |               ^ withdrawn, cancelled |
//!   life.rs: register, presence, heartbeats (what runs), "do you still know me?"
//! ```
//!
//! The loop in here is the only one that touches the desk; attempts run beside it and report to the mesh
//! themselves. It never decides whether a result counts: the ledger does.

mod attempt;
mod builder;
pub(crate) mod context;
mod desk;
mod handler;
mod life;

pub use builder::{AgentBuilder, BuildError};
pub use context::Context;
pub use handler::TaskError;

use crate::mesh::Mesh;
use attempt::{Bench, Ended};
use desk::{Desk, Job, Key, Word};
use handler::Handler;
use life::{Life, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::Redis;
use synod_infra::redis::inbox::InboxReader;
use synod_infra::redis::presence::PresenceHold;
use synod_protocol::command::{AgentChange, RegisterAgent};
use synod_protocol::view::Held;
use synod_protocol::{Capability, Code, Error, Id, Incarnation};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long the start waits for its presence to be visible; a mesh without Redis is started on all the same.
const PRESENT_WITHIN: Duration = Duration::from_secs(2);
/// How long one look into the inbox lasts.
const LOOK: Duration = Duration::from_secs(5);
/// The wait after an inbox that could not be read, besides the reader's own.
const UNREADABLE: Duration = Duration::from_millis(50);

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
    drain: Duration,
    grace: Duration,
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
        Run::new(self).go(shutdown, None).await
    }

    /// The same in the background; answers once it is registered.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn start(self) -> Result<RunningAgent, AgentError> {
        let agent_id = self.register.agent_id.clone();
        let stop = CancellationToken::new();
        let (tell, registered) = oneshot::channel();
        let run = Run::new(self);
        let incarnation = run.life.register.incarnation.clone();
        let stopped = stop.clone().cancelled_owned();
        let mut task = tokio::spawn(run.go(stopped, Some(tell)));
        match registered.await {
            Ok(()) => Ok(RunningAgent { agent_id, incarnation, stop, task: Some(task) }),
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

/// An agent that runs in the background. Dropped, it is asked to end and goes on until it has.
#[derive(Debug)]
pub struct RunningAgent {
    agent_id: Id,
    incarnation: Incarnation,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<AgentReport, AgentError>>>,
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

/// One process start at work.
struct Run {
    agent: Agent,
    life: Arc<Life>,
    bench: Arc<Bench>,
    inbox: InboxReader,
    desk: Desk,
    attempts: JoinSet<(Key, Ended)>,
    held: watch::Sender<Vec<Held>>,
    report: AgentReport,
}

/// A background task that ends with its owner.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Run {
    fn new(mut agent: Agent) -> Run {
        agent.register.incarnation = Incarnation::from(Uuid::now_v7());
        let RegisterAgent { agent_id, incarnation, max_concurrency, .. } = &agent.register;
        let workspace = &agent.mesh.config().workspace;
        let inbox = InboxReader::new(agent.redis.clone(), workspace, agent_id, incarnation);
        let bench = Bench {
            mesh: agent.mesh.clone(),
            agent_id: agent_id.clone(),
            taken: inbox.taken(),
            grace: agent.grace,
        };
        let life = Life::new(agent.mesh.clone(), agent.redis.clone(), agent.register.clone());
        Run {
            desk: Desk::new(incarnation.clone(), max_concurrency.unwrap_or(1) as usize),
            life: Arc::new(life),
            bench: Arc::new(bench),
            inbox,
            attempts: JoinSet::new(),
            held: watch::channel(Vec::new()).0,
            report: AgentReport::default(),
            agent,
        }
    }

    async fn go(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
        registered: Option<oneshot::Sender<()>>,
    ) -> Result<AgentReport, AgentError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let RegisterAgent { agent_id, incarnation, .. } = &self.agent.register;
        let workspace = &self.agent.mesh.config().workspace;
        let presence = PresenceHold::start(self.agent.redis.clone(), workspace, agent_id, incarnation);
        presence.wait_held(PRESENT_WITHIN).await;
        // Heartbeats begin before the registration, so that nobody finds a registered agent without one.
        let doubt = Arc::new(Notify::new());
        let beats = self.beat(presence, doubt.clone());
        let life = self.life.clone();
        tokio::select! {
            taken = life.register() => taken.map_err(|error| self.refused(error))?,
            () = &mut shutdown => return self.leave().await,
        }
        tracing::info!(%agent_id, %incarnation, "registered");
        if let Some(registered) = registered {
            // Whoever started it may be gone; it works all the same.
            let _ = registered.send(());
        }
        let (tell, mut verdicts) = mpsc::channel(1);
        let life = self.life.clone();
        let known = Ends(tokio::spawn(async move { life.keep_known(doubt, tell).await }));
        let verdict = self.work(&mut shutdown, &mut verdicts).await;
        drop(known);
        if let Some(Verdict::Superseded(by)) = verdict {
            let agent_id = self.agent.register.agent_id.clone();
            tracing::warn!(%agent_id, %by, "superseded");
            return Err(AgentError::Superseded { agent_id, by });
        }
        let report = self.leave().await;
        drop(beats);
        report
    }

    fn beat(&self, presence: PresenceHold, doubt: Arc<Notify>) -> Ends {
        let (life, held) = (self.life.clone(), self.held.subscribe());
        Ends(tokio::spawn(async move { life.beat(&presence, held, &doubt).await }))
    }

    fn refused(&self, error: Error) -> AgentError {
        let agent_id = self.agent.register.agent_id.clone();
        match error.code {
            Code::Fenced => AgentError::Superseded { agent_id, by: self.agent.register.incarnation.clone() },
            _ => AgentError::Refused { agent_id, error },
        }
    }

    /// Takes work and does it, until it is told to end.
    async fn work(
        &mut self,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
        verdicts: &mut mpsc::Receiver<Verdict>,
    ) -> Option<Verdict> {
        loop {
            while let Some(job) = self.desk.start() {
                self.begin(job);
            }
            self.tell_held();
            tokio::select! {
                () = &mut *shutdown => return None,
                Some(verdict) = verdicts.recv() => return Some(verdict),
                Some(ended) = self.attempts.join_next() => self.ended(ended),
                taken = self.inbox.take(LOOK), if self.desk.takes() => match taken {
                    Ok(Some(body)) => self.took(body).await,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the inbox cannot be read");
                        tokio::time::sleep(UNREADABLE).await; // the reader's own backoff comes on top
                    }
                },
            }
        }
    }

    async fn took(&mut self, body: String) {
        let limits = self.agent.mesh.config().limits;
        let settled = match self.desk.take(body.clone(), &limits, Instant::now()) {
            Ok(Word::Kept) => return,
            Ok(Word::Settle(why)) => {
                tracing::debug!(agent_id = %self.bench.agent_id, why, "nothing to do");
                self.bench.taken.settle(&body).await
            }
            Ok(Word::TookBack(job)) => {
                attempt::settle(&self.bench, &job).await;
                self.bench.taken.settle(&body).await
            }
            Err(error) => {
                tracing::error!(agent_id = %self.bench.agent_id, %error, "an inbox held what it should not");
                self.bench.taken.settle(&body).await
            }
        };
        if let Err(error) = settled {
            tracing::debug!(%error, "Redis was not told that it is settled");
        }
    }

    fn begin(&mut self, job: Job) {
        let handler = match &job.assignment.capability {
            Some(capability) => self.agent.handlers.get(capability).cloned(),
            None => self.agent.direct.clone(),
        };
        let bench = self.bench.clone();
        self.attempts.spawn(async move {
            let ended = attempt::run(&bench, &job, handler).await;
            (job.key(), ended)
        });
    }

    fn ended(&mut self, ended: Result<(Key, Ended), tokio::task::JoinError>) {
        let (key, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Handlers run on tasks of their own: this is a defect of ours. Its slot stays taken.
                tracing::error!(%error, "an attempt's own task ended");
                return;
            }
        };
        let count = match ended {
            Ended::Completed => &mut self.report.completed,
            Ended::Failed => &mut self.report.failed,
            Ended::Declined => &mut self.report.declined,
            Ended::Moot => &mut self.report.moot,
            Ended::Unreported => &mut self.report.unreported,
        };
        *count += 1;
        // What could not be reported is done again if the mesh repeats it.
        self.desk.ended(key, ended == Ended::Unreported);
    }

    fn tell_held(&self) {
        let held = self.desk.held();
        self.held.send_if_modified(|told| {
            let differs = *told != held;
            if differs {
                *told = held;
            }
            differs
        });
    }

    /// Takes no more, lets what runs finish, and says good-bye.
    async fn leave(mut self) -> Result<AgentReport, AgentError> {
        let life = self.life.clone();
        // Nobody has to wait for us with what has not begun: it goes to another agent at no cost.
        for job in self.desk.clear() {
            let bench = self.bench.clone();
            self.attempts.spawn(async move { (job.key(), attempt::run(&bench, &job, None).await) });
        }
        // With nothing left to finish, the good-bye alone says it all.
        let draining = (!self.attempts.is_empty()).then(|| {
            let life = life.clone();
            Ends(tokio::spawn(async move { life.tell(AgentChange::Drain, "the agent is ending").await }))
        });
        let limit = Instant::now() + self.agent.drain;
        self.finish(limit).await;
        if !self.desk.is_idle() {
            self.desk.cancel_all();
            self.finish(Instant::now() + self.agent.grace + Duration::from_millis(100)).await;
        }
        drop(draining);
        life.tell(AgentChange::Deregister, "the agent has ended").await;
        life.forget_heartbeat().await;
        tracing::info!(agent_id = %self.bench.agent_id, report = ?self.report, "left");
        Ok(self.report)
    }

    /// Until all attempts have ended, or the limit. Cancellations are still heard; new work goes to others.
    async fn finish(&mut self, limit: Instant) {
        while !self.attempts.is_empty() {
            self.tell_held();
            tokio::select! {
                Some(ended) = self.attempts.join_next() => self.ended(ended),
                taken = self.inbox.take(LOOK) => match taken {
                    Ok(Some(body)) => {
                        self.took(body).await;
                        for job in self.desk.clear() {
                            let bench = self.bench.clone();
                            self.attempts.spawn(async move { (job.key(), attempt::run(&bench, &job, None).await) });
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the inbox cannot be read");
                        tokio::time::sleep(UNREADABLE).await; // the reader's own backoff comes on top
                    }
                },
                () = tokio::time::sleep_until(limit) => return,
            }
        }
    }
}
