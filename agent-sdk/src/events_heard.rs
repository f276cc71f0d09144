//! Events of the workspace as they happen, each once, from whichever coordinator is there.
//!
//! ```text
//!   GET /v1/events/stream --an event, and the position after it--> EventsHeard
//!     `- it breaks, ends, or says that we were too slow: the next coordinator is asked, from the last position on
//! ```

use crate::client::Client;
use crate::http::{Opened, encoded};
use crate::server_events::{ServerEvent, ServerEvents};
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use synod_protocol::event_stream::{EventTypes, ToldEvent};
use synod_protocol::{Code, EntityId, Error};

/// How long a coordinator may take to begin an answer.
const BEGUN_WITHIN: Duration = Duration::from_secs(15);
/// A coordinator says so often that it is there, and some more: one that is silent for so long is gone.
const SILENT: Duration = Duration::from_secs(45);
/// The first and the longest pause before a broken stream is opened again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventsFrom {
    /// With what happens from now on: from when a coordinator first answers.
    #[default]
    Now,
    /// With the oldest events that are kept.
    Oldest,
    /// With so many of the newest records of each shard, 0 to 100,000.
    Last(u32),
    /// After this [`HeardEvent::position`] of a stream with the same filter.
    After(String),
}

/// Which events; by default all of the workspace, from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsWanted {
    /// Only those of this type, or of all that begin so, as in `synod.approval.*`.
    pub types: Option<EventTypes>,
    /// Only those of this entity, or of its children.
    pub entity: Option<EntityId>,
    /// Where to begin.
    pub from: EventsFrom,
}

/// An event, and where to go on after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardEvent {
    /// To resume: [`EventsFrom::After`].
    pub position: String,
    /// What happened.
    pub event: ToldEvent,
}

/// A stream of events. It goes on by itself when its coordinator ends; it ends after an error.
pub struct EventsHeard(BoxStream<'static, Result<HeardEvent, Error>>);

impl Client {
    /// Hears of events of this workspace as they happen, each once.
    ///
    /// # Errors
    /// In the stream: `position_lost` once what came after the position is no longer kept, with the `oldest` to go on from;
    /// whatever else refuses the question for good. That no coordinator answers is waited out.
    ///
    /// ```no_run
    /// # async fn example(client: agent_sdk::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_sdk::EventsWanted;
    /// let wanted = EventsWanted { types: Some("synod.approval.*".parse()?), ..EventsWanted::default() };
    /// let mut events = client.events(wanted);
    /// while let Some(heard) = events.next_event().await? {
    ///     println!("{} {}", heard.event.ty, heard.event.entity);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self, wanted: EventsWanted) -> EventsHeard {
        let hearing = Hearing { client: self.clone(), wanted, open: None, pause: PAUSE.0 };
        let heard = stream::unfold(Some(hearing), async |hearing| {
            let mut hearing = hearing?;
            match hearing.next().await {
                Ok(heard) => Some((Ok(heard), Some(hearing))),
                Err(error) => Some((Err(error), None)),
            }
        });
        EventsHeard(heard.boxed())
    }
}

impl EventsHeard {
    /// The next event; `None` after an error.
    ///
    /// # Errors
    /// See [`Client::events`].
    pub async fn next_event(&mut self) -> Result<Option<HeardEvent>, Error> {
        self.0.next().await.transpose()
    }
}

impl Stream for EventsHeard {
    type Item = Result<HeardEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for EventsHeard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventsHeard").finish_non_exhaustive()
    }
}

struct Hearing {
    client: Client,
    /// Its `from` moves on with what was heard.
    wanted: EventsWanted,
    open: Option<(String, ServerEvents)>,
    pause: Duration,
}

impl Hearing {
    async fn next(&mut self) -> Result<HeardEvent, Error> {
        loop {
            let Some((url, events)) = &mut self.open else {
                self.open().await?;
                continue;
            };
            match tokio::time::timeout(SILENT, events.next()).await {
                Ok(Some(event)) => {
                    if let Some(heard) = self.take(event)? {
                        return Ok(heard);
                    }
                }
                Ok(None) | Err(_) => {
                    self.client.mesh().http().coordinators.failed(url);
                    self.again().await;
                }
            }
        }
    }

    /// What the coordinator said; `None` where that is no event.
    fn take(&mut self, said: ServerEvent) -> Result<Option<HeardEvent>, Error> {
        self.pause = PAUSE.0;
        if let Some(id) = &said.id {
            self.wanted.from = EventsFrom::After(id.clone());
        }
        let unreadable = |error: serde_json::Error| {
            Error::new(Code::Internal, format!("the coordinator's event does not read: {error}"))
        };
        match (said.name.as_deref(), said.id, said.data) {
            (None, Some(position), Some(data)) => {
                let event = serde_json::from_str(&data).map_err(unreadable)?;
                Ok(Some(HeardEvent { position, event }))
            }
            (Some("error"), _, Some(data)) => Err(serde_json::from_str(&data).map_err(unreadable)?),
            // We were too slow, and where we were is said: it goes on there.
            (Some("lagged"), ..) => {
                self.open = None;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        match self.client.mesh().http().events(&path(&self.wanted), BEGUN_WITHIN).await {
            Opened::Events(url, events) => self.open = Some((url, events)),
            Opened::Refused(error) if !error.code.is_retryable() => return Err(error),
            Opened::Refused(error) => {
                tracing::debug!(%error, "events are not told now");
                self.again().await;
            }
            Opened::Silent(why) => {
                tracing::debug!(why, "nobody tells events now");
                self.again().await;
            }
        }
        Ok(())
    }

    /// Waits a little before it is opened again.
    async fn again(&mut self) {
        self.open = None;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
    }
}

fn path(wanted: &EventsWanted) -> String {
    let after = |position: &str| format!("after={}", encoded(position));
    let mut path = format!(
        "/v1/events/stream?{}",
        match &wanted.from {
            EventsFrom::Now => after("now"),
            EventsFrom::Oldest => after("oldest"),
            EventsFrom::Last(records) => format!("last={records}"),
            EventsFrom::After(position) => after(position),
        }
    );
    if let Some(types) = &wanted.types {
        path.push_str(&format!("&type={}", encoded(types.as_str())));
    }
    if let Some(entity) = &wanted.entity {
        path.push_str(&format!("&entity={}", encoded(entity.as_str())));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_in_the_path() {
        let check = |from, path_is: &str| {
            let types = Some("a.*".parse().unwrap());
            let wanted = EventsWanted { types, entity: Some("wf:s".parse().unwrap()), from };
            assert_eq!(path(&wanted), format!("/v1/events/stream?{path_is}&type=a.%2A&entity=wf:s"));
        };
        check(EventsFrom::Now, "after=now");
        check(EventsFrom::Oldest, "after=oldest");
        check(EventsFrom::Last(7), "last=7");
        check(EventsFrom::After("Ag".to_owned()), "after=Ag");
    }
}
