//! Reads that wait at the server, on a connection of their own, which may be dropped at any moment.
//!
//! A caller that gives up waiting (a timeout, a lost `select!`) must not give up what the server is about
//! to answer. So the exchange in flight belongs to the reader, not to the call: the next call goes on with
//! the same exchange. The server's side of a wait is cut into pieces of at most [`PIECE`], so a connection
//! that died unnoticed stops taking things within that time.

use super::client::Redis;
use super::error::RedisError;
use super::link::Backoff;
use futures::future::BoxFuture;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, Value};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// The longest that the server is asked to block at a time.
pub(crate) const PIECE: Duration = Duration::from_secs(2);
/// The shortest; 0 would mean for ever.
const SHORTEST_PIECE: Duration = Duration::from_millis(10);

/// What the connection brought.
pub(crate) enum Read {
    /// The answer to the opening command: the connection is new, or the reader asked to look again.
    Opened(Value),
    /// The answer to the blocking command, the first of its pipeline; `Nil` when its piece of waiting was over.
    Answer(Value),
}

/// A connection for blocking commands.
pub(crate) struct BlockingReader {
    redis: Redis,
    /// Sent first on every new connection.
    opening: Cmd,
    connection: Option<MultiplexedConnection>,
    /// How often the master had moved when it was opened.
    moves: u64,
    exchange: Option<BoxFuture<'static, Result<(MultiplexedConnection, Read), RedisError>>>,
    look_again: bool,
    backoff: Backoff,
    not_before: Instant,
}

impl BlockingReader {
    pub(crate) fn new(redis: Redis, opening: Cmd) -> BlockingReader {
        BlockingReader {
            redis,
            opening,
            connection: None,
            moves: 0,
            exchange: None,
            look_again: false,
            backoff: Backoff::default(),
            not_before: Instant::now(),
        }
    }

    /// Has the opening command sent once more before the next blocking one.
    pub(crate) fn look_again(&mut self) {
        self.look_again = true;
    }

    /// Whether the next thing that `next` starts is the opening command.
    pub(crate) fn will_open(&self) -> bool {
        self.exchange.is_none() && (self.connection.is_none() || self.look_again)
    }

    /// The next thing the connection brings until `deadline`, or `None`. `blocking` makes a pipeline from
    /// the time that the server may block; its first command is the one that blocks.
    ///
    /// Dropping the future loses nothing. After an error the next call opens a new connection, after a wait
    /// that grows with each failure.
    pub(crate) async fn next(
        &mut self,
        deadline: Instant,
        blocking: impl FnOnce(Duration) -> Pipeline,
    ) -> Result<Option<Read>, RedisError> {
        let exchange = match &mut self.exchange {
            Some(exchange) => exchange,
            none => {
                if self.moves != self.redis.moves() {
                    (self.connection, self.moves) = (None, self.redis.moves());
                }
                let opening = self.look_again.then_some(&self.opening);
                none.insert(match (self.connection.take(), opening) {
                    (None, _) => Box::pin(open(self.redis.clone(), self.opening.clone(), self.not_before)),
                    (Some(connection), Some(opening)) => {
                        Box::pin(list(connection, opening.clone(), self.redis.command_timeout()))
                    }
                    (Some(connection), None) => {
                        let piece = deadline.saturating_duration_since(Instant::now());
                        let piece = piece.clamp(SHORTEST_PIECE, PIECE);
                        let limit = piece + self.redis.command_timeout();
                        Box::pin(block(connection, blocking(piece), limit))
                    }
                })
            }
        };
        let Ok(result) = timeout_at(deadline, exchange).await else { return Ok(None) };
        self.exchange = None;
        match result {
            Ok((connection, read)) => {
                self.connection = Some(connection);
                self.backoff.reset();
                self.look_again &= !matches!(read, Read::Opened(_));
                Ok(Some(read))
            }
            Err(error) => {
                self.redis.heed(&error);
                self.not_before = Instant::now() + self.backoff.next_wait();
                Err(error)
            }
        }
    }
}

/// The server's timeout argument: seconds with a fraction.
pub(crate) fn seconds(piece: Duration) -> String {
    format!("{:.3}", piece.as_secs_f64())
}

async fn open(
    redis: Redis,
    opening: Cmd,
    not_before: Instant,
) -> Result<(MultiplexedConnection, Read), RedisError> {
    tokio::time::sleep_until(not_before).await;
    let connection = redis.open().await?;
    list(connection, opening, redis.command_timeout()).await
}

async fn list(
    mut connection: MultiplexedConnection,
    opening: Cmd,
    limit: Duration,
) -> Result<(MultiplexedConnection, Read), RedisError> {
    let value = match timeout(limit, connection.req_packed_command(&opening)).await {
        Ok(answer) => answer.and_then(Value::extract_error)?,
        Err(_) => return Err(RedisError::Timeout { limit }),
    };
    Ok((connection, Read::Opened(value)))
}

async fn block(
    mut connection: MultiplexedConnection,
    commands: Pipeline,
    limit: Duration,
) -> Result<(MultiplexedConnection, Read), RedisError> {
    let values = match timeout(limit, connection.req_packed_commands(&commands, 0, commands.len())).await {
        Ok(answers) => answers?,
        Err(_) => return Err(RedisError::Timeout { limit }),
    };
    let first = values.into_iter().next().unwrap_or(Value::Nil);
    Ok((connection, Read::Answer(first.extract_error()?)))
}
