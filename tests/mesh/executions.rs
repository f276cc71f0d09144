//! Executions over HTTP: started, waited for, listed, and what can be done to one that is under way.

use agent_sdk::{Context, MeshConfig, RunningAgent, TaskError};
use serde_json::{Value, json};
use std::time::Duration;
use synod_tests::{Client, Ground, Mesh, eventually, fresh};

const SOON: Duration = Duration::from_secs(20);

async fn count(_: Context, text: String) -> Result<usize, TaskError> {
    Ok(text.len())
}

async fn double(_: Context, number: u64) -> Result<u64, TaskError> {
    Ok(number * 2)
}

async fn say(_: Context, number: u64) -> Result<String, TaskError> {
    Ok(format!("It is {number}."))
}

/// An agent that counts, doubles and says; its capabilities end with `of`.
async fn agent(mesh: &Mesh, of: &str) -> RunningAgent {
    let config = MeshConfig::http(&mesh.http).with_redis(&mesh.redis).with_kafka(&mesh.kafka);
    let connected = agent_sdk::Mesh::connect(config).expect("the settings can be");
    let agent = agent_sdk::Agent::builder(fresh("agent"))
        .capability(format!("count.{of}"), count)
        .capability(format!("double.{of}"), double)
        .capability(format!("say.{of}"), say)
        .build(&connected);
    agent.expect("an agent").start().await.expect("it registers")
}

/// Three steps, one after another.
fn three_steps(id: &str, of: &str) -> Value {
    json!({"id": id, "labels": {"kind": "three"}, "output": "${{ steps.say.output }}", "steps": [
        {"id": "count", "task": {"capability": format!("count.{of}"), "input": "${{ input.text }}"}},
        {"id": "double", "depends_on": ["count"],
            "task": {"capability": format!("double.{of}"), "input": "${{ steps.count.output }}"}},
        {"id": "say", "depends_on": ["double"],
            "task": {"capability": format!("say.{of}"), "input": "${{ steps.double.output }}"}}]})
}

/// A step that waits for a signal, and one that nobody does.
fn waiting(id: &str) -> Value {
    json!({"id": id, "steps": [
        {"id": "gate", "wait": {"signal": "open"}},
        {"id": "never", "depends_on": ["gate"], "task": {"capability": fresh("nobody")}}]})
}

async fn runs(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let (id, of) = (fresh("workflow"), fresh("x"));
    let agent = agent(&mesh, &of).await;
    let defined = client.post("/v1/workflows/definitions", &three_steps(&id, &of)).await;
    defined.is(201);
    let key = fresh("key");
    let execute = |body: Value| {
        let path = format!("/v1/workflows/{id}/execute?wait_ms=20000");
        let request = client.request("POST", &path).header("idempotency-key", &key);
        client.send(request.json(&body))
    };
    let body = json!({"input": {"text": "hello"}, "labels": {"piece": of}});
    let ended = execute(body.clone()).await;
    assert_eq!(
        (&ended.is(200).body["status"], &ended.body["output"]),
        (&json!("completed"), &json!("It is 10."))
    );
    let execution = ended.body["execution_id"].as_str().expect("an id").to_owned();
    assert!(execution.starts_with("exec_"), "{execution}");
    assert_eq!(ended.header("location"), format!("/v1/executions/{execution}"));
    assert_eq!(ended.body["labels"], json!({"kind": "three", "piece": of}));
    assert_eq!((&ended.body["workflow_id"], &ended.body["hash"]), (&json!(id), &defined.body["hash"]));
    assert_eq!(ended.body["step_counts"], json!({"completed": 3}));
    assert_eq!(
        client.get(&format!("/v1/executions/{execution}?wait_ms=1000")).await.is(200).body,
        ended.body
    );
    // Once, whatever becomes of the workflow meanwhile; another body under the same key is refused.
    client.post("/v1/workflows/definitions", &waiting(&id)).await.is(201);
    assert_eq!(execute(body).await.is(200).body, ended.body);
    execute(json!({"input": {"text": "other"}})).await.is_problem(422, "unprocessable");
    let old = json!({"input": {}, "hash": defined.body["hash"], "execution_id": fresh("execution")});
    assert_eq!(execute(old).await.is_problem(404, "not_found").body["field"], "/hash");

    let steps = client.get(&format!("/v1/executions/{execution}/steps?limit=2")).await;
    let names = |page: &Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|step| step["step"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&steps.is(200).body), ["count", "double"]);
    let child = steps.body["items"][0]["child"].as_str().expect("its task");
    assert_eq!(client.get(&format!("/v1/tasks/{child}")).await.is(200).body["output"], 5);
    let cursor = steps.body["next_cursor"].as_str().expect("there are more");
    let rest = client.get(&format!("/v1/executions/{execution}/steps?limit=2&cursor={cursor}")).await;
    assert_eq!(
        (names(&rest.is(200).body), &rest.body["next_cursor"]),
        (vec!["say".to_owned()], &Value::Null)
    );
    client
        .get(&format!("/v1/executions/{execution}/steps?cursor=x"))
        .await
        .is_problem(400, "invalid_argument");
    client.get("/v1/executions/nobody/steps").await.is_problem(404, "not_found");
    client.get("/v1/executions/nobody").await.is_problem(404, "not_found");
    let types = client.history(&execution, "execution.completed").await;
    assert_eq!(types.first().map(String::as_str), Some("synod.execution.started"), "{types:?}");
    agent.stop().await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_steps_are_done_in_an_embedded_mesh() {
    runs(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_steps_are_done_on_real_brokers() {
    runs(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_under_way_is_paused_signalled_and_cancelled() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (id, workflow) = (fresh("execution"), fresh("workflow"));
    let start = json!({"execution_id": id, "workflow_id": workflow, "definition": waiting(&workflow)});
    let made = client.post("/v1/executions", &start).await;
    assert_eq!(made.is(201).body["status"], "running");
    assert_eq!(client.post("/v1/executions", &start).await.is(200).body["execution_id"], json!(id));
    client.post("/v1/executions?wait_ms=100", &start).await.is(202);
    let other = json!({"execution_id": id, "workflow_id": workflow, "input": 1});
    client.post("/v1/executions", &other).await.is_problem(409, "already_exists");
    let at = |what: &str| format!("/v1/executions/{id}/{what}");
    let paused = client.post(&at("pause"), &json!({"reason": "lunch"})).await;
    assert_eq!(
        (&paused.is(200).body["status"], &paused.body["paused_because"]),
        (&json!("paused"), &json!("lunch"))
    );
    let again = client.post(&at("pause"), &json!({"reason": "tea"})).await;
    assert_eq!(again.is(200).body["paused_because"], "lunch", "it is paused already");
    assert_eq!(client.send(client.request("POST", &at("resume"))).await.is(200).body["status"], "running");
    client.post(&at("signal"), &json!({"name": "nothing"})).await.is_problem(404, "not_found");
    client.post(&at("signal"), &json!({"payload": 1})).await.is_problem(400, "invalid_argument");
    client.post(&at("signal"), &json!({"name": "open", "payload": {"by": "ann"}})).await.is(200);
    let steps = client.get(&at("steps")).await;
    assert_eq!(steps.is(200).body["items"][0]["output"], json!({"by": "ann"}));
    let task = steps.body["items"][1]["child"].as_str().expect("its task").to_owned();
    client.post(&at("retry"), &json!({"step": "gate"})).await.is_problem(409, "invalid_transition");
    client.post(&at("retry"), &json!({"step": "nobody"})).await.is_problem(404, "not_found");
    let cancelled = client.post(&at("cancel"), &json!({"reason": "enough"})).await;
    assert_eq!(cancelled.is(200).body["status"], "cancelled");
    assert_eq!(client.ended(&task).await["status"], "cancelled", "what is under way is taken back");
    client.post(&at("resume"), &json!({})).await.is_problem(409, "invalid_transition");
    client.post("/v1/executions/nobody/cancel", &json!({})).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_are_found_by_what_is_known_of_them() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (workflow, label) = (fresh("workflow"), fresh("label"));
    client.post("/v1/workflows/definitions", &waiting(&workflow)).await.is(201);
    let mut ids: Vec<String> = (0..5).map(|_| fresh("execution")).collect();
    ids.sort();
    let mut began = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        let body = json!({"execution_id": id, "labels": {"piece": label, "which": i.to_string()}});
        let made = client.post(&format!("/v1/workflows/{workflow}/execute"), &body).await;
        began.push(made.is(201).body["started_at"].as_str().expect("a time").to_owned());
        // The next one begins later by the clock, whose ticks are whole milliseconds.
        let next = format!("/v1/executions/{id}?wait_ms=20");
        client.get(&next).await.is(202);
    }
    client.post(&format!("/v1/executions/{}/cancel", ids[2]), &json!({})).await.is(200);
    let listed = async |query: String| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for _ in 0..9 {
            let page = client.get(&format!("/v1/executions?{query}&limit=2{cursor}")).await;
            let items = page.is(200).body["items"].as_array().expect("items");
            found.extend(items.iter().map(|it| it["execution_id"].as_str().expect("an id").to_owned()));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
        panic!("the pages do not end: {query}");
    };
    let these = |which: &[usize]| which.iter().map(|i| ids[*i].clone()).collect::<Vec<_>>();
    assert_eq!(listed(format!("workflow={workflow}")).await, these(&[0, 1, 2, 3, 4]));
    assert_eq!(listed(format!("label=piece:{label}&status=running")).await, these(&[0, 1, 3, 4]));
    assert_eq!(listed(format!("workflow={workflow}&status=cancelled")).await, these(&[2]));
    assert_eq!(listed(format!("workflow={workflow}&label=which:3")).await, these(&[3]));
    let later = format!("workflow={workflow}&started_after={}", began[3]);
    assert_eq!(listed(later).await, these(&[4]));
    let between = format!("workflow={workflow}&started_after={}&started_before={}", began[0], began[3]);
    assert_eq!(listed(between).await, these(&[1, 2]));
    client.get("/v1/executions?started_after=lunch").await.is_problem(400, "invalid_argument");
    client
        .post(&format!("/v1/workflows/{}/execute", fresh("nobody")), &json!({}))
        .await
        .is_problem(404, "not_found");
    let wrong = json!({"execution_id": "a:b"});
    client
        .post(&format!("/v1/workflows/{workflow}/execute"), &wrong)
        .await
        .is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_decide_within_a_run() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (workflow, ann) = (fresh("workflow"), fresh("ann"));
    let definition = json!({"id": workflow, "output": "${{ steps.ask.output }}", "steps": [
        {"id": "ask", "approval": {"title": "Go?", "show": "${{ input }}", "approvers": [ann]}}]});
    client.post("/v1/workflows/definitions", &definition).await.is(201);
    let body = json!({"input": {"what": "this"}});
    let started = client.post(&format!("/v1/workflows/{workflow}/execute"), &body).await;
    let id = started.is(201).body["execution_id"].as_str().expect("an id").to_owned();
    let waits = eventually("it waits for her", SOON, || async {
        let listed = client.get(&format!("/v1/approvals?approver={ann}&execution={id}")).await;
        listed.is(200).body["items"].as_array().expect("items").first().cloned()
    })
    .await;
    assert_eq!((&waits["show"], &waits["execution_id"]), (&json!({"what": "this"}), &json!(id)));
    let approval = waits["approval_id"].as_str().expect("an id");
    let revise = client.post(&format!("/v1/approvals/{approval}/revisions"), &json!({"show": 1})).await;
    revise.is_problem(422, "unprocessable");
    let decision = json!({"approver": ann, "decision": "approve"});
    client.post(&format!("/v1/approvals/{approval}/decisions"), &decision).await.is(200);
    let ended = client.get(&format!("/v1/executions/{id}?wait_ms=20000")).await;
    assert_eq!(ended.is(200).body["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_how_runs_and_approvals_went() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (workspace, workflow) = (fresh("ws"), fresh("workflow"));
    let send = |method: &str, path: &str, body: Value| {
        let request = client.request(method, path).header("synod-workspace", &workspace);
        client.send(if body.is_null() { request } else { request.json(&body) })
    };
    send("POST", "/v1/workflows/definitions", waiting(&workflow)).await.is(201);
    for id in ["a", "b", "c"] {
        let path = format!("/v1/workflows/{workflow}/execute");
        send("POST", &path, json!({"execution_id": id})).await.is(201);
    }
    send("POST", "/v1/executions/a/cancel", json!({})).await.is(200);
    let asked = json!({"approval_id": "a", "title": "Go?", "approvers": ["ann"], "auto_approve_after_ms": 1});
    send("POST", "/v1/approvals?wait_ms=20000", asked).await.is(200);
    let told = send("GET", "/v1/statistics", Value::Null).await;
    let (all, of_one) = (&told.is(200).body["executions"], &told.body["workflows"][&workflow]);
    assert_eq!((&all["begun"], &all["ended"]), (&json!(3), &json!({"cancelled": 1})));
    assert_eq!(all, of_one);
    assert!(all["took"]["p50_ms"].is_u64(), "{all}");
    let approvals = &told.body["approvals"];
    assert_eq!((&approvals["begun"], &approvals["ended"]), (&json!(1), &json!({"approved": 1})));
}
