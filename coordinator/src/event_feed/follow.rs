//! One follower: from its position to now, and then on.

use super::Happened;
use super::hub::{Hub, Seat};
use super::log::{self, Paging};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::ReadError;
use synod_protocol::event_stream::{EventFilter, EventPosition};
use synod_protocol::{Error, Workspace};
use tokio::sync::watch;
use tokio::time::Instant;

/// Events taken from a partition at a time.
const TAKEN: usize = 64;
/// Before Kafka is asked again what it could not answer.
const AGAIN: Duration = Duration::from_millis(200);

/// An event, and the position after it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// To go on after it.
    pub(crate) position: EventPosition,
    /// The event.
    pub(crate) event: Arc<Happened>,
}

/// Why it does not go on from here.
#[derive(Debug)]
pub(crate) enum FollowError {
    /// It had caught up and fell behind what is at hand: [`Following::position`] says from where all is still to be told. The
    /// next call goes on there, from Kafka's log.
    Lagged,
    /// Some of what came after the position is no longer kept; with where to go on.
    Lost(EventPosition),
    /// Kafka cannot be asked now; the next call goes on where this one was.
    Away(Error),
}

impl From<FollowError> for Error {
    fn from(error: FollowError) -> Error {
        match error {
            FollowError::Lagged => Error::unavailable("the reader was too slow"),
            FollowError::Lost(oldest) => log::lost(&oldest),
            FollowError::Away(error) => error,
        }
    }
}

/// A follower's way through the events. What it holds is bounded.
pub(crate) struct Following {
    hub: Arc<Hub>,
    _seat: Seat,
    news: watch::Receiver<()>,
    workspace: Workspace,
    filter: EventFilter,
    /// The partitions that concern it.
    partitions: std::ops::Range<u32>,
    /// All before this was read.
    position: EventPosition,
    /// All before this was told.
    told: EventPosition,
    ready: VecDeque<Told>,
    /// The partition that is read from Kafka's log now.
    paging: Option<(u32, Paging)>,
    /// It was where the hub is.
    caught_up: bool,
    not_before: Instant,
}

impl Following {
    pub(super) fn new(
        hub: Arc<Hub>,
        workspace: Workspace,
        filter: EventFilter,
        position: EventPosition,
    ) -> Following {
        let (seat, news) = hub.join();
        let partitions = hub.only(&filter).map_or(0..hub.partitions, |only| only..only + 1);
        Following {
            hub,
            _seat: seat,
            news,
            workspace,
            filter,
            partitions,
            told: position.clone(),
            position,
            ready: VecDeque::new(),
            paging: None,
            caught_up: false,
            not_before: Instant::now(),
        }
    }

    /// All before this was told, and what was of no interest passed over.
    pub(crate) fn position(&self) -> &EventPosition {
        if self.ready.is_empty() { &self.position } else { &self.told }
    }

    /// The next event; `None` when none came until `deadline`. May be dropped at any time without losing one.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Option<Told>, FollowError> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                self.told.clone_from(&told.position);
                return Ok(Some(told));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            if self.not_before > Instant::now() {
                tokio::time::sleep_until(self.not_before.min(deadline)).await;
                continue;
            }
            if self.paging.is_some() {
                self.read_log().await?;
                continue;
            }
            // Marked as seen before looking: what comes after the look wakes us.
            self.news.borrow_and_update();
            self.look()?;
            if self.ready.is_empty() && self.paging.is_none() {
                let came = tokio::time::timeout_at(deadline, self.news.changed()).await;
                // The sender lives as long as the hub that we hold.
                if came.is_err() {
                    return Ok(None);
                }
            }
        }
    }

    /// Takes what is at hand after the position; begins to read the log where that does not reach back so far.
    fn look(&mut self) -> Result<(), FollowError> {
        let mut all = true;
        for partition in self.partitions.clone() {
            let Some(at) = self.position.0.get(partition as usize).copied() else { continue };
            let looked = self.hub.recent(partition, |recent| {
                if at < recent.from {
                    return None;
                }
                let events: Vec<_> = recent.after(at, TAKEN).cloned().collect();
                let next = if events.len() < TAKEN { recent.next.max(at) } else { at };
                Some((events, next))
            });
            match looked {
                // Not read yet.
                None => all = false,
                Some(None) if self.caught_up => {
                    self.caught_up = false;
                    return Err(FollowError::Lagged);
                }
                Some(None) => {
                    self.paging = Some((partition, Paging::new(partition, at)));
                    return Ok(());
                }
                Some(Some((events, next))) => self.take(partition, events, next),
            }
        }
        self.caught_up |= all;
        Ok(())
    }

    /// Takes a partition's events, after which `next` comes at the least.
    fn take(&mut self, partition: u32, events: Vec<Arc<Happened>>, next: u64) {
        for event in events {
            self.moved(partition, event.offset + 1);
            let is_ours = event.workspace == self.workspace
                && self.filter.covers(&event.ty, Some(event.subject.as_str()));
            if is_ours {
                self.ready.push_back(Told { position: self.position.clone(), event });
            }
        }
        self.moved(partition, next);
    }

    fn moved(&mut self, partition: u32, next: u64) {
        if let Some(offset) = self.position.0.get_mut(partition as usize) {
            *offset = next.max(*offset);
        }
    }

    /// One page of the log, up to the middle of what is at hand: its beginning moves on while we read.
    async fn read_log(&mut self) -> Result<(), FollowError> {
        let Some((partition, mut paging)) = self.paging.take() else { return Ok(()) };
        let middle = self.hub.recent(partition, |recent| recent.from.midpoint(recent.next));
        let Some(end) = middle else {
            // The reader begins anew: it is looked again once it is there.
            self.not_before = Instant::now() + AGAIN;
            return Ok(());
        };
        match paging.page(&self.hub.readers, end).await {
            Ok(Some(page)) => {
                self.take(partition, page.events.into_iter().map(Arc::new).collect(), page.next.min(end));
                self.paging = Some((partition, paging));
                Ok(())
            }
            Ok(None) => {
                self.moved(partition, end);
                Ok(())
            }
            Err(error) => {
                self.not_before = Instant::now() + AGAIN;
                self.failed(partition, &error)
            }
        }
    }

    fn failed(&self, partition: u32, error: &ReadError) -> Result<(), FollowError> {
        let ReadError::PositionLost { oldest, .. } = error else {
            return Err(FollowError::Away(log::away(error)));
        };
        let (low, mut oldest) = (oldest.max(&0).cast_unsigned(), self.position.clone());
        match oldest.0.get_mut(partition as usize) {
            Some(offset) if *offset < low => *offset = low,
            // What was trimmed is only what came before: the next look begins anew.
            _ => return Ok(()),
        }
        Err(FollowError::Lost(oldest))
    }
}
