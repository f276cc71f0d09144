//! Retries by time: for each tier whose topic is there, this coordinator takes part in the group that puts its records on
//! their topics again when they are due.
//!
//! The topics are made by whoever hands the first record back; a mesh whose applications do not runs no relay at all.
//! What the relays do is in `synod_infra::kafka::retry`. Never: a record in memory that is not in Kafka.

use crate::{Shared, duties};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_infra::kafka::{GroupConsumer, retry};
use synod_protocol::retry::{TIERS, Tier};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it is looked for a topic that is new: at most, and at least.
const EVERY: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(60);
/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(10);
/// How long a relay may take to leave its group.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Relays until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut relays: BTreeMap<Tier, GroupConsumer> = BTreeMap::new();
    let mut missing: BTreeMap<Tier, Instant> = BTreeMap::new();
    loop {
        let outcome = look(&shared, &mut relays, &mut missing).await;
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

/// How often it is looked for this tier's topic: where it is new nothing is due before the tier's time, so that a relay that
/// begins by then makes no record late.
fn looked_for_every(tier: Tier) -> Duration {
    (tier.delay() / 2).clamp(EVERY, SELDOM)
}

/// Begins with the tiers whose topics are new; `missing` is when each of the others was asked for.
async fn look(
    shared: &Shared,
    relays: &mut BTreeMap<Tier, GroupConsumer>,
    missing: &mut BTreeMap<Tier, Instant>,
) -> Result<(), String> {
    for tier in TIERS {
        let was_asked = missing.get(&tier).is_some_and(|at| at.elapsed() < looked_for_every(tier));
        if was_asked || relays.contains_key(&tier) {
            continue;
        }
        let is_there = shared.kafka.readers.is_there(&tier.topic(), ASK).await;
        if !is_there.map_err(|error| error.to_string())? {
            missing.insert(tier, Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_looked_for_before_its_first_record_is_due_or_often() {
        let seconds = TIERS.map(|tier| looked_for_every(tier).as_secs());
        assert_eq!(seconds, [2, 5, 30, 60, 60]);
        assert!(TIERS.into_iter().all(|tier| looked_for_every(tier) <= tier.delay().max(EVERY)));
    }
}
