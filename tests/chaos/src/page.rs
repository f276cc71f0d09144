//! The record of a run as `docs/reliability.md` has it. Written here and nowhere by hand.

use crate::Trouble;
use crate::plan::Off;
use crate::report::{self, Spread, Told};
use crate::scenarios::Scenario;
use crate::verify::{Findings, Kind};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Between these lines it stands in a file.
const BEGIN: &str = "<!-- results: written by `synod-chaos report`, not by hand -->";
const END: &str = "<!-- end of results -->";

/// The record, as Markdown.
pub(crate) fn of(all: &[Told]) -> String {
    let (controls, runs): (Vec<&Told>, Vec<&Told>) = all.iter().partition(|told| told.off.is_some());
    let mut page = head(&runs, &controls);
    page.push_str(&scenarios(&runs));
    page.push_str(&going_on(&runs));
    page.push_str(&control_runs(&controls));
    page
}

/// Puts it into a file, between its lines.
pub(crate) fn put(file: &Path, page: &str) -> Result<(), Trouble> {
    let text = std::fs::read_to_string(file)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(Trouble::Wrong(format!("{} has no lines `{BEGIN}` and `{END}`", file.display())));
    };
    Ok(std::fs::write(file, format!("{before}{BEGIN}\n\n{}\n{END}{after}", page.trim_end()))?)
}

/// What it was run on; where runs differ, all of it.
fn head(runs: &[&Told], controls: &[&Told]) -> String {
    let all: Vec<&Told> = runs.iter().chain(controls).copied().collect();
    let tasks = runs.iter().map(|told| told.outcome.findings.accepted).sum();
    let minutes = runs.iter().map(|told| told.outcome.seconds).sum::<f64>() / 60.0;
    let began = all.iter().map(|told| told.around.at.as_str()).min().unwrap_or_default();
    let most = |figure: fn(&Told) -> u64| runs.iter().map(|told| figure(told)).max().unwrap_or(0);
    let loads = runs.iter().filter_map(|told| told.around.load.parse::<f64>().ok());
    let load = Spread::of(loads.map(|load| (load * 10.0) as u64).collect());
    let load = load.map_or("unknown".to_owned(), |load| {
        format!("{:.1} in the median, {:.1} at most", load.p50 as f64 / 10.0, load.max as f64 / 10.0)
    });
    format!(
        "{} tasks in {minutes:.0} minutes of load over {} scenarios ({}), begun {began} (UTC). {} profile, commit {}; \
         {}; Apache Kafka {}, Redis {}.\nLoad average before a scenario: {load}. A scenario took at most {} MiB on \
         disk, its check at most {} MiB of memory.\n\n",
        grouped(tasks),
        runs.len(),
        played(runs),
        each(&all, |told| told.around.profile.clone()),
        each(&all, |told| told.around.commit.clone()),
        each(&all, |told| told.around.machine.clone()),
        each(&all, |told| told.around.kafka.clone()),
        each(&all, |told| told.around.redis.clone()),
        grouped(most(|told| told.outcome.disk_mib)),
        grouped(most(|told| told.outcome.memory_mib)),
    )
}

/// The different values of a figure.
fn each(told: &[&Told], figure: fn(&Told) -> String) -> String {
    let all: BTreeSet<String> = told.iter().map(|told| figure(told)).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

fn played(told: &[&Told]) -> String {
    let scale = each(told, |told| format!("{:?}", told.scale).to_lowercase());
    format!("{scale} form, {} tasks/s asked for", each(told, |told| grouped(told.around.rate.into())))
}

fn scenarios(runs: &[&Told]) -> String {
    let mut text = String::from(
        "| scenario | what is done | s | tasks | faults | lost | doubled | stale | strange | going on, ms: p50, p99, max |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for told in runs {
        let (outcome, findings) = (&told.outcome, &told.outcome.findings);
        let stuck = if told.stuck > 0 { format!("; {} stuck", told.stuck) } else { String::new() };
        let _ = writeln!(
            text,
            "| `{}` | {} | {:.0} | {} | {} | {} | {}{stuck} |",
            report::name(told.scenario),
            what(told.scenario),
            outcome.seconds,
            grouped(findings.accepted),
            grouped(outcome.faults),
            kinds(findings).map(|(_, count)| grouped(count)).join(" | "),
            told.recovery.as_ref().map_or("-".to_owned(), spread),
        );
    }
    let sum = |figure: &dyn Fn(&Told) -> u64| grouped(runs.iter().map(|told| figure(told)).sum());
    let _ = writeln!(
        text,
        "| **all** | | {} | {} | {} | {} | {} | {} | {} | |",
        sum(&|told| told.outcome.seconds as u64),
        sum(&|told| told.outcome.findings.accepted),
        sum(&|told| told.outcome.faults),
        sum(&|told| told.outcome.findings.of(Kind::Lost)),
        sum(&|told| told.outcome.findings.of(Kind::Doubled)),
        sum(&|told| told.outcome.findings.of(Kind::Stale)),
        sum(&|told| told.outcome.findings.of(Kind::Strange)),
    );
    text
}

/// By what happened, over all scenarios.
fn going_on(runs: &[&Told]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let recoveries = || runs.iter().flat_map(|told| &told.outcome.recoveries);
    for (moment, _) in recoveries() {
        if !order.contains(&moment.what.as_str()) {
            order.push(&moment.what);
        }
    }
    let mut text = String::from(
        "\n| going on after | times | shards | p50, p99, max, ms | stuck |\n|---|---|---|---|---|\n",
    );
    for what in order {
        let of = || recoveries().filter(|(moment, _)| moment.what == what);
        let shards = || of().flat_map(|(_, shards)| shards);
        let figures = Spread::of(shards().filter_map(|shard| shard.after_ms).collect());
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            of().count(),
            shards().count(),
            figures.as_ref().map_or("-".to_owned(), spread),
            shards().filter(|shard| shard.after_ms.is_none()).count(),
        );
    }
    text
}

fn control_runs(controls: &[&Told]) -> String {
    if controls.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nControl runs ({}):\n\n| guard that is off | in | tasks | found |\n|---|---|---|---|\n",
        played(controls)
    );
    let mut sorted = controls.to_vec();
    sorted.sort_by_key(|told| told.off.map(guard));
    let mut before = "";
    for told in sorted {
        let guard = told.off.map_or("", guard);
        let findings = &told.outcome.findings;
        let found = kinds(findings).into_iter().filter(|(_, count)| *count > 0);
        let found: Vec<String> = found.map(|(kind, count)| format!("{} {kind}", grouped(count))).collect();
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} |",
            if guard == before { "" } else { guard },
            report::name(told.scenario),
            grouped(findings.accepted),
            if found.is_empty() { "**nothing**".to_owned() } else { found.join(", ") },
        );
        before = guard;
    }
    text
}

fn kinds(findings: &Findings) -> [(&'static str, u64); 4] {
    let of = |name, kind| (name, findings.of(kind));
    [
        of("lost", Kind::Lost),
        of("doubled", Kind::Doubled),
        of("stale", Kind::Stale),
        of("strange", Kind::Strange),
    ]
}

fn spread(spread: &Spread) -> String {
    let Spread { p50, p99, max, .. } = *spread;
    format!("{}, {}, {}", grouped(p50), grouped(p99), grouped(max))
}

/// 1,234,567
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What a scenario does; the figures in brackets are those of the long form.
fn what(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::CoordinatorKilled => "SIGKILL of the only one, started again at once",
        Scenario::OneOfThreeKilled => "SIGKILL of each of three in turn",
        Scenario::CoordinatorStopped => {
            "SIGSTOP for 6 s (lease: 1.8 s), take-over by the other, SIGCONT; then the other"
        }
        Scenario::StoppedAndWiped => "the same, and FLUSHALL before the SIGCONT",
        Scenario::RollingRestart => "SIGTERM and start of each of three in turn",
        Scenario::RedisWiped => "FLUSHALL",
        Scenario::RedisKilled => "SIGKILL, back after 1 s (4 s)",
        Scenario::RedisOld => "back with a file of some seconds ago",
        Scenario::RedisEmpty => "back with nothing",
        Scenario::RedisFull => "every write refused (`maxmemory`) for 4 s (8 s)",
        Scenario::BrokerKilled => {
            "SIGKILL of each of three in turn, which leads some shards and follows in others; back after seconds"
        }
        Scenario::BrokersGone => "all gone for 8 s (30 s), the coordinator killed meanwhile",
        Scenario::CutFromKafka => {
            "held and lost, one way and the other, 1.5 s; reset and refused 2 s with the coordinator killed meanwhile (also 80 ms late, and 20 to 40 s, longer than a produce request waits)"
        }
        Scenario::CutFromRedis => "the same, towards Redis (also 80 ms late, and 10 s)",
        Scenario::DiskFull => {
            "a file takes all that is left on the disk under the broker's log, for 5 s (15 s); the coordinator killed meanwhile; the broker started anew"
        }
        Scenario::ClockOff => {
            "one of two coordinators an hour ahead, then an hour behind; each is killed and the other takes over"
        }
        Scenario::AgentsKilled => {
            "SIGKILL of all 40 (200) agents in one moment, each a process; as many others come 4 s later"
        }
        Scenario::CpuFull => {
            "twice as many threads as there are cores do nothing but count, for 20 s (10 minutes); no agent may be given up"
        }
        Scenario::Thrice => {
            "each command three times, the copies in an order of their own, through both doors, within 1.5 s"
        }
        Scenario::Negotiations => {
            "contract nets and votes; between an award and its commitment SIGKILL of the owner, SIGSTOP of it for 4 s, SIGKILL of the holder, in turn"
        }
        Scenario::Workflows => {
            "runs of 20 steps; when people are asked, a step is given out or its result counts: SIGKILL of the owner, SIGSTOP of it for 4 s, SIGKILL of the holder, of Redis for 1 s (3 s), in turn"
        }
    }
}

fn guard(off: Off) -> &'static str {
    match off {
        Off::Answers => "a client takes \"sent\" for \"accepted\", and repeats nothing",
        Off::Ids => "a client gives each repeat an id of its own",
        Off::Memory => "an agent does whatever comes out of its inbox, also what it has had",
        Off::Inboxes => "inboxes forget epochs and attempts, again and again, and agents do whatever comes",
        Off::Canary => "Redis refuses agents' writes alone, so that no coordinator can tell by its own",
        Off::Loss => "dead agents go on beating and being present",
        Off::Life => "an agent is stopped for eight seconds, and has to be given up",
        Off::Copies => "one copy of each partition, and a killed broker's ledger is removed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_between_its_lines_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.md");
        std::fs::write(&file, "no lines").unwrap();
        put(&file, "x").unwrap_err();
        std::fs::write(&file, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        put(&file, "new\n\n").unwrap();
        put(&file, "newer\n").unwrap();
        let wanted = format!("before\n{BEGIN}\n\nnewer\n{END}\nafter\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), wanted);
    }

    #[test]
    fn thousands_are_grouped() {
        let all = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}
