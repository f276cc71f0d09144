//! Who waits for a message, and how it is woken.
//!
//! A process has one subscription, to a channel of its own. Each of its waiting consumers stands in the queue's line as
//! `<process> <n>`; a script that makes a message ready takes the first out of the line and publishes `n` on its
//! process' channel. If nobody hears that, the process is gone, and the next in line is taken.
//!
//! ```text
//! lease --nothing--> in the line --PUBLISH n--> woken --> lease again (at its old place, if another was quicker)
//!                        `-- dropped, time over --> leave: what it was woken for is passed on
//! ```

use super::Queues;
use crate::primitives::keys;
use crate::redis::{Heard, Redis, RedisError};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use synod_protocol::{Name, Workspace};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// The waiting consumers of one handle and its clones.
#[derive(Clone)]
pub(super) struct Wakes {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    process: Uuid,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Arc<Slot>>>,
    /// The subscription, begun by the first who waits.
    subscription: OnceLock<Subscription>,
}

/// What one who waits was told.
#[derive(Default)]
struct Slot {
    told: Notify,
    /// When it is to look again, as far as it was told.
    look_at: Mutex<Option<Instant>>,
}

impl Slot {
    fn tell(&self, look_at: Instant) {
        let mut told = self.look_at.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some(told.map_or(look_at, |before| before.min(look_at)));
        self.told.notify_one();
    }
}

struct Subscription {
    /// Whether it stands.
    stands: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wakes {
    pub(super) fn new(redis: Redis) -> Wakes {
        Wakes {
            inner: Arc::new(Inner {
                redis,
                process: Uuid::new_v4(),
                next: AtomicU64::new(1),
                waiting: Mutex::default(),
                subscription: OnceLock::new(),
            }),
        }
    }

    /// Waits until the subscription stands, within the limit of a call.
    async fn listening(&self) -> Result<(), RedisError> {
        let inner = &self.inner;
        let subscription = inner.subscription.get_or_init(|| {
            let (publish, stands) = watch::channel(false);
            let listening = listen(inner.redis.clone(), inner.process, Arc::downgrade(inner), publish);
            Subscription { stands, task: tokio::spawn(listening) }
        });
        let limit = inner.redis.command_timeout();
        let mut stands = subscription.stands.clone();
        match tokio::time::timeout(limit, stands.wait_for(|stands| *stands)).await {
            Ok(Ok(_)) => Ok(()),
            // Nothing was asked of the queue yet.
            _ => Err(RedisError::Away(format!(
                "no subscription at {} within {} ms",
                inner.redis.endpoint(),
                limit.as_millis()
            ))),
        }
    }
}

impl Inner {
    /// Passes on `<n> now` or `<n> <ms>`.
    fn heard(&self, text: &str) {
        let Some((n, word)) = text.split_once(' ') else { return };
        let wait = Duration::from_millis(word.parse().unwrap_or(0));
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is not there any more has passed it on, or is about to.
        if let Some(slot) = n.parse().ok().and_then(|n: u64| waiting.get(&n)) {
            slot.tell(Instant::now() + wait);
        }
    }

    /// Something may have been missed.
    fn wake_all(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().for_each(|slot| slot.tell(Instant::now()));
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wakes").field(&self.inner.process).finish()
    }
}

async fn listen(redis: Redis, process: Uuid, of: Weak<Inner>, publish: watch::Sender<bool>) {
    let listening = redis.listener().listen(vec![keys::queue_wake(&process)], |heard| {
        if let Heard::Stands | Heard::Broke = heard {
            publish.send_replace(matches!(heard, Heard::Stands));
        }
        let Some(inner) = of.upgrade() else { return };
        match heard {
            Heard::Said { text, .. } => inner.heard(text),
            // They find out for themselves what is the matter.
            Heard::Stands | Heard::Broke => inner.wake_all(),
        }
    });
    match listening.await {}
}

/// One who waits.
pub(super) struct Waiter<'a> {
    queues: &'a Queues,
    workspace: &'a Workspace,
    queue: &'a Name,
    n: u64,
    slot: Arc<Slot>,
    /// Whether it may stand in the line.
    pub(super) in_line: bool,
}

impl<'a> Waiter<'a> {
    pub(super) async fn new(
        queues: &'a Queues,
        workspace: &'a Workspace,
        queue: &'a Name,
    ) -> Result<Waiter<'a>, RedisError> {
        queues.wakes.listening().await?;
        let inner = &queues.wakes.inner;
        let (n, slot) = (inner.next.fetch_add(1, Ordering::Relaxed), Arc::new(Slot::default()));
        inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(n, slot.clone());
        Ok(Waiter { queues, workspace, queue, n, slot, in_line: false })
    }

    /// What it is called in the line.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.queues.wakes.inner.process, self.n)
    }

    /// Returns when it is to look again: at `look`, or when it is told.
    pub(super) async fn woken(&self, look: Instant) {
        loop {
            let told = self.slot.look_at.lock().unwrap_or_else(PoisonError::into_inner).to_owned();
            let until = told.map_or(look, |told| told.min(look));
            if tokio::time::timeout_at(until, self.slot.told.notified()).await.is_err() {
                // What is said from now on is for the next time.
                *self.slot.look_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return;
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let inner = &self.queues.wakes.inner;
        inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.n);
        if !self.in_line {
            return;
        }
        // What it was woken for, or watched over, another must have.
        let (queues, who) = (self.queues.clone(), self.name());
        let (workspace, queue) = (self.workspace.clone(), self.queue.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { queues.leave(&workspace, &queue, who).await });
        }
    }
}
