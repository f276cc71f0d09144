//! Subscriptions: which keys or events, from which place on, and what is told of each change.
//!
//! ```text
//!   Pattern   "jobs/*"            which keys; its literal beginning is what an index goes by
//!   Place     1700000000000-0     one change in one range's stream
//!   Position  opaque text         a place in each of the ranges: all that came until then was told
//! ```

pub use super::pattern::Pattern;
pub use super::position::{Mark, Place, Position};

use super::state::{Change, Changed, Op};
use crate::error::Error;
use crate::event_stream::{EventFilter, EventPosition, EventTypes};
use crate::id::{EntityId, Id, Name, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Bytes of a pattern: a longest key, every character of it escaped.
pub const PATTERN_BYTES: usize = 1024;
/// Subscriptions of one workspace.
pub const SUBSCRIPTIONS_LIMIT: u64 = 20_000;
/// Webhooks of one workspace; each is a task of its own.
pub const WEBHOOKS_LIMIT: u64 = 1_000;
/// Bytes of a webhook's URL.
pub const URL_BYTES: usize = 2048;
/// Bytes that a webhook's secret may have, as Standard Webhooks recommends.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key was written.
pub const STATE_CHANGED: &str = "synod.state.changed";
/// A key was removed.
pub const STATE_DELETED: &str = "synod.state.deleted";
/// A key's time was over.
pub const STATE_EXPIRED: &str = "synod.state.expired";
/// A write lost against another one.
pub const STATE_CONFLICTED: &str = "synod.state.conflicted";

/// What a subscription tells of a change, and what `synod.events.v1` carries of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateEvent {
    /// `synod.state.changed`, `.deleted` or `.expired`; `.conflicted` only on `synod.events.v1`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The key.
    pub key: Name,
    /// The value; `null` once the key is gone.
    #[schema(value_type = serde_json::Value)]
    pub value: Json,
    /// The version; of what lost: none.
    pub version: Option<u64>,
    /// When.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
    /// Why it lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl StateEvent {
    /// What is told of this change.
    pub fn of(change: &Change) -> StateEvent {
        let (ty, past) = match &change.what {
            Changed::Written(entry) => {
                return StateEvent {
                    ty: STATE_CHANGED.to_owned(),
                    key: change.key.clone(),
                    value: entry.value.clone(),
                    version: Some(entry.version),
                    updated_at: entry.updated_at,
                    updated_by: entry.updated_by.clone(),
                    reason: None,
                };
            }
            Changed::Gone(past) if past.op == Op::Expire => (STATE_EXPIRED, past),
            Changed::Gone(past) => (STATE_DELETED, past),
            Changed::Lost(past) => (STATE_CONFLICTED, past),
        };
        StateEvent {
            ty: ty.to_owned(),
            key: change.key.clone(),
            value: past.value.clone(),
            version: past.version,
            updated_at: past.updated_at,
            updated_by: past.updated_by.clone(),
            reason: past.reason.clone(),
        }
    }
}

/// One frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Frame {
    /// To go on after it.
    #[schema(value_type = String)]
    pub position: Position,
    /// The change.
    pub event: StateEvent,
}

/// `POST /v1/subscriptions`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeSubscription {
    /// Which keys.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub pattern: Option<Pattern>,
    /// Or which types of events, 1 to 32: each one type, or how types begin and `*`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub events: Option<Vec<EventTypes>>,
    /// Of those only the ones of this entity, or of its children.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub entity: Option<EntityId>,
    /// It will be read as a stream.
    #[serde(default)]
    pub stream: Option<bool>,
    /// It is sent to a URL.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// From which position on; absent: from now on.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub after: Option<Spot>,
}

/// What a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sought {
    /// Changes of keys of shared state.
    Keys {
        /// Which.
        pattern: Pattern,
    },
    /// Events.
    Events {
        /// Which.
        events: EventFilter,
    },
}

/// A position in what a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// In the changes of shared state.
    Keys(Box<Position>),
    /// In the events.
    Events(EventPosition),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Keys(position) => position.fmt(f),
            Spot::Events(position) => position.fmt(f),
        }
    }
}

impl FromStr for Spot {
    type Err = Error;

    /// Each kind begins with a byte of its own, so that none reads as the other.
    fn from_str(text: &str) -> Result<Spot, Error> {
        let events = |_| text.parse().map(Spot::Events);
        text.parse().map(Box::new).map(Spot::Keys).or_else(events).map_err(|_: Error| {
            Error::invalid(
                "this is no position that came with a change or an event; without one it begins now",
            )
            .with_field("/after")
        })
    }
}

impl Serialize for Spot {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spot {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Spot, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a webhook goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://…`.
    pub url: String,
    /// `whsec_` and base64 of 24 to 64 bytes, which the signatures are made with.
    pub secret: String,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Webhook {
    /// The key of its signatures.
    ///
    /// # Errors
    /// `invalid_argument` where the secret is not in the form that Standard Webhooks gives it.
    pub fn key(&self) -> Result<Vec<u8>, Error> {
        let bytes = self
            .secret
            .strip_prefix("whsec_")
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
        let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        let wanted = format!("the secret must be whsec_ and base64 of {least} to {most} bytes");
        bytes.ok_or_else(|| Error::invalid(wanted).with_field("/webhook/secret"))
    }
}

/// How a subscription's changes reach its subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SubscriptionDelivery)]
pub enum Delivery {
    /// It is read.
    Stream,
    /// It is sent.
    Webhook,
}

/// Whether a subscription's changes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// They are.
    Enabled,
    /// Too many deliveries failed in a row: they wait until somebody enables it again.
    Disabled,
}

/// A subscription, as it is shown: never with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// `sub_…`.
    pub subscription_id: Id,
    /// Which keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pattern: Option<Pattern>,
    /// Or which types of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub events: Option<Vec<EventTypes>>,
    /// Of those only the ones of this entity, or of its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub entity: Option<EntityId>,
    /// How.
    pub delivery: Delivery,
    /// Where to, of a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it is served.
    pub status: SubscriptionStatus,
    /// Deliveries that failed one after the other, of a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// Of a stream: where it began. Of a webhook: up to where all was delivered or put with the dead letters.
    #[schema(value_type = String)]
    pub position: Spot,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadDelivery {
    /// `webhook-id`: the same however often it is sent.
    pub message_id: String,
    /// What was sent: the change, or the event.
    #[schema(value_type = serde_json::Value)]
    pub event: Json,
    /// How often it was sent.
    pub attempts: u32,
    /// What came of the last attempt.
    pub reason: String,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// Which workspace's keys somebody wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interest {
    /// Whose.
    pub workspace: Workspace,
    /// Which.
    pub pattern: Pattern,
}

impl Interest {
    /// Whether a change is told to whoever has it: what lost is in the key's history and on `synod.events.v1`, not here,
    /// since nothing changed.
    pub fn covers(&self, change: &Change) -> bool {
        !matches!(change.what, Changed::Lost(_))
            && change.workspace == self.workspace
            && self.pattern.matches(change.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_reads_as_its_own_kind() {
        for spot in [Spot::Keys(Box::default()), Spot::Events(EventPosition(vec![0; 8]))] {
            assert_eq!(spot.to_string().parse::<Spot>().unwrap(), spot);
        }
        assert_eq!("x".parse::<Spot>().unwrap_err().field.as_deref(), Some("/after"));
    }

    #[test]
    fn a_secret_is_in_the_standard_form() {
        let check = |secret: &str, good: bool| {
            let webhook = Webhook { url: "http://h/".into(), secret: secret.into() };
            assert_eq!(webhook.key().is_ok(), good, "{secret}");
            assert!(!format!("{webhook:?}").contains(secret));
        };
        check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true);
        check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false);
        check("whsec_MfKQ9r8GKYqr", false);
        check("whsec_???", false);
    }
}
