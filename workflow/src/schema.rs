//! JSON Schema for inputs and outputs: compiled once, nothing fetched, bounded.
//!
//! What a schema costs is bounded before it is used: its bytes; that it does not refer to itself; and its size with every
//! reference written out, since ten lines of `allOf` can stand for 2^10 of them. Patterns go to an engine whose time is linear.

use serde_json::Value;
use std::collections::BTreeMap;

/// Bytes of one schema: 64 KiB.
pub const SCHEMA_BYTES: usize = 64 * 1024;
/// Values in one schema with every reference written out: 10,000.
pub const SCHEMA_WEIGHT: u64 = 10_000;
/// Bytes of one compiled pattern.
const PATTERN_BYTES: usize = 1024 * 1024;
/// Mismatches that are told of one value.
const TOLD: usize = 5;

/// A compiled schema.
pub struct Schema {
    validator: jsonschema::Validator,
}

/// Why a value is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct BadSchema {
    /// Where in it, as a JSON pointer.
    pub pointer: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

impl BadSchema {
    fn new(pointer: &str, what: impl Into<String>, mend: impl Into<String>) -> BadSchema {
        BadSchema { pointer: pointer.into(), what: what.into(), mend: mend.into() }
    }
}

impl Schema {
    /// Compiles a schema (draft 2020-12 unless `$schema` says another).
    ///
    /// # Errors
    /// It is no schema, refers outside itself or to itself, or is too large.
    pub fn new(schema: &Value) -> Result<Schema, BadSchema> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err(BadSchema::new(
                "",
                "a JSON Schema is an object",
                "write `type:` and what else must hold",
            ));
        }
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES {
            let what = format!("the schema has {bytes} bytes, the limit is {SCHEMA_BYTES}");
            return Err(BadSchema::new("", what, "say less of what is within it"));
        }
        weigh(schema)?;
        let validator = jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES))
            .build(schema)
            .map_err(|error| {
                let what =
                    format!("this is no JSON Schema: {}", crate::expression::shortened(&error.to_string()));
                BadSchema::new(error.instance_path().as_str(), what, "correct the schema here")
            })?;
        Ok(Schema { validator })
    }

    /// Whether a value fits.
    ///
    /// # Errors
    /// What does not, with JSON pointers: at most five of them.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let mut errors = self.validator.iter_errors(value).map(|error| {
            let at = match error.instance_path().as_str() {
                "" => "the value".to_owned(),
                pointer => format!("`{pointer}`"),
            };
            format!("{at}: {}", crate::expression::shortened(&error.to_string()))
        });
        let told: Vec<String> = errors.by_ref().take(TOLD).collect();
        match (told.is_empty(), errors.next()) {
            (true, _) => Ok(()),
            (false, None) => Err(told.join("; ")),
            (false, Some(_)) => Err(format!("{}; and more", told.join("; "))),
        }
    }
}

/// Refuses what is endless or too much once it is written out.
fn weigh(root: &Value) -> Result<(), BadSchema> {
    let mut known = BTreeMap::new();
    let weight = weight(root, root, "", &mut known)?;
    if weight > SCHEMA_WEIGHT {
        let what = format!(
            "with its references written out the schema has {weight} values, the limit is {SCHEMA_WEIGHT}"
        );
        return Err(BadSchema::new("", what, "refer less often to what refers to other things"));
    }
    Ok(())
}

/// The weight of what stands at `pointer`; `known` has what was weighed, nothing for what is being weighed. The recursion is
/// as deep as the document and its chain of references, which is within its bytes.
fn weight(
    root: &Value,
    at: &Value,
    pointer: &str,
    known: &mut BTreeMap<String, Option<u64>>,
) -> Result<u64, BadSchema> {
    let mut sum = 1u64;
    match at {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                sum = sum.saturating_add(weight(root, item, &format!("{pointer}/{i}"), known)?);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let here = crate::expression::below(pointer, name);
                match (name.as_str(), member) {
                    ("$ref", Value::String(to)) => {
                        sum = sum.saturating_add(referred(root, to, &here, known)?);
                    }
                    (
                        "$dynamicRef" | "$recursiveRef" | "$id" | "$anchor" | "$dynamicAnchor",
                        Value::String(_),
                    ) => {
                        let what = format!("`{name}` is not taken here");
                        return Err(BadSchema::new(
                            &here,
                            what,
                            "use `$ref` with a pointer, such as `#/$defs/name`",
                        ));
                    }
                    // What is only referred to weighs where it is referred to.
                    ("$defs" | "definitions", _) if pointer.is_empty() => {}
                    _ => sum = sum.saturating_add(weight(root, member, &here, known)?),
                }
            }
        }
        _ => {}
    }
    Ok(sum)
}

fn referred(
    root: &Value,
    to: &str,
    here: &str,
    known: &mut BTreeMap<String, Option<u64>>,
) -> Result<u64, BadSchema> {
    let target =
        to.strip_prefix('#').and_then(|pointer| root.pointer(pointer).map(|target| (pointer, target)));
    let Some((pointer, target)) = target else {
        let what = format!("`{}` leads to nothing in this schema", crate::expression::shortened(to));
        return Err(BadSchema::new(
            here,
            what,
            "refer to a place in it, such as `#/$defs/name`; nothing is fetched",
        ));
    };
    match known.get(pointer) {
        Some(Some(weight)) => return Ok(*weight),
        Some(None) => {
            let what = format!("`{to}` refers to itself in the end");
            return Err(BadSchema::new(here, what, "write out as many levels as there may be"));
        }
        None if known.len() >= 128 => {
            return Err(BadSchema::new(
                here,
                "more than 128 things are referred to",
                "write some of them out",
            ));
        }
        None => {}
    }
    known.insert(pointer.to_owned(), None);
    let weight = weight(root, target, pointer, known)?;
    known.insert(pointer.to_owned(), Some(weight));
    Ok(weight)
}

/// Whether a path of fields leads, by what a schema says for sure, to something that cannot be there: the name that is not,
/// and those that are.
pub(crate) fn excluded<'s>(schema: &'s Value, path: &[String]) -> Option<(usize, Vec<&'s str>)> {
    let mut at = schema;
    for (i, name) in path.iter().enumerate() {
        let properties = at.get("properties")?.as_object()?;
        match properties.get(name) {
            Some(below) => at = below,
            None => {
                let open =
                    ["patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if", "unevaluatedProperties"];
                let closed = at.get("additionalProperties") == Some(&Value::Bool(false))
                    && !open.iter().any(|keyword| at.get(keyword).is_some());
                return closed.then(|| (i, properties.keys().map(String::as_str).collect()));
            }
        }
    }
    None
}
