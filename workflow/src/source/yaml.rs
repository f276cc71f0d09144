//! YAML with places, from the events of the parser.

use super::{Key, Members, Node, SOURCE_DEPTH, SOURCE_NODES, Shape, Spot, Unreadable, number};
use super::{too_deep, too_many};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::BTreeMap;

pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| broken(&error))?;
        builder.take(event, span)?;
    }
    let nothing = Spot { line: 1, column: 1 };
    builder
        .root
        .ok_or_else(|| Unreadable::new(nothing, "there is no definition here", "write `id` and `steps`"))
}

fn broken(error: &ScanError) -> Unreadable {
    let spot = Spot { line: error.marker().line().max(1), column: error.marker().col() + 1 };
    Unreadable::new(spot, format!("this is no YAML: {}", error.info()), "correct the YAML here")
}

/// A list or an object that is not over yet.
struct Open {
    spot: Spot,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Object { members: Members, key: Option<Key> },
}

/// Puts events together. No recursion: a deep text costs no stack.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// What an anchor names, and how many nodes that is.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let spot = Spot { line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
                    let what = "an alias of something that is not finished, or not there";
                    return Err(Unreadable::new(spot, what, "put the anchor before it"));
                };
                // The node keeps the place where it is written: that is where it has to be mended.
                self.count(nodes, spot)?;
                self.put(node, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, spot)?;
                untagged(tag.is_some(), spot)?;
                let shape =
                    scalar(&text, style).map_err(|why| Unreadable::new(spot, why, "quote it as a text"))?;
                self.put(Node { spot, shape }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                untagged(tag.is_some(), spot)?;
                self.push(Open { spot, anchor, inside: Inside::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                untagged(tag.is_some(), spot)?;
                self.push(Open {
                    spot,
                    anchor,
                    inside: Inside::Object { members: Members::default(), key: None },
                })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                None => Ok(()),
                Some(Open { spot, anchor, inside: Inside::List(items) }) => {
                    self.put(Node { spot, shape: Shape::List(items) }, anchor)
                }
                Some(Open { spot, anchor, inside: Inside::Object { members, .. } }) => {
                    self.put(Node { spot, shape: Shape::Object(members.list) }, anchor)
                }
            },
        }
    }

    fn count(&mut self, nodes: usize, spot: Spot) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > SOURCE_NODES { Err(too_many(spot)) } else { Ok(()) }
    }

    fn push(&mut self, open: Open) -> Result<(), Unreadable> {
        self.count(1, open.spot)?;
        if self.open.len() >= SOURCE_DEPTH {
            return Err(too_deep(open.spot));
        }
        self.open.push(open);
        Ok(())
    }

    /// A finished node goes where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        if anchor != 0 {
            let nodes = weight(&node);
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        if self.open.len() + depth(&node) > SOURCE_DEPTH {
            return Err(too_deep(node.spot));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None if self.root.is_some() => Err(Unreadable::new(
                node.spot,
                "a second document in one text",
                "put each in a file of its own",
            )),
            None => {
                self.root = Some(node);
                Ok(())
            }
            Some(Inside::List(items)) => {
                items.push(node);
                Ok(())
            }
            Some(Inside::Object { members, key }) => match key.take() {
                Some(key) => {
                    members.list.push((key, node));
                    Ok(())
                }
                None => {
                    let new = named(node)?;
                    members.open(&new)?;
                    *key = Some(new);
                    Ok(())
                }
            },
        }
    }
}

/// A node as a member's name.
fn named(node: Node) -> Result<Key, Unreadable> {
    match node.shape {
        Shape::Text { text, .. } if text == "<<" => Err(Unreadable::new(
            node.spot,
            "merge keys (`<<`) are not read",
            "write the members out, or use an alias",
        )),
        Shape::Text { text, .. } => Ok(Key { spot: node.spot, name: text }),
        _ => {
            let what = format!("the name of a member has to be a text, this is {}", node.noun());
            Err(Unreadable::new(node.spot, what, "put it in quotes"))
        }
    }
}

fn untagged(tagged: bool, spot: Spot) -> Result<(), Unreadable> {
    if !tagged {
        return Ok(());
    }
    Err(Unreadable::new(spot, "YAML tags (`!…`) are not read", "leave the tag out, and quote what is a text"))
}

/// How many nodes it is. Anchored nodes alone are counted, once each, and what they hold is within the limit already.
fn weight(node: &Node) -> usize {
    1 + match &node.shape {
        Shape::List(items) => items.iter().map(weight).sum(),
        Shape::Object(members) => members.iter().map(|(_, node)| 1 + weight(node)).sum(),
        _ => 0,
    }
}

/// Levels of lists and objects in it; looked at only where an alias may have put depth into depth.
fn depth(node: &Node) -> usize {
    match &node.shape {
        Shape::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Shape::Object(members) => 1 + members.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
        _ => 0,
    }
}

/// A scalar by the core schema of YAML 1.2: `yes` and `no` are texts.
fn scalar(text: &str, style: ScalarStyle) -> Result<Shape, &'static str> {
    let inset = match style {
        ScalarStyle::Plain => Some(0),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Some(1),
        _ => None,
    };
    let as_text = Shape::Text { text: text.to_owned(), inset };
    if !matches!(style, ScalarStyle::Plain) {
        return Ok(as_text);
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Shape::Null,
        "true" | "True" | "TRUE" => Shape::Bool(true),
        "false" | "False" | "FALSE" => Shape::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "-.inf" | "-.Inf" | "-.INF" | "+.inf"
        | "+.Inf" | "+.INF" => return Err("there is no such number in JSON"),
        _ => match numeric(text)? {
            Some(shape) => shape,
            None => as_text,
        },
    })
}

fn numeric(text: &str) -> Result<Option<Shape>, &'static str> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) =
            text.strip_prefix(prefix).filter(|digits| digits.chars().all(|c| c.is_digit(radix)))
        {
            if digits.is_empty() {
                return Ok(None);
            }
            let value = u64::from_str_radix(digits, radix).map_err(|_| "a whole number beyond 64 bits")?;
            return Ok(Some(Shape::Number(value.into())));
        }
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.chars().any(|c| c.is_ascii_digit())
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c))
        && digits.parse::<f64>().is_ok();
    if !is_number {
        return Ok(None);
    }
    number(text.strip_prefix('+').unwrap_or(text)).map(|value| Some(Shape::Number(value)))
}
