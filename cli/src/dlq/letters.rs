//! Dead letters: read from their topic, and shown.

use super::Marks;
use crate::output::Stop;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;
use synod_infra::kafka::{RawRecord, Readers};
use synod_protocol::{Code, Error, Timestamp};

/// How long Kafka may be silent.
const STALL: Duration = Duration::from_secs(10);
/// What our own headers on a dead letter begin with.
pub(super) const SAID: &str = "__dlq.errors.";

/// A dead letter's place in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// The place that a record was read from when it could not be handled. One record may have left two letters (what a
/// coordinator owes is done again by the next one); they are the same to whoever redrives it.
pub type Source = Letter;

impl FromStr for Letter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Letter, &'static str> {
        let parts = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
        match parts {
            Some((partition, offset)) if partition >= 0 && offset >= 0 => Ok(Letter { partition, offset }),
            _ => Err("a dead letter is named by partition and offset, such as 0:17"),
        }
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// The letter's own place.
pub(super) fn place(record: &RawRecord) -> Letter {
    Letter { partition: record.partition, offset: record.offset }
}

/// Where the record stood that it is a copy of; a letter that does not say stands for itself.
pub fn source(record: &RawRecord) -> Source {
    let number = |name: &str| said(record, name)?.parse::<i64>().ok().filter(|number| *number >= 0);
    let partition = number("partition").and_then(|partition| i32::try_from(partition).ok());
    match (partition, number("offset")) {
        (Some(partition), Some(offset)) => Source { partition, offset },
        _ => place(record),
    }
}

/// What our header of this name says.
pub(super) fn said<'a>(record: &'a RawRecord, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|(header, _)| header.strip_prefix(SAID) == Some(name))?;
    std::str::from_utf8(header.1.as_deref()?).ok()
}

/// The newest of all partitions that are wanted, by time; of two copies of one record the newer.
///
/// # Errors
/// Kafka cannot be read.
pub async fn newest(
    readers: &Readers,
    topic: &str,
    limit: usize,
    wanted: impl Fn(&RawRecord) -> bool,
) -> Result<Vec<RawRecord>, Stop> {
    let count = readers.partitions(topic, STALL).await.map_err(super::unavailable)?;
    let mut all = Vec::new();
    for partition in 0..count.unwrap_or(0).cast_signed() {
        let mut last = VecDeque::with_capacity(limit.min(1_024));
        let keep = |record| {
            if wanted(&record) {
                if last.len() == limit {
                    last.pop_front();
                }
                last.push_back(record);
            }
            ControlFlow::Continue(())
        };
        readers.read_to_end(topic, partition, STALL, keep).await.map_err(super::unavailable)?;
        all.extend(last);
    }
    all.sort_by_key(|record| (record.timestamp_ms, record.partition, record.offset));
    let mut seen = BTreeSet::new();
    let mut newest: Vec<RawRecord> =
        all.into_iter().rev().filter(|record| seen.insert(source(record))).collect();
    newest.truncate(limit);
    newest.reverse();
    Ok(newest)
}

/// One letter; or, by the same name, any record of any topic that is still kept.
///
/// # Errors
/// `not_found`; Kafka cannot be read.
pub async fn find(readers: &Readers, topic: &str, letter: Letter) -> Result<RawRecord, Stop> {
    let Letter { partition, offset } = letter;
    let missing = || {
        let message = format!("there is no record {letter} in {topic}");
        Stop::from(Error::new(Code::NotFound, message))
    };
    let count = readers.partitions(topic, STALL).await.map_err(super::unavailable)?;
    if partition >= count.unwrap_or(0).cast_signed() {
        return Err(missing());
    }
    let kept = readers.watermarks(topic, partition, STALL).await.map_err(super::unavailable)?;
    if !(kept.low..kept.high).contains(&offset) {
        return Err(missing());
    }
    let mut found = None;
    let take = |record: RawRecord| {
        found = Some(record);
        ControlFlow::Break(())
    };
    readers.read_through(topic, partition, offset, offset, STALL, take).await.map_err(super::unavailable)?;
    found.filter(|record| record.offset == offset).ok_or_else(missing)
}

/// A letter on one line.
pub fn summary(record: &RawRecord, marks: &Marks) -> Value {
    let mut error = Map::new();
    let mut ty = Value::Null;
    for (name, value) in &record.headers {
        match name.strip_prefix(SAID) {
            Some(what) => {
                error.insert(what.to_owned(), text(value.as_deref()));
            }
            None if name == "ce_type" => ty = text(value.as_deref()),
            None => {}
        }
    }
    let source = source(record);
    let state = match (marks.closed(source), marks.in_doubt(source)) {
        (Some(mark), _) => mark.said.as_str(),
        (None, Some(_)) => "in doubt",
        (None, None) => "open",
    };
    let since = marks.closed(source).map(|mark| mark.at).or_else(|| marks.in_doubt(source));
    json!({
        "letter": place(record).to_string(),
        "time": record.timestamp_ms.map(|ms| Timestamp::from_millis(ms).to_string()),
        "state": state,
        "since": since.map(|at| at.to_string()),
        "type": ty,
        "key": text(record.key.as_deref()),
        "error": error,
    })
}

/// All of it.
pub fn whole(record: &RawRecord, marks: &Marks) -> Value {
    let mut letter = summary(record, marks);
    let kept = record.headers.iter().filter(|(name, _)| !name.starts_with(SAID));
    // Pairs, since a header may stand twice; that may be why it is here.
    letter["headers"] = kept.map(|(name, value)| json!([name, text(value.as_deref())])).collect();
    letter["value"] = text(record.payload.as_deref());
    letter
}

/// Text as it is, other bytes as `hex:…`.
fn text(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(_)) => {
            let hex: String = bytes.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
            Value::from(format!("hex:{hex}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_named_by_its_place() {
        let check = |text: &str, ok| assert_eq!(text.parse::<Letter>().is_ok(), ok, "{text}");
        check("0:17", true);
        check("0", false);
        check("-1:3", false);
        check("a:b", false);
    }

    fn header(name: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
        (name.to_owned(), Some(value.to_vec()))
    }

    fn letter(headers: Vec<(String, Option<Vec<u8>>)>) -> RawRecord {
        RawRecord {
            topic: "dlq.t".into(),
            partition: 0,
            offset: 3,
            key: Some(b"\xff".to_vec()),
            headers,
            unreadable_headers: 0,
            payload: Some(b"{}".to_vec()),
            timestamp_ms: Some(0),
        }
    }

    #[test]
    fn a_letter_shows_why_and_all_that_it_was() {
        let record = letter(vec![
            header("ce_type", b"x"),
            header("ce_type", b"y"),
            header("__dlq.errors.message", b"ce_type stands twice"),
        ]);
        let shown = whole(&record, &Marks::default());
        assert_eq!(shown["error"]["message"], "ce_type stands twice");
        assert_eq!(shown["headers"], json!([["ce_type", "x"], ["ce_type", "y"]]));
        assert_eq!((&shown["key"], &shown["value"]), (&json!("hex:ff"), &json!("{}")));
        assert_eq!(shown["state"], "open");
    }

    #[test]
    fn two_copies_of_one_record_are_one_source() {
        let said = vec![header("__dlq.errors.partition", b"5"), header("__dlq.errors.offset", b"99")];
        assert_eq!(source(&letter(said)), Source { partition: 5, offset: 99 });
        let check = |partition: &[u8]| {
            let said =
                vec![header("__dlq.errors.partition", partition), header("__dlq.errors.offset", b"99")];
            assert_eq!(source(&letter(said)), Source { partition: 0, offset: 3 });
        };
        check(b"-5");
        check(b"x");
        check(b"99999999999");
        assert_eq!(source(&letter(vec![])), Source { partition: 0, offset: 3 });
    }
}
