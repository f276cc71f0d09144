//! Kafka: the one place that names rdkafka.
//!
//! ```text
//!   Producer ----send/publish----> topic-partition --+--> Readers -> PartitionReader   (assigned by us, from an offset)
//!     ^  on_ack(offset) from the poll thread         `--> GroupConsumer -> handler     (assigned by the group; dlq.<topic>)
//!   TopicMaker: makes topics and reads their real settings;   EmbeddedKafka: a cluster in this process
//! ```
//!
//! Nothing here knows what a ledger, a shard or a command is. What the rest of the house leans on:
//! a record is acknowledged by all in-sync replicas or the caller learns that its fate is unknown;
//! a reader's position is never moved silently; a consumer stores an offset only after its effect.

pub mod bare;
mod config;
mod context;
mod dlq;
mod group;
mod maker;
mod mock;
mod producer;
mod publish;
mod reader;
mod readers;
mod record;
mod refusal;
pub mod retry;
mod rules;
mod security;
mod split;
mod stats;
mod survey;
mod topics;
mod worker;

pub use config::{ConfigError, KafkaConfig};
pub use dlq::dead_letter;
pub use group::{GroupConsumer, GroupCounts, GroupError, GroupOptions, GroupStart};
pub use maker::{TopicError, TopicMaker};
pub use mock::EmbeddedKafka;
pub use producer::{FlushError, Producer, SendError};
pub use publish::PublishError;
pub use reader::{PartitionReader, ReadError, Start};
pub use readers::{Readers, Watermarks};
pub use record::{Acked, Delivery, DeliveryError, Outgoing, RawRecord};
pub use rules::Finding;
pub use security::{KafkaSecurity, SaslMechanism, SecurityError, SecurityProtocol};
pub use stats::{BrokerStats, ClientStats};
pub use survey::Survey;
pub use topics::{MAX_RECORD_BYTES, TOPIC_MAX_MESSAGE_BYTES, TopicSpec, mesh_topics};
pub use worker::{HandlerError, Received};
