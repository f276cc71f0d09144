//! Shared state over HTTP: names, conditions, conflicts, batches, pages, history, and what is refused.

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};

/// How long an answer may take, the machine being what it is.
const SOON: Duration = Duration::from_secs(30);

/// A client in a workspace of its own.
struct Room {
    _mesh: Arc<Mesh>,
    client: Client,
    workspace: String,
}

impl Room {
    async fn open() -> Room {
        let mesh = Mesh::shared(Ground::Embedded).await;
        Room { client: Client::of(&mesh), workspace: fresh("w"), _mesh: mesh }
    }

    /// Asks, and again while Redis did not answer in time and nothing was done: a busy machine is no finding.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let once = async || {
            let request = self.client.request(method, path).header("synod-workspace", &self.workspace);
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            self.client
                .send(match &body {
                    Some(body) => request.json(body),
                    None => request,
                })
                .await
        };
        eventually("an answer", SOON, || async {
            let answer = once().await;
            let may_repeat = method == "GET" || headers.iter().any(|(name, _)| *name == "idempotency-key");
            let again = answer.status == 503 && (may_repeat || answer.body["applied"] == "no");
            (!again).then_some(answer)
        })
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await
    }

    async fn put(&self, key: &str, body: Value) -> Answer {
        self.ask("PUT", &format!("/v1/state/{key}"), &[], Some(body)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_written_read_and_removed_under_its_version() {
    let room = Room::open().await;
    let by = [("synod-agent", "writer-1")];
    let body = json!({"value": null, "ttl_ms": 60_000, "metadata": {"content_type": "text/plain", "tags": ["t"], "x": "y"}});
    let made = room.ask("PUT", "/v1/state/a%2Fb%7D", &by, Some(body)).await;
    let (version, tag) =
        (made.is(201).body["version"].as_u64().expect("a version"), made.header("etag").to_owned());
    assert_eq!(tag, format!("\"{version}\""));
    assert_eq!(
        (&made.body["key"], &made.body["value"], &made.body["updated_by"]),
        (&json!("a/b}"), &Value::Null, &json!("writer-1"))
    );
    assert_eq!(made.body["metadata"], json!({"content_type": "text/plain", "tags": ["t"], "x": "y"}));
    let read = room.get("/v1/state/a%2Fb%7D").await;
    assert_eq!((&read.is(200).body, read.header("etag")), (&made.body, tag.as_str()));
    room.ask("GET", "/v1/state/a%2Fb%7D", &[("if-none-match", &tag)], None).await.is(304);
    // Nobody else's.
    room.client.get("/v1/state/a%2Fb%7D").await.is_problem(404, "not_found");

    let stale =
        room.ask("PUT", "/v1/state/a%2Fb%7D", &[("if-match", "\"1\"")], Some(json!({"value": 2}))).await;
    assert_eq!(stale.is_problem(412, "conflict").body["current_version"], version);
    room.ask("PUT", "/v1/state/a%2Fb%7D", &[("if-none-match", "*")], Some(json!({"value": 2})))
        .await
        .is_problem(412, "conflict");
    let absent = room.ask("PUT", "/v1/state/none", &[("if-match", "*")], Some(json!({"value": 2}))).await;
    assert_eq!(absent.is_problem(412, "conflict").body["current_version"], 0);
    let changed =
        room.ask("PUT", "/v1/state/a%2Fb%7D", &[("if-match", &tag)], Some(json!({"value": 2}))).await;
    assert_eq!(changed.is(200).body["updated_by"], "anonymous");
    assert!(changed.body.get("expires_at").is_none());

    room.ask("DELETE", "/v1/state/a%2Fb%7D", &[("if-match", &tag)], None).await.is_problem(412, "conflict");
    let gone = room.ask("DELETE", "/v1/state/a%2Fb%7D", &[], None).await;
    assert!(gone.is(200).body["version"].as_u64() > changed.body["version"].as_u64(), "{gone:?}");
    room.ask("DELETE", "/v1/state/a%2Fb%7D", &[], None).await.is_problem(404, "not_found");
    room.get("/v1/state/a%2Fb%7D").await.is_problem(404, "not_found");

    let history = room.get("/v1/state/a%2Fb%7D/history?limit=2").await;
    let ops: Vec<&Value> =
        history.is(200).body["items"].as_array().expect("items").iter().map(|i| &i["op"]).collect();
    assert_eq!(ops, ["delete", "put"]);
    let cursor = history.body["next_cursor"].as_str().expect("more");
    let rest = room.get(&format!("/v1/state/a%2Fb%7D/history?limit=2&cursor={cursor}")).await;
    assert_eq!(
        (rest.body["items"].as_array().map(Vec::len), &rest.body["next_cursor"]),
        (Some(1), &Value::Null)
    );
    let old = room.get(&format!("/v1/state/a%2Fb%7D?version={version}")).await;
    assert_eq!(old.is(200).body, made.body);
    room.get("/v1/state/a%2Fb%7D?version=7").await.is_problem(404, "not_found");
    let restore = |version: Value| {
        room.ask("POST", "/v1/state/a%2Fb%7D/restore", &[], Some(json!({ "version": version })))
    };
    let restored = restore(json!(version)).await;
    assert_eq!(
        (&restored.is(201).body["value"], &restored.body["metadata"]),
        (&Value::Null, &made.body["metadata"])
    );
    restore(json!(7)).await.is_problem(404, "not_found");
    restore(json!(-1)).await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_go_by_call_or_by_policy() {
    let room = Room::open().await;
    room.put("a", json!({"value": 1})).await.is(201);
    let late = room.put("a", json!({"value": 2, "strategy": "first_write_wins"})).await;
    assert_eq!((&late.is(200).body["applied"], &late.body["value"]), (&json!(false), &json!(1)));
    let won = room
        .ask(
            "PUT",
            "/v1/state/a",
            &[("if-match", "\"1\"")],
            Some(json!({"value": 3, "strategy": "last_write_wins"})),
        )
        .await;
    assert!(won.is(200).body.get("applied").is_none());
    let history = room.get("/v1/state/a/history").await.body["items"].clone();
    let told: Vec<Value> = history
        .as_array()
        .expect("items")
        .iter()
        .map(|i| json!([i["value"], i["outcome"], i["version"].is_null()]))
        .collect();
    assert_eq!(
        json!(told),
        json!([[3, "written", false], [1, "lost", true], [2, "lost", true], [1, "written", false]])
    );

    let policy = json!({"strategy": "merge", "rules": {"/n": "sum", "/seen": "union"}});
    let set = room.ask("PUT", "/v1/state-policies/jobs%2F", &[], Some(policy)).await;
    assert_eq!(
        set.is(200).body,
        json!({"prefix": "jobs/", "strategy": "merge", "rules": {"/n": "sum", "/seen": "union"}})
    );
    for n in 1..=3 {
        room.put("jobs%2Fx", json!({"value": {"n": n, "seen": [n % 2]}})).await;
    }
    assert_eq!(room.get("/v1/state/jobs%2Fx").await.body["value"], json!({"n": 6, "seen": [1, 0]}));
    let refused = room.put("jobs%2Fx", json!({"value": {"n": "many"}})).await;
    assert_eq!(refused.is_problem(422, "unprocessable").body["field"], "/rules/~1n");
    assert_eq!(room.get("/v1/state-policies").await.body["items"][0]["prefix"], "jobs/");
    assert_eq!(room.get("/v1/state-policies/jobs%2F").await.is(200).body["strategy"], "merge");
    room.ask("DELETE", "/v1/state-policies/jobs%2F", &[], None).await.is(204);
    room.ask("DELETE", "/v1/state-policies/jobs%2F", &[], None).await.is_problem(404, "not_found");
    room.ask(
        "PUT",
        "/v1/state-policies/jobs%2F",
        &[],
        Some(json!({"strategy": "reject", "rules": {"/n": "sum"}})),
    )
    .await
    .is_problem(400, "invalid_argument");
    room.ask("PUT", "/v1/state-policies/jobs%2F", &[], Some(json!({"strategy": "newest"})))
        .await
        .is_problem(400, "invalid_argument");
    let figures = room.get("/v1/state-statistics").await;
    assert_eq!(
        (&figures.is(200).body["total"]["keys"], &figures.body["prefixes"][1]["prefix"]),
        (&json!(2), &json!("jobs/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_all_or_nothing() {
    let room = Room::open().await;
    let batch = |operations: Value| {
        room.ask("POST", "/v1/state:batch", &[], Some(json!({ "operations": operations })))
    };
    let done = batch(json!([{"op": "put", "key": "{t}a", "value": null}, {"op": "get", "key": "{t}a"},
        {"op": "delete", "key": "{t}b"}, {"op": "put", "key": "{t}c", "value": 1, "if_version": 0}]))
    .await;
    let results = done.is(200).body["results"].as_array().expect("results");
    assert_eq!((&results[0], &results[2], &results[3]["value"]), (&results[1], &Value::Null, &json!(1)));
    let failed = batch(
        json!([{"op": "delete", "key": "{t}a"}, {"op": "put", "key": "{t}c", "value": 2, "if_version": 1}]),
    )
    .await;
    let problem = &failed.is_problem(412, "conflict").body;
    assert_eq!(
        (&problem["field"], &problem["current_version"]),
        (&json!("/operations/1"), &results[3]["version"])
    );
    room.get("/v1/state/%7Bt%7Da").await.is(200);
    let odd = batch(
        json!([{"op": "get", "key": "{t}a"}, {"op": "get", "key": "{u}a"}, {"op": "get", "key": "{v}a"}]),
    )
    .await;
    assert_eq!(odd.is_problem(400, "invalid_argument").body["field"], "/operations/1/key");
    batch(json!([])).await.is_problem(400, "invalid_argument");
    let many: Vec<Value> = (0..129).map(|n| json!({"op": "get", "key": format!("{{t}}{n}")})).collect();
    batch(json!(many)).await.is_problem(400, "invalid_argument");
    assert_eq!(batch(json!(&many[..128])).await.is(200).body["results"].as_array().map(Vec::len), Some(128));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_in_order_and_cursors_are_the_lists_own() {
    let room = Room::open().await;
    let mut keys: Vec<String> = (0..25).map(|n| format!("p*{n}")).collect();
    for key in &keys {
        room.put(&key.replace('*', "%2A"), json!({"value": key})).await.is(201);
    }
    room.put("px", json!({"value": 0})).await.is(201);
    keys.sort();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = room.get(&format!("/v1/state?prefix=p%2A&limit=7{cursor}")).await;
        let items = page.is(200).body["items"].as_array().expect("items").clone();
        seen.extend(items.iter().map(|item| item["key"].as_str().expect("a key").to_owned()));
        assert!(items.iter().all(|item| item["value"] == item["key"]));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, keys);
    let first = room.get("/v1/state?prefix=p%2A&limit=1&values=false").await;
    assert!(
        first.is(200).body["items"][0].get("value").is_none() && first.body["items"][0]["version"].is_u64()
    );
    let next = first.body["next_cursor"].as_str().expect("more");
    room.get(&format!("/v1/state?prefix=p&cursor={next}")).await.is_problem(400, "invalid_argument");
    room.client
        .get(&format!("/v1/state?prefix=p%2A&cursor={next}"))
        .await
        .is_problem(400, "invalid_argument");
    for bad in ["limit=0", "limit=1001", "limit=-1", "cursor=x", "colour=1", "prefix=%00"] {
        room.get(&format!("/v1/state?{bad}")).await.is_problem(400, "invalid_argument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_done_once() {
    let room = Room::open().await;
    let key = fresh("once");
    let put = async |value: Value, more: &[(&str, &str)]| {
        let headers = [&[("idempotency-key", key.as_str())], more].concat();
        room.ask("PUT", "/v1/state/a", &headers, Some(json!({ "value": value }))).await
    };
    let first = put(json!(1), &[]).await;
    room.put("a", json!({"value": 2})).await.is(200);
    let again = put(json!(1), &[]).await;
    assert_eq!(again.is(201).body, first.body, "the same answer");
    assert_eq!(room.get("/v1/state/a").await.body["value"], 2);
    put(json!(3), &[]).await.is_problem(422, "unprocessable");
    put(json!(1), &[("if-match", "*")]).await.is_problem(422, "unprocessable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_its_place() {
    let room = Room::open().await;
    let check = async |body: Value, status: u16, field: Option<&str>| {
        let answer = room.put("a", body).await;
        let code = if status == 413 { "payload_too_large" } else { "invalid_argument" };
        assert_eq!(answer.is_problem(status, code).body["field"].as_str(), field, "{answer:?}");
    };
    check(json!({}), 400, None).await;
    check(json!([1]), 400, None).await;
    check(json!({"value": 1, "colour": 1}), 400, Some("/colour")).await;
    check(json!({"value": 1, "ttl_ms": 0}), 400, Some("/ttl_ms")).await;
    check(json!({"value": 1, "ttl_ms": -1}), 400, Some("/ttl_ms")).await;
    check(json!({"value": 1, "ttl_ms": 1_000_000_000_001u64}), 400, Some("/ttl_ms")).await;
    check(json!({"value": 1, "ttl_ms": 1e300}), 400, Some("/ttl_ms")).await;
    check(json!({"value": 1, "strategy": "newest"}), 400, Some("/strategy")).await;
    check(json!({"value": 1, "rules": {"/a": "max"}, "strategy": "reject"}), 400, Some("/rules")).await;
    check(json!({"value": 1, "rules": {"/a": "max"}}), 400, Some("/rules")).await;
    check(json!({"value": 1, "metadata": {"x": "y".repeat(9_000)}}), 413, Some("/metadata")).await;
    check(json!({"value": "x".repeat(512 * 1024 - 1)}), 413, Some("/value")).await;
    check(json!({"value": "x".repeat(5 << 20)}), 413, None).await;
    room.put("a", json!({"value": "x".repeat(512 * 1024 - 2)})).await.is(201);
    let nested = |n: usize| {
        serde_json::from_str::<Value>(&format!("{}{}", "[".repeat(n), "]".repeat(n))).expect("JSON")
    };
    room.put("a", json!({"value": nested(64)})).await.is(200);
    check(json!({"value": nested(65)}), 400, Some("/value")).await;
    for (header, value) in [
        ("if-match", "5"),
        ("if-match", "W/\"5\""),
        ("if-match", "\"9007199254740992\""),
        ("if-none-match", "\"5\""),
    ] {
        room.ask("PUT", "/v1/state/a", &[(header, value)], Some(json!({"value": 1})))
            .await
            .is_problem(400, "invalid_argument");
    }
    for key in ["%00", "a%0Ab", "%FF", &"x".repeat(513), "%2E%2E%00"] {
        room.put(key, json!({"value": 1})).await.is_problem(400, "invalid_argument");
    }
    let locked = json!({"value": 1, "lock": {"name": "nobody's", "token": 7}});
    room.put("a", locked).await.is_problem(409, "fenced");
    let media = room.client.request("PUT", "/v1/state/a").header("content-type", "text/plain").body("1");
    assert_eq!(room.client.send(media).await.status, 415);
}

/// The SDK writes straight to Redis what HTTP reads, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn agents_and_http_see_the_same() {
    let room = Room::open().await;
    let workspace = room.workspace.parse().expect("a workspace");
    let config = agent_sdk::MeshConfig::http(&room._mesh.http).in_workspace(workspace);
    let without = agent_sdk::Mesh::connect(config.clone()).expect("a handle").state();
    assert_eq!(without.put("a", &1).await.expect_err("no Redis").code, agent_sdk::Code::Unavailable);
    let mesh = agent_sdk::Mesh::connect(config.with_redis(&room._mesh.redis)).expect("a handle");
    let state = mesh.state().by("sdk-1");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let key = state.key::<u64>("shared/n").expect("a key");
        all.spawn(async move { key.update(|n| Some(n.unwrap_or(0) + 1)).await.expect("updated") });
    }
    while let Some(done) = all.join_next().await {
        done.expect("no panic");
    }
    let read = room.get("/v1/state/shared%2Fn").await;
    assert_eq!((&read.is(200).body["value"], &read.body["updated_by"]), (&json!(8), &json!("sdk-1")));
    room.put("shared%2Fn", json!({"value": {"not": "a number"}})).await.is(200);
    let refused = state.get::<u64>("shared/n").await.expect_err("another shape");
    assert_eq!(refused.code, agent_sdk::Code::Unprocessable);
    let stale = state.put_if("shared/n", &1, 5).await.expect_err("stale");
    assert!(stale.code == agent_sdk::Code::Conflict && stale.current_version > read.body["version"].as_u64());
    let merged = state.merge("shared/n", &json!({"n": [1]}), agent_sdk::Merge::new().union("/n")).await;
    assert_eq!(merged.expect("merged").value, json!({"not": "a number", "n": [1]}).into());
    assert_eq!(state.history("shared/n", 100, None).await.expect("a history").lines.len(), 10);
    assert_eq!(state.list("shared/", 10, None).await.expect("a page").0.len(), 1);
}
