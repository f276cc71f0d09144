//! Queues in Redis: every operation is one script, every time is Redis' own.
//!
//! ```text
//! enqueue ---> ready <--- delay over, lease over: promoted by whoever calls next
//!                |
//!              lease --- nothing there: waits its turn (wakes.rs), woken by what makes a message ready
//!                |
//!        ack, nack, extend: under the receipt of this very delivery, while its lease lasts
//! ```
//!
//! A message is delivered at least once: whose lease has ended may have done its work all the same, but cannot say so any
//! more. All of a queue is under one hash tag.

mod answers;
mod wakes;

use super::keys;
use crate::redis::{Call, Once, Redis, RedisError, Repeatable};
use answers::{Settling, words};
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::primitives::queue::{
    ANSWER_BYTES, CheckedMessage, DEDUPLICATED_FOR, DEDUPLICATED_IDS, DeadLetter, Enqueued, Extend,
    LeaseRequest, Leased, Nack, NewMessage, Place, QueueStatus, checked_batch,
};
use synod_protocol::{Code, Error, Name, Timestamp, Workspace};
use tokio::time::Instant;
use wakes::{Waiter, Wakes};

/// Who waits looks again after so long, even if nobody wakes it: a wake-up may be lost with a connection, or be given
/// to a process that has stopped. Up to half as long again is added at random.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// What a refusal for want of room says: when to try again.
const FULL_RETRY_MS: u64 = 1_000;
/// A consumer that does not say why it gives a message back.
const NO_REASON: &str = "rejected";

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            let shared = include_str!("../scripts/queue.lua");
            Repeatable::new(
                $name,
                &format!("{shared}\n{}", include_str!(concat!("../scripts/", $name, ".lua"))),
            )
        })
    };
}
static ENQUEUE: LazyLock<Repeatable> = script!("enqueue");
static LEASE: LazyLock<Repeatable> = script!("lease");
static LEAVE: LazyLock<Repeatable> = script!("leave_queue");
static ACK: LazyLock<Repeatable> = script!("ack");
static NACK: LazyLock<Repeatable> = script!("nack");
static EXTEND: LazyLock<Repeatable> = script!("extend");
static STATUS: LazyLock<Repeatable> = script!("queue_status");
static DEAD: LazyLock<Repeatable> = script!("queue_dead");
static REDRIVE: LazyLock<Repeatable> = script!("redrive");

/// How much one queue may hold; checked by whoever puts something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages that are not done and not dead; 1,000,000 by default.
    pub messages: u64,
    /// Bytes of their payloads; 1 GiB by default.
    pub bytes: u64,
}

impl Default for QueueLimits {
    fn default() -> QueueLimits {
        QueueLimits { messages: 1_000_000, bytes: 1 << 30 }
    }
}

/// One page of dead messages, the first to die first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadPage {
    /// The messages.
    pub items: Vec<DeadLetter>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// The queues in this Redis; a cheap clone. Clones share the subscription over which their waiting consumers are woken.
#[derive(Clone, Debug)]
pub struct Queues {
    redis: Redis,
    limits: QueueLimits,
    wakes: Wakes,
}

impl Queues {
    /// All queues of this Redis, with the usual limits.
    pub fn new(redis: Redis) -> Queues {
        Queues::with_limits(redis, QueueLimits::default())
    }

    /// All queues of this Redis.
    pub fn with_limits(redis: Redis, limits: QueueLimits) -> Queues {
        Queues { wakes: Wakes::new(redis.clone()), redis, limits }
    }

    /// Puts messages in: all of them, or none. Of those without an id, one is made here.
    ///
    /// # Errors
    /// `invalid_argument` and `payload_too_large`, with the place (`/messages/<n>/…`); `overloaded` where the queue is
    /// full; those of any call: then they may be in. With ids of the caller's the call can be repeated.
    pub async fn enqueue(
        &self,
        workspace: &Workspace,
        queue: &Name,
        messages: &[NewMessage],
        once: Option<&Once>,
    ) -> Result<Vec<Enqueued>, Error> {
        self.enqueue_checked(workspace, queue, checked_batch(messages, "/messages")?, once).await
    }

    /// The same of messages that are checked already.
    ///
    /// # Errors
    /// As [`Queues::enqueue`].
    pub async fn enqueue_checked(
        &self,
        workspace: &Workspace,
        queue: &Name,
        messages: Vec<CheckedMessage>,
        once: Option<&Once>,
    ) -> Result<Vec<Enqueued>, Error> {
        let QueueLimits { messages: most, bytes } = self.limits;
        let kept_ms = DEDUPLICATED_FOR.as_millis() as u64;
        let mut args: Vec<String> =
            [most, bytes, DEDUPLICATED_IDS, kept_ms].iter().map(u64::to_string).collect();
        let mut ids = Vec::with_capacity(messages.len());
        for message in messages {
            // One that is made for a request is the same whenever the request comes again.
            let is_named = message.id.is_some() || once.is_some();
            let id = message.id.map_or_else(|| made_id(once, ids.len(), workspace), String::from);
            args.extend([
                id.clone(),
                u8::from(is_named).to_string(),
                message.payload,
                message.delay_ms.to_string(),
                message.priority.to_string(),
                message.max_deliveries.to_string(),
            ]);
            ids.push(id);
        }
        let answer = self.run(&ENQUEUE, workspace, queue, args, once).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["done", flags @ ..] if flags.len() == ids.len() => {
                let each =
                    |(message_id, flag): (String, &&str)| Enqueued { message_id, duplicate: *flag == "1" };
                Ok(ids.into_iter().zip(flags).map(each).collect())
            }
            ["again", what, there] => Err(self.full(queue, what, there)),
            other => Err(unexpected("enqueue", other)),
        }
    }

    /// Takes messages for a while, those of the highest priority first and of these the first that came; waits for one
    /// if asked to. Whoever has waited longest is woken first; who asks at that very moment may be quicker.
    ///
    /// Dropping the future ends the wait. Messages whose answer is not heard have used up a delivery.
    ///
    /// # Errors
    /// `invalid_argument`, with the place; those of any call.
    pub async fn lease(
        &self,
        workspace: &Workspace,
        queue: &Name,
        request: &LeaseRequest,
        once: Option<&Once>,
    ) -> Result<Vec<Leased>, Error> {
        self.lease_until(workspace, queue, request, once, std::future::pending()).await
    }

    /// The same, until `stop`: this ends the waiting only, and loses no answer.
    ///
    /// # Errors
    /// As [`Queues::lease`].
    pub async fn lease_until(
        &self,
        workspace: &Workspace,
        queue: &Name,
        request: &LeaseRequest,
        once: Option<&Once>,
        stop: impl Future<Output = ()>,
    ) -> Result<Vec<Leased>, Error> {
        request.check()?;
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms.unwrap_or(0));
        if request.wait_ms.unwrap_or(0) == 0 {
            let answer = self.run(&LEASE, workspace, queue, lease_args(request, "", "0"), once).await?;
            return Ok(answers::lease(&answer)?.unwrap_or_default());
        }
        let mut waiter = Waiter::new(self, workspace, queue).await?;
        let mut place = "0".to_owned();
        tokio::pin!(stop);
        loop {
            waiter.in_line = true;
            let args = lease_args(request, &waiter.name(), &place);
            let answer = self.run(&LEASE, workspace, queue, args, once).await?;
            if let Some(items) = answers::lease(&answer)? {
                waiter.in_line = false;
                return Ok(items);
            }
            let (kept, due_ms) = answers::again(&answer)?;
            place = kept;
            let now = Instant::now();
            let look = now + due_ms.map_or(look_again(), Duration::from_millis).min(look_again());
            tokio::select! {
                () = &mut stop => return Ok(Vec::new()),
                () = waiter.woken(look.min(deadline)) => {}
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Says that a message is done. The same again, within an hour, is no error.
    ///
    /// # Errors
    /// `fenced` where this receipt is not the one of the message's delivery, or its lease has ended; those of any call.
    pub async fn ack(
        &self,
        workspace: &Workspace,
        queue: &Name,
        message: &Name,
        receipt: &str,
        once: Option<&Once>,
    ) -> Result<(), Error> {
        match self.settle(&ACK, workspace, queue, message, receipt, Vec::new(), once).await? {
            Settling::Done(_) => Ok(()),
            Settling::Fenced(why) => Err(fenced(message, &why)),
        }
    }

    /// Says that a message is not done: it can be leased again after the delay, or is dead. The same again, within an hour,
    /// is no error.
    ///
    /// # Errors
    /// `invalid_argument`; `fenced` as [`Queues::ack`]; those of any call.
    pub async fn nack(
        &self,
        workspace: &Workspace,
        queue: &Name,
        message: &Name,
        nack: &Nack,
        once: Option<&Once>,
    ) -> Result<Place, Error> {
        nack.check()?;
        let reason = nack.reason.clone().unwrap_or_else(|| NO_REASON.to_owned());
        let more = vec![nack.delay_ms.unwrap_or(0).to_string(), reason];
        match self.settle(&NACK, workspace, queue, message, &nack.receipt, more, once).await? {
            Settling::Done(place) => answers::place(&place),
            Settling::Fenced(why) => Err(fenced(message, &why)),
        }
    }

    /// Keeps a message for longer, from now; until when.
    ///
    /// # Errors
    /// `invalid_argument`; `fenced` as [`Queues::ack`]; those of any call.
    pub async fn extend(
        &self,
        workspace: &Workspace,
        queue: &Name,
        message: &Name,
        extend: &Extend,
        once: Option<&Once>,
    ) -> Result<Timestamp, Error> {
        extend.check()?;
        let more = vec![extend.visibility_ms.to_string()];
        match self.settle(&EXTEND, workspace, queue, message, &extend.receipt, more, once).await? {
            Settling::Done(until) => Ok(answers::time(&until)?),
            Settling::Fenced(why) => Err(fenced(message, &why)),
        }
    }

    /// A queue as it is now; one that was never used is empty.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn status(&self, workspace: &Workspace, queue: &Name) -> Result<QueueStatus, Error> {
        let answer = self.run(&STATUS, workspace, queue, Vec::new(), None).await?;
        Ok(answers::status(queue, &answer)?)
    }

    /// One page of dead messages, the first to die first; `after` is where the page before ended, 0 at first.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn dead(
        &self,
        workspace: &Workspace,
        queue: &Name,
        after: u64,
        limit: usize,
    ) -> Result<DeadPage, Error> {
        let args = vec![after.to_string(), limit.to_string(), ANSWER_BYTES.to_string()];
        let answer = self.run(&DEAD, workspace, queue, args, None).await?;
        Ok(answers::dead(&answer)?)
    }

    /// Makes a dead message ready again, behind all of its priority, its deliveries counted anew.
    ///
    /// # Errors
    /// `not_found`; `overloaded` where the queue is full; those of any call.
    pub async fn redrive(
        &self,
        workspace: &Workspace,
        queue: &Name,
        message: &Name,
        once: Option<&Once>,
    ) -> Result<(), Error> {
        let QueueLimits { messages, bytes } = self.limits;
        let args = vec![message.to_string(), messages.to_string(), bytes.to_string()];
        let answer = self.run(&REDRIVE, workspace, queue, args, once).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["done"] => Ok(()),
            ["again", "unknown"] => Err(Error::not_found("dead message", message.as_str())),
            ["again", what, there] => Err(self.full(queue, what, there)),
            other => Err(unexpected("redrive", other)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a settlement consists of")]
    async fn settle(
        &self,
        script: &Repeatable,
        workspace: &Workspace,
        queue: &Name,
        message: &Name,
        receipt: &str,
        more: Vec<String>,
        once: Option<&Once>,
    ) -> Result<Settling, Error> {
        // What is no receipt of ours is not worth a call, and cannot be taken for part of another text.
        if receipt.len() > 80 || !receipt.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Ok(Settling::Fenced("stale".to_owned()));
        }
        let mut args = vec![message.to_string(), receipt.to_owned()];
        args.extend(more);
        Ok(answers::settling(&self.run(script, workspace, queue, args, once).await?)?)
    }

    async fn run(
        &self,
        script: &Repeatable,
        workspace: &Workspace,
        queue: &Name,
        args: Vec<String>,
        once: Option<&Once>,
    ) -> Result<Vec<String>, RedisError> {
        words(script.run(&self.redis, Call { keys: keys::queue(workspace, queue), args }, once).await?)
    }

    /// Waits no longer under this name.
    async fn leave(&self, workspace: &Workspace, queue: &Name, who: String) {
        if let Err(error) = self.run(&LEAVE, workspace, queue, vec![who], None).await {
            tracing::debug!(%error, %queue, "a waiting consumer could not take its leave");
        }
    }

    fn full(&self, queue: &Name, what: &str, there: &str) -> Error {
        let limit = if what == "bytes" { self.limits.bytes } else { self.limits.messages };
        let said = format!("the queue {queue} has {there} {what}, the limit is {limit}; take some out first");
        Error::overloaded(said, FULL_RETRY_MS)
    }
}

fn lease_args(request: &LeaseRequest, who: &str, place: &str) -> Vec<String> {
    vec![
        request.limit.unwrap_or(1).to_string(),
        request.visibility_ms.to_string(),
        ANSWER_BYTES.to_string(),
        uuid::Uuid::new_v4().simple().to_string(),
        who.to_owned(),
        place.to_owned(),
    ]
}

/// An id for a message that has none: a repeat of the request makes the same one.
fn made_id(once: Option<&Once>, n: usize, workspace: &Workspace) -> String {
    match once {
        Some(once) => {
            synod_protocol::Id::derived("msg_", workspace, &format!("{}\0{n}", once.key)).to_string()
        }
        None => synod_protocol::Id::made("msg_", uuid::Uuid::now_v7()).to_string(),
    }
}

fn look_again() -> Duration {
    // The low bits of a version 4 UUID are random.
    let draw = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff;
    LOOK_AGAIN + LOOK_AGAIN.mul_f64(draw as f64 / 131_072.0)
}

fn fenced(message: &Name, why: &str) -> Error {
    let said = match why {
        "unknown" => "is not in the queue, or this receipt settled it otherwise",
        "expired" => "is this consumer's no longer: its lease has ended",
        _ => "is not leased under this receipt: it was settled, or given to another",
    };
    Error::fenced(format!("message {message} {said}; take what the next lease gives"))
}

fn unexpected(what: &str, answer: &[&str]) -> Error {
    Error::new(Code::Internal, format!("{what} on Redis answered {answer:?}"))
}
