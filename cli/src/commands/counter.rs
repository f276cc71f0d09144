//! `synod counter …`: whole numbers that many add to.

use super::lock::Which;
use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use synod_protocol::Name;

/// Arguments of `synod counter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add to one, which begins at 0
    Add(Add),
    /// Show its value
    Get(Which),
    /// Forget it: it is 0 again
    Delete(Which),
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    which: Which,
    /// How much; negative takes away
    #[arg(allow_negative_numbers = true, default_value_t = 1)]
    by: i64,
    /// Not if it would leave less
    #[arg(long, allow_negative_numbers = true)]
    floor: Option<i64>,
    /// Not if it would leave more
    #[arg(long, allow_negative_numbers = true)]
    ceiling: Option<i64>,
    /// Once within 24 h under this id: a repeat gets the first answer
    #[arg(long, value_name = "ID")]
    operation_id: Option<Name>,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let path = |which: &Which| format!("/v1/counters/{}", segment(which.name.as_str()));
        match args.verb {
            Verb::Add(Add { which, by, floor, ceiling, operation_id }) => {
                let body =
                    json!({ "add": by, "floor": floor, "ceiling": ceiling, "operation_id": operation_id });
                output.entity(&api.post(&path(&which), &[], &body, Duration::ZERO).await?.1)
            }
            Verb::Delete(which) => {
                api.delete(&path(&which)).await?;
                Ok(())
            }
            Verb::Get(which) => output.entity(&api.get(&path(&which), &[], Duration::ZERO).await?),
        }
    })
}
