//! Webhooks: changes of shared state, and events, sent to whoever asked for them, at least once, by one coordinator at a time.
//!
//! ```text
//!   a feed --> a worker per webhook --signed POST--> receiver
//!                   |  delivered, or given up after EACH attempts: the position moves, the letter is kept as dead
//!                   `- DISABLED_AFTER failures in a row: disabled, nothing is sent until somebody enables it
//! ```
//!
//! A worker runs where the shard of its id is held. The position is noted in Redis after the delivery, so a crash sends
//! again, under the same `webhook-id`.

mod send;
mod source;
pub(crate) mod target;

use crate::Shared;
use crate::fleet::wall_clock;
use source::{Hindrance, Item, Source};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::primitives::subscriptions::{Kept, Noted, Progress, Subscriptions};
use synod_infra::telemetry::names;
use synod_protocol::primitives::changes::{DeadDelivery, Spot, Webhook};
use synod_protocol::{Error, Id, Json, Workspace, topics};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked which webhooks there are, and a worker whether it was enabled or deleted.
const LOOK: Duration = Duration::from_secs(1);
/// Attempts of one delivery before it is given up.
const EACH: u32 = 8;
/// Failures in a row after which a webhook is disabled.
const DISABLED_AFTER: u32 = 20;
/// The pause after the first failure of a delivery, doubled with each; up to half of it is left out at random.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A position that moved over changes of no interest is noted this often.
const NOTE: Duration = Duration::from_secs(10);

/// Runs the workers of the webhooks that are ours, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let all = Subscriptions::new(shared.redis.clone());
    let mut workers: HashMap<(Workspace, Id), Running> = HashMap::new();
    while !stop.is_cancelled() {
        match all.webhooks().await {
            Ok(there) => {
                let is_ours = |(workspace, id): &(Workspace, Id)| {
                    let shard =
                        topics::partition(format!("{workspace}/{id}").as_bytes(), shared.config.partitions);
                    shared.tenures.holds(shard)
                };
                let ours: std::collections::HashSet<_> = there.into_iter().filter(is_ours).collect();
                workers.retain(|key, worker| ours.contains(key) && !worker.0.is_finished());
                for key in ours {
                    workers.entry(key.clone()).or_insert_with(|| {
                        let worker =
                            Worker { shared: shared.clone(), all: all.clone(), workspace: key.0, id: key.1 };
                        Running(tokio::spawn(worker.run()))
                    });
                }
            }
            Err(error) => tracing::debug!(%error, "webhooks are not looked at"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// A worker; it ends when this is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Worker {
    shared: Arc<Shared>,
    all: Subscriptions,
    workspace: Workspace,
    id: Id,
}

/// Why a worker does not go on from where it was.
enum Turn {
    /// The subscription is gone.
    Gone,
    /// Somebody else noted this.
    Changed(Box<Progress>),
    /// Redis or the feed cannot be asked now.
    Away(String),
}

impl Turn {
    fn of(noted: Noted) -> Result<(), Turn> {
        match noted {
            Noted::Yes => Ok(()),
            Noted::Changed(now) => Err(Turn::Changed(now)),
            Noted::Gone => Err(Turn::Gone),
        }
    }
}

fn away(error: impl Into<Error>) -> Turn {
    Turn::Away(error.into().message)
}

impl Worker {
    async fn run(self) {
        let mut known = None;
        loop {
            match self.serve(known.take()).await {
                Turn::Gone => return,
                Turn::Changed(now) => known = Some(*now),
                Turn::Away(why) => {
                    tracing::debug!(subscription = %self.id, why, "a webhook waits");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Serves it from what is noted on.
    async fn serve(&self, known: Option<Progress>) -> Turn {
        match self.try_serve(known).await {
            Ok(never) => match never {},
            Err(turn) => turn,
        }
    }

    async fn try_serve(&self, known: Option<Progress>) -> Result<std::convert::Infallible, Turn> {
        let kept = self.all.get(&self.workspace, &self.id).await.map_err(away)?.ok_or(Turn::Gone)?;
        let webhook = kept.webhook.clone().ok_or(Turn::Gone)?;
        let mut progress = match known {
            Some(progress) => progress,
            None => self.all.progress(&self.workspace, &self.id).await.map_err(away)?.ok_or(Turn::Gone)?,
        };
        let begin = progress.position.as_ref().unwrap_or(&kept.position);
        let mut source = self.source(&kept, begin)?;
        let mut noted_at = Instant::now();
        loop {
            while progress.disabled {
                tokio::time::sleep(LOOK).await;
                progress =
                    self.all.progress(&self.workspace, &self.id).await.map_err(away)?.ok_or(Turn::Gone)?;
            }
            self.redriven(&webhook, &mut progress).await?;
            match source.next(Instant::now() + LOOK).await {
                Ok(Some(item)) => {
                    self.deliver(&webhook, &item, &mut progress).await?;
                    noted_at = Instant::now();
                }
                Ok(None) => {
                    let at = Some(source.position());
                    if noted_at.elapsed() > NOTE && progress.position != at {
                        self.note(&mut progress, |progress| progress.position = at, None).await?;
                        noted_at = Instant::now();
                    }
                    self.still_there(&progress).await?;
                }
                Err(Hindrance::Lost(oldest)) => source = self.lost(&kept, oldest, &mut progress).await?,
                Err(Hindrance::Away(error)) => return Err(away(error)),
            }
        }
    }

    fn source(&self, kept: &Kept, from: &Spot) -> Result<Source, Turn> {
        Source::of(&self.shared, &self.workspace, kept, from).map_err(away)
    }

    async fn still_there(&self, progress: &Progress) -> Result<(), Turn> {
        let now = self.all.progress(&self.workspace, &self.id).await.map_err(away)?.ok_or(Turn::Gone)?;
        if now == *progress { Ok(()) } else { Err(Turn::Changed(Box::new(now))) }
    }

    /// Something was lost before it was sent: it goes on from the oldest that is kept.
    async fn lost(&self, kept: &Kept, oldest: Spot, progress: &mut Progress) -> Result<Source, Turn> {
        tracing::warn!(subscription = %self.id, "something was lost before a webhook was told of it");
        let source = self.source(kept, &oldest)?;
        self.note(progress, |progress| progress.position = Some(oldest), None).await?;
        Ok(source)
    }

    async fn note(
        &self,
        progress: &mut Progress,
        change: impl FnOnce(&mut Progress),
        dead: Option<&DeadDelivery>,
    ) -> Result<(), Turn> {
        let mut is = progress.clone();
        change(&mut is);
        let noted = self.all.note(&self.workspace, &self.id, (progress, &is), dead).await.map_err(away)?;
        Turn::of(noted)?;
        *progress = is;
        Ok(())
    }

    /// Sends one thing until it is delivered, given up, or the webhook is disabled.
    async fn deliver(&self, webhook: &Webhook, item: &Item, progress: &mut Progress) -> Result<(), Turn> {
        let message_id = self.message_id(item);
        let position = || Some(item.position.clone());
        for attempt in 1..=EACH {
            let Err(reason) = self.send(webhook, &message_id, &item.event).await else {
                let done = |progress: &mut Progress| {
                    (progress.position, progress.failures) = (position(), 0);
                };
                return self.note(progress, done, None).await;
            };
            let failures = progress.failures.saturating_add(1);
            let disabled = failures >= DISABLED_AFTER;
            if attempt == EACH {
                let dead = DeadDelivery {
                    message_id: message_id.clone(),
                    event: item.event.clone(),
                    attempts: attempt,
                    reason,
                    dead_at: wall_clock(),
                };
                let given_up = |progress: &mut Progress| {
                    (progress.position, progress.failures) = (position(), failures);
                    progress.disabled = disabled;
                };
                metrics::counter!(names::WEBHOOKS_TOTAL, "outcome" => "dead").increment(1);
                return self.note(progress, given_up, Some(&dead)).await;
            }
            let failed = |progress: &mut Progress| {
                (progress.failures, progress.disabled) = (failures, disabled);
            };
            self.note(progress, failed, None).await?;
            if disabled {
                tracing::warn!(subscription = %self.id, reason, "a webhook was disabled: {failures} deliveries in a row failed");
                // This is sent first when it is enabled again.
                return Err(Turn::Changed(Box::new(progress.clone())));
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Ok(())
    }

    /// Sends what an operator wants sent again, each once.
    async fn redriven(&self, webhook: &Webhook, progress: &mut Progress) -> Result<(), Turn> {
        while let Some(mut letter) = self.all.again(&self.workspace, &self.id).await.map_err(away)? {
            let sent = self.send(webhook, &letter.message_id, &letter.event).await;
            let failed = sent.is_err();
            if let Err(reason) = sent {
                letter.attempts = letter.attempts.saturating_add(1);
                (letter.reason, letter.dead_at) = (reason, wall_clock());
            }
            self.all.again_done(&self.workspace, &self.id, &letter, failed).await.map_err(away)?;
            let failures = if failed { progress.failures.saturating_add(1) } else { 0 };
            if failures != progress.failures {
                self.note(progress, |progress| progress.failures = failures, None).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, webhook: &Webhook, message_id: &str, event: &Json) -> Result<(), String> {
        let now_s = wall_clock().as_millis() / 1000;
        let sent = send::send(webhook, &self.shared.config.webhook_allow, message_id, event, now_s).await;
        let outcome = if sent.is_ok() { "delivered" } else { "failed" };
        metrics::counter!(names::WEBHOOKS_TOTAL, "outcome" => outcome).increment(1);
        sent
    }

    /// The same however often the same thing is sent to the same webhook.
    fn message_id(&self, item: &Item) -> String {
        Id::derived("msg_", &self.workspace, &format!("{}\0{}", self.id, item.name)).to_string()
    }
}

fn pause(attempt: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
    let draw = f64::from(uuid::Uuid::new_v4().as_fields().0 & 0xffff) / 65_536.0;
    whole.mul_f64(1.0 - draw / 2.0)
}
