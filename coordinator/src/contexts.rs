//! That an agent's context has a new version, or its memory was written, is published, by whichever coordinator hears of it first.
//!
//! The agent writes its context to Redis itself; no record stands behind the event, and one may be missed where a
//! coordinator ends between hearing and publishing. The versions themselves say what is there.

use crate::fleet::wall_clock;
use crate::{Shared, publish};
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::primitives::memory::MemoryNews;
use synod_infra::redis::context::{Heard, News, NewsReader};
use synod_protocol::checkpoint::{CONTEXT_UPDATED, ContextUpdated};
use synod_protocol::primitives::memory::MemoryUpdated;
use tokio_util::sync::CancellationToken;

/// How long one look lasts.
const LOOK: Duration = Duration::from_secs(30);
/// The pause after a failure, besides the reader's own.
const AGAIN: Duration = Duration::from_millis(200);

/// Publishes until `stop`.
pub(crate) async fn publish_news(shared: Arc<Shared>, stop: CancellationToken) {
    let mut reader = NewsReader::new(shared.redis.clone());
    loop {
        let news = tokio::select! {
            news = reader.next(LOOK) => news,
            () = stop.cancelled() => return,
        };
        match news {
            Ok(news) => news.into_iter().for_each(|news| match news {
                Heard::Context(news) => tell(&shared, news),
                Heard::Memory(news) => tell_of_memory(&shared, news),
            }),
            Err(error) => {
                tracing::debug!(%error, "news of agents' contexts are not heard");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {} // the reader's own backoff comes on top
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

fn tell(shared: &Shared, news: News) {
    let key = AgentKey { workspace: news.workspace, agent: news.agent_id };
    let known = shared.fleet.lock().registry.get(&key).map(|member| (member.entry.status, member.health()));
    let version = news.version;
    let updated = ContextUpdated {
        agent_id: key.agent.clone(),
        incarnation: version.incarnation,
        status: known.map(|(status, _)| status),
        health: known.map(|(_, health)| health),
        version: version.version,
        bytes: version.bytes,
        cause: version.cause,
        saved_at: version.saved_at,
    };
    publish::about_agent(shared, &key, CONTEXT_UPDATED, wall_clock(), &updated);
}

fn tell_of_memory(shared: &Shared, news: MemoryNews) {
    let key = AgentKey { workspace: news.workspace, agent: news.agent_id };
    let known = shared.fleet.lock().registry.get(&key).map(|member| (member.entry.status, member.health()));
    let updated = MemoryUpdated {
        agent_id: key.agent.clone(),
        status: known.map(|(status, _)| status),
        health: known.map(|(_, health)| health),
        op: news.op,
        keys: news.keys,
        from: news.from,
    };
    publish::about_agent(shared, &key, CONTEXT_UPDATED, wall_clock(), &updated);
}
