//! The coordinator: owns shards, performs what they owe, and answers over HTTP.
//!
//! ```text
//!   commands topic --> shard::inbound --+
//!   HTTP ------------> door ------------+--> shard::serve --Owner::handle--> ledger topic
//!   fleet (directory, heartbeats) ------+        |  acknowledged where expected
//!                                                v
//!                                  shard::performer --> inboxes, events, directory, replies, dead letters
//! ```
//!
//! All deciding is in `synod-ledger`; here is only what touches the world. Who owns which shard is kept by `tenure`;
//! a shard's life (`shard::life`) is to wait for its grant, claim, fold, serve. What others own is asked of them
//! (`forward`).

mod breakers;
mod cleanup;
mod config;
mod contexts;
mod definitions;
mod directory;
mod door;
mod doubts;
mod duties;
mod event_feed;
mod eviction;
mod fleet;
mod forward;
mod gathered;
mod health;
mod http;
mod kafka;
mod keys;
mod mirror;
mod moments;
mod overdue;
mod pauses;
mod presence;
mod progress;
mod publish;
pub mod reference;
mod retries;
mod shard;
mod snapshots;
mod statistics;
mod tenure;
mod webhooks;

pub use config::{Balance, Breakers, CoordinatorConfig};
pub use http::HttpLimits;
pub use keys::{ApiKeys, KeyError, NewKey};
pub use snapshots::SnapshotPolicy;

use fleet::SharedFleet;
use forward::Forward;
use health::Status;
use kafka::Kafka;
use secrecy::ExposeSecret as _;
use shard::ShardHandle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::ramp::Ramp;
use synod_fleet::{AgentKey, RuleError};
use synod_infra::primitives::feed::Feed;
use synod_infra::primitives::memory::Memories;
use synod_infra::primitives::mirror::Mirrored;
use synod_infra::primitives::queues::Queues;
use synod_infra::primitives::state::State;
use synod_infra::redis::{Redis, RedisError};
use synod_protocol::{Incarnation, topics};
use tenure::Tenures;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a coordinator that starts is ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running coordinator. Dropping it stops it without waiting; see [`Coordinator::shutdown`].
pub struct Coordinator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    close: CancellationToken,
    work: JoinSet<()>,
    http: JoinSet<()>,
}

/// What every part of a coordinator works with.
pub(crate) struct Shared {
    pub(crate) config: CoordinatorConfig,
    pub(crate) kafka: Kafka,
    pub(crate) redis: Redis,
    pub(crate) state: State,
    pub(crate) fleet: Arc<SharedFleet>,
    pub(crate) definitions: definitions::Catalogue,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) status: Arc<Status>,
    pub(crate) duties: duties::Duties,
    pub(crate) statistics: statistics::Statistics,
    pub(crate) tenures: Tenures,
    pub(crate) forward: Forward,
    pub(crate) snapshots: snapshots::Snapshots,
    /// Events and views on their way out.
    pub(crate) gathered: gathered::Gathered,
    /// The changes of shared state, for whoever follows them here.
    pub(crate) feed: Feed,
    /// The events, for whoever follows them here.
    pub(crate) event_feed: event_feed::EventFeed,
    /// Waits until the mirror has a change.
    pub(crate) mirrored: Mirrored,
    pub(crate) queues: Queues,
    pub(crate) memories: Memories,
    /// Where others reach this one, `host:port`.
    pub(crate) address: String,
    /// The HTTP door closes: who waits is answered with what is.
    pub(crate) closing: CancellationToken,
}

impl Shared {
    /// Tells the agent's shard, if it is ours, what the fleet thinks of a process start.
    pub(crate) fn judged(&self, agent: &AgentKey, incarnation: &Incarnation, lost: bool, reason: String) {
        let shard = topics::partition(agent.agent.as_str().as_bytes(), self.config.partitions);
        if self.tenures.holds(shard) {
            self.shards[shard as usize].judged(agent.clone(), incarnation.clone(), lost, reason);
        }
    }
}

/// Why a coordinator cannot start at all. That Kafka or Redis is away is no reason: it waits for them.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP address cannot be bound.
    #[error("cannot listen on {address}: {why}; choose another with SYNOD_HTTP_LISTEN")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// The Kafka settings cannot be.
    #[error("Kafka settings: {0}")]
    Kafka(#[from] synod_infra::kafka::ConfigError),
    /// The Redis settings cannot be.
    #[error("Redis settings: {0}")]
    Redis(#[from] RedisError),
    /// A balancing rule is not known, or is known twice.
    #[error("balancing rules: {0}")]
    Rule(#[from] RuleError),
    /// Anybody who can reach the address could do anything.
    #[error(
        "refused to listen on {0} without an API key, since others than this machine may reach it: name the keys' hashes \
         with SYNOD_HTTP_KEYS or SYNOD_HTTP_KEYS_FILE (`synod key` makes one), or set SYNOD_HTTP_OPEN=yes where \
         something else keeps strangers out"
    )]
    Open(SocketAddr),
    /// Other coordinators would refuse what this one passes on.
    #[error(
        "SYNOD_API_KEY (or SYNOD_API_KEY_FILE) must be one of the keys that SYNOD_HTTP_KEYS lets in, {0}: coordinators ask each other by it"
    )]
    OwnKey(&'static str),
    /// There is no HTTP client to reach the other coordinators with.
    #[error("no HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// Nothing is opened to strangers by oversight.
fn guard(config: &CoordinatorConfig) -> Result<(), StartError> {
    if config.keys.is_empty() {
        let is_open = config.http_open || config.http_listen.ip().is_loopback();
        return if is_open { Ok(()) } else { Err(StartError::Open(config.http_listen)) };
    }
    match &config.key {
        None => Err(StartError::OwnKey("and is missing")),
        Some(key) if !config.keys.lets_in(key.expose_secret().as_bytes()) => {
            Err(StartError::OwnKey("and is none of them"))
        }
        Some(_) => Ok(()),
    }
}

impl Coordinator {
    /// Binds the HTTP address, then joins Kafka and Redis in the background, for as long as that takes.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: CoordinatorConfig) -> Result<Coordinator, StartError> {
        guard(&config)?;
        let listen = |why| StartError::Listen { address: config.http_listen, why };
        let listener = TcpListener::bind(config.http_listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let kafka = Kafka::new(&config)?;
        let redis = Redis::new(config.redis.clone())?;
        let ramp = Ramp::of(config.ramp);
        let fleet =
            SharedFleet::new(config.id.clone(), config.balance.registry()?, config.breakers.policy(), ramp);
        let fleet = Arc::new(fleet);
        let status = Arc::new(Status::new(config.partitions));
        let lease = tenure::lease_of(redis.clone(), &config, address);
        let (tenures, words) =
            Tenures::new(config.id.clone(), lease.holder(), config.partitions, config.terms());
        if config.first {
            tenures.is_first();
        }
        let (mut shards, mut grants, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
        for (handle, grant, inbox) in (0..config.partitions).map(ShardHandle::new) {
            shards.push(handle);
            grants.push(grant);
            inboxes.push(inbox);
        }
        let forward = Forward::new(config.key.as_ref())?;
        let (stop, close) = (CancellationToken::new(), CancellationToken::new());
        let closing = close.clone();
        let advertised = config.advertised(address);
        let event_feed =
            event_feed::EventFeed::new(kafka.readers.clone(), config.partitions, closing.clone());
        let (feed, mirrored) = (Feed::new(redis.clone()), Mirrored::new(redis.clone()));
        let queues = Queues::with_limits(redis.clone(), config.queues);
        // What is read over HTTP is as it is: whoever wants a hot cache has it in its own process.
        let memories = Memories::new(redis.clone(), config.memory, Duration::ZERO);
        let (gathered, to_send) = gathered::channel();
        let shared = Arc::new(Shared {
            config,
            kafka,
            state: State::new(redis.clone()),
            redis,
            fleet,
            definitions: definitions::Catalogue::default(),
            shards,
            status,
            duties: duties::Duties::default(),
            statistics: statistics::Statistics::default(),
            tenures,
            forward,
            snapshots: snapshots::Snapshots::default(),
            gathered,
            feed,
            event_feed,
            mirrored,
            queues,
            memories,
            address: advertised,
            closing,
        });
        let (mut work, mut http_work) = (JoinSet::new(), JoinSet::new());
        let router = http::router(shared.clone());
        http_work.spawn(http::serve(listener, router, shared.config.http_limits, close.clone()));
        let joined = CancellationToken::new();
        let ended = CancellationToken::new();
        let keeping = tenure::keep(shared.clone(), lease, grants, words, joined.clone(), stop.clone());
        // What the shards lean on ends after them.
        let last = ended.clone().drop_guard();
        work.spawn(async move {
            keeping.await;
            drop(last);
        });
        work.spawn(gathered::run(shared.clone(), to_send, ended.clone()));
        work.spawn(join(shared.clone(), inboxes, joined, ended));
        Ok(Coordinator { address, shared, stop, close, work, http: http_work })
    }

    /// Where its HTTP API is, such as `http://127.0.0.1:7700`.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for Kafka or Redis to refuse this coordinator: one line that says what to change. For the time before it
    /// [serves](Coordinator::serves), when waiting would not help; a coordinator that works goes on and says so in its log and status.
    pub async fn refused(&self) -> String {
        let config = &self.shared.config;
        tokio::select! {
            line = config.kafka.refusals.wait() => line,
            line = config.redis.refusals.wait() => line,
        }
    }

    /// Waits until every shard serves, and shared state is served; `false` when the time is over first.
    pub async fn ready(&self, wait: Duration) -> bool {
        let ready = async {
            self.shared.status.wait_ready().await;
            self.state_is_served().await;
        };
        tokio::time::timeout(wait, ready).await.is_ok()
    }

    /// Waits until it serves a shard itself, which may be long after it is ready where others have them all. By then it was
    /// allowed whatever it needs.
    pub async fn serves(&self) {
        self.shared.status.wait_serving().await;
    }

    /// Every range of shared state has been read back from its mirror, by whichever coordinator has it.
    async fn state_is_served(&self) {
        while !matches!(self.shared.feed.ends().await, Ok(Some(_))) {
            tokio::time::sleep(LOOK_EVERY).await; // between two looks at the condition
        }
    }

    /// Hands its shards over in good order, then closes its door and ends; what is left after `limit` is cut off,
    /// which loses nothing that was accepted.
    pub async fn shutdown(mut self, limit: Duration) {
        self.stop.cancel();
        let ended = async {
            while self.work.join_next().await.is_some() {}
            // Until here it has answered, or passed on to the next owner.
            self.close.cancel();
            while self.http.join_next().await.is_some() {}
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(?limit, "not everything ended in time and was cut off");
        }
        self.work.abort_all();
        self.http.abort_all();
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.close.cancel();
    }
}

/// Makes the topics, reads the directory, then runs the shards and the watch over the fleet.
async fn join(
    shared: Arc<Shared>,
    inboxes: Vec<shard::Inbox>,
    joined: CancellationToken,
    stop: CancellationToken,
) {
    let prepared = async {
        kafka::prepare(&shared).await;
        eviction::prepare(&shared).await;
        let positions = directory::read_all(&shared).await;
        shared.fleet.begins_work();
        positions
    };
    let positions = tokio::select! {
        positions = prepared => positions,
        () = stop.cancelled() => return,
    };
    let mut work = JoinSet::new();
    for (partition, position) in positions.into_iter().enumerate() {
        work.spawn(directory::follow(shared.clone(), partition as u32, position, stop.clone()));
        work.spawn(directory::hear_kafka(shared.clone(), partition as u32, stop.clone()));
    }
    work.spawn(kafka::watch(shared.clone(), stop.clone()));
    work.spawn(progress::watch(shared.clone(), stop.clone()));
    work.spawn(directory::hear_redis(shared.clone(), stop.clone()));
    work.spawn(directory::judge(shared.clone(), stop.clone()));
    work.spawn(presence::watch(shared.clone(), stop.clone()));
    work.spawn(breakers::watch(shared.clone(), stop.clone()));
    work.spawn(snapshots::keep(shared.clone(), stop.clone()));
    work.spawn(contexts::publish_news(shared.clone(), stop.clone()));
    work.spawn(cleanup::watch(shared.clone(), stop.clone()));
    work.spawn(mirror::run(shared.clone(), stop.clone()));
    work.spawn(webhooks::run(shared.clone(), stop.clone()));
    work.spawn(retries::run(shared.clone(), stop.clone()));
    for inbox in inboxes {
        work.spawn(shard::live(shared.clone(), inbox));
    }
    joined.cancel();
    shared.status.joined();
    while let Some(ended) = work.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            // A part that died silently would be alive without working: the process must say so.
            shared.status.broken(format!("a part of the coordinator panicked: {error}"));
            tracing::error!(%error, "a part of the coordinator panicked");
        }
    }
}
