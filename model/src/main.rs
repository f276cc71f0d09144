//! `synod-model list`, or `synod-model NAME|holds|caught|all [MAX_STATES]`; of a random walk the number is its seed.

use std::process::ExitCode;
use std::time::Instant;
use synod_model::{Limits, Report, Run, runs};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("list", String::as_str);
    let number = arguments.get(1).map(|text| text.parse::<u64>());
    let wanted = |run: &&Run| match name {
        "list" | "all" => true,
        "holds" => run.holds,
        "caught" => !run.holds,
        name => run.name == name,
    };
    let all = runs();
    let chosen: Vec<&Run> = all.iter().filter(wanted).collect();
    let number = match number {
        Some(Ok(number)) => Some(number),
        None => None,
        Some(Err(_)) => return usage(),
    };
    if chosen.is_empty() {
        return usage();
    }
    if name == "list" {
        chosen.iter().for_each(|run| println!("{}", run.name));
        return ExitCode::SUCCESS;
    }
    let mut right = true;
    for run in chosen {
        let mut limits = Limits::default();
        match number {
            Some(seed) if run.is_walk() => limits.seed = seed,
            Some(states) => limits.states = usize::try_from(states).unwrap_or(usize::MAX),
            None => {}
        }
        if !run.holds {
            // What a planted bug does is told, rather than that nothing finishes any more.
            limits.live_every = 0;
        }
        let began = Instant::now();
        let report = run.explore(limits);
        right &= run.is_as_expected(&report);
        told(run, &report, began);
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("synod-model list, or: synod-model NAME|holds|caught|all [MAX_STATES, or a walk's SEED]");
    ExitCode::from(2)
}

fn told(run: &Run, report: &Report, began: Instant) {
    let verdict = match (&report.found, run.holds) {
        (None, true) => "holds, as it should",
        (Some(_), false) => "caught, as it should",
        (None, false) => "NOT CAUGHT",
        (Some(_), true) => "BROKEN",
    };
    let Report { states, transitions, depth, goals, live_checked, .. } = report;
    let end = if report.complete { "complete" } else { "cut off" };
    println!(
        "{}: {verdict}; {states} states, {transitions} transitions, depth {depth}, {end}, {goals} with all done, liveness \
         tried from {live_checked}, {:.1} s",
        run.name,
        began.elapsed().as_secs_f32()
    );
    if let Some(found) = &report.found {
        println!("  {} after {} actions: {}", found.what, found.actions.len(), found.actions.join(", "));
        println!("  {}", found.log.join(" | "));
    }
}
