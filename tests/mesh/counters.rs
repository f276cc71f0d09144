//! Counters, budgets and rate limits, as any client of HTTP meets them.

use serde_json::{Value, json};
use synod_tests::{Client, Ground, Mesh, fresh};

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_keeps_to_its_bounds() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, name) = (Client::of(&mesh), fresh("counter"));
    let path = format!("/v1/counters/{name}");
    assert_eq!(client.get(&path).await.is(200).body, json!({"name": name, "value": 0}));
    let largest = i64::MAX;
    assert_eq!(client.post(&path, &json!({"add": largest})).await.is(200).body["value"], largest);
    let over = client.post(&path, &json!({"add": 1})).await;
    over.is_problem(400, "invalid_argument");
    assert_eq!(over.body["field"], "/add");
    let below = client.post(&path, &json!({"add": -2, "floor": largest - 1})).await;
    below.is_problem(409, "conflict");
    assert_eq!(below.body["value"], largest);
    let operation = fresh("operation");
    for _ in 0..2 {
        let body = json!({"add": -1, "floor": largest - 1, "operation_id": operation});
        assert_eq!(client.post(&path, &body).await.is(200).body["value"], largest - 1);
    }
    let key = fresh("key");
    for _ in 0..2 {
        let request = client.request("POST", &path).header("idempotency-key", &key);
        assert_eq!(client.send(request.json(&json!({"add": -1}))).await.is(200).body["value"], largest - 2);
    }
    for body in [
        json!({"add": 1.5}),
        json!({"add": "1"}),
        json!({}),
        json!({"add": 1, "bound": 1}),
        json!({"add": 1e19}),
    ] {
        client.post(&path, &body).await.is_problem(400, "invalid_argument");
    }
    assert_eq!(client.send(client.request("DELETE", &path)).await.status, 204);
    assert_eq!(client.get(&path).await.body["value"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_reserved_spent_and_returned() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, path) = (Client::of(&mesh), format!("/v1/budgets/{}", fresh("budget")));
    let reserve = async |amount: u64| {
        client.post(&format!("{path}/reserve"), &json!({"amount": amount, "ttl_ms": 60_000})).await
    };
    reserve(1).await.is_problem(404, "not_found");
    let set =
        async |limit: Value| client.send(client.request("PUT", &path).json(&json!({"limit": limit}))).await;
    assert_eq!(set(json!(100)).await.is(200).body["remaining"], 100);
    let mine = reserve(60).await.is(200).body["reservation"].clone();
    let short = reserve(41).await;
    short.is_problem(409, "conflict");
    assert_eq!(short.body["value"], 40);
    let spend = async |amount: u64| {
        client.post(&format!("{path}/spend"), &json!({"reservation": mine, "amount": amount})).await
    };
    assert_eq!(spend(50).await.is(200).body["left"], 10);
    spend(11).await.is_problem(409, "conflict");
    assert_eq!(set(json!(20)).await.is(200).body["remaining"], -40);
    let back = client.post(&format!("{path}/return"), &json!({"reservation": mine})).await;
    assert_eq!(back.is(200).body["remaining"], -30);
    spend(1).await.is_problem(409, "fenced");
    let shown = client.get(&path).await;
    assert_eq!((&shown.is(200).body["spent"], &shown.body["reserved"]), (&json!(50), &json!(0)));
    for limit in [json!(-1), json!(9_007_199_254_740_992u64), json!(1.5), json!(null)] {
        set(limit).await.is_problem(400, "invalid_argument");
    }
    assert_eq!(client.send(client.request("DELETE", &path)).await.status, 204);
    client.get(&path).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_says_when_to_come_again() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, path) = (Client::of(&mesh), format!("/v1/limits/{}", fresh("limit")));
    let take =
        async |take: u64| client.post(&path, &json!({"take": take, "rate_per_s": 0.01, "burst": 3})).await;
    assert_eq!(take(3).await.is(200).body, json!({"allowed": true, "retry_after_ms": 0, "remaining": 0}));
    let refused = take(1).await;
    assert_eq!(refused.is(200).body["allowed"], false);
    assert!(
        refused.body["retry_after_ms"].as_u64().is_some_and(|ms| (50_000..=100_000).contains(&ms)),
        "{refused:?}"
    );
    for body in [
        json!({"take": 4, "rate_per_s": 1, "burst": 3}),
        json!({"take": 1, "rate_per_s": 0, "burst": 3}),
        json!({"take": 1, "rate_per_s": -1, "burst": 3}),
        json!({"take": 1, "rate_per_s": 1, "burst": 0}),
        json!({"take": -1, "rate_per_s": 1, "burst": 1}),
    ] {
        client.post(&path, &body).await.is_problem(400, "invalid_argument");
    }
}
