//! Where the server is: one that is named, or whichever the Sentinels call master just now.
//!
//! ```text
//! connect --> named: that server
//!         --> Sentinels, one after the other: who is the master? --> that server --> ROLE: is it? --> used
//! ```
//!
//! Asked anew for every connection: what broke because its server lost its role (`READONLY`) finds the next one. As
//! Redis' guidelines for Sentinel clients have it: <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

use super::config::RedisConfig;
use super::error::RedisError;
use futures::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The longest that one Sentinel is waited for while there are others to ask.
const SENTINEL_WITHIN: Duration = Duration::from_millis(300);
/// How often a Sentinel that says nothing is asked.
const SENTINEL_CHECK: Duration = Duration::from_secs(2);
/// The wait before the next Sentinel is listened to.
const SENTINEL_AGAIN: Duration = Duration::from_millis(100);
/// Commands that may queue in front of a socket; more callers wait within their time limit.
const QUEUED_COMMANDS: usize = 1024;

/// Where the server is; a cheap clone.
#[derive(Clone)]
pub(crate) enum Place {
    /// There.
    Named(Box<Client>),
    /// Where these say.
    Sentinels(Arc<Sentinels>),
}

/// Who knows where the master is.
pub(crate) struct Sentinels {
    /// Who they are.
    clients: Vec<Client>,
    /// Who has answered last: asked first.
    first: AtomicUsize,
    /// What they call the master.
    service: String,
    /// How to connect to the master, but for its address.
    master: ConnectionInfo,
    /// Whom they called master last, as far as was heard.
    known: Mutex<Option<ConnectionAddr>>,
    /// Grows when they call another server master; there are tasks that hear of it.
    moves: watch::Sender<u64>,
}

impl Place {
    /// A server that is named.
    pub(crate) fn named(info: ConnectionInfo) -> Result<Place, RedisError> {
        Ok(Place::Named(Box::new(Client::open(info)?)))
    }

    /// The master of this name, as these Sentinels know it.
    pub(crate) fn sentinels(
        sentinels: Vec<ConnectionInfo>,
        service: String,
        master: ConnectionInfo,
    ) -> Result<Place, RedisError> {
        let clients: Result<Vec<Client>, _> = sentinels.into_iter().map(Client::open).collect();
        Ok(Place::Sentinels(Arc::new(Sentinels {
            clients: clients?,
            first: AtomicUsize::new(0),
            service,
            master,
            known: Mutex::default(),
            moves: watch::channel(0).0,
        })))
    }

    /// Begins to hear of another master, until the last clone is gone. Needs a tokio runtime.
    pub(crate) fn follow(&self) {
        if let Place::Sentinels(sentinels) = self {
            for n in 0..sentinels.clients.len() {
                tokio::spawn(follow(Arc::downgrade(sentinels), n));
            }
        }
    }

    /// Returns when the Sentinels call another server master than at the call; never where there are none.
    ///
    /// A master that was replaced by hand goes on answering until it is told, and what it takes meanwhile is lost: so its
    /// connections are left at once.
    pub(crate) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let moves = match self {
            Place::Named(_) => None,
            Place::Sentinels(sentinels) => Some(sentinels.moves.subscribe()),
        };
        async move {
            let Some(mut moves) = moves else { return std::future::pending().await };
            if moves.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How often they have called another server master.
    pub(crate) fn moves(&self) -> u64 {
        match self {
            Place::Named(_) => 0,
            Place::Sentinels(sentinels) => *sentinels.moves.borrow(),
        }
    }

    /// The server as it is now, by `deadline`.
    async fn client(&self, deadline: Instant) -> Result<Client, RedisError> {
        match self {
            Place::Named(client) => Ok((**client).clone()),
            Place::Sentinels(sentinels) => sentinels.master(deadline).await,
        }
    }

    /// Opens one connection without the driver's own limit on answers (500 ms by default), which would cut
    /// blocking reads short; every caller sets its own.
    ///
    /// # Errors
    /// `Timeout` after `connect_timeout`; whatever the server says to the handshake; a server that is no master.
    pub(crate) async fn connect(&self, config: &RedisConfig) -> Result<MultiplexedConnection, RedisError> {
        let limit = config.connect_timeout;
        let deadline = Instant::now() + limit;
        let client = self.client(deadline).await?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED_COMMANDS);
        let opened = async {
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&settings).await.map_err(|error| {
                    let address = client.get_connection_info().addr();
                    RedisError::denied_at(address, &error)
                        .unwrap_or_else(|| RedisError::Away(format!("{address} cannot be used: {error}")))
                })?;
            self.check_role(&mut connection, client.get_connection_info().addr()).await?;
            Ok(connection)
        };
        timeout_at(deadline, opened).await.unwrap_or(Err(RedisError::Timeout { limit }))
    }

    /// Opens one connection for subscriptions.
    ///
    /// # Errors
    /// `Timeout` after `connect_timeout`; those of connecting.
    pub(crate) async fn connect_pubsub(
        &self,
        config: &RedisConfig,
    ) -> Result<redis::aio::PubSub, RedisError> {
        let limit = config.connect_timeout;
        let deadline = Instant::now() + limit;
        let client = self.client(deadline).await?;
        match timeout_at(deadline, client.get_async_pubsub()).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(RedisError::denied_at(client.get_connection_info().addr(), &error)
                .unwrap_or_else(|| error.into())),
            Err(_) => Err(RedisError::Timeout { limit }),
        }
    }

    /// A connection that is to be used (again) must be the master's: Sentinels may not have heard yet.
    ///
    /// # Errors
    /// `Away` from a server that is no master; those of any command.
    pub(crate) async fn check_role(
        &self,
        connection: &mut MultiplexedConnection,
        address: &ConnectionAddr,
    ) -> Result<(), RedisError> {
        let Place::Sentinels(_) = self else { return Ok(()) };
        let answer = connection.req_packed_command(&redis::cmd("ROLE")).await?.extract_error()?;
        let Value::Array(words) = answer else {
            return Err(RedisError::Unexpected(format!("ROLE answered {answer:?}")));
        };
        let role: String = words.into_iter().next().map_or(Ok(String::new()), redis::from_redis_value)?;
        if role == "master" {
            return Ok(());
        }
        Err(RedisError::Away(format!("{address} is no master, but {role:?}: the Sentinels are asked again")))
    }
}

/// Hears of another master from one of the Sentinels: the one that leads a failover knows a second before the others.
async fn follow(sentinels: Weak<Sentinels>, n: usize) {
    loop {
        let Some(of) = sentinels.upgrade() else { return };
        let client = of.clients[n].clone();
        drop(of);
        if let Err(error) = hear(&sentinels, n, &client).await {
            tracing::debug!(sentinel = %client.get_connection_info().addr(), %error, "a Sentinel is not heard");
        }
        tokio::time::sleep(SENTINEL_AGAIN).await;
    }
}

/// Returns when this Sentinel is gone, or nobody listens any more.
async fn hear(sentinels: &Weak<Sentinels>, n: usize, client: &Client) -> Result<(), RedisError> {
    let late = |_| RedisError::Timeout { limit: SENTINEL_WITHIN };
    let soon = || Instant::now() + SENTINEL_WITHIN;
    let mut subscription = timeout_at(soon(), client.get_async_pubsub()).await.map_err(late)??;
    // The first is said by the leader alone, as soon as the next master has taken over; the second by all, at the end.
    let channels = ["+failover-state-reconf-slaves", "+switch-master"];
    timeout_at(soon(), subscription.subscribe(&channels)).await.map_err(late)??;
    let (mut sink, mut messages) = subscription.split();
    let mut check = tokio::time::interval(SENTINEL_CHECK);
    check.tick().await;
    loop {
        // At the beginning too: something may have been said before it.
        let Some(of) = sentinels.upgrade() else { return Ok(()) };
        if let Some((host, port)) = timeout_at(soon(), of.ask(client)).await.map_err(late)?? {
            let address = of.at(host, port);
            of.heard(n, &address);
        }
        drop(of);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(_) => break,
                    None => return Ok(()),
                },
                _ = check.tick() => {
                    if sentinels.strong_count() == 0 {
                        return Ok(());
                    }
                    timeout_at(soon(), sink.ping::<Value>()).await.map_err(late)??;
                }
            }
        }
    }
}

impl Sentinels {
    /// One of them calls this server master.
    fn heard(&self, n: usize, address: &ConnectionAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.replace(address.clone());
        if before.is_some_and(|before| before != *address) {
            tracing::info!(master = self.service, %address, "Redis has another master");
            // The others may not know yet.
            self.first.store(n, Ordering::Relaxed);
            self.moves.send_modify(|moves| *moves += 1);
        }
    }

    /// This address, spoken to as the master is.
    fn at(&self, host: String, port: u16) -> ConnectionAddr {
        match self.master.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// The master, by the first Sentinel that knows it.
    async fn master(&self, deadline: Instant) -> Result<Client, RedisError> {
        let (count, first) = (self.clients.len(), self.first.load(Ordering::Relaxed));
        let mut said = Vec::new();
        for n in (0..count).map(|n| (first + n) % count) {
            let client = &self.clients[n];
            let until = deadline.min(Instant::now() + SENTINEL_WITHIN);
            let why = match timeout_at(until, self.ask(client)).await {
                Ok(Ok(Some((host, port)))) => {
                    self.first.store(n, Ordering::Relaxed);
                    let info = self.master.clone().set_addr(self.at(host, port));
                    return Ok(Client::open(info)?);
                }
                Ok(Ok(None)) => format!("knows no master {:?}", self.service),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "did not answer in time".to_owned(),
            };
            said.push(format!("{} {why}", client.get_connection_info().addr()));
        }
        Err(RedisError::Away(format!("no Sentinel tells where the master is: {}", said.join("; "))))
    }

    async fn ask(&self, sentinel: &Client) -> Result<Option<(String, u16)>, RedisError> {
        let settings = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&settings).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(&self.service);
        let answer = connection.req_packed_command(&ask).await?.extract_error()?;
        Ok(Option::<(String, u16)>::from_redis_value(answer)?)
    }
}

/// Connections for conversations, each checked before it is handed out (again).
pub(crate) struct Pooled {
    pub(crate) place: Place,
    pub(crate) config: RedisConfig,
}

impl deadpool::managed::Manager for Pooled {
    /// With how often the master had moved when it was opened.
    type Type = (MultiplexedConnection, u64);
    type Error = RedisError;

    async fn create(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let moves = self.place.moves();
        Ok((self.place.connect(&self.config).await?, moves))
    }

    async fn recycle(
        &self,
        (connection, moves): &mut (MultiplexedConnection, u64),
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<RedisError> {
        if *moves != self.place.moves() {
            return Err(deadpool::managed::RecycleError::message("Redis has another master"));
        }
        let checked = match &self.place {
            Place::Named(_) => {
                let answer = connection.req_packed_command(&redis::cmd("PING")).await;
                answer.and_then(Value::extract_error).map(drop).map_err(RedisError::from)
            }
            Place::Sentinels(sentinels) => self.place.check_role(connection, sentinels.master.addr()).await,
        };
        checked.map_err(deadpool::managed::RecycleError::Backend)
    }
}
