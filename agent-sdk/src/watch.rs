//! What happens to one entity, as a stream of events in the order of the ledger.
//!
//! The coordinator keeps the history; it is asked for what comes after the last position seen, at once when
//! there was something and ever less often while there is nothing. Each event comes once.

use crate::client::Client;
use crate::door::DoorError;
use crate::http::encoded;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use serde::Deserialize;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use synod_protocol::event::What;
use synod_protocol::http::Message;
use synod_protocol::{Code, EntityId, Envelope, Error, Event, Json, Limits, Position};

/// The shortest and the longest wait between two questions.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Events asked for at a time.
const PAGE: usize = 200;

/// An event that was watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What happened.
    pub event: Event,
    /// Its id, position, time, trace.
    pub envelope: Envelope,
}

/// A stream of a task's events; it ends after the event that ends the task, or after an error.
pub struct Watch(BoxStream<'static, Result<Watched, DoorError>>);

impl Stream for Watch {
    type Item = Result<Watched, DoorError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl Watch {
    /// The next event; `None` after the last.
    ///
    /// # Errors
    /// Those of any question to the mesh.
    pub async fn next_event(&mut self) -> Result<Option<Watched>, DoorError> {
        self.0.next().await.transpose()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

struct Watching {
    client: Client,
    entity: EntityId,
    after: Option<Position>,
    seen_at_position: Vec<String>,
    ready: VecDeque<Watched>,
    wait: Duration,
    over: bool,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Json>,
}

pub(crate) fn watch(client: Client, entity: EntityId) -> Watch {
    let watching = Watching {
        client,
        entity,
        after: None,
        seen_at_position: Vec::new(),
        ready: VecDeque::new(),
        wait: Duration::ZERO,
        over: false,
    };
    Watch(stream::unfold(watching, next).boxed())
}

async fn next(mut watching: Watching) -> Option<(Result<Watched, DoorError>, Watching)> {
    loop {
        if let Some(watched) = watching.ready.pop_front() {
            watching.over = ends(&watched.event.what);
            return Some((Ok(watched), watching));
        }
        if watching.over {
            return None;
        }
        tokio::time::sleep(watching.wait).await; // between two questions
        if let Err(error) = watching.ask().await {
            watching.over = true;
            return Some((Err(error), watching));
        }
    }
}

impl Watching {
    async fn ask(&mut self) -> Result<(), DoorError> {
        let mut path = format!("/v1/events?entity={}&limit={PAGE}", encoded(self.entity.as_str()));
        if let Some(after) = self.after {
            path.push_str(&format!("&after={}", encoded(&after.to_string())));
        }
        let limit = self.client.mesh().config().command_limit;
        let page: Page = match self.client.ask(&path, limit).await {
            // It may be in the topic only, so far.
            Err(error) if error.code() == Some(Code::NotFound) => Page { items: Vec::new() },
            answered => answered?,
        };
        for item in page.items {
            let watched = read(&item)?;
            if self.is_new(&watched.envelope) {
                self.ready.push_back(watched);
            }
        }
        self.wait = match self.ready.is_empty() {
            true => (self.wait * 2).clamp(WAIT_MIN, WAIT_MAX),
            false => Duration::ZERO,
        };
        Ok(())
    }

    /// Several events may stand at one position; what was seen there is known by id.
    fn is_new(&mut self, envelope: &Envelope) -> bool {
        let Some(at) = envelope.position else { return true };
        match self.after {
            Some(after) if at.offset < after.offset => false,
            Some(after) if at == after && self.seen_at_position.contains(&envelope.id) => false,
            Some(after) if at == after => {
                self.seen_at_position.push(envelope.id.clone());
                true
            }
            _ => {
                self.after = Some(at);
                self.seen_at_position = vec![envelope.id.clone()];
                true
            }
        }
    }
}

fn read(item: &Json) -> Result<Watched, Error> {
    #[derive(serde::Serialize)]
    struct Written<'a> {
        entity: &'a str,
        #[serde(rename = "type")]
        ty: &'a str,
        data: Json,
    }
    let message = Message::from_structured(item.as_str().as_bytes(), &Limits::default())?;
    let unreadable =
        |e: serde_json::Error| Error::new(Code::Internal, format!("an event does not read: {e}"));
    let data = String::from_utf8_lossy(&message.data);
    let written = Written {
        entity: message.envelope.subject.as_deref().unwrap_or_default(),
        ty: &message.envelope.ty,
        data: Json::parse(&data).map_err(unreadable)?,
    };
    let event = Json::of(&written).and_then(|json| json.to::<Event>()).map_err(unreadable)?;
    Ok(Watched { event, envelope: message.envelope })
}

fn ends(what: &What) -> bool {
    matches!(
        what,
        What::TaskCompleted(_) | What::TaskFailed(_) | What::TaskDeadLettered(_) | What::TaskCancelled(_)
    )
}
