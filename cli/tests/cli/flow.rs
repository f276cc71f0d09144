//! Workflows, their runs and people's decisions at a shell.

use crate::running::{Running, Up};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

const DEFINITION: &str = "id: shout
output: ${{ steps.loud.output }}
steps:
  - id: go
    approval: {title: Shout?, show: '${{ input }}', approvers: [ann]}
  - id: loud
    depends_on: [go]
    task: {capability: upper, input: '${{ input.text }}'}
";

#[test]
fn a_workflow_is_defined_run_decided_on_and_watched() {
    let up = Up::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let definition = file("shout.yaml", DEFINITION);
    let defined = up.json(0, &["workflow", "define", &definition]);
    assert_eq!((&defined["workflow_id"], &defined["version"]), (&json!("shout"), &json!(1)));
    assert_eq!(up.json(0, &["workflow", "define", &definition]), defined);
    let broken = file("broken.yaml", "id: x\nsteps:\n  - id: a\n    task: {capability: BAD}\n");
    let refused = up.synod(&["workflow", "define", &broken]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("4:24"), "{said}");
    let listed = up.json(0, &["workflow", "list"]);
    assert_eq!((&listed[0]["workflow_id"], listed.as_array().unwrap().len()), (&json!("shout"), 1));
    assert_eq!(up.json(0, &["workflow", "get", "shout"]), defined);
    assert_eq!(up.json(0, &["workflow", "get", "shout", "--definition"]), defined["definition"]);
    up.json(3, &["workflow", "get", "nobody"]);
    up.json(3, &["workflow", "run", "nobody"]);

    let mut worker =
        up.synod(&["agent", "run", "--id", "a", "--capability", "upper", "--", "tr", "a-z", "A-Z"]);
    let _worker = Running::start(worker.stdout(Stdio::null()).stderr(Stdio::null()));
    let input = file("input.json", "{\"text\": \"hello\"}");
    let run = ["workflow", "run", "shout", "--id", "e", "--label", "piece:one", "--input"];
    let started = up.json(0, &[&run[..], &[&format!("@{input}")]].concat());
    assert_eq!((&started["status"], &started["labels"]), (&json!("running"), &json!({"piece": "one"})));
    up.json(4, &[&run[..], &["2"]].concat());
    up.json(2, &[&run[..], &["not json"]].concat());
    up.json(1, &["execution", "get", "e", "--wait=100"]);
    let mut watch = Running::start(up.synod(&["execution", "watch", "e"]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(watch.child().stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("execution.started"));

    let waits = up.json(0, &["approval", "list", "--status", "pending", "--approver", "ann"]);
    let approval = waits[0]["approval_id"].as_str().unwrap();
    assert_eq!(waits[0]["show"], json!({"text": "hello"}));
    up.json(4, &["approval", "approve", approval, "--as", "mallory"]);
    let decided = up.json(0, &["approval", "approve", approval, "--as", "ann", "--comment", "why not"]);
    assert_eq!(
        (&decided["status"], &decided["decisions"][0]["comment"]),
        (&json!("approved"), &json!("why not"))
    );

    let ended = up.json(0, &["execution", "get", "e", "--wait"]);
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!("HELLO")));
    let told: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(
        told.iter().any(|line| line.contains("execution.step_started") && line.contains("step loud")),
        "{told:?}"
    );
    assert!(told.last().unwrap().contains("execution.completed"), "{told:?}");
    let steps = up.json(0, &["execution", "steps", "e"]);
    assert_eq!((&steps[0]["step"], &steps[1]["agent_id"]), (&json!("go"), &json!("a")));
    let listed = up.json(0, &["execution", "list", "--workflow", "shout", "--label", "piece:one"]);
    assert_eq!(listed[0]["step_counts"], json!({"completed": 2}));
    let table = up.synod(&["execution", "list", "--status", "completed"]).output().unwrap();
    assert!(String::from_utf8_lossy(&table.stdout).contains("2 completed"));
    up.json(4, &["execution", "cancel", "e"]);
}

#[test]
fn a_run_is_paused_signalled_and_cancelled() {
    let up = Up::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.json");
    std::fs::write(
        &path,
        json!({"id": "gate", "steps": [{"id": "gate", "wait": {"signal": "open"}}]}).to_string(),
    )
    .unwrap();
    up.json(0, &["workflow", "define", path.to_str().unwrap()]);
    up.json(0, &["workflow", "run", "gate", "--id", "a"]);
    up.json(0, &["workflow", "run", "gate", "--id", "b"]);
    let paused = up.json(0, &["execution", "pause", "a", "--reason", "lunch"]);
    assert_eq!((&paused["status"], &paused["paused_because"]), (&json!("paused"), &json!("lunch")));
    up.json(0, &["execution", "resume", "a"]);
    up.json(3, &["execution", "signal", "a", "nothing"]);
    up.json(0, &["execution", "signal", "a", "open", "--payload", "{\"by\": \"ann\"}"]);
    assert_eq!(up.json(0, &["execution", "get", "a", "--wait=30000"])["status"], "completed");
    assert_eq!(up.json(0, &["execution", "steps", "a"])[0]["output"], json!({"by": "ann"}));
    up.json(0, &["execution", "cancel", "b", "--reason", "enough"]);
    assert_eq!(up.json(1, &["execution", "get", "b", "--wait=30000"])["status"], "cancelled");
    up.json(3, &["execution", "retry", "nobody", "gate"]);
}

#[test]
fn people_are_asked_and_asked_once_more() {
    let up = Up::start();
    let ask = [
        "approval",
        "request",
        "--title",
        "Go?",
        "--approver",
        "ann",
        "--approver",
        "role:boss",
        "--need",
        "all",
    ];
    let asked = up.json(0, &[&ask[..], &["--id", "p", "--show", "{\"n\": 1}", "--label", "a:b"]].concat());
    assert_eq!(
        (&asked["status"], &asked["need"], &asked["show"]),
        (&json!("pending"), &json!("all"), &json!({"n": 1}))
    );
    up.json(2, &["approval", "request", "--title", "Go?"]);
    up.json(2, &[&ask[..9], &["some"]].concat());
    up.json(1, &["approval", "wait", "p", "100"]);
    assert_eq!(up.json(0, &["approval", "list", "--role", "boss"])[0]["approval_id"], "p");
    let shown = asked["shown"].as_str().unwrap();
    up.json(0, &["approval", "approve", "p", "--as", "ann", "--shown", shown]);
    up.json(4, &["approval", "approve", "p", "--as", "bob", "--role", "boss", "--shown", "other"]);
    let back = up
        .json(0, &["approval", "request-changes", "p", "--as", "bob", "--role", "boss", "--comment", "why?"]);
    assert_eq!(
        (&back["status"], &back["decisions"][1]["roles"]),
        (&json!("changes_requested"), &json!(["boss"]))
    );
    assert_eq!(up.json(1, &["approval", "wait", "p"])["status"], "changes_requested");
    let next = up.json(0, &["approval", "resubmit", "p", "--show", "{\"n\": 2}"]);
    let id = next["approval_id"].as_str().unwrap();
    assert_eq!((&next["revision"], &next["title"]), (&json!(2), &json!("Go?")));
    up.json(0, &["approval", "cancel", id, "--as", "ann"]);
    assert_eq!(up.json(1, &["approval", "get", id, "--wait"])["status"], "cancelled");

    let quick = ["approval", "request", "--title", "Go?", "--approver", "ann", "--wait"];
    let by_itself = up.json(0, &[&quick[..], &["--auto-approve-after-ms", "100"]].concat());
    assert_eq!(by_itself["status"], "approved");
    assert_eq!(up.json(1, &[&quick[..], &["--expires-after-ms", "100"]].concat())["status"], "timed_out");
    let approved = up.json(0, &["approval", "list", "--status", "approved"]);
    assert_eq!(approved.as_array().unwrap().len(), 1, "{approved}");
}
