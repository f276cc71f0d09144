//! `synod coordinator`: one more coordinator of the mesh on real brokers.

use super::place::{Place, logs};
use crate::mesh::{Dialling, Ending, run as on_runtime};
use crate::output::Stop;
use crate::settings::{Flags, Settings};
use std::time::Duration;
use synod_coordinator::{Coordinator, CoordinatorConfig};
use synod_infra::telemetry::Metrics;
use synod_protocol::Id;

/// Arguments of `synod coordinator`.
#[derive(Debug, clap::Args)]
pub struct Args {
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

/// What it has begun may take so long when it is asked to end.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Between two words on its not being ready yet.
const SAY_EVERY: Duration = Duration::from_secs(15);

pub(super) fn run(args: Args, flags: Flags) -> Result<(), Stop> {
    let settings = args.place.clone().settings(flags)?;
    logs(&settings, None)?;
    on_runtime(serve(&settings, args))
}

async fn serve(settings: &Settings, args: Args) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let metrics = Metrics::install().map_err(|error| Stop::Failed(error.to_string()))?;
    let id = args.id.unwrap_or_else(|| Id::made("coord_", uuid::Uuid::now_v7()));
    let mesh = Dialling::of(settings, &format!("synod-{id}"));
    let config = CoordinatorConfig::new(id.clone(), mesh.kafka, mesh.redis, settings.http_listen.value);
    let config = CoordinatorConfig {
        advertise: args.advertise,
        replication: u32::from(settings.replication.value),
        accept_unsafe_topics: args.accept_unsafe_topics,
        accept_eviction: args.accept_eviction,
        metrics: Some(metrics),
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

/// It waits for Kafka and Redis by itself; this only tells. What they refuse it before it was ever ready is no matter of
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
    std::future::pending().await
}
