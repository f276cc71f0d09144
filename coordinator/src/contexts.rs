//! That an agent's context has a new version is published, by whichever coordinator hears of it first.
//!
//! The agent writes its context to Redis itself; no record stands behind the event, and one may be missed where a
//! coordinator ends between hearing and publishing. The versions themselves say what is there.

use crate::Shared;
use crate::fleet::wall_clock;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::kafka::Outgoing;
use synod_infra::redis::context::{News, NewsReader};
use synod_protocol::checkpoint::{CONTEXT_UPDATED, ContextUpdated};
use synod_protocol::{Envelope, Json, topics};
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
            Ok(news) => news.into_iter().for_each(|news| publish(&shared, news)),
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

fn publish(shared: &Shared, news: News) {
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
    let source = format!("/synod/coordinators/{}", shared.config.id);
    let envelope = Envelope {
        time: Some(wall_clock()),
        workspace: key.workspace.clone(),
        subject: Some(key.agent.to_string()),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), source, CONTEXT_UPDATED)
    };
    let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
    let sent = Json::of(&updated).map_err(|error| error.to_string()).and_then(|value| {
        let out = Outgoing::to(topics::EVENTS)
            .envelope(&envelope)
            .key(key.agent.as_str())
            .payload(value.as_str())
            .partition(shard as i32);
        let producer = shared.kafka.effects().map_err(|error| error.to_string())?;
        let report = |delivery: Result<_, _>| {
            if let Err(error) = delivery {
                tracing::warn!(%error, "that a context has a new version was not published");
            }
        };
        producer.send(out, report).map_err(|error| error.to_string())
    });
    if let Err(error) = sent {
        tracing::warn!(error, "that a context has a new version was not published");
    }
}
