//! Records on their way out and in, and what became of them.

use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A record to be appended. The key stands for its partition unless one is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: String,
    /// The partition; `None` for murmur2 of the key (any, without a key).
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(Cow<'static, str>, Option<Vec<u8>>)>,
    /// The value; `None` deletes the key in a compacted topic.
    pub payload: Option<Vec<u8>>,
}

impl Outgoing {
    /// An empty record for this topic.
    pub fn to(topic: impl Into<String>) -> Outgoing {
        Outgoing { topic: topic.into(), ..Outgoing::default() }
    }

    /// With this partition.
    pub fn partition(mut self, partition: i32) -> Outgoing {
        self.partition = Some(partition);
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Outgoing {
        self.key = Some(key.into());
        self
    }

    /// With one more header.
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) -> Outgoing {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// With the headers of an envelope.
    pub fn envelope(mut self, envelope: &synod_protocol::Envelope) -> Outgoing {
        let headers = envelope.to_headers();
        self.headers.extend(headers.into_iter().map(|(n, v)| (Cow::Borrowed(n), Some(v.into_bytes()))));
        self
    }

    /// With this value.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Outgoing {
        self.payload = Some(payload.into());
        self
    }

    /// The most this can take on the wire, in bytes: its parts, and the framing of a batch that holds it alone.
    pub fn wire_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(n, v)| header_bytes(n, v.as_deref())).sum();
        wire_bytes(
            self.key.as_deref().map_or(0, <[u8]>::len),
            headers,
            self.payload.as_deref().map_or(0, <[u8]>::len),
        )
    }

    pub(super) fn native_headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        headers
    }
}

/// One header's bytes on the wire: two lengths of at most 5 bytes each.
pub(super) fn header_bytes(name: &str, value: Option<&[u8]>) -> usize {
    name.len() + value.map_or(0, <[u8]>::len) + 10
}

/// 61 bytes of batch header and at most 36 of record framing, as in the message format v2.
pub(super) fn wire_bytes(key: usize, headers: usize, payload: usize) -> usize {
    61 + 36 + key + headers + payload
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Where it stands.
    pub partition: i32,
    /// At which offset; below zero the broker did not say (see [`Acked::known_offset`]).
    pub offset: i64,
}

impl Acked {
    /// The offset, if the acknowledgement carried one. It does not when the broker recognised a repeat
    /// that it no longer remembers the place of.
    pub fn known_offset(self) -> Option<u64> {
        u64::try_from(self.offset).ok()
    }
}

/// What became of a record.
pub type Delivery = Result<Acked, DeliveryError>;

/// No acknowledgement. For the ledger every variant is a doubt, since an earlier try may have landed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It never left this process.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The broker refused its last try.
    #[error("refused: {0}")]
    Refused(String),
    /// It may be in the log or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl DeliveryError {
    pub(super) fn of(error: &KafkaError) -> DeliveryError {
        use RDKafkaErrorCode as E;
        let text = error.to_string();
        match error.rdkafka_error_code() {
            Some(E::PurgeQueue | E::UnknownTopic | E::UnknownPartition) => DeliveryError::NotSent(text),
            Some(
                E::MessageSizeTooLarge
                | E::MessageBatchTooLarge
                | E::InvalidMessage
                | E::InvalidTopic
                | E::UnknownTopicOrPartition
                | E::TopicAuthorizationFailed
                | E::ClusterAuthorizationFailed
                | E::PolicyViolation
                | E::InvalidRecord,
            ) => DeliveryError::Refused(text),
            _ => DeliveryError::Unknown(text),
        }
    }
}

/// A record as it came, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Where from.
    pub topic: String,
    /// Where from.
    pub partition: i32,
    /// Its place. Offsets may jump: compaction, control records, loss; what a jump means is the caller's to say.
    pub offset: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// Headers, in order; doubled ones stand twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Headers left out because their names are not UTF-8.
    pub unreadable_headers: usize,
    /// The value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The broker's time (`LogAppendTime`) or the producer's, in ms since the epoch.
    pub timestamp_ms: Option<i64>,
}

impl RawRecord {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> RawRecord {
        let (headers, unreadable_headers) = message.headers().map(read_headers).unwrap_or_default();
        RawRecord {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            headers,
            unreadable_headers,
            payload: message.payload().map(<[u8]>::to_vec),
            timestamp_ms: message.timestamp().to_millis(),
        }
    }

    /// The headers as [`synod_protocol::Envelope::from_headers`] takes them.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref()))
    }

    /// The envelope.
    ///
    /// # Errors
    /// `invalid_argument`, naming the header.
    pub fn envelope(&self) -> Result<synod_protocol::Envelope, synod_protocol::Error> {
        synod_protocol::Envelope::from_headers(self.header_pairs())
    }
}

type ReadHeaders = (Vec<(String, Option<Vec<u8>>)>, usize);

fn read_headers(headers: &impl Headers) -> ReadHeaders {
    let mut read = Vec::with_capacity(headers.count());
    let mut unreadable = 0;
    for index in 0..headers.count() {
        // rdkafka unwraps the name as UTF-8, and anyone may write a header that is not.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
            Ok(Some(header)) => read.push((header.key.to_owned(), header.value.map(<[u8]>::to_vec))),
            Ok(None) | Err(_) => unreadable += 1,
        }
    }
    (read, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_without_an_offset_is_told_apart() {
        let check = |offset, known| assert_eq!(Acked { partition: 0, offset }.known_offset(), known);
        check(0, Some(0));
        check(42, Some(42));
        check(-1, None);
        check(-1001, None);
    }

    /// Headers as rdkafka reads them, the second with a name that is not UTF-8.
    struct Foreign;

    impl Headers for Foreign {
        fn count(&self) -> usize {
            3
        }
        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            let names: [&[u8]; 3] = [b"a", b"\xff", b"c"];
            let key = std::str::from_utf8(names[index]).unwrap();
            Some(Header { key, value: Some(b"v") })
        }
    }

    #[test]
    fn a_header_that_does_not_read_harms_no_one() {
        let (headers, unreadable) = read_headers(&Foreign);
        let value = Some(b"v".to_vec());
        assert_eq!(headers, [("a".to_owned(), value.clone()), ("c".to_owned(), value)]);
        assert_eq!(unreadable, 1);
    }

    #[test]
    fn what_an_error_says_about_the_log() {
        use RDKafkaErrorCode as E;
        let check = |code, says: fn(String) -> DeliveryError| {
            let error = KafkaError::MessageProduction(code);
            assert_eq!(DeliveryError::of(&error), says(error.to_string()));
        };
        check(E::PurgeQueue, DeliveryError::NotSent);
        check(E::PurgeInflight, DeliveryError::Unknown);
        check(E::MessageTimedOut, DeliveryError::Unknown);
        check(E::Fatal, DeliveryError::Unknown);
        check(E::TopicAuthorizationFailed, DeliveryError::Refused);
    }
}
