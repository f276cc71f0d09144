//! Workflows over HTTP: defined in JSON and YAML, refused with the place of every mistake, listed page by page.

use serde_json::{Value, json};
use synod_tests::{Answer, Client, Ground, Mesh, fresh};

/// A definition with one step, for this capability.
fn definition(id: &str, capability: &str) -> Value {
    json!({"id": id, "steps": [{"id": "only", "task": {"capability": capability}}]})
}

/// The same with an input of so many bytes.
fn large(id: &str, bytes: usize) -> Value {
    json!({"id": id, "steps": [{"id": "only", "task": {"capability": "a", "input": "x".repeat(bytes)}}]})
}

async fn defines(client: &Client, media: &str, text: &str) -> Answer {
    let request = client.request("POST", "/v1/workflows/definitions").header("content-type", media);
    client.send(request.body(text.to_owned())).await
}

async fn are_defined(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let id = fresh("workflow");
    let made = client.post("/v1/workflows/definitions", &definition(&id, "a")).await;
    assert_eq!((&made.is(201).body["version"], &made.body["workflow_id"]), (&json!(1), &json!(id)));
    assert_eq!(made.header("location"), format!("/v1/workflows/{id}"));
    assert_eq!(client.get(made.header("location")).await.is(200).body, made.body);

    // The same once more, in whatever form, is no new version.
    let yaml = format!("# one step\nid: {id}\nsteps:\n  - id: only\n    task: {{capability: a}}\n");
    for media in ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"] {
        assert_eq!(defines(&client, media, &yaml).await.is(200).body, made.body, "{media}");
    }
    let command = json!({"workflow_id": id, "definition": definition(&id, "a")});
    assert_eq!(client.post("/v1/workflows/definitions", &command).await.is(200).body, made.body);
    let in_text = json!({"workflow_id": id, "definition": yaml});
    assert_eq!(client.post("/v1/workflows/definitions", &in_text).await.is(200).body, made.body);

    let next = client.post("/v1/workflows/definitions", &definition(&id, "b")).await;
    assert_eq!(next.is(201).body["version"], 2);
    assert_ne!(next.body["hash"], made.body["hash"]);
    assert_eq!(next.body["created_at"], made.body["created_at"]);
    assert_eq!(client.get(&format!("/v1/workflows/{id}")).await.is(200).body, next.body);
    // Whoever was answered finds it in the list at once: in short, without the document.
    let listed = client.get("/v1/workflows?limit=1000").await;
    let items = listed.is(200).body["items"].as_array().expect("items").clone();
    let found = items.iter().find(|item| item["workflow_id"] == *id).expect("it is listed");
    assert_eq!((&found["version"], &found["hash"]), (&json!(2), &next.body["hash"]));
    assert!(found.get("definition").is_none(), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_defined_in_an_embedded_mesh() {
    are_defined(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_defined_on_real_brokers() {
    are_defined(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_with_its_place() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let id = fresh("workflow");
    let yaml = format!(
        "id: {id}\nsteps:\n  - id: a\n    depends_on: [d]\n    task: {{capability: x}}\n  - id: b\n    depends_on: [c]\n    task: {{capability: x}}\n"
    );
    let refused = defines(&client, "application/yaml", &yaml).await;
    refused.is_problem(422, "unprocessable");
    let detail = refused.body["detail"].as_str().expect("text");
    assert!(detail.contains("4:18: ") && detail.contains("7:18: "), "line and column of both: {detail}");
    assert_eq!(refused.body["field"], "/steps/0/depends_on/0");
    // In JSON alike; within the command the place is that within the command.
    let broken = json!({"id": id, "steps": [{"id": "a", "task": {"capability": "UPPER"}}]});
    let refused = client.post("/v1/workflows/definitions", &broken).await;
    assert_eq!(refused.is_problem(422, "unprocessable").body["field"], "/steps/0/task/capability");
    let command = json!({"workflow_id": id, "definition": broken});
    let refused = client.post("/v1/workflows/definitions", &command).await;
    assert_eq!(refused.is_problem(422, "unprocessable").body["field"], "/definition/steps/0/task/capability");
    // Neither is what has no form at all.
    for (media, text) in
        [("application/yaml", "id: [a"), ("application/json", "{\"id\": "), ("text/yaml", "")]
    {
        defines(&client, media, text).await.is_problem(422, "unprocessable");
    }
    let other = json!({"workflow_id": "other", "definition": definition(&id, "a")});
    let refused = client.post("/v1/workflows/definitions", &other).await;
    assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], "/workflow_id");
    let unknown = json!({"workflow_id": id, "definition": definition(&id, "a"), "more": 1});
    client.post("/v1/workflows/definitions", &unknown).await.is_problem(400, "invalid_argument");
    defines(&client, "text/plain", &yaml).await.is_problem(415, "invalid_argument");
    client.get(&format!("/v1/workflows/{id}")).await.is_problem(404, "not_found");
    let large = large(&id, 300_000);
    client.post("/v1/workflows/definitions", &large).await.is_problem(413, "payload_too_large");
    defines(&client, "application/yaml", &large.to_string()).await.is_problem(413, "payload_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_listed_page_by_page() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let workspace = fresh("ws");
    let in_workspace = |request: reqwest::RequestBuilder| request.header("synod-workspace", &workspace);
    let mut ids: Vec<String> = (0..7).map(|_| fresh("workflow")).collect();
    for id in &ids {
        let request = client.request("POST", "/v1/workflows/definitions").json(&definition(id, "a"));
        client.send(in_workspace(request)).await.is(201);
    }
    ids.sort();
    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = client.request("GET", &format!("/v1/workflows?limit=3{cursor}"));
        let page = client.send(in_workspace(request)).await;
        let items = page.is(200).body["items"].as_array().expect("items");
        listed.extend(items.iter().map(|it| it["workflow_id"].as_str().expect("an id").to_owned()));
        pages += 1;
        match page.body["next_cursor"].as_str() {
            Some(next) if pages < 9 => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!((listed, pages), (ids, 3));
    let refused = client.get("/v1/workflows?cursor=a%20b").await;
    assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], "/cursor");
    client.get("/v1/workflows?limit=0").await.is_problem(400, "invalid_argument");
}

/// The ids of all pages.
async fn all(client: &Client, path: &str, member: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = client.get(&format!("{path}&limit=3{cursor}")).await;
        let items = page.is(200).body["items"].as_array().expect("items");
        ids.extend(items.iter().map(|it| it[member].as_str().expect("an id").to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
    panic!("the pages do not end: {path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn either_coordinator_serves_what_the_other_owns() {
    let (services, _turn) = super::outages::services().await;
    let meshes = super::sharing::start(&services, 2).await;
    let (a, b) = (Client::of(&meshes[0]), Client::of(&meshes[1]));
    super::sharing::settled(&[&a, &b]).await;
    let (workflow, role, other) = (fresh("workflow"), fresh("role"), fresh("other"));
    let document = json!({"id": workflow, "steps": [
        {"id": "one", "wait": {"signal": "go"}}, {"id": "two", "wait": {"signal": "go"}},
        {"id": "three", "wait": {"signal": "go"}}]});
    let defined = a.post("/v1/workflows/definitions", &document).await;
    defined.is(201);
    assert_eq!(b.get(&format!("/v1/workflows/{workflow}")).await.is(200).body, defined.body);
    // Enough of them that each owns some.
    let mut ids: Vec<String> = (0..10).map(|_| fresh("e")).collect();
    for (n, id) in ids.iter().enumerate() {
        let (one, another) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let body = json!({"execution_id": id});
        one.post(&format!("/v1/workflows/{workflow}/execute"), &body).await.is(201);
        let steps = all(another, &format!("/v1/executions/{id}/steps?"), "step").await;
        assert_eq!(steps, ["one", "two", "three"]);
        let first = another.get(&format!("/v1/executions/{id}/steps?limit=2")).await;
        let cursor = first.is(200).body["next_cursor"].as_str().expect("there are more").to_owned();
        let rest = one.get(&format!("/v1/executions/{id}/steps?limit=2&cursor={cursor}")).await;
        assert_eq!(rest.is(200).body["items"][0]["step"], "three");
        let named = if n % 3 == 0 { &role } else { &other };
        let asked = json!({"approval_id": id, "title": "Go?", "approvers": [format!("role:{named}")]});
        one.post("/v1/approvals", &asked).await.is(201);
        assert_eq!(another.get(&format!("/v1/approvals/{id}")).await.is(200).body["title"], "Go?");
    }
    ids.sort();
    for client in [&a, &b] {
        let of_workflow = format!("/v1/executions?workflow={workflow}&status=running");
        assert_eq!(all(client, &of_workflow, "execution_id").await, ids);
        let of_roles = format!("/v1/approvals?status=pending&role={role}&role={other}");
        assert_eq!(all(client, &of_roles, "approval_id").await, ids);
        let of_role = all(client, &format!("/v1/approvals?role={role}"), "approval_id").await;
        assert_eq!(of_role.len(), 4, "{of_role:?}");
    }
    for (n, id) in ids.iter().enumerate() {
        let (one, another) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let path = format!("/v1/executions/{id}?wait_ms=20000");
        let go = json!({"name": "go"});
        let signal = format!("/v1/executions/{id}/signal");
        let (waited, signalled) = tokio::join!(one.get(&path), another.post(&signal, &go));
        signalled.is(200);
        assert_eq!(waited.is(200).body["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_defined_is_listed_and_run_at_once_whoever_owns_it() {
    let (services, _turn) = super::outages::services().await;
    let meshes = super::sharing::start(&services, 2).await;
    let (a, b) = (Client::of(&meshes[0]), Client::of(&meshes[1]));
    super::sharing::settled(&[&a, &b]).await;
    for n in 0..16 {
        let (one, another) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let workflow = fresh("workflow");
        // With its input it is more than one command may have: then the owner looks for it by its hash.
        let document = if n < 12 { definition(&workflow, "nobody") } else { large(&workflow, 200_000) };
        one.post("/v1/workflows/definitions", &document).await.is(201);
        let listed = all(one, "/v1/workflows?", "workflow_id").await;
        assert!(listed.contains(&workflow), "{workflow} is not in {listed:?}");
        let body = json!({"input": "x".repeat(if n < 12 { 10 } else { 100_000 })});
        for client in [one, another] {
            client.post(&format!("/v1/workflows/{workflow}/execute"), &body).await.is(201);
        }
    }
}
