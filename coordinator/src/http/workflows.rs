//! Workflows over HTTP: defined, found, and run.

use super::answer::{self, Page, Problem, Refusal, problem};
use super::executions;
use super::kind::{EXECUTION, WaitParams};
use super::request::{Body, Caller, JsonBody, Params, Segments, json_body, named, page_limit};
use crate::Shared;
use crate::door;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::{EntityKey, Subject, read_definition};
use synod_protocol::workflow::{DefineWorkflow, StartExecution, Workflow as View, WorkflowBrief};
use synod_protocol::{Code, Command, ContentType, EntityId, Error, Id, Json, codec};
use synod_workflow::Workflow;
use synod_workflow::source::Format;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// How long it may take until a coordinator has heard of a version.
pub(super) const HEARD: Duration = Duration::from_secs(2);

/// A definition as it came.
pub(crate) struct Document {
    text: String,
    format: Format,
}

impl FromRequest<Arc<Shared>> for Document {
    type Rejection = Response;

    /// JSON or YAML, as the content type says; where it says nothing, whatever the text looks like.
    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Document, Response> {
        let said = request.headers().get("content-type");
        let said = said.map(|said| String::from_utf8_lossy(said.as_bytes()).into_owned());
        let format = said.as_deref().map(format_of).transpose()?;
        let Body(bytes) = Body::from_request(request, shared).await.map_err(IntoResponse::into_response)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Refusal(Error::invalid("the definition is not UTF-8")).into_response())?;
        let format = format.unwrap_or_else(|| Format::of(&text));
        Ok(Document { text, format })
    }
}

fn format_of(media: &str) -> Result<Format, Response> {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Format::Yaml),
        "application/json" => Ok(Format::Json),
        _ => {
            let message = format!(
                "content-type {media:?} is not taken here; send application/json or application/yaml"
            );
            Err(problem(Error::invalid(message), StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}

impl Document {
    /// The command that it makes, with the definition in JSON, and the workflow that it defines.
    ///
    /// # Errors
    /// `unprocessable`: all that is wrong with the definition.
    fn command(&self, shared: &Shared) -> Result<(DefineWorkflow, Workflow), Error> {
        let (workflow_id, workflow) = match self.as_command(shared)? {
            Some(define) => (define.workflow_id, read_definition(&define.definition)?),
            None => {
                let workflow = Workflow::parse_as(&self.text, self.format).map_err(|problems| {
                    let field = problems.iter().next().map(|first| first.pointer.clone());
                    Error::new(Code::Unprocessable, problems.to_string())
                        .with_field(field.unwrap_or_default())
                })?;
                (workflow.definition().id.parse()?, workflow)
            }
        };
        let definition = workflow.document().clone();
        Ok((DefineWorkflow { workflow_id, definition }, workflow))
    }

    /// The body is the command, not the definition: no definition has a member of that name.
    fn as_command(&self, shared: &Shared) -> Result<Option<DefineWorkflow>, Error> {
        let members = serde_json::from_str::<BTreeMap<String, Json>>(&self.text);
        if self.format == Format::Yaml || !members.is_ok_and(|members| members.contains_key("definition")) {
            return Ok(None);
        }
        codec::decode(ContentType::Json, self.text.as_bytes(), &shared.config.limits).map(Some)
    }
}

/// Defines a workflow, or gives it a new version: the definition itself, in JSON or YAML. `{"workflow_id", "definition"}` is
/// taken as well. The same definition once more is no new version.
#[utoipa::path(post, path = "/v1/workflows/definitions",
    request_body(content((serde_json::Value = "application/json"), (String = "application/yaml"))),
    responses(
    (status = 200, description = "Its newest version is this already", body = View),
    (status = 201, description = "A new version", body = View),
    (status = 422, description = "Something is wrong with it: each mistake with its place and mend in `detail`, `field` where the first is", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn define_workflow(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    document: Document,
) -> Result<Response, Refusal> {
    let (define, workflow) = document.command(&shared)?;
    let id = define.workflow_id.clone();
    let command = Command::DefineWorkflow(define);
    command.check()?;
    shared.config.limits.check_size(command.encode(ContentType::Json)?.len())?;
    // Another definition under the same key is another request, not the earlier one once more.
    let envelope = caller.envelope(command.ce_type(), &format!("{id}\0{}", workflow.hash()));
    let (entity, made) = door::decided(&shared, command, &envelope, None, caller.came).await?.entity()?;
    let view: View = entity.to().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let key = EntityKey { workspace: caller.workspace.clone(), id: id.clone().into() };
    if !shared.definitions.hears_of(&key, &view.hash, Instant::now() + HEARD).await {
        tracing::warn!(workflow = %id, "a version has not come round to this coordinator yet");
    }
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::entity(status, &entity, Some(location(&id))))
}

fn location(id: &Id) -> String {
    format!("/v1/workflows/{id}")
}

/// The newest version of a workflow, as its owner has it.
#[utoipa::path(get, path = "/v1/workflows/{id}", params(("id" = String, Path, description = "The workflow's id")), responses(
    (status = 200, description = "The workflow", body = View),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_workflow(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let id: Id = named(&id)?;
    let entity = of_owner(&shared, &caller, &id).await?;
    Ok(answer::entity(StatusCode::OK, &entity, Some(location(&id))))
}

async fn of_owner(shared: &Shared, caller: &Caller, id: &Id) -> Result<Json, Error> {
    let (workspace, path) = (&caller.workspace, location(id));
    let id = EntityId::from(id.clone());
    let subject = Subject::Workflow(EntityKey { workspace: workspace.clone(), id: id.clone() });
    door::entity(shared, (workspace, &id), &path, &subject, (Duration::ZERO, caller.came)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Items of a page, 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Workflows, in short, as far as this coordinator has heard of them, in the order of their ids.
#[utoipa::path(get, path = "/v1/workflows", params(ListParams), responses(
    (status = 200, description = "A page of workflows, in short", body = Page<WorkflowBrief>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_workflows(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let wrong = |_| Error::invalid("this cursor is not of /v1/workflows").with_field("/cursor");
    // Every id sorts after "-", which no id begins with.
    let after = params.cursor.as_deref().unwrap_or("-").parse().map_err(wrong)?;
    let after = EntityKey { workspace: caller.workspace, id: after };
    let mut views = shared.definitions.after(&after, limit + 1);
    let more = views.len() > limit;
    views.truncate(limit);
    let next = views.last().filter(|_| more).map(|view| view.workflow_id.to_string());
    let items = views.into_iter().map(|view| answer::as_json(&WorkflowBrief::of(view)));
    Ok(answer::page(&items.collect::<Result<Vec<Json>, Error>>()?, next.as_deref()))
}

/// How a workflow is to be run; all of it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Execute {
    /// The execution's id; made here by default.
    #[serde(default)]
    execution_id: Option<Id>,
    /// What its steps read as `input`; null by default.
    #[serde(default)]
    input: Json,
    /// The version with this hash and no other; the newest by default.
    #[serde(default)]
    hash: Option<String>,
    /// Free labels to find it by, beside the definition's.
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Runs a workflow. With `wait_ms` answers with the execution once it has ended, if it ends in time.
#[utoipa::path(post, path = "/v1/workflows/{id}/execute", params(WaitParams, ("id" = String, Path, description = "The workflow's id")), request_body = Option<Execute>, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = synod_protocol::workflow::Execution),
    (status = 201, description = "Started", body = synod_protocol::workflow::Execution),
    (status = 202, description = "Started, and not ended within `wait_ms`", body = synod_protocol::workflow::Execution),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn execute_workflow(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let wait = params.wait()?;
    let Execute { execution_id, input, hash, labels } =
        json_body(&body, &shared.config.limits)?.unwrap_or_default();
    let derived = execution_id.is_none() && caller.idempotency_key.is_some();
    let execution_id = match execution_id {
        Some(id) => id,
        None => named(EXECUTION.id_for(&caller).as_str())?,
    };
    let workflow_id = named(&id)?;
    let start = StartExecution { execution_id, workflow_id, input, hash, definition: None, labels };
    executions::started(&shared, &caller, start, derived, wait).await
}

/// The newest version of a workflow that is known here, or else as its owner has it; none where that has another hash, or
/// there is none.
pub(super) async fn found(
    shared: &Shared,
    caller: &Caller,
    id: &Id,
    hash: Option<&str>,
) -> Result<Option<View>, Error> {
    let fits = |view: &View| hash.is_none_or(|hash| view.hash == hash);
    let key = EntityKey { workspace: caller.workspace.clone(), id: id.clone().into() };
    if let Some(view) = shared.definitions.get(&key).filter(fits) {
        return Ok(Some(view));
    }
    let view = match of_owner(shared, caller, id).await {
        Err(error) if error.code == Code::NotFound => return Ok(None),
        told => told?.to::<View>().map_err(|e| Error::new(Code::Internal, e.to_string()))?,
    };
    Ok(Some(view).filter(fits))
}
