//! What could not be handled goes to `dlq.<topic>`: the record as it came, and why, in Kafka 4.4's headers.

use super::record::{Outgoing, RawRecord};
use std::borrow::Cow;
use synod_protocol::topics;

/// What our headers begin with.
const PREFIX: &str = "__dlq.errors.";
/// The most of an error's text that is kept, in bytes.
const MESSAGE_BYTES: usize = 2048;

/// The dead letter for a record: key, value and headers preserved, and `__dlq.errors.*` said once. `deliveries`
/// is how often it was tried.
pub fn dead_letter(record: &RawRecord, group: &str, deliveries: u32, message: &str) -> Outgoing {
    // A record that comes from a dead letter topic itself is told anew, not twice.
    let kept = record.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX));
    let mut out = Outgoing {
        topic: topics::dlq(&record.topic),
        partition: None,
        key: record.key.clone(),
        headers: kept.map(|(n, v)| (Cow::Owned(n.clone()), v.clone())).collect(),
        payload: record.payload.clone(),
    };
    let said = [
        ("topic", record.topic.clone()),
        ("partition", record.partition.to_string()),
        ("offset", record.offset.to_string()),
        ("group", group.to_owned()),
        ("delivery.count", deliveries.to_string()),
        ("message", shortened(message)),
    ];
    let said = said.into_iter().map(|(n, v)| (Cow::Owned(format!("{PREFIX}{n}")), Some(v.into_bytes())));
    out.headers.extend(said);
    out
}

/// The same for a record too large to go there whole: its value stays where it is.
pub(super) fn without_value(mut letter: Outgoing) -> Outgoing {
    let bytes = letter.payload.take().map_or(0, |payload| payload.len());
    let left =
        format!("the value of {bytes} bytes is too large for a dead letter and stands only at its source; ");
    for (name, value) in &mut letter.headers {
        if name == "__dlq.errors.message"
            && let Some(text) = value
        {
            *text = [left.as_bytes(), text].concat();
        }
    }
    letter
}

/// Whether this header says where a record stood.
pub(super) fn is_place(name: &str) -> bool {
    matches!(name.strip_prefix(PREFIX), Some("partition" | "offset"))
}

fn shortened(message: &str) -> String {
    message
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= MESSAGE_BYTES).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_says_where_from_and_why_once() {
        let record = RawRecord {
            topic: "t".into(),
            partition: 3,
            offset: 42,
            key: Some(vec![0xff]),
            headers: vec![("a".into(), None), ("__dlq.errors.message".into(), Some(b"old".to_vec()))],
            unreadable_headers: 0,
            payload: None,
            timestamp_ms: None,
        };
        let letter = dead_letter(&record, "g", 2, &"ж".repeat(5000));
        assert_eq!((letter.topic.as_str(), letter.key.as_deref()), ("dlq.t", Some(&[0xff][..])));
        let names: Vec<&str> = letter.headers.iter().map(|(n, _)| n.as_ref()).collect();
        let errors = ["topic", "partition", "offset", "group", "delivery.count", "message"];
        let expected: Vec<String> = errors.iter().map(|n| format!("__dlq.errors.{n}")).collect();
        assert_eq!(names[0], "a");
        assert_eq!(names[1..], expected);
        let message = letter.headers.last().unwrap().1.as_deref().unwrap();
        assert_eq!(std::str::from_utf8(message).unwrap().len(), 2048);
    }
}
