//! What expressions say, and whether what they read is there by then.

use super::order::{visible, visible_from_outside};
use crate::definition::{Definition, Kind, Step, Wait};
use crate::expression::{Expression, Read, TYPES, Template, Value};
use crate::graph::Graph;
use crate::problem::{Finds, nearest_of};
use crate::schema::excluded;
use crate::workflow::{Outline, Role};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// What `steps.<id>` has.
const OF_A_STEP: [&str; 5] = ["output", "status", "error", "confidence", "advice"];
/// What `run` has.
const OF_A_RUN: [&str; 4] = ["id", "workflow_id", "started_at", "labels"];

pub(super) fn all(definition: &Definition, outline: &Outline, graph: &Graph, finds: &mut Finds<'_>) {
    let acyclic = graph.topological_order().is_ok();
    for (number, place) in outline.places.iter().enumerate() {
        let Some(step) = outline.step(definition, number) else { continue };
        let around = Around { definition, outline, graph, acyclic, step: Some(number) };
        let mut look = Look { around, before: None, own: Vec::new(), finds };
        look.step(step, &place.pointer);
    }
    if let Some(output) = &definition.output {
        let around = Around { definition, outline, graph, acyclic, step: None };
        Look { around, before: None, own: Vec::new(), finds }.template(output, "/output");
    }
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Around<'a> {
    definition: &'a Definition,
    outline: &'a Outline,
    graph: &'a Graph,
    /// Without that, nothing can be said about what precedes.
    acyclic: bool,
    /// In which step; none for the run's output.
    step: Option<usize>,
}

struct Look<'a, 'f, 'n> {
    around: Around<'a>,
    /// What precedes the step, once it is asked for.
    before: Option<BTreeSet<usize>>,
    /// Names that there are here alone.
    own: Vec<&'static str>,
    finds: &'f mut Finds<'n>,
}

impl Look<'_, '_, '_> {
    fn step(&mut self, step: &Step, pointer: &str) {
        let at = |name: &str| format!("{pointer}/{name}");
        if let Some(when) = &step.when
            && self.decision(when, &at("when")) == Some(false)
        {
            let what = format!("`{}` is unreachable: its `when` is false in every run", step.id);
            self.finds.at(at("when"), what, "correct the expression, or take the step away");
        }
        if let Some(key) = &step.save_as {
            self.template(&Json::String(key.clone()), &at("save_as"));
        }
        let inside = at(step.kind.name());
        let at = |name: &str| format!("{inside}/{name}");
        match &step.kind {
            Kind::Task(task) => self.template(&task.input, &at("input")),
            Kind::Agent(agent) => {
                self.template(&Json::String(agent.agent_id.clone()), &at("agent_id"));
                self.template(&agent.input, &at("input"));
            }
            Kind::Condition(condition) => {
                let (never, which) = match self.decision(&condition.r#if, &at("if")) {
                    Some(true) => (condition.r#else.first(), "false"),
                    Some(false) => (condition.then.first(), "true"),
                    None => (None, ""),
                };
                if let Some(never) = never {
                    let what = format!("`{}` is unreachable: this is never {which}", never.id);
                    self.finds.at(at("if"), what, "correct the expression, or take that branch away");
                }
            }
            Kind::Map(map) => self.items(
                &map.items,
                &at("items"),
                map.max_items.unwrap_or(crate::definition::MAP_ITEMS_MAX),
            ),
            Kind::Negotiation(negotiation) => {
                self.template(&negotiation.question, &at("question"));
                self.template(&negotiation.rules, &at("rules"));
                self.template(&negotiation.participants, &at("participants"));
            }
            Kind::Approval(approval) => {
                self.template(&Json::String(approval.title.clone()), &at("title"));
                self.template(&approval.show, &at("show"));
                for (i, name) in approval.approvers.iter().enumerate() {
                    self.template(&Json::String(name.clone()), &at(&format!("approvers/{i}")));
                }
                if let Some(revise) = &approval.revise {
                    self.precedes(revise.step.as_str(), &at("revise/step"), None);
                }
            }
            Kind::Wait(Wait::Until(time)) => drop(self.expression(time, &at("until"))),
            Kind::Wait(_) | Kind::Parallel(_) | Kind::Sequential(_) => {}
        }
        if let Some(consult) = &step.consult {
            self.own = vec!["output", "confidence"];
            if let Some(when) = &consult.when {
                self.decision(when, &format!("{pointer}/consult/when"));
            }
            self.template(&consult.input, &format!("{pointer}/consult/input"));
            self.own.clear();
        }
    }

    /// An expression that has to give true or false; which, where it is the same in every run.
    fn decision(&mut self, text: &str, pointer: &str) -> Option<bool> {
        match self.constant(text, pointer)? {
            Value::Bool(value) => Some(value),
            other => {
                let what = format!("this gives {}", other.noun());
                self.finds.at(pointer, what, "it has to give true or false: compare it with something");
                None
            }
        }
    }

    fn items(&mut self, text: &str, pointer: &str, most: u32) {
        match self.constant(text, pointer) {
            None => {}
            Some(Value::List(items)) if items.len() > most as usize => {
                let what = format!("{} items, the limit is {most}", items.len());
                self.finds.at(pointer, what, "raise `max_items`, up to 10,000, or put several into one item");
            }
            Some(Value::List(_)) => {}
            Some(other) => {
                self.finds.at(pointer, format!("this gives {}", other.noun()), "it has to give a list");
            }
        }
    }

    /// The value of an expression that reads nothing.
    fn constant(&mut self, text: &str, pointer: &str) -> Option<Value> {
        let expression = self.expression(text, pointer)?;
        match expression.constant()? {
            Ok(value) => Some(value),
            Err(error) => {
                self.finds.at(pointer, format!("this fails in every run: {error}"), "correct the expression");
                None
            }
        }
    }

    fn expression(&mut self, text: &str, pointer: &str) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => {
                self.reads(&expression, pointer, 0);
                Some(expression)
            }
            Err(error) => {
                self.finds.within(pointer, error.at, error.what, error.mend);
                None
            }
        }
    }

    fn template(&mut self, json: &Json, pointer: &str) {
        match Template::parse(json) {
            Ok(template) => {
                for placed in template.expressions() {
                    self.reads(&placed.expression, &format!("{pointer}{}", placed.pointer), placed.at);
                }
            }
            Err(errors) => {
                for error in errors {
                    self.finds.within(
                        &format!("{pointer}{}", error.pointer),
                        error.at,
                        error.what,
                        error.mend,
                    );
                }
            }
        }
    }

    /// Everything that an expression reads, which begins `offset` characters into its text.
    fn reads(&mut self, expression: &Expression, pointer: &str, offset: usize) {
        for read in expression.reads().iter() {
            let at = offset + read.at;
            let Some(root) = read.path.first() else { continue };
            match root.as_str() {
                "steps" => self.step_read(read, pointer, at),
                "input" => {
                    let schema = self.around.definition.input_schema.as_ref();
                    self.field(schema, &read.path, 1, read.tested, (pointer, at));
                }
                "run" => {
                    if let Some(name) = read.path.get(1).filter(|name| !OF_A_RUN.contains(&name.as_str())) {
                        self.finds.within(
                            pointer,
                            at,
                            format!("there is no `run.{name}`"),
                            nearest_of(name, OF_A_RUN),
                        );
                    }
                }
                "google"
                    if ["Timestamp", "Duration"].iter().any(|name| read.path[1..] == ["protobuf", *name]) => {
                }
                name => {
                    let names = self.names();
                    // The name of a type, as `type(…) == int` has it, is no value of the run.
                    let of_type = read.path.len() == 1 && TYPES.contains(&name);
                    if !of_type && !names.iter().any(|known| known == name) {
                        let mend = nearest_of(name, names.iter().map(String::as_str));
                        self.finds.within(pointer, at, format!("there is no `{name}` here"), mend);
                    }
                }
            }
        }
    }

    fn step_read(&mut self, read: &Read, pointer: &str, at: usize) {
        let Some(id) = read.path.get(1) else {
            let mend = "write `steps.<id>`, so that it is known which steps have to be over";
            self.finds.within(pointer, at, "all steps at once cannot be read", mend);
            return;
        };
        let Some(number) = self.precedes(id, pointer, Some(at)) else { return };
        let Some(field) = read.path.get(2) else { return };
        if !OF_A_STEP.contains(&field.as_str()) {
            let mend = match nearest_of(field, OF_A_STEP) {
                guess if guess.starts_with("did") => guess,
                _ => format!("its result is `steps.{id}.output`"),
            };
            self.finds.within(pointer, at, format!("there is no `steps.{id}.{field}`"), mend);
        } else if field == "output" {
            let Around { definition, outline, .. } = self.around;
            let schema = outline.step(definition, number).and_then(|step| step.output_schema.as_ref());
            self.field(schema, &read.path, 3, read.tested, (pointer, at));
        }
    }

    /// A field that a schema excludes.
    fn field(
        &mut self,
        schema: Option<&Json>,
        path: &[String],
        from: usize,
        tested: bool,
        place: (&str, usize),
    ) {
        let Some(schema) = schema.filter(|_| !tested && path.len() > from) else { return };
        if let Some((i, there)) = excluded(schema, &path[from..]) {
            let name = &path[from + i];
            let what = format!(
                "`{}` cannot be there: the schema of `{}` has no `{name}`",
                path.join("."),
                path[..from].join(".")
            );
            self.finds.within(place.0, place.1, what, nearest_of(name, there));
        }
    }

    /// The number of a step that has to be over before this one starts; nothing, and a problem, where it is not.
    fn precedes(&mut self, id: &str, pointer: &str, at: Option<usize>) -> Option<usize> {
        let Around { definition, outline, acyclic, step, graph } = self.around;
        let problem = |finds: &mut Finds<'_>, what: String, mend: String| match at {
            Some(at) => finds.within(pointer, at, what, mend),
            None => finds.at(pointer, what, mend),
        };
        let Some((_, &number)) = outline.numbers.iter().find(|(known, _)| known.as_str() == id) else {
            let names = outline.places.iter().map(|place| place.id.as_str());
            problem(self.finds, format!("there is no step `{id}`"), nearest_of(id, names));
            return None;
        };
        let hidden = match step {
            Some(from) => visible(outline, from, number),
            None => visible_from_outside(outline, number),
        };
        if let Err((what, mend)) = hidden {
            problem(self.finds, what, mend);
            return None;
        }
        let Some(from) = step.filter(|_| acyclic) else { return Some(number) };
        // What a fallback replaces has failed by then.
        let replaces = std::iter::once(from)
            .chain(outline.around(from))
            .any(|at| outline.places[at].role == Role::Fallback && outline.places[at].parent == Some(number));
        let before = self.before.get_or_insert_with(|| {
            let gate = outline.gate(definition, from);
            gate.iter().flat_map(|at| graph.ancestors(*at)).chain(gate.iter().copied()).collect()
        });
        if replaces || before.contains(&number) {
            return Some(number);
        }
        let from = &outline.places[from].id;
        let (what, mend) = if from.as_str() == id {
            (
                format!("`{id}` reads what it is to produce itself"),
                "read another step, or the input".to_owned(),
            )
        } else {
            (
                format!("`{id}` does not precede `{from}`, so that it may not be over"),
                format!("add `{id}` to `depends_on` of `{from}`"),
            )
        };
        problem(self.finds, what, mend);
        None
    }

    /// The names that may be read here.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            ["input", "run", "steps"].iter().map(|name| (*name).to_owned()).collect();
        names.extend(self.own.iter().map(|name| (*name).to_owned()));
        let Around { definition, outline, step, .. } = self.around;
        let mut at = step;
        while let Some(number) = at {
            let place = &outline.places[number];
            at = place.parent;
            if let (Role::Body, Some(Kind::Map(map))) = (
                place.role,
                place.parent.and_then(|map| outline.step(definition, map)).map(|step| &step.kind),
            ) {
                names.push("index".to_owned());
                names.push(map.r#as.clone().unwrap_or_else(|| "item".to_owned()));
            }
        }
        names
    }
}
