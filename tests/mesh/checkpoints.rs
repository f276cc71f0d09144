//! An agent's own context on a whole mesh: what is published of it, what operators read, and what the next process start
//! begins with. (That a process is killed in between: `agent-sdk/examples/checkpoints.rs`.)

use agent_sdk::testing::TestMesh;
use agent_sdk::{
    Agent, AgentBuilder, Checkpoint, CheckpointCause, CheckpointError, CheckpointPolicy, Context,
    RunningAgent, TaskError, task,
};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Readers};
use synod_tests::{eventually, plain};

const SOON: Duration = Duration::from_secs(20);

async fn mesh() -> TestMesh {
    let binary = synod_tests::synod();
    TestMesh::start_binary(&binary, &[]).await.expect("a mesh")
}

/// What the agent's own code knows.
type Known = Arc<Mutex<Value>>;

fn known(value: Value) -> Known {
    Arc::new(Mutex::new(value))
}

fn of(known: &Known) -> Value {
    known.lock().expect("unpoisoned").clone()
}

/// Fails where it is told to, and hands back what it was given.
async fn work(_: Context, input: Value) -> Result<Value, TaskError> {
    match input == "fail" {
        true => Err(TaskError::permanent("told_to", "as asked")),
        false => Ok(input),
    }
}

fn agent(id: &str, policy: CheckpointPolicy, known: &Known) -> AgentBuilder {
    let (saved, found) = (known.clone(), known.clone());
    Agent::builder(id)
        .capability("work", work)
        .checkpoint(policy, move || Checkpoint::json(&of(&saved)))
        .restore(move |last| match last.json::<Value>() {
            Ok(value) if value == "not taken" => Err("as asked".to_owned()),
            Ok(value) => {
                let skipped: Vec<u64> = last.skipped().iter().map(|skipped| skipped.version).collect();
                *found.lock().expect("unpoisoned") = json!({"found": value, "skipped": skipped});
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        })
}

async fn start(mesh: &TestMesh, builder: AgentBuilder) -> RunningAgent {
    let started = builder.build(mesh).expect("an agent").start();
    tokio::time::timeout(SOON, started).await.expect("in time").expect("it starts")
}

async fn get(mesh: &TestMesh, path: &str) -> (u16, Value) {
    let answer = plain().get(format!("{}{path}", mesh.config().http[0])).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn redis(mesh: &TestMesh, words: &[&str]) {
    let url = mesh.config().redis.as_ref().expect("Redis").endpoint();
    let (_, port) = url.rsplit_once(':').expect("a port");
    let done = Command::new("timeout")
        .args(["10", "redis-cli", "-p", port])
        .args(words)
        .output()
        .expect("redis-cli");
    assert!(done.status.success(), "{words:?}: {done:?}");
}

async fn causes(mesh: &TestMesh, id: &str) -> Vec<String> {
    let (_, list) = get(mesh, &format!("/v1/agents/{id}/context")).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["cause"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_context_that_is_whole_and_taken_is_where_the_next_begins() {
    let mesh = mesh().await;
    let mine = known(Value::Null);
    let first = start(&mesh, agent("a", CheckpointPolicy::by_hand(), &mine)).await;
    assert_eq!(of(&mine), Value::Null, "there was none");
    for n in 1..=5 {
        *mine.lock().expect("unpoisoned") = if n == 4 { json!("not taken") } else { json!({ "n": n }) };
        assert_eq!(first.save_checkpoint().await.expect("saved").version, n);
    }
    first.kill();
    // The fifth is damaged as a bad disk would, the fourth is refused by the agent's own code.
    redis(&mesh, &["SET", "synod:{default/a}:context:5", "{\"n\":6}"]);
    let next = start(&mesh, agent("a", CheckpointPolicy::by_hand(), &mine)).await;
    assert_eq!(of(&mine), json!({"found": {"n": 3}, "skipped": [5, 4]}));
    // Its own versions follow those that were there.
    assert_eq!(next.save_checkpoint().await.expect("saved").version, 6);

    let (status, list) = get(&mesh, "/v1/agents/a/context").await;
    let versions: Vec<u64> =
        list["items"].as_array().expect("items").iter().filter_map(|v| v["version"].as_u64()).collect();
    assert_eq!((status, versions), (200, vec![6, 5, 4, 3, 2, 1]));
    let (_, whole) = get(&mesh, "/v1/agents/a/context?version=3").await;
    assert_eq!(
        (&whole["data"], &whole["damaged"], &whole["form"]),
        (&json!({"n": 3}), &json!(false), &json!("json"))
    );
    let (_, damaged) = get(&mesh, "/v1/agents/a/context?version=5").await;
    assert_eq!((&damaged["damaged"], damaged.get("data")), (&json!(true), None));
    assert_eq!(damaged["data_base64"], "eyJuIjo2fQ==");
    assert_eq!(get(&mesh, "/v1/agents/a/context?version=7").await.0, 404);
    assert_eq!(get(&mesh, "/v1/agents/nobody/context").await.0, 404);
    next.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_saved_after_tasks_and_errors_on_the_interval_and_at_the_end() {
    let mesh = mesh().await;
    let mine = known(json!(1));
    let running = start(&mesh, agent("tasks", CheckpointPolicy::default(), &mine)).await;
    mesh.client().call::<Value>(task("work").input(7), SOON).await.expect("done");
    eventually("it is saved after a task", SOON, async || {
        (causes(&mesh, "tasks").await == ["task"]).then_some(())
    })
    .await;
    mesh.client().call::<Value>(task("work").input("fail"), SOON).await.expect_err("it fails");
    eventually("and after an error", SOON, async || {
        (causes(&mesh, "tasks").await == ["error", "task"]).then_some(())
    })
    .await;
    running.stop().await.expect("it ends");
    assert_eq!(causes(&mesh, "tasks").await, ["leaving", "error", "task"]);

    let often = CheckpointPolicy { keep: 2, ..CheckpointPolicy::by_hand().every(Duration::from_millis(100)) };
    let running = start(&mesh, agent("often", often, &mine)).await;
    eventually("the first ones have gone", SOON, async || {
        let (_, list) = get(&mesh, "/v1/agents/often/context").await;
        let items = list["items"].as_array().expect("items").clone();
        assert!(items.len() <= 2, "{items:?}");
        items
            .first()
            .is_some_and(|v| v["version"].as_u64() > Some(3) && v["cause"] == "interval")
            .then_some(())
    })
    .await;
    running.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_published_without_a_place_in_the_ledger() {
    let mesh = mesh().await;
    let mine = known(json!({"a": "b"}));
    let running = start(&mesh, agent("told", CheckpointPolicy::by_hand(), &mine)).await;
    let saved = running.save_checkpoint().await.expect("saved");
    let brokers = &mesh.config().kafka.as_ref().expect("Kafka").brokers;
    let readers = Readers::new(&KafkaConfig::embedded(brokers, "checkpoints")).expect("readers");
    let shard = synod_protocol::topics::partition(b"told", 8) as i32;
    let (envelope, value) = eventually("it is published", SOON, async || {
        let mut found = None;
        let read = readers.read_to_end(synod_protocol::topics::EVENTS, shard, SOON, |record| {
            let envelope = record.envelope().expect("a CloudEvent");
            if envelope.ty == "synod.agent.context_updated" {
                let value: Value =
                    serde_json::from_slice(record.payload.as_deref().unwrap_or_default()).expect("JSON");
                found = Some((envelope, value));
            }
            std::ops::ControlFlow::Continue(())
        });
        read.await.expect("the events can be read");
        found
    })
    .await;
    assert_eq!((envelope.subject.as_deref(), envelope.position), (Some("told"), None));
    assert!(uuid::Uuid::parse_str(&envelope.id).is_ok_and(|id| id.get_version_num() == 7), "{}", envelope.id);
    let said = [&value["agent_id"], &value["version"], &value["bytes"], &value["cause"], &value["status"]];
    assert_eq!(said, [&json!("told"), &json!(saved.version), &json!(9), &json!("hand"), &json!("idle")]);
    assert_eq!(value["incarnation"], running.incarnation().to_string());
    running.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_process_start_cannot_overwrite_and_a_limit_is_one() {
    let mesh = mesh().await;
    let (old, new) = (known(json!("old")), known(json!("new")));
    let older = start(&mesh, agent("a", CheckpointPolicy::by_hand(), &old)).await;
    assert_eq!(older.save_checkpoint().await.expect("saved").version, 1);
    let small = CheckpointPolicy { max_bytes: 40, ..CheckpointPolicy::by_hand() };
    let newer = start(&mesh, agent("a", small, &new)).await;
    let fenced = older.save_checkpoint().await.expect_err("it is over");
    assert_eq!(fenced, CheckpointError::Fenced { by: newer.incarnation().clone() });
    assert_eq!(of(&new), json!({"found": "old", "skipped": []}));
    assert_eq!(newer.save_checkpoint().await.expect("saved").version, 2);
    *new.lock().expect("unpoisoned") = json!("x".repeat(39));
    let too_large = newer.save_checkpoint().await.expect_err("over the limit");
    assert_eq!(too_large, CheckpointError::TooLarge { bytes: 41, limit: 40 });
    assert_eq!(causes(&mesh, "a").await, [CheckpointCause::Hand.as_str(); 2], "nothing was added");
}
