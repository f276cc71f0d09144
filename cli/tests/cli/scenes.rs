//! What agents decide in the demo's scenes, each a process of its own: the same each time, with a certificate that holds.

use crate::binary::synod;
use crate::running::{Running, Up, children, is_alive, json, processes_with, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;

/// A scene on a mesh of its own, every certificate of which holds, and of which nobody is left.
fn played(name: &str) -> Value {
    let told = json(0, &mut synod(&["demo", "--scene", name]));
    check(&told, name);
    told
}

fn check(told: &Value, name: &str) {
    assert_eq!(told["scene"], name);
    for decided in told["decisions"].as_array().unwrap() {
        let proof = &decided["certificate"];
        assert_eq!([&proof["holds"], &proof["recomputed"]], [true, true], "{decided}");
    }
    let run = told["run"].as_str().unwrap();
    assert_eq!(processes_with(run, &[]), [0; 0]);
}

fn outcome(told: &Value, of: usize) -> &Value {
    &told["decisions"][of]["outcome"]
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn conflicting_signals_are_told_as_camps() {
    let told = played("signals");
    let outcome = outcome(&told, 0);
    assert_eq!(outcome["verdict"], "contested", "{outcome}");
    let camps: Vec<Vec<&str>> =
        outcome["camps"].as_array().unwrap().iter().map(|camp| texts(&camp["members"])).collect();
    assert_eq!(camps, [vec!["bridge", "camera", "north", "south"], vec!["lock", "mill", "weir"]]);
    assert_eq!(outcome["outliers"][0]["source"], "warden", "{outcome}");
    assert_eq!(outcome["value"], Value::Null, "no mean that nobody holds");
}

#[test]
fn a_liar_does_not_move_the_risk_out_of_what_the_honest_say() {
    let told = played("risk");
    let outcome = outcome(&told, 0);
    assert_eq!([&outcome["verdict"], &outcome["level"]], ["converged", "high"], "{outcome}");
    let first = told["decisions"][0]["rounds"][0]["answers"].as_array().unwrap();
    let said: BTreeMap<&str, f64> = first
        .iter()
        .map(|answer| (answer["who"].as_str().unwrap(), answer["said"]["value"].as_f64().unwrap()))
        .collect();
    assert_eq!((said.len(), said["vendor"]), (7, 0.0));
    let honest = || said.iter().filter(|(who, _)| **who != "vendor").map(|(_, value)| *value);
    let (least, greatest) = (honest().fold(1.0, f64::min), honest().fold(0.0, f64::max));
    let risk = outcome["risk"].as_f64().unwrap();
    assert!(least <= risk && risk <= greatest, "{least} to {greatest}: {risk}");
    assert!(
        outcome["dissent"].as_array().unwrap().iter().any(|one| one["participant"] == "vendor"),
        "{outcome}"
    );
}

#[test]
fn what_is_scarce_is_divided_and_no_more_than_there_is() {
    let told = played("scarcity");
    let machines = outcome(&told, 0);
    let jobs: BTreeMap<&str, u64> = machines["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["user"].as_str().unwrap(), user["tasks"].as_u64().unwrap()))
        .collect();
    let all = machines["resources"].as_array().unwrap();
    assert!(all.iter().all(|one| one["used"].as_f64() <= one["capacity"].as_f64()), "{machines}");
    // Counted by hand from the input.
    let gpu = jobs["imaging"] + 4 * jobs["training"];
    let cpu = 16 * jobs["analytics"] + 6 * jobs["imaging"] + 4 * jobs["tests"] + 24 * jobs["training"];
    let used = |name: &str| all.iter().find(|one| one["resource"] == name).unwrap()["used"].as_u64().unwrap();
    assert_eq!((gpu, cpu), (used("gpu"), used("cpu")), "{machines}");
    let line: BTreeMap<&str, u64> = outcome(&told, 1)["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["user"].as_str().unwrap(), user["amount"].as_u64().unwrap()))
        .collect();
    let expected = BTreeMap::from([("analytics", 12), ("imaging", 12), ("tests", 3), ("training", 13)]);
    assert_eq!(line, expected);
}

#[test]
fn an_emergency_goes_down_the_list_where_somebody_is_silent() {
    let told = played("emergency");
    let outcome = outcome(&told, 0);
    assert_eq!([&outcome["complete"], &outcome["uncovered"]], [&json!(true), &json!([])], "{outcome}");
    assert_eq!(texts(&outcome["silent"]), ["sre-on-call"]);
    assert_eq!(outcome["unable"][0]["participant"], "sre-backup");
    let taken = &outcome["taken_over"][0];
    assert_eq!(
        [&taken["role"], &taken["by"], &taken["instead_of"]],
        ["workloads", "platform-lead", "sre-on-call"]
    );
    assert_eq!(outcome["escalation_steps"], 2);
}

#[test]
fn a_team_that_loses_one_of_its_own_does_all_the_work_once() {
    let told = played("team");
    let done: Vec<(&str, &str, u64)> = told["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decided| {
            let outcome = &decided["outcome"];
            let name = decided["question"]["name"].as_str().unwrap();
            let cents: u64 = decided["question"]["cents"]
                .as_array()
                .unwrap()
                .iter()
                .map(|cents| cents.as_u64().unwrap())
                .sum();
            assert_eq!(outcome["result"]["total_cents"], cents, "{outcome}");
            (
                name,
                outcome["winner"].as_str().unwrap(),
                outcome["revoked"].as_array().map_or(0, Vec::len) as u64,
            )
        })
        .collect();
    let expected = [
        ("monday", "dia", 0),
        ("tuesday", "cem", 0),
        ("wednesday", "ana", 1),
        ("thursday", "ana", 0),
        ("friday", "dia", 0),
        ("saturday", "ana", 0),
    ];
    assert_eq!(done, expected, "{told}");
    let revoked = &outcome(&told, 2)["revoked"][0];
    assert_eq!([&revoked["participant"], &revoked["why"], &revoked["stage"]], ["cem", "gone", "result"]);
}

/// What holds of the scene with people wherever it is played.
fn check_people(told: &Value) {
    let decisions: Vec<(u64, &str, &str)> = told["pipeline"]["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap();
            assert_eq!(text("shown").len(), 64, "{one}");
            (one["revision"].as_u64().unwrap(), text("decision"), text("approver"))
        })
        .collect();
    assert_eq!(decisions, [(1, "request_changes", "ann"), (2, "approve", "ann")]);
    let page = |which: &str| told["pipeline"][which]["text"].as_str().unwrap();
    assert!(!page("first").contains("leads to") && page("second").contains("leads to"), "{told}");
    let steps: Vec<(&str, u64)> = told["pipeline"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            assert_eq!(step["status"], "completed", "{step}");
            (step["step"].as_str().unwrap(), step["attempts"].as_u64().unwrap())
        })
        .collect();
    let outlines = [("outline[0]", 1), ("outline[1]", 1), ("outline[2]", 1)];
    let expected = [&[("read", 0)][..], &outlines, &[("draft", 2), ("release", 2), ("publish", 1)]].concat();
    assert_eq!(steps, expected);
    let answers: Vec<(bool, &str)> = told["team"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["consulted"].as_bool().unwrap(), one["source"].as_str().unwrap()))
        .collect();
    assert_eq!(answers, [(false, "yeast.md"), (true, "ovens.md")]);
}

#[test]
fn a_person_is_asked_once_though_the_owner_of_the_question_is_killed() {
    let told = json(0, &mut synod(&["demo", "--scene", "people"]));
    check_people(&told);
    let takeover = &told["pipeline"]["takeover"];
    assert!(takeover["heir"].as_str().unwrap().starts_with("coord_"), "{takeover}");
    assert_eq!(processes_with(told["run"].as_str().unwrap(), &[]), [0; 0]);
}

#[test]
fn on_a_mesh_that_runs_no_coordinator_is_killed_and_nothing_is_left() {
    let up = Up::start();
    let told = up.json(0, &["demo", "--scene", "people"]);
    check_people(&told);
    assert_eq!(told["pipeline"]["takeover"], Value::Null);
    assert_eq!(up.json(0, &["agent", "list"]), json!([]));
    assert_eq!(up.json(0, &["workflow", "list"]), json!([]));
    assert_eq!(up.json(0, &["state", "list"]), json!([]));
    let drawn = String::from_utf8(up.synod(&["demo", "--scene", "people"]).output().unwrap().stdout).unwrap();
    for said in [
        "ann is played by this demo",
        "No coordinator was killed",
        "ann wants it otherwise: \"where",
        "so the expert is asked",
    ] {
        assert!(drawn.contains(said), "{said:?} is not in\n{drawn}");
    }
}

#[test]
fn the_second_coordinator_ends_with_the_scene_however_it_ends() {
    let mut command = synod(&["demo", "--scene", "people"]);
    let mut demo = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    // Redis, and it.
    until("the second coordinator", || children(demo.id()).len() > 1);
    let started = children(demo.id());
    demo.signal(Signal::SIGKILL);
    assert!(!demo.ended().0.success());
    until("its end", || started.iter().all(|process| !is_alive(*process)));
}

#[test]
fn all_scenes_are_played_and_summed_up() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one"), "x\n").unwrap();
    let told = json(0, synod(&["demo", "--scene", "all", "--input"]).arg(dir.path()));
    let played: Vec<(&str, &str)> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(one["report"].is_object() && one["took_s"].as_f64().unwrap() < 60.0, "{one}");
            (one["scene"].as_str().unwrap(), one["result"].as_str().unwrap())
        })
        .collect();
    let names = ["files", "fleet", "together", "people", "signals", "risk", "scarcity", "emergency", "team"];
    assert_eq!(played, names.map(|name| (name, "as it should")));
}

#[test]
fn a_scene_that_fails_is_named_and_the_others_are_played_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = synod(&["demo", "--scene", "all", "--limit", "1", "--input"]);
    let told = json(1, command.arg(dir.path()));
    let files = &told[0];
    assert_eq!([&files["scene"], &files["result"]], ["files", "FAILED"]);
    assert!(files["wrong"].as_str().unwrap().contains("there are no files"), "{files}");
    assert_eq!(told.as_array().unwrap().len(), 9);
}

#[test]
fn a_scene_that_there_is_not_is_refused_with_those_that_there_are() {
    let output = synod(&["demo", "--scene", "opera"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for name in ["opera", "files", "people", "team", "all"] {
        assert!(said.contains(name), "{name} is not in\n{said}");
    }
}

#[test]
fn a_scene_is_told_to_people_and_leaves_nobody_behind() {
    let up = Up::start();
    let told = String::from_utf8(up.synod(&["demo", "--scene", "signals"]).output().unwrap().stdout).unwrap();
    for said in ["Asked by `resolve`", "contested", "3.4", "warden, alone", "Why:", "the decision follows"] {
        assert!(told.contains(said), "{said:?} is not in\n{told}");
    }
    assert_eq!(up.json(0, &["agent", "list"]), json!([]));
    let told = up.json(0, &["demo", "--scene", "risk"]);
    check(&told, "risk");
}

#[test]
fn members_end_with_the_scene_however_it_ends() {
    let mut command = synod(&["demo", "--scene", "emergency"]);
    let mut demo = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    // Six members, and Redis.
    until("the members", || children(demo.id()).len() > 6);
    let members = children(demo.id());
    demo.signal(Signal::SIGKILL);
    assert!(!demo.ended().0.success());
    until("the end of the members", || members.iter().all(|member| !is_alive(*member)));
}
