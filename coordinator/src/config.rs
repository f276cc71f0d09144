//! What a coordinator is told.

mod balance;
mod breaker;

pub use balance::Balance;
pub use breaker::Breakers;

use crate::http::HttpLimits;
use crate::keys::ApiKeys;
use secrecy::SecretString;
use std::net::SocketAddr;
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, TopicMaker};
use synod_infra::primitives::queues::QueueLimits;
use synod_infra::redis::RedisConfig;
use synod_infra::telemetry::{Logs, Metrics};
use synod_ledger::tenure::Terms;
use synod_ledger::{Keep, Rules};
use synod_negotiation::Protocols;
use synod_protocol::primitives::memory::MemoryLimits;
use synod_protocol::{Id, Limits};

/// What a coordinator is told.
#[derive(Clone)]
pub struct CoordinatorConfig {
    /// Its name in leases and claims.
    pub id: Id,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Who makes topics there.
    pub topics: TopicMaker,
    /// The Redis.
    pub redis: RedisConfig,
    /// Where HTTP listens; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// The address that others are told, `host:port`; the one that it listens on by default.
    pub advertise: Option<String>,
    /// Partitions of the mesh's topics, 1 to 1,024; fixed when the mesh is made.
    pub partitions: u32,
    /// Replicas of topics that it makes.
    pub replication: u32,
    /// Start although a topic's settings would break the promise.
    pub accept_unsafe_topics: bool,
    /// Start although Redis may throw away what it was given when its memory is full (`maxmemory-policy`).
    pub accept_eviction: bool,
    /// Limits on what comes in.
    pub limits: Limits,
    /// How long a lease stands without renewal; what a dead coordinator held is free after it at the latest.
    pub lease: Duration,
    /// How often it is renewed; a process that is gone and has not renewed for twice as long is taken for dead.
    pub renew_every: Duration,
    /// How often the others' leases are read.
    pub look_every: Duration,
    /// This coordinator makes the mesh, on brokers and a Redis that are its own: it need not wait for others.
    pub first: bool,
    /// Appends of one shard that may be unproven at a time; new work is refused beyond it.
    pub in_flight_limit: usize,
    /// Steps of one shard whose effects may be unconfirmed at a time; new work is refused beyond it.
    pub owed_limit: usize,
    /// What the tasks of one shard that have not ended may weigh in memory, in bytes; new ones are refused as
    /// `overloaded` beyond it.
    pub live_bytes: usize,
    /// How tasks wait, and what they take while they run; the same for all coordinators of a mesh.
    pub rules: Rules,
    /// How negotiations may be decided: those that there are, and an embedder's own.
    pub protocols: Protocols,
    /// Records within which each live thing is imaged, 100 to 1,000,000: what a fold has to read at most, and so
    /// what a take-over takes.
    pub image_within: u64,
    /// What of a shard stays in memory.
    pub keep: Keep,
    /// How long the view of an ended task stays in Redis, `None` for ever; the ledger has it longer.
    pub view_kept: Option<Duration>,
    /// What the views of one shard's ended tasks may take in Redis, in bytes, about; the oldest go first.
    pub view_bytes: usize,
    /// How long the ledger keeps what lies below a floor; `None` for ever.
    pub ledger_kept: Option<Duration>,
    /// How long work may wait in the inbox of an agent that does not take it, while another would; it is taken back then.
    pub unclaimed_after: Duration,
    /// By which rules agents are chosen where a task does not say.
    pub balance: Balance,
    /// What every breaker is set to.
    pub breakers: Breakers,
    /// How long an agent that joins others, or whose breaker has closed, takes to come to its whole share of the work; zero: at once.
    pub ramp: Duration,
    /// Snapshots of the mesh.
    pub snapshots: crate::SnapshotPolicy,
    /// How much one queue may hold.
    pub queues: QueueLimits,
    /// How much an agent may remember, and for how long where it does not say.
    pub memory: MemoryLimits,
    /// How long an agent that has left, or is lost, is kept; `None` for ever.
    pub agents_kept: Option<Duration>,
    /// `host:port` that webhooks may go to although the address is private; all public ones are allowed.
    pub webhook_allow: Vec<String>,
    /// The keys of those who may ask over HTTP; anybody may where there are none.
    pub keys: ApiKeys,
    /// With `keys`: the one by which this coordinator asks the others, which is one of them.
    pub key: Option<SecretString>,
    /// Listen beyond loopback although no key is asked for.
    pub http_open: bool,
    /// What HTTP clients may take up.
    pub http_limits: HttpLimits,
    /// What `/metrics` shows.
    pub metrics: Option<Metrics>,
    /// What `/v1/log-level` changes.
    pub logs: Option<Logs>,
}

impl CoordinatorConfig {
    /// The defaults for these brokers and this Redis.
    pub fn new(id: Id, kafka: KafkaConfig, redis: RedisConfig, http_listen: SocketAddr) -> CoordinatorConfig {
        CoordinatorConfig {
            id,
            topics: TopicMaker::new(&kafka),
            kafka,
            redis,
            http_listen,
            advertise: None,
            partitions: 8,
            replication: 1,
            accept_unsafe_topics: false,
            accept_eviction: false,
            limits: Limits::default(),
            lease: Duration::from_millis(1_800),
            renew_every: Duration::from_millis(400),
            look_every: Duration::from_millis(150),
            first: false,
            in_flight_limit: 2_048,
            owed_limit: 8_192,
            live_bytes: synod_ledger::Limits::default().live_bytes,
            rules: Rules::default(),
            protocols: Protocols::standard().clone(),
            image_within: synod_ledger::Limits::default().image_within,
            keep: Keep::default(),
            view_kept: Some(Duration::from_secs(3_600)),
            view_bytes: 32 << 20,
            ledger_kept: Some(Duration::from_secs(7 * 24 * 3_600)),
            unclaimed_after: Duration::from_secs(2),
            balance: Balance::default(),
            breakers: Breakers::default(),
            ramp: Duration::from_secs(10),
            snapshots: crate::SnapshotPolicy::default(),
            queues: QueueLimits::default(),
            memory: MemoryLimits::default(),
            agents_kept: Some(Duration::from_secs(24 * 3_600)),
            webhook_allow: Vec::new(),
            keys: ApiKeys::default(),
            key: None,
            http_open: false,
            http_limits: HttpLimits::default(),
            metrics: None,
            logs: None,
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Terms { lease_ms: ms(self.lease), renew_ms: ms(self.renew_every), ..Terms::default() }
    }

    pub(crate) fn advertised(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| bound.to_string())
    }
}
