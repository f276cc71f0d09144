//! How soon the work of an agent that dies, or freezes, is somebody else's: many times in a row, by the broker's clock.

use crate::Trouble;
use crate::process::now_ms;
use crate::stage::{CAPABILITY, SHARDS, Setting, Stage};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;
use synod_ledger::Record;
use synod_protocol::event::What;
use synod_protocol::topics;
use tokio::time::Instant;

/// Something that has to come takes this long at most; then it has not come.
const LIMIT: Duration = Duration::from_secs(30);
/// A word of Kafka's.
const KAFKA: Duration = Duration::from_secs(20);

/// What is done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Manner {
    /// SIGKILL
    Kill,
    /// SIGSTOP: its connections stand, it says nothing
    Freeze,
}

/// `synod-chaos failover`
#[derive(Debug, clap::Args)]
pub(crate) struct Failover {
    /// How many agents are hurt, one after the other
    #[arg(long, default_value_t = 40)]
    times: u32,
    /// How
    #[arg(long, value_enum, default_value_t = Manner::Kill)]
    manner: Manner,
    /// The tasks ask to be given to another at the first suspicion
    #[arg(long)]
    retry_on_suspect: bool,
    /// Coordinators
    #[arg(long, default_value_t = 1)]
    coordinators: u32,
}

/// What one of them cost, in ms from the signal; `None` where it was not told.
struct Cost {
    suspected: Option<i64>,
    elsewhere: i64,
}

impl Failover {
    /// Measures, and prints the percentiles.
    pub(crate) async fn measure(self) -> Result<(), Trouble> {
        let setting = Setting {
            coordinators: self.coordinators,
            // Enough that those who die within a quarter of a second are not most: then their heartbeats have to tell.
            agents: 8,
            concurrency: 4,
            work_ms: 3_600_000,
            clients: Vec::new(),
            ..Setting::default()
        };
        let mut stage = Stage::set(setting, None).await?;
        stage.open().await?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let http = http.map_err(Trouble::wrong)?;
        let mut costs = Vec::new();
        for n in 0..self.times {
            costs.push(self.once(&mut stage, &http, n).await?);
            stage.hire(1).await?;
        }
        stage.leave().await?;
        let suspected: Vec<i64> = costs.iter().filter_map(|cost| cost.suspected).collect();
        println!("{:12} {:>6} {:>8} {:>8} {:>8}", "ms after", "times", "p50", "p99", "most");
        show("suspected", suspected);
        show("elsewhere", costs.iter().map(|cost| cost.elsewhere).collect());
        Ok(())
    }

    async fn once(&self, stage: &mut Stage, http: &reqwest::Client, n: u32) -> Result<Cost, Trouble> {
        let base = stage.coordinators[0].url();
        let id = format!("held{n}");
        let task = json!({"task_id": id, "capability": CAPABILITY, "input": {"key": id},
            "timeout_ms": 3_600_000, "retry_on_suspect": self.retry_on_suspect});
        let posted =
            http.post(format!("{base}/v1/tasks")).json(&task).send().await.map_err(Trouble::wrong)?;
        posted.error_for_status().map_err(Trouble::wrong)?;
        let began = Instant::now();
        let holder = loop {
            let asked = http.get(format!("{base}/v1/tasks/{id}")).send().await.map_err(Trouble::wrong)?;
            let seen: Value = asked.json().await.map_err(Trouble::wrong)?;
            if let Some(agent) = seen["attempts"][0]["agent_id"].as_str() {
                break agent.to_owned();
            }
            if began.elapsed() > LIMIT {
                return Err(Trouble::Late(format!("{id} is given to an agent"), LIMIT));
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // the condition is asked again
        };
        let place = stage.agents.iter().position(|agent| agent.name == holder);
        let mut agent =
            stage.agents.remove(place.ok_or_else(|| Trouble::wrong(format!("{holder} is not ours")))?);
        let task_shard = topics::partition(id.as_bytes(), SHARDS);
        let agent_shard = topics::partition(holder.as_bytes(), SHARDS);
        let ledger_from = self.end(stage, topics::LEDGER, task_shard).await?;
        let events_from = self.end(stage, topics::EVENTS, agent_shard).await?;
        let at = now_ms();
        match self.manner {
            Manner::Kill => agent.kill().await?,
            Manner::Freeze => agent.signal(Signal::SIGSTOP)?,
        }
        let again = |bytes: &[u8]| {
            let Ok(Record::Step(step)) = Record::read(bytes) else { return false };
            let given = |what: &What| matches!(what, What::TaskAssigned(e) if e.attempt == 2);
            step.events.iter().any(|event| event.entity.as_str() == id && given(&event.what))
        };
        let elsewhere =
            first(stage, topics::LEDGER, task_shard, ledger_from, |_, bytes| again(bytes)).await?;
        let elsewhere = elsewhere.ok_or_else(|| Trouble::Late(format!("{id} is given to another"), LIMIT))?;
        let told = |ty: &str, bytes: &[u8]| {
            let read = || serde_json::from_slice::<Value>(bytes).ok();
            ty == "synod.agent.suspected" && read().is_some_and(|value| value["agent_id"] == holder.as_str())
        };
        let suspected = now(stage, topics::EVENTS, agent_shard, events_from, told).await?;
        agent.kill().await?;
        let cancel = http.post(format!("{base}/v1/tasks/{id}/cancel")).json(&json!({})).send().await;
        cancel.map_err(Trouble::wrong)?.error_for_status().map_err(Trouble::wrong)?;
        let cost = Cost { suspected: suspected.map(|ms| ms - at), elsewhere: elsewhere - at };
        eprintln!(
            "  {holder}: suspected after {:?} ms, elsewhere after {} ms",
            cost.suspected, cost.elsewhere
        );
        Ok(cost)
    }

    async fn end(&self, stage: &Stage, topic: &str, shard: u32) -> Result<i64, Trouble> {
        let log = stage.readers.watermarks(topic, shard as i32, KAFKA).await.map_err(Trouble::wrong)?;
        Ok(log.high)
    }
}

/// The broker's time of the first such record from an offset on, waited for.
async fn first(
    stage: &Stage,
    topic: &str,
    shard: u32,
    from: i64,
    is_it: impl Fn(&str, &[u8]) -> bool,
) -> Result<Option<i64>, Trouble> {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(at) = now(stage, topic, shard, from, &is_it).await? {
            return Ok(Some(at));
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // the condition is asked again
    }
    Ok(None)
}

/// The broker's time of the first such record that is there now.
async fn now(
    stage: &Stage,
    topic: &str,
    shard: u32,
    from: i64,
    is_it: impl Fn(&str, &[u8]) -> bool,
) -> Result<Option<i64>, Trouble> {
    let log = stage.readers.watermarks(topic, shard as i32, KAFKA).await.map_err(Trouble::wrong)?;
    let mut found = None;
    if log.high > from {
        let read = stage.readers.read_through(topic, shard as i32, from, log.high - 1, KAFKA, |record| {
            let ty = record.envelope().map(|envelope| envelope.ty).unwrap_or_default();
            if is_it(&ty, record.payload.as_deref().unwrap_or_default()) {
                found = record.timestamp_ms;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        read.await.map_err(Trouble::wrong)?;
    }
    Ok(found)
}

fn show(what: &str, mut ms: Vec<i64>) {
    ms.sort_unstable();
    let at = |share: f64| ms.get(((ms.len() as f64 * share).ceil() as usize).saturating_sub(1));
    let word = |ms: Option<&i64>| ms.map_or("-".to_owned(), ToString::to_string);
    println!("{what:12} {:>6} {:>8} {:>8} {:>8}", ms.len(), word(at(0.5)), word(at(0.99)), word(ms.last()));
}
