//! An agent's own context over HTTP, for operators: which versions there are, and what one holds.

use super::answer::{self, Problem, Refusal};
use super::request::{Caller, Params, Segments, named};
use crate::Shared;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_fleet::AgentKey;
use synod_infra::redis::context::Contexts;
use synod_protocol::checkpoint::{ContextForm, ContextVersion};
use synod_protocol::{Code, Error, Id, Json};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextParams {
    /// This version with what it holds, instead of the list of versions.
    version: Option<u64>,
}

/// One version with what it holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContextData {
    #[serde(flatten)]
    version: ContextVersion,
    /// Whether these are not the bytes that were saved: a new process start begins with the version before.
    damaged: bool,
    /// What was saved, where it is JSON and whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Json>,
    /// What was saved, in base64, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// The versions of an agent's own context, newest first; with `version`, that one and what it holds.
#[utoipa::path(get, path = "/v1/agents/{id}/context", params(("id" = String, Path, description = "The agent's id"), ContextParams), responses(
    (status = 200, description = "`{\"items\": [version], \"next_cursor\": null}`, or one version with `data` or `data_base64`", body = ContextData),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_context(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<ContextParams>,
) -> Result<Response, Refusal> {
    let agent: Id = named(&id)?;
    let contexts = Contexts::new(shared.redis.clone());
    let Some(version) = params.version else {
        let versions = contexts.versions(&caller.workspace, &agent).await.map_err(Error::from)?;
        let key = AgentKey { workspace: caller.workspace, agent };
        if versions.is_empty() && shared.fleet.lock().registry.get(&key).is_none() {
            return Err(Error::not_found("agent", &id).into());
        }
        let items: Vec<Json> = versions.iter().map(answer::as_json).collect::<Result<_, _>>()?;
        return Ok(answer::page(&items, None));
    };
    let read = contexts.version(&caller.workspace, &agent, version).await.map_err(Error::from)?;
    let Some((note, bytes)) = read else {
        let said = format!("there is no version {version} of the context of agent {id} in this workspace");
        return Err(Error::new(Code::NotFound, said).with_field("/version").into());
    };
    let damaged = !note.is_of(&bytes);
    let as_json = (!damaged && note.form == ContextForm::Json)
        .then(|| Json::parse(std::str::from_utf8(&bytes).ok()?).ok())
        .flatten();
    let data_base64 = as_json.is_none().then(|| STANDARD.encode(&bytes));
    let shown = ContextData { version: note, damaged, data: as_json, data_base64 };

    Ok(answer::shown(StatusCode::OK, &shown)?)
}
