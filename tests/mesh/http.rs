//! The HTTP contract in its details.

use serde_json::{Value, json};
use synod_tests::{Agent, Client, Ground, Manner, Mesh, fresh};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_made_once_and_found_at_its_location() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let capability = fresh("cap");
    let id = fresh("task");
    let asked = json!({"task_id": id, "capability": capability, "input": {"a": 1}});
    let made = client.post("/v1/tasks", &asked).await;
    made.is(201);
    assert_eq!(made.header("location"), format!("/v1/tasks/{id}"));
    assert_eq!((&made.body["task_id"], &made.body["status"]), (&json!(id), &json!("waiting")));
    let found = client.get(made.header("location")).await;
    found.is(200);
    assert_eq!(found.body["input"], json!({"a": 1}));

    // The same again is answered alike, another body under the same id is not.
    client.post("/v1/tasks", &asked).await.is(200);
    let other = json!({"task_id": id, "capability": capability, "input": {"a": 2}});
    client.post("/v1/tasks", &other).await.is_problem(409, "already_exists");
    // Values are compared, not texts; null is as absent.
    let same = json!({"input": {"a": 1}, "capability": capability, "task_id": id, "labels": null});
    client.post("/v1/tasks", &same).await.is(200);

    // An id is made where there is none.
    let made = client.post("/v1/tasks", &json!({"capability": capability, "input": 1})).await;
    made.is(201);
    assert!(made.body["task_id"].as_str().is_some_and(|id| id.starts_with("task_")), "{made:?}");

    // With a wait: 202 while it is not done.
    let waiting = client.post("/v1/tasks?wait_ms=200", &json!({"capability": capability, "input": 1})).await;
    waiting.is(202);
    assert!(waiting.header("location").starts_with("/v1/tasks/task_"), "{waiting:?}");
    client.get(&format!("{}?wait_ms=100", waiting.header("location"))).await.is(202);

    // Cancelled; a second time is no harm; then it has ended.
    client.post(&format!("/v1/tasks/{id}/cancel"), &json!({"reason": "enough"})).await.is(200);
    let cancelled = client.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")));
    client.get(&format!("/v1/tasks/{id}?wait_ms=5000")).await.is(200);
    client.post("/v1/tasks/nobody/cancel", &json!({})).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_one_task() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (key, capability) = (fresh("key"), fresh("cap"));
    let post = |key: &str, workspace: &str, input: Value| {
        let body = json!({"capability": capability, "input": input});
        let request = client.request("POST", "/v1/tasks").header("idempotency-key", key);
        client.send(request.header("synod-workspace", workspace).json(&body))
    };
    let first = post(&key, "default", json!(1)).await;
    first.is(201);
    let again = post(&key, "default", json!(1)).await;
    again.is(200);
    assert_eq!(first.body["task_id"], again.body["task_id"]);
    post(&key, "default", json!(2)).await.is_problem(422, "unprocessable");
    let elsewhere = post(&key, "other-place", json!(2)).await;
    elsewhere.is(201);
    assert_ne!(first.body["task_id"], elsewhere.body["task_id"]);
    // Names are isolated by workspace.
    let id = elsewhere.body["task_id"].as_str().expect("an id");
    client.get(&format!("/v1/tasks/{id}")).await.is_problem(404, "not_found");
    post("", "default", json!(1)).await.is_problem(400, "invalid_argument");
    post("k", "Not A Name", json!(1)).await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_command_by_command_in_order() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let event = |ce_id: &str, data: Value| json!({"specversion": "1.0", "id": ce_id, "source": "/t", "type": "synod.task.submit", "data": data});
    let tasks: Vec<String> = (0..20).map(|_| fresh("task")).collect();
    let mut batch: Vec<Value> = tasks
        .iter()
        .map(|id| {
            event(&format!("ce-{id}"), json!({"task_id": id, "capability": agent.capability, "input": id}))
        })
        .collect();
    batch.insert(3, event("ce-bad", json!({"task_id": "a b", "input": 1})));
    batch.insert(7, json!({"id": "ce-headless"}));
    batch.insert(
        11,
        json!({"specversion": "1.0", "id": "ce-late", "source": "/t", "type": "synod.task.complete",
        "data": {"task_id": "nobody", "attempt": 1, "attempt_token": "x", "output": 1}}),
    );
    let request =
        client.request("POST", "/v1/commands").header("content-type", "application/cloudevents-batch+json");
    let answer = client.send(request.body(Value::from(batch.clone()).to_string())).await;
    answer.is(200);
    let items = answer.body.as_array().expect("an array");
    assert_eq!(items.len(), batch.len());
    for (item, command) in items.iter().zip(&batch) {
        assert_eq!(item["ce_id"], command["id"], "in order");
        let bad = match command["id"].as_str() {
            Some("ce-bad" | "ce-headless") => Some((400, "invalid_argument")),
            Some("ce-late") => Some((404, "not_found")),
            _ => None,
        };
        match bad {
            Some((status, code)) => {
                assert_eq!(
                    (&item["status"], &item["error"]["code"]),
                    (&json!(status), &json!(code)),
                    "{item}"
                );
                assert!(item.get("entity").is_none(), "{item}");
            }
            None => {
                assert_eq!(
                    (&item["status"], &item["entity"]["task_id"]),
                    (&json!(200), &command["data"]["task_id"])
                );
                assert!(item.get("error").is_none(), "{item}");
            }
        }
    }
    for id in &tasks {
        assert_eq!(client.ended(id).await["output"], json!(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let capability = fresh("cap");
    let mut made: Vec<String> = (0..25).map(|_| fresh("task")).collect();
    for id in &made {
        client.post("/v1/tasks", &json!({"task_id": id, "capability": capability, "input": 1})).await.is(201);
    }
    made.sort();
    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer =
            client.get(&format!("/v1/tasks?capability={capability}&status=waiting&limit=10{cursor}")).await;
        answer.is(200);
        let items = answer.body["items"].as_array().expect("items").clone();
        listed.extend(items.iter().map(|t| t["task_id"].as_str().unwrap_or_default().to_owned()));
        pages += 1;
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(pages < 5, "the pages do not end");
    }
    assert_eq!((listed, pages), (made, 3));
    let none = client.get(&format!("/v1/tasks?capability={capability}&status=completed")).await;
    assert_eq!(none.body, json!({"items": [], "next_cursor": null}));
    client.get("/v1/tasks?cursor=a%20b").await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_ask_is_answered() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    client.get("/livez").await.is(200);
    client.get("/readyz").await.is(200);
    let status = client.get("/v1/status").await;
    status.is(200);
    assert_eq!(
        (status.body["shards"].as_array().map(Vec::len), &status.body["ready"]),
        (Some(8), &json!(true))
    );
    let description = client.get("/openapi.json").await;
    assert!(
        description.body["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")),
        "{:?}",
        description.status
    );
    let missing = without_target(&description.body, &description.body);
    assert_eq!(missing, Vec::<String>::new(), "what the description refers to is in it");
    let metrics = client.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics:?}");
}

/// References within `part` to what is not in the whole.
fn without_target(whole: &Value, part: &Value) -> Vec<String> {
    let of_reference = |to: &str| to.strip_prefix('#').is_none_or(|pointer| whole.pointer(pointer).is_none());
    match part {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("$ref", Some(to)) if of_reference(to) => vec![to.to_owned()],
                _ => without_target(whole, value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| without_target(whole, item)).collect(),
        _ => Vec::new(),
    }
}
