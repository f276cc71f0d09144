//! Makes topics, reads their real settings, trims logs.

use super::config::{ConfigError, KafkaConfig};
use super::context::Context;
use super::mock::EmbeddedKafka;
use super::refusal;
use super::rules::{Finding, Found, compare};
use super::security::SecurityProtocol;
use super::topics::TopicSpec;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a broker is waited for between two looks at what it refused.
const HEAR_EVERY: Duration = Duration::from_millis(100);

/// Who makes topics here. An administration client lives for one operation: they are rare.
#[derive(Clone, Debug)]
pub enum TopicMaker {
    /// The brokers, by Kafka's admin requests.
    Admin(KafkaConfig),
    /// The mock cluster in this process, by its own door.
    Mock(EmbeddedKafka),
    /// The mock cluster in another process: asking for a topic by name makes it, with 4 partitions.
    Asking(KafkaConfig),
}

/// A topic that is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No client could be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Kafka could not be asked.
    #[error("Kafka: {0}")]
    Unavailable(String),
    /// Kafka said no.
    #[error("topic {topic}: {message}")]
    Refused {
        /// The topic.
        topic: String,
        /// What was said.
        message: String,
    },
}

impl TopicMaker {
    /// The maker for these brokers, when they are not our own embedded ones.
    pub fn new(config: &KafkaConfig) -> TopicMaker {
        let config = config.named(format!("{}-admin", config.client_id));
        if config.embedded { TopicMaker::Asking(config) } else { TopicMaker::Admin(config) }
    }

    /// Makes the topics that are missing, and waits until they have leaders. Those that are there stay as they are
    /// (see `check`). Answers the names of those made.
    ///
    /// # Errors
    /// Kafka cannot be asked in time, or refuses one.
    pub async fn ensure(&self, specs: &[TopicSpec], wait: Duration) -> Result<Vec<String>, TopicError> {
        match self {
            TopicMaker::Mock(kafka) => {
                specs.iter().try_for_each(|spec| kafka.create(spec))?;
                Ok(Vec::new())
            }
            TopicMaker::Asking(config) => {
                let specs = specs.to_vec();
                let asked = with_metadata(config, wait, move |consumer| {
                    for spec in &specs {
                        consumer.fetch_metadata(Some(&spec.name), wait)?;
                    }
                    Ok(())
                });
                asked.await.map(|()| Vec::new())
            }
            TopicMaker::Admin(config) => make(config, specs, wait).await,
        }
    }

    /// Makes one topic unless it is there: a reply topic, an inbox.
    ///
    /// # Errors
    /// As [`TopicMaker::ensure`].
    pub async fn ensure_one(
        &self,
        name: &str,
        partitions: u32,
        replication: u32,
        wait: Duration,
    ) -> Result<(), TopicError> {
        self.ensure(&[TopicSpec::new(name, partitions, replication)], wait).await.map(|_| ())
    }

    /// Names each difference between the topics as they are and as they should be. The mock cluster keeps no
    /// settings: there, only what is missing or has another number of partitions.
    ///
    /// # Errors
    /// Kafka cannot be asked in time.
    pub async fn check(&self, specs: &[TopicSpec], wait: Duration) -> Result<Vec<Finding>, TopicError> {
        let found = match self {
            TopicMaker::Admin(config) => {
                let mut found = layout(config, wait).await?;
                found.retain(|name, _| specs.iter().any(|s| s.name == *name));
                settings(config, &mut found, wait).await?;
                found
            }
            TopicMaker::Mock(kafka) => layout(&kafka.config("synod-admin")?, wait).await?,
            TopicMaker::Asking(config) => layout(config, wait).await?,
        };
        Ok(compare(specs, &found))
    }

    /// Deletes a partition's records before `before`: exactly up to there, not beyond. Answers the new start.
    ///
    /// # Errors
    /// Kafka refuses, or cannot be asked; the mock cluster knows no trimming.
    pub async fn trim(
        &self,
        topic: &str,
        partition: i32,
        before: i64,
        wait: Duration,
    ) -> Result<i64, TopicError> {
        let refused = |message: String| TopicError::Refused { topic: topic.to_owned(), message };
        let TopicMaker::Admin(config) = self else {
            return Err(refused("the mock cluster cannot be trimmed".into()));
        };
        let admin = admin(config)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(before))
            .map_err(|error| refused(error.to_string()))?;
        let trimmed = admin.delete_records(&list, &options(wait)).await;
        let trimmed = trimmed.map_err(|error| TopicError::Unavailable(error.to_string()))?;
        let at = trimmed.find_partition(topic, partition);
        let at = at.ok_or_else(|| refused("the answer does not name the partition".into()))?;
        at.error().map_err(|error| refused(error.to_string()))?;
        match at.offset() {
            Offset::Offset(low) => Ok(low),
            other => Err(refused(format!("the answer has no offset but {other:?}"))),
        }
    }
}

fn admin(config: &KafkaConfig) -> Result<AdminClient<Context>, TopicError> {
    let native = config.admin()?;
    AdminClient::from_config_and_context(&native, Context::new(config))
        .map_err(|error| ConfigError::client(&error).into())
}

fn options(wait: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(wait)).operation_timeout(Some(wait))
}

async fn make(config: &KafkaConfig, specs: &[TopicSpec], wait: Duration) -> Result<Vec<String>, TopicError> {
    let there = layout(config, wait).await?;
    let missing: Vec<&TopicSpec> = specs.iter().filter(|s| !there.contains_key(&s.name)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let new: Vec<NewTopic<'_>> = missing.iter().map(|spec| new_topic(spec)).collect();
    let made = admin(config)?.create_topics(&new, &options(wait)).await;
    let made = made.map_err(|error| TopicError::Unavailable(error.to_string()))?;
    for result in made {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                refusal::of_code(config, code, || format!("to make topic {topic}"));
                return Err(TopicError::Refused { topic, message: code.to_string() });
            }
        }
    }
    let names: Vec<String> = missing.iter().map(|s| s.name.clone()).collect();
    await_leaders(config, &names, wait).await?;
    Ok(names)
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let replication = match spec.replication {
        0 => TopicReplication::Fixed(-1),
        replicas => TopicReplication::Fixed(replicas.cast_signed()),
    };
    let topic = NewTopic::new(&spec.name, spec.partitions.cast_signed(), replication);
    spec.config.iter().fold(topic, |topic, (setting, value)| topic.set(setting, value))
}

/// A topic just made is not at once known to every broker.
async fn await_leaders(config: &KafkaConfig, names: &[String], wait: Duration) -> Result<(), TopicError> {
    let names = names.to_vec();
    let ready = with_metadata(config, wait, move |consumer| {
        let until = std::time::Instant::now() + wait;
        loop {
            let metadata = consumer.fetch_metadata(None, wait)?;
            let led = |name: &String| {
                let topic = metadata.topics().iter().find(|t| t.name() == name);
                topic.is_some_and(|t| {
                    !t.partitions().is_empty() && t.partitions().iter().all(|p| p.leader() >= 0)
                })
            };
            if names.iter().all(led) || std::time::Instant::now() > until {
                return Ok(names.into_iter().find(|name| !led(name)));
            }
            std::thread::sleep(Duration::from_millis(20)); // between two looks at the condition above
        }
    });
    match ready.await? {
        None => Ok(()),
        Some(topic) => Err(TopicError::Refused { topic, message: "has no leader yet".into() }),
    }
}

/// What topics there are, with their partitions and replicas.
async fn layout(config: &KafkaConfig, wait: Duration) -> Result<BTreeMap<String, Found>, TopicError> {
    let asked = with_metadata(config, wait, move |consumer| {
        let metadata = consumer.fetch_metadata(None, wait)?;
        let topics = metadata.topics().iter().filter(|t| t.error().is_none()).map(|topic| {
            let replication = topic.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
            let found =
                Found { partitions: topic.partitions().len(), replication, settings: BTreeMap::new() };
            (topic.name().to_owned(), found)
        });
        Ok(topics.collect())
    });
    asked.await
}

/// What is made of the whole cluster's metadata.
pub(super) async fn layout_of<T: Send + 'static>(
    config: &KafkaConfig,
    wait: Duration,
    made: impl FnOnce(&Metadata) -> T + Send + 'static,
) -> Result<T, TopicError> {
    with_metadata(config, wait, move |consumer| Ok(made(&consumer.fetch_metadata(None, wait)?))).await
}

async fn settings(
    config: &KafkaConfig,
    found: &mut BTreeMap<String, Found>,
    wait: Duration,
) -> Result<(), TopicError> {
    let names: Vec<String> = found.keys().cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = admin(config)?.describe_configs(&resources, &options(wait)).await;
    let described = described.map_err(|error| TopicError::Unavailable(error.to_string()))?;
    for (name, resource) in names.iter().zip(described) {
        let resource = resource.map_err(|code| {
            refusal::of_code(config, code, || format!("to tell the settings of topic {name}"));
            TopicError::Refused { topic: name.clone(), message: code.to_string() }
        })?;
        let entries = resource.entries.into_iter().filter_map(|e| Some((e.name, e.value?)));
        if let Some(found) = found.get_mut(name) {
            found.settings = entries.collect();
        }
    }
    Ok(())
}

/// Metadata requests block: they run on a thread that may.
async fn with_metadata<T: Send + 'static>(
    config: &KafkaConfig,
    wait: Duration,
    ask: impl FnOnce(&BaseConsumer<Context>) -> rdkafka::error::KafkaResult<T> + Send + 'static,
) -> Result<T, TopicError> {
    let native = config.admin()?;
    let told = config.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer = BaseConsumer::from_config_and_context(&native, Context::new(&told))?;
        if told.security.protocol != SecurityProtocol::Plaintext {
            hear_refusals(&consumer, &told, wait);
        }
        ask(&consumer)
    });
    match tokio::time::timeout(wait * 3, asked).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => {
            Err(TopicError::Unavailable(config.refusals.first().unwrap_or_else(|| error.to_string())))
        }
        Ok(Err(error)) => Err(TopicError::Unavailable(error.to_string())),
        Err(_) => Err(TopicError::Unavailable("no answer in time".into())),
    }
}

/// Returns when a broker has answered, and at the latest after `wait`: questions hear nothing of why a broker refuses
/// the connection, and nobody else asks this client.
fn hear_refusals(consumer: &BaseConsumer<Context>, config: &KafkaConfig, wait: Duration) {
    let until = std::time::Instant::now() + wait;
    while config.refusals.first().is_none()
        && consumer.client().fetch_cluster_id(HEAR_EVERY).is_none()
        && std::time::Instant::now() < until
    {
        // What it brings besides is told by the context.
        let _ = consumer.poll(Duration::ZERO);
    }
}
