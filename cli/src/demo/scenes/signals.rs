//! Gauges of one river that contradict each other: the camps are reported, instead of a mean that nobody has measured.

use super::stage::{SceneError, Stage};
use super::told::{Decided, Told, word};
use super::{bad, lines};
use agent_sdk::{AgentBuilder, Measured, Question, Signal, Source, TaskError, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use synod_negotiation::fusion::conflict::{Camp, Outcome, Verdict};

/// Levels of a river in flood as eight gauges report them, made up after how such gauges fail: silt on the probes of one maker lets
/// them read some 0.7 m too low, and a volunteer's note is from hours ago.
const GAUGES: &str = include_str!("input/river_gauges.csv");
/// An hour later a level says half as much.
const HALF_LIFE_MS: u64 = 3_600_000;
/// Levels this close are the same, in metres.
const TOLERANCE: f64 = 0.05;

/// One gauge's readings, the oldest first.
#[derive(Clone, Debug, Default)]
struct Gauge {
    track_record: f64,
    readings: Vec<(i64, f64)>,
}

fn gauges() -> Result<BTreeMap<String, Gauge>, SceneError> {
    let mut gauges: BTreeMap<String, Gauge> = BTreeMap::new();
    for line in lines(GAUGES) {
        let [name, _kind, track_record, minutes_ago, metres] = line[..] else {
            return Err(bad("a gauge has five fields"));
        };
        let number = |text: &str| text.parse::<f64>().map_err(|e| bad(&format!("{text}: {e}")));
        let ago = minutes_ago.parse().map_err(|e| bad(&format!("{minutes_ago}: {e}")))?;
        let gauge = gauges.entry(name.to_owned()).or_default();
        gauge.track_record = number(track_record)?;
        gauge.readings.push((ago, number(metres)?));
    }
    Ok(gauges)
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    Ok(gauges()?.into_keys().collect())
}

impl Gauge {
    /// Its newest reading: how many minutes ago, and the metres.
    fn newest(&self) -> Option<(i64, f64)> {
        self.readings.last().copied()
    }
}

/// A gauge tells its newest reading, and when that was.
impl Source for Gauge {
    async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
        Ok(self.newest().map(|(minutes_ago, metres)| {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let observed_at = Some(Timestamp::from_millis(now_ms - minutes_ago * 60_000));
            Measured { observed_at, ..Measured::of(metres) }.into()
        }))
    }
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    Ok(agent.source(gauges()?.remove(name).ok_or_else(|| bad(name))?))
}

pub(super) async fn play(stage: &Stage) -> Result<Told, SceneError> {
    let gauges = gauges()?;
    let names: Vec<String> = gauges.keys().cloned().collect();
    let records = gauges.iter().map(|(name, gauge)| Ok((stage.id(name)?.to_string(), gauge.track_record)));
    let records: BTreeMap<String, f64> = records.collect::<Result<_, SceneError>>()?;
    let rules = json!({"tolerance": TOLERANCE, "half_life_ms": HALF_LIFE_MS, "track_records": records});
    let question = "how high does the river stand at the old bridge, in metres?";
    let open = stage.of(&names, stage.ask("level", "resolve", &question, &rules)?)?;
    let decided = in_short(stage.decide(open).await?)?;
    let newest: Vec<f64> = gauges.values().filter_map(|gauge| Some(gauge.newest()?.1)).collect();
    let mean = newest.iter().sum::<f64>() / newest.len().max(1) as f64;
    let nearest = newest.iter().map(|metres| (metres - mean).abs()).fold(f64::INFINITY, f64::min);
    Ok(Told {
        scene: "signals",
        about: "Eight gauges say how high one river stands: two radars, a float and a camera, three pressure probes, \
                and a warden's note from hours ago. Who was right before counts more, what is old counts less."
            .to_owned(),
        decisions: vec![decided],
        notes: vec![format!(
            "The mean of the eight would have been {mean:.2} m: no gauge is within {nearest:.2} m of it."
        )],
        run: stage.run.clone(),
        took_ms: stage.took_ms(),
    })
}

fn in_short(decided: Decided) -> Result<Decided, SceneError> {
    let outcome: Outcome = serde_json::from_value(decided.outcome.clone())?;
    let verdict = word(&outcome.verdict)?;
    let mut said = vec![match (outcome.verdict, outcome.value) {
        (Verdict::Agreed, Some(value)) => format!("{verdict}: {value:.2} m"),
        _ => format!("{verdict}: there is no one level, but {} camps", outcome.camps.len()),
    }];
    said.extend(outcome.camps.iter().map(camp));
    said.extend(outcome.outliers.iter().map(|one| format!("{:.2} m says {}, alone", one.value, one.source)));
    Ok(decided.in_short(said))
}

fn camp(camp: &Camp) -> String {
    let metres = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2}"));
    format!(
        "{} m ({} to {}) say {}: {:.0} % of the weight",
        metres(camp.value),
        metres(camp.least),
        metres(camp.greatest),
        camp.members.join(", "),
        camp.share * 100.0
    )
}
