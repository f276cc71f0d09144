//! The fleet at work: a quick agent, a slow one, and one that falls ill and gets well again. Who got how much, what the circuit
//! breaker did, and why one choice was made as it was.
//!
//! ```text
//! all well ──> one is ill: its breaker opens, others do its work ──> well again: trial, breaker closes, load returns
//! ```

use crate::mesh::Ground;
use crate::terminal::harmless;
use agent_sdk::{
    Agent, AgentError, BuildError, Client, ConnectError, Context, Json, Mesh, MeshConfig, RunningAgent,
    TaskError, task,
};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use synod_protocol::view::{Explanation, Outcome};
use synod_protocol::{EntityId, Error};

/// Tasks of each phase.
const TASKS: usize = 150;
/// Handed in and not yet ended, at most.
const IN_FLIGHT: usize = 12;
/// The breaker of an embedded mesh is to wait so long: nobody watches a demo for ten seconds of waiting.
pub const BREAKER: &str = "minimum=10 wait=1s trials=3";
/// A breaker that is set otherwise closes later.
const CLOSES_WITHIN: Duration = Duration::from_secs(60);
/// Events come a moment after what they tell of.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The scene could not be played.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No client.
    #[error("no client: {0}")]
    Client(#[from] ConnectError),
    /// No agents.
    #[error("an agent cannot be made: {0}")]
    Build(#[from] BuildError),
    /// An agent that does not register.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The mesh does not answer.
    #[error(transparent)]
    Mesh(#[from] Error),
}

/// What was seen.
#[derive(Debug, Serialize)]
pub struct FleetReport {
    /// In order.
    pub phases: Vec<Phase>,
    /// What the breaker of the agent that fell ill did, in order.
    pub breaker: Vec<Change>,
    /// How one task came to its agent.
    pub explained: Option<Explanation>,
    /// Tasks that did not end well.
    pub not_done: usize,
}

/// A while in which nothing changed.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// In words.
    pub name: &'static str,
    /// Tasks that were done.
    pub tasks: usize,
    /// How long they took, the median, in ms.
    pub median_ms: f64,
    /// By agent.
    pub agents: BTreeMap<String, Share>,
}

/// What an agent was given.
#[derive(Debug, Default, Serialize)]
pub struct Share {
    /// Attempts.
    pub attempts: u32,
    /// Of these, failed.
    pub failed: u32,
}

/// A breaker changed.
#[derive(Debug, Serialize)]
pub struct Change {
    /// `opened`, `half_opened`, `closed`
    pub what: String,
    /// When.
    pub at: String,
    /// Attempts in its window, and the share of them that failed, in percent.
    pub attempts: u64,
    /// See `attempts`.
    pub failure_rate: Option<f64>,
}

/// Plays it on this mesh.
///
/// # Errors
/// It could not begin, or the mesh went away.
pub async fn play(ground: &Ground) -> Result<FleetReport, FleetError> {
    let mesh = Mesh::connect(MeshConfig { command_limit: ATTEMPT, ..ground.dialling.sdk() })?;
    let random = uuid::Uuid::now_v7().simple().to_string();
    let run = format!("fleet-{}", random.get(20..).unwrap_or(&random));
    let ill = Arc::new(AtomicBool::new(false));
    let quick = start(&mesh, &run, "quick", Duration::from_millis(4), &Arc::default()).await?;
    let slow = start(&mesh, &run, "slow", Duration::from_millis(40), &Arc::default()).await?;
    let frail = start(&mesh, &run, "frail", Duration::from_millis(4), &ill).await?;

    let stage = Stage { client: mesh.client().correlated(&run), ground, run };
    let played = stage.play(&ill, &frail).await;
    for agent in [quick, slow, frail] {
        agent.stop().await?;
    }
    played
}

async fn start(
    mesh: &Mesh,
    run: &str,
    name: &str,
    takes: Duration,
    ill: &Arc<AtomicBool>,
) -> Result<RunningAgent, FleetError> {
    let ill = ill.clone();
    let agent = Agent::builder(format!("{run}-{name}"))
        .capability(format!("{run}.work"), move |_: Context, input: Json| {
            let ill = ill.clone();
            async move {
                tokio::time::sleep(takes).await;
                match ill.load(Ordering::Relaxed) {
                    true => Err(TaskError::retryable("ill", "this agent is not well")),
                    false => Ok(input),
                }
            }
        })
        .concurrency(4)
        .description("synod demo --scene fleet")
        .build(mesh)?;
    Ok(agent.start().await?)
}

struct Stage<'a> {
    client: Client,
    ground: &'a Ground,
    run: String,
}

impl Stage<'_> {
    async fn play(&self, ill: &AtomicBool, frail: &RunningAgent) -> Result<FleetReport, FleetError> {
        let mut phases = Vec::new();
        let (mut explained, mut not_done) = (None, 0);
        let mut serial = 0;
        for (name, is_ill) in
            [("all are well", false), ("frail is ill", true), ("frail is well again", false)]
        {
            ill.store(is_ill, Ordering::Relaxed);
            let began = Instant::now();
            let (mut done, mut agents): (Vec<f64>, BTreeMap<String, Share>) = Default::default();
            loop {
                let ids: Vec<EntityId> = (serial..serial + TASKS).filter_map(|n| self.id(n)).collect();
                serial += TASKS;
                let mut tasks =
                    stream::iter(ids.into_iter().map(|id| self.one(id))).buffer_unordered(IN_FLIGHT);
                while let Some((took, explanation)) = tasks.next().await {
                    let explanation = explanation?;
                    let completed = explanation.attempts.last().and_then(|last| last.outcome);
                    not_done += usize::from(completed != Some(Outcome::Completed));
                    done.push(took.as_secs_f64() * 1_000.0);
                    for attempt in &explanation.attempts {
                        let agent = agents.entry(self.short(attempt.agent_id.as_str())).or_default();
                        agent.attempts += 1;
                        agent.failed += u32::from(attempt.outcome == Some(Outcome::Failed));
                    }
                    if is_ill && explained.is_none() && explanation.attempts.len() > 1 {
                        explained = Some(explanation);
                    }
                }
                // Well again, it is used again only once its breaker is closed.
                let waits = !phases.is_empty() && !is_ill && began.elapsed() < CLOSES_WITHIN;
                if !waits
                    || self.ground.api.get(&self.agent(frail), &[], Duration::ZERO).await?["breaker"]
                        == "closed"
                {
                    break;
                }
            }
            done.sort_by(f64::total_cmp);
            let median_ms = done.get(done.len() / 2).copied().unwrap_or_default();
            phases.push(Phase { name, tasks: done.len(), median_ms, agents });
        }
        Ok(FleetReport { phases, breaker: self.changes_to_its_end(frail).await?, explained, not_done })
    }

    fn id(&self, n: usize) -> Option<EntityId> {
        format!("{}-{n}", self.run).parse().ok()
    }

    fn agent(&self, agent: &RunningAgent) -> String {
        format!("/v1/agents/{}", agent.id())
    }

    /// Without the run's name.
    fn short(&self, agent: &str) -> String {
        agent.strip_prefix(&format!("{}-", self.run)).unwrap_or(agent).to_owned()
    }

    async fn one(&self, id: EntityId) -> (Duration, Result<Explanation, Error>) {
        let began = Instant::now();
        let request = task(format!("{}.work", self.run))
            .id(id.as_str())
            .strategy("performance")
            .timeout(ATTEMPT)
            .max_attempts(10)
            .input(1);
        // How it ended stands in its explanation.
        let _ = self.client.call::<Json>(request, ATTEMPT).await;
        let took = began.elapsed();
        let path = format!("/v1/tasks/{id}/explanation");
        let told = self.ground.api.get(&path, &[], Duration::ZERO).await;
        let told = told.and_then(|value| {
            serde_json::from_value(value).map_err(|e| Error::unavailable(format!("an explanation: {e}")))
        });
        (took, told)
    }

    /// What the breaker for all that it does did, until it closed again, or as far as it is told.
    async fn changes_to_its_end(&self, agent: &RunningAgent) -> Result<Vec<Change>, FleetError> {
        let deadline = Instant::now() + TOLD_WITHIN;
        loop {
            let changes = self.changes(agent).await?;
            if changes.last().is_some_and(|last| last.what == "closed") || Instant::now() >= deadline {
                return Ok(changes);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What it did so far.
    async fn changes(&self, agent: &RunningAgent) -> Result<Vec<Change>, FleetError> {
        let query = [("entity", agent.id().to_string()), ("limit", "1000".to_owned())];
        let page = self.ground.api.get("/v1/events", &query, Duration::ZERO).await?;
        let events = page["items"].as_array().cloned().unwrap_or_default();
        let change = |event: serde_json::Value| {
            let what = event["type"].as_str()?.strip_prefix("synod.breaker.")?.to_owned();
            let data = event["data"].as_object().filter(|data| !data.contains_key("capability"))?;
            Some(Change {
                what,
                at: event["time"].as_str().unwrap_or_default().to_owned(),
                attempts: data["attempts"].as_u64().unwrap_or_default(),
                failure_rate: data.get("failure_rate").and_then(serde_json::Value::as_f64),
            })
        };
        Ok(events.into_iter().filter_map(change).collect())
    }
}

/// For people.
pub fn draw(report: &FleetReport) -> String {
    let mut out =
        String::from("\nThree agents, four tasks at a time each; tasks go by the rule performance.\n\n");
    let names: Vec<&str> = vec!["quick", "slow", "frail"];
    out.push_str(&format!("{:<22}{:>7}{:>12}", "", "tasks", "median ms"));
    names.iter().for_each(|name| out.push_str(&format!("{name:>16}")));
    out.push('\n');
    for phase in &report.phases {
        out.push_str(&format!("{:<22}{:>7}{:>12.1}", phase.name, phase.tasks, phase.median_ms));
        for name in &names {
            let share = phase.agents.get(*name);
            let told = match share {
                None => "-".to_owned(),
                Some(Share { attempts, failed: 0 }) => attempts.to_string(),
                Some(Share { attempts, failed }) => format!("{attempts} ({failed} failed)"),
            };
            out.push_str(&format!("{told:>16}"));
        }
        out.push('\n');
    }
    out.push_str("\nThe circuit breaker of frail:\n");
    for change in &report.breaker {
        let rate = change.failure_rate.map_or_else(String::new, |rate| {
            format!(", {rate:.0} % of the last {} attempts had failed", change.attempts)
        });
        out.push_str(&format!("  {}  {}{rate}\n", harmless(&change.at), harmless(&change.what)));
    }
    if let Some(explained) = &report.explained
        && let Ok(value) = serde_json::to_value(explained)
    {
        out.push_str("\nHow one of the tasks came to its agent (synod task explain):\n");
        for line in crate::explanation::told(&value).lines() {
            out.push_str(&format!("  {}\n", harmless(line)));
        }
    }
    let tasks: usize = report.phases.iter().map(|phase| phase.tasks).sum();
    out.push_str(&format!("\n{} of {tasks} tasks were done.\n", tasks - report.not_done));
    out
}
