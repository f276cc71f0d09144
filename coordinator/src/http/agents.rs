//! The fleet over HTTP.

use super::answer::{self, Problem, Refusal};
use super::gather::{Cover, gather};
use super::request::{Caller, JsonBody, Params, named, page_limit};
use super::tasks::{Reason, reason};
use crate::Shared;
use crate::door::{self, Came, Taken};
use crate::shard::{Ask, TaskFilter};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::FutureExt as _;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_ledger::{Subject, TaskKey};
use synod_protocol::breaker::{BreakerOrder, OrderBreaker};
use synod_protocol::command::{AgentChange, ChangeAgent};
use synod_protocol::view::Agent;
use synod_protocol::{Capability, Code, Command, ContentType, Error, Id, Json, Workspace, codec, topics};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// How long a list may take.
const LIST: Duration = Duration::from_secs(5);

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
    headers: HeaderMap,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let cover = Cover::of(&headers, shared.config.partitions)?;
    let until = Instant::now() + LIST;
    let mut path = format!("/v1/agents?limit={limit}");
    if let Some(cursor) = &params.cursor {
        path.push_str(&format!("&cursor={}", door::escaped(cursor)));
    }
    let after = params.cursor.unwrap_or_default();
    let (shared, workspace) = (&*shared, caller.workspace);
    let here = |shards| listed_here(shared, shards, &workspace, &after, limit, until).boxed();
    let there = |address, shards| listed_there(shared, address, shards, &path, &workspace).boxed();
    let (mut agents, mut more) = (Vec::new(), false);
    for part in gather(shared, &cover, until, here, there).await? {
        more |= part.next_cursor.is_some();
        agents.extend(part.items);
    }
    agents.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
    more |= agents.len() > limit;
    agents.truncate(limit);
    let next = if more { agents.last().map(|agent| agent.agent_id.to_string()) } else { None };
    let items: Vec<Json> = agents.iter().filter_map(|agent| Json::of(agent).ok()).collect();
    Ok(answer::page(&items, next.as_deref()))
}

/// The agents of some shards, in order.
#[derive(Deserialize)]
struct Part {
    items: Vec<Agent>,
    next_cursor: Option<String>,
}

async fn listed_here(
    shared: &Shared,
    shards: Vec<u32>,
    workspace: &Workspace,
    after: &str,
    limit: usize,
    until: Instant,
) -> Result<Part, Error> {
    // Each shard is asked for nothing, so that it answers: then it serves, and the fleet is as it knows it.
    let asked = shards.iter().map(|shard| {
        let nothing =
            TaskKey { workspace: workspace.clone(), task: Id::made("none_", uuid::Uuid::nil()).into() };
        let filter = TaskFilter { after: nothing, limit: 0, status: None, capability: None, agent: None };
        async move {
            door::certain(shared, *shard).await?;
            shared.shards[*shard as usize].ask(until, |answer| Ask::List { filter, answer }).await?;
            Ok::<_, Error>(())
        }
    });
    futures::future::try_join_all(asked).await?;
    let keys: Vec<AgentKey> = {
        let fleet = shared.fleet.lock();
        let of_these = |key: &&AgentKey| {
            let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
            key.workspace == *workspace && key.agent.as_str() > after && shards.contains(&shard)
        };
        fleet.registry.iter().map(|(key, _)| key).filter(of_these).take(limit + 1).cloned().collect()
    };
    let items: Vec<Agent> = keys.iter().filter_map(|key| shared.fleet.view(key, &shared.config.id)).collect();
    Ok(Part { items, next_cursor: None })
}

async fn listed_there(
    shared: &Shared,
    address: String,
    shards: Vec<u32>,
    path: &str,
    workspace: &Workspace,
) -> Result<Part, Error> {
    let body = shared.forward.get(&address, path, Some(workspace), Some(&shards), LIST).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Error::unavailable(format!("the list of {address} does not read: {e}")))
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
    let view = shared
        .fleet
        .view(key, &shared.config.id)
        .ok_or_else(|| Error::not_found("agent", key.agent.as_str()))?;
    Json::of(&view).map_err(|e| Error::new(Code::Internal, e.to_string()))
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
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let new = codec::decode::<NewOrder>(ContentType::Json, &body, &shared.config.limits)?;
    let agent_id: Id = named(&id)?;
    let NewOrder { capability, order, reason } = new;
    let command =
        Command::OrderBreaker(OrderBreaker { agent_id: agent_id.clone(), capability, order, reason });
    told(&shared, &caller, agent_id, command).await
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
    told(shared, caller, agent_id, Command::ChangeAgent(change, command)).await
}

/// Has a command about an agent decided; answers the agent after it.
async fn told(shared: &Shared, caller: &Caller, agent_id: Id, command: Command) -> Result<Response, Refusal> {
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), agent_id.as_str());
    match door::decided(shared, command, &envelope, None, caller.came).await? {
        Taken::Decided { entity, .. } => {
            let key = AgentKey { workspace: caller.workspace.clone(), agent: agent_id };
            // What is volatile is added by the owner, where the agent is still in the fleet.
            if let Ok(json) = view(shared, &key, caller.came).await {
                return Ok(answer::entity(StatusCode::OK, &json, None));
            }
            Ok(answer::entity(StatusCode::OK, &entity, None))
        }
        Taken::Accepted => {
            Err(Error::new(Code::Internal, "a command was accepted without being decided").into())
        }
    }
}
