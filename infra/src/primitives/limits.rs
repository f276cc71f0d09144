//! Rate limits: token buckets that all processes share, on Redis' clock.
//!
//! What a bucket holds is all that is kept. Rate and burst are the call's own: where two calls name different ones, each
//! refills since the last call at its own rate and caps at its own burst.

use super::keys;
use super::leases::{number, unexpected, words};
use crate::redis::{Call, Once, Redis, Repeatable};
use std::sync::LazyLock;
use synod_protocol::primitives::counters::{Take, Taken};
use synod_protocol::{Error, Name, Workspace};

static TAKE: LazyLock<Repeatable> =
    LazyLock::new(|| Repeatable::new("take_limit", include_str!("scripts/take_limit.lua")));

/// The rate limits of this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct RateLimits {
    redis: Redis,
}

impl RateLimits {
    /// All of this Redis.
    pub fn new(redis: Redis) -> RateLimits {
        RateLimits { redis }
    }

    /// Takes tokens, all or none. A bucket that nobody has used is full.
    ///
    /// # Errors
    /// `invalid_argument`; those of any call. That there are too few is no error.
    pub async fn take(
        &self,
        workspace: &Workspace,
        name: &Name,
        take: &Take,
        once: Option<&Once>,
    ) -> Result<Taken, Error> {
        let rate = take.check()?;
        let args = [take.take, rate, take.burst].map(|number| number.to_string()).to_vec();
        let call = Call { keys: vec![keys::limit(workspace, name)], args };
        let said = words(TAKE.run(&self.redis, call, once).await?)?;
        match said.as_slice() {
            [taken, after, left] => {
                Ok(Taken { allowed: taken == "1", retry_after_ms: number(after)?, remaining: number(left)? })
            }
            _ => Err(unexpected(&said)),
        }
    }
}
