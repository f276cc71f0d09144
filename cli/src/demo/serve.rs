//! One of the demo's agents: reads files of one tree, and says what they are; or takes part in a scene.

use super::agents::Post;
use super::analyse::{FileFacts, FileTask, analyse};
use super::conduct::{CAPABILITY, RUN_LABEL};
use super::scenes::Scene;
use crate::mesh::{Dialling, Ending, abandoned};
use crate::output::Stop;
use crate::settings::Settings;
use agent_sdk::{Agent, AgentBuilder, Context, Id, Mesh, TaskError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a file may take to be finished when the agent is asked to end.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Serves until it is asked to end, or until whoever started it is gone.
///
/// # Errors
/// The mesh refuses it, or nobody needs it any more.
pub async fn serve(settings: &Settings, post: Post) -> Result<(), Stop> {
    let root: Arc<PathBuf> = post.root.into();
    let agent = Agent::builder(post.id.as_str())
        .capability(CAPABILITY, move |_: Context, task: FileTask| facts(root.clone(), task))
        .concurrency(post.concurrency)
        .label(RUN_LABEL, post.run);
    run(settings, &post.id, agent).await
}

/// Takes part in a scene until it is asked to end, or until whoever started it is gone.
///
/// # Errors
/// The mesh refuses it, nobody in the scene is called that, or nobody needs it any more.
pub async fn take_part(
    settings: &Settings,
    scene: Scene,
    id: &Id,
    run_name: &str,
    name: &str,
) -> Result<(), Stop> {
    let agent = Agent::builder(id.as_str()).invited_by(scene.capability()).label(RUN_LABEL, run_name);
    let agent = scene.member(name, agent).map_err(|error| Stop::Failed(error.to_string()))?;
    run(settings, id, agent).await
}

async fn run(settings: &Settings, id: &Id, agent: AgentBuilder) -> Result<(), Stop> {
    let failed = |error: &dyn std::fmt::Display| Stop::Failed(error.to_string());
    let mut ending = Ending::listen().map_err(|e| failed(&e))?;
    let mesh = Mesh::connect(Dialling::of(settings, id.as_str()).sdk()).map_err(|e| failed(&e))?;
    let agent = agent.drain_limit(FINISH_WITHIN).build(&mesh).map_err(|e| failed(&e))?;
    let asked = async move {
        ending.asked().await;
    };
    tokio::select! {
        ran = agent.run(asked) => ran.map(drop).map_err(|e| failed(&e)),
        // Its mesh may be gone as well: there is nobody to say good-bye to.
        () = abandoned() => Err(Stop::Failed("the demo is gone".to_owned())),
    }
}

async fn facts(root: Arc<PathBuf>, task: FileTask) -> Result<FileFacts, TaskError> {
    let read = tokio::task::spawn_blocking(move || analyse(&root, &task.path)).await;
    match read {
        Ok(Ok(facts)) => Ok(facts),
        Ok(Err(error)) if error.is_retryable() => Err(TaskError::retryable("unreadable", error.to_string())),
        Ok(Err(error)) => Err(TaskError::permanent("unreadable", error.to_string())),
        Err(panicked) => Err(TaskError::retryable("internal", panicked.to_string())),
    }
}
