//! An execution to be started.

use super::define::{document, id_of};
use crate::door::{DoorError, Origin};
use serde::Serialize;
use std::collections::BTreeMap;
use synod_protocol::workflow::StartExecution;
use synod_protocol::{Error, Id, Json};
use synod_workflow::Workflow;
use uuid::Uuid;

/// An execution to be started. What is wrong is told when it is.
#[derive(Clone, Debug)]
pub struct ExecutionRequest {
    start: StartExecution,
    origin: Origin,
    wrong: Option<Error>,
}

/// An execution of the newest version of a workflow that was defined.
pub fn execution(workflow_id: impl AsRef<str>) -> ExecutionRequest {
    match workflow_id.as_ref().parse::<Id>() {
        Ok(workflow_id) => ExecutionRequest::of(workflow_id, None),
        Err(error) => {
            // It is never sent: what is wrong is told instead.
            let mut request = ExecutionRequest::of(made(), None);
            request.refuse(error.with_field("/workflow_id"));
            request
        }
    }
}

/// An execution of exactly this; it need not have been defined, and is sent along.
pub fn execution_of(workflow: &Workflow) -> ExecutionRequest {
    match id_of(workflow) {
        Ok(workflow_id) => ExecutionRequest::of(workflow_id, Some(document(workflow))),
        Err(error) => {
            let mut request = ExecutionRequest::of(made(), None);
            request.refuse(Error::invalid(error.to_string()).with_field("/workflow_id"));
            request
        }
    }
}

fn made() -> Id {
    Id::made("exec_", Uuid::now_v7())
}

impl ExecutionRequest {
    fn of(workflow_id: Id, definition: Option<Json>) -> ExecutionRequest {
        let start = StartExecution {
            execution_id: made(),
            workflow_id,
            input: Json::null(),
            hash: None,
            definition,
            labels: None,
        };
        ExecutionRequest { start, origin: Origin::default(), wrong: None }
    }

    /// With an id of your own, by which starting it again is no second execution.
    #[must_use]
    pub fn id(mut self, id: impl AsRef<str>) -> ExecutionRequest {
        match id.as_ref().parse::<Id>() {
            Ok(id) => self.start.execution_id = id,
            Err(error) => self.refuse(error.with_field("/execution_id")),
        }
        self
    }

    /// What its steps read as `input`; `null` by default.
    #[must_use]
    pub fn input(mut self, input: impl Serialize) -> ExecutionRequest {
        match Json::of(&input) {
            Ok(input) => self.start.input = input,
            Err(error) => self.refuse(Error::invalid(format!("the input: {error}")).with_field("/input")),
        }
        self
    }

    /// Of the version with this hash and no other.
    #[must_use]
    pub fn hash(mut self, hash: impl Into<String>) -> ExecutionRequest {
        self.start.hash = Some(hash.into());
        self
    }

    /// With a label to find it by, beside the definition's.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> ExecutionRequest {
        self.start.labels.get_or_insert_with(BTreeMap::new).insert(name.into(), value.into());
        self
    }

    /// Part of this piece of work; by default of its starter's, or one of its own.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> ExecutionRequest {
        self.origin.correlation_id = Some(id.into());
        self
    }

    /// Part of this trace (W3C `traceparent`); by default of its starter's, or a new one.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> ExecutionRequest {
        self.origin.traceparent = Some(traceparent.into());
        self
    }

    /// Its id.
    pub fn execution_id(&self) -> &Id {
        &self.start.execution_id
    }

    /// The command, or the first thing that was wrong.
    pub(super) fn command(&self) -> Result<StartExecution, DoorError> {
        match &self.wrong {
            Some(error) => Err(DoorError::Refused(error.clone())),
            None => Ok(self.start.clone()),
        }
    }

    pub(super) fn origin_within(&self, outer: &Origin) -> Origin {
        self.origin.within(outer)
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_thing_is_told_when_it_is_started() {
        let wrong = |request: ExecutionRequest| match request.command() {
            Err(DoorError::Refused(error)) => error.field.unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong(execution("a b").id("also wrong")), "/workflow_id");
        assert_eq!(wrong(execution("a").id("b:c")), "/execution_id");
        assert_eq!(wrong(execution("a").input(std::collections::BTreeMap::from([((1, 2), 3)]))), "/input");
    }

    #[test]
    fn one_of_a_definition_takes_it_along() {
        let text = "{id: w, steps: [{id: a, task: {capability: c}}]}";
        let workflow = Workflow::parse(text).unwrap();
        let start = execution_of(&workflow).id("e").label("a", "b").command().unwrap();
        assert_eq!((start.execution_id.as_str(), start.workflow_id.as_str()), ("e", "w"));
        let sent = Workflow::parse(start.definition.unwrap().as_str()).unwrap();
        assert_eq!(sent.hash(), workflow.hash());
        assert!(execution("w").command().unwrap().definition.is_none());
    }
}
