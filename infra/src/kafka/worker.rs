//! One partition's worker in a group: one record after the other, each until it is handled or a dead letter.
//!
//! ```text
//!   record -> decode --undecodable---------------------------> dead letter -> acknowledged -> store offset
//!                \--> handler --ok----------------------------------------------------------> store offset
//!                        `--Retry--> wait (no permit held) --> again, at most `attempts` --> dead letter
//! ```
//!
//! A worker waits for nobody else's partition: only for a permit while a handler runs.

use super::dlq::{dead_letter, without_value};
use super::group::{GroupContext, GroupOptions};
use super::producer::{Producer, SendError};
use super::record::{Outgoing, RawRecord};
use super::split::SplitQueue;
use backon::BackoffBuilder;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use synod_protocol::Envelope;
use tokio::sync::{Semaphore, oneshot};
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
    pub(super) permits: Semaphore,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) handled: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
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
    while let Some(next) = revoked.run_until_cancelled(queue.next()).await {
        match next {
            Ok(record) => {
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
