//! The mesh's events as they are published, handed to whoever watches their entity.
//!
//! ```text
//!   synod.events.v1[p] --one reader per partition that is watched--> by entity --> watchers
//! ```
//!
//! A watcher that does not keep up, or whose reader fails, finds its channel closed and asks the history again:
//! nothing is skipped silently, and nothing grows.

use crate::mesh::KafkaUnusable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, PartitionReader, RawRecord, ReadError, Readers, Start};
use synod_protocol::{EntityId, topics};
use tokio::sync::{OnceCell, mpsc};

/// The limit of one question to Kafka.
const LIMIT: Duration = Duration::from_secs(10);
/// Events that may wait for one watcher.
const WAITING: usize = 1024;
/// How often a reader that reads nothing looks whether anybody still watches.
const LOOK: Duration = Duration::from_secs(1);
/// Records taken at a time.
const BATCH: usize = 500;

/// Why events cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Kafka(#[from] KafkaUnusable),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("Kafka has no topic {}", topics::EVENTS)]
    NoTopic,
}

type Watchers = HashMap<String, Vec<mpsc::Sender<Arc<RawRecord>>>>;

/// One partition: its watchers while a reader serves them, `None` when there is none.
#[derive(Clone, Default)]
struct Lane {
    watchers: Arc<Mutex<Option<Watchers>>>,
    opening: Arc<tokio::sync::Mutex<()>>,
}

pub(crate) struct Events {
    kafka: Option<KafkaConfig>,
    readers: OnceCell<(Readers, u32)>,
    lanes: Mutex<HashMap<u32, Lane>>,
}

impl Events {
    pub(crate) fn new(kafka: Option<KafkaConfig>) -> Events {
        Events { kafka, readers: OnceCell::new(), lanes: Mutex::default() }
    }

    /// Whether they can be followed at all.
    pub(crate) fn possible(&self) -> bool {
        self.kafka.is_some()
    }

    /// Everything published about this entity from now on. The channel closes when it cannot go on.
    pub(crate) async fn follow(
        &self,
        entity: &EntityId,
    ) -> Result<mpsc::Receiver<Arc<RawRecord>>, FollowError> {
        let (readers, partitions) = self.readers.get_or_try_init(|| self.open()).await?;
        let partition = topics::partition(entity.root().as_bytes(), *partitions);
        let lane = locked(&self.lanes).entry(partition).or_default().clone();
        let (put, events) = mpsc::channel(WAITING);
        let _one_opens = lane.opening.lock().await;
        if let Some(watchers) = &mut *locked(&lane.watchers) {
            watchers.entry(entity.as_str().to_owned()).or_default().push(put);
            return Ok(events);
        }
        // The end is asked for before we answer: what is published after that is not missed.
        let number = partition.cast_signed();
        let end = readers.watermarks(topics::EVENTS, number, LIMIT).await?.high;
        let reader = readers.open(topics::EVENTS, number, Start::Offset(end))?;
        *locked(&lane.watchers) = Some(HashMap::from([(entity.as_str().to_owned(), vec![put])]));
        tokio::spawn(serve(reader, lane.clone()));
        Ok(events)
    }

    async fn open(&self) -> Result<(Readers, u32), FollowError> {
        let kafka = self.kafka.as_ref().ok_or(KafkaUnusable::NotConfigured)?;
        let readers = Readers::new(&kafka.named(format!("{}-events", kafka.client_id)));
        let readers = readers.map_err(KafkaUnusable::from)?;
        let partitions = readers.partitions(topics::EVENTS, LIMIT).await?;
        Ok((readers, partitions.filter(|n| *n > 0).ok_or(FollowError::NoTopic)?))
    }
}

/// Reads until nobody watches or until it cannot read.
async fn serve(mut reader: PartitionReader, lane: Lane) {
    loop {
        match reader.next_batch(BATCH, LOOK).await {
            Ok(records) => {
                if !hand_out(&lane, records) {
                    break;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "events can no longer be followed from here");
                *locked(&lane.watchers) = None;
                break;
            }
        }
    }
}

/// Whether anybody still watches; if not, the lane is without a reader from then on.
fn hand_out(lane: &Lane, records: Vec<RawRecord>) -> bool {
    let mut guard = locked(&lane.watchers);
    let Some(watchers) = guard.as_mut() else { return false };
    for record in records {
        let about =
            record.headers.iter().find(|(name, _)| name == "ce_subject").and_then(|(_, v)| v.as_deref());
        let Some(about) = about.and_then(|bytes| std::str::from_utf8(bytes).ok()) else { continue };
        if let Some(here) = watchers.get_mut(about) {
            let record = Arc::new(record);
            // One that is full is closed by this: it asks the history again.
            here.retain(|watcher| watcher.try_send(record.clone()).is_ok());
        }
    }
    watchers.retain(|_, here| {
        here.retain(|watcher| !watcher.is_closed());
        !here.is_empty()
    });
    if watchers.is_empty() {
        *guard = None;
    }
    guard.is_some()
}

/// Held for map operations only; a panic leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
