//! Locks and semaphores, as any client of HTTP and a shell meet them.

use serde_json::{Value, json};
use std::time::Duration;
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};

const SOON: Duration = Duration::from_secs(30);

async fn acquire(client: &Client, path: &str, owner: &str, more: &Value) -> Answer {
    let mut body = json!({"owner": owner, "ttl_ms": 60_000});
    more.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
    client.post(path, &body).await
}

async fn release(client: &Client, path: &str, owner: &str, token: &Value) -> Answer {
    client.send(client.request("DELETE", &format!("{path}?owner={owner}&token={token}"))).await
}

async fn waiters(client: &Client, path: &str, count: u64) {
    eventually(&format!("{count} wait for {path}"), SOON, || async {
        (client.get(path).await.body["waiters"] == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_from_acquire_to_break() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, name) = (Client::of(&mesh), fresh("lock {a}/*%"));
    let path = format!(
        "/v1/locks/{}",
        name.replace('%', "%25")
            .replace(' ', "%20")
            .replace('/', "%2F")
            .replace('{', "%7B")
            .replace('}', "%7D")
    );
    client.get(&path).await.is_problem(404, "not_found");
    let first = acquire(&client, &path, "a", &json!({})).await;
    let token = first.is(200).body["token"].clone();
    assert_eq!((&first.body["name"], &first.body["owner"]), (&json!(name), &json!("a")));
    let refused = acquire(&client, &path, "b", &json!({})).await;
    refused.is_problem(409, "conflict");
    assert_eq!(
        (&refused.body["holder"], &refused.body["expires_at"]),
        (&json!("a"), &first.body["expires_at"])
    );
    acquire(&client, &path, "a", &json!({"wait_ms": 20})).await.is_problem(409, "conflict");

    let renew = |owner: &str, ttl_ms: u64| {
        client.request("PUT", &path).json(&json!({"owner": owner, "token": token, "ttl_ms": ttl_ms}))
    };
    client.send(renew("b", 60_000)).await.is_problem(409, "fenced");
    assert_eq!(client.send(renew("a", 120_000)).await.is(200).body["token"], token);
    let shown = client.get(&path).await;
    assert!(shown.is(200).body["age_ms"].is_u64() && shown.body["waiters"] == 0, "{shown:?}");
    let prefix = name.split(' ').next().expect("a prefix");
    let listed = client.get(&format!("/v1/locks?prefix={prefix}&limit=1")).await;
    assert_eq!(listed.is(200).body["items"][0]["token"], token);
    client.get("/v1/locks?prefix=a&cursor=b").await.is_problem(400, "invalid_argument");
    client.get("/v1/locks?limit=0").await.is_problem(400, "invalid_argument");

    release(&client, &path, "b", &token).await.is_problem(409, "fenced");
    assert_eq!(release(&client, &path, "a", &token).await.status, 204);
    release(&client, &path, "a", &token).await.is_problem(409, "fenced");
    let second = acquire(&client, &path, "b", &json!({})).await.is(200).body["token"].clone();
    assert!(second.as_u64() > token.as_u64());
    let breaks = format!("{path}/break");
    assert_eq!(client.send(client.request("POST", &breaks)).await.is(200).body["owner"], "b");
    client.post(&breaks, &json!({})).await.is_problem(404, "not_found");
    // Another workspace has locks of its own.
    acquire(&client, &path, "a", &json!({})).await.is(200);
    let other = client.request("GET", &path).header("synod-workspace", fresh("w"));
    client.send(other).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_has_left_the_line() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, path) = (Client::of(&mesh), format!("/v1/locks/{}", fresh("line")));
    let token = acquire(&client, &path, "a", &json!({})).await.is(200).body["token"].clone();
    let waits = |owner: &str| {
        let body = json!({"owner": owner, "ttl_ms": 60_000, "wait_ms": 60_000});
        tokio::spawn(client.request("POST", &path).json(&body).send())
    };
    let gone = waits("gone");
    waiters(&client, &path, 1).await;
    let next = waits("next");
    waiters(&client, &path, 2).await;
    gone.abort();
    waiters(&client, &path, 1).await;
    assert_eq!(release(&client, &path, "a", &token).await.status, 204);
    let granted = next.await.expect("a task").expect("an answer");
    let granted: Value = granted.json().await.expect("a body");
    assert_eq!(granted["owner"], "next", "{granted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_granted_once() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, path, key) = (Client::of(&mesh), format!("/v1/locks/{}", fresh("once")), fresh("key"));
    let ask = async |ttl_ms: u64| {
        let request = client.request("POST", &path).header("idempotency-key", &key);
        client.send(request.json(&json!({"owner": "a", "ttl_ms": ttl_ms}))).await
    };
    let first = ask(60_000).await;
    assert_eq!(ask(60_000).await.is(200).body, first.is(200).body);
    ask(50_000).await.is_problem(422, "unprocessable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_its_place() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let check = async |room: &str, body: Value, field: Option<&str>| {
        let refused = client.post(&format!("/v1/{room}"), &body).await;
        refused.is_problem(400, "invalid_argument");
        assert_eq!(refused.body["field"].as_str(), field, "{refused:?}");
    };
    for (ttl_ms, field) in [
        (json!(9), "/ttl_ms"),
        (json!(86_400_001), "/ttl_ms"),
        (json!(-1), "/ttl_ms"),
        (json!(1e300), "/ttl_ms"),
    ] {
        check("locks/l", json!({"owner": "a", "ttl_ms": ttl_ms}), Some(field)).await;
    }
    check("locks/l", json!({"owner": "", "ttl_ms": 10}), Some("/owner")).await;
    check("locks/l", json!({"owner": "a\u{0}", "ttl_ms": 10}), Some("/owner")).await;
    check("locks/l", json!({"owner": "x".repeat(513), "ttl_ms": 10}), Some("/owner")).await;
    check("locks/l", json!({"owner": "a", "ttl_ms": 10, "wait_ms": 60_001}), Some("/wait_ms")).await;
    check("locks/l", json!({"owner": "a", "ttl_ms": 10, "token": 1}), Some("/token")).await;
    check("locks/l", json!(["a", 10, 0]), None).await;
    for name in ["a%0Ab", "a%00", "%FF", &"x".repeat(513)] {
        check(&format!("locks/{name}"), json!({"owner": "a", "ttl_ms": 10}), None).await;
    }
    for permits in [json!(0), json!(1_001), json!(-1), json!(4_294_967_296u64)] {
        check("semaphores/s", json!({"owner": "a", "ttl_ms": 10, "permits": permits}), Some("/permits"))
            .await;
    }
    for query in
        ["owner=a", "token=1", "owner=a&token=-1", "owner=a&token=0", "owner=&token=1", "owner=a&token=1&x=1"]
    {
        let request = client.request("DELETE", &format!("/v1/locks/l?{query}"));
        client.send(request).await.is_problem(400, "invalid_argument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_are_out_until_they_are_back() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, name) = (Client::of(&mesh), fresh("semaphore"));
    let path = format!("/v1/semaphores/{name}");
    let two = json!({"permits": 2});
    let first = acquire(&client, &path, "a", &two).await.is(200).body["token"].clone();
    acquire(&client, &path, "b", &two).await.is(200);
    acquire(&client, &path, "c", &two).await.is_problem(409, "conflict");
    acquire(&client, &path, "c", &json!({"permits": 3})).await.is_problem(409, "conflict");
    let shown = client.get(&path).await;
    assert_eq!((&shown.body["permits"], &shown.body["available"]), (&json!(2), &json!(0)), "{shown:?}");
    let listed = client.get(&format!("/v1/semaphores?prefix={name}")).await;
    assert_eq!(listed.is(200).body["items"][0]["holders"][0]["token"], first);
    let renew = json!({"owner": "a", "token": first, "ttl_ms": 60_000});
    client.send(client.request("PUT", &path).json(&renew)).await.is(200);
    assert_eq!(release(&client, &path, "a", &first).await.status, 204);
    acquire(&client, &path, "c", &json!({"permits": 2, "wait_ms": 10})).await.is(200);
    let broken = client.post(&format!("{path}/break"), &json!({})).await;
    assert_eq!(broken.is(200).body["broken"].as_array().map(Vec::len), Some(2));
    client.get(&path).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_takes_shows_and_breaks() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let name = fresh("shell lock");
    let synod = async |words: &[&str]| {
        let mut command = tokio::process::Command::new(synod_tests::synod());
        synod_tests::without_settings(command.as_std_mut());
        command.args(words).args(["--http-url", &mesh.http, "--output", "json"]);
        let done = command.output().await.expect("it runs");
        // What was refused is said on stderr.
        let said = || Value::from(String::from_utf8_lossy(&done.stderr).into_owned());
        let shown = serde_json::from_slice::<Value>(&done.stdout).unwrap_or_else(|_| said());
        (done.status.code(), shown)
    };
    let (status, lease) = synod(&["lock", "acquire", &name, "--owner", "me", "--ttl-ms", "60000"]).await;
    let token = lease["token"].to_string();
    assert_eq!((status, &lease["owner"]), (Some(0), &json!("me")), "{lease}");
    assert_eq!(synod(&["lock", "acquire", &name, "--owner", "you"]).await.0, Some(4));
    let listed = synod(&["lock", "list", "--prefix", &name]).await.1;
    assert!(listed.to_string().contains(&token), "{listed}");
    assert_eq!(synod(&["lock", "get", &name]).await.1["waiters"], 0);
    assert_eq!(synod(&["lock", "renew", &name, "--owner", "me", "--token", &token]).await.0, Some(0));
    assert_eq!(synod(&["lock", "break", &name]).await.1["owner"], "me");
    assert_eq!(synod(&["lock", "release", &name, "--owner", "me", "--token", &token]).await.0, Some(4));
    assert_eq!(synod(&["lock", "get", &name]).await.0, Some(3));
    let counter = fresh("counter");
    assert_eq!(synod(&["counter", "add", &counter, "-5"]).await.1["value"], -5);
    assert_eq!(synod(&["counter", "add", &counter, "-1", "--floor", "-5"]).await.0, Some(4));
    let budget = fresh("budget");
    synod(&["budget", "set", &budget, "10"]).await;
    let mine = synod(&["budget", "reserve", &budget, "6"]).await.1["reservation"].clone();
    let mine = mine.as_str().expect("an id");
    assert_eq!(synod(&["budget", "spend", &budget, mine, "4"]).await.1["left"], 2);
    assert_eq!(synod(&["budget", "return", &budget, mine]).await.1["remaining"], 6);
    let limit = fresh("limit");
    let take = ["limit", "take", &limit, "--rate", "0.001", "--burst", "1"];
    assert_eq!((synod(&take).await.0, synod(&take).await.0), (Some(0), Some(4)));
}
