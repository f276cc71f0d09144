//! An agent's standing with the mesh: registered, alive, known, and told when it leaves.

use super::desk::Running;
use super::standing::Standing as Heard;
use crate::door::{Accepted, DoorError, Origin};
use crate::mesh::Mesh;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use synod_infra::redis::Redis;
use synod_infra::redis::presence::{Beat, Heartbeats, PresenceHold};
use synod_protocol::command::{AgentChange, ChangeAgent, RegisterAgent};
use synod_protocol::view::{Agent, AgentStatus, Health};
use synod_protocol::{Code, Command, Error, Incarnation};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

/// The mesh gives an agent up after three of these.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How often the mesh is asked whether it still knows us, when nothing makes us doubt it.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// The limit of that question, and of a word on leaving.
const WORD_LIMIT: Duration = Duration::from_secs(5);

/// What the mesh says of us that ends the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A newer process start of the same agent.
    Superseded(Incarnation),
    /// Somebody ordered the agent to end.
    Stopped,
}

/// One process start.
pub(crate) struct Life {
    pub(crate) mesh: Mesh,
    pub(crate) redis: Redis,
    pub(crate) register: RegisterAgent,
    standing: Heard,
    /// Whether the ledger, not only the topic, has this registration.
    known: AtomicBool,
}

impl Life {
    pub(super) fn new(mesh: Mesh, redis: Redis, register: RegisterAgent, standing: Heard) -> Life {
        Life { mesh, redis, register, standing, known: AtomicBool::new(false) }
    }

    /// Registers, however long the mesh takes to answer.
    ///
    /// # Errors
    /// The mesh refuses; `fenced` when a newer process start was there before.
    pub(crate) async fn register(&self) -> Result<(), Error> {
        let command = Command::RegisterAgent(self.register.clone());
        loop {
            let limit = self.mesh.config().command_limit;
            match self.mesh.command(&command, &Origin::default(), limit).await {
                Ok(accepted) => {
                    self.known.store(accepted == Accepted::InLedger, Ordering::Release);
                    return Ok(());
                }
                Err(DoorError::Refused(error)) if !error.code.is_retryable() => return Err(error),
                Err(DoorError::NoDoor(door)) => {
                    return Err(Error::unavailable(format!("no way to the mesh: configure {door}")));
                }
                Err(error) => {
                    tracing::warn!(agent_id = %self.register.agent_id, %error, "not registered yet");
                }
            }
        }
    }

    /// Tells the mesh about a change of our own life, within a few seconds.
    pub(crate) async fn tell(&self, change: AgentChange, reason: &str) {
        let told = ChangeAgent {
            agent_id: self.register.agent_id.clone(),
            incarnation: Some(self.register.incarnation.clone()),
            reason: Some(reason.to_owned()),
        };
        let command = Command::ChangeAgent(change, told);
        if let Err(error) = self.mesh.command(&command, &Origin::default(), WORD_LIMIT).await {
            let (agent_id, what) = (&self.register.agent_id, change.ce_type());
            tracing::info!(%agent_id, what, %error, "the mesh did not take a word");
        }
    }

    pub(crate) async fn forget_heartbeat(&self) {
        let (workspace, agent_id) = (&self.mesh.config().workspace, &self.register.agent_id);
        if let Err(error) = Heartbeats::new(self.redis.clone()).forget(workspace, agent_id).await {
            tracing::debug!(%agent_id, %error, "the heartbeat stays behind");
        }
    }

    /// Beats until dropped. What makes it doubtful that the mesh still counts on us wakes `doubt`.
    pub(crate) async fn beat(&self, presence: &PresenceHold, running: &Running, doubt: &Notify) {
        let heartbeats = Heartbeats::new(self.redis.clone());
        let mut every = tokio::time::interval(BEAT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut was_well, mut last) = (0, true, Instant::now());
        let mut newer = None;
        loop {
            every.tick().await;
            number += 1;
            let beat = Beat {
                workspace: self.mesh.config().workspace.clone(),
                agent_id: self.register.agent_id.clone(),
                incarnation: self.register.incarnation.clone(),
                beat: number,
                in_flight: running.held(),
                load: None,
                present: presence.is_held(),
            };
            let beaten = heartbeats.beat(&beat, newer.as_deref()).await;
            match &beaten {
                Ok(stands) => {
                    // It may be the one that ends us, and nothing else need tell us so for seconds.
                    if stands.is_some() {
                        doubt.notify_one();
                    }
                    newer.clone_from(stands);
                }
                Err(error) => tracing::debug!(agent_id = %beat.agent_id, %error, "no heartbeat"),
            }
            // Back after a break, or after having been stopped in our tracks: it may have been noticed.
            let is_well = beaten.is_ok() && presence.is_held();
            let in_time = last.elapsed() < 2 * BEAT_EVERY;
            if is_well && !(was_well && in_time) {
                doubt.notify_one();
            }
            (was_well, last) = (is_well, Instant::now());
        }
    }

    /// Sees to it that the mesh counts on us, until dropped or until it says that we are to end.
    pub(crate) async fn keep_known(&self, doubt: Arc<Notify>, verdict: mpsc::Sender<Verdict>) {
        loop {
            // Either way it is time to ask.
            let _ = tokio::time::timeout(CHECK_EVERY, doubt.notified()).await;
            let heard = match self.ask().await {
                Standing::Known | Standing::Unsure => continue,
                Standing::Over(verdict) => Some(verdict),
                Standing::GivenUp(why) => {
                    tracing::info!(agent_id = %self.register.agent_id, why, "registering again");
                    match self.register().await {
                        Ok(()) => {
                            // What it came to is heard at once.
                            doubt.notify_one();
                            None
                        }
                        Err(error) if error.code == Code::Fenced => {
                            Some(Verdict::Superseded(self.register.incarnation.clone()))
                        }
                        Err(error) => {
                            tracing::warn!(agent_id = %self.register.agent_id, %error, "refused");
                            None
                        }
                    }
                }
            };
            if let Some(heard) = heard {
                // The run ends by it; if it has ended already there is nobody to tell.
                let _ = verdict.send(heard).await;
                return;
            }
        }
    }

    async fn ask(&self) -> Standing {
        let client = self.mesh.client();
        let path = format!("/v1/agents/{}", crate::http::encoded(self.register.agent_id.as_str()));
        match client.ask::<Agent>(&path, WORD_LIMIT).await {
            Ok(agent) => {
                self.standing.saw(&agent);
                standing(&self.register.incarnation, self.known.load(Ordering::Acquire), &agent)
            }
            Err(DoorError::Refused(error)) if error.code == Code::NotFound => Standing::GivenUp("unknown"),
            Err(error) => {
                tracing::debug!(%error, "the mesh was not asked whether it knows us");
                Standing::Unsure
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Known,
    Unsure,
    GivenUp(&'static str),
    Over(Verdict),
}

/// What the mesh's picture of an agent means for this process start of it. Incarnations are UUIDv7: a later
/// start has a greater one. Before the ledger has ours, an older one may still stand there.
fn standing(ours: &Incarnation, known: bool, agent: &Agent) -> Standing {
    match () {
        () if agent.incarnation > *ours => Standing::Over(Verdict::Superseded(agent.incarnation.clone())),
        () if agent.incarnation < *ours && known => {
            // Ours was in the ledger and is not any more: whatever its form, the other came later.
            Standing::Over(Verdict::Superseded(agent.incarnation.clone()))
        }
        () if agent.incarnation < *ours => Standing::GivenUp("an older process start stands there"),
        () if agent.status == AgentStatus::Completed => Standing::Over(Verdict::Stopped),
        () if agent.health == Health::Lost => Standing::GivenUp("lost"),
        () => Standing::Known,
    }
}
