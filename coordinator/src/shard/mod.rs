//! A shard as the rest of the coordinator sees it: a handle to ask through.
//!
//! ```text
//!   live: grant --> claim --> fold --> catch up --> serve --doubt, hand-over--> grant ...
//!   handle --Ask--> serve            performer --Confirmed--> serve
//! ```

mod archive;
mod fleet;
mod inbound;
mod life;
mod listing;
mod performer;
mod permits;
mod serve;

pub(crate) use fleet::{Attempts, NAMED, Running};
pub(crate) use life::live;
pub(crate) use listing::{Label, Listing, StepsAfter, Wanted, WantedApprovals, WantedExecutions};
pub(crate) use performer::Sending;

use crate::tenure::Grant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use synod_fleet::AgentKey;
use synod_ledger::{Answer, EntityKey, Meta, Subject, TaskKey};
use synod_protocol::view::Pause;
use synod_protocol::{Command, Error, Incarnation, Json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Questions that may wait for a shard; more are refused as `overloaded`.
const ASKS_LIMIT: usize = 8_192;

/// What is asked of a shard.
pub(crate) enum Ask {
    /// A command through the quick door.
    Command { command: Box<Command>, meta: Meta, answer: oneshot::Sender<Answer> },
    /// An entity as it is.
    Read { subject: Subject, answer: oneshot::Sender<Answer> },
    /// Why a task is where it is.
    Explain { task: TaskKey, answer: oneshot::Sender<Answer> },
    /// An entity once it has ended.
    Ended { subject: Subject, answer: oneshot::Sender<Answer> },
    /// Entities of one kind, in order of their ids.
    List { listing: Box<Listing>, answer: oneshot::Sender<Answer> },
    /// Steps of an execution in memory, in the order of its definition.
    Steps { execution: EntityKey, after: Option<StepsAfter>, limit: usize, answer: oneshot::Sender<Answer> },
    /// Nothing but that it shows how things stand, once all that it has appended is proven.
    Show { answer: oneshot::Sender<Answer> },
    /// A word of the fleet on an agent of this shard.
    Judged { agent: AgentKey, incarnation: Incarnation, lost: bool, reason: String },
    /// An attempt was taken out of its agent's inbox.
    Unclaimed { task: TaskKey, attempt: u32, reason: String },
    /// Attempts that a pause covers and that run, or are said to.
    Attempts { pause: Pause, answer: oneshot::Sender<Answer> },
    /// Agents of this shard that have been gone for so long.
    Away { kept_ms: u64, answer: oneshot::Sender<Answer> },
    /// An agent of this shard that has been gone for so long is to be forgotten.
    Forget { agent: AgentKey, incarnation: Incarnation, kept_ms: u64 },
}

/// By which a shard is asked.
pub(crate) struct ShardHandle {
    asks: mpsc::Sender<Ask>,
    /// The offset after the newest record that our owner has appended: a ledger that ends beyond it has another
    /// author. 0 before the first claim.
    end: AtomicU64,
    /// Redis has lost what it held, and the loop has not heard of it yet.
    redeliver: AtomicBool,
}

/// Why a question was not answered.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The shard is not here, or not any more. A command may have been taken all the same.
    Elsewhere(Error),
    /// A refusal, or no answer in time.
    Refused(Error),
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Error {
        match unanswered {
            Unanswered::Elsewhere(error) | Unanswered::Refused(error) => error,
        }
    }
}

/// The shard's side of its handle.
pub(crate) struct Inbox {
    pub(crate) shard: u32,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) grants: mpsc::UnboundedReceiver<Grant>,
}

impl ShardHandle {
    pub(crate) fn new(shard: u32) -> (ShardHandle, mpsc::UnboundedSender<Grant>, Inbox) {
        let (sender, asks) = mpsc::channel(ASKS_LIMIT);
        let (grant, grants) = mpsc::unbounded_channel();
        let handle = ShardHandle { asks: sender, end: AtomicU64::new(0), redeliver: AtomicBool::new(false) };
        (handle, grant, Inbox { shard, asks, grants })
    }

    /// The owner is about to append the record that belongs at this offset.
    pub(crate) fn appends(&self, offset: u64) {
        self.end.store(offset + 1, Ordering::Release);
    }

    /// The offset after the newest record that the owner has appended.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Asks and waits, until `until` at the latest.
    pub(crate) async fn ask(
        &self,
        until: Instant,
        make: impl FnOnce(oneshot::Sender<Answer>) -> Ask,
    ) -> Result<(Json, bool), Unanswered> {
        let (sender, answer) = oneshot::channel();
        match self.asks.try_send(make(sender)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let why = format!("{ASKS_LIMIT} requests wait for this shard already");
                return Err(Unanswered::Refused(Error::overloaded(why, 100)));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Unanswered::Elsewhere(stopping())),
        }
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer.map_err(Unanswered::Refused),
            Ok(Err(_)) => Err(Unanswered::Elsewhere(stopping())),
            Err(_) => Err(Unanswered::Refused(Error::unavailable(
                "Kafka: the ledger has not acknowledged in time; repeat with the same ids to learn what became of it",
            ))),
        }
    }

    /// Says that Redis has lost what it held: work in force is handed over once more.
    pub(crate) fn redeliver(&self) {
        self.redeliver.store(true, Ordering::Release);
    }

    /// Whether that was said since the last question.
    pub(crate) fn has_to_redeliver(&self) -> bool {
        self.redeliver.swap(false, Ordering::AcqRel)
    }

    /// Says that an attempt was taken out of its agent's inbox; waits until the shard has heard it.
    pub(crate) async fn unclaimed(&self, task: TaskKey, attempt: u32, reason: String) {
        // A shard that is gone has another owner, who hands it over once more.
        let _ = self.asks.send(Ask::Unclaimed { task, attempt, reason }).await;
    }

    /// Passes on a word of the fleet; when the shard is too busy it is said again at the next look.
    pub(crate) fn judged(&self, agent: AgentKey, incarnation: Incarnation, lost: bool, reason: String) {
        let ask = Ask::Judged { agent, incarnation, lost, reason };
        if self.asks.try_send(ask).is_err() {
            tracing::debug!("a judgement waits for the next look: the shard is busy");
        }
    }

    /// Has an agent forgotten; when the shard is too busy that is said again at the next look.
    pub(crate) fn forget(&self, agent: AgentKey, incarnation: Incarnation, kept_ms: u64) {
        if self.asks.try_send(Ask::Forget { agent, incarnation, kept_ms }).is_err() {
            tracing::debug!("an agent is forgotten at the next look: the shard is busy");
        }
    }
}

fn stopping() -> Error {
    Error::unavailable(
        "the coordinator is stopping, or the shard has changed hands; repeat with the same ids",
    )
}
