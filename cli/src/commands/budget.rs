//! `synod budget …`: what many spend from together.

use super::lock::Which;
use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Id, Name};

/// Arguments of `synod budget`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set its limit, which makes it if there is none
    Set(Set),
    /// Show how it stands
    Get(Which),
    /// Forget it with its reservations
    Delete(Which),
    /// Set a part aside, until it is spent, returned, or its time is over
    Reserve(Reserve),
    /// Spend from a reservation
    Spend(Spend),
    /// Give back what is left of a reservation
    Return(Return),
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    which: Which,
    /// How much may be spent in all
    limit: u64,
}

#[derive(Debug, clap::Args)]
struct Reserve {
    #[command(flatten)]
    which: Which,
    /// How much
    amount: u64,
    /// It returns by itself after it, 10 to 86,400,000 ms
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    ttl_ms: u64,
    /// Once within 24 h under this id: a repeat gets the first answer
    #[arg(long, value_name = "ID")]
    operation_id: Option<Name>,
}

#[derive(Debug, clap::Args)]
struct Spend {
    #[command(flatten)]
    from: Return,
    /// How much, at most what is left of it
    amount: u64,
    /// Once within 24 h under this id: a repeat gets the first answer
    #[arg(long, value_name = "ID")]
    operation_id: Option<Name>,
}

#[derive(Debug, clap::Args)]
struct Return {
    #[command(flatten)]
    which: Which,
    /// The reservation's id
    reservation: Id,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let path = |which: &Which, verb: &str| format!("/v1/budgets/{}{verb}", segment(which.name.as_str()));
        let (path, body) = match args.verb {
            Verb::Set(Set { which, limit }) => {
                return output.entity(&api.put(&path(&which, ""), &json!({ "limit": limit })).await?);
            }
            Verb::Delete(which) => {
                api.delete(&path(&which, "")).await?;
                return Ok(());
            }
            Verb::Get(which) => {
                return output.entity(&api.get(&path(&which, ""), &[], Duration::ZERO).await?);
            }
            Verb::Reserve(Reserve { which, amount, ttl_ms, operation_id }) => (
                path(&which, "/reserve"),
                json!({ "amount": amount, "ttl_ms": ttl_ms, "operation_id": operation_id }),
            ),
            Verb::Spend(Spend { from, amount, operation_id }) => (
                path(&from.which, "/spend"),
                json!({ "reservation": from.reservation, "amount": amount, "operation_id": operation_id }),
            ),
            Verb::Return(Return { which, reservation }) => {
                (path(&which, "/return"), json!({ "reservation": reservation }))
            }
        };
        output.entity(&api.post(&path, &[], &body, Duration::ZERO).await?.1)
    })
}
