//! Answers to commands that named a Redis list as `synod-reply-to`.
//!
//! At least once: whoever waits must bear the same answer twice, and repeat its command when none comes.

use super::blocking::{BlockingReader, Read, seconds};
use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::{Pipeline, Value};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

/// How long a list of replies lasts after the last one was added.
pub const REPLY_KEPT: Duration = Duration::from_secs(60);
/// Replies that a list keeps, the newest ones.
pub const REPLY_LIMIT: u64 = 10_000;

static PUSH: LazyLock<Script> =
    LazyLock::new(|| Script::new("push_reply", include_str!("scripts/push_reply.lua")));

/// One answer for one list.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The list, `synod:reply:<anything>`.
    pub key: String,
    /// What the asker reads.
    pub body: String,
}

/// Appends each answer to its list, pipelined; the results stand in the order of the batch.
///
/// # Errors
/// Per reply: `InvalidKey` for a key outside `synod:reply:`, which is not touched; those of any call.
pub async fn reply(redis: &Redis, batch: Vec<Reply>) -> Vec<Result<(), RedisError>> {
    let mut results: Vec<Result<(), RedisError>> = batch.iter().map(|r| check(&r.key)).collect();
    let call = |r: Reply| Call {
        keys: vec![r.key],
        args: vec![r.body, REPLY_KEPT.as_secs().to_string(), REPLY_LIMIT.to_string()],
    };
    let good = results.iter().zip(batch).filter(|(checked, _)| checked.is_ok());
    let calls: Vec<Call> = good.map(|(_, reply)| call(reply)).collect();
    let pushed = PUSH.run_all(redis, &calls).await;
    for (result, pushed) in results.iter_mut().filter(|r| r.is_ok()).zip(pushed) {
        *result = pushed.map(drop);
    }
    results
}

/// Reads one list of replies, over a blocking connection of its own.
///
/// A process that awaits many answers has one list and one reader, and tells them apart by the answer's
/// causation id.
pub struct ReplyReader {
    reader: BlockingReader,
    key: String,
}

impl ReplyReader {
    /// A reader of this list; it connects with the first `next`.
    ///
    /// # Errors
    /// `InvalidKey` for a key outside `synod:reply:`.
    pub fn new(redis: Redis, key: impl Into<String>) -> Result<ReplyReader, RedisError> {
        let key = key.into();
        check(&key)?;
        Ok(ReplyReader { reader: BlockingReader::new(redis, redis::cmd("PING")), key })
    }

    /// The next answer, waited for up to `wait`; `None` when none came. Cancel-safe.
    ///
    /// # Errors
    /// Those of any call, at once; an answer may be lost with the connection that carried it.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<String>, RedisError> {
        let deadline = Instant::now() + wait;
        loop {
            let key = &self.key;
            let blpop = |piece: Duration| {
                let mut commands = Pipeline::with_capacity(1);
                commands.cmd("BLPOP").arg(key).arg(seconds(piece));
                commands
            };
            match self.reader.next(deadline, blpop).await? {
                None => return Ok(None),
                Some(Read::Opened(_)) => {}
                Some(Read::Answer(Value::Nil)) if Instant::now() >= deadline => return Ok(None),
                Some(Read::Answer(Value::Nil)) => {}
                Some(Read::Answer(answer)) => {
                    let (_, body): (String, String) = redis::from_redis_value(answer)?;
                    return Ok(Some(body));
                }
            }
        }
    }
}

/// One answer from a list that is used once.
///
/// # Errors
/// As [`ReplyReader`].
pub async fn await_reply(redis: &Redis, key: &str, wait: Duration) -> Result<Option<String>, RedisError> {
    ReplyReader::new(redis.clone(), key)?.next(wait).await
}

fn check(key: &str) -> Result<(), RedisError> {
    match key.strip_prefix(keys::REPLY_PREFIX) {
        Some(rest) if !rest.is_empty() && key.len() <= 1024 => Ok(()),
        _ => {
            let shown: String = key.chars().take(80).collect();
            Err(RedisError::InvalidKey(format!(
                "{shown:?}; a list of replies is {}<anything>, at most 1,024 bytes",
                keys::REPLY_PREFIX
            )))
        }
    }
}
