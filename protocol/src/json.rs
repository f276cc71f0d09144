//! Opaque JSON: kept as the text that it arrived in, so that big numbers and key order survive.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// For a field that is there when it is there, also where it is `null`: `#[serde(default, deserialize_with = "there")]`.
///
/// # Errors
/// It is no JSON.
pub fn there<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(d).map(Some)
}

/// Any JSON value, as text. In bincode it is a string. Equal if the values are, not the texts.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// `null`.
    pub fn null() -> Json {
        Json(Arc::from(RawValue::NULL.to_owned()))
    }

    /// Any serializable value.
    ///
    /// # Errors
    /// The value has no JSON form (a map with keys that are no strings).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Json, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|raw| Json(Arc::from(raw)))
    }

    /// Reads JSON text.
    ///
    /// # Errors
    /// The text is not one JSON value.
    pub fn parse(text: &str) -> Result<Json, serde_json::Error> {
        serde_json::from_str::<Box<RawValue>>(text).map(|raw| Json(Arc::from(raw)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a `T`.
    ///
    /// # Errors
    /// The value does not have that shape.
    pub fn to<T: de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// What a JSON merge patch (RFC 7396) makes of it. What the patch does not touch keeps its text.
    #[must_use]
    pub fn merged(&self, patch: &Json) -> Json {
        let Ok(changes) = patch.to::<BTreeMap<String, Json>>() else { return patch.clone() };
        let mut members = self.to::<BTreeMap<String, Json>>().unwrap_or_default();
        for (name, change) in changes {
            if change.as_str() == "null" {
                members.remove(&name);
            } else {
                let before = members.remove(&name).unwrap_or_default();
                members.insert(name, before.merged(&change));
            }
        }
        // Names are strings, so an object it is.
        Json::of(&members).unwrap_or_default()
    }

    /// The same text without the white space between its parts; order, numbers and escapes stay as they are.
    #[must_use]
    pub fn compact(&self) -> Json {
        let (mut out, mut in_string, mut escaped) =
            (String::with_capacity(self.as_str().len()), false, false);
        for c in self.as_str().chars() {
            match c {
                ' ' | '\t' | '\n' | '\r' if !in_string => continue,
                '"' if !escaped => in_string = !in_string,
                _ => {}
            }
            escaped = in_string && c == '\\' && !escaped;
            out.push(c);
        }
        // Without white space it is the same JSON.
        if out.len() == self.as_str().len() {
            self.clone()
        } else {
            Json::parse(&out).unwrap_or_else(|_| self.clone())
        }
    }

    /// The value with sorted keys and no white space: equal values have equal bytes.
    ///
    /// Falls back to the text itself for what `serde_json::Value` cannot hold (a number beyond `f64`).
    pub fn canonical(&self) -> String {
        match self.to::<serde_json::Value>() {
            Ok(value) => value.to_string(),
            Err(_) => self.as_str().to_owned(),
        }
    }
}

impl Default for Json {
    fn default() -> Self {
        Json::null()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Json) -> bool {
        self.as_str() == other.as_str() || self.canonical() == other.canonical()
    }
}
impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Json {
        // A `Value` always has a JSON form: its keys are strings and its numbers are finite.
        Json::of(&value).unwrap_or_default()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { self.0.serialize(s) } else { s.serialize_str(self.as_str()) }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            Box::<RawValue>::deserialize(d).map(|raw| Json(Arc::from(raw)))
        } else {
            let text = String::deserialize(d)?;
            crate::limits::check_nesting(text.as_bytes(), crate::limits::NESTING)
                .map_err(de::Error::custom)?;
            Json::parse(&text).map_err(de::Error::custom)
        }
    }
}

impl utoipa::PartialSchema for Json {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        serde_json::Value::schema()
    }
}
impl utoipa::ToSchema for Json {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_values() {
        let check = |a: &str, b: &str, equal| {
            assert_eq!(Json::parse(a).unwrap() == Json::parse(b).unwrap(), equal, "{a} {b}");
        };
        check(r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, true);
        check("[1,2]", "[2,1]", false);
        check("1e999", "1e999", true);
        check("1e999", "1e998", false);
    }

    /// The cases of RFC 7396, appendix A.
    #[test]
    fn merge_patches_do_what_their_rfc_says() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (r#"{"n":1e999,"m":1}"#, r#"{"m":2}"#, r#"{"m":2,"n":1e999}"#),
        ];
        for (target, patch, result) in cases {
            let json = |text| Json::parse(text).unwrap();
            assert_eq!(json(target).merged(&json(patch)), json(result), "{target} {patch}");
        }
    }

    #[test]
    fn compaction_takes_only_white_space_between_parts() {
        let check = |text: &str, want: &str| assert_eq!(Json::parse(text).unwrap().compact().as_str(), want);
        check(
            "{ \"b\" : [ 1 ,\n2 ] ,\t\"a b\" : \" \\\" x \\\\\" }",
            "{\"b\":[1,2],\"a b\":\" \\\" x \\\\\"}",
        );
        check(" 1.10 ", "1.10");
        check("\"a  b\"", "\"a  b\"");
    }

    #[test]
    fn the_text_survives() {
        let text = r#"{"z":12345678901234567890123,"a":1.10}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Json>(text).unwrap()).unwrap(), text);
    }
}
