//! `GET /v1/events/stream`: the events of a workspace as they happen, over a WebSocket or as server-sent events.

use super::answer::{Problem, Refusal};
use super::events::filter;
use super::request::{Caller, Params};
use super::streaming::{Heard, Manner, Source, last_event_id, tell};
use crate::Shared;
use crate::event_feed::{FollowError, Following};
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_protocol::Error;
use synod_protocol::event_stream::{EventFrame, EventPosition};
use tokio::time::Instant;
use utoipa::IntoParams;

/// Streams of events at a time: each looks at every event.
const STREAMS_LIMIT: usize = 1_000;
/// Records of each partition that a stream may begin with.
const LAST_LIMIT: u32 = 100_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamParams {
    /// Only events of this entity (or of its children).
    entity: Option<String>,
    /// Only events of this type, such as `synod.approval.required`, or of all that begin so: `synod.approval.*`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    ty: Option<String>,
    /// A position that came with an event of a stream with the same filter, to go on after it; `now` or `oldest`; absent: now.
    after: Option<String>,
    /// Instead: begin so many records of each partition before now, 0 to 100,000.
    last: Option<u32>,
}

/// The events of the caller's workspace: WebSocket frames `{"position", "event"}`, or server-sent events whose `id` is the
/// position and whose `data` is the event. Each event once, in order per shard. First, and when it is quiet now and then, it
/// says where it is, by a frame or an `id` without an event; a reader that is too slow is told so (`lagged`, with the position to go on from), and that is the end.
#[utoipa::path(get, path = "/v1/events/stream", params(StreamParams), responses(
    (status = 101, description = "WebSocket frames", body = EventFrame),
    (status = 200, description = "Server-sent events; one named `lagged` or `error` is the last", content_type = "text/event-stream"),
    (status = 410, description = "Events after this position are no longer kept; `oldest` says where to go on", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stream_events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let filter = filter(params.entity.as_deref(), params.ty.as_deref())?;
    let manner = Manner::of(&headers, upgrade)?;
    let position = begin(&shared, &params, last_event_id(&headers)).await?;
    if shared.event_feed.followers() >= STREAMS_LIMIT {
        let said = format!("{STREAMS_LIMIT} streams of events are open here already");
        return Err(Error::overloaded(said, 1_000).into());
    }
    // Asked before it begins, so that a lost position is an answer and not the end of a stream.
    shared.event_feed.check(&filter, &position).await?;
    let following = shared.event_feed.follow(caller.workspace, filter, position);
    tell(manner, Telling { following, has_begun: false }, shared.closing.clone())
}

/// Where it begins: what a client resumes from goes before what its first request asked for.
async fn begin(
    shared: &Shared,
    params: &StreamParams,
    last_event_id: Option<&str>,
) -> Result<EventPosition, Error> {
    match (last_event_id.or(params.after.as_deref()), params.last) {
        (Some(_), Some(_)) if last_event_id.is_none() => {
            Err(Error::invalid("give either after or last").with_field("/last"))
        }
        (None, Some(last)) if last > LAST_LIMIT => {
            let said = format!(
                "last is {last}, it must be 0 to {LAST_LIMIT}; after=oldest begins with all there are"
            );
            Err(Error::invalid(said).with_field("/last"))
        }
        (None, Some(last)) => shared.event_feed.before_newest(last).await,
        (None | Some("now"), _) => shared.event_feed.newest().await,
        (Some("oldest"), _) => shared.event_feed.oldest().await,
        (Some(text), _) => text.parse().map_err(|error: Error| error.with_field("/after")),
    }
}

/// A stream on its way.
struct Telling {
    following: Following,
    /// Where it begins was told: whoever is cut off before the first event knows where to go on.
    has_begun: bool,
}

impl Source for Telling {
    async fn next(&mut self, deadline: Instant) -> Heard {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Heard::Begun;
        }
        loop {
            match self.following.next(deadline).await {
                Ok(Some(told)) => return Heard::Told(told.position.to_string(), told.event.shown.clone()),
                Ok(None) => return Heard::Quiet,
                Err(FollowError::Lagged) => return Heard::Lagged,
                // Kafka will be back, and the stream goes on where it was.
                Err(FollowError::Away(error)) => tracing::debug!(%error, "a stream of events waits"),
                Err(error @ FollowError::Lost(_)) => return Heard::Over(error.into()),
            }
        }
    }

    fn position(&mut self) -> String {
        self.following.position().to_string()
    }
}
