//! Waits until the mirror has a change: a write with `durability: "ledger"` is answered only then.
//!
//! One subscription per process, on all ranges' `news`, opened by the first who waits. What is heard there only wakes:
//! whether a change is mirrored is asked of Redis, which alone knows whether it still has that change.

use super::keys;
use crate::redis::{Call, Heard as Word, Redis, RedisError, Script};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use synod_protocol::primitives::changes::Place;
use synod_protocol::primitives::state::RANGES;
use synod_protocol::{Applied, Error};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Even without news it is asked again this often: a subscription may die without a word.
const ASK_AGAIN: Duration = Duration::from_secs(1);

static HAS_MIRRORED: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_has_mirrored", include_str!("../scripts/state_has_mirrored.lua")));

/// Waits for the mirror. A cheap clone; the subscription ends with the last.
#[derive(Clone)]
pub struct Mirrored {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    /// What was heard of each range.
    heard: Arc<Vec<watch::Sender<Heard>>>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// What is known of a range without asking.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// The greatest place that was told.
    place: Place,
    /// Counts the subscriptions: what came before one stood was not heard.
    subscriptions: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Mirrored {
    /// For this Redis.
    pub fn new(redis: Redis) -> Mirrored {
        let inner = Inner {
            redis,
            heard: Arc::new((0..RANGES).map(|_| watch::channel(Heard::default()).0).collect()),
            listening: Mutex::default(),
        };
        Mirrored { inner: Arc::new(inner) }
    }

    /// Waits until the mirror has the change at `place` of `range` (`<ms>-<n>`, as the write was told).
    ///
    /// # Errors
    /// `unavailable` with `applied: unknown` when it is not known to be mirrored in time: it is in Redis unless that was
    /// lost meanwhile, and may be mirrored later.
    pub async fn wait(&self, range: u32, place: &str, limit: Duration) -> Result<(), Error> {
        let until = Instant::now() + limit;
        let place = super::place(place)?;
        let wanted = place;
        let Some(mut heard) = self.listen(range) else {
            return Err(Error::invalid(format!("there is no range {range} of shared state")));
        };
        let unknown = |why: &str| Error {
            applied: Some(Applied::Unknown),
            ..Error::unavailable(format!("written to Redis, but not known to be in Kafka: {why}"))
        };
        loop {
            let before = heard.borrow_and_update().subscriptions;
            match timeout_at(until, self.ask(range, wanted)).await {
                Ok(Ok(Answer::Yes)) => return Ok(()),
                Ok(Ok(Answer::Unknown)) => return Err(unknown("Redis no longer has that change")),
                // Redis may be back in time.
                Ok(Ok(Answer::NotYet) | Err(_)) => {}
                Err(_) => break,
            }
            let again = (Instant::now() + ASK_AGAIN).min(until);
            // The sender lives as long as this handle; the end of the time is looked at below.
            let news = heard.wait_for(|heard| heard.place >= wanted || heard.subscriptions != before);
            let _ = timeout_at(again, news).await;
            if Instant::now() >= until {
                break;
            }
        }
        Err(unknown(&format!("not confirmed within {} ms", limit.as_millis())))
    }

    async fn ask(&self, range: u32, place: Place) -> Result<Answer, RedisError> {
        let keys = vec![keys::state_mirrored(range), keys::state_changes(range)];
        let answer =
            HAS_MIRRORED.run(&self.inner.redis, Call { keys, args: vec![place.to_string()] }).await?;
        let word: String = redis::from_redis_value(answer)?;
        match word.as_str() {
            "yes" => Ok(Answer::Yes),
            "not yet" => Ok(Answer::NotYet),
            _ => Ok(Answer::Unknown),
        }
    }

    fn listen(&self, range: u32) -> Option<watch::Receiver<Heard>> {
        let mut listening = self.inner.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.as_ref().is_none_or(JoinHandle::is_finished) {
            *listening = Some(tokio::spawn(listen(self.inner.redis.clone(), self.inner.heard.clone())));
        }
        self.inner.heard.get(range as usize).map(watch::Sender::subscribe)
    }
}

impl std::fmt::Debug for Mirrored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mirrored").field(&self.inner.redis).finish()
    }
}

enum Answer {
    Yes,
    NotYet,
    Unknown,
}

async fn listen(redis: Redis, waiting: Arc<Vec<watch::Sender<Heard>>>) {
    let channels: Vec<String> = (0..RANGES).map(keys::state_news).collect();
    let listening = redis.listener().listen(channels.clone(), |word| match word {
        Word::Stands => waiting.iter().for_each(|heard| heard.send_modify(|heard| heard.subscriptions += 1)),
        Word::Said { channel, text } => {
            let range = channels.iter().position(|known| known == channel);
            if let (Some(heard), Ok(place)) = (range.and_then(|r| waiting.get(r)), text.parse()) {
                heard.send_modify(|heard| heard.place = heard.place.max(place));
            }
        }
        Word::Broke => {}
    });
    match listening.await {}
}
