//! What the scripts of a queue answer, read.

use super::DeadPage;
use crate::redis::RedisError;
use redis::Value;
use synod_protocol::primitives::queue::{DeadLetter, Leased, Place, QueueStatus, Rates};
use synod_protocol::{Error, Json, Name, Timestamp};

/// Seconds over which rates are counted.
const RATES_OVER_S: f64 = 60.0;

/// What became of an ack, nack or extension.
pub(super) enum Settling {
    /// It was done; what the script adds to that.
    Done(String),
    /// It was not; why.
    Fenced(String),
}

pub(super) fn words(answer: Value) -> Result<Vec<String>, RedisError> {
    Ok(redis::from_redis_value(answer)?)
}

pub(super) fn settling(answer: &[String]) -> Result<Settling, RedisError> {
    match answer {
        [done] if done == "done" => Ok(Settling::Done(String::new())),
        [done, more] if done == "done" => Ok(Settling::Done(more.clone())),
        [fenced, why] if fenced == "fenced" => Ok(Settling::Fenced(why.clone())),
        other => Err(unexpected(other)),
    }
}

pub(super) fn place(word: &str) -> Result<Place, Error> {
    match word {
        "ready" => Ok(Place::Ready),
        "delayed" => Ok(Place::Delayed),
        "dead" => Ok(Place::Dead),
        other => Err(unexpected(&[other.to_owned()]).into()),
    }
}

pub(super) fn time(word: &str) -> Result<Timestamp, RedisError> {
    figure(word).map(|ms| Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// The messages; `None` where there was none.
pub(super) fn lease(answer: &[String]) -> Result<Option<Vec<Leased>>, RedisError> {
    match answer {
        [items, _, rest @ ..] if items == "items" && rest.len() % 7 == 0 => {
            rest.chunks_exact(7).map(leased).collect::<Result<_, _>>().map(Some)
        }
        [again, ..] if again == "again" => Ok(None),
        other => Err(unexpected(other)),
    }
}

fn leased(words: &[String]) -> Result<Leased, RedisError> {
    let [message_id, receipt, delivery, payload, priority, enqueued_at, leased_until] = words else {
        return Err(unexpected(words));
    };
    Ok(Leased {
        message_id: message_id.clone(),
        receipt: receipt.clone(),
        delivery: figure(delivery)?,
        payload: json(payload)?,
        priority: figure(priority)?,
        enqueued_at: time(enqueued_at)?,
        leased_until: time(leased_until)?,
    })
}

/// The place in the line, and in how many ms to come without being woken.
pub(super) fn again(answer: &[String]) -> Result<(String, Option<u64>), RedisError> {
    match answer {
        [_, place, due] if due == "-1" => Ok((place.clone(), None)),
        [_, place, due] => Ok((place.clone(), Some(figure(due)?))),
        other => Err(unexpected(other)),
    }
}

pub(super) fn status(name: &Name, answer: &[String]) -> Result<QueueStatus, RedisError> {
    let [ready, leased, delayed, dead, dropped, bytes, oldest, waiters, enqueued, taken, acked] = answer
    else {
        return Err(unexpected(answer));
    };
    let per_s = |word: &String| figure(word).map(|n| n as f64 / RATES_OVER_S);
    Ok(QueueStatus {
        name: name.clone(),
        ready: figure(ready)?,
        leased: figure(leased)?,
        delayed: figure(delayed)?,
        dead: figure(dead)?,
        dead_dropped: figure(dropped)?,
        bytes: figure(bytes)?,
        oldest_age_ms: if oldest == "-1" { None } else { Some(figure(oldest)?) },
        waiting_consumers: figure(waiters)?,
        rates: Rates {
            enqueued_per_s: per_s(enqueued)?,
            leased_per_s: per_s(taken)?,
            acked_per_s: per_s(acked)?,
        },
    })
}

pub(super) fn dead(answer: &[String]) -> Result<DeadPage, RedisError> {
    let [next, rest @ ..] = answer else { return Err(unexpected(answer)) };
    if rest.len() % 7 != 0 {
        return Err(unexpected(rest));
    }
    let next = if next.is_empty() { None } else { Some(figure(next)?) };
    Ok(DeadPage { items: rest.chunks_exact(7).map(letter).collect::<Result<_, _>>()?, next })
}

fn letter(words: &[String]) -> Result<DeadLetter, RedisError> {
    let [message_id, payload, deliveries, reason, priority, enqueued_at, dead_at] = words else {
        return Err(unexpected(words));
    };
    Ok(DeadLetter {
        message_id: message_id.clone(),
        payload: json(payload)?,
        deliveries: figure(deliveries)?,
        reason: reason.clone(),
        priority: figure(priority)?,
        enqueued_at: time(enqueued_at)?,
        dead_at: time(dead_at)?,
    })
}

fn figure(word: &str) -> Result<u64, RedisError> {
    word.parse().map_err(|_| unexpected(&[word.to_owned()]))
}

fn json(text: &str) -> Result<Json, RedisError> {
    Json::parse(text).map_err(|error| RedisError::Unexpected(format!("a message does not read: {error}")))
}

fn unexpected(words: &[String]) -> RedisError {
    let shown: String = format!("{words:?}").chars().take(200).collect();
    RedisError::Unexpected(format!("a queue answered {shown}"))
}
