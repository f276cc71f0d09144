//! `examples/foreign_agent.py` serves what plain `curl` and a plain Kafka client ask.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use synod_protocol::{Envelope, ReplyTo};
use synod_tests::{Client, Ground, Mesh, Process, eventually, fresh, root};

/// The Python with a Kafka client that `scripts/lib/needs.sh` makes; `SYNOD_PYTHON` names another.
pub(super) fn python() -> PathBuf {
    let made = || {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        cache.expect("a home").join("synod/venv/bin/python")
    };
    std::env::var_os("SYNOD_PYTHON").map_or_else(made, PathBuf::from)
}

/// What `curl -d BODY URL` prints, as JSON.
fn curl(content_type: &str, url: &str, body: &Value) -> Value {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "60", "-H", &format!("content-type: {content_type}"), "-d"])
        .arg(body.to_string())
        .arg(url)
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn check(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let (agent, capability) = (fresh("foreign"), fresh("upper"));
    let mut command = Command::new(python());
    command.arg(root().join("examples/foreign_agent.py"));
    command.args(["--brokers", &mesh.kafka, "--id", &agent, "--capability", &capability, "--tasks", "4"]);
    let mut program = Process::start(command, &[]);

    // By curl, as a task.
    let asked = json!({"capability": capability, "input": {"text": "grüß"}});
    let task = curl("application/json", &format!("{}/v1/tasks?wait_ms=30000", mesh.http), &asked);
    assert_eq!((&task["status"], &task["output"]["text"]), (&json!("completed"), &json!("GRÜSS")), "{task}");
    assert_eq!(task["attempts"][0]["agent_id"], json!(agent), "{task}");

    // By curl, as a CloudEvent in structured mode.
    let id = fresh("task");
    let data = json!({"task_id": id, "capability": capability, "input": {"text": "two"}});
    let event = json!({"specversion": "1.0", "id": fresh("ce"), "source": "/curl", "type": "synod.task.submit", "data": data});
    let taken = curl("application/cloudevents+json", &format!("{}/v1/commands", mesh.http), &event);
    assert_eq!(taken["task_id"], json!(id), "{taken}");
    assert_eq!(client.ended(&id).await["output"]["text"], "TWO");

    // Through Kafka, with a reply.
    let (id, ce_id, topic) = (fresh("task"), fresh("ce"), format!("synod.reply.{}", fresh("r")));
    let reply_to = Some(ReplyTo::Kafka(topic.clone()));
    let envelope = Envelope { reply_to, ..Envelope::new(ce_id.as_str(), "/tests", "synod.task.submit") };
    let data = json!({"task_id": id, "capability": capability, "input": {"text": "three"}});
    client.append(Client::record(&id, &envelope, &data)).await;
    let reply = client.reply(&topic, &ce_id).await;
    assert_eq!((reply.envelope.ty.as_str(), &reply.value["task_id"]), ("synod.reply", &json!(id)));
    assert_eq!(client.ended(&id).await["output"]["text"], "THREE");

    // What it cannot do it says once; the task is not tried again.
    let asked = json!({"capability": capability, "input": 7});
    let task = curl("application/json", &format!("{}/v1/tasks?wait_ms=30000", mesh.http), &asked);
    assert_eq!(
        (&task["status"], task["attempts"].as_array().map(Vec::len)),
        (&json!("failed"), Some(1)),
        "{task}"
    );

    let status = eventually("the program ends after its tasks", Duration::from_secs(20), || {
        std::future::ready(program.ended())
    })
    .await;
    assert!(status.success(), "{status}");
    let left = format!("/v1/agents/{agent}");
    eventually("it has said farewell", Duration::from_secs(20), || async {
        (client.get(&left).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_python_serves_an_embedded_mesh() {
    check(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_python_serves_a_mesh_on_real_brokers() {
    check(Ground::Real).await;
}
