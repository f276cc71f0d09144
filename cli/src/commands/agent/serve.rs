//! `synod agent run`: any program as an agent. One process per attempt, JSON in, JSON or text out.

use crate::commands::{note, place::Place};
use crate::mesh::{Dialling, Ending, abandoned, run as on_runtime};
use crate::output::Stop;
use crate::program::{Call, NoProgram, ProgramFailure, ProgramRunner, TaskVariables};
use crate::settings::{Flags, Settings};
use agent_sdk::{Agent, AgentError, Capability, Context, Id, Json, Mesh, TaskError};
use std::ffi::OsString;
use std::sync::Arc;
use synod_protocol::Timestamp;
use tokio::sync::oneshot;

/// Arguments of `synod agent run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The program gets the input on stdin, one JSON value, and SYNOD_TASK_ID, SYNOD_ATTEMPT, \
    SYNOD_CAPABILITY, SYNOD_AGENT_ID, SYNOD_WORKSPACE, SYNOD_DEADLINE and TRACEPARENT in its environment. Its \
    stdout is the output, as JSON if it is one JSON value, else as text. Exit status 0 is done, 65 is a failure \
    that stays (wrong input), anything else one that may be tried again."
)]
pub(super) struct Args {
    /// What it can do; may be given more than once
    #[arg(long, required = true, value_name = "NAME")]
    capability: Vec<Capability>,
    /// Tasks at a time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// The agent's id; a later process with the same one takes its place [default: made anew]
    #[arg(long)]
    id: Option<Id>,
    /// A label to be matched by; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// End when stdin closes, as well as by Ctrl-C
    #[arg(long)]
    until_stdin_closes: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is written NAME=VALUE"),
    }
}

pub(super) fn run(args: Args, place: Place, flags: Flags) -> Result<(), Stop> {
    let settings = place.quiet_settings_of("synod-agent", flags)?;
    on_runtime(serve(&settings, args))
}

async fn serve(settings: &Settings, args: Args) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let runner = runner(args.command)?;
    let id = args.id.unwrap_or_else(|| Id::made("agent_", uuid::Uuid::now_v7()));
    let workspace: Arc<str> = settings.workspace.value.as_str().into();
    let mesh = Mesh::connect(Dialling::of(settings, "synod-agent").sdk())
        .map_err(|error| Stop::Failed(error.to_string()))?;
    let mut builder = Agent::builder(id.as_str()).concurrency(args.concurrency).labels(args.labels);
    for capability in &args.capability {
        let (runner, workspace) = (runner.clone(), workspace.clone());
        builder = builder.capability(capability.as_str(), move |context: Context, input: Json| {
            attempt(runner.clone(), workspace.clone(), context, input)
        });
    }
    let agent = builder.build(&mesh).map_err(|error| Stop::Usage(error.to_string()))?;

    let names: Vec<&str> = args.capability.iter().map(Capability::as_str).collect();
    note(&format!(
        "agent {id} serves {} with {}; Ctrl-C ends it",
        names.join(", "),
        runner.program().display()
    ));
    let (tell, told) = oneshot::channel::<()>();
    let mut tell = Some(tell);
    let mut running = std::pin::pin!(agent.run(async {
        // Dropped unsent is as good as sent.
        let _ = told.await;
    }));
    let mut alone = std::pin::pin!(async {
        match args.until_stdin_closes {
            true => abandoned().await,
            false => std::future::pending().await,
        }
    });
    let mut is_alone = false;
    let report = loop {
        tokio::select! {
            ran = &mut running => break ran.map_err(stop)?,
            signal = ending.asked() => match tell.take() {
                Some(tell) => {
                    note(&format!("{signal}: the agent finishes what it has; once more ends it at once"));
                    let _ = tell.send(());
                }
                None => return Err(Stop::Failed("asked twice: ended at once".to_owned())),
            },
            () = &mut alone, if !is_alone => {
                is_alone = true;
                tell = None;
            }
        }
    };
    note(&format!("agent {id} ended: {} completed, {} failed", report.completed, report.failed));
    Ok(())
}

fn runner(mut command: Vec<OsString>) -> Result<Arc<ProgramRunner>, Stop> {
    // clap takes no empty command.
    let args = command.split_off(command.len().min(1));
    let program = command.pop().unwrap_or_default();
    let runner = ProgramRunner::new(&program, args).map_err(|error| match error {
        NoProgram::Thread(_) => Stop::Failed(error.to_string()),
        NoProgram::NotInPath(_) | NoProgram::NotExecutable { .. } => Stop::Usage(error.to_string()),
    })?;
    if !runner.dies_with_us() {
        tracing::warn!(
            "setpriv (package util-linux) is missing: a SIGKILL of this process leaves programs behind"
        );
    }
    Ok(Arc::new(runner))
}

/// One attempt: the program, once.
async fn attempt(
    runner: Arc<ProgramRunner>,
    workspace: Arc<str>,
    context: Context,
    input: Json,
) -> Result<Json, TaskError> {
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let left_ms = u64::try_from(context.remaining().as_millis()).unwrap_or(u64::MAX);
    let deadline = now.plus_millis(left_ms).to_string();
    let variables = TaskVariables {
        task_id: context.task_id().as_str(),
        attempt: context.attempt(),
        capability: context.capability().map_or("", Capability::as_str),
        agent_id: context.agent_id().as_str(),
        workspace: &workspace,
        deadline: Some(&deadline),
        traceparent: context.traceparent(),
    };
    let cancel = context.cancellation();
    let call = Call { input: input.as_str(), variables, limit: context.remaining(), cancel: &cancel };
    match runner.run(call).await {
        Ok(output) => {
            if !output.stderr.is_empty() {
                tracing::info!(task_id = %context.task_id(), stderr = output.stderr, "the program said");
            }
            Ok(output.json)
        }
        Err(failure) => {
            tracing::info!(task_id = %context.task_id(), %failure, "the attempt failed");
            Err(task_error(&failure))
        }
    }
}

fn task_error(failure: &ProgramFailure) -> TaskError {
    match failure.is_retryable() {
        true => TaskError::retryable(failure.code(), failure.message()),
        false => TaskError::permanent(failure.code(), failure.message()),
    }
}

fn stop(error: AgentError) -> Stop {
    match error {
        AgentError::Refused { error, .. } => error.into(),
        AgentError::Superseded { .. } | AgentError::Killed(_) => Stop::Failed(error.to_string()),
    }
}
