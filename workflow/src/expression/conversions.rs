//! Functions that make one kind of another: `int(…)`, `string(…)`, `timestamp(…)` and their like.

use super::evaluate::{EvalError, Meter};
use super::time::{Duration, Timestamp};
use super::value::Value;

type Result<T = Value> = std::result::Result<T, EvalError>;

/// Nothing where the function is none of these, or does not take such a value.
pub(super) fn call(to: &str, args: &[Value], meter: &mut Meter) -> Result<Option<Value>> {
    let [value] = args else { return Ok(None) };
    let beyond = |shown: String| EvalError::Range(format!("{shown} is beyond what {to}(…) holds"));
    let unreadable =
        |text: &str| EvalError::Range(format!("the text {:?} is no {to}", super::shortened(text)));
    Ok(Some(match (to, value) {
        ("dyn", value) => value.clone(),
        ("type", value) => Value::Type(value.type_name()),
        ("string", Value::Text(_)) | ("int", Value::Int(_)) | ("uint", Value::Uint(_)) => value.clone(),
        ("double", Value::Double(_)) | ("bool", Value::Bool(_)) | ("bytes", Value::Bytes(_)) => value.clone(),
        ("timestamp", Value::Timestamp(_)) | ("duration", Value::Duration(_)) => value.clone(),
        ("string", Value::Int(value)) => Value::text(value.to_string()),
        ("string", Value::Uint(value)) => Value::text(value.to_string()),
        ("string", Value::Double(value)) => Value::text(value.to_string()),
        ("string", Value::Bool(value)) => Value::text(value.to_string()),
        ("string", Value::Timestamp(value)) => Value::text(value.to_string()),
        ("string", Value::Duration(value)) => Value::text(value.to_string()),
        ("string", Value::Bytes(bytes)) => {
            meter.text(bytes.len())?;
            let text = std::str::from_utf8(bytes).map_err(|error| {
                EvalError::Range(format!("the bytes are no UTF-8 from byte {} on", error.valid_up_to()))
            })?;
            Value::text(text)
        }
        ("bytes", Value::Text(text)) => {
            meter.text(text.len())?;
            Value::Bytes(text.as_bytes().into())
        }
        ("timestamp", Value::Text(text)) => {
            meter.text(text.len())?;
            Value::Timestamp(Timestamp::parse(text)?)
        }
        ("timestamp", Value::Int(seconds)) => Value::Timestamp(Timestamp::of_seconds(*seconds)?),
        ("duration", Value::Text(text)) => {
            meter.text(text.len())?;
            Value::Duration(Duration::parse(text)?)
        }
        ("int", Value::Timestamp(time)) => Value::Int(time.as_seconds()),
        ("int", Value::Uint(value)) => {
            Value::Int(i64::try_from(*value).map_err(|_| beyond(value.to_string()))?)
        }
        // The bounds are powers of two, exact as doubles; what is within them keeps its whole part.
        ("int", Value::Double(value))
            if *value > -9_223_372_036_854_775_808.0 && *value < 9_223_372_036_854_775_808.0 =>
        {
            Value::Int(value.trunc() as i64)
        }
        ("uint", Value::Double(value)) if *value > -1.0 && *value < 18_446_744_073_709_551_616.0 => {
            Value::Uint(value.trunc() as u64)
        }
        ("int" | "uint", Value::Double(value)) => return Err(beyond(value.to_string())),
        ("uint", Value::Int(value)) => {
            Value::Uint(u64::try_from(*value).map_err(|_| beyond(value.to_string()))?)
        }
        ("double", Value::Int(value)) => Value::Double(*value as f64),
        ("double", Value::Uint(value)) => Value::Double(*value as f64),
        ("int", Value::Text(text)) => Value::Int(text.parse().map_err(|_| unreadable(text))?),
        ("uint", Value::Text(text)) => Value::Uint(text.parse().map_err(|_| unreadable(text))?),
        ("double", Value::Text(text)) => Value::Double(text.parse().map_err(|_| unreadable(text))?),
        ("bool", Value::Text(text)) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Value::Bool(true),
            "0" | "f" | "false" | "FALSE" | "False" => Value::Bool(false),
            _ => return Err(unreadable(text)),
        },
        _ => return Ok(None),
    }))
}
