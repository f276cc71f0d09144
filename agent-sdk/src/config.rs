//! Where the mesh is, and how long to wait for it.

use crate::secured;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_infra::kafka::KafkaConfig;
use synod_infra::primitives::queues::QueueLimits;
use synod_infra::redis::RedisConfig;
use synod_protocol::primitives::memory::MemoryLimits;
use synod_protocol::{Limits, Workspace};

/// Where the mesh is. Each part may be absent: a client needs one door (HTTP, or Redis to find it, or Kafka);
/// an agent needs Redis besides; typed events need Kafka. Printing it shows no secret.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Coordinators' addresses, such as `http://127.0.0.1:7700`; those with a lease in Redis are found as well.
    pub http: Vec<String>,
    /// Redis.
    pub redis: Option<RedisConfig>,
    /// Kafka.
    pub kafka: Option<KafkaConfig>,
    /// The API key that coordinators ask for, if they do.
    pub key: Option<SecretString>,
    /// The tenant.
    pub workspace: Workspace,
    /// Who we say we are: the `ce_source` of what is sent, a URI reference.
    pub source: String,
    /// How long a command is repeated before it is given up. 30 s.
    pub command_limit: Duration,
    /// How long no coordinator may answer before a command goes to the Kafka topic instead. 2 s.
    pub fall_back_after: Duration,
    /// Replicas of an application's topics that have to be made; 0 for the brokers' default.
    pub replication: u32,
    /// Limits on payloads, as the mesh has them.
    pub limits: Limits,
    /// How much one queue may hold, as the mesh has it.
    pub queues: QueueLimits,
    /// How much an agent may remember, as the mesh has it.
    pub memory: MemoryLimits,
    /// How old what an agent's memory answers may be: so long it is answered from this process. 1 s; zero: never.
    pub memory_staleness: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of endpoints cannot be read.
    #[error("the endpoints file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of endpoints is not what `synod up` writes.
    #[error("the endpoints file {} is not {{\"http\",\"kafka\",\"redis\"}}: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A value that cannot be.
    #[error("{name}: {why}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// What `synod up --endpoints FILE` writes.
#[derive(Deserialize)]
struct Endpoints {
    http: Option<String>,
    kafka: Option<String>,
    redis: Option<String>,
    /// Whether Kafka is the mock cluster; it is, where `synod up` wrote the file.
    #[serde(default = "yes")]
    embedded: bool,
}

fn yes() -> bool {
    true
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig {
            http: Vec::new(),
            redis: None,
            kafka: None,
            key: None,
            workspace: Workspace::default_name(),
            source: "/agent-sdk".to_owned(),
            command_limit: Duration::from_secs(30),
            fall_back_after: Duration::from_secs(2),
            replication: 0,
            limits: Limits::default(),
            queues: QueueLimits::default(),
            memory: MemoryLimits::default(),
            memory_staleness: synod_infra::primitives::memory::STALENESS,
        }
    }
}

impl MeshConfig {
    /// A mesh whose coordinator is here; nothing else is known of it.
    pub fn http(url: impl Into<String>) -> MeshConfig {
        MeshConfig { http: vec![url.into()], ..MeshConfig::default() }
    }

    /// With this Redis: `redis://[user:password@]host:port[/db]`.
    #[must_use]
    pub fn with_redis(mut self, url: impl Into<String>) -> MeshConfig {
        self.redis = Some(RedisConfig::new(url));
        self
    }

    /// With these brokers: `host:port`, comma separated.
    #[must_use]
    pub fn with_kafka(mut self, brokers: impl Into<String>) -> MeshConfig {
        self.kafka = Some(KafkaConfig::new(brokers, "agent-sdk"));
        self
    }

    /// With this API key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> MeshConfig {
        self.key = Some(SecretString::from(key.into()));
        self
    }

    /// In this workspace.
    #[must_use]
    pub fn in_workspace(mut self, workspace: Workspace) -> MeshConfig {
        self.workspace = workspace;
        self
    }

    /// From the environment: the file that `SYNOD_ENDPOINTS` names, and over it `SYNOD_HTTP_URL` (comma
    /// separated), `SYNOD_REDIS_URL`, `SYNOD_KAFKA_BROKERS` (`SYNOD_KAFKA_EMBEDDED=1` if they are `synod up`'s)
    /// and `SYNOD_WORKSPACE`. How those that are named are secured: `SYNOD_KAFKA_SECURITY_PROTOCOL`,
    /// `_SASL_MECHANISM`, `_USERNAME`, `_PASSWORD` or `_PASSWORD_FILE`, `_CA`, `_CERT`, `_KEY`; `SYNOD_REDIS_PASSWORD_FILE`,
    /// `_CA`, `_CERT`, `_KEY`; `SYNOD_API_KEY` or `SYNOD_API_KEY_FILE`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_env() -> Result<MeshConfig, ConfigError> {
        MeshConfig::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// From the file that `synod up --endpoints FILE` writes.
    ///
    /// # Errors
    /// `Unreadable`, `Malformed`.
    pub fn from_endpoints(path: &Path) -> Result<MeshConfig, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let found: Endpoints = serde_json::from_slice(&text)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })?;
        let kafka = |brokers: String| match found.embedded {
            true => KafkaConfig::embedded(brokers, "agent-sdk"),
            false => KafkaConfig::new(brokers, "agent-sdk"),
        };
        Ok(MeshConfig {
            http: found.http.into_iter().collect(),
            redis: found.redis.map(RedisConfig::new),
            kafka: found.kafka.map(kafka),
            ..MeshConfig::default()
        })
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<MeshConfig, ConfigError> {
        let mut config = match get("SYNOD_ENDPOINTS") {
            Some(path) => MeshConfig::from_endpoints(Path::new(&path))?,
            None => MeshConfig::default(),
        };
        if let Some(urls) = get("SYNOD_HTTP_URL") {
            config.http = urls.split(',').map(|url| url.trim().to_owned()).collect();
        }
        if let Some(url) = get("SYNOD_REDIS_URL") {
            config.redis = Some(secured::redis(url, &get)?);
        }
        if let Some(brokers) = get("SYNOD_KAFKA_BROKERS") {
            config = config.with_kafka(brokers);
            if let Some(kafka) = &mut config.kafka {
                kafka.security = secured::kafka(&get)?;
            }
        }
        config.key = secured::secret("SYNOD_API_KEY", "SYNOD_API_KEY_FILE", &get)?;
        match (get("SYNOD_KAFKA_EMBEDDED").as_deref(), &mut config.kafka) {
            (None, _) | (Some(_), None) => {}
            (Some("1" | "true"), Some(kafka)) => kafka.embedded = true,
            (Some("0" | "false"), Some(kafka)) => kafka.embedded = false,
            (Some(other), _) => {
                let why = format!("{other:?} is neither 1 nor 0");
                return Err(ConfigError::Invalid { name: "SYNOD_KAFKA_EMBEDDED", why });
            }
        }
        if let Some(workspace) = get("SYNOD_WORKSPACE") {
            config.workspace = workspace.parse().map_err(|error: synod_protocol::Error| {
                ConfigError::Invalid { name: "SYNOD_WORKSPACE", why: error.message }
            })?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn variables_stand_over_the_endpoints_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(br#"{"http":"http://h:1","kafka":"k:1","redis":"redis://r:1","more":1}"#).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let read = |set: &[(&str, &str)]| {
            MeshConfig::from_variables(|name| {
                let all = [("SYNOD_ENDPOINTS", path.as_str())];
                all.iter().chain(set).find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
        };
        let plain = read(&[]).unwrap();
        assert_eq!((plain.http, plain.redis.unwrap().endpoint()), (vec!["http://h:1".into()], "r:1".into()));
        assert!(plain.kafka.unwrap().embedded);
        let over = read(&[("SYNOD_HTTP_URL", "http://a, http://b"), ("SYNOD_KAFKA_BROKERS", "x:9")]).unwrap();
        assert_eq!(over.http, ["http://a", "http://b"]);
        assert!(!over.kafka.unwrap().embedded, "brokers that are named are real ones");
        assert!(read(&[("SYNOD_WORKSPACE", "Not A Name")]).is_err());
        assert!(read(&[("SYNOD_KAFKA_EMBEDDED", "maybe")]).is_err());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = MeshConfig::default().with_redis("redis://me:hunter2@127.0.0.1:1");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
