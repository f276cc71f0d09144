//! What becomes of a change of shared state: whoever subscribed hears of it, and Kafka has it.

use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use synod_infra::primitives::state::{State, Writer};
use synod_protocol::primitives::state::{Condition, Put, range};
use synod_protocol::{Json, Name, topics};

/// A change reaches a stream, once, and nothing of another key does.
pub(super) async fn told(site: &Site) -> Verdict {
    let stem = site.fresh("told");
    let body = json!({ "pattern": format!("{stem}/*"), "stream": true });
    let (_, made) = site.api.post("/v1/subscriptions", &[], &body, Duration::ZERO).await?;
    let id = made["subscription_id"].as_str().ok_or_else(|| Broken::promise("a subscription has no id"))?;
    let path = format!("/v1/subscriptions/{id}");
    let outcome = heard(site, &stem, &path).await;
    site.api.delete(&path).await?;
    outcome
}

async fn heard(site: &Site, stem: &str, path: &str) -> Verdict {
    let mut stream = site.api.events(&format!("{path}/stream"), None).await?;
    let state = State::new(site.redis.clone());
    let writer = Writer::new(site.workspace(), "validate");
    let mut last = Duration::ZERO;
    for value in 0..10u64 {
        let put = Put::of(Json::of(&value)?);
        let other: Name = format!("{stem}-other").parse()?;
        state.put(&writer, &other, put.clone(), Condition::None).await?;
        let key: Name = format!("{stem}/{value}").parse()?;
        let began = Instant::now();
        let written = state.put(&writer, &key, put, Condition::None).await?;
        let event = loop {
            match tokio::time::timeout(SOON, stream.next()).await {
                Ok(Some(event)) if event.data.is_none() => {}
                Ok(Some(event)) => break event,
                Ok(None) => return Err(Broken::promise("the stream ended")),
                Err(_) => return Err(Broken::promise(format!("{key} was written and not told"))),
            }
        };
        last = began.elapsed();
        let data: Value = serde_json::from_str(event.data.as_deref().unwrap_or_default())?;
        let wanted = (json!(key.as_str()), json!(value), json!(written.entry.version));
        if (&data["key"], &data["value"], &data["version"]) != (&wanted.0, &wanted.1, &wanted.2) {
            return Err(Broken::promise(format!("{wanted:?} was written and {data} was told")));
        }
        state.delete(&writer, &other, Condition::None).await?;
    }
    held(format!("10 changes told in order, the last within {:.1} ms", last.as_secs_f64() * 1000.0))
}

/// A change reaches the mirror.
pub(super) async fn mirrored(site: &Site) -> Verdict {
    let key: Name = site.fresh("mirrored").parse()?;
    let workspace = site.workspace();
    let partitions =
        site.readers.partitions(topics::STATE, SOON).await.map_err(|e| Broken::promise(e.to_string()))?;
    let partition = range(&workspace, &key) % partitions.unwrap_or(1).max(1);
    let from = site.readers.watermarks(topics::STATE, partition.cast_signed(), SOON).await;
    let from = from.map_err(|error| Broken::promise(error.to_string()))?.high;
    let state = State::new(site.redis.clone());
    let writer = Writer::new(workspace.clone(), "validate");
    let put = Put { ttl_ms: Some(60_000), ..Put::of(Json::of("here")?) };
    let began = Instant::now();
    let written = state.put(&writer, &key, put, Condition::None).await?;
    let wanted = format!("{workspace}/{key}");
    loop {
        let end = site.readers.watermarks(topics::STATE, partition.cast_signed(), SOON).await;
        let end = end.map_err(|error| Broken::promise(error.to_string()))?.high;
        let mut found = None;
        if end > from {
            let each = |record: synod_infra::kafka::RawRecord| {
                if record.key.as_deref() == Some(wanted.as_bytes()) {
                    found = record.payload;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            let read =
                site.readers.read_through(topics::STATE, partition.cast_signed(), from, end - 1, SOON, each);
            read.await.map_err(|error| Broken::promise(error.to_string()))?;
        }
        if let Some(payload) = found {
            let entry: Value = serde_json::from_slice(&payload)?;
            state.delete(&writer, &key, Condition::None).await?;
            return match entry["version"] == json!(written.entry.version) && entry["value"] == json!("here") {
                true => held(format!(
                    "in {}[{partition}] within {} ms",
                    topics::STATE,
                    began.elapsed().as_millis()
                )),
                false => Err(Broken::promise(format!(
                    "version {} was written, mirrored is {entry}",
                    written.entry.version
                ))),
            };
        }
        if began.elapsed() > SOON {
            return Err(Broken::promise(format!("{wanted} is not in {}[{partition}]", topics::STATE)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
