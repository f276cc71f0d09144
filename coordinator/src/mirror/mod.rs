//! The relays of shared state: each change of it goes to `synod.state.v1` and `synod.events.v1`, and comes back from there
//! when Redis has lost it.
//!
//! ```text
//!   range r: its relay is run by whoever holds shard r % partitions; its records are in partition r % partitions
//!
//!   Redis --outbox--> produce --acknowledged--> `mirrored` forward --> trim, tell who waits     (relay.rs)
//!
//!   a range that is not open, or open in another process of Redis:                                (restore.rs)
//!     1 append a marker      2 fold through the marker's offset, write what is newer than Redis
//!     3 open the range       4 mirror what Redis has and the mirror has not      5 go on as above
//! ```
//!
//! The order matters. The marker's offset, not the end that a reader sees, says how far the fold must go: a new leader may
//! show less than was acknowledged. Nothing is served between 1 and 3, so nobody reads a value that the mirror knows to
//! be old. 4 comes before 5 and both are done by one loop, so that a key's newest version is the last in the log, which is
//! the one that compaction keeps. A relay that finds itself superseded may have written behind its successor: it says from
//! where, and the successor mirrors that again.
//!
//! Never: a version that did not come from Redis or the mirror; a step forward of `mirrored` before Kafka has acknowledged.

mod record;
mod relay;
mod restore;

use crate::Shared;
use relay::Relay;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::primitives::state::RANGES;
use synod_protocol::topics;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long one question to Kafka may take.
const ASK: Duration = Duration::from_secs(10);
/// The pause before a relay is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Runs the relays of the ranges that are ours, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let partitions = loop {
        match shared.kafka.readers.partitions(topics::STATE, ASK).await {
            Ok(Some(partitions)) if partitions > 0 => break partitions,
            Ok(_) => tracing::warn!("Kafka has no topic {}", topics::STATE),
            Err(error) => tracing::debug!(%error, "Kafka does not say how many partitions the mirror has"),
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return,
        }
    };
    let mut relays = JoinSet::new();
    for range in 0..RANGES {
        relays.spawn(live(shared.clone(), range, partitions, stop.clone()));
    }
    while let Some(ended) = relays.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            shared.status.broken(format!("a relay of shared state panicked: {error}"));
            tracing::error!(%error, "a relay of shared state panicked");
        }
    }
}

/// One range: relayed while its shard is held.
async fn live(shared: Arc<Shared>, range: u32, partitions: u32, stop: CancellationToken) {
    let shard = range % shared.config.partitions;
    let mut changes = shared.tenures.changes();
    while !stop.is_cancelled() {
        changes.borrow_and_update();
        if shared.tenures.holds(shard) {
            let mut relay = Relay::new(shared.clone(), range, range % partitions);
            match relay.run(&stop).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(range, %error, "the relay of shared state is held up"),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => {}
            }
            continue;
        }
        tokio::select! {
            // The sender lives as long as the coordinator.
            _ = changes.changed() => {}
            () = stop.cancelled() => {}
        }
    }
}
