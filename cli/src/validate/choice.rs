//! How agents are chosen: by the rule that is asked for, not while they are shut out or paused, and within limits.

use super::doors::ended;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use crate::mesh::Api;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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

/// Of two tasks with one concurrency key the second waits for the first.
pub(super) async fn one_at_a_time(site: &Site) -> Verdict {
    let staff = site.staff().await?;
    let (capability, key) = (site.capability("hold"), site.fresh("key"));
    let ids = [site.fresh("first"), site.fresh("second")];
    let submit = async |id: &str| {
        let body = json!({ "task_id": id, "capability": capability, "concurrency_key": key });
        site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await
    };
    submit(&ids[0]).await?;
    staff.holds(&ids[0]).await?;
    submit(&ids[1]).await?;
    let path = format!("/v1/tasks/{}", ids[1]);
    let deadline = Instant::now() + SOON;
    // At first it only waits for its turn.
    let waits_for = loop {
        let waits_for = site.api.get(&path, &[], Duration::ZERO).await?["waits_for"].clone();
        if waits_for["reason"] == "permit" || waits_for.is_null() || Instant::now() >= deadline {
            break waits_for;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    // Whatever was seen, both are let go.
    ids.iter().for_each(|id| staff.let_go(id));
    for id in &ids {
        let task = ended(site, id, SOON).await?;
        if task["status"] != "completed" {
            return Err(Broken::promise(format!("{id} ended as {}", task["status"])));
        }
    }
    match waits_for["reason"].as_str() {
        Some("permit") => held("the second waited for the first one's permit, then ran"),
        _ => Err(Broken::promise(format!("while the first ran the second waited for {waits_for}"))),
    }
}

/// What is paused gets no work, and says so; resumed, it does.
pub(super) async fn paused(site: &Site) -> Verdict {
    let capability = site.capability("echo");
    let scope = json!({ "capability": capability, "reason": "synod validate" });
    let id = site.fresh("paused");
    site.api.post("/v1/fleet/pause", &[], &scope, Duration::ZERO).await?;
    let submitted = submit(&site.api, &id, &capability, "least_connections").await;
    let task = site.api.get(&format!("/v1/tasks/{id}"), &[], Duration::ZERO).await;
    site.api.post("/v1/fleet/resume", &[], &json!({ "capability": capability }), Duration::ZERO).await?;
    submitted?;
    let waits_for = task?["waits_for"].clone();
    let over = ended(site, &id, SOON).await?;
    match (waits_for["reason"].as_str(), over["status"].as_str()) {
        (Some("pause"), Some("completed")) => held("paused, a task waited; resumed, it was done"),
        (_, status) => Err(Broken::promise(format!("it waited for {waits_for}, and ended as {status:?}"))),
    }
}

/// A snapshot shows the agents of this moment.
pub(super) async fn snapshot(site: &Site) -> Verdict {
    let staff = site.staff().await?.id().clone();
    let body = json!({ "label": "synod validate" });
    let (_, taken) = site.api.post("/v1/snapshots", &[], &body, Duration::ZERO).await?;
    let id = taken["snapshot_id"].as_str().unwrap_or_default().to_owned();
    let path = format!("/v1/snapshots/{id}");
    let read = site.api.get(&path, &[], Duration::ZERO).await;
    site.api.delete(&path).await?;
    let read = read?;
    let agents = read["items"].as_array().map_or(&[][..], Vec::as_slice);
    match agents.iter().any(|agent| agent["agent_id"] == staff.as_str()) {
        true => held(format!("{} agents, collected within {} µs", agents.len(), read["span_us"])),
        false => Err(Broken::promise(format!("agent {staff} is not in it: {read}"))),
    }
}

async fn submit(api: &Api, id: &str, capability: &str, rule: &str) -> Result<Value, Broken> {
    let body = json!({ "task_id": id, "capability": capability, "input": 1, "strategy": rule });
    Ok(api.post("/v1/tasks", &[], &body, Duration::ZERO).await?.1)
}
