//! Executions in their starter's hands: start, wait, watch, steer.

use super::error::ExecutionError;
use super::monitor::Monitor;
use super::request::ExecutionRequest;
use crate::client::{Client, Posted};
use crate::door::{Accepted, DoorError, Origin};
use crate::http::encoded;
use crate::page::Page;
use crate::watch::{Watch, watch};
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_protocol::workflow::{
    ChangeExecution, Execution, ExecutionChange, ExecutionStatus, RetryExecution, SignalExecution,
    StartExecution, StepDoing, Workflow as View,
};
use synod_protocol::{Code, Command, Id, Json};
use tokio::time::Instant;

/// Doings of steps on one page.
const PAGE: usize = 200;

/// An execution that was started; a cheap clone. Dropping it changes nothing: it goes on.
#[derive(Clone, Debug)]
pub struct ExecutionHandle {
    client: Client,
    execution_id: Id,
    /// Only Kafka had it when it was accepted: a coordinator may not know it yet.
    queued: bool,
}

/// An execution that completed.
#[derive(Clone, Debug)]
pub struct ExecutionResult<T> {
    /// Its output.
    pub output: T,
    /// Everything else about it.
    pub execution: Execution,
}

impl Client {
    /// Starts an execution; it is safe from then on.
    ///
    /// # Errors
    /// `Refused`, with `not_found` where there is no such workflow; `NoAnswer`, in which case it may be there all the same:
    /// start the same request again.
    pub async fn start(&self, request: ExecutionRequest) -> Result<ExecutionHandle, DoorError> {
        let start = request.command()?;
        let execution_id = start.execution_id.clone();
        let origin = request.origin_within(self.origin());
        let accepted = match self.started(start.clone(), &origin).await {
            // Whose shard it is may not have heard of the workflow yet: it is told.
            Err(error) if error.code() == Some(Code::NotFound) && start.definition.is_none() => {
                let start = self.with_definition(start, error).await?;
                self.started(start, &origin).await?
            }
            accepted => accepted?,
        };
        Ok(ExecutionHandle { client: self.clone(), execution_id, queued: accepted == Accepted::Queued })
    }

    async fn started(&self, start: StartExecution, origin: &Origin) -> Result<Accepted, DoorError> {
        let limit = self.mesh().config().command_limit;
        self.mesh().command(&Command::StartExecution(Box::new(start)), origin, limit).await
    }

    /// The same with the definition as the workflow's own owner has it, or else what was wrong without it.
    async fn with_definition(
        &self,
        start: StartExecution,
        unknown: DoorError,
    ) -> Result<StartExecution, DoorError> {
        let known: View = match self.workflow(&start.workflow_id).await {
            Err(error) if error.code() == Some(Code::NotFound) => return Err(unknown),
            known => known?,
        };
        match &start.hash {
            Some(hash) if *hash != known.hash => Err(unknown),
            _ => Ok(StartExecution { definition: Some(known.definition), ..start }),
        }
    }

    /// Starts an execution and waits up to `limit` for its end, in one round trip where that is possible.
    ///
    /// # Errors
    /// As [`Client::start`] and [`ExecutionHandle::wait`]. It goes on when time is up.
    pub async fn execute<T: DeserializeOwned>(
        &self,
        request: ExecutionRequest,
        limit: Duration,
    ) -> Result<ExecutionResult<T>, ExecutionError> {
        let deadline = Instant::now() + limit;
        let start = request.command()?;
        Command::StartExecution(Box::new(start.clone())).check().map_err(DoorError::Refused)?;
        let origin = request.origin_within(self.origin());
        let said = self.posted::<Execution>("/v1/executions", &start, &origin, limit);
        let late = || ExecutionError::NotInTime { execution_id: start.execution_id.clone(), limit };
        // What follows repeats the same id with the same body: it is one execution, however often it is sent.
        let handle = match tokio::time::timeout_at(deadline, said).await.map_err(|_| late())?? {
            Posted::Taken(Some(execution)) if execution.status.is_final() => return result(execution),
            Posted::Taken(_) => self.execution(start.execution_id.clone()),
            Posted::Not => match tokio::time::timeout_at(deadline, self.start(request)).await {
                Ok(started) => started?,
                Err(_) => return Err(late()),
            },
        };
        handle.wait_until(deadline, limit).await
    }

    /// A handle on an execution started elsewhere.
    pub fn execution(&self, execution_id: Id) -> ExecutionHandle {
        ExecutionHandle { client: self.clone(), execution_id, queued: false }
    }
}

impl ExecutionHandle {
    /// Its id.
    pub fn execution_id(&self) -> &Id {
        &self.execution_id
    }

    /// As it is now, with its first 200 doings of steps.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn get(&self) -> Result<Execution, DoorError> {
        self.client.ask(&self.path(), self.limit()).await
    }

    /// Its doings of steps, 200 at a time: the first, or those behind a page's `next_cursor`.
    ///
    /// # Errors
    /// As [`ExecutionHandle::get`].
    pub async fn steps(&self, cursor: Option<&str>) -> Result<Page<StepDoing>, DoorError> {
        let mut path = format!("{}/steps?limit={PAGE}", self.path());
        if let Some(cursor) = cursor {
            path.push_str(&format!("&cursor={}", encoded(cursor)));
        }
        self.client.ask(&path, self.limit()).await
    }

    /// Waits for its end, up to `limit`.
    ///
    /// # Errors
    /// See [`ExecutionError`].
    pub async fn wait<T: DeserializeOwned>(
        &self,
        limit: Duration,
    ) -> Result<ExecutionResult<T>, ExecutionError> {
        self.wait_until(Instant::now() + limit, limit).await
    }

    async fn wait_until<T: DeserializeOwned>(
        &self,
        deadline: Instant,
        limit: Duration,
    ) -> Result<ExecutionResult<T>, ExecutionError> {
        let is_over = |execution: &Execution| execution.status.is_final();
        let path = self.path();
        let ended = self.client.ended(&path, self.queued, deadline, is_over);
        let late = || ExecutionError::NotInTime { execution_id: self.execution_id.clone(), limit };
        result(tokio::time::timeout_at(deadline, ended).await.map_err(|_| late())??)
    }

    /// What happens to it, from its start to its end, one event after the other. What happens to the tasks, negotiations and
    /// approvals of its steps is watched on them.
    pub fn watch(&self) -> Watch {
        watch(self.client.clone(), self.execution_id.clone().into())
    }

    /// The same as sentences and counts, to be shown.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.watch())
    }

    /// Starts nothing more; what is under way goes on.
    ///
    /// # Errors
    /// `Refused` with `invalid_transition` when it is not running; `NoAnswer`.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.change(ExecutionChange::Pause, Some(reason.into())).await
    }

    /// Goes on after a pause; a budget that is used up counts no more.
    ///
    /// # Errors
    /// `Refused` with `invalid_transition` when it is not paused; `NoAnswer`.
    pub async fn resume(&self) -> Result<(), DoorError> {
        self.change(ExecutionChange::Resume, None).await
    }

    /// Ends it; what is under way is taken back.
    ///
    /// # Errors
    /// `Refused` with `invalid_transition` when it has ended; `NoAnswer`.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        self.change(ExecutionChange::Cancel, Some(reason.into())).await
    }

    /// Gives a signal to the steps that wait for it; the payload is their output.
    ///
    /// # Errors
    /// `Refused`: it has ended, or no step waits for such a signal; `NoAnswer`.
    pub async fn signal(&self, name: impl Into<String>, payload: Json) -> Result<(), DoorError> {
        let execution_id = self.execution_id.clone();
        let signal = SignalExecution { execution_id, name: name.into(), payload };
        self.order(&Command::SignalExecution(signal)).await
    }

    /// Does a step once more that failed for good, and what it kept from being done. `items`: in each map around it, from the
    /// outside in, for which item; empty outside of maps.
    ///
    /// # Errors
    /// `Refused`: there is no such doing, or it has not failed; `NoAnswer`.
    pub async fn retry(&self, step: impl Into<String>, items: &[u32]) -> Result<(), DoorError> {
        let items = (!items.is_empty()).then(|| items.to_vec());
        let retry = RetryExecution { execution_id: self.execution_id.clone(), step: step.into(), items };
        self.order(&Command::RetryExecution(retry)).await
    }

    async fn change(&self, change: ExecutionChange, reason: Option<String>) -> Result<(), DoorError> {
        let execution_id = self.execution_id.clone();
        self.order(&Command::ChangeExecution(change, ChangeExecution { execution_id, reason })).await
    }

    async fn order(&self, command: &Command) -> Result<(), DoorError> {
        self.client.mesh().command(command, self.client.origin(), self.limit()).await.map(drop)
    }

    fn limit(&self) -> Duration {
        self.client.mesh().config().command_limit
    }

    fn path(&self) -> String {
        format!("/v1/executions/{}", encoded(self.execution_id.as_str()))
    }
}

fn result<T: DeserializeOwned>(execution: Execution) -> Result<ExecutionResult<T>, ExecutionError> {
    if execution.status != ExecutionStatus::Completed {
        return Err(ExecutionError::Ended { execution: Box::new(execution) });
    }
    if execution.output_left_out {
        return Err(ExecutionError::TooLarge { execution: Box::new(execution) });
    }
    match execution.output.clone().unwrap_or_default().to() {
        Ok(output) => Ok(ExecutionResult { output, execution }),
        Err(source) => Err(ExecutionError::Output { execution: Box::new(execution), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ended(more: &Value) -> Execution {
        let mut shown = json!({
            "execution_id": "e", "workspace": "default", "workflow_id": "w", "hash": "h", "status": "completed",
            "input": null, "steps": [], "step_counts": {}, "usage": {}, "started_at": "2026-01-01T00:00:00Z",
            "correlation_id": "c"
        });
        shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(shown).unwrap()
    }

    #[test]
    fn only_one_that_completed_has_an_output() {
        assert_eq!(result::<u32>(ended(&json!({"output": 3}))).unwrap().output, 3);
        assert_eq!(result::<Option<u32>>(ended(&json!({}))).unwrap().output, None);
        let why = |more| result::<u32>(ended(&more)).unwrap_err();
        assert!(matches!(why(json!({"output": "3"})), ExecutionError::Output { .. }));
        assert!(matches!(why(json!({"output_left_out": true})), ExecutionError::TooLarge { .. }));
        let error = json!({"code": "c", "message": "m", "retryable": false});
        let failed = why(json!({"status": "failed", "output": 3, "error": error}));
        assert_eq!(failed.to_string(), "execution e is failed: c: m");
    }
}
