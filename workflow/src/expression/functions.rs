//! Operators and functions over finished values.

use super::evaluate::{EvalError, Meter, equal, kind};
use super::value::{Value, compare_numbers};
use super::{conversions, texts, time};
use cel::common::ast::operators;
use std::cmp::Ordering;
use std::sync::Arc;

/// The functions there are. `size` and `matches` stand before their values or behind the first; before: those that make one
/// kind of another (`string` to `type`); behind: the others.
pub const FUNCTIONS: [&str; 35] = [
    "size",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "timestamp",
    "duration",
    "dyn",
    "type",
    "contains",
    "startsWith",
    "endsWith",
    "charAt",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "upperAscii",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

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
        (operators::ADD, [Value::Bytes(a), Value::Bytes(b)]) => {
            meter.text(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
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
        ("size", [Value::Bytes(bytes)]) => Ok(count(bytes.len())),
        (_, [Value::Timestamp(time), zone @ ..]) if name.starts_with("get") => {
            let offset = match zone {
                [] => 0,
                [Value::Text(zone)] => time::offset(zone)?,
                _ => return refused(name, args),
            };
            time.part(name, offset).map_or_else(|| refused(name, args), |part| Ok(Value::Int(part)))
        }
        (_, [Value::Duration(span)]) if name.starts_with("get") => {
            span.part(name).map_or_else(|| refused(name, args), |part| Ok(Value::Int(part)))
        }
        _ => match conversions::call(name, args, meter)? {
            Some(value) => Ok(value),
            None => texts::call(name, args, meter)?.map_or_else(|| refused(name, args), Ok),
        },
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
        (Value::Timestamp(_) | Value::Duration(_), Value::Timestamp(_) | Value::Duration(_)) => {
            in_time(name, a, b)
        }
        _ => refused(name, &[a.clone(), b.clone()]),
    }
}

fn in_time(name: &str, a: &Value, b: &Value) -> Result {
    let beyond_years =
        || EvalError::Range(format!("`{}` goes beyond the years 1 to 9999 of a timestamp", sign(name)));
    let beyond_span =
        || EvalError::Range(format!("`{}` goes beyond the 292 years that a duration holds", sign(name)));
    match (name, a, b) {
        (operators::ADD, Value::Timestamp(time), Value::Duration(span))
        | (operators::ADD, Value::Duration(span), Value::Timestamp(time)) => {
            time.plus(*span).map(Value::Timestamp).ok_or_else(beyond_years)
        }
        (operators::SUBSTRACT, Value::Timestamp(time), Value::Duration(span)) => {
            time.minus(*span).map(Value::Timestamp).ok_or_else(beyond_years)
        }
        (operators::SUBSTRACT, Value::Timestamp(time), Value::Timestamp(earlier)) => {
            time.since(*earlier).map(Value::Duration).ok_or_else(beyond_span)
        }
        (operators::ADD, Value::Duration(a), Value::Duration(b)) => {
            a.plus(*b).map(Value::Duration).ok_or_else(beyond_span)
        }
        (operators::SUBSTRACT, Value::Duration(a), Value::Duration(b)) => {
            a.minus(*b).map(Value::Duration).ok_or_else(beyond_span)
        }
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
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.text(a.len().min(b.len()))?;
            Ok(Some(a.cmp(b)))
        }
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(Some(a.cmp(b))),
        (Value::Duration(a), Value::Duration(b)) => Ok(Some(a.cmp(b))),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => Ok(compare_numbers(a, b)),
        _ => refused(name, &[a.clone(), b.clone()]).map(|_| None),
    }
}
