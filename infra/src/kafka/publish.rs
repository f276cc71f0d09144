//! Typed publishing: envelope to headers, payload through its codec, wait for the acknowledgement.

use super::context::AckSlot;
use super::producer::{Producer, Refusal};
use super::record::{Acked, Delivery, DeliveryError, Outgoing, header_bytes, wire_bytes};
use rdkafka::message::{Header, OwnedHeaders};
use serde::Serialize;
use std::time::Duration;
use synod_protocol::{Envelope, codec};
use tokio::sync::oneshot;

/// A message that is not known to be in the log.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The payload has no form in this codec.
    #[error("the payload cannot be encoded: {0}")]
    Encode(synod_protocol::Error),
    /// Too much is waiting already; it was not sent.
    #[error("the producer's queue is full")]
    QueueFull,
    /// Larger than a broker would take; it was not sent.
    #[error("the record has {size} bytes on the wire, the limit is {limit}")]
    TooLarge {
        /// Bytes on the wire, at most.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It cannot be sent like this; it was not sent.
    #[error("{0}")]
    Refused(String),
    /// It was sent and not acknowledged.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// No acknowledgement in time. The record stays queued and may land at any later time: repeat it with the
    /// same id, never with another.
    #[error("no acknowledgement within {} ms: the outcome is unknown", .0.as_millis())]
    UnknownOutcome(Duration),
}

impl PublishError {
    /// Whether the message may be in the log, now or later.
    pub fn may_have_landed(&self) -> bool {
        match self {
            PublishError::UnknownOutcome(_) => true,
            PublishError::Delivery(error) => !matches!(error, DeliveryError::NotSent(_)),
            PublishError::Encode(_)
            | PublishError::QueueFull
            | PublishError::TooLarge { .. }
            | PublishError::Refused(_) => false,
        }
    }
}

impl From<Refusal> for PublishError {
    fn from(refusal: Refusal) -> PublishError {
        match refusal {
            Refusal::QueueFull => PublishError::QueueFull,
            Refusal::TooLarge { size, limit } => PublishError::TooLarge { size, limit },
            Refusal::Refused(message) => PublishError::Refused(message),
        }
    }
}

impl Producer {
    /// Publishes one message and waits for its acknowledgement by all in-sync replicas.
    ///
    /// # Errors
    /// See [`PublishError`]; only some of them mean that it is not in the log.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        key: &str,
        envelope: &Envelope,
        payload: &T,
        wait: Duration,
    ) -> Result<Acked, PublishError> {
        let payload = codec::encode(envelope.content_type, payload).map_err(PublishError::Encode)?;
        self.publish_bytes(topic, key, envelope, &payload, wait).await
    }

    /// The same with a payload that is already in the envelope's codec.
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn publish_bytes(
        &self,
        topic: &str,
        key: &str,
        envelope: &Envelope,
        payload: &[u8],
        wait: Duration,
    ) -> Result<Acked, PublishError> {
        let (slot, told) = slot();
        let (headers, header_bytes) = headers(envelope);
        let size = wire_bytes(key.len(), header_bytes, payload.len());
        self.append(topic, None, Some(key.as_bytes()), headers, Some(payload), size, slot)?;
        acknowledged(told, wait).await
    }

    /// The same for any record, as it is.
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn publish_record(&self, out: &Outgoing, wait: Duration) -> Result<Acked, PublishError> {
        let (slot, told) = slot();
        let (key, payload) = (out.key.as_deref(), out.payload.as_deref());
        self.append(&out.topic, out.partition, key, out.native_headers(), payload, out.wire_bytes(), slot)?;
        acknowledged(told, wait).await
    }
}

fn slot() -> (Box<AckSlot>, oneshot::Receiver<Delivery>) {
    let (tell, told) = oneshot::channel();
    let slot = AckSlot::new(move |delivery| {
        // No one listens any more: the caller has its "unknown" already.
        let _ = tell.send(delivery);
    });
    (slot, told)
}

async fn acknowledged(told: oneshot::Receiver<Delivery>, wait: Duration) -> Result<Acked, PublishError> {
    match tokio::time::timeout(wait, told).await {
        Ok(Ok(delivery)) => Ok(delivery?),
        Ok(Err(_)) => Err(DeliveryError::Unknown("the producer ended".into()).into()),
        Err(_) => Err(PublishError::UnknownOutcome(wait)),
    }
}

fn headers(envelope: &Envelope) -> (OwnedHeaders, usize) {
    let pairs = envelope.to_headers();
    let mut native = OwnedHeaders::new_with_capacity(pairs.len());
    let mut bytes = 0;
    for (name, value) in &pairs {
        bytes += header_bytes(name, Some(value.as_bytes()));
        native = native.insert(Header { key: name, value: Some(value.as_bytes()) });
    }
    (native, bytes)
}
