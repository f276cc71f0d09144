//! What a merge makes of two values: RFC 7396, then a rule for each field that has one.
//!
//! ```text
//! current, patch --RFC 7396--> merged --for each rule, where both have the field--> max, min, sum, union, append
//! ```
//!
//! Integers are compared and added exactly, up to 38 digits. As soon as one of two numbers has a fraction or an exponent
//! both are taken as IEEE 754 doubles: a sum is then rounded, and two numbers that are the same double are equal. Of equal
//! numbers the current text stays.

use crate::error::{Code, Error};
use crate::json::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Rules of one write or one policy.
pub const RULES_LIMIT: usize = 32;
/// Bytes of one rule's pointer.
const POINTER_BYTES: usize = 1024;

/// What becomes of a field that both values have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The greater number.
    Max,
    /// The lesser number.
    Min,
    /// Both numbers added.
    Sum,
    /// The current array, then what the patch's has and it has not.
    Union,
    /// The current array, then all of the patch's.
    Append,
}

/// A rule for each of some fields, by JSON pointer (RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Rules(pub BTreeMap<String, Rule>);

impl Rules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that the pointers are pointers, not too many, and that none leads into another one's field.
    ///
    /// # Errors
    /// `invalid_argument`, with the pointer's place under `/rules`.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.len() > RULES_LIMIT {
            let said = format!("there are {} rules, the limit is {RULES_LIMIT}", self.0.len());
            return Err(Error::invalid(said).with_field("/rules"));
        }
        for pointer in self.0.keys() {
            if pointer.len() > POINTER_BYTES || tokens(pointer).is_none() {
                let said = format!(
                    "{} is not a JSON pointer such as /counts/done, of up to {POINTER_BYTES} bytes",
                    crate::id::shown(pointer)
                );
                return Err(Error::invalid(said).with_field(place(pointer)));
            }
            let inside = |other: &&String| {
                other.len() > pointer.len()
                    && other.starts_with(pointer.as_str())
                    && other.as_bytes()[pointer.len()] == b'/'
            };
            if let Some(other) = self.0.keys().find(inside) {
                let said = format!(
                    "the rule of {} leads into the field of another, {}; give a rule to one of them",
                    crate::id::shown(other),
                    crate::id::shown(pointer)
                );
                return Err(Error::invalid(said).with_field(place(other)));
            }
        }
        Ok(())
    }
}

/// The value that a patch makes of the current one.
///
/// # Errors
/// `unprocessable` where a rule does not fit the two values: `max` of a text, a sum that no number can hold.
pub fn merge(current: &Json, patch: &Json, rules: &Rules) -> Result<Json, Error> {
    let merged = current.merged(patch);
    if rules.is_empty() {
        return Ok(merged);
    }
    let (current, patch, mut merged) = (Node::of(current), Node::of(patch), Node::of(&merged));
    for (pointer, rule) in &rules.0 {
        let Some(tokens) = tokens(pointer) else { continue };
        let (Some(a), Some(b)) = (current.at(&tokens), patch.at(&tokens)) else { continue };
        // A null in the patch takes the field away; a null that is there is as good as none.
        if a.is_null() || b.is_null() {
            continue;
        }
        let made = rule.apply(a, b).map_err(|why| {
            let said = format!("the rule of {} does not fit: {why}", crate::id::shown(pointer));
            Error::new(Code::Unprocessable, said).with_field(place(pointer))
        })?;
        if let Some(field) = merged.at_mut(&tokens) {
            *field = made;
        }
    }
    Ok(merged.json())
}

/// Where a rule stands in a request.
fn place(pointer: &str) -> String {
    format!("/rules/{}", pointer.replace('~', "~0").replace('/', "~1"))
}

/// The names and indices of a JSON pointer, unescaped.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let unescaped = |token: &str| {
        let bad = token
            .match_indices('~')
            .any(|(at, _)| !matches!(token.as_bytes().get(at + 1), Some(b'0' | b'1')));
        (!bad).then(|| token.replace("~1", "/").replace("~0", "~"))
    };
    pointer.strip_prefix('/')?.split('/').map(unescaped).collect()
}

/// A value taken apart; texts and numbers stay as they are written.
#[derive(Clone, Debug)]
enum Node {
    Object(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Plain(String),
}

impl Node {
    fn of(json: &Json) -> Node {
        Node::read(json.as_str())
    }

    fn read(text: &str) -> Node {
        let text = text.trim_ascii();
        let parts = match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok().map(|members| {
                Node::Object(members.into_iter().map(|(name, part)| (name, Node::read(part.get()))).collect())
            }),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text)
                .ok()
                .map(|items| Node::Array(items.into_iter().map(|part| Node::read(part.get())).collect())),
            _ => None,
        };
        parts.unwrap_or_else(|| Node::Plain(text.to_owned()))
    }

    fn at(&self, tokens: &[String]) -> Option<&Node> {
        let Some((first, rest)) = tokens.split_first() else { return Some(self) };
        match self {
            Node::Object(members) => members.get(first)?.at(rest),
            Node::Array(items) => items.get(index(first)?)?.at(rest),
            Node::Plain(_) => None,
        }
    }

    fn at_mut(&mut self, tokens: &[String]) -> Option<&mut Node> {
        let Some((first, rest)) = tokens.split_first() else { return Some(self) };
        match self {
            Node::Object(members) => members.get_mut(first)?.at_mut(rest),
            Node::Array(items) => items.get_mut(index(first)?)?.at_mut(rest),
            Node::Plain(_) => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Node::Plain(text) if text == "null")
    }

    fn write(&self, out: &mut String) {
        match self {
            Node::Plain(text) => out.push_str(text),
            Node::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    out.push(if n == 0 { '[' } else { ',' });
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Node::Object(members) => {
                for (n, (name, member)) in members.iter().enumerate() {
                    out.push(if n == 0 { '{' } else { ',' });
                    // A text always has a JSON form.
                    out.push_str(&serde_json::to_string(name).unwrap_or_default());
                    out.push(':');
                    member.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }

    fn json(&self) -> Json {
        let mut text = String::new();
        self.write(&mut text);
        // It was put together of JSON values.
        Json::parse(&text).unwrap_or_default()
    }

    /// What makes two values equal.
    fn canonical(&self) -> String {
        self.json().canonical()
    }
}

/// An array's index as a pointer writes it: without leading zeros.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok()).flatten()
}

impl Rule {
    fn apply(self, current: &Node, patch: &Node) -> Result<Node, String> {
        match self {
            Rule::Max | Rule::Min | Rule::Sum => self.of_numbers(current, patch),
            Rule::Union | Rule::Append => {
                let (Node::Array(a), Node::Array(b)) = (current, patch) else {
                    return Err("union and append need two arrays".to_owned());
                };
                let mut items = a.clone();
                let mut had: BTreeSet<String> = match self {
                    Rule::Union => a.iter().map(Node::canonical).collect(),
                    _ => BTreeSet::new(),
                };
                items.extend(
                    b.iter().filter(|item| self == Rule::Append || had.insert(item.canonical())).cloned(),
                );
                Ok(Node::Array(items))
            }
        }
    }

    fn of_numbers(self, current: &Node, patch: &Node) -> Result<Node, String> {
        let (a, b) = (Number::of(current)?, Number::of(patch)?);
        let kept = match (self, a.compare(b)) {
            (Rule::Max, Ordering::Less) | (Rule::Min, Ordering::Greater) => patch.clone(),
            (Rule::Sum, _) => Node::Plain(a.plus(b)?),
            _ => current.clone(),
        };
        Ok(kept)
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    fn of(node: &Node) -> Result<Number, String> {
        let wrong = |why: &str| Err(format!("max, min and sum need two numbers, and one {why}"));
        let Node::Plain(text) = node else { return wrong("is an array or object") };
        match text.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => {}
            _ => return wrong("is no number"),
        }
        if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
            return match text.parse::<f64>() {
                Ok(double) if double.is_finite() => Ok(Number::Double(double)),
                _ => wrong("is beyond what a double can hold"),
            };
        }
        text.parse().map(Number::Whole).or_else(|_| wrong("has more than 38 digits"))
    }

    fn double(self) -> f64 {
        match self {
            Number::Whole(n) => n as f64,
            Number::Double(n) => n,
        }
    }

    fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a.cmp(&b),
            // Both are finite.
            _ => self.double().partial_cmp(&other.double()).unwrap_or(Ordering::Equal),
        }
    }

    fn plus(self, other: Number) -> Result<String, String> {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a
                .checked_add(b)
                .map(|sum| sum.to_string())
                .ok_or_else(|| "the sum has more than 38 digits".to_owned()),
            _ => {
                let sum = self.double() + other.double();
                let text = serde_json::to_string(&sum).ok().filter(|_| sum.is_finite());
                text.ok_or_else(|| "the sum is beyond what a double can hold".to_owned())
            }
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
