//! What should not come over HTTP: answered as a problem with its code, and in nobody's way.

use serde_json::{Value, json};
use synod_tests::{Agent, Client, Ground, Manner, Mesh, fresh};

async fn goes_on(client: &Client, capability: &str, what: &str) {
    let asked = json!({"capability": capability, "input": [what]});
    let answer = client.post("/v1/tasks?wait_ms=20000", &asked).await;
    assert_eq!((answer.status, &answer.body["output"]), (200, &json!([what])), "after {what}: {answer:?}");
}

async fn check_all(ground: Ground) {
    const INVALID: &str = "invalid_argument";
    let mesh = Mesh::shared(ground).await;
    let client = &Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let capability = agent.capability.as_str();
    let check = |what: &'static str,
                 status: u16,
                 code: &'static str,
                 path: &'static str,
                 media: &'static str,
                 body: Vec<u8>| async move {
        let answer = client.send(client.request("POST", path).header("content-type", media).body(body)).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{what}: {answer:?}");
        answer.is_problem(status, code);
        goes_on(client, capability, what).await;
        answer
    };
    let task = |change: &dyn Fn(&mut Value)| {
        let mut task = json!({"capability": capability, "input": 1});
        change(&mut task);
        task.to_string().into_bytes()
    };
    let event = |change: &dyn Fn(&mut Value)| {
        let data = json!({"task_id": fresh("task"), "capability": capability, "input": 1});
        let mut event = json!({"specversion": "1.0", "id": fresh("ce"), "source": "/t", "type": "synod.task.submit", "data": data});
        change(&mut event);
        event.to_string().into_bytes()
    };
    let deep = |before: &str| format!("{before}{}{}}}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes();
    let without =
        |event: &mut Value, name: &str| drop(event.as_object_mut().expect("an object").remove(name));
    let json = "application/json";
    let ce = "application/cloudevents+json";
    let (tasks, commands) = ("/v1/tasks", "/v1/commands");

    check("malformed JSON", 400, INVALID, tasks, json, b"{".to_vec()).await;
    check("an empty body", 400, INVALID, tasks, json, Vec::new()).await;
    let answer =
        check("an unknown field", 400, INVALID, tasks, json, task(&|t| t["colour"] = json!(1))).await;
    assert!(answer.body["detail"].as_str().unwrap_or_default().contains("colour"), "{answer:?}");
    let answer =
        check("a wrong type", 400, INVALID, tasks, json, task(&|t| t["priority"] = json!("high"))).await;
    assert_eq!(answer.body["field"], "/priority", "{answer:?}");
    check("out of range", 400, INVALID, tasks, json, task(&|t| t["priority"] = json!(10))).await;
    check("an id with spaces", 400, INVALID, tasks, json, task(&|t| t["task_id"] = json!("a b"))).await;
    check("both capability and agent", 400, INVALID, tasks, json, task(&|t| t["agent_id"] = json!("a")))
        .await;
    check("deep nesting", 400, INVALID, tasks, json, deep("{\"input\":")).await;
    check("an array for an object", 400, INVALID, "/v1/fleet/resume", json, b"[null, null]".to_vec()).await;
    check("a path that is no UTF-8", 400, INVALID, "/v1/tasks/%ff/cancel", json, Vec::new()).await;
    let large = task(&|t| t["input"] = json!("x".repeat(257 * 1024)));
    check("more than 256 KiB", 413, "payload_too_large", tasks, json, large).await;
    check("10 MB", 413, "payload_too_large", tasks, json, vec![b' '; 10_000_000]).await;
    check("a wait that is too long", 400, INVALID, "/v1/tasks?wait_ms=60001", json, task(&|_| ())).await;
    check("an unknown parameter", 400, INVALID, "/v1/tasks?wait=1", json, task(&|_| ())).await;
    check("a task as text", 415, INVALID, tasks, "text/plain", task(&|_| ())).await;

    check("a malformed event", 400, INVALID, commands, ce, b"{\"id\":".to_vec()).await;
    check("an unknown type", 400, INVALID, commands, ce, event(&|e| e["type"] = json!("synod.task.explode")))
        .await;
    check("a missing attribute", 400, INVALID, commands, ce, event(&|e| without(e, "source"))).await;
    check("no data", 400, INVALID, commands, ce, event(&|e| without(e, "data"))).await;
    check("null data", 400, INVALID, commands, ce, event(&|e| e["data"] = json!(null))).await;
    check("an unknown field in data", 400, INVALID, commands, ce, event(&|e| e["data"]["colour"] = json!(1)))
        .await;
    check(
        "an id with spaces in data",
        400,
        INVALID,
        commands,
        ce,
        event(&|e| e["data"]["task_id"] = json!("a b")),
    )
    .await;
    check("deep nesting in data", 400, INVALID, commands, ce, deep("{\"data\":")).await;
    check(
        "a reply to the ledger",
        400,
        INVALID,
        commands,
        ce,
        event(&|e| {
            e["synodreplyto"] = json!("kafka:synod.ledger.v1");
        }),
    )
    .await;
    check(
        "a huge list in bincode",
        400,
        INVALID,
        commands,
        ce,
        event(&|e| {
            e["datacontenttype"] = json!("application/x-bincode");
            without(e, "data");
            e["data_base64"] = json!("////////////////");
        }),
    )
    .await;
    check(
        "a time long past",
        400,
        INVALID,
        commands,
        ce,
        event(&|e| e["time"] = json!("2020-01-01T00:00:00Z")),
    )
    .await;
    check("a time that is none", 400, INVALID, commands, ce, event(&|e| e["time"] = json!("noon"))).await;
    check("an event as text", 415, INVALID, commands, "text/plain", event(&|_| ())).await;
    check(
        "a batch that is none",
        400,
        INVALID,
        commands,
        "application/cloudevents-batch+json",
        event(&|_| ()),
    )
    .await;
    check("an unknown route", 404, "not_found", "/v1/nothing", json, task(&|_| ())).await;

    client.get("/v1/tasks/nobody").await.is_problem(404, "not_found");
    client.get("/v1/agents/nobody").await.is_problem(404, "not_found");
    client.get("/v1/tasks/a%20b").await.is_problem(400, INVALID);
    client.get("/v1/tasks?limit=0").await.is_problem(400, INVALID);
    for (query, field) in [("limit=x", "limit"), ("status=sleeping", "status"), ("nothing=1", "nothing")] {
        let refused = client.get(&format!("/v1/tasks?{query}")).await;
        let told = refused.is_problem(400, INVALID);
        assert_eq!(told.body["field"], format!("/{field}"), "{told:?}");
        let begins = format!("the query string: {field}: ");
        assert!(told.body["detail"].as_str().is_some_and(|detail| detail.starts_with(&begins)), "{told:?}");
    }
    client.send(client.request("DELETE", "/v1/tasks")).await.is_problem(405, INVALID);
    client.send(client.request("PATCH", "/v1/commands")).await.is_problem(405, INVALID);
    goes_on(client, capability, "all of it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_problems_on_an_embedded_mesh() {
    check_all(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_problems_on_real_brokers() {
    check_all(Ground::Real).await;
}

/// A doubled or missing attribute in binary mode, where attributes are headers.
#[tokio::test(flavor = "multi_thread")]
async fn bad_headers_in_binary_mode_are_problems() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let good =
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/t"), ("ce-type", "synod.task.submit")];
    let check = |headers: Vec<(&'static str, &'static str)>| {
        let request = client.request("POST", "/v1/commands").header("content-type", "application/json");
        let request = headers.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let body = json!({"task_id": fresh("task"), "capability": "c", "input": 1}).to_string();
        client.send(request.body(body))
    };
    for (missing, _) in good {
        let rest = good.into_iter().filter(|(name, _)| *name != missing).collect();
        check(rest).await.is_problem(400, "invalid_argument");
    }
    check(good.into_iter().chain([("ce-type", "synod.task.cancel")]).collect())
        .await
        .is_problem(400, "invalid_argument");
    let elsewhere = ("synod-reply-to", "kafka:synod.ledger.v1");
    check(good.into_iter().chain([elsewhere]).collect()).await.is_problem(400, "invalid_argument");
}
