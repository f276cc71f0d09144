//! The official CloudEvents SDK of another language says our commands and reads our events.

use super::foreign::python;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use synod_tests::{Client, Ground, Mesh, fresh, root};

async fn check(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let task = fresh("task");
    let mut command = Command::new(python());
    command.arg(root().join("tests/mesh/cloudevents_sdk.py")).args([&mesh.kafka, &mesh.http, &task]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs to its end");
    let output = output.expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let read: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let published = client.events(&task).await;
    let mut seen = BTreeSet::new();
    let expected: Vec<Value> = published
        .iter()
        // At least once: a repeat has the same id.
        .filter(|event| seen.insert(event.envelope.id.clone()))
        .map(|event| {
            json!({
                "id": event.envelope.id,
                "source": event.envelope.source,
                "type": event.envelope.ty,
                "subject": task,
                "time_ms": event.envelope.time.map(|time| time.as_millis()),
                "datacontenttype": "application/json",
                "key": task,
                "data": event.value,
            })
        })
        .collect();
    assert_eq!(read, expected);
    let types: Vec<&str> = read.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types, ["synod.task.submitted", "synod.task.cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloudevents_sdk_speaks_with_an_embedded_mesh() {
    check(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloudevents_sdk_speaks_with_a_mesh_on_real_brokers() {
    check(Ground::Real).await;
}
