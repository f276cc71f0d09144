//! The values of expressions, and how they become JSON and come from it.

use super::evaluate::EvalError;
use serde_json::{Map, Number};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of one result as JSON: 256 KiB, the limit of a payload.
pub const RESULT_BYTES: usize = 256 * 1024;
/// Levels of lists and maps in a result.
const RESULT_DEPTH: usize = synod_protocol::limits::NESTING;

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

    /// To JSON, within [`RESULT_BYTES`]. Values are shared inside and not in JSON, so that a small value may be a huge text:
    /// it is counted while it is written.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`], and [`EvalError::Kind`] for what JSON cannot say (NaN, infinities).
    pub fn json(&self) -> Result<serde_json::Value, EvalError> {
        let mut left = RESULT_BYTES;
        self.write(&mut left, 0)
    }

    fn write(&self, left: &mut usize, depth: usize) -> Result<serde_json::Value, EvalError> {
        let bytes = match self {
            Value::Text(text) => text.len() + 2,
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
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
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
