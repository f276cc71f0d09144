//! How agents are chosen: by the rule that is asked for, and not while they are shut out.

use super::doors::ended;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use crate::mesh::Api;
use serde_json::{Value, json};
use std::time::Duration;

const RULES: [&str; 6] =
    ["least_connections", "round_robin", "weighted_round_robin", "performance", "resources", "random"];

/// Every rule chooses, and says by what.
pub(super) async fn explained(site: &Site) -> Verdict {
    for rule in RULES {
        let id = site.fresh("chosen");
        submit(&site.api, &id, &site.capability("echo"), rule).await?;
        ended(site, &id, SOON).await?;
        let told = site.api.get(&format!("/v1/tasks/{id}/explanation"), &[], Duration::ZERO).await?;
        let choice = &told["attempts"][0]["choice"];
        let figures = choice["figures"].as_object().map_or(0, serde_json::Map::len);
        if choice["rule"] != rule || figures == 0 {
            return Err(Broken::promise(format!("asked for {rule}, it was chosen by {choice}")));
        }
    }
    held(format!("{} rules, each with its figures", RULES.len()))
}

/// An agent whose breaker is forced open gets nothing, and all that waited once it is reset.
pub(super) async fn shut_out(site: &Site) -> Verdict {
    let staff = site.staff().await?.id().clone();
    let breaker = format!("/v1/agents/{staff}/breaker");
    let capability = site.capability("echo");
    let order = async |order: &str| {
        let body = json!({ "order": order, "capability": capability, "reason": "synod validate" });
        site.api.post(&breaker, &[], &body, Duration::ZERO).await
    };
    order("force_open").await?;
    let id = site.fresh("shut-out");
    let submitted = submit(&site.api, &id, &capability, "least_connections").await;
    let explanation = site.api.get(&format!("/v1/tasks/{id}/explanation"), &[], Duration::ZERO).await;
    // Whatever was seen, it is let in again.
    order("reset").await?;
    submitted?;
    let waited = explanation?["waiting"].clone();
    let task = ended(site, &id, SOON).await?;
    match (waited["agents"]["shut"].as_u64(), task["status"].as_str()) {
        (Some(1), Some("completed")) => held("forced open, a task waited; reset, it was done"),
        (_, status) => Err(Broken::promise(format!("it waited for {waited}, and ended as {status:?}"))),
    }
}

async fn submit(api: &Api, id: &str, capability: &str, rule: &str) -> Result<Value, Broken> {
    let body = json!({ "task_id": id, "capability": capability, "input": 1, "strategy": rule });
    Ok(api.post("/v1/tasks", &[], &body, Duration::ZERO).await?.1)
}
