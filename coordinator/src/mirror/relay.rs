//! One range's relay, while its shard is held.

use super::record::{self, Sent};
use super::restore;
use crate::{Shared, moments};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{ConfigError, Outgoing, Producer, ReadError, SendError};
use synod_infra::primitives::mirror::{KEPT, Outbox, Owed, Standing};
use synod_infra::redis::RedisError;
use synod_infra::telemetry::names;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the range is still open: how long an emptied Redis may go unnoticed.
const CHECK: Duration = Duration::from_millis(250);
/// How often what has expired is turned into tombstones, and how many at a time.
const SWEEP: (Duration, usize) = (Duration::from_millis(500), 256);
/// How long an acknowledgement may take before the outcome is a doubt, and all is mirrored again.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);
/// The pause when the producer is full, and when something is away.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Why the relay cannot go on now. Each is a doubt, and has the same cure: mirror again from where it was known.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeldUp {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("Kafka: {0}")]
    Unacknowledged(String),
    #[error("another relay has the range")]
    Superseded,
}

pub(super) struct Relay {
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: Outbox,
    pub(super) partition: u32,
    pub(super) source: String,
    sweep_at: Instant,
}

impl Relay {
    pub(super) fn new(shared: Arc<Shared>, range: u32, partition: u32) -> Relay {
        let outbox = Outbox::new(shared.redis.clone(), range, KEPT);
        let source = format!("/synod/coordinators/{}", shared.config.id);
        Relay { shared, outbox, partition, source, sweep_at: Instant::now() }
    }

    fn is_wanted(&self, stop: &CancellationToken) -> bool {
        !stop.is_cancelled() && self.shared.tenures.holds(self.outbox.range() % self.shared.config.partitions)
    }

    /// Relays until the shard is no longer held, or until `stop`.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), HeldUp> {
        let mut pause = PAUSE;
        self.outbox.take().await?;
        while self.is_wanted(stop) {
            match self.turn(stop).await {
                Ok(()) => pause = PAUSE,
                Err(HeldUp::Superseded) => return Err(HeldUp::Superseded),
                Err(error) => {
                    tracing::debug!(range = self.outbox.range(), %error, "the relay of shared state is held up");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return Ok(()),
                    }
                    pause = (pause * 2).min(PAUSE_LIMIT);
                }
            }
        }
        Ok(())
    }

    /// Looks whether the range is open, opens it if need be, and relays until the next look.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), HeldUp> {
        match self.outbox.check().await? {
            Standing::Open(_) => {}
            Standing::Superseded => return Err(HeldUp::Superseded),
            Standing::Closed(run_id) => return restore::range(self, &run_id, stop).await,
        }
        self.sweep().await;
        let look = moments::next(CHECK);
        while Instant::now() < look && self.is_wanted(stop) {
            let after = self.outbox.read();
            let owed = tokio::select! {
                owed = self.outbox.next(look) => owed?,
                () = stop.cancelled() => return Ok(()),
            };
            if owed.is_empty() {
                continue;
            }
            // From here on it is not given up half way: who takes over must not find a record of ours behind its own.
            let mirrored = self.mirror(&owed).await;
            if let Err(error) = mirrored {
                self.outbox.again_after(after);
                return Err(error);
            }
            let places: Vec<_> = owed.iter().map(|one| one.place).collect();
            match self.outbox.mirrored(after, &places).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.outbox.again_after(after);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Readers no longer see what has expired; by this it is gone for everybody else too. It is tried again at any rate.
    async fn sweep(&mut self) {
        if Instant::now() < self.sweep_at {
            return;
        }
        match self.shared.state.sweep(self.outbox.range(), SWEEP.1).await {
            // There may be more.
            Ok(count) if count >= SWEEP.1 => {}
            Ok(_) => self.sweep_at = Instant::now() + SWEEP.0,
            Err(error) => {
                tracing::debug!(range = self.outbox.range(), %error, "what has expired is not swept");
                self.sweep_at = Instant::now() + SWEEP.0;
            }
        }
    }

    /// Puts changes into the mirror and among the events, and waits until Kafka has them.
    async fn mirror(&mut self, owed: &[Owed]) -> Result<(), HeldUp> {
        let range = self.outbox.range();
        let mut sent = Vec::with_capacity(2 * owed.len());
        for one in owed {
            let records = [
                record::mirrored(one, range, self.partition, &self.source),
                record::event(one, range, self.shared.config.partitions, &self.source),
            ];
            for out in records.into_iter().flatten() {
                sent.extend(self.send(out).await?);
            }
        }
        acknowledged(sent).await?;
        metrics::counter!(names::STATE_MIRRORED_TOTAL).increment(owed.len() as u64);
        Ok(())
    }

    /// Hands one record to Kafka. What can never be sent is logged and passed over, so that it does not stop all others.
    pub(super) async fn send(&mut self, mut out: Outgoing) -> Result<Option<Sent>, HeldUp> {
        let producer: Producer = self.shared.kafka.effects()?;
        let until = Instant::now() + ACKNOWLEDGED;
        loop {
            let (tell, told) = oneshot::channel();
            // Nobody listens any more when the relay has given up: then it mirrors again.
            let sent = producer.send(out, move |delivery| drop(tell.send(delivery)));
            match sent {
                Ok(()) => return Ok(Some(told)),
                Err(SendError::QueueFull(back)) if Instant::now() < until => {
                    out = *back;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(SendError::TooLarge { size, limit, .. }) => {
                    tracing::error!(
                        size,
                        limit,
                        range = self.outbox.range(),
                        "a change of shared state is too large for Kafka"
                    );
                    return Ok(None);
                }
                Err(error) => return Err(HeldUp::Unacknowledged(error.to_string())),
            }
        }
    }
}

/// Waits until Kafka has all of them; the offset of the last that said where it is.
pub(super) async fn acknowledged(sent: impl IntoIterator<Item = Sent>) -> Result<Option<u64>, HeldUp> {
    let until = Instant::now() + ACKNOWLEDGED;
    let (mut sent, mut last) = (sent.into_iter().collect::<VecDeque<_>>(), None);
    while let Some(one) = sent.pop_front() {
        match tokio::time::timeout_at(until, one).await {
            Ok(Ok(Ok(acked))) => last = acked.known_offset().or(last),
            Ok(Ok(Err(error))) => return Err(HeldUp::Unacknowledged(error.to_string())),
            Ok(Err(_)) => return Err(HeldUp::Unacknowledged("the producer ended".to_owned())),
            Err(_) => {
                let waited = ACKNOWLEDGED.as_millis();
                return Err(HeldUp::Unacknowledged(format!("no acknowledgement within {waited} ms")));
            }
        }
    }
    Ok(last)
}
