//! Executions over HTTP: runs of workflows, their steps, and what can be done to them.

use super::answer::{Page, Problem, Refusal};
use super::kind::{EXECUTION, New, Wait, WaitParams, changed};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, Segments, named, of_key};
use super::tasks::{Reason, reason};
use super::workflows;
use crate::Shared;
use crate::door;
use crate::shard::{Label, Wanted, WantedExecutions};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_protocol::workflow::{
    ChangeExecution, Execution, ExecutionBrief, ExecutionChange, ExecutionStatus, RetryExecution,
    SignalExecution, StartExecution,
};
use synod_protocol::{Code, Command, ContentType, Id, Timestamp, codec};
use tokio::time::Instant;
use utoipa::IntoParams;

/// Starts a run, of a definition that is given with it or of one that is defined; `execution_id` is made here when there is
/// none. With `wait_ms` answers with the one that has ended, if it ends in time.
#[utoipa::path(post, path = "/v1/executions", params(WaitParams), request_body = StartExecution, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = Execution),
    (status = 201, description = "Started", body = Execution),
    (status = 202, description = "Started, and not ended within `wait_ms`", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let wait = params.wait()?;
    let New { body, derived, .. } = EXECUTION.new_in(&body, &shared, &caller)?;
    let start: StartExecution = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    started(&shared, &caller, start, derived, wait).await
}

/// Starts a run. The definition goes with the command, so that whoever has the execution's shard needs nothing else.
pub(super) async fn started(
    shared: &Shared,
    caller: &Caller,
    start: StartExecution,
    derived: bool,
    wait: Wait,
) -> Result<Response, Refusal> {
    let id = start.execution_id.clone().into();
    let (command, is_known) = with_definition(shared, caller, start).await?;
    let heard_by = Instant::now() + workflows::HEARD;
    loop {
        match EXECUTION.make(shared, caller, command.clone(), &id, wait).await {
            // Its owner hears of the workflow a moment later.
            Err(error) if is_known && error.code == Code::NotFound && Instant::now() < heard_by => {
                door::a_moment(shared).await;
            }
            made => return Ok(made.map_err(|error| of_key(error, derived))?),
        }
    }
}

/// With the definition in it, where that is known and there is room for both; else with the hash at which the owner finds it,
/// and whether there is such a workflow. Where nothing is known the owner says so: it may have the execution already.
async fn with_definition(
    shared: &Shared,
    caller: &Caller,
    start: StartExecution,
) -> Result<(Command, bool), Refusal> {
    let bare = |start: StartExecution| Command::StartExecution(Box::new(start));
    if start.definition.is_some() {
        return Ok((bare(start), false));
    }
    let found = workflows::found(shared, caller, &start.workflow_id, start.hash.as_deref()).await?;
    let Some(view) = found else { return Ok((bare(start), false)) };
    let whole = bare(StartExecution { definition: Some(view.definition), ..start.clone() });
    let bytes = whole.encode(ContentType::Json)?.len();
    if bytes <= shared.config.limits.payload_bytes {
        return Ok((whole, false));
    }
    Ok((bare(StartExecution { hash: Some(view.hash), ..start }), true))
}

/// One execution; with `wait_ms` once it has ended.
#[utoipa::path(get, path = "/v1/executions/{id}", params(WaitParams, ("id" = String, Path, description = "The execution's id")), responses(
    (status = 200, description = "The execution, ended or not", body = Execution),
    (status = 202, description = "Not ended within `wait_ms`", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    EXECUTION.get(&shared, &caller, &id, &params).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only those that stand so.
    status: Option<ExecutionStatus>,
    /// Only those of this workflow.
    #[param(value_type = Option<String>)]
    workflow: Option<Id>,
    /// Only those with this label: `name:value`.
    label: Option<String>,
    /// Only those that began later than this.
    #[param(value_type = Option<String>)]
    started_after: Option<Timestamp>,
    /// Only those that began earlier than this.
    #[param(value_type = Option<String>)]
    started_before: Option<Timestamp>,
    /// Items of a page, 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Executions in memory (live ones, and ended ones for as long as `runs_kept` says), in short, in order of their ids.
#[utoipa::path(get, path = "/v1/executions", params(ListParams), responses(
    (status = 200, description = "A page of executions, in short", body = Page<ExecutionBrief>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_executions(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let given = [
        ("status", params.status.map(|s| s.as_str().to_owned())),
        ("workflow", params.workflow.as_ref().map(Id::to_string)),
        ("label", params.label.clone()),
        ("started_after", params.started_after.map(|at| at.to_string())),
        ("started_before", params.started_before.map(|at| at.to_string())),
    ];
    let paging = Paging {
        path: EXECUTION.path,
        id: EXECUTION.id,
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    };
    let label = params.label.as_deref().map(Label::read).transpose()?;
    let ListParams { status, workflow, started_after, started_before, .. } = params;
    let wanted = WantedExecutions { status, workflow, label, started_after, started_before };
    Ok(paging.page(&shared, &headers, Wanted::Executions(wanted)).await?)
}

/// Cancels an execution; what is under way is taken back.
#[utoipa::path(post, path = "/v1/executions/{id}/cancel", params(("id" = String, Path, description = "The execution's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Cancelled", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    change(&shared, &caller, ExecutionChange::Cancel, &id, &body).await
}

/// Pauses an execution: it starts nothing more; what is under way goes on.
#[utoipa::path(post, path = "/v1/executions/{id}/pause", params(("id" = String, Path, description = "The execution's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Paused", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pause_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    change(&shared, &caller, ExecutionChange::Pause, &id, &body).await
}

/// Resumes an execution; a budget that is used up counts no more.
#[utoipa::path(post, path = "/v1/executions/{id}/resume", params(("id" = String, Path, description = "The execution's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Running", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    change(&shared, &caller, ExecutionChange::Resume, &id, &body).await
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    change: ExecutionChange,
    id: &str,
    body: &[u8],
) -> Result<Response, Refusal> {
    let command = ChangeExecution { execution_id: named(id)?, reason: reason(body, shared)? };
    Ok(changed(shared, caller, Command::ChangeExecution(change, command), id).await?)
}

/// Sends a signal: `name`, and `payload`, which is the result of every step that waits for it.
#[utoipa::path(post, path = "/v1/executions/{id}/signal", params(("id" = String, Path, description = "The execution's id")), request_body = SignalExecution, responses(
    (status = 200, description = "Taken", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn signal_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = EXECUTION.of_path(&body, &named(&id)?, &shared)?;
    let signal: SignalExecution = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    Ok(changed(&shared, &caller, Command::SignalExecution(signal), &id).await?)
}

/// Does a step that failed for good once more, and what it kept from being done: `step`, and `items` within maps.
#[utoipa::path(post, path = "/v1/executions/{id}/retry", params(("id" = String, Path, description = "The execution's id")), request_body = RetryExecution, responses(
    (status = 200, description = "It goes on", body = Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn retry_execution(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = EXECUTION.of_path(&body, &named(&id)?, &shared)?;
    let retry: RetryExecution = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    Ok(changed(&shared, &caller, Command::RetryExecution(retry), &id).await?)
}
