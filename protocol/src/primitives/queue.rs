//! Queues: messages that wait for a consumer, are leased to one for a while, and are gone when it acknowledges them.
//!
//! ```text
//!             delay over             lease                     ack
//!   delayed ------------->  ready  ---------->  leased  ---------------> gone
//!      ^                      ^                   |  |
//!      `---- nack, delay -----+-- nack, time over-'  `-- the last delivery --> dead -- redrive --> ready
//! ```

use super::checked;
use crate::error::{Code, Error};
use crate::id::Name;
use crate::json::Json;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;
use utoipa::ToSchema;

/// Bytes of one payload, as compact JSON.
pub const PAYLOAD_BYTES: usize = 256 * 1024;
/// Messages of one call.
pub const BATCH_MESSAGES: usize = 1_000;
/// Bytes of the payloads of one call.
pub const BATCH_BYTES: usize = 4 << 20;
/// Bytes of the payloads that one lease hands out, or one page of dead letters shows: one message at least, however long.
pub const ANSWER_BYTES: usize = 4 << 20;
/// The longest delay of a message: a year.
pub const DELAY_MS: RangeInclusive<u64> = 0..=31_536_000_000;
/// How long a lease may be: to a day.
pub const VISIBILITY_MS: RangeInclusive<u64> = 10..=86_400_000;
/// Messages of one lease.
pub const LEASE_LIMIT: RangeInclusive<u64> = 1..=100;
/// The longest wait for a message.
pub const WAIT_MS: RangeInclusive<u64> = 0..=60_000;
/// The priorities; the highest is handed out first.
pub const PRIORITIES: RangeInclusive<u64> = 0..=9;
/// Where none is said.
pub const DEFAULT_PRIORITY: u8 = 5;
/// How often a message may be delivered.
pub const MAX_DELIVERIES: RangeInclusive<u64> = 1..=1_000;
/// Where nothing is said.
pub const DEFAULT_MAX_DELIVERIES: u32 = 5;
/// How long a message's id is remembered, whatever became of the message.
pub const DEDUPLICATED_FOR: Duration = Duration::from_secs(24 * 3600);
/// So many ids of one queue are remembered, the newest; besides those of messages that are there.
pub const DEDUPLICATED_IDS: u64 = 1_000_000;
/// Why a message is dead whose last lease ran out.
pub const VISIBILITY_TIMEOUT: &str = "visibility timeout";

/// A message to be put into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// Any JSON, up to 256 KiB without white space.
    #[schema(value_type = serde_json::Value)]
    pub payload: Json,
    /// A name by which it is taken once only, for 24 h; made here where none is given, `msg_` and a UUIDv7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Not handed out before; 0 to 31,536,000,000, 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// 0 to 9, 5 by default; 9 is handed out first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
    /// After so many deliveries it is dead; 1 to 1,000, 5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deliveries: Option<u64>,
}

impl NewMessage {
    /// A message with this payload.
    pub fn new(payload: Json) -> NewMessage {
        NewMessage { payload, ..NewMessage::default() }
    }

    /// The same, checked; `at` is what stands before the field's name in an error's place.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the place.
    pub fn checked(&self, at: &str) -> Result<CheckedMessage, Error> {
        let field = |name: &str| format!("{at}/{name}");
        let payload = checked::value(&field("payload"), &self.payload, PAYLOAD_BYTES)?;
        let id = self.message_id.as_deref().map(|id| checked::name(&field("message_id"), id)).transpose()?;
        let figure = |name: &str, figure: Option<u64>, default: u64, range| {
            let figure = figure.unwrap_or(default);
            checked::within(&field(name), figure, range).map(|()| figure)
        };
        Ok(CheckedMessage {
            payload,
            id,
            delay_ms: figure("delay_ms", self.delay_ms, 0, DELAY_MS)?,
            priority: figure("priority", self.priority, DEFAULT_PRIORITY.into(), PRIORITIES)?,
            max_deliveries: figure(
                "max_deliveries",
                self.max_deliveries,
                DEFAULT_MAX_DELIVERIES.into(),
                MAX_DELIVERIES,
            )?,
        })
    }
}

/// A message whose every part is within its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedMessage {
    /// Compact JSON.
    pub payload: String,
    /// The caller's name for it.
    pub id: Option<Name>,
    /// How long it is not handed out.
    pub delay_ms: u64,
    /// 0 to 9.
    pub priority: u64,
    /// After so many deliveries it is dead.
    pub max_deliveries: u64,
}

/// Several messages at once: all are put into the queue, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessages {
    /// 1 to 1,000, up to 4 MiB of payload in all.
    pub messages: Vec<NewMessage>,
}

/// All of a batch, checked; `at` is what stands before the index of the offending one in an error's place.
///
/// # Errors
/// `invalid_argument` or `payload_too_large`, with the place.
pub fn checked_batch(messages: &[NewMessage], at: &str) -> Result<Vec<CheckedMessage>, Error> {
    if !(1..=BATCH_MESSAGES).contains(&messages.len()) {
        let said = format!("there are {} messages, there must be 1 to {BATCH_MESSAGES}", messages.len());
        return Err(Error::invalid(said).with_field(at));
    }
    let each = |(n, message): (usize, &NewMessage)| message.checked(&format!("{at}/{n}"));
    let all: Vec<CheckedMessage> = messages.iter().enumerate().map(each).collect::<Result<_, _>>()?;
    let bytes: usize = all.iter().map(|message| message.payload.len()).sum();
    if bytes > BATCH_BYTES {
        let said = format!(
            "the payloads have {bytes} bytes in all, the limit is {BATCH_BYTES}; send fewer at a time"
        );
        return Err(Error::new(Code::PayloadTooLarge, said).with_field(at));
    }
    Ok(all)
}

/// What became of a message that was put into a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enqueued {
    /// Its id.
    pub message_id: String,
    /// Whether one with this id was there within 24 h: then this one was not taken.
    pub duplicate: bool,
}

/// The same of several, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnqueuedItems {
    /// One for each.
    pub items: Vec<Enqueued>,
}

/// Asks for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Who asks; a name.
    pub consumer: String,
    /// For how long they are its own; 10 to 86,400,000.
    pub visibility_ms: u64,
    /// 1 to 100 messages, 1 by default; up to 4 MiB of payload in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How long to wait for the first one; 0 to 60,000, 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

impl LeaseRequest {
    /// One message, for so long, without waiting.
    pub fn new(consumer: impl Into<String>, visibility: Duration) -> LeaseRequest {
        let visibility_ms = u64::try_from(visibility.as_millis()).unwrap_or(u64::MAX);
        LeaseRequest { consumer: consumer.into(), visibility_ms, limit: None, wait_ms: None }
    }

    /// Refuses what is out of range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        checked::name("/consumer", &self.consumer)?;
        checked::within("/visibility_ms", self.visibility_ms, VISIBILITY_MS)?;
        checked::within("/limit", self.limit.unwrap_or(1), LEASE_LIMIT)?;
        checked::within("/wait_ms", self.wait_ms.unwrap_or(0), WAIT_MS)
    }
}

/// A message that is its consumer's for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leased {
    /// Its id.
    pub message_id: String,
    /// What it is settled with; another one at each delivery.
    pub receipt: String,
    /// The how manieth delivery this is, from 1.
    pub delivery: u64,
    /// What was put in.
    #[schema(value_type = serde_json::Value)]
    pub payload: Json,
    /// Its priority.
    pub priority: u64,
    /// When it was put in, by Redis' clock.
    pub enqueued_at: Timestamp,
    /// Until when it is this consumer's, by Redis' clock.
    pub leased_until: Timestamp,
}

/// What a lease brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeasedItems {
    /// Empty when nothing came.
    pub items: Vec<Leased>,
}

/// Says that a message is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// As the lease gave it.
    pub receipt: String,
}

/// Says that a message is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// As the lease gave it.
    pub receipt: String,
    /// Not handed out again before; 0 to 31,536,000,000, 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Why, up to 4,096 bytes: what a dead letter says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Nack {
    /// Refuses what is out of range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        checked::within("/delay_ms", self.delay_ms.unwrap_or(0), DELAY_MS)?;
        checked::free_text("/reason", self.reason.as_deref().unwrap_or_default())
    }
}

/// Asks for more time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// As the lease gave it.
    pub receipt: String,
    /// From now; 10 to 86,400,000.
    pub visibility_ms: u64,
}

impl Extend {
    /// Refuses what is out of range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        checked::within("/visibility_ms", self.visibility_ms, VISIBILITY_MS)
    }
}

/// That a message is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acked {
    /// Which.
    pub message_id: String,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It can be leased.
    Ready,
    /// It can be leased when its delay is over.
    Delayed,
    /// It has had its last delivery.
    Dead,
}

/// What became of a message that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nacked {
    /// Which.
    pub message_id: String,
    /// Where it is now.
    pub now: Place,
}

/// What became of a lease that was to last longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Extended {
    /// Which.
    pub message_id: String,
    /// Until when it is its consumer's now.
    pub leased_until: Timestamp,
}

/// Per second, over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// Messages put in, duplicates not counted.
    pub enqueued_per_s: f64,
    /// Deliveries.
    pub leased_per_s: f64,
    /// Messages done.
    pub acked_per_s: f64,
}

/// A queue as it is now. One that was never used is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    /// Its name.
    pub name: Name,
    /// Messages that can be leased.
    pub ready: u64,
    /// Messages that a consumer has.
    pub leased: u64,
    /// Messages whose delay is not over.
    pub delayed: u64,
    /// Messages that have had their last delivery.
    pub dead: u64,
    /// Dead ones that had to make room for newer ones.
    pub dead_dropped: u64,
    /// What the payloads of those ready, leased and delayed have, in bytes.
    pub bytes: u64,
    /// How long the oldest of those ready could have been leased; `null` where none is.
    pub oldest_age_ms: Option<u64>,
    /// Consumers that wait for a message.
    pub waiting_consumers: u64,
    /// Of the last minute.
    pub rates: Rates,
}

/// A message that has had its last delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its id.
    pub message_id: String,
    /// What was put in.
    #[schema(value_type = serde_json::Value)]
    pub payload: Json,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The last nack's reason, or `visibility timeout`.
    pub reason: String,
    /// Its priority.
    pub priority: u64,
    /// When it was put in.
    pub enqueued_at: Timestamp,
    /// When it had had its last delivery.
    pub dead_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut NewMessage)) -> Result<CheckedMessage, Error> {
        let mut new = NewMessage::new(Json::null());
        change(&mut new);
        new.checked("/messages/3")
    }

    #[test]
    fn a_message_is_taken_within_its_limits() {
        let text = |bytes: usize| Json::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
        assert!(message(|m| m.payload = text(PAYLOAD_BYTES)).is_ok());
        let check = |change: &dyn Fn(&mut NewMessage), code, field: &str| {
            let error = message(|m| change(m)).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (code, Some(field)), "{error}");
        };
        check(&|m| m.payload = text(PAYLOAD_BYTES + 1), Code::PayloadTooLarge, "/messages/3/payload");
        check(&|m| m.priority = Some(10), Code::InvalidArgument, "/messages/3/priority");
        check(&|m| m.delay_ms = Some(u64::MAX), Code::InvalidArgument, "/messages/3/delay_ms");
        check(&|m| m.max_deliveries = Some(0), Code::InvalidArgument, "/messages/3/max_deliveries");
        for id in ["", "a\nb", "a\0", "..", &"x".repeat(513)] {
            check(&|m| m.message_id = Some(id.to_owned()), Code::InvalidArgument, "/messages/3/message_id");
        }
        for id in ["{a}", "a/b", "é *%", &"x".repeat(512)] {
            assert!(message(|m| m.message_id = Some(id.to_owned())).is_ok(), "{id}");
        }
    }

    #[test]
    fn a_lease_is_taken_within_its_limits() {
        let check = |visibility_ms, limit, wait_ms, field: Option<&str>| {
            let asked = LeaseRequest { consumer: "c".into(), visibility_ms, limit, wait_ms };
            assert_eq!(asked.check().err().and_then(|e| e.field).as_deref(), field, "{asked:?}");
        };
        check(10, None, None, None);
        check(86_400_000, Some(100), Some(60_000), None);
        check(0, None, None, Some("/visibility_ms"));
        check(86_400_001, None, None, Some("/visibility_ms"));
        check(u64::MAX, None, None, Some("/visibility_ms"));
        check(10, Some(0), None, Some("/limit"));
        check(10, Some(101), None, Some("/limit"));
        check(10, Some(1), Some(60_001), Some("/wait_ms"));
    }

    #[test]
    fn a_batch_is_bounded_by_number_and_bytes() {
        let of = |count: usize, bytes: usize| {
            let payload = Json::parse(&format!("\"{}\"", "x".repeat(bytes))).unwrap();
            checked_batch(&vec![NewMessage::new(payload); count], "/messages").map_err(|e| e.code)
        };
        assert_eq!(of(0, 1).unwrap_err(), Code::InvalidArgument);
        assert_eq!(of(BATCH_MESSAGES, 1).unwrap().len(), BATCH_MESSAGES);
        assert_eq!(of(BATCH_MESSAGES + 1, 1).unwrap_err(), Code::InvalidArgument);
        assert_eq!(of(17, 255 * 1024).unwrap_err(), Code::PayloadTooLarge);
    }
}
