//! What becomes of attempts: results that count, that came too late, or never.

use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{Envelope, ReplyTo};
use synod_tests::{Agent, Assignment, Client, Ground, Manner, Mesh, eventually, fresh};

/// A task for this capability, with these further members.
fn task(id: &str, capability: &str, more: &Value) -> Value {
    let mut task = json!({"task_id": id, "capability": capability, "input": {"n": 1}});
    let members = more.as_object().expect("members").clone();
    task.as_object_mut().expect("an object").extend(members);
    task
}

async fn check_results(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    let complete = async |data: &Value| client.command(&fresh("ce"), "synod.task.complete", data).await;

    let unknown = json!({"task_id": fresh("task"), "attempt": 1, "attempt_token": "x", "output": 1});
    complete(&unknown).await.is_problem(404, "not_found");

    let id = fresh("task");
    let once = json!({"timeout_ms": 1_500, "retry": {"max_attempts": 3, "initial_backoff_ms": 10}});
    client.post("/v1/tasks", &task(&id, &agent.capability, &once)).await.is(201);
    let first = agent.given().await;
    assert_eq!((&first.task_id, first.attempt), (&id, 1));
    let mut forged = first.result(&json!("forged"));
    forged["attempt_token"] = json!("00000000000000000000000000000000");
    complete(&forged).await.is_problem(409, "fenced");

    // It times out and is given again: the first attempt's result comes too late.
    let second = agent.given().await;
    assert_eq!((&second.task_id, second.attempt), (&id, 2));
    assert_ne!(first.token, second.token);
    complete(&first.result(&json!("late"))).await.is_problem(409, "fenced");
    let done = complete(&second.result(&json!("in time"))).await;
    assert_eq!((done.status, &done.body["output"]), (200, &json!("in time")), "{done:?}");

    // The task has ended: no result is taken any more, and the first one stands.
    let again = complete(&second.result(&json!("again"))).await;
    again.is_problem(409, "invalid_transition");
    let ended = client.ended(&id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!("in time")), "{ended}");
    let history = client.history(&id, "task.completed").await;
    let finals = history.iter().filter(|ty| *ty == "synod.task.completed").count();
    assert_eq!(finals, 1, "{history:?}");
    // Tokens are secrets: they stand in no event.
    for event in client.events(&id).await {
        assert!(!event.value.to_string().contains(&second.token), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_result_of_the_attempt_in_force_counts_on_an_embedded_mesh() {
    check_results(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_result_of_the_attempt_in_force_counts_on_real_brokers() {
    check_results(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_that_nobody_has_waits_visibly_until_its_deadline() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (id, capability) = (fresh("task"), fresh("nobody-has"));
    let in_2_s = synod_protocol::Timestamp::from_millis(unix_ms() + 2_000).to_string();
    client.post("/v1/tasks", &task(&id, &capability, &json!({"deadline": in_2_s}))).await.is(201);
    let listed = client.get(&format!("/v1/tasks?capability={capability}&status=waiting")).await;
    assert_eq!(listed.body["items"][0]["task_id"], json!(id), "{listed:?}");
    let ended = client.ended(&id).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("deadline_exceeded")));
    assert!(ended["error"]["message"].as_str().is_some_and(|m| m.contains(&capability)), "{ended}");
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_answers_uses_up_the_attempts() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    let id = fresh("task");
    let short = json!({"timeout_ms": 300, "retry": {"max_attempts": 2, "initial_backoff_ms": 10}});
    client.post("/v1/tasks", &task(&id, &agent.capability, &short)).await.is(201);
    let ended = client.ended(&id).await;
    assert_eq!(
        (&ended["status"], ended["attempts"].as_array().map(Vec::len)),
        (&json!("dead_lettered"), Some(2))
    );
    let history = client.history(&id, "task.dead_lettered").await;
    let told: Vec<&str> = history.iter().map(|ty| ty.trim_start_matches("synod.task.")).collect();
    let want = [
        "submitted",
        "assigned",
        "attempt_failed",
        "retry_scheduled",
        "assigned",
        "attempt_failed",
        "dead_lettered",
    ];
    assert_eq!(told, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_uses_up_the_attempts() {
    let mesh = Mesh::shared(Ground::Real).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Fail).await;
    let id = fresh("task");
    let quick = json!({"retry": {"max_attempts": 3, "initial_backoff_ms": 10}});
    client.post("/v1/tasks", &task(&id, &agent.capability, &quick)).await.is(201);
    let ended = client.ended(&id).await;
    assert_eq!(
        (&ended["status"], ended["attempts"].as_array().map(Vec::len)),
        (&json!("dead_lettered"), Some(3))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_an_agent_that_dies_is_done_by_another() {
    let mesh = Mesh::shared(Ground::Real).await;
    let client = Client::of(&mesh);
    let dying = Agent::join(&mesh, Manner::Silent).await;
    let id = fresh("task");
    client.post("/v1/tasks", &task(&id, &dying.capability, &json!({}))).await.is(201);
    assert_eq!(dying.given().await.task_id, id);
    let _heir = Agent::with(&mesh, Manner::Echo, &dying.capability, 4).await;
    drop(dying);
    let ended = client.ended(&id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!({"n": 1})), "{ended}");
    assert_eq!(ended["attempts"][0]["outcome"], "lost", "{ended}");
    let history = client.history(&id, "task.completed").await;
    assert!(history.contains(&"synod.task.reassigned".to_owned()), "{history:?}");
}

/// What an agent is told about a task, as `(ce_type, attempt)`.
async fn told(client: &Client, agent: &Agent, id: &str, until: &str) -> Vec<(String, u64)> {
    eventually(&format!("the inbox says {until}"), Duration::from_secs(20), || async {
        let records = client.all(&format!("synod.inbox.{}", agent.id)).await;
        let mut said = Vec::new();
        for record in records.iter().filter(|r| r.key.as_deref() == Some(id.as_bytes())) {
            let value: Value = serde_json::from_slice(record.payload.as_deref()?).ok()?;
            said.push((record.envelope().ok()?.ty, value["attempt"].as_u64()?));
        }
        said.iter().any(|(ty, _)| ty == until).then_some(said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_cancelled_or_overdue_is_taken_back() {
    let mesh = Mesh::shared(Ground::Real).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    let (assigned, withdrawn) = ("synod.task.assigned".to_owned(), "synod.task.withdrawn".to_owned());

    let id = fresh("task");
    client.post("/v1/tasks", &task(&id, &agent.capability, &json!({}))).await.is(201);
    let given = agent.given().await;
    client.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await.is(200);
    let said = told(&client, &agent, &id, "synod.task.cancelled").await;
    assert_eq!(said, [(assigned.clone(), 1), ("synod.task.cancelled".to_owned(), 1)]);
    let late = client.command(&fresh("ce"), "synod.task.complete", &given.result(&json!(1))).await;
    late.is_problem(409, "invalid_transition");

    let id = fresh("task");
    let short = json!({"timeout_ms": 300, "retry": {"max_attempts": 1}});
    client.post("/v1/tasks", &task(&id, &agent.capability, &short)).await.is(201);
    assert_eq!(client.ended(&id).await["status"], "dead_lettered");
    assert_eq!(told(&client, &agent, &id, &withdrawn).await, [(assigned, 1), (withdrawn.clone(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_start_of_an_agent_ends_the_attempts_of_the_old_one() {
    let mesh = Mesh::shared(Ground::Real).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Silent).await;
    let id = fresh("task");
    client.post("/v1/tasks", &task(&id, &agent.capability, &json!({}))).await.is(201);
    let first = agent.given().await;
    let register = |incarnation: String| {
        json!({"agent_id": agent.id, "incarnation": incarnation, "capabilities": [agent.capability],
            "delivery": {"kafka": {"topic": format!("synod.inbox.{}", agent.id)}}})
    };
    let again = register(uuid::Uuid::new_v4().to_string());
    client.command(&fresh("ce"), "synod.agent.register", &again).await.is(200);
    let second = agent.given().await;
    assert_eq!((&second.task_id, second.attempt), (&id, 2));
    let complete = async |given: &Assignment| {
        client.command(&fresh("ce"), "synod.task.complete", &given.result(&json!("done"))).await
    };
    complete(&first).await.is_problem(409, "fenced");
    complete(&second).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_through_both_doors_is_done_once() {
    let mesh = Mesh::shared(Ground::Real).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let (id, ce_id, replies) = (fresh("task"), fresh("ce"), format!("synod.reply.{}", fresh("r")));
    let data = task(&id, &agent.capability, &json!({}));
    let envelope = Envelope {
        reply_to: Some(ReplyTo::Kafka(replies.clone())),
        ..Envelope::new(ce_id.as_str(), "/tests", "synod.task.submit")
    };
    let (over_http, _) = tokio::join!(
        client.command(&ce_id, "synod.task.submit", &data),
        client.append(Client::record(&id, &envelope, &data)),
    );
    assert_eq!((over_http.status, &over_http.body["task_id"]), (200, &json!(id)), "{over_http:?}");
    // It is answered through Kafka too, whichever came first; and a repeat, much later, is answered again.
    assert_eq!(client.reply(&replies, &ce_id).await.value["task_id"], json!(id));
    client.ended(&id).await;
    let otherwise = task(&id, "another-body", &json!({"priority": 1}));
    let again = client.command(&ce_id, "synod.task.submit", &otherwise).await;
    assert_eq!((again.status, &again.body["status"]), (200, &json!("completed")), "{again:?}");
    client.append(Client::record(&id, &envelope, &data)).await;
    let history = client.history(&id, "task.completed").await;
    let told: Vec<&str> = history.iter().map(|ty| ty.trim_start_matches("synod.task.")).collect();
    assert_eq!(told, ["submitted", "assigned", "completed"]);
}
