//! One partition, read from a position that we choose.

use super::context::Context;
use super::readers::Lane;
use super::record::RawRecord;
use super::split::SplitQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record kept.
    Beginning,
    /// After the newest record.
    End,
    /// At this offset, or at the first record after it.
    Offset(i64),
    /// This many records before the end.
    Tail(i64),
}

impl Start {
    pub(super) fn native(self) -> Offset {
        match self {
            Start::Beginning => Offset::Beginning,
            Start::End => Offset::End,
            Start::Offset(offset) => Offset::Offset(offset),
            Start::Tail(records) => Offset::OffsetTail(records.max(0)),
        }
    }
}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What was to be read next is not in the log: trimmed away (`wanted` < `oldest`), or never written or
    /// lost by the broker (`wanted` > `newest`). Nothing is skipped for it: `seek` to go on.
    #[error("{topic}[{partition}]: offset {wanted} is not kept; the log has {oldest} to {newest}, exclusive")]
    PositionLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was to be read next.
        wanted: i64,
        /// The oldest offset kept.
        oldest: i64,
        /// The offset after the newest record.
        newest: i64,
    },
    /// Another reader of these `Readers` has this partition.
    #[error("{topic}[{partition}] is already being read")]
    AlreadyOpen {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// Nothing came for too long.
    #[error("{topic}[{partition}]: nothing came for {} ms after offset {after:?}, wanted {through}", waited.as_millis())]
    Stalled {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The last offset read, if any.
        after: Option<i64>,
        /// What was to be reached.
        through: i64,
        /// How long.
        waited: Duration,
    },
    /// What Kafka says; reading on may help, librdkafka goes on trying.
    #[error("{topic}[{partition}]: {message}")]
    Kafka {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was said.
        message: String,
    },
}

/// Reads one partition. Nothing is committed anywhere: the caller knows where it is.
pub struct PartitionReader {
    // The queue goes before the lane that it belongs to.
    queue: Option<SplitQueue<Context>>,
    lane: Arc<Lane>,
    topic: String,
    partition: i32,
    start: Start,
    /// The last offset handed over.
    last: Option<i64>,
    /// An error that came behind a batch's records.
    behind: Option<KafkaError>,
    /// librdkafka stopped, and whether the position is lost is not settled yet.
    doubtful: bool,
    lost: Option<ReadError>,
}

/// What came instead of a record.
pub(super) enum Came {
    Record(RawRecord),
    End,
    /// Something that turned out to be nothing.
    Nothing,
}

impl PartitionReader {
    pub(super) fn open(
        lane: Arc<Lane>,
        topic: &str,
        partition: i32,
        start: Start,
    ) -> Result<PartitionReader, ReadError> {
        lane.reserve(topic, partition)?;
        // From here on the drop gives the reservation back.
        let mut reader = PartitionReader {
            queue: None,
            lane,
            topic: topic.to_owned(),
            partition,
            start,
            last: None,
            behind: None,
            doubtful: false,
            lost: None,
        };
        reader.queue = Some(reader.lane.assign(topic, partition, start)?);
        Ok(reader)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset that comes next, if it is known: one after the last, or where we began.
    pub fn position(&self) -> Option<i64> {
        match (self.last, self.start) {
            (Some(last), _) => Some(last + 1),
            (None, Start::Offset(offset)) => Some(offset),
            (None, Start::Beginning | Start::End | Start::Tail(_)) => None,
        }
    }

    /// The next record, as soon as it is there; `None` when nothing came in time. May be dropped at any
    /// time without losing a record.
    ///
    /// # Errors
    /// See [`ReadError`]. A lost position stays lost until `seek`.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<RawRecord>, ReadError> {
        let until = Instant::now() + wait;
        loop {
            match self.came(until).await? {
                Some(Came::Record(record)) => return Ok(Some(record)),
                Some(Came::End | Came::Nothing) => {}
                None => return Ok(None),
            }
        }
    }

    /// Up to `max` records: waits for the first and takes what is there with it.
    ///
    /// # Errors
    /// As [`PartitionReader::next`], if it comes before the first record; later it comes with the next call.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<RawRecord>, ReadError> {
        let Some(first) = self.next(wait).await? else {
            return Ok(Vec::new());
        };
        let mut batch = vec![first];
        while batch.len() < max {
            match self.queue.as_ref().and_then(SplitQueue::try_next) {
                Some(Ok(record)) => {
                    self.last = Some(record.offset);
                    batch.push(record);
                }
                Some(Err(error)) => {
                    self.behind = Some(error);
                    break;
                }
                None => break,
            }
        }
        Ok(batch)
    }

    /// Goes on from elsewhere.
    ///
    /// # Errors
    /// Kafka refuses the partition.
    pub fn seek(&mut self, start: Start) -> Result<(), ReadError> {
        self.lane.unassign(&self.topic, self.partition);
        if let Some(queue) = self.queue.take() {
            // What librdkafka said about the old position is not about the new one.
            queue.drain();
        }
        (self.start, self.last, self.behind) = (start, None, None);
        (self.doubtful, self.lost) = (false, None);
        self.queue = Some(self.lane.assign(&self.topic, self.partition, start)?);
        Ok(())
    }

    pub(super) async fn came(&mut self, until: Instant) -> Result<Option<Came>, ReadError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        if self.doubtful {
            return self.settle().await.map(|()| Some(Came::Nothing));
        }
        let Some(queue) = &self.queue else {
            return Err(self.said("the partition could not be assigned"));
        };
        let next = match self.behind.take() {
            Some(error) => Err(error),
            None => match tokio::time::timeout_at(until, queue.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(None),
            },
        };
        match next {
            Ok(record) => {
                self.last = Some(record.offset);
                Ok(Some(Came::Record(record)))
            }
            Err(KafkaError::PartitionEOF(_)) => Ok(Some(Came::End)),
            Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                self.doubtful = true;
                self.settle().await.map(|()| Some(Came::Nothing))
            }
            Err(error) => {
                self.lane.denied(&self.topic, &error);
                Err(self.said(&error.to_string()))
            }
        }
    }

    /// librdkafka found our position outside the log and stopped. Its word may be about a position before a
    /// seek (such errors carry no version), so the log is asked, again with the next call if it does not answer.
    async fn settle(&mut self) -> Result<(), ReadError> {
        let log = self.lane.watermarks(&self.topic, self.partition, Duration::from_secs(10)).await?;
        let wanted = self.position().unwrap_or(-1);
        if (log.low..=log.high).contains(&wanted) || wanted < 0 {
            let start = if wanted < 0 { self.start } else { Start::Offset(wanted) };
            return self.seek(start);
        }
        let lost = ReadError::PositionLost {
            topic: self.topic.clone(),
            partition: self.partition,
            wanted,
            oldest: log.low,
            newest: log.high,
        };
        (self.doubtful, self.lost) = (false, Some(lost.clone()));
        Err(lost)
    }

    fn said(&self, message: &str) -> ReadError {
        ReadError::Kafka { topic: self.topic.clone(), partition: self.partition, message: message.to_owned() }
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.lane.unassign(&self.topic, self.partition);
        self.queue = None;
        self.lane.release(&self.topic, self.partition);
    }
}
