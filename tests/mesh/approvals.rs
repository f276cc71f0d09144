//! Approvals over HTTP: asked, found by those for whom they wait, decided, revised, and over in time.

use serde_json::{Value, json};
use synod_tests::{Answer, Client, Ground, Mesh, fresh};

/// An approval by these.
fn asks(id: &str, approvers: &[&str], more: &Value) -> Value {
    let mut body =
        json!({"approval_id": id, "title": "Go?", "show": {"text": "hello"}, "approvers": approvers});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    body
}

async fn decides(client: &Client, id: &str, who: &str, what: &str, more: &Value) -> Answer {
    let mut body = json!({"approver": who, "decision": what});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    client.post(&format!("/v1/approvals/{id}/decisions"), &body).await
}

/// The ids of a list, read page by page.
async fn listed(client: &Client, query: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    for _ in 0..50 {
        let page = client.get(&format!("/v1/approvals?{query}&limit={limit}{cursor}")).await;
        let items = page.is(200).body["items"].as_array().expect("items");
        assert!(items.len() <= limit, "{page:?}");
        ids.extend(items.iter().map(|it| it["approval_id"].as_str().expect("an id").to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
    panic!("the pages do not end");
}

async fn lives(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let (id, ann) = (fresh("approval"), fresh("ann"));
    let asked = asks(&id, &[&ann, "bob"], &json!({"need": "all"}));
    let made = client.post("/v1/approvals", &asked).await;
    assert_eq!((&made.is(201).body["status"], &made.body["revision"]), (&json!("pending"), &json!(1)));
    assert_eq!(made.header("location"), format!("/v1/approvals/{id}"));
    client.post("/v1/approvals", &asked).await.is(200);
    let other = asks(&id, &[&ann, "bob"], &json!({"need": "any"}));
    client.post("/v1/approvals", &other).await.is_problem(409, "already_exists");
    client.get(&format!("/v1/approvals/{id}?wait_ms=100")).await.is(202);

    let no = decides(&client, &id, "mallory", "approve", &json!({})).await;
    assert_eq!(no.is_problem(403, "permission_denied").body["field"], "/approver");
    let elsewhere = decides(&client, &id, &ann, "approve", &json!({"approval_id": "other"})).await;
    assert_eq!(elsewhere.is_problem(400, "invalid_argument").body["field"], "/approval_id");
    decides(&client, &id, &ann, "nod", &json!({})).await.is_problem(400, "invalid_argument");
    let stale = decides(&client, &id, &ann, "approve", &json!({"shown": "something else"})).await;
    assert_eq!(stale.is_problem(409, "conflict").body["field"], "/shown");

    // Two people; then it is over, and who waits is told.
    let shown = made.body["shown"].as_str().expect("a fingerprint");
    let first = decides(&client, &id, &ann, "approve", &json!({"shown": shown, "comment": "fine"})).await;
    assert_eq!(first.is(200).body["status"], "pending");
    let (path, no_more) = (format!("/v1/approvals/{id}?wait_ms=20000"), json!({}));
    let (waited, second) = tokio::join!(client.get(&path), decides(&client, &id, "bob", "approve", &no_more));
    assert_eq!(second.is(200).body["status"], "approved");
    assert_eq!(waited.is(200).body, second.body);
    assert_eq!(waited.body["decisions"][0]["comment"], "fine");
    // The same once more changes nothing; another comes too late.
    decides(&client, &id, "bob", "approve", &json!({})).await.is(200);
    let late = decides(&client, &id, "bob", "reject", &json!({})).await;
    assert_eq!(late.is_problem(409, "invalid_transition").body["entity_status"], "approved");
    client.get("/v1/approvals/nobody").await.is_problem(404, "not_found");
    decides(&client, "nobody", "bob", "approve", &json!({})).await.is_problem(404, "not_found");
    let types = client.history(&id, "approval.granted").await;
    assert_eq!(types, ["synod.approval.required", "synod.approval.signed", "synod.approval.granted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_lives_in_an_embedded_mesh() {
    lives(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_lives_on_real_brokers() {
    lives(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_finds_what_waits_for_him() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (ann, bob, role, label) = (fresh("ann"), fresh("bob"), fresh("editor"), fresh("label"));
    let as_role = format!("role:{role}");
    let labelled = json!({"labels": {"piece": label}});
    let mut ids: Vec<String> = (0..5).map(|_| fresh("approval")).collect();
    ids.sort();
    let of = [&[&*ann][..], &[&*ann, &*bob], &[&*bob], &[&*as_role], &[&*ann, &*as_role]];
    for (id, approvers) in ids.iter().zip(of) {
        let more = if *id == ids[1] { json!({"need": "all"}) } else { labelled.clone() };
        client.post("/v1/approvals", &asks(id, approvers, &more)).await.is(201);
    }
    let these = |which: &[usize]| which.iter().map(|i| ids[*i].clone()).collect::<Vec<_>>();
    let pending = |query: String| format!("status=pending&{query}");
    assert_eq!(listed(&client, &pending(format!("approver={ann}")), 100).await, these(&[0, 1, 4]));
    assert_eq!(listed(&client, &pending(format!("role={role}")), 1).await, these(&[3, 4]));
    let either = pending(format!("approver={ann}&role=no%26body&role={role}"));
    assert_eq!(listed(&client, &either, 2).await, these(&[0, 1, 3, 4]));
    let of_label = format!("label=piece:{label}");
    assert_eq!(listed(&client, &of_label, 3).await, these(&[0, 2, 3, 4]));
    assert_eq!(listed(&client, &format!("label=piece:{label}x"), 3).await, these(&[]));
    assert_eq!(listed(&client, &format!("execution=nobody&{of_label}"), 3).await, these(&[]));

    // What she has approved waits for her no more, though it does for somebody else.
    decides(&client, &ids[1], &ann, "approve", &json!({})).await.is(200);
    decides(&client, &ids[0], &ann, "reject", &json!({})).await.is(200);
    decides(&client, &ids[3], &ann, "approve", &json!({"roles": [role]})).await.is(200);
    assert_eq!(listed(&client, &format!("approver={ann}"), 100).await, these(&[4]));
    assert_eq!(listed(&client, &format!("approver={bob}"), 100).await, these(&[1, 2]));
    assert_eq!(listed(&client, &format!("role={role}"), 100).await, these(&[4]));
    assert_eq!(listed(&client, &format!("status=approved&{of_label}"), 100).await, these(&[3]));
    let roles = "role=x&".repeat(257);
    for (query, field) in
        [("role=role:x", "/role"), (&*roles, "/role"), ("label=x", "/label"), ("cursor=a%20b", "/cursor")]
    {
        let refused = client.get(&format!("/v1/approvals?{query}")).await;
        assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], field);
    }
    client.get("/v1/approvals?status=open").await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_requested_and_asked_for_once_more() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let id = fresh("approval");
    client.post("/v1/approvals", &asks(&id, &["ann"], &json!({"max_revisions": 2}))).await.is(201);
    let path = format!("/v1/approvals/{id}/revisions");
    let better = json!({"show": {"text": "hello, world"}});
    // While it is open there is nothing to ask once more.
    let early = client.post(&path, &better).await;
    assert_eq!(early.is_problem(409, "invalid_transition").body["entity_status"], "pending");
    let back = decides(&client, &id, "ann", "request_changes", &json!({"comment": "whom?"})).await;
    assert_eq!(back.is(200).body["status"], "changes_requested");

    let key = fresh("key");
    let revise = |body: &Value| {
        let request = client.request("POST", &path).header("idempotency-key", &key);
        client.send(request.json(body))
    };
    let next = revise(&better).await;
    let second = next.is(201).body["approval_id"].as_str().expect("an id").to_owned();
    assert_eq!(next.header("location"), format!("/v1/approvals/{second}"));
    assert_eq!((&next.body["revision"], &next.body["parent"]), (&json!(2), &json!(id)));
    assert_eq!((&next.body["title"], &next.body["feedback"]["comment"]), (&json!("Go?"), &json!("whom?")));
    assert_eq!(client.get(&format!("/v1/approvals/{id}")).await.is(200).body["revised_as"], json!(second));
    // The same once more is the same; another is refused, and under the same key said to be the key's fault.
    let again = revise(&better).await;
    assert_eq!(again.is(200).body, next.body);
    assert_eq!(again.header("location"), next.header("location"));
    let other = json!({"title": "Go now?", "show": {"text": "hello"}});
    client.post(&path, &other).await.is_problem(409, "already_exists");
    revise(&other).await.is_problem(422, "unprocessable");
    let of_second = format!("/v1/approvals/{second}/revisions");
    client.post(&of_second, &other).await.is_problem(409, "invalid_transition");

    // It was the last: no further changes, but a decision.
    let no_more = decides(&client, &second, "ann", "request_changes", &json!({})).await;
    no_more.is_problem(422, "unprocessable");
    assert_eq!(
        decides(&client, &second, "ann", "approve", &json!({})).await.is(200).body["status"],
        "approved"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_ends_in_time_by_itself() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let timed = asks(&fresh("approval"), &["ann"], &json!({"expires_after_ms": 300}));
    let over = client.post("/v1/approvals?wait_ms=20000", &timed).await;
    assert_eq!(over.is(200).body["status"], "timed_out");
    let id = over.body["approval_id"].as_str().expect("an id");
    let late = decides(&client, id, "ann", "approve", &json!({})).await;
    assert_eq!(late.is_problem(409, "invalid_transition").body["entity_status"], "timed_out");
    let by_itself = asks(&fresh("approval"), &["ann"], &json!({"auto_approve_after_ms": 300}));
    let over = client.post("/v1/approvals?wait_ms=20000", &by_itself).await;
    assert_eq!(over.is(200).body["status"], "approved");
    assert!(over.body["decisions"][0].get("approver").is_none(), "{over:?}");
    let slow = asks(&fresh("approval"), &["ann"], &json!({}));
    client.post("/v1/approvals?wait_ms=100", &slow).await.is(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_made_where_there_is_none() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let key = fresh("key");
    let post = |body: Value| {
        let request = client.request("POST", "/v1/approvals").header("idempotency-key", &key);
        client.send(request.json(&body))
    };
    let first = post(json!({"title": "Go?", "approvers": ["ann"]})).await;
    assert!(first.is(201).body["approval_id"].as_str().expect("an id").starts_with("appr_"), "{first:?}");
    // null is as absent.
    let again = post(json!({"approval_id": null, "title": "Go?", "approvers": ["ann"]})).await;
    assert_eq!(again.is(200).body, first.body);
    post(json!({"title": "Go!", "approvers": ["ann"]})).await.is_problem(422, "unprocessable");
    let wrong = post(json!({"title": "Go?", "approvers": []})).await;
    assert_eq!(wrong.is_problem(400, "invalid_argument").body["field"], "/approvers");
    client
        .post("/v1/approvals", &json!({"approval_id": "a:b", "title": "?", "approvers": ["ann"]}))
        .await
        .is_problem(400, "invalid_argument");
    client.post("/v1/approvals", &json!([1])).await.is_problem(400, "invalid_argument");
}
