//! `synod task watch`: what happens to one task, until it ends.

use crate::commands::ending::TASK;
use crate::mesh::Api;
use crate::output::{Output, Stop};
use std::io::Write;
use std::time::Duration;
use synod_protocol::EntityId;

/// Arguments of `synod task watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    id: EntityId,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    limit: u64,
}

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    TASK.watch(api, args.id.as_str(), Duration::from_secs(args.limit), output).await
}
