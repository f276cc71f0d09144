//! What Synod costs over what it stands on, measured side by side.
//!
//! ```text
//!   scene --round by round, both arms in turn--> samples --> medians, spread, ratio --> report
//!     bare arm: rdkafka as an application would use it (synod_infra::kafka::bare)
//!     our arm:  the SDK, and a coordinator in a process of its own
//! ```
//!
//! What else the machine does falls on both arms alike; a ratio says something where a figure alone does
//! not. Nothing in here is a test: a goal that is missed is told, and the exit status is 0.

mod closed;
mod door;
mod figures;
mod fold;
mod hops;
mod load;
mod machine;
mod plain_agent;
mod process;
mod publish;
mod requests;
mod rest;
mod rounds;
mod site;
mod snapshots;
mod telemetry;
mod timers;
mod workflows;

pub use figures::{Outcome, Row, Samples, Side, Spread, Verdict};
pub use machine::Machine;
pub use requests::{Beside, BesideError};
pub use site::Site;

use crate::mesh::Dialling;
use serde::Serialize;

/// What can be measured, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// A hundred agents and nothing to do: the coordinator's memory and processor time
    Rest,
    /// Typed events, thousands in flight, beside bare rdkafka
    Publish,
    /// One typed event and its acknowledgement, beside bare rdkafka
    Wait,
    /// A task from submission to result through the quick door, beside one bare publish-and-wait
    Door,
    /// A task from submission to result through Kafka alone, beside the bare two hops
    Hops,
    /// Tasks per second with eight agents at 1, 64 and 512 in flight
    Load,
    /// A request and its reply at 1, 64 and 512 in flight, beside others where `--peers` names them
    Requests,
    /// Negotiations: a round beside its parts, a thousand participants, a hundred at once
    Rounds,
    /// Runs of workflows: three steps in a row, a thousand side by side, ten thousand that wait; beside Restate where there is one
    Workflows,
    /// How late deadlines fire
    Timers,
    /// A snapshot of a thousand agents; an agent's own context, beside one SET
    Snapshots,
    /// Tasks per second with OTLP export on, beside off
    Telemetry,
    /// Records folded per second, of what the other scenes have written or of tasks of its own
    Fold,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 13] = [
        Scene::Rest,
        Scene::Publish,
        Scene::Wait,
        Scene::Door,
        Scene::Hops,
        Scene::Load,
        Scene::Requests,
        Scene::Rounds,
        Scene::Workflows,
        Scene::Timers,
        Scene::Snapshots,
        Scene::Fold,
        Scene::Telemetry,
    ];
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Less than is needed for a figure to be trusted, to see that it works.
    pub quick: bool,
}

impl Effort {
    /// `usual`, or `quick` where it is only to be seen that it works.
    pub(crate) fn of<T>(self, usual: T, quick: T) -> T {
        if self.quick { quick } else { usual }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// Whether it was only to be seen that it works.
    pub quick: bool,
    /// Load averages at the end.
    pub load_average_after: String,
    /// The arms.
    pub rows: Vec<Row>,
    /// The figures beside what they should be.
    pub verdicts: Vec<Verdict>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A process cannot be started, or /proc cannot be read.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The coordinator does not serve.
    #[error("the coordinator: {0}")]
    Coordinator(String),
    /// The bare client.
    #[error(transparent)]
    Bare(#[from] synod_infra::kafka::bare::BareError),
    /// Topics cannot be made.
    #[error(transparent)]
    Topics(#[from] synod_infra::kafka::TopicError),
    /// Our client's settings.
    #[error(transparent)]
    Kafka(#[from] synod_infra::kafka::ConfigError),
    /// Our reader.
    #[error(transparent)]
    Read(#[from] synod_infra::kafka::ReadError),
    /// Our producer.
    #[error(transparent)]
    Publish(#[from] synod_infra::kafka::PublishError),
    /// Our producer does not take a record.
    #[error(transparent)]
    Send(#[from] synod_infra::kafka::SendError),
    /// HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] reqwest::Error),
    /// The SDK cannot connect.
    #[error(transparent)]
    Connect(#[from] agent_sdk::ConnectError),
    /// An agent cannot be made.
    #[error(transparent)]
    Build(#[from] agent_sdk::BuildError),
    /// A question was refused, or not answered.
    #[error(transparent)]
    Door(#[from] agent_sdk::DoorError),
    /// An agent ended.
    #[error(transparent)]
    Agent(#[from] agent_sdk::AgentError),
    /// A typed event was not published.
    #[error(transparent)]
    Event(#[from] agent_sdk::EventError),
    /// A task did not come to its result.
    #[error(transparent)]
    Task(#[from] agent_sdk::WaitError),
    /// A workflow is not taken.
    #[error(transparent)]
    Workflow(#[from] agent_sdk::workflow::DefineError),
    /// A run did not come to its output.
    #[error(transparent)]
    Execution(#[from] agent_sdk::workflow::ExecutionError),
    /// A negotiation did not come to its decision.
    #[error(transparent)]
    Negotiation(#[from] agent_sdk::NegotiationError),
    /// A command is not what it should be, or a record does not read.
    #[error(transparent)]
    Protocol(#[from] synod_protocol::Error),
    /// JSON that does not read or cannot be written.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// What should have come has not.
    #[error("{0}")]
    Missing(String),
    /// A part of the measurement panicked.
    #[error("a part of the measurement ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Who is there to be measured beside.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// The ingress of a Restate, for workflows.
    pub restate: Option<String>,
    /// For requests.
    pub requests: Beside,
}

/// Measures these scenes, one after the other; `say` is told what goes on.
///
/// # Errors
/// See [`BenchError`]; a goal that is missed is none.
pub async fn measure(
    dialling: Dialling,
    partitions: u32,
    services: Option<String>,
    others: &Others,
    scenes: &[Scene],
    effort: Effort,
    say: impl Fn(&str),
) -> Result<Report, BenchError> {
    let machine = Machine::now(services);
    say("starting a coordinator");
    let site = Site::open(dialling.clone(), partitions).await?;
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for scene in Scene::ALL.into_iter().filter(|scene| scenes.contains(scene)) {
        say(&format!("measuring: {scene:?}"));
        let outcome = match scene {
            Scene::Rest => rest::measure(&site, effort).await?,
            Scene::Publish => publish::rate(&site, effort).await?,
            Scene::Wait => publish::wait(&site, effort).await?,
            Scene::Door => door::measure(&site, effort).await?,
            Scene::Hops => hops::measure(&site, effort).await?,
            Scene::Load => load::measure(&site, effort).await?,
            Scene::Requests => requests::measure(&site, &others.requests, effort).await?,
            Scene::Rounds => rounds::measure(&site, effort).await?,
            Scene::Workflows => workflows::measure(&site, others.restate.as_deref(), effort).await?,
            Scene::Timers => timers::measure(&site, effort).await?,
            Scene::Snapshots => snapshots::measure(&site, effort).await?,
            Scene::Fold => fold::measure(&site, effort).await?,
            // It has coordinators of its own, and comes when this one is gone.
            Scene::Telemetry => continue,
        };
        rows.extend(outcome.rows);
        verdicts.extend(outcome.verdicts);
    }
    site.leave().await?;
    if scenes.contains(&Scene::Telemetry) {
        let outcome = telemetry::measure(&dialling, partitions, effort).await?;
        rows.extend(outcome.rows);
        verdicts.extend(outcome.verdicts);
    }
    Ok(Report { machine, quick: effort.quick, load_average_after: machine::load(), rows, verdicts })
}
