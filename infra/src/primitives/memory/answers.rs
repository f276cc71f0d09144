//! What the scripts of a memory answer, read.

use super::MemoryPage;
use crate::redis::RedisError;
use redis::Value;
use synod_protocol::primitives::memory::{MemoryEntry, MemoryStatistics, Provenance};
use synod_protocol::{Json, Timestamp};

pub(super) fn words(answer: Value) -> Result<Vec<String>, RedisError> {
    Ok(redis::from_redis_value(answer)?)
}

/// The entry that was written, and whether its key is new.
pub(super) fn written(answer: &[String]) -> Result<(MemoryEntry, bool), RedisError> {
    match answer {
        [what, _, rest @ ..] if what == "made" || what == "changed" => {
            Ok((entry(&mut rest.iter())?, what == "made"))
        }
        other => Err(unexpected(other)),
    }
}

/// The entry that was found, and when.
pub(super) fn found(answer: &[String]) -> Result<Option<(MemoryEntry, Timestamp)>, RedisError> {
    match answer {
        [found, now, rest @ ..] if found == "found" => Ok(Some((entry(&mut rest.iter())?, time(now)?))),
        [none, _] if none == "none" => Ok(None),
        other => Err(unexpected(other)),
    }
}

pub(super) fn page(answer: &[String]) -> Result<MemoryPage, RedisError> {
    let mut words = answer.iter();
    let next = match words.next().map(String::as_str) {
        None => return Err(unexpected(answer)),
        Some("") => None,
        Some(next) => Some(figure(next)?),
    };
    let mut items = Vec::new();
    while words.len() > 0 {
        items.push(entry(&mut words)?);
    }
    Ok(MemoryPage { items, next })
}

pub(super) fn statistics(answer: &[String]) -> Result<MemoryStatistics, RedisError> {
    let [entries, bytes, evicted, hits, misses] = answer else { return Err(unexpected(answer)) };
    Ok(MemoryStatistics {
        entries: figure(entries)?,
        bytes: figure(bytes)?,
        evicted: figure(evicted)?,
        hits: figure(hits)?,
        misses: figure(misses)?,
    })
}

fn entry<'a>(words: &mut impl Iterator<Item = &'a String>) -> Result<MemoryEntry, RedisError> {
    let mut word = || words.next().ok_or_else(|| unexpected(&[]));
    let (key, value) = (word()?, word()?);
    let (created_at, updated_at, expires_at) = (time(word()?)?, time(word()?)?, time(word()?)?);
    let (from, from_key, at) = (word()?, word()?, word()?);
    let provenance = if from.is_empty() {
        None
    } else {
        let (from, key) = (from.parse().map_err(|e| odd(&e))?, from_key.parse().map_err(|e| odd(&e))?);
        Some(Provenance { from, key, at: time(at)? })
    };
    let count = figure(word()?)?;
    Ok(MemoryEntry {
        key: key.parse().map_err(|e| odd(&e))?,
        value: Json::parse(value)
            .map_err(|e| RedisError::Unexpected(format!("a value does not read: {e}")))?,
        tags: (0..count).map(|_| word().cloned()).collect::<Result<_, _>>()?,
        created_at,
        updated_at,
        expires_at,
        provenance,
    })
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn odd(error: &synod_protocol::Error) -> RedisError {
    RedisError::Unexpected(format!("a memory holds {error}"))
}

pub(super) fn figure(word: &str) -> Result<u64, RedisError> {
    word.parse().map_err(|_| unexpected(&[word.to_owned()]))
}

fn time(word: &str) -> Result<Timestamp, RedisError> {
    figure(word).map(|ms| Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)))
}

fn unexpected(words: &[String]) -> RedisError {
    let shown: String = format!("{words:?}").chars().take(200).collect();
    RedisError::Unexpected(format!("a memory answered {shown}"))
}
