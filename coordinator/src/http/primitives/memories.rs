//! Agents' memories over HTTP. Any coordinator answers: they are in Redis. What is read here is never from a hot cache.

use super::queues::body_of;
use crate::Shared;
use crate::http::answer::{self, Problem, Refusal};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonBody, Params, Segments, named, page_limit};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_infra::primitives::memory::{Listing, Memory};
use synod_protocol::primitives::memory::{
    MemoryEntry, MemoryStatistics, PutMemory, Thread, Threaded, key as key_of,
};
use synod_protocol::{Error, Id, Name};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(crate) fn routes() -> Api {
    Api::new()
        .routes(routes!(list_memory, clear_memory))
        .routes(routes!(get_memory, put_memory, delete_memory))
        .routes(routes!(thread))
        .routes(routes!(memory_statistics))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Entries whose keys begin so.
    #[serde(default)]
    prefix: String,
    /// Entries that have this tag.
    tag: Option<String>,
    /// 1 to 1,000; 100 by default. A page also ends before its values have more than 4 MiB.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemoryList {
    items: Vec<MemoryEntry>,
    next_cursor: Option<String>,
}

/// Writes an entry whole: value, tags and time to live. This uses it; then the least recently used ones go, as many as are
/// too many.
#[utoipa::path(put, path = "/v1/memory/{agent}/{key}", request_body = PutMemory, params(
    ("agent" = String, Path, description = "The agent's id"), ("key" = String, Path, description = "The key")), responses(
    (status = 200, description = "Written anew", body = MemoryEntry),
    (status = 201, description = "Made", body = MemoryEntry),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may have been done", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn put_memory(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((agent, key)): Segments<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let (memory, key) = (memory(&shared, &caller, &agent)?, key_of(&key, "/key")?);
    let put: PutMemory = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("PUT /v1/memory/{agent}/{key}"), &body);
    let (entry, is_new) = memory.put(&key, &put, once.as_ref()).await?;
    Ok(answer::shown(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &entry)?)
}

/// Reads an entry, which uses it.
#[utoipa::path(get, path = "/v1/memory/{agent}/{key}", params(
    ("agent" = String, Path, description = "The agent's id"), ("key" = String, Path, description = "The key")), responses(
    (status = 200, description = "The entry", body = MemoryEntry),
    (status = 404, description = "Nothing is remembered under this key", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_memory(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((agent, key)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (memory, key) = (memory(&shared, &caller, &agent)?, key_of(&key, "/key")?);
    match memory.get(&key).await? {
        Some(entry) => Ok(answer::shown(StatusCode::OK, &entry)?),
        None => Err(nothing(&key)),
    }
}

/// Removes an entry.
#[utoipa::path(delete, path = "/v1/memory/{agent}/{key}", params(
    ("agent" = String, Path, description = "The agent's id"), ("key" = String, Path, description = "The key")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "Nothing is remembered under this key", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_memory(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((agent, key)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (memory, key) = (memory(&shared, &caller, &agent)?, key_of(&key, "/key")?);
    let once = caller.once(&format!("DELETE /v1/memory/{agent}/{key}"), b"");
    match memory.delete(&key, once.as_ref()).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(nothing(&key)),
    }
}

/// The entries of an agent, newest written first. This uses none of them.
#[utoipa::path(get, path = "/v1/memory/{agent}", params(("agent" = String, Path, description = "The agent's id"), ListParams), responses(
    (status = 200, description = "One page", body = MemoryList),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_memory(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(agent): Segments<String>,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let memory = memory(&shared, &caller, &agent)?;
    let listing = Listing {
        prefix: params.prefix,
        tag: params.tag,
        before: params.cursor.as_deref().map(super::place).transpose()?,
        limit: page_limit(params.limit)?,
    };
    let page = memory.list(&listing).await?;
    let next_cursor = page.next.map(|n| n.to_string());
    Ok(answer::shown(StatusCode::OK, &MemoryList { items: page.items, next_cursor })?)
}

/// Removes all entries of an agent; what was counted stays.
#[utoipa::path(delete, path = "/v1/memory/{agent}", params(("agent" = String, Path, description = "The agent's id")), responses(
    (status = 204, description = "All are gone"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn clear_memory(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(agent): Segments<String>,
) -> Result<Response, Refusal> {
    let once = caller.once(&format!("DELETE /v1/memory/{agent}"), b"");
    memory(&shared, &caller, &agent)?.clear(once.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Copies entries into another agent's memory, over what is there: all of them, or none. The copies end when the originals
/// do, and say where they came from.
#[utoipa::path(post, path = "/v1/memory/{agent}/thread", request_body = Thread,
    params(("agent" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "All are copied", body = Threaded),
    (status = 404, description = "One is not there, `field` says which: nothing was copied", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may have been done", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn thread(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(agent): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let asked: Thread = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("POST /v1/memory/{agent}/thread"), &body);
    let copied = memory(&shared, &caller, &agent)?.thread(&asked, once.as_ref()).await?;
    Ok(answer::shown(StatusCode::OK, &Threaded { to: asked.to, copied })?)
}

/// What an agent's memory is like.
#[utoipa::path(get, path = "/v1/memory/{agent}/statistics", params(("agent" = String, Path, description = "The agent's id")), responses(
    (status = 200, description = "Counts", body = MemoryStatistics),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn memory_statistics(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(agent): Segments<String>,
) -> Result<Response, Refusal> {
    Ok(answer::shown(StatusCode::OK, &memory(&shared, &caller, &agent)?.statistics().await?)?)
}

fn memory(shared: &Shared, caller: &Caller, agent: &str) -> Result<Memory, Refusal> {
    Ok(shared.memories.of(&caller.workspace, &named::<Id>(agent)?))
}

fn nothing(key: &Name) -> Refusal {
    Error::not_found("entry", &format!("{:?}", key.as_str())).into()
}
