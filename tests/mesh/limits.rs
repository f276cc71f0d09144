//! Limits that hold across coordinators: three of them share the shards, one is killed, and no more tasks of a
//! concurrency key or of a workspace's quota run than may. Then everything that was taken has come back.
//!
//! What runs is counted where it runs: in the agents' handlers.

use super::outages::services;
use agent_sdk::{Context, MeshConfig, RunningAgent, TaskError};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use synod_infra::redis::permits::Permits;
use synod_infra::redis::{Redis, RedisConfig};
use synod_tests::{Client, Mesh, Services, eventually, fresh};

const SOON: Duration = Duration::from_secs(30);
const PER_KEY: i64 = 2;
/// So long a task waits for another of its key, until two of it have run at a time.
const BESIDE: Duration = Duration::from_secs(5);

/// How many run now, and the most that ever did, by key.
#[derive(Default)]
struct Counts {
    now: BTreeMap<String, i64>,
    most: BTreeMap<String, i64>,
}

type Shared = Arc<Mutex<Counts>>;

fn count(counts: &Shared, key: &str, change: i64) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let now = counts.now.entry(key.to_owned()).or_default();
    *now += change;
    let now = *now;
    let most = counts.most.entry(key.to_owned()).or_default();
    *most = now.max(*most);
}

fn most(counts: &Shared, key: &str) -> i64 {
    counts.lock().unwrap_or_else(PoisonError::into_inner).most.get(key).copied().unwrap_or_default()
}

/// An agent whose work is to be counted for a while.
async fn join(mesh: &Mesh, capability: &str, counts: &Shared) -> RunningAgent {
    let config = MeshConfig::http(&mesh.http).with_redis(&mesh.redis).with_kafka(&mesh.kafka);
    let connected = agent_sdk::Mesh::connect(config).expect("the settings can be");
    let counts = counts.clone();
    let work = move |_: Context, key: String| {
        let counts = counts.clone();
        async move {
            count(&counts, &key, 1);
            count(&counts, "all", 1);
            // The first wait for others of their key; the rest work for a while, and too many would be seen beside them.
            let until = Instant::now() + BESIDE;
            while most(&counts, &key) < PER_KEY && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
            count(&counts, "all", -1);
            count(&counts, &key, -1);
            Ok::<String, TaskError>(key)
        }
    };
    let agent = agent_sdk::Agent::generated("worker").capability(capability, work).concurrency(16);
    agent.build(&connected).expect("an agent").start().await.expect("it starts")
}

async fn submit(client: &Client, capability: &str, keys: &[&str], each: usize) -> Vec<String> {
    let run = fresh("limited");
    let mut tasks = Vec::new();
    for n in 0..each {
        for key in keys {
            let id = format!("{run}-{key}-{n}");
            let body = json!({"task_id": id, "capability": capability, "input": key, "concurrency_key": key,
                "deadline": null});
            client.post("/v1/tasks", &body).await.is(201);
            tasks.push(id);
        }
    }
    tasks
}

async fn out(services: &Services, names: &[String]) -> u64 {
    let permits = Permits::new(Redis::new(RedisConfig::new(&services.redis)).expect("a Redis"));
    let mut all = 0;
    for name in names {
        all += permits.out(name).await.expect("Redis answers");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn three_coordinators_and_a_kill_pass_no_limit_and_keep_no_permit() {
    const QUOTA: i64 = 5;
    let (services, _turn) = services().await;
    let rules = [("SYNOD_PER_KEY", "2"), ("SYNOD_QUOTA", "5")];
    let meshes: Vec<Mesh> =
        (0..3).map(|_| Mesh::coordinator_set(&services.kafka, &services.redis, &rules)).collect();
    for mesh in &meshes {
        mesh.ready(SOON).await;
    }
    let client = Client::of(&meshes[0]);
    let (capability, counts) = (fresh("limited"), Shared::default());
    let agents = [join(&meshes[0], &capability, &counts).await, join(&meshes[1], &capability, &counts).await];
    let run = fresh("k");
    let keys: Vec<String> = (0..4).map(|n| format!("{run}-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();

    let began = Instant::now();
    let tasks = submit(&client, &capability, &keys, 30).await;
    // Why one of them waits can be read.
    let last = client.get(&format!("/v1/tasks/{}", tasks[tasks.len() - 1])).await.is(200).body.clone();
    assert!(last["waits_for"]["reason"].is_string() || last["status"] != "waiting", "{last}");
    eventually("some have ended", SOON, || async {
        let first = client.get(&format!("/v1/tasks/{}", tasks[20])).await;
        (first.body["status"] == "completed").then_some(())
    })
    .await;
    meshes[2].kill();
    for id in &tasks {
        let task = client.ended(id).await;
        assert_eq!(task["status"], "completed", "{task}");
    }
    println!("120 tasks of 4 keys, 2 at a time each, 5 in all: {} ms", began.elapsed().as_millis());

    let most = counts.lock().unwrap_or_else(PoisonError::into_inner).most.clone();
    // Never beyond a limit; that one is reached depends on who had its turn when.
    assert!(keys.iter().all(|key| most[*key] <= PER_KEY) && most["all"] <= QUOTA, "{most:?}");
    assert!(keys.iter().any(|key| most[*key] == PER_KEY), "{most:?}");
    let mut names: Vec<String> = keys.iter().map(|key| format!("key/default/{key}")).collect();
    names.push("workspace/default".to_owned());
    // Those that the dead one had taken and not used come back by themselves.
    eventually("every permit has come back", Duration::from_secs(40), || async {
        (out(&services, &names).await == 0).then_some(())
    })
    .await;
    for agent in agents {
        agent.stop().await.expect("it stops");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_what_takes_permits_waits_and_after_a_wipe_no_limit_is_passed() {
    let (services, _turn) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(SOON).await;
    let client = Client::of(&mesh);
    let capability = fresh("kept");
    let agent = synod_tests::Agent::with(&mesh, synod_tests::Manner::Silent, &capability, 8).await;
    let key = fresh("k");
    let body =
        |id: &str| json!({"task_id": id, "capability": capability, "input": 1, "concurrency_key": key});
    let (first, second) = (fresh("t"), fresh("t"));
    client.post("/v1/tasks", &body(&first)).await.is(201);
    let held = agent.given().await;
    services.act(&["stop", "redis"]).await;
    client.post("/v1/tasks", &body(&second)).await.is(201);
    let other = json!({"task_id": fresh("t"), "capability": capability, "input": 1});
    client.post("/v1/tasks", &other).await.is(201);
    let given = agent.given().await;
    assert_eq!(json!(given.task_id), other["task_id"], "who takes no permits goes on");
    let waits = |id: &str| {
        let path = format!("/v1/tasks/{id}");
        let client = &client;
        async move { client.get(&path).await.body["waits_for"].clone() }
    };
    // Another shard's, most likely, which asks Redis.
    eventually("it is said why it waits", SOON, || async {
        let why = waits(&second).await;
        (why["reason"] == "permit" || why["reason"] == "permits").then_some(())
    })
    .await;
    services.act(&["start", "redis"]).await;
    let wipe = ["-u", services.redis.trim_end_matches('/'), "flushall"];
    let wiped = std::process::Command::new("redis-cli").args(wipe).output().expect("redis-cli runs");
    assert!(wiped.status.success(), "{wiped:?}");
    // The owner says again what is held before anything is granted: the second still waits for the first.
    let name = [format!("key/default/{key}")];
    eventually("what is held is held again", SOON, || async {
        (out(&services, &name).await == 1).then_some(())
    })
    .await;
    eventually("the second waits for the first", SOON, || async {
        (waits(&second).await["permit"] == json!(name[0])).then_some(())
    })
    .await;
    assert_eq!(out(&services, &name).await, 1);
    let done = held.result(&json!(1));
    let envelope = synod_protocol::Envelope::new(fresh("done"), "/tests", "synod.task.complete");
    client.throw(Client::record(&first, &envelope, &done));
    assert_eq!(agent.given().await.task_id, second);
}
