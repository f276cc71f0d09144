//! Presence and heartbeats.

use super::process::Actor;
use super::{Bench, SECOND, ask, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_infra::redis::presence::{Beat, Heartbeats, Listening, Presence, PresenceHold};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig, RedisError, keys};
use synod_protocol::Incarnation;
use synod_protocol::view::{Held, Load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_absent_at_once() {
    let bench = Bench::start().await;
    let channel = keys::presence(&bench.workspace, &bench.agent, &bench.incarnation);
    let nobody = keys::presence(&bench.workspace, &"nobody".parse().unwrap(), &bench.incarnation);
    let who = format!("{} {} {} {}", bench.server.url(), bench.workspace, bench.agent, bench.incarnation);
    let mut agent = Actor::start("be_present", &who);
    assert_eq!(agent.hear(), "true");
    let presence = Presence::new(bench.redis.clone());
    let channels = [nobody, channel];
    let before = presence.present(&channels).await.unwrap();
    assert_eq!(before.present, [false, true]);

    agent.kill();
    let killed = Instant::now();
    let after = loop {
        let look = presence.present(&channels).await.unwrap();
        if look.present == [false, false] {
            break look;
        }
        assert!(killed.elapsed() < SECOND, "still present");
    };
    println!("absent {:?} after SIGKILL", killed.elapsed());
    assert_eq!(
        (after.run_id, after.connection),
        (before.run_id, before.connection),
        "one server, one connection"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_returns_after_a_restart_and_the_look_says_that_there_was_one() {
    let bench = Bench::start().await;
    let port = bench.server.port();
    let hold = PresenceHold::start(bench.redis.clone(), &bench.workspace, &bench.agent, &bench.incarnation);
    assert!(hold.wait_held(SECOND).await);
    let presence = Presence::new(bench.redis.clone());
    let channels = [keys::presence(&bench.workspace, &bench.agent, &bench.incarnation)];
    let before = presence.present(&channels).await.unwrap();
    bench.server.shutdown().await;
    until("the hold notices", SECOND, || async { !hold.is_held() }).await;
    let _server = EmbeddedRedis::start_on(port).await.unwrap();
    let there = || async { presence.present(&channels).await.is_ok_and(|look| look.present == [true]) };
    until("presence is back", SECOND, there).await;
    let after = presence.present(&channels).await.unwrap();
    assert_ne!(after.run_id, before.run_id);
    assert!(after.connection > before.connection);
    drop(hold);
    until("a dropped hold is absent", SECOND, || async { !there().await }).await;
}

#[tokio::test]
async fn many_channels_are_asked_about_in_one_exchange() {
    let bench = Bench::start().await;
    let presence = Presence::new(bench.redis.clone());
    let channel =
        |n: u32| keys::presence(&bench.workspace, &format!("a{n}").parse().unwrap(), &bench.incarnation);
    let channels: Vec<String> = (0..2500).map(channel).collect();
    let hold = PresenceHold::start(
        bench.redis.clone(),
        &bench.workspace,
        &"a2100".parse().unwrap(),
        &bench.incarnation,
    );
    assert!(hold.wait_held(SECOND).await);
    let began = Instant::now();
    let look = presence.present(&channels).await.unwrap();
    println!("2,500 channels in {:?}", began.elapsed());
    let present: Vec<usize> = (0..2500).filter(|n| look.present[*n]).collect();
    assert_eq!(present, [2100]);
    assert!(presence.present(&[]).await.unwrap().present.is_empty());
}

#[tokio::test]
async fn beats_are_read_back_all_of_them() {
    let bench = Bench::start().await;
    let heartbeats = Heartbeats::new(bench.redis.clone());
    let beat = |n: u64, count: u64| Beat {
        workspace: bench.workspace.clone(),
        agent_id: format!("a{n:05}").parse().unwrap(),
        incarnation: bench.incarnation.clone(),
        beat: count,
        in_flight: vec![Held { task_id: "wf:step".parse().unwrap(), attempt: 2 }],
        load: Some(Load { cpu: Some(0.5), memory_mb: None }),
        present: true,
    };
    assert_eq!(heartbeats.beats().await, Ok(vec![]));
    assert_eq!(heartbeats.beat(&beat(1, 1), None).await, Ok(None));
    assert_eq!(heartbeats.beat(&beat(1, 2), None).await, Ok(None));
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(1, 2)]), "the newest");
    ask::<()>(&mut bench.raw().await, &["HSET", keys::HEARTBEATS, "w/junk", "not a beat"]).await;
    let claims = serde_json::to_string(&beat(1, 9)).unwrap();
    ask::<()>(&mut bench.raw().await, &["HSET", keys::HEARTBEATS, "thief/a00001", &claims]).await;
    let why = "what does not read, or claims another's place, is left out";
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(1, 2)]), "{why}");
    let mut listening = Listening::new(bench.redis.clone());
    let coordinator = "c1".parse().unwrap();
    assert_eq!(listening.look(&coordinator).await, (Ok(()), Ok(vec![Arc::new(beat(1, 2))])), "{why}");
    heartbeats.beat(&beat(2, 1), None).await.unwrap();
    for count in 3..5 {
        heartbeats.beat(&beat(1, count), None).await.unwrap();
        let both = vec![Arc::new(beat(1, count)), Arc::new(beat(2, 1))];
        assert_eq!(listening.look(&coordinator).await, (Ok(()), Ok(both)), "one has beaten, one has not");
    }
    heartbeats.forget(&bench.workspace, &beat(2, 1).agent_id).await.unwrap();
    assert_eq!(listening.look(&coordinator).await.1, Ok(vec![Arc::new(beat(1, 4))]), "one has gone");
    ask::<()>(&mut bench.raw().await, &["HDEL", keys::HEARTBEATS, "thief/a00001"]).await;

    // More than are read at once, so that they are scanned in pages.
    futures::future::try_join_all((0..2500).map(|n| {
        let (heartbeats, beat) = (heartbeats.clone(), beat(n, 7));
        async move { heartbeats.beat(&beat, None).await }
    }))
    .await
    .unwrap();
    for _ in 0..2 {
        assert_eq!(listening.look(&coordinator).await.1.unwrap().len(), 2500, "at once, then in pages");
    }
    let beats = heartbeats.beats().await.unwrap();
    assert_eq!(beats, (0..2500).map(|n| beat(n, 7)).collect::<Vec<_>>());
    heartbeats.forget(&bench.workspace, &beats[0].agent_id).await.unwrap();
    assert_eq!(heartbeats.beats().await.unwrap().len(), 2499);
}

#[tokio::test]
async fn a_newer_start_that_beats_is_not_beaten_over() {
    let bench = Bench::start().await;
    let heartbeats = Heartbeats::new(bench.redis.clone());
    let [older, newer]: [Incarnation; 2] =
        ["0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10", "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11"]
            .map(|i| i.parse().unwrap());
    let beat = |incarnation: &Incarnation, beat: u64| Beat {
        workspace: bench.workspace.clone(),
        agent_id: "a".parse().unwrap(),
        incarnation: incarnation.clone(),
        beat,
        in_flight: vec![],
        load: None,
        present: true,
    };
    assert_eq!(heartbeats.beat(&beat(&older, 1), None).await, Ok(None));
    assert_eq!(heartbeats.beat(&beat(&newer, 1), None).await, Ok(None), "the older one's time is over");
    let first = heartbeats.beat(&beat(&older, 2), None).await.unwrap().expect("the newer one's");
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(&newer, 1)]));
    heartbeats.beat(&beat(&newer, 2), None).await.unwrap();
    let second = heartbeats.beat(&beat(&older, 3), Some(&first)).await.unwrap().expect("it beats");
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(&newer, 2)]));
    // One that died before anybody knew it does not silence the other for ever.
    assert_eq!(heartbeats.beat(&beat(&older, 4), Some(&second)).await, Ok(None));
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(&older, 4)]));
    // Nor does what is no heartbeat.
    ask::<i64>(
        &mut bench.raw().await,
        &["HSET", keys::HEARTBEATS, &format!("{}/a", bench.workspace), "junk"],
    )
    .await;
    assert_eq!(heartbeats.beat(&beat(&older, 5), None).await, Ok(None));
    assert_eq!(heartbeats.beats().await, Ok(vec![beat(&older, 5)]));
}

#[tokio::test]
async fn a_probe_fails_while_redis_takes_no_writes_and_reads_go_on() {
    let bench = Bench::start().await;
    let (heartbeats, me) = (Heartbeats::new(bench.redis.clone()), "c1".parse().unwrap());
    let mut raw = bench.raw().await;
    heartbeats.probe(&me).await.unwrap();
    ask::<()>(&mut raw, &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(heartbeats.probe(&me).await, Err(RedisError::Refused(_))));
    let (taken, beats) = Listening::new(bench.redis.clone()).look(&me).await;
    assert!(matches!(taken, Err(RedisError::Refused(_))) && beats == Ok(vec![]), "{taken:?} {beats:?}");
    assert_eq!(heartbeats.beats().await, Ok(vec![]));
    ask::<()>(&mut raw, &["CONFIG", "SET", "maxmemory", "0"]).await;
    heartbeats.probe(&me).await.unwrap();
    // A replica of a server that is not there.
    ask::<()>(&mut raw, &["REPLICAOF", "127.0.0.1", "1"]).await;
    heartbeats.probe(&me).await.unwrap_err();
    ask::<()>(&mut raw, &["REPLICAOF", "NO", "ONE"]).await;
    heartbeats.probe(&me).await.unwrap();
}

#[tokio::test]
async fn a_server_is_known_by_its_run_id() {
    let bench = Bench::start().await;
    let id = bench.redis.run_id().await.unwrap();
    assert_eq!(id.len(), 40);
    let other = Redis::new(RedisConfig::new(bench.server.url())).unwrap();
    assert_eq!(other.run_id().await.unwrap(), id);
    assert!(Duration::from_millis(1) < other.command_timeout());
}
