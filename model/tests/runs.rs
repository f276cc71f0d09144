//! Every planted bug is caught, what must hold holds as far as a test reaches, and the model is the one that was checked
//! in full: its state counts are known.

use synod_model::{Limits, Report, Run, runs};

/// Of each run that does not end: so many states, or so many actions.
const SOME: Limits = Limits { states: 100_000, live_every: 256, actions: 50_000, seed: 7 };

fn run(name: &str) -> Run {
    runs().into_iter().find(|run| run.name == name).unwrap_or_else(|| panic!("there is no run {name}"))
}

fn said(run: &Run, report: &Report) -> String {
    let found =
        report.found.as_ref().map(|found| format!("{}: {:?} {:?}", found.what, found.actions, found.log));
    format!("{}: {} states; {found:?}", run.name, report.states)
}

#[test]
fn every_planted_bug_is_caught() {
    let all = runs();
    let planted: Vec<&Run> = all.iter().filter(|run| !run.holds).collect();
    assert_eq!(planted.len(), 24);
    for run in planted {
        // By what it does, not merely because nothing finishes any more.
        let report = run.explore(Limits { live_every: 0, states: 200_000, ..SOME });
        assert!(report.found.is_some(), "not caught: {}", said(run, &report));
    }
}

#[test]
fn what_must_hold_holds() {
    let all = runs();
    let sound: Vec<&Run> = all.iter().filter(|run| run.holds).collect();
    assert_eq!(sound.len(), 29);
    for run in sound {
        let report = run.explore(SOME);
        assert!(report.found.is_none(), "broken: {}", said(run, &report));
        assert!(report.live_checked > 0 && report.goals > 0, "nothing was looked at: {}", said(run, &report));
    }
}

/// The small ones to their end, and the shortest way to some bugs: another number means another model.
#[test]
fn the_model_has_as_many_states_as_when_it_was_checked_in_full() {
    let check = |name: &str, states: usize, transitions: usize, depth: usize| {
        let run = run(name);
        let report = run.explore(SOME);
        assert_eq!(report.complete, run.holds, "{}", said(&run, &report));
        assert_eq!((report.states, report.transitions, report.depth), (states, transitions, depth), "{name}");
    };
    check("fence-2claims-any-ack", 63_570, 160_995, 20);
    check("fence-4claims", 34_862, 68_121, 24);
    check("fence-rejects", 43_664, 110_205, 21);
    check("bug-no-fence", 189, 910, 7);
    check("bug-no-epoch", 2_651, 15_156, 10);
    check("bug-fold-old-end", 10_878, 44_513, 11);
    check("bug-reuse-n", 3_445, 20_131, 10);
    check("bug-old-image", 2_116, 8_426, 14);
    check("q-floor-blind", 68_458, 328_645, 16);
    check("q-guard-record-epoch", 90_020, 456_144, 14);
    check("q-floor-past-done", 34_864, 162_246, 15);
}

#[test]
fn a_trace_is_the_shortest_way_and_shows_the_log() {
    let run = run("bug-done-early");
    let report = run.explore(SOME);
    assert!(run.is_as_expected(&report));
    let found = report.found.expect("something is found");
    assert_eq!(found.what, "I5 done passed an unperformed effect");
    assert_eq!(
        found.actions.join(" "),
        "Claim(0) Land(0, 0) Ack(0, 0) Fold(0) Kafka(0) Land(0, 0) Ack(0, 0) Kafka(0) Land(0, 0)"
    );
    assert_eq!(
        found.log,
        ["0:A claim", "1:A step e0 n1 cmd0k floor0 done<1", "2:A step e0 n2 cmd1k floor1 done<2"]
    );
}
