//! The one reader of the events topic, and what it has at hand.

use super::follow::Following;
use super::log::{self, Paging};
use super::{BACK, Recent, Sieve};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{PartitionReader, ReadError, Readers, Start, Watermarks};
use synod_protocol::event_stream::{EventFilter, EventPosition};
use synod_protocol::{Error, Workspace, topics};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes of all events at hand.
const BYTES_LIMIT: usize = 32 << 20;
/// Records taken at a time.
const BATCH: usize = 500;
/// How often a reader that reads nothing looks whether anybody still follows.
const LOOK: Duration = Duration::from_secs(1);
/// Without anybody who follows, it goes on for so long.
const LINGER: Duration = Duration::from_secs(5);
/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Hands out followings. A cheap clone.
#[derive(Clone)]
pub(crate) struct EventFeed {
    pub(super) hub: Arc<Hub>,
}

pub(super) struct Hub {
    pub(super) readers: Readers,
    pub(super) partitions: u32,
    closing: CancellationToken,
    state: Mutex<State>,
    /// Changes whenever there is more.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Of each partition what was read; `None` until it is, and where nobody reads.
    recent: Vec<Option<Recent>>,
    followers: usize,
    task: Option<JoinHandle<()>>,
}

/// Whoever has it counts as a follower.
pub(super) struct Seat {
    hub: Arc<Hub>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.followers = state.followers.saturating_sub(1);
    }
}

impl EventFeed {
    /// The events of this Kafka. Nothing is read before somebody follows, nor once it is `closing`.
    pub(crate) fn new(readers: Readers, partitions: u32, closing: CancellationToken) -> EventFeed {
        let news = watch::channel(()).0;
        EventFeed { hub: Arc::new(Hub { readers, partitions, closing, state: Mutex::default(), news }) }
    }

    /// How many follow now.
    pub(crate) fn followers(&self) -> usize {
        self.hub.lock().followers
    }

    /// After all that there is now.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn newest(&self) -> Result<EventPosition, Error> {
        Ok(log::position(&self.ends().await?, |log| log.high))
    }

    /// So many records of each partition before that; all that are kept for a number that is large enough.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn before_newest(&self, records: u32) -> Result<EventPosition, Error> {
        let begin = |log: &Watermarks| log.high.saturating_sub(i64::from(records)).max(log.low);
        Ok(log::position(&self.ends().await?, begin))
    }

    /// Before all that are kept.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn oldest(&self) -> Result<EventPosition, Error> {
        Ok(log::position(&self.ends().await?, |log| log.low))
    }

    async fn ends(&self) -> Result<Vec<Watermarks>, Error> {
        log::ends(&self.hub.readers, self.hub.partitions).await
    }

    /// Whether all that this filter means after this position is still kept.
    ///
    /// # Errors
    /// `position_lost`, with where to go on; `invalid_argument`: it is of another mesh; `unavailable`.
    pub(crate) async fn check(&self, filter: &EventFilter, position: &EventPosition) -> Result<(), Error> {
        log::check(position, &self.ends().await?, self.hub.only(filter))
    }

    /// A workspace's events that the filter means, after `position`, which was [checked](Self::check).
    pub(crate) fn follow(
        &self,
        workspace: Workspace,
        filter: EventFilter,
        position: EventPosition,
    ) -> Following {
        Following::new(self.hub.clone(), workspace, filter, position)
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Held for operations on what is in memory only; a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one partition in which all events of the filter are, if there is but one.
    pub(super) fn only(&self, filter: &EventFilter) -> Option<u32> {
        filter.entity.as_ref().map(|id| topics::partition(id.root().as_bytes(), self.partitions))
    }

    /// Counts as a follower from now on; the reader is started if there is none.
    pub(super) fn join(self: &Arc<Self>) -> (Seat, watch::Receiver<()>) {
        let mut state = self.lock();
        state.followers += 1;
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            state.recent = (0..self.partitions).map(|_| None).collect();
            state.task = Some(tokio::spawn(run(self.clone())));
        }
        (Seat { hub: self.clone() }, self.news.subscribe())
    }

    /// Looks at what is at hand of a partition; `None` until it is read.
    pub(super) fn recent<T>(&self, partition: u32, look: impl FnOnce(&Recent) -> T) -> Option<T> {
        self.lock().recent.get(partition as usize).and_then(Option::as_ref).map(look)
    }

    fn put(&self, partition: u32, recent: Option<Recent>) {
        if let Some(slot) = self.lock().recent.get_mut(partition as usize) {
            *slot = recent;
        }
        self.news.send_replace(());
    }

    /// Whether it is over, since nobody follows: whoever comes next starts another reader.
    fn is_over(&self) -> bool {
        let mut state = self.lock();
        if state.followers == 0 {
            (state.recent, state.task) = (Vec::new(), None);
        }
        state.task.is_none()
    }
}

/// Reads every partition until nobody has followed for a while.
async fn run(hub: Arc<Hub>) {
    let mut partitions: FuturesUnordered<_> =
        (0..hub.partitions).map(|partition| read(hub.clone(), partition)).collect();
    let mut followed = Instant::now();
    loop {
        tokio::select! {
            // None of them ends by itself.
            _ = partitions.next() => return,
            () = hub.closing.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if hub.lock().followers > 0 {
            followed = Instant::now();
        } else if followed.elapsed() > LINGER && hub.is_over() {
            return;
        }
    }
}

/// Reads a partition for ever.
async fn read(hub: Arc<Hub>, partition: u32) {
    loop {
        let Err(error) = try_read(&hub, partition).await;
        tracing::debug!(partition, %error, "events are not read");
        // Who follows reads the log, or waits.
        hub.put(partition, None);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads a partition from its newest records on.
async fn try_read(hub: &Hub, partition: u32) -> Result<std::convert::Infallible, ReadError> {
    let log = log::end(&hub.readers, partition).await?;
    let (low, high) = (log.low.max(0).cast_unsigned(), log.high.max(0).cast_unsigned());
    let from = high.saturating_sub(BACK as u64).max(low);
    let mut recent = Recent::starting(from, BYTES_LIMIT / hub.partitions.max(1) as usize);
    let mut paging = Paging::new(partition, from);
    while let Some(page) = paging.page(&hub.readers, high).await? {
        for event in page.events {
            recent.add(event.offset, Some(event));
        }
    }
    recent.next = high;
    let mut sieve = paging.into_sieve();
    let mut reader = hub.readers.open(topics::EVENTS, partition as i32, Start::Offset(high.cast_signed()))?;
    hub.put(partition, Some(recent));
    loop {
        match take(hub, partition, &mut reader, &mut sieve).await {
            Ok(()) => {}
            // librdkafka goes on by itself, but not from a position that is gone.
            Err(error @ ReadError::PositionLost { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(partition, %error, "events wait for Kafka");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn take(
    hub: &Hub,
    partition: u32,
    reader: &mut PartitionReader,
    sieve: &mut Sieve,
) -> Result<(), ReadError> {
    let records = reader.next_batch(BATCH, LOOK).await?;
    if records.is_empty() {
        return Ok(());
    }
    let events: Vec<_> =
        records.iter().map(|record| (record.offset.max(0).cast_unsigned(), sieve.take(record))).collect();
    drop(records);
    {
        let mut state = hub.lock();
        let recent = state.recent.get_mut(partition as usize).and_then(Option::as_mut);
        if let Some(recent) = recent {
            for (offset, event) in events {
                recent.add(offset, event);
            }
        }
    }
    hub.news.send_replace(());
    Ok(())
}
