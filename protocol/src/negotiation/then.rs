//! What a decision starts: a task, a write of shared state, an event. Each is checked when the negotiation is opened, so
//! that whoever opens it hears what could not be started; what only the outcome shows is told with the decision.

use crate::command::check_range;
use crate::error::Error;
use crate::id::{Capability, EntityId, Id, Name, shown};
use crate::json::Json;
use crate::primitives::state::{Metadata, Put};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a decision may weigh together with all that it starts, in bytes: it has to fit into one record of the ledger
/// beside the answer that decided it.
pub const STARTS_BYTES: usize = 600 * 1024;
/// Bytes of an event's type.
const TYPE_BYTES: usize = 128;

/// What a decision starts; several may be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Then {
    /// A task, `<negotiation>:then`, whose input is `{"negotiation_id", "outcome", "input"}`.
    #[serde(default)]
    pub task: Option<ThenTask>,
    /// A write of shared state.
    #[serde(default)]
    pub state: Option<ThenState>,
    /// An event on `synod.events.v1`, whose value is `{"negotiation_id", "outcome", "data"}`.
    #[serde(default)]
    pub event: Option<ThenEvent>,
}

/// A task that a decision starts; one of `capability`, `agent_id` and `winner`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThenTask {
    /// For any agent that can do this.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// For this agent.
    #[serde(default)]
    pub agent_id: Option<Id>,
    /// For the agent that the outcome names as `winner`.
    #[serde(default)]
    pub winner: Option<bool>,
    /// Handed to it beside the outcome.
    #[serde(default)]
    pub input: Option<Json>,
    /// The time limit of one attempt, 1 ms to 7 days; 30,000 by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// 0 (may wait) to 9 (goes first); 9 where the negotiation is urgent, else 5.
    #[serde(default)]
    pub priority: Option<u8>,
}

/// A write of shared state that a decision starts, whole and without a condition; the key's policy applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThenState {
    /// Which key.
    pub key: Name,
    /// What is written, up to 512 KiB; the outcome by default.
    #[serde(default)]
    pub value: Option<Json>,
    /// To find it by.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// It ends by itself so many ms after it was written, 1 to 10^12.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// An event that a decision publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThenEvent {
    /// Its `ce_type`: 1 to 128 of `a-z`, `0-9`, `.`, `_` and `-`, not beginning with `synod.`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Told beside the outcome.
    #[serde(default)]
    pub data: Option<Json>,
}

/// What a decision has started, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Starts {
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<EntityId>,
    /// What is written to shared state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ThenState>,
    /// What is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<ThenEvent>,
    /// What was wanted and is not started, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_started: Vec<String>,
}

impl Then {
    /// Checks all of it; `of`: whose decision it is.
    pub(super) fn check(&self, of: &EntityId) -> Result<(), Error> {
        if let Some(task) = &self.task {
            task.check()?;
            task_id(of)?;
        }
        if let Some(state) = &self.state {
            state.put(&Json::null())?;
        }
        self.event.as_ref().map_or(Ok(()), ThenEvent::check)
    }
}

/// The id of the task that a decision of this negotiation starts.
///
/// # Errors
/// The negotiation's id is too long for it.
pub fn task_id(of: &EntityId) -> Result<EntityId, Error> {
    format!("{of}:then").parse().map_err(|error| {
        let message = format!("the task that the decision starts could not be named {of}:then: {error}");
        Error::invalid(message).with_field("/negotiation_id")
    })
}

impl ThenTask {
    fn check(&self) -> Result<(), Error> {
        let named = [self.capability.is_some(), self.agent_id.is_some(), self.winner == Some(true)];
        if named.iter().filter(|is_named| **is_named).count() != 1 {
            let message = "the task that a decision starts names one of capability, agent_id and winner";
            return Err(Error::invalid(message).with_field("/then/task"));
        }
        check_range("/then/task/priority", "priority", self.priority.unwrap_or(5).into(), 0, 9)?;
        let most = 7 * 24 * 3_600_000;
        check_range("/then/task/timeout_ms", "timeout_ms", self.timeout_ms.unwrap_or(1), 1, most)
    }
}

impl ThenState {
    /// The write, where this is the outcome.
    ///
    /// # Errors
    /// What of it is beyond the limits of shared state, with the field.
    pub fn put(&self, outcome: &Json) -> Result<Put, Error> {
        let value = self.value.as_ref().unwrap_or(outcome).clone();
        let tags = self.tags.clone().filter(|tags| !tags.is_empty());
        let metadata = tags.map(|tags| Metadata { tags, ..Metadata::default() });
        let put = Put { ttl_ms: self.ttl_ms, metadata, ..Put::of(value) };
        put.checked().map_err(|error| {
            let under = match error.field.as_deref() {
                Some("/metadata") => "/tags",
                under => under.unwrap_or_default(),
            };
            let field = format!("/then/state{under}");
            error.with_field(field)
        })
    }
}

impl ThenEvent {
    fn check(&self) -> Result<(), Error> {
        let is_type = (1..=TYPE_BYTES).contains(&self.ty.len())
            && self.ty.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        let message = if !is_type {
            format!("{} is no type of an event: 1 to {TYPE_BYTES} of a-z, 0-9, ., _ and -", shown(&self.ty))
        } else if self.ty.starts_with("synod.") {
            format!("{}: types that begin with synod. are the mesh's own", self.ty)
        } else {
            return Ok(());
        };
        Err(Error::invalid(message).with_field("/then/event/type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(id: &str, then: &Value, want: Option<&str>) {
        let read: Then = serde_json::from_value(then.clone()).unwrap();
        let field = read.check(&id.parse().unwrap()).err().and_then(|error| error.field);
        assert_eq!(field.as_deref(), want, "{id}: {then}");
    }

    #[test]
    fn what_could_not_be_started_is_refused_with_the_field() {
        let task = json!({"task": {"capability": "c"}});
        check("n", &task, None);
        let long = |bytes: usize| format!("n:{}", "p".repeat(bytes - 2));
        check(&long(507), &task, None);
        check(&long(508), &task, Some("/negotiation_id"));
        check(&long(508), &json!({"state": {"key": "k"}}), None);
        check("n", &json!({"task": {}}), Some("/then/task"));
        check("n", &json!({"task": {"agent_id": "a", "winner": true}}), Some("/then/task"));
        check("n", &json!({"task": {"winner": true, "timeout_ms": 0}}), Some("/then/task/timeout_ms"));
        check("n", &json!({"task": {"winner": true, "priority": 9}}), None);
        check("n", &json!({"task": {"winner": true, "priority": 10}}), Some("/then/task/priority"));
        check("n", &json!({"state": {"key": "a/b", "tags": ["t"], "ttl_ms": 1}}), None);
        check("n", &json!({"state": {"key": "k", "ttl_ms": 0}}), Some("/then/state/ttl_ms"));
        check("n", &json!({"state": {"key": "k", "tags": ["t".repeat(9_000)]}}), Some("/then/state/tags"));
        let large = json!({"state": {"key": "k", "value": "v".repeat(600_000)}});
        check("n", &large, Some("/then/state/value"));
        check("n", &json!({"event": {"type": "shop.order_9-x"}}), None);
        for ty in ["", "Shop", "a b", "synod.task.completed", &"t".repeat(129)] {
            check("n", &json!({"event": {"type": ty}}), Some("/then/event/type"));
        }
    }
}
