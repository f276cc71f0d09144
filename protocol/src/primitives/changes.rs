//! Subscriptions: which keys, from which place on, and what is told of each change.
//!
//! ```text
//!   Pattern   "jobs/*"            which keys; its literal beginning is what an index goes by
//!   Place     1700000000000-0     one change in one range's stream
//!   Position  opaque text         a place in each of the ranges: all that came until then was told
//! ```

use super::state::{Change, Changed, Op, RANGES};
use crate::error::Error;
use crate::id::{Id, Name, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

/// Which keys: `*` stands for any run of characters, none included, `?` for one, `\` takes what follows it as it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Literal(char),
    One,
    Run,
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a key is meant. Takes time in proportion to the key's length times the pattern's, at most.
    pub fn matches(&self, key: &str) -> bool {
        // The well-known walk with one place to go back to: a later `*` makes the earlier ones settled.
        let (mut part, mut rest) = (0, key.chars());
        let mut back: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = rest.clone();
            match (self.parts.get(part), rest.next()) {
                (Some(Part::Run), _) => {
                    back = Some((part, here.clone()));
                    (part, rest) = (part + 1, here);
                }
                (Some(Part::One), Some(_)) => part += 1,
                (Some(Part::Literal(wanted)), Some(found)) if *wanted == found => part += 1,
                (None, None) => return true,
                _ => {
                    let Some((run, mut from)) = back.take() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    back = Some((run, from.clone()));
                    (part, rest) = (run + 1, from);
                }
            }
        }
    }

    /// What every key that is meant begins with.
    pub fn literal_prefix(&self) -> String {
        let literal = |part: &Part| match part {
            Part::Literal(c) => Some(*c),
            Part::One | Part::Run => None,
        };
        self.parts.iter().map_while(literal).collect()
    }

    /// The pattern that means just this key.
    pub fn exactly(key: &str) -> Pattern {
        let parts = key.chars().map(Part::Literal).collect();
        let escaped = |c: char| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c]);
        Pattern { text: key.chars().flat_map(escaped).collect(), parts }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pattern, Error> {
        let refused = |why: &str| Err(Error::invalid(format!("the pattern {why}")).with_field("/pattern"));
        if text.is_empty() || text.len() > PATTERN_BYTES {
            return refused(&format!("has {} bytes, it must have 1 to {PATTERN_BYTES}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return refused("holds a control character, which no key does");
        }
        let (mut parts, mut chars) = (Vec::new(), text.chars());
        while let Some(c) = chars.next() {
            match c {
                // A run of runs is one.
                '*' if parts.last() == Some(&Part::Run) => {}
                '*' => parts.push(Part::Run),
                '?' => parts.push(Part::One),
                '\\' => match chars.next() {
                    Some(plain) => parts.push(Part::Literal(plain)),
                    None => return refused("ends in a backslash that escapes nothing"),
                },
                plain => parts.push(Part::Literal(plain)),
            }
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Pattern, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The place of a change in its range's stream: a Redis stream id. The first is greater than `Place::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Redis' time when it was written, in ms.
    pub ms: u64,
    /// Counts those of one millisecond.
    pub n: u64,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place, Error> {
        let parts = text.split_once('-').and_then(|(ms, n)| Some((ms.parse().ok()?, n.parse().ok()?)));
        let (ms, n) = parts.ok_or_else(|| Error::invalid(format!("{text:?} is no place in a stream")))?;
        Ok(Place { ms, n })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// A place in one range, and in which life of its stream: another `era` means that Redis lost what it held meanwhile, so
/// that nobody can say what came between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Which life of the stream.
    pub era: u32,
    /// All up to here, inclusive.
    pub place: Place,
}

/// A mark in each of the ranges. Opaque to clients: base64url of what is in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position(pub [Mark; RANGES as usize]);

const POSITION_FORM: u8 = 1;
const MARK_BYTES: usize = 4 + 8 + 4;

impl Position {
    /// The mark of a range; a range that there is none of has the default one.
    pub fn mark(&self, range: u32) -> Mark {
        self.0.get(range as usize).copied().unwrap_or_default()
    }

    /// With this place in a range.
    pub fn advance(&mut self, range: u32, place: Place) {
        if let Some(mark) = self.0.get_mut(range as usize) {
            mark.place = mark.place.max(place);
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![POSITION_FORM];
        for mark in &self.0 {
            bytes.extend(mark.era.to_be_bytes());
            bytes.extend(mark.place.ms.to_be_bytes());
            // No millisecond has as many changes as this can count.
            bytes.extend(u32::try_from(mark.place.n).unwrap_or(u32::MAX).to_be_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Position, Error> {
        let foreign = || Error::invalid("this position is none that was given here").with_field("/after");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let (form, marks) = bytes.split_first().ok_or_else(foreign)?;
        if *form != POSITION_FORM || marks.len() != MARK_BYTES * RANGES as usize {
            return Err(foreign());
        }
        let mut position = Position::default();
        for (mark, bytes) in position.0.iter_mut().zip(marks.chunks_exact(MARK_BYTES)) {
            let number =
                |from: usize, to: usize| bytes[from..to].iter().fold(0, |n, b| n << 8 | u64::from(*b));
            mark.era = u32::try_from(number(0, 4)).map_err(|_| foreign())?;
            mark.place = Place { ms: number(4, 12), n: number(12, 16) };
        }
        Ok(position)
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Position, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

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
    #[schema(value_type = String)]
    pub pattern: Pattern,
    /// It will be read as a stream.
    #[serde(default)]
    pub stream: Option<bool>,
    /// It is sent to a URL.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// From which position on; absent: from now on.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub after: Option<Position>,
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
    #[schema(value_type = String)]
    pub pattern: Pattern,
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
    pub position: Position,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadDelivery {
    /// `webhook-id`: the same however often it is sent.
    pub message_id: String,
    /// The change.
    pub event: StateEvent,
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
    use proptest::prelude::*;

    #[test]
    fn a_pattern_means_what_it_says() {
        let check = |pattern: &str, key: &str, meant: bool, prefix: &str| {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(key), meant, "{pattern} {key}");
            assert_eq!(pattern.literal_prefix(), prefix, "{pattern}");
        };
        check("a", "a", true, "a");
        check("a", "ab", false, "a");
        check("a*", "a", true, "a");
        check("a*b*c", "a-b-b-c", true, "a");
        check("a*b*c", "a-c-b", false, "a");
        check("?", "ü", true, "");
        check("?", "ab", false, "");
        check("jobs/?/*", "jobs/1/x", true, "jobs/");
        check(r"a\*b", "a*b", true, "a*b");
        check(r"a\*b", "axb", false, "a*b");
        check(r"\\*", r"\x", true, r"\");
        check("**", "anything/at{all}", true, "");
        check("*aab", "aaaaaaab", true, "");
        for bad in ["", "a\\", "a\nb"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(PATTERN_BYTES).parse::<Pattern>().is_ok());
        assert!("x".repeat(PATTERN_BYTES + 1).parse::<Pattern>().is_err());
    }

    /// The plainest way to say the same.
    fn plainly(pattern: &[Part], key: &[char]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((Part::Run, rest)), _) => {
                plainly(rest, key) || key.split_first().is_some_and(|(_, less)| plainly(pattern, less))
            }
            (Some((Part::One, rest)), Some((_, less))) => plainly(rest, less),
            (Some((Part::Literal(c), rest)), Some((k, less))) => c == k && plainly(rest, less),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_plain_definition_says(text in r"[ab?*ü]{1,8}", key in "[abü]{0,10}") {
            let pattern: Pattern = text.parse().unwrap();
            let chars: Vec<char> = key.chars().collect();
            prop_assert_eq!(pattern.matches(&key), plainly(&pattern.parts, &chars));
            if pattern.matches(&key) {
                prop_assert!(key.starts_with(&pattern.literal_prefix()));
            }
        }

        #[test]
        fn an_exact_pattern_means_its_key_alone(key in r"[ab?*\\]{1,6}", other in r"[ab?*\\]{1,6}") {
            let pattern: Pattern = Pattern::exactly(&key).as_str().parse().unwrap();
            prop_assert!(pattern.matches(&key));
            prop_assert_eq!(pattern.matches(&other), key == other);
            prop_assert_eq!(pattern.literal_prefix(), key);
        }

        #[test]
        fn a_position_comes_back_as_it_went(marks in proptest::collection::vec((any::<u32>(), any::<u64>(), any::<u32>()), 16)) {
            let mut position = Position::default();
            for (mark, (era, ms, n)) in position.0.iter_mut().zip(marks) {
                *mark = Mark { era, place: Place { ms, n: u64::from(n) } };
            }
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let good = Position::default().to_string();
        for bad in [
            "",
            "0",
            "not base64!",
            &good[..good.len() - 4],
            &format!("{good}AAAA"),
            &good.replacen('A', "B", 1),
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
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
