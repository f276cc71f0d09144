//! `synod config`: what is in force, and who said so.

use super::place::Place;
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use std::io::Write;

/// Arguments of `synod config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

const COLUMNS: [Column; 3] =
    [Column::new("SETTING", "/name"), Column::new("VALUE", "/value"), Column::new("FROM", "/source")];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.settings(flags)?;
    let rows = settings.rows().into_iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    output.list(&rows.map_err(|error| Stop::Failed(error.to_string()))?, &COLUMNS)
}
