//! `synod task …`: hand in work, and see what becomes of it.

mod explain;
mod redrive;
mod submit;
mod watch;

use super::ending::{TASK, WAIT_MS};
use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Capability, EntityId, Id};

/// Arguments of `synod task`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Hand in a task
    Submit(submit::Args),
    /// Show one task
    Get(Get),
    /// List tasks
    List(List),
    /// Cancel a task
    Cancel(Cancel),
    /// Try afresh what has failed for good, as a task of its own
    Redrive(redrive::Args),
    /// Say why its attempts went where they went, and what it waits for
    Explain(Explain),
    /// Show a task's events as they happen, until it ends
    Watch(watch::Args),
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The task's id
    #[arg(value_name = "TASK")]
    id: EntityId,
    /// Wait for its end, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The task's id
    #[arg(value_name = "TASK")]
    id: EntityId,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that stand so, such as `running`
    #[arg(long)]
    status: Option<String>,
    /// Only those for this capability
    #[arg(long)]
    capability: Option<Capability>,
    /// Only those that this agent has
    #[arg(long)]
    agent: Option<Id>,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Cancel {
    /// The task's id
    #[arg(value_name = "TASK")]
    id: EntityId,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

const COLUMNS: [Column; 6] = [
    Column::new("TASK", "/task_id"),
    Column::new("STATUS", "/status"),
    Column::new("CAPABILITY", "/capability"),
    Column::new("ATTEMPTS", "/attempts").right(),
    Column::new("AGENT", "/agent_id"),
    Column::new("SUBMITTED", "/submitted_at"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Submit(submit) => submit::run(&api, submit, output).await,
            Verb::Get(Get { id, wait }) => TASK.show(&api, id.as_str(), wait, output).await,
            Verb::List(list) => {
                let tasks = listed(&api, list).await?;
                match output.format() {
                    Format::Table => output.list(&tasks.iter().map(row).collect::<Vec<_>>(), &COLUMNS),
                    Format::Json | Format::Yaml => output.list(&tasks, &COLUMNS),
                }
            }
            Verb::Cancel(Cancel { id, reason }) => {
                let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
                let cancel = format!("{}/cancel", path(&id));
                output.entity(&api.post(&cancel, &[], &body, Duration::ZERO).await?.1)
            }
            Verb::Redrive(redrive) => redrive::run(&api, redrive, output).await,
            Verb::Explain(Explain { id }) => explain::run(&api, &id, output).await,
            Verb::Watch(watch) => watch::run(&api, watch, output).await,
        }
    })
}

fn path(id: &EntityId) -> String {
    TASK.at(id.as_str())
}

async fn listed(api: &Api, list: List) -> Result<Vec<Value>, Stop> {
    let List { status, capability, agent, limit } = list;
    let mut query: Vec<(&str, String)> = vec![("limit", limit.min(100).to_string())];
    query.extend(status.map(|status| ("status", status)));
    query.extend(capability.map(|capability| ("capability", capability.to_string())));
    query.extend(agent.map(|agent| ("agent", agent.to_string())));
    super::pages(api, TASK.path, &query, limit as usize).await
}

/// A task on one line: how many attempts there were, and who had the last one.
fn row(task: &Value) -> Value {
    let attempts = task["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    let agent = attempts.last().map_or(&task["agent_id"], |last| &last["agent_id"]);
    json!({
        "task_id": task["task_id"],
        "status": task["status"],
        "capability": task["capability"],
        "attempts": attempts.len(),
        "agent_id": agent,
        "submitted_at": task["submitted_at"],
    })
}
