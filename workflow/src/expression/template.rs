//! JSON with expressions in its texts: `"${{ steps.draft.output }}"`.
//!
//! A text that is one expression becomes its value, of whatever kind; expressions within a text are put into it: texts as
//! they are (points in time, spans and bytes as the texts that JSON has for them), everything else as JSON. `$${{` stands for `${{`.

use super::evaluate::EvalError;
use super::quoting::{Within, characters};
use super::{Expression, RESULT_BYTES, Scope, Value};
use serde_json::{Map, Value as Json};

/// What is wrong with an expression of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The text that has it, as a JSON pointer into the template.
    pub pointer: String,
    /// Characters before the place in that text.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// Parsed JSON with expressions.
#[derive(Clone, Debug)]
pub struct Template {
    root: Part,
    expressions: Vec<Placed>,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The text that has it, as a JSON pointer into the template.
    pub pointer: String,
    /// Characters before the expression in that text.
    pub at: usize,
    /// It.
    pub expression: Expression,
}

#[derive(Clone, Debug)]
enum Part {
    Fixed(Json),
    Whole(Expression),
    Mixed(Vec<Piece>),
    List(Vec<Part>),
    Object(Vec<(String, Part)>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Computed(Expression),
}

impl Template {
    /// Parses all expressions in it.
    ///
    /// # Errors
    /// Every expression that is none.
    pub fn parse(json: &Json) -> Result<Template, Vec<TemplateError>> {
        let mut reader = Reader::default();
        let root = reader.part(json, "");
        if reader.errors.is_empty() {
            Ok(Template { root, expressions: reader.expressions })
        } else {
            Err(reader.errors)
        }
    }

    /// Every expression in it, with its place.
    pub fn expressions(&self) -> impl Iterator<Item = &Placed> {
        self.expressions.iter()
    }

    /// The JSON with every expression replaced by its value.
    ///
    /// # Errors
    /// The first expression that has no value; [`EvalError::TooLarge`] where all together are larger than a payload may be.
    pub fn fill(&self, scope: &Scope) -> Result<Json, EvalError> {
        let filled = fill(&self.root, scope)?;
        // The parts are bounded one by one; this bounds them together.
        Value::of(&filled).json().map(|_| filled)
    }
}

fn fill(part: &Part, scope: &Scope) -> Result<Json, EvalError> {
    Ok(match part {
        Part::Fixed(json) => json.clone(),
        Part::Whole(expression) => expression.evaluate(scope)?.json()?,
        Part::Mixed(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(piece) => text.push_str(piece),
                    Piece::Computed(expression) => match expression.evaluate(scope)? {
                        Value::Text(value) => text.push_str(&value),
                        value => match value.json()? {
                            Json::String(value) => text.push_str(&value),
                            value => text.push_str(&value.to_string()),
                        },
                    },
                }
                if text.len() > RESULT_BYTES {
                    return Err(EvalError::TooLarge);
                }
            }
            Json::String(text)
        }
        Part::List(parts) => {
            Json::Array(parts.iter().map(|part| fill(part, scope)).collect::<Result<_, _>>()?)
        }
        Part::Object(parts) => Json::Object(
            parts
                .iter()
                .map(|(name, part)| Ok((name.clone(), fill(part, scope)?)))
                .collect::<Result<Map<_, _>, EvalError>>()?,
        ),
    })
}

#[derive(Default)]
struct Reader {
    errors: Vec<TemplateError>,
    expressions: Vec<Placed>,
}

impl Reader {
    fn part(&mut self, json: &Json, pointer: &str) -> Part {
        match json {
            Json::String(text) => self.text(text, pointer),
            Json::Array(items) => Part::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.part(item, &format!("{pointer}/{i}")))
                    .collect(),
            ),
            Json::Object(members) => Part::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.part(value, &below(pointer, name))))
                    .collect(),
            ),
            fixed => Part::Fixed(fixed.clone()),
        }
    }

    fn text(&mut self, text: &str, pointer: &str) -> Part {
        let (mut pieces, mut fixed, mut rest) = (Vec::new(), String::new(), text);
        while let Some(start) = rest.find("${{") {
            if rest[..start].ends_with('$') {
                fixed.push_str(&rest[..start - 1]);
                fixed.push_str("${{");
                rest = &rest[start + 3..];
                continue;
            }
            fixed.push_str(&rest[..start]);
            let inside = &rest[start + 3..];
            let chars_before = text[..text.len() - inside.len()].chars().count();
            let Some(end) = end_of(inside) else {
                self.refuse(pointer, chars_before - 3, "`${{` without its `}}`", "write `${{ expression }}`");
                return Part::Fixed(Json::Null);
            };
            let skipped = inside[..end].chars().take_while(|c| c.is_whitespace()).count();
            let at = chars_before + skipped;
            match Expression::parse(inside[..end].trim()) {
                Ok(expression) => {
                    self.expressions.push(Placed {
                        pointer: pointer.to_owned(),
                        at,
                        expression: expression.clone(),
                    });
                    if !fixed.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut fixed)));
                    }
                    pieces.push(Piece::Computed(expression));
                }
                Err(error) => self.refuse(pointer, at + error.at, error.what, error.mend),
            }
            rest = &inside[end + 2..];
        }
        fixed.push_str(rest);
        match pieces.as_slice() {
            [] => Part::Fixed(Json::String(fixed)),
            [Piece::Computed(expression)] if fixed.is_empty() => Part::Whole(expression.clone()),
            _ => {
                if !fixed.is_empty() {
                    pieces.push(Piece::Text(fixed));
                }
                Part::Mixed(pieces)
            }
        }
    }

    fn refuse(&mut self, pointer: &str, at: usize, what: impl Into<String>, mend: impl Into<String>) {
        let (pointer, what, mend) = (pointer.to_owned(), what.into(), mend.into());
        self.errors.push(TemplateError { pointer, at, what, mend });
    }
}

/// A pointer one level further down.
pub(crate) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Where `}}` ends the expression: outside its strings and its own braces.
fn end_of(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c, within) in characters(text) {
        match (within, c) {
            (Within::Code, '{') => depth += 1,
            (Within::Code, '}') if depth > 0 => depth -= 1,
            (Within::Code | Within::Comment, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}
