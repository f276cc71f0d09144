//! What is done to the mesh itself: a coordinator is killed, Redis is wiped. Only where nobody else works on it.

use super::doors::ended;
use super::figures::{Figure, Goal};
use super::site::SOON;
use super::{Broken, Held, Site, Verdict, held};
use crate::mesh::{segment, this_program};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::Instant;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A lease lasts for less than two seconds; this is generous.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Tasks handed in while a coordinator is killed.
const TASKS: usize = 200;

/// A coordinator is started beside those that there are, killed once it owns shards, and others go on with them; what was
/// handed in meanwhile is done once.
pub(super) async fn killed(site: &Site) -> Verdict {
    if !site.may_disrupt() {
        return not_here("it starts a coordinator and kills it");
    }
    let staff = site.staff().await?;
    let status = site.api.get("/v1/status", &[], Duration::ZERO).await?;
    let shards = status["shards"].as_array().map_or(0, Vec::len);
    let id = site.fresh("coordinator");
    let mut command = this_program(&site.ground.dialling)?;
    match site.kafka().embedded {
        // It is spoken to otherwise, whoever's it is.
        true => command.arg("demo-coordinator"),
        false => command.args(["coordinator", "--http-listen", "127.0.0.1:0"]).env_remove("SYNOD_HTTP_URL"),
    };
    command.args(["--id", &id, "--partitions", &shards.to_string()]).stderr(std::process::Stdio::null());
    let mut child = command.spawn()?;
    let owned = owned_by(site, &id, &mut child).await?;
    let ids: Vec<String> = (0..TASKS).map(|_| site.fresh("taken-over")).collect();
    let submitting = async {
        for id in &ids {
            submitted(site, id).await?;
        }
        Ok::<_, Broken>(())
    };
    let killing = async {
        child.start_kill()?;
        let began = Instant::now();
        others_own(site, &owned, &id).await?;
        Ok::<_, Broken>(began.elapsed())
    };
    let (submitted, took) = tokio::join!(submitting, killing);
    let _ = tokio::time::timeout(SOON, child.wait()).await;
    submitted?;
    let took = took?;
    for id in &ids {
        let task = ended(site, id, SOON).await?;
        if task["status"] != "completed" || staff.echoed(id) == 0 {
            return Err(Broken::promise(format!("{id} ended as {}", task["status"])));
        }
    }
    site.measured(Figure::new("take-over of a killed coordinator's shards", took, Goal::AtMost(3_000.0)));
    held(format!(
        "{} shards had another owner {} ms after the SIGKILL; {TASKS} tasks handed in meanwhile were done",
        owned.len(),
        took.as_millis()
    ))
}

/// Redis is emptied: what was under way goes on, what was written in common is there again.
pub(super) async fn wiped(site: &Site) -> Verdict {
    if !site.may_disrupt() {
        return not_here("it empties Redis");
    }
    let staff = site.staff().await?;
    let (task, approval, key) = (site.fresh("held"), site.fresh("approval"), site.fresh("kept"));
    let body = json!({ "task_id": task, "capability": site.capability("hold") });
    site.api.post("/v1/tasks", &[], &body, Duration::ZERO).await?;
    staff.holds(&task).await?;
    let asks = json!({ "approval_id": approval, "title": "still there?", "approvers": ["anna"] });
    site.api.post("/v1/approvals", &[], &asks, Duration::ZERO).await?;
    let path = format!("/v1/state/{}", segment(&key));
    site.api.put(&path, &json!({ "value": "kept", "durability": "ledger" })).await?;
    synod_infra::redis::bare::wipe(&site.redis).await?;
    staff.let_go(&task);
    let task = ended(site, &task, TAKEN_WITHIN).await?;
    let approve = json!({ "approver": "anna", "decision": "approve" });
    let decisions = format!("/v1/approvals/{}/decisions", segment(&approval));
    let approved = again(|| site.api.post(&decisions, &[], &approve, Duration::ZERO)).await?.1;
    let entry = again(|| site.api.get(&path, &[], Duration::ZERO)).await?;
    site.api.delete(&path).await?;
    let after = site.fresh("after");
    submitted(site, &after).await?;
    let after = ended(site, &after, TAKEN_WITHIN).await?;
    let seen = [&task["status"], &approved["status"], &entry["value"], &after["status"]];
    match seen == ["completed", "approved", "kept", "completed"] {
        true => held("a task in hand, a pending approval and a value went on; new work is done"),
        false => Err(Broken::promise(format!(
            "after FLUSHALL a task, an approval, a value and a new task are {seen:?}"
        ))),
    }
}

fn not_here(what: &str) -> Verdict {
    Ok(Held::NotApplicable(format!("{what}: --disruptive, where nobody else works on the mesh")))
}

/// Hands in a task for our agent until it is taken: a shard may be on the move.
async fn submitted(site: &Site, id: &str) -> Result<(), Broken> {
    let body = site.echo_task(id, &json!(id));
    again(|| site.api.post("/v1/tasks", &[], &body, Duration::ZERO)).await.map(drop)
}

/// Asks until it is neither unavailable nor unknown, as a client would.
async fn again<T, F>(ask: impl Fn() -> F) -> Result<T, Broken>
where
    F: Future<Output = Result<T, synod_protocol::Error>>,
{
    use synod_protocol::Code;
    let deadline = Instant::now() + TAKEN_WITHIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(error) if matches!(error.code, Code::Unavailable | Code::NotFound | Code::Overloaded) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The shards that a coordinator owns and serves, once it has some and every shard is served.
async fn owned_by(site: &Site, id: &str, child: &mut Child) -> Result<BTreeSet<u64>, Broken> {
    let deadline = Instant::now() + TAKEN_WITHIN;
    loop {
        let status = again(|| site.api.get("/v1/status", &[], Duration::ZERO)).await?;
        let owned: BTreeSet<u64> =
            serving(&status).filter(|(_, owner)| *owner == id).map(|(n, _)| n).collect();
        let all = status["shards"].as_array().map_or(0, Vec::len);
        if !owned.is_empty() && serving(&status).count() == all {
            return Ok(owned);
        }
        if let Some(status) = child.try_wait()? {
            return Err(Broken::promise(format!("the coordinator to be killed ended by itself ({status})")));
        }
        if Instant::now() >= deadline {
            let shards = status["shards"].as_array().into_iter().flatten();
            let stand = shards.map(|shard| {
                let moves = if shard["advancing"] == true { "" } else { ", not advancing" };
                format!("{}: {} of {}{moves}", shard["shard"], shard["phase"], shard["owner"])
            });
            return Err(Broken::promise(format!(
                "after {} s a new coordinator serves {} shards, of {all} that should all be served; they are {}",
                TAKEN_WITHIN.as_secs(),
                owned.len(),
                stand.collect::<Vec<_>>().join("; ")
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until others serve these.
async fn others_own(site: &Site, shards: &BTreeSet<u64>, dead: &str) -> Result<(), Broken> {
    let deadline = Instant::now() + TAKEN_WITHIN;
    loop {
        let status = again(|| site.api.get("/v1/status", &[], Duration::ZERO)).await?;
        let taken: BTreeSet<u64> =
            serving(&status).filter(|(_, owner)| *owner != dead).map(|(n, _)| n).collect();
        if shards.is_subset(&taken) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let left: Vec<&u64> = shards.difference(&taken).collect();
            return Err(Broken::promise(format!(
                "shards {left:?} are nobody's {} s later",
                TAKEN_WITHIN.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The shards that advance, with their owners.
fn serving(status: &Value) -> impl Iterator<Item = (u64, &str)> {
    let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice).iter();
    shards
        .filter(|shard| shard["phase"] == "serving" && shard["advancing"] == true)
        .filter_map(|shard| Some((shard["shard"].as_u64()?, shard["owner"].as_str()?)))
}
