//! What expressions of a run see: only what they read is brought together.

use super::{Key, Run};
use crate::definition::Kind;
use crate::expression::{EvalError, Expression, Read, Scope, Template, Value};
use crate::workflow::Role;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_protocol::workflow::StepStatus;

/// Names that there are in some expressions alone, and their values.
pub(super) type Own<'v> = &'v [(&'static str, Value)];

impl Run {
    /// The value of an expression of a step.
    pub(super) fn value(&self, key: &Key, expression: &Expression, own: Own<'_>) -> Result<Value, EvalError> {
        expression.evaluate(&self.scope(Some(key), expression.reads().iter(), own))
    }

    /// A template of a step, or of the run, filled in.
    pub(super) fn filled(
        &self,
        key: Option<&Key>,
        template: &Template,
        own: Own<'_>,
    ) -> Result<Json, EvalError> {
        let reads = template.expressions().flat_map(|placed| placed.expression.reads().iter());
        template.fill(&self.scope(key, reads, own))
    }

    fn scope<'e>(&self, key: Option<&Key>, reads: impl Iterator<Item = &'e Read>, own: Own<'_>) -> Scope {
        let items: &[u32] = key.map_or(&[], |key| &key.items);
        let mut steps: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut scope = Scope::new();
        for read in reads {
            match (read.path.first().map(String::as_str), read.path.get(1)) {
                (Some("steps"), Some(id)) => {
                    if let Some(number) =
                        self.workflow.number(id).filter(|_| !steps.contains_key(id.as_str()))
                    {
                        steps.insert(id.as_str().into(), self.seen(&self.key_for(number, items)));
                    }
                }
                (Some("input"), _) if scope.get("input").is_none() => {
                    scope = scope.with("input", self.input.value());
                }
                (Some("run"), _) if scope.get("run").is_none() => scope = scope.with("run", self.about()),
                (Some(name), _) if scope.get(name).is_none() => {
                    let value = own.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
                    if let Some(value) = value.or_else(|| key.and_then(|key| self.item(key, name))) {
                        scope = scope.with(name, value);
                    }
                }
                _ => {}
            }
        }
        scope.with("steps", Value::Map(Arc::new(steps)))
    }

    /// A step as expressions see it.
    fn seen(&self, key: &Key) -> Value {
        let doing = self.doings.get(key);
        let status = doing.map_or(json!("waiting"), |doing| json!(doing.status));
        let good =
            matches!(doing.map(|doing| doing.status), Some(StepStatus::Completed | StepStatus::Skipped));
        let error = doing.and_then(|doing| doing.failure.as_ref()).filter(|_| !good);
        let error = error.map(|why| json!({ "code": why.code, "message": why.message }));
        let members = [
            ("output", self.output_of(key).map_or(Value::Null, |output| output.value())),
            ("status", Value::of(&status)),
            ("error", Value::of(&json!(error))),
            ("confidence", Value::of(&json!(doing.and_then(|doing| doing.confidence)))),
            (
                "advice",
                doing.and_then(|doing| doing.advice.as_ref()).map_or(Value::Null, |said| said.value()),
            ),
        ];
        Value::Map(Arc::new(members.into_iter().map(|(name, value)| (name.into(), value)).collect()))
    }

    fn about(&self) -> Value {
        Value::of(&json!({
            "id": self.started.execution_id.as_str(),
            "workflow_id": self.started.workflow_id.as_str(),
            "started_at": self.started_at.to_string(),
            "labels": self.started.labels,
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
                    let items = self.doings.get(map_key)?.items.as_ref()?;
                    return items.all.get(index as usize).map(super::doing::Held::value);
                }
            }
            at = parent;
        }
        None
    }
}
