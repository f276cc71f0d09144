//! `synod semaphore …`: so many holders at a time, each with a fencing token.

use super::lock::{Acquire as Take, Break, Held, Leases, List, Renew, Which};
use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use std::io::Write;

/// Arguments of `synod semaphore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take a permit, or wait for it: first come first served
    Acquire(AcquirePermit),
    /// Make it last from now
    Renew(Renew),
    /// Give it back
    Release(Held),
    /// List those of which permits are out
    List(List),
    /// Show who holds permits, and how many wait
    Get(Which),
    /// Take permits from who holds them
    Break(Break),
}

#[derive(Debug, clap::Args)]
struct AcquirePermit {
    #[command(flatten)]
    take: Take,
    /// How many there are in all, 1 to 1,000; while any is out it must be the same
    #[arg(long)]
    permits: u32,
}

const COLUMNS: [Column; 4] = [
    Column::new("SEMAPHORE", "/name"),
    Column::new("PERMITS", "/permits").right(),
    Column::new("AVAILABLE", "/available").right(),
    Column::new("WAITERS", "/waiters").right(),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let all = Leases { api: &api, room: "semaphores" };
        match args.verb {
            Verb::Acquire(AcquirePermit { take, permits }) => {
                output.entity(&all.acquire(&take, Some(permits)).await?)
            }
            Verb::Renew(renew) => output.entity(&all.renew(&renew).await?),
            Verb::Release(held) => all.release(&held).await,
            Verb::List(list) => output.list(&all.list(list).await?, &COLUMNS),
            Verb::Get(which) => output.entity(&all.get(&which).await?),
            Verb::Break(which) => output.entity(&all.break_open(&which).await?),
        }
    })
}
