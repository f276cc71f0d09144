//! The envelope: a CloudEvent's attributes and Synod's own headers, everything but key and payload.
//!
//! CloudEvents 1.0.2, Kafka protocol binding, binary content mode: each attribute is a header
//! `ce_<name>`, the data's type is `content-type`, every value is UTF-8 and stands once.
//! Headers that we do not know are none of our business and are ignored.

use crate::codec::ContentType;
use crate::error::Error;
use crate::id::Workspace;
use crate::limits::HEADER_BYTES;
use crate::time::Timestamp;
use crate::topics;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A CloudEvent without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`: 1 to 256 bytes; makes a command idempotent.
    pub id: String,
    /// `ce_source`: who says so, a URI reference.
    pub source: String,
    /// `ce_type`: what it is, such as `synod.task.submit`.
    pub ty: String,
    /// `ce_time`.
    pub time: Option<Timestamp>,
    /// `ce_subject`: the entity.
    pub subject: Option<String>,
    /// `content-type`.
    pub content_type: ContentType,
    /// `synod-workspace`.
    pub workspace: Workspace,
    /// `synod-correlation-id`: the same for one piece of work, end to end.
    pub correlation_id: Option<String>,
    /// `synod-causation-id`: the message that led to this one.
    pub causation_id: Option<String>,
    /// `synod-deadline`.
    pub deadline: Option<Timestamp>,
    /// `synod-epoch`: the issuing owner's.
    pub epoch: Option<u64>,
    /// `synod-position`: where in the ledger it stands.
    pub position: Option<Position>,
    /// `synod-reply-to`.
    pub reply_to: Option<ReplyTo>,
    /// `traceparent`, as it came.
    pub traceparent: Option<String>,
    /// `tracestate`, as it came.
    pub tracestate: Option<String>,
    /// `synod-signature`, not yet checked by anyone.
    pub signature: Option<String>,
}

/// A place in the ledger: `<shard>:<offset>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub shard: u32,
    /// The record's offset.
    pub offset: u64,
}

/// Where an answer goes. Nothing outside its two prefixes can be named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReplyTo {
    /// A topic that begins with `synod.reply.`.
    Kafka(String),
    /// A list whose key begins with `synod:reply:`, kept 60 s.
    Redis(String),
}

impl Envelope {
    /// An envelope with what every CloudEvent must have; the rest is empty or default.
    pub fn new(id: impl Into<String>, source: impl Into<String>, ty: impl Into<String>) -> Envelope {
        Envelope {
            id: id.into(),
            source: source.into(),
            ty: ty.into(),
            time: None,
            subject: None,
            content_type: ContentType::Json,
            workspace: Workspace::default_name(),
            correlation_id: None,
            causation_id: None,
            deadline: None,
            epoch: None,
            position: None,
            reply_to: None,
            traceparent: None,
            tracestate: None,
            signature: None,
        }
    }

    /// The headers of a Kafka record, in a fixed order.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let mut out = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.clone()),
            ("ce_source", self.source.clone()),
            ("ce_type", self.ty.clone()),
            ("content-type", self.content_type.as_str().to_owned()),
            ("synod-workspace", self.workspace.as_str().to_owned()),
        ];
        let mut put = |name, value: Option<String>| out.extend(value.map(|v| (name, v)));
        put("ce_time", self.time.map(|t| t.to_string()));
        put("ce_subject", self.subject.clone());
        put("synod-correlation-id", self.correlation_id.clone());
        put("synod-causation-id", self.causation_id.clone());
        put("synod-deadline", self.deadline.map(|t| t.to_string()));
        put("synod-epoch", self.epoch.map(|e| e.to_string()));
        put("synod-position", self.position.map(|p| p.to_string()));
        put("synod-reply-to", self.reply_to.as_ref().map(|r| r.to_string()));
        put("traceparent", self.traceparent.clone());
        put("tracestate", self.tracestate.clone());
        put("synod-signature", self.signature.clone());
        out
    }

    /// Every header that we know, as Kafka names it, with what it says: for the reference.
    pub fn headers() -> impl Iterator<Item = (&'static str, &'static str)> {
        SLOTS.iter().map(|slot| (slot.kafka, slot.says))
    }

    /// Reads the headers of a Kafka record.
    ///
    /// # Errors
    /// `invalid_argument` naming the header: one that must be there is missing, stands twice, is not
    /// UTF-8, is too long, or does not read as what it should be.
    pub fn from_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Envelope, Error> {
        let mut reading = Reading::default();
        for (name, value) in headers {
            reading.header(name, value)?;
        }
        reading.finish()
    }

    /// Takes one attribute by its CloudEvents name (`id`, `time`, `synodworkspace`), as the HTTP bindings carry them.
    pub(crate) fn from_attributes<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Envelope, Error> {
        let mut reading = Reading::default();
        for (name, value) in attributes {
            if let Some(slot) = Slot::of_attribute(name) {
                reading.put(slot, name, value)?;
            }
        }
        reading.finish()
    }
}

/// One header that we know, with its names in Kafka and as a CloudEvents (extension) attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    kafka: &'static str,
    attribute: &'static str,
    says: &'static str,
}

const SLOTS: [Slot; 17] = [
    Slot { kafka: "ce_specversion", attribute: "specversion", says: "`1.0`" },
    Slot { kafka: "ce_id", attribute: "id", says: "1 to 256 bytes; makes a command idempotent" },
    Slot { kafka: "ce_source", attribute: "source", says: "Who says so, a URI reference" },
    Slot { kafka: "ce_type", attribute: "type", says: "What it is" },
    Slot { kafka: "ce_time", attribute: "time", says: "When it was said" },
    Slot { kafka: "ce_subject", attribute: "subject", says: "The entity" },
    Slot {
        kafka: "content-type",
        attribute: "datacontenttype",
        says: "The encoding of the value: `application/json` or `application/x-bincode`",
    },
    Slot {
        kafka: "synod-workspace",
        attribute: "synodworkspace",
        says: "The workspace; `default` where it is missing",
    },
    Slot {
        kafka: "synod-correlation-id",
        attribute: "synodcorrelationid",
        says: "The same for one piece of work, end to end",
    },
    Slot {
        kafka: "synod-causation-id",
        attribute: "synodcausationid",
        says: "The message that led to this one",
    },
    Slot { kafka: "synod-deadline", attribute: "synoddeadline", says: "When it is no longer wanted" },
    Slot { kafka: "synod-epoch", attribute: "synodepoch", says: "The epoch of the shard's owner" },
    Slot {
        kafka: "synod-position",
        attribute: "synodposition",
        says: "Where in the ledger it stands: `<shard>:<offset>`",
    },
    Slot {
        kafka: "synod-reply-to",
        attribute: "synodreplyto",
        says: "Where the answer goes: `kafka:synod.reply.…` or `redis:synod:reply:…`",
    },
    Slot { kafka: "traceparent", attribute: "traceparent", says: "W3C trace context" },
    Slot { kafka: "tracestate", attribute: "tracestate", says: "W3C trace context" },
    Slot { kafka: "synod-signature", attribute: "synodsignature", says: "A signature of the command" },
];

impl Slot {
    fn of_attribute(name: &str) -> Option<usize> {
        SLOTS.iter().position(|s| s.attribute == name)
    }
}

#[derive(Default)]
struct Reading<'a> {
    values: [Option<&'a str>; SLOTS.len()],
}

impl<'a> Reading<'a> {
    fn header(&mut self, name: &'a str, value: Option<&'a [u8]>) -> Result<(), Error> {
        let Some(slot) = SLOTS.iter().position(|s| s.kafka == name) else {
            return Ok(());
        };
        let Some(bytes) = value else {
            return Err(Error::invalid(format!("header {name} has no value")));
        };
        let text =
            std::str::from_utf8(bytes).map_err(|_| Error::invalid(format!("header {name} is not UTF-8")))?;
        self.put(slot, name, text)
    }

    fn put(&mut self, slot: usize, name: &str, text: &'a str) -> Result<(), Error> {
        if text.len() > HEADER_BYTES {
            return Err(Error::invalid(format!(
                "header {name} has {} bytes, the limit is {HEADER_BYTES}",
                text.len()
            )));
        }
        if self.values[slot].replace(text).is_some() {
            return Err(Error::invalid(format!("header {name} stands twice; each may stand once")));
        }
        Ok(())
    }

    fn required(&self, slot: usize) -> Result<&'a str, Error> {
        match self.values[slot] {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(Error::invalid(format!("header {} is empty", SLOTS[slot].kafka))),
            None => Err(Error::invalid(format!("header {} is missing", SLOTS[slot].kafka))),
        }
    }

    fn optional<T>(
        &self,
        slot: usize,
        read: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.values[slot].map(read).transpose().map_err(|mut error| {
            error.message = format!("header {}: {}", SLOTS[slot].kafka, error.message);
            error
        })
    }

    fn text(&self, slot: usize) -> Option<String> {
        self.values[slot].map(str::to_owned)
    }

    fn finish(self) -> Result<Envelope, Error> {
        let version = self.required(0)?;
        if version != "1.0" {
            return Err(Error::invalid(format!(
                "ce_specversion is {}, only 1.0 is known",
                crate::id::shown(version)
            )));
        }
        let id = self.required(1)?;
        if id.len() > 256 {
            return Err(Error::invalid(format!("ce_id has {} bytes, the limit is 256", id.len())));
        }
        Ok(Envelope {
            id: id.to_owned(),
            source: self.required(2)?.to_owned(),
            ty: self.required(3)?.to_owned(),
            time: self.optional(4, Timestamp::parse)?,
            subject: self.text(5),
            content_type: self.optional(6, ContentType::parse)?.unwrap_or_default(),
            workspace: self.optional(7, str::parse)?.unwrap_or_default(),
            correlation_id: self.text(8),
            causation_id: self.text(9),
            deadline: self.optional(10, Timestamp::parse)?,
            epoch: self.optional(11, |t| t.parse().map_err(|_| Error::invalid("not a whole number")))?,
            position: self.optional(12, str::parse)?,
            reply_to: self.optional(13, str::parse)?,
            traceparent: self.text(14),
            tracestate: self.text(15),
            signature: self.text(16),
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.offset)
    }
}

impl FromStr for Position {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once(':')
            .and_then(|(shard, offset)| {
                Some(Position { shard: shard.parse().ok()?, offset: offset.parse().ok()? })
            })
            .ok_or_else(|| {
                Error::invalid(format!(
                    "{} is not a position; it is <shard>:<offset>",
                    crate::id::shown(text)
                ))
            })
    }
}

impl fmt::Display for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyTo::Kafka(topic) => write!(f, "kafka:{topic}"),
            ReplyTo::Redis(key) => write!(f, "redis:{key}"),
        }
    }
}

impl FromStr for ReplyTo {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let more = |name: &str, prefix: &str| name.len() > prefix.len() && name.starts_with(prefix);
        match text.split_once(':') {
            Some(("kafka", topic)) if more(topic, topics::REPLY_PREFIX) && topics::is_topic_name(topic) => {
                Ok(ReplyTo::Kafka(topic.to_owned()))
            }
            Some(("redis", key))
                if more(key, REPLY_LIST_PREFIX) && key.len() <= 512 && !key.chars().any(char::is_control) =>
            {
                Ok(ReplyTo::Redis(key.to_owned()))
            }
            _ => Err(Error::invalid(format!(
                "{} is no place for a reply; use kafka:synod.reply.<name> or redis:synod:reply:<name>",
                crate::id::shown(text)
            ))),
        }
    }
}

/// What a reply list's key begins with.
pub const REPLY_LIST_PREFIX: &str = "synod:reply:";

impl TryFrom<String> for ReplyTo {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ReplyTo> for String {
    fn from(to: ReplyTo) -> String {
        to.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUST: [(&str, &str); 4] =
        [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/a"), ("ce_type", "synod.task.submit")];

    fn read(extra: &[(&str, &[u8])]) -> Result<Envelope, Error> {
        let must = MUST.iter().map(|(n, v)| (*n, Some(v.as_bytes())));
        Envelope::from_headers(must.chain(extra.iter().map(|(n, v)| (*n, Some(*v)))))
    }

    #[test]
    fn headers_round_trip() {
        let full = Envelope {
            time: Some(Timestamp::from_millis(1_764_000_000_123)),
            subject: Some("задача/鍵".into()),
            content_type: ContentType::Bincode,
            workspace: "w-1".parse().unwrap(),
            correlation_id: Some("c".into()),
            causation_id: Some("d".into()),
            deadline: Some(Timestamp::from_millis(1)),
            epoch: Some(7),
            position: Some(Position { shard: 3, offset: 42 }),
            reply_to: Some(ReplyTo::Kafka("synod.reply.me".into())),
            traceparent: Some("t".into()),
            tracestate: Some("s".into()),
            signature: Some("g".into()),
            ..Envelope::new("юникод-🔑", "/agents/a1", "synod.task.submit")
        };
        let headers = full.to_headers();
        let read = Envelope::from_headers(headers.iter().map(|(n, v)| (*n, Some(v.as_bytes())))).unwrap();
        assert_eq!(read, full);
    }

    #[test]
    fn bad_headers_are_named() {
        let check = |extra: &[(&str, &[u8])], says: &str| {
            let error = read(extra).unwrap_err();
            assert!(error.message.contains(says), "{error} should say {says}");
        };
        check(&[("ce_id", b"2")], "ce_id stands twice");
        check(&[("ce_subject", b"\xff")], "ce_subject is not UTF-8");
        check(&[("ce_time", b"noon")], "header ce_time");
        check(&[("synod-workspace", b"A B")], "header synod-workspace");
        check(&[("synod-reply-to", b"kafka:synod.ledger.v1")], "no place for a reply");
        check(&[("synod-reply-to", b"kafka:synod.reply.")], "no place for a reply");
        check(&[("synod-reply-to", b"kafka:synod.reply.a b")], "no place for a reply");
        check(&[("synod-reply-to", b"redis:synod:inbox:x")], "no place for a reply");
        check(&[("content-type", b"text/plain")], "content-type");
        check(&[("ce_subject", &[b'a'; 5000])], "the limit is 4096");
        for (name, _) in MUST {
            let rest = MUST.iter().filter(|(n, _)| *n != name).map(|(n, v)| (*n, Some(v.as_bytes())));
            let error = Envelope::from_headers(rest).unwrap_err();
            assert!(error.message.contains(&format!("{name} is missing")), "{error}");
        }
        assert!(read(&[("ce_myextension", b"x"), ("other", b"\xff")]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_headers_make_the_reader_panic(
            names in proptest::collection::vec(proptest::sample::select(SLOTS.map(|s| s.kafka).to_vec()), 0..20),
            values in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 20),
        ) {
            let pairs = names.iter().zip(&values).map(|(n, v)| (*n, Some(v.as_slice())));
            let must = MUST.iter().map(|(n, v)| (*n, Some(v.as_bytes())));
            if let Ok(envelope) = Envelope::from_headers(must.chain(pairs)) {
                let headers = envelope.to_headers();
                let again = Envelope::from_headers(headers.iter().map(|(n, v)| (*n, Some(v.as_bytes())))).unwrap();
                proptest::prop_assert_eq!(again, envelope);
            }
        }
    }
}
