//! `synod task redrive`: what has failed for good is tried afresh, as a task of its own.

use crate::mesh::Api;
use crate::output::{Output, Stop};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Code, EntityId, Error};

/// The label that says of which task another is a fresh try.
const REDRIVEN_FROM: &str = "synod.redriven_from";
/// Members of a submission that a fresh try has too; its deadline is a new one.
const KEPT: [&str; 13] = [
    "capability",
    "agent_id",
    "input",
    "priority",
    "timeout_ms",
    "retry",
    "strategy",
    "requires",
    "retry_on_suspect",
    "labels",
    "concurrency_key",
    "escalate_to",
    "adjustments",
];

/// Arguments of `synod task redrive`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task that has failed, was dead-lettered or cancelled
    #[arg(value_name = "TASK")]
    id: EntityId,
    /// The id of the fresh try; <TASK>-redriven by default, so that doing it twice makes one
    #[arg(long, value_name = "ID")]
    new_id: Option<EntityId>,
}

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let Args { id, new_id } = args;
    let task = api.get(&super::path(&id), &[], Duration::ZERO).await?;
    let status = task["status"].as_str().unwrap_or_default();
    if !matches!(status, "dead_lettered" | "failed" | "cancelled") {
        let message = format!("task {id} is {status}: only what has failed or was cancelled is tried afresh");
        return Err(Error::invalid_transition(message, status).into());
    }
    let new_id = new_id.map_or_else(|| format!("{id}-redriven"), |id| id.to_string());
    let submitted = submitted(api, &id).await?;
    let body = fresh(&submitted, &id, &new_id);
    let (_, made) = api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    output.entity(&made)
}

/// The task as it was submitted: an event tells it whole, however long ago it left memory.
async fn submitted(api: &Api, id: &EntityId) -> Result<Value, Stop> {
    let mut query = vec![
        ("entity", id.to_string()),
        ("type", "synod.task.submitted".to_owned()),
        ("limit", "1".to_owned()),
    ];
    loop {
        let page = api.get("/v1/events", &query, Duration::ZERO).await?;
        let found = super::super::items(&page).iter().find(|event| event["entity"] == id.as_str());
        if let Some(event) = found {
            return Ok(event["data"].clone());
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            let message = format!("the events of task {id} are not kept any more; submit it anew");
            return Err(Error::new(Code::PositionLost, message).into());
        };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor.to_owned()));
    }
}

fn fresh(submitted: &Value, id: &EntityId, new_id: &str) -> Value {
    let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), submitted.get(*name)?.clone())));
    let mut body = Value::Object(kept.collect());
    body["task_id"] = json!(new_id);
    if !body["labels"].is_object() {
        body["labels"] = json!({});
    }
    body["labels"][REDRIVEN_FROM] = json!(id.as_str());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_try_is_as_it_was_submitted_but_for_its_id_and_deadline() {
        let submitted = json!({"task_id": "t", "status": "waiting", "capability": "c", "input": {"x": 1}, "priority": 7,
            "timeout_ms": 5, "deadline": "2026-11-22T08:00:00.000Z", "retry": {"max_attempts": 2}, "labels": {"a": "b"},
            "escalate_to": "e", "retry_on_suspect": false, "correlation_id": "k", "body": "f"});
        let id = "t".parse().unwrap();
        assert_eq!(
            fresh(&submitted, &id, "t-redriven"),
            json!({"task_id": "t-redriven", "capability": "c", "input": {"x": 1}, "priority": 7, "timeout_ms": 5,
                "retry": {"max_attempts": 2}, "labels": {"a": "b", "synod.redriven_from": "t"}, "escalate_to": "e",
                "retry_on_suspect": false})
        );
    }
}
