//! A task to be submitted, and what it came to.

use crate::door::{Origin, now};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_protocol::command::{Requires, RetryPolicy, SubmitTask};
use synod_protocol::view::Task;
use synod_protocol::{Capability, EntityId, Error, Id, Json, Timestamp};
use uuid::Uuid;

/// A task to be submitted. What is not said has the mesh's defaults; what is wrong is told when it is submitted.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    submit: SubmitTask,
    pub(crate) origin: Origin,
    wrong: Option<Error>,
}

/// A task for any agent with this capability.
pub fn task(capability: impl AsRef<str>) -> TaskRequest {
    let mut request = TaskRequest::new();
    match capability.as_ref().parse::<Capability>() {
        Ok(capability) => request.submit.capability = Some(capability),
        Err(error) => request.wrong = Some(error.with_field("/capability")),
    }
    request
}

/// A task for this agent and no other.
pub fn task_for(agent: impl AsRef<str>) -> TaskRequest {
    let mut request = TaskRequest::new();
    match agent.as_ref().parse::<Id>() {
        Ok(agent) => request.submit.agent_id = Some(agent),
        Err(error) => request.wrong = Some(error.with_field("/agent_id")),
    }
    request
}

impl TaskRequest {
    fn new() -> TaskRequest {
        let submit = SubmitTask {
            task_id: Id::made("task_", Uuid::now_v7()).into(),
            capability: None,
            agent_id: None,
            input: Json::null(),
            priority: None,
            timeout_ms: None,
            deadline: None,
            retry: None,
            strategy: None,
            requires: None,
            retry_on_suspect: None,
            labels: None,
            concurrency_key: None,
            escalate_to: None,
            adjustments: None,
        };
        TaskRequest { submit, origin: Origin::default(), wrong: None }
    }

    /// With an id of your own, by which submitting again is no second task.
    #[must_use]
    pub fn id(mut self, id: impl AsRef<str>) -> TaskRequest {
        match id.as_ref().parse::<EntityId>() {
            Ok(id) => self.submit.task_id = id,
            Err(error) => self.refuse(error.with_field("/task_id")),
        }
        self
    }

    /// What the agent is handed; `null` by default.
    #[must_use]
    pub fn input(mut self, input: impl Serialize) -> TaskRequest {
        match Json::of(&input) {
            Ok(input) => self.submit.input = input,
            Err(error) => self.refuse(Error::invalid(format!("the input: {error}")).with_field("/input")),
        }
        self
    }

    /// 0 (may wait) to 9 (goes first); 5 by default.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> TaskRequest {
        self.submit.priority = Some(priority);
        self
    }

    /// The limit of one attempt, 1 ms to 7 days; 30 s by default.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> TaskRequest {
        self.submit.timeout_ms = Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// When it is no longer wanted, whatever attempts are left.
    #[must_use]
    pub fn deadline(mut self, deadline: Timestamp) -> TaskRequest {
        self.submit.deadline = Some(deadline);
        self
    }

    /// The same, from now.
    #[must_use]
    pub fn within(self, limit: Duration) -> TaskRequest {
        self.deadline(now().plus_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
    }

    /// What happens after a failure.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> TaskRequest {
        self.submit.retry = Some(policy);
        self
    }

    /// Attempts in all, 1 to 100; 3 by default.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> TaskRequest {
        self.submit.retry.get_or_insert_default().max_attempts = Some(attempts);
        self
    }

    /// Only agents with this label.
    #[must_use]
    pub fn requires_label(mut self, name: impl Into<String>, value: impl Into<String>) -> TaskRequest {
        self.requires().labels.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// Only agents with at least this much.
    #[must_use]
    pub fn requires_resource(mut self, name: impl Into<String>, amount: f64) -> TaskRequest {
        self.requires().resources.get_or_insert_default().insert(name.into(), amount);
        self
    }

    /// By this balancing rule, such as `performance`; the capability's or the mesh's by default.
    #[must_use]
    pub fn strategy(mut self, rule: impl Into<String>) -> TaskRequest {
        self.submit.strategy = Some(rule.into());
        self
    }

    /// Of the tasks with the same key only so many run at a time, one unless the mesh is set up otherwise; 1 to 128 of
    /// `A-Z a-z 0-9 . _ -`.
    #[must_use]
    pub fn concurrency_key(mut self, key: impl AsRef<str>) -> TaskRequest {
        match key.as_ref().parse::<Id>() {
            Ok(key) => self.submit.concurrency_key = Some(key),
            Err(error) => self.refuse(error.with_field("/concurrency_key")),
        }
        self
    }

    /// The last of several attempts goes to an agent with this capability.
    #[must_use]
    pub fn escalate_to(mut self, capability: impl AsRef<str>) -> TaskRequest {
        match capability.as_ref().parse::<Capability>() {
            Ok(capability) => self.submit.escalate_to = Some(capability),
            Err(error) => self.refuse(error.with_field("/escalate_to")),
        }
        self
    }

    /// A JSON merge patch (RFC 7396) that makes the input of the next retry from the input as submitted: the first call is
    /// about the second attempt, and the last goes on for those after it.
    #[must_use]
    pub fn adjust(mut self, patch: impl Serialize) -> TaskRequest {
        match Json::of(&patch) {
            Ok(patch) => self.submit.adjustments.get_or_insert_default().push(patch),
            Err(error) => self.refuse(Error::invalid(format!("a patch: {error}")).with_field("/adjustments")),
        }
        self
    }

    /// Give it to another agent at the first suspicion, not only at loss.
    #[must_use]
    pub fn retry_on_suspect(mut self) -> TaskRequest {
        self.submit.retry_on_suspect = Some(true);
        self
    }

    /// With a label to find it by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> TaskRequest {
        self.submit.labels.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// Part of this piece of work; by default of its submitter's, or one of its own.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> TaskRequest {
        self.origin.correlation_id = Some(id.into());
        self
    }

    /// Part of this trace (W3C `traceparent`); by default of its submitter's, or a new one.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> TaskRequest {
        self.origin.traceparent = Some(traceparent.into());
        self
    }

    /// Its id.
    pub fn task_id(&self) -> &EntityId {
        &self.submit.task_id
    }

    /// The command, or the first thing that was wrong.
    pub(crate) fn command(&self) -> Result<SubmitTask, Error> {
        match &self.wrong {
            Some(error) => Err(error.clone()),
            None => Ok(self.submit.clone()),
        }
    }

    /// What it belongs to: what was said here before what its submitter belongs to.
    pub(crate) fn origin_within(&self, outer: &Origin) -> Origin {
        self.origin.within(outer)
    }

    /// The same as a part of this.
    pub(crate) fn with_origin(mut self, origin: Origin) -> TaskRequest {
        self.origin = origin;
        self
    }

    fn requires(&mut self) -> &mut Requires {
        self.submit.requires.get_or_insert_default()
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }
}

/// A task that completed.
#[derive(Clone, Debug)]
pub struct TaskResult<T> {
    /// What its agent returned.
    pub output: T,
    /// Everything else about it.
    pub task: Task,
}

impl<T> TaskResult<T> {
    /// The agent whose result it is.
    pub fn agent_id(&self) -> Option<&Id> {
        self.task.attempts.last().map(|attempt| &attempt.agent_id)
    }

    /// From its submission to its end, as the ledger has it.
    pub fn took(&self) -> Duration {
        let end = self.task.completed_at.unwrap_or(self.task.submitted_at);
        Duration::from_millis(end.millis_since(self.task.submitted_at))
    }
}

impl<T: DeserializeOwned> TaskResult<T> {
    pub(crate) fn of(task: Task) -> Result<TaskResult<T>, serde_json::Error> {
        let output = task.output.clone().unwrap_or_default().to()?;
        Ok(TaskResult { output, task })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_thing_is_told_when_it_is_submitted() {
        let wrong = |request: TaskRequest| request.command().unwrap_err().field.unwrap_or_default();
        assert_eq!(wrong(task("Not One").id("also wrong")), "/capability");
        assert_eq!(wrong(task("a").id("b c")), "/task_id");
        assert_eq!(wrong(task_for("a b")), "/agent_id");
        assert!(task("a").input(1).max_attempts(2).label("x", "y").command().is_ok());
    }

    #[test]
    fn what_is_said_stands_before_what_is_inherited() {
        let outer = Origin {
            traceparent: Some("outer".into()),
            tracestate: Some("state".into()),
            correlation_id: Some("outer".into()),
            causation_id: Some("cause".into()),
            inner_of: None,
        };
        let own = task("a").traceparent("own").origin_within(&outer);
        assert_eq!((own.traceparent.as_deref(), own.tracestate), (Some("own"), None));
        assert_eq!(own.correlation_id.as_deref(), Some("outer"));
        let none = task("a").correlation_id("own").origin_within(&outer);
        assert_eq!((none.traceparent.as_deref(), none.tracestate.as_deref()), (Some("outer"), Some("state")));
        assert_eq!(none.correlation_id.as_deref(), Some("own"));
    }
}
