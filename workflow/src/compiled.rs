//! What a run needs of each step, parsed once.

use crate::definition::{Kind, Step, Wait};
use crate::expression::{Expression, Template};
use crate::schema::Schema;
use serde_json::Value;
use std::fmt;

/// A step's expressions and schema. Everything in it was checked, so that nothing is missing that the step has.
pub(crate) struct Compiled {
    pub(crate) when: Option<Expression>,
    /// `if`, `items` or `until`.
    pub(crate) head: Option<Expression>,
    /// The whole of a task, an agent's work, a negotiation or an approval, with expressions.
    pub(crate) request: Option<Template>,
    pub(crate) output_schema: Option<Schema>,
}

impl Compiled {
    pub(crate) fn of(step: &Step) -> Compiled {
        let parsed = |text: &String| Expression::parse(text).ok();
        let head = match &step.kind {
            Kind::Condition(condition) => parsed(&condition.r#if),
            Kind::Map(map) => parsed(&map.items),
            Kind::Wait(Wait::Until(time)) => parsed(time),
            _ => None,
        };
        let request = match &step.kind {
            Kind::Task(task) => serde_json::to_value(task).ok(),
            Kind::Agent(agent) => serde_json::to_value(agent).ok(),
            Kind::Negotiation(negotiation) => serde_json::to_value(negotiation).ok(),
            Kind::Approval(approval) => serde_json::to_value(approval).ok(),
            _ => None,
        };
        Compiled {
            when: step.when.as_ref().and_then(parsed),
            head,
            request: request.and_then(|json: Value| Template::parse(&json).ok()),
            output_schema: step.output_schema.as_ref().and_then(|schema| Schema::new(schema).ok()),
        }
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("when", &self.when).field("head", &self.head).finish_non_exhaustive()
    }
}
