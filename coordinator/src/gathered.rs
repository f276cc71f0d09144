//! What nobody waits for: events and views of all shards, gathered for a moment and sent together. Each batch is a request to Kafka or
//! Redis and back, and each request wakes this process several times; a task that comes alone would make half a dozen.
//!
//! ```text
//! performers --event--> every 5 ms ---> Kafka, acknowledged to the shard
//!            --view---> every 25 ms --> Redis
//! ```

use crate::shard::Sending;
use crate::{Shared, moments};
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::view::{ViewWrite, Views};
use synod_infra::telemetry::names;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long events are gathered, at most: who reads them right after an answer should find them.
const EVENTS_EVERY: Duration = Duration::from_millis(5);
/// The same of views, which are read when memory has them no more.
const VIEWS_EVERY: Duration = Duration::from_millis(25);
/// Of each so many are sent at a time; with as many more waiting, whoever brings the next one waits.
const AT_ONCE: usize = 1_024;

/// Where they are brought. What was brought is sent, also after the end of the epoch that it is of.
pub(crate) struct Gathered {
    events: mpsc::Sender<Sending>,
    views: mpsc::Sender<(u32, ViewWrite)>,
}

/// Where they are taken.
pub(crate) struct ToSend {
    events: mpsc::Receiver<Sending>,
    views: mpsc::Receiver<(u32, ViewWrite)>,
}

/// Both ends.
pub(crate) fn channel() -> (Gathered, ToSend) {
    let (events, brought) = mpsc::channel(AT_ONCE);
    let (views, come) = mpsc::channel(AT_ONCE);
    (Gathered { events, views }, ToSend { events: brought, views: come })
}

impl Gathered {
    /// One event more.
    pub(crate) async fn event(&self, event: Sending) {
        // It ends only with us.
        let _ = self.events.send(event).await;
    }

    /// One view more, of what this shard has.
    pub(crate) async fn view(&self, shard: u32, view: ViewWrite) {
        // It ends only with us.
        let _ = self.views.send((shard, view)).await;
    }
}

/// Sends what is gathered, until `stop` and until nothing is left.
pub(crate) async fn run(shared: Arc<Shared>, to_send: ToSend, stop: CancellationToken) {
    tokio::join!(events(&shared, to_send.events, &stop), views(&shared, to_send.views, &stop));
}

async fn events(shared: &Shared, mut brought: mpsc::Receiver<Sending>, stop: &CancellationToken) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while gather(&mut brought, &mut batch, EVENTS_EVERY, stop).await {
        // In their order: those of one entity stand in one partition.
        for event in batch.drain(..) {
            event.begin(&shared.kafka).await;
        }
    }
}

async fn views(shared: &Shared, mut brought: mpsc::Receiver<(u32, ViewWrite)>, stop: &CancellationToken) {
    let (store, limit) = (Views::new(shared.redis.clone()), shared.config.view_bytes);
    let mut batch = Vec::with_capacity(AT_ONCE);
    while gather(&mut brought, &mut batch, VIEWS_EVERY, stop).await {
        // Not tried again: the ledger has what they show.
        let put = store.put_within(limit, batch.drain(..)).await;
        let lost = put.iter().filter(|outcome| outcome.is_err()).count();
        if lost > 0 {
            metrics::counter!(names::EFFECTS_TOTAL, "kind" => "view", "outcome" => "failed")
                .increment(lost as u64);
            tracing::debug!(lost, "views were not written");
        }
    }
}

/// Waits for the first, then for the others until the next moment; `false` when none are left after `stop`.
async fn gather<T>(
    brought: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    every: Duration,
    stop: &CancellationToken,
) -> bool {
    tokio::select! {
        biased;
        Some(first) = brought.recv() => batch.push(first),
        () = stop.cancelled() => return false,
    }
    stop.run_until_cancelled(tokio::time::sleep_until(moments::next(every))).await;
    while batch.len() < AT_ONCE
        && let Ok(next) = brought.try_recv()
    {
        batch.push(next);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_come_goes_together_and_nothing_is_left_at_the_end() {
        let (bring, mut brought) = mpsc::channel(AT_ONCE);
        let (stop, mut batch) = (CancellationToken::new(), Vec::new());
        for n in 0..3 {
            bring.send(n).await.unwrap();
        }
        assert!(gather(&mut brought, &mut batch, EVENTS_EVERY, &stop).await);
        assert_eq!(batch, [0, 1, 2]);
        for n in 0..2 {
            bring.send(n).await.unwrap();
        }
        stop.cancel();
        batch.clear();
        assert!(gather(&mut brought, &mut batch, EVENTS_EVERY, &stop).await);
        assert_eq!(batch, [0, 1]);
        assert!(!gather(&mut brought, &mut batch, EVENTS_EVERY, &stop).await, "there is nothing more");
    }
}
