//! The command line.

use crate::memory::Memory;
use crate::plan::{AgentPlan, ClientPlan};
use crate::report::{self, Told};
use crate::scenarios::{QUICK, Scale, Scenario};
use crate::stage::Stage;
use crate::{Trouble, agent, client};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Chaos on a real mesh, held to account by journals and the ledger.
#[derive(Debug, Parser)]
#[command(name = "synod-chaos")]
struct Program {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Plays scenarios; ends with 0 if every one came out as it should
    Run(Run),
    /// Says which scenarios there are
    List,
    /// A coordinator's memory: at rest, with tasks that wait, after tasks that have ended
    Memory(Memory),
    /// A client, told by JSON; started by the harness
    #[command(hide = true)]
    Client { plan: String },
    /// An agent, told by JSON; started by the harness
    #[command(hide = true)]
    Agent { plan: String },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Which; the two minutes' set if none is named
    scenarios: Vec<Scenario>,
    /// All of them
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Minutes each instead of seconds
    #[arg(long)]
    long: bool,
    /// With one guard off, each: the check has to find something
    #[arg(long)]
    control: bool,
    /// Tasks a second that clients ask for
    #[arg(long, default_value_t = 150)]
    rate: u32,
    /// The limit of one attempt in ms: a long one leaves it to the mesh to notice what never reached its agent
    #[arg(long)]
    attempt_ms: Option<u64>,
    /// Writes every figure to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What `main` is.
pub fn main() -> ExitCode {
    let done = match Program::parse().word {
        Word::Run(run) => on(true, play(run)),
        Word::List => {
            list();
            Ok(true)
        }
        Word::Memory(memory) => on(true, memory.measure()).map(|()| true),
        Word::Client { plan } => serde_json::from_str::<ClientPlan>(&plan)
            .map_err(Trouble::from)
            .and_then(|plan| on(false, client::run(plan)).map(|()| true)),
        Word::Agent { plan } => serde_json::from_str::<AgentPlan>(&plan)
            .map_err(Trouble::from)
            .and_then(|plan| on(false, agent::run(plan)).map(|()| true)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("synod-chaos: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn on<T>(many: bool, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let mut builder = match many {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build()?;
    match many {
        // Asked to end, what was started is ended as well: dropping the work does that.
        true => runtime.block_on(async {
            let mut term = signal(SignalKind::terminate())?;
            let mut int = signal(SignalKind::interrupt())?;
            tokio::select! {
                done = work => done,
                _ = term.recv() => Err(Trouble::wrong("asked to end")),
                _ = int.recv() => Err(Trouble::wrong("interrupted")),
            }
        }),
        false => runtime.block_on(work),
    }
}

fn list() {
    for scenario in Scenario::value_variants() {
        let help = scenario.to_possible_value().and_then(|v| v.get_help().map(ToString::to_string));
        println!("{:22} {}", report::name(*scenario), help.unwrap_or_default());
    }
}

async fn play(run: Run) -> Result<bool, Trouble> {
    let scenarios = match (run.all, run.scenarios.is_empty()) {
        (true, _) => Scenario::value_variants().to_vec(),
        (false, true) => QUICK.to_vec(),
        (false, false) => run.scenarios,
    };
    let scale = if run.long { Scale::Long } else { Scale::Quick };
    let mut told = Vec::new();
    let mut failed = false;
    for scenario in scenarios {
        let off = run.control.then(|| scenario.guard());
        eprintln!(
            "{}{}",
            report::name(scenario),
            off.map_or(String::new(), |off| format!(", without {off:?}"))
        );
        match one(scenario, scale, run.rate, run.attempt_ms, off).await {
            Ok(one) => {
                for (end, count) in one.outcome.findings.ends.iter().filter(|(end, _)| *end != "completed") {
                    eprintln!("  {count} {end}, as {:?}", one.outcome.findings.why.get(end));
                }
                for finding in &one.outcome.findings.shown {
                    eprintln!("  {:?}: {}", finding.kind, finding.what);
                }
                told.push(one);
            }
            Err(trouble) => {
                eprintln!("  {}: {trouble}", report::name(scenario));
                failed = true;
            }
        }
        if let Some(path) = &run.json {
            std::fs::write(path, serde_json::to_vec_pretty(&told)?)?;
        }
    }
    println!("{}", report::table(&told));
    Ok(!failed && told.iter().all(|one| one.is_right))
}

async fn one(
    scenario: Scenario,
    scale: Scale,
    rate: u32,
    attempt_ms: Option<u64>,
    off: Option<crate::plan::Off>,
) -> Result<Told, Trouble> {
    let mut setting = scenario.setting(scale, rate);
    setting.attempt_ms = attempt_ms.unwrap_or(setting.attempt_ms);
    let mut stage = Stage::set(setting, off).await?;
    stage.open().await?;
    let played = scenario.play(&mut stage, scale).await;
    if off.is_none() {
        played?;
    } else if let Err(trouble) = played {
        // Without its guard the mesh may not get so far; what was promised is held against it all the same.
        eprintln!("  {trouble}");
    }
    Ok(Told::new(scenario, scale, off, stage.close().await?))
}
