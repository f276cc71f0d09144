//! The fleet over HTTP.

use super::answer::{self, Problem, Refusal};
use super::request::{Caller, JsonBody, Params, named, page_limit};
use super::tasks::{Reason, reason};
use crate::Shared;
use crate::door::{self, Taken};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_fleet::AgentKey;
use synod_protocol::command::{AgentChange, ChangeAgent};
use synod_protocol::view::Agent;
use synod_protocol::{Code, Command, Error, Id, Json};
use utoipa::IntoParams;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Every agent of the workspace, in order of their ids.
#[utoipa::path(get, path = "/v1/agents", params(ListParams), responses(
    (status = 200, description = "`{\"items\": [agent], \"next_cursor\"}`", body = serde_json::Value),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_agents(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let after = params.cursor.unwrap_or_default();
    let mut keys: Vec<AgentKey> = {
        let fleet = shared.fleet.lock();
        let ours = fleet.registry.iter().map(|(key, _)| key).filter(|key| key.workspace == caller.workspace);
        ours.filter(|key| key.agent.as_str() > after.as_str()).take(limit + 1).cloned().collect()
    };
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = if more { keys.last().map(|key| key.agent.to_string()) } else { None };
    let items: Vec<Json> =
        keys.iter().filter_map(|key| shared.fleet.view(key)).filter_map(|a| Json::of(&a).ok()).collect();
    Ok(answer::page(&items, next.as_deref()))
}

/// One agent.
#[utoipa::path(get, path = "/v1/agents/{id}", params(("id" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "The agent", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let agent: Id = named(&id)?;
    let key = AgentKey { workspace: caller.workspace, agent };
    shown(&shared, &key)
}

fn shown(shared: &Shared, key: &AgentKey) -> Result<Response, Refusal> {
    let view = shared.fleet.view(key).ok_or_else(|| Error::not_found("agent", key.agent.as_str()))?;
    let json = Json::of(&view).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(answer::entity(StatusCode::OK, &json, None))
}

/// Drains, starts, pauses, resumes or stops an agent.
#[utoipa::path(post, path = "/v1/agents/{id}/{change}",
    params(("id" = String, Path, description = "The agent's id"), ("change" = String, Path, description = "`drain`, `start`, `pause`, `resume` or `stop`")),
    request_body = Option<Reason>, responses(
    (status = 200, description = "The agent after it", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, change)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let change = match change.as_str() {
        "drain" => AgentChange::Drain,
        "start" => AgentChange::Start,
        "pause" => AgentChange::Pause,
        "resume" => AgentChange::Resume,
        "stop" => AgentChange::Stop,
        other => {
            return Err(
                Error::new(Code::NotFound, format!("there is no route /v1/agents/{id}/{other}")).into()
            );
        }
    };
    changed(&shared, &caller, &id, change, &body).await
}

/// Takes an agent out of the fleet; what it holds is given to others.
#[utoipa::path(delete, path = "/v1/agents/{id}", params(("id" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "The agent as it was", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn deregister_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    changed(&shared, &caller, &id, AgentChange::Deregister, &[]).await
}

async fn changed(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    change: AgentChange,
    body: &[u8],
) -> Result<Response, Refusal> {
    let agent_id: Id = named(id)?;
    let command =
        ChangeAgent { agent_id: agent_id.clone(), incarnation: None, reason: reason(body, shared)? };
    let command = Command::ChangeAgent(change, command);
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), id);
    match door::decided(shared, command, &envelope, None).await? {
        Taken::Decided { entity, .. } => {
            let key = AgentKey { workspace: caller.workspace.clone(), agent: agent_id };
            // What is volatile is added where the agent is still here.
            if shared.fleet.view(&key).is_some() {
                return shown(shared, &key);
            }
            Ok(answer::entity(StatusCode::OK, &entity, None))
        }
        Taken::Accepted => {
            Err(Error::new(Code::Internal, "a command was accepted without being decided").into())
        }
    }
}
