//! A breaker's whole cycle: an agent that fails is left alone, then tried, then used again.

use super::site::SOON;
use super::staff::Moody;
use super::{Broken, Site, Verdict, held};
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::Id;
use tokio::time::Instant;

/// Failures after which a breaker of any sensible setting has opened.
const FAILURES_AT_MOST: usize = 200;
/// By default it stays open for 10 s.
const TRIED_WITHIN: Duration = Duration::from_secs(40);
/// More than a trial needs, by default five.
const SUCCESSES_AT_MOST: usize = 50;

pub(super) async fn cycle(site: &Site) -> Verdict {
    let capability = site.capability("moody");
    let agent = Moody::start(&site.mesh, &capability, &site.fresh("moody")).await?;
    site.will_make(agent.id());
    let went = through(site, &capability, &agent).await;
    agent.end().await;
    went
}

async fn through(site: &Site, capability: &str, agent: &Moody) -> Verdict {
    let mut failures = 0;
    while state(site, agent.id()).await? != "open" {
        if failures == FAILURES_AT_MOST {
            return Err(Broken::promise(format!("after {failures} failures it is not open; is it off?")));
        }
        failures += 1;
        let task = ended(site, capability, SOON).await?;
        if task["status"] == "completed" {
            return Err(Broken::promise(format!(
                "the task {} completed, which always fails",
                task["task_id"]
            )));
        }
    }
    if failures == 0 {
        return Err(Broken::promise("it is open before anything has failed"));
    }
    agent.mend();
    let opened = Instant::now();
    // The next one waits until it is tried again.
    let first = ended(site, capability, TRIED_WITHIN).await?;
    let tried = opened.elapsed();
    if first["status"] != "completed" {
        return Err(Broken::promise(format!(
            "the trial is {} after {} ms",
            first["status"],
            tried.as_millis()
        )));
    }
    for successes in 1..SUCCESSES_AT_MOST {
        if state(site, agent.id()).await? == "closed" {
            return held(format!(
                "open after {failures} failures, tried {} ms later, closed after {successes} successes",
                tried.as_millis()
            ));
        }
        ended(site, capability, SOON).await?;
    }
    Err(Broken::promise(format!("after {SUCCESSES_AT_MOST} successes it is not closed")))
}

/// A task with one attempt, once it has ended.
async fn ended(site: &Site, capability: &str, within: Duration) -> Result<Value, Broken> {
    let id = site.fresh("moody");
    let body = json!({ "task_id": id, "capability": capability, "retry": { "max_attempts": 1 } });
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    super::doors::ended(site, &id, within).await
}

/// What the agent's breakers are doing; `closed` where they have counted nothing.
async fn state(site: &Site, agent: &Id) -> Result<String, Broken> {
    let agent = site.api.get(&format!("/v1/agents/{agent}"), &[], Duration::ZERO).await?;
    let breakers = agent["breakers"].as_array().map_or(&[][..], Vec::as_slice);
    let states = breakers.iter().filter_map(|it| it["status"].as_str());
    // It has one for all that it does besides, and each coordinator has its own: that which is furthest from closed counts.
    let states: Vec<&str> = states.collect();
    let first = ["open", "half_open"].into_iter().find(|state| states.contains(state));
    Ok(first.unwrap_or("closed").to_owned())
}
