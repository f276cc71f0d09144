//! The headline figures, measured on this mesh, and what is promised of each.

use super::replies::{self, ends, read_until};
use super::site::SOON;
use super::staff::Crowd;
use super::{Broken, Held, Site, Verdict, held};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::Envelope;
use tokio::time::{Instant, MissedTickBehavior};

/// Messages that go through the bus, and how many of them at a time.
const MESSAGES: usize = 20_000;
const IN_FLIGHT: usize = 4_096;
/// Operations of Redis, one after the other.
const OPERATIONS: usize = 2_000;
/// Negotiations, one after the other, each of three agents.
const NEGOTIATIONS: usize = 20;
/// The load under which a coordinator is looked at, and for how long.
const AGENTS: usize = 100;
const TASKS_PER_S: usize = 100;
const LOADED_FOR: Duration = Duration::from_secs(5);

/// What is promised of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// It is this or less.
    AtMost(f64),
    /// It is this or more.
    AtLeast(f64),
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// In what.
    pub unit: &'static str,
    /// What is promised.
    pub goal: Goal,
}

impl Figure {
    /// A time, in milliseconds.
    pub(super) fn new(name: &'static str, took: Duration, goal: Goal) -> Figure {
        Figure { name, value: ms(took), unit: "ms", goal }
    }

    /// Whether it is as promised.
    pub fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (side, bound) = match self.goal {
            Goal::AtMost(most) => ("at most", most),
            Goal::AtLeast(least) => ("at least", least),
        };
        let (value, unit) = (rounded(self.value), self.unit);
        write!(f, "{value} {unit}; promised: {side} {} {unit}", rounded(bound))
    }
}

/// Three digits are as many as mean anything.
fn rounded(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// Thousands of messages in flight, from the first that is sent to the last that is read.
pub(super) async fn bus(site: &Site) -> Verdict {
    let run = site.fresh("bus");
    let since = ends(&site.readers, replies::TOPIC).await?;
    let value = json!({ "text": "x".repeat(200) });
    let began = Instant::now();
    let sending = async {
        let send = |n: usize| {
            let envelope = Envelope::new(format!("{run}-{n}"), "/synod/validate", "validate.note");
            let value = &value;
            async move { site.producer.publish(replies::TOPIC, &envelope.id, &envelope, value, SOON).await }
        };
        let mut all = stream::iter(0..MESSAGES).map(send).buffer_unordered(IN_FLIGHT);
        while let Some(sent) = all.next().await {
            sent?;
        }
        Ok::<_, Broken>(())
    };
    let mut came = 0;
    let take = |record: synod_infra::kafka::RawRecord| {
        came += usize::from(record.envelope().is_ok_and(|found| found.id.starts_with(&run)));
        came == MESSAGES
    };
    let reading = read_until(&site.readers, replies::TOPIC, since, SOON * 4, take);
    // What was not sent is not waited for.
    tokio::try_join!(sending, reading)?;
    let value = MESSAGES as f64 / began.elapsed().as_secs_f64();
    site.measured(Figure {
        name: "messages through the bus",
        value,
        unit: "1/s",
        goal: Goal::AtLeast(10_000.0),
    });
    held(format!("{MESSAGES} messages of 200 bytes were sent and read"))
}

/// One operation after the other.
pub(super) async fn redis(site: &Site) -> Verdict {
    let mut samples = Vec::with_capacity(OPERATIONS);
    for _ in 0..OPERATIONS {
        let began = Instant::now();
        synod_infra::redis::bare::ping(&site.redis).await?;
        samples.push(ms(began.elapsed()));
    }
    let value = median(samples);
    site.measured(Figure { name: "an operation of Redis, p50", value, unit: "ms", goal: Goal::AtMost(1.0) });
    held(format!("{OPERATIONS} operations, one after the other"))
}

/// What the coordinator that answers says of itself: how long it takes to choose an agent, and what it uses under load.
pub(super) async fn coordinator(site: &Site) -> Verdict {
    if site.ground.is_own() {
        return Ok(Held::NotApplicable("the mesh is in this very process".to_owned()));
    }
    let capability = site.capability("crowd");
    let ids: Vec<String> = (0..AGENTS).map(|_| site.fresh("crowd")).collect();
    let crowd = Crowd::start(&site.mesh, &capability, ids).await?;
    crowd.ids().for_each(|id| site.will_make(id));
    let went = under_load(site, &capability).await;
    let decided = decisions(site, &capability).await;
    crowd.end().await;
    let (before, after, lasted) = went?;
    decided?;
    let (Some(cpu), Some(memory)) = (after.cpu_s.zip(before.cpu_s), after.memory_bytes) else {
        return Ok(Held::NotApplicable("its /metrics do not tell of its process".to_owned()));
    };
    let share = 100.0 * (cpu.0 - cpu.1) / lasted.as_secs_f64();
    let at_most = |name, value, unit, most| Figure { name, value, unit, goal: Goal::AtMost(most) };
    site.measured(at_most(
        "a coordinator with 100 agents, 100 tasks/s: processor",
        share,
        "% of a core",
        5.0,
    ));
    let memory = memory / 1e6;
    site.measured(at_most("a coordinator with 100 agents, 100 tasks/s: memory", memory, "MB", 100.0));
    if let Some(choice) = after.mean_choice_ms(&before) {
        site.measured(at_most("choosing an agent", choice, "ms", 1.0));
    }
    held(format!("{AGENTS} agents and {TASKS_PER_S} tasks/s for {} s", LOADED_FOR.as_secs()))
}

/// A steady load; what the coordinator said before and after it.
async fn under_load(site: &Site, capability: &str) -> Result<(Told, Told, Duration), Broken> {
    let before = Told::by(site).await?;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TASKS_PER_S as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = stream::FuturesUnordered::new();
    let count = TASKS_PER_S * LOADED_FOR.as_secs() as usize;
    for _ in 0..count {
        ticks.tick().await;
        let id = site.fresh("load");
        under_way.push(async move {
            let body = json!({ "task_id": id, "capability": capability, "input": 1 });
            let wait = [("wait_ms", SOON.as_millis().to_string())];
            site.api.post("/v1/tasks", &wait, &body, SOON).await.map(|(_, task)| task)
        });
        // Those that are done meanwhile.
        while let Some(Some(done)) = futures::FutureExt::now_or_never(under_way.next()) {
            completed(&done?)?;
        }
    }
    while let Some(done) = under_way.next().await {
        completed(&done?)?;
    }
    Ok((before, Told::by(site).await?, began.elapsed()))
}

fn completed(task: &Value) -> Result<(), Broken> {
    match task["status"] == "completed" {
        true => Ok(()),
        false => Err(Broken::promise(format!("{} ended as {}", task["task_id"], task["status"]))),
    }
}

/// Three agents of the crowd decide by consensus, from the opening to the decision.
async fn decisions(site: &Site, capability: &str) -> Result<(), Broken> {
    let mut samples = Vec::with_capacity(NEGOTIATIONS);
    for _ in 0..NEGOTIATIONS {
        let body = json!({ "negotiation_id": site.fresh("figure"), "protocol": "vote", "round_ms": 10_000,
            "rules": { "candidates": ["x", "y"], "method": "plurality" },
            "invite": { "capability": capability, "min": 3, "max": 3 } });
        let began = Instant::now();
        let query = [("wait_ms", "10000".to_owned())];
        let (_, ended) = site.api.post("/v1/negotiations", &query, &body, SOON).await?;
        if ended["outcome"]["decided"] != "x" {
            return Err(Broken::promise(format!("three for x gave {}", ended["status"])));
        }
        samples.push(ms(began.elapsed()));
    }
    let value = median(samples);
    let name = "a negotiation of three agents, p50";
    site.measured(Figure { name, value, unit: "ms", goal: Goal::AtMost(1_000.0) });
    Ok(())
}

/// What a coordinator says of itself at `/metrics`.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    cpu_s: Option<f64>,
    memory_bytes: Option<f64>,
    choices: Option<f64>,
    choosing_s: Option<f64>,
}

impl Told {
    async fn by(site: &Site) -> Result<Told, Broken> {
        let text = site.api.get("/metrics", &[], Duration::ZERO).await?;
        Ok(Told::read(text.as_str().unwrap_or_default()))
    }

    fn read(text: &str) -> Told {
        let sum = |name: &str| {
            let values = text.lines().filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let is_it = series.split('{').next() == Some(name);
                is_it.then(|| value.parse::<f64>().ok()).flatten()
            });
            values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or_default() + value))
        };
        Told {
            cpu_s: sum("process_cpu_seconds_total"),
            memory_bytes: sum("process_resident_memory_bytes"),
            choices: sum("synod_choice_seconds_count"),
            choosing_s: sum("synod_choice_seconds_sum"),
        }
    }

    /// The mean over what was chosen since.
    fn mean_choice_ms(&self, before: &Told) -> Option<f64> {
        let count = self.choices? - before.choices.unwrap_or_default();
        let seconds = self.choosing_s? - before.choosing_s.unwrap_or_default();
        (count > 0.0).then(|| 1e3 * seconds / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_goal() {
        let figure = |value, goal| Figure { name: "it", value, unit: "ms", goal };
        assert!(figure(1.0, Goal::AtMost(1.0)).is_met() && !figure(1.01, Goal::AtMost(1.0)).is_met());
        assert!(figure(1.0, Goal::AtLeast(1.0)).is_met() && !figure(0.9, Goal::AtLeast(1.0)).is_met());
        assert_eq!(figure(0.12345, Goal::AtMost(3_000.0)).to_string(), "0.123 ms; promised: at most 3000 ms");
    }

    #[test]
    fn what_a_coordinator_says_is_read() {
        let text = "# HELP x y\nprocess_cpu_seconds_total 1.5\nsynod_choice_seconds_count{rule=\"a\"} 3\n\
                    synod_choice_seconds_count{rule=\"b\"} 1\nsynod_choice_seconds_sum{rule=\"a\"} 0.002\n";
        let told = Told::read(text);
        assert_eq!((told.cpu_s, told.memory_bytes, told.choices), (Some(1.5), None, Some(4.0)));
        assert_eq!(told.mean_choice_ms(&Told::default()), Some(0.5));
        assert_eq!(told.mean_choice_ms(&told), None);
    }
}
