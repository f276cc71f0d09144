//! `synod task submit`.

use crate::commands::ending::{TASK, WAIT_MS};
use crate::commands::text;
use crate::mesh::Api;
use crate::output::{Output, Stop};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_protocol::command::{RetryPolicy, SubmitTask};
use synod_protocol::{Capability, EntityId, Id, Json};

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
    let wait = args.wait;
    let id = args.id.clone().unwrap_or_else(|| Id::made("task_", uuid::Uuid::now_v7()).into());
    let body = body(args, &id)?;
    let (_, task) = api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    match wait {
        None => output.entity(&task),
        wait => TASK.show(api, id.as_str(), wait, output).await,
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
