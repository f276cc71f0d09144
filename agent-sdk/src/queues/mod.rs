//! Queues: messages that wait in Redis for a consumer. For work that takes seconds; longer work is a task.

mod consume;

pub use consume::{ConsumeOptions, Consumed, Consumer};

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use synod_infra::primitives::queues::{DeadPage, Queues as Inner};
use synod_protocol::primitives::queue::{
    Enqueued, Extend, LeaseRequest, Leased, Nack, NewMessage, Place, QueueStatus,
};
use synod_protocol::{Error, Json, Name, Timestamp, Workspace};

/// The queues of a workspace; a cheap clone.
#[derive(Clone, Debug)]
pub struct Queues {
    queues: Option<Inner>,
    workspace: Workspace,
}

impl Queues {
    pub(crate) fn new(queues: Option<Inner>, workspace: Workspace) -> Queues {
        Queues { queues, workspace }
    }

    /// A queue. It is there as soon as something is put into it.
    ///
    /// # Errors
    /// `invalid_argument` for what is no name (1 to 512 bytes without control characters, not `.` or `..`);
    /// `unavailable` where the configuration names no Redis.
    pub fn queue(&self, name: &str) -> Result<Queue, Error> {
        let queues = self.queues.clone();
        let queues =
            queues.ok_or_else(|| Error::unavailable("Redis is not configured, and queues live there"))?;
        Ok(Queue { queues, workspace: self.workspace.clone(), name: name.parse()? })
    }
}

/// One queue; a cheap clone.
///
/// ```no_run
/// # use std::time::Duration;
/// # use agent_sdk::{ConsumeOptions, Mesh};
/// # async fn example(mesh: Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// let mails = mesh.queues().queue("mails")?;
/// mails.enqueue(&"ann@example.org").await?;
/// let consumer = mails.consume(ConsumeOptions::named("mailer"), |message, to: String| async move {
///     println!("delivery {} of a mail to {to}", message.delivery);
///     Ok::<(), std::io::Error>(()) // an error gives it back, to be delivered again
/// });
/// tokio::time::sleep(Duration::from_secs(60)).await;
/// println!("{:?}", consumer.stop().await);
/// # Ok(()) }
/// ```
///
/// A message is delivered at least once. Every call fails as `unavailable` where Redis cannot be reached; its `applied`
/// says whether it may have been done.
#[derive(Clone, Debug)]
pub struct Queue {
    queues: Inner,
    workspace: Workspace,
    name: Name,
}

impl Queue {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Puts a message in, to be handed out at once.
    ///
    /// # Errors
    /// `payload_too_large` over 256 KiB; `overloaded` where the queue is full; those of any call.
    pub async fn enqueue<T: Serialize + ?Sized>(&self, payload: &T) -> Result<Enqueued, Error> {
        let odd = |e: serde_json::Error| Error::invalid(format!("the payload has no JSON form: {e}"));
        self.enqueue_message(NewMessage::new(Json::of(payload).map_err(odd)?)).await
    }

    /// Puts a message in, with its id, delay, priority and number of deliveries. One with an id of the caller's can be put
    /// in again and again: it is taken once within 24 h.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; `invalid_argument` for what is out of range.
    pub async fn enqueue_message(&self, message: NewMessage) -> Result<Enqueued, Error> {
        let mut all = self.queues.enqueue(&self.workspace, &self.name, &[message], None).await?;
        all.pop().ok_or_else(|| Error::new(synod_protocol::Code::Internal, "nothing was said of the message"))
    }

    /// Puts 1 to 1,000 messages in, 4 MiB in all: all of them, or none.
    ///
    /// # Errors
    /// As [`Queue::enqueue_message`].
    pub async fn enqueue_all(&self, messages: &[NewMessage]) -> Result<Vec<Enqueued>, Error> {
        self.queues.enqueue(&self.workspace, &self.name, messages, None).await
    }

    /// Takes messages for a while; empty when nothing came. Dropping the future ends the wait.
    ///
    /// # Errors
    /// `invalid_argument` for what is out of range; those of any call.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<Vec<Leased>, Error> {
        self.queues.lease(&self.workspace, &self.name, request, None).await
    }

    /// Says that a message is done.
    ///
    /// # Errors
    /// `fenced` where its lease has ended; those of any call.
    pub async fn ack(&self, message: &Leased) -> Result<(), Error> {
        self.queues.ack(&self.workspace, &self.name, &id(message)?, &message.receipt, None).await
    }

    /// Gives a message back, to be delivered again after `delay`; where it is now.
    ///
    /// # Errors
    /// `fenced` where its lease has ended; those of any call.
    pub async fn nack(&self, message: &Leased, delay: Duration, reason: &str) -> Result<Place, Error> {
        let nack = Nack {
            receipt: message.receipt.clone(),
            delay_ms: Some(ms(delay)),
            reason: Some(reason.to_owned()),
        };
        self.queues.nack(&self.workspace, &self.name, &id(message)?, &nack, None).await
    }

    /// Keeps a message for `visibility` from now; until when, by Redis' clock.
    ///
    /// # Errors
    /// `fenced` where its lease has ended; those of any call.
    pub async fn extend(&self, message: &Leased, visibility: Duration) -> Result<Timestamp, Error> {
        let extend = Extend { receipt: message.receipt.clone(), visibility_ms: ms(visibility) };
        self.queues.extend(&self.workspace, &self.name, &id(message)?, &extend, None).await
    }

    /// What is in it, and what has gone through it in the last minute.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn status(&self) -> Result<QueueStatus, Error> {
        self.queues.status(&self.workspace, &self.name).await
    }

    /// One page of messages that have had their last delivery, the first to die first; `after` is where the page before
    /// ended, 0 at first.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn dead(&self, after: u64, limit: usize) -> Result<DeadPage, Error> {
        self.queues.dead(&self.workspace, &self.name, after, limit).await
    }

    /// Makes a dead message ready again, its deliveries counted anew.
    ///
    /// # Errors
    /// `not_found`; `overloaded` where the queue is full; those of any call.
    pub async fn redrive(&self, message_id: &str) -> Result<(), Error> {
        self.queues.redrive(&self.workspace, &self.name, &message_id.parse()?, None).await
    }

    /// Handles messages one after the other, or some at a time, until it is stopped. While a handler runs its message stays
    /// its own; a message is done when its handler returns `Ok`, and is given back when it returns an error or panics, or
    /// when the payload is not a `T`. A message that is lost all the same (Redis was away for too long, this process stood
    /// still) has its handler dropped: another consumer has it.
    ///
    /// Must be called within a tokio runtime.
    pub fn consume<T, E, F, W>(&self, options: ConsumeOptions, handler: F) -> Consumer
    where
        T: DeserializeOwned + Send + 'static,
        E: Display + Send + 'static,
        F: Fn(Leased, T) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
    {
        Consumer::start(self.clone(), options, handler)
    }

    /// As [`Queue::lease`], until `stop`, which loses no answer.
    async fn lease_until(
        &self,
        request: &LeaseRequest,
        stop: impl Future<Output = ()>,
    ) -> Result<Vec<Leased>, Error> {
        self.queues.lease_until(&self.workspace, &self.name, request, None, stop).await
    }
}

fn id(message: &Leased) -> Result<Name, Error> {
    message.message_id.parse()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
