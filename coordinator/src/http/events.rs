//! `GET /v1/events`: history, read from the events topic.

use super::answer::{self, Page, Problem, Refusal};
use super::request::{Caller, Params, page_limit};
use crate::Shared;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{RawRecord, ReadError};
use synod_protocol::event_stream::{EventFilter, EventTypes, ToldEvent};
use synod_protocol::{Code, EntityId, Envelope, Error, Json, Position, topics};
use utoipa::IntoParams;

/// How long one read of the topic may stall.
const STALL: Duration = Duration::from_secs(3);
/// Records looked at for one page.
const LOOK_AT: usize = 50_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventParams {
    /// Only events of this entity (or of its children, if it is a root).
    entity: Option<String>,
    /// Only events of this type, such as `synod.task.completed`, or of all that begin so: `synod.task.*`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    ty: Option<String>,
    /// Only events of this ledger position or later ones of its shard: `<shard>:<offset>`, exclusive.
    after: Option<String>,
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Events still kept by the events topic, in order within each shard, shard by shard.
#[utoipa::path(get, path = "/v1/events", params(EventParams), responses(
    (status = 200, description = "A page of events", body = Page<ToldEvent>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<EventParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let filter = filter(params.entity.as_deref(), params.ty.as_deref())?;
    let after: Option<Position> = params.after.as_deref().map(str::parse).transpose()?;
    let partitions = shared.config.partitions;
    let only = filter.entity.as_ref().map(|id| topics::partition(id.root().as_bytes(), partitions));
    let only = only.or(after.map(|position| position.shard));
    let (first, end) = only.map_or((0, partitions), |shard| (shard, shard + 1));
    let (mut shard, mut from) = match params.cursor.as_deref() {
        None => (first, 0),
        Some(cursor) => read_cursor(cursor, first, end)?,
    };
    let mut seen = Seen { limit, items: Vec::new(), looked_at: 0, next: None };
    while shard < end && seen.next.is_none() {
        seen.read(&shared, shard, from, |event| {
            let envelope = &event.0;
            envelope.workspace == caller.workspace
                && filter.covers(&envelope.ty, envelope.subject.as_deref())
                && after.is_none_or(|after| {
                    envelope.position.is_none_or(|at| at.shard != after.shard || at > after)
                })
        })
        .await?;
        (shard, from) = (shard + 1, 0);
    }
    let items: Vec<Json> = seen.items.iter().filter_map(|item| Json::of(item).ok()).collect();
    let next = seen.next.map(|(shard, offset)| format!("{shard}:{offset}"));
    Ok(answer::page(&items, next.as_deref()))
}

fn read_cursor(cursor: &str, first: u32, end: u32) -> Result<(u32, i64), Error> {
    let foreign = || Error::invalid("this cursor is not of this list of events").with_field("/cursor");
    let position: Position = cursor.parse().map_err(|_| foreign())?;
    if !(first..end).contains(&position.shard) {
        return Err(foreign());
    }
    Ok((position.shard, position.offset as i64))
}

/// What the query string asks for.
pub(super) fn filter(entity: Option<&str>, ty: Option<&str>) -> Result<EventFilter, Error> {
    let at = |field: &'static str| move |error: Error| error.with_field(field);
    let entity: Option<EntityId> = entity.map(str::parse).transpose().map_err(at("/entity"))?;
    let types: Option<EventTypes> = ty.map(str::parse).transpose().map_err(at("/type"))?;
    Ok(EventFilter { types: types.into_iter().collect(), entity })
}

/// What a page holds so far.
struct Seen {
    limit: usize,
    items: Vec<ToldEvent>,
    looked_at: usize,
    next: Option<(u32, i64)>,
}

impl Seen {
    async fn read(
        &mut self,
        shared: &Shared,
        shard: u32,
        from: i64,
        is_wanted: impl Fn(&(Envelope, &RawRecord)) -> bool,
    ) -> Result<(), Error> {
        let away = |e: ReadError| Error::unavailable(format!("Kafka: {e}"));
        let readers = &shared.kafka.readers;
        let log = readers.watermarks(topics::EVENTS, shard as i32, STALL).await.map_err(away)?;
        let from = from.max(log.low);
        if from >= log.high {
            return Ok(());
        }
        let read = readers.read_through(topics::EVENTS, shard as i32, from, log.high - 1, STALL, |record| {
            if self.items.len() >= self.limit || self.looked_at >= LOOK_AT {
                self.next = Some((shard, record.offset));
                return ControlFlow::Break(());
            }
            self.looked_at += 1;
            if let Ok(envelope) = record.envelope() {
                let event = (envelope, &record);
                if is_wanted(&event) {
                    let told = ToldEvent::of(event.0, record.payload.as_deref().unwrap_or_default());
                    self.items.extend(told.map(|(_, told)| told));
                }
            }
            ControlFlow::Continue(())
        });
        match read.await {
            Ok(_) => Ok(()),
            Err(ReadError::PositionLost { .. }) => Err(Error {
                oldest: Some(format!("{shard}:{}", log.low)),
                ..Error::new(Code::PositionLost, "this position is no longer kept by the events topic")
            }),
            Err(error) => Err(away(error)),
        }
    }
}
