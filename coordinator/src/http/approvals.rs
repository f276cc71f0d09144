//! Approvals over HTTP: what people are asked to decide, what waits for whom, and what they decide.
//!
//! Who says who he is, and in which roles, is believed.

use super::answer::{self, Page, Problem, Refusal};
use super::kind::{APPROVAL, New, WaitParams, changed};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, Segments, named, of_key, read_query};
use crate::Shared;
use crate::door;
use crate::shard::{Label, Wanted, WantedApprovals};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_protocol::approval::{
    Approval, ApprovalStatus, DecideApproval, ROLE, RequestApproval, ResubmitApproval,
};
use synod_protocol::limits::LIST_ENTRIES;
use synod_protocol::{Code, Command, ContentType, EntityId, Error, Id, codec};
use utoipa::IntoParams;

/// Asks people to decide; `approval_id` is made here when there is none. With `wait_ms` answers with the one that is over,
/// if it is in time.
#[utoipa::path(post, path = "/v1/approvals", params(WaitParams), request_body = RequestApproval, responses(
    (status = 200, description = "It was there already, or it was decided within `wait_ms`", body = Approval),
    (status = 201, description = "Made", body = Approval),
    (status = 202, description = "Made, and not decided within `wait_ms`", body = Approval),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_approval(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let wait = params.wait()?;
    let New { id, body, derived } = APPROVAL.new_in(&body, &shared, &caller)?;
    let request: RequestApproval = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let command = Command::RequestApproval(Box::new(request));
    let made = APPROVAL.make(&shared, &caller, command, &id, wait).await;
    Ok(made.map_err(|error| of_key(error, derived))?)
}

/// One approval; with `wait_ms` once it is over.
#[utoipa::path(get, path = "/v1/approvals/{id}", params(WaitParams, ("id" = String, Path, description = "The approval's id")), responses(
    (status = 200, description = "The approval, over or not", body = Approval),
    (status = 202, description = "Not over within `wait_ms`", body = Approval),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_approval(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    APPROVAL.get(&shared, &caller, &id, &params).await
}

/// Decides: `decision` and `approver`. The same once more changes nothing.
#[utoipa::path(post, path = "/v1/approvals/{id}/decisions", params(("id" = String, Path, description = "The approval's id")), request_body = DecideApproval, responses(
    (status = 200, description = "Taken; `pending` where more have to approve", body = Approval),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_decision(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = APPROVAL.of_path(&body, &named(&id)?, &shared)?;
    let decide: DecideApproval = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    Ok(changed(&shared, &caller, Command::DecideApproval(decide), &id).await?)
}

/// Asks once more, otherwise, where changes were requested: `show`, and `title` where it changes. Answers with the next
/// revision, which is an approval of its own.
#[utoipa::path(post, path = "/v1/approvals/{id}/revisions", params(("id" = String, Path, description = "The id of the approval to which changes were requested")), request_body = ResubmitApproval, responses(
    (status = 200, description = "It was there already", body = Approval),
    (status = 201, description = "The next revision", body = Approval),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_revision(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = APPROVAL.of_path(&body, &named(&id)?, &shared)?;
    let resubmit: ResubmitApproval = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let command = Command::ResubmitApproval(resubmit);
    command.check()?;
    // What is shown makes it idempotent: under the key's id a repeat would be answered with the revision before.
    let mut envelope = caller.envelope(command.ce_type(), &id);
    envelope.id = uuid::Uuid::now_v7().to_string();
    let taken = door::decided(&shared, command, &envelope, None, caller.came).await;
    let taken = taken.map_err(|error| of_key(error, caller.idempotency_key.is_some()))?;
    let (entity, made) = taken.entity()?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    #[derive(Deserialize)]
    struct Next {
        approval_id: EntityId,
    }
    let next: Next = entity.to().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(answer::entity(status, &entity, Some(APPROVAL.location(&next.approval_id))))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only those that stand so.
    status: Option<ApprovalStatus>,
    /// Only those that wait for this person.
    approver: Option<String>,
    /// Only those that wait for somebody in one of these roles, written without `role:`, `role=a&role=b`; with `approver`: for
    /// him, who may decide in them.
    #[serde(default)]
    role: Vec<String>,
    /// Only those of this execution.
    #[param(value_type = Option<String>)]
    execution: Option<Id>,
    /// Only those with this label: `name:value`.
    label: Option<String>,
    /// Items of a page, 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl ListParams {
    /// Reads a query string in which `role` may stand more than once.
    fn read(pairs: Vec<(String, String)>) -> Result<ListParams, Error> {
        let (roles, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "role");
        let role: Vec<String> = roles.into_iter().map(|(_, role)| role).collect();
        if role.len() > LIST_ENTRIES {
            let message = format!("role stands {} times, the limit is {LIST_ENTRIES}", role.len());
            return Err(Error::invalid(message).with_field("/role"));
        }
        if let Some(role) = role.iter().find(|role| role.starts_with(ROLE)) {
            let message = format!("{role:?} is written without `role:` here");
            return Err(Error::invalid(message).with_field("/role"));
        }
        let rest =
            rest.iter().map(|(name, value)| format!("{}={}", door::escaped(name), door::escaped(value)));
        let rest = format!("/?{}", rest.collect::<Vec<_>>().join("&"));
        let uri = rest.parse::<Uri>();
        let uri = uri.map_err(|error| Error::invalid(format!("the query string: {error}")))?;
        Ok(ListParams { role, ..read_query(&uri)? })
    }
}

/// Approvals in memory (pending ones, and ended ones for as long as `runs_kept` says), in order of their ids.
#[utoipa::path(get, path = "/v1/approvals", params(ListParams), responses(
    (status = 200, description = "A page of approvals", body = Page<Approval>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_approvals(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let params = ListParams::read(pairs)?;
    let given = [
        ("status", params.status.map(|s| s.as_str().to_owned())),
        ("approver", params.approver.clone()),
        ("execution", params.execution.as_ref().map(Id::to_string)),
        ("label", params.label.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let paging = Paging {
        path: APPROVAL.path,
        id: APPROVAL.id,
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.chain(params.role.iter().map(|role| ("role", role.clone()))).collect(),
    };
    let label = params.label.as_deref().map(Label::read).transpose()?;
    let ListParams { status, approver, role, execution, .. } = params;
    let roles = role.into_iter().collect();
    let wanted = WantedApprovals { status, approver, roles, execution, label };
    Ok(paging.page(&shared, &headers, Wanted::Approvals(wanted)).await?)
}
