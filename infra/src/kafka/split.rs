//! One partition's own queue out of a shared consumer, and the thread that serves what is not a record.
//!
//! One consumer holds one set of connections, however many partitions it reads; each partition's records
//! come through a queue of its own, which wakes its reader the moment librdkafka has something for it.

use super::config::ConfigError;
use super::record::RawRecord;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The records of one partition.
pub(super) struct SplitQueue<C: ConsumerContext + 'static> {
    queue: PartitionQueue<C>,
    filled: Arc<Notify>,
}

impl<C: ConsumerContext + 'static> SplitQueue<C> {
    /// Must happen before the partition is assigned, so that no record goes to the consumer's own queue.
    pub(super) fn of(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: i32) -> Option<SplitQueue<C>> {
        let mut queue = consumer.split_partition_queue(topic, partition)?;
        let filled = Arc::new(Notify::new());
        let wake = filled.clone();
        queue.set_nonempty_callback(move || wake.notify_one());
        Some(SplitQueue { queue, filled })
    }

    /// What is there now.
    pub(super) fn try_next(&self) -> Option<Result<RawRecord, KafkaError>> {
        Some(self.queue.poll(Duration::ZERO)?.map(|message| RawRecord::of(&message)))
    }

    /// The next one, however long it takes. May be dropped at any time without losing a record.
    pub(super) async fn next(&self) -> Result<RawRecord, KafkaError> {
        loop {
            // The callback leaves a permit, so a record that comes between these two lines is not slept over.
            if let Some(next) = self.try_next() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    /// Throws away what is there now.
    pub(super) fn drain(&self) {
        while self.try_next().is_some() {}
    }
}

/// A consumer whose callbacks are served by a thread, which also ends it: the end of a consumer blocks.
pub(super) struct Served<C: ConsumerContext + 'static> {
    pub(super) consumer: Arc<BaseConsumer<C>>,
    closing: Arc<AtomicBool>,
    ended: Option<oneshot::Receiver<()>>,
}

impl<C: ConsumerContext + 'static> Served<C> {
    pub(super) fn start(consumer: Arc<BaseConsumer<C>>, name: &str) -> Result<Served<C>, ConfigError> {
        let closing = Arc::new(AtomicBool::new(false));
        let (tell_end, ended) = oneshot::channel();
        let (served, done) = (consumer.clone(), closing.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            serve(served, &done);
            // No one may be waiting for it.
            let _ = tell_end.send(());
        })?;
        Ok(Served { consumer, closing, ended: Some(ended) })
    }

    /// Starts the end of the consumer, which comes once its queues are gone; answers when it has come.
    pub(super) fn close(mut self) -> Option<oneshot::Receiver<()>> {
        self.ended.take()
    }
}

impl<C: ConsumerContext + 'static> Drop for Served<C> {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
    }
}

fn serve<C: ConsumerContext + 'static>(consumer: Arc<BaseConsumer<C>>, closing: &AtomicBool) {
    while !closing.load(Ordering::Acquire) || Arc::strong_count(&consumer) > 1 {
        let wait = if closing.load(Ordering::Acquire) { 10 } else { 200 };
        // Errors were told to the context. Records go to the partitions' queues.
        if let Some(Ok(stray)) = consumer.poll(Duration::from_millis(wait)) {
            let stray = RawRecord::of(&stray);
            tracing::error!(
                topic = stray.topic,
                partition = stray.partition,
                offset = stray.offset,
                "a record came outside its partition's queue"
            );
        }
    }
    drop(consumer);
}
