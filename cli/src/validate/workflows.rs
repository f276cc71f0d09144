//! Workflows run, with people's consent in them.

use super::broken::refused_as;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use crate::mesh::segment;
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::Code;
use tokio::time::Instant;

/// How often what should come is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Work, a person's consent to its result, and work with that.
fn asking(site: &Site, id: &str) -> Value {
    let echo = site.capability("echo");
    json!({ "id": id, "output": "${{ steps.last.output }}", "steps": [
        { "id": "draft", "task": { "capability": echo, "input": "${{ input }}" } },
        { "id": "consent", "depends_on": ["draft"], "approval": { "title": "As it is?",
            "show": "${{ steps.draft.output }}", "approvers": ["anna"], "revise": { "step": "draft" } } },
        { "id": "last", "depends_on": ["consent"],
            "task": { "capability": echo, "input": ["${{ steps.draft.output }}", "${{ steps.consent.output.revision }}"] } }] })
}

/// A draft, changes that a person requests, the draft again, consent, and the rest: once each, and a stranger has no say.
pub(super) async fn with_people(site: &Site) -> Verdict {
    site.staff().await?;
    let (id, workflow) = (site.fresh("execution"), site.fresh("workflow"));
    let body = json!({ "execution_id": id, "workflow_id": workflow, "definition": asking(site, &workflow),
        "input": "draft" });
    site.api.post("/v1/executions", &[], &body, Duration::ZERO).await?;
    let decides = async |approval: &str, who: &str, what: &str| {
        let body = json!({ "approver": who, "decision": what, "comment": "shorter" });
        let path = format!("/v1/approvals/{}/decisions", segment(approval));
        site.api.post(&path, &[], &body, Duration::ZERO).await
    };
    let (first, second) = (format!("{id}:consent"), format!("{id}:consent:2"));
    asked(site, &first).await?;
    refused_as(decides(&first, "stranger", "approve").await, Code::PermissionDenied)?;
    decides(&first, "anna", "request_changes").await?;
    let next = asked(site, &second).await?;
    if (&next["revision"], &next["parent"]) != (&json!(2), &json!(first)) {
        return Err(Broken::promise(format!("the next revision is {next}")));
    }
    refused_as(decides(&first, "anna", "approve").await, Code::InvalidTransition)?;
    decides(&second, "anna", "approve").await?;
    let ended = ended(site, &id).await?;
    match (&ended["status"], &ended["output"]) {
        (Value::String(status), output) if status == "completed" && *output == json!(["draft", 2]) => {
            held("drafted twice, consented once, and done with what was consented to")
        }
        (status, output) => Err(Broken::promise(format!("it is {status} with {output}: {}", ended["error"]))),
    }
}

/// One that is cancelled while a person is asked starts nothing, and nobody is asked any more.
pub(super) async fn cancelled(site: &Site) -> Verdict {
    site.staff().await?;
    let (id, workflow) = (site.fresh("execution"), site.fresh("workflow"));
    let body = json!({ "execution_id": id, "workflow_id": workflow, "definition": asking(site, &workflow) });
    site.api.post("/v1/executions", &[], &body, Duration::ZERO).await?;
    let approval = format!("{id}:consent");
    asked(site, &approval).await?;
    site.api.post(&format!("/v1/executions/{id}/cancel"), &[], &json!({}), Duration::ZERO).await?;
    let path = format!("/v1/approvals/{}", segment(&approval));
    let asked: Value = site.api.get(&path, &[], Duration::ZERO).await?;
    let late = json!({ "approver": "anna", "decision": "approve" });
    let late = site.api.post(&format!("{path}/decisions"), &[], &late, Duration::ZERO).await;
    refused_as(late, Code::InvalidTransition)?;
    let ended = ended(site, &id).await?;
    let last =
        site.api.get(&format!("/v1/tasks/{}", segment(&format!("{id}:last"))), &[], Duration::ZERO).await;
    refused_as::<Value>(last, Code::NotFound)?;
    match (&ended["status"], &asked["status"]) {
        (Value::String(run), Value::String(asked)) if run == "cancelled" && asked == "cancelled" => {
            held("its approval went with it, and its last step was never begun")
        }
        (run, asked) => Err(Broken::promise(format!("it is {run}, its approval {asked}"))),
    }
}

/// What is wrong with a definition is told before anything runs, with its place.
pub(super) async fn broken(site: &Site) -> Verdict {
    let id = site.fresh("workflow");
    let step =
        |name: &str, after: &str| json!({ "id": name, "depends_on": [after], "task": { "capability": "c" } });
    let body = json!({ "id": id, "steps": [step("a", "b"), step("b", "a")] });
    let refused = site.api.post("/v1/workflows/definitions", &[], &body, Duration::ZERO).await;
    let error = refused_as(refused, Code::Unprocessable)?;
    match error.message.contains("cycle") || error.message.contains("each other") {
        true => held(error.message.lines().next().unwrap_or_default()),
        false => Err(Broken::promise(format!("two steps that wait for each other are refused as {error}"))),
    }
}

/// The approval, once somebody is asked.
async fn asked(site: &Site, approval: &str) -> Result<Value, Broken> {
    let path = format!("/v1/approvals/{}", segment(approval));
    let deadline = Instant::now() + SOON;
    loop {
        match site.api.get(&path, &[], Duration::ZERO).await {
            Ok(asked) => return Ok(asked),
            Err(error) if error.code == Code::NotFound && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The execution, once it is over.
async fn ended(site: &Site, id: &str) -> Result<Value, Broken> {
    let query = [("wait_ms", SOON.as_millis().to_string())];
    Ok(site.api.get(&format!("/v1/executions/{id}"), &query, SOON).await?)
}
