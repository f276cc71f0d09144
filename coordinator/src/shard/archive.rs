//! What has left memory: found in a view, or read again from the ledger.
//!
//! Slow beside memory and rare: one look-up at a time reads the ledger, and each has a limit.

use super::Ask;
use crate::Shared;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::ReadError;
use synod_infra::redis::view::Views;
use synod_ledger::{
    Answer, Fold, Had, Keep, NEGOTIATION, NegotiationKey, Past, Search, State, Step, Subject, TASK, TaskKey,
    TaskState, life_from, negotiation_from, submission,
};
use synod_negotiation::{Negotiation, certificate};
use synod_protocol::negotiation::NegotiationView;
use synod_protocol::view::Task;
use synod_protocol::{Code, EntityId, Error, Json, Workspace, topics};
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
            Some(Had::Submitted(past)) => past,
            None => {
                return Err(Error::new(Code::Internal, format!("the step with place {at} had no command")));
            }
        },
        past => past,
    };
    match past {
        Past::Command { .. } => Err(Error::new(Code::Internal, "a command that was had by a repeat")),
        Past::Task { key, at } => task(shared, shard, &key, at).await.map(|json| (json, false)),
        Past::Submitted { key, at, body } => {
            let (offset, step) = find(shared, shard, at).await?;
            let first = match submission(&step, &key) {
                Some(submitted) => submitted.body.clone(),
                None => life(shared, shard, &key, (offset, &step)).await?.submitted.body.clone(),
            };
            if first != body {
                let why = format!("task {} exists already and was submitted with another body", key.task);
                return Err(Error::new(Code::AlreadyExists, why));
            }
            task(shared, shard, &key, Some(at)).await.map(|json| (json, false))
        }
        Past::Ended { key, at } => {
            let json = task(shared, shard, &key, Some(at)).await?;
            let ended: Task = json
                .to()
                .map_err(|e| Error::new(Code::Internal, format!("the view of task {}: {e}", key.task)))?;
            let status = ended.status.as_str();
            Err(Error::invalid_transition(format!("task {} has ended as {status}", key.task), status))
        }
        Past::Negotiation { key, at } => negotiation(shared, shard, &key, at).await.map(|json| (json, false)),
        Past::Certificate { key, at } => {
            let at = at.ok_or_else(|| Error::not_found("negotiation", key.negotiation.as_str()))?;
            let found = negotiation_life(shared, shard, &key, at).await?;
            let made = certificate(&key.workspace, &found)
                .map_err(|error| Error::invalid_transition(error.to_string(), error.status.as_str()))?;
            Json::of(&made).map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
        }
        Past::Opened { key, at, body } => {
            let found = negotiation_life(shared, shard, &key, at).await?;
            if found.opened.body != body {
                let why = format!(
                    "negotiation {} exists already and was opened with another body",
                    key.negotiation
                );
                return Err(Error::new(Code::AlreadyExists, why));
            }
            let json = Json::of(&found.view(&key.workspace));
            json.map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
        }
        Past::NegotiationEnded { key, at } => {
            let json = negotiation(shared, shard, &key, Some(at)).await?;
            let ended: NegotiationView = json.to().map_err(|e| {
                Error::new(Code::Internal, format!("the view of negotiation {}: {e}", key.negotiation))
            })?;
            let status = ended.status.as_str();
            Err(Error::invalid_transition(format!("negotiation {} is {status}", key.negotiation), status))
        }
    }
}

/// A negotiation that has ended: its view, or its life in the ledger.
async fn negotiation(
    shared: &Shared,
    shard: u32,
    key: &NegotiationKey,
    at: Option<u64>,
) -> Result<Json, Error> {
    if let Some(view) = view(shared, &key.workspace, NEGOTIATION, &key.negotiation).await {
        return Ok(view);
    }
    let Some(at) = at else { return Err(Error::not_found("negotiation", key.negotiation.as_str())) };
    let found = negotiation_life(shared, shard, key, at).await?;
    Json::of(&found.view(&key.workspace)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

/// A negotiation as it ended, read from the ledger, by the step under which its id is known.
async fn negotiation_life(
    shared: &Shared,
    shard: u32,
    key: &NegotiationKey,
    at: u64,
) -> Result<Negotiation, Error> {
    let (offset, step) = find(shared, shard, at).await?;
    let first = negotiation_from(offset, &step, key);
    let is_over = |state: &State| state.negotiation(key).is_some_and(|it| it.status.is_final());
    let state = folded(shared, shard, (first, offset), is_over).await?;
    let found = state.negotiation(key).filter(|it| it.status.is_final());
    found.cloned().ok_or_else(|| Error::not_found("negotiation", key.negotiation.as_str()))
}

/// The view of what has ended, if there is one that reads.
async fn view(shared: &Shared, workspace: &Workspace, kind: &'static str, id: &EntityId) -> Option<Json> {
    match Views::new(shared.redis.clone()).get_view(workspace, kind, id).await {
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

/// A task that has ended: its view, or its life in the ledger.
async fn task(shared: &Shared, shard: u32, key: &TaskKey, at: Option<u64>) -> Result<Json, Error> {
    if let Some(view) = view(shared, &key.workspace, TASK, &key.task).await {
        return Ok(view);
    }
    let Some(at) = at else { return Err(Error::not_found("task", key.task.as_str())) };
    let (offset, step) = find(shared, shard, at).await?;
    let found = life(shared, shard, key, (offset, &step)).await?;
    Json::of(&found.view(&key.workspace)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

/// A task as it ended, read from the ledger, by the step under which its id is known.
async fn life(shared: &Shared, shard: u32, key: &TaskKey, of: (u64, &Step)) -> Result<TaskState, Error> {
    let (offset, step) = of;
    let first = life_from(offset, step, key);
    let is_end = first != offset;
    // From its submission on it goes to its end; from before its end its image is met on the way.
    let is_over = |state: &State| state.task(key).map_or(!is_end, |task| task.status.is_final());
    let state = folded(shared, shard, (first, offset), is_over).await?;
    let found = state.task(key).filter(|task| task.status.is_final());
    found.cloned().ok_or_else(|| Error::not_found("task", key.task.as_str()))
}

/// What a fold from `first` knows once this is so: through `offset`, or where that is where it begins, as far as a life may be.
async fn folded(
    shared: &Shared,
    shard: u32,
    (first, offset): (u64, u64),
    enough: impl Fn(&State) -> bool,
) -> Result<State, Error> {
    let keep = Keep { ended_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
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
