//! The plainest possible use of the client, for comparison: `synod bench` holds our own against it.
//!
//! Nothing of the product goes through here. What is asked of Kafka is the same as everywhere else (idempotent,
//! acknowledged by all in-sync replicas, no delivery time limit), so that both sides of a comparison pay for
//! it; the rest is as an application would write it from rdkafka's examples.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use std::time::Duration;

/// Why a comparison could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// What the client said.
    #[error("the bare client: {0}")]
    Kafka(#[from] KafkaError),
    /// Nothing came.
    #[error("the bare client: nothing came within {} ms", .0.as_millis())]
    Nothing(Duration),
    /// A blocking question ended with its thread.
    #[error("the bare client: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// librdkafka's version, as it says.
pub fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// A `FutureProducer`.
#[derive(Clone)]
pub struct BareProducer(FutureProducer);

impl BareProducer {
    /// `linger`: how long it gathers records for a batch; `None` for librdkafka's default (5 ms).
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(brokers: &str, linger: Option<Duration>) -> Result<BareProducer, BareError> {
        let mut config = plain(brokers);
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0");
        if let Some(linger) = linger {
            config.set("linger.ms", (linger.as_micros() as f64 / 1000.0).to_string());
        }
        Ok(BareProducer(config.create()?))
    }

    /// Appends a record and waits for its acknowledgement; a full queue is waited for up to `wait`.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn append(
        &self,
        topic: &str,
        key: &str,
        headers: &[(&str, String)],
        payload: &[u8],
        wait: Duration,
    ) -> Result<(), BareError> {
        let mut record = FutureRecord::to(topic).key(key).payload(payload);
        if !headers.is_empty() {
            let none = OwnedHeaders::new_with_capacity(headers.len());
            let headers = headers.iter().fold(none, |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_bytes()) })
            });
            record = record.headers(headers);
        }
        let sent = self.0.send(record, Timeout::After(wait)).await;
        sent.map(|_| ()).map_err(|(error, _)| error.into())
    }

    /// Appends a record without waiting.
    ///
    /// # Errors
    /// It was not taken.
    pub fn send(&self, topic: &str, key: &str, payload: &[u8]) -> Result<(), BareError> {
        let record = FutureRecord::to(topic).key(key).payload(payload);
        self.0.send_result(record).map(drop).map_err(|(error, _)| error.into())
    }
}

/// A `StreamConsumer` on one partition.
pub struct BareReader(StreamConsumer);

impl BareReader {
    /// Reads the partition from its end as it is now.
    ///
    /// # Errors
    /// The client cannot be made, or the brokers do not tell the end within `wait`.
    pub async fn at_end(
        brokers: &str,
        topic: &str,
        partition: i32,
        wait: Duration,
    ) -> Result<BareReader, BareError> {
        let consumer: StreamConsumer = plain(brokers)
            .set("group.id", "bare")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .create()?;
        let name = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let end = consumer.fetch_watermarks(&name, partition, wait)?.1;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name, partition, Offset::Offset(end))?;
            consumer.assign(&list)?;
            Ok::<_, KafkaError>(consumer)
        });
        Ok(BareReader(asked.await??))
    }

    /// The next record's value.
    ///
    /// # Errors
    /// Nothing came within `wait`; what the client says.
    pub async fn next(&self, wait: Duration) -> Result<Vec<u8>, BareError> {
        let came =
            tokio::time::timeout(wait, self.0.recv()).await.map_err(|_| BareError::Nothing(wait))??;
        Ok(came.payload().unwrap_or_default().to_vec())
    }
}

fn plain(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("socket.nagle.disable", "true");
    config
}
