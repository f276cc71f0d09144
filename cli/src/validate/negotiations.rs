//! Participants decide together.

use super::broken::refused_as;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::Code;

/// Long enough for this check.
const ROUND_MS: u64 = 30_000;

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
