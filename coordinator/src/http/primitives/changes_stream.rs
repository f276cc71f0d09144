//! The changes that a subscription is about, as they happen: over a WebSocket, or as server-sent events.

use super::super::answer::{Problem, Refusal};
use super::super::request::{Caller, Params, Segments};
use super::super::streaming::{Heard, Manner, Source, last_event_id, tell};
use super::subscriptions::found;
use crate::Shared;
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use synod_infra::primitives::feed::{FollowError, Following};
use synod_protocol::primitives::changes::{Interest, Position, Sought, Spot};
use synod_protocol::{Code, Error, Json};
use tokio::time::Instant;
use utoipa::IntoParams;

/// Streams at a time; each has some memory of its own.
const STREAMS_LIMIT: usize = 20_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamParams {
    /// A position that came with a change, to go on after it; `now` or `oldest`; absent: where the subscription began.
    after: Option<String>,
}

/// The changes of a subscription's keys: WebSocket frames `{"position", "event"}`, or server-sent events whose `id` is the
/// position and whose `data` is the event. Each change once, in order per key; a quiet WebSocket now and then gets a frame
/// without `event`, which only moves the position.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/stream", params(("id" = String, Path, description = "The subscription's id"), StreamParams), responses(
    (status = 101, description = "WebSocket frames", body = synod_protocol::primitives::changes::Frame),
    (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
    (status = 410, description = "Changes after this position are no longer kept; `oldest` says where to go on", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let kept = found(&shared, &caller, &id).await?;
    let (Sought::Keys { pattern }, Spot::Keys(begins)) = (kept.sought, kept.position) else {
        let said =
            format!("subscription {id} is a webhook on events; GET /v1/events/stream tells them as a stream");
        return Err(Error::new(Code::Unprocessable, said).into());
    };
    let position = match params.after.as_deref().or(last_event_id(&headers)) {
        Some(text) => begin(&shared, text).await?,
        None => *begins,
    };
    if shared.feed.followers() >= STREAMS_LIMIT {
        return Err(Error::overloaded(format!("{STREAMS_LIMIT} streams are open here already"), 1_000).into());
    }
    // Asked before it begins, so that a lost position is an answer and not the end of a stream.
    shared.feed.check(&position).await.map_err(Error::from)?;
    let manner = Manner::of(&headers, upgrade)?;
    let interest = Interest { workspace: caller.workspace, pattern };
    tell(manner, shared.feed.follow(interest, position), shared.closing.clone())
}

async fn begin(shared: &Shared, text: &str) -> Result<Position, Error> {
    if text != "now" && text != "oldest" {
        return text.parse();
    }
    let ends = shared.feed.ends().await?;
    let ends =
        ends.ok_or_else(|| Error::unavailable("Redis: the mirror of shared state is being read back"))?;
    Ok(if text == "now" { ends.newest } else { ends.oldest })
}

impl Source for Following {
    async fn next(&mut self, deadline: Instant) -> Heard {
        loop {
            match Following::next(self, deadline).await {
                Ok(Some(told)) => {
                    let frame = told.frame();
                    // What is told has a JSON form: it came as one.
                    return Heard::Told(
                        frame.position.to_string(),
                        Json::of(&frame.event).unwrap_or_default(),
                    );
                }
                Ok(None) => return Heard::Quiet,
                // Redis will be back, and the stream goes on where it was.
                Err(FollowError::Redis(error)) => tracing::debug!(%error, "a stream of changes waits"),
                Err(error) => return Heard::Over(error.into()),
            }
        }
    }

    fn position(&mut self) -> String {
        Following::position(self).to_string()
    }
}
