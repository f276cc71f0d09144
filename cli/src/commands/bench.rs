//! `synod bench`: what Synod costs over what it stands on. The scenes are in [`crate::bench`].

use super::place::Place;
use crate::bench::{Beside, Effort, Machine, Others, Report, Row, Scene, Side, Verdict, measure};
use crate::mesh::{Dialling, Ending, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::{Flags, Source};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `synod bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this; may be said several times [default: everything]
    #[arg(long, value_enum, value_name = "NAME")]
    scene: Vec<Scene>,
    /// Too little to trust the figures, only to see that it works
    #[arg(long)]
    quick: bool,
    /// What Kafka and Redis are, to be told with the figures
    #[arg(long, value_name = "TEXT", env = "SYNOD_BENCH_SERVICES")]
    services: Option<String>,
    /// A Restate that serves scripts/lib/peers/restate.mjs, for the scene `workflows` (scripts/bench-peers brings one)
    #[arg(long, value_name = "INGRESS")]
    restate: Option<String>,
    /// Others to measure requests beside, for the scene `requests` (scripts/bench-peers brings them)
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

const ROWS: [Column; 9] = [
    Column::new("SCENE", "/scene"),
    Column::new("ARM", "/arm"),
    Column::new("UNIT", "/unit"),
    Column::new("N", "/n").right(),
    Column::new("MIN", "/min").right(),
    Column::new("Q1", "/q1").right(),
    Column::new("MEDIAN", "/median").right(),
    Column::new("Q3", "/q3").right(),
    Column::new("P99", "/p99").right(),
];

const VERDICTS: [Column; 5] = [
    Column::new("WHAT", "/what"),
    Column::new("FIGURE", "/figure").right(),
    Column::new("ROUNDS", "/rounds").right(),
    Column::new("GOAL", "/goal").right(),
    Column::new("MET", "/met"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = Place::default().quiet_settings(flags)?;
    if settings.kafka_brokers.source == Source::Default {
        let wanted = "a Kafka and a Redis of its own: scripts/bench brings them, or give --kafka-brokers and \
                      --redis-url of ones that nothing else uses (it leaves topics behind)";
        return Err(Stop::Usage(wanted.to_owned()));
    }
    let scenes = if args.scene.is_empty() { Scene::ALL.to_vec() } else { args.scene };
    let dialling = Dialling::of(&settings, "synod-bench");
    let effort = Effort { quick: args.quick };
    let partitions = settings.partitions.value;
    let requests = match &args.peers {
        Some(file) => Beside::read(file).map_err(|error| Stop::Usage(format!("--peers: {error}")))?,
        None => Beside::default(),
    };
    let others = Others { restate: args.restate, requests };
    let report = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            report = measure(dialling, partitions, args.services, &others, &scenes, effort, super::note) => {
                report.map_err(|error| Stop::Failed(error.to_string()))
            }
            // The coordinator is killed as it is dropped.
            signal = ending.asked() => Err(Stop::Failed(format!("ended by {signal}"))),
        }
    })?;
    if args.quick {
        super::note("--quick: these figures only show that it works");
    }
    match (args.json, output.format()) {
        (true, Format::Table) | (_, Format::Json | Format::Yaml) => output.structured(&report),
        (false, Format::Table) => tables(&report, output),
    }
}

fn tables(report: &Report, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let Machine {
        cores, cpu, memory_mib, kernel, load_average, synod, optimised, librdkafka, services, ..
    } = &report.machine;
    let build = if *optimised { "release" } else { "NOT OPTIMISED" };
    output.text(&format!(
        "{cores} cores of {cpu}, {memory_mib} MiB, Linux {kernel}; load average {load_average} before, {} after\n\
         synod {synod} ({build}), librdkafka {librdkafka}; {services}\n\n",
        report.load_average_after
    ))?;
    output.list(&report.rows.iter().map(row).collect::<Vec<_>>(), &ROWS)?;
    output.text("\n")?;
    output.list(&report.verdicts.iter().map(verdict).collect::<Vec<_>>(), &VERDICTS)
}

fn row(row: &Row) -> Value {
    let Row { scene, arm, unit, n, .. } = row;
    json!({
        "scene": scene, "arm": arm, "unit": unit, "n": n, "min": short(row.min), "q1": short(row.q1),
        "median": short(row.median), "q3": short(row.q3), "p99": short(row.p99),
    })
}

fn verdict(verdict: &Verdict) -> Value {
    let spread = &verdict.spread;
    let goal = verdict.side.zip(verdict.limit).map(|(side, limit)| match side {
        Side::AtLeast => format!(">= {limit}"),
        Side::AtMost => format!("<= {limit}"),
    });
    json!({
        "what": verdict.what, "figure": short(spread.figure), "goal": goal,
        "rounds": format!("{} to {}", short(spread.min), short(spread.max)),
        "met": verdict.met.map(|met| if met { "yes" } else { "NO" }),
    })
}

/// Three or four digits that count.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_say_something() {
        let check = |figure, shown: &str| assert_eq!(short(figure), shown);
        check(12_345.6, "12346");
        check(42.25, "42.2");
        check(0.9375, "0.938");
        check(0.0, "0.000");
    }
}
