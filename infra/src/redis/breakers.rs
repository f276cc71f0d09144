//! What coordinators keep of agents' breakers for whoever comes next: a text for each agent, for a while.
//!
//! The last who had something to say has said it. How long ago that was follows from how long the text is still kept, so
//! that nobody's clock is compared with another's.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use redis::Pipeline;
use std::time::Duration;
use synod_protocol::{Id, Workspace};

/// How long it is kept after the last word: what nobody has counted for so long says nothing any more.
pub const BREAKERS_KEPT: Duration = Duration::from_secs(600);
/// Agents in one write, or read.
const AT_ONCE: usize = 256;

/// What is kept of breakers in this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct KeptBreakers {
    redis: Redis,
}

impl KeptBreakers {
    /// All that is kept in this Redis.
    pub fn new(redis: Redis) -> KeptBreakers {
        KeptBreakers { redis }
    }

    /// Keeps these.
    ///
    /// # Errors
    /// Those of any call; some may be kept all the same.
    pub async fn save(&self, texts: &[(Workspace, Id, String)]) -> Result<(), RedisError> {
        for some in texts.chunks(AT_ONCE) {
            let mut write = Pipeline::with_capacity(some.len());
            for (workspace, agent, text) in some {
                let key = keys::breakers(workspace, agent);
                write.cmd("SET").arg(key).arg(text).arg("PX").arg(BREAKERS_KEPT.as_millis() as u64);
            }
            for value in self.redis.pipeline(&write).await?.values {
                value.extract_error()?;
            }
        }
        Ok(())
    }

    /// What is kept of these agents, and since when; in their order.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn load(
        &self,
        agents: &[(Workspace, Id)],
    ) -> Result<Vec<Option<(String, Duration)>>, RedisError> {
        let mut found = Vec::with_capacity(agents.len());
        for some in agents.chunks(AT_ONCE) {
            let mut read = Pipeline::with_capacity(2 * some.len());
            for (workspace, agent) in some {
                let key = keys::breakers(workspace, agent);
                read.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
            }
            let mut values = self.redis.pipeline(&read).await?.values.into_iter();
            while let (Some(text), Some(left)) = (values.next(), values.next()) {
                let text: Option<String> = redis::from_redis_value(text.extract_error()?)?;
                let left: i64 = redis::from_redis_value::<i64>(left.extract_error()?)?;
                let ago = |left: u64| BREAKERS_KEPT.saturating_sub(Duration::from_millis(left));
                found.push(text.zip(u64::try_from(left).ok().map(ago)));
            }
        }
        Ok(found)
    }
}
