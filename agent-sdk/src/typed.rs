//! An application's own typed events on its own topics: published, subscribed to, consumed by a group.
//!
//! ```text
//!   publish(&event) --key--> topic --+--> subscribe()           everyone who subscribes sees all from then on
//!                                    `--> consume(group, ...)   each record to one member; retried, then dlq.<topic>
//! ```
//!
//! One topic may carry several types: a reader of one skips the others. Values are JSON.

use crate::door::Origin;
use crate::mesh::{KafkaUnusable, Mesh};
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{
    Acked, GroupConsumer, GroupError, GroupOptions, HandlerError, PartitionReader, PublishError, RawRecord,
    ReadError, Readers, Received, Start, TopicError, TopicSpec,
};
use synod_protocol::{ContentType, Envelope, Error, Json, codec, topics};
use uuid::Uuid;

/// The limit of making a topic, of one question to Kafka, and of an acknowledgement.
const LIMIT: Duration = Duration::from_secs(10);

/// An event of an application.
pub trait TypedEvent: Serialize + DeserializeOwned + Send + 'static {
    /// Its topic: a Kafka topic name that does not begin with `synod.` or `dlq.`; made when it is missing.
    const TOPIC: &'static str;
    /// Its type, the `ce_type`: distinguishes it from others on its topic.
    const TYPE: &'static str;
    /// Partitions of a topic that has to be made.
    const PARTITIONS: u32 = 4;
    /// Events with the same key keep their order.
    fn key(&self) -> String;
}

/// Why an event was not published, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The topic is not one that an application may use.
    #[error("topic {0:?} cannot be used: {1}")]
    Topic(&'static str, &'static str),
    /// No Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaUnusable),
    /// The topic could not be made.
    #[error(transparent)]
    Make(#[from] TopicError),
    /// It is not known to be in the topic; some of these mean that it may be.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Nothing could be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group could not be joined.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A record of this type that does not read; the next ones may.
    #[error("{topic}[{partition}] offset {offset}: {error}")]
    Malformed {
        /// Which topic.
        topic: &'static str,
        /// Which partition.
        partition: i32,
        /// Which record.
        offset: i64,
        /// What is wrong with it.
        error: Error,
    },
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct EventReceived<E> {
    /// The event.
    pub event: E,
    /// Its id, time, trace, correlation.
    pub envelope: Envelope,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
}

/// Topics known to be there; an application has few.
#[derive(Default)]
pub(crate) struct KnownTopics(Mutex<BTreeSet<&'static str>>);

impl KnownTopics {
    fn names(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mesh {
    /// Publishes an event and waits until all in-sync replicas have it. The limit is 10 s.
    ///
    /// # Errors
    /// See [`EventError`]; a `Publish` error may leave it open whether the event is there.
    pub async fn publish<E: TypedEvent>(&self, event: &E) -> Result<Acked, EventError> {
        self.publish_within(event, &Origin::default()).await
    }

    pub(crate) async fn publish_within<E: TypedEvent>(
        &self,
        event: &E,
        origin: &Origin,
    ) -> Result<Acked, EventError> {
        self.ensure_topic::<E>().await?;
        let mut envelope = self.envelope(Uuid::now_v7().to_string(), E::TYPE, origin);
        envelope.content_type = ContentType::Json;
        let producer = self.producer()?;
        Ok(producer.publish(E::TOPIC, &event.key(), &envelope, event, LIMIT).await?)
    }

    /// Every event of this type that is published from now on, wherever; everyone who subscribes gets all.
    /// A subscription has connections of its own.
    ///
    /// # Errors
    /// See [`EventError`].
    pub async fn subscribe<E: TypedEvent>(&self) -> Result<EventStream<E>, EventError> {
        self.ensure_topic::<E>().await?;
        let kafka = self.config().kafka.as_ref().ok_or(KafkaUnusable::NotConfigured)?;
        let readers = Readers::new(kafka).map_err(KafkaUnusable::from)?;
        let partitions = readers.partitions(E::TOPIC, LIMIT).await?.unwrap_or(0);
        let mut all = SelectAll::new();
        for partition in 0..partitions.cast_signed() {
            // The end is asked for here, so that what is published after we return is not missed.
            let end = readers.watermarks(E::TOPIC, partition, LIMIT).await?.high;
            let reader = readers.open(E::TOPIC, partition, Start::Offset(end))?;
            all.push(stream::unfold(reader, read_one::<E>).boxed());
        }
        Ok(EventStream { all })
    }

    /// Takes part in a group that shares the events of this type, from the oldest one kept: each is handed to
    /// one member, in order per key, until its handler answers `Ok`; what fails too often, or for good, goes
    /// to `dlq.<topic>`. What the handler cannot do before some time has passed it hands back
    /// ([`HandlerError::later`]): it comes again for this group, and what is behind it goes on meanwhile.
    ///
    /// # Errors
    /// See [`EventError`].
    pub async fn consume<E, H, F>(
        &self,
        group: &str,
        options: GroupOptions,
        handler: H,
    ) -> Result<GroupConsumer, EventError>
    where
        E: TypedEvent,
        H: Fn(EventReceived<E>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.ensure_topic::<E>().await?;
        let kafka = self.config().kafka.as_ref().ok_or(KafkaUnusable::NotConfigured)?;
        let handle = move |received: Received<Json>| {
            // Decided before the handler runs: another type is none of our business, a bad one is poison.
            let handled = match received.envelope.ty == E::TYPE {
                false => None,
                true => Some(received.payload.to::<E>().map(|event| {
                    let Received { envelope, partition, offset, .. } = received;
                    handler(EventReceived { event, envelope, partition, offset })
                })),
            };
            async move {
                match handled {
                    None => Ok(()),
                    Some(Ok(handling)) => handling.await,
                    Some(Err(error)) => Err(HandlerError::Poison(format!("not a {}: {error}", E::TYPE))),
                }
            }
        };
        let producer = self.producer()?.clone();
        let maker = self.topic_maker()?;
        Ok(GroupConsumer::start(kafka, group, &[E::TOPIC], producer, &maker, options, handle).await?)
    }

    /// Makes the topic, once per handle, unless it is there.
    async fn ensure_topic<E: TypedEvent>(&self) -> Result<(), EventError> {
        check_topic(E::TOPIC)?;
        if self.known_topics().names().contains(E::TOPIC) {
            return Ok(());
        }
        let spec = TopicSpec::new(E::TOPIC, E::PARTITIONS, self.config().replication);
        self.topic_maker()?.ensure(&[spec], LIMIT).await?;
        self.known_topics().names().insert(E::TOPIC);
        Ok(())
    }
}

fn check_topic(topic: &'static str) -> Result<(), EventError> {
    if topic.starts_with("synod.") || topic.starts_with("dlq.") {
        return Err(EventError::Topic(topic, "names that begin with synod. or dlq. are the mesh's own"));
    }
    match topics::is_topic_name(topic) {
        true => Ok(()),
        false => Err(EventError::Topic(topic, "1 to 249 of A-Z a-z 0-9 . _ -")),
    }
}

/// Events of one type, as they are published.
pub struct EventStream<E> {
    all: SelectAll<BoxStream<'static, Result<EventReceived<E>, EventError>>>,
}

impl<E: TypedEvent> EventStream<E> {
    /// The next event, however long it takes.
    ///
    /// # Errors
    /// `Malformed`, after which the stream goes on; `Read`, when Kafka no longer keeps what came next.
    pub async fn next_event(&mut self) -> Result<EventReceived<E>, EventError> {
        match self.all.next().await {
            Some(next) => next,
            // The streams have no end; a topic has at least one partition.
            None => std::future::pending().await,
        }
    }
}

impl<E> futures::Stream for EventStream<E> {
    type Item = Result<EventReceived<E>, EventError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.all.poll_next_unpin(cx)
    }
}

impl<E> std::fmt::Debug for EventStream<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("partitions", &self.all.len()).finish()
    }
}

type ReadOne<E> = Option<(Result<EventReceived<E>, EventError>, PartitionReader)>;

async fn read_one<E: TypedEvent>(mut reader: PartitionReader) -> ReadOne<E> {
    loop {
        match reader.next(Duration::from_secs(60)).await {
            Ok(None) => {}
            Ok(Some(record)) => match received::<E>(&record) {
                None => {}
                Some(read) => {
                    let (partition, offset) = (record.partition, record.offset);
                    let read = read.map_err(|error| EventError::Malformed {
                        topic: E::TOPIC,
                        partition,
                        offset,
                        error,
                    });
                    return Some((read, reader));
                }
            },
            Err(error @ ReadError::PositionLost { oldest, .. }) => {
                // Told once; then the stream goes on with what is kept.
                return match reader.seek(Start::Offset(oldest)) {
                    Ok(()) => Some((Err(error.into()), reader)),
                    Err(error) => Some((Err(error.into()), reader)),
                };
            }
            Err(error) => {
                tracing::debug!(topic = E::TOPIC, %error, "nothing could be read for now");
                tokio::time::sleep(Duration::from_millis(200)).await; // librdkafka goes on trying
            }
        }
    }
}

/// `None` for another type.
fn received<E: TypedEvent>(record: &RawRecord) -> Option<Result<EventReceived<E>, Error>> {
    let envelope = match record.envelope() {
        Ok(envelope) if envelope.ty == E::TYPE => envelope,
        Ok(_) => return None,
        Err(error) => return Some(Err(error)),
    };
    let limits = synod_protocol::Limits { payload_bytes: usize::MAX, ..Default::default() };
    let event = codec::decode::<E>(envelope.content_type, record.payload.as_deref()?, &limits);
    let (partition, offset) = (record.partition, record.offset);
    Some(event.map(|event| EventReceived { event, envelope, partition, offset }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meshs_own_topics_are_refused() {
        let check = |topic, ok| assert_eq!(check_topic(topic).is_ok(), ok, "{topic}");
        check("shop.orders.v1", true);
        check("synod.events.v1", false);
        check("synod.anything", false);
        check("dlq.shop.orders.v1", false);
        check("synodal", true);
        check("a b", false);
        check("", false);
    }
}
