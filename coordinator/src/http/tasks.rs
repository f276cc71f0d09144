//! Tasks over HTTP.

use super::answer::{self, Problem, Refusal};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, named, of_key, waited};
use crate::Shared;
use crate::door::{self, Came, Taken};
use crate::shard::{Ask, TaskFilter};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::TaskKey;
use synod_protocol::command::{CancelTask, SubmitTask};
use synod_protocol::view::{Explanation, Task, TaskStatus};
use synod_protocol::{Code, Command, ContentType, EntityId, Error, Id, Json, Timestamp, codec, topics};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitParams {
    /// Answer once it has ended, or after so many milliseconds: 0 to 60,000.
    wait_ms: Option<u64>,
}

impl WaitParams {
    pub(super) fn wait_ms(&self) -> Option<u64> {
        self.wait_ms
    }
}

/// As `synod.task.submit`; `task_id` is made here when there is none.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::missing_docs_in_private_items)]
pub(crate) struct NewTask {
    #[serde(default)]
    task_id: Option<EntityId>,
    #[serde(default)]
    capability: Option<synod_protocol::Capability>,
    #[serde(default)]
    agent_id: Option<Id>,
    #[serde(default)]
    input: Json,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    deadline: Option<Timestamp>,
    #[serde(default)]
    retry: Option<synod_protocol::command::RetryPolicy>,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default)]
    requires: Option<synod_protocol::command::Requires>,
    #[serde(default)]
    retry_on_suspect: Option<bool>,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    concurrency_key: Option<Id>,
    #[serde(default)]
    escalate_to: Option<synod_protocol::Capability>,
    #[serde(default)]
    adjustments: Option<Vec<Json>>,
}

/// Submits a task; with `wait_ms` answers with the finished one if it ends in time.
#[utoipa::path(post, path = "/v1/tasks", params(WaitParams), request_body = NewTask, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = Task),
    (status = 201, description = "Made", body = Task),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = Task),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let wait = waited(params.wait_ms)?;
    let until = Instant::now() + wait;
    let new: NewTask = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let derived = new.task_id.is_none() && caller.idempotency_key.is_some();
    let task_id = new.task_id.clone().unwrap_or_else(|| match &caller.idempotency_key {
        Some(key) => Id::derived("task_", &caller.workspace, key).into(),
        None => Id::made("task_", uuid::Uuid::now_v7()).into(),
    });
    let command = Command::SubmitTask(SubmitTask {
        task_id: task_id.clone(),
        capability: new.capability,
        agent_id: new.agent_id,
        input: new.input,
        priority: new.priority,
        timeout_ms: new.timeout_ms,
        deadline: new.deadline,
        retry: new.retry,
        strategy: new.strategy,
        requires: new.requires,
        retry_on_suspect: new.retry_on_suspect,
        labels: new.labels,
        concurrency_key: new.concurrency_key,
        escalate_to: new.escalate_to,
        adjustments: new.adjustments,
    });
    command.check()?;
    // The task's own id is what makes it idempotent here; the key has gone into it.
    let mut envelope = caller.envelope(command.ce_type(), task_id.as_str());
    envelope.id = uuid::Uuid::now_v7().to_string();
    let taken = door::decided(&shared, command, &envelope, None, caller.came).await;
    let (entity, made) = taken.and_then(Taken::entity).map_err(|error| of_key(error, derived))?;
    let location = Some(format!("/v1/tasks/{task_id}"));
    if !wait.is_zero() {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let entity = door::task(&shared, &caller.workspace, &task_id, left, caller.came).await?;
        let status = if is_final(&entity) { StatusCode::OK } else { StatusCode::ACCEPTED };
        return Ok(answer::entity(status, &entity, location));
    }
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::entity(status, &entity, location))
}

fn is_final(entity: &Json) -> bool {
    #[derive(Deserialize)]
    struct Status {
        status: TaskStatus,
    }
    entity.to::<Status>().is_ok_and(|s| s.status.is_final())
}

/// One task; with `wait_ms` once it has ended.
#[utoipa::path(get, path = "/v1/tasks/{id}", params(WaitParams, ("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "The task, ended or not", body = Task),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    let wait = waited(params.wait_ms)?;
    let entity = door::task(&shared, &caller.workspace, &named(&id)?, wait, caller.came).await?;
    let status = if params.wait_ms.unwrap_or(0) == 0 || is_final(&entity) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok(answer::entity(status, &entity, Some(format!("/v1/tasks/{id}"))))
}

/// Why its attempts went where they went, and what a task waits for.
#[utoipa::path(get, path = "/v1/tasks/{id}/explanation", params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "Each choice with its figures; how it is with those who could do it", body = Explanation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn explain_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let task: EntityId = named(&id)?;
    let shard = topics::partition(task.root().as_bytes(), shared.config.partitions);
    let (workspace, path) = (&caller.workspace, format!("/v1/tasks/{}/explanation", door::escaped(&id)));
    let here =
        || explained_here(&shared, shard, TaskKey { workspace: workspace.clone(), task: task.clone() });
    match door::of_owner(&shared, shard, workspace, &path, caller.came, here).await {
        // It has left memory: how it was chosen for stands in its view.
        Err(error) if error.code == Code::NotFound && caller.came == Came::FromClient => {
            let entity = door::task(&shared, workspace, &task, Duration::ZERO, caller.came).await?;
            let task = entity.to::<Task>().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            let Task { task_id, status, attempts, .. } = task;
            let past = Json::of(&Explanation { task_id, status, attempts, waiting: None });
            let past = past.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            Ok(answer::entity(StatusCode::OK, &past, None))
        }
        told => Ok(answer::entity(StatusCode::OK, &told?, None)),
    }
}

async fn explained_here(shared: &Shared, shard: u32, task: TaskKey) -> Result<Json, Error> {
    door::certain(shared, shard).await?;
    let until = Instant::now() + door::ANSWER;
    Ok(shared.shards[shard as usize].ask(until, |answer| Ask::Explain { task, answer }).await?.0)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only tasks that stand so.
    status: Option<TaskStatus>,
    /// Only tasks for this capability.
    capability: Option<String>,
    /// Only tasks whose last attempt went to this agent.
    agent: Option<String>,
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Tasks in memory (live ones, and ended ones within the deduplication window), in order of their ids.
#[utoipa::path(get, path = "/v1/tasks", params(ListParams), responses(
    (status = 200, description = "`{\"items\": [task], \"next_cursor\"}`", body = serde_json::Value),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_tasks(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let given = [
        ("status", params.status.map(|s| s.as_str().to_owned())),
        ("capability", params.capability.clone()),
        ("agent", params.agent.clone()),
    ];
    let paging = Paging {
        path: "/v1/tasks",
        id: "task_id",
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    };
    let after = TaskKey { workspace: caller.workspace.clone(), task: paging.after()? };
    let ask = |limit, answer| {
        let (capability, agent) = (params.capability.clone(), params.agent.clone());
        let filter = TaskFilter { after: after.clone(), limit, status: params.status, capability, agent };
        Ask::List { filter, answer }
    };
    Ok(paging.page(&shared, &headers, ask).await?)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// For people.
    #[serde(default)]
    reason: Option<String>,
}

/// Reads a body that may be empty.
pub(crate) fn reason(body: &[u8], shared: &Shared) -> Result<Option<String>, Error> {
    if body.is_empty() {
        return Ok(None);
    }
    codec::decode::<Reason>(ContentType::Json, body, &shared.config.limits).map(|r| r.reason)
}

/// Cancels a task; one that is cancelled already answers alike.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", params(("id" = String, Path, description = "The task's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Cancelled", body = Task),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let command = Command::CancelTask(CancelTask { task_id: named(&id)?, reason: reason(&body, &shared)? });
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), &id);
    let (entity, _) = door::decided(&shared, command, &envelope, None, caller.came).await?.entity()?;
    Ok(answer::entity(StatusCode::OK, &entity, None))
}
