//! What agents hold in common, at work: two who write the same key, three who want one lock, ten who spend from one budget,
//! and a queue whose consumer dies half way.

use crate::mesh::Ground;
use agent_sdk::{ConnectError, Json, LockOptions, Merge, Mesh};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::primitives::queue::LeaseRequest;
use synod_protocol::primitives::state::Outcome;
use synod_protocol::{Code, Error};

/// Who want the lock.
const WORKERS: [&str; 3] = ["ana", "ben", "cem"];
/// What the budget has, and what each of its users wants of it.
const BUDGET: (u64, u64) = (100, 30);
/// Who want something of it.
const SPENDERS: usize = 10;
/// Messages in the queue.
const MESSAGES: u64 = 20;
/// Something that has to come takes this long at most.
const SOON: Duration = Duration::from_secs(20);

/// The scene could not be played.
#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    /// No client.
    #[error("no client: {0}")]
    Client(#[from] ConnectError),
    /// The mesh does not answer, or not as it should.
    #[error(transparent)]
    Mesh(#[from] Error),
    /// A value has no JSON form.
    #[error("a value cannot be read: {0}")]
    Value(#[from] serde_json::Error),
}

/// What was seen.
#[derive(Debug, Serialize)]
pub struct TogetherReport {
    /// The value that two wrote at the same time.
    pub merged: Value,
    /// What the history of that key says, newest first: who, how it was decided.
    pub history: Vec<String>,
    /// Who had the lock, in the order in which they asked, and under which token.
    pub locks: Vec<(String, u64)>,
    /// Reservations that were granted.
    pub granted: usize,
    /// Reservations that were refused.
    pub refused: usize,
    /// What is left of the budget.
    pub remaining: i64,
    /// Messages by how often they were delivered until they were done.
    pub deliveries: BTreeMap<u64, u64>,
}

/// Plays it on this mesh.
///
/// # Errors
/// The mesh went away, or does not keep what it promises.
pub async fn play(ground: &Ground) -> Result<TogetherReport, TogetherError> {
    let mesh = Mesh::connect(ground.dialling.sdk())?;
    let random = uuid::Uuid::now_v7().simple().to_string();
    let run = format!("together-{}", random.get(20..).unwrap_or(&random));
    let (merged, history) = conflict(&mesh, &format!("{run}-plan")).await?;
    let locks = queue_up(&mesh, &format!("{run}-printer")).await?;
    let (granted, refused, remaining) = spend(&mesh, &format!("{run}-tokens")).await?;
    let deliveries = deliver(&mesh, &format!("{run}-mail")).await?;
    Ok(TogetherReport { merged, history, locks, granted, refused, remaining, deliveries })
}

/// Two change what both have read; neither is lost.
async fn conflict(mesh: &Mesh, key: &str) -> Result<(Value, Vec<String>), TogetherError> {
    let (ana, ben) = (mesh.state().by("ana"), mesh.state().by("ben"));
    ana.put(key, &json!({"done": 0, "by": []})).await?;
    let rules = || Merge::new().sum("/done").union("/by");
    ana.merge(key, &json!({"done": 3, "by": ["ana"]}), rules()).await?;
    ben.merge(key, &json!({"done": 4, "by": ["ben"]}), rules()).await?;
    let merged = ana.entry(key).await?.map_or(Json::null(), |entry| entry.value).to()?;
    let page = ana.history(key, 10, None).await?;
    let line = |past: &synod_protocol::primitives::state::Past| {
        let lost = if past.outcome == Outcome::Lost { ", lost" } else { "" };
        format!(
            "{} by {}{lost}: {}",
            format!("{:?}", past.op).to_lowercase(),
            past.updated_by,
            past.value.as_str()
        )
    };
    Ok((merged, page.lines.iter().map(line).collect()))
}

/// They stand in line; each is woken by the one before.
async fn queue_up(mesh: &Mesh, lock: &str) -> Result<Vec<(String, u64)>, TogetherError> {
    let first = mesh.locks().acquire(lock, LockOptions::waiting(SOON)).await?;
    let mut waits = tokio::task::JoinSet::new();
    for (n, worker) in WORKERS.into_iter().enumerate() {
        let (locks, wanted) = (mesh.locks(), lock.to_owned());
        waits.spawn(async move {
            let guard = locks.acquire(&wanted, LockOptions::waiting(SOON)).await?;
            let token = guard.token();
            guard.release().await?;
            Ok::<_, Error>((worker.to_owned(), token))
        });
        // Once it stands in line.
        while mesh.locks().get(lock).await?.waiters < n as u64 + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    first.release().await?;
    let mut had = Vec::new();
    while let Some(one) = waits.join_next().await {
        had.extend(one.ok().transpose()?);
    }
    had.sort_by_key(|(_, token)| *token);
    Ok(had)
}

/// All at the same time; it is never overdrawn.
async fn spend(mesh: &Mesh, budget: &str) -> Result<(usize, usize, i64), TogetherError> {
    mesh.budgets().set(budget, BUDGET.0).await?;
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..SPENDERS {
        let (budgets, budget) = (mesh.budgets(), budget.to_owned());
        asks.spawn(async move { budgets.reserve(&budget, BUDGET.1, SOON).await });
    }
    let (mut granted, mut refused) = (0, 0);
    while let Some(answer) = asks.join_next().await {
        match answer {
            Ok(Ok(_)) => granted += 1,
            Ok(Err(error)) if error.code == Code::Conflict => refused += 1,
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => return Err(Error::new(Code::Internal, error.to_string()).into()),
        }
    }
    Ok((granted, refused, mesh.budgets().get(budget).await?.remaining))
}

/// The first consumer takes half and is never heard of again; the second does it all.
async fn deliver(mesh: &Mesh, queue: &str) -> Result<BTreeMap<u64, u64>, TogetherError> {
    let queue = mesh.queues().queue(queue)?;
    for n in 0..MESSAGES {
        queue.enqueue(&n).await?;
    }
    let ask = |consumer: &str, limit: u64| -> Result<LeaseRequest, serde_json::Error> {
        serde_json::from_value(
            json!({"consumer": consumer, "visibility_ms": 500, "limit": limit, "wait_ms": 5_000}),
        )
    };
    drop(queue.lease(&ask("dies", MESSAGES / 2)?).await?);
    let mut deliveries = BTreeMap::new();
    while deliveries.values().sum::<u64>() < MESSAGES {
        for message in queue.lease(&ask("lives", 5)?).await? {
            queue.ack(&message).await?;
            *deliveries.entry(message.delivery).or_default() += 1;
        }
    }
    Ok(deliveries)
}

/// For people.
pub fn draw(report: &TogetherReport) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line("Shared state: two merge into one key, each adding to what is there".into());
    line(format!("  {}", report.merged));
    report.history.iter().for_each(|past| line(format!("  history  {past}")));
    line(String::new());
    line("A lock: first come, first served, each token greater than the last".into());
    report.locks.iter().for_each(|(who, token)| line(format!("  {who:<6} token {token}")));
    line(String::new());
    line(format!("A budget of {}: {SPENDERS} want {} each at the same time", BUDGET.0, BUDGET.1));
    line(format!("  {} granted, {} refused, {} left", report.granted, report.refused, report.remaining));
    line(String::new());
    line(format!("A queue of {MESSAGES}: the consumer that took half of them dies"));
    for (delivery, messages) in &report.deliveries {
        line(format!("  {messages} done at delivery {delivery}"));
    }
    out
}
