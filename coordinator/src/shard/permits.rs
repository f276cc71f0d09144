//! Permits of this shard's tasks: asked for beside the loop, and told to it when the answer is there.
//!
//! ```text
//! serve --want--> Asker --take, pipelined--> Redis --answer--> Heard --> serve: Input::Permitted, or asked again later
//!       --give_up (nobody found) --^
//! performer --hold, give back--> Redis
//! ```
//!
//! Nothing here decides who runs. What was taken and leads to no record comes back by itself after [`PROVISIONAL`], which
//! outlasts a take-over. By the era of what Redis holds it is noticed that it has lost all of it: then everything that is held is
//! held again, within the time in which Redis grants nothing.

use crate::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use synod_infra::redis::RedisError;
use synod_infra::redis::permits::{Held, Hold, Holder, Permits, Take, Taken};
use synod_ledger::{Answered, Try, Wanted};
use tokio::sync::mpsc;

/// So long a permit is taken before the ledger says that it is held.
const PROVISIONAL: Duration = Duration::from_secs(30);
/// Questions in one write.
const BATCH: usize = 64;

/// What the loop says.
enum Say {
    Want(Wanted),
    GiveUp(Wanted),
    LookAtTheEra,
}

/// What the loop hears.
pub(super) enum Heard {
    Answered(Wanted, Answered),
    /// A newer owner of this shard has asked for permits.
    Overtaken,
}

/// The semaphores as one owner of a shard uses them; a cheap clone.
#[derive(Clone)]
pub(super) struct Semaphores {
    shared: Arc<Shared>,
    shard: u32,
    epoch: u64,
    permits: Permits,
    /// The era that was heard last, in ms; 0 before the first.
    era: Arc<AtomicU64>,
}

/// A newer owner of the shard has been there.
pub(super) struct Fenced;

impl Semaphores {
    pub(super) fn new(shared: Arc<Shared>, shard: u32, epoch: u64) -> Semaphores {
        let permits = Permits::new(shared.redis.clone());
        Semaphores { shared, shard, epoch, permits, era: Arc::default() }
    }

    fn holder(&self, by: &Try) -> Holder {
        let name = format!("{}/{}/{}#{}", self.shard, by.task.workspace, by.task.task, by.attempt);
        Holder { shard: self.shard, epoch: self.epoch, name }
    }

    /// In another era Redis has lost what it held: all of it is held again.
    fn heard(&self, era: u64) {
        let before = self.era.swap(era, Ordering::AcqRel);
        if before != 0 && before != era {
            tracing::warn!(shard = self.shard, "Redis has lost which permits are held: they are held again");
            self.shared.shards[self.shard as usize].redeliver();
        }
    }

    /// Holds the permits of each, in order.
    pub(super) async fn hold(
        &self,
        batch: &[(&Try, &[String], u64)],
    ) -> Vec<Result<Result<(), Fenced>, RedisError>> {
        let hold = |(by, permits, for_ms): &(&Try, &[String], u64)| Hold {
            holder: self.holder(by),
            permits: permits.to_vec(),
            for_ms: *for_ms,
        };
        let batch: Vec<Hold> = batch.iter().map(hold).collect();
        let held = self.permits.hold(&batch).await.into_iter().map(|answer| {
            answer.map(|held| match held {
                Held::Held { era } => {
                    self.heard(era);
                    Ok(())
                }
                Held::Fenced { .. } => Err(Fenced),
            })
        });
        held.collect()
    }

    /// Gives back the permits of each.
    pub(super) async fn give_back(&self, batch: &[(&Try, &[String])]) -> Vec<Result<(), RedisError>> {
        let of = |(by, permits): &(&Try, &[String])| (self.holder(by), permits.to_vec());
        let batch: Vec<(Holder, Vec<String>)> = batch.iter().map(of).collect();
        self.permits.give_back(&batch).await
    }

    /// Gives up what was taken in vain for each.
    async fn give_up(&self, batch: &[(&Try, &[String])]) -> Vec<Result<(), RedisError>> {
        let of = |(by, permits): &(&Try, &[String])| (self.holder(by), permits.to_vec());
        let batch: Vec<(Holder, Vec<String>)> = batch.iter().map(of).collect();
        self.permits.give_up(&batch).await
    }

    async fn take(&self, batch: Vec<Wanted>) -> Vec<Heard> {
        let take = |wanted: &Wanted| Take {
            holder: self.holder(&wanted.by),
            permits: wanted.permits.iter().map(|(permit, most)| (permit.to_string(), *most)).collect(),
            for_ms: u64::try_from(PROVISIONAL.as_millis()).unwrap_or(u64::MAX),
        };
        let takes: Vec<Take> = batch.iter().map(take).collect();
        let answers = self.permits.take(&takes).await;
        batch.into_iter().zip(answers).map(|(wanted, answer)| self.told(wanted, answer)).collect()
    }

    fn told(&self, wanted: Wanted, answer: Result<Taken, RedisError>) -> Heard {
        let answered = match answer {
            Ok(Taken::Granted { era, out }) => {
                self.heard(era);
                Answered::Granted(out)
            }
            Ok(Taken::Refused { era, which, out }) => {
                self.heard(era);
                match wanted.permits.get(which) {
                    Some((permit, _)) => Answered::Refused(permit.clone(), out),
                    None => Answered::Unknown("Redis refused a permit that was not asked for".into()),
                }
            }
            Ok(Taken::Young { era, left_ms }) => {
                self.heard(era);
                Answered::Unknown(format!(
                    "what Redis holds has begun anew; those who hold permits say so first, for {left_ms} ms more"
                ))
            }
            Ok(Taken::Fenced { newest }) => {
                tracing::warn!(shard = self.shard, newest, "permits were asked for by a newer owner");
                return Heard::Overtaken;
            }
            Err(error) => Answered::Unknown(error.to_string()),
        };
        Heard::Answered(wanted, answered)
    }
}

/// Asks beside the loop; what waits there is bounded by how many may ask at a time.
pub(super) struct Asker {
    say: mpsc::UnboundedSender<Say>,
    task: tokio::task::JoinHandle<()>,
}

impl Asker {
    pub(super) fn start(semaphores: Semaphores, tell: mpsc::UnboundedSender<Heard>) -> Asker {
        let (say, said) = mpsc::unbounded_channel();
        Asker { say, task: tokio::spawn(ask(semaphores, said, tell)) }
    }

    /// These permits are wanted.
    pub(super) fn want(&self, wanted: Wanted) {
        self.say(Say::Want(wanted));
    }

    /// These were granted and lead to nothing.
    pub(super) fn give_up(&self, wanted: Wanted) {
        self.say(Say::GiveUp(wanted));
    }

    /// Whether Redis still has what it held is to be looked at.
    pub(super) fn look_at_the_era(&self) {
        self.say(Say::LookAtTheEra);
    }

    fn say(&self, say: Say) {
        // It ends only with us.
        let _ = self.say.send(say);
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(
    semaphores: Semaphores,
    mut said: mpsc::UnboundedReceiver<Say>,
    tell: mpsc::UnboundedSender<Heard>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while said.recv_many(&mut batch, BATCH).await > 0 {
        let (mut wants, mut gives_up, mut era) = (Vec::new(), Vec::new(), false);
        for say in batch.drain(..) {
            match say {
                Say::Want(wanted) => wants.push(wanted),
                Say::GiveUp(wanted) => gives_up.push(wanted),
                Say::LookAtTheEra => era = true,
            }
        }
        // First: who gave up an attempt's permits may want them again in the same breath.
        give_up(&semaphores, &gives_up).await;
        if !wants.is_empty() {
            for heard in semaphores.take(wants).await {
                // The loop is gone when the epoch is over; what was taken for it comes back by itself.
                let _ = tell.send(heard);
            }
        }
        if era && let Ok(era) = semaphores.permits.era().await {
            semaphores.heard(era);
        }
    }
}

/// What cannot be given back now comes back by itself.
async fn give_up(semaphores: &Semaphores, all: &[Wanted]) {
    if all.is_empty() {
        return;
    }
    let names = |wanted: &Wanted| wanted.permits.iter().map(|(permit, _)| permit.to_string()).collect();
    let names: Vec<Vec<String>> = all.iter().map(names).collect();
    let batch: Vec<(&Try, &[String])> =
        all.iter().zip(&names).map(|(wanted, names)| (&wanted.by, &names[..])).collect();
    for outcome in semaphores.give_up(&batch).await {
        if let Err(error) = outcome {
            tracing::debug!(%error, "permits that were taken in vain come back by themselves");
        }
    }
}
