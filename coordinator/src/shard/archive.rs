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
    Answer, Fold, Had, Keep, Past, Search, Step, Subject, TaskKey, TaskState, life_from, submission,
};
use synod_protocol::view::Task;
use synod_protocol::{Code, Error, Json, topics};
use tokio::time::Instant;

/// How long one look-up may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How far behind its place a step may stand.
const DISPLACED: u64 = 10_000;
/// Records between a task's submission and its end that are read.
const LIFE: u64 = 500_000;

/// The kind under which a task's view is kept.
pub(super) const TASK: &str = "task";

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
    match Views::new(shared.redis.clone()).get_view(&key.workspace, TASK, &key.task).await {
        Ok(Some(view)) => match serde_json::from_str(&view.body) {
            Ok(json) => return Ok(json),
            Err(error) => tracing::warn!(task = %key.task, %error, "a view that cannot be read"),
        },
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "views cannot be read"),
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
    let keep = Keep { ended_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
    let mut fold = Fold::from_floor(keep, first);
    let mut trouble = None;
    let readers = shared.kafka.archive.lock().await;
    let is_end = first != offset;
    let (from, through) = (first as i64, if is_end { offset } else { first + LIFE } as i64);
    let life = readers.read_through(topics::LEDGER, shard as i32, from, through, LIMIT, |record| {
        let bytes = record.payload.as_deref().unwrap_or_default();
        match fold.record(record.offset.unsigned_abs(), None, bytes) {
            Err(error) => trouble = Some(error),
            Ok(_) if fold.state().task(key).map_or(!is_end, |task| task.status.is_final()) => {}
            Ok(_) => return ControlFlow::Continue(()),
        }
        ControlFlow::Break(())
    });
    life.await.map_err(|e| Error::unavailable(format!("Kafka: {e}")))?;
    if let Some(error) = trouble {
        return Err(Error::new(Code::Internal, format!("the ledger of shard {shard}: {error}")));
    }
    let found = fold.state().task(key).filter(|task| task.status.is_final());
    found.cloned().ok_or_else(|| Error::not_found("task", key.task.as_str()))
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
