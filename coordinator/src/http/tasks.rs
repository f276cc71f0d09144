//! Tasks over HTTP.

use super::answer::{self, Page, Problem, Refusal};
use super::kind::{TASK, WaitParams, changed};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, Segments, named, of_key};
use crate::Shared;
use crate::door::{self, Came};
use crate::shard::{Ask, Wanted};
use axum::extract::State;
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
    let wait = params.wait()?;
    let new: NewTask = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let derived = new.task_id.is_none() && caller.idempotency_key.is_some();
    let task_id = new.task_id.clone().unwrap_or_else(|| TASK.id_for(&caller));
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
    let made = TASK.make(&shared, &caller, command, &task_id, wait).await;
    Ok(made.map_err(|error| of_key(error, derived))?)
}

/// One task; with `wait_ms` once it has ended.
#[utoipa::path(get, path = "/v1/tasks/{id}", params(WaitParams, ("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "The task, ended or not", body = Task),
    (status = 202, description = "Not ended within `wait_ms`", body = Task),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    TASK.get(&shared, &caller, &id, &params).await
}

/// Why its attempts went where they went, and what a task waits for.
#[utoipa::path(get, path = "/v1/tasks/{id}/explanation", params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "Each choice with its figures; how it is with those who could do it", body = Explanation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn explain_task(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let task: EntityId = named(&id)?;
    let shard = topics::partition(task.root().as_bytes(), shared.config.partitions);
    let (workspace, path) = (&caller.workspace, format!("/v1/tasks/{}/explanation", door::escaped(&id)));
    let here =
        || explained_here(&shared, shard, TaskKey { workspace: workspace.clone(), task: task.clone() });
    match door::of_owner(&shared, shard, workspace, &path, caller.came, here).await {
        // It has left memory: how it was chosen for stands in its view.
        Err(error) if error.code == Code::NotFound && caller.came == Came::FromClient => {
            let entity = TASK.read(&shared, &caller, &task, Duration::ZERO).await?;
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
    (status = 200, description = "A page of tasks", body = Page<Task>),
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
        path: TASK.path,
        id: TASK.id,
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    };
    let ListParams { status, capability, agent, .. } = params;
    Ok(paging.page(&shared, &headers, Wanted::Tasks { status, capability, agent }).await?)
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
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let cancel = CancelTask { task_id: named(&id)?, reason: reason(&body, &shared)? };
    Ok(changed(&shared, &caller, Command::CancelTask(cancel), &id).await?)
}
