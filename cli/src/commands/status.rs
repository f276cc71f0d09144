//! `synod status`: shards, owners, lag, dependencies, of the whole mesh, asked of one coordinator.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Arguments of `synod status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let status = Api::of(&settings)?.get("/v1/status", &[], Duration::ZERO).await?;
        shown(status, output)
    })
}

const COLUMNS: [Column; 11] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("OWNER", "/owner"),
    Column::new("PHASE", "/phase"),
    Column::new("EPOCH", "/epoch").right(),
    Column::new("POSITION", "/position").right(),
    Column::new("LAG", "/lag").right(),
    Column::new("OLDEST MS", "/oldest_waiting_ms").right(),
    Column::new("ADVANCES", "/advancing"),
    Column::new("WAITING", "/waiting").right(),
    Column::new("UNPROVEN", "/in_flight").right(),
    Column::new("OWED", "/owed").right(),
];

const DUTIES: [Column; 6] = [
    Column::new("COORDINATOR", "/coordinator"),
    Column::new("DUTY", "/duty"),
    Column::new("RUNS", "/runs").right(),
    Column::new("FAILED", "/failures").right(),
    Column::new("LAST RUN", "/last_run_at"),
    Column::new("RESULT", "/result"),
];

/// The whole as it is; for people the shards one below the other.
fn shown(mut status: Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.entity(&status);
    }
    let mut taken =
        |name: &str| status.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default();
    let (shards, duties) = (taken("shards"), taken("duties"));
    output.entity(&status)?;
    output.text("\n")?;
    output.list(shards.as_array().map_or(&[], Vec::as_slice), &COLUMNS)?;
    output.text("\n")?;
    output.list(duties.as_array().map_or(&[], Vec::as_slice), &DUTIES)
}
