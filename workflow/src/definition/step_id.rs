//! The name of a step: one that can stand in an expression.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Words that mean something in CEL.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// A step's name: a letter or `_`, then letters, digits and `_`, 64 at most; no word of CEL's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(Arc<str>);

/// What is no step's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStepId {
    /// It has other characters, or too many.
    #[error("{0:?} is no name of a step: a letter, then letters, digits and `_`, 64 at most")]
    Shape(String),
    /// It means something in CEL.
    #[error("`{0}` is a word of CEL and cannot name a step")]
    Reserved(String),
}

/// Whether it can stand in an expression as a name.
pub(crate) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 64
        && !RESERVED.contains(&text)
}

impl StepId {
    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepId {
    type Err = BadStepId;

    fn from_str(text: &str) -> Result<StepId, BadStepId> {
        if is_name(text) {
            Ok(StepId(text.into()))
        } else if RESERVED.contains(&text) {
            Err(BadStepId::Reserved(text.to_owned()))
        } else {
            Err(BadStepId::Shape(text.chars().take(80).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<StepId, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for StepId {
    fn schema_name() -> Cow<'static, str> {
        "StepId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
            "not": { "enum": RESERVED },
            "description": "The name of a step: a letter or `_`, then letters, digits and `_`; no word of CEL's own."
        })
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
