//! Topics read as a member of a group: the brokers share out the partitions, and each gets a worker.
//!
//! An offset is stored only after its effect, so a crash repeats the last records and loses none.

use super::config::{ConfigError, KafkaConfig};
use super::context::Context;
use super::maker::{TopicError, TopicMaker};
use super::producer::Producer;
use super::record::RawRecord;
use super::retry::is_for_another;
use super::split::{Served, SplitQueue};
use super::stats::ClientStats;
use super::topics::dead_letters;
use super::worker::{Counts, Handle, HandlerError, Job, Received, work};
use futures::FutureExt;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use synod_protocol::{Limits, codec, retry};
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Where a group begins on a partition for which it has stored nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStart {
    /// With the oldest record kept.
    Earliest,
    /// With what comes after it joined.
    Latest,
}

/// How a group works. The defaults suit handlers of milliseconds to seconds.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// Handlers that run at once, over all partitions; one per partition at most. 16.
    pub concurrency: usize,
    /// How often a record is handed to the handler before it becomes a dead letter. 5.
    pub attempts: u32,
    /// The first wait between two attempts, doubled each time, with jitter. 200 ms.
    pub backoff: Duration,
    /// The longest wait. 10 s.
    pub max_backoff: Duration,
    /// How long one attempt may take. 60 s.
    pub handler_limit: Duration,
    /// How long a handler that runs when its partition is revoked may hold up the group. 5 s.
    pub drain: Duration,
    /// Where to begin.
    pub start: GroupStart,
    /// How long the group waits for a silent member. 10 s.
    pub session: Duration,
    /// Limits on payloads.
    pub limits: Limits,
    /// Replicas of dead letter topics, and of those for retries, that have to be made; 0 for the brokers' default.
    pub replication: u32,
    /// How often a record may come again after [`HandlerError::Later`] before it becomes a dead letter, 1 to 1,000. 10.
    pub returns: u32,
    /// So old a record must be, by its own time, before it is handled: the partition waits for it. Not at all.
    pub hold: Duration,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            concurrency: 16,
            attempts: 5,
            backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            handler_limit: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            start: GroupStart::Earliest,
            session: Duration::from_secs(10),
            limits: Limits::default(),
            replication: 0,
            returns: retry::DEFAULT_LIMIT,
            hold: Duration::ZERO,
        }
    }
}

/// What a group's member has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Records handled.
    pub handled: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
    /// Records handed back, to come again later.
    pub handed_back: u64,
}

/// Why a group could not be joined or left.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// Settings that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The dead letter topics could not be made.
    #[error(transparent)]
    Topics(#[from] TopicError),
    /// The subscription was refused.
    #[error("subscription: {0}")]
    Subscription(String),
    /// Handlers or the group took longer to end than there was time.
    #[error("the group's consumer has not ended in time")]
    NotEnded,
}

/// A member of a group. Dropped, it stops after the records that it has in hand.
pub struct GroupConsumer {
    served: Option<Served<GroupContext>>,
    members: Arc<Members>,
}

impl GroupConsumer {
    /// Joins the group. Each record is decoded as its envelope says and handed to `handler`; in one partition, one
    /// after the other. What does not decode, and what the handler refuses for good or too often, goes to
    /// `dlq.<topic>` through `producer`, and the partition goes on. What comes again for another group is passed over.
    ///
    /// # Errors
    /// Settings that cannot be; dead letter topics that cannot be made.
    pub async fn start<T, H, F>(
        config: &KafkaConfig,
        group: &str,
        topics: &[&str],
        producer: Producer,
        maker: &TopicMaker,
        options: GroupOptions,
        handler: H,
    ) -> Result<GroupConsumer, GroupError>
    where
        T: DeserializeOwned,
        H: Fn(Received<T>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let limits = options.limits;
        let ours = group.to_owned();
        let handle = move |record: &RawRecord, delivery| {
            if is_for_another(record, &ours) {
                return Ok(std::future::ready(Ok(())).boxed());
            }
            Ok(handler(read(record, delivery, &limits)?).boxed())
        };
        GroupConsumer::of_raw(config, group, topics, producer, maker, options, Box::new(handle)).await
    }

    /// The same for records as they are.
    pub(super) async fn of_raw(
        config: &KafkaConfig,
        group: &str,
        topics: &[&str],
        producer: Producer,
        maker: &TopicMaker,
        options: GroupOptions,
        handle: Box<Handle>,
    ) -> Result<GroupConsumer, GroupError> {
        let letters: Vec<_> = topics.iter().map(|topic| dead_letters(topic, options.replication)).collect();
        maker.ensure(&letters, Duration::from_secs(30)).await?;

        let reset = match options.start {
            GroupStart::Earliest => "earliest",
            GroupStart::Latest => "latest",
        };
        let native = config.member(group, options.session, reset)?;
        let job = Job {
            group: group.to_owned(),
            handle,
            maker: maker.clone(),
            made: Mutex::default(),
            permits: Semaphore::new(options.concurrency.max(1)),
            options,
            producer,
            counts: Counts::default(),
        };
        let members = Arc::new(Members::new(job));
        let context = GroupContext { base: Context::new(config), members: members.clone() };
        let consumer = BaseConsumer::from_config_and_context(&native, context)
            .map_err(|error| ConfigError::client(&error))?;
        let consumer = Arc::new(consumer);
        members.consumer.get_or_init(|| Arc::downgrade(&consumer));
        consumer.subscribe(topics).map_err(|error| GroupError::Subscription(error.to_string()))?;
        let served = Some(Served::start(consumer, "kafka-group")?);
        Ok(GroupConsumer { served, members })
    }

    /// What was done.
    pub fn counts(&self) -> GroupCounts {
        let counts = &self.members.job.counts;
        GroupCounts {
            handled: counts.handled.load(Ordering::Relaxed),
            retried: counts.retried.load(Ordering::Relaxed),
            dead_lettered: counts.dead_lettered.load(Ordering::Relaxed),
            handed_back: counts.handed_back.load(Ordering::Relaxed),
        }
    }

    /// The partitions that this member has now.
    pub fn partitions(&self) -> Vec<(String, i32)> {
        self.members.workers().keys().cloned().collect()
    }

    /// The last statistics, once there are any.
    pub fn stats(&self) -> Option<ClientStats> {
        self.served.as_ref().and_then(|served| served.consumer.context().base.stats.latest())
    }

    /// Lets the handlers that run finish, commits and leaves the group.
    ///
    /// # Errors
    /// It took longer than `wait`; it goes on ending by itself.
    pub async fn stop(mut self, wait: Duration) -> Result<(), GroupError> {
        self.members.stop();
        let Some(ended) = self.served.take().and_then(Served::close) else {
            return Ok(());
        };
        match tokio::time::timeout(wait, ended).await {
            Ok(_) => Ok(()),
            Err(_) => Err(GroupError::NotEnded),
        }
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.members.stop();
    }
}

fn read<T: DeserializeOwned>(
    record: &RawRecord,
    delivery: u32,
    limits: &Limits,
) -> Result<Received<T>, String> {
    let envelope = record.envelope().map_err(|error| error.message)?;
    let payload = record.payload.as_deref().ok_or("the record has no value")?;
    let payload = codec::decode(envelope.content_type, payload, limits).map_err(|error| error.message)?;
    Ok(Received {
        envelope,
        key: record.key.clone(),
        payload,
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        delivery,
    })
}

/// The workers, by partition, started and ended as the group shares out.
struct Members {
    job: Arc<Job>,
    runtime: runtime::Handle,
    stopped: CancellationToken,
    consumer: OnceLock<Weak<BaseConsumer<GroupContext>>>,
    workers: Mutex<BTreeMap<(String, i32), Worker>>,
}

struct Worker {
    revoked: CancellationToken,
    /// Disconnected once the worker has ended.
    ended: mpsc::Receiver<()>,
}

impl Members {
    fn new(job: Job) -> Members {
        Members {
            job: Arc::new(job),
            runtime: runtime::Handle::current(),
            stopped: CancellationToken::new(),
            consumer: OnceLock::new(),
            workers: Mutex::default(),
        }
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, i32), Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopped.cancel();
        self.workers().clear();
    }

    /// Before the consumer fetches: the partition's queue must be split off by then.
    fn assigned(&self, topic: &str, partition: i32) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let Some(queue) = SplitQueue::of(&consumer, topic, partition) else {
            tracing::error!(topic, partition, "no queue for an assigned partition");
            return;
        };
        let revoked = self.stopped.child_token();
        let (alive, ended) = mpsc::channel();
        let working = work(self.job.clone(), consumer, queue, revoked.clone());
        self.runtime.spawn(async move {
            working.await;
            drop(alive);
        });
        tracing::info!(group = self.job.group, topic, partition, "partition assigned");
        self.workers().insert((topic.to_owned(), partition), Worker { revoked, ended });
    }

    /// Lets what runs finish and store its offset, as long as the group can wait.
    fn revoked(&self, partitions: &[(String, i32)]) {
        let leaving: Vec<Worker> = {
            let mut workers = self.workers();
            partitions.iter().filter_map(|partition| workers.remove(partition)).collect()
        };
        leaving.iter().for_each(|worker| worker.revoked.cancel());
        tracing::info!(group = self.job.group, partitions = leaving.len(), "partitions revoked");
        let until = Instant::now() + self.job.options.drain;
        for worker in leaving {
            let left = until.saturating_duration_since(Instant::now());
            if worker.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(
                    group = self.job.group,
                    "a handler outlives its partition; its record comes again"
                );
            }
        }
    }
}

/// A member's context: the usual one, and the workers.
pub(super) struct GroupContext {
    base: Context,
    members: Arc<Members>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.base.log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.base.stats_raw(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let named = |list: &rdkafka::TopicPartitionList| -> Vec<(String, i32)> {
            list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect()
        };
        match rebalance {
            Rebalance::Assign(list) => {
                for (topic, partition) in named(list) {
                    self.members.assigned(&topic, partition);
                }
            }
            Rebalance::Revoke(list) => self.members.revoked(&named(list)),
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not be shared out"),
        }
    }
}
