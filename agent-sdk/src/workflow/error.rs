//! Why an execution has no output.

use super::define::DefineError;
use crate::agent::TaskError;
use crate::door::DoorError;
use std::time::Duration;
use synod_protocol::Id;
use synod_protocol::workflow::Execution;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// It failed, or was cancelled.
    #[error("execution {} is {}: {}", execution.execution_id, execution.status.as_str(), why(execution))]
    Ended {
        /// Everything about it.
        execution: Box<Execution>,
    },
    /// It has not ended in time, and goes on.
    #[error("execution {execution_id} has not ended within {} ms", limit.as_millis())]
    NotInTime {
        /// Which.
        execution_id: Id,
        /// The limit that passed.
        limit: Duration,
    },
    /// It completed with an output of another shape.
    #[error("the output of execution {} is not what was expected: {source}", execution.execution_id)]
    Output {
        /// With its output.
        execution: Box<Execution>,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// It completed, and its output is too large to be shown in one piece: that of each step is read with its steps.
    #[error("the output of execution {} has more than 256 KiB: read those of its steps", execution.execution_id)]
    TooLarge {
        /// Everything else about it.
        execution: Box<Execution>,
    },
    /// It was not accepted, or cannot be asked for.
    #[error(transparent)]
    Door(#[from] DoorError),
}

fn why(execution: &Execution) -> String {
    match &execution.error {
        Some(error) => format!("{}: {}", error.code, error.message),
        None => "no reason given".to_owned(),
    }
}

/// An execution that a handler itself started.
impl From<ExecutionError> for TaskError {
    fn from(error: ExecutionError) -> TaskError {
        let message = error.to_string();
        match error {
            ExecutionError::Door(error) => error.into(),
            ExecutionError::Ended { .. } => TaskError::retryable("execution_ended", message),
            ExecutionError::NotInTime { .. } => TaskError::retryable("execution_late", message),
            ExecutionError::Output { .. } | ExecutionError::TooLarge { .. } => {
                TaskError::permanent("execution_output", message)
            }
        }
    }
}

/// A workflow that a handler itself defined.
impl From<DefineError> for TaskError {
    fn from(error: DefineError) -> TaskError {
        match error {
            DefineError::Door(error) => error.into(),
            DefineError::Problems(problems) => TaskError::permanent("invalid_workflow", problems.to_string()),
        }
    }
}
