//! `synod snapshot …`: the mesh at a moment, kept for a while, and what has changed between two of them.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Id;

/// Arguments of `synod snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take one now
    Take(Take),
    /// List them, newest first
    List(List),
    /// Show one with its agents
    Get(Get),
    /// Show what is different from one to another
    Compare(Compare),
    /// Remove one
    Delete(Which),
}

#[derive(Debug, clap::Args)]
struct Take {
    /// For people, up to 256 bytes
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The snapshot's id
    #[arg(value_name = "SNAPSHOT")]
    id: Id,
}

#[derive(Debug, clap::Args)]
struct Get {
    #[command(flatten)]
    which: Which,
    /// Agents at most, 1 to 1,000,000
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The first
    #[arg(value_name = "FROM")]
    from: Id,
    /// The second
    #[arg(value_name = "TO")]
    to: Id,
}

const COLUMNS: [Column; 8] = [
    Column::new("SNAPSHOT", "/snapshot_id"),
    Column::new("TAKEN", "/taken_at"),
    Column::new("CAUSE", "/cause/kind"),
    Column::new("WHY", "/cause/detail"),
    Column::new("LABEL", "/label"),
    Column::new("AGENTS", "/agents/total").right(),
    Column::new("WAITING", "/waiting").right(),
    Column::new("SPAN µs", "/span_us").right(),
];

const AGENTS: [Column; 7] = [
    Column::new("AGENT", "/agent_id"),
    Column::new("STATUS", "/status"),
    Column::new("HEALTH", "/health"),
    Column::new("BREAKER", "/breaker"),
    Column::new("HOLDS", "/in_flight").right(),
    Column::new("COMPLETED", "/statistics/completed").right(),
    Column::new("FAILED", "/statistics/failed").right(),
];

const SHARDS: [Column; 6] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("OWNER", "/owner"),
    Column::new("EPOCH", "/epoch").right(),
    Column::new("WAITING", "/waiting").right(),
    Column::new("LAG", "/lag").right(),
    Column::new("TASKS", "/tasks"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Take(Take { label }) => {
                let body = label.map_or_else(|| json!({}), |label| json!({ "label": label }));
                let (_, taken) = api.post("/v1/snapshots", &[], &body, Duration::ZERO).await?;
                shown(taken, output)
            }
            Verb::List(List { limit }) => {
                let query = [("limit", limit.min(100).to_string())];
                let all = super::pages(&api, "/v1/snapshots", &query, limit as usize).await?;
                output.list(&all, &COLUMNS)
            }
            Verb::Get(get) => shown(whole(&api, &get).await?, output),
            Verb::Compare(Compare { from, to }) => {
                let path = format!("/v1/snapshots/{from}/compare/{to}");
                output.entity(&api.get(&path, &[], Duration::ZERO).await?)
            }
            Verb::Delete(Which { id }) => output.entity(&api.delete(&format!("/v1/snapshots/{id}")).await?),
        }
    })
}

/// A snapshot with its agents, all pages of them in one.
async fn whole(api: &Api, get: &Get) -> Result<Value, Stop> {
    let path = format!("/v1/snapshots/{}", get.which.id);
    let limit = get.limit as usize;
    let mut query = vec![("limit", limit.min(1_000).to_string())];
    let mut snapshot = api.get(&path, &query, Duration::ZERO).await?;
    let mut agents: Vec<Value> = super::items(&snapshot).to_vec();
    while let Some(cursor) = snapshot["next_cursor"].as_str().filter(|_| agents.len() < limit) {
        query.truncate(1);
        query.push(("cursor", cursor.to_owned()));
        let page = api.get(&path, &query, Duration::ZERO).await?;
        agents.extend_from_slice(super::items(&page));
        snapshot["next_cursor"] = page["next_cursor"].clone();
    }
    agents.truncate(limit);
    snapshot["items"] = agents.into();
    Ok(snapshot)
}

/// The whole as it is; for people the shards and the agents one below the other.
fn shown(mut snapshot: Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.entity(&snapshot);
    }
    let mut taken_out = |name| snapshot.as_object_mut().and_then(|members| members.remove(name));
    let (shards, agents) = (taken_out("shards").unwrap_or_default(), taken_out("items"));
    output.entity(&snapshot)?;
    output.text("\n")?;
    output.list(shards.as_array().map_or(&[], Vec::as_slice), &SHARDS)?;
    if let Some(agents) = agents {
        output.text("\n")?;
        output.list(agents.as_array().map_or(&[], Vec::as_slice), &AGENTS)?;
    }
    Ok(())
}
