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
    List(List),
    /// What one agent has done: by outcome, how long it took, how busy it was
    Statistics(Which),
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
    /// Say that it cannot work, and how it is to come back
    ReportError(ReportError),
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

#[derive(Debug, clap::Args)]
struct ReportError {
    #[command(flatten)]
    change: Change,
    /// `resume` by itself, `restart` as a new process start, or `park` until somebody starts it
    #[arg(long, value_parser = ["resume", "restart", "park"], default_value = "park")]
    recovery: String,
    /// With `resume`: after so many ms, 1 to 3,600,000; 1,000 by default
    #[arg(long, value_name = "MS")]
    resume_after_ms: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Who can do this
    #[arg(long, value_name = "CAPABILITY")]
    capability: Option<String>,
    /// Who does this: idle, running, paused, completed or error
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Who stands so: healthy, suspected, lost or draining
    #[arg(long, value_name = "HEALTH")]
    health: Option<String>,
    /// Who has this label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Option<String>,
    /// By what they are sorted: `agent_id`, `last_seen`, `in_flight` or `load`
    #[arg(long, value_name = "ORDER")]
    sort: Option<String>,
    /// The greatest first
    #[arg(long)]
    descending: bool,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
}

impl List {
    fn query(&self) -> Vec<(&'static str, String)> {
        let order = self.descending.then(|| "desc".to_owned());
        let said = [
            ("capability", &self.capability),
            ("status", &self.status),
            ("health", &self.health),
            ("label", &self.label),
            ("sort", &self.sort),
            ("order", &order),
        ];
        let mut query: Vec<_> =
            said.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        query.push(("limit", self.limit.clamp(1, 1_000).to_string()));
        query
    }
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
            Verb::List(list) => {
                let agents = super::pages(&api, "/v1/agents", &list.query(), list.limit).await?;
                output.list(&agents, &COLUMNS)
            }
            Verb::Statistics(Which { id }) => {
                let done = api.get(&format!("/v1/agents/{id}/statistics"), &[], Duration::ZERO).await?;
                output.entity(&done)
            }
            Verb::ReportError(ReportError { change, recovery, resume_after_ms }) => {
                let Change { which: Which { id }, reason } = change;
                let body =
                    json!({"reason": reason, "recovery": recovery, "resume_after_ms": resume_after_ms});
                let path = format!("/v1/agents/{id}/report_error");
                let (_, agent) = api.post(&path, &[], &body, Duration::ZERO).await?;
                output.entity(&said(agent, &id))
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
