//! The two encodings of a payload: JSON by default, bincode where a header says so.
//!
//! The only place that names bincode. It is unmaintained, so it is pinned to 2.0.1 with the legacy
//! configuration (little endian, fixed-width integers, `u64` lengths), which maintained readers share,
//! and held in place by the golden bytes below. Its `serde` adapter is used, so one derive serves both.

mod objects;

use crate::error::{Code, Error};
use crate::limits::{self, Limits};
use objects::Objects;
use serde::{Serialize, de::DeserializeOwned};

/// The encoding of a payload, as in the `content-type` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`
    #[default]
    Json,
    /// `application/x-bincode`: for commands, inboxes and applications' own streams.
    Bincode,
}

impl ContentType {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Bincode => "application/x-bincode",
        }
    }

    /// Reads the header's value; parameters such as `; charset=utf-8` are ignored, case too.
    ///
    /// # Errors
    /// It is neither of the two.
    pub fn parse(text: &str) -> Result<ContentType, Error> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            Ok(ContentType::Json)
        } else if essence.eq_ignore_ascii_case("application/x-bincode") {
            Ok(ContentType::Bincode)
        } else {
            Err(Error::invalid(format!(
                "content-type {} is not known; use application/json or application/x-bincode",
                crate::id::shown(text)
            )))
        }
    }
}

/// A string or list of bincode says its own length; one that says more than this is refused unread.
const BINCODE_LIMIT: usize = 1024 * 1024;

fn legacy() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<BINCODE_LIMIT>,
> {
    bincode::config::legacy().with_limit::<BINCODE_LIMIT>()
}

/// Encodes a payload.
///
/// # Errors
/// `internal`: the value has no form in that encoding.
pub fn encode<T: Serialize + ?Sized>(content_type: ContentType, value: &T) -> Result<Vec<u8>, Error> {
    match content_type {
        ContentType::Json => serde_json::to_vec(value).map_err(|e| unwritable(&e)),
        ContentType::Bincode => bincode::serde::encode_to_vec(value, legacy()).map_err(|e| unwritable(&e)),
    }
}

fn unwritable(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("the value cannot be encoded: {error}"))
}

/// Decodes a payload, within the limits.
///
/// # Errors
/// `payload_too_large`, or `invalid_argument` with the offending place as `field` where JSON tells it.
pub fn decode<T: DeserializeOwned>(
    content_type: ContentType,
    bytes: &[u8],
    limits: &Limits,
) -> Result<T, Error> {
    limits.check_size(bytes.len())?;
    match content_type {
        ContentType::Json => decode_json(bytes, limits),
        ContentType::Bincode => match bincode::serde::decode_from_slice::<T, _>(bytes, legacy()) {
            Ok((value, used)) if used == bytes.len() => Ok(value),
            Ok((_, used)) => Err(Error::invalid(format!(
                "the bincode payload has {} bytes after its end at {used}",
                bytes.len() - used
            ))),
            Err(error) => Err(Error::invalid(format!("the payload is not this message in bincode: {error}"))),
        },
    }
}

fn decode_json<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, Error> {
    limits::check_nesting(bytes, limits.nesting)?;
    // The common case costs one plain pass; only a refusal pays for finding its place.
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match T::deserialize(Objects(&mut reader)).and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(explain_json::<T>(bytes, &error)),
    }
}

/// Reads JSON text that stands in a larger payload, at the place `under`.
///
/// # Errors
/// `invalid_argument`, with the offending place.
pub fn read_at<T: DeserializeOwned>(text: &str, under: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(Objects(&mut reader)).map_err(|placed| {
        let place = format!("{under}{}", pointer(placed.path()));
        Error::invalid(sentence(&placed.inner().to_string())).with_field(place)
    })
}

fn explain_json<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Error {
    let sentence = sentence(&error.to_string());
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return Error::invalid(format!(
            "the payload is not JSON: {sentence} at line {line}, column {column}"
        ));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let refused = Error::invalid(sentence);
    match serde_path_to_error::deserialize::<_, T>(Objects(&mut reader)) {
        Ok(_) => refused,
        Err(placed) => match pointer(placed.path()) {
            whole if whole.is_empty() => refused,
            place => refused.with_field(place),
        },
    }
}

/// What serde_json said, without what the refusal that is made of it says again: the place in the text, which the JSON pointer says
/// better, and, where it is a refusal of ours that has come through serde as text, its code and its pointer.
fn sentence(said: &str) -> String {
    let said = said.rfind(" at line ").map_or(said, |cut| &said[..cut]);
    let ours = said.strip_prefix(Code::InvalidArgument.as_str()).and_then(|rest| rest.strip_prefix(": "));
    let Some(ours) = ours else { return said.to_owned() };
    match ours.rfind(" (at /") {
        Some(cut) if ours.ends_with(')') => &ours[..cut],
        _ => ours,
    }
    .to_owned()
}

/// A place as a JSON pointer (RFC 6901).
pub fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { variant } => Some(format!("/{variant}")),
            Segment::Unknown => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        count: u32,
        ratio: Option<f64>,
        raw: crate::Json,
    }

    fn sample() -> Sample {
        Sample { name: "ä".into(), count: 7, ratio: Some(0.5), raw: crate::Json::parse("[1]").unwrap() }
    }

    #[test]
    fn bincode_bytes_are_golden() {
        let bytes = encode(ContentType::Bincode, &sample()).unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let want = concat!(
            "0200000000000000",
            "c3a4",
            "07000000",
            "01",
            "000000000000e03f",
            "0300000000000000",
            "5b315d"
        );
        assert_eq!(hex, want);
    }

    #[test]
    fn both_codecs_carry_the_same_value() {
        for content_type in [ContentType::Json, ContentType::Bincode] {
            let bytes = encode(content_type, &sample()).unwrap();
            assert_eq!(decode::<Sample>(content_type, &bytes, &Limits::default()).unwrap(), sample());
        }
    }

    #[test]
    fn a_refusal_names_its_place() {
        let check = |text: &str, field: Option<&str>, says: &str| {
            let error =
                decode::<Vec<Sample>>(ContentType::Json, text.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.field.as_deref(), field, "{error}");
            assert!(error.message.contains(says), "{error}");
        };
        check(r#"[{"name":"a","count":"x","ratio":null,"raw":1}]"#, Some("/0/count"), "expected u32");
        check(r#"[{"name":"a","extra":1}]"#, Some("/0/extra"), "unknown field `extra`");
        check(r#"[{"name":"a"}]"#, Some("/0"), "missing field `count`");
        check("[", None, "not JSON");
        check("", None, "not JSON");
        check(&"[".repeat(10_000), None, "nested deeper than 64");
    }

    /// What ids and positions refuse comes through serde as text.
    #[test]
    fn a_refusal_is_said_once() {
        use crate::primitives::changes::Spot;
        let check = |error: Error, said: &str| assert_eq!(error.to_string(), said);
        let json = |text: &str| (ContentType::Json, text.to_owned().into_bytes(), Limits::default());
        let (kind, text, limits) = json(r#"["a b"]"#);
        check(
            decode::<Vec<crate::Id>>(kind, &text, &limits).unwrap_err(),
            "invalid_argument: \"a b\" is not a valid id: 1 to 128 of A-Z a-z 0-9 . _ - (at /0)",
        );
        let said = "this is no position that came with a change or an event; without one it begins now";
        let (kind, text, limits) = json(r#"{"after":"x"}"#);
        check(
            decode::<std::collections::BTreeMap<String, Spot>>(kind, &text, &limits).unwrap_err(),
            &format!("invalid_argument: {said} (at /after)"),
        );
        check(
            read_at::<Spot>(r#""x""#, "/more").unwrap_err(),
            &format!("invalid_argument: {said} (at /more)"),
        );
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_allocated() {
        let bytes = [0xff; 16];
        assert!(decode::<String>(ContentType::Bincode, &bytes, &Limits::default()).is_err());
        let mut bytes = (1u64 << 40).to_le_bytes().to_vec();
        bytes.extend([0; 64]);
        assert!(decode::<Vec<u64>>(ContentType::Bincode, &bytes, &Limits::default()).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(ContentType::Bincode, &sample()).unwrap();
        bytes.push(0);
        assert!(decode::<Sample>(ContentType::Bincode, &bytes, &Limits::default()).is_err());
        assert!(decode::<u8>(ContentType::Json, b"1 2", &Limits::default()).is_err());
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Plain,
        Named { sample: Sample },
        One(Sample),
        Pair(u8, u8),
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Outer {
            one: Option<Sample>,
            many: Vec<Choice>,
            by_name: std::collections::BTreeMap<String, Sample>,
            pair: (u8, u8),
        }
        let check = |text: &str, field: Option<&str>| {
            let read = decode::<Outer>(ContentType::Json, text.as_bytes(), &Limits::default());
            let error = read.expect_err(text);
            assert_eq!(error.field.as_deref(), field, "{text}: {error}");
            assert_eq!(error.message, "invalid type: sequence, expected a JSON object", "{text}");
        };
        const GOOD: &str = r#"{"name":"a","count":1,"ratio":null,"raw":[1]}"#;
        const BAD: &str = r#"["a",1,null,[1]]"#;
        check(&format!("[{GOOD},[],{{}},[1,2]]"), None);
        check(&format!(r#"{{"one":{BAD}}}"#), Some("/one"));
        check(&format!(r#"{{"many":[{{"one":{BAD}}}]}}"#), Some("/many/0/one"));
        check(&format!(r#"{{"many":[{{"named":[{GOOD}]}}]}}"#), Some("/many/0/named"));
        check(&format!(r#"{{"many":[{{"named":{{"sample":{BAD}}}}}]}}"#), Some("/many/0/named/sample"));
        check(&format!(r#"{{"by_name":{{"k":{BAD}}}}}"#), Some("/by_name/k"));
        // What is an array is read as ever.
        let good = format!(
            r#"{{"one":{GOOD},"many":["plain",{{"pair":[1,2]}},{{"one":{GOOD}}}],"by_name":{{"k":{GOOD}}},"pair":[1,2]}}"#
        );
        let read: Outer = decode(ContentType::Json, good.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), good);
        assert!(read_at::<Sample>(BAD, "/rules").unwrap_err().message.contains("expected a JSON object"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for content_type in [ContentType::Json, ContentType::Bincode] {
                let _ = decode::<Sample>(content_type, &bytes, &Limits::default());
                let _ = decode::<crate::command::SubmitTask>(content_type, &bytes, &Limits::default());
                let _ = decode::<crate::command::RegisterAgent>(content_type, &bytes, &Limits::default());
            }
        }
    }
}
