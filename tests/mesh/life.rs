//! An agent's own life and the fleet's, from outside: pauses, statistics, lists, being forgotten.

#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test")]

use super::outages::{names, services};
use super::sharing::{id_of, settled, start as start_coordinators};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use synod_infra::kafka::Outgoing;
use synod_protocol::{Envelope, topics};
use synod_tests::{Agent, Client, Ground, Manner, Mesh, eventually, fresh};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);

pub(super) fn start() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// An agent that only registers and beats, and says that it holds what the test says.
pub(super) struct Beating {
    pub(super) id: String,
    holds: Arc<Mutex<Value>>,
    _work: JoinSet<()>,
}

impl Beating {
    pub(super) async fn join(
        client: &Arc<Client>,
        id: &str,
        more: &Value,
        dress: fn(&mut Envelope),
    ) -> Beating {
        let incarnation = start();
        let body = registration(id, &incarnation, more);
        client.command(&fresh("register"), "synod.agent.register", &body).await.is(200);
        let (holds, mut work) = (Arc::new(Mutex::new(json!([]))), JoinSet::new());
        let (held, sender, agent) = (holds.clone(), client.clone(), id.to_owned());
        work.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(300));
            loop {
                tick.tick().await;
                let value = json!({"agent_id": agent, "incarnation": incarnation, "in_flight": *held.lock().unwrap(),
                    "load": {"cpu": -3.5, "memory_mb": -1.0}});
                let mut envelope = Envelope::new(fresh("beat"), "/tests", "synod.agent.heartbeat");
                dress(&mut envelope);
                let out = Outgoing::to(topics::HEARTBEATS).key(agent.as_str()).envelope(&envelope);
                sender.throw(out.payload(value.to_string()));
            }
        });
        Beating { id: id.to_owned(), holds, _work: work }
    }
}

pub(super) fn registration(id: &str, incarnation: &str, more: &Value) -> Value {
    let mut body = json!({"agent_id": id, "incarnation": incarnation, "capabilities": [format!("cap-of-{id}")],
        "delivery": {"kafka": {"topic": format!("{}{id}", topics::INBOX_PREFIX)}}});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

pub(super) async fn until(client: &Client, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || async { Some(client.get(path).await.body).filter(|body| holds(body)) }).await
}

async fn check_capability_paused(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let (agent, other) = (Agent::join(&mesh, Manner::Echo).await, Agent::join(&mesh, Manner::Echo).await);
    let scope = json!({"capability": agent.capability, "reason": "inspection"});
    let paused = client.post("/v1/fleet/pause", &scope).await;
    paused.is(200);
    let answered = (&paused.body["agents"], &paused.body["attempts"], &paused.body["not_stopped_total"]);
    assert_eq!(answered, (&json!(1), &json!(0), &json!(0)), "{}", paused.body);
    let task = json!({"capability": agent.capability, "input": 1});
    let waiting = client.post("/v1/tasks?wait_ms=0", &task).await;
    waiting.is(201);
    let elsewhere = json!({"capability": other.capability, "input": 2});
    client.post("/v1/tasks?wait_ms=20000", &elsewhere).await.is(200);
    let id = waiting.body["task_id"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&format!("/v1/tasks/{id}")).await.body["status"], "waiting");
    let shown = client.get("/v1/fleet").await;
    let ours = |pause: &&Value| pause["pause"]["capability"] == json!(agent.capability);
    let ours = shown.body["pauses"].as_array().unwrap().iter().find(ours).expect("it is listed");
    assert_eq!(ours["pause"]["reason"], "inspection");
    client.post("/v1/fleet/resume", &json!({"capability": agent.capability})).await.is(200);
    assert_eq!(client.ended(&id).await["status"], "completed");
    let again = client.post("/v1/fleet/resume", &json!({"capability": agent.capability})).await;
    again.is_problem(409, "invalid_transition");
    assert_eq!(again.body["entity_status"], "running");
    let types = client.history("synod.fleet", "fleet.resumed").await;
    assert!(types.contains(&"synod.fleet.paused".to_owned()), "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_is_paused_and_resumed_in_an_embedded_mesh() {
    check_capability_paused(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_is_paused_and_resumed_on_real_brokers() {
    check_capability_paused(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_halted_and_what_has_not_stopped_is_listed() {
    let mesh = Mesh::own(&[]).await;
    let client = Arc::new(Client::of(&mesh));
    let agent = Beating::join(&client, "stubborn", &json!({"capabilities": ["c"]}), |_| {}).await;
    let task = client.post("/v1/tasks?wait_ms=0", &json!({"task_id": "t", "capability": "c"})).await;
    task.is(201);
    until(&client, "/v1/tasks/t", "it is assigned", |task| task["status"] == "assigned").await;
    *agent.holds.lock().unwrap() = json!([{"task_id": "t", "attempt": 1}]);

    let halted = client.post("/v1/fleet/pause", &json!({"everything": true, "mode": "halt"})).await;
    halted.is(200);
    assert_eq!((&halted.body["agents"], &halted.body["attempts"]), (&json!(1), &json!(1)), "{}", halted.body);
    let told = until(&client, "/v1/tasks/t", "it is taken back", |task| task["status"] == "waiting").await;
    assert_eq!(told["attempts"][0]["outcome"], "withdrawn");
    let fleet = until(&client, "/v1/fleet", "the agent says that it goes on", |fleet| {
        fleet["pauses"][0]["not_stopped_total"] == 1
            && fleet["pauses"][0]["not_stopped"][0]["taken_back"] == true
    })
    .await;
    let left = &fleet["pauses"][0]["not_stopped"][0];
    assert_eq!(
        (&left["agent_id"], &left["task_id"], &left["attempt"]),
        (&json!("stubborn"), &json!("t"), &json!(1))
    );
    // The agent was told on its topic.
    eventually("the withdrawal is on its topic", SOON, || async {
        let records = client.all("synod.inbox.stubborn").await;
        records.iter().any(|r| r.envelope().unwrap().ty == "synod.task.withdrawn").then_some(())
    })
    .await;
    *agent.holds.lock().unwrap() = json!([]);
    until(&client, "/v1/fleet", "it has let go", |fleet| fleet["pauses"][0]["not_stopped_total"] == 0).await;

    // In another workspace nothing is assigned either.
    let elsewhere =
        |method: &str, path: &str| client.request(method, path).header("synod-workspace", "other");
    let registered = json!({"specversion": "1.0", "id": fresh("ce"), "source": "/tests", "type": "synod.agent.register",
        "data": registration("o", &start(), &json!({"capabilities": ["c"]}))});
    let sent = elsewhere("POST", "/v1/commands").header("content-type", "application/cloudevents+json");
    client.send(sent.body(registered.to_string())).await.is(200);
    let submitted = elsewhere("POST", "/v1/tasks").json(&json!({"task_id": "u", "capability": "c"}));
    client.send(submitted).await.is(201);
    let shown = client.send(elsewhere("GET", "/v1/fleet")).await;
    assert_eq!(shown.body["pauses"][0]["pause"]["mode"], "halt");
    assert_eq!(client.send(elsewhere("GET", "/v1/tasks/u")).await.body["status"], "waiting");

    client.post("/v1/fleet/resume", &json!({"everything": true})).await.is(200);
    until(&client, "/v1/tasks/t", "it is given again", |task| task["attempts"][1]["attempt"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_a_topic_of_its_own_hears_of_its_status() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let report = json!({"reason": "no disk", "recovery": "resume", "resume_after_ms": 200});
    client.post(&format!("/v1/agents/{}/report_error", agent.id), &report).await.is(200);
    let inbox = format!("{}{}", topics::INBOX_PREFIX, agent.id);
    let told = eventually("both changes are on its topic", SOON, || async {
        let records = client.all(&inbox).await;
        let told = records.iter().filter(|r| r.envelope().unwrap().ty == "synod.agent.status_changed");
        let read = |r: &synod_infra::kafka::RawRecord| {
            serde_json::from_slice::<Value>(r.payload.as_deref().unwrap_or_default()).unwrap()
        };
        let told: Vec<Value> = told.map(read).collect();
        (told.len() == 2).then_some(told)
    })
    .await;
    assert_eq!((&told[0]["status"], &told[0]["reason"]), (&json!("error"), &json!("no disk")));
    assert_eq!((&told[0]["recovery"], &told[1]["status"]), (&json!("resume"), &json!("idle")));
    assert_eq!(told[0]["revision"].as_u64().unwrap() + 1, told[1]["revision"].as_u64().unwrap());
    let bad = json!({"recovery": "resume", "resume_after_ms": 3_600_001});
    let refused = client.post(&format!("/v1/agents/{}/report_error", agent.id), &bad).await;
    refused.is_problem(400, "invalid_argument");
    assert_eq!(refused.body["field"], "/resume_after_ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_have_done_is_told_of_one_and_of_all() {
    let mesh = Mesh::own(&[]).await;
    let client = Client::of(&mesh);
    let (good, bad) = (Agent::join(&mesh, Manner::Echo).await, Agent::join(&mesh, Manner::Fail).await);
    for _ in 0..10 {
        client.post("/v1/tasks?wait_ms=20000", &json!({"capability": good.capability})).await.is(200);
    }
    let retry = json!({"max_attempts": 2, "initial_backoff_ms": 1});
    client
        .post("/v1/tasks?wait_ms=20000", &json!({"capability": bad.capability, "retry": retry}))
        .await
        .is(200);
    let of_good = client.get(&format!("/v1/agents/{}/statistics", good.id)).await;
    of_good.is(200);
    let attempts = &of_good.body["attempts"];
    assert_eq!(
        (&attempts["assigned"], &attempts["completed"], &attempts["failed"]),
        (&json!(10), &json!(10), &json!(0))
    );
    let latency = &attempts["latency"];
    assert!(
        latency["p50_ms"].as_u64() <= latency["p99_ms"].as_u64() && latency["p99_ms"].is_u64(),
        "{latency}"
    );
    assert!((0.0..=1.0).contains(&attempts["utilisation"].as_f64().unwrap()), "{attempts}");
    assert_eq!((&of_good.body["restarts"], &of_good.body["missing"]), (&json!(0), &json!([])));
    let of_bad = client.get(&format!("/v1/agents/{}/statistics", bad.id)).await;
    assert_eq!(
        (&of_bad.body["attempts"]["assigned"], &of_bad.body["attempts"]["failed"]),
        (&json!(2), &json!(2))
    );
    let all = client.get("/v1/statistics").await;
    let attempts = &all.body["attempts"];
    assert_eq!(
        (&attempts["assigned"], &attempts["completed"], &attempts["failed"]),
        (&json!(12), &json!(10), &json!(2))
    );
    assert_eq!((&all.body["agents"]["idle"], &all.body["capacity"]), (&json!(2), &json!(128)));
    client.get("/v1/agents/nobody/statistics").await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_filtered_sorted_and_paged() {
    let mesh = Mesh::own(&[]).await;
    let client = Client::of(&mesh);
    for n in 0..25 {
        let more = json!({"labels": {"zone": if n % 5 == 0 { "x" } else { "y" }}, "max_concurrency": n + 1,
            "capabilities": [if n % 2 == 0 { "even" } else { "odd" }]});
        let body = registration(&format!("a{n:02}"), &start(), &more);
        client.command(&fresh("ce"), "synod.agent.register", &body).await.is(200);
    }
    client.post("/v1/agents/a04/pause", &json!({})).await.is(200);
    let list = async |query: &str| -> (Vec<String>, Value) {
        let page = client.get(&format!("/v1/agents?{query}")).await;
        page.is(200);
        let ids = page.body["items"].as_array().unwrap().iter();
        (ids.map(|a| a["agent_id"].as_str().unwrap().to_owned()).collect(), page.body["next_cursor"].clone())
    };
    assert_eq!(list("capability=odd&label=zone=x").await.0, ["a05", "a15"]);
    assert_eq!(list("status=paused").await.0, ["a04"]);
    assert_eq!(list("health=lost").await.0, Vec::<String>::new());
    assert_eq!(list("sort=agent_id&order=desc&limit=2").await.0, ["a24", "a23"]);
    for sort in ["agent_id", "in_flight", "load", "last_seen"] {
        for order in ["asc", "desc"] {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let (mut ids, next) = list(&format!("sort={sort}&order={order}&limit=7{cursor}")).await;
                assert!(ids.len() <= 7);
                all.append(&mut ids);
                let Some(next) = next.as_str() else { break };
                cursor = format!("&cursor={}", next.replace('~', "%7E"));
            }
            all.sort();
            let want: Vec<String> = (0..25).map(|n| format!("a{n:02}")).collect();
            // Who is heard of meanwhile may move from one page to another.
            if sort != "last_seen" {
                assert_eq!(all, want, "{sort} {order}");
            }
        }
    }
    for (query, field) in
        [("limit=10001", "/limit"), ("label=zone", "/label"), ("sort=load&cursor=x", "/cursor")]
    {
        let refused = client.get(&format!("/v1/agents?{query}")).await;
        assert_eq!(refused.is_problem(400, "invalid_argument").body["field"], field);
    }
    client.get("/v1/agents?sort=beauty").await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_long_gone_is_forgotten_everywhere() {
    let mesh = Mesh::own(&["--agents-kept", "1s"]).await;
    let client = Client::of(&mesh);
    let (left, silent) = (start(), start());
    for (id, incarnation) in [("left", &left), ("silent", &silent)] {
        let body = registration(id, incarnation, &json!({"delivery": "redis"}));
        client.command(&fresh("ce"), "synod.agent.register", &body).await.is(200);
    }
    let stays = Agent::join(&mesh, Manner::Echo).await;
    let asked = client.request("DELETE", "/v1/agents/left");
    client.send(asked).await.is(200);
    for id in ["left", "silent"] {
        let types = client.history(id, "agent.removed").await;
        assert_eq!(types.last().map(String::as_str), Some("synod.agent.removed"), "{types:?}");
    }
    for id in ["left", "silent"] {
        eventually("nobody knows it any more", SOON, || async {
            Some(client.get(&format!("/v1/agents/{id}")).await).filter(|answer| answer.status == 404)
        })
        .await;
        let tombstone = eventually("the directory's tombstone", SOON, || async {
            let records = client.all(topics::AGENTS).await;
            records
                .into_iter()
                .rfind(|r| r.key.as_deref() == Some(id.as_bytes()))
                .filter(|r| r.payload.is_none())
        })
        .await;
        assert_eq!(tombstone.envelope().unwrap().ty, "synod.agent.removed");
    }
    client.get(&format!("/v1/agents/{}", stays.id)).await.is(200);
    let back = client
        .command(&fresh("ce"), "synod.agent.register", &registration("left", &start(), &json!({})))
        .await;
    back.is(200);
    assert_eq!(
        (&back.body["status"], &back.body["restarts"]),
        (&json!("idle"), &Value::Null),
        "{}",
        back.body
    );
    client.get("/v1/agents/left").await.is(200);
    let status = until(&client, "/v1/status", "the cleanup is told", |status| {
        status["duties"].as_array().is_some_and(|all| all.iter().any(|d| d["duty"] == "cleanup"))
    })
    .await;
    let duties = status["duties"].as_array().unwrap();
    for name in ["cleanup", "directory", "heartbeats", "judging", "performance", "presence"] {
        let duty =
            duties.iter().find(|d| d["duty"] == name).unwrap_or_else(|| panic!("{name} in {duties:?}"));
        assert!(duty["runs"].as_u64().unwrap() > 0 && duty["last_run_at"].is_string(), "{duty}");
        assert!(duty["result"].is_string() && duty["ok"].is_boolean(), "{duty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_of_the_fleet_holds_for_every_coordinator_and_outlives_one() {
    let (services, _turn) = services().await;
    let meshes = start_coordinators(&services, 2).await;
    let clients: Vec<Client> = meshes.iter().map(Client::of).collect();
    let all: Vec<&Client> = clients.iter().collect();
    let owners = settled(&all).await;
    // The one that dies owns the shard of the fleet's root, and an agent that is in error.
    let root = topics::partition(topics::FLEET_ROOT.as_bytes(), 8);
    let dying = usize::from(id_of(all[0]).await != owners[&root]);
    let (victim, stays) = (all[dying], all[1 - dying]);
    let agent = Agent::join(&meshes[1 - dying], Manner::Echo).await;

    // Paused by one, known to the other: of tasks on every shard none is assigned.
    let scope = json!({"capability": agent.capability});
    victim.post("/v1/fleet/pause", &scope).await.is(200);
    for client in [stays, victim] {
        let told = client.get("/v1/fleet/pauses").await;
        let capabilities = told.body["pauses"].as_array().unwrap().iter().map(|p| p["capability"].clone());
        assert!(capabilities.into_iter().any(|c| c == json!(agent.capability)), "{}", told.body);
    }
    let tasks = names(24);
    for (n, id) in tasks.iter().enumerate() {
        let task = json!({"task_id": id, "capability": agent.capability, "input": n});
        all[n % 2].post("/v1/tasks?wait_ms=0", &task).await.is(201);
    }
    let mut sick = names(1_000).into_iter();
    let sick = sick.find(|id| owners[&topics::partition(id.as_bytes(), 8)] == owners[&root]).unwrap();
    let body = registration(&sick, &start(), &json!({}));
    victim.command(&fresh("ce"), "synod.agent.register", &body).await.is(200);
    let error = json!({"recovery": "resume", "resume_after_ms": 4_000});
    victim.post(&format!("/v1/agents/{sick}/report_error"), &error).await.is(200);

    meshes[dying].kill();
    settled(&[stays]).await;
    for id in &tasks {
        assert_eq!(stays.get(&format!("/v1/tasks/{id}")).await.body["status"], "waiting", "{id}");
    }
    until(stays, &format!("/v1/agents/{sick}"), "it comes back by itself", |a| a["status"] == "idle").await;

    meshes[dying].start_again();
    meshes[dying].ready(SOON).await;
    settled(&all).await;
    let shown = victim.get("/v1/fleet").await;
    assert!(shown.body["pauses"].to_string().contains(&agent.capability), "{}", shown.body);
    victim.post("/v1/fleet/resume", &scope).await.is(200);
    for id in &tasks {
        assert_eq!(stays.ended(id).await["status"], "completed", "{id}");
    }
    // Both say the same of what was done, and it is all of it.
    for client in [stays, victim] {
        let told = client.get(&format!("/v1/agents/{}/statistics", agent.id)).await;
        let attempts = &told.body["attempts"];
        assert_eq!(
            (&attempts["assigned"], &attempts["completed"]),
            (&json!(24), &json!(24)),
            "{}",
            told.body
        );
        let page = client.get(&format!("/v1/agents?capability={}&sort=load", agent.capability)).await;
        assert_eq!(page.body["items"][0]["agent_id"], json!(agent.id));
    }
}

/// Ten thousand are listed, filtered and sorted whole; how long that takes is printed, for people.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_agents_are_listed() {
    const AGENTS: usize = 10_000;
    let mesh = Mesh::own(&[]).await;
    let client = Client::of(&mesh);
    let began = std::time::Instant::now();
    for batch in 0..AGENTS / 1_000 {
        let each = (0..1_000).map(|n| {
            let n = batch * 1_000 + n;
            let more = json!({"labels": {"zone": format!("z{}", n % 10)}, "capabilities": [format!("c{}", n % 100)]});
            json!({"specversion": "1.0", "id": fresh("ce"), "source": "/tests", "type": "synod.agent.register",
                "data": registration(&format!("a{n:05}"), &start(), &more)})
        });
        let request = client.request("POST", "/v1/commands");
        let request = request.header("content-type", "application/cloudevents-batch+json");
        client.send(request.body(Value::Array(each.collect()).to_string())).await.is(200);
    }
    println!("{AGENTS} agents registered in {:?}", began.elapsed());
    for (query, pages) in [
        ("limit=10000", 1),
        ("limit=1000", 10),
        ("limit=10000&sort=load&order=desc", 1),
        ("limit=10000&capability=c7", 1),
    ] {
        let (mut seen, mut cursor, mut took) = (0, String::new(), Vec::new());
        loop {
            let asked = std::time::Instant::now();
            let answer = client.request("GET", &format!("/v1/agents?{query}{cursor}")).send().await.unwrap();
            let body = answer.bytes().await.unwrap();
            took.push(asked.elapsed());
            let page: Value = serde_json::from_slice(&body).unwrap();
            seen += page["items"].as_array().unwrap().len();
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        println!(
            "{query}: {seen} agents in {:?}, the slowest page {:?}",
            took.iter().sum::<Duration>(),
            took.iter().max()
        );
        assert_eq!((seen, took.len()), (if query.contains("c7") { 100 } else { AGENTS }, pages), "{query}");
    }
    let mut took = Vec::new();
    for n in 0..200 {
        let asked = std::time::Instant::now();
        client.get(&format!("/v1/agents/a{n:05}")).await.is(200);
        took.push(asked.elapsed());
    }
    took.sort();
    println!("one agent of {AGENTS}: p50 {:?}, p99 {:?}", took[100], took[198]);
    let asked = std::time::Instant::now();
    client.get("/v1/statistics").await.is(200);
    println!("the fleet's statistics of {AGENTS}: {:?}", asked.elapsed());
}
