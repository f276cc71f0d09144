//! Definitions: from whatever they are written in to the mesh.

use crate::client::Client;
use crate::door::DoorError;
use crate::http::encoded;
use synod_protocol::workflow::{DefineWorkflow, Workflow as View};
use synod_protocol::{Code, Command, Error, Id, Json};
use synod_workflow::definition::Definition;
use synod_workflow::definition::build::WorkflowBuilder;
use synod_workflow::source::Format;
use synod_workflow::{Problems, Workflow};

/// Why a workflow is not defined.
#[derive(Debug, thiserror::Error)]
pub enum DefineError {
    /// Something is wrong with it: all that is, each with its place and its mend. The mesh was not asked.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// It was not accepted.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// What a workflow can be written in. All of it is checked before it is one.
///
/// ```
/// use agent_sdk::workflow::IntoWorkflow;
///
/// let read = "id: w\nsteps: [{id: read, task: {capability: text.read}}]".into_workflow()?;
/// assert_eq!(read.definition().into_workflow()?.hash(), read.hash());
/// let problems = "id: w\nsteps: [{id: read, tusk: {}}]".into_workflow().unwrap_err();
/// assert_eq!(problems.iter().next().map(|problem| problem.spot.line), Some(2));
/// # Ok::<(), agent_sdk::workflow::Problems>(())
/// ```
pub trait IntoWorkflow {
    /// Reads and checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn into_workflow(self) -> Result<Workflow, Problems>;
}

/// YAML or JSON.
impl IntoWorkflow for &str {
    fn into_workflow(self) -> Result<Workflow, Problems> {
        Workflow::parse(self)
    }
}

impl IntoWorkflow for &String {
    fn into_workflow(self) -> Result<Workflow, Problems> {
        Workflow::parse(self)
    }
}

/// Lines in problems are those of the document as indented JSON.
impl IntoWorkflow for &Definition {
    fn into_workflow(self) -> Result<Workflow, Problems> {
        Workflow::parse_as(&format!("{:#}", self.to_json()), Format::Json)
    }
}

impl IntoWorkflow for WorkflowBuilder {
    fn into_workflow(self) -> Result<Workflow, Problems> {
        self.build()
    }
}

/// It was checked when it was made.
impl IntoWorkflow for &Workflow {
    fn into_workflow(self) -> Result<Workflow, Problems> {
        Ok(self.clone())
    }
}

impl Client {
    /// Defines a workflow, or gives it a new version; the same document again changes nothing. It is safe from then on, and is
    /// returned as it was checked here.
    ///
    /// An execution that names only the workflow's id may keep to the version before for a moment after this, where another
    /// coordinator starts it: [`execution_of`](super::execution_of), or [`ExecutionRequest::hash`](super::ExecutionRequest::hash),
    /// says which is meant.
    ///
    /// # Errors
    /// See [`DefineError`].
    pub async fn define_workflow(&self, definition: impl IntoWorkflow) -> Result<Workflow, DefineError> {
        let workflow = definition.into_workflow()?;
        let define = DefineWorkflow { workflow_id: id_of(&workflow)?, definition: document(&workflow) };
        let limit = self.mesh().config().command_limit;
        self.mesh().command(&Command::DefineWorkflow(define), self.origin(), limit).await?;
        Ok(workflow)
    }

    /// The newest version of a workflow, as its owner has it.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn workflow(&self, workflow_id: &Id) -> Result<View, DoorError> {
        let path = format!("/v1/workflows/{}", encoded(workflow_id.as_str()));
        self.ask(&path, self.mesh().config().command_limit).await
    }
}

/// The document, as commands carry it.
pub(super) fn document(workflow: &Workflow) -> Json {
    workflow.document().clone()
}

pub(super) fn id_of(workflow: &Workflow) -> Result<Id, DoorError> {
    // What was checked has an id that is one.
    workflow.definition().id.parse().map_err(|error: Error| {
        DoorError::Refused(Error::new(Code::Internal, format!("a checked definition: {error}")))
    })
}
