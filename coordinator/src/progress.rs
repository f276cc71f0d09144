//! How much input waits: where the commands topic of each shard that is served here ends.

use crate::Shared;
use crate::health::Phase;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::topics;
use tokio_util::sync::CancellationToken;

/// How often it is looked at, and how long a look may take.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// Looks until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let held = shared
            .status
            .shards()
            .into_iter()
            .filter(|s| matches!(s.phase, Phase::Serving | Phase::CatchingUp));
        let asked = held.map(|s| {
            let readers = &shared.kafka.readers;
            async move { (s.shard, readers.watermarks(topics::COMMANDS, s.shard as i32, LOOK.1).await) }
        });
        for (shard, log) in futures::future::join_all(asked).await {
            match log {
                Ok(log) => shared.status.commands_end(shard, log.high.unsigned_abs()),
                // The watch over the brokers makes it known.
                Err(error) => tracing::debug!(shard, %error, "how much input waits is not known"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK.0) => {}
            () = stop.cancelled() => return,
        }
    }
}
