//! `synod config`: what is in force, and who said so.

use crate::output::{Column, Output, Stop};
use crate::settings::{Flags, Settings};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `synod config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Endpoints of a running mesh, as `synod up --endpoints FILE` writes them [env: SYNOD_ENDPOINTS]
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
}

const COLUMNS: [Column; 3] =
    [Column::new("SETTING", "/name"), Column::new("VALUE", "/value"), Column::new("FROM", "/source")];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let flags = Flags { endpoints: args.endpoints, ..flags };
    let settings = Settings::load(&flags).map_err(|error| Stop::Usage(error.to_string()))?;
    let rows = settings.rows().into_iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    output.list(&rows.map_err(|error| Stop::Failed(error.to_string()))?, &COLUMNS)
}
