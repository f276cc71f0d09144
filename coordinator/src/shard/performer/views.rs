//! Views of what has ended, written beside everything else: no agent waits for its work while they are.
//!
//! What is written takes a few round trips to Redis, and the more comes meanwhile the more goes into the next.

use super::BATCH;
use crate::Shared;
use std::sync::Arc;
use synod_infra::redis::view::{ViewWrite, Views};
use synod_infra::telemetry::names;
use tokio::sync::mpsc;

/// Views that may wait; with more, whoever brings the next one waits.
const WAITING: usize = 1_024;

/// Where views are handed in. Those that have been are written, also after its end.
pub(super) struct Writer(mpsc::Sender<ViewWrite>);

impl Writer {
    /// Starts one for this shard.
    pub(super) fn start(shared: Arc<Shared>, shard: u32) -> Writer {
        let (bring, brought) = mpsc::channel(WAITING);
        tokio::spawn(write(shared, shard, brought));
        Writer(bring)
    }

    /// One more.
    pub(super) async fn take(&self, view: ViewWrite) {
        // It ends only with us.
        let _ = self.0.send(view).await;
    }
}

async fn write(shared: Arc<Shared>, shard: u32, mut brought: mpsc::Receiver<ViewWrite>) {
    let (views, limit) = (Views::new(shared.redis.clone()), shared.config.view_bytes);
    let mut batch = Vec::with_capacity(BATCH);
    while brought.recv_many(&mut batch, BATCH).await > 0 {
        // Not tried again: the ledger has what they show.
        let put = views.put_within(shard, limit, std::mem::take(&mut batch)).await;
        let lost = put.iter().filter(|outcome| outcome.is_err()).count();
        if lost > 0 {
            metrics::counter!(names::EFFECTS_TOTAL, "kind" => "view", "outcome" => "failed")
                .increment(lost as u64);
            tracing::debug!(lost, "views were not written");
        }
    }
}
