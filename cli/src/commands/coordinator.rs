//! `synod coordinator`: one more coordinator of the mesh on real brokers.

use super::place::{Place, logs, traces};
use crate::mesh::{Api, Dialling, Ending, run as on_runtime};
use crate::output::{Output, Stop};
use crate::settings::{Flags, Settings};
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use synod_coordinator::{Coordinator, CoordinatorConfig};
use synod_infra::telemetry::{Logs, Metrics};
use synod_protocol::Id;

/// Arguments of `synod coordinator`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    ask: Option<Ask>,
    #[command(flatten)]
    place: Place,
    /// Its id, unique in the mesh [default: made anew]
    #[arg(long)]
    id: Option<Id>,
    /// The address that others are told [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Start although a topic's settings would break what is promised
    #[arg(long)]
    accept_unsafe_topics: bool,
    /// Start although Redis may throw away what it was given when its memory is full
    #[arg(long)]
    accept_eviction: bool,
}

/// What is asked of one that runs.
#[derive(Debug, clap::Subcommand)]
enum Ask {
    /// Show what a running coordinator logs, or change it until it ends
    LogLevel(LogLevelArgs),
}

#[derive(Debug, clap::Args)]
struct LogLevelArgs {
    /// The levels from now on, as `debug` or `info,synod_coordinator=debug`
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// Of the coordinator at `--http-url` alone: levels are of a process.
fn log_level(
    args: LogLevelArgs,
    place: Place,
    flags: Flags,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let settings = place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let told = match args.filter {
            Some(filter) => api.put("/v1/log-level", &json!({"filter": filter})).await?,
            None => api.get("/v1/log-level", &[], Duration::ZERO).await?,
        };
        output.entity(&told)
    })
}

/// What it has begun may take so long when it is asked to end.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Between two words on its not being ready yet.
const SAY_EVERY: Duration = Duration::from_secs(15);

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if let Some(Ask::LogLevel(asked)) = args.ask {
        return log_level(asked, args.place, flags, output);
    }
    let settings = args.place.clone().settings(flags)?;
    let logs = logs(&settings, None)?;
    let id = args.id.clone().unwrap_or_else(|| Id::made("coord_", uuid::Uuid::now_v7()));
    traces(&settings, "synod-coordinator", Some(id.as_str()))?;
    on_runtime(serve(&settings, id, logs, args))
}

async fn serve(settings: &Settings, id: Id, logs: Logs, args: Args) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let metrics = Metrics::install().map_err(|error| Stop::Failed(error.to_string()))?;
    let mesh = Dialling::of(settings, &format!("synod-{id}"));
    let config = CoordinatorConfig::new(id.clone(), mesh.kafka, mesh.redis, settings.http_listen.value);
    let config = CoordinatorConfig {
        advertise: args.advertise,
        replication: u32::from(settings.replication.value),
        accept_unsafe_topics: args.accept_unsafe_topics,
        accept_eviction: args.accept_eviction,
        metrics: Some(metrics),
        logs: Some(logs),
        ..settings.configure(config)
    };
    let coordinator = Coordinator::start(config).await.map_err(|error| Stop::Failed(error.to_string()))?;
    tracing::info!(%id, http = coordinator.http_url(), "the coordinator listens");
    let signal = tokio::select! {
        signal = ending.asked() => signal,
        refused = say_when_ready(&coordinator) => {
            drop(coordinator);
            return Err(Stop::Failed(refused));
        }
    };
    tracing::info!(%id, signal, "the coordinator ends");
    tokio::select! {
        () = coordinator.shutdown(FINISH_WITHIN) => {}
        _ = ending.asked() => tracing::warn!("asked twice: the coordinator ends at once"),
    }
    Ok(())
}

/// It waits for Kafka and Redis by itself; this only tells. What they refuse it before it ever served a shard is no matter of
/// waiting: then it returns, with what to change.
async fn say_when_ready(coordinator: &Coordinator) -> String {
    loop {
        tokio::select! {
            refused = coordinator.refused() => return refused,
            ready = coordinator.ready(SAY_EVERY) => match ready {
                true => break,
                false => tracing::warn!("not ready yet; GET {}/readyz says why", coordinator.http_url()),
            },
        }
    }
    tracing::info!("the coordinator is ready");
    // It is where others serve every shard, too: what it may not do shows with the first that it takes.
    tokio::select! {
        refused = coordinator.refused() => refused,
        () = coordinator.serves() => std::future::pending().await,
    }
}
