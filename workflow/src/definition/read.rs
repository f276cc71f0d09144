//! From the tree to the types: every field by its name, every mistake with its place, and on to the next.

use super::{
    Approval, BLOCK_NESTING, Condition, Definition, Kind, MapOver, Negotiate, Parallel, STEPS_MAX,
    Sequential, Step, StepId, Task,
};
use crate::expression::below;
use crate::problem::{Finds, nearest_of};
use crate::source::{Node, Shape};
use serde::de::DeserializeOwned;

/// The fields that say what a step is.
const KINDS: [&str; 9] =
    ["task", "agent", "condition", "parallel", "sequential", "map", "negotiation", "approval", "wait"];

/// Reads a definition. Nothing where something essential is missing; then at least one problem was found.
pub(crate) fn definition(root: &Node, finds: &mut Finds<'_>) -> Option<Definition> {
    let mut fields = Fields::of(root, "", "a definition", finds)?;
    let mut reader = Steps { count: 0 };
    let definition = Definition {
        id: fields.needed("id", finds).unwrap_or_default(),
        description: fields.leaf("description", finds),
        labels: fields.leaf("labels", finds).unwrap_or_default(),
        input_schema: fields.leaf("input_schema", finds),
        deadline_ms: fields.leaf("deadline_ms", finds),
        concurrency: fields.leaf("concurrency", finds),
        budget: fields.leaf("budget", finds),
        output: fields.leaf("output", finds),
        steps: reader.list(&mut fields, "steps", 0, finds),
    };
    fields.end(finds);
    Some(definition)
}

/// Counts steps while they are read, so that a million of them are refused after a thousand.
struct Steps {
    count: usize,
}

impl Steps {
    /// A list of steps that has to have at least one.
    fn list(
        &mut self,
        fields: &mut Fields<'_>,
        name: &'static str,
        depth: usize,
        finds: &mut Finds<'_>,
    ) -> Vec<Step> {
        let Some((node, pointer)) = fields.take(name) else {
            let pointer = fields.pointer.clone();
            finds.at(pointer, format!("`{name}` is missing"), format!("write `{name}:` and a list of steps"));
            return Vec::new();
        };
        self.all(node, &pointer, depth, finds)
    }

    fn all(&mut self, node: &Node, pointer: &str, depth: usize, finds: &mut Finds<'_>) -> Vec<Step> {
        let Shape::List(items) = &node.shape else {
            finds.at(
                pointer,
                format!("a list of steps is needed here, this is {}", node.noun()),
                "begin each with `- id:`",
            );
            return Vec::new();
        };
        if items.is_empty() {
            finds.at(pointer, "there is no step here", "write at least one");
        }
        let mut steps = Vec::new();
        for (i, item) in items.iter().enumerate() {
            if self.count > STEPS_MAX {
                break;
            }
            steps.extend(self.step(item, format!("{pointer}/{i}"), depth, finds));
        }
        steps
    }

    fn step(&mut self, node: &Node, pointer: String, depth: usize, finds: &mut Finds<'_>) -> Option<Step> {
        self.count += 1;
        if self.count == STEPS_MAX + 1 {
            let what = format!(
                "this is step {}, the limit is {STEPS_MAX} in one definition, blocks included",
                self.count
            );
            finds.at(pointer, what, "use a `map` step for what is alike, or several workflows");
            return None;
        }
        if depth > BLOCK_NESTING {
            let what = format!("blocks are nested deeper than {BLOCK_NESTING} levels here");
            finds.at(pointer, what, "use `depends_on` instead of a block in a block");
            return None;
        }
        let mut fields = Fields::of(node, &pointer, "a step", finds)?;
        let id: Option<StepId> = fields.needed("id", finds);
        let kind = self.kind(&mut fields, depth, finds);
        let fallback = fields.take("fallback");
        let fallback =
            fallback.and_then(|(node, pointer)| self.step(node, pointer, depth + 1, finds).map(Box::new));
        let (description, depends_on) = (fields.leaf("description", finds), fields.leaf("depends_on", finds));
        let (when, timeout_ms) = (fields.leaf("when", finds), fields.leaf("timeout_ms", finds));
        let (retry, priority) = (fields.leaf("retry", finds), fields.leaf("priority", finds));
        let (on_failure, consult) = (fields.leaf("on_failure", finds), fields.leaf("consult", finds));
        let (output_schema, save_as) = (fields.leaf("output_schema", finds), fields.leaf("save_as", finds));
        fields.end(finds);
        let step = Step {
            id: id?,
            description,
            depends_on: depends_on.unwrap_or_default(),
            when,
            timeout_ms,
            retry,
            priority,
            on_failure,
            fallback,
            output_schema,
            consult,
            save_as,
            kind: kind?,
        };
        finds.limits(|finds| crate::check::limits_of(&step, &pointer, finds));
        Some(step)
    }

    /// The one field that says what the step is.
    fn kind(&mut self, fields: &mut Fields<'_>, depth: usize, finds: &mut Finds<'_>) -> Option<Kind> {
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
        let &[kind] = kinds.as_slice() else {
            let (what, mend) = match kinds.as_slice() {
                [] => (
                    "what kind of step this is is missing".into(),
                    format!("write one of {}", KINDS.join(", ")),
                ),
                several => (
                    format!("this step is of several kinds: {}", several.join(", ")),
                    "keep one of them".into(),
                ),
            };
            kinds.iter().for_each(|kind| drop(fields.take(kind)));
            // A misspelt kind is named as an unknown field; that nothing is there would be said twice.
            if !kinds.is_empty() || !fields.has_unknown(step_fields()) {
                finds.at(fields.pointer.clone(), what, mend);
            }
            return None;
        };
        Some(match kind {
            "task" => Kind::Task(fields.leaf::<Task>("task", finds)?),
            "agent" => Kind::Agent(fields.leaf("agent", finds)?),
            "negotiation" => Kind::Negotiation(fields.leaf::<Negotiate>("negotiation", finds)?),
            "approval" => Kind::Approval(fields.leaf::<Approval>("approval", finds)?),
            "wait" => Kind::Wait(fields.leaf("wait", finds)?),
            block => {
                let (node, pointer) = fields.take(block)?;
                let mut inside = Fields::of(node, &pointer, block, finds)?;
                let kind = self.block(block, &mut inside, depth + 1, finds);
                inside.end(finds);
                kind?
            }
        })
    }

    fn block(
        &mut self,
        name: &str,
        inside: &mut Fields<'_>,
        depth: usize,
        finds: &mut Finds<'_>,
    ) -> Option<Kind> {
        Some(match name {
            "condition" => {
                let r#if = inside.needed("if", finds);
                let then = self.list(inside, "then", depth, finds);
                let r#else = inside.take("else");
                let r#else =
                    r#else.map(|(node, pointer)| self.all(node, &pointer, depth, finds)).unwrap_or_default();
                Kind::Condition(Condition { r#if: r#if?, then, r#else })
            }
            "parallel" => Kind::Parallel(Parallel {
                steps: self.list(inside, "steps", depth, finds),
                concurrency: inside.leaf("concurrency", finds),
                join: inside.leaf("join", finds),
            }),
            "sequential" => Kind::Sequential(Sequential { steps: self.list(inside, "steps", depth, finds) }),
            _ => {
                let items = inside.needed("items", finds);
                let (named, concurrency) = (inside.leaf("as", finds), inside.leaf("concurrency", finds));
                let (max_items, join) = (inside.leaf("max_items", finds), inside.leaf("join", finds));
                let Some((node, pointer)) = inside.take("step") else {
                    finds.at(
                        inside.pointer.clone(),
                        "`step` is missing",
                        "write `step:` and what is done for each item",
                    );
                    return None;
                };
                let step = self.step(node, pointer, depth, finds);
                let step = Box::new(step?);
                Kind::Map(MapOver { items: items?, r#as: named, step, concurrency, max_items, join })
            }
        })
    }
}

/// The fields of a step, whatever its kind.
fn step_fields() -> &'static [&'static str] {
    &[
        "id",
        "description",
        "depends_on",
        "when",
        "timeout_ms",
        "retry",
        "priority",
        "on_failure",
        "fallback",
        "output_schema",
        "consult",
        "save_as",
    ]
}

/// The members of an object, each asked for by its name; what was never asked for is unknown.
struct Fields<'n> {
    node: &'n Node,
    pointer: String,
    noun: &'static str,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    fn of(node: &'n Node, pointer: &str, noun: &str, finds: &mut Finds<'_>) -> Option<Fields<'n>> {
        let noun = KINDS
            .into_iter()
            .chain(["a step", "a definition"])
            .find(|known| *known == noun)
            .unwrap_or("this");
        if !matches!(node.shape, Shape::Object(_)) {
            let what = format!("{noun} is an object, this is {}", node.noun());
            finds.at(pointer, what, "write its fields as `name: value`");
            return None;
        }
        Some(Fields { node, pointer: pointer.to_owned(), noun, asked: Vec::new() })
    }

    fn has(&mut self, name: &'static str) -> bool {
        self.asked.push(name);
        self.node.member(name).is_some()
    }

    fn has_unknown(&self, known: &[&str]) -> bool {
        let Shape::Object(members) = &self.node.shape else { return false };
        members
            .iter()
            .any(|(key, _)| !known.contains(&key.name.as_str()) && !KINDS.contains(&key.name.as_str()))
    }

    /// A member and its pointer; null is as absent.
    fn take(&mut self, name: &str) -> Option<(&'n Node, String)> {
        if let Some(known) =
            KINDS.iter().chain(step_fields()).chain(&BLOCK_FIELDS).find(|known| **known == name)
        {
            self.asked.push(known);
        }
        let node = self.node.member(name).filter(|node| node.shape != Shape::Null)?;
        Some((node, below(&self.pointer, name)))
    }

    fn leaf<T: DeserializeOwned>(&mut self, name: &str, finds: &mut Finds<'_>) -> Option<T> {
        let (node, pointer) = self.take(name)?;
        match serde_path_to_error::deserialize(node.value()) {
            Ok(value) => Some(value),
            Err(error) => {
                let mut at = pointer;
                for part in error.path().iter() {
                    match part {
                        serde_path_to_error::Segment::Seq { index } => at = format!("{at}/{index}"),
                        serde_path_to_error::Segment::Map { key } => at = below(&at, key),
                        _ => {}
                    }
                }
                let (what, mend) = explained(&error.inner().to_string());
                finds.at(at, what, mend);
                None
            }
        }
    }

    fn needed<T: DeserializeOwned>(&mut self, name: &str, finds: &mut Finds<'_>) -> Option<T> {
        if self.take(name).is_none() {
            let what = format!("`{name}` is missing in {}", self.noun);
            finds.at(self.pointer.clone(), what, format!("write `{name}:` here"));
            return None;
        }
        self.leaf(name, finds)
    }

    /// Names what was not asked for.
    fn end(self, finds: &mut Finds<'_>) {
        let Shape::Object(members) = &self.node.shape else { return };
        for (key, _) in members {
            if !self.asked.contains(&key.name.as_str()) {
                let (pointer, mend) =
                    (below(&self.pointer, &key.name), nearest_of(&key.name, self.asked.iter().copied()));
                finds.named(
                    key.spot,
                    pointer,
                    format!("there is no field `{}` in {}", key.name, self.noun),
                    mend,
                );
            }
        }
    }
}

/// Fields of definitions and blocks.
const BLOCK_FIELDS: [&str; 16] = [
    "steps",
    "concurrency",
    "join",
    "if",
    "then",
    "else",
    "items",
    "as",
    "max_items",
    "step",
    "labels",
    "input_schema",
    "deadline_ms",
    "budget",
    "output",
    "id",
];

/// serde's words as a sentence and its mend.
fn explained(said: &str) -> (String, String) {
    let names: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    if let (true, [meant, there @ ..]) = (said.starts_with("unknown field "), names.as_slice()) {
        return (format!("there is no field `{meant}` here"), nearest_of(meant, there.iter().copied()));
    }
    if let (true, [meant, there @ ..]) = (said.starts_with("unknown variant "), names.as_slice()) {
        return (format!("`{meant}` is not known here"), nearest_of(meant, there.iter().copied()));
    }
    if let (true, [missing, ..]) = (said.starts_with("missing field "), names.as_slice()) {
        return (format!("`{missing}` is missing"), format!("write `{missing}:` here"));
    }
    if let Some((met, wanted)) =
        said.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return (format!("this is {met}"), needed(wanted));
    }
    if let Some((met, wanted)) =
        said.strip_prefix("invalid value: ").and_then(|rest| rest.split_once(", expected "))
    {
        return (format!("this is {met}"), needed(wanted));
    }
    (said.to_owned(), "correct it".into())
}

/// Rust's names of what is wanted, in words.
fn needed(wanted: &str) -> String {
    let words = match wanted {
        "u8" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "f32" | "f64" => "a number",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("enum ") || other.contains("enum") => "one of its names",
        other => other,
    };
    format!("{words} is needed")
}
