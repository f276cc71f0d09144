//! A whole mesh in one process: Kafka's mock cluster, a `redis-server` child, a coordinator.
//!
//! Nothing survives it. It starts in the order Kafka, Redis, coordinator and ends in the other one, and a
//! start that fails half way takes back what it has started.

use super::endpoints::Endpoints;
use crate::settings::Settings;
use std::net::SocketAddr;
use std::time::Duration;
use synod_coordinator::{Coordinator, CoordinatorConfig, StartError};
use synod_infra::kafka::{ConfigError, EmbeddedKafka, TopicError, TopicMaker};
use synod_infra::redis::{EmbeddedRedis, EmbeddedRedisError, RedisConfig};
use synod_infra::telemetry::{Logs, Metrics};
use synod_protocol::Id;

/// The coordinator may take so long to serve every shard.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// One broker is as good as three where none survives.
const BROKERS: u32 = 1;

/// What can be chosen of it.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// Where the coordinator listens; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// All else that its coordinator is told.
    pub settings: Settings,
    /// This process' metrics, shown at `/metrics`.
    pub metrics: Option<Metrics>,
    /// What this process logs, changed at `/v1/log-level`.
    pub logs: Option<Logs>,
}

impl EmbeddedOptions {
    /// As the settings say.
    pub fn of(settings: &Settings) -> EmbeddedOptions {
        EmbeddedOptions {
            http_listen: settings.http_listen.value,
            settings: settings.clone(),
            metrics: None,
            logs: None,
        }
    }

    /// On a free port of loopback.
    #[must_use]
    pub fn privately(self) -> EmbeddedOptions {
        let settings = self.settings.without_keys();
        EmbeddedOptions { http_listen: SocketAddr::from(([127, 0, 0, 1], 0)), settings, ..self }
    }
}

/// A running mesh.
pub struct Embedded {
    coordinator: Coordinator,
    redis: EmbeddedRedis,
    kafka: EmbeddedKafka,
    endpoints: Endpoints,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Kafka's mock cluster could not be made.
    #[error("the embedded Kafka does not start: {0}")]
    Kafka(#[from] TopicError),
    /// It is gone.
    #[error("the embedded Kafka: {0}")]
    KafkaGone(#[from] ConfigError),
    /// There is no Redis.
    #[error(transparent)]
    Redis(#[from] EmbeddedRedisError),
    /// The coordinator could not listen, or its settings cannot be.
    #[error(transparent)]
    Coordinator(Box<StartError>),
    /// It listens and does not serve.
    #[error("the coordinator does not get ready within {} s", READY_WITHIN.as_secs())]
    NotReady,
}

impl Embedded {
    /// Starts everything, and waits until every shard is served.
    ///
    /// # Errors
    /// See [`EmbeddedError`]; nothing is left running then.
    pub async fn start(options: EmbeddedOptions) -> Result<Embedded, EmbeddedError> {
        let kafka = EmbeddedKafka::start(options.settings.partitions.value, BROKERS)?;
        let redis = EmbeddedRedis::start().await?;
        let id = Id::made("coord_", uuid::Uuid::now_v7());
        let (brokers, working_memory) = (kafka.config("synod-coordinator")?, RedisConfig::new(redis.url()));
        let config = CoordinatorConfig::new(id, brokers, working_memory, options.http_listen);
        let config = CoordinatorConfig {
            topics: TopicMaker::Mock(kafka.clone()),
            first: true,
            metrics: options.metrics,
            logs: options.logs,
            ..options.settings.configure(config)
        };
        let started = Coordinator::start(config).await;
        let coordinator = started.map_err(|error| EmbeddedError::Coordinator(Box::new(error)))?;
        let endpoints =
            Endpoints { http: coordinator.http_url(), kafka: kafka.bootstrap_servers()?, redis: redis.url() };
        let mesh = Embedded { coordinator, redis, kafka, endpoints };
        match mesh.coordinator.ready(READY_WITHIN).await {
            true => Ok(mesh),
            false => {
                mesh.shutdown(Duration::ZERO).await;
                Err(EmbeddedError::NotReady)
            }
        }
    }

    /// Where it is.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Makes topics in it.
    pub fn topics(&self) -> TopicMaker {
        TopicMaker::Mock(self.kafka.clone())
    }

    /// Ends everything; the coordinator gets `limit` to finish what it has begun.
    pub async fn shutdown(self, limit: Duration) {
        self.coordinator.shutdown(limit).await;
        self.redis.shutdown().await;
        drop(self.kafka);
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
