//! Why a task went where it went, and what it waits for.

use serde_json::{Value, json};
use std::time::Duration;
use synod_tests::{Agent, Client, Ground, Manner, Mesh, eventually, fresh};

async fn submit(client: &Client, capability: &str, more: &Value) -> String {
    let id = fresh("task");
    let mut task = json!({"task_id": id, "capability": capability, "input": 1});
    task.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    client.post("/v1/tasks", &task).await.is(201);
    id
}

async fn explanation(client: &Client, id: &str) -> Value {
    let answer = client.get(&format!("/v1/tasks/{id}/explanation")).await;
    answer.is(200);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_that_is_asked_for_tells_its_figures() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let figures = [
        ("least_connections", "in_flight"),
        ("round_robin", "assigned"),
        ("weighted_round_robin", "weight"),
        ("performance", "cost_us"),
        ("resources", "dominant_share"),
        ("random", "share"),
    ];
    for (rule, figure) in figures {
        let id = submit(&client, &agent.capability, &json!({"strategy": rule})).await;
        client.ended(&id).await;
        let told = explanation(&client, &id).await;
        let choice = &told["attempts"][0]["choice"];
        assert_eq!((&choice["rule"], &choice["candidates"]), (&json!(rule), &json!(1)), "{told}");
        assert!(choice["figures"][figure].is_number(), "{rule}: {told}");
        assert_eq!((&told["status"], &told["waiting"]), (&json!("completed"), &Value::Null), "{told}");
    }
    let unknown = json!({"capability": agent.capability, "strategy": "fastest"});
    let refused = client.post("/v1/tasks", &unknown).await;
    refused.is_problem(400, "invalid_argument");
    let detail = refused.body["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("there are least_connections, round_robin"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_waiting_task_waits_for_is_told() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let nobody = submit(&client, &fresh("cap"), &json!({})).await;
    let told = explanation(&client, &nobody).await["waiting"].clone();
    assert_eq!((&told["reason"], &told["agents"]["able"]), (&json!("agent"), &json!(0)), "{told}");

    let agent = Agent::with(&mesh, Manner::Silent, &fresh("cap"), 1).await;
    submit(&client, &agent.capability, &json!({})).await;
    let held = agent.given().await;
    let full = submit(&client, &agent.capability, &json!({})).await;
    let unfit = submit(&client, &agent.capability, &json!({"requires": {"labels": {"zone": "x"}}})).await;
    let count =
        async |id: &str, what: &str| explanation(&client, id).await["waiting"]["agents"][what].clone();
    assert_eq!(count(&full, "full").await, 1);
    client.command(&fresh("ce"), "synod.task.complete", &held.result(&json!(1))).await.is(200);
    assert_eq!(agent.given().await.task_id, full);
    let pause = format!("/v1/agents/{}/pause", agent.id);
    client.post(&pause, &json!({})).await.is(200);
    eventually("it is told", Duration::from_secs(10), || async {
        (count(&unfit, "unwell").await == 1).then_some(())
    })
    .await;
    client.get(&format!("/v1/tasks/{}/explanation", fresh("task"))).await.is_problem(404, "not_found");
}
