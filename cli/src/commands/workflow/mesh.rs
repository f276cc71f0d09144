//! The verbs of `synod workflow` that need a mesh: define, list, get, run.

use super::Which;
use crate::commands::ending::{EXECUTION, WAIT_MS};
use crate::commands::{pages, text};
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Settings;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Id, Json};
use synod_workflow::source::Format;

/// Arguments of `synod workflow define`.
#[derive(Debug, clap::Args)]
pub(super) struct Define {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `synod workflow list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// Arguments of `synod workflow get`.
#[derive(Debug, clap::Args)]
pub(super) struct Get {
    /// The workflow's id
    #[arg(value_name = "WORKFLOW")]
    id: Id,
    /// Its definition alone, as JSON or YAML
    #[arg(long)]
    definition: bool,
}

/// Arguments of `synod workflow run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The workflow's id
    #[arg(value_name = "WORKFLOW")]
    workflow: Id,
    /// What its steps read as `input`, one JSON value, or @FILE with it; @- is stdin [default: null]
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// The execution's id; starting the same one again makes no second
    #[arg(long)]
    id: Option<Id>,
    /// The version with this hash and no other
    #[arg(long)]
    hash: Option<String>,
    /// A label to find it by; once for each
    #[arg(long = "label", value_name = "NAME:VALUE", value_parser = text::label)]
    labels: Vec<(String, String)>,
    /// Wait for its end, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

/// Something asked of a mesh.
pub(super) enum Asked {
    Define(Define),
    List(List),
    Get(Get),
    Run(Box<Run>),
}

const COLUMNS: [Column; 5] = [
    Column::new("WORKFLOW", "/workflow_id"),
    Column::new("VERSION", "/version").right(),
    Column::new("HASH", "/hash"),
    Column::new("CREATED", "/created_at"),
    Column::new("UPDATED", "/updated_at"),
];

pub(super) fn run(asked: Asked, settings: &Settings, output: &mut Output<impl Write>) -> Result<(), Stop> {
    on_runtime(async {
        let api = Api::of(settings)?;
        match asked {
            Asked::Define(Define { which }) => {
                let (text, format) = super::source(&which)?;
                let media = match format {
                    Format::Json => "application/json",
                    Format::Yaml => "application/yaml",
                };
                let headers = [("content-type", media)];
                output.entity(&api.post_raw("/v1/workflows/definitions", &headers, text).await?.1)
            }
            Asked::List(List { limit }) => {
                let query = [("limit", limit.min(1_000).to_string())];
                output.list(&pages(&api, "/v1/workflows", &query, limit as usize).await?, &COLUMNS)
            }
            Asked::Get(Get { id, definition }) => {
                let path = format!("/v1/workflows/{}", segment(id.as_str()));
                let workflow = api.get(&path, &[], Duration::ZERO).await?;
                if definition { output.structured(&workflow["definition"]) } else { output.entity(&workflow) }
            }
            Asked::Run(started) => start(&api, *started, output).await,
        }
    })
}

async fn start(api: &Api, run: Run, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let Run { workflow, input, id, hash, labels, wait } = run;
    let id = id.unwrap_or_else(|| Id::made("exec_", uuid::Uuid::now_v7()));
    let input: Json = text::json("the input", input.as_deref().unwrap_or("null"))?;
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    // A text of JSON goes out as it came, to the last digit.
    let body = BTreeMap::from([
        ("execution_id", Json::from(json!(id.as_str()))),
        ("input", input),
        ("hash", Json::from(json!(hash))),
        ("labels", Json::from(json!(labels))),
    ]);
    let path = format!("/v1/workflows/{}/execute", segment(workflow.as_str()));
    let (_, started) = api.post(&path, &[], &body, Duration::ZERO).await?;
    match wait {
        None => output.entity(&started),
        wait => EXECUTION.show(api, id.as_str(), wait, output).await,
    }
}
