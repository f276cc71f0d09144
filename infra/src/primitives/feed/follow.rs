//! One follower: from its position to now, and then on.

use super::hub::{Handed, Seat, Shared};
use super::{PAGE, Page, ends, page, place_of};
use crate::primitives::state::changes;
use crate::redis::{Backoff, RedisError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::primitives::changes::{Frame, Interest, Position, StateEvent};
use synod_protocol::primitives::state::{Change, RANGES};
use synod_protocol::{Code, Error};
use tokio::time::Instant;

/// How long one look for the hub lasts; it is looked for again.
const JOIN: Duration = Duration::from_secs(2);

/// A change, and the position after it.
#[derive(Clone, Debug)]
pub struct Told {
    /// To go on after it.
    pub position: Position,
    /// The change.
    pub change: Arc<Change>,
}

impl Told {
    /// As a stream shows it.
    pub fn frame(&self) -> Frame {
        Frame { position: self.position, event: StateEvent::of(&self.change) }
    }
}

/// Why it does not go on from here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// Some of what came after the position is no longer kept. It stays so: follow from another position, the oldest or
    /// now, and read again what was missed.
    #[error("changes after this position are no longer kept")]
    Lost {
        /// Before every change that is kept; `None` while that cannot be said.
        oldest: Option<Box<Position>>,
    },
    /// Redis cannot be asked now; the next call goes on where this one was.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl From<FollowError> for Error {
    fn from(error: FollowError) -> Error {
        match error {
            FollowError::Redis(error) => error.into(),
            FollowError::Lost { oldest } => Error {
                oldest: oldest.map(|position| position.to_string()),
                ..Error::new(
                    Code::PositionLost,
                    "changes after this position are no longer kept; read the keys again and go on from the oldest",
                )
            },
        }
    }
}

/// A follower's way through the changes. What it holds is bounded.
pub struct Following {
    shared: Arc<Shared>,
    interest: Interest,
    /// All up to here was read.
    position: Position,
    /// All up to here was told.
    told: Position,
    seat: Option<Seat>,
    /// The range to catch up with next; all below it are where the seat begins.
    catching_up: u32,
    ready: VecDeque<Told>,
    backoff: Backoff,
    not_before: Instant,
}

impl Following {
    pub(super) fn new(shared: Arc<Shared>, interest: Interest, position: Position) -> Following {
        Following {
            shared,
            interest,
            position,
            told: position,
            seat: None,
            catching_up: 0,
            ready: VecDeque::new(),
            backoff: Backoff::default(),
            not_before: Instant::now(),
        }
    }

    /// All up to here was told, and what was of no interest passed over.
    pub fn position(&mut self) -> Position {
        if !self.ready.is_empty() {
            return self.told;
        }
        if let Some(at) = self.seat.as_ref().filter(|_| self.catching_up >= RANGES).and_then(Seat::idle_at) {
            self.position = merged(&self.position, &at);
        }
        self.position
    }

    /// The next change; `None` when none came until `deadline`. May be dropped at any time without losing one.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Told>, FollowError> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                self.told = told.position;
                return Ok(Some(told));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            if self.not_before > Instant::now() {
                tokio::time::sleep_until(self.not_before.min(deadline)).await;
                continue;
            }
            let Some(seat) = &mut self.seat else {
                self.sit(deadline).await;
                continue;
            };
            if self.catching_up < RANGES {
                self.catch_up().await?;
                continue;
            }
            match tokio::time::timeout_at(deadline, seat.channel.recv()).await {
                Ok(Some(handed)) => self.take(handed),
                // Cut off: too slow, or the hub lost its connection.
                Ok(None) => self.seat = None,
                Err(_) => return Ok(None),
            }
        }
    }

    async fn sit(&mut self, deadline: Instant) {
        let limit = deadline.saturating_duration_since(Instant::now()).min(JOIN);
        self.seat = self.shared.join(&self.interest, limit).await;
        self.catching_up = 0;
        if self.seat.is_none() {
            self.not_before = Instant::now() + self.backoff.next_wait();
        }
    }

    fn take(&mut self, handed: Handed) {
        if handed.place <= self.position.mark(handed.range).place {
            return;
        }
        self.position = merged(&self.position, &handed.at);
        self.ready.push_back(Told { position: self.position, change: handed.change });
    }

    /// One page of one range.
    async fn catch_up(&mut self) -> Result<(), FollowError> {
        let range = self.catching_up;
        let Some(start) = self.seat.as_ref().map(|seat| seat.start.mark(range)) else { return Ok(()) };
        let mark = self.position.mark(range);
        if mark == start {
            self.catching_up += 1;
            return Ok(());
        }
        let (era, elements) = match page(&self.shared.redis, range, mark, PAGE).await {
            Ok(Page::Changes(era, elements)) => (era, elements),
            Ok(Page::Lost) => {
                // Where it begins is only for the one who asks: that it cannot be told changes nothing.
                let ends = ends(&self.shared.redis).await.ok().flatten();
                return Err(FollowError::Lost { oldest: ends.map(|ends| Box::new(ends.oldest)) });
            }
            Ok(Page::Closed) => {
                self.not_before = Instant::now() + self.backoff.next_wait();
                return Ok(());
            }
            Err(error) => {
                self.not_before = Instant::now() + self.backoff.next_wait();
                return Err(error.into());
            }
        };
        self.backoff.reset();
        if era != start.era {
            // The range began anew after the hub had.
            self.seat = None;
            return Ok(());
        }
        let is_all = elements.len() < PAGE;
        self.position.0[range as usize].era = era;
        for element in elements {
            let Some(place) = place_of(&element) else { continue };
            self.position.advance(range, place);
            match changes::read(element) {
                Ok(change) if self.interest.covers(&change) => {
                    self.ready.push_back(Told { position: self.position, change: Arc::new(change) });
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a change of shared state is told to nobody"),
            }
        }
        if is_all || self.position.mark(range).place >= start.place {
            self.position.advance(range, start.place);
            self.catching_up += 1;
        }
        Ok(())
    }
}

/// The later place of both, range by range; the hub's eras are those that count.
fn merged(position: &Position, hub: &Position) -> Position {
    let mut merged = *hub;
    for (mark, ours) in merged.0.iter_mut().zip(&position.0) {
        mark.place = mark.place.max(ours.place);
    }
    merged
}
