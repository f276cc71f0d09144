//! What an operator and an orchestrator ask.

use super::answer;
use super::request::now;
use crate::Shared;
use crate::door::Came;
use crate::duties::DutyView;
use crate::health::{Phase, ShardStatus};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::{Error, Timestamp};
use utoipa::ToSchema;

/// How long another coordinator may take to say what its shards do.
const ASK: Duration = Duration::from_secs(1);

/// `GET /v1/status`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StatusView {
    /// This coordinator.
    coordinator: String,
    /// Its build.
    version: String,
    /// Its wall clock.
    time: Timestamp,
    /// Whether `/readyz` says yes.
    ready: bool,
    /// Why not.
    troubles: Vec<String>,
    /// Coordinators whose lease stands, with their addresses.
    coordinators: BTreeMap<String, String>,
    /// Agents by health.
    agents: BTreeMap<String, u64>,
    /// Tasks by status, over all shards whose owners have answered.
    tasks: BTreeMap<String, u64>,
    /// Every shard, as its owner tells it; one whose owner does not answer in time says so.
    shards: Vec<ShardStatus>,
    /// What each coordinator that has answered does in the background, and how it went the last time.
    #[serde(default)]
    duties: Vec<DutyView>,
}

/// What the mesh is doing: this coordinator, and every shard as its owner tells it.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "The status", body = StatusView)))]
pub(crate) async fn get_status(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let shared = &*shared;
    let troubles = shared.status.troubles();
    let others = shared.tenures.others();
    let mut shards = shared.status.shards();
    let mut duties = shared.duties.views(shared.config.id.as_str());
    if Came::of(&headers) == Came::FromClient {
        let asked = others.iter().map(|(id, address)| async move { (id, theirs(shared, address).await) });
        for (id, told) in join_all(asked).await {
            let told = told.map(|view| {
                duties.extend(view.duties);
                view.shards
            });
            take_in(&mut shards, id.as_str(), told);
        }
    }
    let mut tasks = BTreeMap::new();
    for shard in &shards {
        for (status, count) in &shard.tasks {
            *tasks.entry(status.as_str().to_owned()).or_default() += count;
        }
    }
    let mut coordinators: BTreeMap<String, String> =
        others.iter().map(|(id, address)| (id.to_string(), address.clone())).collect();
    coordinators.insert(shared.config.id.to_string(), shared.address.clone());
    let view = StatusView {
        coordinator: shared.config.id.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: now(),
        ready: troubles.is_empty(),
        troubles,
        coordinators,
        agents: shared.fleet.counts().into_iter().map(|(health, n)| (health.to_owned(), n)).collect(),
        tasks,
        shards,
        duties,
    };
    answer::json(StatusCode::OK, serde_json::to_string(&view).unwrap_or_default())
}

/// What another coordinator says of itself.
async fn theirs(shared: &Shared, address: &str) -> Result<StatusView, Error> {
    let body = shared.forward.get(address, "/v1/status", None, None, ASK).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Error::unavailable(format!("the status of {address} does not read: {e}")))
}

/// Shows the shards that another holds as he tells them.
fn take_in(shards: &mut [ShardStatus], id: &str, told: Result<Vec<ShardStatus>, Error>) {
    let his =
        |shard: &&mut ShardStatus| shard.phase == Phase::StandingBy && shard.owner.as_deref() == Some(id);
    match told {
        Ok(told) => {
            for shard in shards.iter_mut().filter(his) {
                let held = told.iter().find(|t| t.shard == shard.shard && t.phase != Phase::StandingBy);
                if let Some(held) = held {
                    shard.clone_from(held);
                }
            }
        }
        Err(error) => {
            for shard in shards.iter_mut().filter(his) {
                shard.trouble = Some(error.to_string());
            }
        }
    }
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub(crate) async fn livez() -> &'static str {
    "alive\n"
}

/// Whether it can be sent work: every shard that it holds serves and moves, the others have
/// owners, Kafka and Redis answer.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "Ready", body = String, content_type = "text/plain"),
    (status = 503, description = "Not ready, with the reasons, a line each", body = String, content_type = "text/plain")))]
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let troubles = shared.status.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n").into_response()
}
