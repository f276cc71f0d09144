//! Negotiations over HTTP, on real brokers too, and over the death of who keeps them.

use serde_json::{Value, json};
use std::time::Duration;
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};

/// How long anything may take, the machine being what it is.
const LIMIT: Duration = Duration::from_secs(30);

/// A vote among a, b and c.
fn vote(id: &str, more: &Value) -> Value {
    let mut body = json!({"negotiation_id": id, "protocol": "vote", "participants": ["a", "b", "c"],
        "rules": {"candidates": ["x", "y"], "method": "plurality"}, "round_ms": 600_000});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    body
}

/// Asks again while the shard is between two owners: under one idempotency key it is one answer.
async fn says(client: &Client, id: &str, who: &str, what: &str) -> Answer {
    let key = fresh("answer");
    let path = format!("/v1/negotiations/{id}/responses");
    eventually("an answer", LIMIT, || async {
        let request = client.request("POST", &path).header("idempotency-key", &key);
        let answer = client.send(request.json(&json!({"participant": who, "response": what}))).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

async fn told(client: &Client, id: &str) -> Value {
    eventually("it is shown", LIMIT, || async {
        let answer = client.get(&format!("/v1/negotiations/{id}")).await;
        (answer.status != 503).then(|| answer.is(200).body.clone())
    })
    .await
}

async fn lives(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let id = fresh("negotiation");
    let made = client.post("/v1/negotiations", &vote(&id, &json!({}))).await;
    assert_eq!(made.is(201).body["status"], "open");
    client.post("/v1/negotiations", &vote(&id, &json!({}))).await.is(200);
    let other = client.post("/v1/negotiations", &vote(&id, &json!({"round_ms": 700_000}))).await;
    other.is_problem(409, "already_exists");
    says(&client, &id, "z", "x").await.is_problem(403, "permission_denied");
    assert_eq!(
        says(&client, &id, "a", "tofu").await.is_problem(400, "invalid_argument").body["field"],
        "/response"
    );
    assert_eq!(says(&client, &id, "a", "x").await.is(200).body["awaited"], 2);
    let path = format!("/v1/negotiations/{id}/responses");
    let both = json!({"participant": "b", "response": "x", "abstain": true});
    client.post(&path, &both).await.is_problem(400, "invalid_argument");
    let elsewhere = json!({"negotiation_id": "other", "participant": "b", "response": "x"});
    assert_eq!(
        client.post(&path, &elsewhere).await.is_problem(400, "invalid_argument").body["field"],
        "/negotiation_id"
    );
    assert_eq!(says(&client, &id, "b", "x").await.is(200).body["status"], "decided");
    says(&client, &id, "c", "y").await.is_problem(409, "invalid_transition");
    let shown = told(&client, &id).await;
    assert_eq!(
        (&shown["outcome"]["decided"], &shown["rounds"][0]["closed_by"]),
        (&json!("x"), &json!("settled"))
    );
    client
        .post(&format!("/v1/negotiations/{id}/cancel"), &json!({}))
        .await
        .is_problem(409, "invalid_transition");
    let listed = client.get("/v1/negotiations?status=decided&limit=1000").await;
    let listed = listed.is(200).body["items"].as_array().expect("items").clone();
    assert!(listed.iter().any(|it| it["negotiation_id"] == *id), "{listed:?}");
    client.get("/v1/negotiations/nobody").await.is_problem(404, "not_found");
    let types = client.history(&id, "negotiation.decided").await;
    assert_eq!(types.last().map(String::as_str), Some("synod.negotiation.decided"), "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negotiation_lives_in_an_embedded_mesh() {
    lives(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negotiation_lives_on_real_brokers() {
    lives(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negotiation_outlives_its_coordinator() {
    let (services, _turn) = super::outages::services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(LIMIT).await;
    let client = Client::of(&mesh);
    let (id, waits) = (fresh("negotiation"), fresh("negotiation"));
    client.post("/v1/negotiations", &vote(&id, &json!({}))).await.is(201);
    client
        .post("/v1/negotiations", &vote(&waits, &json!({"round_ms": 2_000, "on_timeout": {"default": "d"}})))
        .await
        .is(201);
    says(&client, &id, "a", "y").await.is(200);
    mesh.kill();
    mesh.start_again();
    mesh.ready(LIMIT).await;
    assert_eq!(told(&client, &id).await["status"], "collecting", "the answer stands");
    says(&client, &id, "c", "y").await.is(200);
    let decided = told(&client, &id).await;
    assert_eq!(decided["outcome"]["decided"], "y");
    // Its round closes by itself, whoever has the shard.
    eventually("time is up", LIMIT, || async {
        (told(&client, &waits).await["status"] == "decided").then_some(())
    })
    .await;
    mesh.kill();
    mesh.start_again();
    mesh.ready(LIMIT).await;
    assert_eq!(told(&client, &id).await, decided, "decided once");
    says(&client, &id, "b", "x").await.is_problem(409, "invalid_transition");
}

/// What a decision starts besides a task, with its key and its event's type.
fn starting(key: &str) -> Value {
    let state = json!({"key": key, "tags": ["decided"]});
    let event = json!({"type": "tests.chosen", "data": {"why": "asked"}});
    json!({"then": {"state": state, "event": event}})
}

/// It is written once, and whoever drops repeats by `ce_id` sees its event once.
async fn has_started(client: &Client, id: &str, key: &str) {
    let entry = eventually("the write of shared state", LIMIT, || async {
        let answer = client.get(&format!("/v1/state/{key}")).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!((&entry["value"]["decided"], &entry["updated_by"]), (&json!("x"), &json!(id)), "{entry}");
    assert_eq!(entry["metadata"]["tags"], json!(["decided"]));
    let event = eventually("the event", LIMIT, || async {
        let mut events = client.events(id).await;
        events.retain(|event| event.envelope.ty == "tests.chosen");
        events.dedup_by(|a, b| a.envelope.id == b.envelope.id);
        assert!(events.len() <= 1, "{events:?}");
        events.pop()
    })
    .await;
    assert_eq!(event.value["outcome"], entry["value"]);
    assert_eq!((&event.value["negotiation_id"], &event.value["data"]["why"]), (&json!(id), &json!("asked")));
    assert!(event.envelope.position.is_some(), "{event:?}");
    let history = client.get(&format!("/v1/state/{key}/history")).await;
    let lines = history.is(200).body["items"].as_array().expect("items").len();
    assert_eq!(lines, 1, "written once: {history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_starts_a_write_and_an_event() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (id, key) = (fresh("negotiation"), fresh("key"));
    for (then, field) in [
        (json!({"event": {"type": "synod.task.completed"}}), "/then/event/type"),
        (json!({"state": {"key": "k", "ttl_ms": 0}}), "/then/state/ttl_ms"),
        (json!({"task": {"capability": "c", "winner": true}}), "/then/task"),
    ] {
        let refused = client.post("/v1/negotiations", &vote(&id, &json!({"then": then}))).await;
        assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], field, "{then}");
    }
    client.post("/v1/negotiations", &vote(&id, &starting(&key))).await.is(201);
    says(&client, &id, "a", "x").await.is(200);
    says(&client, &id, "b", "x").await.is(200);
    has_started(&client, &id, &key).await;
    assert_eq!(told(&client, &id).await["starts"]["state"]["key"], *key);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_decision_starts_outlives_its_coordinator() {
    let (services, _turn) = super::outages::services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(LIMIT).await;
    let client = Client::of(&mesh);
    let started: Vec<(String, String)> = (0..3).map(|_| (fresh("negotiation"), fresh("key"))).collect();
    for (id, key) in &started {
        let (id, key) = (id.clone(), key.clone());
        let opened = client.post("/v1/negotiations", &vote(&id, &starting(&key))).await;
        // Where a shard has just been taken the door may have asked twice: then it was there already.
        assert!(matches!(opened.status, 200 | 201), "{opened:?}");
        says(&client, &id, "a", "x").await.is(200);
        says(&client, &id, "b", "x").await.is(200);
        // It dies with whatever of the decision's effects is not performed, or not known to be.
        mesh.kill();
        mesh.start_again();
        mesh.ready(LIMIT).await;
        has_started(&client, &id, &key).await;
    }
    // By now whatever was owed has been performed again, and none of it twice.
    for (id, key) in &started {
        has_started(&client, id, key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_how_negotiations_went() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    // Nobody else counts in this workspace.
    let workspace = fresh("counted");
    let send = async |method: &str, path: &str, body: Value| {
        let request = client.request(method, path).header("synod-workspace", &workspace);
        client.send(if method == "GET" { request } else { request.json(&body) }).await
    };
    let before = send("GET", "/v1/statistics", Value::Null).await;
    assert_eq!(before.is(200).body["negotiations"], json!({}));
    for (more, answers) in [
        (json!({}), vec![json!({"response": "x"}), json!({"response": "x"})]),
        (json!({}), vec![json!({"response": "x"}), json!({"abstain": true}), json!({"response": "x"})]),
        (json!({"round_ms": 1_000, "on_timeout": {"default": 7}}), vec![]),
        (json!({"round_ms": 1_000, "on_timeout": "fail"}), vec![json!({"response": "x"})]),
    ] {
        let id = fresh("negotiation");
        send("POST", "/v1/negotiations", vote(&id, &more)).await.is(201);
        for (who, mut answer) in ["a", "b", "c"].iter().zip(answers) {
            answer["participant"] = json!(who);
            send("POST", &format!("/v1/negotiations/{id}/responses"), answer).await.is(200);
        }
        let path = format!("/v1/negotiations/{id}");
        eventually("it is over", LIMIT, || async {
            let shown = send("GET", &path, Value::Null).await;
            matches!(shown.body["status"].as_str(), Some("decided" | "failed")).then_some(())
        })
        .await;
    }
    let after = send("GET", "/v1/statistics", Value::Null).await;
    let votes = &after.is(200).body["negotiations"]["vote"];
    let figures =
        ["opened", "decided", "by_default", "failed", "cancelled", "rounds"].map(|name| &votes[name]);
    assert_eq!(figures, [4, 3, 1, 1, 0, 4].map(|n| json!(n)).each_ref(), "{votes}");
    assert_eq!((&votes["success_rate"], &votes["failure_rate"]), (&json!(0.75), &json!(0.25)));
    let took_part = json!({"asked": 12, "answered": 5, "abstained": 1, "silent": 6, "gone": 0});
    assert_eq!(votes["participation"], took_part);
    assert!(votes["deciding"]["p99_ms"].as_u64() >= Some(1_000), "one took its whole round: {votes}");
    let metrics = client.request("GET", "/metrics").send().await.expect("an answer");
    let text = metrics.text().await.expect("a text");
    assert!(text.contains("synod_negotiation_participants_total"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_decide_what_is_answered_already() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let votes = json!({"ballots": ["tea", "tea", "coffee"]});
    let counted = client.post("/v1/tools/aggregate_votes", &votes).await;
    assert_eq!(counted.is(200).body["decided"], "tea");
    let claims = json!({"claims": [{"source": "a", "value": 10.0}, {"source": "b", "value": 10.2},
        {"source": "c", "value": 99.0}, {"source": "d", "value": 10.1}]});
    let resolved = client.post("/v1/tools/resolve_conflict", &claims).await;
    assert_eq!(resolved.is(200).body["verdict"], "agreed", "{resolved:?}");
    let auction =
        json!({"protocol": "auction", "rules": {"pricing": "second_price"}, "answers": {"a": 5, "b": 8}});
    let sold = client.post("/v1/tools/coordinate", &auction).await;
    assert_eq!(
        (&sold.is(200).body["status"], &sold.body["outcome"]["winner"]),
        (&json!("decided"), &json!("b")),
        "{sold:?}"
    );
    client
        .post("/v1/tools/coordinate", &json!({"protocol": "nope", "answers": {}}))
        .await
        .is_problem(400, "invalid_argument");
    assert_eq!(client.get("/v1/tools").await.is(200).body["items"].as_array().map(Vec::len), Some(8));
}

/// Short bodies open negotiations like any other: decided at once where nobody is asked, and there once for a key.
#[tokio::test(flavor = "multi_thread")]
async fn short_bodies_open_negotiations() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let keyed = |body: &Value, key: &str| {
        client.request("POST", "/v1/tools/fuse_signals").header("idempotency-key", key).json(body)
    };
    let (signals, key) = (json!({"signals": {"a": 20, "b": {"value": 22}}}), fresh("fuse"));
    let made = client.send(keyed(&signals, &key)).await;
    assert_eq!(
        (made.is(201).body["status"].as_str(), &made.body["outcome"]["value"]),
        (Some("decided"), &json!(21.0))
    );
    let id = made.body["negotiation_id"].as_str().expect("an id").to_owned();
    assert_eq!(made.header("location"), format!("/v1/negotiations/{id}"));
    let again = client.send(keyed(&signals, &key)).await;
    assert_eq!(again.is(200).body, made.body);
    client.send(keyed(&json!({"signals": {"a": 1}}), &key)).await.is_problem(422, "unprocessable");
    // It is one, and has what others have.
    assert_eq!(told(&client, &id).await["protocol"], "fuse");
    client.get(&format!("/v1/negotiations/{id}/certificate")).await.is(200);

    let risk =
        client.post("/v1/tools/assess_risk?wait_ms=1000", &json!({"estimates": {"a": 0.1, "b": 0.2}})).await;
    assert_eq!(risk.is(200).body["outcome"]["level"], "low", "{risk:?}");
    let shares = json!({"capacity": 10, "demands": {"a": 2, "b": 20}});
    let shares = client.post("/v1/tools/divide_resources", &shares).await;
    assert_eq!(shares.is(201).body["outcome"]["users"][1]["amount"], 8, "{shares:?}");
    let agreed = json!({"ballots": {"a": "yes", "b": "yes", "c": "no"}, "threshold": 0.6});
    let agreed = client.post("/v1/tools/decide_by_consensus", &agreed).await;
    assert_eq!(agreed.is(201).body["outcome"]["decided"], "yes", "{agreed:?}");
}

/// Who is asked and is no agent answers by itself; who names the id may say the same again.
#[tokio::test(flavor = "multi_thread")]
async fn short_bodies_wait_for_who_is_asked() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let id = fresh("fire");
    let body = json!({"negotiation_id": id, "procedure": "fire", "roles": {"lead": ["a"]}, "acknowledge_ms": 60_000});
    let path = "/v1/tools/declare_emergency";
    assert_eq!(client.post(path, &body).await.is(201).body["status"], "open");
    assert_eq!(
        client.post(&format!("{path}?wait_ms=10"), &body).await.is(202).body["negotiation_id"],
        id.as_str()
    );
    let comes = json!({"participant": "a", "response": {"acknowledged": true}});
    client.post(&format!("/v1/negotiations/{id}/responses"), &comes).await.is(200);
    let over = client.post(&format!("{path}?wait_ms=20000"), &body).await;
    assert_eq!(over.is(200).body["outcome"]["acknowledged"][0]["participant"], "a", "{over:?}");
    for (tool, body, status, field) in [
        ("fuse_signals", json!({}), 400, "/ask"),
        ("fuse_signals", json!({"signals": {"a": {"value": 1, "variance": -1}}}), 400, "/signals/a/variance"),
        ("fuse_signals", json!({"signal": {"a": 1}}), 400, "/signal"),
        ("assess_risk", json!({"ask": {"capability": "nobody.can"}}), 422, "/ask/min"),
        (
            "divide_resources",
            json!({"resources": {"cpu": -1}, "demands": {"a": {"per_task": {}}}}),
            400,
            "/resources/cpu",
        ),
        ("decide_by_consensus", json!({"ballots": {"a": "maybe"}}), 400, "/ballots/a"),
        (
            "declare_emergency",
            json!({"procedure": "p", "roles": {"lead": ["a"]}, "role_steps": {"x": []}}),
            400,
            "/role_steps/x",
        ),
    ] {
        let refused = client.post(&format!("/v1/tools/{tool}"), &body).await;
        refused.is_problem(status, if status == 422 { "unprocessable" } else { "invalid_argument" });
        assert_eq!(refused.body["field"].as_str().unwrap_or_default(), field, "{tool}: {refused:?}");
    }
    client.post(&format!("{path}?wait_ms=60001"), &body).await.is_problem(400, "invalid_argument");
}
