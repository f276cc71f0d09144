//! One attempt, from the handler's start to the mesh's word on its result.
//!
//! ```text
//!   handler --output--> complete --\
//!       |----error, panic--> fail --+--accepted or moot--> settled in the inbox
//!       |----declined---> decline -/
//!       |-- time is over --> fail (aborted)
//!       `-- withdrawn, cancelled --> grace, aborted; nothing is reported
//! ```
//!
//! It is not settled while the mesh has not heard of it: a restarted coordinator or a lost answer repeats the
//! report under the same id.

use super::context::{Context, is_moot};
use super::control::AgentControl;
use super::desk::Job;
use super::handler::{Handler, TaskError};
use super::keeper::Checkpoints;
use super::span;
use crate::door::DoorError;
use crate::mesh::Mesh;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::inbox::Taken;
use synod_protocol::command::{CompleteTask, FailTask, Failure};
use synod_protocol::{Code, Command, Error, Json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

/// Work that lasts longer is reported as started; what is shorter costs the ledger one record less.
const START_AFTER: Duration = Duration::from_millis(100);
/// How long a result is repeated at least, whatever the attempt's deadline.
const REPORT_LIMIT: Duration = Duration::from_secs(60);

/// How an attempt ended, as the agent counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    Failed,
    Declined,
    /// Nobody waits for it any more.
    Moot,
    /// The mesh could not be told in time.
    Unreported,
}

/// What every attempt of one run shares.
pub(crate) struct Bench {
    pub(crate) mesh: Mesh,
    pub(crate) agent: AgentControl,
    pub(crate) taken: Taken,
    /// How long a cancelled handler may take to end by itself.
    pub(crate) grace: Duration,
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
}

/// What a handler came to.
enum Came {
    Back(Result<Json, TaskError>),
    Unwanted,
}

/// Runs a job to its end, or tells the mesh why it is not run.
pub(crate) async fn run(bench: &Bench, job: &Job, handler: Result<Handler, TaskError>) -> Ended {
    let context = Context::new(
        bench.mesh.clone(),
        bench.agent.clone(),
        (job.assignment.clone(), job.envelope.clone()),
        job.until,
        job.cancelled.clone(),
        bench.checkpoints.clone(),
        span::of_attempt(bench.agent.agent_id(), job),
    );
    let came = match handler {
        Ok(handler) => work(bench, job, &context, &handler).await,
        Err(why_not) => Came::Back(Err(why_not)),
    };
    let ended = match came {
        Came::Unwanted => {
            span::end_attempt(&context, None);
            Ended::Moot
        }
        Came::Back(result) => {
            // The report is no part of the work, but of its trace.
            span::end_attempt(&context, Some(&result));
            report(bench, job, &context, result).await
        }
    };
    if ended != Ended::Unreported {
        settle(bench, job).await;
    }
    ended
}

async fn work(bench: &Bench, job: &Job, context: &Context, handler: &Handler) -> Came {
    // On a task of its own: its panic and its abortion are its own.
    let working = handler(context.clone(), job.assignment.input.clone()).in_current_span();
    let mut working = Aborted(tokio::spawn(working));
    let starting = async {
        tokio::time::sleep(START_AFTER).await; // long enough to be worth a record
        context.start().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        // First: what a handler comes to because it was cancelled is no result.
        () = job.cancelled.cancelled() => {}
        back = &mut working.0 => return Came::Back(back.unwrap_or_else(panicked)),
        () = tokio::time::sleep_until(job.until) => {
            job.cancelled.cancel();
            let limit = "the attempt's time was over and its handler was aborted";
            return Came::Back(Err(TaskError::retryable(Code::DeadlineExceeded.as_str(), limit)));
        }
        () = starting => {}
    }
    if tokio::time::timeout(bench.grace, &mut working.0).await.is_err() {
        tracing::debug!(task_id = %job.assignment.task_id, "a cancelled handler did not end by itself");
    }
    Came::Unwanted
}

struct Aborted(JoinHandle<Result<Json, TaskError>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(error: tokio::task::JoinError) -> Result<Json, TaskError> {
    let message = match error.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "without a message".to_owned(),
        },
        Err(_) => "the handler's runtime is ending".to_owned(),
    };
    Err(TaskError::retryable("panic", format!("the handler panicked: {message}")))
}

async fn report(bench: &Bench, job: &Job, context: &Context, result: Result<Json, TaskError>) -> Ended {
    let (command, ended) = match result {
        Ok(output) => (complete(context, output), Ended::Completed),
        Err(error) => {
            let fail = fail(context, error.failure());
            match error {
                TaskError::Failed { .. } => (Command::FailTask(fail), Ended::Failed),
                TaskError::Declined { .. } => (Command::DeclineTask(fail), Ended::Declined),
            }
        }
    };
    let limit = REPORT_LIMIT.max(job.until.saturating_duration_since(Instant::now()));
    let told = match bench.mesh.command(&command, context.origin(), limit).await {
        // An output that the mesh will never take is a failure, and not one that another attempt mends.
        Err(DoorError::Refused(error)) if ended == Ended::Completed && !is_moot(error.code) => {
            let fail = Command::FailTask(fail(context, refused_output(&error)));
            (bench.mesh.command(&fail, context.origin(), limit).await, Ended::Failed)
        }
        told => (told, ended),
    };
    let (task_id, attempt) = (&job.assignment.task_id, job.assignment.attempt);
    match told {
        (Ok(_), ended) => ended,
        (Err(DoorError::Refused(error)), _) => {
            let moot = is_moot(error.code);
            tracing::info!(%task_id, attempt, %error, moot, "a result was not taken");
            Ended::Moot
        }
        (Err(error), _) => {
            tracing::error!(%task_id, attempt, %error, "a result could not be reported");
            Ended::Unreported
        }
    }
}

fn complete(context: &Context, output: Json) -> Command {
    let work = context.assignment();
    Command::CompleteTask(CompleteTask {
        task_id: work.task_id.clone(),
        attempt: work.attempt,
        attempt_token: work.attempt_token.clone(),
        output,
        confidence: context.confidence(),
        usage: context.usage(),
    })
}

fn fail(context: &Context, error: Failure) -> FailTask {
    let work = context.assignment();
    FailTask {
        task_id: work.task_id.clone(),
        attempt: work.attempt,
        attempt_token: work.attempt_token.clone(),
        error,
    }
}

fn refused_output(error: &Error) -> Failure {
    TaskError::permanent(error.code.as_str(), format!("the output was refused: {}", error.message)).failure()
}

/// Removes it from the taken list. What Redis does not hear now it hears with the next one.
pub(crate) async fn settle(bench: &Bench, job: &Job) {
    if let Err(error) = bench.taken.settle(&job.body).await {
        tracing::debug!(task_id = %job.assignment.task_id, %error, "Redis was not told that it is settled");
    }
}
