//! `synod fleet …`: pause and resume a part of the fleet or all of it, and see what has not stopped.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Capability;

/// Arguments of `synod fleet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Assign nothing of the workspace, a capability, or everything, until it is resumed
    Pause(Pause),
    /// Take a pause back
    Resume(Scope),
    /// Show the pauses in force, and what has not stopped
    Show,
    /// What all agents have done: by outcome, how long it took, how busy they were
    Statistics,
}

#[derive(Debug, clap::Args)]
struct Scope {
    /// Tasks that ask for this alone
    #[arg(long, value_name = "CAPABILITY")]
    capability: Option<Capability>,
    /// In every workspace, not only in this one
    #[arg(long)]
    everything: bool,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Pause {
    #[command(flatten)]
    scope: Scope,
    /// Take back what runs, too: handlers are told to stop, and the tasks wait
    #[arg(long)]
    halt: bool,
}

const PAUSES: [Column; 7] = [
    Column::new("WORKSPACE", "/pause/workspace"),
    Column::new("CAPABILITY", "/pause/capability"),
    Column::new("MODE", "/pause/mode"),
    Column::new("SINCE", "/pause/since"),
    Column::new("AGENTS", "/agents").right(),
    Column::new("NOT STOPPED", "/not_stopped_total").right(),
    Column::new("REASON", "/pause/reason"),
];

const RUNNING: [Column; 5] = [
    Column::new("WORKSPACE", "/workspace"),
    Column::new("TASK", "/task_id"),
    Column::new("ATTEMPT", "/attempt").right(),
    Column::new("AGENT", "/agent_id"),
    Column::new("TAKEN BACK", "/taken_back"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Pause(Pause { scope, halt }) => {
                let mut body = asked(&scope);
                body["mode"] = json!(if halt { "halt" } else { "drain" });
                let (_, answer) = api.post("/v1/fleet/pause", &[], &body, Duration::ZERO).await?;
                output.entity(&answer)
            }
            Verb::Resume(scope) => {
                let (_, left) = api.post("/v1/fleet/resume", &[], &asked(&scope), Duration::ZERO).await?;
                output.entity(&left)
            }
            Verb::Show => shown(&api.get("/v1/fleet", &[], Duration::ZERO).await?, output),
            Verb::Statistics => output.entity(&api.get("/v1/statistics", &[], Duration::ZERO).await?),
        }
    })
}

fn asked(scope: &Scope) -> Value {
    json!({"capability": scope.capability, "everything": scope.everything, "reason": scope.reason})
}

/// The whole as it is; for people the pauses, and below them what has not stopped.
fn shown(fleet: &Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.entity(fleet);
    }
    let pauses = fleet["pauses"].as_array().map_or(&[][..], Vec::as_slice);
    output.list(pauses, &PAUSES)?;
    let running: Vec<Value> =
        pauses.iter().flat_map(|pause| pause["not_stopped"].as_array()).flatten().cloned().collect();
    if running.is_empty() {
        return Ok(());
    }
    output.text("\n")?;
    output.list(&running, &RUNNING)
}
