//! The commands, one file per noun.
//!
//! A file has its arguments (`Args`, clap) and `run`, which returns data through [`Output`] or says
//! in a [`Stop`] why not. It neither prints nor exits by itself.

mod agent;
mod approval;
mod bench;
mod budget;
mod completions;
mod config;
mod coordinator;
mod counter;
mod demo;
mod dlq;
mod doctor;
mod ending;
mod event_line;
mod events;
mod execution;
mod fleet;
mod key;
mod ledger;
mod limit;
mod lock;
mod memory;
mod negotiation;
mod place;
mod queue;
mod reference;
mod replay;
mod semaphore;
mod snapshot;
mod state;
mod status;
mod subscription;
mod task;
mod text;
mod top;
mod up;
mod validate;
mod workflow;

use crate::mesh::Api;
use crate::output::{Exit, Format, Output, Stop};
use crate::settings::Flags;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::ffi::OsString;
use std::time::Duration;

/// Coordination mesh for software agents.
#[derive(Debug, Parser)]
#[command(name = "synod", version, propagate_version = true, after_help = EXIT_STATUSES)]
struct Cli {
    /// How to write data
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUSES: &str =
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 unavailable";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole mesh in this process; nothing survives it
    Up(up::Args),
    /// Join real brokers as a coordinator
    Coordinator(coordinator::Args),
    /// Show the mesh at work: analyse a tree of files, kill an agent half way, add up all the same
    Demo(demo::Args),
    /// Measure what Synod costs over bare Kafka; needs a Kafka and a Redis of its own
    Bench(bench::Args),
    /// Check that a mesh keeps its promises
    Validate(validate::Args),
    /// Serve tasks with any program; look after the fleet
    Agent(agent::Args),
    /// Pause and resume a part of the fleet or all of it; see what has not stopped
    Fleet(fleet::Args),
    /// Hand in work and see what becomes of it
    Task(task::Args),
    /// What happened, and what happens now
    Events(events::Args),
    /// The mesh at a moment: take, list, compare
    Snapshot(snapshot::Args),
    /// What agents hold in common: values under keys, their history, and what becomes of conflicts
    State(state::Args),
    /// Hear of changes of shared state, as a stream or by webhook
    Subscription(subscription::Args),
    /// Locks with fencing tokens: take, renew, release, see who holds and waits, break
    Lock(lock::Args),
    /// Semaphores: so many permits at a time
    Semaphore(semaphore::Args),
    /// Counters that all share, within bounds
    Counter(counter::Args),
    /// Budgets: reserve, spend, return; never overdrawn
    Budget(budget::Args),
    /// Rate limits that all share
    Limit(limit::Args),
    /// Messages that wait for a consumer: put in, take, settle
    Queue(queue::Args),
    /// What an agent remembers
    Memory(memory::Args),
    /// Agents and others decide together: open, answer, see what was decided and why
    Negotiation(negotiation::Args),
    /// Definitions of workflows: check, draw, explain, define, run
    Workflow(workflow::Args),
    /// Runs of workflows: see, pause, signal, retry, cancel
    Execution(execution::Args),
    /// People decide: ask, see what waits for whom, decide
    Approval(approval::Args),
    /// Shards, owners, lag, dependencies
    Status(status::Args),
    /// Fleet, shards, queues and workflows to look at, drawn anew every second
    Top(top::Args),
    /// What is wrong with Kafka, Redis or the coordinators, and what to do about it
    Doctor(doctor::Args),
    /// The durable truth: export a shard's records, or see what one entity went through
    Ledger(ledger::Args),
    /// Fold a shard's ledger again through the same core and check every invariant
    Replay(replay::Args),
    /// What could not be handled, and why
    Dlq(dlq::Args),
    /// Show the settings in force and where each was said; secrets are hidden
    Config(config::Args),
    /// The interfaces as documents: OpenAPI, AsyncAPI, schemas, metrics, settings, error codes, commands
    Reference(reference::Args),
    /// Make an API key, and the hash by which coordinators know it
    Key,
    /// Write the completions for a shell
    Completions(completions::Args),
    /// One of the demo's agents
    #[command(hide = true)]
    DemoAgent(demo::AgentArgs),
    /// A member of one of the demo's scenes
    #[command(hide = true)]
    DemoMember(demo::MemberArgs),
    /// A second coordinator of one of the demo's scenes
    #[command(hide = true)]
    DemoCoordinator(demo::CoordinatorArgs),
}

/// The whole command line, as clap knows it.
pub(crate) fn command_line() -> clap::Command {
    use clap::CommandFactory as _;
    Cli::command()
}

/// Runs one command line. Data goes to stdout, everything else to stderr.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows what is help (stdout) and what is an error (stderr). If neither can be
            // written, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match execute(cli) {
        Ok(()) => Exit::Done,
        Err(stop) => {
            if !stop.is_silent() {
                note(&stop.to_string());
            }
            stop.exit()
        }
    }
}

fn execute(cli: Cli) -> Result<(), Stop> {
    let mut output = Output::stdout(cli.output);
    match cli.command {
        Command::Up(args) => up::run(args, &cli.flags, &mut output),
        Command::Coordinator(args) => coordinator::run(args, cli.flags, &mut output),
        Command::Demo(args) => demo::run(args, cli.flags, &mut output),
        Command::DemoAgent(args) => demo::run_agent(args, cli.flags),
        Command::DemoMember(args) => demo::run_member(args, cli.flags),
        Command::DemoCoordinator(args) => demo::run_coordinator(args, cli.flags),
        Command::Bench(args) => bench::run(args, cli.flags, &mut output),
        Command::Workflow(args) => workflow::run(args, cli.flags, &mut output),
        Command::Execution(args) => execution::run(args, cli.flags, &mut output),
        Command::Approval(args) => approval::run(args, cli.flags, &mut output),
        Command::Validate(args) => validate::run(&args, cli.flags, &mut output),
        Command::Agent(args) => agent::run(args, cli.flags, &mut output),
        Command::Fleet(args) => fleet::run(args, cli.flags, &mut output),
        Command::Task(args) => task::run(args, cli.flags, &mut output),
        Command::Events(args) => events::run(args, cli.flags, &mut output),
        Command::Snapshot(args) => snapshot::run(args, cli.flags, &mut output),
        Command::State(args) => state::run(args, cli.flags, &mut output),
        Command::Subscription(args) => subscription::run(args, cli.flags, &mut output),
        Command::Lock(args) => lock::run(args, cli.flags, &mut output),
        Command::Semaphore(args) => semaphore::run(args, cli.flags, &mut output),
        Command::Counter(args) => counter::run(args, cli.flags, &mut output),
        Command::Budget(args) => budget::run(args, cli.flags, &mut output),
        Command::Limit(args) => limit::run(args, cli.flags, &mut output),
        Command::Queue(args) => queue::run(args, cli.flags, &mut output),
        Command::Memory(args) => memory::run(args, cli.flags, &mut output),
        Command::Negotiation(args) => negotiation::run(args, cli.flags, &mut output),
        Command::Status(args) => status::run(args, cli.flags, &mut output),
        Command::Top(args) => top::run(args, cli.flags, &mut output),
        Command::Doctor(args) => doctor::run(args, cli.flags, &mut output),
        Command::Ledger(args) => ledger::run(args, cli.flags, &mut output),
        Command::Replay(args) => replay::run(args, cli.flags, &mut output),
        Command::Dlq(args) => dlq::run(args, cli.flags, &mut output),
        Command::Config(args) => config::run(args, cli.flags, &mut output),
        Command::Reference(args) => reference::run(args, &mut output),
        Command::Key => key::run(&mut output),
        Command::Completions(args) => completions::run(&args, &mut output),
    }
}

/// For people, to stderr; if that is closed, there is nobody to tell.
fn note(text: &str) {
    use std::io::Write as _;
    // In one piece, so that other processes' words do not come in between.
    let line = format!("synod: {}\n", crate::terminal::harmless(text));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The entities of one page.
fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

/// All pages, up to `limit` entities.
async fn pages(api: &Api, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Stop> {
    let mut all: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = api.get(path, &query, Duration::ZERO).await?;
        all.extend_from_slice(items(&page));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || items(&page).is_empty() || all.len() >= limit {
            all.truncate(limit);
            return Ok(all);
        }
    }
}

/// A value given on a command line: JSON, or else text.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
