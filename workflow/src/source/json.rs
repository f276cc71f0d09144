//! JSON with places. serde_json judges the text first, so that what is walked here is known to be JSON.

use super::{Key, Members, Node, SOURCE_DEPTH, SOURCE_NODES, Shape, Spot, Unreadable, number};
use super::{too_deep, too_many};
use serde::de::IgnoredAny;

pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Err(error) = synod_protocol::limits::check_nesting(text.as_bytes(), SOURCE_DEPTH) {
        return Err(Unreadable::new(Spot { line: 1, column: 1 }, error.message, "flatten it"));
    }
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let spot = Spot { line: error.line().max(1), column: error.column().max(1) };
        let said = error.to_string();
        let what = said.split(" at line ").next().unwrap_or(&said).to_owned();
        return Err(Unreadable::new(spot, format!("this is no JSON: {what}"), "correct the JSON here"));
    }
    let mut reader = Reader { text, at: 0, spot: Spot { line: 1, column: 1 }, nodes: 0 };
    reader.value(0)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    spot: Spot,
    nodes: usize,
}

impl<'a> Reader<'a> {
    /// The characters up to the first that is not wanted; the place moves with them.
    fn take(&mut self, mut wanted: impl FnMut(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        for c in rest[..length].chars() {
            if c == '\n' {
                self.spot = Spot { line: self.spot.line + 1, column: 1 };
            } else {
                self.spot.column += 1;
            }
        }
        self.at += length;
        &rest[..length]
    }

    fn one(&mut self) {
        let mut first = true;
        self.take(|_| std::mem::take(&mut first));
    }

    fn next(&mut self) -> Option<char> {
        self.take(|c| c.is_ascii_whitespace());
        self.text[self.at..].chars().next()
    }

    fn value(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let first = self.next();
        let spot = self.spot;
        self.nodes += 1;
        if self.nodes > SOURCE_NODES {
            return Err(too_many(spot));
        }
        if depth > SOURCE_DEPTH {
            return Err(too_deep(spot));
        }
        let shape = match first {
            Some('{') => self.object(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Shape::Text { text: self.string()?, inset: None },
            _ => match self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
                "true" => Shape::Bool(true),
                "false" => Shape::Bool(false),
                "null" => Shape::Null,
                digits => Shape::Number(
                    number(digits).map_err(|why| Unreadable::new(spot, why, "write it as a text"))?,
                ),
            },
        };
        Ok(Node { spot, shape })
    }

    fn list(&mut self, depth: usize) -> Result<Shape, Unreadable> {
        self.one();
        let mut items = Vec::new();
        while let Some(c) = self.next() {
            match c {
                ']' => {
                    self.one();
                    break;
                }
                ',' => self.one(),
                _ => items.push(self.value(depth + 1)?),
            }
        }
        Ok(Shape::List(items))
    }

    fn object(&mut self, depth: usize) -> Result<Shape, Unreadable> {
        self.one();
        let mut members = Members::default();
        while let Some(c) = self.next() {
            match c {
                '}' => {
                    self.one();
                    break;
                }
                ',' => self.one(),
                _ => {
                    let key = Key { spot: self.spot, name: self.string()? };
                    members.open(&key)?;
                    self.next();
                    self.one(); // the colon
                    members.list.push((key, self.value(depth + 1)?));
                }
            }
        }
        Ok(Shape::Object(members.list))
    }

    fn string(&mut self) -> Result<String, Unreadable> {
        let (start, spot) = (self.at, self.spot);
        self.one();
        let mut escaped = false;
        self.take(|c| {
            let inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
            inside
        });
        self.one();
        serde_json::from_str(&self.text[start..self.at]).map_err(|error| {
            Unreadable::new(spot, format!("this is no text: {error}"), "correct the JSON here")
        })
    }
}
