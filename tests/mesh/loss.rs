//! Agents that are served through Redis and whose process ends, or only seems to.

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use synod_infra::redis::inbox::InboxReader;
use synod_infra::redis::presence::{Beat, Heartbeats, PresenceHold};
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::{Id, Incarnation, Workspace};
use synod_tests::{Client, Ground, Mesh, eventually, fresh};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One after the other: who vanishes while the connections of all are cut is one of many, and not judged by that.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// An agent by its signs of life alone. Dropped, all of them end at once, as they do when a process is killed.
pub(crate) struct Signs {
    pub(crate) id: String,
    incarnation: Incarnation,
    inbox: InboxReader,
    presence: Option<PresenceHold>,
    redis: Redis,
    beats: JoinSet<()>,
}

impl Signs {
    pub(crate) async fn of(mesh: &Mesh, client: &Client, capability: &str, max_concurrency: u32) -> Signs {
        Signs::through(&mesh.redis, client, capability, max_concurrency).await
    }

    /// The same, by this way to the mesh's Redis.
    pub(crate) async fn through(
        redis: &str,
        client: &Client,
        capability: &str,
        max_concurrency: u32,
    ) -> Signs {
        let redis = Redis::new(RedisConfig::new(redis)).expect("a Redis client");
        let (id, incarnation) = (fresh("agent"), Incarnation::from(uuid::Uuid::now_v7()));
        let (workspace, agent): (_, Id) = (Workspace::default_name(), id.parse().expect("an id"));
        let presence = hold(&redis, &agent, &incarnation).await;
        let mut beats = JoinSet::new();
        beats.spawn(beat(redis.clone(), agent.clone(), incarnation.clone(), 1));
        let value = json!({"agent_id": id, "incarnation": incarnation.to_string(), "capabilities": [capability],
            "max_concurrency": max_concurrency});
        client.command(&fresh("register"), "synod.agent.register", &value).await.is(200);
        let inbox = InboxReader::new(redis.clone(), &workspace, &agent, &incarnation);
        Signs { id, incarnation, inbox, presence: Some(presence), redis, beats }
    }

    /// The next piece of work: `(task, attempt)`.
    pub(crate) async fn given(&mut self) -> (String, u64) {
        let body = self.inbox.take(SOON).await.expect("the inbox reads").expect("something comes");
        let message: Value = serde_json::from_str(&body).expect("JSON");
        let data = &message["data"];
        (
            data["task_id"].as_str().unwrap_or_default().to_owned(),
            data["attempt"].as_u64().unwrap_or_default(),
        )
    }

    /// Returns when it has lived for so long that everyone has seen it present: whose absence is to say something has to
    /// have been seen.
    pub(crate) async fn is_seen(&self) {
        eventually("a second heartbeat", SOON, || async { (self.beats().await >= 2).then_some(()) }).await;
    }

    /// How many heartbeats Redis has had of it.
    pub(crate) async fn beats(&self) -> u64 {
        let (workspace, agent) = (Workspace::default_name(), self.id.parse().expect("an id"));
        let (heartbeats, who) = (Heartbeats::new(self.redis.clone()), [(&workspace, &agent)]);
        // One that is cut off at this moment is asked again.
        let beats = eventually("Redis answers", SOON, || async { heartbeats.of(&who).await.ok() }).await;
        beats.first().map_or(0, |beat| beat.beat)
    }

    /// It leaves in good order, so that it is not missed.
    pub(crate) async fn leaves(self, client: &Client) {
        let value = json!({"agent_id": self.id, "incarnation": self.incarnation.to_string()});
        client.command(&fresh("leave"), "synod.agent.deregister", &value).await.is(200);
    }

    /// Nothing is heard of it any more, as if its network were cut.
    async fn vanishes(&mut self) {
        drop(self.presence.take());
        self.beats.shutdown().await;
    }

    /// It is heard of again.
    async fn returns(&mut self) {
        let (agent, next): (Id, _) = (self.id.parse().expect("an id"), self.beats().await + 1);
        self.presence = Some(hold(&self.redis, &agent, &self.incarnation).await);
        self.beats.spawn(beat(self.redis.clone(), agent, self.incarnation.clone(), next));
    }

    /// Its subscription breaks and is there again, as after a reconnect.
    async fn reconnects(&mut self) {
        drop(self.presence.take());
        self.presence = Some(hold(&self.redis, &self.id.parse().expect("an id"), &self.incarnation).await);
    }
}

async fn hold(redis: &Redis, agent: &Id, incarnation: &Incarnation) -> PresenceHold {
    let presence = PresenceHold::start(redis.clone(), &Workspace::default_name(), agent, incarnation);
    assert!(presence.wait_held(SOON).await, "it subscribes");
    presence
}

async fn beat(redis: Redis, agent_id: Id, incarnation: Incarnation, first: u64) {
    let (heartbeats, workspace) = (Heartbeats::new(redis), Workspace::default_name());
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for beat in first.. {
        every.tick().await;
        let (workspace, agent_id, incarnation) = (workspace.clone(), agent_id.clone(), incarnation.clone());
        let beat =
            Beat { workspace, agent_id, incarnation, beat, in_flight: vec![], load: None, present: true };
        // One that is cut off at this moment beats again.
        let _ = heartbeats.beat(&beat, None).await;
    }
}

pub(crate) async fn submit(client: &Client, capability: &str, more: &Value) -> String {
    let id = fresh("task");
    let mut task = json!({"task_id": id, "capability": capability, "input": 1, "timeout_ms": 60_000});
    task.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    client.post("/v1/tasks", &task).await.is(201);
    id
}

pub(crate) async fn task(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/tasks/{id}")).await.body
}

pub(crate) async fn health(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/agents/{id}")).await.body["health"].clone()
}

/// An agent dies with a task, which another is given then: who died, and how its attempt ended.
async fn dies_at_work(mesh: &Mesh, client: &Client, more: &Value) -> (String, Value) {
    let capability = fresh("cap");
    let mut dying = Signs::of(mesh, client, &capability, 4).await;
    let id = submit(client, &capability, more).await;
    assert_eq!(dying.given().await, (id.clone(), 1));
    let mut heir = Signs::of(mesh, client, &capability, 4).await;
    dying.is_seen().await;
    let gone = dying.id.clone();
    drop(dying);
    assert_eq!(heir.given().await, (id.clone(), 2));
    let first = task(client, &id).await["attempts"][0].clone();
    heir.leaves(client).await;
    (gone, first)
}

/// The process is gone, Redis says so, and nobody waits for three heartbeats.
#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_process_that_ended_goes_to_another_by_its_absence() {
    let _turn = TURN.lock().await;
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (gone, first) = dies_at_work(&mesh, &client, &json!({})).await;
    assert_eq!((&first["agent_id"], &first["outcome"]), (&json!(gone), &json!("lost")), "{first}");
    let lost = eventually("the loss is told", SOON, || async {
        client.events(&gone).await.into_iter().find(|event| event.envelope.ty == "synod.agent.lost")
    })
    .await;
    let reason = lost.value["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("no presence in Redis and no heartbeat for"), "{reason}");
    assert_eq!(health(&client, &gone).await, "lost");
}

/// A task may ask to be given to another at the first suspicion: then that is no loss, and the attempt is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_it_goes_to_another_at_the_first_suspicion() {
    let _turn = TURN.lock().await;
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    // A machine that stands still between two looks may come to know of the loss first.
    for round in 1..=5 {
        let (gone, first) = dies_at_work(&mesh, &client, &json!({"retry_on_suspect": true})).await;
        let why = first["why"].as_str().unwrap_or_default().to_owned();
        if first["outcome"] != "withdrawn" && round < 5 {
            continue;
        }
        assert_eq!(first["outcome"], "withdrawn", "{first}");
        assert!(
            why.starts_with(&format!("agent {gone} is suspected: no presence in Redis on 2 looks")),
            "{why}"
        );
        let suspected = eventually("the suspicion is told", SOON, || async {
            client.events(&gone).await.into_iter().find(|event| event.envelope.ty == "synod.agent.suspected")
        })
        .await;
        assert_eq!(suspected.value["health"], "suspected");
        assert_eq!(suspected.envelope.position, None, "no record stands behind it");
        return;
    }
}

/// A connection that breaks and is made again costs nothing, for one or for all at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_reconnects_keeps_its_work() {
    let _turn = TURN.lock().await;
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, capability) = (Client::of(&mesh), fresh("cap"));
    let mut agents = Vec::new();
    for _ in 0..3 {
        agents.push(Signs::of(&mesh, &client, &capability, 1).await);
    }
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(submit(&client, &capability, &json!({"retry_on_suspect": false})).await);
    }
    for agent in &mut agents {
        assert!(tasks.contains(&agent.given().await.0));
    }
    agents[0].reconnects().await;
    let killed =
        Command::new("redis-cli").args(["-u", &mesh.redis, "client", "kill", "type", "pubsub"]).output();
    let killed = String::from_utf8(killed.expect("redis-cli runs").stdout).expect("text");
    assert!(killed.trim().parse::<u32>().is_ok_and(|n| n >= 3), "{killed}");
    // Two heartbeats later whoever was taken for dead has been given up long since.
    for agent in &agents {
        let until = agent.beats().await + 2;
        eventually("two heartbeats", SOON, || async { (agent.beats().await >= until).then_some(()) }).await;
        assert!(agent.presence.as_ref().is_some_and(PresenceHold::is_held));
        assert_eq!(health(&client, &agent.id).await, "healthy");
    }
    for id in &tasks {
        let seen = task(&client, id).await;
        assert_eq!(seen["attempts"].as_array().map(Vec::len), Some(1), "{seen}");
        assert_eq!(seen["attempts"][0].get("outcome"), None, "{seen}");
    }
    for agent in agents {
        agent.leaves(&client).await;
    }
}

/// Nine of ten vanish, their heartbeats too, for less than what loses an agent: it is the network, and nobody is given up.
#[tokio::test(flavor = "multi_thread")]
async fn most_vanish_for_a_moment_and_all_keep_their_work() {
    let mesh = Mesh::own(&[]).await;
    let (client, capability) = (Client::of(&mesh), fresh("cap"));
    let mut agents = Vec::new();
    for _ in 0..20 {
        agents.push(Signs::of(&mesh, &client, &capability, 1).await);
    }
    let mut tasks = Vec::new();
    for _ in &agents {
        tasks.push(submit(&client, &capability, &json!({"retry_on_suspect": false})).await);
    }
    for agent in &mut agents {
        assert!(tasks.contains(&agent.given().await.0));
        agent.is_seen().await;
    }
    let (most, _) = agents.split_at_mut(18);
    futures::future::join_all(most.iter_mut().map(Signs::vanishes)).await;
    eventually("they are missed", SOON, || async {
        let status = client.get("/v1/status").await.body;
        let duties = status["duties"].as_array().cloned().unwrap_or_default();
        duties.iter().any(|duty| duty["duty"] == "presence" && duty["result"] == "18 away").then_some(())
    })
    .await;
    // As long as it takes to give up five times over those who vanish by themselves: this wait is what is tested.
    tokio::time::sleep(Duration::from_secs(1)).await;
    futures::future::join_all(most.iter_mut().map(Signs::returns)).await;
    futures::future::join_all(agents.iter().map(|agent| async {
        let until = agent.beats().await + 2;
        eventually("two heartbeats", SOON, || async { (agent.beats().await >= until).then_some(()) }).await;
        assert_eq!(health(&client, &agent.id).await, "healthy");
    }))
    .await;
    for id in &tasks {
        let seen = task(&client, id).await;
        assert_eq!(seen["attempts"].as_array().map(Vec::len), Some(1), "{seen}");
        assert_eq!(seen["attempts"][0].get("outcome"), None, "{seen}");
    }
}

/// Two coordinators may give an agent more than it takes at a time; here it takes nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_from_an_inbox_goes_to_another_and_nobody_is_lost_by_it() {
    let _turn = TURN.lock().await;
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, capability) = (Client::of(&mesh), fresh("cap"));
    let mut lazy = Signs::of(&mesh, &client, &capability, 2).await;
    let taken = submit(&client, &capability, &json!({})).await;
    assert_eq!(lazy.given().await.0, taken);
    let left = submit(&client, &capability, &json!({})).await;
    eventually("it is given", SOON, || async {
        (task(&client, &left).await["status"] == "assigned").then_some(())
    })
    .await;
    // As long as nobody else would take it, it stays.
    let mut eager = Signs::of(&mesh, &client, &capability, 2).await;
    assert_eq!(eager.given().await, (left.clone(), 2));
    let first = task(&client, &left).await["attempts"][0].clone();
    assert_eq!((&first["agent_id"], &first["outcome"]), (&json!(lazy.id), &json!("withdrawn")), "{first}");
    let why = first["why"].as_str().unwrap_or_default();
    assert!(why.ends_with(&format!("ms in the inbox of agent {}", lazy.id)), "{why}");
    // What it has taken it keeps, though it has not begun either.
    let kept = task(&client, &taken).await;
    assert_eq!(
        (&kept["status"], kept["attempts"].as_array().map(Vec::len)),
        (&json!("assigned"), Some(1)),
        "{kept}"
    );
    for agent in [lazy, eager] {
        agent.leaves(&client).await;
    }
}
