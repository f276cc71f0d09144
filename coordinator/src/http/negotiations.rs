//! Negotiations over HTTP.

use super::answer::{self, Problem, Refusal};
use super::pages::Paging;
use super::request::{Caller, JsonBody, Params, named, of_key, waited};
use super::tasks::{Reason, WaitParams, reason};
use crate::Shared;
use crate::door;
use crate::shard::{Ask, NegotiationFilter};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::NegotiationKey;
use synod_negotiation::requests::Request;
use synod_protocol::negotiation::{
    CancelNegotiation, NegotiationBrief, NegotiationStatus, NegotiationView, OpenNegotiation,
    RespondNegotiation,
};
use synod_protocol::{Command, ContentType, EntityId, Error, Id, Json, codec};
use tokio::time::Instant;
use utoipa::IntoParams;

/// The member of a body that may be left out where the path or the mesh says it.
const ID: &str = "negotiation_id";

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
    let wait = waited(params.wait_ms())?;
    let until = Instant::now() + wait;
    let named = id_in(&body, &shared)?;
    let body = match &named {
        Some(_) => body.to_vec(),
        None => with_id(&body, &id_for(&caller)),
    };
    let derived = named.is_none() && caller.idempotency_key.is_some();
    let open: OpenNegotiation = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let opened = opened(&shared, &caller, open, (wait, until)).await;
    Ok(opened.map_err(|error| of_key(error, derived))?)
}

/// A request, in short, opened as the negotiation that it is.
pub(super) async fn requested<R: Request>(
    shared: &Shared,
    caller: &Caller,
    request: &R,
    wait: Duration,
) -> Result<Response, Refusal> {
    let until = Instant::now() + wait;
    let named = request.named().cloned();
    let derived = named.is_none() && caller.idempotency_key.is_some();
    let id = named.unwrap_or_else(|| id_for(caller));
    let opened = opened(shared, caller, request.open(id)?, (wait, until)).await;
    Ok(opened.map_err(|error| of_key(request.placed(error), derived))?)
}

/// Opens it, and where there is a `wait` answers with the one that has ended, if it ends `until` then.
async fn opened(
    shared: &Shared,
    caller: &Caller,
    open: OpenNegotiation,
    (wait, until): (Duration, Instant),
) -> Result<Response, Error> {
    let id = open.negotiation_id.clone();
    let command = Command::OpenNegotiation(Box::new(open));
    let (entity, made) = decided(shared, caller, command, id.as_str()).await?;
    let location = Some(format!("/v1/negotiations/{id}"));
    if !wait.is_zero() {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let entity = door::negotiation(shared, &caller.workspace, &id, left, caller.came).await?;
        let status = if is_final(&entity) { StatusCode::OK } else { StatusCode::ACCEPTED };
        return Ok(answer::entity(status, &entity, location));
    }
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::entity(status, &entity, location))
}

/// The id that a body names, if it does.
fn id_in(body: &[u8], shared: &Shared) -> Result<Option<EntityId>, Error> {
    let members: BTreeMap<String, Json> = codec::decode(ContentType::Json, body, &shared.config.limits)?;
    let id = members.get(ID).filter(|id| id.as_str() != "null");
    let read = |id: &Json| {
        id.to::<EntityId>().map_err(|e| Error::invalid(e.to_string()).with_field(format!("/{ID}")))
    };
    id.map(read).transpose()
}

/// The id of one that was given none: always the same for an `Idempotency-Key`.
fn id_for(caller: &Caller) -> EntityId {
    EntityId::from(match &caller.idempotency_key {
        Some(key) => Id::derived("neg_", &caller.workspace, key),
        None => Id::made("neg_", uuid::Uuid::now_v7()),
    })
}

/// The same body, an object, with the id as its first member.
fn with_id(body: &[u8], id: &EntityId) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let rest = text.trim_start().strip_prefix('{').unwrap_or_default();
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"{ID}\":\"{id}\"{comma}{rest}").into_bytes()
}

/// A body that may name the negotiation, of which the path does.
fn of_path(body: &[u8], id: &EntityId, shared: &Shared) -> Result<Vec<u8>, Error> {
    match id_in(body, shared)? {
        None => Ok(with_id(body, id)),
        Some(named) if named == *id => Ok(body.to_vec()),
        Some(named) => {
            let message = format!("the body names negotiation {named}, the path {id}");
            Err(Error::invalid(message).with_field(format!("/{ID}")))
        }
    }
}

async fn decided(
    shared: &Shared,
    caller: &Caller,
    command: Command,
    id: &str,
) -> Result<(Json, bool), Error> {
    command.check()?;
    let mut envelope = caller.envelope(command.ce_type(), id);
    if matches!(command, Command::OpenNegotiation(_)) {
        // The negotiation's own id is what makes it idempotent here; the key has gone into it.
        envelope.id = uuid::Uuid::now_v7().to_string();
    }
    door::decided(shared, command, &envelope, None, caller.came).await?.entity()
}

fn is_final(entity: &Json) -> bool {
    #[derive(Deserialize)]
    struct Status {
        status: NegotiationStatus,
    }
    entity.to::<Status>().is_ok_and(|s| s.status.is_final())
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
    Path(id): Path<String>,
    Params(params): Params<WaitParams>,
) -> Result<Response, Refusal> {
    let wait = waited(params.wait_ms())?;
    let entity = door::negotiation(&shared, &caller.workspace, &named(&id)?, wait, caller.came).await?;
    let ended = wait.is_zero() || is_final(&entity);
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::entity(status, &entity, Some(format!("/v1/negotiations/{id}"))))
}

/// What is on record of a negotiation that has ended: `synod negotiation verify` recomputes it with nothing else.
#[utoipa::path(get, path = "/v1/negotiations/{id}/certificate", params(("id" = String, Path, description = "The negotiation's id")), responses(
    (status = 200, description = "The certificate", body = serde_json::Value),
    (status = "4XX", description = "Refused; `invalid_transition` while it goes on", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_certificate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let entity = door::certificate(&shared, &caller.workspace, &named(&id)?, caller.came).await?;
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
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let body = of_path(&body, &named(&id)?, &shared)?;
    let respond: RespondNegotiation = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let (entity, _) = decided(&shared, &caller, Command::RespondNegotiation(respond), &id).await?;
    Ok(answer::entity(StatusCode::OK, &entity, None))
}

/// Cancels a negotiation; one that is cancelled already answers alike.
#[utoipa::path(post, path = "/v1/negotiations/{id}/cancel", params(("id" = String, Path, description = "The negotiation's id")), request_body = Option<Reason>, responses(
    (status = 200, description = "Cancelled", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel_negotiation(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let cancel = CancelNegotiation { negotiation_id: named(&id)?, reason: reason(&body, &shared)? };
    let (entity, _) = decided(&shared, &caller, Command::CancelNegotiation(cancel), &id).await?;
    Ok(answer::entity(StatusCode::OK, &entity, None))
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
    (status = 200, description = "`{\"items\": [negotiation], \"next_cursor\"}`", body = serde_json::Value),
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
        path: "/v1/negotiations",
        id: ID,
        workspace: &caller.workspace,
        limit: params.limit,
        cursor: params.cursor.as_deref(),
        given: given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    };
    let after = NegotiationKey { workspace: caller.workspace.clone(), negotiation: paging.after()? };
    let (status, protocol) = (params.status, params.protocol.clone());
    let ask = |limit, answer| {
        let filter = NegotiationFilter { after: after.clone(), limit, status, protocol: protocol.clone() };
        Ask::Negotiations { filter, answer }
    };
    Ok(paging.page(&shared, &headers, ask).await?)
}
