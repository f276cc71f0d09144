//! Snapshots of the mesh: taken on demand, on an interval and at critical moments; listed, read, compared, removed.

use super::outages::services;
use agent_sdk::testing::TestMesh;
use serde_json::{Value, json};
use std::time::Duration;

use synod_tests::{Agent, Answer, Client, Ground, Manner, Mesh, eventually, fresh};

const SOON: Duration = Duration::from_secs(30);

async fn take(client: &Client, key: Option<&str>, workspace: &str, body: &Value) -> Answer {
    let mut request = client.request("POST", "/v1/snapshots").header("synod-workspace", workspace);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    client.send(request.json(body)).await
}

/// An agent that has no more life than its registration.
async fn register(client: &Client, id: &str, workspace: &str) -> String {
    let incarnation = uuid::Uuid::now_v7().to_string();
    let value = json!({"agent_id": id, "incarnation": incarnation, "capabilities": [fresh("cap")],
        "delivery": {"kafka": {"topic": format!("synod.inbox.{id}")}}});
    let event = json!({"specversion": "1.0", "id": fresh("register"), "source": "/tests",
        "type": "synod.agent.register", "synodworkspace": workspace, "data": value});
    let request = client.request("POST", "/v1/commands").body(event.to_string());
    client.send(request.header("content-type", "application/cloudevents+json")).await.is(200);
    incarnation
}

async fn read(client: &Client, id: &Value, workspace: &str, query: &str) -> Answer {
    let path = format!("/v1/snapshots/{}{query}", id.as_str().expect("an id"));
    asked(client, &path, workspace).await
}

/// Asks again where Redis is too slow to answer in time.
async fn asked(client: &Client, path: &str, workspace: &str) -> Answer {
    eventually("an answer", SOON, || async {
        let request = client.request("GET", path).header("synod-workspace", workspace);
        let answer = client.send(request).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// What a workspace sees, all pages of it.
async fn listed(client: &Client, workspace: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/snapshots?limit={limit}{cursor}");
        let page = asked(client, &path, workspace).await;
        let items = page.is(200).body["items"].as_array().expect("items").clone();
        assert!(items.len() <= limit);
        all.extend(items);
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn ids(snapshots: &[Value]) -> Vec<Value> {
    snapshots.iter().map(|snapshot| snapshot["snapshot_id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_taken_once_and_only_its_workspace_sees_it() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, mine) = (Client::of(&mesh), fresh("w"));
    let agents: Vec<String> = (0..5).map(|n| fresh(&format!("agent-{n}"))).collect();
    for id in &agents {
        register(&client, id, &mine).await;
    }
    let key = fresh("key");
    let first = take(&client, Some(&key), &mine, &json!({"label": "before"})).await;
    let id = first.is(201).body["snapshot_id"].clone();
    assert_eq!(first.header("location"), format!("/v1/snapshots/{}", id.as_str().expect("an id")));
    assert_eq!(first.body["agents"]["total"], 5, "{first:?}");
    assert_eq!(first.body["agents"]["by_status"], json!({"idle": 5}));
    assert_eq!((&first.body["cause"]["kind"], &first.body["label"]), (&json!("demand"), &json!("before")));
    let shards: Vec<u64> =
        first.body["shards"].as_array().expect("shards").iter().filter_map(|s| s["shard"].as_u64()).collect();
    assert_eq!(shards, (0..8).collect::<Vec<_>>());
    assert!(first.body.get("missing").is_none() && first.body["span_us"].is_u64(), "{first:?}");

    assert_eq!(take(&client, Some(&key), &mine, &json!({"label": "before"})).await.is(200).body, first.body);
    take(&client, Some(&key), &mine, &json!({"label": "else"})).await.is_problem(422, "unprocessable");
    let second = take(&client, None, &mine, &json!({})).await.is(201).body["snapshot_id"].clone();
    assert_eq!(ids(&listed(&client, &mine, 1).await)[..2], [second.clone(), id.clone()], "newest first");

    let whole = read(&client, &id, &mine, "").await;
    let mut sorted = agents.clone();
    sorted.sort();
    let shown: Vec<&str> = whole.is(200).body["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|a| a["agent_id"].as_str())
        .collect();
    assert_eq!(shown, sorted);
    let page = read(&client, &id, &mine, "?limit=2&cursor=4").await;
    assert_eq!(page.body["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(page.body["items"][0]["agent_id"], sorted[4].as_str());
    assert!(page.body.get("next_cursor").is_none());
    assert_eq!(read(&client, &id, &mine, "?limit=4").await.body["next_cursor"], "4");

    // Nobody else's business.
    read(&client, &id, "default", "").await.is_problem(404, "not_found");
    assert!(!ids(&listed(&client, "default", 100).await).contains(&id));

    let path = format!("/v1/snapshots/{}", id.as_str().expect("an id"));
    let delete = || client.request("DELETE", &path).header("synod-workspace", mine.as_str());
    assert_eq!(client.send(delete()).await.is(200).body, first.body);
    client.send(delete()).await.is_problem(404, "not_found");
    assert!(!ids(&listed(&client, &mine, 100).await).contains(&id));
    assert!(ids(&listed(&client, &mine, 100).await).contains(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_its_place() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let check = async |body: Value, field: Option<&str>| {
        let refused = take(&client, None, "default", &body).await;
        refused.is_problem(400, "invalid_argument");
        assert_eq!(refused.body["field"].as_str(), field, "{refused:?}");
    };
    check(json!({"label": "x".repeat(257)}), Some("/label")).await;
    check(json!({"label": ""}), Some("/label")).await;
    check(json!({"label": 7}), Some("/label")).await;
    check(json!([]), None).await;
    for path in
        ["/v1/snapshots?limit=0", "/v1/snapshots?limit=1001", "/v1/snapshots?cursor=x", "/v1/snapshots?of=x"]
    {
        client.get(path).await.is_problem(400, "invalid_argument");
    }
    for path in [
        "/v1/snapshots/part",
        "/v1/snapshots/snap_0",
        "/v1/snapshots/last",
        "/v1/snapshots/snap_0/compare/snap_1",
    ] {
        client.get(path).await.is_problem(404, "not_found");
    }
    client.get("/v1/snapshots/a%20b").await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_are_compared() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, mine) = (Client::of(&mesh), "default");
    let leaves = fresh("leaves");
    register(&client, &leaves, mine).await;
    let worker = Agent::join(&mesh, Manner::Echo).await;
    let a = take(&client, None, mine, &json!({})).await.body["snapshot_id"].clone();
    let task = json!({"task_id": fresh("task"), "capability": worker.capability, "input": 1});
    client.post("/v1/tasks?wait_ms=20000", &task).await.is(200);
    client.send(client.request("DELETE", &format!("/v1/agents/{leaves}"))).await.is(200);
    let comes = fresh("comes");
    register(&client, &comes, mine).await;
    client.post(&format!("/v1/agents/{}/pause", worker.id), &json!({})).await.is(200);
    let b = take(&client, None, mine, &json!({})).await.body["snapshot_id"].clone();
    let path = |a: &Value, b: &Value| {
        format!("/v1/snapshots/{}/compare/{}", a.as_str().expect("an id"), b.as_str().expect("an id"))
    };
    let found = client.get(&path(&a, &b)).await;
    let has = |list: &str, id: &str| {
        found.is(200).body[list].as_array().is_some_and(|ids| ids.iter().any(|known| known == id))
    };
    assert!(has("came", &comes) && has("left", &leaves), "{found:?}");
    let changed = found.body["changed"].as_array().expect("changed");
    let changed =
        changed.iter().find(|agent| agent["agent_id"] == worker.id.as_str()).expect("it has changed");
    assert_eq!(changed["status"], json!({"from": "idle", "to": "paused"}));
    assert_eq!(changed["statistics"]["completed"], json!({"from": 0, "to": 1, "by": 1}));
    assert!(found.body["tasks"]["completed"]["by"].as_i64().is_some_and(|by| by >= 1), "{found:?}");
    let itself = client.get(&path(&b, &b)).await;
    assert_eq!((&itself.body["changed_count"], &itself.body["came_count"]), (&json!(0), &json!(0)));
}

/// The first at once, all others of the next ten seconds in one.
#[tokio::test(flavor = "multi_thread")]
async fn agents_in_error_are_critical_moments_that_are_taken_together() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, mine) = (Client::of(&mesh), fresh("w"));
    let agents: Vec<String> = (0..4).map(|_| fresh("agent")).collect();
    let fail = async |id: &str| {
        let event = json!({"specversion": "1.0", "id": fresh("error"), "source": "/tests", "synodworkspace": mine,
            "type": "synod.agent.report_error", "data": {"agent_id": id, "reason": "tired"}});
        let request = client.request("POST", "/v1/commands").body(event.to_string());
        client.send(request.header("content-type", "application/cloudevents+json")).await.is(200);
    };
    let of_errors = async |times: u64| {
        eventually("the snapshots of the errors", SOON, async || {
            let mut all = listed(&client, &mine, 100).await;
            all.retain(|snapshot| snapshot["cause"]["kind"] == "agent_error");
            let noted: u64 = all.iter().filter_map(|snapshot| snapshot["cause"]["times"].as_u64()).sum();
            (noted == times).then_some(all)
        })
        .await
    };
    for id in &agents {
        register(&client, id, &mine).await;
    }
    fail(&agents[0]).await;
    let first = of_errors(1).await;
    assert_eq!(first[0]["agents"]["by_status"], json!({"error": 1, "idle": 3}));
    assert_eq!(first[0]["cause"]["detail"], format!("agent {} is in error", agents[0]));
    // Told again it is no news.
    for id in [&agents[1], &agents[1], &agents[2], &agents[3]] {
        fail(id).await;
    }
    let both = of_errors(4).await;
    assert_eq!(both.len(), 2, "three of them together: {both:?}");
    assert_eq!(both[0]["agents"]["by_status"], json!({"error": 4}));
    assert!(listed(&client, "default", 1_000).await.iter().all(|s| s["cause"]["kind"] != "agent_error"
        || s["cause"]["detail"].as_str().is_none_or(|d| agents.iter().all(|id| !d.contains(id)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_interval_a_few_are_kept_for_a_while() {
    let settings = ["--snapshot-every", "1s", "--snapshot-count", "2", "--snapshot-kept", "1h"];
    let binary = synod_tests::synod();
    let mesh = TestMesh::start_binary(&binary, &settings).await.expect("a mesh");
    let http = synod_tests::plain();
    let url = format!("{}/v1/snapshots", mesh.config().http[0]);
    let list = async || -> Vec<Value> {
        let page: Value = http.get(&url).send().await.expect("an answer").json().await.expect("JSON");
        page["items"].as_array().expect("items").clone()
    };
    let first = eventually("one by itself", SOON, async || list().await.pop()).await;
    assert_eq!((&first["cause"]["kind"], &first["mesh_wide"]), (&json!("interval"), &json!(true)));
    eventually("it has gone, two newer ones are there", SOON, async || {
        let all = list().await;
        assert!(all.len() <= 2, "{all:?}");
        (all.len() == 2 && !ids(&all).contains(&first["snapshot_id"])).then_some(())
    })
    .await;
}

/// A coordinator that is stopped cannot be asked, and that is said; when it is dead, its shards are taken over.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_is_named_and_a_take_over_is_a_critical_moment() {
    let (services, _turn) = services().await;
    let (stays, goes) = (
        Mesh::coordinator(&services.kafka, &services.redis),
        Mesh::coordinator(&services.kafka, &services.redis),
    );
    stays.ready(SOON).await;
    goes.ready(SOON).await;
    let client = Client::of(&stays);
    let gone = Client::of(&goes).get("/v1/status").await.body["coordinator"].clone();
    let whole = eventually("both are asked", SOON, async || {
        let taken = take(&client, None, "default", &json!({})).await;
        let parts = taken.is(201).body["parts"].as_array().map_or(0, Vec::len);
        (parts == 2 && taken.body.get("missing").is_none()).then_some(taken.body)
    })
    .await;
    let his = |snapshot: &Value| -> Vec<u64> {
        let shards = snapshot["shards"].as_array().expect("shards").iter();
        shards.filter(|shard| shard["owner"] == gone).filter_map(|shard| shard["shard"].as_u64()).collect()
    };
    assert!(!his(&whole).is_empty(), "{whole}");
    let agents: Vec<String> = (0..20).map(|_| fresh("agent")).collect();
    for id in &agents {
        register(&client, id, "default").await;
    }
    goes.signal("STOP");
    let partial = take(&client, None, "default", &json!({"label": "partial"})).await.is(201).body.clone();
    // A machine that is slow enough sees his shards taken over while he is asked: then none is missing.
    let none = Vec::new();
    let missing = partial["missing"].as_array().unwrap_or(&none);
    assert!(missing.iter().all(|m| m["why"].as_str().is_some_and(|why| !why.is_empty())), "{partial}");
    assert_eq!(missing.len() + partial["shards"].as_array().map_or(0, Vec::len), 8, "{partial}");
    let shown = read(&client, &partial["snapshot_id"], "default", "").await.body["items"].clone();
    let shown = shown.as_array().expect("items");
    for id in &agents {
        let agent = shown.iter().find(|agent| agent["agent_id"] == id.as_str()).expect("it is there");
        let shard = synod_protocol::topics::partition(id.as_bytes(), 8);
        let is_missing = missing.iter().any(|m| m["shard"] == shard);
        assert_eq!(agent.get("hearsay").is_some(), is_missing, "{agent}");
    }
    goes.kill();
    let gone = gone.as_str().expect("an id");
    // Those of an earlier mesh on these services may be there, too.
    let is_his = |snapshot: &Value| {
        let detail = snapshot["cause"]["detail"].as_str().unwrap_or_default();
        snapshot["cause"]["kind"] == "take_over" && detail.contains(gone)
    };
    let taken = eventually("the take-over is on record", SOON, async || {
        listed(&client, "default", 100).await.into_iter().find(is_his)
    })
    .await;
    assert_eq!(taken["mesh_wide"], true);
}
