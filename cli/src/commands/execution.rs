//! `synod execution …`: runs of workflows, their steps, and what can be done to one that is under way.

use super::ending::{EXECUTION, WAIT_MS};
use super::place::Place;
use super::text;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Id;

/// Arguments of `synod execution`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List executions, live ones and those that ended lately
    List(List),
    /// Show one
    Get(Get),
    /// Show its steps that have begun
    Steps(Steps),
    /// End it; what is under way is taken back
    Cancel(Because),
    /// Let it start nothing more
    Pause(Because),
    /// Let it go on
    Resume(Because),
    /// Send it a signal that a step waits for
    Signal(Signal),
    /// Do a step that failed for good once more
    Retry(Retry),
    /// Show its events as they happen, until it ends
    Watch(Watch),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The execution's id
    #[arg(value_name = "EXECUTION")]
    id: Id,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that stand so: running, paused, completed, failed, cancelled
    #[arg(long)]
    status: Option<String>,
    /// Only those of this workflow
    #[arg(long)]
    workflow: Option<Id>,
    /// Only those with this label
    #[arg(long, value_name = "NAME:VALUE")]
    label: Option<String>,
    /// Only those that began later, such as 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME")]
    started_after: Option<String>,
    /// Only those that began earlier
    #[arg(long, value_name = "TIME")]
    started_before: Option<String>,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Get {
    #[command(flatten)]
    which: Which,
    /// Wait for its end, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Steps {
    #[command(flatten)]
    which: Which,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Because {
    #[command(flatten)]
    which: Which,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Signal {
    #[command(flatten)]
    which: Which,
    /// Its name, as the step waits for it
    #[arg(value_name = "NAME")]
    name: String,
    /// What it brings, one JSON value, or @FILE with it; @- is stdin [default: null]
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Retry {
    #[command(flatten)]
    which: Which,
    /// The step
    #[arg(value_name = "STEP")]
    step: String,
    /// In a map: for which item, from 0; once for each map around the step, from the outside in
    #[arg(long = "item", value_name = "N")]
    items: Vec<u32>,
}

#[derive(Debug, clap::Args)]
struct Watch {
    #[command(flatten)]
    which: Which,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    limit: u64,
}

const COLUMNS: [Column; 6] = [
    Column::new("EXECUTION", "/execution_id"),
    Column::new("WORKFLOW", "/workflow_id"),
    Column::new("STATUS", "/status"),
    Column::new("STEPS", "/steps"),
    Column::new("STARTED", "/started_at"),
    Column::new("ENDED", "/ended_at"),
];

const STEPS: [Column; 7] = [
    Column::new("STEP", "/step"),
    Column::new("ITEMS", "/items"),
    Column::new("KIND", "/kind"),
    Column::new("STATUS", "/status"),
    Column::new("ATTEMPTS", "/attempts").right(),
    Column::new("AGENT", "/agent_id"),
    Column::new("WHY", "/error/message"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::List(list) => {
                let all = listed(&api, list).await?;
                match output.format() {
                    Format::Table => output.list(&all.iter().map(row).collect::<Vec<_>>(), &COLUMNS),
                    Format::Json | Format::Yaml => output.list(&all, &COLUMNS),
                }
            }
            Verb::Get(Get { which, wait }) => EXECUTION.show(&api, which.id.as_str(), wait, output).await,
            Verb::Steps(Steps { which, limit }) => {
                let path = format!("{}/steps", EXECUTION.at(which.id.as_str()));
                let query = [("limit", limit.min(100).to_string())];
                output.list(&super::pages(&api, &path, &query, limit as usize).await?, &STEPS)
            }
            Verb::Cancel(because) => change(&api, "cancel", &because, output).await,
            Verb::Pause(because) => change(&api, "pause", &because, output).await,
            Verb::Resume(because) => change(&api, "resume", &because, output).await,
            Verb::Signal(Signal { which, name, payload }) => {
                let payload = text::json("the payload", payload.as_deref().unwrap_or("null"))?;
                let body = json!({ "name": name, "payload": payload });
                post(&api, &which, "signal", &body, output).await
            }
            Verb::Retry(Retry { which, step, items }) => {
                post(&api, &which, "retry", &json!({ "step": step, "items": items }), output).await
            }
            Verb::Watch(Watch { which, limit }) => {
                EXECUTION.watch(&api, which.id.as_str(), Duration::from_secs(limit), output).await
            }
        }
    })
}

async fn change(
    api: &Api,
    what: &str,
    because: &Because,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    post(api, &because.which, what, &json!({ "reason": because.reason }), output).await
}

async fn post(
    api: &Api,
    which: &Which,
    what: &str,
    body: &Value,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let path = format!("{}/{what}", EXECUTION.at(which.id.as_str()));
    output.entity(&api.post(&path, &[], body, Duration::ZERO).await?.1)
}

async fn listed(api: &Api, list: List) -> Result<Vec<Value>, Stop> {
    let List { status, workflow, label, started_after, started_before, limit } = list;
    let mut query = vec![("limit", limit.min(1_000).to_string())];
    let given = [
        ("status", status),
        ("workflow", workflow.map(|id| id.to_string())),
        ("label", label),
        ("started_after", started_after),
        ("started_before", started_before),
    ];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    super::pages(api, EXECUTION.path, &query, limit as usize).await
}

/// An execution on one line: how many of its steps stand how.
fn row(execution: &Value) -> Value {
    let mut row = execution.clone();
    let counts = execution["step_counts"].as_object().into_iter().flatten();
    row["steps"] = counts.map(|(status, count)| format!("{count} {status}")).collect::<Vec<_>>().into();
    row
}
