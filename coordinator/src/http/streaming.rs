//! What is told as it happens, over a WebSocket or as server-sent events; what it is, a [`Source`] says.
//!
//! A client that takes nothing for [`ACCEPTED`] is given up; one that hears nothing for [`QUIET`] hears that we are there.

use super::answer::Refusal;
use axum::extract::ws::{
    CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use synod_protocol::{Error, Json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a client may take to accept one frame before it is given up.
const ACCEPTED: Duration = Duration::from_secs(30);
/// How often a quiet stream says that it is there, and where it is.
const QUIET: Duration = Duration::from_secs(15);
/// The WebSocket's words for going away, and for a refusal of ours.
const GOING_AWAY: u16 = 1001;
const REFUSED: u16 = 4000;

/// What a source has to say.
pub(super) enum Heard {
    /// It has begun: everything after its position will be told.
    Begun,
    /// This, and the position after it.
    Told(String, Json),
    /// Nothing came until the deadline.
    Quiet,
    /// The client was too slow: it goes on after the source's position, by itself.
    Lagged,
    /// It cannot go on.
    Over(Error),
}

/// Where a stream comes from.
pub(super) trait Source: Send + 'static {
    /// What is next. May be dropped at any time without losing anything.
    fn next(&mut self, deadline: Instant) -> impl Future<Output = Heard> + Send;
    /// All up to here was told.
    fn position(&mut self) -> String;
}

/// How a client wants to be told.
pub(super) enum Manner {
    Socket(Box<WebSocketUpgrade>),
    Events,
}

impl Manner {
    /// As the request says.
    pub(super) fn of(
        headers: &HeaderMap,
        upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    ) -> Result<Manner, Error> {
        if headers.get("upgrade").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
            let upgrade =
                upgrade.map_err(|error| Error::invalid(format!("no WebSocket: {}", error.body_text())));
            return Ok(Manner::Socket(Box::new(upgrade?)));
        }
        let mut accepted = headers.get_all("accept").iter().filter_map(|value| value.to_str().ok());
        if accepted.any(|value| value.contains("text/event-stream")) {
            return Ok(Manner::Events);
        }
        let said = "ask for a WebSocket (Upgrade: websocket), or for events with Accept: text/event-stream";
        Err(Error::invalid(said))
    }
}

/// Where a client says that it was.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

/// Begins to tell, until the source or the client ends, or `closing`.
pub(super) fn tell(
    manner: Manner,
    source: impl Source,
    closing: CancellationToken,
) -> Result<Response, Refusal> {
    Ok(match manner {
        Manner::Socket(upgrade) => upgrade.on_upgrade(move |socket| over_socket(socket, source, closing)),
        Manner::Events => {
            let (put, events) = mpsc::channel(1);
            tokio::spawn(as_events(source, closing, put));
            Sse::new(received(events)).keep_alive(KeepAlive::new().interval(QUIET)).into_response()
        }
    })
}

async fn over_socket(mut socket: WebSocket, mut source: impl Source, closing: CancellationToken) {
    let mut said = source.position();
    loop {
        let heard = tokio::select! {
            heard = source.next(Instant::now() + QUIET) => heard,
            () = closing.cancelled() => {
                // It is over at any rate, here and below.
                let _ = accepted(&mut socket, close(GOING_AWAY, "this coordinator ends")).await;
                return;
            }
            came = socket.recv() => match came {
                // The client has nothing to say; pings are answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        let frame = match heard {
            Heard::Told(position, event) => {
                said = position;
                text(&Frame { position: &said, event: Some(&event), lagged: false })
            }
            Heard::Quiet if source.position() == said => Message::Ping(Vec::new().into()),
            Heard::Begun | Heard::Quiet => {
                said = source.position();
                text(&Frame { position: &said, event: None, lagged: false })
            }
            Heard::Lagged => {
                let frame = Frame { position: &source.position(), event: None, lagged: true };
                let _ = accepted(&mut socket, text(&frame)).await;
                let _ = accepted(&mut socket, close(REFUSED, "lagged")).await;
                return;
            }
            Heard::Over(error) => {
                let _ = accepted(&mut socket, text(&json!({ "error": error }))).await;
                let _ = accepted(&mut socket, close(REFUSED, error.code.as_str())).await;
                return;
            }
        };
        if accepted(&mut socket, frame).await.is_err() {
            return;
        }
    }
}

/// What a socket is told at a time.
#[derive(Serialize)]
struct Frame<'a> {
    position: &'a str,
    event: Option<&'a Json>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lagged: bool,
}

fn text<T: Serialize>(value: &T) -> Message {
    // What is told has a JSON form: it came as one.
    Message::Text(Json::of(value).unwrap_or_default().as_str().to_owned().into())
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

/// Sends, unless the client takes too long.
async fn accepted(socket: &mut WebSocket, frame: Message) -> Result<(), ()> {
    match timeout(ACCEPTED, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// Tells until nobody listens any more.
async fn as_events(mut source: impl Source, closing: CancellationToken, put: mpsc::Sender<Event>) {
    loop {
        let heard = tokio::select! {
            heard = source.next(Instant::now() + QUIET) => heard,
            () = closing.cancelled() => return,
            () = put.closed() => return,
        };
        let (event, is_last) = match heard {
            Heard::Told(position, event) => (Event::default().id(position).data(event.as_str()), false),
            // An event without data is not seen, and moves the position to resume from.
            Heard::Begun | Heard::Quiet => (Event::default().id(source.position()), false),
            Heard::Lagged => {
                let position = source.position();
                let data = json!({ "position": position }).to_string();
                (Event::default().event("lagged").id(position).data(data), true)
            }
            Heard::Over(error) => {
                let data = Json::of(&error).unwrap_or_default();
                (Event::default().event("error").data(data.as_str()), true)
            }
        };
        if !matches!(timeout(ACCEPTED, put.send(event)).await, Ok(Ok(()))) || is_last {
            return;
        }
    }
}

fn received(events: mpsc::Receiver<Event>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(events, async |mut events| Some((Ok(events.recv().await?), events)))
}
