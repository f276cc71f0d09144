//! The mesh's topics and the settings that its promises need.

use std::collections::BTreeMap;
use synod_protocol::retry::Tier;
use synod_protocol::topics;

/// The largest record that we send, in bytes on the wire: fits a broker's default `message.max.bytes` (1,048,588).
pub const MAX_RECORD_BYTES: usize = 1_048_576;

/// `max.message.bytes` of our topics: a largest record and then some, for what others' batches add.
pub const TOPIC_MAX_MESSAGE_BYTES: usize = MAX_RECORD_BYTES + 64 * 1024;

/// Partitions of a tier's topic: each is relayed one record after the other.
const RETRY_PARTITIONS: u32 = 4;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each; 0 for as many as the brokers make by default.
    pub replication: u32,
    /// Its settings, as Kafka names them.
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic with nothing but what every topic of ours has: the record size, and safety where replicas allow it.
    pub fn new(name: impl Into<String>, partitions: u32, replication: u32) -> TopicSpec {
        let spec = TopicSpec { name: name.into(), partitions, replication, config: BTreeMap::new() }
            .with("max.message.bytes", TOPIC_MAX_MESSAGE_BYTES)
            .with("unclean.leader.election.enable", false);
        if replication >= 3 { spec.with("min.insync.replicas", 2) } else { spec }
    }

    /// With this setting.
    #[allow(clippy::needless_pass_by_value)] // numbers and literals, mostly
    pub fn with(mut self, setting: &str, value: impl ToString) -> TopicSpec {
        self.config.insert(setting.to_owned(), value.to_string());
        self
    }

    fn deleting(self, keep_ms: Option<u64>) -> TopicSpec {
        let keep = keep_ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string());
        self.with("cleanup.policy", "delete").with("retention.ms", keep).with("retention.bytes", -1)
    }
}

/// The topics of a mesh with this many shards (DESIGN, section 1).
pub fn mesh_topics(partitions: u32, replication: u32) -> Vec<TopicSpec> {
    let topic = |name: &str| TopicSpec::new(name, partitions, replication);
    let broker_time = |spec: TopicSpec| spec.with("message.timestamp.type", "LogAppendTime");
    vec![
        broker_time(topic(topics::COMMANDS).deleting(Some(7 * DAY_MS))),
        broker_time(topic(topics::LEDGER).deleting(None)),
        topic(topics::EVENTS).deleting(Some(7 * DAY_MS)),
        topic(topics::AGENTS).with("cleanup.policy", "compact"),
        topic(topics::STATE).with("cleanup.policy", "compact"),
        topic(topics::HEARTBEATS).deleting(Some(10 * MINUTE_MS)).with("segment.ms", 10 * MINUTE_MS),
        dead_letters(topics::COMMANDS, replication),
    ]
}

/// The topic for what could not be handled on `topic`: one partition, kept 30 days. Room for the original
/// and for what is said about it.
pub(super) fn dead_letters(topic: &str, replication: u32) -> TopicSpec {
    TopicSpec::new(topics::dlq(topic), 1, replication)
        .deleting(Some(30 * DAY_MS))
        .with("max.message.bytes", 2 * MAX_RECORD_BYTES)
}

/// The topic of a tier of retries: by the brokers' time, kept a week.
pub(super) fn retries(tier: Tier, replication: u32) -> TopicSpec {
    TopicSpec::new(tier.topic(), RETRY_PARTITIONS, replication)
        .deleting(Some(7 * DAY_MS))
        .with("message.timestamp.type", "LogAppendTime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_the_settings_of_the_design() {
        let specs = mesh_topics(8, 3);
        let check = |topic: &str, setting: &str, value: Option<&str>| {
            let spec = specs.iter().find(|s| s.name == topic).expect(topic);
            assert_eq!(spec.config.get(setting).map(String::as_str), value, "{topic} {setting}");
        };
        check("synod.ledger.v1", "retention.ms", Some("-1"));
        check("synod.ledger.v1", "cleanup.policy", Some("delete"));
        check("synod.ledger.v1", "message.timestamp.type", Some("LogAppendTime"));
        check("synod.commands.v1", "message.timestamp.type", Some("LogAppendTime"));
        check("synod.events.v1", "message.timestamp.type", None);
        check("synod.events.v1", "retention.ms", Some("604800000"));
        check("synod.agents.v1", "cleanup.policy", Some("compact"));
        check("synod.state.v1", "cleanup.policy", Some("compact"));
        check("synod.heartbeats.v1", "retention.ms", Some("600000"));
        check("dlq.synod.commands.v1", "cleanup.policy", Some("delete"));
        check("synod.ledger.v1", "min.insync.replicas", Some("2"));
        check("synod.ledger.v1", "unclean.leader.election.enable", Some("false"));
        assert!(mesh_topics(8, 1).iter().all(|s| !s.config.contains_key("min.insync.replicas")));
    }
}
