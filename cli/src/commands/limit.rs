//! `synod limit …`: rate limits that all processes share.

use super::lock::Which;
use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Code, Error};

/// Arguments of `synod limit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take tokens, all or none; exit status 4 where there are too few
    Take(Take),
}

#[derive(Debug, clap::Args)]
struct Take {
    #[command(flatten)]
    which: Which,
    /// How many
    #[arg(default_value_t = 1)]
    take: u64,
    /// How many come back in a second, 0.001 to 1,000,000
    #[arg(long, value_name = "PER SECOND")]
    rate: f64,
    /// How many there are at most, 1 to 1,000,000
    #[arg(long)]
    burst: u64,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let Verb::Take(Take { which, take, rate, burst }) = args.verb;
        let path = format!("/v1/limits/{}", segment(which.name.as_str()));
        let body = json!({ "take": take, "rate_per_s": rate, "burst": burst });
        let (_, answer) = api.post(&path, &[], &body, Duration::ZERO).await?;
        output.entity(&answer)?;
        if answer["allowed"] == true {
            return Ok(());
        }
        let after = answer["retry_after_ms"].as_u64().unwrap_or_default();
        let said = format!("{} has too few tokens now; again in {after} ms", which.name);
        Err(Error { retry_after_ms: Some(after), ..Error::new(Code::Overloaded, said) }.into())
    })
}
