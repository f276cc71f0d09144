//! CloudEvents over HTTP, and the structured form that Redis lists carry.
//!
//! CloudEvents 1.0.2, HTTP protocol binding and JSON format: binary mode has the attributes in `ce-…`
//! headers (percent-encoded UTF-8) and the data as the body; structured mode is one JSON object; a batch
//! is an array of those. Synod's headers are named like Kafka's in binary mode and lose their hyphens as
//! extension attributes in structured mode.

use crate::codec::ContentType;
use crate::command::Command;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::json::Json;
use crate::limits::{self, Limits};
use serde_json::Value;
use std::collections::BTreeMap;

/// A CloudEvent with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its attributes.
    pub envelope: Envelope,
    /// Its data, encoded as `envelope.content_type` says.
    pub data: Vec<u8>,
}

/// One element of a batch: the message, or its id as far as it could be read, and why it is refused.
pub type BatchElement = Result<Message, (String, Error)>;

/// Media type of one structured event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// Commands in one batch.
pub const BATCH_LIMIT: usize = 1_000;

impl Message {
    /// Reads binary mode from lower-case header names and the body.
    ///
    /// # Errors
    /// `invalid_argument`, naming the header.
    pub fn from_binary<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: Vec<u8>,
    ) -> Result<Message, Error> {
        let mut attributes: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            let attribute = match name {
                "content-type" => "datacontenttype".to_owned(),
                "traceparent" | "tracestate" => name.to_owned(),
                _ => match name.strip_prefix("ce-") {
                    Some(attribute) => attribute.to_owned(),
                    None if name.starts_with("synod-") => name.replace('-', ""),
                    None => continue,
                },
            };
            attributes.push((attribute, percent_decoded(name, value)?));
        }
        let envelope = Envelope::from_attributes(attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
        Ok(Message { envelope, data: body })
    }

    /// Reads one structured event.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`.
    pub fn from_structured(text: &[u8], limits: &Limits) -> Result<Message, Error> {
        limits::check_nesting(text, limits.nesting + 1)?;
        let object: BTreeMap<String, Json> = serde_json::from_slice(text)
            .map_err(|e| Error::invalid(format!("the body is not a CloudEvent in JSON: {e}")))?;
        Message::from_object(object, limits)
    }

    /// Reads a batch; each element succeeds or fails by itself.
    ///
    /// # Errors
    /// The body is no array of objects, or has more than [`BATCH_LIMIT`].
    pub fn from_batch(text: &[u8], limits: &Limits) -> Result<Vec<BatchElement>, Error> {
        limits::check_nesting(text, limits.nesting + 2)?;
        let objects: Vec<BTreeMap<String, Json>> = serde_json::from_slice(text)
            .map_err(|e| Error::invalid(format!("the body is not an array of CloudEvents in JSON: {e}")))?;
        if objects.len() > BATCH_LIMIT {
            return Err(Error::new(
                crate::Code::PayloadTooLarge,
                format!("the batch has {} commands, the limit is {BATCH_LIMIT}", objects.len()),
            ));
        }
        let id_of = |o: &BTreeMap<String, Json>| o.get("id").and_then(|id| id.to().ok()).unwrap_or_default();
        Ok(objects
            .into_iter()
            .map(|object| {
                let id = id_of(&object);
                Message::from_object(object, limits).map_err(|error| (id, error))
            })
            .collect())
    }

    fn from_object(mut object: BTreeMap<String, Json>, limits: &Limits) -> Result<Message, Error> {
        let data = object.remove("data");
        let base64 = object.remove("data_base64");
        let mut attributes = Vec::with_capacity(object.len());
        for (name, value) in object {
            let text = match value.to::<Value>() {
                Ok(Value::Null) => continue,
                Ok(Value::String(text)) => text,
                Ok(Value::Number(number)) => number.to_string(),
                Ok(Value::Bool(flag)) => flag.to_string(),
                _ => {
                    return Err(Error::invalid(format!(
                        "attribute {name} must be a string, a number or a boolean"
                    ))
                    .with_field(format!("/{name}")));
                }
            };
            attributes.push((name, text));
        }
        let envelope = Envelope::from_attributes(attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
        let data = match (data, base64) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("a CloudEvent has data or data_base64, not both"));
            }
            (None, Some(text)) => base64_decoded(&text)?,
            (Some(data), None) if envelope.content_type == ContentType::Json => {
                data.as_str().as_bytes().to_vec()
            }
            (Some(_), None) => {
                return Err(
                    Error::invalid("bincode travels as data_base64 in structured mode").with_field("/data")
                );
            }
            (None, None) => Vec::new(),
        };
        limits.check_size(data.len())?;
        Ok(Message { envelope, data })
    }

    /// The command in it.
    ///
    /// # Errors
    /// As [`Command::decode`].
    pub fn command(&self, limits: &Limits) -> Result<Command, Error> {
        Command::decode(&self.envelope.ty, self.envelope.content_type, &self.data, limits)
    }

    /// One structured event with this JSON as its data.
    pub fn structured(envelope: &Envelope, data: &Json) -> String {
        let mut out = String::with_capacity(256 + data.as_str().len());
        out.push('{');
        for (name, value) in envelope.to_headers() {
            let attribute = match name {
                "content-type" => "datacontenttype".to_owned(),
                name => name.strip_prefix("ce_").map_or_else(|| name.replace('-', ""), str::to_owned),
            };
            out.push_str(&format!("\"{attribute}\":{},", Value::String(value)));
        }
        out.push_str("\"data\":");
        out.push_str(data.as_str());
        out.push('}');
        out
    }
}

fn percent_decoded(name: &str, value: &str) -> Result<String, Error> {
    if !value.contains('%') || !name.starts_with("ce-") {
        return Ok(value.to_owned());
    }
    let bytes = value.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| Error::invalid(format!("header {name} is not percent-encoded UTF-8")))
}

fn base64_decoded(text: &Json) -> Result<Vec<u8>, Error> {
    let refused =
        || Error::invalid("data_base64 is not base64 (RFC 4648, with padding)").with_field("/data_base64");
    let text: String = text.to().map_err(|_| refused())?;
    let text = text.as_bytes();
    let body_len = text.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    if !text.len().is_multiple_of(4) || text.len() - body_len > 2 {
        return Err(refused());
    }
    let (mut out, mut held, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0u32);
    for byte in &text[..body_len] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(refused()),
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    if held & ((1 << bits) - 1) != 0 {
        return Err(refused());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::ReplyTo;

    #[test]
    fn binary_mode_is_read_from_headers() {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "%D1%8E%25"),
            ("ce-source", "/a"),
            ("ce-type", "synod.task.cancel"),
            ("content-type", "application/json; charset=utf-8"),
            ("synod-workspace", "w"),
            ("synod-reply-to", "redis:synod:reply:x"),
            ("user-agent", "curl"),
        ];
        let message = Message::from_binary(headers, b"{}".to_vec()).unwrap();
        assert_eq!(message.envelope.id, "ю%");
        assert_eq!(message.envelope.workspace.as_str(), "w");
        assert_eq!(message.envelope.reply_to, Some(ReplyTo::Redis("synod:reply:x".into())));
    }

    #[test]
    fn structured_mode_round_trips() {
        let envelope =
            Envelope { workspace: "w".parse().unwrap(), epoch: Some(3), ..Envelope::new("1\"", "/a", "x") };
        let data = Json::parse(r#"{"big":12345678901234567890}"#).unwrap();
        let text = Message::structured(&envelope, &data);
        let read = Message::from_structured(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(read, Message { envelope, data: data.as_str().as_bytes().to_vec() });
    }

    #[test]
    fn base64_is_strict() {
        let check = |text: &str, want: Option<&[u8]>| {
            let json = Json::of(text).unwrap();
            assert_eq!(base64_decoded(&json).ok().as_deref(), want, "{text}");
        };
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm9vYg==", Some(b"foob"));
        check("Zm9vYmFy", Some(b"foobar"));
        check("Zg=", None);
        check("Zh==", None);
        check("Z===", None);
        check("Zm9v YmFy", None);
    }

    #[test]
    fn a_batch_fails_element_by_element() {
        let text = br#"[{"specversion":"1.0","id":"1","source":"/","type":"x","data":{}},{"id":"2"},{"specversion":"1.0","id":"3","source":"/","type":"x","data":1,"data_base64":""}]"#;
        let batch = Message::from_batch(text, &Limits::default()).unwrap();
        assert!(batch[0].is_ok());
        assert_eq!(batch[1].as_ref().unwrap_err().0, "2");
        assert_eq!(batch[2].as_ref().unwrap_err().0, "3");
        assert!(Message::from_batch(b"{}", &Limits::default()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_a_reader_panic(text in "\\PC{0,200}", id in "[a-z\"\\\\%]{0,9}", data in "[\\[\\]{}\":0-9a-z,]{0,40}") {
            let limits = Limits::default();
            let event = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/","type":"synod.task.submit","data":{data}}}"#);
            for body in [text.as_str(), event.as_str()] {
                let read = Message::from_structured(body.as_bytes(), &limits);
                if let Ok(message) = read {
                    let _ = message.command(&limits);
                }
                let _ = Message::from_batch(format!("[{body}]").as_bytes(), &limits);
                let _ = Message::from_binary([("ce-id", body), ("ce-type", "x")], body.as_bytes().to_vec());
            }
        }
    }
}
