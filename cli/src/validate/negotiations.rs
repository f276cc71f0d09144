//! Participants decide together.

use super::broken::refused_as;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use crate::mesh::segment;
use serde_json::{Value, json};
use std::time::Duration;
use synod_negotiation::{Protocols, verify};
use synod_protocol::Code;
use tokio::time::Instant;

/// Long enough for this check.
const ROUND_MS: u64 = 30_000;
/// How often what should come is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A vote among three: sealed while it is open, decided the moment that nothing can change it, and closed to strangers and to
/// who comes late.
pub(super) async fn vote(site: &Site) -> Verdict {
    let id = site.fresh("negotiation");
    let path = format!("/v1/negotiations/{id}");
    let body = json!({ "negotiation_id": id, "protocol": "vote", "participants": ["a", "b", "c"],
        "rules": { "candidates": ["x", "y"], "method": "plurality" }, "round_ms": ROUND_MS });
    site.api.post("/v1/negotiations", &[], &body, Duration::ZERO).await?;
    let says = async |who: &str, what: &str| {
        let body = json!({ "participant": who, "response": what });
        site.api.post(&format!("{path}/responses"), &[], &body, Duration::ZERO).await
    };
    says("a", "x").await?;
    let open = site.api.get(&path, &[], Duration::ZERO).await?;
    if open.pointer("/rounds/0/answers/a/response").is_some_and(|response| !response.is_null()) {
        return Err(Broken::promise("an answer was shown before its round had closed"));
    }
    refused_as(says("stranger", "y").await, Code::PermissionDenied)?;
    says("b", "x").await?;
    refused_as(says("c", "y").await, Code::InvalidTransition)?;
    let ended = site.api.get(&path, &[], Duration::ZERO).await?;
    match (&ended["status"], &ended["outcome"]["decided"]) {
        (Value::String(status), Value::String(decided)) if status == "decided" && decided == "x" => {
            held("two of three settled it; a stranger and who came late were refused")
        }
        other => Err(Broken::promise(format!("two of three for x gave {other:?}"))),
    }
}

/// Without a quorum nothing is decided, and it says so.
pub(super) async fn quorum(site: &Site) -> Verdict {
    let id = site.fresh("negotiation");
    let body = json!({ "negotiation_id": id, "protocol": "consensus", "participants": ["a", "b"],
        "quorum": { "count": 2 }, "round_ms": 50 });
    let wait = Duration::from_millis(ROUND_MS);
    let query = [("wait_ms", ROUND_MS.to_string())];
    let (_, ended) = site.api.post("/v1/negotiations", &query, &body, wait).await?;
    match (&ended["status"], &ended["reason"]) {
        (Value::String(status), Value::String(reason)) if status == "failed" => held(reason),
        _ => Err(Broken::promise(format!("nobody answered, and it is {}", ended["status"]))),
    }
}

/// What three have answered already is decided by one call, and its certificate follows from what was answered alone; another
/// outcome in it is found.
pub(super) async fn certificate(site: &Site) -> Verdict {
    let id = site.fresh("negotiation");
    let body = json!({ "negotiation_id": id, "ballots": { "a": "yes", "b": "yes", "c": "no" } });
    let (_, decided) = site.api.post("/v1/tools/decide_by_consensus", &[], &body, Duration::ZERO).await?;
    if decided["outcome"]["decided"] != "yes" {
        return Err(Broken::promise(format!("two of three for yes gave {decided}")));
    }
    let path = format!("/v1/negotiations/{id}/certificate");
    let mut certificate = site.api.get(&path, &[], Duration::ZERO).await?;
    let told = verify(&certificate.to_string(), Protocols::standard());
    if !told.holds() || !told.recomputed {
        return Err(Broken::promise(format!("the certificate does not hold: {:?}", told.findings)));
    }
    certificate["outcome"]["decided"] = json!("no");
    if verify(&certificate.to_string(), Protocols::standard()).holds() {
        return Err(Broken::promise("a certificate with another outcome holds"));
    }
    held("decided at once; recomputed from its certificate, and another outcome found out")
}

/// What a decision starts is there: the task, and the write of shared state.
pub(super) async fn then(site: &Site) -> Verdict {
    let (id, key) = (site.fresh("negotiation"), format!("{{{}}}/then", site.fresh("negotiation")));
    let body = json!({ "negotiation_id": id, "protocol": "vote", "answers": { "a": "x" },
        "rules": { "candidates": ["x", "y"], "method": "plurality" },
        "then": { "task": { "capability": site.capability("nobody") }, "state": { "key": key } } });
    site.api.post("/v1/negotiations", &[], &body, Duration::ZERO).await?;
    let task = format!("/v1/tasks/{}", segment(&format!("{id}:then")));
    let started: Value = site.api.get(&task, &[], Duration::ZERO).await?;
    if started["input"]["outcome"]["decided"] != "x" {
        return Err(Broken::promise(format!("the task that was started has the input {}", started["input"])));
    }
    site.api.post(&format!("{task}/cancel"), &[], &json!({}), Duration::ZERO).await?;
    let path = format!("/v1/state/{}", segment(&key));
    let deadline = Instant::now() + SOON;
    let entry = loop {
        match site.api.get(&path, &[], Duration::ZERO).await {
            Ok(entry) => break entry,
            Err(error) if error.code == Code::NotFound && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    site.api.delete(&path).await?;
    match (&entry["value"]["decided"], &entry["version"]) {
        (Value::String(decided), version) if decided == "x" => {
            held(format!("a task with the outcome, and version {version} of a key"))
        }
        _ => Err(Broken::promise(format!("the outcome was to be written, and there is {entry}"))),
    }
}
