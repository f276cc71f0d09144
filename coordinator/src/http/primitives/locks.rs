//! Locks over HTTP.

use super::lease::{ListParams, Owned, ask, cursor, decoded, json, listed, read_break};
use crate::Shared;
use crate::http::answer::{Page, Problem, Refusal};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonBody, Params, Segments, named, page_limit};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use synod_infra::primitives::leases::{Held, Locks};
use synod_protocol::Name;
use synod_protocol::primitives::locks::{AcquireLock, Break, HeldLock, Lease, Renew};
use utoipa_axum::routes;

pub(super) fn routes() -> Api {
    Api::new()
        .routes(routes!(acquire_lock, renew_lock, release_lock, get_lock))
        .routes(routes!(list_locks))
        .routes(routes!(break_lock))
}

fn locks(shared: &Shared) -> Locks {
    Locks::new(shared.redis.clone())
}

/// Takes a lock, or waits for it: first come first served. The lease counts from the grant. Held and not free in time:
/// 409 `conflict` with `holder` and `expires_at`. It is not re-entrant. Who closes the connection leaves the line.
#[utoipa::path(post, path = "/v1/locks/{name}", params(("name" = String, Path, description = "The lock's name")), request_body = AcquireLock, responses(
    (status = 200, description = "It is held", body = Lease),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be held all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn acquire_lock(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let wanted: AcquireLock = decoded(&body, &shared)?;
    wanted.check()?;
    let once = caller.once(&format!("POST locks/{name}"), &body);
    let ask = ask(wanted.owner, wanted.ttl_ms, wanted.wait_ms);
    let granted = locks(&shared).acquire(&caller.workspace, &name, &ask, once.as_ref()).await?;
    json(&granted.lease)
}

/// Makes a lock last `ttl_ms` from now. Not the holder by owner and token, or run out: 409 `fenced`.
#[utoipa::path(put, path = "/v1/locks/{name}", params(("name" = String, Path, description = "The lock's name")), request_body = Renew, responses(
    (status = 200, description = "It is held until `expires_at`", body = Lease),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn renew_lock(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let renew: Renew = decoded(&body, &shared)?;
    renew.check()?;
    let once = caller.once(&format!("PUT locks/{name}"), &body);
    let held = Held { name: &name, owner: &renew.owner, token: renew.token };
    let (lease, _) = locks(&shared).renew(&caller.workspace, held, renew.ttl_ms, once.as_ref()).await?;
    json(&lease)
}

/// Gives a lock back, to the first who waits. Not the holder by owner and token, or run out: 409 `fenced`.
#[utoipa::path(delete, path = "/v1/locks/{name}", params(("name" = String, Path, description = "The lock's name"), Owned), responses(
    (status = 204, description = "It is released"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn release_lock(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    Params(owned): Params<Owned>,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let once = caller.once(&format!("DELETE locks/{name}"), owned.said().as_bytes());
    let (owner, token) = owned.checked()?;
    let held = Held { name: &name, owner: &owner, token };
    locks(&shared).release(&caller.workspace, held, once.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who holds a lock, since when, and how many wait.
#[utoipa::path(get, path = "/v1/locks/{name}", params(("name" = String, Path, description = "The lock's name")), responses(
    (status = 200, description = "It is held", body = HeldLock),
    (status = "4XX", description = "Refused; 404: nobody holds it", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_lock(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    json(&locks(&shared).get(&caller.workspace, &named(&name)?).await?)
}

/// The locks that are held, by name. A page may be short before the end.
#[utoipa::path(get, path = "/v1/locks", params(ListParams), responses(
    (status = 200, description = "A page of locks", body = Page<HeldLock>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_locks(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let (limit, after) = (page_limit(params.limit)?, cursor(&params)?);
    let prefix = params.prefix.as_deref().unwrap_or("");
    let (found, next) = locks(&shared).list(&caller.workspace, prefix, after.as_ref(), limit).await?;
    listed(&found, next.as_ref())
}

/// Takes a lock from whoever holds it, and gives it to the first who waits. With `token`, only that grant. A holder that
/// uses the SDK is told at once; any other is told by `fenced` when it renews.
#[utoipa::path(post, path = "/v1/locks/{name}/break", params(("name" = String, Path, description = "The lock's name")), request_body = Option<Break>, responses(
    (status = 200, description = "As it was", body = HeldLock),
    (status = "4XX", description = "Refused; 404: nobody holds it", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn break_lock(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let token = read_break(&body, &shared)?;
    let once = caller.once(&format!("POST locks/{name}/break"), &body);
    let broken = locks(&shared).break_open(&caller.workspace, &name, token, once.as_ref()).await?;
    tracing::info!(workspace = %caller.workspace, lock = %name, holder = %broken.owner, token = broken.token,
        by = caller.by(), "a lock was broken");
    json(&broken)
}
