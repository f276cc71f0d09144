//! Shared state over HTTP. `ETag` is an entry's version; a condition that fails is 412.

use crate::Shared;
use crate::http::answer::{self, Page, Problem, Refusal, problem};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonUpTo, Params, Segments, named, page_limit};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;
use std::time::Duration;
use synod_infra::primitives::state::{Done, Place, Writer, Written};
use synod_protocol::limits::NESTING;
use synod_protocol::primitives::state::{
    BATCH_BYTES, Batch, Condition, Durability, Entry, Metadata, Past, Put, Restore, Statistics, Tombstone,
    VALUE_BYTES,
};
use synod_protocol::{Code, ContentType, Error, Json, Limits, Name, Timestamp, codec};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// How long a write with `durability: "ledger"` waits for the mirror.
const MIRRORED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a write's body: a value with white space and escapes, and what stands around it.
const PUT_BODY: usize = VALUE_BYTES * 4;
/// Bytes of a batch's body.
const BATCH_BODY: usize = BATCH_BYTES * 2;

pub(crate) fn routes() -> Api {
    Api::new()
        .routes(routes!(list_state))
        .routes(routes!(get_state, put_state, delete_state))
        .routes(routes!(state_history))
        .routes(routes!(restore_state))
        .routes(routes!(batch_state))
        .routes(routes!(state_statistics))
}

/// A refusal of shared state: a conflict is a failed precondition.
pub(super) struct Refused(Error);

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused(error.into().0)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self.0.code {
            Code::Conflict => problem(self.0, StatusCode::PRECONDITION_FAILED),
            _ => Refusal(self.0).into_response(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ReadParams {
    /// What it was at this version, if its history still has it.
    version: Option<u64>,
    /// How old the answer may be; it is always fresh.
    #[serde(rename = "stale_ms")]
    #[param(rename = "stale_ms")]
    _stale_ms: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// What the keys begin with, to the letter.
    prefix: Option<String>,
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// `false` leaves the values out.
    values: Option<bool>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What became of each operation, in their order: the entry of a put or get, `{key, version}` of a delete, null for a key
/// that is not there. An entry that stands against a put has `"applied": false`.
#[derive(Debug, Serialize, ToSchema)]
struct BatchAnswer {
    #[schema(value_type = Vec<serde_json::Value>)]
    results: Vec<Json>,
}

/// A key's value.
#[utoipa::path(get, path = "/v1/state/{key}", params(("key" = String, Path, description = "The key, percent-encoded"), ReadParams), responses(
    (status = 200, description = "The entry; `ETag` is its version", body = Entry),
    (status = 304, description = "`If-None-Match` names this version"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn get_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(key): Segments<String>,
    Params(params): Params<ReadParams>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let key: Name = named(&key)?;
    let found = match params.version {
        None => shared.state.get(&caller.workspace, &key).await?,
        Some(version) => shared.state.at(&caller.workspace, &key, version).await?,
    };
    let what = params.version.map_or("state key".to_owned(), |v| format!("version {v} of state key"));
    let entry = found.ok_or_else(|| Error::not_found(&what, key.as_str()))?;
    let known = header_of(&headers, "if-none-match")?;
    if known.is_some_and(|tag| tag == etag(entry.version)) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), entry.version));
    }
    Ok(tagged(answer::shown(StatusCode::OK, &entry)?, entry.version))
}

/// Writes a key: value, metadata and end, whole.
#[utoipa::path(put, path = "/v1/state/{key}", params(("key" = String, Path, description = "The key, percent-encoded"),
    ("If-Match" = Option<String>, Header, description = "`\"<version>\"`, or `*`: the key is there"),
    ("If-None-Match" = Option<String>, Header, description = "`*`: the key is not there")), request_body = Put, responses(
    (status = 200, description = "Changed; or not, with `\"applied\": false`: `first_write_wins` has kept it as lost", body = Entry),
    (status = 201, description = "Made", body = Entry),
    (status = 412, description = "The condition does not hold", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be done", body = Problem, content_type = "application/problem+json")))]
async fn put_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(key): Segments<String>,
    headers: HeaderMap,
    JsonUpTo(body): JsonUpTo<PUT_BODY>,
) -> Result<Response, Refused> {
    let key: Name = named(&key)?;
    let (condition, said) = condition(&headers)?;
    let put = read::<Put>(&body, PUT_BODY)?.checked()?;
    let durability = put.durability;
    let writer = writer(&caller, &format!("PUT /v1/state/{key}"), &[said.as_bytes(), &body].concat());
    let written = shared.state.put(&writer, &key, put, condition).await?;
    lasts(&shared, durability, Some(&written.place)).await?;
    answered(&written)
}

/// Removes a key.
#[utoipa::path(delete, path = "/v1/state/{key}", params(("key" = String, Path, description = "The key, percent-encoded"),
    ("If-Match" = Option<String>, Header, description = "`\"<version>\"`, or `*`: the key is there")), responses(
    (status = 200, description = "Removed: the key and the version of its removal", body = Tombstone),
    (status = 412, description = "The condition does not hold", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be done", body = Problem, content_type = "application/problem+json")))]
async fn delete_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(key): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let key: Name = named(&key)?;
    let (condition, said) = condition(&headers)?;
    if condition == Condition::Absent {
        return Err(Error::invalid("If-None-Match has no sense on a delete; leave it out").into());
    }
    let writer = writer(&caller, &format!("DELETE /v1/state/{key}"), said.as_bytes());
    let removed = shared.state.delete(&writer, &key, condition).await?;
    let removed = removed.ok_or_else(|| Error::not_found("state key", key.as_str()))?;
    Ok(tagged(answer::shown(StatusCode::OK, &removed.tombstone)?, removed.tombstone.version))
}

/// What was written to a key and what lost, newest first; it survives the key for seven days.
#[utoipa::path(get, path = "/v1/state/{key}/history", params(("key" = String, Path, description = "The key, percent-encoded"), HistoryParams), responses(
    (status = 200, description = "A page of its history", body = Page<Past>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn state_history(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(key): Segments<String>,
    Params(params): Params<HistoryParams>,
) -> Result<Response, Refused> {
    let key: Name = named(&key)?;
    let limit = page_limit(params.limit)?;
    let page = shared.state.history(&caller.workspace, &key, limit, params.cursor.as_deref()).await?;
    let page = page.ok_or_else(|| Error::not_found("state key", key.as_str()))?;
    let items: Vec<Json> = page.lines.iter().map(answer::as_json).collect::<Result<_, _>>()?;
    Ok(answer::page(&items, page.next_cursor.as_deref()))
}

/// Writes again what a key had at a version: value and metadata, without an end.
#[utoipa::path(post, path = "/v1/state/{key}/restore", params(("key" = String, Path, description = "The key, percent-encoded")), request_body = Restore, responses(
    (status = 200, description = "Changed", body = Entry),
    (status = 201, description = "Made again", body = Entry),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be done", body = Problem, content_type = "application/problem+json")))]
async fn restore_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(key): Segments<String>,
    JsonUpTo(body): JsonUpTo<4096>,
) -> Result<Response, Refused> {
    let key: Name = named(&key)?;
    let Restore { version } = read(&body, 4096)?;
    let writer = writer(&caller, &format!("POST /v1/state/{key}/restore"), &body);
    answered(&shared.state.restore(&writer, &key, version).await?)
}

/// The entries whose keys begin with a prefix, in order of their keys' bytes. A page ends early behind 4 MiB of values.
#[utoipa::path(get, path = "/v1/state", params(ListParams), responses(
    (status = 200, description = "A page of entries", body = Page<Listed>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn list_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refused> {
    let limit = page_limit(params.limit)?;
    let prefix = params.prefix.unwrap_or_default();
    let page = shared.state.list(&caller.workspace, &prefix, limit, params.cursor.as_deref()).await?;
    let with_values = params.values.unwrap_or(true);
    let item = |entry: Entry| answer::as_json(&Listed::of(entry, with_values));
    let items: Vec<Json> = page.entries.into_iter().map(item).collect::<Result<_, _>>()?;
    Ok(answer::page(&items, page.next_cursor.as_deref()))
}

/// Does operations on keys of one hash tag, all or none.
#[utoipa::path(post, path = "/v1/state:batch", request_body = Batch, responses(
    (status = 200, description = "All are done", body = BatchAnswer),
    (status = 412, description = "A condition does not hold: nothing is done; `field` says whose", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may be done", body = Problem, content_type = "application/problem+json")))]
async fn batch_state(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonUpTo(body): JsonUpTo<BATCH_BODY>,
) -> Result<Response, Refused> {
    let batch = read::<Batch>(&body, BATCH_BODY)?.checked()?;
    let durability = batch.durability;
    let writer = writer(&caller, "POST /v1/state:batch", &body);
    let (done, place) = shared.state.batch(&writer, batch).await?;
    lasts(&shared, durability, place.as_ref()).await?;
    let result = |done: &Done| match done {
        Done::Made(entry) | Done::Changed(entry) | Done::Found(entry) => answer::as_json(entry),
        Done::Stands(entry) => answer::as_json(&Standing::of(entry)),
        Done::Gone(tombstone) => answer::as_json(tombstone),
        Done::Absent => Ok(Json::null()),
    };
    let results = done.iter().map(result).collect::<Result<_, _>>()?;
    Ok(answer::shown(StatusCode::OK, &BatchAnswer { results })?)
}

/// Keys, bytes, operations and conflicts, in all and by prefix.
#[utoipa::path(get, path = "/v1/state-statistics", responses(
    (status = 200, description = "The figures", body = Statistics),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn state_statistics(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Refused> {
    Ok(answer::shown(StatusCode::OK, &shared.state.statistics(&caller.workspace).await?)?)
}

/// The entry that stands against a write that was kept as lost.
#[derive(Serialize)]
struct Standing<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    applied: bool,
}

impl<'a> Standing<'a> {
    fn of(entry: &'a Entry) -> Standing<'a> {
        Standing { entry, applied: false }
    }
}

/// An entry of a list, with its value or without.
#[derive(Serialize, ToSchema)]
struct Listed {
    /// The key.
    key: Name,
    /// The value, unless values are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Json>,
    /// Greater than every earlier one of this key, 1 to 2^53-1.
    version: u64,
    /// What describes it.
    metadata: Metadata,
    /// When the key was made (again).
    created_at: Timestamp,
    /// When this version was written.
    updated_at: Timestamp,
    /// By whom.
    updated_by: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Listed {
    fn of(entry: Entry, with_value: bool) -> Listed {
        let Entry { key, value, version, metadata, created_at, updated_at, updated_by, expires_at } = entry;
        let value = Some(value).filter(|_| with_value);
        Listed { key, value, version, metadata, created_at, updated_at, updated_by, expires_at }
    }
}

/// After a write: returns once the mirror has everything up to this place, as far as that was asked for.
async fn lasts(shared: &Shared, durability: Durability, place: Option<&Place>) -> Result<(), Error> {
    match (durability, place) {
        (Durability::Ledger, Some(Place { range, place })) => {
            shared.mirrored.wait(*range, place, MIRRORED_WITHIN).await
        }
        _ => Ok(()),
    }
}

fn answered(written: &Written) -> Result<Response, Refused> {
    let status = if written.made { StatusCode::CREATED } else { StatusCode::OK };
    let shown = match written.applied {
        true => answer::shown(status, &written.entry)?,
        false => answer::shown(status, &Standing::of(&written.entry))?,
    };
    Ok(tagged(shown, written.entry.version))
}

fn writer(caller: &Caller, route: &str, said: &[u8]) -> Writer {
    Writer { workspace: caller.workspace.clone(), by: caller.by(), once: caller.once(route, said) }
}

/// The condition that the headers name, and what they say.
fn condition(headers: &HeaderMap) -> Result<(Condition, String), Error> {
    let (if_match, if_none_match) = (header_of(headers, "if-match")?, header_of(headers, "if-none-match")?);
    let condition = Condition::of_headers(if_match, if_none_match)?;
    Ok((condition, format!("{}\0{}\0", if_match.unwrap_or_default(), if_none_match.unwrap_or_default())))
}

fn header_of<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(format!("header {name} stands twice; it may stand once")));
    }
    value.to_str().map(Some).map_err(|_| Error::invalid(format!("header {name} is not plain text")))
}

/// Reads a body that is an object.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], limit: usize) -> Result<T, Error> {
    // A struct also reads from an array.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Error::invalid("the body must be a JSON object"));
    }
    // A value stands up to three levels deep; its own nesting is checked by itself.
    let limits = Limits { payload_bytes: limit, nesting: NESTING + 4, ..Limits::default() };
    codec::decode(ContentType::Json, body, &limits)
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

fn tagged(mut response: Response, version: u64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&etag(version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
