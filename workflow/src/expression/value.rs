//! The values of expressions, and how they become JSON and come from it.

use super::evaluate::EvalError;
use super::time::{Duration, Timestamp};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Number};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of one result as JSON: 256 KiB, the limit of a payload.
pub const RESULT_BYTES: usize = 256 * 1024;
/// Levels of lists and maps in a result.
const RESULT_DEPTH: usize = synod_protocol::limits::NESTING;

/// The types whose names are paths, as expressions write them.
pub(super) const TIMESTAMP_TYPE: &str = "google.protobuf.Timestamp";
pub(super) const DURATION_TYPE: &str = "google.protobuf.Duration";
/// The types whose names are plain.
pub const TYPES: [&str; 10] =
    ["null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"];

/// A value. Lists, maps and texts are shared, so that a copy costs nothing.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number within i64.
    Int(i64),
    /// A whole number that is not negative: above i64 from JSON, or made by `uint(…)` or `1u`.
    Uint(u64),
    /// A number with a fraction or an exponent.
    Double(f64),
    /// A text.
    Text(Arc<str>),
    /// Bytes, as they are.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time.
    Duration(Duration),
    /// What `type(…)` gives: the name of a kind, such as "int".
    Type(&'static str),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map; its order is that of its names.
    Map(Arc<BTreeMap<Arc<str>, Value>>),
}

impl Value {
    /// From JSON, exactly.
    pub fn of(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::Uint(value),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::Text(text.as_str().into()),
            serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(Value::of).collect())),
            serde_json::Value::Object(members) => Value::Map(Arc::new(
                members.iter().map(|(name, value)| (name.as_str().into(), Value::of(value))).collect(),
            )),
        }
    }

    /// To JSON, within [`RESULT_BYTES`]: bytes as text in base64, points in time as RFC 3339, spans as "3.5s". Values are shared inside and not in JSON, so that a small value may be a huge text:
    /// it is counted while it is written.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`], and [`EvalError::Kind`] for what JSON cannot say (NaN, infinities, a type).
    pub fn json(&self) -> Result<serde_json::Value, EvalError> {
        let mut left = RESULT_BYTES;
        self.write(&mut left, 0)
    }

    fn write(&self, left: &mut usize, depth: usize) -> Result<serde_json::Value, EvalError> {
        let bytes = match self {
            Value::Text(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len().div_ceil(3) * 4 + 2,
            Value::Map(map) => 2 + map.keys().map(|name| name.len() + 4).sum::<usize>(),
            _ => 2,
        };
        *left = left.checked_sub(bytes).ok_or(EvalError::TooLarge)?;
        if depth > RESULT_DEPTH {
            return Err(EvalError::TooLarge);
        }
        Ok(match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Uint(value) => (*value).into(),
            Value::Double(value) => match Number::from_f64(*value) {
                Some(number) => serde_json::Value::Number(number),
                None => {
                    return Err(EvalError::Kind {
                        what: format!("the result is {value}, which JSON cannot say"),
                        mend: "guard the division or the conversion that made it".into(),
                    });
                }
            },
            Value::Text(text) => serde_json::Value::String(text.to_string()),
            Value::Bytes(bytes) => serde_json::Value::String(BASE64_STANDARD.encode(bytes)),
            Value::Timestamp(time) => serde_json::Value::String(time.to_string()),
            Value::Duration(span) => serde_json::Value::String(span.to_string()),
            Value::Type(name) => {
                return Err(EvalError::Kind {
                    what: format!("the result is the type `{name}`, which JSON cannot say"),
                    mend: format!("compare it: `type(…) == {name}`"),
                });
            }
            Value::List(items) => serde_json::Value::Array(
                items.iter().map(|item| item.write(left, depth + 1)).collect::<Result<_, _>>()?,
            ),
            Value::Map(map) => serde_json::Value::Object(
                map.iter()
                    .map(|(name, value)| Ok((name.to_string(), value.write(left, depth + 1)?)))
                    .collect::<Result<Map<_, _>, EvalError>>()?,
            ),
        })
    }

    /// "an int", "a list": what it is, in a message.
    pub fn noun(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an int",
            Value::Uint(_) => "a uint",
            Value::Double(_) => "a double",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "a timestamp",
            Value::Duration(_) => "a duration",
            Value::Type(_) => "a type",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Milliseconds since the Unix epoch, rounded down, where it is a point in time; nothing where it is anything else, the
    /// text of one included.
    pub fn instant_ms(&self) -> Option<i64> {
        if let Value::Timestamp(time) = self { Some(time.as_millis()) } else { None }
    }

    /// What `type(…)` gives, by the names of the specification.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => TIMESTAMP_TYPE,
            Value::Duration(_) => DURATION_TYPE,
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Type(_) => "type",
        }
    }

    pub(super) fn text(text: impl AsRef<str>) -> Value {
        Value::Text(text.as_ref().into())
    }
}

/// Numbers across kinds, by value, exactly. Nothing where one is no number or is NaN.
pub(super) fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => compare_whole(a, double(b)?),
        (None, Some(b)) => compare_whole(b, double(a)?).map(Ordering::reverse),
        (None, None) => double(a)?.partial_cmp(&double(b)?),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some((*value).into()),
        Value::Uint(value) => Some((*value).into()),
        _ => None,
    }
}

fn double(value: &Value) -> Option<f64> {
    if let Value::Double(value) = value { Some(*value) } else { None }
}

/// A whole number of 64 bits beside a double, without rounding either.
fn compare_whole(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Beyond 2^65 every double is greater than every whole number here; within, its whole part fits an i128.
    if double.abs() >= 36_893_488_147_419_103_232.0 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let part = whole.cmp(&(double.trunc() as i128));
    Some(part.then_with(|| 0.0f64.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}

/// The names that an expression may read, and their values.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    names: BTreeMap<String, Value>,
}

impl Scope {
    /// No names.
    pub fn new() -> Scope {
        Scope::default()
    }

    /// One more name.
    pub fn with(mut self, name: &str, value: Value) -> Scope {
        self.names.insert(name.to_owned(), value);
        self
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
}
