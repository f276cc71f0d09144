//! The demo's totals are those of the tools, though an agent is killed half way.

use crate::binary::synod;
use crate::running::{Running, Up, json, processes_with, until};
use crate::tree::{nasty, totals_by_tools};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// More files than three agents can have in hand at once.
const MANY: usize = 600;

/// A nasty tree, with many plain files besides.
fn large() -> tempfile::TempDir {
    of_files(MANY)
}

fn of_files(count: usize) -> tempfile::TempDir {
    let dir = nasty();
    for i in 0..count {
        let folder = dir.path().join(format!("many/{}", i % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{i}.rs")), format!("fn f{i}() {{}} // TODO {i}\n").repeat(i % 50))
            .unwrap();
    }
    dir
}

fn check_totals(report: &Value, dir: &Path) {
    let tools = totals_by_tools(dir);
    let ours = &report["totals"];
    assert_eq!(
        [&ours["files"], &ours["lines"], &ours["bytes"], &ours["todos"]].map(|n| n.as_u64().unwrap()),
        [tools.files, tools.lines, tools.bytes, tools.todos]
    );
    if let Some(words) = tools.words {
        assert_eq!(ours["words"], words);
    }
    let doubled: Vec<&str> = report["duplicates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["sha256"].as_str().unwrap())
        .collect();
    let mut sorted = doubled.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, tools.doubled);
    assert_eq!(report["failed"], json!([]));
}

pub(crate) fn check_takeover(mesh: &Value) {
    let takeover = &mesh["takeover"];
    assert!(takeover.is_object(), "no agent was killed: {}", mesh["not_killed"]);
    let number = |name: &str| takeover[name].as_u64().unwrap();
    assert!(number("held") > 0 && number("lost_with_it") > 0, "{takeover}");
    let taken: u64 =
        takeover["taken_over_by"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(taken, number("lost_with_it"), "{takeover}");
    assert!(
        !takeover["taken_over_by"].as_object().unwrap().contains_key(takeover["agent_id"].as_str().unwrap())
    );
    assert!(takeover["lost_after_ms"].as_f64().unwrap() > 0.0, "{takeover}");
    assert_eq!(mesh["agents_lost"], 1);
    assert_eq!(
        mesh["attempts"].as_u64().unwrap(),
        mesh["tasks"].as_u64().unwrap() + mesh["reassigned"].as_u64().unwrap()
    );
}

#[test]
fn the_totals_are_those_of_the_tools_though_an_agent_is_killed() {
    let dir = large();
    let mut command = synod(&["demo", "--input"]);
    let report = json(0, command.arg(dir.path()));
    check_totals(&report, dir.path());
    check_takeover(&report["mesh"]);
    assert_eq!(processes_with(dir.path().to_str().unwrap(), &[]), [0; 0]);
}

#[test]
fn on_a_mesh_that_runs_it_leaves_no_agent_behind() {
    let up = Up::start();
    let dir = large();
    let report = up.json(0, &["demo", "--input", dir.path().to_str().unwrap()]);
    check_totals(&report, dir.path());
    check_takeover(&report["mesh"]);
    assert_eq!(up.json(0, &["agent", "list"]), json!([]));
    assert_eq!(processes_with(dir.path().to_str().unwrap(), &[]), [0; 0]);
}

#[test]
fn for_people_the_report_says_who_took_over() {
    let dir = large();
    let output = synod(&["demo", "--input"]).arg(dir.path()).output().unwrap();
    let drawn = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{drawn}");
    for said in ["was killed (SIGKILL) when", "lost with it and completed by: demo-", "Totals: 6"] {
        assert!(drawn.contains(said), "{said:?} is not in\n{drawn}");
    }
}

#[test]
fn a_tree_too_small_to_catch_anybody_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one"), "x\n").unwrap();
    let mut command = synod(&["demo", "--input"]);
    let report = json(0, command.arg(dir.path()));
    assert_eq!(report["totals"]["files"], 1);
    assert!(report["mesh"]["takeover"].is_null());
    assert!(report["mesh"]["not_killed"].as_str().unwrap().contains("larger tree"));
}

#[test]
fn what_is_not_done_in_time_is_a_failure_with_names() {
    // More tasks than any machine does in a second.
    let dir = of_files(30_000);
    let mut command = synod(&["demo", "--limit", "1", "--input"]);
    let report = json(1, command.arg(dir.path()));
    let failed = report["failed"].as_array().unwrap();
    assert!(!failed.is_empty());
    assert_eq!(report["totals"]["files"].as_u64().unwrap() + failed.len() as u64, report["mesh"]["tasks"]);
    assert_eq!(processes_with(dir.path().to_str().unwrap(), &[]), [0; 0]);
}

#[test]
fn what_is_no_tree_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let check = |args: &[&str], status: i32, said: &str| {
        let output = synod(args).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    };
    check(&["demo", "--input", "empty"], 1, "there are no files");
    check(&["demo", "--input", "absent"], 2, "absent");
    check(&["demo"], 2, "--input");
    check(&["demo", "--input", ".", "--scene", "none"], 2, "none");
}

#[test]
fn killed_or_interrupted_it_leaves_no_process() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let dir = large();
        let path = dir.path().to_str().unwrap().to_owned();
        let mut command = synod(&["demo", "--input", &path]);
        let mut demo = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let id = demo.id();
        until("three agents", || processes_with(&path, &[id]).len() == 3);
        let children = crate::running::children(id);
        demo.signal(signal);
        assert!(!demo.ended().0.success());
        until("the end of the agents", || processes_with(&path, &[]).is_empty());
        until("the end of redis-server", || children.iter().all(|child| !crate::running::is_alive(*child)));
    }
}

#[test]
fn what_is_held_in_common_stays_whole() {
    let seen = json(0, &mut synod(&["demo", "--scene", "together"]));
    assert_eq!(seen["merged"], json!({"done": 7, "by": ["ana", "ben"]}), "{seen}");
    let had: Vec<&str> =
        seen["locks"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert_eq!(had, ["ana", "ben", "cem"], "first come, first served");
    assert_eq!([&seen["granted"], &seen["refused"], &seen["remaining"]], [&json!(3), &json!(7), &json!(10)]);
    assert_eq!(
        seen["deliveries"],
        json!({"1": 10, "2": 10}),
        "what the dead consumer had came again: {seen}"
    );
}
