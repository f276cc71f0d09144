//! Saves an agent's context beside its work, and finds the last good one at its start.
//!
//! Work never waits for it: what Redis does not take is captured and tried again later. It stops for good when a newer
//! process start writes there.

use super::checkpoint::{
    Checkpoint, CheckpointError, CheckpointPolicy, Checkpointing, Restored, SavedCheckpoint,
    SkippedCheckpoint,
};
use crate::mesh::Mesh;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use synod_infra::redis::Redis;
use synod_infra::redis::context::{ContextOf, Contexts, News, Opened, Saved};
use synod_protocol::checkpoint::{CheckpointCause, ContextNote, ContextVersion, checksum};
use synod_protocol::command::RegisterAgent;
use synod_protocol::{Error, Id, Incarnation};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How long the agent's own code may take to yield, or to take in, its context.
const CAPTURE_LIMIT: Duration = Duration::from_secs(10);
/// The first and the longest pause before a save is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How long the last save of an agent that ends may take.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// The context of one process start.
pub(crate) struct Checkpoints {
    mesh: Mesh,
    agent_id: Id,
    incarnation: Incarnation,
    contexts: Contexts,
    what: Checkpointing,
    /// Once the ledger has told our place among the process starts.
    of: OnceLock<ContextOf>,
    /// The newest version that we know of; one save at a time.
    known: tokio::sync::Mutex<u64>,
    wanted: Mutex<Option<CheckpointCause>>,
    wake: Notify,
}

/// A newer process start is there.
pub(super) struct Superseded(pub(super) Incarnation);

impl Checkpoints {
    pub(super) fn new(
        mesh: Mesh,
        redis: Redis,
        register: &RegisterAgent,
        what: Checkpointing,
    ) -> Checkpoints {
        Checkpoints {
            mesh,
            agent_id: register.agent_id.clone(),
            incarnation: register.incarnation.clone(),
            contexts: Contexts::new(redis),
            what,
            of: OnceLock::new(),
            known: tokio::sync::Mutex::new(0),
            wanted: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    /// Takes the context over from earlier process starts and hands the last good one to the agent's own code; however
    /// long the mesh takes to answer.
    pub(super) async fn open(&self) -> Result<(), Superseded> {
        let mut pause = AGAIN.0;
        loop {
            match self.try_open().await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(superseded)) => return Err(superseded),
                Err(error) => {
                    tracing::warn!(agent_id = %self.agent_id, %error, "the last context cannot be had yet");
                    tokio::time::sleep(pause).await; // the backoff itself
                    pause = (pause * 2).min(AGAIN.1);
                }
            }
        }
    }

    async fn try_open(&self) -> Result<Result<(), Superseded>, Error> {
        let told = self.mesh.client().agent(self.agent_id.as_str()).await;
        let agent = told.map_err(|error| Error::unavailable(error.to_string()))?;
        if agent.incarnation > self.incarnation {
            return Ok(Err(Superseded(agent.incarnation)));
        }
        if agent.incarnation != self.incarnation {
            return Err(Error::unavailable("the ledger does not have this process start yet"));
        }
        let of = ContextOf {
            workspace: self.mesh.config().workspace.clone(),
            agent: self.agent_id.clone(),
            incarnation: self.incarnation.clone(),
            order: agent.registered_at.as_millis().max(0).unsigned_abs(),
        };
        match self.contexts.open(&of).await? {
            Opened::Fenced { by } => Ok(Err(Superseded(by))),
            Opened::Versions(versions) => {
                *self.known.lock().await = versions.first().copied().unwrap_or(0);
                self.restore(&of, &versions).await?;
                // Nothing is saved before that: it would be of an agent that has not begun.
                self.of.get_or_init(|| of);
                Ok(Ok(()))
            }
        }
    }

    /// Hands over the newest version that is whole and that the agent's own code takes.
    async fn restore(&self, of: &ContextOf, versions: &[u64]) -> Result<(), Error> {
        let Some(restore) = &self.what.restore else { return Ok(()) };
        let mut skipped: Vec<SkippedCheckpoint> = Vec::new();
        for version in versions {
            let why = match self.contexts.version(&of.workspace, &of.agent, *version).await? {
                None => "what is noted of it does not read".to_owned(),
                Some((note, bytes)) if !note.is_of(&bytes) => {
                    format!("damaged: {} bytes that are not the {} that were saved", bytes.len(), note.bytes)
                }
                Some((version, bytes)) => {
                    let restored = Restored { version, bytes, skipped: skipped.clone() };
                    let (restore, number) = (restore.clone(), restored.version());
                    match yours(move || restore(&restored)).await {
                        Ok(Ok(())) => {
                            let (agent_id, skipped) = (&self.agent_id, skipped.len());
                            tracing::info!(%agent_id, version = number, skipped, "begins with its last context");
                            return Ok(());
                        }
                        Ok(Err(why)) | Err(why) => format!("not taken: {why}"),
                    }
                }
            };
            tracing::warn!(agent_id = %self.agent_id, version, why, "a context is skipped for the one before");
            skipped.push(SkippedCheckpoint { version: *version, why });
        }
        if !skipped.is_empty() {
            let (agent_id, skipped) = (&self.agent_id, skipped.len());
            tracing::warn!(%agent_id, skipped, "none of its contexts is good: it begins without one");
        }
        Ok(())
    }

    /// Saves the context now.
    pub(super) async fn save(&self, cause: CheckpointCause) -> Result<SavedCheckpoint, CheckpointError> {
        let Some(of) = self.of.get() else {
            return Err(CheckpointError::Capture("the agent has not begun yet".to_owned()));
        };
        let CheckpointPolicy { keep, max_bytes, .. } = self.what.policy;
        let mut known = self.known.lock().await;
        let capture = self.what.capture.clone();
        let Checkpoint { form, bytes } = match yours(move || capture()).await {
            Ok(captured) => captured?,
            Err(why) => return Err(CheckpointError::Capture(why)),
        };
        if bytes.len() > max_bytes {
            return Err(CheckpointError::TooLarge { bytes: bytes.len(), limit: max_bytes });
        }
        let incarnation = self.incarnation.clone();
        let (length, checksum) = (bytes.len() as u64, checksum(&bytes));
        let note = ContextNote { incarnation, cause, form, bytes: length, checksum };
        match self.contexts.save(of, &note, &bytes, *known, keep).await? {
            Saved::Fenced { by } => Err(CheckpointError::Fenced { by }),
            Saved::Kept { version, at } => {
                *known = version;
                drop(known);
                self.tell(of, version, at, note);
                Ok(SavedCheckpoint { version, bytes: bytes.len(), saved_at: at })
            }
        }
    }

    /// Has it published, beside everything else.
    fn tell(&self, of: &ContextOf, version: u64, saved_at: synod_protocol::Timestamp, note: ContextNote) {
        let ContextNote { incarnation, cause, form, bytes, checksum } = note;
        let version = ContextVersion { version, saved_at, incarnation, cause, form, bytes, checksum };
        let news = News { workspace: of.workspace.clone(), agent_id: of.agent.clone(), version };
        let contexts = self.contexts.clone();
        tokio::spawn(async move {
            if let Err(error) = contexts.tell(&news).await {
                tracing::debug!(agent_id = %news.agent_id, %error, "a new context is not told");
            }
        });
    }

    /// A handler has ended: has the context saved soon, if the policy says so.
    pub(super) fn after(&self, failed: bool) {
        let CheckpointPolicy { after_task, on_error, .. } = self.what.policy;
        let cause = match failed {
            true if on_error => CheckpointCause::Error,
            _ if after_task => CheckpointCause::Task,
            _ => return,
        };
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        // Several at once are one save; the error is what is told of them.
        if *wanted != Some(CheckpointCause::Error) {
            *wanted = Some(cause);
        }
        drop(wanted);
        self.wake.notify_one();
    }

    /// Saves on the interval and after handlers, until dropped or until a newer process start writes there.
    pub(super) async fn keep(&self) {
        let every = self.what.policy.every;
        let mut due = every.map(|every| Instant::now() + every);
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(due) => {}
            }
            let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
            if !self.persist(wanted.unwrap_or(CheckpointCause::Interval)).await {
                return;
            }
            due = every.map(|every| Instant::now() + every);
        }
    }

    /// Saves, with patience for Redis; `false` if nothing of ours will ever be taken again.
    async fn persist(&self, cause: CheckpointCause) -> bool {
        let mut pause = AGAIN.0;
        loop {
            let agent_id = &self.agent_id;
            match self.save(cause).await {
                Ok(_) => return true,
                Err(CheckpointError::Fenced { by }) => {
                    tracing::warn!(%agent_id, %by, "the context belongs to a newer process start");
                    return false;
                }
                Err(error @ CheckpointError::Redis(_)) => {
                    tracing::warn!(%agent_id, %error, "the context is not saved yet");
                    tokio::time::sleep(pause).await; // the backoff itself
                    pause = (pause * 2).min(AGAIN.1);
                }
                Err(error) => {
                    tracing::error!(%agent_id, %error, "the context is not saved");
                    return true;
                }
            }
        }
    }

    /// The last save, of an agent that ends in good order.
    pub(super) async fn leave(&self) {
        if !self.what.policy.after_task || self.of.get().is_none() {
            return;
        }
        let why = match timeout(LAST_LIMIT, self.save(CheckpointCause::Leaving)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not within {} s", LAST_LIMIT.as_secs()),
        };
        tracing::warn!(agent_id = %self.agent_id, why, "the last context is not saved");
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Runs the agent's own code where it holds up nothing, and where its panic is its own.
async fn yours<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match timeout(CAPTURE_LIMIT, tokio::task::spawn_blocking(code)).await {
        Ok(Ok(back)) => Ok(back),
        Ok(Err(error)) if error.is_panic() => Err("it panicked".to_owned()),
        Ok(Err(_)) => Err("the runtime is ending".to_owned()),
        Err(_) => Err(format!("it has not returned within {} s", CAPTURE_LIMIT.as_secs())),
    }
}
