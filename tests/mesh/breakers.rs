//! Circuit breakers: who fails is left alone, tried, and used again; and what operators order.

use serde_json::{Value, json};
use std::time::Duration;
use synod_infra::redis::breakers::KeptBreakers;
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::Workspace;
use synod_tests::{Agent, Assignment, Client, Ground, Manner, Mesh, eventually, fresh};

/// Longer than an open breaker waits.
const LIMIT: Duration = Duration::from_secs(30);

async fn submit(client: &Client, capability: &str) -> String {
    let id = fresh("task");
    let task = json!({"task_id": id, "capability": capability, "input": 1, "retry": {"max_attempts": 1}});
    client.post("/v1/tasks", &task).await.is(201);
    id
}

async fn fail(client: &Client, given: &Assignment, code: &str) {
    let value = json!({"task_id": given.task_id, "attempt": given.attempt, "attempt_token": given.token,
        "error": {"code": code, "message": "it broke", "retryable": true}});
    client.command(&fresh("ce"), "synod.task.fail", &value).await.is(200);
}

/// So many tasks, one after the other, that end with this error.
async fn failures(client: &Client, agent: &Agent, times: usize, code: &str) {
    for _ in 0..times {
        submit(client, &agent.capability).await;
        fail(client, &agent.given().await, code).await;
    }
}

async fn breaker(client: &Client, agent: &Agent) -> Value {
    client.get(&format!("/v1/agents/{}", agent.id)).await.body["breaker"].clone()
}

async fn told(client: &Client, agent: &Agent, ty: &str, capability: bool) -> Value {
    eventually(ty, LIMIT, || async {
        let events = client.events(&agent.id).await;
        let found = events
            .into_iter()
            .find(|event| event.envelope.ty == ty && event.value["capability"].is_string() == capability)?;
        assert_eq!(found.envelope.position, None, "no record stands behind it");
        Some(found.value)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_is_left_alone_then_tried_and_then_used_again() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    failures(&client, &agent, 10, "internal").await;
    let opened = told(&client, &agent, "synod.breaker.opened", false).await;
    let (status, rate, attempts) = (&opened["status"], &opened["failure_rate"], &opened["attempts"]);
    assert_eq!((status, rate, attempts), (&json!("open"), &json!(100.0), &json!(10)), "{opened}");
    told(&client, &agent, "synod.breaker.opened", true).await;
    assert_eq!(breaker(&client, &agent).await, "open");
    let statistics = client.get(&format!("/v1/agents/{}/statistics", agent.id)).await;
    assert_eq!(statistics.body["breaker"], "open", "{statistics:?}");

    // The next five wait, then are its trial.
    let mut trial = Vec::new();
    for _ in 0..6 {
        trial.push(submit(&client, &agent.capability).await);
    }
    let waits = client.get(&format!("/v1/tasks/{}", trial[0])).await.body;
    assert_eq!((&waits["status"], &waits["attempts"]), (&json!("waiting"), &json!([])), "{waits}");
    for n in 0..5 {
        let given = agent.given().await;
        if n == 0 {
            told(&client, &agent, "synod.breaker.half_opened", false).await;
            assert_eq!(breaker(&client, &agent).await, "half_open");
        }
        client.command(&fresh("ce"), "synod.task.complete", &given.result(&json!("good"))).await.is(200);
    }
    told(&client, &agent, "synod.breaker.closed", false).await;
    let last = agent.given().await;
    client.command(&fresh("ce"), "synod.task.complete", &last.result(&json!("good"))).await.is(200);
    assert_eq!(breaker(&client, &agent).await, "closed");
}

/// What breakers have seen is kept for the next coordinator.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_back_leaves_alone_who_failed_before() {
    let (services, _turn) = super::outages::services().await;
    // It stays open for longer than any restart takes.
    let set = [("SYNOD_BREAKER", "wait=300s")];
    let mesh = Mesh::coordinator_set(&services.kafka, &services.redis, &set);
    mesh.ready(LIMIT).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    failures(&client, &agent, 10, "internal").await;
    eventually("it opens", LIMIT, || async { (breaker(&client, &agent).await == "open").then_some(()) })
        .await;
    let store = KeptBreakers::new(Redis::new(RedisConfig::new(&services.redis)).expect("a handle"));
    let name = (Workspace::default_name(), agent.id.parse().expect("an id"));
    eventually("it is kept", LIMIT, || async {
        let kept = store.load(std::slice::from_ref(&name)).await.ok()?.pop()??;
        kept.0.contains("\"state\":\"open\"").then_some(())
    })
    .await;
    mesh.kill();
    mesh.start_again();
    mesh.ready(LIMIT).await;
    eventually("it is left alone again", LIMIT, || async {
        (breaker(&client, &agent).await == "open").then_some(())
    })
    .await;
    let waits = submit(&client, &agent.capability).await;
    assert_eq!(client.get(&format!("/v1/tasks/{waits}")).await.body["status"], "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_did_wrong_opens_nothing() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    failures(&client, &agent, 12, "invalid_argument").await;
    let shown = client.get(&format!("/v1/agents/{}", agent.id)).await.body;
    assert_eq!((&shown["breaker"], &shown["breakers"]), (&json!("closed"), &Value::Null), "{shown}");
    // The tenth failure of its own is the first that can open it.
    failures(&client, &agent, 9, "internal").await;
    assert_eq!(breaker(&client, &agent).await, "closed");
    failures(&client, &agent, 1, "internal").await;
    eventually("it opens", LIMIT, || async { (breaker(&client, &agent).await == "open").then_some(()) })
        .await;
}

/// A breaker that an operator has forced stays so, for every coordinator and over a new process start.
#[tokio::test(flavor = "multi_thread")]
async fn operators_force_and_reset() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    let path = format!("/v1/agents/{}/breaker", agent.id);
    let order = async |body: Value| client.post(&path, &body).await;

    let forced = order(json!({"order": "force_open", "reason": "a bad release"})).await;
    assert_eq!((forced.status, &forced.body["breaker"]), (200, &json!("open")), "{forced:?}");
    assert_eq!(forced.body["breakers"][0]["status"], "forced_open", "{forced:?}");
    let told_so = told(&client, &agent, "synod.breaker.opened", false).await;
    assert_eq!(told_so["status"], "forced_open");
    let waits = submit(&client, &agent.capability).await;
    assert_eq!(client.get(&format!("/v1/tasks/{waits}")).await.body["status"], "waiting");

    let released = order(json!({"order": "reset"})).await;
    assert_eq!((released.status, &released.body["breaker"]), (200, &json!("closed")), "{released:?}");
    assert_eq!(agent.given().await.task_id, waits);

    // For one capability alone.
    let forced = order(json!({"order": "force_closed", "capability": agent.capability})).await;
    assert_eq!((forced.status, &forced.body["breaker"]), (200, &json!("closed")), "{forced:?}");
    failures(&client, &agent, 10, "internal").await;
    let shown = eventually("its other breaker opens", LIMIT, || async {
        let shown = client.get(&format!("/v1/agents/{}", agent.id)).await.body;
        (shown["breaker"] == "open").then_some(shown)
    })
    .await;
    assert_eq!(shown["breakers"][1]["status"], "forced_closed", "{shown}");

    order(json!({"order": "open_wide"})).await.is_problem(400, "invalid_argument");
    order(json!({"order": "reset", "capability": "another"})).await.is_problem(422, "unprocessable");
    let nobody = format!("/v1/agents/{}/breaker", fresh("nobody"));
    client.post(&nobody, &json!({"order": "reset"})).await.is_problem(404, "not_found");
}
