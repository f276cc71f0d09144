//! Semaphores over HTTP.

use super::lease::{ListParams, Owned, ask, cursor, decoded, json, listed, read_break};
use crate::Shared;
use crate::http::answer::{Page, Problem, Refusal};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonBody, Params, Segments, named, page_limit};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use synod_infra::primitives::leases::{Held, Semaphores};
use synod_protocol::Name;
use synod_protocol::primitives::locks::{AcquirePermit, Break, BrokenSemaphore, HeldSemaphore, Lease, Renew};
use utoipa_axum::routes;

pub(super) fn routes() -> Api {
    Api::new()
        .routes(routes!(acquire_permit, renew_permit, release_permit, get_semaphore))
        .routes(routes!(list_semaphores))
        .routes(routes!(break_semaphore))
}

fn semaphores(shared: &Shared) -> Semaphores {
    Semaphores::new(shared.redis.clone())
}

/// Takes one of `permits`, or waits for it: first come first served. The lease counts from the grant. None free in time:
/// 409 `conflict` with the `holder` whose lease ends first; another number of permits than there are while any is out: 409
/// `conflict` with `field`. One owner may hold several. Who closes the connection leaves the line.
#[utoipa::path(post, path = "/v1/semaphores/{name}", params(("name" = String, Path, description = "The semaphore's name")), request_body = AcquirePermit, responses(
    (status = 200, description = "It is out", body = Lease),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be held all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn acquire_permit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let wanted: AcquirePermit = decoded(&body, &shared)?;
    wanted.check()?;
    let once = caller.once(&format!("POST semaphores/{name}"), &body);
    let ask = ask(wanted.owner, wanted.ttl_ms, wanted.wait_ms);
    let granted =
        semaphores(&shared).acquire(&caller.workspace, &name, wanted.permits, &ask, once.as_ref()).await?;
    json(&granted.lease)
}

/// Makes a permit last `ttl_ms` from now. Not the holder by owner and token, or run out: 409 `fenced`.
#[utoipa::path(put, path = "/v1/semaphores/{name}", params(("name" = String, Path, description = "The semaphore's name")), request_body = Renew, responses(
    (status = 200, description = "It is out until `expires_at`", body = Lease),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn renew_permit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let renew: Renew = decoded(&body, &shared)?;
    renew.check()?;
    let once = caller.once(&format!("PUT semaphores/{name}"), &body);
    let held = Held { name: &name, owner: &renew.owner, token: renew.token };
    let (lease, _) = semaphores(&shared).renew(&caller.workspace, held, renew.ttl_ms, once.as_ref()).await?;
    json(&lease)
}

/// Gives a permit back, to the first who waits. Not the holder by owner and token, or run out: 409 `fenced`.
#[utoipa::path(delete, path = "/v1/semaphores/{name}", params(("name" = String, Path, description = "The semaphore's name"), Owned), responses(
    (status = 204, description = "It is released"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn release_permit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    Params(owned): Params<Owned>,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let once = caller.once(&format!("DELETE semaphores/{name}"), owned.said().as_bytes());
    let (owner, token) = owned.checked()?;
    let held = Held { name: &name, owner: &owner, token };
    semaphores(&shared).release(&caller.workspace, held, once.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who holds permits, since when, and how many wait.
#[utoipa::path(get, path = "/v1/semaphores/{name}", params(("name" = String, Path, description = "The semaphore's name")), responses(
    (status = 200, description = "It is out", body = HeldSemaphore),
    (status = "4XX", description = "Refused; 404: nobody holds one", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_semaphore(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    json(&semaphores(&shared).get(&caller.workspace, &named(&name)?).await?)
}

/// The semaphores of which permits are out, by name. A page may be short before the end.
#[utoipa::path(get, path = "/v1/semaphores", params(ListParams), responses(
    (status = 200, description = "A page of semaphores", body = Page<HeldSemaphore>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_semaphores(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let (limit, after) = (page_limit(params.limit)?, cursor(&params)?);
    let prefix = params.prefix.as_deref().unwrap_or("");
    let (found, next) = semaphores(&shared).list(&caller.workspace, prefix, after.as_ref(), limit).await?;
    listed(&found, next.as_ref())
}

/// Takes all permits from who holds them, and gives them to the first who wait. With `token`, only that one. A holder that
/// uses the SDK is told at once; any other is told by `fenced` when it renews.
#[utoipa::path(post, path = "/v1/semaphores/{name}/break", params(("name" = String, Path, description = "The semaphore's name")), request_body = Option<Break>, responses(
    (status = 200, description = "Who held them", body = BrokenSemaphore),
    (status = "4XX", description = "Refused; 404: nobody holds one", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn break_semaphore(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let token = read_break(&body, &shared)?;
    let once = caller.once(&format!("POST semaphores/{name}/break"), &body);
    let broken = semaphores(&shared).break_open(&caller.workspace, &name, token, once.as_ref()).await?;
    tracing::info!(workspace = %caller.workspace, semaphore = %name, permits = broken.broken.len(),
        by = caller.by(), "permits were taken from who held them");
    json(&broken)
}
