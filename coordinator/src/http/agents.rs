//! One agent over HTTP; the list of them is in `agent_list`.

use super::answer::{self, Problem, Refusal};
use super::request::{Caller, JsonBody, Segments, json_body, named};
use super::tasks::reason;
use crate::Shared;
use crate::door::{self, Came};
use crate::shard::Ask;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_fleet::AgentKey;
use synod_ledger::Subject;
use synod_protocol::breaker::{BreakerOrder, OrderBreaker};
use synod_protocol::command::{AgentChange, ChangeAgent, Recovery, ReportError};
use synod_protocol::view::Agent;
use synod_protocol::{Capability, Code, Command, ContentType, Error, Id, Json, codec, topics};
use tokio::time::Instant;
use utoipa::ToSchema;

/// One agent.
#[utoipa::path(get, path = "/v1/agents/{id}", params(("id" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "The agent", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let agent: Id = named(&id)?;
    let key = AgentKey { workspace: caller.workspace, agent };
    let json = view(&shared, &key, caller.came).await?;
    Ok(answer::entity(StatusCode::OK, &json, None))
}

/// An agent as the owner of its shard knows it: the others hear of changes by the directory, a little later.
async fn view(shared: &Shared, key: &AgentKey, came: Came) -> Result<Json, Error> {
    let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
    let path = format!("/v1/agents/{}", door::escaped(key.agent.as_str()));
    door::of_owner(shared, shard, &key.workspace, &path, came, || view_here(shared, shard, key)).await
}

async fn view_here(shared: &Shared, shard: u32, key: &AgentKey) -> Result<Json, Error> {
    door::certain(shared, shard).await?;
    // The shard's own word comes first: until it serves, what we know of the fleet may be older.
    let subject = Subject::Agent(key.clone());
    let read = shared.shards[shard as usize]
        .ask(Instant::now() + door::ANSWER, |answer| Ask::Read { subject, answer });
    read.await?;
    let view = shared.fleet.view(key).ok_or_else(|| Error::not_found("agent", key.agent.as_str()))?;
    Json::of(&view).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

/// Drains, starts, pauses, resumes or stops an agent, or says for it that it is in error.
#[utoipa::path(post, path = "/v1/agents/{id}/{change}",
    params(("id" = String, Path, description = "The agent's id"), ("change" = String, Path, description = "`drain`, `start`, `pause`, `resume`, `stop` or `report_error`")),
    request_body = Option<ErrorReported>, responses(
    (status = 200, description = "The agent after it", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((id, change)): Segments<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let change = match change.as_str() {
        "drain" => AgentChange::Drain,
        "start" => AgentChange::Start,
        "pause" => AgentChange::Pause,
        "resume" => AgentChange::Resume,
        "stop" => AgentChange::Stop,
        "report_error" => {
            let agent_id: Id = named(&id)?;
            let ErrorReported { reason, recovery, resume_after_ms } =
                json_body(&body, &shared.config.limits)?.unwrap_or_default();
            let report = ReportError {
                agent_id: agent_id.clone(),
                incarnation: None,
                reason,
                recovery,
                resume_after_ms,
            };
            return told(&shared, &caller, agent_id, Command::ReportError(report)).await;
        }
        other => {
            return Err(
                Error::new(Code::NotFound, format!("there is no route /v1/agents/{id}/{other}")).into()
            );
        }
    };
    changed(&shared, &caller, &id, change, &body).await
}

/// What is ordered of a breaker.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    /// Its breaker for this capability alone; the one for all that it does by default.
    #[serde(default)]
    capability: Option<Capability>,
    /// What.
    order: BreakerOrder,
    /// For people.
    #[serde(default)]
    reason: Option<String>,
}

/// Forces a breaker of an agent open or closed, or resets it; every coordinator follows.
#[utoipa::path(post, path = "/v1/agents/{id}/breaker", params(("id" = String, Path, description = "The agent's id")),
    request_body = NewOrder, responses(
    (status = 200, description = "The agent after it", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn order_breaker(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let new = codec::decode::<NewOrder>(ContentType::Json, &body, &shared.config.limits)?;
    let agent_id: Id = named(&id)?;
    let NewOrder { capability, order, reason } = new;
    let command =
        Command::OrderBreaker(OrderBreaker { agent_id: agent_id.clone(), capability, order, reason });
    told(&shared, &caller, agent_id, command).await
}

/// That an agent cannot work, and how it is to come back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorReported {
    /// For people.
    reason: Option<String>,
    /// `park` by default.
    recovery: Option<Recovery>,
    /// With `resume`: 1 to 3,600,000; 1,000 by default.
    resume_after_ms: Option<u64>,
}

/// Takes an agent out of the fleet; what it holds is given to others.
#[utoipa::path(delete, path = "/v1/agents/{id}", params(("id" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "The agent as it was", body = Agent),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn deregister_agent(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
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
    told(shared, caller, agent_id, Command::ChangeAgent(change, command)).await
}

/// Has a command about an agent decided; answers the agent after it.
async fn told(shared: &Shared, caller: &Caller, agent_id: Id, command: Command) -> Result<Response, Refusal> {
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), agent_id.as_str());
    let (entity, _) = door::decided(shared, command, &envelope, None, caller.came).await?.entity()?;
    let key = AgentKey { workspace: caller.workspace.clone(), agent: agent_id };
    // What is volatile is added by the owner, where the agent is still in the fleet.
    let shown = view(shared, &key, caller.came).await.unwrap_or(entity);
    Ok(answer::entity(StatusCode::OK, &shown, None))
}
