//! The ledger's tools on a mesh that runs: export, an entity's life, replay.

use crate::running::{Running, Up, until};
use serde_json::{Value, json};
use std::process::Stdio;

/// A mesh on which `t-1` was done, and `t-2` cancelled though nobody ever took it.
fn worked() -> Up {
    let up = Up::start();
    let mut command = up.synod(&["agent", "run", "--id", "a", "--capability", "echo", "--", "cat"]);
    let _agent = Running::start(command.stderr(Stdio::null()));
    until("a registration", || up.synod(&["agent", "get", "a"]).output().unwrap().status.success());
    up.json(0, &["task", "submit", "--capability", "echo", "--id", "t-1", "--input", "7", "--wait=30000"]);
    up.json(1, &["task", "submit", "--capability", "nobody", "--id", "t-2", "--wait=1"]);
    up.json(0, &["task", "cancel", "t-2"]);
    up
}

fn text(up: &Up, args: &[&str]) -> String {
    let output = up.synod(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn events(life: &Value) -> Vec<&str> {
    let moments = life["moments"].as_array().unwrap().iter();
    moments
        .flat_map(|moment| moment["events"].as_array().map_or(&[][..], Vec::as_slice))
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn a_task_s_life_is_the_same_from_kafka_and_from_an_exported_file() {
    let up = worked();
    let life = up.json(0, &["ledger", "show", "t-1"]);
    let types = events(&life);
    assert_eq!(types.first(), Some(&"synod.task.submitted"));
    assert_eq!(types.last(), Some(&"synod.task.completed"));
    assert_eq!(
        (&life["standing"]["status"], &life["standing"]["is_final"]),
        (&json!("completed"), &json!(true))
    );
    assert_eq!(life["standing"]["attempts"], 1);
    assert!(!life.to_string().contains("attempt_token"), "{life}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    let name = file.to_str().unwrap();
    let exported = up.json(0, &["ledger", "export", "--all", "--to", name]);
    let written: u64 =
        exported.as_array().unwrap().iter().map(|shard| shard["records"].as_u64().unwrap()).sum();
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count() as u64, written);
    let from_file = up.json(0, &["ledger", "show", "t-1", "--from", name]);
    assert_eq!(from_file["moments"], life["moments"]);
    assert_eq!(from_file["shard"], life["shard"]);

    // One shard, to stdout: the very lines that it has in the file of all.
    let shard = life["shard"].to_string();
    let one = text(&up, &["ledger", "export", "--shard", &shard, "--to", "-"]);
    let prefix = format!("{{\"shard\":{shard},");
    let known: Vec<&str> = lines.lines().filter(|line| line.starts_with(&prefix)).collect();
    assert_eq!(one.lines().take(known.len()).collect::<Vec<_>>(), known);
}

#[test]
fn a_life_is_told_for_people_and_absence_is_an_exit_status() {
    let up = worked();
    let shown = text(&up, &["ledger", "show", "t-2"]);
    assert!(shown.starts_with("t-2  workspace default, shard "), "{shown}");
    assert!(
        shown.contains(": cancelled since offset") && shown.contains("http, task.cancel, ce_id "),
        "{shown}"
    );
    assert!(text(&up, &["ledger", "show", "a"]).contains("registered"));
    up.json(3, &["ledger", "show", "absent"]);
    up.json(3, &["ledger", "export", "--shard", "99", "--to", "-"]);
    up.json(2, &["ledger", "export", "--to", "-"]);
    up.json(2, &["ledger", "show", "t", "--from", "/nowhere/at/all"]);
    up.json(1, &["ledger", "export", "--all", "--to", "/nowhere/at/all"]);
}

/// Every shard that the replay tells of is clean; how many records there were.
pub(crate) fn is_clean(replayed: &Value) -> u64 {
    let shards = replayed.as_array().unwrap();
    for shard in shards {
        assert_eq!(shard["violation"], Value::Null, "{shard}");
    }
    shards.iter().map(|shard| shard["records"].as_u64().unwrap()).sum()
}

#[test]
fn a_ledger_replays_clean_from_kafka_and_from_a_file_and_damage_is_an_exit_status() {
    let up = worked();
    let records = is_clean(&up.json(0, &["replay", "--every", "1"]));
    assert!(records > 8, "{records}");
    let shard = up.json(0, &["ledger", "show", "t-1"])["shard"].to_string();
    let one = up.json(0, &["replay", "--shard", &shard, "--until", "1"]);
    assert_eq!((&one[0]["records"], &one[0]["to"]), (&json!(2), &json!(1)));
    assert!(text(&up, &["replay"]).contains("nothing, in"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    let name = file.to_str().unwrap();
    up.json(0, &["ledger", "export", "--all", "--to", name]);
    assert!(is_clean(&up.json(0, &["replay", "--from", name])) >= records);
    // Somebody claims that the task came to another end too.
    let lines = std::fs::read_to_string(&file).unwrap();
    let completed = lines.lines().find(|line| line.contains("synod.task.completed")).unwrap();
    let (offset, n) = (field(completed, "\"offset\":"), field(completed, "\"n\":"));
    let twice = completed
        .replace(&format!("\"offset\":{offset}"), &format!("\"offset\":{}", offset + 1))
        .replace(&format!("\"n\":{n}"), &format!("\"n\":{}", n + 1));
    let head = lines.lines().take_while(|line| *line != completed);
    let shard = completed.split_once(',').unwrap().0;
    let forged: String = head
        .chain([completed, &twice])
        .filter(|line| line.starts_with(shard))
        .flat_map(|l| [l, "\n"])
        .collect();
    std::fs::write(&file, forged).unwrap();
    let damaged = up.json(1, &["replay", "--from", name]);
    assert_eq!(damaged[0]["violation"]["offset"], offset + 1, "{damaged}");
    up.json(2, &["replay", "--every", "0"]);
    up.json(3, &["replay", "--shard", "99"]);
}

/// The first number after this.
fn field(line: &str, name: &str) -> u64 {
    let rest = line.split_once(name).unwrap().1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
