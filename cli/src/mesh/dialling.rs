//! Kafka and Redis clients, for what only they can tell, and the SDK's view of the same mesh.

use crate::settings::{Settings, Source};
use agent_sdk::MeshConfig;
use secrecy::SecretString;
use synod_infra::kafka::KafkaConfig;
use synod_infra::redis::RedisConfig;
use synod_protocol::Workspace;

/// Where all of a mesh is.
#[derive(Clone, Debug)]
pub struct Dialling {
    /// A coordinator.
    pub http: String,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// The API key that coordinators ask for.
    pub key: Option<SecretString>,
    /// The workspace to work in.
    pub workspace: Workspace,
}

impl Dialling {
    /// As the settings say; `who` is how we name ourselves. An endpoints file is written by an embedded
    /// mesh, whose Kafka wants other waiting times.
    pub fn of(settings: &Settings, who: &str) -> Dialling {
        let brokers = settings.kafka_brokers.value.clone();
        let kafka = match settings.kafka_brokers.source {
            Source::Endpoints(_) => KafkaConfig::embedded(brokers, who),
            _ => KafkaConfig { security: settings.kafka_security(), ..KafkaConfig::new(brokers, who) },
        };
        Dialling {
            http: settings.http_url.value.as_str().to_owned(),
            kafka,
            redis: settings.redis(),
            key: settings.key(),
            workspace: settings.workspace.value.clone(),
        }
    }

    /// The same for agents and clients.
    pub fn sdk(&self) -> MeshConfig {
        MeshConfig {
            http: vec![self.http.clone()],
            redis: Some(self.redis.clone()),
            kafka: Some(self.kafka.clone()),
            key: self.key.clone(),
            workspace: self.workspace.clone(),
            source: format!("/{}", self.kafka.client_id),
            ..MeshConfig::default()
        }
    }
}
