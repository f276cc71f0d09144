//! An agent is killed with work in hand, and another does it.

use super::doors::ended;
use super::figures::{Figure, Goal};
use super::listening::{event, listen};
use super::site::SOON;
use super::staff::Rescuer;
use super::{Broken, Site, Verdict, held};
use crate::mesh::this_program;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use synod_protocol::Id;

/// A loss is noticed after three missed heartbeats; this is generous.
const MADE_GOOD_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn killed(site: &Site) -> Verdict {
    let capability = site.capability("fragile");
    let victim: Id = site.fresh("victim").parse()?;
    site.will_make(&victim);
    // A program that never answers holds its work until it is killed.
    let mut agent = this_program(&site.ground.dialling)?
        .args(["agent", "run", "--until-stdin-closes", "--id", victim.as_str(), "--capability", &capability])
        .args(["--", "sleep", "600"])
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let id = site.fresh("fragile");
    let body = json!({ "task_id": id, "capability": capability, "timeout_ms": 120_000 });
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    until_running(site, &id, &mut agent).await?;

    let rescuer = Rescuer::start(&site.mesh, &capability, &site.fresh("rescuer")).await?;
    site.will_make(rescuer.id());
    let suspected = "synod.agent.suspected";
    let mut stream = listen(site, &format!("/v1/events/stream?type={suspected}&entity={victim}")).await?;
    let began = Instant::now();
    agent.start_kill()?;
    event(&mut stream, suspected, victim.as_str()).await?;
    let suspicion = began.elapsed();
    let task = ended(site, &id, MADE_GOOD_WITHIN).await;
    let took = began.elapsed();
    rescuer.end().await;
    let _ = tokio::time::timeout(SOON, agent.wait()).await;

    let task = task?;
    let attempts = task["attempts"].as_array().cloned().unwrap_or_default();
    let outcomes: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    match (task["output"] == "rescued", outcomes.as_slice()) {
        (true, ["lost", "completed"]) => {
            let name = "suspicion of a killed agent, told to who listens";
            site.measured(Figure::new(name, suspicion, Goal::AtMost(100.0)));
            held(format!("done by another {} ms after the SIGKILL", took.as_millis()))
        }
        _ => Err(Broken::promise(format!("it ended as {}, its attempts {outcomes:?}", task["status"]))),
    }
}

/// Waits until the agent has said that it works on the task.
async fn until_running(site: &Site, id: &str, agent: &mut tokio::process::Child) -> Result<(), Broken> {
    let deadline = Instant::now() + SOON;
    loop {
        let task: Value = site.api.get(&format!("/v1/tasks/{id}"), &[], Duration::ZERO).await?;
        if task["status"] == "running" {
            return Ok(());
        }
        if let Some(status) = agent.try_wait()? {
            return Err(Broken::promise(format!("the agent to be killed ended by itself ({status})")));
        }
        if Instant::now() >= deadline {
            return Err(Broken::promise(format!("the task is still {}, not running", task["status"])));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
