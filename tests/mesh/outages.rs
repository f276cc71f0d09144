//! A coordinator that is killed, and Kafka or Redis that go away and come back: nothing is lost, nothing is
//! done twice, and who waits is told why.
//!
//! These take turns on services of their own.

use agent_sdk::{Context, MeshConfig, RunningAgent, TaskError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_ledger::{Counting, Fold, Keep, Record, TaskKey, Verdict, invariants};
use synod_protocol::event::What;
use synod_protocol::view::TaskStatus;
use synod_protocol::{Envelope, Workspace, topics};
use synod_tests::{Agent, Client, Manner, Mesh, Services, eventually, fresh};
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// The services, for this test alone as long as the guard lives.
pub(super) async fn services() -> (Arc<Services>, MutexGuard<'static, ()>) {
    let services = Services::own().await;
    let turn = TURN.lock().await;
    // A test before this one may have failed while something was away.
    services.act(&["start", "kafka"]).await;
    services.act(&["start", "redis"]).await;
    (services, turn)
}

/// Two agents that do the same, one served through Kafka and one through Redis.
pub(super) struct Crew {
    pub(super) capability: String,
    through_redis: RunningAgent,
    _through_kafka: Agent,
}

async fn echo(_: Context, input: Value) -> Result<Value, TaskError> {
    Ok(input)
}

impl Crew {
    pub(super) async fn join(mesh: &Mesh) -> Crew {
        let through_kafka = Agent::join(mesh, Manner::Echo).await;
        let config = MeshConfig::http(&mesh.http).with_redis(&mesh.redis).with_kafka(&mesh.kafka);
        let connected = agent_sdk::Mesh::connect(config).expect("the settings can be");
        let capability = through_kafka.capability.clone();
        let agent = agent_sdk::Agent::generated("sdk").capability(&capability, echo).concurrency(8);
        let through_redis = agent.build(&connected).expect("an agent").start().await.expect("it starts");
        Crew { capability, through_redis, _through_kafka: through_kafka }
    }

    /// The agent that is served through Redis.
    pub(super) fn id(&self) -> &str {
        self.through_redis.id().as_str()
    }

    /// Both had their part in these.
    async fn shared(&self, client: &Client, tasks: &[String]) {
        let path =
            format!("/v1/tasks?capability={}&agent={}&limit=1000", self.capability, self.through_redis.id());
        let theirs = client.get(&path).await.body["items"].as_array().map_or(0, Vec::len);
        assert!((1..tasks.len()).contains(&theirs), "{theirs} of {} went through Redis", tasks.len());
    }
}

/// Commands thrown at the topic, and the tasks that they submit.
pub(super) fn submit(client: &Client, capability: &str, tasks: &[String]) {
    for id in tasks {
        let value = json!({"task_id": id, "capability": capability, "input": id});
        let envelope = Envelope::new(format!("ce-{id}"), "/tests", "synod.task.submit");
        client.throw(Client::record(id, &envelope, &value));
    }
}

pub(super) fn names(count: usize) -> Vec<String> {
    let run = fresh("t");
    (0..count).map(|i| format!("{run}-{i}")).collect()
}

/// Folds the whole ledger as a stranger would, and checks that each of these tasks was completed once.
pub(super) async fn check_ledger(client: &Client, tasks: &[String]) {
    let mut completed: BTreeMap<String, u32> = BTreeMap::new();
    let mut positions = BTreeSet::new();
    for shard in 0..8 {
        // Everything that has ended stays in memory, to be looked at.
        let keep = Keep { ended_ms: u64::MAX, runs_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
        let (mut fold, mut counting) = (Fold::whole(keep), Counting::default());
        for record in client.partition(topics::LEDGER, shard).await {
            let offset = record.offset.unsigned_abs();
            let at = record.timestamp_ms.map(synod_protocol::Timestamp::from_millis);
            let bytes = record.payload.unwrap_or_default();
            let verdict = fold.record(offset, at, &bytes).expect("the ledger can be folded");
            let read = Record::read(&bytes).expect("a record of ours");
            assert_eq!(counting.see(offset, &read), verdict, "shard {shard} at {offset}");
            let (Verdict::Counts, Record::Step(step)) = (verdict, read) else { continue };
            if let Some(offset) = step.input.offset {
                assert!(positions.insert((shard, offset)), "shard {shard} has handled offset {offset} twice");
            }
            for event in &step.events {
                if matches!(event.what, What::TaskCompleted(_)) {
                    *completed.entry(event.entity.to_string()).or_default() += 1;
                }
            }
        }
        let folded = fold.finish().expect("a claim");
        invariants(&folded.state).expect("the invariants hold");
        // No command that Kafka has was passed over.
        let handled = folded.state.position();
        let log = client.readers.watermarks(topics::COMMANDS, shard as i32, Duration::from_secs(10)).await;
        assert!(handled <= log.expect("the log").high.unsigned_abs(), "shard {shard}");
        let gaps = (0..handled).filter(|offset| !positions.contains(&(shard, *offset))).count();
        assert_eq!(gaps, 0, "shard {shard} has passed over {gaps} commands");
        let ours = tasks.iter().filter(|id| topics::partition(id.as_bytes(), 8) == shard);
        for id in ours {
            let key = TaskKey { workspace: Workspace::default_name(), task: id.parse().expect("an id") };
            let task = folded.state.task(&key).unwrap_or_else(|| panic!("{id} is not in the ledger"));
            assert_eq!(task.status, TaskStatus::Completed, "{id}");
        }
    }
    for id in tasks {
        assert_eq!(completed.get(id), Some(&1), "{id} was completed so often in the ledger");
    }
    // Events may be published again, under the same id.
    let mut published: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in client.all(topics::EVENTS).await {
        let envelope = record.envelope().expect("a CloudEvent");
        if envelope.ty == "synod.task.completed" {
            published.entry(envelope.subject.unwrap_or_default()).or_default().insert(envelope.id);
        }
    }
    for id in tasks {
        assert_eq!(published.get(id).map(BTreeSet::len), Some(1), "{id} was told as completed so often");
    }
}

/// Waits until each of these is completed with its own name as output.
pub(super) async fn all_done(client: &Client, tasks: &[String]) {
    for id in tasks {
        let task = client.ended(id).await;
        assert_eq!((&task["status"], &task["output"]), (&json!("completed"), &json!(id)), "{task}");
    }
}

/// Waits until so many of this capability have ended, up to 1,000.
pub(super) async fn wait_for(client: &Client, capability: &str, count: usize, limit: Duration) {
    eventually(&format!("{count} tasks are completed"), limit, || async {
        let request =
            client.request("GET", &format!("/v1/tasks?capability={capability}&status=completed&limit=1000"));
        let body: serde_json::Value = request.send().await.ok()?.json().await.ok()?;
        (body["items"].as_array()?.len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_load_every_task_is_completed_once() {
    let (services, _turn) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(Duration::from_secs(30)).await;
    let client = Client::of(&mesh);
    let agent = Crew::join(&mesh).await;
    let tasks = names(400);
    submit(&client, &agent.capability, &tasks[..200]);
    // In the middle: some are done, some not. Then more come while nobody is there.
    wait_for(&client, &agent.capability, 20, Duration::from_secs(20)).await;
    mesh.kill();
    submit(&client, &agent.capability, &tasks[200..300]);
    mesh.start_again();
    mesh.ready(Duration::from_secs(30)).await;
    submit(&client, &agent.capability, &tasks[300..]);
    // And once more, at once.
    mesh.kill();
    mesh.start_again();
    mesh.ready(Duration::from_secs(30)).await;
    all_done(&client, &tasks).await;
    check_ledger(&client, &tasks).await;
    agent.shared(&client, &tasks).await;
}

/// Submits one task after the other until told to stop; answers their names.
async fn trickle(client: Arc<Client>, capability: String, until: Instant) -> Vec<String> {
    let (run, mut tasks) = (fresh("t"), Vec::new());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while Instant::now() < until {
        tick.tick().await;
        let id = format!("{run}-{}", tasks.len());
        submit(&client, &capability, std::slice::from_ref(&id));
        tasks.push(id);
    }
    tasks
}

fn batch(capability: &str, tasks: &[String]) -> String {
    let event = |id: &String| {
        let data = json!({"task_id": id, "capability": capability, "input": id});
        json!({"specversion": "1.0", "id": format!("ce-{id}"), "source": "/tests", "type": "synod.task.submit", "data": data})
    };
    Value::from(tasks.iter().map(event).collect::<Vec<_>>()).to_string()
}

pub(super) async fn post_batch(client: &Client, capability: &str, tasks: &[String]) -> Vec<Value> {
    let request =
        client.request("POST", "/v1/commands").header("content-type", "application/cloudevents-batch+json");
    let answer = client.send(request.body(batch(capability, tasks))).await;
    answer.is(200);
    answer.body.as_array().expect("an array").clone()
}

/// While Kafka is away: more than a shard may have in flight. None of it is answered as done; what comes on
/// top is refused at once, with when to try again.
async fn overload(client: &Client, capability: &str) -> Vec<String> {
    let in_shard_0 = |id: &String| topics::partition(id.as_bytes(), 8) == 0;
    let tasks: Vec<String> = names(20_000).into_iter().filter(in_shard_0).take(2_100).collect();
    let on_top = async {
        let answer = eventually("the shard is full", Duration::from_secs(10), || async {
            let task = tasks.last().expect("there are some");
            let asked = json!({"task_id": task, "capability": capability, "input": task});
            Some(client.post("/v1/tasks", &asked).await).filter(|answer| answer.status == 429)
        });
        let answer = answer.await;
        answer.is_problem(429, "overloaded");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|s| s >= 1), "{answer:?}");
        assert!(answer.body["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{answer:?}");
    };
    let (first, second, third, ()) = tokio::join!(
        post_batch(client, capability, &tasks[..700]),
        post_batch(client, capability, &tasks[700..1_400]),
        post_batch(client, capability, &tasks[1_400..]),
        on_top,
    );
    for item in [first, second, third].concat() {
        let told = (item["status"].as_u64(), item["error"]["code"].as_str());
        assert!(matches!(told, (Some(503), Some("unavailable")) | (Some(429), Some("overloaded"))), "{item}");
    }
    tasks
}

/// The same again with the same ids, as the contract says on 429 and 503, until it is taken.
async fn repeat(client: &Client, capability: &str, tasks: &[String]) {
    for some in tasks.chunks(500) {
        let items = eventually("a batch is taken", Duration::from_secs(20), || async {
            let items = post_batch(client, capability, some).await;
            let for_now = |item: &Value| matches!(item["status"].as_u64(), Some(429 | 503));
            Some(items).filter(|items| !items.iter().any(for_now))
        })
        .await;
        for (item, id) in items.iter().zip(some) {
            // 202: the topic has it, since its shard is just being taken.
            let is_done = item["status"] == 200 && item["entity"]["task_id"] == id.as_str();
            assert!(is_done || item["status"] == 202, "{item}");
        }
    }
}

/// Takes a service away for ten seconds in the middle of a run.
async fn check_outage(service: &'static str, kill: &'static [&'static str], start: &'static [&'static str]) {
    let (services, _turn) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(Duration::from_secs(30)).await;
    let client = Arc::new(Client::of(&mesh));
    let agent = Crew::join(&mesh).await;
    let until = Instant::now() + Duration::from_secs(14);
    let load = tokio::spawn(trickle(client.clone(), agent.capability.clone(), until));
    wait_for(&client, &agent.capability, 5, Duration::from_secs(20)).await;
    let away = Instant::now();
    services.act(kill).await;
    // Who asks is told what is missing, also when nothing is in flight; the process does not end itself.
    eventually("/readyz is 503 and says why", Duration::from_secs(8), || async {
        let answer = client.request("GET", "/readyz").send().await.expect("it answers");
        let status = answer.status().as_u16();
        let why = answer.text().await.expect("a text");
        (status == 503 && why.contains(service)).then_some(())
    })
    .await;
    client.get("/livez").await.is(200);
    let refused_for_now =
        if service == "Kafka" { overload(&client, &agent.capability).await } else { Vec::new() };
    // Long enough that every limit of a client's on the way has passed.
    tokio::time::sleep(Duration::from_secs(10).saturating_sub(away.elapsed())).await;
    services.act(start).await;
    mesh.ready(Duration::from_secs(30)).await;
    let mut tasks = load.await.expect("the load ends");
    repeat(&client, &agent.capability, &refused_for_now).await;
    tasks.extend(refused_for_now);
    all_done(&client, &tasks).await;
    check_ledger(&client, &tasks).await;
    agent.shared(&client, &tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_away_and_comes_back() {
    check_outage("Redis", &["kill", "redis"], &["start", "redis"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_goes_away_and_comes_back() {
    check_outage("Kafka", &["kill", "kafka"], &["start", "kafka"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_wiped_in_the_middle_of_load() {
    let (services, _turn) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(Duration::from_secs(30)).await;
    let client = Arc::new(Client::of(&mesh));
    let agent = Crew::join(&mesh).await;
    let until = Instant::now() + Duration::from_secs(4);
    let load = tokio::spawn(trickle(client.clone(), agent.capability.clone(), until));
    for count in [5, 25] {
        wait_for(&client, &agent.capability, count, Duration::from_secs(20)).await;
        redis_cli(&services, &["flushall"]);
    }
    let tasks = load.await.expect("the load ends");
    all_done(&client, &tasks).await;
    check_ledger(&client, &tasks).await;
    agent.shared(&client, &tasks).await;
}

/// Started while a service is down: it lives, says what it waits for, and goes on when that comes.
async fn check_start(service: &'static str, stop: &'static [&'static str], start: &'static [&'static str]) {
    let (services, _turn) = services().await;
    services.act(stop).await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    let client = Client::of(&mesh);
    let why = eventually("it says what it waits for", Duration::from_secs(20), || async {
        let answer = client.request("GET", "/readyz").send().await.ok()?;
        assert_eq!(answer.status(), 503);
        answer.text().await.ok().filter(|why| why.contains(service))
    })
    .await;
    client.get("/livez").await.is(200);
    // A command is refused as unavailable, not lost in silence. (Over HTTP, before anybody has it.)
    if service == "Kafka" {
        let answer = client.post("/v1/tasks", &json!({"capability": "c", "input": 1})).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")), "{why}: {answer:?}");
    }
    services.act(start).await;
    mesh.ready(Duration::from_secs(40)).await;
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let asked = json!({"capability": agent.capability, "input": 1});
    let done = client.post("/v1/tasks?wait_ms=20000", &asked).await;
    assert_eq!((done.status, &done.body["output"]), (200, &json!(1)), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn started_without_redis_it_waits_for_it() {
    check_start("Redis", &["stop", "redis"], &["start", "redis"]).await;
}

fn redis_cli(services: &Services, words: &[&str]) {
    let done = std::process::Command::new("redis-cli")
        .args(["-u", services.redis.trim_end_matches('/')])
        .args(words)
        .output()
        .expect("redis-cli runs");
    assert!(done.status.success(), "{done:?}");
}

/// A Redis that throws things away, until this is dropped: who comes after must not find it so.
struct ThrowsAway<'a>(&'a Services);

impl<'a> ThrowsAway<'a> {
    fn set(services: &'a Services) -> ThrowsAway<'a> {
        redis_cli(services, &["config", "set", "maxmemory-policy", "allkeys-lru"]);
        ThrowsAway(services)
    }
}

impl Drop for ThrowsAway<'_> {
    fn drop(&mut self) {
        redis_cli(self.0, &["config", "set", "maxmemory-policy", "noeviction"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_throws_things_away_is_not_used() {
    let (services, _turn) = services().await;
    let throws_away = ThrowsAway::set(&services);
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    let client = Client::of(&mesh);
    let why = eventually("it says why it waits", Duration::from_secs(20), || async {
        let answer = client.request("GET", "/readyz").send().await.ok()?;
        assert_eq!(answer.status(), 503);
        answer.text().await.ok().filter(|why| why.contains("maxmemory-policy is allkeys-lru"))
    })
    .await;
    drop(throws_away);
    mesh.ready(Duration::from_secs(40)).await;
    assert!(why.contains("--accept-eviction"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn started_without_kafka_it_waits_for_it() {
    check_start("Kafka", &["kill", "kafka"], &["start", "kafka"]).await;
}
