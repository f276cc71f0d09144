//! A task ends as it should: cancelled, after another try, or when its time is over.

use super::broken::refused_as;
use super::doors::ended;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{Code, Timestamp};

/// What nobody can do.
const NOBODY: &str = "nobody";

pub(super) async fn cancel(site: &Site) -> Verdict {
    let id = site.fresh("cancel");
    submit(site, json!({ "task_id": id, "capability": site.capability(NOBODY) })).await?;
    let cancel = format!("/v1/tasks/{id}/cancel");
    let reason = json!({ "reason": "validate" });
    for times in ["once", "twice"] {
        site.api.post(&cancel, &[], &reason, Duration::ZERO).await?;
        let task = ended(site, &id, SOON).await?;
        if task["status"] != "cancelled" {
            return Err(Broken::promise(format!("cancelled {times}, the task ended as {}", task["status"])));
        }
    }
    held("cancelled; a second time is answered alike")
}

pub(super) async fn cancel_too_late(site: &Site) -> Verdict {
    let id = site.fresh("late");
    submit(site, site.echo_task(&id, &json!(1))).await?;
    ended(site, &id, SOON).await?;
    let late = site.api.post(&format!("/v1/tasks/{id}/cancel"), &[], &json!({}), Duration::ZERO).await;
    let error = refused_as(late, Code::InvalidTransition)?;
    match error.status.as_deref() {
        Some("completed") => held(error.to_string()),
        other => Err(Broken::promise(format!("the status told is {other:?} ({error})"))),
    }
}

/// The agent fails the first attempt of such a task, and only that.
pub(super) async fn retried(site: &Site) -> Verdict {
    let id = site.fresh("retry");
    let retry = json!({ "max_attempts": 2, "initial_backoff_ms": 10 });
    submit(site, json!({ "task_id": id, "capability": site.capability("stumble"), "retry": retry })).await?;
    let task = ended(site, &id, SOON).await?;
    let outcomes: Vec<&str> = attempts(&task).iter().filter_map(|a| a["outcome"].as_str()).collect();
    match (task["status"].as_str(), outcomes.as_slice()) {
        (Some("completed"), ["failed", "completed"]) => held("failed once, completed by the second attempt"),
        (status, outcomes) => {
            Err(Broken::promise(format!("it ended as {status:?}, its attempts {outcomes:?}")))
        }
    }
}

pub(super) async fn deadline(site: &Site) -> Verdict {
    let id = site.fresh("deadline");
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let deadline = now.plus_millis(500);
    submit(site, json!({ "task_id": id, "capability": site.capability(NOBODY), "deadline": deadline }))
        .await?;
    let task = ended(site, &id, SOON).await?;
    match (task["status"].as_str(), task["error"]["code"].as_str(), attempts(&task).len()) {
        (Some("failed"), Some("deadline_exceeded"), 0) => {
            held("failed as deadline_exceeded, never attempted")
        }
        (status, code, attempts) => {
            Err(Broken::promise(format!("it ended as {status:?}, {code:?}, after {attempts} attempts")))
        }
    }
}

async fn submit(site: &Site, body: Value) -> Result<(), Broken> {
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    Ok(())
}

fn attempts(task: &Value) -> &[Value] {
    task["attempts"].as_array().map_or(&[], Vec::as_slice)
}
