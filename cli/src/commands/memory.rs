//! `synod memory …`: what an agent remembers.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Id, Name};

/// Arguments of `synod memory`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write an entry
    Put(Put),
    /// Read an entry, which uses it
    Get(Entry),
    /// List entries, newest written first
    List(List),
    /// Hand entries to another agent
    Thread(Thread),
    /// Remove one entry, or all
    Clear(Clear),
    /// Show how much there is, and how it is used
    Stats(Whose),
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// The agent's id
    #[arg(value_name = "AGENT")]
    agent: Id,
}

#[derive(Debug, clap::Args)]
struct Entry {
    #[command(flatten)]
    whose: Whose,
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
}

#[derive(Debug, clap::Args)]
struct Put {
    #[command(flatten)]
    entry: Entry,
    /// JSON; what is not JSON is taken as text
    #[arg(value_name = "VALUE")]
    value: String,
    /// To find it by; can be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// For so many milliseconds
    #[arg(long, value_name = "MS")]
    ttl_ms: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    whose: Whose,
    /// Entries whose keys begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Entries that have this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// At most so many, 1 to 100,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Thread {
    #[command(flatten)]
    whose: Whose,
    /// To which agent
    #[arg(long, value_name = "AGENT")]
    to: Id,
    /// The keys, up to 100
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<Name>,
}

#[derive(Debug, clap::Args)]
struct Clear {
    #[command(flatten)]
    whose: Whose,
    /// Only this key
    #[arg(value_name = "KEY")]
    key: Option<Name>,
}

const COLUMNS: [Column; 6] = [
    Column::new("KEY", "/key"),
    Column::new("WRITTEN", "/updated_at"),
    Column::new("ENDS", "/expires_at"),
    Column::new("TAGS", "/tags"),
    Column::new("FROM", "/provenance/from"),
    Column::new("VALUE", "/value"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Put(put) => output.entity(&api.put(&of_entry(&put.entry), &written(&put)).await?),
            Verb::Get(entry) => output.entity(&api.get(&of_entry(&entry), &[], Duration::ZERO).await?),
            Verb::List(List { whose, prefix, tag, limit }) => {
                let mut query = vec![("limit", limit.min(100).to_string()), ("prefix", prefix)];
                query.extend(tag.map(|tag| ("tag", tag)));
                output.list(&super::pages(&api, &path(&whose), &query, limit as usize).await?, &COLUMNS)
            }
            Verb::Thread(Thread { whose, to, keys }) => {
                let keys: Vec<&str> = keys.iter().map(Name::as_str).collect();
                let body = json!({ "to": to.as_str(), "keys": keys });
                let path = format!("{}/thread", path(&whose));
                output.entity(&api.post(&path, &[], &body, Duration::ZERO).await?.1)
            }
            Verb::Clear(Clear { whose, key }) => {
                let path = match &key {
                    Some(key) => format!("{}/{}", path(&whose), segment(key.as_str())),
                    None => path(&whose),
                };
                api.delete(&path).await?;
                output.entity(
                    &json!({ "agent": whose.agent.as_str(), "cleared": key.as_ref().map(Name::as_str) }),
                )
            }
            Verb::Stats(whose) => {
                let path = format!("{}/statistics", path(&whose));
                output.entity(&api.get(&path, &[], Duration::ZERO).await?)
            }
        }
    })
}

fn written(put: &Put) -> Value {
    let mut body = Map::new();
    body.insert("value".to_owned(), super::json_or_text(&put.value));
    body.insert("tags".to_owned(), put.tags.clone().into());
    body.extend(put.ttl_ms.map(|ms| ("ttl_ms".to_owned(), ms.into())));
    body.into()
}

fn path(whose: &Whose) -> String {
    format!("/v1/memory/{}", whose.agent)
}

fn of_entry(entry: &Entry) -> String {
    format!("{}/{}", path(&entry.whose), segment(entry.key.as_str()))
}
