//! The text of a definition as a tree that knows where everything stands.
//!
//! YAML and JSON become the same [`Node`]s, each with its line and column, so that every later complaint can name a place.
//! Bounded before and while it is read: bytes, depth, nodes (aliases are counted each time they are followed, so that a few
//! lines cannot stand for billions). Duplicate keys, tags, merge keys and several documents are refused, not guessed at.

mod json;
mod yaml;

use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of one definition: 1 MiB.
pub const SOURCE_BYTES: usize = 1024 * 1024;
/// Nodes of one definition, those behind aliases counted each time: 100,000.
pub const SOURCE_NODES: usize = 100_000;
/// Levels of lists and objects in one definition: 64.
pub const SOURCE_DEPTH: usize = 64;

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How a definition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, one document, no tags.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// JSON if it begins with `{` and then a quote, a brace, or nothing; YAML otherwise, `{id: x}` included.
    pub fn of(text: &str) -> Format {
        let inside = text.trim_start_matches('\u{feff}').trim_start().strip_prefix('{');
        match inside.map(|inside| inside.trim_start().chars().next()) {
            Some(None | Some('"' | '}')) => Format::Json,
            _ => Format::Yaml,
        }
    }
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{spot}: {what}; {mend}")]
pub struct Unreadable {
    /// Where.
    pub spot: Spot,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

impl Unreadable {
    fn new(spot: Spot, what: impl Into<String>, mend: impl Into<String>) -> Unreadable {
        Unreadable { spot, what: what.into(), mend: mend.into() }
    }
}

/// One value of the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) spot: Spot,
    pub(crate) shape: Shape,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Null,
    Bool(bool),
    Number(Number),
    /// `inset`: columns from the spot to the text's first character, where the text stands there as it is.
    Text {
        text: String,
        inset: Option<usize>,
    },
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

/// The name of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) spot: Spot,
    pub(crate) name: String,
}

impl Node {
    /// Reads a text.
    ///
    /// # Errors
    /// The first thing that cannot be read, with its place.
    pub(crate) fn read(text: &str, format: Format) -> Result<Node, Unreadable> {
        if text.len() > SOURCE_BYTES {
            let what = format!("the definition has {} bytes, the limit is {SOURCE_BYTES}", text.len());
            let mend = "pass large inputs by reference (a state key or URL)";
            return Err(Unreadable::new(Spot { line: 1, column: 1 }, what, mend));
        }
        match format {
            Format::Yaml => yaml::read(text),
            Format::Json => json::read(text),
        }
    }

    /// The value without its places.
    pub(crate) fn value(&self) -> Value {
        match &self.shape {
            Shape::Null => Value::Null,
            Shape::Bool(value) => Value::Bool(*value),
            Shape::Number(value) => Value::Number(value.clone()),
            Shape::Text { text, .. } => Value::String(text.clone()),
            Shape::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Shape::Object(members) => Value::Object(
                members.iter().map(|(key, node)| (key.name.clone(), node.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Option<&Node> {
        let Shape::Object(members) = &self.shape else { return None };
        members.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The item at that index.
    pub(crate) fn item(&self, index: usize) -> Option<&Node> {
        let Shape::List(items) = &self.shape else { return None };
        items.get(index)
    }

    /// What stands at a JSON pointer; the deepest thing on the way there, where it leads to nothing.
    pub(crate) fn nearest(&self, pointer: &str) -> &Node {
        let mut at = self;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let below = match &at.shape {
                Shape::List(_) => name.parse().ok().and_then(|index| at.item(index)),
                _ => at.member(&name),
            };
            match below {
                Some(node) => at = node,
                None => break,
            }
        }
        at
    }

    /// "a text", "a list": what it is, in a message.
    pub(crate) fn noun(&self) -> &'static str {
        match self.shape {
            Shape::Null => "nothing",
            Shape::Bool(_) => "true or false",
            Shape::Number(_) => "a number",
            Shape::Text { .. } => "a text",
            Shape::List(_) => "a list",
            Shape::Object(_) => "an object",
        }
    }
}

/// An object that is being read. It remembers its names: looking them up in the list would be quadratic.
#[derive(Default)]
struct Members {
    list: Vec<(Key, Node)>,
    had: BTreeMap<String, Spot>,
}

impl Members {
    /// Refuses a name that is there already.
    fn open(&mut self, key: &Key) -> Result<(), Unreadable> {
        match self.had.insert(key.name.clone(), key.spot) {
            None => Ok(()),
            Some(had) => Err(Unreadable::new(
                key.spot,
                format!("`{}` stands here for the second time, first at {had}", key.name),
                "keep one of them",
            )),
        }
    }
}

fn too_deep(spot: Spot) -> Unreadable {
    Unreadable::new(spot, format!("nested deeper than {SOURCE_DEPTH} levels"), "flatten it")
}

fn too_many(spot: Spot) -> Unreadable {
    let what = format!("more than {SOURCE_NODES} values, those behind aliases counted each time");
    Unreadable::new(spot, what, "pass large inputs by reference, and use fewer aliases")
}

/// A number as it is written; whole numbers exactly or not at all.
fn number(text: &str) -> Result<Number, &'static str> {
    let whole = !text.contains(['.', 'e', 'E']);
    if whole {
        if let Ok(value) = text.parse::<i64>() {
            return Ok(value.into());
        }
        return match text.parse::<u64>() {
            Ok(value) => Ok(value.into()),
            Err(_) => Err("a whole number beyond 64 bits cannot be kept exactly"),
        };
    }
    let value: f64 = text.parse().map_err(|_| "no number")?;
    Number::from_f64(value).ok_or("a number beyond what a double can hold")
}

impl Node {
    /// That this is no definition at all.
    pub(crate) fn unreadable(&self) -> Unreadable {
        let what = format!("a definition is an object, this is {}", self.noun());
        Unreadable::new(self.spot, what, "write `id:` and `steps:`")
    }
}
