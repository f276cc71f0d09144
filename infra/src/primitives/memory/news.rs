//! That a memory was written, for whoever publishes it.

use crate::primitives::keys;
use crate::redis::Redis;
use redis::Pipeline;
use serde::{Deserialize, Serialize};
use synod_protocol::primitives::memory::MemoryOp;
use synod_protocol::{Id, Name, Workspace};

/// News that may wait for a coordinator, the newest ones.
const NEWS_LIMIT: i64 = 10_000;

/// What happened to a memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNews {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// Whose memory.
    pub agent_id: Id,
    /// What was done.
    pub op: MemoryOp,
    /// To which keys.
    pub keys: Vec<Name>,
    /// From whom they came.
    pub from: Option<Id>,
}

/// Has a coordinator publish it. Nothing is decided by such an event: what is not heard is not published.
pub async fn tell(redis: &Redis, news: &MemoryNews) {
    // Names and ids always have a JSON form.
    let Ok(text) = serde_json::to_string(news) else { return };
    let mut both = Pipeline::with_capacity(2);
    both.cmd("RPUSH").arg(keys::MEMORY_NEWS).arg(text);
    both.cmd("LTRIM").arg(keys::MEMORY_NEWS).arg(-NEWS_LIMIT).arg(-1);
    if let Err(error) = redis.pipeline(&both).await {
        tracing::debug!(%error, "news of a memory are not told");
    }
}
