//! `synod ledger …`: the durable truth, read. Nothing is written to Kafka here.

mod export;
mod show;

use super::place::Place;
use crate::ledger::{Source, Which};
use crate::mesh::{Dialling, run as on_runtime};
use crate::output::{Output, Stop};
use crate::settings::{Flags, Settings};
use clap::Subcommand;
use std::io::Write;
use std::path::Path;
use synod_infra::kafka::Readers;

/// Arguments of `synod ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a shard's ledger to a file, one record a line; it holds inputs, outputs and attempt tokens
    Export(export::Args),
    /// Show the life of a task or an agent, from the records themselves
    Show(show::Args),
}

/// Which shards.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Shards {
    /// This shard
    #[arg(long, value_name = "N")]
    shard: Option<u32>,
    /// Every shard
    #[arg(long)]
    all: bool,
}

impl From<Shards> for Which {
    fn from(shards: Shards) -> Which {
        shards.shard.map_or(Which::All, Which::One)
    }
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        match args.verb {
            Verb::Export(export) => export::run(&settings, export, output).await,
            Verb::Show(show) => show::run(&settings, show, output).await,
        }
    })
}

/// The file, or the brokers that the settings name.
pub(super) fn source(settings: &Settings, from: Option<&Path>) -> Result<Source, Stop> {
    match from {
        Some(path) => Ok(Source::file(path)?),
        None => {
            let mesh = Dialling::of(settings, "synod-ledger");
            let readers = Readers::new(&mesh.kafka).map_err(|error| Stop::Usage(error.to_string()))?;
            Ok(Source::Kafka(readers))
        }
    }
}
