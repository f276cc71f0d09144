//! A Kafka cluster inside this process: librdkafka's mock, on loopback, with real wire protocols.
//!
//! Nothing survives the process. Each partition keeps its last 5 MiB or 100,000 records and drops older
//! ones silently; no admin request works against it; its transactions are fake. It ends with the last handle.

use super::config::{ConfigError, KafkaConfig};
use super::context::Context;
use super::maker::TopicError;
use super::producer::Producer;
use super::topics::{TopicSpec, mesh_topics};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::Producer as _;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A handle on the cluster; clones share it.
#[derive(Clone)]
pub struct EmbeddedKafka(Arc<Inner>);

struct Inner {
    /// The mock lives in a client of its own, which we keep polled like any producer.
    client: Producer,
    brokers: u32,
    topics: Mutex<BTreeSet<String>>,
}

impl EmbeddedKafka {
    /// Starts a cluster with the mesh's topics of `partitions` partitions each.
    ///
    /// # Errors
    /// The client cannot be started, or a topic not be made.
    pub fn start(partitions: u32, brokers: u32) -> Result<EmbeddedKafka, TopicError> {
        let mut config = KafkaConfig::embedded("", "synod-embedded-kafka");
        config.statistics_every = Duration::ZERO;
        let client = Producer::with(&config, &[("test.mock.num.brokers", &brokers.to_string())])?;
        let kafka = EmbeddedKafka(Arc::new(Inner { client, brokers, topics: Mutex::default() }));
        for spec in mesh_topics(partitions, 1) {
            kafka.create(&spec)?;
        }
        Ok(kafka)
    }

    /// `127.0.0.1:port`, comma separated.
    pub fn bootstrap_servers(&self) -> Result<String, ConfigError> {
        Ok(self.cluster()?.bootstrap_servers())
    }

    /// How a client reaches it.
    ///
    /// # Errors
    /// The cluster is gone.
    pub fn config(&self, client_id: impl Into<String>) -> Result<KafkaConfig, ConfigError> {
        Ok(KafkaConfig::embedded(self.bootstrap_servers()?, client_id))
    }

    /// Makes a topic, unless it is there.
    ///
    /// # Errors
    /// The mock refuses it.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<(), TopicError> {
        self.create(&TopicSpec::new(name, partitions, 1))
    }

    /// The mock keeps no settings; only name and partition count count.
    pub(super) fn create(&self, spec: &TopicSpec) -> Result<(), TopicError> {
        let mut topics = self.0.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.contains(&spec.name) {
            return Ok(());
        }
        let replication = spec.replication.clamp(1, self.0.brokers.max(1));
        let partitions = spec.partitions.cast_signed();
        match self.cluster()?.create_topic(&spec.name, partitions, replication.cast_signed()) {
            // Another process may have made it by asking for it.
            Ok(()) | Err(KafkaError::MockCluster(RDKafkaErrorCode::TopicAlreadyExists)) => {
                topics.insert(spec.name.clone());
                Ok(())
            }
            Err(error) => Err(TopicError::Refused { topic: spec.name.clone(), message: error.to_string() }),
        }
    }

    /// Takes all brokers off the network, or puts them back: for tests of what happens then.
    ///
    /// # Errors
    /// The mock refuses it.
    pub fn set_down(&self, down: bool) -> Result<(), ConfigError> {
        let cluster = self.cluster()?;
        let done = if down { cluster.broker_down(-1) } else { cluster.broker_up(-1) };
        done.map_err(|error| ConfigError::Client(error.to_string()))
    }

    /// Delays every answer of every broker by this much: for tests of what happens then.
    ///
    /// # Errors
    /// The mock refuses it.
    pub fn set_round_trip(&self, delay: Duration) -> Result<(), ConfigError> {
        self.cluster()?
            .broker_round_trip_time(-1, delay)
            .map_err(|error| ConfigError::Client(error.to_string()))
    }

    fn cluster(&self) -> Result<MockCluster<'_, Context>, ConfigError> {
        let cluster = self.0.client.base().client().mock_cluster();
        cluster.ok_or_else(|| ConfigError::Client("the client has no mock cluster".into()))
    }
}

impl std::fmt::Debug for EmbeddedKafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedKafka").field("brokers", &self.0.brokers).finish_non_exhaustive()
    }
}
