//! Lua scripts by their digest, loaded again whenever the server has forgotten them.
//!
//! A server forgets its scripts at a restart, a failover and `SCRIPT FLUSH`. In a pipeline some calls may
//! then have run and others not: exactly those that answered `NOSCRIPT` are sent again. Calls of one batch
//! may so change their order across that moment, which is why every script here is correct in any order.

use super::client::Redis;
use super::error::RedisError;
use redis::{Cmd, Pipeline, ServerErrorKind, Value};
use std::borrow::Cow;

/// How often a batch loads the script before it gives up; only a flush between load and call uses one up.
const LOADS: usize = 5;
/// Calls, and bytes of arguments, that go in one write. More would hold up other users of the shared connection.
const CALLS_PER_WRITE: usize = 256;
const BYTES_PER_WRITE: usize = 4 << 20;

/// A script of `scripts/*.lua`.
pub(crate) struct Script {
    name: &'static str,
    text: Cow<'static, str>,
    sha: String,
}

/// The keys and arguments of one call.
pub(crate) struct Call {
    pub(crate) keys: Vec<String>,
    pub(crate) args: Vec<String>,
}

impl Script {
    /// A script by its file's name and text.
    pub(crate) fn new(name: &'static str, text: impl Into<Cow<'static, str>>) -> Script {
        let text = text.into();
        Script { name, sha: redis::Script::new(&text).get_hash().to_owned(), text }
    }

    /// Runs it once.
    pub(crate) async fn run(&self, redis: &Redis, call: Call) -> Result<Value, RedisError> {
        match self.run_all(redis, &[call]).await.pop() {
            Some(result) => result,
            None => Err(RedisError::Unexpected(format!("script {} gave no answer", self.name))),
        }
    }

    /// Runs it once behind a command that prepares it, both in one write. Where the server has forgotten the script both
    /// are sent again.
    pub(crate) async fn run_after(
        &self,
        redis: &Redis,
        first: Cmd,
        call: &Call,
    ) -> Result<Value, RedisError> {
        let mut both = Pipeline::with_capacity(2);
        both.add_command(first).add_command(self.command(call));
        for _ in 0..LOADS {
            let mut values = redis.pipeline(&both).await?.values.into_iter();
            if let Some(prepared) = values.next() {
                prepared.extract_error()?;
            }
            if let Some(result) = values.next().and_then(|value| self.read(value)) {
                return result;
            }
            redis.query::<String>(redis::cmd("SCRIPT").arg("LOAD").arg(&*self.text)).await?;
        }
        Err(self.forgotten())
    }

    /// Runs it once per call, pipelined; the answers stand in the order of the calls.
    ///
    /// A failure of the connection is the answer of every call that was in the same write: they may or may
    /// not have run.
    pub(crate) async fn run_all(&self, redis: &Redis, calls: &[Call]) -> Vec<Result<Value, RedisError>> {
        let mut results = Vec::with_capacity(calls.len());
        for chunk in writes(calls) {
            let mut answers: Vec<Option<Result<Value, RedisError>>> = chunk.iter().map(|_| None).collect();
            if let Err(error) = self.run_chunk(redis, chunk, &mut answers).await {
                answers.iter_mut().filter(|a| a.is_none()).for_each(|a| *a = Some(Err(error.clone())));
            }
            results.extend(answers.into_iter().map(|a| a.unwrap_or_else(|| Err(self.forgotten()))));
        }
        results
    }

    async fn run_chunk(
        &self,
        redis: &Redis,
        calls: &[Call],
        answers: &mut [Option<Result<Value, RedisError>>],
    ) -> Result<(), RedisError> {
        for _ in 0..LOADS {
            let due: Vec<usize> = (0..calls.len()).filter(|i| answers[*i].is_none()).collect();
            if due.is_empty() {
                return Ok(());
            }
            let mut pipeline = Pipeline::with_capacity(due.len());
            for i in &due {
                pipeline.add_command(self.command(&calls[*i]));
            }
            for (i, value) in due.iter().zip(redis.pipeline(&pipeline).await?.values) {
                answers[*i] = self.read(value);
            }
            if answers.iter().all(Option::is_some) {
                return Ok(());
            }
            redis.query::<String>(redis::cmd("SCRIPT").arg("LOAD").arg(&*self.text)).await?;
        }
        Err(self.forgotten())
    }

    /// The answer, or `None` where the script did not run for want of being loaded.
    fn read(&self, value: Value) -> Option<Result<Value, RedisError>> {
        match value {
            Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => None,
            Value::ServerError(error) => Some(Err(self.failure(error.into()))),
            value => Some(Ok(value)),
        }
    }

    /// Only what the script itself raised is the script's failure; a server that does not serve is unavailable.
    fn failure(&self, error: redis::RedisError) -> RedisError {
        match RedisError::from(error) {
            RedisError::Refused(message) => RedisError::Script { script: self.name, message },
            other => other,
        }
    }

    fn forgotten(&self) -> RedisError {
        RedisError::Script {
            script: self.name,
            message: format!("forgotten by the server {LOADS} times in a row"),
        }
    }

    fn command(&self, call: &Call) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(call.keys.len()).arg(&call.keys).arg(&call.args);
        command
    }
}

/// Cuts a batch into writes; a call that is over the limit alone is a write of its own.
fn writes(calls: &[Call]) -> impl Iterator<Item = &[Call]> {
    let mut rest = calls;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |call: &&Call| {
            bytes += call.args.iter().map(String::len).sum::<usize>();
            bytes <= BYTES_PER_WRITE
        };
        let count = rest.iter().take(CALLS_PER_WRITE).take_while(fits).count().max(1).min(rest.len());
        let (write, after) = rest.split_at(count);
        rest = after;
        (!write.is_empty()).then_some(write)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_by_calls_and_by_bytes() {
        let check = |sizes: &[usize], writes_of: &[usize]| {
            let calls: Vec<Call> =
                sizes.iter().map(|n| Call { keys: vec![], args: vec!["x".repeat(*n)] }).collect();
            assert_eq!(writes(&calls).map(<[Call]>::len).collect::<Vec<_>>(), writes_of);
        };
        check(&[], &[]);
        check(&[1; 3], &[3]);
        check(&[1; 600], &[256, 256, 88]);
        check(&[2 << 20; 5], &[2, 2, 1]);
        check(&[1, 5 << 20, 1], &[1, 1, 1]);
    }
}
