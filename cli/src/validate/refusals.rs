//! What is wrong is refused, with the code that is promised for it, through both doors.

use super::broken::refused_as;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{Code, Error};

const JSON: (&str, &str) = ("content-type", "application/json");

pub(super) async fn malformed(site: &Site) -> Verdict {
    let answer = site.api.post_raw("/v1/tasks", &[JSON], r#"{"capability": "#).await;
    said(refused_as(answer, Code::InvalidArgument)?)
}

pub(super) async fn unknown_type(site: &Site) -> Verdict {
    let envelope = site.envelope("synod.task.obey");
    let id = site.fresh("obey");
    let body = json!({ "task_id": id });
    refused_as(site.through_http(&envelope, &body).await, Code::InvalidArgument)?;
    let envelope = site.envelope("synod.task.obey");
    let through_kafka = site.through_kafka(&envelope, &id, body.to_string().as_bytes()).await?;
    said(refused_as(through_kafka, Code::InvalidArgument)?)
}

pub(super) async fn unknown_field(site: &Site) -> Verdict {
    let body = json!({ "capability": site.capability("echo"), "inputs": 1 });
    let error =
        refused_as(site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await, Code::InvalidArgument)?;
    match error.field.as_deref() {
        Some("/inputs") => said(error),
        other => Err(Broken::promise(format!("the place told is {other:?}, not /inputs ({error})"))),
    }
}

pub(super) async fn unknown_task(site: &Site) -> Verdict {
    let id = site.fresh("nowhere");
    let path = format!("/v1/tasks/{id}");
    refused_as(site.api.get(&path, &[], Duration::ZERO).await, Code::NotFound)?;
    let body = json!({ "task_id": id });
    let envelope = site.envelope("synod.task.cancel");
    let through_kafka = site.through_kafka(&envelope, &id, body.to_string().as_bytes()).await?;
    said(refused_as(through_kafka, Code::NotFound)?)
}

pub(super) async fn other_body(site: &Site) -> Verdict {
    let id = site.fresh("taken");
    let submit = async |input: Value| {
        let body = site.echo_task(&id, &input);
        site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await
    };
    submit(json!(1)).await?;
    submit(json!(1)).await?;
    said(refused_as(submit(json!(2)).await, Code::AlreadyExists)?)
}

/// A result for an attempt that is under way, from somebody who does not have its token.
pub(super) async fn wrong_token(site: &Site) -> Verdict {
    let id = site.fresh("fenced");
    let body = json!({ "task_id": id, "capability": site.capability("hold") });
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    site.staff().await?.holds(&id).await?;
    let forged = json!({ "task_id": id, "attempt": 1, "attempt_token": "guessed", "output": "forged" });
    let refused = async {
        let http = site.through_http(&site.envelope("synod.task.complete"), &forged).await;
        refused_as(http, Code::Fenced)?;
        let envelope = site.envelope("synod.task.complete");
        let kafka = site.through_kafka(&envelope, &id, forged.to_string().as_bytes()).await?;
        refused_as(kafka, Code::Fenced)
    };
    let refused = refused.await;
    site.staff().await?.let_go(&id);
    let error = refused?;
    let done = super::doors::ended(site, &id, super::site::SOON).await?;
    match done["output"] == "held" {
        true => said(error),
        false => Err(Broken::promise(format!("the task ended with {}", done["output"]))),
    }
}

pub(super) async fn reply_target(site: &Site) -> Verdict {
    let attempt = async |target: &'static str| {
        let id = site.fresh("target");
        let headers = [
            JSON,
            ("ce-specversion", "1.0"),
            ("ce-id", id.as_str()),
            ("ce-source", "/synod/validate"),
            ("ce-type", "synod.task.submit"),
            ("synod-reply-to", target),
        ];
        let body = site.echo_task(&id, &json!(1)).to_string();
        site.api.post_raw("/v1/commands", &headers, body).await
    };
    refused_as(attempt("kafka:synod.ledger.v1").await, Code::InvalidArgument)?;
    refused_as(attempt("redis:synod:coordinators").await, Code::InvalidArgument)?;
    said(refused_as(attempt("https://example.org/").await, Code::InvalidArgument)?)
}

#[allow(clippy::needless_pass_by_value)] // for `?`
fn said(error: Error) -> Verdict {
    held(error.to_string())
}
