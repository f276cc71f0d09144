//! What a run needs of each step, parsed once.

use crate::definition::{Consult, Kind, Step, Wait};
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
    pub(crate) consult: Option<Consultation>,
    pub(crate) save_as: Option<Template>,
}

/// When an expert is asked besides, and what.
pub(crate) struct Consultation {
    pub(crate) when: Option<Expression>,
    /// What the expert is given, where that is said.
    pub(crate) input: Option<Template>,
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
        let template = |json: &Value| Template::parse(json).ok();
        let consultation = |consult: &Consult| Consultation {
            when: consult.when.as_ref().and_then(parsed),
            input: Some(&consult.input).filter(|input| !input.is_null()).and_then(template),
        };
        Compiled {
            when: step.when.as_ref().and_then(parsed),
            head,
            request: request.as_ref().and_then(template),
            output_schema: step.output_schema.as_ref().and_then(|schema| Schema::new(schema).ok()),
            consult: step.consult.as_ref().map(consultation),
            save_as: step.save_as.as_ref().and_then(|key| template(&Value::from(key.as_str()))),
        }
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("when", &self.when).field("head", &self.head).finish_non_exhaustive()
    }
}
