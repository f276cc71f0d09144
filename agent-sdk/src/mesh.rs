//! The handle on a mesh that everything else in here hangs on.

use crate::client::Client;
use crate::config::MeshConfig;
use crate::door::Origin;
use crate::events::Events;
use crate::http::Http;
use crate::lanes::Lanes;
use crate::memory::AgentMemory;
use crate::queues::Queues;
use crate::typed::KnownTopics;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use synod_infra::Refusals;
use synod_infra::kafka::{Producer, TopicMaker};
use synod_infra::primitives::feed::Feed;
use synod_infra::primitives::mirror::Mirrored;
use synod_infra::redis::{Redis, RedisError};
use synod_protocol::{Error, Id, Workspace};

/// A mesh; clones share the connections, which are opened when they are first needed.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    config: MeshConfig,
    redis: Option<Redis>,
    http: Arc<Http>,
    lanes: Lanes,
    producer: OnceLock<Producer>,
    /// Starting a producer is done once, not by each who is first.
    starting: Mutex<()>,
    topics: KnownTopics,
    events: Events,
    /// The changes of shared state; nothing is read before somebody follows.
    feed: Option<Feed>,
    /// Waits for the mirror of shared state.
    mirrored: Option<Mirrored>,
    queues: Option<synod_infra::primitives::queues::Queues>,
    memories: Option<synod_infra::primitives::memory::Memories>,
}

/// Why there is no handle.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Redis' settings cannot be.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The API key has characters that no header may have.
    #[error("the API key has characters that no header may have")]
    Key,
    /// The HTTP client cannot be made.
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum KafkaUnusable {
    /// The configuration names no Kafka.
    #[error("Kafka is not configured")]
    NotConfigured,
    /// Kafka's settings cannot be.
    #[error(transparent)]
    Config(#[from] synod_infra::kafka::ConfigError),
}

impl Mesh {
    /// A handle on the mesh. It waits for nothing: what is not there yet is connected to in the background.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Settings that cannot be; never that something cannot be reached.
    pub fn connect(config: MeshConfig) -> Result<Mesh, ConnectError> {
        let redis = config.redis.clone().map(Redis::new).transpose()?;
        let key = crate::key_header(config.key.as_ref()).map_err(|_| ConnectError::Key)?;
        let http = Arc::new(Http::new(&config.http, redis.clone(), config.workspace.clone(), key)?);
        let queues = redis
            .clone()
            .map(|redis| synod_infra::primitives::queues::Queues::with_limits(redis, config.queues));
        let memories = redis.clone().map(|redis| {
            synod_infra::primitives::memory::Memories::new(redis, config.memory, config.memory_staleness)
        });
        let inner = Inner {
            feed: redis.clone().map(Feed::new),
            mirrored: redis.clone().map(Mirrored::new),
            redis,
            lanes: Lanes::new(http.clone()),
            http,
            producer: OnceLock::new(),
            starting: Mutex::default(),
            topics: KnownTopics::default(),
            events: Events::new(config.kafka.clone()),
            queues,
            memories,
            config,
        };
        Ok(Mesh { inner: Arc::new(inner) })
    }

    /// Waits for Redis or Kafka to refuse us for good: a password, a certificate, a permission. One line that says what
    /// to change.
    pub async fn denied(&self) -> String {
        let MeshConfig { redis, kafka, .. } = &self.inner.config;
        let first = |refusals: Option<&Refusals>| refusals.cloned().unwrap_or_default();
        let redis = first(redis.as_ref().map(|redis| &redis.refusals));
        let kafka = first(kafka.as_ref().map(|kafka| &kafka.refusals));
        tokio::select! {
            line = redis.wait() => line,
            line = kafka.wait() => line,
        }
    }

    /// Who submits work and waits for it.
    pub fn client(&self) -> Client {
        Client::new(self.clone(), Origin::default())
    }

    /// Queues: messages that wait for a consumer, in Redis.
    pub fn queues(&self) -> Queues {
        Queues::new(self.inner.queues.clone(), self.inner.config.workspace.clone())
    }

    /// What an agent wants to know again: an agent's memory, in Redis.
    pub fn memory(&self, agent: &Id) -> AgentMemory {
        let memories = self.inner.memories.as_ref();
        AgentMemory::new(memories.map(|all| all.of(&self.inner.config.workspace, agent)))
    }

    /// What it was made from.
    pub fn config(&self) -> &MeshConfig {
        &self.inner.config
    }

    pub(crate) fn http(&self) -> &Http {
        &self.inner.http
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.inner.redis.as_ref()
    }

    /// What the primitives work on.
    pub(crate) fn primitives(&self) -> Result<(Redis, Workspace), Error> {
        let redis = self.redis().ok_or_else(|| Error::unavailable("Redis is not configured"))?;
        Ok((redis.clone(), self.config().workspace.clone()))
    }

    pub(crate) fn known_topics(&self) -> &KnownTopics {
        &self.inner.topics
    }

    pub(crate) fn mirrored(&self) -> Option<Mirrored> {
        self.inner.mirrored.clone()
    }

    pub(crate) fn feed(&self) -> Option<Feed> {
        self.inner.feed.clone()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.inner.events
    }

    pub(crate) fn producer(&self) -> Result<&Producer, KafkaUnusable> {
        if let Some(producer) = self.inner.producer.get() {
            return Ok(producer);
        }
        let _once = self.inner.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let kafka = self.inner.config.kafka.as_ref().ok_or(KafkaUnusable::NotConfigured)?;
        match self.inner.producer.get() {
            Some(producer) => Ok(producer),
            None => {
                let producer = Producer::new(kafka)?;
                Ok(self.inner.producer.get_or_init(|| producer))
            }
        }
    }

    pub(crate) fn topic_maker(&self) -> Result<TopicMaker, KafkaUnusable> {
        let kafka = self.inner.config.kafka.as_ref().ok_or(KafkaUnusable::NotConfigured)?;
        Ok(TopicMaker::new(kafka))
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mesh").field(&self.inner.config).finish()
    }
}
