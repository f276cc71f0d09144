//! Which effects are confirmed, until the serving loop comes by. Nothing follows from a confirmation but what the next step says
//! of it, so that the loop is not woken for one, unless it waits for just that: a task that comes alone has half a dozen.

use std::sync::{Arc, Mutex, PoisonError};
use synod_infra::telemetry::names;
use tokio::sync::Notify;

/// The offsets of steps, each as often as an effect of it is confirmed. Bounded by what may be owed.
#[derive(Clone, Default)]
pub(in crate::shard) struct Confirmed(Arc<Inside>);

#[derive(Default)]
struct Inside {
    steps: Mutex<Vec<u64>>,
    more: Notify,
}

impl Confirmed {
    /// One effect of the step at this offset, of this kind.
    pub(super) fn add(&self, offset: u64, kind: &'static str) {
        self.ended(offset, kind, "confirmed");
    }

    /// One that its receiver refuses for good: it is over, and not tried again.
    pub(super) fn refused(&self, offset: u64, kind: &'static str) {
        self.ended(offset, kind, "refused");
    }

    fn ended(&self, offset: u64, kind: &'static str, outcome: &'static str) {
        metrics::counter!(names::EFFECTS_TOTAL, "kind" => kind, "outcome" => outcome).increment(1);
        self.0.steps.lock().unwrap_or_else(PoisonError::into_inner).push(offset);
        self.0.more.notify_one();
    }

    /// All that have come since.
    pub(in crate::shard) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.steps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when some may have come.
    pub(in crate::shard) async fn come(&self) {
        self.0.more.notified().await;
    }
}
