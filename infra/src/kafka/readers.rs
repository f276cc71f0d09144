//! All the partitions that a process reads by itself, over two sets of connections.
//!
//! ```text
//!   live:  open()                      fetches wait at the broker until there is something new
//!   fold:  read_through, read_to_end,  short waits, so that neither a new fold nor a question about
//!          watermarks                  the log stands long behind an idle fetch
//! ```

use super::config::{ConfigError, KafkaConfig};
use super::context::Context;
use super::reader::{Came, PartitionReader, ReadError, Start};
use super::record::RawRecord;
use super::refusal;
use super::split::{Served, SplitQueue};
use super::stats::ClientStats;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a fetch without news stays at the broker; a partition opened meanwhile waits for it.
const LIVE_FETCH: Duration = Duration::from_millis(50);
const FOLD_FETCH: Duration = Duration::from_millis(10);

/// Opens readers. Clones share the connections.
#[derive(Clone)]
pub struct Readers {
    live: Arc<Lane>,
    fold: Arc<Lane>,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The oldest offset kept.
    pub low: i64,
    /// The offset after the newest record.
    pub high: i64,
}

impl Watermarks {
    /// Whether there is no record.
    pub fn is_empty(self) -> bool {
        self.low >= self.high
    }
}

/// What Kafka is asked about to learn of one topic.
enum Asked {
    ItAlone,
    All,
}

/// One consumer and the partitions that it reads.
pub(super) struct Lane {
    served: Served<Context>,
    open: Mutex<BTreeSet<(String, i32)>>,
    /// Told when a partition is free again.
    freed: Notify,
    config: KafkaConfig,
}

impl Readers {
    /// Starts the consumers. Does not wait for a broker.
    ///
    /// # Errors
    /// Settings that cannot be.
    pub fn new(config: &KafkaConfig) -> Result<Readers, ConfigError> {
        Ok(Readers {
            live: Arc::new(Lane::start(config, LIVE_FETCH, false, "kafka-live")?),
            fold: Arc::new(Lane::start(config, FOLD_FETCH, true, "kafka-fold")?),
        })
    }

    /// Reads a partition as it grows. One reader per partition at a time; folds do not count.
    ///
    /// # Errors
    /// It is already open, or Kafka refuses it.
    pub fn open(&self, topic: &str, partition: i32, start: Start) -> Result<PartitionReader, ReadError> {
        PartitionReader::open(self.live.clone(), topic, partition, start)
    }

    /// Asks the partition's leader what it holds.
    ///
    /// # Errors
    /// No answer in time, or no such partition.
    pub async fn watermarks(
        &self,
        topic: &str,
        partition: i32,
        wait: Duration,
    ) -> Result<Watermarks, ReadError> {
        self.fold.watermarks(topic, partition, wait).await
    }

    /// Hands over every record from offset `from` (or the first one kept after it in a compacted log) until one
    /// at `through` or beyond it was handed over. The end of the log as seen on the way ends nothing: right after
    /// a change of leader a reader may see less than was acknowledged. Answers how many records there were.
    ///
    /// # Errors
    /// `PositionLost` if `from` is trimmed away; `Stalled` if nothing comes for `stall`; `AlreadyOpen` if somebody
    /// else has read this partition for all of that time.
    pub async fn read_through(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        through: i64,
        stall: Duration,
        mut each: impl FnMut(RawRecord) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        let mut reader = self.fold_from(topic, partition, from, stall).await?;
        let mut count = 0;
        let mut last = None;
        loop {
            let Some(record) = reader.next(stall).await? else {
                return Err(stalled(&reader, last, through, stall));
            };
            count += 1;
            last = Some(record.offset);
            let offset = record.offset;
            if each(record).is_break() || offset >= through {
                return Ok(count);
            }
            if count.is_multiple_of(64) {
                // A fold has much to do for each record and is rarely kept waiting: others want their turn too.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands over every record that a (compacted) partition holds now. Answers the offset to go on from.
    ///
    /// # Errors
    /// `Stalled` if nothing comes for `stall`; `AlreadyOpen` as above; what Kafka says.
    pub async fn read_to_end(
        &self,
        topic: &str,
        partition: i32,
        stall: Duration,
        mut each: impl FnMut(RawRecord) -> ControlFlow<()>,
    ) -> Result<i64, ReadError> {
        let log = self.watermarks(topic, partition, stall).await?;
        if log.is_empty() {
            return Ok(log.high);
        }
        let mut reader = self.fold_from(topic, partition, log.low, stall).await?;
        let mut last = None;
        loop {
            match reader.came(Instant::now() + stall).await? {
                Some(Came::Record(record)) => {
                    let offset = record.offset;
                    last = Some(offset);
                    if each(record).is_break() || offset + 1 >= log.high {
                        return Ok(offset + 1);
                    }
                }
                // The newest records were compacted away: the end is all there is. (Not for the ledger.)
                Some(Came::End) => return Ok(log.high),
                Some(Came::Nothing) => {}
                None => return Err(stalled(&reader, last, log.high - 1, stall)),
            }
        }
    }

    /// Opens a partition in the fold lane, where two who read the same one take turns.
    async fn fold_from(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        wait: Duration,
    ) -> Result<PartitionReader, ReadError> {
        let until = Instant::now() + wait;
        loop {
            let freed = self.fold.freed.notified();
            tokio::pin!(freed);
            // From here on no news is missed.
            freed.as_mut().enable();
            match PartitionReader::open(self.fold.clone(), topic, partition, Start::Offset(from)) {
                Err(ReadError::AlreadyOpen { .. }) if tokio::time::timeout_at(until, freed).await.is_ok() => {
                }
                opened => return opened,
            }
        }
    }

    /// Whether there is a topic of this name that we may see. Asks for it alone, whatever else there is in Kafka, and makes
    /// none. For a few names that stay the same: librdkafka keeps each that it was ever asked for.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn is_there(&self, topic: &str, wait: Duration) -> Result<bool, ReadError> {
        Ok(self.described(topic, Asked::ItAlone, wait).await?.is_some())
    }

    /// Where these partitions of a topic end: the offset that their next record will have. Asked of each broker at once; one that
    /// cannot say now is left out.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn ends(
        &self,
        topic: &str,
        partitions: &[u32],
        wait: Duration,
    ) -> Result<Vec<(u32, u64)>, ReadError> {
        let said = |message| ReadError::Kafka { topic: topic.to_owned(), partition: -1, message };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // To a broker the time -1 is the end.
            let added = list.add_partition_offset(topic, *partition as i32, Offset::End);
            added.map_err(|error| said(error.to_string()))?;
        }
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let lane = self.fold.clone();
        let asked = tokio::task::spawn_blocking(move || lane.served.consumer.offsets_for_times(list, wait));
        let found = asked.await.map_err(|error| said(error.to_string()))?;
        let found = found.map_err(|error| said(self.fold.why(topic, &error)))?;
        let end = |one: &TopicPartitionListElem<'_>| match one.offset() {
            Offset::Offset(end) if one.error().is_ok() => {
                Some((u32::try_from(one.partition()).ok()?, u64::try_from(end).ok()?))
            }
            _ => None,
        };
        Ok(found.elements().iter().filter_map(end).collect())
    }

    /// How many partitions a topic has; `None` if there is no such topic. Asks for all topics: any name may be asked for.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn partitions(&self, topic: &str, wait: Duration) -> Result<Option<u32>, ReadError> {
        self.described(topic, Asked::All, wait).await
    }

    async fn described(&self, topic: &str, asked: Asked, wait: Duration) -> Result<Option<u32>, ReadError> {
        let lane = self.fold.clone();
        let name = topic.to_owned();
        let described = tokio::task::spawn_blocking(move || {
            let alone = matches!(asked, Asked::ItAlone).then_some(name.as_str());
            let metadata = lane.served.consumer.fetch_metadata(alone, wait)?;
            // One that was asked for by its name and is not there is told with an error.
            let found =
                metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
            Ok::<_, KafkaError>(found.map(|topic| topic.partitions().len()))
        });
        let said = |message| ReadError::Kafka { topic: topic.to_owned(), partition: -1, message };
        let count = described.await.map_err(|e| said(e.to_string()))?;
        let count = count.map_err(|error| said(self.fold.why(topic, &error)))?;
        Ok(count.and_then(|n| u32::try_from(n).ok()))
    }

    /// The last statistics of both consumers, live and fold, once there are any.
    pub fn stats(&self) -> Vec<ClientStats> {
        [&self.live, &self.fold]
            .iter()
            .filter_map(|lane| lane.served.consumer.context().stats.latest())
            .collect()
    }
}

fn stalled(reader: &PartitionReader, after: Option<i64>, through: i64, waited: Duration) -> ReadError {
    let (topic, partition) = (reader.topic().to_owned(), reader.partition());
    ReadError::Stalled { topic, partition, after, through, waited }
}

impl Lane {
    fn start(config: &KafkaConfig, idle_fetch: Duration, eof: bool, name: &str) -> Result<Lane, ConfigError> {
        let config = config.named(format!("{}-{name}", config.client_id));
        let native = config.reader(idle_fetch, eof)?;
        let consumer = BaseConsumer::from_config_and_context(&native, Context::new(&config))
            .map_err(|error| ConfigError::client(&error))?;
        Ok(Lane {
            served: Served::start(Arc::new(consumer), name)?,
            open: Mutex::default(),
            freed: Notify::new(),
            config,
        })
    }

    pub(super) fn reserve(&self, topic: &str, partition: i32) -> Result<(), ReadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.insert((topic.to_owned(), partition)) {
            return Ok(());
        }
        Err(ReadError::AlreadyOpen { topic: topic.to_owned(), partition })
    }

    pub(super) fn release(&self, topic: &str, partition: i32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&(topic.to_owned(), partition));
        drop(open);
        self.freed.notify_waiters();
    }

    pub(super) fn assign(
        &self,
        topic: &str,
        partition: i32,
        start: Start,
    ) -> Result<SplitQueue<Context>, ReadError> {
        let said = |message| ReadError::Kafka { topic: topic.to_owned(), partition, message };
        let queue = SplitQueue::of(&self.served.consumer, topic, partition)
            .ok_or_else(|| said("no such partition can be".to_owned()))?;
        let list = list(topic, partition, start.native()).map_err(|e| said(e.to_string()))?;
        self.served.consumer.incremental_assign(&list).map_err(|e| said(e.to_string()))?;
        Ok(queue)
    }

    pub(super) fn unassign(&self, topic: &str, partition: i32) {
        let unassigned = list(topic, partition, Offset::Invalid)
            .and_then(|list| self.served.consumer.incremental_unassign(&list));
        if let Err(error) = unassigned {
            tracing::debug!(topic, partition, %error, "was not assigned");
        }
    }

    pub(super) async fn watermarks(
        self: &Arc<Lane>,
        topic: &str,
        partition: i32,
        wait: Duration,
    ) -> Result<Watermarks, ReadError> {
        let lane = self.clone();
        let name = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            lane.served.consumer.fetch_watermarks(&name, partition, wait)
        });
        let said = |message| ReadError::Kafka { topic: topic.to_owned(), partition, message };
        let asked = asked.await.map_err(|e| said(e.to_string()))?;
        let (low, high) = asked.map_err(|error| said(self.why(topic, &error)))?;
        Ok(Watermarks { low, high })
    }

    /// Notes it if the brokers do not allow us to read.
    pub(super) fn denied(&self, topic: &str, error: &KafkaError) {
        refusal::of_right(&self.config, error, || format!("to read topic {topic}"));
    }

    /// What went wrong with a topic. Where the brokers refused us, that says more than the wait for them.
    fn why(&self, topic: &str, error: &KafkaError) -> String {
        self.denied(topic, error);
        self.config.refusals.first().unwrap_or_else(|| error.to_string())
    }
}

fn list(topic: &str, partition: i32, offset: Offset) -> rdkafka::error::KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.live.open.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Readers").field("open", &*open).finish_non_exhaustive()
    }
}
