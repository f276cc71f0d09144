//! One partition's worker in a group: one record after the other, each until it is handled or a dead letter.
//!
//! ```text
//!   record -> decode --undecodable---------------------------> dead letter -> acknowledged -> store offset
//!                \--> handler --ok----------------------------------------------------------> store offset
//!                        |--Retry--> wait (no permit held) --> again, at most `attempts` --> dead letter
//!                        `--Later--> handed back, at most `returns` times --> acknowledged -> store offset
//! ```
//!
//! A worker waits for nobody else's partition: only for a permit while a handler runs.

use super::dlq::{dead_letter, without_value};
use super::group::{GroupContext, GroupOptions};
use super::maker::TopicMaker;
use super::producer::{Producer, SendError};
use super::record::{Outgoing, RawRecord};
use super::retry;
use super::split::SplitQueue;
use backon::BackoffBuilder;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use synod_protocol::Envelope;
use synod_protocol::retry::{MOST as MOST_RETURNS, Tier};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A message that reads as it should.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<T> {
    /// Everything about it.
    pub envelope: Envelope,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload.
    pub payload: T,
    /// Where from.
    pub topic: String,
    /// Where from.
    pub partition: i32,
    /// Where from.
    pub offset: i64,
    /// The record's time, in ms since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Which delivery this is in this process, from 1.
    pub delivery: u32,
}

/// Why a handler did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// It may work later.
    #[error("{0}")]
    Retry(String),
    /// It never will: a dead letter at once.
    #[error("{0}")]
    Poison(String),
    /// Not before some time has passed: it is handed back and comes again, on its topic and for this group alone, after
    /// at least `after` (rounded up to 1 s, 10 s, 1 min, 10 min or 1 h); what is behind it in its partition goes on meanwhile.
    #[error("{why}")]
    Later {
        /// How long it is to lie.
        after: Duration,
        /// Why, for people.
        why: String,
    },
}

impl HandlerError {
    /// To be handed back, and to come again after at least so long.
    pub fn later(after: Duration, why: impl Into<String>) -> HandlerError {
        HandlerError::Later { after, why: why.into() }
    }
}

/// Decodes and starts the handler; `Err` says why it does not decode.
pub(super) type Handle =
    dyn Fn(&RawRecord, u32) -> Result<BoxFuture<'static, Result<(), HandlerError>>, String> + Send + Sync;

/// What all workers of a group share.
pub(super) struct Job {
    pub(super) group: String,
    pub(super) handle: Box<Handle>,
    pub(super) options: GroupOptions,
    pub(super) producer: Producer,
    pub(super) maker: TopicMaker,
    /// The tiers of retries whose topics are there.
    pub(super) made: Mutex<BTreeSet<Tier>>,
    pub(super) permits: Semaphore,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) handled: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) handed_back: AtomicU64,
}

/// The brokers' time, as far as records tell it: never before that of the newest one plus what has passed since.
#[derive(Default)]
struct BrokersClock {
    newest: Option<(i64, Instant)>,
}

impl BrokersClock {
    /// How long this record, which came just now, has to wait until it is so old.
    fn left(&mut self, record: &RawRecord, hold: Duration) -> Duration {
        let Some(at) = record.timestamp_ms.filter(|_| !hold.is_zero()) else { return hold };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let here = Instant::now();
        let since = |at: Instant| here.duration_since(at).as_millis() as i64;
        let told = self.newest.map_or(at, |(newest, then)| at.max(newest.saturating_add(since(then))));
        self.newest = Some((told, here));
        // A clock of ours that is behind makes no record wait for longer than it is to lie.
        let age = told.max(wall.as_millis() as i64).saturating_sub(at);
        hold.saturating_sub(Duration::from_millis(age.max(0).cast_unsigned()))
    }
}

/// The end of waiting: revoked, or stopped.
struct Revoked;

/// Runs until the partition is revoked. A handler that runs then is let finish.
pub(super) async fn work(
    job: Arc<Job>,
    consumer: Arc<BaseConsumer<GroupContext>>,
    queue: SplitQueue<GroupContext>,
    revoked: CancellationToken,
) {
    let mut brokers = BrokersClock::default();
    while let Some(next) = revoked.run_until_cancelled(queue.next()).await {
        match next {
            Ok(record) => {
                let left = brokers.left(&record, job.options.hold);
                let is_revoked =
                    async || revoked.run_until_cancelled(tokio::time::sleep(left)).await.is_none();
                if !left.is_zero() && is_revoked().await {
                    break;
                }
                if job.see_through(&record, &revoked).await.is_err() {
                    break;
                }
                store(&consumer, &record);
            }
            // librdkafka goes on trying; the context has told it.
            Err(error) => tracing::debug!(group = job.group, %error, "partition"),
        }
    }
}

impl Job {
    async fn see_through(&self, record: &RawRecord, revoked: &CancellationToken) -> Result<(), Revoked> {
        let mut waits = self.waits();
        let mut delivery = 0;
        let why = loop {
            delivery += 1;
            let failed = match (self.handle)(record, delivery) {
                Err(undecodable) => break undecodable,
                Ok(handling) => {
                    let _permit = tokio::select! {
                        permit = self.permits.acquire() => permit.map_err(|_| Revoked)?,
                        () = revoked.cancelled() => return Err(Revoked),
                    };
                    self.run(handling).await
                }
            };
            match failed {
                Ok(()) => {
                    self.counts.handled.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(HandlerError::Poison(why)) => break why,
                Err(HandlerError::Later { after, why }) => {
                    match self.hand_back(record, Tier::of(after), &why, revoked).await? {
                        Ok(()) => return Ok(()),
                        Err(cannot) => break cannot,
                    }
                }
                Err(HandlerError::Retry(why)) if delivery >= self.options.attempts.max(1) => break why,
                Err(HandlerError::Retry(why)) => {
                    tracing::info!(
                        group = self.group,
                        topic = record.topic,
                        offset = record.offset,
                        why,
                        "retry"
                    );
                    self.counts.retried.fetch_add(1, Ordering::Relaxed);
                }
            }
            pause(&mut waits, revoked).await?;
        };
        self.bury(record, delivery, &why, revoked).await
    }

    async fn run(&self, handling: BoxFuture<'static, Result<(), HandlerError>>) -> Result<(), HandlerError> {
        let limit = self.options.handler_limit;
        let caught = AssertUnwindSafe(handling).catch_unwind();
        match tokio::time::timeout(limit, caught).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(HandlerError::Retry("the handler panicked".into())),
            Err(_) => {
                Err(HandlerError::Retry(format!("the handler took longer than {} ms", limit.as_millis())))
            }
        }
    }

    /// Until the tier's topic has it; `Err` says why it can only be a dead letter.
    async fn hand_back(
        &self,
        record: &RawRecord,
        tier: Tier,
        why: &str,
        revoked: &CancellationToken,
    ) -> Result<Result<(), String>, Revoked> {
        let (limit, before) = (self.options.returns.clamp(1, MOST_RETURNS), retry::returns(record));
        if before >= limit {
            return Ok(Err(format!("it has come again {before} times, and there may be {limit}: {why}")));
        }
        let out = retry::handed_back(record, tier, &self.group, limit, why);
        let mut waits = self.waits();
        loop {
            let failed = match self.post_to(tier, &out, revoked).await? {
                Ok(()) => break,
                Err(SendError::TooLarge { size, limit, .. }) => {
                    return Ok(Err(format!(
                        "{size} bytes are too many to come again, the limit is {limit}: {why}"
                    )));
                }
                Err(error) => error,
            };
            tracing::error!(group = self.group, topic = out.topic, error = %failed, "a record is not handed back yet");
            pause(&mut waits, revoked).await?;
        }
        tracing::info!(
            group = self.group,
            topic = record.topic,
            offset = record.offset,
            tier = tier.name(),
            why,
            "later"
        );
        self.counts.handed_back.fetch_add(1, Ordering::Relaxed);
        Ok(Ok(()))
    }

    async fn post_to(
        &self,
        tier: Tier,
        out: &Outgoing,
        revoked: &CancellationToken,
    ) -> Result<Result<(), SendError>, Revoked> {
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_made = made().contains(&tier);
        if !is_made {
            if let Err(error) = retry::ensure(&self.maker, tier, self.options.replication).await {
                return Ok(Err(SendError::Refused {
                    message: error.to_string(),
                    out: Box::new(out.clone()),
                }));
            }
            made().insert(tier);
        }
        self.post(out, revoked).await
    }

    /// Until the dead letter is acknowledged: a record is not given up for a dead letter topic that is down.
    async fn bury(
        &self,
        record: &RawRecord,
        deliveries: u32,
        why: &str,
        revoked: &CancellationToken,
    ) -> Result<(), Revoked> {
        let mut letter = dead_letter(record, &self.group, deliveries, why);
        let (topic, partition, offset) = (record.topic.as_str(), record.partition, record.offset);
        tracing::warn!(group = self.group, topic, partition, offset, why, "dead letter");
        let mut waits = self.waits();
        loop {
            match self.post(&letter, revoked).await? {
                Ok(()) => break,
                Err(SendError::TooLarge { out, .. }) if out.payload.is_some() => letter = without_value(*out),
                Err(error) => {
                    tracing::error!(group = self.group, topic, partition, offset, %error, "dead letter not taken");
                    pause(&mut waits, revoked).await?;
                }
            }
        }
        self.counts.dead_lettered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn post(
        &self,
        letter: &Outgoing,
        revoked: &CancellationToken,
    ) -> Result<Result<(), SendError>, Revoked> {
        let (tell, told) = oneshot::channel();
        let sent = self.producer.send(letter.clone(), move |delivery| {
            // The partition was revoked meanwhile.
            let _ = tell.send(delivery);
        });
        if let Err(error) = sent {
            return Ok(Err(error));
        }
        let delivery = tokio::select! {
            delivery = told => delivery,
            () = revoked.cancelled() => return Err(Revoked),
        };
        let refused = |message: String| SendError::Refused { message, out: Box::new(letter.clone()) };
        Ok(match delivery {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(refused("the producer ended".into())),
        })
    }

    fn waits(&self) -> Waits {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.options.backoff)
            .with_max_delay(self.options.max_backoff)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

type Waits = <backon::ExponentialBuilder as BackoffBuilder>::Backoff;

async fn pause(waits: &mut Waits, revoked: &CancellationToken) -> Result<(), Revoked> {
    let wait = waits.next().unwrap_or(Duration::from_secs(1));
    revoked.run_until_cancelled(tokio::time::sleep(wait)).await.ok_or(Revoked)
}

fn store(consumer: &BaseConsumer<GroupContext>, record: &RawRecord) {
    let mut list = TopicPartitionList::with_capacity(1);
    let stored = list
        .add_partition_offset(&record.topic, record.partition, Offset::Offset(record.offset + 1))
        .and_then(|()| consumer.store_offsets(&list));
    if let Err(error) = stored {
        // Revoked while the handler ran: the next owner handles the record again.
        tracing::warn!(topic = record.topic, partition = record.partition, %error, "offset not stored");
    }
}
