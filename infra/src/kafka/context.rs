//! What librdkafka tells us besides records: log lines, errors, statistics, acknowledgements.
//!
//! These callbacks run on our polling threads. They must not block and must not panic into them.

use super::config::KafkaConfig;
use super::record::{Acked, Delivery, DeliveryError};
use super::refusal;
use super::stats::StatsCell;
use crate::telemetry::names;
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use synod_protocol::topics;
use tokio::sync::Notify;

/// The context of our producers, readers and the mock cluster.
pub(super) struct Context {
    config: KafkaConfig,
    pub(super) stats: StatsCell,
    pub(super) waiting: Waiting,
}

/// How many records of a producer wait for their acknowledgement, and a bell for when none does.
#[derive(Default)]
pub(super) struct Waiting {
    count: AtomicUsize,
    none: Notify,
}

impl Waiting {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn one_more(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn one_less(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    pub(super) async fn for_none(&self) {
        loop {
            let bell = self.none.notified();
            if self.count() == 0 {
                return;
            }
            bell.await;
        }
    }
}

impl Context {
    pub(super) fn new(config: &KafkaConfig) -> Context {
        Context { config: config.clone(), stats: StatsCell::default(), waiting: Waiting::default() }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let client = self.config.client_id.as_str();
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", client, facility, "{line}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", client, facility, "{line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", client, facility, "{line}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", client, facility, "{line}"),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Err(error) = self.stats.take(json) {
            tracing::warn!(client = self.config.client_id, %error, "librdkafka's statistics do not read");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = self.config.client_id.as_str();
        match error.rdkafka_error_code() {
            // Answers to a reader, not troubles of the client.
            Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {
                tracing::trace!(client, %error, reason);
            }
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(client, %error, reason, "Kafka client is dead");
                refusal::of_reason(&self.config, reason);
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => {
                tracing::debug!(client, %error, reason, "Kafka client");
                refusal::of_connection(&self.config, reason);
            }
            _ => {
                tracing::warn!(client, %error, reason, "Kafka client");
                refusal::of_right(&self.config, &error, || reason.to_owned());
                refusal::of_reason(&self.config, reason);
            }
        }
    }
}

impl ConsumerContext for Context {}

/// Our own topics by their names; those that clients name are many.
fn label(topic: &str) -> &'static str {
    let ours =
        [topics::COMMANDS, topics::LEDGER, topics::EVENTS, topics::AGENTS, topics::STATE, topics::HEARTBEATS];
    ours.into_iter().find(|known| *known == topic).unwrap_or("other")
}

type OnAck = Box<dyn FnOnce(Delivery) + Send>;

/// Who waits for one record's acknowledgement. The lock is never contended: it makes the callback `Sync`,
/// as rdkafka asks, without asking that of the caller.
pub(super) struct AckSlot(Mutex<OnAck>);

impl AckSlot {
    pub(super) fn new(on_ack: impl FnOnce(Delivery) + Send + 'static) -> Box<AckSlot> {
        Box::new(AckSlot(Mutex::new(Box::new(on_ack))))
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<AckSlot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<AckSlot>) {
        let delivery = match result {
            Ok(message) => Ok(Acked { partition: message.partition(), offset: message.offset() }),
            Err((error, message)) => {
                refusal::of_right(&self.config, error, || format!("to write to topic {}", message.topic()));
                metrics::counter!(names::KAFKA_ERRORS_TOTAL, "topic" => label(message.topic())).increment(1);
                Err(DeliveryError::of(error))
            }
        };
        let on_ack = slot.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if catch_unwind(AssertUnwindSafe(|| on_ack(delivery))).is_err() {
            tracing::error!(client = self.config.client_id, "an acknowledgement's callback panicked");
        }
        self.waiting.one_less();
    }
}
