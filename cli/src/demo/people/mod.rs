//! Workflows with people in them: documents become a page that somebody wants otherwise, and a team asks its expert where it is
//! not sure. Whatever the scene says is checked; it fails where it is not so.
//!
//! ```text
//! read x3 ──> draft ──> approval ──> publish          the approval's owner (`second`) is killed while it waits
//!               ^ feedback ─┘
//! gather ──> research ──> answer                      an expert is asked besides where the research is not sure
//! ```
//!
//! The definitions, the documents and the plain text work are those of the SDK's examples, by links: a package has what they lead to.

mod agents;
mod markdown;
mod pipeline;
mod second;
mod team;
mod text;
mod told;

pub use second::serve as serve_second;
pub use told::{Answered, Decided, Page, PeopleReport, Pipeline, Step, Takeover, draw};

use crate::mesh::Ground;
use agent_sdk::workflow::{DefineError, ExecutionError, IntoWorkflow as _, Problems, Workflow};
use agent_sdk::{AgentError, BuildError, ConnectError, DoorError, Mesh, RunningAgent};
use second::Second;
use std::time::Instant;

/// The scene could not be played, or did not go as it says.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// A shipped definition.
    #[error("the shipped workflow: {0}")]
    Definition(#[from] Problems),
    /// It is not accepted.
    #[error(transparent)]
    Define(#[from] DefineError),
    /// No client.
    #[error("no client: {0}")]
    Client(#[from] ConnectError),
    /// No agents.
    #[error("an agent cannot be made: {0}")]
    Build(#[from] BuildError),
    /// An agent that does not register.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A workflow did not end well.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The mesh refuses something.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The mesh does not answer.
    #[error(transparent)]
    Mesh(#[from] synod_protocol::Error),
    /// Something on this machine.
    #[error("this machine: {0}")]
    Io(#[from] std::io::Error),
    /// A value has another shape than expected.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It went otherwise than the scene says.
    #[error("{0}")]
    Unexpected(String),
}

impl PeopleError {
    fn unexpected(what: impl Into<String>) -> PeopleError {
        PeopleError::Unexpected(what.into())
    }
}

/// Plays it on this mesh. A coordinator is killed only on an embedded mesh, where it is one of the scene's own.
///
/// # Errors
/// It could not begin, the mesh went away, or something did not go as the scene says.
pub async fn play(ground: &Ground) -> Result<PeopleReport, PeopleError> {
    let began = Instant::now();
    let mesh = Mesh::connect(ground.dialling.sdk())?;
    let random = uuid::Uuid::now_v7().simple().to_string();
    let run = format!("people-{}", random.get(20..).unwrap_or(&random));
    let pages = tempfile::tempdir()?;
    let second = if ground.is_own() { Some(Second::join(ground, &run).await?) } else { None };
    let running = agents::start(&mesh, &run, pages.path()).await?;
    let part = pipeline::Part { ground, mesh: &mesh, run: &run, pages: pages.path() };
    let played = both(&part, second).await;
    end(running).await?;
    let (pipeline, team) = played?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(PeopleReport { run, pipeline, team, took_ms })
}

async fn both(
    part: &pipeline::Part<'_>,
    second: Option<Second>,
) -> Result<(Pipeline, Vec<Answered>), PeopleError> {
    let pipeline = part.play(second).await?;
    let team = team::play(&part.mesh.client().correlated(part.run), part.run).await?;
    Ok((pipeline, team))
}

async fn end(running: Vec<RunningAgent>) -> Result<(), PeopleError> {
    for agent in running {
        agent.stop().await?;
    }
    Ok(())
}

/// A shipped definition whose capabilities begin with the run's name: it is sent along with its executions, and defined nowhere.
fn definition(text: &str, capabilities: &str, run: &str) -> Result<Workflow, PeopleError> {
    let ours =
        text.replace(&format!("capability: {capabilities}"), &format!("capability: {run}.{capabilities}"));
    Ok(ours.as_str().into_workflow()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_definition_asks_nobody_but_the_runs_own_agents() {
        let check = |text: &str, capabilities: &str, all: usize| {
            let made = definition(text, capabilities, "people-1").unwrap().definition().to_json().to_string();
            let named = made.matches("\"capability\":\"").count();
            let ours = made.matches(&format!("\"capability\":\"people-1.{capabilities}")).count();
            assert_eq!((named, ours), (all, all), "{made}");
        };
        check(include_str!("given/document-pipeline.yaml"), "document.", 3);
        check(include_str!("given/research-team.yaml"), "team.", 4);
    }
}
