//! Scripts that run once for a request, however often it is repeated (`Idempotency-Key`).
//!
//! The answer is kept in the same script as the effect, under the hash tag of what was written, so neither is ever there
//! without the other.

use super::client::Redis;
use super::error::RedisError;
use super::script::{Call, Script};
use redis::Value;
use std::time::Duration;

/// How long an answer is kept.
pub const ONCE_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Whose it is: workspace, route and idempotency key, in any form without braces that no other request has.
    pub key: String,
    /// What it says: a digest of its body.
    pub said: String,
}

impl Once {
    /// Where its answer is kept, beside what it writes to.
    pub(crate) fn kept_beside(&self, key: &str) -> String {
        format!("synod:{{{}}}:once:{}", hash_tag(key).unwrap_or_default(), self.key)
    }
}

/// A script that can be asked for once. Its answer is a list whose first word says what happened; `again` means that
/// nothing was done.
pub(crate) struct Repeatable {
    plain: Script,
    once: Script,
}

impl Repeatable {
    /// A script by its file's name and text.
    pub(crate) fn new(name: &'static str, text: &str) -> Repeatable {
        let guarded = format!("local function body()\n{text}\nend\n{}", include_str!("scripts/once.lua"));
        Repeatable { plain: Script::new(name, text.to_owned()), once: Script::new(name, guarded) }
    }

    /// Runs it, or answers as the first time if `once` was asked for before.
    ///
    /// # Errors
    /// `Reused` where another request had that key; those of any call.
    pub(crate) async fn run(
        &self,
        redis: &Redis,
        mut call: Call,
        once: Option<&Once>,
    ) -> Result<Value, RedisError> {
        let Some(once) = once else { return self.plain.run(redis, call).await };
        ask(&mut call, once);
        told(self.once.run(redis, call).await?)
    }

    /// The same behind a command that prepares it, both in one write; that one is done each time.
    pub(crate) async fn run_after(
        &self,
        redis: &Redis,
        first: redis::Cmd,
        mut call: Call,
        once: Option<&Once>,
    ) -> Result<Value, RedisError> {
        let Some(once) = once else { return self.plain.run_after(redis, first, &call).await };
        ask(&mut call, once);
        told(self.once.run_after(redis, first, &call).await?)
    }
}

fn ask(call: &mut Call, once: &Once) {
    let kept = once.kept_beside(call.keys.first().map_or("", String::as_str));
    call.keys.push(kept);
    call.args.extend([once.said.clone(), ONCE_KEPT.as_millis().to_string()]);
}

fn told(answer: Value) -> Result<Value, RedisError> {
    match &answer {
        Value::Array(words) if matches!(words.first(), Some(Value::BulkString(word)) if word == b"once") => {
            Err(RedisError::Reused)
        }
        _ => Ok(answer),
    }
}

/// What Redis Cluster hashes of a key: the text in its first braces, unless it is empty.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}
