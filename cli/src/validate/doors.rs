//! Work comes in through either door, and the same command is one task whichever it takes.

use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use agent_sdk::task;
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{ContentType, Envelope};

const SUBMIT: &str = "synod.task.submit";

pub(super) async fn quick(site: &Site) -> Verdict {
    let input = json!({"n": 12, "text": "é"});
    let request = task(site.capability("echo")).id(site.fresh("quick")).input(&input);
    let done = site.client.call::<Value>(request, SOON).await?;
    match done.output == input {
        true => {
            held(format!("{} by {}", done.task.status.as_str(), done.agent_id().map_or("-", |a| a.as_str())))
        }
        false => Err(Broken::promise(format!("{} came back", done.output))),
    }
}

pub(super) async fn kafka(site: &Site) -> Verdict {
    let id = site.fresh("kafka");
    let payload = site.echo_task(&id, &json!([1, 2]));
    submitted_through_kafka(site, &id, &site.envelope(SUBMIT), payload.to_string().as_bytes()).await
}

pub(super) async fn kafka_bincode(site: &Site) -> Verdict {
    let id = site.fresh("bincode");
    let payload = site.echo_task(&id, &json!([1, 2]));
    let envelope = Envelope { content_type: ContentType::Bincode, ..site.envelope(SUBMIT) };
    submitted_through_kafka(site, &id, &envelope, &Site::in_bincode(SUBMIT, &payload)?).await
}

async fn submitted_through_kafka(site: &Site, id: &str, envelope: &Envelope, payload: &[u8]) -> Verdict {
    let entity: Value = site.through_kafka(envelope, id, payload).await??.to()?;
    if entity["task_id"] != id {
        return Err(Broken::promise(format!("the reply is not about the task: {entity}")));
    }
    // After a reply every coordinator shows that state or a newer one.
    let done = ended(site, id, SOON).await?;
    match done["output"] == json!([1, 2]) {
        true => held(format!("replied as {}, then completed", entity["status"].as_str().unwrap_or("-"))),
        false => Err(Broken::promise(format!("the task is {done}"))),
    }
}

/// The same command, the same `ce_id`, through Kafka, HTTP, and both again.
pub(super) async fn twice(site: &Site) -> Verdict {
    let id = site.fresh("twice");
    let payload = site.echo_task(&id, &json!("once"));
    let (envelope, bytes) = (site.envelope(SUBMIT), payload.to_string());
    for _ in 0..2 {
        let (kafka, http) = futures::join!(
            site.through_kafka(&envelope, &id, bytes.as_bytes()),
            site.through_http(&envelope, &payload)
        );
        let kafka: Value = kafka??.to()?;
        for entity in [&kafka, &http?] {
            if entity["task_id"] != *id {
                return Err(Broken::promise(format!("the answer is not about the task: {entity}")));
            }
        }
    }
    let done = ended(site, &id, SOON).await?;
    let attempts = done["attempts"].as_array().map_or(0, Vec::len);
    let served = site.staff().await?.echoed(&id);
    match (attempts, served) {
        (1, 1) => held("sent four times: one task, one attempt, served once"),
        _ => Err(Broken::promise(format!("{attempts} attempts, served {served} times"))),
    }
}

/// The task once it has ended.
pub(super) async fn ended(site: &Site, id: &str, within: Duration) -> Result<Value, Broken> {
    let query = [("wait_ms", within.as_millis().to_string())];
    let task = site.api.get(&format!("/v1/tasks/{id}"), &query, within).await?;
    match task["status"].as_str() {
        Some("completed" | "failed" | "cancelled" | "dead_lettered") => Ok(task),
        status => Err(Broken::promise(format!(
            "the task {id} is still {} after {} ms",
            status.unwrap_or("without a status"),
            within.as_millis()
        ))),
    }
}
