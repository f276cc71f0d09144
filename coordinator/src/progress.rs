//! How much input waits: where the commands topic of each shard that is served here ends.

use crate::health::Phase;
use crate::{Shared, moments};
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::topics;
use tokio_util::sync::CancellationToken;

/// How often it is looked at, and how long a look may take.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// Looks until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let shards = shared.status.shards().into_iter();
        let held = shards.filter(|s| matches!(s.phase, Phase::Serving | Phase::CatchingUp));
        let held: Vec<u32> = held.map(|s| s.shard).collect();
        match shared.kafka.readers.ends(topics::COMMANDS, &held, LOOK.1).await {
            Ok(ends) => {
                ends.into_iter().for_each(|(shard, end)| shared.status.commands_end(shard, end));
            }
            // The watch over the brokers makes it known.
            Err(error) => tracing::debug!(%error, "how much input waits is not known"),
        }
        tokio::select! {
            () = tokio::time::sleep_until(moments::next(LOOK.0)) => {}
            () = stop.cancelled() => return,
        }
    }
}
