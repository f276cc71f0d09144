//! `synod agent …`: any program as an agent, and the fleet.

mod context;
mod serve;

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::breaker::BreakerOrder;
use synod_protocol::{Capability, Id};

/// Arguments of `synod agent`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve tasks with a program: its stdin is the input, its stdout the output
    Run(serve::Args),
    /// List the fleet
    List,
    /// Show one agent
    Get(Which),
    /// Show the versions of an agent's own context, or what one holds
    Context(context::Args),
    /// Let it finish what it has and take no more
    Drain(Change),
    /// Let it take work again after a drain
    Start(Change),
    /// Let it take no new work for now
    Pause(Change),
    /// Let it take work again after a pause
    Resume(Change),
    /// End it for good
    Stop(Change),
    /// Force a circuit breaker of it open or closed, or reset it
    Breaker(Breaker),
    /// Take it out of the fleet; what it holds is given to others
    Deregister(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The agent's id
    #[arg(value_name = "AGENT")]
    id: Id,
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    which: Which,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Breaker {
    #[command(flatten)]
    which: Which,
    /// `force_open`, `force_closed` or `reset`
    #[arg(value_enum)]
    order: Order,
    /// The breaker for this capability alone; the one for all that it does by default
    #[arg(long)]
    capability: Option<Capability>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Order {
    /// Let nothing through until told otherwise
    ForceOpen,
    /// Let everything through until told otherwise
    ForceClosed,
    /// Begin anew: closed, and with nothing counted
    Reset,
}

const COLUMNS: [Column; 7] = [
    Column::new("AGENT", "/agent_id"),
    Column::new("STATUS", "/status"),
    Column::new("HEALTH", "/health"),
    Column::new("BREAKER", "/breaker"),
    Column::new("CAPABILITIES", "/capabilities"),
    Column::new("HOLDS", "/in_flight").right(),
    Column::new("LAST SEEN", "/last_seen_at"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let verb = match args.verb {
        Verb::Run(run) => return serve::run(run, args.place, flags),
        verb => verb,
    };
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match verb {
            Verb::Run(_) => Ok(()),
            Verb::List => {
                let answer = api.get("/v1/agents", &[], Duration::ZERO).await?;
                output.list(super::items(&answer), &COLUMNS)
            }
            Verb::Get(Which { id }) => {
                let agent = api.get(&format!("/v1/agents/{id}"), &[], Duration::ZERO).await?;
                output.entity(&agent)
            }
            Verb::Context(context) => context::run(&api, context, output).await,
            Verb::Deregister(Which { id }) => {
                let gone = api.delete(&format!("/v1/agents/{id}")).await?;
                output.entity(&said(gone, &id))
            }
            Verb::Breaker(Breaker { which: Which { id }, order, capability, reason }) => {
                let order = match order {
                    Order::ForceOpen => BreakerOrder::ForceOpen,
                    Order::ForceClosed => BreakerOrder::ForceClosed,
                    Order::Reset => BreakerOrder::Reset,
                };
                let body = json!({ "order": order, "capability": capability, "reason": reason });
                let (_, agent) =
                    api.post(&format!("/v1/agents/{id}/breaker"), &[], &body, Duration::ZERO).await?;
                output.entity(&said(agent, &id))
            }
            Verb::Drain(change) => changed(&api, "drain", change, output).await,
            Verb::Start(change) => changed(&api, "start", change, output).await,
            Verb::Pause(change) => changed(&api, "pause", change, output).await,
            Verb::Resume(change) => changed(&api, "resume", change, output).await,
            Verb::Stop(change) => changed(&api, "stop", change, output).await,
        }
    })
}

async fn changed(api: &Api, verb: &str, change: Change, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let Change { which: Which { id }, reason } = change;
    let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let (_, agent) = api.post(&format!("/v1/agents/{id}/{verb}"), &[], &body, Duration::ZERO).await?;
    output.entity(&said(agent, &id))
}

/// An answer without a body still says of whom.
fn said(answer: Value, id: &Id) -> Value {
    match answer {
        Value::Null => json!({ "agent_id": id }),
        answer => answer,
    }
}
