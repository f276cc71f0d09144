//! Several coordinators share the shards: they settle, pass on what others own, hand over in good order, and take
//! over from one that was killed or stopped. Nothing is lost, nothing is done twice.
//!
//! These take turns with the tests of outages, on the same services. What they measure is printed, read from the
//! ledger's own times.

use super::outages::{Crew, all_done, check_ledger, names, post_batch, services, submit};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use synod_ledger::tenure::rendezvous;
use synod_ledger::{Counting, Record, Verdict};
use synod_protocol::{Id, topics};
use synod_tests::{Client, Mesh, Services, eventually, fresh};

const SHARDS: u32 = 8;
const SOON: Duration = Duration::from_secs(30);

/// So many coordinators, ready.
pub(super) async fn start(services: &Services, count: usize) -> Vec<Mesh> {
    let meshes: Vec<Mesh> = (0..count).map(|_| Mesh::coordinator(&services.kafka, &services.redis)).collect();
    for mesh in &meshes {
        mesh.ready(SOON).await;
    }
    meshes
}

async fn status(client: &Client) -> Option<Value> {
    client.request("GET", "/v1/status").send().await.ok()?.json().await.ok()
}

/// Waits until every shard is served by the one to whom it belongs among all who live, and by nobody else; answers
/// the owners by shard.
pub(super) async fn settled(clients: &[&Client]) -> BTreeMap<u32, String> {
    eventually("every shard is where it belongs", SOON, || async {
        let mut seen = BTreeSet::new();
        for client in clients {
            let status = status(client).await?;
            let among: BTreeSet<Id> =
                status["coordinators"].as_object()?.keys().map(|id| id.parse().expect("an id")).collect();
            if among.len() != clients.len() {
                return None;
            }
            let mut owners = BTreeMap::new();
            for shard in status["shards"].as_array()? {
                let number = u32::try_from(shard["shard"].as_u64()?).ok()?;
                let owner = shard["owner"].as_str()?;
                let belongs = rendezvous(number, &among)?.as_str();
                if owner != belongs || shard["phase"] != "serving" || shard["advancing"] != true {
                    return None;
                }
                owners.insert(number, owner.to_owned());
            }
            seen.insert(owners);
        }
        // All of them say the same.
        (seen.len() == 1).then(|| seen.pop_first().expect("there is one"))
    })
    .await
}

pub(super) async fn id_of(client: &Client) -> String {
    status(client).await.expect("a status")["coordinator"].as_str().expect("an id").to_owned()
}

/// An id in each shard.
fn one_in_each() -> Vec<String> {
    let mut found = BTreeMap::new();
    for id in names(1_000) {
        found.entry(topics::partition(id.as_bytes(), SHARDS)).or_insert(id);
    }
    assert_eq!(found.len(), SHARDS as usize);
    found.into_values().collect()
}

/// Claims by shard.
async fn claims(client: &Client) -> Vec<usize> {
    let mut counts = Vec::new();
    for shard in 0..SHARDS {
        let records = client.partition(topics::LEDGER, shard).await;
        let is_claim = |bytes: &[u8]| matches!(Record::read(bytes), Ok(Record::Claim(_)));
        counts.push(records.iter().filter(|r| is_claim(r.payload.as_deref().unwrap_or_default())).count());
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn they_settle_and_each_serves_what_any_of_them_owns() {
    let (services, _turn) = services().await;
    let first = start(&services, 1).await.remove(0);
    let a = Client::of(&first);
    let alone = settled(&[&a]).await;
    let before = claims(&a).await;
    let others = start(&services, 2).await;
    let (b, c) = (Client::of(&others[0]), Client::of(&others[1]));
    let owners = settled(&[&a, &b, &c]).await;
    // What has moved was claimed once, or twice where it went by way of the second; two who join in the same moment
    // may claim the same shard before they have read of each other, and settle with one claim more each. The rest stayed.
    for (shard, (before, after)) in before.iter().zip(claims(&a).await).enumerate() {
        let moved = owners[&(shard as u32)] != alone[&(shard as u32)];
        let most = if moved { 4 } else { 0 };
        assert!(after - before <= most, "shard {shard}: {} claims", after - before);
    }

    // Each takes commands for every shard, and shows at once what another has answered.
    let crew = Crew::join(&first).await;
    let clients = [&a, &b, &c];
    for (n, client) in clients.iter().enumerate() {
        let reader = clients[(n + 1) % 3];
        let tasks = one_in_each();
        for id in &tasks[..4] {
            let asked = json!({"task_id": id, "capability": "nobody", "input": id});
            let made = client.post("/v1/tasks", &asked).await;
            made.is(201);
            assert_eq!(made.header("location"), format!("/v1/tasks/{id}"));
            reader.get(&format!("/v1/tasks/{id}")).await.is(200);
            client.post("/v1/tasks", &asked).await.is(200);
            let other = json!({"task_id": id, "capability": "nobody", "input": "other"});
            reader.post("/v1/tasks", &other).await.is_problem(409, "already_exists");
            let cancelled = reader.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
            assert_eq!(cancelled.is(200).body["status"], "cancelled");
            assert_eq!(client.get(&format!("/v1/tasks/{id}")).await.body["status"], "cancelled");
        }
        for item in post_batch(client, &crew.capability, &tasks[4..]).await {
            assert_eq!(item["status"], 200, "{item}");
        }
        for id in &tasks[4..] {
            let done = reader.get(&format!("/v1/tasks/{id}?wait_ms=20000")).await;
            assert_eq!((done.status, &done.body["output"]), (200, &json!(id)), "{done:?}");
        }
        let listed = client.get(&format!("/v1/tasks?capability={}&limit=1000", crew.capability)).await;
        let listed: BTreeSet<&str> = listed.body["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|t| t["task_id"].as_str())
            .collect();
        assert!(tasks[4..].iter().all(|id| listed.contains(id.as_str())), "{listed:?}");
        reader.get(&format!("/v1/tasks/{}", fresh("none"))).await.is_problem(404, "not_found");
    }
    // Pages of a list are those of the whole.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = b.get(&format!("/v1/tasks?capability=nobody&limit=5{cursor}")).await;
        let items = page.is(200).body["items"].as_array().expect("items");
        paged.extend(items.iter().map(|t| t["task_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(paged.len() >= 12 && paged.is_sorted(), "{paged:?}");

    // An agent's changes as well.
    let agent = crew.id().to_owned();
    for (change, health, client, reader) in [("drain", "draining", &a, &b), ("start", "healthy", &b, &c)] {
        let changed = client.post(&format!("/v1/agents/{agent}/{change}"), &json!({})).await;
        assert_eq!(changed.is(200).body["health"], health);
        assert_eq!(reader.get(&format!("/v1/agents/{agent}")).await.is(200).body["health"], health);
        let listed = reader.get("/v1/agents?limit=1000").await;
        let found = listed.is(200).body["items"].as_array().expect("items");
        assert!(found.iter().any(|a| a["agent_id"] == agent.as_str() && a["health"] == health), "{found:?}");
    }

    // A request that was passed on to one who does not own the shard goes no further.
    let tasks = one_in_each();
    let me = id_of(&a).await;
    for id in &tasks {
        let shard = topics::partition(id.as_bytes(), SHARDS);
        let request = a.request("GET", &format!("/v1/tasks/{id}")).header("synod-forwarded", "1");
        let answer = a.send(request).await;
        match owners[&shard] == me {
            true => answer.is_problem(404, "not_found"),
            false => answer.is_problem(503, "unavailable"),
        };
    }
}

/// A task in every shard, again and again through Kafka, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    work: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(client: Arc<Client>, capability: &str, every: Duration) -> Load {
        let (stop, capability) = (Arc::new(AtomicBool::new(false)), capability.to_owned());
        let stopped = stop.clone();
        let work = tokio::spawn(async move {
            let mut tasks = Vec::new();
            let mut tick = tokio::time::interval(every);
            while !stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                let some = one_in_each();
                submit(&client, &capability, &some);
                tasks.extend(some);
            }
            tasks
        });
        Load { stop, work }
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.expect("the load ends")
    }
}

/// One epoch of a shard: whose, the broker's times of its claim, of its first and of its last counting step.
#[derive(Clone, Debug)]
struct Epoch {
    claimed_ms: i64,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
}

async fn epochs(client: &Client, shard: u32) -> Vec<Epoch> {
    let (mut counting, mut epochs) = (Counting::default(), Vec::<Epoch>::new());
    for raw in client.partition(topics::LEDGER, shard).await {
        let (at, bytes) = (raw.timestamp_ms.expect("the broker's time"), raw.payload.unwrap_or_default());
        let record = Record::read(&bytes).expect("a record of ours");
        let counts = counting.see(raw.offset.unsigned_abs(), &record) == Verdict::Counts;
        match record {
            Record::Claim(_) => epochs.push(Epoch { claimed_ms: at, first_ms: None, last_ms: None }),
            _ if counts => {
                if let Some(epoch) = epochs.last_mut() {
                    epoch.first_ms.get_or_insert(at);
                    epoch.last_ms = Some(at);
                }
            }
            _ => {}
        }
    }
    epochs
}

fn wall_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

fn shown(what: &str, mut ms: Vec<i64>) {
    ms.sort_unstable();
    let at = |q: f64| ms[((ms.len() - 1) as f64 * q).round() as usize];
    println!("{what}: p50 {} ms, p99 {} ms, greatest {} ms, of {}", at(0.5), at(0.99), at(1.0), ms.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_its_shards_make_steps_again_elsewhere() {
    let (services, _turn) = services().await;
    let meshes = start(&services, 3).await;
    let clients: Vec<Arc<Client>> = meshes.iter().map(|mesh| Arc::new(Client::of(mesh))).collect();
    let all: Vec<&Client> = clients.iter().map(|client| &**client).collect();
    let crew = Crew::join(&meshes[0]).await;
    let load = Load::start(clients[0].clone(), &crew.capability, Duration::from_millis(100));
    let mut took = Vec::new();
    for victim in [1, 2, 1, 2] {
        let owners = settled(&all).await;
        let name = id_of(all[victim]).await;
        let killed_ms = wall_ms();
        meshes[victim].kill();
        for shard in owners.iter().filter(|(_, owner)| **owner == name).map(|(shard, _)| *shard) {
            let first = eventually(&format!("a step on shard {shard}"), SOON, || async {
                let epochs = epochs(all[0], shard).await;
                epochs.iter().filter(|e| e.claimed_ms > killed_ms).find_map(|e| e.first_ms)
            })
            .await;
            took.push(first - killed_ms);
        }
        meshes[victim].start_again();
        meshes[victim].ready(SOON).await;
    }
    shown("from SIGKILL to the first new step on a shard", took.clone());
    assert!(took.iter().all(|ms| *ms <= 10_000), "{took:?}");
    let tasks = load.end().await;
    all_done(all[0], &tasks).await;
    check_ledger(all[0], &tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_one_after_the_other_under_load_nobody_notices() {
    let (services, _turn) = services().await;
    let meshes = start(&services, 3).await;
    let clients: Vec<Arc<Client>> = meshes.iter().map(|mesh| Arc::new(Client::of(mesh))).collect();
    let all: Vec<&Client> = clients.iter().map(|client| &**client).collect();
    let crew = Crew::join(&meshes[0]).await;
    settled(&all).await;
    let began_ms = wall_ms();
    let load = Load::start(clients[0].clone(), &crew.capability, Duration::from_millis(50));
    for leaving in 0..3 {
        let asked = all[(leaving + 1) % 3];
        let done = AtomicBool::new(false);
        // Who asks one of the others for whatever shard is answered every time.
        let asking = async {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                for id in one_in_each() {
                    let body = json!({"task_id": id, "capability": "nobody", "input": 1});
                    asked.post("/v1/tasks", &body).await.is(201);
                    asked.get(&format!("/v1/tasks/{id}")).await.is(200);
                    answered += 1;
                }
            }
            answered
        };
        let leave = async {
            meshes[leaving].signal("TERM");
            meshes[leaving].ended(Duration::from_secs(12)).await;
            done.store(true, Ordering::Relaxed);
        };
        let (answered, ()) = tokio::join!(asking, leave);
        assert!(answered > 0);
        meshes[leaving].start_again();
        meshes[leaving].ready(SOON).await;
        settled(&all).await;
    }
    let tasks = load.end().await;
    all_done(all[0], &tasks).await;
    check_ledger(all[0], &tasks).await;
    let (mut gaps, mut to_claim) = (Vec::new(), Vec::new());
    for shard in 0..SHARDS {
        let epochs = epochs(all[0], shard).await;
        for pair in epochs.windows(2).filter(|pair| pair[1].claimed_ms > began_ms) {
            if let (Some(last), Some(first)) = (pair[0].last_ms, pair[1].first_ms) {
                gaps.push(first - last);
                to_claim.push(pair[1].claimed_ms - last);
            }
        }
    }
    shown("between the last step of one owner and the first of the next", gaps);
    shown("of this, to the claim of the next", to_claim);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_past_its_lease_and_continued_it_stands_down_and_never_shows_what_was() {
    let (services, _turn) = services().await;
    let mut meshes = start(&services, 2).await;
    let owners = settled(&[&Client::of(&meshes[0]), &Client::of(&meshes[1])]).await;
    // Ids are drawn, so that one of two may own nothing: the one that owns more is stopped.
    let first = id_of(&Client::of(&meshes[0])).await;
    if owners.values().filter(|owner| **owner == first).count() * 2 > owners.len() {
        meshes.swap(0, 1);
    }
    let (a, b) = (Client::of(&meshes[0]), Client::of(&meshes[1]));
    let crew = Crew::join(&meshes[0]).await;
    let name = id_of(&b).await;
    let tasks: Vec<String> = one_in_each();
    let his: Vec<&String> =
        tasks.iter().filter(|id| owners[&topics::partition(id.as_bytes(), SHARDS)] == name).collect();
    assert!(!his.is_empty());
    for id in &tasks {
        let asked = json!({"task_id": id, "capability": "nobody", "input": id});
        b.post("/v1/tasks", &asked).await.is(201);
    }
    // Stopped with work on its way to it.
    let more = names(200);
    submit(&a, &crew.capability, &more[..100]);
    meshes[1].signal("STOP");
    submit(&a, &crew.capability, &more[100..]);
    for id in &tasks {
        eventually(&format!("{id} is cancelled by the next owner"), SOON, || async {
            let answer = a.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
            (answer.status == 200 && answer.body["status"] == "cancelled").then_some(())
        })
        .await;
    }
    // These wait in its sockets: it answers them first of all when it goes on, as long as it knows of nothing.
    let mut asked = tokio::task::JoinSet::new();
    for id in &his {
        let request = b.request("GET", &format!("/v1/tasks/{id}"));
        asked.spawn(async move {
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
        });
    }
    // The kernel takes them in; nothing there can be waited for.
    tokio::time::sleep(Duration::from_millis(200)).await;
    meshes[1].signal("CONT");
    for (status, body) in asked.join_all().await {
        assert!(body["status"] == "cancelled" || status == 503, "an older state: {status} {body}");
    }
    for id in &tasks {
        let answer = b.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(answer.is(200).body["status"], "cancelled");
    }
    settled(&[&a, &b]).await;
    all_done(&a, &more).await;
    check_ledger(&a, &more).await;
}
