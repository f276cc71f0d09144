//! The shared connection, and the one task that replaces it when it breaks.
//!
//! However many callers see it break, one task reconnects: backoff with full jitter, 10 ms to 250 ms, for
//! as long as it takes. Callers wait for the new connection within their own time limit.
//!
//! ```text
//! caller --get--> Up(generation, connection) --command fails--> doubt(generation) --> task: Down, connect, Up(+1)
//! ```

use super::config::RedisConfig;
use super::error::RedisError;
use super::place::Place;
use crate::telemetry::names;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// The first wait between two attempts to connect is drawn below this.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// No wait between two attempts to connect is longer.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Waits between attempts: doubling, drawn at random below the bound, so that many processes do not return as one.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; each call counts as one more failure.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let bound = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // The low bits of a version 4 UUID are random; no generator of our own is needed for a jitter.
        let draw = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff;
        bound.mul_f64(draw as f64 / 65_536.0).max(Duration::from_millis(1))
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// One open connection; `generation` counts the connections that this link has had, from 1.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) generation: u64,
    pub(crate) connection: MultiplexedConnection,
}

#[derive(Clone)]
enum State {
    Down { why: RedisError },
    Up(Up),
}

/// The handle of the shared connection; its task ends when the last handle is dropped.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    doubt: Arc<Doubt>,
}

#[derive(Default)]
struct Doubt {
    /// The newest generation that a caller saw break.
    generation: AtomicU64,
    wake: Notify,
}

impl Link {
    /// Starts the task; it connects at once and nobody need ask for it.
    pub(crate) fn start(place: Place, config: RedisConfig) -> Link {
        let (publish, state) =
            watch::channel(State::Down { why: RedisError::Away("not connected yet".to_owned()) });
        let doubt = Arc::new(Doubt::default());
        tokio::spawn(keep_connected(place, config, publish, Arc::clone(&doubt)));
        Link { state, doubt }
    }

    /// The open connection, waited for until `deadline`.
    ///
    /// One that is in doubt is not handed out again, even before the task has seen the doubt: callers that
    /// repeat at once would spin on it and keep the task from running.
    ///
    /// # Errors
    /// `Away` with the reason of the last failed attempt.
    pub(crate) async fn get(&self, deadline: Instant) -> Result<Up, RedisError> {
        let usable = |state: &State| match state {
            State::Up(up) if up.generation > self.doubt.generation.load(Ordering::Acquire) => {
                Some(up.clone())
            }
            _ => None,
        };
        if let Some(up) = usable(&self.state.borrow()) {
            return Ok(up);
        }
        let mut state = self.state.clone();
        let opened = timeout_at(deadline, state.wait_for(|s| usable(s).is_some())).await;
        match opened.ok().and_then(Result::ok).and_then(|s| usable(&s)) {
            Some(up) => Ok(up),
            None => Err(self.why_down()),
        }
    }

    /// Says that a command on this generation failed in a way that condemns the connection.
    pub(crate) fn doubt(&self, generation: u64) {
        self.doubt.generation.fetch_max(generation, Ordering::AcqRel);
        self.doubt.wake.notify_one();
    }

    fn why_down(&self) -> RedisError {
        match &*self.state.borrow() {
            State::Down { why } => why.clone(),
            State::Up(_) => RedisError::Away("the connection came too late for this call".to_owned()),
        }
    }
}

async fn keep_connected(place: Place, config: RedisConfig, publish: watch::Sender<State>, doubt: Arc<Doubt>) {
    let endpoint = config.endpoint();
    let mut generation = 0;
    loop {
        let moved = place.moved();
        tokio::pin!(moved);
        let connection = tokio::select! {
            connection = connect_patiently(&place, &config, &publish) => connection,
            () = publish.closed() => return,
        };
        generation += 1;
        metrics::counter!(names::REDIS_CONNECTS_TOTAL).increment(1);
        tracing::debug!(%endpoint, generation, "connected to Redis");
        publish.send_replace(State::Up(Up { generation, connection }));
        while doubt.generation.load(Ordering::Acquire) < generation {
            tokio::select! {
                () = doubt.wake.notified() => {}
                () = &mut moved => {
                    doubt.generation.fetch_max(generation, Ordering::AcqRel);
                }
                () = publish.closed() => return,
            }
        }
        tracing::warn!(%endpoint, generation, "the connection to Redis is given up");
        publish.send_replace(State::Down { why: RedisError::Away("the connection broke".to_owned()) });
    }
}

/// As a caller meets it: whatever it was, nothing of his was done.
fn away(error: RedisError) -> RedisError {
    match error {
        known @ (RedisError::Denied(_) | RedisError::Away(_)) => known,
        other => RedisError::Away(other.to_string()),
    }
}

async fn connect_patiently(
    place: &Place,
    config: &RedisConfig,
    publish: &watch::Sender<State>,
) -> MultiplexedConnection {
    let mut backoff = Backoff::default();
    loop {
        match place.connect(config).await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::debug!(endpoint = %config.endpoint(), %error, "Redis cannot be reached");
                config.heed(&error);
                publish.send_replace(State::Down { why: away(error) });
            }
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= FIRST_WAIT, "{:?}", waits[0]);
        assert!(waits.iter().all(|w| *w <= LONGEST_WAIT && !w.is_zero()));
        let distinct: std::collections::BTreeSet<_> = waits[10..].iter().collect();
        assert!(distinct.len() > 100, "{} distinct waits", distinct.len());
        assert!(waits[10..].iter().any(|w| *w > LONGEST_WAIT / 2), "the bound is used");
    }
}
