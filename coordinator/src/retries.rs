//! Retries by time: for each tier whose topic is there, this coordinator takes part in the group that puts its records on
//! their topics again when they are due.
//!
//! The topics are made by whoever hands the first record back; a mesh whose applications do not runs no relay at all.
//! What the relays do is in `synod_infra::kafka::retry`. Never: a record in memory that is not in Kafka.

use crate::{Shared, duties};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{GroupConsumer, retry};
use synod_protocol::retry::{PREFIX, TIERS, Tier};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it is looked for topics that are new.
const EVERY: Duration = Duration::from_secs(2);
/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(10);
/// How long a relay may take to leave its group.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Relays until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut relays: BTreeMap<Tier, GroupConsumer> = BTreeMap::new();
    loop {
        let outcome = look(&shared, &mut relays).await;
        if let Err(error) = &outcome {
            tracing::debug!(error, "it is not known which topics for retries there are");
        }
        if !relays.is_empty() {
            shared.duties.ran(duties::RETRIES, outcome.map(|()| said(&relays)));
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
    }
    let mut leaving = JoinSet::new();
    for (tier, relay) in relays {
        leaving.spawn(async move { (tier, relay.stop(LEAVES_WITHIN).await) });
    }
    while let Some(left) = leaving.join_next().await {
        if let Ok((tier, Err(error))) = left {
            tracing::info!(tier = tier.name(), %error, "a relay of retries was cut off; what it had in hand comes again");
        }
    }
}

/// Begins with the tiers whose topics are new.
async fn look(shared: &Shared, relays: &mut BTreeMap<Tier, GroupConsumer>) -> Result<(), String> {
    if relays.len() == TIERS.len() {
        return Ok(());
    }
    let topics = shared.kafka.readers.topics(PREFIX, ASK).await.map_err(|error| error.to_string())?;
    for tier in TIERS.into_iter().filter(|tier| topics.contains(&tier.topic())) {
        if relays.contains_key(&tier) {
            continue;
        }
        let config = shared.config.kafka.named(shared.config.id.to_string());
        let producer = shared.kafka.effects().map_err(|error| error.to_string())?;
        let readers = shared.kafka.readers.clone();
        let (maker, replication) = (&shared.config.topics, shared.config.replication);
        let relay = retry::relay(&config, tier, producer, readers, maker, replication).await;
        relays.insert(tier, relay.map_err(|error| error.to_string())?);
        tracing::info!(topic = tier.topic(), "its records come again when they are due");
    }
    Ok(())
}

fn said(relays: &BTreeMap<Tier, GroupConsumer>) -> String {
    let counted = relays.iter().map(|(tier, relay)| {
        let counts = relay.counts();
        format!("{}: {} came again, {} dead letters", tier.name(), counts.handled, counts.dead_lettered)
    });
    counted.collect::<Vec<_>>().join("; ")
}
