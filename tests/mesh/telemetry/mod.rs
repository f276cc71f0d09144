//! Traces as a receiver sees them: one for a piece of work through every process; what failed always; nobody waits.

#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test")]

mod receiver;

use super::outages::services;
use super::sharing::settled;
use receiver::{Manner, Receiver, Seen};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};
use synod_infra::telemetry::names;
use synod_tests::{Agent, Client, Manner as Doing, Mesh, Process, eventually, fresh, synod};

const SOON: Duration = Duration::from_secs(30);
const ALL: &str = "1";
const NONE: &str = "0";

/// An embedded mesh that tells this receiver.
async fn mesh_telling(receiver: &Receiver, sample: &str) -> Mesh {
    Mesh::own(&["--otlp-endpoint", &receiver.url, "--otlp-sample", sample]).await
}

/// `synod agent run`: a program as an agent, in a process of its own.
fn agent(mesh: &Mesh, receiver: &Receiver, sample: &str, id: &str, program: &[&str]) -> Process {
    let mut command = Command::new(synod());
    command.args(["agent", "run", "--id", id, "--capability", id, "--"]).args(program);
    Process::start(command, &settings(mesh, receiver, sample))
}

fn settings<'a>(mesh: &'a Mesh, receiver: &'a Receiver, sample: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("SYNOD_HTTP_URL", &mesh.http),
        ("SYNOD_KAFKA_BROKERS", &mesh.kafka),
        ("SYNOD_REDIS_URL", &mesh.redis),
        ("SYNOD_OTLP_ENDPOINT", &receiver.url),
        ("SYNOD_OTLP_SAMPLE", sample),
    ]
}

/// `synod task submit`, in a process of its own, until it has ended; its output.
async fn submit(mesh: &Mesh, receiver: &Receiver, sample: &str, capability: &str) -> String {
    let mut command = Command::new(synod());
    command.args(["--output", "json", "task", "submit", "--wait=20000", "--input", "{\"secret\":1}"]);
    command.args(["--capability", capability]);
    let mut process = Process::start(command, &settings(mesh, receiver, sample));
    eventually("the client ends", SOON, || std::future::ready(process.ended())).await;
    process.log()
}

/// One command line against this mesh, until it has ended; what it said.
async fn cli(mesh: &Mesh, words: &[&str]) -> String {
    let mut command = Command::new(synod());
    command.args(words);
    let mut process = Process::start(command, &[("SYNOD_HTTP_URL", &mesh.http)]);
    let status = eventually("the command ends", SOON, || std::future::ready(process.ended())).await;
    assert!(status.success(), "{}", process.last_words());
    process.log()
}

/// The spans of one trace, once all of these names are among them.
async fn trace_with(receiver: &Receiver, names: &[&str]) -> Vec<Seen> {
    let found = eventually_seen(receiver, names).await;
    let mut ids = BTreeSet::new();
    assert!(found.iter().all(|span| ids.insert(span.id.clone())), "each span is told once: {found:#?}");
    found
}

async fn eventually_seen(receiver: &Receiver, names: &[&str]) -> Vec<Seen> {
    let began = Instant::now();
    loop {
        let seen = receiver.seen();
        let traces: BTreeSet<&str> = seen.iter().map(|span| span.trace.as_str()).collect();
        for trace in traces {
            let of = |span: &&Seen| span.trace == trace;
            if names.iter().all(|name| seen.iter().filter(of).any(|span| span.name == *name)) {
                return seen.iter().filter(of).cloned().collect();
            }
        }
        assert!(began.elapsed() < SOON, "no trace has {names:?}: {seen:#?}");
        // The condition is asked again; this only keeps the loop from spinning.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The one span of this name.
fn one<'a>(trace: &'a [Seen], name: &str) -> &'a Seen {
    let mut found = trace.iter().filter(|span| span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("{name} in {trace:#?}"));
    assert!(found.next().is_none(), "{name} is there once: {trace:#?}");
    one
}

/// The one span of this name and service.
fn of<'a>(trace: &'a [Seen], service: &str, name: &str) -> &'a Seen {
    let found = trace.iter().find(|span| span.name == name && span.service == service);
    found.unwrap_or_else(|| panic!("{name} of {service} in {trace:#?}"))
}

/// That each of these hangs under the one before.
fn hang_in_a_row(trace: &[Seen], names: &[&str]) {
    for pair in names.windows(2) {
        assert_eq!(one(trace, pair[1]).parent, one(trace, pair[0]).id, "{} under {}", pair[1], pair[0]);
    }
}

async fn metric(client: &Client, line: &str) -> f64 {
    let text = client.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_every_process_that_a_task_meets() {
    let receiver = Receiver::start(Manner::Takes).await;
    let mesh = mesh_telling(&receiver, ALL).await;
    let cap = fresh("cap");
    let _agent = agent(&mesh, &receiver, ALL, &cap, &["cat"]);
    let told = submit(&mesh, &receiver, ALL, &cap).await;
    assert!(told.contains("completed"), "{told}");

    let names = [
        "synod.task.submit".to_owned(),
        format!("task {cap}"),
        format!("attempt {cap}"),
        format!("process {cap}"),
        "synod.task.complete".to_owned(),
    ];
    let trace = trace_with(&receiver, &names.each_ref().map(String::as_str)).await;
    hang_in_a_row(&trace, &["POST /v1/tasks", &names[1], &names[2], &names[3]]);
    // The agent's word on its result, and what the coordinator made of it.
    let said = of(&trace, "synod-agent", "synod.task.complete");
    assert_eq!(said.parent, one(&trace, &names[3]).id);
    assert_eq!(of(&trace, "synod-up", "synod.task.complete").parent, said.id);
    assert_eq!(one(&trace, &names[0]).parent, one(&trace, "POST /v1/tasks").id);
    let services: BTreeSet<&str> = trace.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["synod-agent", "synod-cli", "synod-up"]));
    // Every parent is there, but that of the first.
    let ids: BTreeSet<&str> = trace.iter().map(|span| span.id.as_str()).collect();
    let orphans: Vec<&Seen> = trace.iter().filter(|span| !ids.contains(&*span.parent)).collect();
    assert!(orphans.len() == 1 && orphans[0].service == "synod-cli", "{orphans:#?}");
    // What Phoenix draws, and the conventions of messaging.
    let process = one(&trace, &names[3]);
    assert_eq!(process.get("openinference.span.kind"), "AGENT");
    assert_eq!((process.get("graph.node.id"), process.get("graph.node.parent_id")), (&*cap, &*cap));
    assert_eq!((process.get("gen_ai.agent.id"), process.get("messaging.operation.type")), (&*cap, "process"));
    assert_eq!((process.kind, one(&trace, &names[2]).kind), (5, 4), "a consumer's, and its producer's");
    assert!(process.took_ns > 0 && one(&trace, &names[1]).took_ns >= one(&trace, &names[2]).took_ns);
    // What was given and returned is nobody's business, unless that is wanted.
    assert!(trace.iter().all(|span| span.get("input.value").is_empty()), "{trace:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_a_workflow_and_the_people_whom_it_asks() {
    let receiver = Receiver::start(Manner::Takes).await;
    let url = receiver.url.clone();
    let mesh = Mesh::own(&["--otlp-endpoint", &url, "--otlp-sample", ALL, "--otlp-payloads", "on"]).await;
    let (client, cap) = (Client::of(&mesh), fresh("cap"));
    let mut command = Command::new(synod());
    command.args(["agent", "run", "--id", &cap, "--capability", &cap, "--", "cat"]);
    let mut told = settings(&mesh, &receiver, ALL);
    told.push(("SYNOD_OTLP_PAYLOADS", "on"));
    let _agent = Process::start(command, &told);

    let workflow = fresh("workflow");
    let definition = json!({"id": workflow, "steps": [
        {"id": "draft", "task": {"capability": cap, "input": {"text": "hello"}}},
        {"id": "look", "depends_on": ["draft"], "approval": {"title": "Go?", "show": {"text": "hello"}, "approvers": ["ann"]}},
        {"id": "publish", "depends_on": ["look"], "task": {"capability": cap, "input": 2}}]});
    client.post("/v1/workflows/definitions", &definition).await.is(201);
    let (execution, trace_id) = (fresh("exec"), "4bf92f3577b34da6a3ce929d0e0e4736");
    let begun = client
        .request("POST", &format!("/v1/workflows/{workflow}/execute"))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .json(&json!({"execution_id": execution}));
    assert!(client.send(begun).await.status < 300);
    let approval = format!("{execution}:look");
    eventually("the approval is asked", SOON, || async {
        Some(client.get(&format!("/v1/approvals/{approval}")).await).filter(|answer| answer.status == 200)
    })
    .await;
    let decided = json!({"approver": "ann", "decision": "approve"});
    client.post(&format!("/v1/approvals/{approval}/decisions"), &decided).await.is(200);
    client.get(&format!("/v1/executions/{execution}?wait_ms=20000")).await.is(200);

    let whole = format!("execution {workflow}");
    let process = format!("process {cap}");
    let trace =
        trace_with(&receiver, &[&whole, "step draft", "step look", "step publish", "approval", &process])
            .await;
    assert!(trace.iter().all(|span| span.trace == trace_id));
    assert_eq!(one(&trace, &whole).parent, "00f067aa0ba902b7", "under the caller's own");
    hang_in_a_row(&trace, &[&whole, "step look", "approval"]);
    for step in ["draft", "publish"] {
        let step = one(&trace, &format!("step {step}"));
        assert_eq!(step.parent, one(&trace, &whole).id);
        let task = trace.iter().find(|span| span.parent == step.id).unwrap();
        let attempt = trace.iter().find(|span| span.parent == task.id).unwrap();
        let done = trace.iter().find(|span| span.parent == attempt.id).unwrap();
        assert_eq!((&task.name, &done.name), (&format!("task {cap}"), &process));
        // The agent's node hangs under the step's, and that under the workflow's.
        assert_eq!(done.get("graph.node.parent_id"), step.get("graph.node.id"));
        assert_eq!(step.get("graph.node.parent_id"), workflow);
    }
    // Payloads are wanted here.
    let given: BTreeSet<&str> =
        trace.iter().filter(|span| span.name == process).map(|span| span.get("input.value")).collect();
    assert_eq!(given, BTreeSet::from(["2", "{\"text\":\"hello\"}"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_kept_whatever_the_ratio_and_what_went_well_is_not() {
    let receiver = Receiver::start(Manner::Takes).await;
    let mesh = mesh_telling(&receiver, NONE).await;
    let client = Client::of(&mesh);
    let (good, bad) = (fresh("good"), fresh("bad"));
    let _good = agent(&mesh, &receiver, NONE, &good, &["cat"]);
    let _bad = agent(&mesh, &receiver, NONE, &bad, &["sh", "-c", "exit 65"]);
    for _ in 0..10 {
        assert!(submit(&mesh, &receiver, NONE, &good).await.contains("completed"));
    }
    submit(&mesh, &receiver, NONE, &bad).await;
    let (task, process) = (format!("task {bad}"), format!("process {bad}"));
    let trace =
        trace_with(&receiver, &[&task, &process, &format!("attempt {bad}"), "synod.task.submit"]).await;
    assert!(one(&trace, &task).failed && one(&trace, &process).failed);
    // What went well is let go once its end is known, and counted.
    let told = receiver.seen();
    assert!(!told.iter().any(|span| span.name.ends_with(&good)), "{told:#?}");
    let unsampled = metric(&client, "synod_spans_total{outcome=\"unsampled\"}").await;
    assert!(unsampled >= 40.0, "four spans of each of ten tasks: {unsampled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_or_is_away_holds_up_nobody() {
    let hangs = Receiver::start(Manner::Hangs).await;
    let away = Receiver::start(Manner::Takes).await;
    away.goes();
    for receiver in [&hangs, &away] {
        let mesh = mesh_telling(receiver, ALL).await;
        let client = Client::of(&mesh);
        let agent = Agent::join(&mesh, Doing::Echo).await;
        // More spans than may wait.
        let mut sent = 0;
        let dropped =
            ["dropped", "failed"].map(|outcome| format!("synod_spans_total{{outcome=\"{outcome}\"}}"));
        let began = Instant::now();
        loop {
            let tasks: Vec<Value> = (0..200)
                .map(|n| {
                    json!({"specversion": "1.0", "id": fresh("ce"), "source": "/t", "type": "synod.task.submit",
                    "data": {"task_id": fresh("t"), "capability": agent.capability, "input": n}})
                })
                .collect();
            let request = client.request("POST", "/v1/commands").body(json!(tasks).to_string());
            let answer =
                client.send(request.header("content-type", "application/cloudevents-batch+json")).await;
            answer.is(200);
            sent += tasks.len();
            let lost = metric(&client, &dropped[0]).await + metric(&client, &dropped[1]).await;
            if lost > 0.0 && sent >= 1_000 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is counted as lost after {sent}");
        }
        let one = client.post("/v1/tasks?wait_ms=20000", &json!({"capability": agent.capability})).await;
        assert_eq!(one.is(200).body["status"], "completed");
        let began = Instant::now();
        mesh.signal("TERM");
        mesh.ended(SOON).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert!(hangs.requests() > 0, "it was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receiver_there_is_no_exporter() {
    let mesh = Mesh::own(&[]).await;
    let receiver = Receiver::start(Manner::Takes).await;
    let other = mesh_telling(&receiver, ALL).await;
    let threads = |mesh: &Mesh| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", mesh.pid())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        names.filter(|name| name.trim() == "otlp").count()
    };
    assert_eq!((threads(&mesh), threads(&other)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_change_while_a_coordinator_runs() {
    let mesh = Mesh::own(&["--log", "warn", "--log-format", "json"]).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Doing::Echo).await;
    let work = async |correlation: &str| {
        let task =
            client.request("POST", "/v1/tasks?wait_ms=20000").header("synod-correlation-id", correlation);
        client.send(task.json(&json!({"capability": agent.capability}))).await.is(200);
    };
    work("first-piece").await;
    assert_eq!(client.get("/v1/log-level").await.is(200).body["filter"], "warn");
    let told = cli(&mesh, &["coordinator", "log-level", "warn,synod_coordinator=debug"]).await;
    assert!(told.contains("warn,synod_coordinator=debug"), "{told}");
    work("meanwhile").await;
    let wrong = client.send(client.request("PUT", "/v1/log-level").json(&json!({"filter": "info,=["}))).await;
    assert_eq!(wrong.is_problem(400, "invalid_argument").body["field"], "/filter");
    let said = eventually("the end of the task is logged", SOON, || async {
        let log = mesh.log();
        let line = log.lines().find(|line| line.contains("a task has ended")).map(str::to_owned)?;
        Some((serde_json::from_str::<Value>(&line).unwrap(), log))
    })
    .await;
    assert_eq!(said.0["correlation_id"], "meanwhile", "{}", said.0);
    assert_eq!(said.0["trace_id"].as_str().map(str::len), Some(32), "{}", said.0);
    assert!(!said.1.contains("first-piece"), "nothing of it was told at the level before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_coordinator_measures_has_the_names_and_labels_that_are_told() {
    let mesh = Mesh::own(&[]).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Doing::Echo).await;
    client.post("/v1/tasks?wait_ms=20000", &json!({"capability": agent.capability})).await.is(200);
    client.post("/v1/tasks", &json!({"capability": "nobody"})).await.is(201);
    let asked = json!({"approval_id": fresh("approval"), "title": "Go?", "show": {}, "approvers": ["ann"]});
    client.post("/v1/approvals", &asked).await.is(201);
    let text = eventually("who waits is seen to have waited", SOON, || async {
        let text = client.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let has = |line: &str| text.lines().any(|l| l.strip_prefix(line).is_some_and(|v| v.trim() != "0"));
        let all = [
            "synod_oldest_task_age_seconds ",
            "synod_oldest_approval_age_seconds ",
            "synod_kafka_brokers_up{client=\"ledger\"}",
        ];
        all.iter().all(|line| has(line)).then_some(text)
    })
    .await;
    let known: BTreeMap<&str, (&str, &[&str])> =
        names::all().map(|(name, kind, labels, _)| (name, (kind, labels))).collect();
    // Those of Prometheus' own convention are told by its documentation.
    let ours = |line: &&str| !line.starts_with('#') && !line.is_empty() && !line.starts_with("process_");
    for line in text.lines().filter(ours) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = base.and_then(|base| known.get(base));
        let (_, labels) = known.get(name).or(histogram).unwrap_or_else(|| panic!("{line} is told nowhere"));
        let told = rest.strip_prefix('{').map_or("", |rest| rest.split('}').next().unwrap());
        for label in told.split("\",").filter_map(|pair| pair.split("=\"").next()).filter(|l| !l.is_empty()) {
            assert!(labels.contains(&label) || label == "le", "{label} of {line} is told nowhere");
        }
    }
    let value = |line: &str| {
        let found =
            text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line} in {text}"));
        found.trim().parse::<f64>().unwrap()
    };
    assert_eq!((value("synod_tasks{status=\"waiting\"}"), value("synod_approvals ")), (1.0, 1.0));
    assert_eq!((value("synod_task_wait_seconds_count "), value("synod_shards_owned ")), (1.0, 8.0));
    assert_eq!(value("synod_picks_total{rule=\"least_connections\"}"), 1.0);
    assert_eq!(value("synod_shard_changes_total{to=\"claimed\"}"), 8.0);
    assert!(value("synod_command_seconds_count{door=\"http\"}") >= 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_meet_in_one_request_are_linked() {
    let receiver = Receiver::start(Manner::Takes).await;
    let mesh = mesh_telling(&receiver, ALL).await;
    let client = Client::of(&mesh);
    let traces = ["1".repeat(32), "2".repeat(32)];
    let tasks = traces.each_ref().map(|trace| {
        json!({"specversion": "1.0", "id": fresh("ce"), "source": "/t", "type": "synod.task.submit",
            "traceparent": format!("00-{trace}-{}-01", "3".repeat(16)),
            "data": {"task_id": fresh("t"), "capability": "nobody", "input": null}})
    });
    let request = client.request("POST", "/v1/commands").body(json!(tasks).to_string());
    client.send(request.header("content-type", "application/cloudevents-batch+json")).await.is(200);
    let met = trace_with(&receiver, &["receive commands"]).await;
    assert_eq!(met[0].links, traces);
    assert_eq!(met[0].get("messaging.batch.message_count"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_one_trace_across_a_take_over() {
    let receiver = Receiver::start(Manner::Takes).await;
    let (services, _turn) = services().await;
    let told = [("SYNOD_OTLP_ENDPOINT", receiver.url.as_str()), ("SYNOD_OTLP_SAMPLE", ALL)];
    let meshes = [0, 1].map(|_| Mesh::coordinator_set(&services.kafka, &services.redis, &told));
    for mesh in &meshes {
        mesh.ready(SOON).await;
    }
    let clients = meshes.each_ref().map(Client::of);
    settled(&clients.each_ref()).await;
    let (trace, cap) = ("a".repeat(32), fresh("cap"));
    let id = fresh("task");
    let begun = clients[0]
        .request("POST", "/v1/tasks?wait_ms=0")
        .header("traceparent", format!("00-{trace}-{}-01", "b".repeat(16)))
        .json(&json!({"task_id": id, "capability": cap}));
    clients[0].send(begun).await.is(201);
    meshes[0].kill();
    settled(&[&clients[1]]).await;
    let _agent = agent(&meshes[1], &receiver, ALL, &cap, &["cat"]);
    let path = format!("/v1/tasks/{id}?wait_ms=20000");
    assert_eq!(clients[1].get(&path).await.is(200).body["status"], "completed");
    let names = [format!("task {cap}"), format!("attempt {cap}"), format!("process {cap}")];
    let seen = trace_with(&receiver, &names.each_ref().map(String::as_str)).await;
    assert!(seen.iter().all(|span| span.trace == trace), "{seen:#?}");
    hang_in_a_row(&seen, &names.each_ref().map(String::as_str));
    assert_eq!(one(&seen, &names[0]).parent, "b".repeat(16), "under the caller's own");
}
