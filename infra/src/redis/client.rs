//! The handle to Redis that everything else in here is built on.
//!
//! Two ways to the server, both with a time limit on every call:
//! - the **shared** connection carries everything that is one round trip. Callers in many tasks are
//!   pipelined on it without knowing of each other: measured in `tests/redis/throughput.rs`, 256 tasks make
//!   ten times as many calls as over a pool of eight, which besides checks each connection it hands out;
//! - the **pool** carries conversations of many round trips, such as scans, so that they hold up nobody.
//!
//! Blocking reads and subscriptions open connections of their own (`blocking.rs`, `presence.rs`).

use super::bell::Bell;
use super::config::RedisConfig;
use super::error::{RedisError, breaks_connection};
use super::link::Link;
use super::listener::Listener;
use super::place::{Place, Pooled};
use crate::telemetry::names;
use deadpool::Runtime;
use deadpool::managed::{Object, Pool, Timeouts};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, FromRedisValue, Pipeline, Value};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A handle to Redis; clones share the connections.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    config: RedisConfig,
    place: Place,
    link: Link,
    pool: Pool<Pooled>,
    bell: OnceLock<Bell>,
}

/// Commands that were answered one by one, and on which connection.
pub(crate) struct Answers {
    /// One answer per command, an error reply of the server among them as `Value::ServerError`.
    pub(crate) values: Vec<Value>,
    /// Counts the shared connections of this handle, from 1.
    pub(crate) generation: u64,
}

impl Redis {
    /// A handle that connects in the background; Redis need not be there yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub fn new(config: RedisConfig) -> Result<Redis, RedisError> {
        let place = config.place()?;
        place.follow();
        let limit = Some(config.command_timeout);
        let pool = Pool::builder(Pooled { place: place.clone(), config: config.clone() })
            .max_size(config.pool_size)
            .timeouts(Timeouts { wait: limit, create: Some(config.connect_timeout), recycle: limit })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| RedisError::InvalidConfig(e.to_string()))?;
        let link = Link::start(place.clone(), config.clone());
        Ok(Redis { inner: Arc::new(Inner { config, place, link, pool, bell: OnceLock::new() }) })
    }

    /// Whether Redis answers now, asked within the time limit of a call.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout`, with the reason.
    pub async fn ready(&self) -> Result<(), RedisError> {
        self.query::<()>(&redis::cmd("PING")).await
    }

    /// How the pool of connections stands.
    pub fn pool(&self) -> PoolStanding {
        let status = self.inner.pool.status();
        let used = status.size.saturating_sub(status.available);
        PoolStanding { used, idle: status.available, waiting: status.waiting }
    }

    /// `host:port`, without anything secret.
    pub fn endpoint(&self) -> String {
        self.inner.config.endpoint()
    }

    /// The limit of one call.
    pub fn command_timeout(&self) -> Duration {
        self.inner.config.command_timeout
    }

    /// The server's id, drawn at its start: another one means that it restarted, and may be empty.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn run_id(&self) -> Result<String, RedisError> {
        run_id_in(&self.query::<String>(redis::cmd("INFO").arg("server")).await?)
    }

    /// What the server throws away when its memory is full: `noeviction`, or a policy that does (`maxmemory-policy`).
    ///
    /// # Errors
    /// Those of any call.
    pub async fn eviction_policy(&self) -> Result<String, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("memory")).await?;
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        policy
            .map(|policy| policy.trim().to_owned())
            .ok_or_else(|| RedisError::Unexpected("INFO memory names no maxmemory_policy".to_owned()))
    }

    /// One command on the shared connection.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let value = self
            .on_shared(|mut connection| async move { connection.req_packed_command(command).await })
            .await?
            .0;
        let value = value.extract_error().map_err(|error| self.counted(error.into()))?;
        Ok(redis::from_redis_value(value)?)
    }

    /// Commands in one write on the shared connection; each is answered for itself.
    pub(crate) async fn pipeline(&self, commands: &Pipeline) -> Result<Answers, RedisError> {
        let send = |mut connection: MultiplexedConnection| async move {
            connection.req_packed_commands(commands, 0, commands.len()).await
        };
        let (values, generation) = self.on_shared(send).await?;
        if values.len() != commands.len() {
            let text = format!("{} answers to {} commands", values.len(), commands.len());
            return Err(RedisError::Unexpected(text));
        }
        for value in &values {
            if let Value::ServerError(error) = value {
                self.heed(&redis::RedisError::from(error.clone()).into());
            }
        }
        // A server that lost its role says so per command; the connection must go all the same.
        let lost_role = |value: &Value| match value {
            Value::ServerError(error) => breaks_connection(&error.clone().into()),
            _ => false,
        };
        if values.iter().any(lost_role) {
            self.inner.link.doubt(generation);
        }
        Ok(Answers { values, generation })
    }

    /// Many commands, one after the other, on a connection that nobody else uses meanwhile.
    pub(crate) async fn conversation(&self) -> Result<Conversation, RedisError> {
        let connection = self.inner.pool.get().await.map_err(|error| {
            counted(RedisError::Away(format!("no pooled connection to {}: {error}", self.endpoint())))
        })?;
        Ok(Conversation { connection, redis: self.clone() })
    }

    /// A new connection for blocking reads, without a limit of its own on answers.
    pub(crate) async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        self.inner.place.connect(&self.inner.config).await.map_err(|error| self.counted(error))
    }

    /// Where scripts wake those who wait; its subscription is opened when it is first asked for.
    pub(crate) fn bell(&self) -> &Bell {
        let inner = &self.inner;
        inner.bell.get_or_init(|| Bell::start(self.listener()))
    }

    /// How often the Sentinels have called another server master: a connection from before is to be left.
    pub(crate) fn moves(&self) -> u64 {
        self.inner.place.moves()
    }

    /// For subscriptions, each on a connection of its own.
    pub(crate) fn listener(&self) -> Listener {
        Listener { place: self.inner.place.clone(), config: self.inner.config.clone() }
    }

    /// Notes it if the server does not let us do what was asked.
    pub(crate) fn heed(&self, error: &RedisError) {
        self.inner.config.heed(error);
    }

    fn counted(&self, error: RedisError) -> RedisError {
        self.heed(&error);
        counted(error)
    }

    /// Runs one exchange on the shared connection within the limit; what condemns the connection is passed on.
    async fn on_shared<T, F>(
        &self,
        exchange: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<(T, u64), RedisError>
    where
        F: Future<Output = Result<T, redis::RedisError>>,
    {
        let limit = self.command_timeout();
        let began = Instant::now();
        let up = self.inner.link.get(began + limit).await.map_err(counted)?;
        let result = timeout_at(began + limit, exchange(up.connection)).await;
        metrics::histogram!(names::REDIS_CALL_SECONDS).record(began.elapsed().as_secs_f64());
        match result {
            Ok(Ok(value)) => Ok((value, up.generation)),
            Ok(Err(error)) => {
                if breaks_connection(&error) {
                    self.inner.link.doubt(up.generation);
                }
                Err(self.counted(error.into()))
            }
            Err(_) => {
                // The server hangs or the network is cut; a new connection finds out which.
                self.inner.link.doubt(up.generation);
                Err(counted(RedisError::Timeout { limit }))
            }
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.endpoint()).finish()
    }
}

/// How a pool of connections stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStanding {
    /// Connections that somebody uses.
    pub used: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

/// A pooled connection for the time of one conversation.
pub(crate) struct Conversation {
    connection: Object<Pooled>,
    redis: Redis,
}

impl Conversation {
    /// One command; the limit is per command.
    pub(crate) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let limit = self.redis.command_timeout();
        match tokio::time::timeout(limit, command.query_async(&mut self.connection.0)).await {
            Ok(answer) => answer.map_err(|error: redis::RedisError| self.redis.counted(error.into())),
            Err(_) => Err(counted(RedisError::Timeout { limit })),
        }
    }
}

/// Reads the server's id out of `INFO server`.
pub(crate) fn run_id_in(info: &str) -> Result<String, RedisError> {
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    id.map(|id| id.trim().to_owned())
        .ok_or_else(|| RedisError::Unexpected("INFO server names no run_id".to_owned()))
}

pub(super) fn counted(error: RedisError) -> RedisError {
    metrics::counter!(names::REDIS_ERRORS_TOTAL, "kind" => error.kind()).increment(1);
    error
}
