//! A Redis that throws away what it was given when its memory is full is refused at the start, unless that is accepted:
//! locks, permits and inboxes would go without a word.

use crate::Shared;
use std::time::Duration;

/// The policy that throws nothing away.
const KEEPS: &str = "noeviction";
/// How often it is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits for a Redis that keeps what it is given, however long that takes.
pub(crate) async fn prepare(shared: &Shared) {
    if shared.config.accept_eviction {
        return;
    }
    loop {
        match shared.redis.eviction_policy().await {
            Ok(policy) if policy == KEEPS => break,
            Ok(policy) => {
                let why = format!(
                    "maxmemory-policy is {policy}, should be {KEEPS}: it may throw away locks, permits and work; \
                     CONFIG SET maxmemory-policy {KEEPS}, or start with --accept-eviction"
                );
                tracing::warn!(%why, "Redis is not used");
                shared.status.unfit(Some(why));
            }
            // That it is away is said by those who need it.
            Err(error) => tracing::debug!(%error, "Redis does not say what it throws away"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    shared.status.unfit(None);
}
