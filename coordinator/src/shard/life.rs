//! A shard's life: wait for the right to it, claim, fold, serve; a doubt or a hand-over ends it, and it waits again.
//!
//! Whether a shard is ours is decided in `tenure`; it gives a grant for each claim and takes it back.

use super::serve::{self, Ended, Serving};
use super::{Ask, Inbox};
use crate::fleet::wall_clock;
use crate::health::Phase;
use crate::tenure::{Grant, Word};
use crate::{Shared, snapshots};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{Outgoing, ReadError};
use synod_infra::telemetry::names;
use synod_ledger::{Claim, Fold, FoldError, Folded, Subject, floor_of};
use synod_protocol::{Error, Timestamp, topics};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long one read may stall before the claim is tried again.
const STALL: Duration = Duration::from_secs(15);

/// Records before a claim among which a step is looked for at first.
const LOOK_BACK: u64 = 32;

/// Those who wait for a task to end; they outlive an epoch.
pub(super) type Waiters = BTreeMap<Subject, Vec<oneshot::Sender<synod_ledger::Answer>>>;

/// Why a shard could not be taken.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("the claim was not acknowledged: {0}")]
    Claim(String),
    #[error("the ledger cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("data lost: {0}")]
    Lost(String),
}

/// What became of a grant.
enum Became {
    Released,
    Lost,
}

/// Runs one shard: waits for a grant, claims, folds, serves until the grant is over or the epoch is, and says which.
/// Ends with the grants.
pub(crate) async fn live(shared: Arc<Shared>, inbox: Inbox) {
    let Inbox { shard, mut asks, mut grants } = inbox;
    let mut waiters = Waiters::new();
    loop {
        let grant = tokio::select! {
            grant = grants.recv() => grant,
            // Who asks one that does not hold the shard is sent on by the door.
            Some(ask) = asks.recv() => {
                drop(ask);
                continue;
            }
        };
        let Some(grant) = grant else { break };
        match hold(&shared, shard, &grant, &mut asks, &mut waiters).await {
            Became::Released => {
                metrics::counter!(names::SHARD_CHANGES_TOTAL, "to" => "released").increment(1);
                tracing::info!(shard, "the shard is let go of");
                shared.status.elsewhere(shard, None);
                shared.tenures.say(Word::Released(shard));
            }
            Became::Lost => shared.tenures.say(Word::Lost(shard)),
        }
        if grant.is_cancelled() {
            // They ask again where it is now.
            waiters.clear();
        }
    }
}

/// Takes the shard and serves it, as long as the grant lasts.
async fn hold(
    shared: &Arc<Shared>,
    shard: u32,
    grant: &Grant,
    asks: &mut tokio::sync::mpsc::Receiver<Ask>,
    waiters: &mut Waiters,
) -> Became {
    let taken = tokio::select! {
        taken = take(shared, shard) => taken,
        () = grant.cancelled() => return Became::Released,
    };
    match taken {
        Ok((folded, claimed_at)) => {
            snapshots::taken(shared, shard);
            let serving = Serving::new(shared.clone(), shard, folded, claimed_at, asks, waiters);
            let ended = serve::serve(serving, grant).await;
            let now_ns = shared.fleet.now_ns();
            shared.fleet.lock().forget_shard(shard, now_ns);
            match ended {
                Ended::Stopped => Became::Released,
                Ended::DataLost(why) => refuse_for_good(shared, shard, &why, asks, grant).await,
                Ended::Doubt(why) => {
                    tracing::warn!(shard, %why, "the epoch is over");
                    metrics::counter!(names::EPOCHS_LOST_TOTAL, "why" => why.kind()).increment(1);
                    trouble(shared, shard, Phase::Claiming, why.to_string());
                    Became::Lost
                }
            }
        }
        Err(Hindrance::Lost(why)) => refuse_for_good(shared, shard, &why, asks, grant).await,
        Err(hindrance) => {
            tracing::warn!(shard, %hindrance, "the shard cannot be taken yet");
            trouble(shared, shard, Phase::Claiming, hindrance.to_string());
            Became::Lost
        }
    }
}

fn trouble(shared: &Shared, shard: u32, phase: Phase, why: String) {
    shared.status.shard(shard, |s| (s.phase, s.trouble) = (phase, Some(why)));
}

/// Acknowledged records are missing. Going on would apply things to a state that never was.
async fn refuse_for_good(
    shared: &Shared,
    shard: u32,
    why: &str,
    asks: &mut tokio::sync::mpsc::Receiver<Ask>,
    grant: &Grant,
) -> Became {
    tracing::error!(shard, why, "the shard stops: data lost");
    trouble(shared, shard, Phase::DataLost, why.to_owned());
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => ask,
            () = grant.cancelled() => return Became::Released,
        };
        let refused = || Err(Error::unavailable(format!("shard {shard} has stopped, data lost: {why}")));
        let sent = match ask {
            Some(
                Ask::Command { answer, .. }
                | Ask::Read { answer, .. }
                | Ask::Explain { answer, .. }
                | Ask::Ended { answer, .. }
                | Ask::List { answer, .. }
                | Ask::Steps { answer, .. }
                | Ask::Show { answer }
                | Ask::Attempts { answer, .. }
                | Ask::Away { answer, .. },
            ) => answer.send(refused()),
            Some(Ask::Judged { .. } | Ask::Unclaimed { .. } | Ask::Forget { .. }) => Ok(()),
            None => return Became::Released,
        };
        if sent.is_err() {
            tracing::debug!(shard, "who asked has gone");
        }
    }
}

/// Appends a claim and folds the ledger through it.
async fn take(shared: &Shared, shard: u32) -> Result<(Folded, Instant), Hindrance> {
    shared.status.shard(shard, |s| s.phase = Phase::Claiming);
    let epoch = claim(shared, shard).await?;
    let claimed_at = Instant::now();
    shared.status.shard(shard, |s| s.phase = Phase::Folding);
    let readers = &shared.kafka.readers;
    let log = readers.watermarks(topics::LEDGER, shard as i32, STALL).await?;
    if log.low.unsigned_abs() > epoch {
        return Err(Hindrance::Claim(
            "the ledger has been trimmed beyond it: another owner has gone on".into(),
        ));
    }
    let keep = shared.config.keep.clone();
    let (mut fold, from) = match floor(shared, shard, log.low.unsigned_abs(), epoch).await? {
        Some(floor) => (Fold::from_floor(keep, floor), floor),
        None if log.low == 0 => (Fold::whole(keep), 0),
        // Whoever trimmed it there has named that floor: behind our claim, if not before it.
        None if log.high.unsigned_abs() > epoch + 1 => {
            return Err(Hindrance::Claim("the ledger has been trimmed by one who has claimed since".into()));
        }
        None => {
            return Err(Hindrance::Lost(format!(
                "{} partition {shard} begins at offset {}, and no step before {epoch} names a floor there",
                topics::LEDGER,
                log.low
            )));
        }
    };
    let mut trouble: Option<FoldError> = None;
    readers
        .read_through(topics::LEDGER, shard as i32, from as i64, epoch as i64, STALL, |record| {
            if record.offset.unsigned_abs() > epoch {
                return ControlFlow::Break(());
            }
            let at = record.timestamp_ms.map(Timestamp::from_millis);
            match fold.record(record.offset.unsigned_abs(), at, record.payload.as_deref().unwrap_or_default())
            {
                Ok(_) => ControlFlow::Continue(()),
                Err(error) => {
                    trouble = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
        .await?;
    if let Some(error) = trouble {
        return Err(Hindrance::Lost(format!("{} partition {shard}: {error}", topics::LEDGER)));
    }
    let folded = fold.finish().map_err(|e| Hindrance::Lost(e.to_string()))?;
    let seconds = claimed_at.elapsed();
    metrics::histogram!(names::FOLD_SECONDS).record(seconds);
    tracing::info!(
        shard,
        epoch,
        from,
        counted = folded.counted,
        void = folded.void,
        ?seconds,
        "the shard is taken"
    );
    if folded.epoch != epoch {
        return Err(Hindrance::Claim(format!("offset {epoch} holds no claim of ours")));
    }
    Ok((folded, claimed_at))
}

/// The floor of the nearest step before a claim that is not trimmed away, whether or not that step counts.
async fn floor(shared: &Shared, shard: u32, low: u64, claim: u64) -> Result<Option<u64>, ReadError> {
    let (mut end, mut window) = (claim, LOOK_BACK);
    while end > low {
        let from = end.saturating_sub(window).max(low);
        let mut found = None;
        let (first, last) = (from as i64, end as i64 - 1);
        let read =
            shared.kafka.readers.read_through(topics::LEDGER, shard as i32, first, last, STALL, |record| {
                let offset = record.offset.unsigned_abs();
                if offset >= end {
                    return ControlFlow::Break(());
                }
                let named = floor_of(offset, record.payload.as_deref().unwrap_or_default());
                found = named.filter(|floor| *floor >= low).or(found);
                ControlFlow::Continue(())
            });
        read.await?;
        if found.is_some() {
            return Ok(found);
        }
        (end, window) = (from, window * 8);
    }
    Ok(None)
}

async fn claim(shared: &Shared, shard: u32) -> Result<u64, Hindrance> {
    let refused = |why: String| Hindrance::Claim(why);
    let bytes =
        Claim::by(shared.config.id.as_str(), wall_clock()).to_bytes().map_err(|e| refused(e.to_string()))?;
    let producer = shared.kafka.ledger().map_err(|e| refused(e.to_string()))?;
    let (sender, acknowledged) = oneshot::channel();
    let out = Outgoing::to(topics::LEDGER).partition(shard as i32).payload(bytes);
    producer
        .send(out, move |delivery| {
            // Nobody waits any more when the shard was stopped meanwhile.
            let _ = sender.send(delivery);
        })
        .map_err(|e| refused(e.to_string()))?;
    metrics::counter!(names::LEDGER_RECORDS_TOTAL, "kind" => "claim").increment(1);
    metrics::counter!(names::SHARD_CHANGES_TOTAL, "to" => "claimed").increment(1);
    // No time limit of our own: a claim that was given up would land all the same and dethrone its successor.
    match acknowledged.await {
        Ok(Ok(acked)) => {
            acked.known_offset().ok_or_else(|| refused("it was acknowledged without an offset".into()))
        }
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_) => Err(refused("the producer ended".into())),
    }
}
