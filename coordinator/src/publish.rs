//! Events behind which no ledger record stands: what one coordinator sees of an agent, told to everyone.

use crate::Shared;
use serde::Serialize;
use synod_fleet::AgentKey;
use synod_infra::kafka::Outgoing;
use synod_protocol::{Envelope, Json, Timestamp, topics};

/// Publishes, once and without a promise: nothing is decided by such an event.
pub(crate) fn about_agent(
    shared: &Shared,
    key: &AgentKey,
    ty: &'static str,
    at: Timestamp,
    value: &impl Serialize,
) {
    let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
    let source = format!("/synod/coordinators/{}", shared.config.id);
    let envelope = Envelope {
        time: Some(at),
        workspace: key.workspace.clone(),
        subject: Some(key.agent.to_string()),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), source, ty)
    };
    let sent = Json::of(value).map_err(|error| error.to_string()).and_then(|value| {
        let out = Outgoing::to(topics::EVENTS)
            .envelope(&envelope)
            .key(key.agent.as_str())
            .payload(value.as_str())
            .partition(shard as i32);
        let producer = shared.kafka.events().map_err(|error| error.to_string())?;
        let report = move |delivery: Result<_, _>| {
            if let Err(error) = delivery {
                tracing::warn!(%error, ty, "an event about an agent was not published");
            }
        };
        producer.send(out, report).map_err(|error| error.to_string())
    });
    if let Err(error) = sent {
        tracing::warn!(error, ty, "an event about an agent was not published");
    }
}
