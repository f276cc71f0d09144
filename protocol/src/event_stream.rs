//! Events as they are told while they happen: which ones, from which position on, and what is told of each.
//!
//! ```text
//!   EventTypes     "synod.approval.*"   one type, or all that begin so
//!   EventPosition  opaque text          a place in each partition of the events topic: all before it was told
//! ```

use crate::envelope::Envelope;
use crate::error::Error;
use crate::id::{EntityId, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Bytes of an [`EventTypes`].
pub const TYPES_BYTES: usize = 256;
/// How many [`EventTypes`] one webhook may have.
pub const TYPES_LIMIT: usize = 32;
/// Partitions of a position at most.
const PARTITIONS_LIMIT: usize = 4096;
/// The first byte of a position; one of shared state has another.
const POSITION_FORM: u8 = 2;

/// Which types of events: one, such as `synod.task.completed`, or all that begin as the text before a `*` at its end does,
/// such as `synod.approval.*`. 1 to 256 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventTypes(String);

impl EventTypes {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this type is meant.
    pub fn matches(&self, ty: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => ty.starts_with(beginning),
            None => ty == self.0,
        }
    }
}

impl FromStr for EventTypes {
    type Err = Error;

    fn from_str(text: &str) -> Result<EventTypes, Error> {
        let refused = |why: String| {
            let wanted = "give one type, such as synod.approval.required, or how types begin and *, such as synod.approval.*";
            Err(Error::invalid(format!("{why}; {wanted}")))
        };
        if text.is_empty() || text.len() > TYPES_BYTES {
            return refused(format!(
                "a type of events has 1 to {TYPES_BYTES} bytes, this one {}",
                text.len()
            ));
        }
        if text.chars().any(char::is_control) {
            return refused("a type of events has no control characters".to_owned());
        }
        if text.strip_suffix('*').unwrap_or(text).contains('*') {
            return refused(format!("{text:?} has a * before its end"));
        }
        Ok(EventTypes(text.to_owned()))
    }
}

impl TryFrom<String> for EventTypes {
    type Error = Error;

    fn try_from(text: String) -> Result<EventTypes, Error> {
        text.parse()
    }
}

impl From<EventTypes> for String {
    fn from(types: EventTypes) -> String {
        types.0
    }
}

impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which events somebody wants to hear of, within a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Those of any of these types; none: of every type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<EventTypes>,
    /// Only those of this entity, or of its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityId>,
}

impl EventFilter {
    /// Whether an event of this type about this subject is meant.
    pub fn covers(&self, ty: &str, subject: Option<&str>) -> bool {
        let of_type = self.types.is_empty() || self.types.iter().any(|types| types.matches(ty));
        of_type && self.entity.as_ref().is_none_or(|id| subject.is_some_and(|subject| is_about(subject, id)))
    }
}

fn is_about(subject: &str, id: &EntityId) -> bool {
    subject.strip_prefix(id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// A place in every partition of the events topic: the offset that comes next. Opaque to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventPosition(pub Vec<u64>);

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![POSITION_FORM];
        for offset in &self.0 {
            // LEB128: seven bits a byte, the least first.
            let mut rest = *offset;
            while rest >= 0x80 {
                bytes.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for EventPosition {
    type Err = Error;

    fn from_str(text: &str) -> Result<EventPosition, Error> {
        let foreign =
            || Error::invalid("this position is none that came with an event; without one it begins now");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let (form, rest) = bytes.split_first().ok_or_else(foreign)?;
        let (mut offsets, mut offset, mut shift) = (Vec::new(), 0u64, 0u32);
        for byte in rest {
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (bits << shift) >> shift != bits {
                return Err(foreign());
            }
            offset |= bits << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                offsets.push(offset);
                (offset, shift) = (0, 0);
            }
        }
        if *form != POSITION_FORM || shift != 0 || offsets.is_empty() || offsets.len() > PARTITIONS_LIMIT {
            return Err(foreign());
        }
        Ok(EventPosition(offsets))
    }
}

impl Serialize for EventPosition {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventPosition {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<EventPosition, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An event as history, streams and webhooks show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToldEvent {
    /// `<shard>-<offset>-<index>`, the same however often it is published.
    pub id: String,
    /// Such as `synod.task.completed`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The entity.
    pub entity: String,
    /// When, by the shard's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Its place in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The piece of work that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The command that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// What happened.
    #[schema(value_type = serde_json::Value)]
    pub data: Json,
}

impl ToldEvent {
    /// What a record of the events topic tells; `None` where its value is no JSON.
    pub fn of(envelope: Envelope, payload: &[u8]) -> Option<(Workspace, ToldEvent)> {
        let data = Json::parse(std::str::from_utf8(payload).ok()?).ok()?;
        let told = ToldEvent {
            id: envelope.id,
            ty: envelope.ty,
            entity: envelope.subject.unwrap_or_default(),
            time: envelope.time,
            position: envelope.position.map(|position| position.to_string()),
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            data,
        };
        Some((envelope.workspace, told))
    }
}

/// One frame of a stream of events over a WebSocket. One without an event only moves the position; in the last one of a
/// reader that was too slow `lagged` is true: everything after its position is still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventFrame {
    /// To go on after it.
    #[schema(value_type = String)]
    pub position: EventPosition,
    /// The event.
    pub event: Option<ToldEvent>,
    /// The reader was too slow, and this is the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lagged: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_comes_back_as_it_went(offsets in proptest::collection::vec(any::<u64>(), 1..70)) {
            let position = EventPosition(offsets);
            prop_assert_eq!(position.to_string().parse::<EventPosition>().unwrap(), position);
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ten = [[0xff; 9].as_slice(), &[0x02]].concat();
        for bad in [
            String::new(),
            "now".to_owned(),
            "3:17".to_owned(),
            text(&[2]),
            text(&[1, 7]),
            text(&[2, 0x80]),
            text(&[[2].as_slice(), &ten].concat()),
            crate::primitives::changes::Position::default().to_string(),
        ] {
            assert!(bad.parse::<EventPosition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn types_are_one_or_all_that_begin_so() {
        let check = |types: &str, ty: &str, meant: bool| {
            assert_eq!(types.parse::<EventTypes>().unwrap().matches(ty), meant, "{types} {ty}");
        };
        check("synod.approval.required", "synod.approval.required", true);
        check("synod.approval.required", "synod.approval.required2", false);
        check("synod.approval.*", "synod.approval.granted", true);
        check("synod.approval.*", "synod.approvals", false);
        check("synod.approval.", "synod.approval.granted", false);
        check("*", "anything", true);
        for bad in ["", "a*b", "**", "a\n", &"x".repeat(257)] {
            assert!(bad.parse::<EventTypes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entity_is_itself_and_its_children() {
        let filter = EventFilter { types: Vec::new(), entity: Some("wf".parse().unwrap()) };
        let check = |subject: Option<&str>, meant: bool| assert_eq!(filter.covers("t", subject), meant);
        check(Some("wf"), true);
        check(Some("wf:step"), true);
        check(Some("wf2"), false);
        check(Some("w"), false);
        check(None, false);
    }
}
