//! Snapshots of the mesh over HTTP. Any coordinator answers: they are in Redis.

use super::answer::{self, Page, Problem, Refusal};
use super::gather::Cover;
use super::request::{Caller, JsonBody, Params, Segments, named, page_limit};
use crate::Shared;
use crate::door::Came;
use crate::snapshots::{self, AGENTS_PER_FIELD, Comparison, Request, compare};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_infra::redis::snapshots::Snapshots;
use synod_protocol::snapshot::{AgentMoment, CauseKind, Snapshot, SnapshotCause, SnapshotRecord};
use synod_protocol::{Code, ContentType, Error, Id, Json, Workspace, codec};
use utoipa::{IntoParams, ToSchema};

/// Bytes of a label.
const LABEL_BYTES: usize = 256;

/// What may be said of a snapshot.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSnapshot {
    /// For people, up to 256 bytes.
    #[serde(default)]
    label: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadParams {
    /// Agents on the page, 1 to 1,000; 1,000 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartParams {
    /// The agents of every workspace, not only the caller's.
    #[serde(default)]
    all: bool,
}

/// Takes a snapshot: every agent of the workspace, every shard and what waits, at this moment. It says over which span
/// its parts were collected, and which shards could not be asked.
#[utoipa::path(post, path = "/v1/snapshots", request_body = Option<NewSnapshot>, responses(
    (status = 200, description = "It was there already: a repeat under the same `Idempotency-Key`", body = Snapshot),
    (status = 201, description = "Taken; without its agents, which `Location` has", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_snapshot(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let new = wanted(&body, &shared)?;
    let (id, body) = match &caller.idempotency_key {
        Some(key) => {
            let said = serde_json::to_string(&new.label).unwrap_or_default();
            let body = blake3::hash(said.as_bytes()).to_hex().to_string();
            (Id::derived("snap_", &caller.workspace, key), Some(body))
        }
        None => (Id::made("snap_", uuid::Uuid::now_v7()), None),
    };
    if body.is_some()
        && let Some(before) = snapshots::read(&shared, &id).await?
    {
        return repeated(before, body.as_deref(), &caller.workspace);
    }
    let cause = SnapshotCause { kind: CauseKind::Demand, detail: None, times: 1 };
    let request = Request {
        id,
        workspace: Some(caller.workspace.clone()),
        cause,
        label: new.label,
        body: body.clone(),
    };
    match snapshots::take(&shared, request).await? {
        (taken, true) => answered(StatusCode::CREATED, taken, &caller.workspace),
        (before, false) => repeated(before, body.as_deref(), &caller.workspace),
    }
}

fn wanted(body: &[u8], shared: &Shared) -> Result<NewSnapshot, Error> {
    if body.is_empty() {
        return Ok(NewSnapshot::default());
    }
    // A struct also reads from an array.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid(
            "the body is an object such as {\"label\": \"before the change\"}, or empty",
        ));
    }
    let new: NewSnapshot = codec::decode(ContentType::Json, body, &shared.config.limits)?;
    match &new.label {
        Some(label) if label.is_empty() || label.len() > LABEL_BYTES => {
            Err(Error::invalid(format!("label has {} bytes, it must have 1 to {LABEL_BYTES}", label.len()))
                .with_field("/label"))
        }
        _ => Ok(new),
    }
}

fn repeated(before: SnapshotRecord, body: Option<&str>, workspace: &Workspace) -> Result<Response, Refusal> {
    if before.body.as_deref() != body {
        let said = "this Idempotency-Key was used with another body";
        return Err(Error::new(Code::Unprocessable, said).into());
    }
    answered(StatusCode::OK, before, workspace)
}

fn answered(status: StatusCode, record: SnapshotRecord, workspace: &Workspace) -> Result<Response, Refusal> {
    let location = Some(format!("/v1/snapshots/{}", record.snapshot_id));
    Ok(answer::entity(status, &json(&record.seen_by(workspace))?, location))
}

/// The snapshots that the workspace may see, newest first: its own and those of the whole mesh; without their agents.
#[utoipa::path(get, path = "/v1/snapshots", params(ListParams), responses(
    (status = 200, description = "A page of snapshots, without their agents", body = Page<Snapshot>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_snapshots(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let before = params.cursor.as_deref().map(place).transpose()?;
    let store = Snapshots::new(shared.redis.clone());
    let page = store.list(&caller.workspace, before, limit).await.map_err(Error::from)?;
    let mut items = Vec::with_capacity(page.heads.len());
    for head in &page.heads {
        match serde_json::from_str::<SnapshotRecord>(head) {
            Ok(record) => items.push(json(&record.seen_by(&caller.workspace))?),
            Err(error) => tracing::warn!(%error, "a snapshot does not read and is not listed"),
        }
    }
    Ok(answer::page(&items, page.next.map(|next| next.to_string()).as_deref()))
}

/// One snapshot, with a page of its agents (`items`) in order of their ids.
#[utoipa::path(get, path = "/v1/snapshots/{id}", params(("id" = String, Path, description = "The snapshot's id"), ReadParams), responses(
    (status = 200, description = "The snapshot", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_snapshot(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<ReadParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(Some(params.limit.unwrap_or(AGENTS_PER_FIELD)))?;
    let from = params.cursor.as_deref().map(place).transpose()?.unwrap_or(0);
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let mut snapshot = found(&shared, &id, &caller.workspace).await?.seen_by(&caller.workspace);
    let total = usize::try_from(snapshot.agents.total).unwrap_or(usize::MAX);
    let to = from.saturating_add(limit).min(total);
    let mut items: Vec<AgentMoment> = Vec::new();
    // A page lies in one field or reaches into the next.
    for number in from / AGENTS_PER_FIELD..to.div_ceil(AGENTS_PER_FIELD) {
        let some = snapshots::agents(&shared, &snapshot.snapshot_id, &caller.workspace, number).await?;
        let first = number * AGENTS_PER_FIELD;
        let within = (first..).zip(some).filter(|(at, _)| (from..to).contains(at));
        items.extend(within.map(|(_, agent)| agent));
    }
    snapshot.items = Some(items);
    snapshot.next_cursor = (to < total).then(|| to.to_string());
    Ok(answer::entity(StatusCode::OK, &json(&snapshot)?, None))
}

/// What is different from one snapshot to another.
#[utoipa::path(get, path = "/v1/snapshots/{id}/compare/{other}", params(
    ("id" = String, Path, description = "The first"), ("other" = String, Path, description = "The second")), responses(
    (status = 200, description = "Agents that came, left and changed; counts that moved; shards with another owner", body = Comparison),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn compare_snapshots(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((id, other)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (a, b) =
        tokio::try_join!(whole(&shared, &id, &caller.workspace), whole(&shared, &other, &caller.workspace))?;
    let found = compare((&a.0, &a.1), (&b.0, &b.1));
    Ok(answer::entity(StatusCode::OK, &json(&found)?, None))
}

async fn whole(
    shared: &Shared,
    id: &str,
    workspace: &Workspace,
) -> Result<(Snapshot, Vec<AgentMoment>), Error> {
    let snapshot = found(shared, id, workspace).await?.seen_by(workspace);
    let mut agents = Vec::new();
    while (agents.len() as u64) < snapshot.agents.total {
        let number = agents.len() / AGENTS_PER_FIELD;
        let some = snapshots::agents(shared, &snapshot.snapshot_id, workspace, number).await?;
        if some.is_empty() {
            return Err(Error::not_found("snapshot", id));
        }
        agents.extend(some);
    }
    Ok((snapshot, agents))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/v1/snapshots/{id}", params(("id" = String, Path, description = "The snapshot's id")), responses(
    (status = 200, description = "The snapshot as it was, without its agents", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_snapshot(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let record = found(&shared, &id, &caller.workspace).await?;
    let store = Snapshots::new(shared.redis.clone());
    store.remove(&record.snapshot_id, record.workspace.as_ref()).await.map_err(Error::from)?;
    Ok(answer::entity(StatusCode::OK, &json(&record.seen_by(&caller.workspace))?, None))
}

/// What this coordinator tells another for a snapshot: its shards and their agents. Not for clients.
pub(crate) async fn get_part(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<PartParams>,
) -> Result<Response, Refusal> {
    if caller.came != Came::PassedOn {
        return Err(Error::not_found("snapshot", "part").into());
    }
    let cover = Cover::of(&headers, shared.config.partitions)?;
    let workspace = (!params.all).then_some(&caller.workspace);
    let part = snapshots::part_here(&shared, &cover.shards, workspace).await;
    Ok(answer::entity(StatusCode::OK, &json(&part)?, None))
}

async fn found(shared: &Shared, id: &str, workspace: &Workspace) -> Result<SnapshotRecord, Error> {
    let read = snapshots::read(shared, &named(id).map_err(|refusal: Refusal| refusal.0)?).await?;
    read.filter(|record| record.is_for(workspace)).ok_or_else(|| Error::not_found("snapshot", id))
}

fn place(cursor: &str) -> Result<u64, Error> {
    let wrong = |_| Error::invalid("cursor is none that a page before has given").with_field("/cursor");
    cursor.parse().map_err(wrong)
}

fn json<T: Serialize>(value: &T) -> Result<Json, Error> {
    Json::of(value).map_err(|e| Error::new(Code::Internal, e.to_string()))
}
