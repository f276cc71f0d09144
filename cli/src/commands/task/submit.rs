//! `synod task submit`, and waiting for a task's end.

use crate::commands::text;
use crate::mesh::Api;
use crate::output::{Output, Stop};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use synod_protocol::command::{RetryPolicy, SubmitTask};
use synod_protocol::{Capability, Code, EntityId, Error, Id, Json};

/// `--wait` without a figure.
pub(super) const WAIT_MS: &str = "60000";
/// A coordinator holds an answer back for so long at most.
const HOLD: Duration = Duration::from_secs(60);
/// Bytes of input that are read: more than any mesh takes, little enough to hold.
const INPUT_BYTES: u64 = 64 * 1024 * 1024;

/// Arguments of `synod task submit`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("what"))]
pub(super) struct Args {
    /// Any agent that can do this
    #[arg(long, group = "who")]
    capability: Option<Capability>,
    /// This agent and no other
    #[arg(long, group = "who", value_name = "AGENT")]
    agent: Option<Id>,
    /// The input, one JSON value [default: null]
    #[arg(long, group = "what", value_name = "JSON")]
    input: Option<String>,
    /// The file with the input, one JSON value; - is stdin
    #[arg(long, group = "what", value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Read the input from stdin
    #[arg(group = "what", value_name = "-", value_parser = ["-"])]
    stdin: Option<String>,
    /// The task's id; handing in the same one again makes no second task
    #[arg(long)]
    id: Option<EntityId>,
    /// The time limit of one attempt
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// 0 (may wait) to 9 (goes first)
    #[arg(long, value_name = "0-9")]
    priority: Option<u8>,
    /// The balancing rule, such as `performance`
    #[arg(long, value_name = "RULE")]
    strategy: Option<String>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Of the tasks with the same key only so many run at a time, one unless the mesh is set up otherwise
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<Id>,
    /// The last of several attempts goes to an agent with this capability
    #[arg(long, value_name = "CAPABILITY")]
    escalate_to: Option<Capability>,
    /// Wait for its end, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let wait = args.wait.map(Duration::from_millis);
    let id = args.id.clone().unwrap_or_else(|| Id::made("task_", uuid::Uuid::now_v7()).into());
    let body = body(args, &id)?;
    let (_, task) = api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    match wait {
        None => output.entity(&task),
        Some(wait) => tell(&ended(api, &id, wait).await?, output),
    }
}

/// The command itself, so that the input goes out as the text that it came as.
fn body(args: Args, id: &EntityId) -> Result<SubmitTask, Stop> {
    let input = match (args.input, args.input_file, args.stdin) {
        (Some(text), ..) if text == "-" => read(Path::new("-"))?,
        (Some(text), ..) => text,
        (_, Some(path), _) => read(&path)?,
        (.., Some(_)) => read(Path::new("-"))?,
        _ => "null".to_owned(),
    };
    let input = Json::parse(input.trim()).map_err(|error| {
        Stop::Usage(format!("the input is not one JSON value ({error}); a text is written \"like this\""))
    })?;
    let retry = |attempts| RetryPolicy { max_attempts: Some(attempts), ..RetryPolicy::default() };
    Ok(SubmitTask {
        task_id: id.clone(),
        capability: args.capability,
        agent_id: args.agent,
        input,
        priority: args.priority,
        timeout_ms: args.timeout_ms,
        deadline: None,
        retry: args.max_attempts.map(retry),
        strategy: args.strategy,
        requires: None,
        retry_on_suspect: None,
        labels: None,
        concurrency_key: args.concurrency_key,
        escalate_to: args.escalate_to,
        adjustments: None,
    })
}

fn read(path: &Path) -> Result<String, Stop> {
    text::read("the input", path, INPUT_BYTES)
}

/// The task once it has ended, or as it is when time is up.
pub(super) async fn ended(api: &Api, id: &EntityId, wait: Duration) -> Result<Value, Error> {
    let deadline = Instant::now() + wait;
    loop {
        let hold = deadline.saturating_duration_since(Instant::now()).min(HOLD);
        let query = [("wait_ms", hold.as_millis().to_string())];
        let task = api.get(&super::path(id), &query, hold).await?;
        if is_final(&task) || Instant::now() >= deadline {
            return Ok(task);
        }
    }
}

/// Shows a task that was waited for; it is a failure if it did not complete.
pub(super) fn tell(task: &Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    output.entity(task)?;
    let status = task["status"].as_str().unwrap_or_default();
    match status {
        "completed" => Ok(()),
        _ if is_final(task) => {
            let why = task["error"]["message"].as_str().map_or_else(String::new, |why| format!(": {why}"));
            Err(Stop::Failed(format!("the task ended as {status}{why}")))
        }
        _ => Err(Error::new(Code::DeadlineExceeded, format!("the task is still {status}")).into()),
    }
}

pub(super) fn is_final(task: &Value) -> bool {
    matches!(task["status"].as_str(), Some("completed" | "failed" | "cancelled" | "dead_lettered"))
}
