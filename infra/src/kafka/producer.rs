//! Appends records: idempotent, acknowledged by all in-sync replicas, pipelined, never given up.
//!
//! ```text
//!   send() -> librdkafka's bounded queue -> broker -> acknowledgement -> polling thread -> on_ack
//! ```
//!
//! `message.timeout.ms` is 0: a record is tried until it is acknowledged or the producer is closed. A time
//! limit there reports as failed what is in the log all the same; who cannot wait takes "unknown" for an
//! answer (`publish`) and leaves the record to its fate.

use super::config::{ConfigError, KafkaConfig};
use super::context::{AckSlot, Context};
use super::record::{Delivery, Outgoing, wire_bytes};
use super::stats::ClientStats;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the polling thread waits before it looks whether it is to end. rdkafka's `poll` spins through the last
/// millisecond of any wait, so a short one costs an idle producer: 100 ms is 0.7 % of a core, this a tenth of that.
const POLL: Duration = Duration::from_secs(1);

/// A handle on one producer; clones share it. The last one dropped purges what is not yet acknowledged
/// (each such record's callback runs, with `DeliveryError`) without blocking.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    base: Arc<BaseProducer<Context>>,
    closing: Arc<AtomicBool>,
    max_message_bytes: usize,
}

/// A record that was not taken. It comes back whole; its callback is dropped uncalled.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Too much is waiting already: wait for acknowledgements, then try again.
    #[error("the producer's queue is full")]
    QueueFull(Box<Outgoing>),
    /// Larger than a broker would take.
    #[error("the record has {size} bytes on the wire, the limit is {limit}")]
    TooLarge {
        /// Bytes on the wire, at most.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
        /// The record.
        out: Box<Outgoing>,
    },
    /// Nothing can be sent like this: no such partition, a topic's name with a NUL, a dead producer.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// The record.
        out: Box<Outgoing>,
    },
}

/// Why a record was not taken, without the record.
pub(super) enum Refusal {
    QueueFull,
    TooLarge { size: usize, limit: usize },
    Refused(String),
}

/// Not everything was acknowledged in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{left} records are still without an acknowledgement")]
pub struct FlushError {
    /// How many.
    pub left: usize,
}

impl Producer {
    /// Starts a producer and its polling thread. Does not wait for a broker.
    ///
    /// # Errors
    /// Settings that cannot be.
    pub fn new(config: &KafkaConfig) -> Result<Producer, ConfigError> {
        Producer::with(config, &[])
    }

    pub(super) fn with(config: &KafkaConfig, more: &[(&str, &str)]) -> Result<Producer, ConfigError> {
        let mut native = config.producer()?;
        for (name, value) in more {
            native.set(*name, *value);
        }
        let base = BaseProducer::from_config_and_context(&native, Context::new(config))
            .map_err(|error| ConfigError::client(&error))?;
        let base = Arc::new(base);
        let closing = Arc::new(AtomicBool::new(false));
        let (polled, done) = (base.clone(), closing.clone());
        std::thread::Builder::new().name("kafka-producer".into()).spawn(move || poll(&polled, &done))?;
        Ok(Producer(Arc::new(Inner { base, closing, max_message_bytes: config.max_message_bytes })))
    }

    /// Appends a record, without waiting. `on_ack` runs once, on the polling thread: it must be quick.
    /// Records of one partition are acknowledged in the order in which they were sent.
    ///
    /// # Errors
    /// At once and with the record, if it is not taken.
    pub fn send(
        &self,
        out: Outgoing,
        on_ack: impl FnOnce(Delivery) + Send + 'static,
    ) -> Result<(), SendError> {
        let size = out.wire_bytes();
        let taken = self.append(
            &out.topic,
            out.partition,
            out.key.as_deref(),
            out.native_headers(),
            out.payload.as_deref(),
            size,
            AckSlot::new(on_ack),
        );
        taken.map_err(|refusal| {
            let out = Box::new(out);
            match refusal {
                Refusal::QueueFull => SendError::QueueFull(out),
                Refusal::TooLarge { size, limit } => SendError::TooLarge { size, limit, out },
                Refusal::Refused(message) => SendError::Refused { message, out },
            }
        })
    }

    #[allow(clippy::too_many_arguments)] // the parts of a record, borrowed
    pub(super) fn append(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        headers: OwnedHeaders,
        payload: Option<&[u8]>,
        size: usize,
        slot: Box<AckSlot>,
    ) -> Result<(), Refusal> {
        let limit = self.0.max_message_bytes;
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        let mut record = BaseRecord::with_opaque_to(topic, slot).headers(headers);
        record.partition = partition;
        record.key = key;
        record.payload = payload;
        let waiting = &self.0.base.context().waiting;
        waiting.one_more();
        self.0.base.send(record).map_err(|(error, _)| {
            waiting.one_less();
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Refusal::QueueFull,
                KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    Refusal::TooLarge { size, limit }
                }
                error => Refusal::Refused(error.to_string()),
            }
        })
    }

    /// The largest record that is taken, in bytes on the wire (see [`Outgoing::wire_bytes`]).
    pub fn max_message_bytes(&self) -> usize {
        self.0.max_message_bytes
    }

    /// The largest value that fits with this key and these headers, in bytes.
    pub fn room(&self, key_bytes: usize, header_bytes: usize) -> usize {
        self.0.max_message_bytes.saturating_sub(wire_bytes(key_bytes, header_bytes, 0))
    }

    /// Why this producer is dead, if it is. A dead one acknowledges nothing more: make another.
    pub fn fatal(&self) -> Option<String> {
        self.0.base.client().fatal_error().map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Records whose callback has not run yet.
    pub fn waiting(&self) -> usize {
        self.0.base.context().waiting.count()
    }

    /// The last statistics, once there are any.
    pub fn stats(&self) -> Option<ClientStats> {
        self.0.base.context().stats.latest()
    }

    /// Waits until all that was sent is acknowledged.
    ///
    /// # Errors
    /// Time is up; nothing is given up by that.
    pub async fn flush(&self, wait: Duration) -> Result<(), FlushError> {
        let none = self.0.base.context().waiting.for_none();
        let flushed = tokio::time::timeout(wait, none).await;
        flushed.map_err(|_| FlushError { left: self.waiting() })
    }

    /// Gives up all that waits for its acknowledgement: the callbacks run with `DeliveryError::NotSent`
    /// for what never left and `Unknown` for what did.
    pub fn purge(&self) {
        self.0.base.purge(PurgeConfig::default().queue().inflight());
    }

    pub(super) fn base(&self) -> &BaseProducer<Context> {
        &self.0.base
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The polling thread tells the callbacks and ends the client, so that no caller waits for it. Purged from
        // here, since that thread may only look again after POLL.
        self.closing.store(true, Ordering::Release);
        self.base.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// Serves acknowledgements until the last handle is gone, then ends the client on this thread.
fn poll(base: &Arc<BaseProducer<Context>>, closing: &AtomicBool) {
    while !closing.load(Ordering::Acquire) {
        base.poll(POLL);
    }
    base.purge(PurgeConfig::default().queue().inflight());
    // The last handle may still be on its way out.
    while Arc::strong_count(base) > 1 {
        base.poll(Duration::from_millis(10));
    }
}
