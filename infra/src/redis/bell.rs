//! The bell: how a script wakes one who waits, at once and without polling.
//!
//! A process listens on one channel of its own, on one connection, however many wait in it. A script publishes
//! `<whom> <words>` there, and the number of those who heard tells it whether that process still lives: 0 means that it
//! does not, or that its subscription broke, and another is to be woken.
//!
//! ```text
//! ring(whom) ──> waits <──(words)── Bell's task <──SUBSCRIBE── synod:bell:<uuid> <──PUBLISH── script
//!                  └── the subscription was made anew: words may have been missed, look yourself
//! ```
//!
//! Of several words to one waiter only the newest is kept: it must say all that counts.

use super::error::RedisError;
use super::keys;
use super::listener::{Heard, Listener};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

type Waiting = Mutex<HashMap<String, watch::Sender<Option<String>>>>;

/// One subscription of this process; it ends when the handle is dropped.
pub(crate) struct Bell {
    channel: String,
    waiting: Arc<Waiting>,
    /// Counts the subscriptions, from 1; 0 while there is none.
    up: watch::Receiver<u64>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// A script said this.
    Said(String),
    /// The subscription was made anew since: words may have been missed.
    Again,
}

/// One who waits; dropped, he waits no longer.
pub(crate) struct Ring {
    whom: String,
    channel: String,
    waiting: Arc<Waiting>,
    said: watch::Receiver<Option<String>>,
    up: watch::Receiver<u64>,
    /// The subscription under which was looked last.
    seen: u64,
}

impl Bell {
    /// Subscribes in the background.
    pub(crate) fn start(listener: Listener) -> Bell {
        let (publish, up) = watch::channel(0);
        let channel = format!("{}{}", keys::BELL_PREFIX, uuid::Uuid::new_v4());
        let waiting = Arc::<Waiting>::default();
        tokio::spawn(listen(listener, channel.clone(), waiting.clone(), publish));
        Bell { channel, waiting, up }
    }

    /// Waits for words to `whom`; of one name there is one at a time, the newest.
    pub(crate) fn ring(&self, whom: &str) -> Ring {
        let (say, said) = watch::channel(None);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(whom.to_owned(), say);
        Ring {
            whom: whom.to_owned(),
            channel: self.channel.clone(),
            waiting: self.waiting.clone(),
            said,
            seen: *self.up.borrow(),
            up: self.up.clone(),
        }
    }
}

impl Ring {
    /// The channel that it is called on.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits until the subscription stands; from then on no word is missed without [`Word::Again`].
    ///
    /// # Errors
    /// `Away`: not by `deadline`.
    pub(crate) async fn ready(&mut self, deadline: Instant) -> Result<(), RedisError> {
        let up = timeout_at(deadline, self.up.wait_for(|up| *up > 0)).await;
        match up.ok().and_then(Result::ok).map(|up| *up) {
            Some(up) => {
                self.seen = up;
                Ok(())
            }
            None => Err(RedisError::Away("no subscription, so nobody could be woken".to_owned())),
        }
    }

    /// The next word. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Word {
        let Ring { said, up, seen, .. } = self;
        let words = async {
            match said.changed().await {
                Ok(()) => said.borrow_and_update().clone().unwrap_or_default(),
                // Another one waits under this name.
                Err(_) => std::future::pending().await,
            }
        };
        let anew = async {
            let before = *seen;
            let found = up.wait_for(|up| *up > 0 && *up != before).await.map(|up| *up);
            match found {
                Ok(up) => up,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            words = words => Word::Said(words),
            up = anew => {
                self.seen = up;
                Word::Again
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless another one waits under this name by now: then our sender is gone.
        if self.said.has_changed().is_ok() {
            waiting.remove(&self.whom);
        }
    }
}

async fn listen(listener: Listener, channel: String, waiting: Arc<Waiting>, publish: watch::Sender<u64>) {
    let mut generation = 0;
    let listening = listener.listen(vec![channel], |heard| match heard {
        Heard::Stands => {
            generation += 1;
            publish.send_replace(generation);
        }
        Heard::Broke => drop(publish.send_replace(0)),
        Heard::Said { text, .. } => {
            let (whom, words) = text.split_once(' ').unwrap_or((text, ""));
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Who has just gone takes himself out; whoever gave him something takes it back then.
            if let Some(say) = waiting.get(whom) {
                say.send_replace(Some(words.to_owned()));
            }
        }
    });
    tokio::select! {
        never = listening => match never {},
        () = publish.closed() => {}
    }
}
