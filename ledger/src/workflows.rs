//! Workflows as entities of a shard: the newest version of each definition.
//!
//! An execution keeps to the definition that stands in its own first event, so that nothing here is needed to go on with one.

use crate::decide::{Decision, Desk, refused};
use crate::memory::{Kept, Moved};
use crate::shelf::{Shelf, Shelved};
use crate::state::State;
use crate::subject::{EntityKey, Subject};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::{DefineWorkflow, Workflow as View, WorkflowDefined};
use synod_protocol::{Code, Error, Id, Json, Timestamp};
use synod_workflow::Workflow;
use synod_workflow::source::Format;

/// What the ledger knows of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowState {
    /// Its newest version.
    pub defined: WorkflowDefined,
    /// When it was defined first.
    pub created_at: Timestamp,
    /// When its newest version was.
    pub updated_at: Timestamp,
}

/// The workflows of a shard.
pub(crate) type Workflows = Shelf<EntityKey, WorkflowState>;

impl Shelved for WorkflowState {
    fn timer(&self) -> Option<Timestamp> {
        None
    }

    fn ended_at(&self) -> Option<Timestamp> {
        None
    }

    fn weight(&self) -> usize {
        1_024 + self.defined.definition.as_str().len()
    }
}

impl WorkflowState {
    /// As a reader sees it.
    pub fn view(&self, key: &EntityKey) -> View {
        let WorkflowDefined { workflow_id, version, hash, definition } = self.defined.clone();
        let (workspace, created_at, updated_at) = (key.workspace.clone(), self.created_at, self.updated_at);
        View { workflow_id, workspace, version, hash, definition, created_at, updated_at }
    }
}

/// The definitions that are known beside the shard's own: what coordinators hear of other shards.
pub trait Definitions {
    /// The newest version that is known; or that with this hash, if it is the newest.
    fn find(&self, workflow: &EntityKey, hash: Option<&str>) -> Option<Workflow>;
}

/// None but the shard's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDefinitions;

impl Definitions for NoDefinitions {
    fn find(&self, _: &EntityKey, _: Option<&str>) -> Option<Workflow> {
        None
    }
}

/// A definition as it comes: JSON, or a text of YAML (or JSON).
///
/// # Errors
/// `unprocessable`: everything that is wrong with it, each with its place and its mend; `field` is the place of the first.
pub fn read_definition(definition: &Json) -> Result<Workflow, Error> {
    let read = match definition.to::<String>() {
        Ok(text) => Workflow::parse(&text),
        Err(_) => Workflow::parse_as(definition.as_str(), Format::Json),
    };
    read.map_err(|problems| {
        let field = problems.iter().next().map(|first| format!("/definition{}", first.pointer));
        Error::new(Code::Unprocessable, problems.to_string()).with_field(field.unwrap_or_default())
    })
}

impl State {
    /// One workflow.
    pub fn workflow(&self, key: &EntityKey) -> Option<&WorkflowState> {
        self.workflows.get(key)
    }

    /// Every workflow of this shard.
    pub fn workflows(&self) -> impl Iterator<Item = (&EntityKey, &WorkflowState)> {
        self.workflows.iter()
    }

    pub(crate) fn apply_to_workflow(
        &mut self,
        (offset, place): (u64, u64),
        now: Timestamp,
        key: &EntityKey,
        defined: &WorkflowDefined,
        moved: &mut Vec<Moved>,
    ) {
        if self.workflows.get(key).is_some() {
            let newest = |state: &mut WorkflowState| {
                (state.defined, state.updated_at) = (defined.clone(), now);
            };
            return self.workflows.change(key, newest);
        }
        let state = WorkflowState { defined: defined.clone(), created_at: now, updated_at: now };
        moved.push(self.put_workflow(key.clone(), Kept { arrival: place, base: offset, state }));
    }
}

/// Defines one, or gives it a new version.
pub(crate) fn defined(state: &State, key: EntityKey, command: &DefineWorkflow) -> Decision {
    let workflow = match read_definition(&command.definition) {
        Ok(workflow) => workflow,
        Err(error) => return refused(error),
    };
    if let Err(error) = is_of(&workflow, &command.workflow_id) {
        return refused(error);
    }
    let known = state.workflow(&key);
    if known.is_some_and(|known| known.defined.hash == workflow.hash()) {
        return Decision { subject: Some(Subject::Workflow(key)), repeat: true, ..Decision::default() };
    }
    let defined = WorkflowDefined {
        workflow_id: command.workflow_id.clone(),
        version: known.map_or(0, |known| known.defined.version) + 1,
        hash: workflow.hash().to_owned(),
        definition: workflow.document().clone(),
    };
    let events = vec![Event { entity: key.id.clone(), what: What::WorkflowDefined(Box::new(defined)) }];
    Decision { events, subject: Some(Subject::Workflow(key)), ..Decision::default() }
}

/// Whether a definition is of the workflow that a command names.
///
/// # Errors
/// It is of another.
pub(crate) fn is_of(workflow: &Workflow, named: &Id) -> Result<(), Error> {
    let id = &workflow.definition().id;
    if *id == *named.as_str() {
        return Ok(());
    }
    let why = format!("the definition is of workflow {id}, the command of {named}");
    Err(Error::invalid(why).with_field("/workflow_id"))
}

/// The definition that an execution is to keep to.
///
/// # Errors
/// There is none, or not with this hash.
pub(crate) fn definition_for(
    state: &State,
    cx: Desk<'_>,
    workflow: &EntityKey,
    hash: Option<&str>,
) -> Result<Workflow, Error> {
    let fits = |found: &Workflow| hash.is_none_or(|hash| found.hash() == hash);
    // Parsed once for all executions in memory that keep to it.
    let own = state.workflow(workflow).map(|known| match state.definitions.get(&known.defined.hash) {
        Some(parsed) => Ok(parsed.clone()),
        None => read_definition(&known.defined.definition),
    });
    if let Some(Ok(own)) = own
        && fits(&own)
    {
        return Ok(own);
    }
    if let Some(found) = cx.definitions.find(workflow, hash).filter(fits) {
        return Ok(found);
    }
    Err(match hash {
        None => Error::not_found("workflow", workflow.id.as_str()),
        Some(hash) => {
            let why = format!("workflow {} has no newest version with the hash {hash}", workflow.id);
            Error::new(Code::NotFound, why).with_field("/hash")
        }
    })
}

/// A definition that came with a command to start an execution. It is read once for all that come with the same text: that of
/// the newest version that is known.
///
/// # Errors
/// It cannot be read.
pub(crate) fn definition_given(
    cx: Desk<'_>,
    workflow: &EntityKey,
    definition: &Json,
) -> Result<Workflow, Error> {
    let is_this = |known: &Workflow| known.document().as_str() == definition.as_str();
    match cx.definitions.find(workflow, None).filter(is_this) {
        Some(known) => Ok(known),
        None => read_definition(definition),
    }
}

/// The parsed definitions of the executions in memory, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(BTreeMap<String, (Workflow, usize)>);

impl PartialEq for Shared {
    /// It follows from the executions.
    fn eq(&self, _: &Shared) -> bool {
        true
    }
}

impl Shared {
    /// One more execution keeps to it: the workflow that all of them share.
    pub(crate) fn join(&mut self, workflow: Workflow) -> Workflow {
        let entry = self.0.entry(workflow.hash().to_owned()).or_insert((workflow, 0));
        entry.1 += 1;
        entry.0.clone()
    }

    /// One that is there already, by its hash.
    pub(crate) fn get(&self, hash: &str) -> Option<&Workflow> {
        self.0.get(hash).map(|(workflow, _)| workflow)
    }

    /// One execution less keeps to it.
    pub(crate) fn leave(&mut self, hash: &str) {
        if let Some(entry) = self.0.get_mut(hash) {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.0.remove(hash);
            }
        }
    }
}
