//! What the settings mean to a coordinator, wherever it runs.

use super::{Settings, Span};
use synod_coordinator::{CoordinatorConfig, SnapshotPolicy};
use synod_infra::primitives::queues::QueueLimits;
use synod_ledger::Keep;
use synod_protocol::primitives::memory::MemoryLimits;

impl Settings {
    /// The configuration with what the settings say of it.
    pub fn configure(&self, config: CoordinatorConfig) -> CoordinatorConfig {
        let ms = |kept: &Span| u64::try_from(kept.0.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let (ended_ms, runs_ms) = (ms(&self.ended_kept.value), ms(&self.runs_kept.value));
        CoordinatorConfig {
            partitions: self.partitions.value,
            live_bytes: self.live_mib.value << 20,
            image_within: self.image_within.value,
            keep: Keep { ended_ms, runs_ms, ..Keep::default() },
            view_kept: self.view_kept.value.0,
            view_bytes: self.view_mib.value << 20,
            ledger_kept: self.ledger_kept.value.0,
            agents_kept: self.agents_kept.value.0,
            queues: QueueLimits { messages: self.queue_messages.value, bytes: self.queue_mib.value << 20 },
            memory: MemoryLimits {
                entries: self.memory_entries.value,
                bytes: self.memory_mb.value * 1_000_000,
                ttl: self.memory_kept.value.0.unwrap_or(MemoryLimits::default().ttl),
            },
            rules: self.rules(),
            balance: self.balance.value.clone(),
            breakers: self.breaker.value.clone(),
            ramp: self.ramp.value.0.unwrap_or_default(),
            snapshots: SnapshotPolicy {
                every: self.snapshot_every.value.0,
                count: self.snapshot_count.value,
                bytes: self.snapshot_mib.value << 20,
                kept: self.snapshot_kept.value.0.unwrap_or(SnapshotPolicy::default().kept),
            },
            keys: self.keys(),
            key: self.key(),
            http_open: self.http_open.value.0,
            webhook_allow: self.webhook_allow.value.0.clone(),
            ..config
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Flags};
    use std::ffi::OsString;
    use std::net::{Ipv4Addr, SocketAddr};
    use synod_infra::kafka::KafkaConfig;

    /// What is kept in memory is what was asked for, each by its own setting.
    #[test]
    fn what_ended_is_kept_for_as_long_as_was_said() {
        let configured = |said: [(&str, &str); 2]| {
            let said = said.map(|(name, value)| (OsString::from(name), OsString::from(value)));
            let settings = Settings::from(&Flags::default(), &Environment::from(said), "/absent.toml".into());
            let settings = settings.unwrap();
            let (id, listen) = ("c".parse().unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let kafka = KafkaConfig::new("127.0.0.1:1", "c");
            settings.configure(CoordinatorConfig::new(id, kafka, settings.redis(), listen)).keep
        };
        let keep = configured([("SYNOD_ENDED_KEPT", "3m"), ("SYNOD_RUNS_KEPT", "2h")]);
        assert_eq!(keep, Keep { ended_ms: 180_000, runs_ms: 7_200_000, ..Keep::default() });
    }
}
