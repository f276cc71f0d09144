//! The command line.

use crate::failover::Failover;
use crate::memory::Memory;
use crate::plan::{AgentPlan, ClientPlan, PeoplePlan};
use crate::record::{Around, Folder};
use crate::report::{self, Told};
use crate::scenarios::{QUICK, Scale, Scenario};
use crate::stage::{Setting, Stage};
use crate::verify::{Ran, Talked};
use crate::{Trouble, agent, client, page, people};
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
    /// Plays scenarios; ends with 0 if every one came out as it should, with 1 if one did not
    #[command(args_override_self = true)]
    Run(Run),
    /// Says which scenarios there are
    List,
    /// Writes the record of a folder of results, as Markdown
    Report(Report),
    /// A coordinator's memory: at rest, with tasks that wait, after tasks that have ended
    Memory(Memory),
    /// How soon the work of an agent that dies, or freezes, is somebody else's
    Failover(Failover),
    /// A client, told by JSON; started by the harness
    #[command(hide = true)]
    Client { plan: String },
    /// An agent, told by JSON; started by the harness
    #[command(hide = true)]
    Agent { plan: String },
    /// People, told by JSON; started by the harness
    #[command(hide = true)]
    People { plan: String },
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
    /// Adds rounds until so many tasks have ended, over all scenarios of this run
    #[arg(long, default_value_t = 0)]
    tasks_total: u64,
    /// Writes every figure to this folder, a JSON file for each scenario, as soon as it is over
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Does not play again what the folder has
    #[arg(long, requires = "folder")]
    resume: bool,
}

#[derive(Debug, clap::Args)]
struct Report {
    /// Where `run --folder` wrote
    folder: PathBuf,
    /// Puts it into this file, between the lines that begin and end it there, instead of on stdout
    #[arg(long)]
    into: Option<PathBuf>,
}

/// What `main` is.
pub fn main() -> ExitCode {
    let done = match Program::parse().word {
        Word::Run(run) => on(true, play(run)),
        Word::List => {
            list();
            Ok(true)
        }
        Word::Report(report) => write_report(&report).map(|()| true),
        Word::Failover(failover) => on(true, failover.measure()).map(|()| true),
        Word::Memory(memory) => on(true, memory.measure()).map(|()| true),
        Word::Client { plan } => serde_json::from_str::<ClientPlan>(&plan)
            .map_err(Trouble::from)
            .and_then(|plan| on(false, client::run(plan)).map(|()| true)),
        Word::Agent { plan } => serde_json::from_str::<AgentPlan>(&plan)
            .map_err(Trouble::from)
            .and_then(|plan| on(false, agent::run(plan)).map(|()| true)),
        Word::People { plan } => serde_json::from_str::<PeoplePlan>(&plan)
            .map_err(Trouble::from)
            .and_then(|plan| on(false, people::run(plan)).map(|()| true)),
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
            let mut hup = signal(SignalKind::hangup())?;
            tokio::select! {
                done = work => done,
                _ = term.recv() => Err(Trouble::wrong("asked to end")),
                _ = hup.recv() => Err(Trouble::wrong("hung up on")),
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
        (false, false) => run.scenarios.clone(),
    };
    let folder = run.folder.as_deref().map(Folder::open).transpose()?;
    let mut told: Vec<Told> = Vec::new();
    let (mut failed, mut ended) = (false, 0);
    for (n, scenario) in scenarios.iter().copied().enumerate() {
        let off = run.control.then(|| scenario.guard());
        let without = off.map_or(String::new(), |off| format!(", without {off:?}"));
        let had = match &folder {
            Some(folder) if run.resume => folder.get(scenario, run.control)?,
            _ => None,
        };
        let one = match had {
            Some(had) => {
                eprintln!("{}{without}: as it was played at {}", report::name(scenario), had.around.at);
                Ok(had)
            }
            None => {
                eprintln!("{}{without}", report::name(scenario));
                let share = run.tasks_total.saturating_sub(ended).div_ceil((scenarios.len() - n) as u64);
                one(scenario, &run, share, off).await
            }
        };
        match one {
            Ok(one) => {
                ended += one.outcome.findings.accepted;
                show(&one);
                if let Some(folder) = &folder {
                    folder.put(&one)?;
                }
                told.push(one);
            }
            Err(trouble) => {
                eprintln!("  {}: {trouble}", report::name(scenario));
                failed = true;
            }
        }
    }
    println!("{}", report::table(&told));
    println!("{ended} tasks");
    Ok(!failed && told.iter().all(|one| one.is_right))
}

fn show(one: &Told) {
    let findings = &one.outcome.findings;
    for (end, count) in findings.ends.iter().filter(|(end, _)| *end != "completed") {
        eprintln!("  {count} {end}, as {:?}", findings.why.get(end));
    }
    if findings.negotiations != Talked::default() {
        eprintln!("  {:?}", findings.negotiations);
    }
    if findings.runs != Ran::default() {
        eprintln!("  {:?}", findings.runs);
    }
    for finding in &findings.shown {
        eprintln!("  {:?}: {}", finding.kind, finding.what);
    }
}

async fn one(
    scenario: Scenario,
    run: &Run,
    share: u64,
    off: Option<crate::plan::Off>,
) -> Result<Told, Trouble> {
    let scale = if run.long { Scale::Long } else { Scale::Quick };
    let around = Around::now(run.rate)?;
    let mut setting = Setting { share, ..scenario.setting(scale, run.rate) };
    setting.attempt_ms = run.attempt_ms.unwrap_or(setting.attempt_ms);
    let mut stage = Stage::set(setting, off).await?;
    stage.open().await?;
    let played = scenario.play(&mut stage, scale).await;
    if off.is_none() {
        played?;
    } else if let Err(trouble) = played {
        // Without its guard the mesh may not get so far; what was promised is held against it all the same.
        eprintln!("  {trouble}");
    }
    Ok(Told::new(scenario, scale, off, around, stage.close().await?))
}

fn write_report(report: &Report) -> Result<(), Trouble> {
    let page = page::of(&Folder::open(&report.folder)?.all()?);
    match &report.into {
        Some(file) => page::put(file, &page),
        None => {
            println!("{page}");
            Ok(())
        }
    }
}
