//! Scenes in which agents decide together: what is asked, who answers what, what is decided and why, and that anyone can check it.
//!
//! ```text
//!   input/ (shipped) ──> members: each a process of its own ── answers ──> mesh ── decision ──> certificate, verified here
//!                        one scene, one room: what its members answer, and what it asks them
//! ```
//!
//! Nothing is drawn by lot: the same input is decided alike each time. No scene decides anything by itself; that is the mesh's.

mod emergency;
mod risk;
mod scarcity;
mod signals;
mod stage;
mod team;
mod told;

pub use stage::SceneError;
pub use told::{Answered, Decided, Proof, RoundTold, Told, draw};

use crate::mesh::Ground;
use agent_sdk::AgentBuilder;
use stage::Stage;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// Gauges of one river that contradict each other
    Signals,
    /// How risky a change is, with one assessor who lies
    Risk,
    /// What is scarce, divided between teams
    Scarcity,
    /// A runbook at night, with somebody who does not wake up
    Emergency,
    /// A team that bids for a stream of work, and loses one of its own
    Team,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 5] = [Scene::Signals, Scene::Risk, Scene::Scarcity, Scene::Emergency, Scene::Team];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Scene::Signals => "signals",
            Scene::Risk => "risk",
            Scene::Scarcity => "scarcity",
            Scene::Emergency => "emergency",
            Scene::Team => "team",
        }
    }

    /// What its members can do.
    pub fn capability(self) -> String {
        format!("demo.{}", self.as_str())
    }

    /// Who takes part.
    ///
    /// # Errors
    /// The shipped input does not read.
    pub fn members(self) -> Result<Vec<String>, SceneError> {
        match self {
            Scene::Signals => signals::members(),
            Scene::Risk => risk::members(),
            Scene::Scarcity => scarcity::members(),
            Scene::Emergency => emergency::members(),
            Scene::Team => team::members(),
        }
    }

    /// What one of them answers.
    ///
    /// # Errors
    /// The shipped input does not read, or nobody in it is called that.
    pub fn member(self, name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
        match self {
            Scene::Signals => signals::member(name, agent),
            Scene::Risk => risk::member(name, agent),
            Scene::Scarcity => scarcity::member(name, agent),
            Scene::Emergency => emergency::member(name, agent),
            Scene::Team => team::member(name, agent),
        }
    }

    /// Plays it on this mesh.
    ///
    /// # Errors
    /// See [`SceneError`]; no member is left running then.
    pub async fn play(self, ground: &Ground) -> Result<Told, SceneError> {
        let stage = Stage::set(self, ground).await?;
        let played = match self {
            Scene::Signals => signals::play(&stage).await,
            Scene::Risk => risk::play(&stage).await,
            Scene::Scarcity => scarcity::play(&stage).await,
            Scene::Emergency => emergency::play(&stage).await,
            Scene::Team => team::play(&stage).await,
        };
        stage.clear().await;
        played
    }
}

/// The lines of a table, each with its fields, behind the one that names them.
fn lines(csv: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    csv.lines().skip(1).map(|line| line.split(',').collect())
}

/// What of a shipped table does not read.
fn bad(what: &str) -> SceneError {
    SceneError::Input(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_sdk::Agent;

    #[test]
    fn every_member_of_every_scene_has_something_to_answer() {
        for scene in Scene::ALL {
            let members = scene.members().unwrap();
            assert!(members.len() > 3, "{scene:?}: {members:?}");
            for name in members {
                scene.member(&name, Agent::builder("a")).unwrap();
            }
        }
    }
}
