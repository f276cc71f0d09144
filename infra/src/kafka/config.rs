//! How to reach Kafka, and the librdkafka settings behind it.
//!
//! What the promises rest on (acknowledgement by all, no delivery time limit, the partitioner) is
//! set here and cannot be overruled by `extra`.

use super::security::{KafkaSecurity, SecurityError};
use super::topics::MAX_RECORD_BYTES;
use crate::Refusals;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How to reach Kafka. Cheap enough to clone per client.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, comma separated.
    pub brokers: String,
    /// How the brokers name us in their logs and quotas.
    pub client_id: String,
    /// Whether the brokers are librdkafka's mock cluster, in this process or another.
    pub embedded: bool,
    /// How long a producer gathers records for a batch; zero sends at once.
    pub linger: Duration,
    /// The largest record on the wire, headers and framing included, in bytes.
    pub max_message_bytes: usize,
    /// Records that may wait for their acknowledgement in one producer.
    pub queue_records: u32,
    /// Kibibytes that may wait for their acknowledgement in one producer.
    pub queue_kib: u32,
    /// How often statistics are taken; zero for never.
    pub statistics_every: Duration,
    /// How the connections are secured.
    pub security: KafkaSecurity,
    /// What the brokers refused to clients of this configuration and its clones.
    pub refusals: Refusals,
    /// Raw librdkafka settings. They win over our choices, save the reserved ones.
    pub extra: BTreeMap<String, String>,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `extra` names a setting that a promise rests on.
    #[error("the Kafka setting {0} cannot be changed: the ledger's promise rests on it")]
    Reserved(String),
    /// How the connections are to be secured cannot be.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// librdkafka refused the settings, or could not start a client with them.
    #[error("Kafka client: {0}")]
    Client(String),
    /// The polling thread could not be started.
    #[error("Kafka polling thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl ConfigError {
    /// What librdkafka says of a client that cannot be made, without the value of a setting that may be a secret.
    pub(super) fn client(error: &KafkaError) -> ConfigError {
        ConfigError::Client(match error {
            KafkaError::ClientConfig(_, what, name, _) => format!("{name}: {what}"),
            other => other.to_string(),
        })
    }
}

/// Settings that `extra` may not name, with their aliases.
const RESERVED: [&str; 16] = [
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "transactional.id",
    "partitioner",
    "message.max.bytes",
    "auto.offset.reset",
    "enable.auto.offset.store",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.partition.eof",
    "group.id",
    "bootstrap.servers",
];

impl KafkaConfig {
    /// The defaults for these brokers.
    pub fn new(brokers: impl Into<String>, client_id: impl Into<String>) -> KafkaConfig {
        KafkaConfig {
            brokers: brokers.into(),
            client_id: client_id.into(),
            embedded: false,
            linger: Duration::ZERO,
            max_message_bytes: MAX_RECORD_BYTES,
            queue_records: 100_000,
            queue_kib: 128 * 1024,
            statistics_every: Duration::from_secs(5),
            security: KafkaSecurity::default(),
            refusals: Refusals::default(),
            extra: BTreeMap::new(),
        }
    }

    /// The same, for the mock cluster: an idle fetch there sleeps `fetch.wait.max.ms`, so it is kept short.
    pub fn embedded(brokers: impl Into<String>, client_id: impl Into<String>) -> KafkaConfig {
        KafkaConfig { embedded: true, ..KafkaConfig::new(brokers, client_id) }
    }

    /// The same with another client id.
    pub fn named(&self, client_id: impl Into<String>) -> KafkaConfig {
        KafkaConfig { client_id: client_id.into(), ..self.clone() }
    }

    fn base(&self) -> Result<ClientConfig, ConfigError> {
        if let Some(name) = self.extra.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(ConfigError::Reserved(name.clone()));
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", "10000")
            // librdkafka spreads each wait by -25 % to +50 %.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", self.statistics_every.as_millis().to_string())
            .set_log_level(RDKafkaLogLevel::Info);
        self.security.apply(&mut config)?;
        Ok(config)
    }

    fn with_extra(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }

    /// For administration: nothing but the connection.
    pub(super) fn admin(&self) -> Result<ClientConfig, ConfigError> {
        let mut config = self.base()?;
        // An admin client's log queue is read by no one: let it stay empty.
        config.set("statistics.interval.ms", "0").set_log_level(RDKafkaLogLevel::Emerg);
        if self.embedded {
            // On another process' mock cluster, asking by name is the only way to make a topic.
            config.set("allow.auto.create.topics", "true");
        }
        Ok(self.with_extra(config))
    }

    /// For a producer: idempotent, acknowledged by all, and never given up.
    pub(super) fn producer(&self) -> Result<ClientConfig, ConfigError> {
        let mut config = self.base()?;
        config
            .set("linger.ms", (self.linger.as_micros() as f64 / 1000.0).to_string())
            .set("queue.buffering.max.messages", self.queue_records.to_string())
            .set("queue.buffering.max.kbytes", self.queue_kib.to_string());
        let mut config = self.with_extra(config);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", self.max_message_bytes.to_string());
        Ok(config)
    }

    /// For a consumer that we assign ourselves. `idle_fetch` is how long a fetch without news stays at the broker.
    pub(super) fn reader(&self, idle_fetch: Duration, eof: bool) -> Result<ClientConfig, ConfigError> {
        let mut config = self.base()?;
        config
            .set("fetch.wait.max.ms", self.idle_fetch(idle_fetch).as_millis().to_string())
            // Bounds per partition, since each has its own queue.
            .set("queued.min.messages", "20000")
            .set("queued.max.messages.kbytes", "8192")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "50")
            .set("check.crcs", "true");
        let mut config = self.with_extra(config);
        config
            // librdkafka assigns only to a consumer with a group; nothing is ever committed to it. It asks who coordinates
            // it all the same, which an ACL must allow: hence the prefix.
            .set("group.id", format!("synod.{}.readers", self.client_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", if eof { "true" } else { "false" });
        Ok(config)
    }

    /// For a member of a group: offsets are stored by us, and what is stored is committed in the background.
    pub(super) fn member(
        &self,
        group: &str,
        session: Duration,
        reset: &str,
    ) -> Result<ClientConfig, ConfigError> {
        let mut config = self.base()?;
        config
            .set("fetch.wait.max.ms", self.idle_fetch(Duration::from_millis(500)).as_millis().to_string())
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "50")
            .set("session.timeout.ms", session.as_millis().to_string())
            .set("heartbeat.interval.ms", (session.as_millis() / 6).max(1).to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.commit.interval.ms", "1000");
        let mut config = self.with_extra(config);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "true")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", reset);
        Ok(config)
    }

    fn idle_fetch(&self, usual: Duration) -> Duration {
        if self.embedded { Duration::from_millis(2) } else { usual }
    }
}

impl fmt::Debug for KafkaConfig {
    /// Values of `extra` may be secrets: only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("embedded", &self.embedded)
            .field("security", &self.security)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promise_rests_on_cannot_be_changed() {
        let check = |name: &str, ok: bool| {
            let mut config = KafkaConfig::new("127.0.0.1:1", "test");
            config.extra.insert(name.into(), "0".into());
            assert_eq!(config.producer().is_ok(), ok, "{name}");
        };
        check("acks", false);
        check("message.timeout.ms", false);
        check("delivery.timeout.ms", false);
        check("partitioner", false);
        check("enable.idempotence", false);
        check("sasl.username", true);
        check("fetch.wait.max.ms", true);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = KafkaConfig::new("127.0.0.1:1", "test");
        config.extra.insert("sasl.password".into(), "hunter2".into());
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
