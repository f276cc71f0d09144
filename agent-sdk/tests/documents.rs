//! Every block of Rust in README.md and docs/ stands here to the letter, so that it compiles; nothing of it runs.

#![allow(
    unused_variables,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::redundant_closure,
    reason = "blocks of documents say what is of interest there"
)]
#![expect(dead_code, reason = "compiled, not run")]

use agent_sdk::workflow::{Contract, Handoff, ShareAndAnalyse, patterns};
use agent_sdk::{
    Addition, Agent, Ballot, Checkpoint, CheckpointPolicy, Client, ConsumeOptions, Context, EventsWanted,
    LockOptions, Mesh, Question, TaskError, Voter, WorkKind,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_negotiation::{Negotiation, Protocols};
use synod_protocol::Workspace;
use synod_protocol::primitives::changes::{Position, StateEvent};

#[rustfmt::skip]
mod readme {
use agent_sdk::{Agent, Context, Mesh, MeshConfig, TaskError};

async fn greet(_: Context, name: String) -> Result<String, TaskError> {
    Ok(format!("Hello, {name}!"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::connect(MeshConfig::from_env()?)?;
    let agent = Agent::builder("greeter").capability("greet", greet).concurrency(4).build(&mesh)?;
    agent.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
    Ok(())
}
}

#[rustfmt::skip]
mod guide {
use agent_sdk::{Agent, Context, Mesh, MeshConfig, TaskError};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Letter {
    to: String,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Counted {
    words: usize,
}

async fn count(_: Context, letter: Letter) -> Result<Counted, TaskError> {
    if letter.to.is_empty() {
        return Err(TaskError::permanent("no_addressee", "a letter needs somebody to go to"));
    }
    let words = letter.lines.iter().map(|line| line.split_whitespace().count()).sum();
    Ok(Counted { words })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::connect(MeshConfig::from_env()?)?;
    let agent = Agent::builder("counter-1").capability("letter.count", count).concurrency(8).build(&mesh)?;
    agent.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
    Ok(())
}
}

#[rustfmt::skip]
mod guide_client {
use agent_sdk::{Mesh, task};
use serde_json::{Value, json};
use std::time::Duration;

async fn ask(mesh: &Mesh) -> Result<(), Box<dyn std::error::Error>> {
    let letter = json!({"to": "anna", "lines": ["how are you", "come soon"]});
    let handle = mesh.client().submit(task("letter.count").input(&letter).max_attempts(3)).await?;
    let done = handle.wait::<Value>(Duration::from_secs(10)).await?;
    println!("{} words, by {:?}", done.output["words"], done.agent_id());
    Ok(())
}
}

#[derive(Serialize, Deserialize)]
struct Report {
    pages: u32,
}

#[derive(Serialize, Deserialize)]
struct Plan {
    step: u32,
}

#[derive(Deserialize)]
struct Mail {
    to: String,
}

async fn send(mail: Mail) -> Result<(), std::io::Error> {
    println!("{}", mail.to);
    Ok(())
}

async fn rebuild(token: u64) {
    println!("{token}");
}

fn keep(position: Position, change: &StateEvent) {
    println!("{position} {}", change.key);
}

async fn count(_: Context, so_far: u32) -> Result<u32, TaskError> {
    Ok(so_far + 1)
}

fn state() -> u32 {
    1
}

fn begin_with(state: u32) {
    println!("{state}");
}

#[rustfmt::skip]
async fn counters(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let left = mesh.counters().add("stock", Addition::of(-1).floor(0).operation("order-7".parse()?)).await?;
    Ok(())
}

#[rustfmt::skip]
async fn locks(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let guard = mesh.locks().acquire("index/rebuild", LockOptions::waiting(Duration::from_secs(10))).await?;
    guard.run(rebuild(guard.token())).await?;     // dropped the moment the lock is lost
    guard.release().await?;
    Ok(())
}

#[rustfmt::skip]
async fn memory(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let memory = mesh.memory(&"analyst".parse()?);
    memory.put("seen/report-7", &Report { pages: 12 }).await?;
    let seen: Option<Report> = memory.get("seen/report-7").await?;
    memory.thread(&"writer".parse()?, ["seen/report-7"]).await?;
    Ok(())
}

#[rustfmt::skip]
mod agents {
use super::{Agent, Ballot, Error, Mesh, Question, TaskError, Voter};

struct Terse;

impl Voter for Terse {
    async fn vote(&self, _: &Question, candidates: &[String]) -> Result<Option<Ballot>, TaskError> {
        Ok(candidates.iter().min_by_key(|name| name.len()).map(Ballot::choice))
    }
}

async fn seated(mesh: Mesh) -> Result<(), Box<dyn Error>> {
Agent::builder("terse").invited_by("decide").voter(Terse).build(&mesh)?.start().await?;
Ok(())
}
}

#[rustfmt::skip]
fn certificates(workspace: Workspace, negotiation: Negotiation) -> Result<(), Box<dyn Error>> {
    let made = synod_negotiation::certificate(&workspace, &negotiation)?;   // NotOver: it goes on, or was cancelled
    let text = made.text();                                                 // canonical; the same negotiation gives the same bytes
    let found = synod_negotiation::verify(&text, Protocols::standard());
    assert!(found.holds());
    Ok(())
}

#[rustfmt::skip]
async fn queues(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let mails = mesh.queues().queue("mails")?;
    mails.enqueue(&json!({"to": "ann@example.org"})).await?;
    let consumer = mails.consume(ConsumeOptions::named("mailer"), |message, mail: Mail| async move {
        send(mail).await // Err gives it back; what it says is the reason in the dead letter
    });
    // … for as long as it is to run
    consumer.stop().await?;
    Ok(())
}

#[rustfmt::skip]
fn checkpoints(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let agent = Agent::builder("counter")
        .capability("count", count)
        .checkpoint(CheckpointPolicy::default().every(Duration::from_secs(60)), move || Checkpoint::json(&state()))
        .restore(move |last| last.json().map(|state| begin_with(state)))
        .build(&mesh)?;
    Ok(())
}

#[rustfmt::skip]
async fn shared_state(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let state = mesh.state().by("planner-1");
    state.put("plans/today", &Plan { step: 1 }).await?;
    state.update("plans/today", |plan: Option<Plan>| plan.map(|p| Plan { step: p.step + 1 })).await?;
    Ok(())
}

#[rustfmt::skip]
async fn changes(mesh: Mesh) -> Result<(), Box<dyn Error>> {
    let mut changes = mesh.state_changes("jobs/*", None)?;   // straight from Redis, no subscription is made
    while let Some(change) = changes.next_change().await? {
        keep(change.position, &change.event);                // to resume: mesh.state_changes("jobs/*", Some(position))
    }
    Ok(())
}

#[rustfmt::skip]
async fn pipeline(client: Client) -> Result<(), Box<dyn Error>> {
    let mut digest = patterns::pipeline("digest", &[("read", "text.read"), ("sum_up", "text.sum_up")])?;
    digest.steps[1].timeout_ms = Some(60_000);
    client.define_workflow(&digest).await?;
    Ok(())
}

#[rustfmt::skip]
async fn analysis(client: Client, report: Report) -> Result<(), Box<dyn Error>> {
    let incident = ShareAndAnalyse::new("incidents/7", &report)        // put under this key of shared state
        .analyst("logs", "analyse.logs")
        .analyst("metrics", "analyse.metrics")
        .combined_by("analyse.sum_up");
    let analysed = client.share_and_analyse(incident, Duration::from_secs(60)).await?;
    Ok(())
}

#[rustfmt::skip]
mod running {
use super::{Client, Duration, Error, Value, json};

#[allow(unused_imports, reason = "the document names both")]
use agent_sdk::workflow::{execution, execution_of};

async fn run_defined(client: Client) -> Result<(), Box<dyn Error>> {
    let workflow = client.define_workflow(include_str!("release.yaml")).await?;   // YAML, JSON, a Definition, a builder
    let handle = client.start(execution_of(&workflow).input(json!({"tag": "v7"})).label("team", "docs")).await?;
    let mut monitor = handle.monitor();
    while let Some(progress) = monitor.next_progress().await? {
        println!("{progress}");                          // build: attempt 1 as exec_…:build | 2 done, 1 under way
    }
    let done = handle.wait::<Value>(Duration::from_secs(600)).await?;
    Ok(())
}
}

#[rustfmt::skip]
async fn handoff(context: Context) -> Result<(), Box<dyn Error>> {
    let contract = Contract { passes: json!({"type": "string"}), returns: json!({"type": "object", "required": ["svg"]}) };
    let chart = Handoff::to_capability("chart.draw").work("sales of May").memory(["figures"]).contract(contract);
    let drawn = context.hand_off_and_wait::<Value>(chart, context.remaining()).await?;
    Ok(())
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

#[rustfmt::skip]
async fn listening(client: Client) -> Result<(), Box<dyn Error>> {
    let keep = |position: &str, event: &dyn std::fmt::Debug| println!("{position} {event:?}");
let wanted = EventsWanted { types: Some("synod.approval.*".parse()?), ..EventsWanted::default() };
let mut events = client.events(wanted);                           // resumes by itself, at another coordinator if need be
while let Some(heard) = events.next_event().await? {
    keep(&heard.position, &heard.event);                          // to resume: from: EventsFrom::After(position)
}
    Ok(())
}

#[rustfmt::skip]
async fn traced(context: Context) -> Result<(), Box<dyn Error>> {
let exporter = match agent_sdk::SpanConfig::from_env("my-agents", "host-1")? {
    Some(config) => Some(agent_sdk::SpanExporter::install(config)?),
    None => None,
};
// … and at its end: exporter.shutdown(Duration::from_secs(1)).await
let mut span = context.span(WorkKind::Llm, "chat small-model");
span.set("gen_ai.request.model", "small-model");
span.tokens(812, 64);
    Ok(())
}

fn without_space(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn every_block_of_rust_in_the_documents_stands_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut all);
    let here = without_space(include_str!("documents.rs"));
    let mut blocks = 0;
    for page in all {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("\n```rust\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            // A blank line parts what stands at different places here.
            for part in block.split("\n\n") {
                assert!(
                    here.contains(&without_space(part)),
                    "{}: not in agent-sdk/tests/documents.rs:\n{part}",
                    page.display()
                );
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 14, "{blocks}");
}
