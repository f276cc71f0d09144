//! What a workflow is, as it is written down.
//!
//! These types are the document: what its author wrote, nothing resolved and nothing parsed within its texts.
//! [`crate::Workflow`] is the same after everything in it was checked. Fields that are absent are absent in JSON too, so that
//! the document that is stored is the document that was meant; its [`Definition::hash`] is that of its canonical JSON.

pub mod build;
pub(crate) mod read;
mod settings;
mod step_id;

pub use settings::{Budget, Consult, OnFailure, Retry};
pub(crate) use step_id::is_name;
pub use step_id::{BadStepId, StepId};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Steps of one definition, those in blocks included: 1,000.
pub const STEPS_MAX: usize = 1_000;
/// Items that one `map` may go over: 10,000.
pub const MAP_ITEMS_MAX: u32 = 10_000;
/// Levels of blocks in blocks, fallbacks included: 8.
pub const BLOCK_NESTING: usize = 8;
/// Milliseconds that a time limit may have at most: 366 days.
pub const TIME_MAX_MS: u64 = 366 * 24 * 3_600 * 1_000;

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Synod workflow")]
pub struct Definition {
    /// Its id: 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// What it is for, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Free labels to find it and its runs by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub labels: BTreeMap<String, String>,
    /// JSON Schema of a run's input. Without one, any input is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// Milliseconds that a run may take, people included; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Steps of a run that may be under way at once, 1 to 1,000; 1,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What a run may use up; over it the run pauses and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The steps. Those that depend on none start at once.
    pub steps: Vec<Step>,
    /// The run's result: JSON with expressions; without one, the outputs of the steps that nothing depends on, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// One step: what kind it is (one of its fields says so), what it waits for, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Step {
    /// Its name in the whole definition: `steps.<id>` in expressions.
    pub id: StepId,
    /// What it does, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What has to be completed or skipped before it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub depends_on: Vec<StepId>,
    /// A CEL expression; where it gives false when the step could start, the step is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Milliseconds that it may take in all, attempts and pauses between them included; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What happens after a failed attempt; a step without it has one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Of its tasks, 0 to 9; 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// What its failure does to the run; `fail` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What is done instead where it has failed for good; its output becomes this step's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Step>>,
    /// JSON Schema of its output; what does not fit is a failure that can be retried, and the next attempt is told why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// When an expert is asked besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consult: Option<Consult>,
    /// The key of shared state under which its output is put, too; expressions in `${{ … }}` are filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_as: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The kinds of steps.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Work for any agent with a capability.
    Task(Task),
    /// Work for one agent, by name.
    Agent(AgentWork),
    /// One of two ways on.
    Condition(Condition),
    /// Steps side by side.
    Parallel(Parallel),
    /// Steps one after another.
    Sequential(Sequential),
    /// One step for each element of a list.
    Map(MapOver),
    /// Agents decide something together.
    Negotiation(Negotiate),
    /// People decide.
    Approval(Approval),
    /// Time passes, or a signal comes.
    Wait(Wait),
}

impl Kind {
    /// The field of the step that says so.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Task(_) => "task",
            Kind::Agent(_) => "agent",
            Kind::Condition(_) => "condition",
            Kind::Parallel(_) => "parallel",
            Kind::Sequential(_) => "sequential",
            Kind::Map(_) => "map",
            Kind::Negotiation(_) => "negotiation",
            Kind::Approval(_) => "approval",
            Kind::Wait(_) => "wait",
        }
    }
}

/// Work for any agent with a capability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What the agent must be able to do.
    pub capability: String,
    /// What it is given: JSON with expressions in `${{ … }}`; null by default.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// How one of several agents is chosen; the mesh's rule for the capability by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// What the agent must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
}

/// What an agent must have to be chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Each with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// At least this much of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, f64>,
}

/// Work for one agent, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentWork {
    /// Which; expressions in `${{ … }}` are filled in.
    pub agent_id: String,
    /// What it is given: JSON with expressions in `${{ … }}`; null by default.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
}

/// One of two ways on; the steps of the other are skipped.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Condition {
    /// A CEL expression that gives true or false.
    pub r#if: String,
    /// One after another where it is true.
    pub then: Vec<Step>,
    /// One after another where it is false; nothing by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub r#else: Vec<Step>,
}

/// Steps side by side.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Parallel {
    /// Them.
    pub steps: Vec<Step>,
    /// How many may be under way at once; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Which of them are needed; all by default. The output is an object by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
}

/// Steps one after another. The output is that of the last.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Sequential {
    /// Them.
    pub steps: Vec<Step>,
}

/// One step for each element of a list. The output is a list in the order of the elements.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MapOver {
    /// A CEL expression that gives a list.
    pub items: String,
    /// The name of the element in the step's expressions; `item` by default. Its place, from 0, is `index`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#as: Option<String>,
    /// What is done for each.
    pub step: Box<Step>,
    /// How many elements may be under way at once, 1 to 1,000; 16 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many elements there may be, 1 to 10,000; 10,000 by default. More is a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u32>,
    /// Which of them are needed; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
}

/// How many of a block's steps, or of a map's elements, have to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Every one; the first failure ends the others.
    All,
    /// One; the first to be completed ends the others.
    Any,
    /// So many; those left over are ended.
    AtLeast(u32),
    /// None: all are run to their end, and the failures are listed: `{"completed": …, "failed": …}`.
    Partial,
}

/// Agents decide something together: what `POST /v1/negotiations` takes, without an id and a deadline of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Negotiate {
    /// How it is decided, such as `vote`.
    pub protocol: String,
    /// What is to be decided: JSON with expressions.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub question: Value,
    /// The protocol's own settings: JSON with expressions.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub rules: Value,
    /// Who is asked, by name: a list, or an expression that gives one.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub participants: Value,
    /// Who is asked besides, by capability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<Invite>,
    /// How long a round lasts at most, 10 ms to 7 days; 30,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<u64>,
}

/// Agents of the fleet that are asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Whoever can do this; any agent by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Each with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// At least so many, 1 to 1,000, or the step fails; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most so many, 1 to 1,000, by id; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// People decide. The output is the decision: `{"status", "approver", "comment", "response_data", "revision"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// What is asked, in one line; expressions are filled in.
    pub title: String,
    /// Exactly what is shown and decided on: JSON with expressions.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub show: Value,
    /// Who may decide: names, or roles as `role:<name>`.
    pub approvers: Vec<String>,
    /// Who of them has to approve, whoever else does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// How many of them have to approve; `any` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// Milliseconds until it is timed out; 24 hours by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after_ms: Option<u64>,
    /// Milliseconds after which it is approved by itself where nobody has decided; never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve_after_ms: Option<u64>,
    /// JSON Schema of the data that a decision may bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// What a request for changes does; without it, one is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revise: Option<Revise>,
}

/// How many have to approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// One of them.
    Any,
    /// Every one.
    All,
    /// So many.
    Quorum(u32),
}

/// What a request for changes does: a step is done again with the feedback, and what follows it up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revise {
    /// From which step on.
    pub step: StepId,
    /// How many revisions there may be in all, the first included, 1 to 20; 3 by default. The last one can only be approved or
    /// rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_revisions: Option<u32>,
}

/// Time passes, or a signal comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// So many milliseconds.
    ForMs(u64),
    /// Until a time: a CEL expression that gives one, RFC 3339.
    Until(String),
    /// Until a signal of that name; its payload is the output. The step's `timeout_ms` bounds it.
    Signal(String),
}

impl Definition {
    /// The document as JSON.
    pub fn to_json(&self) -> Value {
        // The types have text keys and finite numbers only, so that this cannot fail.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// The fingerprint of the document: blake3 of its JSON with sorted names and nothing between, in hexadecimal. What it was
    /// written in (YAML, JSON, Rust), comments and the order of members do not count.
    pub fn hash(&self) -> String {
        blake3::hash(self.to_json().to_string().as_bytes()).to_hex().to_string()
    }

    /// The JSON Schema of the document.
    pub fn schema() -> Value {
        schemars::schema_for!(Definition).to_value()
    }
}

impl Step {
    /// The steps within it: a block's, and its fallback; each with its JSON pointer below the step's own.
    pub fn children(&self) -> Vec<(String, &Step)> {
        let listed = |under: &str, steps: &'_ [Step]| -> Vec<String> {
            (0..steps.len()).map(|i| format!("{under}/{i}")).collect()
        };
        let mut all: Vec<(String, &Step)> = match &self.kind {
            Kind::Condition(c) => listed("/condition/then", &c.then)
                .into_iter()
                .zip(&c.then)
                .chain(listed("/condition/else", &c.r#else).into_iter().zip(&c.r#else))
                .collect(),
            Kind::Parallel(p) => listed("/parallel/steps", &p.steps).into_iter().zip(&p.steps).collect(),
            Kind::Sequential(s) => listed("/sequential/steps", &s.steps).into_iter().zip(&s.steps).collect(),
            Kind::Map(map) => vec![("/map/step".to_owned(), &*map.step)],
            _ => Vec::new(),
        };
        all.extend(self.fallback.iter().map(|step| ("/fallback".to_owned(), &**step)));
        all
    }

    /// One of its [`Step::children`], by its place among them.
    pub(crate) fn child(&self, place: usize) -> Option<&Step> {
        let lists: [&[Step]; 2] = match &self.kind {
            Kind::Condition(c) => [&c.then, &c.r#else],
            Kind::Parallel(p) => [&p.steps, &[]],
            Kind::Sequential(s) => [&s.steps, &[]],
            Kind::Map(map) => [std::slice::from_ref(&*map.step), &[]],
            _ => [&[], &[]],
        };
        let all = lists[0].len() + lists[1].len();
        match place.checked_sub(lists[0].len()) {
            None => lists[0].get(place),
            Some(_) if place == all => self.fallback.as_deref(),
            Some(rest) => lists[1].get(rest),
        }
    }
}
