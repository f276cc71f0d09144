//! One record of an exported ledger: a line of JSON.
//!
//! ```text
//! {"shard":3,"offset":17,"timestamp_ms":1795248000000,"key":"task_1","value":{"v":1,"kind":"step",…}}
//! ```
//!
//! `value` is the record's own text, byte by byte. What is not one JSON value on one line (somebody else's record)
//! stands as `value_base64`, a key that is not UTF-8 as `key_base64`, so that reading the line gives back exactly
//! the bytes that Kafka has.

use super::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A line, borrowed from the record that it is about or from the text that it was read from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// Which shard.
    pub shard: u32,
    /// The record's offset in it.
    pub offset: u64,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Why a line is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not such a JSON object.
    #[error("not a line of an exported ledger: {0}")]
    Json(#[from] serde_json::Error),
    /// What should be base64 is not.
    #[error("{field}: {why}")]
    Base64 {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: base64::DecodeError,
    },
}

impl<'a> Line<'a> {
    /// The line for a record.
    pub fn of(shard: u32, entry: &'a Entry) -> Line<'a> {
        let value = entry.value.as_deref().and_then(verbatim);
        let key = entry.key.as_deref().map(std::str::from_utf8);
        Line {
            shard,
            offset: entry.offset,
            timestamp_ms: entry.timestamp_ms,
            key: key.and_then(Result::ok).map(str::to_owned),
            key_base64: entry
                .key
                .as_ref()
                .filter(|_| key.is_some_and(|k| k.is_err()))
                .map(|k| STANDARD.encode(k)),
            value,
            value_base64: entry.value.as_ref().filter(|_| value.is_none()).map(|v| STANDARD.encode(v)),
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is not such a JSON object.
    pub fn read(text: &'a [u8]) -> Result<Line<'a>, LineError> {
        Ok(serde_json::from_slice(text)?)
    }

    /// The record that it is about.
    ///
    /// # Errors
    /// What should be base64 is not.
    pub fn entry(&self) -> Result<Entry, LineError> {
        let decoded =
            |field, text: &String| STANDARD.decode(text).map_err(|why| LineError::Base64 { field, why });
        let key = match &self.key_base64 {
            Some(text) => Some(decoded("key_base64", text)?),
            None => self.key.as_ref().map(|key| key.clone().into_bytes()),
        };
        let value = match &self.value_base64 {
            Some(text) => Some(decoded("value_base64", text)?),
            None => self.value.map(|raw| raw.get().as_bytes().to_vec()),
        };
        Ok(Entry { offset: self.offset, timestamp_ms: self.timestamp_ms, key, value })
    }
}

/// The value as it may stand in a line: one JSON value and nothing around it, on one line. `null` is told from no
/// value by not being written plainly.
fn verbatim(value: &[u8]) -> Option<&RawValue> {
    if value == b"null" || value.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return None;
    }
    let raw: &RawValue = serde_json::from_slice(value).ok()?;
    (raw.get().len() == value.len()).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Option<&[u8]>, key: Option<&[u8]>, stands: &str) {
        let entry = Entry {
            offset: 17,
            timestamp_ms: Some(5),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
        };
        let text = serde_json::to_string(&Line::of(3, &entry)).unwrap();
        assert!(text.contains(stands) && !text.contains('\n'), "{text}");
        let line = Line::read(text.as_bytes()).unwrap();
        assert_eq!((line.shard, line.entry().unwrap()), (3, entry), "{text}");
    }

    #[test]
    fn every_record_comes_back_byte_by_byte() {
        check(
            Some(br#"{"v":1, "n":12345678901234567890123}"#),
            Some(b"t"),
            r#""value":{"v":1, "n":12345678901234567890123}"#,
        );
        check(Some(b"hello"), Some(b"t"), r#""value_base64":"aGVsbG8=""#);
        check(Some(b" {}"), None, r#""key":null,"value_base64""#);
        check(Some(b"{\n}"), None, "value_base64");
        check(Some(b"null"), None, "value_base64");
        check(Some(b""), None, r#""value_base64":"""#);
        check(None, Some(b"\xff"), r#""key_base64":"/w==""#);
        check(None, Some(b"null"), r#""key":"null"}"#);
        check(Some(&[b"[".repeat(500), b"]".repeat(500)].concat()), None, "value\":[");
    }

    #[test]
    fn what_is_no_line_of_ours_is_told() {
        assert!(Line::read(b"hello").is_err());
        assert!(Line::read(br#"{"shard":1}"#).is_err());
        assert!(Line::read(br#"{"shard":1,"offset":2,"other":3}"#).is_err());
        let line = Line::read(br#"{"shard":1,"offset":2,"value_base64":"?"}"#).unwrap();
        assert!(matches!(line.entry(), Err(LineError::Base64 { field: "value_base64", .. })));
    }
}
