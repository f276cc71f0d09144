//! The agents that the checks need, in this process: one that does what it is asked, one that comes to help.

use super::Broken;
use super::site::SOON;
use agent_sdk::{
    Agent, AgentError, Ballot, BuildError, Context, Json, Mesh, Question, RunningAgent, TaskError, Voter,
};
use futures::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use synod_protocol::Id;
use tokio::sync::watch;

/// An agent with three capabilities of this run's own: `echo` returns its input, `hold` keeps a task until
/// it is let go, `stumble` fails each task's first attempt.
pub(super) struct Staff {
    agent: RunningAgent,
    echoed: Arc<Mutex<BTreeMap<String, u32>>>,
    holding: watch::Receiver<BTreeSet<String>>,
    let_go: watch::Sender<BTreeSet<String>>,
}

impl Staff {
    pub(super) async fn start(mesh: &Mesh, run: &str) -> Result<Staff, Broken> {
        let echoed: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let (hold, holding) = watch::channel(BTreeSet::new());
        let (let_go, gone) = watch::channel(BTreeSet::new());
        let counts = echoed.clone();
        let hold = Arc::new(hold);
        let agent = Agent::builder(format!("{run}-staff"))
            .capability(format!("{run}.echo"), move |context: Context, input: Json| {
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.entry(context.task_id().to_string()).or_default() += 1;
                std::future::ready(Ok::<_, TaskError>(input))
            })
            .capability(format!("{run}.hold"), move |context: Context, _: Json| {
                held(context, hold.clone(), gone.clone())
            })
            .capability(format!("{run}.stumble"), |context: Context, _: Json| async move {
                match context.attempt() {
                    1 => Err(TaskError::retryable("stumbled", "the first attempt always fails")),
                    _ => Ok("up again"),
                }
            })
            .concurrency(8)
            .description("checks of synod validate")
            .build(mesh)
            .map_err(built)?;
        let agent = start(agent).await?;
        Ok(Staff { agent, echoed, holding, let_go })
    }

    pub(super) fn id(&self) -> &Id {
        self.agent.id()
    }

    /// How often it has echoed for this task.
    pub(super) fn echoed(&self, task: &str) -> u32 {
        self.echoed.lock().unwrap_or_else(PoisonError::into_inner).get(task).copied().unwrap_or(0)
    }

    /// Waits until it holds this task.
    pub(super) async fn holds(&self, task: &str) -> Result<(), Broken> {
        let mut holding = self.holding.clone();
        let arrived = holding.wait_for(|tasks| tasks.contains(task));
        match tokio::time::timeout(SOON, arrived).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Broken::promise(format!("the task {task} does not reach its agent"))),
        }
    }

    /// Lets it complete this task.
    pub(super) fn let_go(&self, task: &str) {
        self.let_go.send_modify(|tasks| {
            tasks.insert(task.to_owned());
        });
    }

    pub(super) async fn end(self) {
        end(self.agent).await;
    }
}

async fn held(
    context: Context,
    hold: Arc<watch::Sender<BTreeSet<String>>>,
    mut gone: watch::Receiver<BTreeSet<String>>,
) -> Result<&'static str, TaskError> {
    let task = context.task_id().to_string();
    hold.send_modify(|tasks| {
        tasks.insert(task.clone());
    });
    tokio::select! {
        _ = gone.wait_for(|tasks| tasks.contains(&task)) => Ok("held"),
        () = context.cancelled() => Err(TaskError::permanent("cancelled", "no longer wanted")),
    }
}

/// An agent that completes whatever it gets as `rescued`.
pub(super) struct Rescuer(RunningAgent);

impl Rescuer {
    pub(super) async fn start(mesh: &Mesh, capability: &str, id: &str) -> Result<Rescuer, Broken> {
        let agent = Agent::builder(id)
            .capability(capability, |_: Context, _: Json| std::future::ready(Ok::<_, TaskError>("rescued")))
            .build(mesh)
            .map_err(built)?;
        Ok(Rescuer(start(agent).await?))
    }

    pub(super) fn id(&self) -> &Id {
        self.0.id()
    }

    pub(super) async fn end(self) {
        end(self.0).await;
    }
}

/// An agent that fails at everything until it is mended.
pub(super) struct Moody {
    agent: RunningAgent,
    is_well: Arc<AtomicBool>,
}

impl Moody {
    pub(super) async fn start(mesh: &Mesh, capability: &str, id: &str) -> Result<Moody, Broken> {
        let is_well = Arc::new(AtomicBool::new(false));
        let well = is_well.clone();
        let agent = Agent::builder(id)
            .capability(capability, move |_: Context, _: Json| {
                let done = match well.load(Ordering::Relaxed) {
                    true => Ok("done"),
                    false => Err(TaskError::permanent("moody", "it fails until it is mended")),
                };
                std::future::ready(done)
            })
            .build(mesh)
            .map_err(built)?;
        Ok(Moody { agent: start(agent).await?, is_well })
    }

    pub(super) fn id(&self) -> &Id {
        self.agent.id()
    }

    pub(super) fn mend(&self) {
        self.is_well.store(true, Ordering::Relaxed);
    }

    pub(super) async fn end(self) {
        end(self.agent).await;
    }
}

/// A hundred agents that echo, or how many it is said.
pub(super) struct Crowd(Vec<RunningAgent>);

impl Crowd {
    pub(super) async fn start(mesh: &Mesh, capability: &str, ids: Vec<String>) -> Result<Crowd, Broken> {
        let agent = |id: String| async move {
            let agent = Agent::builder(id)
                .capability(capability, |_: Context, input: Json| {
                    std::future::ready(Ok::<_, TaskError>(input))
                })
                .invited_by(capability)
                .voter(Agrees)
                .build(mesh)
                .map_err(built)?;
            start(agent).await
        };
        let mut agents = Vec::new();
        let mut starting = futures::stream::iter(ids.into_iter().map(agent)).buffer_unordered(8);
        while let Some(started) = starting.next().await {
            agents.push(started?);
        }
        drop(starting);
        Ok(Crowd(agents))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.0.iter().map(RunningAgent::id)
    }

    pub(super) async fn end(self) {
        futures::future::join_all(self.0.into_iter().map(end)).await;
    }
}

/// Votes for the first candidate.
struct Agrees;

impl Voter for Agrees {
    async fn vote(&self, _: &Question, candidates: &[String]) -> Result<Option<Ballot>, TaskError> {
        Ok(candidates.first().map(Ballot::choice))
    }
}

async fn start(agent: Agent) -> Result<RunningAgent, Broken> {
    let id = agent.id().clone();
    match tokio::time::timeout(SOON, agent.start()).await {
        Ok(started) => started.map_err(ended),
        Err(_) => Err(Broken::promise(format!("the agent {id} is not registered in time"))),
    }
}

async fn end(agent: RunningAgent) {
    let id = agent.id().clone();
    match tokio::time::timeout(SOON, agent.stop()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(agent = %id, %error, "the agent had ended already"),
        Err(_) => tracing::warn!(agent = %id, "the agent does not end"),
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn built(error: BuildError) -> Broken {
    Broken::promise(format!("the agent cannot be made: {error}"))
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn ended(error: AgentError) -> Broken {
    Broken::promise(error.to_string())
}
