//! Shared state comes back from its mirror in Kafka: after `FLUSHALL`, and after Redis came back from an old file, both
//! under load. What is lost is the mirror's lag and nothing else, and no version is ever seen with two values.

use super::mirror_load::{Load, Loss, OwnRedis, WAIT, WRITERS};
use super::outages::services;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_infra::primitives::state::Writer;
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::primitives::changes::StateEvent;
use synod_protocol::primitives::state::{Condition, Put, range};
use synod_protocol::{Json, Name, topics};
use synod_tests::{Client, Mesh, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn after_flushall_under_load_state_is_back_but_for_what_the_mirror_had_not() {
    let (services, _turn) = services().await;
    let redis = OwnRedis::start().await;
    let mesh = Mesh::coordinator(&services.kafka, &redis.url());
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let load = Load::on(&Redis::new(RedisConfig::new(redis.url())).expect("a handle"));
    let work = load.start();
    load.more(2_000).await;
    let broke = Instant::now();
    assert_eq!(redis.say("FLUSHALL").await.as_deref(), Some("+OK"));
    load.more(WRITERS + 1).await;
    let back = broke.elapsed();
    load.more(2_000).await;
    let loss = load.checked(&client, work, broke).await;
    println!(
        "FLUSHALL: {} writes lost, the oldest {:?} before; served again after {back:?}",
        loss.writes, loss.window
    );
    assert!(loss.window < Duration::from_secs(5), "{loss:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_old_file_under_load_nothing_older_than_the_mirror_is_served() {
    let (services, _turn) = services().await;
    let redis = OwnRedis::start().await;
    let mesh = Mesh::coordinator(&services.kafka, &redis.url());
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let load = Load::on(&Redis::new(RedisConfig::new(redis.url())).expect("a handle"));
    let work = load.start();
    load.more(1_000).await;
    assert_eq!(redis.say("SAVE").await.as_deref(), Some("+OK"));
    load.more(1_500).await;
    let broke = Instant::now();
    redis.restart().await;
    load.more(WRITERS + 1).await;
    let back = broke.elapsed();
    load.more(2_000).await;
    let loss = load.checked(&client, work, broke).await;
    println!(
        "an old file: {} writes lost, the oldest {:?} before; served again after {back:?}",
        loss.writes, loss.window
    );
    assert!(loss.window < Duration::from_secs(5), "{loss:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_coordinator_relayed_another_goes_on_with_and_nothing_is_missing() {
    let (services, _turn) = services().await;
    let redis = OwnRedis::start().await;
    let [first, second] = [0, 1].map(|_| Mesh::coordinator(&services.kafka, &redis.url()));
    first.ready(WAIT).await;
    second.ready(WAIT).await;
    let client = Client::of(&second);
    let load = Load::on(&Redis::new(RedisConfig::new(redis.url())).expect("a handle"));
    let work = load.start();
    load.more(1_000).await;
    first.kill();
    load.more(1_000).await;
    // A frozen one comes back, and finds that its ranges are another's.
    first.start_again();
    first.ready(WAIT).await;
    load.more(500).await;
    second.signal("STOP");
    load.more(1_500).await;
    second.signal("CONT");
    load.more(1_500).await;
    // Nothing was lost at any moment, so everything that was acknowledged is in the mirror.
    let never = Instant::now() + Duration::from_secs(3600);
    let loss = load.checked(&client, work, never).await;
    assert_eq!(loss, Loss::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_an_event_once_by_its_id_and_what_expires_is_one_too() {
    let (services, _turn) = services().await;
    let redis = OwnRedis::start().await;
    let mesh = Mesh::coordinator(&services.kafka, &redis.url());
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let load = Load::on(&Redis::new(RedisConfig::new(redis.url())).expect("a handle"));
    let (writer, name) = (Writer::new(load.workspace.clone(), "me"), &load.names[0]);
    let number = |value: u64| Put::of(Json::of(&value).expect("a number"));
    let first = eventually("a range is served", WAIT, || async {
        load.state.put(&writer, name, number(1), Condition::None).await.ok()
    })
    .await;
    load.state.put(&writer, name, number(2), Condition::None).await.expect("a put");
    let stale =
        Put { strategy: Some(synod_protocol::primitives::state::Strategy::LastWriteWins), ..number(3) };
    load.state.put(&writer, name, stale, Condition::Version(first.entry.version)).await.expect("a put");
    load.state.delete(&writer, name, Condition::None).await.expect("a delete").expect("it was there");
    let short = Put { ttl_ms: Some(100), ..number(4) };
    load.state.put(&writer, name, short, Condition::None).await.expect("a put");
    let wanted = ["changed", "changed", "conflicted", "changed", "deleted", "changed", "expired"];
    eventually("all is told", WAIT, || async {
        let mut told: BTreeMap<String, StateEvent> = BTreeMap::new();
        for record in client.all(topics::EVENTS).await {
            let envelope = record.envelope().ok()?;
            if envelope.subject.as_deref() == Some(name.as_str()) {
                let event: StateEvent = serde_json::from_slice(record.payload.as_deref()?).ok()?;
                assert_eq!(event.ty, envelope.ty);
                told.insert(envelope.id, event);
            }
        }
        // Ids are UUIDv7s whose time is that of the change, so they sort as the changes came, but within a millisecond.
        let mut types: Vec<&str> =
            told.values().filter_map(|event| event.ty.strip_prefix("synod.state.")).collect();
        let mut sorted = wanted.to_vec();
        types.sort_unstable();
        sorted.sort_unstable();
        (types == sorted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_has_and_the_mirror_has_not_is_mirrored_again() {
    let (services, _turn) = services().await;
    let redis = OwnRedis::start().await;
    let mesh = Mesh::coordinator(&services.kafka, &redis.url());
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let load = Load::on(&Redis::new(RedisConfig::new(redis.url())).expect("a handle"));
    let (writer, workspace) = (Writer::new(load.workspace.clone(), "me"), &load.workspace);
    let put = async |name: &Name, value: u64| {
        let put = Put::of(Json::of(&value).expect("a number"));
        load.state.put(&writer, name, put, Condition::None).await.ok().map(|written| written.entry.version)
    };
    let name = &load.names[0];
    eventually("a range is served", WAIT, || put(name, 1)).await;
    mesh.kill();
    // Written while nobody relays, and no longer owed: as if Kafka had lost it.
    let version = put(name, 2).await.expect("the range is open for a while");
    let at = range(workspace, name);
    for key in ["changes", "era"] {
        assert_eq!(redis.say(&format!("DEL synod:{{state/{at}}}:{key}")).await.as_deref(), Some(":1"));
    }
    assert!(!load.mirror(&client).await.iter().any(|(_, found, _)| *found == version));
    mesh.start_again();
    eventually("the mirror has it", WAIT, || async {
        load.mirror(&client).await.contains(&(name.to_string(), version, 2)).then_some(())
    })
    .await;
}
