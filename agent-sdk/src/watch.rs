//! What happens to one task, execution or approval, as a stream of events as they are published, each once.
//!
//! ```text
//!   history: GET /v1/events --then--> live: the events topic (events.rs)
//!                           `-without Kafka--> history again, ever less often while nothing comes
//! ```

use crate::client::Client;
use crate::door::DoorError;
use crate::http::encoded;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use synod_infra::kafka::RawRecord;
use synod_protocol::{Code, EntityId, Error, Event, Json, Position, Timestamp};
use tokio::sync::mpsc;

/// Without Kafka, the shortest and the longest wait between two questions: each costs the coordinator a look
/// through a partition.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Events asked for at a time.
const PAGE: usize = 500;
/// Ids that are remembered, to know a repeat by.
const REMEMBERED: usize = 10_000;

/// An event that was watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What happened.
    pub event: Event,
    /// `<shard>-<offset>-<index>`: the same however often it is published.
    pub id: String,
    /// Its place in the ledger.
    pub position: Option<Position>,
    /// When, by the shard's time.
    pub time: Option<Timestamp>,
    /// The piece of work that it belongs to.
    pub correlation_id: Option<String>,
    /// The command that led to it.
    pub causation_id: Option<String>,
}

/// A stream of an entity's events; it ends after the event that ends the entity, or after an error.
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

/// Where a watcher stands.
struct Watching {
    client: Client,
    entity: EntityId,
    live: Option<mpsc::Receiver<Arc<RawRecord>>>,
    ready: VecDeque<Watched>,
    seen: Seen,
    wait: Duration,
    over: bool,
}

pub(crate) fn watch(client: Client, entity: EntityId) -> Watch {
    let watching = Watching {
        client,
        entity,
        live: None,
        ready: VecDeque::new(),
        seen: Seen::default(),
        wait: Duration::ZERO,
        over: false,
    };
    Watch(stream::unfold(watching, next).boxed())
}

async fn next(mut watching: Watching) -> Option<(Result<Watched, DoorError>, Watching)> {
    loop {
        if let Some(watched) = watching.ready.pop_front() {
            // An execution whose step is retried by hand goes on after an end.
            watching.over = watched.event.what.is_end() && watching.ready.is_empty();
            return Some((Ok(watched), watching));
        }
        if watching.over {
            return None;
        }
        if let Err(error) = watching.more().await {
            watching.over = true;
            return Some((Err(error), watching));
        }
    }
}

impl Watching {
    /// Waits for more; there may be none all the same.
    async fn more(&mut self) -> Result<(), DoorError> {
        if let Some(live) = &mut self.live {
            match live.recv().await {
                Some(record) => {
                    self.keep(of_record(&record));
                    return Ok(());
                }
                None => self.live = None,
            }
        }
        tokio::time::sleep(self.wait).await; // between two questions; nothing before the first
        let mesh = self.client.mesh();
        let history = mesh.http().coordinators.possible();
        // First the live end, then the history up to it: what falls between comes twice, and is known by its id.
        if mesh.events().possible() {
            match mesh.events().follow(&self.entity).await {
                Ok(live) => self.live = Some(live),
                Err(error) if history => tracing::debug!(%error, "events cannot be followed"),
                Err(error) => {
                    let within = mesh.config().command_limit;
                    return Err(DoorError::NoAnswer { within, why: error.to_string() });
                }
            }
        }
        if history {
            self.ask_history().await?;
        } else if self.live.is_none() {
            return Err(DoorError::NoDoor("a coordinator's URL, Redis or Kafka"));
        }
        self.wait = match self.ready.is_empty() {
            true => (self.wait * 2).clamp(WAIT_MIN, WAIT_MAX),
            false => WAIT_MIN,
        };
        Ok(())
    }

    async fn ask_history(&mut self) -> Result<(), DoorError> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Item>,
            next_cursor: Option<String>,
        }
        let limit = self.client.mesh().config().command_limit;
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("/v1/events?entity={}&limit={PAGE}", encoded(self.entity.as_str()));
            if let Some(after) = self.seen.ask_after() {
                path.push_str(&format!("&after={}", encoded(&after.to_string())));
            }
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&cursor={}", encoded(cursor)));
            }
            let page: Page = match self.client.ask(&path, limit).await {
                // It may be in the topic only, so far.
                Err(error) if error.code() == Some(Code::NotFound) => return Ok(()),
                answered => answered?,
            };
            for item in page.items {
                // A root's list has its children's events as well.
                if item.entity == self.entity.as_str() {
                    self.keep(of_item(item));
                }
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn keep(&mut self, watched: Result<Watched, Error>) {
        match watched {
            Ok(watched) if self.seen.is_new(&watched) => self.ready.push_back(watched),
            Ok(_) => {}
            // A newer mesh may have events that this crate does not know.
            Err(error) => tracing::debug!(entity = %self.entity, %error, "an event is not understood"),
        }
    }
}

/// What was seen, by id: after a change of owner the same events are published again, behind newer ones.
#[derive(Default)]
struct Seen {
    order: VecDeque<String>,
    known: HashSet<String>,
    newest: Option<Position>,
}

impl Seen {
    fn is_new(&mut self, watched: &Watched) -> bool {
        if !self.known.insert(watched.id.clone()) {
            return false;
        }
        self.order.push_back(watched.id.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.newest = self.newest.max(watched.position);
        true
    }

    /// From where the history is worth asking: one before the newest, since more may stand there.
    fn ask_after(&self) -> Option<Position> {
        let newest = self.newest?;
        Some(Position { offset: newest.offset.checked_sub(1)?, ..newest })
    }
}

/// An event as the history shows it.
#[derive(Deserialize)]
struct Item {
    id: String,
    #[serde(rename = "type")]
    ty: String,
    entity: String,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default)]
    position: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    causation_id: Option<String>,
    data: Json,
}

fn of_item(item: Item) -> Result<Watched, Error> {
    Ok(Watched {
        event: event(&item.entity, &item.ty, item.data)?,
        id: item.id,
        position: item.position.as_deref().map(str::parse).transpose()?,
        time: item.time,
        correlation_id: item.correlation_id,
        causation_id: item.causation_id,
    })
}

fn of_record(record: &RawRecord) -> Result<Watched, Error> {
    let envelope = record.envelope()?;
    let text = String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default());
    let data = Json::parse(&text).map_err(unreadable)?;
    Ok(Watched {
        event: event(envelope.subject.as_deref().unwrap_or_default(), &envelope.ty, data)?,
        id: envelope.id,
        position: envelope.position,
        time: envelope.time,
        correlation_id: envelope.correlation_id,
        causation_id: envelope.causation_id,
    })
}

/// The protocol reads events in the form that the ledger has them in.
fn event(entity: &str, ty: &str, data: Json) -> Result<Event, Error> {
    #[derive(Serialize)]
    struct Written<'a> {
        entity: &'a str,
        #[serde(rename = "type")]
        ty: &'a str,
        data: Json,
    }
    Json::of(&Written { entity, ty, data }).and_then(|json| json.to()).map_err(unreadable)
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn unreadable(error: serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("an event does not read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, position: &str) -> Watched {
        let data = r#"{"task_id":"t","status":"running","attempt":1,"agent_id":"a"}"#;
        let item = Item {
            id: id.into(),
            ty: "synod.task.started".into(),
            entity: "t".into(),
            time: None,
            position: Some(position.into()),
            correlation_id: None,
            causation_id: None,
            data: Json::parse(data).unwrap(),
        };
        of_item(item).unwrap()
    }

    #[test]
    fn each_event_comes_once() {
        let mut seen = Seen::default();
        let mut check = |id: &str, position: &str, new| {
            assert_eq!(seen.is_new(&item(id, position)), new, "{id} at {position}");
        };
        check("1-5-0", "1:5", true);
        check("1-5-0", "1:5", false);
        check("1-5-1", "1:5", true);
        check("1-9-0", "1:9", true);
        check("1-5-1", "1:5", false);
        check("1-9-0", "1:9", false);
        assert_eq!(seen.ask_after(), Some(Position { shard: 1, offset: 8 }));
    }
}
