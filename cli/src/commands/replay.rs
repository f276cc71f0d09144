//! `synod replay`: a ledger folded again through the same core, and every invariant checked on the way.

use super::ledger::source;
use super::place::Place;
use crate::ledger::{Found, Replayed, Schedule, Which, replay};
use crate::mesh::run as on_runtime;
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use crate::terminal::harmless;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `synod replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Only this shard
    #[arg(long, value_name = "N", conflicts_with = "all")]
    shard: Option<u32>,
    /// Every shard; the default
    #[arg(long)]
    all: bool,
    /// Read a file that `synod ledger export` wrote, not Kafka
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Stop after this offset
    #[arg(long, value_name = "OFFSET")]
    until: Option<u64>,
    /// Check the state after every K-th record, and the last [default: each while the shard is small]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
}

const COLUMNS: [Column; 8] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("FROM", "/from").right(),
    Column::new("TO", "/to").right(),
    Column::new("COUNTED", "/counted").right(),
    Column::new("VOID", "/void").right(),
    Column::new("CLAIMS", "/claims").right(),
    Column::new("TASKS", "/in_words"),
    Column::new("FOUND", "/found"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    let which = args.shard.map_or(Which::All, Which::One);
    let schedule = args.every.map_or(Schedule::Affordable, Schedule::Every);
    let shards = on_runtime(async {
        let source = source(&settings, args.from.as_deref())?;
        let mut shards = Vec::new();
        for extent in source.extents(which).await? {
            shards.push(replay(&source, extent.until(args.until), schedule).await?);
        }
        Ok(shards)
    })?;
    told(&shards, output)
}

/// What came of each shard, and around every violation what stands there.
fn told(shards: &[Replayed], output: &mut Output<impl Write>) -> Result<(), Stop> {
    let wrong: Vec<_> =
        shards.iter().filter_map(|s| s.violation.as_ref().map(|found| (s.shard, found))).collect();
    match output.format() {
        Format::Table => {
            output.list(&shards.iter().map(row).collect::<Vec<_>>(), &COLUMNS)?;
            for (shard, found) in &wrong {
                output.text(&around(*shard, found))?;
            }
        }
        Format::Json | Format::Yaml => output.structured(shards)?,
    }
    match wrong.first() {
        None => Ok(()),
        Some((shard, found)) => {
            Err(Stop::Failed(format!("shard {shard}, offset {}: {}", found.offset, found.what)))
        }
    }
}

fn row(shard: &Replayed) -> Value {
    let tasks: Vec<String> = shard.tasks.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let found = shard.violation.as_ref().map_or_else(
        || format!("nothing, in {} states", shard.states_checked),
        |found| format!("a violation at offset {}", found.offset),
    );
    let mut row = json!(shard);
    row["in_words"] = tasks.join(", ").into();
    row["found"] = found.into();
    row
}

fn around(shard: u32, found: &Found) -> String {
    let mut out = format!("\nshard {shard}, offset {}: {}\n", found.offset, harmless(&found.what));
    for near in &found.around {
        let mark = if near.offset == found.offset { '>' } else { ' ' };
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{mark} {:>8}  {}", near.offset, harmless(&near.what));
    }
    out
}
