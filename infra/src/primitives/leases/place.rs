//! A place in line, or a lease that nobody has been told of: given up when it is dropped.

use super::Kind;
use crate::redis::{Call, Once, Redis};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait between two attempts to leave, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What a request may have in Redis. Whoever drops it while it is armed leaves: the line, and what was granted meanwhile.
pub(super) struct Place {
    redis: Redis,
    kind: &'static Kind,
    call: Option<Call>,
    /// After it nothing can be left: the lease would have run out.
    until: Instant,
}

impl Place {
    pub(super) fn new(
        redis: Redis,
        kind: &'static Kind,
        mut keys: Vec<String>,
        (request, call): (&str, &str),
        once: Option<&Once>,
        until: Instant,
    ) -> Place {
        let kept = once.map(|once| once.kept_beside(&keys[0]));
        let args = vec![request.to_owned(), u8::from(kept.is_some()).to_string(), call.to_owned()];
        keys.extend(kept);
        Place { redis, kind, call: Some(Call { keys, args }), until }
    }

    /// The caller knows what it has: nothing is given up any more.
    pub(super) fn settled(&mut self) {
        self.call = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        let (redis, kind, until) = (self.redis.clone(), self.kind, self.until);
        // Without a runtime there is nobody who could say it: the place ends with its limit, the lease with its time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(leave(redis, kind, call, until));
        }
    }
}

async fn leave(redis: Redis, kind: &'static Kind, call: Call, until: Instant) {
    let mut wait = WAITS.0;
    loop {
        let once_more = Call { keys: call.keys.clone(), args: call.args.clone() };
        match kind.leave.run(&redis, once_more).await {
            Ok(_) => return,
            Err(error) if !error.is_transient() || Instant::now() + wait > until => {
                tracing::warn!(%error, kind = kind.what, "a place in line ends with its limit: it could not be left");
                return;
            }
            Err(_) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAITS.1);
    }
}
