//! Negotiations over HTTP.

use super::answer::{self, Page, Problem, Refusal};
use super::kind::{NEGOTIATION, New, Wait, WaitParams, changed};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, Segments, named, of_key};
use super::tasks::{Reason, reason};
use crate::Shared;
use crate::door;
use crate::shard::Wanted;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::{NegotiationKey, Subject};
use synod_negotiation::requests::Request;
use synod_protocol::negotiation::{
    CancelNegotiation, NegotiationBrief, NegotiationStatus, NegotiationView, OpenNegotiation,
    RespondNegotiation,
};
use synod_protocol::{Command, ContentType, EntityId, codec};
use utoipa::IntoParams;

/// Opens a negotiation; `negotiation_id` is made here when there is none. With `wait_ms` answers with the one that has
/// ended, if it ends in time.
#[utoipa::path(post, path = "/v1/negotiations", params(WaitParams), request_body = OpenNegotiation, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_negotiation(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let wait = params.wait()?;
    let New { id, body, derived } = NEGOTIATION.new_in(&body, &shared, &caller)?;
    let open: OpenNegotiation = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let command = Command::OpenNegotiation(Box::new(open));
    let made = NEGOTIATION.make(&shared, &caller, command, &id, wait).await;
    Ok(made.map_err(|error| of_key(error, derived))?)
}

/// A request, in short, opened as the negotiation that it is.
pub(super) async fn requested<R: Request>(
    shared: &Shared,
    caller: &Caller,
    request: &R,
    wait: Wait,
) -> Result<Response, Refusal> {
    let named = request.named().cloned();
    let derived = named.is_none() && caller.idempotency_key.is_some();
    let id = named.unwrap_or_else(|| NEGOTIATION.id_for(caller));
    let command = Command::OpenNegotiation(Box::new(request.open(id.clone())?));
    let made = NEGOTIATION.make(shared, caller, command, &id, wait).await;
    Ok(made.map_err(|error| of_key(request.placed(error), derived))?)
}

/// One negotiation; with `wait_ms` once it has ended.
#[utoipa::path(get, path = "/v1/negotiations/{id}", params(WaitParams, ("id" = String, Path, description = "The negotiation's id")), responses(
    (status = 200, description = "The negotiation, ended or not", body = NegotiationView),
    (status = 202, description = "Not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_negotiation(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    NEGOTIATION.get(&shared, &caller, &id, &params).await
}

/// What is on record of a negotiation that has ended: `synod negotiation verify` recomputes it with nothing else.
#[utoipa::path(get, path = "/v1/negotiations/{id}/certificate", params(("id" = String, Path, description = "The negotiation's id")), responses(
    (status = 200, description = "The certificate", body = serde_json::Value),
    (status = "4XX", description = "Refused; `invalid_transition` while it goes on", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_certificate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let id: EntityId = named(&id)?;
    let key = NegotiationKey { workspace: caller.workspace.clone(), negotiation: id.clone() };
    let (of, path) = ((&caller.workspace, &id), format!("{}/certificate", NEGOTIATION.location(&id)));
    let subject = Subject::Certificate(key);
    let entity = door::entity(&shared, of, &path, &subject, (Duration::ZERO, caller.came)).await?;
    Ok(answer::entity(StatusCode::OK, &entity, None))
}

/// Answers the round that is open, as a participant: `participant`, and `response` or `abstain`.
#[utoipa::path(post, path = "/v1/negotiations/{id}/responses", params(("id" = String, Path, description = "The negotiation's id")), request_body = RespondNegotiation, responses(
    (status = 200, description = "Taken", body = NegotiationBrief),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_response(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = NEGOTIATION.of_path(&body, &named(&id)?, &shared)?;
    let respond: RespondNegotiation = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    Ok(changed(&shared, &caller, Command::RespondNegotiation(respond), &id).await?)
}

/// Cancels a negotiation; one that is cancelled already answers alike.
#[utoipa::path(post, path = "/v1/negotiations/{id}/cancel", params(("id" = String, Path, description = "The negotiation's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Cancelled", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel_negotiation(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let cancel = CancelNegotiation { negotiation_id: named(&id)?, reason: reason(&body, &shared)? };
    Ok(changed(&shared, &caller, Command::CancelNegotiation(cancel), &id).await?)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only those that stand so.
    status: Option<NegotiationStatus>,
    /// Only those that are decided so.
    protocol: Option<String>,
    /// Items of a page, 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Negotiations in memory (live ones, and ended ones within the deduplication window), in short, in order of their ids.
#[utoipa::path(get, path = "/v1/negotiations", params(ListParams), responses(
    (status = 200, description = "A page of negotiations, in short", body = Page<NegotiationBrief>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_negotiations(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let given =
        [("status", params.status.map(|s| s.as_str().to_owned())), ("protocol", params.protocol.clone())];
    let paging = Paging {
        path: NEGOTIATION.path,
        id: NEGOTIATION.id,
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    };
    let ListParams { status, protocol, .. } = params;
    Ok(paging.page(&shared, &headers, Wanted::Negotiations { status, protocol }).await?)
}
