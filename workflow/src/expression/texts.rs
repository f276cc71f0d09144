//! Functions over texts: those of the language and, of its extension for strings, those that definitions need. Places are
//! counted in characters (code points), from 0.

use super::evaluate::{EvalError, Meter};
use super::value::Value;
use std::sync::Arc;

type Result<T = Value> = std::result::Result<T, EvalError>;

/// Nothing where the function is none of these, or does not take such values.
pub(super) fn call(name: &str, args: &[Value], meter: &mut Meter) -> Result<Option<Value>> {
    if let ("join", [Value::List(items)] | [Value::List(items), Value::Text(_)]) = (name, args) {
        let between = if let Some(Value::Text(between)) = args.get(1) { between } else { "" };
        return joined(items, between, meter);
    }
    let [Value::Text(text), rest @ ..] = args else { return Ok(None) };
    meter.text(text.len())?;
    Ok(Some(match (name, rest) {
        ("contains" | "startsWith" | "endsWith", [Value::Text(part)]) => {
            meter.text(part.len())?;
            Value::Bool(match name {
                "contains" => text.contains(&**part),
                "startsWith" => text.starts_with(&**part),
                _ => text.ends_with(&**part),
            })
        }
        ("lowerAscii", []) => Value::text(text.to_ascii_lowercase()),
        ("upperAscii", []) => Value::text(text.to_ascii_uppercase()),
        ("trim", []) => Value::text(text.trim()),
        ("charAt", [Value::Int(at)]) => {
            let rest = &text[byte_of(name, text, *at)?..];
            Value::text(rest.chars().next().map(String::from).unwrap_or_default())
        }
        ("substring", [Value::Int(from)]) => Value::text(&text[byte_of(name, text, *from)?..]),
        ("substring", [Value::Int(from), Value::Int(to)]) => {
            let (start, end) = (byte_of(name, text, *from)?, byte_of(name, text, *to)?);
            let cut = text.get(start..end).ok_or_else(|| {
                EvalError::Range(format!("`substring` from {from} to {to}: the end comes before the start"))
            })?;
            Value::text(cut)
        }
        ("indexOf" | "lastIndexOf", [Value::Text(part)]) => {
            meter.text(part.len())?;
            place(text, if name == "indexOf" { text.find(&**part) } else { text.rfind(&**part) })
        }
        ("indexOf" | "lastIndexOf", [Value::Text(part), Value::Int(from)]) => {
            meter.text(part.len())?;
            found_from(name, text, part, *from)?
        }
        ("replace", [Value::Text(old), Value::Text(new)]) => replaced(text, old, new, -1, meter)?,
        ("replace", [Value::Text(old), Value::Text(new), Value::Int(most)]) => {
            replaced(text, old, new, *most, meter)?
        }
        ("split", [Value::Text(between)]) => split(text, between, -1, meter)?,
        ("split", [Value::Text(between), Value::Int(most)]) => split(text, between, *most, meter)?,
        _ => return Ok(None),
    }))
}

/// The byte at which a character begins; that after the last one has a place, too.
fn byte_of(name: &str, text: &str, at: i64) -> Result<usize> {
    let mut starts = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    usize::try_from(at).ok().and_then(|at| starts.nth(at)).ok_or_else(|| beyond(name, text, at))
}

fn beyond(name: &str, text: &str, at: i64) -> EvalError {
    let long = text.chars().count();
    EvalError::Range(format!(
        "`{name}` at character {at} of a text of {long} characters; test `size(…)` before"
    ))
}

/// How many characters come before a byte; -1 for nothing.
fn place(text: &str, byte: Option<usize>) -> Value {
    let before = byte.map(|byte| text[..byte].chars().count());
    Value::Int(before.map_or(-1, |before| i64::try_from(before).unwrap_or(i64::MAX)))
}

/// The first place from a character on, or the last place up to it.
fn found_from(name: &str, text: &str, part: &str, from: i64) -> Result<Value> {
    let start = byte_of(name, text, from)?;
    if start == text.len() && !part.is_empty() {
        return Err(beyond(name, text, from));
    }
    let byte = if name == "indexOf" {
        text[start..].find(part).map(|byte| start + byte)
    } else {
        // What begins at that character or before it ends so many bytes further on at the latest.
        let end = text.floor_char_boundary(start.saturating_add(part.len()));
        text[..end].rfind(part)
    };
    Ok(place(text, byte))
}

/// Up to so many replaced; all where that is negative.
fn replaced(text: &str, old: &str, new: &str, most: i64, meter: &mut Meter) -> Result<Value> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let times = text.matches(old).take(most).count();
    // Paid before it is made: a text of 256 KiB and a replacement as long would make 64 GiB.
    meter.text(times.saturating_mul(new.len()))?;
    Ok(Value::text(text.replacen(old, new, times)))
}

/// Into at most so many texts, the last with what is left; all where that is negative. By nothing: into characters.
fn split(text: &str, between: &str, most: i64, meter: &mut Meter) -> Result<Value> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut texts = Vec::new();
    let mut rest = Some(text).filter(|text| most > 0 && !(text.is_empty() && between.is_empty()));
    while let Some(left) = rest {
        meter.spend(1)?;
        let cut = match left.chars().next() {
            _ if texts.len() + 1 == most => None,
            Some(first) if between.is_empty() => {
                Some(left.split_at(first.len_utf8())).filter(|(_, after)| !after.is_empty())
            }
            _ => left.split_once(between),
        };
        texts.push(Value::text(cut.map_or(left, |(before, _)| before)));
        rest = cut.map(|(_, after)| after);
    }
    Ok(Value::List(Arc::new(texts)))
}

fn joined(items: &[Value], between: &str, meter: &mut Meter) -> Result<Option<Value>> {
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        let Value::Text(item) = item else {
            let what = format!("`join` over a list with {} in it", item.noun());
            return super::evaluate::kind(what, "make texts of them: `.map(x, string(x)).join(…)`");
        };
        let between = if i == 0 { "" } else { between };
        meter.text(between.len() + item.len())?;
        text.push_str(between);
        text.push_str(item);
    }
    Ok(Some(Value::text(text)))
}
