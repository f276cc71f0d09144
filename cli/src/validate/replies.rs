//! The topic that answers come to, read from its end on.

use super::Broken;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::time::Duration;
use synod_infra::kafka::{PartitionReader, RawRecord, ReadError, Readers, Start, TopicMaker};
use tokio::time::Instant;

/// The one topic that all runs share, so that none leaves its own behind.
pub(super) const TOPIC: &str = "synod.reply.validate";
/// How long the topic may take to be there.
const MADE_WITHIN: Duration = Duration::from_secs(15);

/// Makes the topic, unless it is there.
pub(super) async fn make(maker: &TopicMaker) -> Result<(), Broken> {
    // The brokers know best how many replicas they want.
    Ok(maker.ensure_one(TOPIC, 1, 0, MADE_WITHIN).await?)
}

/// Where each partition ends now.
#[derive(Debug)]
pub(super) struct Ends(Vec<i64>);

pub(super) async fn ends(readers: &Readers, topic: &str) -> Result<Ends, Broken> {
    let partitions = readers.partitions(topic, MADE_WITHIN).await?;
    let Some(partitions) = partitions else {
        return Err(Broken::promise(format!("there is no topic {topic}")));
    };
    let mut ends = Vec::new();
    for partition in 0..partitions.cast_signed() {
        ends.push(readers.watermarks(topic, partition, MADE_WITHIN).await?.high);
    }
    Ok(Ends(ends))
}

/// Reads what has come to a topic since, in the order of each partition, until `done` says so.
pub(super) async fn read_until(
    readers: &Readers,
    topic: &str,
    since: Ends,
    within: Duration,
    mut done: impl FnMut(RawRecord) -> bool,
) -> Result<(), Broken> {
    let deadline = Instant::now() + within;
    let mut all = FuturesUnordered::new();
    for (partition, end) in (0..).zip(since.0) {
        let reader = readers.open(topic, partition, Start::Offset(end))?;
        all.push(next(reader, within));
    }
    loop {
        let came = tokio::time::timeout_at(deadline, all.next()).await;
        let Ok(Some((reader, came))) = came else {
            return Err(Broken::promise(format!("nothing came on {topic} within {} ms", within.as_millis())));
        };
        if let Some(record) = came?
            && done(record)
        {
            return Ok(());
        }
        all.push(next(reader, within));
    }
}

async fn next(
    mut reader: PartitionReader,
    within: Duration,
) -> (PartitionReader, Result<Option<RawRecord>, ReadError>) {
    let came = reader.next(within).await;
    (reader, came)
}
