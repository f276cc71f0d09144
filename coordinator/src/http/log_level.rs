//! What one coordinator logs, changed while it runs.

use super::answer::{self, Problem, Refusal};
use super::request::{JsonBody, json_body};
use crate::Shared;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_infra::telemetry::Logs;
use synod_protocol::Error;
use utoipa::ToSchema;

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// Levels, by target where they differ: `info,synod_coordinator=debug`.
    filter: String,
}

/// What is logged by which coordinator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLevelView {
    /// This coordinator.
    coordinator: String,
    /// Levels, by target where they differ.
    filter: String,
}

/// What this coordinator logs.
#[utoipa::path(get, path = "/v1/log-level", responses(
    (status = 200, description = "The filter in force", body = LogLevelView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_log_level(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let logs = logs(&shared)?;
    Ok(shown(&shared, logs))
}

/// Changes what this coordinator logs, until it ends or is told otherwise.
#[utoipa::path(put, path = "/v1/log-level", request_body = LogLevel, responses(
    (status = 200, description = "The filter in force", body = LogLevelView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn put_log_level(
    State(shared): State<Arc<Shared>>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let level: Option<LogLevel> = json_body(&body, &shared.config.limits)?;
    let level = level.ok_or_else(|| Error::invalid("a body is wanted: {\"filter\": \"info\"}"))?;
    let logs = logs(&shared)?;
    let before = logs.filter();
    logs.set(&level.filter).map_err(|e| Error::invalid(e.to_string()).with_field("/filter"))?;
    tracing::info!(before, now = level.filter, "what is logged was changed");
    Ok(shown(&shared, logs))
}

fn logs(shared: &Shared) -> Result<&Logs, Error> {
    let none = || Error::not_found("log", "of this process: whoever embeds it has its own");
    shared.config.logs.as_ref().ok_or_else(none)
}

fn shown(shared: &Shared, logs: &Logs) -> Response {
    let view = LogLevelView { coordinator: shared.config.id.to_string(), filter: logs.filter() };
    answer::json(StatusCode::OK, serde_json::to_string(&view).unwrap_or_default())
}
