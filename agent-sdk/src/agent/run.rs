//! One process start of an agent: the loop that takes work and starts it, from registration to good-bye.
//!
//! It is the only one that touches the desk; attempts run beside it and report to the mesh themselves.

use super::attempt::{self, Bench, Ended};
use super::desk::{Desk, Job, Key, Word};
use super::keeper::{Checkpoints, Superseded};
use super::life::{Life, Verdict};
use super::{Agent, AgentError, AgentReport, TaskError};
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::inbox::InboxReader;
use synod_infra::redis::presence::PresenceHold;
use synod_protocol::command::{AgentChange, RegisterAgent};
use synod_protocol::{Code, Error, Incarnation};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

/// How long the start waits for its presence to be visible; a mesh without Redis is started on all the same.
const PRESENT_WITHIN: Duration = Duration::from_secs(2);
/// How long one look into the inbox lasts.
const LOOK: Duration = Duration::from_secs(5);
/// The wait after an inbox that could not be read, besides the reader's own.
const UNREADABLE: Duration = Duration::from_millis(50);

/// One process start at work.
pub(super) struct Run {
    agent: Agent,
    pub(super) life: Arc<Life>,
    bench: Arc<Bench>,
    inbox: InboxReader,
    desk: Desk,
    attempts: JoinSet<(Key, Ended)>,
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
    pub(super) fn new(mut agent: Agent) -> Run {
        agent.register.incarnation = Incarnation::from(Uuid::now_v7());
        let RegisterAgent { agent_id, incarnation, max_concurrency, .. } = &agent.register;
        let workspace = &agent.mesh.config().workspace;
        let inbox = InboxReader::new(agent.redis.clone(), workspace, agent_id, incarnation);
        let bench = Bench {
            mesh: agent.mesh.clone(),
            agent_id: agent_id.clone(),
            taken: inbox.taken(),
            grace: agent.grace,
            checkpoints: agent.checkpointing.clone().map(|what| {
                Arc::new(Checkpoints::new(agent.mesh.clone(), agent.redis.clone(), &agent.register, what))
            }),
        };
        let life = Life::new(agent.mesh.clone(), agent.redis.clone(), agent.register.clone());
        Run {
            desk: Desk::new(incarnation.clone(), max_concurrency.unwrap_or(1) as usize),
            life: Arc::new(life),
            bench: Arc::new(bench),
            inbox,
            attempts: JoinSet::new(),
            report: AgentReport::default(),
            agent,
        }
    }

    /// The agent's own context, if it saves one.
    pub(super) fn checkpoints(&self) -> Option<Arc<Checkpoints>> {
        self.bench.checkpoints.clone()
    }

    pub(super) async fn go(
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
            () = &mut shutdown => return self.leave(beats).await,
        }
        tracing::info!(%agent_id, %incarnation, "registered");
        let mut keeping = None;
        if let Some(checkpoints) = self.checkpoints() {
            tokio::select! {
                opened = checkpoints.open() => opened.map_err(|Superseded(by)| self.superseded(by))?,
                () = &mut shutdown => return self.leave(beats).await,
            }
            keeping = Some(Ends(tokio::spawn(async move { checkpoints.keep().await })));
        }
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
            return Err(self.superseded(by));
        }
        let left = self.leave(beats).await;
        drop(keeping);
        left
    }

    fn superseded(&self, by: Incarnation) -> AgentError {
        let agent_id = self.agent.register.agent_id.clone();
        tracing::warn!(%agent_id, %by, "superseded");
        AgentError::Superseded { agent_id, by }
    }

    fn beat(&self, presence: PresenceHold, doubt: Arc<Notify>) -> Ends {
        let (life, running) = (self.life.clone(), self.desk.running());
        Ends(tokio::spawn(async move { life.beat(&presence, &running, &doubt).await }))
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
        let none = || TaskError::decline("no_handler", "this agent has no handler for it");
        let handler = handler.ok_or_else(none);
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
        if let (Some(checkpoints), Ended::Completed | Ended::Failed) = (&self.bench.checkpoints, ended) {
            checkpoints.after(ended == Ended::Failed);
        }
        // What could not be reported is done again if the mesh repeats it.
        self.desk.ended(key, ended == Ended::Unreported);
    }

    /// Takes no more, lets what runs finish, and says good-bye.
    async fn leave(mut self, beats: Ends) -> Result<AgentReport, AgentError> {
        let life = self.life.clone();
        self.hand_over();
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
        if let Some(checkpoints) = &self.bench.checkpoints {
            checkpoints.leave().await;
        }
        life.tell(AgentChange::Deregister, "the agent has ended").await;
        // No beat may come behind this.
        drop(beats);
        life.forget_heartbeat().await;
        tracing::info!(agent_id = %self.bench.agent_id, report = ?self.report, "left");
        Ok(self.report)
    }

    /// Nobody has to wait for us with what has not begun: declined, it goes to another agent at no cost.
    fn hand_over(&mut self) {
        for job in self.desk.clear() {
            let bench = self.bench.clone();
            let ending = TaskError::decline("draining", "this agent is ending");
            self.attempts.spawn(async move { (job.key(), attempt::run(&bench, &job, Err(ending)).await) });
        }
    }

    /// Until all attempts have ended, or the limit. Cancellations are still heard; new work goes to others.
    async fn finish(&mut self, limit: Instant) {
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ended) = self.attempts.join_next() => self.ended(ended),
                taken = self.inbox.take(LOOK) => match taken {
                    Ok(Some(body)) => {
                        self.took(body).await;
                        self.hand_over();
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
