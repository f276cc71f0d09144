//! The changes that a subscription is about, as they happen: over a WebSocket, or as server-sent events.

use super::super::answer::{Problem, Refusal};
use super::super::request::{Caller, Params, Segments};
use super::subscriptions::found;
use crate::Shared;
use axum::extract::State;
use axum::extract::ws::{
    CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::primitives::feed::{FollowError, Following, Told};
use synod_protocol::primitives::changes::Position;
use synod_protocol::{Error, Json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

/// Streams at a time; each has some memory of its own.
const STREAMS_LIMIT: usize = 20_000;
/// How long a client may take to accept one frame before it is given up.
const ACCEPTED: Duration = Duration::from_secs(30);
/// How often a quiet stream says that it is there, and where it is.
const QUIET: Duration = Duration::from_secs(15);
/// The WebSocket's words for going away, and for a refusal of ours.
const GOING_AWAY: u16 = 1001;
const REFUSED: u16 = 4000;

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
    let last =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let position = match params.after.as_deref().or(last) {
        Some(text) => begin(&shared, text).await?,
        None => kept.position,
    };
    if shared.feed.followers() >= STREAMS_LIMIT {
        return Err(Error::overloaded(format!("{STREAMS_LIMIT} streams are open here already"), 1_000).into());
    }
    // Asked before it begins, so that a lost position is an answer and not the end of a stream.
    shared.feed.check(&position).await.map_err(Error::from)?;
    let following = shared.feed.follow(kept.interest(&caller.workspace), position);
    let wants_socket =
        headers.get("upgrade").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if wants_socket {
        let closing = shared.closing.clone();
        let upgrade =
            upgrade.map_err(|error| Error::invalid(format!("no WebSocket: {}", error.body_text())))?;
        return Ok(upgrade.on_upgrade(move |socket| over_socket(socket, following, closing)));
    }
    let accepts = |media: &str| {
        let mut all = headers.get_all("accept").iter().filter_map(|value| value.to_str().ok());
        all.any(|value| value.contains(media))
    };
    if !accepts("text/event-stream") {
        let said = "ask for a WebSocket (Upgrade: websocket), or for events with Accept: text/event-stream";
        return Err(Error::invalid(said).into());
    }
    let events = Sse::new(events(following, shared.closing.clone()));
    Ok(events.keep_alive(KeepAlive::new().interval(QUIET)).into_response())
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

/// What is next to be said.
enum Next {
    Told(Told),
    /// Nothing came for a while.
    Quiet,
    /// The position is lost.
    Over(Error),
    /// This coordinator ends.
    Closing,
}

async fn next(following: &mut Following, closing: &CancellationToken) -> Next {
    loop {
        let until = Instant::now() + QUIET;
        let next = tokio::select! {
            next = following.next(until) => next,
            () = closing.cancelled() => return Next::Closing,
        };
        match next {
            Ok(Some(told)) => return Next::Told(told),
            Ok(None) => return Next::Quiet,
            // Redis will be back, and the stream goes on where it was.
            Err(FollowError::Redis(error)) => tracing::debug!(%error, "a stream of changes waits"),
            Err(error) => return Next::Over(error.into()),
        }
    }
}

async fn over_socket(mut socket: WebSocket, mut following: Following, closing: CancellationToken) {
    let mut said = following.position();
    loop {
        let next = tokio::select! {
            next = next(&mut following, &closing) => next,
            heard = socket.recv() => match heard {
                // The client has nothing to say; pings are answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        let frame = match next {
            Next::Told(told) => {
                said = told.position;
                json(&told.frame())
            }
            Next::Quiet if following.position() != said => {
                said = following.position();
                json(&serde_json::json!({ "position": said, "event": null }))
            }
            Next::Quiet => Message::Ping(Vec::new().into()),
            Next::Over(error) => {
                let frame = CloseFrame { code: REFUSED, reason: error.code.as_str().into() };
                // It is over at any rate.
                let _ = accepted(&mut socket, json(&serde_json::json!({ "error": error }))).await;
                let _ = accepted(&mut socket, Message::Close(Some(frame))).await;
                return;
            }
            Next::Closing => {
                let frame = CloseFrame { code: GOING_AWAY, reason: "this coordinator ends".into() };
                let _ = accepted(&mut socket, Message::Close(Some(frame))).await;
                return;
            }
        };
        if accepted(&mut socket, frame).await.is_err() {
            return;
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Message {
    // What is told has a JSON form: it came as one.
    Message::Text(Json::of(value).unwrap_or_default().as_str().to_owned().into())
}

/// Sends, unless the client takes too long.
async fn accepted(socket: &mut WebSocket, frame: Message) -> Result<(), ()> {
    match tokio::time::timeout(ACCEPTED, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

fn events(following: Following, closing: CancellationToken) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((following, closing)), async |state| {
        let (mut following, closing) = state?;
        match next(&mut following, &closing).await {
            Next::Told(told) => {
                let frame = told.frame();
                let data = Json::of(&frame.event).unwrap_or_default();
                let event = Event::default().id(frame.position.to_string()).data(data.as_str());
                Some((Ok(event), Some((following, closing))))
            }
            // An event without data is not seen, and moves the position to resume from.
            Next::Quiet => {
                let event = Event::default().id(following.position().to_string());
                Some((Ok(event), Some((following, closing))))
            }
            Next::Over(error) => {
                let data = Json::of(&error).unwrap_or_default();
                Some((Ok(Event::default().event("error").data(data.as_str())), None))
            }
            Next::Closing => None,
        }
    })
}
