//! `synod state …`: what agents hold in common.

mod diff;
mod policy;
mod put;

use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;
use synod_protocol::Name;

/// Arguments of `synod state`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Write in the name of this agent [default: anonymous]
    #[arg(long, global = true, value_name = "AGENT")]
    by: Option<synod_protocol::Id>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a key
    Get(Get),
    /// Write a key
    Put(Box<put::Args>),
    /// Remove a key
    Delete(Delete),
    /// List keys by prefix, in order
    List(List),
    /// Show what was written to a key and what lost, newest first
    History(History),
    /// Show what is different from one version to another, or to what is there now
    Diff(diff::Args),
    /// Write an earlier version again
    Restore(Restore),
    /// What becomes of conflicting writes, by prefix
    Policy(policy::Args),
    /// Keys, bytes, operations and conflicts, in all and by prefix
    Stats,
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// What it was at this version
    #[arg(long = "at", value_name = "VERSION")]
    at: Option<u64>,
    /// Only the value, as JSON
    #[arg(long)]
    value: bool,
}

#[derive(Debug, clap::Args)]
struct Delete {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// Only if it has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// What the keys begin with, to the letter
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// At most so many, 1 to 1,000,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct History {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// At most so many lines, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Restore {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// A version in its history
    #[arg(value_name = "VERSION")]
    number: u64,
}

const ENTRIES: [Column; 6] = [
    Column::new("KEY", "/key"),
    Column::new("VERSION", "/version").right(),
    Column::new("VALUE", "/value"),
    Column::new("UPDATED", "/updated_at"),
    Column::new("BY", "/updated_by"),
    Column::new("EXPIRES", "/expires_at"),
];

const LINES: [Column; 8] = [
    Column::new("VERSION", "/version").right(),
    Column::new("OP", "/op"),
    Column::new("OUTCOME", "/outcome"),
    Column::new("VALUE", "/value"),
    Column::new("UPDATED", "/updated_at"),
    Column::new("BY", "/updated_by"),
    Column::new("KNEW", "/base_version").right(),
    Column::new("WHY", "/reason"),
];

const FIGURES: [Column; 8] = [
    Column::new("PREFIX", "/prefix"),
    Column::new("KEYS", "/keys").right(),
    Column::new("BYTES", "/bytes").right(),
    Column::new("WRITES", "/writes").right(),
    Column::new("DELETES", "/deletes").right(),
    Column::new("EXPIRED", "/expired").right(),
    Column::new("CONFLICTS", "/conflicts").right(),
    Column::new("LOST", "/lost").right(),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    let by: Vec<_> = args.by.iter().map(|by| ("synod-agent", by.to_string())).collect();
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Get(get) => {
                let entry = entry(&api, &get.key, get.at).await?;
                if get.value { output.structured(&entry["value"]) } else { output.entity(&entry) }
            }
            Verb::Put(put) => put::run(&api, *put, by, output).await,
            Verb::Delete(Delete { key, if_version }) => {
                let tag = if_version.map(|version| ("if-match", format!("\"{version}\"")));
                let headers: Vec<_> = by.into_iter().chain(tag).collect();
                output.entity(&api.ask(Method::DELETE, &path(&key), &headers, None).await?.1)
            }
            Verb::List(List { prefix, limit }) => {
                let query = [("prefix", prefix), ("limit", limit.min(1_000).to_string())];
                let all = super::pages(&api, "/v1/state", &query, limit as usize).await?;
                output.list(&all, &ENTRIES)
            }
            Verb::History(History { key, limit }) => {
                let query = [("limit", limit.min(1_000).to_string())];
                let path = format!("{}/history", path(&key));
                let all = super::pages(&api, &path, &query, limit as usize).await?;
                output.list(&all, &LINES)
            }
            Verb::Diff(args) => diff::run(&api, args, output).await,
            Verb::Restore(Restore { key, number }) => {
                let body = serde_json::json!({ "version": number }).to_string();
                let path = format!("{}/restore", path(&key));
                output.entity(&api.ask(Method::POST, &path, &by, Some(body)).await?.1)
            }
            Verb::Policy(args) => policy::run(&api, args, output).await,
            Verb::Stats => {
                let figures = api.get("/v1/state-statistics", &[], Duration::ZERO).await?;
                shown(&figures, output)
            }
        }
    })
}

/// Where a key is.
fn path(key: &Name) -> String {
    format!("/v1/state/{}", segment(key.as_str()))
}

async fn entry(api: &Api, key: &Name, at: Option<u64>) -> Result<Value, Stop> {
    let query: Vec<_> = at.map(|version| ("version", version.to_string())).into_iter().collect();
    Ok(api.get(&path(key), &query, Duration::ZERO).await?)
}

/// For people one table, with the sum as its last line.
fn shown(figures: &Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != crate::output::Format::Table {
        return output.entity(figures);
    }
    let mut rows = figures["prefixes"].as_array().cloned().unwrap_or_default();
    rows.iter_mut().filter(|row| row["prefix"] == "").for_each(|row| row["prefix"] = "(none)".into());
    let mut total = figures["total"].clone();
    total["prefix"] = "(all)".into();
    rows.push(total);
    output.list(&rows, &FIGURES)
}
