//! What happened to a task is told completely, in order, and the same by HTTP and by Kafka.

use super::doors::ended;
use super::replies::{ends, read_until};
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use synod_protocol::topics;

/// A task that stumbles once goes through these.
const EXPECTED: [&str; 6] = [
    "synod.task.submitted",
    "synod.task.assigned",
    "synod.task.attempt_failed",
    "synod.task.retry_scheduled",
    "synod.task.assigned",
    "synod.task.completed",
];
/// Events that an agent may send or not.
const OPTIONAL: [&str; 2] = ["synod.task.started", "synod.task.progressed"];
/// Between two looks at the history.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One event, as either door tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    id: String,
    ty: String,
}

pub(super) async fn in_order(site: &Site) -> Verdict {
    let id = site.fresh("events");
    let since = ends(&site.readers, topics::EVENTS).await?;
    let retry = json!({ "max_attempts": 2, "initial_backoff_ms": 10 });
    let body = json!({ "task_id": id, "capability": site.capability("stumble"), "retry": retry });
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    ended(site, &id, SOON).await?;

    let mut kafka: Vec<Told> = Vec::new();
    let mut leaked = false;
    let take = |record: synod_infra::kafka::RawRecord| {
        let Ok(envelope) = record.envelope() else { return false };
        if envelope.subject.as_deref() != Some(&id) {
            return false;
        }
        leaked |=
            String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).contains("attempt_token");
        let told = Told { id: envelope.id, ty: envelope.ty };
        // An event may be published again after a change of owner: by its id it is known.
        if !kafka.contains(&told) {
            kafka.push(told);
        }
        kafka.last().is_some_and(|last| last.ty == "synod.task.completed")
    };
    read_until(&site.readers, topics::EVENTS, since, SOON, take).await?;
    if leaked {
        return Err(Broken::promise("an attempt's token is published"));
    }
    let types: Vec<&str> =
        kafka.iter().map(|told| told.ty.as_str()).filter(|ty| !OPTIONAL.contains(ty)).collect();
    if types != EXPECTED {
        return Err(Broken::promise(format!("Kafka tells {types:?}")));
    }
    if !kafka.is_sorted_by_key(|told| place(&told.id)) {
        return Err(Broken::promise(format!("the ledger's order is another: {kafka:?}")));
    }
    let http = history(site, &id, kafka.len()).await?;
    match http == kafka {
        true => held(format!("{} events, the same by Kafka and HTTP", kafka.len())),
        false => Err(Broken::promise(format!("HTTP tells {http:?}, Kafka {kafka:?}"))),
    }
}

/// `<shard>-<offset>-<i>` as numbers.
fn place(id: &str) -> Vec<u64> {
    id.split('-').filter_map(|part| part.parse().ok()).collect()
}

/// The history, once it has so many events.
async fn history(site: &Site, id: &str, count: usize) -> Result<Vec<Told>, Broken> {
    let deadline = Instant::now() + SOON;
    loop {
        let query = [("entity", id.to_owned()), ("limit", "100".to_owned())];
        let page = site.api.get("/v1/events", &query, Duration::ZERO).await?;
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        if items.len() >= count || Instant::now() >= deadline {
            return Ok(items.iter().map(|e| Told { id: text(e, "id"), ty: text(e, "type") }).collect());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
