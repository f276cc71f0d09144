//! What expressions of a run see: only what they read is brought together.

use super::{Doing, Key, Run, Status};
use crate::definition::{Kind, StepId};
use crate::expression::{EvalError, Expression, Read, Scope, Template, Value};
use crate::workflow::Role;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_protocol::Timestamp;

impl Run {
    /// The value of an expression of a step.
    pub(super) fn value(&self, key: &Key, expression: &Expression) -> Result<Value, EvalError> {
        expression.evaluate(&self.scope(Some(key), expression.reads().iter()))
    }

    /// A template of a step, filled in; null where it has none.
    pub(super) fn filled(&self, key: Option<&Key>, template: Option<&Template>) -> Result<Json, EvalError> {
        let Some(template) = template else { return Ok(Json::Null) };
        let reads = template.expressions().flat_map(|placed| placed.expression.reads().iter());
        template.fill(&self.scope(key, reads))
    }

    fn scope<'e>(&self, key: Option<&Key>, reads: impl Iterator<Item = &'e Read>) -> Scope {
        let items: &[u32] = key.map_or(&[], |key| &key.items);
        let mut steps: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut scope = Scope::new();
        for read in reads {
            match (read.path.first().map(String::as_str), read.path.get(1)) {
                (Some("steps"), Some(id)) => {
                    if let Some(number) = self.workflow.number(id) {
                        let value = self.seen(&self.key_for(number, items));
                        steps.insert(id.as_str().into(), value);
                    }
                }
                (Some("input"), _) if scope.get("input").is_none() => {
                    scope = scope.with("input", Value::of(&self.input));
                }
                (Some("run"), _) if scope.get("run").is_none() => scope = scope.with("run", self.about()),
                (Some(name), _) => {
                    if let Some(value) = key.and_then(|key| self.item(key, name)) {
                        scope = scope.with(name, value);
                    }
                }
                (None, _) => {}
            }
        }
        scope.with("steps", Value::Map(Arc::new(steps)))
    }

    /// A step as expressions see it.
    fn seen(&self, key: &Key) -> Value {
        let Some(doing) = self.doings.get(key) else {
            return Value::of(
                &json!({ "output": null, "status": "waiting", "error": null, "confidence": null }),
            );
        };
        let Doing { status, output, failure, confidence, .. } = doing;
        let error = failure.as_ref().filter(|_| !matches!(status, Status::Completed | Status::Skipped));
        Value::of(&json!({
            "output": output,
            "status": status,
            "error": error.map(|why| json!({ "code": why.code, "message": why.message })),
            "confidence": confidence,
        }))
    }

    fn about(&self) -> Value {
        let started = Timestamp::from_millis(i64::try_from(self.started_at).unwrap_or(i64::MAX));
        let definition = self.workflow.definition();
        Value::of(&json!({
            "id": self.id, "workflow_id": definition.id, "started_at": started.to_string(), "labels": definition.labels,
        }))
    }

    /// `item`, or as it is called, and `index`, of the innermost map around that has them.
    fn item(&self, key: &Key, name: &str) -> Option<Value> {
        let mut at = Some(key.clone());
        while let Some(key) = at {
            let parent = self.parent(&key);
            if let (Role::Body, Some(map_key)) = (self.workflow.role(key.step), &parent) {
                let index = *key.items.last()?;
                let Some(Kind::Map(map)) = self.workflow.step(map_key.step).map(|step| &step.kind) else {
                    return None;
                };
                if name == "index" {
                    return Some(Value::Int(index.into()));
                }
                if name == map.r#as.as_deref().unwrap_or("item") {
                    return self.doings.get(map_key)?.items.get(index as usize).map(Value::of);
                }
            }
            at = parent;
        }
        None
    }

    /// The output of a block whose steps are over.
    pub(super) fn block_output(&self, key: &Key) -> Json {
        let Some(step) = self.workflow.step(key.step) else { return Json::Null };
        let members = self.members(key);
        let join = match &step.kind {
            Kind::Map(map) => map.join,
            Kind::Parallel(parallel) => parallel.join,
            _ => None,
        };
        let of = |key: &Key| self.doings.get(key);
        if join == Some(crate::definition::Join::Partial) {
            let mut lists = (Vec::new(), Vec::new());
            for member in &members {
                let Some(doing) = of(member) else { continue };
                let name = match step.kind {
                    Kind::Map(_) => ("index", json!(member.items.last())),
                    _ => ("id", json!(self.id_of(member))),
                };
                match doing.status {
                    Status::Failed | Status::Cancelled => {
                        lists.1.push(json!({ name.0: name.1, "error": doing.failure }));
                    }
                    _ => lists.0.push(json!({ name.0: name.1, "output": doing.output })),
                }
            }
            return json!({ "completed": lists.0, "failed": lists.1 });
        }
        let output = |key: &Key| of(key).map_or(Json::Null, |doing| doing.output.clone());
        match &step.kind {
            Kind::Map(_) => members.iter().map(output).collect(),
            Kind::Parallel(_) => Json::Object(
                members.iter().filter_map(|key| Some((self.id_of(key)?.to_string(), output(key)))).collect(),
            ),
            _ => {
                let done = |key: &&Key| of(key).is_some_and(|doing| doing.status == Status::Completed);
                members.iter().rev().find(done).map_or(Json::Null, output)
            }
        }
    }

    pub(super) fn id_of(&self, key: &Key) -> Option<&StepId> {
        self.workflow.place(key.step).map(|place| &place.id)
    }

    /// What a block that is open consists of: the steps of the way that was taken, or the body for each item.
    pub(super) fn members(&self, key: &Key) -> Vec<Key> {
        let (Some(step), Some(doing)) = (self.workflow.step(key.step), self.doings.get(key)) else {
            return Vec::new();
        };
        let steps =
            self.workflow.children(Some(key.step)).filter(|step| self.workflow.role(*step) != Role::Fallback);
        match &step.kind {
            Kind::Map(_) => steps
                .flat_map(|body| {
                    (0..doing.items.len() as u32).map(move |item| Key {
                        step: body,
                        items: key.items.iter().copied().chain([item]).collect(),
                    })
                })
                .collect(),
            Kind::Condition(condition) => {
                let then = condition.then.len();
                let all: Vec<usize> = steps.collect();
                let (then, or_else) = all.split_at(then.min(all.len()));
                let taken = if doing.branch == Some(true) { then } else { or_else };
                taken.iter().map(|step| self.key_for(*step, &key.items)).collect()
            }
            _ => steps.map(|step| self.key_for(step, &key.items)).collect(),
        }
    }
}
