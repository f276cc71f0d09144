//! A range is opened: first the mirror is read back, so that nothing older than it is served.

use super::ASK;
use super::record;
use super::relay::{HeldUp, Relay, acknowledged};
use std::ops::ControlFlow;
use synod_infra::kafka::ReadError;
use synod_infra::primitives::mirror::{Restored, Restoring, Standing};
use synod_protocol::topics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Records of the mirror that may wait to be written, and their bytes.
const WAITING: (usize, usize) = (5_000, 16 << 20);

/// Reads the mirror back into the Redis of this id, opens the range, and mirrors what Redis has besides.
pub(super) async fn range(relay: &mut Relay, run_id: &str, stop: &CancellationToken) -> Result<(), HeldUp> {
    let began = Instant::now();
    let range = relay.outbox.range();
    // Another one may have taken it meanwhile, or Redis have lost who had.
    relay.outbox.take().await?;
    let restoring = tokio::select! {
        restoring = fold(relay) => restoring?,
        () = stop.cancelled() => return Ok(()),
    };
    let Restored { read, written, unreadable } = restoring.restored();
    let era = uuid::Uuid::new_v4().as_fields().0.max(1);
    match relay.outbox.open(run_id, era, written == 0).await? {
        Standing::Open(_) => {}
        Standing::Closed(_) | Standing::Superseded => return Ok(()),
    }
    let opened = began.elapsed();
    let owed = repair(relay, &restoring).await?;
    let level_ms = opened.as_millis() as u64;
    if read + owed + unreadable > 0 {
        tracing::info!(
            range,
            read,
            written,
            unreadable,
            owed,
            after_ms = level_ms,
            "a range of shared state was opened"
        );
    } else {
        tracing::debug!(range, after_ms = level_ms, "an empty range of shared state was opened");
    }
    Ok(())
}

/// Appends a marker and reads through its offset.
async fn fold(relay: &mut Relay) -> Result<Restoring, HeldUp> {
    let range = relay.outbox.range();
    let sent = relay.send(record::marker(range, relay.partition, &relay.source)).await?;
    let Some(through) = acknowledged(sent).await? else {
        return Err(HeldUp::Unacknowledged("it does not say where the marker is".to_owned()));
    };
    let through = through.cast_signed();
    let partition = relay.partition.cast_signed();
    let readers = &relay.shared.kafka.readers;
    let low = readers.watermarks(topics::STATE, partition, ASK).await?.low;
    let mut restoring = Restoring::new(relay.shared.redis.clone(), range);
    let mut rest = Vec::new();
    // The reader cannot wait while it hands a record over: it ends when enough of them wait, and goes on behind them.
    let mut from = low;
    while from <= through {
        let (mut full, mut bytes) = (None, 0);
        let each = |record: synod_infra::kafka::RawRecord| {
            let offset = record.offset;
            bytes += record.payload.as_ref().map_or(0, Vec::len);
            if let Some(read) = record::read(&record) {
                rest.push(read);
            }
            if rest.len() >= WAITING.0 || bytes >= WAITING.1 {
                full = Some(offset);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        match readers.read_through(topics::STATE, partition, from, through, ASK, each).await {
            Ok(_) => {}
            // The oldest were compacted or trimmed away while we read.
            Err(ReadError::PositionLost { oldest, .. }) if oldest > from => {
                from = oldest;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        for (workspace, key, kept) in rest.drain(..) {
            if restoring.take(&workspace, &key, &kept) {
                restoring.write().await?;
            }
        }
        from = full.map_or(through + 1, |offset| offset + 1);
    }
    restoring.write().await?;
    Ok(restoring)
}

/// Mirrors what is newer in Redis than in the mirror: Kafka lost it, or it was never owed.
async fn repair(relay: &mut Relay, restoring: &Restoring) -> Result<u64, HeldUp> {
    let (mut cursor, mut count) = ("0".to_owned(), 0);
    loop {
        let (next, ahead) = restoring.ahead(&cursor).await?;
        let mut sent = Vec::with_capacity(ahead.len());
        for one in &ahead {
            sent.extend(relay.send(record::repaired(one, relay.partition, &relay.source)).await?);
        }
        count += ahead.len() as u64;
        acknowledged(sent).await?;
        if next == "0" {
            return Ok(count);
        }
        cursor = next;
    }
}
