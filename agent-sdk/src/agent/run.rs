//! One process start of an agent: the loop that takes work and starts it, from registration to good-bye.
//!
//! It is the only one that touches the desk; attempts run beside it and report to the mesh themselves.

use super::attempt::{self, Bench, Ended};
use super::desk::{Desk, Job, Key, Word};
use super::keeper::{Checkpoints, Superseded};
use super::life::{Life, Verdict};
use super::seat::{self, Asked};
use super::standing::{Now, Standing};
use super::{Agent, AgentControl, AgentError, AgentReport, TaskError};
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::inbox::InboxReader;
use synod_infra::redis::presence::PresenceHold;
use synod_infra::telemetry::work_span;
use synod_protocol::command::{AgentChange, RegisterAgent};
use synod_protocol::view::AgentStatus;
use synod_protocol::{Code, Error, Incarnation};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

/// How long the start waits for its presence to be visible; a mesh without Redis is started on all the same.
const PRESENT_WITHIN: Duration = Duration::from_secs(2);
/// How long one look into the inbox lasts.
const LOOK: Duration = Duration::from_secs(5);
/// The wait after an inbox that could not be read, besides the reader's own.
const UNREADABLE: Duration = Duration::from_millis(50);

/// What a participant may be answering at a time.
const ANSWERS: usize = 64;
/// How long nothing is taken once the inbox has shown work for a newer process start: until then the mesh has said whether
/// there is one.
const HOLD: Duration = Duration::from_secs(6);

/// What comes after a process start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Ended,
    /// Another.
    Restart,
}

/// Why a process start takes no more work.
enum Over {
    /// Whoever runs it wants it to end, or the mesh does.
    Leave,
    /// It reported an error from which it comes back as another.
    Restart,
    /// There is a newer one.
    Superseded(Incarnation),
}

/// One process start at work.
pub(super) struct Run {
    agent: Agent,
    pub(super) life: Arc<Life>,
    bench: Arc<Bench>,
    inbox: InboxReader,
    desk: Desk,
    attempts: JoinSet<(Key, Ended)>,
    /// What is being answered as a participant of negotiations.
    answers: JoinSet<()>,
    report: AgentReport,
    standing: Standing,
    /// Wakes the question whether the mesh still knows us.
    doubt: Arc<Notify>,
    /// Nothing is taken until then.
    hold: Option<Instant>,
}

/// A background task that ends with its owner.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Run {
    pub(super) fn new(mut agent: Agent, standing: &Standing) -> Run {
        agent.register.incarnation = standing.incarnation();
        let RegisterAgent { agent_id, incarnation, max_concurrency, .. } = &agent.register;
        let workspace = &agent.mesh.config().workspace;
        let inbox = InboxReader::new(agent.redis.clone(), workspace, agent_id, incarnation);
        let bench = Bench {
            mesh: agent.mesh.clone(),
            agent: AgentControl {
                mesh: agent.mesh.clone(),
                agent_id: agent_id.clone(),
                standing: standing.clone(),
            },
            taken: inbox.taken(),
            grace: agent.grace,
            checkpoints: agent.checkpointing.clone().map(|what| {
                Arc::new(Checkpoints::new(agent.mesh.clone(), agent.redis.clone(), &agent.register, what))
            }),
        };
        let life =
            Life::new(agent.mesh.clone(), agent.redis.clone(), agent.register.clone(), standing.clone());
        Run {
            desk: Desk::new(incarnation.clone(), max_concurrency.unwrap_or(1) as usize),
            life: Arc::new(life),
            bench: Arc::new(bench),
            inbox,
            attempts: JoinSet::new(),
            answers: JoinSet::new(),
            report: AgentReport::default(),
            standing: standing.clone(),
            doubt: Arc::new(Notify::new()),
            hold: None,
            agent,
        }
    }

    /// The agent's own context, if it saves one.
    pub(super) fn checkpoints(&self) -> Option<Arc<Checkpoints>> {
        self.bench.checkpoints.clone()
    }

    /// Registers, works, and ends in good order; what was done, and what comes after it.
    pub(super) async fn go(
        mut self,
        mut shutdown: &mut (impl Future<Output = ()> + Unpin + Send),
        registered: Option<oneshot::Sender<()>>,
    ) -> Result<(AgentReport, Turn), AgentError> {
        let RegisterAgent { agent_id, incarnation, .. } = &self.agent.register;
        let workspace = &self.agent.mesh.config().workspace;
        let presence = PresenceHold::start(self.agent.redis.clone(), workspace, agent_id, incarnation);
        presence.wait_held(PRESENT_WITHIN).await;
        // Heartbeats begin before the registration, so that nobody finds a registered agent without one.
        let doubt = self.doubt.clone();
        let beats = self.beat(presence, doubt.clone());
        let life = self.life.clone();
        tokio::select! {
            taken = life.register() => taken.map_err(|error| self.refused(error))?,
            // Not to be waited for: somebody must change something.
            line = self.agent.mesh.denied() => {
                return Err(self.refused(Error::new(Code::PermissionDenied, line)));
            }
            () = &mut shutdown => return self.leave(beats).await,
        }
        tracing::info!(%agent_id, %incarnation, "registered");
        let mut _keeping = None;
        if let Some(checkpoints) = self.checkpoints() {
            tokio::select! {
                opened = checkpoints.open() => opened.map_err(|Superseded(by)| self.superseded(by))?,
                () = &mut shutdown => return self.leave(beats).await,
            }
            _keeping = Some(Ends(tokio::spawn(async move { checkpoints.keep().await })));
        }
        if let Some(registered) = registered {
            // Whoever started it may be gone; it works all the same.
            let _ = registered.send(());
        }
        let (tell, mut verdicts) = mpsc::channel(1);
        let life = self.life.clone();
        let known = Ends(tokio::spawn(async move { life.keep_known(doubt, tell).await }));
        let over = self.work(&mut shutdown, &mut verdicts).await;
        drop(known);
        match over {
            Over::Leave => self.leave(beats).await,
            Over::Restart => {
                tracing::warn!(agent_id = %self.agent.register.agent_id, "restarting after an error");
                self.desk.clear();
                self.desk.cancel_all();
                self.finish(Instant::now() + self.agent.grace + Duration::from_millis(100)).await;
                self.standing.busy(false);
                Ok((self.report, Turn::Restart))
            }
            Over::Superseded(by) => Err(self.superseded(by)),
        }
    }

    fn beat(&self, presence: PresenceHold, doubt: Arc<Notify>) -> Ends {
        let (life, running) = (self.life.clone(), self.desk.running());
        Ends(tokio::spawn(async move { life.beat(&presence, &running, &doubt).await }))
    }

    fn superseded(&self, by: Incarnation) -> AgentError {
        let agent_id = self.agent.register.agent_id.clone();
        tracing::warn!(%agent_id, incarnation = %self.agent.register.incarnation, %by, "superseded");
        AgentError::Superseded { agent_id, by }
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
    ) -> Over {
        let mut stands = self.standing.watch();
        loop {
            let now: Now = *stands.borrow_and_update();
            if now.restarts {
                return Over::Restart;
            }
            if now.status == AgentStatus::Completed {
                return Over::Leave;
            }
            self.desk.pause(!now.may_begin());
            while let Some(job) = self.desk.start() {
                self.begin(job);
            }
            self.standing.busy(!self.desk.is_idle());
            let held = self.hold.filter(|until| *until > Instant::now());
            tokio::select! {
                () = &mut *shutdown => return Over::Leave,
                Some(verdict) = verdicts.recv() => return match verdict {
                    Verdict::Superseded(by) => Over::Superseded(by),
                    Verdict::Stopped => Over::Leave,
                },
                Ok(()) = stands.changed() => {}
                Some(ended) = self.attempts.join_next() => self.ended(ended),
                Some(_) = self.answers.join_next() => {}
                () = tokio::time::sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
                taken = self.inbox.take(LOOK), if self.desk.takes() && self.answers.len() < ANSWERS && held.is_none() => match taken {
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
                tracing::debug!(agent_id = %self.bench.agent.agent_id(), why, "nothing to do");
                self.bench.taken.settle(&body).await
            }
            Ok(Word::Asked(asked)) => return self.asked(*asked),
            Ok(Word::Told(changed)) => {
                self.standing.heard(&changed);
                self.bench.taken.settle(&body).await
            }
            Ok(Word::ForANewerStart) => {
                // It is the other's, and it says that we may be over: nothing more is taken before that is known.
                self.hold = Some(Instant::now() + HOLD);
                self.doubt.notify_one();
                self.bench.taken.give_back(&body).await
            }
            Ok(Word::TookBack(job)) => {
                attempt::settle(&self.bench, &job).await;
                self.bench.taken.settle(&body).await
            }
            Err(error) => {
                tracing::error!(agent_id = %self.bench.agent.agent_id(), %error, "an inbox held what it should not");
                self.bench.taken.settle(&body).await
            }
        };
        if let Err(error) = settled {
            tracing::debug!(%error, "Redis was not told that it is settled");
        }
    }

    /// Answers beside the work: who decides must not wait for who works.
    fn asked(&mut self, asked: Asked) {
        let (mesh, answers) = (self.bench.mesh.clone(), self.agent.answers.clone());
        let taken = self.bench.taken.clone();
        self.answers.spawn(async move {
            seat::answer(&mesh, &answers, &asked).await;
            if let Err(error) = taken.settle(&asked.body).await {
                tracing::debug!(%error, "Redis was not told that it is settled");
            }
        });
    }

    fn begin(&mut self, job: Job) {
        let handler = match &job.assignment.capability {
            Some(capability) => self.agent.handlers.get(capability).cloned(),
            None => self.agent.direct.clone(),
        };
        let none = || TaskError::decline("no_handler", "this agent has no handler for it");
        let handler = handler.ok_or_else(none);
        let (bench, lines) = (self.bench.clone(), work_span(&job.envelope));
        let work = async move {
            let ended = attempt::run(&bench, &job, handler).await;
            (job.key(), ended)
        };
        self.attempts.spawn(work.instrument(lines));
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
    async fn leave(mut self, beats: Ends) -> Result<(AgentReport, Turn), AgentError> {
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
        self.standing.left();
        tracing::info!(agent_id = %self.bench.agent.agent_id(), report = ?self.report, "left");
        Ok((self.report, Turn::Ended))
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
