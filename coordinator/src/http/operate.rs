//! What an operator and an orchestrator ask.

use super::answer;
use super::request::now;
use crate::Shared;
use crate::health::ShardStatus;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_infra::redis::lease;
use synod_infra::telemetry::names;
use synod_protocol::Timestamp;
use utoipa::ToSchema;

/// `GET /v1/status`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// This coordinator.
    coordinator: String,
    /// Its build.
    version: &'static str,
    /// Its wall clock.
    time: Timestamp,
    /// Whether `/readyz` says yes.
    ready: bool,
    /// Why not.
    troubles: Vec<String>,
    /// Coordinators whose lease stands, with their addresses.
    coordinators: BTreeMap<String, String>,
    /// Agents by health.
    agents: BTreeMap<&'static str, u64>,
    /// Tasks by status, over the shards owned here.
    tasks: BTreeMap<String, u64>,
    /// Every shard.
    shards: Vec<ShardStatus>,
}

/// What this coordinator is doing.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "The status", body = StatusView)))]
pub(crate) async fn get_status(State(shared): State<Arc<Shared>>) -> Response {
    let troubles = shared.status.troubles();
    let coordinators = match lease::live(&shared.redis).await {
        Ok(live) => live.into_iter().map(|c| (c.id.to_string(), c.address)).collect(),
        // Redis being away is among the troubles.
        Err(_) => BTreeMap::new(),
    };
    let shards = shared.status.shards();
    let mut tasks = BTreeMap::new();
    for shard in &shards {
        for (status, count) in &shard.tasks {
            *tasks.entry(status.as_str().to_owned()).or_default() += count;
        }
    }
    let view = StatusView {
        coordinator: shared.config.id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        time: now(),
        ready: troubles.is_empty(),
        troubles,
        coordinators,
        agents: shared.fleet.counts(),
        tasks,
        shards,
    };
    answer::json(StatusCode::OK, serde_json::to_string(&view).unwrap_or_default())
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", responses((status = 200, description = "It lives")))]
pub(crate) async fn livez() -> &'static str {
    "alive\n"
}

/// Whether it can be sent work: every shard serves and moves, Kafka and Redis answer.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "Ready"), (status = 503, description = "Not ready, with the reasons, a line each")))]
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let troubles = shared.status.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n").into_response()
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text format 0.0.4")))]
pub(crate) async fn get_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let Some(metrics) = &shared.config.metrics else {
        return (StatusCode::NOT_FOUND, "metrics are off in this process\n").into_response();
    };
    let shards = shared.status.shards();
    let serving = shards.iter().filter(|s| s.advancing).count();
    metrics::gauge!(names::SHARDS_OWNED).set(serving as f64);
    metrics::gauge!(names::EFFECTS_PENDING).set(shards.iter().map(|s| s.owed).sum::<usize>() as f64);
    for (health, count) in shared.fleet.counts() {
        metrics::gauge!(names::AGENTS, "health" => health).set(count as f64);
    }
    ([("content-type", "text/plain; version=0.0.4")], metrics.render()).into_response()
}
