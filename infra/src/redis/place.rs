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
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The longest that one Sentinel is waited for while there are others to ask.
const SENTINEL_WITHIN: Duration = Duration::from_millis(300);
/// Commands that may queue in front of a socket; more callers wait within their time limit.
const QUEUED_COMMANDS: usize = 1024;

/// Where the server is; a cheap clone.
#[derive(Clone)]
pub(crate) enum Place {
    /// There.
    Named(Client),
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
}

impl Place {
    /// A server that is named.
    pub(crate) fn named(info: ConnectionInfo) -> Result<Place, RedisError> {
        Ok(Place::Named(Client::open(info)?))
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
        })))
    }

    /// The server as it is now, by `deadline`.
    async fn client(&self, deadline: Instant) -> Result<Client, RedisError> {
        match self {
            Place::Named(client) => Ok(client.clone()),
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
                client.get_multiplexed_async_connection_with_config(&settings).await.map_err(|e| {
                    RedisError::Away(format!("{} cannot be used: {e}", client.get_connection_info().addr()))
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
            Ok(opened) => Ok(opened?),
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

impl Sentinels {
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
                    let info = self.master.clone().set_addr(ConnectionAddr::Tcp(host, port));
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
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.place.connect(&self.config).await
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<RedisError> {
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
