//! What no agent should send: registrations that cannot be, too many of them, clocks and loads that are wrong, another's id.

use super::life::{Beating, registration, start, until};
use serde_json::{Value, json};
use std::sync::Arc;
use synod_protocol::{Timestamp, topics};
use synod_tests::{Client, Ground, Mesh, fresh};

#[tokio::test(flavor = "multi_thread")]
async fn what_no_agent_can_be_is_refused_with_its_place() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let many: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
    let labels: serde_json::Map<String, Value> = (0..300).map(|n| (format!("l{n}"), json!("v"))).collect();
    for (more, field) in [
        (json!({"capabilities": many}), "/capabilities"),
        (json!({"capabilities": []}), "/capabilities"),
        (json!({"max_concurrency": 0}), "/max_concurrency"),
        (json!({"max_concurrency": 1_000_000_000}), "/max_concurrency"),
        (json!({"labels": labels}), "/labels"),
        (json!({"labels": {"l": "v".repeat(5_000)}}), "/labels"),
        (json!({"resources": {"gpu": -1}}), "/resources/gpu"),
        (json!({"workspace": "other"}), "/workspace"),
    ] {
        let body = registration(&fresh("agent"), &start(), &more);
        let refused = client.command(&fresh("ce"), "synod.agent.register", &body).await;
        assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_registers_all_the_time_is_slowed_down_and_nobody_else() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (id, incarnation) = (fresh("agent"), start());
    let mut batch = Vec::new();
    for n in 0..1_000 {
        let body = registration(&id, &incarnation, &json!({"max_concurrency": n % 9_999 + 1}));
        batch.push(json!({"specversion": "1.0", "id": fresh("ce"), "source": "/tests",
            "type": "synod.agent.register", "data": body}));
    }
    let request = client.request("POST", "/v1/commands");
    let request = request.header("content-type", "application/cloudevents-batch+json");
    let answer = client.send(request.body(Value::Array(batch).to_string())).await;
    answer.is(200);
    let answers = answer.body.as_array().unwrap();
    let with = |status: u64| answers.iter().filter(|a| a["status"] == status).count();
    assert_eq!(with(200) + with(201) + with(429), 1_000);
    assert!(with(429) > 0, "a thousand came at once");
    let refused = answers.iter().find(|a| a["status"] == 429).unwrap();
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["retry_after_ms"]),
        (&json!("overloaded"), &json!(1_000))
    );
    let other = registration(&fresh("agent"), &start(), &json!({}));
    client.command(&fresh("ce"), "synod.agent.register", &other).await.is(200);
    let written = client.all(topics::AGENTS).await;
    let written = written.iter().filter(|r| r.key.as_deref() == Some(id.as_bytes())).count();
    assert!(written <= with(200) + with(201), "{written} records of the directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_and_loads_that_cannot_be_change_nothing() {
    let mesh = Mesh::own(&[]).await;
    let client = Arc::new(Client::of(&mesh));
    let past = Beating::join(&client, "past", &json!({}), |e| e.time = Some(Timestamp::from_millis(0))).await;
    let future = Beating::join(&client, "future", &json!({}), |e| {
        e.time = Some(Timestamp::from_millis(4_102_444_800_000));
    })
    .await;
    // One that beats in another's workspace beats for nobody there.
    let body = registration("robbed", &start(), &json!({}));
    client.command(&fresh("ce"), "synod.agent.register", &body).await.is(200);
    let _claims =
        Beating::join(&client, "thief", &json!({}), |e| e.workspace = "other".parse().unwrap()).await;
    for id in ["robbed", "thief"] {
        until(&client, &format!("/v1/agents/{id}"), "it is lost", |agent| agent["health"] == "lost").await;
    }
    for agent in [&past, &future] {
        let told = client.get(&format!("/v1/agents/{}", agent.id)).await;
        assert_eq!(told.body["health"], "healthy", "{}", told.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_share_an_id_are_named() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let id = fresh("agent");
    let starts: Vec<String> = (0..4).map(|_| start()).collect();
    for incarnation in &starts {
        let body = registration(&id, incarnation, &json!({}));
        client.command(&fresh("ce"), "synod.agent.register", &body).await.is(200);
    }
    let told = client.get(&format!("/v1/agents/{id}")).await;
    let warning = told.body["warning"].as_str().expect("a warning");
    assert!(warning.contains(&starts[2]) && warning.contains(&starts[3]), "{warning}");
    assert_eq!(told.body["restarts"], 3);
    let body = registration(&id, &starts[0], &json!({}));
    client.command(&fresh("ce"), "synod.agent.register", &body).await.is_problem(409, "fenced");
}
