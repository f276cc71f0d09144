//! What a client or an agent is told, as JSON on its command line.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The ways into the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Doors {
    /// `POST /v1/commands`.
    Http,
    /// The commands topic.
    Kafka,
    /// Each command three times, out of order, through either.
    Thrice,
    /// `POST /v1/commands`, and what is asked for are negotiations.
    Negotiations,
    /// `POST /v1/commands`, and what is asked for are runs of workflows.
    Workflows,
}

/// A guard that is off, on the harness' side: what a control run is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Off {
    /// The client takes "sent" for "accepted", and repeats nothing.
    Answers,
    /// The client gives a command another id each time that it repeats it.
    Ids,
    /// The agent does whatever comes out of its inbox, also what it knows already.
    Memory,
    /// Somebody removes the inboxes' memory of epochs and attempts, again and again, and agents have none either.
    Inboxes,
    /// Redis refuses heartbeats alone, so that no coordinator sees by its own writes that nobody can be heard.
    Canary,
    /// Somebody goes on giving the dead agents' signs of life.
    Loss,
    /// An agent stands still for so long that it has to be given up.
    Life,
    /// One copy of each partition, and the data of a broker are gone.
    Copies,
}

/// What a client does until its stdin ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClientPlan {
    pub(crate) name: String,
    pub(crate) journal: PathBuf,
    pub(crate) http: Vec<String>,
    pub(crate) kafka: String,
    pub(crate) capability: String,
    pub(crate) doors: Doors,
    /// Tasks a second; fewer if the mesh takes no more.
    pub(crate) rate: u32,
    /// The limit of one attempt. Long, it leaves it to the mesh to notice what was lost on the way to an agent.
    pub(crate) attempt_ms: u64,
    /// Stops by itself after so many tasks; 0: never.
    pub(crate) tasks: u64,
    pub(crate) off: Option<Off>,
}

/// What people do until their stdin ends: they decide what waits for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeoplePlan {
    pub(crate) journal: PathBuf,
    pub(crate) http: Vec<String>,
}

/// What an agent does until its stdin ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AgentPlan {
    pub(crate) name: String,
    pub(crate) journal: PathBuf,
    pub(crate) http: Vec<String>,
    pub(crate) redis: String,
    /// Absent: it reports over HTTP alone.
    pub(crate) kafka: Option<String>,
    pub(crate) capability: String,
    pub(crate) concurrency: u32,
    pub(crate) work_ms: u64,
    pub(crate) off: Option<Off>,
}
