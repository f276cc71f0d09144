//! What has left memory: found in a view, or read again from the ledger.
//!
//! Slow beside memory and rare: one look-up at a time reads the ledger, and each has a limit.

use super::Ask;
use crate::Shared;
use serde::Deserialize;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::ReadError;
use synod_infra::redis::view::Views;
use synod_ledger::{Answer, Fold, Had, Keep, Past, Search, State, Step, Subject, life_from};
use synod_protocol::{Code, Error, Json, topics};
use tokio::time::Instant;

/// How long one look-up may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How far behind its place a step may stand.
const DISPLACED: u64 = 10_000;
/// Records between a task's submission and its end that are read.
const LIFE: u64 = 500_000;

/// The answer to a question about what has left memory.
pub(super) async fn answer(shared: &Shared, shard: u32, past: Past) -> Answer {
    match tokio::time::timeout(LIMIT, look(shared, shard, past)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::unavailable(format!(
            "what is asked for has left memory and was not found again within {} s; repeat, or see `synod ledger show`",
            LIMIT.as_secs()
        ))),
    }
}

async fn look(shared: &Shared, shard: u32, past: Past) -> Answer {
    let past = match past {
        Past::Command { at } => match Had::of(&step(shared, shard, at).await?) {
            Some(Had::Refused(error)) => return Err(*error),
            // It may be in memory all the same: the owner knows.
            Some(Had::Taken(subject)) => return read(shared, shard, subject).await,
            Some(Had::Again(past)) => past,
            None => {
                return Err(Error::new(Code::Internal, format!("the step with place {at} had no command")));
            }
        },
        past => past,
    };
    match past {
        Past::Command { .. } => Err(Error::new(Code::Internal, "a command that was had by a repeat")),
        Past::Entity { subject, at } => ended(shared, shard, &subject, at).await.map(|json| (json, false)),
        Past::Again { subject, at, body } => {
            let (offset, step) = find(shared, shard, at).await?;
            let is_same = match subject.body_in(&step) {
                Some(first) => first == body,
                None => {
                    let state = life(shared, shard, &subject, (offset, &step)).await?;
                    subject.standing(&state).is_some_and(|standing| standing.body == body)
                }
            };
            if !is_same {
                return Err(subject.made_otherwise());
            }
            ended(shared, shard, &subject, Some(at)).await.map(|json| (json, false))
        }
        Past::Over { subject, at } => {
            #[derive(Deserialize)]
            struct Ended {
                status: String,
            }
            let Ended { status } = ended(shared, shard, &subject, Some(at)).await?.to().map_err(|e| {
                Error::new(Code::Internal, format!("the view of {} {}: {e}", subject.noun(), subject.id()))
            })?;
            Err(subject.is_over(&status))
        }
    }
}

/// Something that has ended: its view, or its life in the ledger.
async fn ended(shared: &Shared, shard: u32, subject: &Subject, at: Option<u64>) -> Result<Json, Error> {
    if let Some(view) = view(shared, subject).await {
        return Ok(view);
    }
    let Some(at) = at else { return Err(Error::not_found(subject.noun(), subject.id())) };
    let (offset, step) = find(shared, shard, at).await?;
    subject.shown(&life(shared, shard, subject, (offset, &step)).await?)
}

/// A shard's state in which something has just ended, read from the ledger, by the step under which its id is known.
async fn life(shared: &Shared, shard: u32, subject: &Subject, of: (u64, &Step)) -> Result<State, Error> {
    let (offset, step) = of;
    let first = life_from(offset, step, subject);
    // From its birth on it goes to its end; from before its end its image is met on the way.
    let is_met = |state: &State| subject.is_met(state, first == offset);
    let state = folded(shared, shard, (first, offset), is_met).await?;
    let is_over = subject.standing(&state).is_some_and(|standing| standing.is_over);
    if is_over { Ok(state) } else { Err(Error::not_found(subject.noun(), subject.id())) }
}

/// The view of what has ended, if there is one that reads.
async fn view(shared: &Shared, subject: &Subject) -> Option<Json> {
    let (workspace, id) = subject.at()?;
    let (kind, id) = (subject.view()?, id.parse().ok()?);
    match Views::new(shared.redis.clone()).get_view(workspace, kind, &id).await {
        Ok(view) => match serde_json::from_str(&view?.body) {
            Ok(json) => Some(json),
            Err(error) => {
                tracing::warn!(kind, %id, %error, "a view that cannot be read");
                None
            }
        },
        Err(error) => {
            tracing::debug!(%error, "views cannot be read");
            None
        }
    }
}

/// Asks the shard itself.
async fn read(shared: &Shared, shard: u32, subject: Subject) -> Answer {
    let asked =
        shared.shards[shard as usize].ask(Instant::now() + LIMIT, |answer| Ask::Read { subject, answer });
    asked.await.map_err(Error::from)
}

/// What a fold from `first` knows once this is so: through `offset`, or where that is where it begins, as far as a life may be.
async fn folded(
    shared: &Shared,
    shard: u32,
    (first, offset): (u64, u64),
    enough: impl Fn(&State) -> bool,
) -> Result<State, Error> {
    let keep = Keep { ended_ms: u64::MAX, runs_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
    let mut fold = Fold::from_floor(keep, first);
    let mut trouble = None;
    let readers = shared.kafka.archive.lock().await;
    let through = if first == offset { first + LIFE } else { offset };
    let read =
        readers.read_through(topics::LEDGER, shard as i32, first as i64, through as i64, LIMIT, |record| {
            let bytes = record.payload.as_deref().unwrap_or_default();
            match fold.record(record.offset.unsigned_abs(), None, bytes) {
                Err(error) => trouble = Some(error),
                Ok(_) if enough(fold.state()) => {}
                Ok(_) => return ControlFlow::Continue(()),
            }
            ControlFlow::Break(())
        });
    read.await.map_err(|e| Error::unavailable(format!("Kafka: {e}")))?;
    match trouble {
        Some(error) => Err(Error::new(Code::Internal, format!("the ledger of shard {shard}: {error}"))),
        None => Ok(fold.state().clone()),
    }
}

async fn step(shared: &Shared, shard: u32, at: u64) -> Result<Step, Error> {
    find(shared, shard, at).await.map(|(_, step)| step)
}

/// The step that counts with this place, and where it stands.
async fn find(shared: &Shared, shard: u32, at: u64) -> Result<(u64, Step), Error> {
    let unread = |e: ReadError| Error::unavailable(format!("Kafka: {e}"));
    let readers = shared.kafka.archive.lock().await;
    let log = readers.watermarks(topics::LEDGER, shard as i32, LIMIT).await.map_err(unread)?;
    let mut search = Search::of(at);
    let (from, last) = (at as i64, log.high - 1);
    // Behind a trimmed place only what never counted may be left of it.
    if log.low <= from && from <= last {
        let through = last.min((at + DISPLACED) as i64);
        let read = readers.read_through(topics::LEDGER, shard as i32, from, through, LIMIT, |record| {
            search.record(record.offset.unsigned_abs(), record.payload.as_deref().unwrap_or_default())
        });
        read.await.map_err(unread)?;
    }
    search.found().ok_or_else(|| {
        Error::new(Code::Internal, format!("no step with place {at} stands in the ledger of shard {shard}"))
    })
}
