//! Operators and functions over finished values.

use super::evaluate::{EvalError, Meter, equal, kind};
use super::value::{Value, compare_numbers};
use cel::common::ast::operators;
use std::cmp::Ordering;
use std::sync::Arc;

/// The functions there are; `text.contains(…)`, `startsWith` and `endsWith` stand behind a text, `size` either way.
pub const FUNCTIONS: [&str; 9] =
    ["size", "contains", "startsWith", "endsWith", "string", "int", "uint", "double", "bool"];

type Result<T = Value> = std::result::Result<T, EvalError>;

/// The operator as it is written.
fn sign(name: &str) -> &str {
    match name {
        operators::ADD => "+",
        operators::SUBSTRACT | operators::NEGATE => "-",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::LOGICAL_NOT => "!",
        operators::IN => "in",
        other => other,
    }
}

/// Whether it is an operator of the language, or one of [`FUNCTIONS`].
pub(super) fn is_known(name: &str) -> bool {
    FUNCTIONS.contains(&name)
        || sign(name) != name
        || matches!(
            name,
            operators::CONDITIONAL
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::EQUALS
                | operators::NOT_EQUALS
                | operators::INDEX
                | operators::NOT_STRICTLY_FALSE
        )
}

pub(super) fn call(name: &str, args: &[Value], meter: &mut Meter) -> Result {
    match (name, args) {
        (operators::LOGICAL_NOT, [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        (operators::NEGATE, [Value::Int(value)]) => {
            value.checked_neg().map(Value::Int).ok_or_else(|| overflow(name))
        }
        (operators::NEGATE, [Value::Double(value)]) => Ok(Value::Double(-value)),
        (operators::ADD, [Value::Text(a), Value::Text(b)]) => {
            meter.text(a.len() + b.len())?;
            Ok(Value::Text(format!("{a}{b}").into()))
        }
        (operators::ADD, [Value::List(a), Value::List(b)]) => {
            meter.spend(a.len() + b.len())?;
            Ok(Value::List(Arc::new(a.iter().chain(b.iter()).cloned().collect())))
        }
        (
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO,
            [a, b],
        ) => arithmetic(name, a, b),
        (operators::LESS, [a, b]) => {
            order(name, a, b, meter).map(|order| Value::Bool(order == Some(Ordering::Less)))
        }
        (operators::GREATER, [a, b]) => {
            order(name, a, b, meter).map(|order| Value::Bool(order == Some(Ordering::Greater)))
        }
        (operators::LESS_EQUALS, [a, b]) => order(name, a, b, meter)
            .map(|order| Value::Bool(matches!(order, Some(Ordering::Less | Ordering::Equal)))),
        (operators::GREATER_EQUALS, [a, b]) => order(name, a, b, meter)
            .map(|order| Value::Bool(matches!(order, Some(Ordering::Greater | Ordering::Equal)))),
        (operators::IN, [Value::Text(name), Value::Map(map)]) => Ok(Value::Bool(map.contains_key(name))),
        (operators::IN, [_, Value::Map(_)]) => Ok(Value::Bool(false)),
        (operators::IN, [one, Value::List(items)]) => {
            for item in items.iter() {
                if equal(one, item, meter)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("size", [Value::Text(text)]) => {
            meter.text(text.len())?;
            Ok(count(text.chars().count()))
        }
        ("size", [Value::List(items)]) => Ok(count(items.len())),
        ("size", [Value::Map(map)]) => Ok(count(map.len())),
        ("contains" | "startsWith" | "endsWith", [Value::Text(text), Value::Text(part)]) => {
            meter.text(text.len() + part.len())?;
            Ok(Value::Bool(match name {
                "contains" => text.contains(&**part),
                "startsWith" => text.starts_with(&**part),
                _ => text.ends_with(&**part),
            }))
        }
        ("string" | "int" | "uint" | "double" | "bool", [value]) => converted(name, value),
        _ => refused(name, args),
    }
}

fn count(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn refused(name: &str, args: &[Value]) -> Result {
    let nouns: Vec<_> = args.iter().map(Value::noun).collect();
    let mend = if args.len() == 2 && args.iter().all(|arg| compare_numbers(arg, arg).is_some()) {
        "make them one kind with int(…), uint(…) or double(…)"
    } else {
        "use kinds that it takes"
    };
    kind(format!("`{}` does not take {}", sign(name), nouns.join(" and ")), mend)
}

fn overflow(name: &str) -> EvalError {
    EvalError::Range(format!("`{}` goes beyond 64 bits; use double(…), or smaller numbers", sign(name)))
}

fn arithmetic(name: &str, a: &Value, b: &Value) -> Result {
    let by_zero = || EvalError::Range(format!("`{}` by 0; test the divisor before", sign(name)));
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let result = match name {
                operators::ADD => a.checked_add(*b),
                operators::SUBSTRACT => a.checked_sub(*b),
                operators::MULTIPLY => a.checked_mul(*b),
                _ if *b == 0 => return Err(by_zero()),
                operators::DIVIDE => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map(Value::Int).ok_or_else(|| overflow(name))
        }
        (Value::Uint(a), Value::Uint(b)) => {
            let result = match name {
                operators::ADD => a.checked_add(*b),
                operators::SUBSTRACT => a.checked_sub(*b),
                operators::MULTIPLY => a.checked_mul(*b),
                _ if *b == 0 => return Err(by_zero()),
                operators::DIVIDE => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map(Value::Uint).ok_or_else(|| overflow(name))
        }
        (Value::Double(a), Value::Double(b)) => match name {
            operators::ADD => Ok(Value::Double(a + b)),
            operators::SUBSTRACT => Ok(Value::Double(a - b)),
            operators::MULTIPLY => Ok(Value::Double(a * b)),
            operators::DIVIDE => Ok(Value::Double(a / b)),
            _ => refused(name, &[Value::Double(*a), Value::Double(*b)]),
        },
        _ => refused(name, &[a.clone(), b.clone()]),
    }
}

/// Nothing for NaN, which is neither less nor greater.
fn order(name: &str, a: &Value, b: &Value, meter: &mut Meter) -> Result<Option<Ordering>> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            meter.text(a.len().min(b.len()))?;
            Ok(Some(a.cmp(b)))
        }
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => Ok(compare_numbers(a, b)),
        _ => refused(name, &[a.clone(), b.clone()]).map(|_| None),
    }
}

fn converted(to: &str, value: &Value) -> Result {
    let beyond = |shown: String| EvalError::Range(format!("{shown} is beyond what {to}(…) holds"));
    let unreadable =
        |text: &str| EvalError::Range(format!("the text {:?} is no {to}", super::shortened(text)));
    match (to, value) {
        ("string", Value::Text(_)) | ("int", Value::Int(_)) | ("uint", Value::Uint(_)) => Ok(value.clone()),
        ("double", Value::Double(_)) | ("bool", Value::Bool(_)) => Ok(value.clone()),
        ("string", Value::Int(value)) => Ok(Value::text(value.to_string())),
        ("string", Value::Uint(value)) => Ok(Value::text(value.to_string())),
        ("string", Value::Double(value)) => Ok(Value::text(value.to_string())),
        ("string", Value::Bool(value)) => Ok(Value::text(value.to_string())),
        ("int", Value::Uint(value)) => {
            i64::try_from(*value).map(Value::Int).map_err(|_| beyond(value.to_string()))
        }
        // The bounds are powers of two, exact as doubles; what is within them keeps its whole part.
        ("int", Value::Double(value))
            if *value > -9_223_372_036_854_775_808.0 && *value < 9_223_372_036_854_775_808.0 =>
        {
            Ok(Value::Int(value.trunc() as i64))
        }
        ("uint", Value::Double(value)) if *value > -1.0 && *value < 18_446_744_073_709_551_616.0 => {
            Ok(Value::Uint(value.trunc() as u64))
        }
        ("int" | "uint", Value::Double(value)) => Err(beyond(value.to_string())),
        ("uint", Value::Int(value)) => {
            u64::try_from(*value).map(Value::Uint).map_err(|_| beyond(value.to_string()))
        }
        ("double", Value::Int(value)) => Ok(Value::Double(*value as f64)),
        ("double", Value::Uint(value)) => Ok(Value::Double(*value as f64)),
        ("int", Value::Text(text)) => text.parse().map(Value::Int).map_err(|_| unreadable(text)),
        ("uint", Value::Text(text)) => text.parse().map(Value::Uint).map_err(|_| unreadable(text)),
        ("double", Value::Text(text)) => text.parse().map(Value::Double).map_err(|_| unreadable(text)),
        ("bool", Value::Text(text)) => text.parse().map(Value::Bool).map_err(|_| unreadable(text)),
        _ => refused(to, std::slice::from_ref(value)),
    }
}
