//! A consumer: leases, keeps, settles.
//!
//! ```text
//! room --> lease (waits) --> handler runs, its lease extended at every third of it --Ok--> ack
//!                               |                                         `--Err, panic--> nack, after a pause
//!                               `-- the lease is lost --> the handler is dropped
//! ```

use super::{Queue, ms};
use futures::FutureExt as _;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::primitives::queue::{LEASE_LIMIT, LeaseRequest, Leased};
use synod_protocol::{Code, Error};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long one wait for messages lasts.
const WAIT: Duration = Duration::from_secs(30);
/// The pause after a call that failed.
const AGAIN: Duration = Duration::from_millis(200);
/// Bytes of a reason that are kept.
const REASON_BYTES: usize = 4_000;

/// How a consumer works.
#[derive(Clone, Debug)]
pub struct ConsumeOptions {
    /// What it is called; a name.
    pub consumer: String,
    /// How long a message is its own at a time; it asks for more at every third of it. 30 s; 10 ms to a day. So long after
    /// its process has died another gets the message.
    pub visibility: Duration,
    /// Messages that are handled at a time, 1 to 100. 1.
    pub concurrency: usize,
    /// How long a message whose handler failed rests, times the number of its delivery, up to ten times. 1 s.
    pub retry_delay: Duration,
    /// How long handlers may go on when it is stopped; then their messages are given back. 30 s.
    pub grace: Duration,
}

impl ConsumeOptions {
    /// The defaults, under this name.
    pub fn named(consumer: impl Into<String>) -> ConsumeOptions {
        ConsumeOptions {
            consumer: consumer.into(),
            visibility: Duration::from_secs(30),
            concurrency: 1,
            retry_delay: Duration::from_secs(1),
            grace: Duration::from_secs(30),
        }
    }
}

/// What a consumer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Messages done.
    pub acked: u64,
    /// Messages given back.
    pub nacked: u64,
    /// Messages lost while they were handled, or whose end could not be told: they are delivered again.
    pub lost: u64,
}

/// How the handling of one message ended.
#[derive(Clone, Copy)]
enum End {
    Acked,
    Nacked,
    Lost,
}

/// A running consumer. Dropped, it stops taking messages and drops its handlers; [`Consumer::stop`] lets them end.
#[derive(Debug)]
pub struct Consumer {
    stop: CancellationToken,
    task: JoinHandle<Result<Consumed, Error>>,
}

impl Consumer {
    pub(super) fn start<T, E, F, W>(queue: Queue, options: ConsumeOptions, handler: F) -> Consumer
    where
        T: DeserializeOwned + Send + 'static,
        E: Display + Send + 'static,
        F: Fn(Leased, T) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let work = Work { queue, options, stop: stop.clone(), enough: CancellationToken::new() };
        Consumer { stop, task: tokio::spawn(run(work, Arc::new(handler))) }
    }

    /// Takes no more messages, and waits for the handlers that run, up to the grace.
    ///
    /// # Errors
    /// What had ended it before: `invalid_argument` for options out of range.
    pub async fn stop(mut self) -> Result<Consumed, Error> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it has ended by itself, which it does only when its options are out of range. Dropping the future
    /// leaves it as it is.
    ///
    /// # Errors
    /// Why it has ended.
    pub async fn ended(&mut self) -> Result<Consumed, Error> {
        match (&mut self.task).await {
            Ok(done) => done,
            Err(error) => Err(Error::new(Code::Internal, format!("the consumer ended: {error}"))),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

#[derive(Clone)]
struct Work {
    queue: Queue,
    options: ConsumeOptions,
    stop: CancellationToken,
    /// The grace is over.
    enough: CancellationToken,
}

async fn run<T, E, F, W>(work: Work, handler: Arc<F>) -> Result<Consumed, Error>
where
    T: DeserializeOwned + Send + 'static,
    E: Display + Send + 'static,
    F: Fn(Leased, T) -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), E>> + Send + 'static,
{
    let concurrency = work.options.concurrency.clamp(1, *LEASE_LIMIT.end() as usize);
    let (mut running, mut done) = (JoinSet::new(), Consumed::default());
    while !work.stop.is_cancelled() {
        while let Some(end) = running.try_join_next() {
            done.count(end.unwrap_or(End::Lost));
        }
        if running.len() >= concurrency {
            tokio::select! {
                end = running.join_next() => done.count(end.and_then(Result::ok).unwrap_or(End::Lost)),
                () = work.stop.cancelled() => {}
            }
            continue;
        }
        let request = LeaseRequest {
            limit: Some((concurrency - running.len()) as u64),
            wait_ms: Some(ms(WAIT)),
            ..LeaseRequest::new(work.options.consumer.clone(), work.options.visibility)
        };
        match work.queue.lease_until(&request, work.stop.cancelled()).await {
            Ok(items) => {
                for message in items {
                    running.spawn(handle(work.clone(), handler.clone(), message));
                }
            }
            Err(error) if error.code == Code::InvalidArgument => return Err(error),
            Err(error) => {
                tracing::debug!(%error, queue = %work.queue.name(), "no messages can be taken");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = work.stop.cancelled() => {}
                }
            }
        }
    }
    let grace = tokio::time::sleep(work.options.grace);
    tokio::pin!(grace);
    while !running.is_empty() {
        tokio::select! {
            end = running.join_next() => done.count(end.and_then(Result::ok).unwrap_or(End::Lost)),
            () = &mut grace, if !work.enough.is_cancelled() => work.enough.cancel(),
        }
    }
    Ok(done)
}

impl Consumed {
    fn count(&mut self, end: End) {
        match end {
            End::Acked => self.acked += 1,
            End::Nacked => self.nacked += 1,
            End::Lost => self.lost += 1,
        }
    }
}

async fn handle<T, E, F, W>(work: Work, handler: Arc<F>, message: Leased) -> End
where
    T: DeserializeOwned,
    E: Display,
    F: Fn(Leased, T) -> W,
    W: Future<Output = Result<(), E>>,
{
    let outcome = match message.payload.to::<T>() {
        Err(error) => Some(Err(format!("the payload does not read: {error}"))),
        Ok(payload) => {
            let handling = AssertUnwindSafe(async { handler(message.clone(), payload).await }).catch_unwind();
            tokio::select! {
                ended = handling => Some(match ended {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the handler panicked".to_owned()),
                }),
                () = keep(&work, &message) => None,
                () = work.enough.cancelled() => Some(Err("the consumer was stopped".to_owned())),
            }
        }
    };
    match outcome {
        None => End::Lost,
        Some(outcome) => settled(&work, &message, outcome.err().as_deref()).await,
    }
}

/// Extends the lease for as long as the message is ours; returns when it is not, or may not be.
async fn keep(work: &Work, message: &Leased) {
    let visibility = work.options.visibility;
    let mut ours_until = Instant::now() + visibility;
    loop {
        tokio::time::sleep(visibility / 3).await;
        loop {
            let asked = Instant::now();
            match work.queue.extend(message, visibility).await {
                Ok(_) => {
                    ours_until = asked + visibility;
                    break;
                }
                Err(error) if error.code == Code::Fenced || Instant::now() + AGAIN >= ours_until => {
                    tracing::warn!(%error, message = message.message_id, "a message was lost while it was handled");
                    return;
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// Says how it ended until that is heard, for as long as the lease may last: the same again is no error.
async fn settled(work: &Work, message: &Leased, failure: Option<&str>) -> End {
    let until = Instant::now() + work.options.visibility;
    loop {
        let said = match failure {
            None => work.queue.ack(message).await.map(|()| End::Acked),
            Some(reason) => {
                let delay = work.options.retry_delay.saturating_mul(message.delivery.min(10) as u32);
                work.queue.nack(message, delay, cut(reason)).await.map(|_| End::Nacked)
            }
        };
        match said {
            Ok(end) => return end,
            Err(error) if error.code.is_retryable() && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(%error, queue = %work.queue.name(), "the end of a message could not be told");
                return End::Lost;
            }
        }
    }
}

fn cut(reason: &str) -> &str {
    let end = (0..=REASON_BYTES.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
    &reason[..end]
}
