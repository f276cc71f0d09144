//! `synod agent context ID`: the versions of an agent's own context, and what one of them holds.

use crate::mesh::Api;
use crate::output::{Column, Output, Stop};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Id;

/// Arguments of `synod agent context`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's id
    #[arg(value_name = "AGENT")]
    id: Id,
    /// This version and what it holds, instead of all that there are
    #[arg(value_name = "VERSION")]
    number: Option<u64>,
}

const COLUMNS: [Column; 7] = [
    Column::new("VERSION", "/version").right(),
    Column::new("SAVED", "/saved_at"),
    Column::new("CAUSE", "/cause"),
    Column::new("FORM", "/form"),
    Column::new("BYTES", "/bytes").right(),
    Column::new("CHECKSUM", "/checksum"),
    Column::new("BY", "/incarnation"),
];

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let path = format!("/v1/agents/{}/context", args.id);
    match args.number {
        Some(version) => {
            let query = [("version", version.to_string())];
            output.entity(&api.get(&path, &query, Duration::ZERO).await?)
        }
        None => {
            let versions = api.get(&path, &[], Duration::ZERO).await?;
            output.list(super::super::items(&versions), &COLUMNS)
        }
    }
}
