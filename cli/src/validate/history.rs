//! The ledger itself: a task's life stands in it, and all of it folds without a violation.

use super::doors::ended;
use super::site::SOON;
use super::{Broken, Held, Site, Verdict, held};
use crate::ledger::{Life, Schedule, Source, SourceError, Which, replay};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_protocol::{EntityId, topics};

/// More records than this are not replayed here: it would take longer than a check may.
const RECORDS: u64 = 200_000;

/// A task's life, from the records alone: it begins and ends as it should, and every word of it counts.
pub(super) async fn life(site: &Site) -> Verdict {
    let id = site.fresh("life");
    site.api.post("/v1/tasks", &[], &site.echo_task(&id, &json!(1)), Duration::ZERO).await?;
    ended(site, &id, SOON).await?;
    let entity: EntityId = id.parse()?;
    let source = Source::Kafka(site.readers.clone());
    let shards = source.shards().await?.unwrap_or(1);
    let shard = topics::partition(entity.root().as_bytes(), shards.max(1));
    let mut life = Life::of(site.workspace(), entity);
    let mut unreadable = None;
    for extent in source.extents(Which::One(shard)).await? {
        let each = |entry| match life.record(&entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                unreadable = Some(error);
                ControlFlow::Break(())
            }
        };
        source.read(extent, each).await?;
    }
    if let Some(error) = unreadable {
        return Err(Broken::promise(format!("shard {shard}: {error}")));
    }
    let events = || life.moments().iter().flat_map(|moment| &moment.events);
    let first = events().next().and_then(|event| event["type"].as_str());
    let last = events().last().and_then(|event| event["type"].as_str());
    let status =
        life.standing().filter(|standing| standing.is_final).map(|standing| standing.status.as_str());
    let void = life.moments().iter().find_map(|moment| moment.void.as_deref());
    match (first, last, status, void) {
        (Some("synod.task.submitted"), Some("synod.task.completed"), Some("completed"), None) => {
            held(format!("{} events in {} records of shard {shard}", events().count(), life.moments().len()))
        }
        other => Err(Broken::promise(format!(
            "its first and last event, its end and its void records are {other:?}"
        ))),
    }
}

/// Every shard, folded through the same core, keeps every invariant.
pub(super) async fn replays(site: &Site) -> Verdict {
    let source = Source::Kafka(site.readers.clone());
    let extents = source.extents(Which::All).await?;
    let records: u64 = extents.iter().map(|extent| extent.to.saturating_sub(extent.from)).sum();
    if records > RECORDS {
        return Ok(Held::NotApplicable(format!("{records} records take too long here: synod replay")));
    }
    let (mut counted, mut checked) = (0, 0);
    for extent in extents {
        let replayed = replay(&source, extent, Schedule::Affordable).await?;
        if let Some(found) = replayed.violation {
            return Err(Broken::promise(format!(
                "shard {}, offset {}: {}",
                extent.shard, found.offset, found.what
            )));
        }
        counted += replayed.counted;
        checked += replayed.states_checked;
    }
    held(format!("{counted} records that count, {checked} states"))
}

impl From<SourceError> for Broken {
    fn from(error: SourceError) -> Broken {
        Broken::Promise(format!("the ledger cannot be read: {error}"))
    }
}
