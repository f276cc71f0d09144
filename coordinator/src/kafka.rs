//! The coordinator's Kafka clients, and the topics that must be there.

use crate::{CoordinatorConfig, Shared};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{
    ClientStats, ConfigError, KafkaConfig, Producer, Readers, TopicError, TopicMaker, mesh_topics,
};
use synod_protocol::topics;
use tokio_util::sync::CancellationToken;

/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(10);
/// How often the brokers are asked whether they answer, and how long they may take.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// Reply and inbox topics that are remembered as there.
const KNOWN_LIMIT: usize = 10_000;

/// The coordinator's Kafka clients.
pub(crate) struct Kafka {
    config: KafkaConfig,
    maker: TopicMaker,
    replication: u32,
    /// Ledger appends alone, so that nothing else stands before them.
    ledger: Mutex<Producer>,
    /// What somebody waits for: replies, inboxes, commands, the directory.
    effects: Mutex<Producer>,
    events: Mutex<Producer>,
    pub(crate) readers: Readers,
    /// For looking up what has left memory, one at a time.
    pub(crate) archive: tokio::sync::Mutex<Readers>,
    known: Mutex<BTreeSet<String>>,
}

impl Kafka {
    pub(crate) fn new(config: &CoordinatorConfig) -> Result<Kafka, ConfigError> {
        let kafka = KafkaConfig { client_id: config.id.to_string(), ..config.kafka.clone() };
        let producer = |role| Producer::new(&producer_config(&kafka, role)).map(Mutex::new);
        Ok(Kafka {
            ledger: producer("ledger")?,
            effects: producer("effects")?,
            events: producer("events")?,
            readers: Readers::new(&kafka.named(format!("{}-reader", config.id)))?,
            archive: tokio::sync::Mutex::new(Readers::new(&kafka.named(format!("{}-archive", config.id)))?),
            maker: config.topics.clone(),
            replication: config.replication,
            config: kafka,
            known: Mutex::new(BTreeSet::new()),
        })
    }

    /// The producer of ledger records; a new one if the last has died of a fatal error.
    pub(crate) fn ledger(&self) -> Result<Producer, ConfigError> {
        self.alive(&self.ledger, "ledger")
    }

    /// The producer of events.
    pub(crate) fn events(&self) -> Result<Producer, ConfigError> {
        self.alive(&self.events, "events")
    }

    /// The producer of everything else.
    pub(crate) fn effects(&self) -> Result<Producer, ConfigError> {
        self.alive(&self.effects, "effects")
    }

    fn alive(&self, slot: &Mutex<Producer>, role: &str) -> Result<Producer, ConfigError> {
        let mut producer = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = producer.fatal() {
            tracing::error!(%error, role, "the Kafka producer has died and is made anew");
            *producer = Producer::new(&producer_config(&self.config, role))?;
        }
        Ok(producer.clone())
    }

    /// What each client last said of itself, by what it is for.
    pub(crate) fn stats(&self) -> Vec<(&'static str, ClientStats)> {
        let of = |slot: &Mutex<Producer>| slot.lock().unwrap_or_else(PoisonError::into_inner).stats();
        let [ledger, effects, events] =
            [("ledger", &self.ledger), ("effects", &self.effects), ("events", &self.events)]
                .map(|(name, slot)| of(slot).map(|stats| (name, stats)));
        let readers = self.readers.stats().into_iter().next().map(|stats| ("readers", stats));
        [ledger, effects, events, readers].into_iter().flatten().collect()
    }

    /// Makes a reply or inbox topic unless it is there.
    pub(crate) async fn ensure_topic(&self, topic: &str) -> Result<(), TopicError> {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(topic) {
            return Ok(());
        }
        self.maker.ensure_one(topic, 1, self.replication, ASK).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(topic.to_owned());
        Ok(())
    }

    /// Lets go of the ledger below a floor.
    pub(crate) async fn trim_ledger(&self, shard: u32, below: u64) -> Result<(), TopicError> {
        self.maker.trim(topics::LEDGER, shard as i32, below as i64, ASK).await.map(drop)
    }

    async fn topics_ready(&self, config: &CoordinatorConfig) -> Result<(), String> {
        let specs = mesh_topics(config.partitions, config.replication);
        let made = self.maker.ensure(&specs, ASK).await.map_err(|e| e.to_string())?;
        if !made.is_empty() {
            tracing::info!(topics = made.join(", "), "topics made");
        }
        let found = self.readers.partitions(topics::LEDGER, ASK).await.map_err(|e| e.to_string())?;
        if found.is_some_and(|n| n != config.partitions) {
            return Err(format!(
                "the mesh was made with {} partitions and this coordinator is told {}; set SYNOD_PARTITIONS={}",
                found.unwrap_or(0),
                config.partitions,
                found.unwrap_or(0)
            ));
        }
        let mut refused = Vec::new();
        for finding in self.maker.check(&specs, ASK).await.map_err(|e| e.to_string())? {
            let line = format!(
                "topic {}: {} is {}, should be {}; {}",
                finding.topic, finding.setting, finding.found, finding.wanted, finding.mend
            );
            if finding.breaks_promise && !config.accept_unsafe_topics {
                refused.push(line);
            } else {
                tracing::warn!("{line}");
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) }
    }
}

/// The settings of the producer for `role`.
fn producer_config(kafka: &KafkaConfig, role: &str) -> KafkaConfig {
    kafka.named(format!("{}-{role}", kafka.client_id))
}

/// Waits for Kafka and makes the topics ready, however long that takes.
pub(crate) async fn prepare(shared: &Shared) {
    let mut pause = Duration::from_millis(100);
    while let Err(why) = shared.kafka.topics_ready(&shared.config).await {
        tracing::warn!(%why, "Kafka is not ready");
        shared.status.kafka(Err(why));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    shared.status.kafka(Ok(()));
}

/// Asks the ledger's leaders in turn whether they answer: a shard without input would not notice that they do not.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    for partition in (0..shared.config.partitions).cycle() {
        let asked = shared.kafka.readers.watermarks(topics::LEDGER, partition as i32, PROBE.1).await;
        shared.status.kafka(asked.map(drop).map_err(|error| error.to_string()));
        tokio::select! {
            () = tokio::time::sleep(PROBE.0) => {}
            () = stop.cancelled() => return,
        }
    }
}
