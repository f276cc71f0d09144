//! A piece of work in other hands: to an agent or to a capability, with what it may be given and what has to come back.
//!
//! It is an execution of a definition of one step, made for it: so it is on record, is done again where an agent dies, and can be
//! waited for by whoever knows its id.
//!
//! ```text
//!   memory --thread--> the receiver's own      (only where the receiver is named)
//!   work, context, memory --start--> execution: `input_schema` = what may be passed
//!                                       `- step `work`: `output_schema` = what has to come back
//! ```

use super::error::ExecutionError;
use super::handle::{ExecutionHandle, ExecutionResult};
use super::request::{ExecutionRequest, execution_of};
use crate::agent::{Context, TaskError};
use crate::door::DoorError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::{Capability, Code, Error, Id, Json};
use synod_workflow::definition::build::{agent, task, workflow};
use synod_workflow::{Problems, Workflow};

/// The one step of such a definition.
const STEP: &str = "work";
/// Memory entries that may be handed over with it.
const MEMORY_MOST: usize = 100;

/// What may be passed and what has to come back, as JSON Schemas.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Of the work. References (`$ref`) cannot point to its own root: within the definition it is a part of another schema.
    pub passes: Value,
    /// Of the answer; one that does not fit is a failure, and the next attempt is told why.
    pub returns: Value,
}

/// A piece of work to be handed over. What is wrong is told when it is.
///
/// **What is atomic.** Starting is: with the one append of `synod.execution.started` the handoff is on record, its input is
/// checked, and its step has begun. Threading is: all of the memory entries are copied, or none. The two together are not: memory
/// is in Redis, and goes first, so that the receiver never begins without it; where starting fails afterwards the copies stay where
/// they are. An answer that does not fit the contract is a failed attempt, and is never seen by who waits.
#[derive(Clone, Debug)]
pub struct Handoff {
    to: Result<Receiver, Error>,
    work: Result<Json, Error>,
    memory: Vec<String>,
    contract: Option<Contract>,
    attempts: u32,
    id: Option<String>,
}

#[derive(Clone, Debug)]
enum Receiver {
    Agent(Id),
    Capability(Capability),
}

/// Why work was not handed over, or nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    /// The contract holds no schemas, or too large ones.
    #[error("the contract: {0}")]
    Contract(#[from] Problems),
    /// The memory named could not be handed over; nothing was started.
    #[error("memory: {0}")]
    Memory(#[source] Error),
    /// It was not accepted, or what became of it.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

/// What a receiver's handler is given.
///
/// ```
/// use agent_sdk::workflow::Handed;
/// use agent_sdk::{Context, TaskError};
///
/// async fn translate(_: Context, handed: Handed<String>) -> Result<String, TaskError> {
///     Ok(format!("{} (for {})", handed.work, handed.context.agent_id))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handed<T> {
    /// What is to be done.
    pub work: T,
    /// Out of which task it comes.
    pub context: HandedBy,
    /// The giver's memory entries by key, where the receiver was not known by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, Json>,
}

/// Out of which task a handoff comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedBy {
    /// Who hands over.
    pub agent_id: String,
    /// The task that he works on.
    pub task_id: String,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// The piece of work that all of it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Why the giver himself was asked once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Json>,
    /// Keys of the memory entries that were put into the receiver's own memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_keys: Vec<String>,
}

impl Handoff {
    /// To this agent and no other.
    pub fn to_agent(agent_id: impl AsRef<str>) -> Handoff {
        Handoff::to(
            agent_id.as_ref().parse().map(Receiver::Agent).map_err(|e: Error| e.with_field("/agent_id")),
        )
    }

    /// To any agent with this capability.
    pub fn to_capability(capability: impl AsRef<str>) -> Handoff {
        let capability = capability.as_ref().parse().map(Receiver::Capability);
        Handoff::to(capability.map_err(|e: Error| e.with_field("/capability")))
    }

    fn to(to: Result<Receiver, Error>) -> Handoff {
        Handoff { to, work: Ok(Json::null()), memory: Vec::new(), contract: None, attempts: 3, id: None }
    }

    /// What is to be done; `null` by default.
    #[must_use]
    pub fn work(mut self, work: impl Serialize) -> Handoff {
        self.work = Json::of(&work).map_err(|e| Error::invalid(format!("the work: {e}")).with_field("/work"));
        self
    }

    /// Entries of the giver's memory that the receiver needs, by key; at most 100. One who is named finds them in his own
    /// memory; else their values stand in the input.
    #[must_use]
    pub fn memory<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Handoff {
        self.memory.extend(keys.into_iter().map(Into::into));
        self
    }

    /// What may be passed and what has to come back.
    #[must_use]
    pub fn contract(mut self, contract: Contract) -> Handoff {
        self.contract = Some(contract);
        self
    }

    /// Attempts in all, 1 to 100; 3 by default.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Handoff {
        self.attempts = attempts;
        self
    }

    /// Under an id of your own: a handler that is run again, and hands over under the same id, finds what it began. Without
    /// one, each call is a handoff of its own.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Handoff {
        self.id = Some(id.into());
        self
    }

    /// The definition of one step that it is an execution of.
    fn definition(&self, to: &Receiver) -> Result<Workflow, Problems> {
        let step = match to {
            Receiver::Agent(id) => agent(STEP, id.as_str()),
            Receiver::Capability(capability) => task(STEP, capability.as_str()),
        };
        let mut step =
            step.input(json!("${{ input }}")).set("retry", json!({ "max_attempts": self.attempts }));
        let mut passed = json!({ "type": "object", "required": ["work", "context"] });
        if let Some(contract) = &self.contract {
            passed["properties"] = json!({ "work": contract.passes });
            step = step.set("output_schema", contract.returns.clone());
        }
        workflow("handoff")
            .set("description", json!("One piece of work in other hands."))
            .set("input_schema", passed)
            .step(step)
            .set("output", json!(format!("${{{{ steps.{STEP}.output }}}}")))
            .build()
    }
}

impl Context {
    /// Hands a piece of work over; it is on record from then on, labelled `handoff.from` (this agent) and `handoff.task` (this task).
    /// What of this is atomic: see [`Handoff`].
    ///
    /// ```no_run
    /// use agent_sdk::workflow::{Contract, Handoff};
    /// use agent_sdk::{Context, TaskError};
    /// use serde_json::json;
    ///
    /// async fn report(context: Context, topic: String) -> Result<String, TaskError> {
    ///     let contract = Contract { passes: json!({"type": "string"}), returns: json!({"type": "string", "minLength": 1}) };
    ///     let drawing = Handoff::to_capability("chart.draw").work(&topic).memory(["figures"]).contract(contract);
    ///     let handle = context.hand_off(drawing).await?;
    ///     Ok(handle.wait::<String>(context.remaining()).await?.output)
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`HandoffError`]; what comes back is waited for with the handle.
    pub async fn hand_off(&self, handoff: Handoff) -> Result<ExecutionHandle, HandoffError> {
        let request = self.handing(handoff).await?;
        Ok(self.client().start(request).await.map_err(ExecutionError::Door)?)
    }

    /// Hands a piece of work over and waits up to `limit` for what comes back.
    ///
    /// # Errors
    /// See [`HandoffError`]. It goes on when time is up.
    pub async fn hand_off_and_wait<T: DeserializeOwned>(
        &self,
        handoff: Handoff,
        limit: Duration,
    ) -> Result<ExecutionResult<T>, HandoffError> {
        let request = self.handing(handoff).await?;
        Ok(self.client().execute(request, limit).await?)
    }

    async fn handing(&self, handoff: Handoff) -> Result<ExecutionRequest, HandoffError> {
        let refused = |error: Error| ExecutionError::Door(DoorError::Refused(error));
        let to = handoff.to.clone().map_err(refused)?;
        let work = handoff.work.clone().map_err(refused)?;
        let definition = handoff.definition(&to)?;
        if handoff.memory.len() > MEMORY_MOST {
            let many = handoff.memory.len();
            let error =
                Error::invalid(format!("{many} memory entries are named, the limit is {MEMORY_MOST}"));
            return Err(HandoffError::Memory(error.with_field("/memory")));
        }
        let (memory, memory_keys) = match to {
            Receiver::Agent(to) => (BTreeMap::new(), self.threaded(&to, handoff.memory).await?),
            Receiver::Capability(_) => (self.recalled(handoff.memory).await?, Vec::new()),
        };
        let (agent_id, task_id) = (self.agent_id().to_string(), self.task_id().to_string());
        let context = HandedBy {
            agent_id: agent_id.clone(),
            task_id: task_id.clone(),
            attempt: self.attempt(),
            correlation_id: self.correlation_id().map(str::to_owned),
            feedback: self.feedback().cloned(),
            memory_keys,
        };
        let request = execution_of(&definition)
            .input(Handed { work, context, memory })
            .label("handoff.from", agent_id)
            .label("handoff.task", task_id);
        Ok(match handoff.id {
            Some(id) => request.id(id),
            None => request,
        })
    }

    /// Copies entries into the receiver's memory.
    async fn threaded(&self, to: &Id, keys: Vec<String>) -> Result<Vec<String>, HandoffError> {
        if !keys.is_empty() {
            let memory = self.client().mesh().memory(self.agent_id());
            memory.thread(to, keys.clone()).await.map_err(HandoffError::Memory)?;
        }
        Ok(keys)
    }

    /// Reads entries, to be sent along.
    async fn recalled(&self, keys: Vec<String>) -> Result<BTreeMap<String, Json>, HandoffError> {
        let memory = self.client().mesh().memory(self.agent_id());
        let mut values = BTreeMap::new();
        for (i, key) in keys.into_iter().enumerate() {
            let missing = || Error::not_found("memory entry", &key).with_field(format!("/memory/{i}"));
            let entry = memory.entry(&key).await.and_then(|entry| entry.ok_or_else(missing));
            values.insert(key.clone(), entry.map_err(HandoffError::Memory)?.value);
        }
        Ok(values)
    }
}

impl From<HandoffError> for TaskError {
    fn from(error: HandoffError) -> TaskError {
        match error {
            HandoffError::Contract(_) => TaskError::permanent("invalid_contract", error.to_string()),
            HandoffError::Memory(ref why) if why.code == Code::NotFound => {
                TaskError::permanent("memory_not_found", error.to_string())
            }
            HandoffError::Memory(why) => DoorError::Refused(why).into(),
            HandoffError::Execution(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_the_schema_of_input_and_output() {
        let contract =
            Contract { passes: json!({ "type": "string" }), returns: json!({ "type": "integer" }) };
        let handoff = Handoff::to_capability("count").contract(contract).max_attempts(2);
        let made = handoff.definition(handoff.to.as_ref().unwrap()).unwrap();
        let document = made.definition().to_json();
        assert_eq!(document["input_schema"]["properties"]["work"], json!({ "type": "string" }));
        let step = &document["steps"][0];
        assert_eq!(step["output_schema"], json!({ "type": "integer" }));
        assert_eq!(step["retry"], json!({ "max_attempts": 2 }));
        assert_eq!(step["task"], json!({ "capability": "count", "input": "${{ input }}" }));
        let named = Handoff::to_agent("ann");
        let made = named.definition(named.to.as_ref().unwrap()).unwrap().definition().to_json();
        assert_eq!(made["steps"][0]["agent"]["agent_id"], "ann");
    }

    #[test]
    fn what_is_no_schema_is_told_before_anything_is_done() {
        let contract = Contract { passes: json!({ "type": "nonsense" }), returns: json!(true) };
        let handoff = Handoff::to_agent("ann").contract(contract);
        let problems = handoff.definition(handoff.to.as_ref().unwrap()).unwrap_err();
        let pointer = &problems.iter().next().unwrap().pointer;
        assert!(pointer.starts_with("/input_schema"), "{pointer}");
        assert_eq!(Handoff::to_agent("a b").to.unwrap_err().field.as_deref(), Some("/agent_id"));
    }
}
