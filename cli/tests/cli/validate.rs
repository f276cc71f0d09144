//! `synod validate` holds on a good mesh, leaves nothing behind, and says what is broken of a bad one.

use crate::binary::synod;
use crate::running::Up;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::Command;

fn rows(status: i32, command: &mut Command) -> Vec<Value> {
    let output = command.arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn with(rows: &[Value], result: &str) -> Vec<String> {
    let chosen = rows.iter().filter(|row| row["result"] == result);
    chosen
        .map(|row| format!("{}: {}", row["check"].as_str().unwrap(), row["why"].as_str().unwrap()))
        .collect()
}

/// Every promise holds on the mesh that this command line is told of.
pub(crate) fn holds(command: &mut Command) {
    let output = command.arg("--json").output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(with(&rows, "fail"), Vec::<String>::new());
}

#[test]
fn every_promise_holds_on_a_mesh_of_its_own() {
    let rows = rows(0, &mut synod(&["validate"]));
    assert_eq!(with(&rows, "fail"), Vec::<String>::new());
    // An embedded Kafka keeps no settings, and the coordinator is in the very process.
    assert_eq!(with(&rows, "not_applicable").len(), 2, "{:?}", with(&rows, "not_applicable"));
    assert!(with(&rows, "measured").len() >= 3, "figures are told: {:?}", with(&rows, "measured"));
    assert!(rows.len() > 20 && rows.iter().all(|row| row["duration_ms"].is_f64()));
}

#[test]
fn on_a_mesh_that_runs_it_leaves_nothing_behind() {
    let up = Up::start();
    // What other tests do meanwhile is no reason to judge a figure.
    let rows = rows(0, &mut up.synod(&["validate", "--figures", "told"]));
    assert_eq!(with(&rows, "fail"), Vec::<String>::new());
    assert_eq!(up.json(0, &["agent", "list"]), json!([]));
    for status in ["waiting", "assigned", "running", "retrying"] {
        assert_eq!(up.json(0, &["task", "list", "--status", status]), json!([]), "{status}");
    }
    // What was refused through Kafka is where an operator looks for it.
    let letters = up.json(0, &["dlq", "list"]);
    assert_eq!(letters[0]["type"], "synod.task.obey");
    let letter = up.json(0, &["dlq", "show", letters[0]["letter"].as_str().unwrap()]);
    assert!(letter["error"]["message"].as_str().unwrap().contains("synod.task.obey"), "{letter}");
    up.json(3, &["dlq", "show", "0:999"]);
}

#[test]
fn where_there_is_no_mesh_every_promise_is_broken() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (http, redis) = (format!("http://{free}"), format!("redis://{free}"));
    let mut command = synod(&["validate", "--http-url", &http, "--redis-url", &redis]);
    let rows = rows(1, command.args(["--kafka-brokers", &free.to_string()]));
    assert_eq!(with(&rows, "pass"), Vec::<String>::new());
    assert!(with(&rows, "fail")[0].contains(&http), "{rows:?}");
}
