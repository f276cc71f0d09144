//! The demo from first to last: one task per file, three agents, one of them killed half way.
//!
//! ```text
//! files ── at most IN_FLIGHT at a time ──> Client::call ──> Collector ──> Report
//!                                            ^ half way: kill one agent, see the others take over
//! ```
//!
//! The client repeats with the same ids until it has every result: a coordinator may be killed and
//! started again meanwhile, and the totals are the same.

use super::agents::{Agents, AgentsError, Job};
use super::analyse::{FileFacts, FileTask};
use super::collect::{Collector, Ended};
use super::path::FilePath;
use super::report::Report;
use super::takeover::{Killed, kill_one, noticed};
use super::tree::Tree;
use crate::mesh::Ground;
use crate::terminal::harmless_bytes;
use agent_sdk::{Client, ConnectError, Mesh, MeshConfig, task};
use futures::future::{FusedFuture as _, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::pin::pin;
use std::time::{Duration, Instant};

/// What a task of the demo asks for.
pub const CAPABILITY: &str = "demo.analyse";
/// The label by which a task finds the agents of its own demo: those that were started for its tree.
pub const RUN_LABEL: &str = "demo";
/// Tasks handed in and not yet ended, at most.
const IN_FLIGHT: usize = 96;
/// Agents; enough that two are left.
const AGENTS: usize = 3;
/// Files that an agent has in hand at a time.
const CONCURRENCY: u32 = 16;
/// One attempt; a file of many gigabytes takes its time.
const ATTEMPT: Duration = Duration::from_secs(300);
/// How long the mesh may take to notice a loss after the last task has ended.
const NOTICE_WITHIN: Duration = Duration::from_secs(10);

/// The demo could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No agents.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// No client.
    #[error("no client: {0}")]
    Client(#[from] ConnectError),
}

/// Runs it on this mesh, within `limit` from now on. Whatever is not done by then is reported as failed.
///
/// # Errors
/// It could not begin; nothing of it is left running then.
pub async fn conduct(tree: &Tree, ground: &Ground, limit: Duration) -> Result<Report, DemoError> {
    let deadline = Instant::now() + limit;
    let random = uuid::Uuid::now_v7().simple().to_string();
    let run = format!("demo-{}", random.get(20..).unwrap_or(&random));
    let job = Job { root: &tree.root, run: &run, agents: AGENTS, concurrency: CONCURRENCY };
    let agents = Agents::start(job, &ground.dialling, &ground.api).await?;
    let config = MeshConfig { command_limit: limit, ..ground.dialling.sdk() };
    let client = Mesh::connect(config)?.client().correlated(&run);
    let report = analysed(tree, &run, &client, &agents, ground, deadline).await;
    agents.end().await;
    Ok(report)
}

async fn analysed(
    tree: &Tree,
    run: &str,
    client: &Client,
    agents: &Agents,
    ground: &Ground,
    deadline: Instant,
) -> Report {
    let bar = progress(tree.files.len());
    let mut collector = Collector::new(tree.files.len());
    let mut unanswered: BTreeSet<FilePath> = tree.files.iter().cloned().collect();
    let half = (tree.files.len() as u64).div_ceil(2);

    let tasks = tree.files.iter().enumerate().map(|(number, path)| {
        let id = format!("{run}-{number}");
        one(client, id, run, path.clone(), deadline)
    });
    let mut results = pin!(stream::iter(tasks).buffer_unordered(IN_FLIGHT));
    let mut over = pin!(tokio::time::sleep_until(deadline.into()));
    let mut killing = pin!(futures::future::Fuse::terminated());
    let mut noticing = pin!(futures::future::Fuse::terminated());
    let mut begun = false;
    loop {
        if !begun && collector.completed() >= half {
            begun = true;
            killing.set(kill_one(agents, &ground.api).fuse());
        }
        tokio::select! {
            ended = results.next() => match ended {
                Some(ended) => {
                    unanswered.remove(&ended.path);
                    collector.ended(ended);
                    bar.inc(1);
                }
                None => break,
            },
            killed = &mut killing, if !killing.is_terminated() => {
                noticing.set(after_notice(killed.clone(), ground).fuse());
                collector.killed(killed);
                bar.set_message("one agent was killed");
            }
            after = &mut noticing, if !noticing.is_terminated() => collector.noticed(after),
            () = &mut over => break,
        }
    }
    if !killing.is_terminated() {
        collector
            .not_killed("the work was done before one could be caught holding any; a larger tree shows it");
    }
    if !noticing.is_terminated()
        && !collector.is_settled()
        && let Ok(after) = tokio::time::timeout(NOTICE_WITHIN, noticing).await
    {
        collector.noticed(after);
    }
    bar.finish_and_clear();
    let (facts, failed, mesh) = collector.finish(unanswered, "not done within the time limit");
    let input = harmless_bytes(tree.root.as_os_str().as_bytes());
    Report::new(input, &facts, failed, tree.left_out.clone(), mesh)
}

async fn after_notice(killed: Killed, ground: &Ground) -> Duration {
    noticed(&killed, &ground.api).await
}

/// One file: handed in, waited for, and asked for again as long as there is time.
async fn one(client: &Client, id: String, run: &str, path: FilePath, deadline: Instant) -> Ended {
    let began = Instant::now();
    let left = deadline.saturating_duration_since(began);
    let request = task(CAPABILITY)
        .id(id)
        .input(FileTask { path: path.clone() })
        .timeout(ATTEMPT)
        // Nobody wants it later, and no other demo's agents can do it.
        .within(left)
        .requires_label(RUN_LABEL, run);
    let result = client.call::<FileFacts>(request, left).await;
    Ended { path, result, took: began.elapsed() }
}

/// On stderr, and nowhere if that is no terminal.
fn progress(files: usize) -> ProgressBar {
    let bar = ProgressBar::new(files as u64);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} files  {elapsed}  {msg}");
    match style {
        Ok(style) => bar.with_style(style),
        // The template is a constant that reads; without it the bar is only plainer.
        Err(_) => bar,
    }
}
