//! Changes of shared state as they happen, for any number of followers over one connection.
//!
//! ```text
//!   16 streams --XREAD BLOCK, one connection--> hub --by literal prefix--> a bounded channel per follower
//!                                                                                 |
//!   a follower: catches up from its position to where the hub was when it joined, then takes from the channel;
//!               one whose channel is full, or whose hub lost its connection, is cut off and catches up again
//! ```
//!
//! So a follower sees every change after its position once, in the order of its range, however often it is cut off;
//! what it costs Redis does not depend on how many follow. Nothing waits for a slow one and nothing grows for it.

mod follow;
mod hub;
mod index;

pub use follow::{FollowError, Following, Told};
pub use hub::Feed;

use super::keys;
use super::mirror::{number, place};
use crate::redis::{Call, Redis, RedisError, Script};
use redis::Value;
use std::sync::LazyLock;
use synod_protocol::primitives::changes::{Mark, Place, Position};
use synod_protocol::primitives::state::RANGES;

/// Changes of one range that are asked for at a time.
const PAGE: usize = 100;

static PLACE: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_place", include_str!("../scripts/state_place.lua")));
static CHANGES_AFTER: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_changes_after", include_str!("../scripts/state_changes_after.lua")));

/// Where all ranges are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// After every change there is.
    pub newest: Position,
    /// Before every change that is kept.
    pub oldest: Position,
}

/// Where all ranges are now; `None` while one of them is not served.
///
/// # Errors
/// Those of any call.
pub async fn ends(redis: &Redis) -> Result<Option<Ends>, RedisError> {
    let call = |range| Call {
        keys: vec![
            keys::state_open(range),
            keys::state_era(range),
            keys::state_changes(range),
            keys::state_trimmed(range),
        ],
        args: Vec::new(),
    };
    let calls: Vec<Call> = (0..RANGES).map(call).collect();
    let mut ends = Ends { newest: Position::default(), oldest: Position::default() };
    for (range, answer) in PLACE.run_all(redis, &calls).await.into_iter().enumerate() {
        let words: Vec<String> = redis::from_redis_value(answer?)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["open", era, last, trimmed] => {
                let era = number(era)?;
                ends.newest.0[range] = Mark { era, place: place(last)? };
                ends.oldest.0[range] = Mark { era, place: place(trimmed)? };
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(ends))
}

/// What one look at a range after a mark says.
enum Page {
    /// These changes, in this era; fewer than [`PAGE`] are all there are.
    Changes(u32, Vec<Value>),
    /// Some of what came after it is no longer there.
    Lost,
    /// The range is not served now.
    Closed,
}

async fn page(redis: &Redis, range: u32, mark: Mark, most: usize) -> Result<Page, RedisError> {
    let keys = vec![
        keys::state_open(range),
        keys::state_era(range),
        keys::state_eras(range),
        keys::state_changes(range),
        keys::state_trimmed(range),
    ];
    let args = vec![mark.era.to_string(), mark.place.to_string(), most.to_string()];
    let answer: Vec<Value> = redis::from_redis_value(CHANGES_AFTER.run(redis, Call { keys, args }).await?)?;
    let mut answer = answer.into_iter();
    let word: String = redis::from_redis_value(answer.next().unwrap_or(Value::Nil))?;
    match word.as_str() {
        "ok" => {
            let era: String = redis::from_redis_value(answer.next().unwrap_or(Value::Nil))?;
            let found = redis::from_redis_value(answer.next().unwrap_or(Value::Nil))?;
            Ok(Page::Changes(number(&era)?, found))
        }
        "lost" => Ok(Page::Lost),
        _ => Ok(Page::Closed),
    }
}

/// The place of an element of a stream, without reading the rest.
fn place_of(element: &Value) -> Option<Place> {
    let Value::Array(parts) = element else { return None };
    let Some(Value::BulkString(id)) = parts.first() else { return None };
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// Whose key an element of a stream is about, without reading the rest.
fn about(element: &Value) -> Option<(&str, &str)> {
    let Value::Array(parts) = element else { return None };
    let Some(Value::Array(fields)) = parts.get(1) else { return None };
    let field = |name: &[u8]| {
        fields.chunks_exact(2).find_map(|pair| match pair {
            [Value::BulkString(n), Value::BulkString(bytes)] if n == name => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    };
    Some((field(b"w")?, field(b"k")?))
}
