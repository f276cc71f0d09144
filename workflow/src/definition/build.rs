//! Definitions made in Rust.
//!
//! ```
//! use serde_json::json;
//! use synod_workflow::definition::build::{approval, task, workflow};
//!
//! let workflow = workflow("press-release")
//!     .step(task("draft", "text.write").input(json!({ "topic": "${{ input.topic }}" })))
//!     .step(task("check", "text.check").input(json!("${{ steps.draft.output }}")).after(["draft"]))
//!     .step(approval("release", "Release?", ["role:editor"]).show(json!("${{ steps.draft.output }}")).after(["check"]))
//!     .build()?;
//! assert_eq!(workflow.parallel_groups().len(), 3);
//! # Ok::<(), synod_workflow::Problems>(())
//! ```

use crate::problem::Problems;
use crate::source::Format;
use crate::workflow::Workflow;
use serde_json::{Map, Value, json};

/// A definition under construction. Names and values are checked by [`WorkflowBuilder::build`], all at once.
#[derive(Clone, Debug)]
pub struct WorkflowBuilder {
    document: Map<String, Value>,
    steps: Vec<Value>,
}

/// A step under construction.
#[derive(Clone, Debug)]
pub struct StepBuilder {
    document: Map<String, Value>,
    kind: &'static str,
}

/// A workflow with that id.
pub fn workflow(id: &str) -> WorkflowBuilder {
    WorkflowBuilder { document: Map::from_iter([("id".to_owned(), json!(id))]), steps: Vec::new() }
}

impl WorkflowBuilder {
    /// One more step.
    pub fn step(mut self, step: StepBuilder) -> Self {
        self.steps.push(step.value());
        self
    }

    /// Any other field of the document: `input_schema`, `deadline_ms`, `budget`, `output`, …
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.document.insert(field.to_owned(), value);
        self
    }

    /// The document as JSON, not checked.
    pub fn document(mut self) -> Value {
        self.document.insert("steps".to_owned(), Value::Array(self.steps));
        Value::Object(self.document)
    }

    /// Checks all of it. Lines in problems are those of the document as indented JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn build(self) -> Result<Workflow, Problems> {
        Workflow::parse_as(&format!("{:#}", self.document()), Format::Json)
    }
}

fn step(id: &str, kind: &'static str, inside: Value) -> StepBuilder {
    let fields = [("id".to_owned(), json!(id)), (kind.to_owned(), inside)];
    StepBuilder { document: Map::from_iter(fields), kind }
}

fn values(steps: impl IntoIterator<Item = StepBuilder>) -> Vec<Value> {
    steps.into_iter().map(StepBuilder::value).collect()
}

/// Work for any agent with a capability.
pub fn task(id: &str, capability: &str) -> StepBuilder {
    step(id, "task", json!({ "capability": capability }))
}

/// Work for one agent.
pub fn agent(id: &str, agent_id: &str) -> StepBuilder {
    step(id, "agent", json!({ "agent_id": agent_id }))
}

/// One of two ways on; without steps for false, nothing is done then.
pub fn condition(
    id: &str,
    test: &str,
    then: impl IntoIterator<Item = StepBuilder>,
    or_else: impl IntoIterator<Item = StepBuilder>,
) -> StepBuilder {
    let (then, or_else) = (values(then), values(or_else));
    let inside = match or_else.is_empty() {
        true => json!({ "if": test, "then": then }),
        false => json!({ "if": test, "then": then, "else": or_else }),
    };
    step(id, "condition", inside)
}

/// Steps side by side.
pub fn parallel(id: &str, steps: impl IntoIterator<Item = StepBuilder>) -> StepBuilder {
    step(id, "parallel", json!({ "steps": values(steps) }))
}

/// Steps one after another.
pub fn sequential(id: &str, steps: impl IntoIterator<Item = StepBuilder>) -> StepBuilder {
    step(id, "sequential", json!({ "steps": values(steps) }))
}

/// One step for each element of the list that an expression gives.
pub fn map(id: &str, items: &str, body: StepBuilder) -> StepBuilder {
    step(id, "map", json!({ "items": items, "step": body.value() }))
}

/// Agents decide something together.
pub fn negotiation(id: &str, protocol: &str, question: Value) -> StepBuilder {
    step(id, "negotiation", json!({ "protocol": protocol })).inside("question", question)
}

/// People decide.
pub fn approval<'a>(id: &str, title: &str, approvers: impl IntoIterator<Item = &'a str>) -> StepBuilder {
    let approvers: Vec<&str> = approvers.into_iter().collect();
    step(id, "approval", json!({ "title": title, "approvers": approvers }))
}

/// So many milliseconds pass.
pub fn wait_for(id: &str, time_ms: u64) -> StepBuilder {
    step(id, "wait", json!({ "for_ms": time_ms }))
}

/// A signal comes.
pub fn wait_for_signal(id: &str, name: &str) -> StepBuilder {
    step(id, "wait", json!({ "signal": name }))
}

impl StepBuilder {
    /// What has to be over before it starts.
    pub fn after<'a>(self, steps: impl IntoIterator<Item = &'a str>) -> Self {
        let steps: Vec<&str> = steps.into_iter().collect();
        self.set("depends_on", json!(steps))
    }

    /// Only where this expression gives true.
    pub fn when(self, expression: &str) -> Self {
        self.set("when", json!(expression))
    }

    /// What is done where it has failed for good.
    pub fn or(self, fallback: StepBuilder) -> Self {
        let fallback = fallback.value();
        self.set("fallback", fallback)
    }

    /// What a task or an agent is given.
    pub fn input(self, input: Value) -> Self {
        self.inside("input", input)
    }

    /// What is shown with an approval.
    pub fn show(self, shown: Value) -> Self {
        self.inside("show", shown)
    }

    /// Any other field of the step: `timeout_ms`, `retry`, `output_schema`, …
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.document.insert(field.to_owned(), value);
        self
    }

    /// Any other field of what it is: `join` of a map, `expires_after_ms` of an approval, …
    pub fn inside(mut self, field: &str, value: Value) -> Self {
        if let Some(Value::Object(inside)) = self.document.get_mut(self.kind) {
            inside.insert(field.to_owned(), value);
        }
        self
    }

    fn value(self) -> Value {
        Value::Object(self.document)
    }
}
