//! Work handed in at a shell, done by a program at another shell.

use crate::running::{Running, Up, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An agent with this program, known to the mesh.
fn agent(up: &Up, id: &str, capability: &str, script: &str) -> Running {
    let mut command = up.synod(&["agent", "run", "--id", id, "--capability", capability]);
    let agent = Running::start(command.args(["--", "sh", "-c", script]).stderr(Stdio::piped()));
    until("a registration", || up.synod(&["agent", "get", id]).output().unwrap().status.success());
    agent
}

fn fed(command: &mut Command, input: &str) -> Value {
    let mut child =
        command.args(["--output", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_shell_one_liner_is_an_agent() {
    let up = Up::start();
    let mut agent = agent(&up, "upper", "upper", "tr a-z A-Z");
    let task =
        up.json(0, &["task", "submit", "--capability", "upper", "--input", "\"hello\"", "--wait=30000"]);
    assert_eq!((&task["status"], &task["output"]), (&json!("completed"), &json!("HELLO")));
    assert_eq!(task["attempts"][0]["agent_id"], "upper");

    let submit = ["task", "submit", "--capability", "upper", "--wait", "-"];
    assert_eq!(fed(&mut up.synod(&submit), "[\"from stdin\"]\n")["output"], json!(["FROM STDIN"]));
    let by_name = up.json(0, &["task", "submit", "--agent", "upper", "--wait", "--input", "true"]);
    assert_eq!(by_name["output"], "TRUE");

    let id = task["task_id"].as_str().unwrap();
    assert_eq!(up.json(0, &["task", "get", id])["output"], "HELLO");
    let listed = up.json(0, &["task", "list", "--status", "completed", "--agent", "upper"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(up.json(0, &["agent", "list"])[0]["capabilities"], json!(["upper"]));

    agent.signal(Signal::SIGINT);
    let (status, took) = agent.ended();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    let mut said = String::new();
    agent.child().stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("3 completed, 0 failed"), "{said}");
    assert_eq!(up.json(0, &["agent", "list"]), json!([]));
}

#[test]
fn a_program_sees_its_input_to_the_last_digit_and_its_task() {
    let up = Up::start();
    let _agent = agent(
        &up,
        "a",
        "seen",
        r#"read input; printf '"%s %s %s"' "$input" "$SYNOD_TASK_ID" "$SYNOD_ATTEMPT""#,
    );
    let submit = [
        "task",
        "submit",
        "--capability",
        "seen",
        "--id",
        "t-1",
        "--wait",
        "--input",
        "12345678901234567890123",
    ];
    assert_eq!(up.json(0, &submit)["output"], "12345678901234567890123 t-1 1");
    // The same again is the same task; another one under its id is refused.
    assert_eq!(up.json(0, &submit)["attempts"].as_array().unwrap().len(), 1);
    up.json(4, &["task", "submit", "--capability", "seen", "--id", "t-1", "--input", "2"]);
}

#[test]
fn how_a_task_ends_is_the_exit_status() {
    let up = Up::start();
    let _agent = agent(&up, "a", "fail", "echo why it failed >&2; exit 3");
    let fail = ["task", "submit", "--capability", "fail", "--max-attempts", "1", "--wait"];
    let failed = up.json(1, &fail);
    assert_eq!(failed["status"], "dead_lettered");
    assert!(failed["error"]["message"].as_str().unwrap().contains("why it failed"), "{failed}");

    up.json(1, &["task", "submit", "--capability", "nobody", "--id", "w", "--wait=100"]);
    assert_eq!(up.json(0, &["task", "cancel", "w"])["status"], "cancelled");
    up.json(3, &["task", "get", "absent"]);
    up.json(3, &["agent", "pause", "absent"]);
    up.json(2, &["task", "submit", "--capability", "x", "--input", "not json"]);
    up.json(2, &["task", "submit", "--input", "1"]);
    up.json(2, &["task", "submit", "--capability", "x", "--priority", "11"]);
    up.json(2, &["agent", "run", "--capability", "x", "--", "no-such-program"]);
}

#[test]
fn an_agent_is_paused_resumed_and_taken_out() {
    let up = Up::start();
    let mut agent = agent(&up, "a", "echo", "cat");
    assert_eq!(up.json(0, &["agent", "pause", "a", "--reason", "lunch"])["status"], "paused");
    up.json(1, &["task", "submit", "--capability", "echo", "--id", "t", "--input", "7", "--wait=300"]);
    up.json(0, &["agent", "resume", "a"]);
    assert_eq!(up.json(0, &["task", "get", "t", "--wait=30000"])["output"], 7);
    up.json(0, &["agent", "stop", "a"]);
    let (status, _) = agent.ended();
    assert!(status.success(), "{status}");
}

#[test]
fn what_happens_can_be_watched() {
    let up = Up::start();
    up.json(0, &["task", "submit", "--capability", "echo", "--id", "t"]);
    let mut watch = Running::start(up.synod(&["task", "watch", "t"]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(watch.child().stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("task.submitted"));
    // It is being watched, and goes on being so until it ends.
    let mut tail = Running::start(
        up.synod(&["events", "tail", "--type", "synod.task.completed", "--count", "1", "--last", "9"])
            .stdout(Stdio::piped()),
    );
    let _agent = agent(&up, "a", "echo", "cat");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.first().unwrap().contains("task.assigned"), "{rest:?}");
    assert!(rest.last().unwrap().contains("task.completed"), "{rest:?}");
    assert!(watch.ended().0.success());
    let mut said = String::new();
    tail.child().stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("t  task.completed") && said.lines().count() == 1, "{said}");
    assert!(tail.ended().0.success());

    let listed = up.json(0, &["events", "list", "--entity", "t", "--type", "synod.task.completed"]);
    assert_eq!(listed[0]["data"]["agent_id"], "a");
    let shards = up.json(0, &["status"])["shards"].as_array().unwrap().len();
    assert_eq!(shards, 8);
}

#[test]
fn an_operator_pauses_lists_and_counts() {
    let up = Up::start();
    let _agent = agent(&up, "upper", "upper", "tr a-z A-Z");
    let paused = up.json(0, &["fleet", "pause", "--capability", "upper", "--reason", "inspection", "--halt"]);
    assert_eq!((&paused["agents"], &paused["pause"]["mode"]), (&json!(1), &json!("halt")));
    let task = up.json(0, &["task", "submit", "--capability", "upper", "--input", "\"hello\""]);
    let shown = up.json(0, &["fleet", "show"]);
    assert_eq!(shown["pauses"][0]["pause"]["reason"], "inspection");
    assert_eq!(up.json(0, &["task", "get", task["task_id"].as_str().unwrap()])["status"], "waiting");
    // Another scope is not in force.
    assert_eq!(up.synod(&["fleet", "resume"]).output().unwrap().status.code(), Some(4));
    assert_eq!(up.json(0, &["fleet", "resume", "--capability", "upper"])["pauses"], json!([]));
    let done =
        up.json(0, &["task", "submit", "--capability", "upper", "--input", "\"more\"", "--wait=30000"]);
    assert_eq!(done["output"], "MORE");
    until("both are done", || {
        up.json(0, &["agent", "statistics", "upper"])["attempts"]["completed"] == 2
            && up.json(0, &["fleet", "statistics"])["attempts"]["completed"] == 2
    });

    let listed = |more: &[&str]| up.json(0, &[&["agent", "list"], more].concat()).as_array().unwrap().len();
    assert_eq!(listed(&["--capability", "upper", "--sort", "load", "--descending"]), 1);
    assert_eq!(listed(&["--capability", "lower"]), 0);
    let said =
        up.json(0, &["agent", "report-error", "upper", "--recovery", "resume", "--resume-after-ms", "50"]);
    assert_eq!(said["agent_id"], "upper");
    until("it is back", || up.json(0, &["agent", "get", "upper"])["status"] == "idle");
    let status = up.synod(&["status"]).output().unwrap();
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("DUTY") && text.contains("presence"), "{text}");
}

/// What has failed is explained, and tried afresh once, however often that is asked for.
#[test]
fn what_failed_is_explained_and_redriven() {
    let up = Up::start();
    let agent = agent(&up, "picky", "picky", "grep -q good && echo '\"fine\"'");
    let submit =
        ["task", "submit", "--capability", "picky", "--id", "bad", "--max-attempts", "1", "--strategy"];
    let failed = up.json(1, &[&submit[..], &["random", "--wait=30000", "--input", "\"bad\""]].concat());
    assert_eq!(failed["status"], "dead_lettered", "{failed}");
    let told = up.synod(&["task", "explain", "bad"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.starts_with("task bad is dead_lettered\nattempt 1: agent picky, by random out of 1 with room"),
        "{told}"
    );

    for _ in 0..2 {
        let again = up.json(0, &["task", "redrive", "bad"]);
        assert_eq!(
            (&again["task_id"], &again["labels"]["synod.redriven_from"]),
            (&json!("bad-redriven"), &json!("bad"))
        );
    }
    let over = up.json(1, &["task", "get", "bad-redriven", "--wait=30000"]);
    assert_eq!(
        (&over["status"], over["attempts"].as_array().unwrap().len()),
        (&json!("dead_lettered"), 1),
        "{over}"
    );
    up.json(
        0,
        &["task", "submit", "--capability", "picky", "--id", "good", "--wait=30000", "--input", "\"good\""],
    );
    up.json(4, &["task", "redrive", "good"]);
    up.json(3, &["task", "redrive", "nobody"]);
    drop(agent);
}
