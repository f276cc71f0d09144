//! Redis goes away and comes back: calls end within their limit, and go on within a second of its return.

use super::{Bench, SECOND, ask, connections_received, raw, until};
use std::process::Command;
use std::time::{Duration, Instant};
use synod_infra::redis::inbox::{Delivered, InboxReader, Inboxes};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig, RedisError};
use synod_protocol::Code;

/// What a call may take beyond its limit on a busy machine.
const SLACK: Duration = Duration::from_millis(300);

async fn fails_within_its_limit(redis: &Redis) {
    let began = Instant::now();
    let error = redis.ready().await.unwrap_err();
    assert!(began.elapsed() < redis.command_timeout() + SLACK, "{:?} for {error}", began.elapsed());
    assert!(error.is_transient(), "{error:?}");
    let shown = synod_protocol::Error::from(error);
    assert_eq!(shown.code, Code::Unavailable);
    assert!(shown.message.contains("Redis"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_on_the_same_port() {
    let bench = Bench::start().await;
    let (port, redis) = (bench.server.port(), bench.redis.clone());
    let inboxes = Inboxes::new(redis.clone());
    let notice = bench.notice("after".into());
    let mut reader = InboxReader::new(redis.clone(), &bench.workspace, &bench.agent, &bench.incarnation);
    assert_eq!(reader.take(Duration::from_millis(20)).await, Ok(None));
    bench.server.shutdown().await;

    fails_within_its_limit(&redis).await;
    // Long enough away for every backoff to have reached its longest wait.
    let away = Instant::now();
    while away.elapsed() < 2 * SECOND {
        fails_within_its_limit(&redis).await;
        let began = Instant::now();
        let taken = reader.take(Duration::from_millis(500)).await;
        assert!(began.elapsed() < SECOND + SLACK && !matches!(taken, Ok(Some(_))), "{taken:?}");
    }
    let results = inboxes.deliver(vec![notice.clone(), notice.clone()]).await;
    assert!(results.iter().all(|r| matches!(r, Err(RedisError::Away(_)))), "{results:?}");

    let server = EmbeddedRedis::start_on(port).await.unwrap();
    let took = until("calls go on", SECOND, || async { redis.ready().await.is_ok() }).await;
    println!("calls went on {took:?} after Redis was back");
    // A new server has forgotten the scripts too.
    assert_eq!(inboxes.deliver(vec![notice]).await, [Ok(Delivered::Accepted)]);
    let back = Instant::now();
    let body = loop {
        if let Ok(Some(body)) = reader.take(Duration::from_millis(200)).await {
            break body;
        }
        assert!(back.elapsed() < SECOND, "the blocking reader goes on too");
    };
    assert_eq!(body, "after");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_callers_one_connection_comes_back() {
    let bench = Bench::start().await;
    let (port, redis) = (bench.server.port(), bench.redis.clone());
    redis.ready().await.unwrap();
    bench.server.shutdown().await;
    let callers: Vec<_> = (0..300)
        .map(|_| {
            let redis = redis.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                while redis.ready().await.is_err() {
                    assert!(began.elapsed() < 10 * SECOND);
                }
            })
        })
        .collect();
    let server = EmbeddedRedis::start_on(port).await.unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    let mut raw = raw(&server.url()).await;
    let connections = connections_received(&mut raw).await;
    // Ours, the test's own, and the starter's.
    assert!(connections <= 4, "{connections} connections for 300 callers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_and_used_again_when_it_wakes() {
    let bench = Bench::start().await;
    bench.redis.ready().await.unwrap();
    let signal = |name: &str| {
        let process_id = bench.server.process_id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process_id]).status().unwrap().success());
    };
    signal("STOP");
    fails_within_its_limit(&bench.redis).await;
    fails_within_its_limit(&bench.redis).await;
    signal("CONT");
    until("calls go on", SECOND + SLACK, || async { bench.redis.ready().await.is_ok() }).await;
}

#[tokio::test]
async fn a_handle_made_before_redis_is_there_finds_it_later() {
    let port = EmbeddedRedis::start().await.unwrap().port();
    let redis = Redis::new(RedisConfig::new(format!("redis://127.0.0.1:{port}"))).unwrap();
    fails_within_its_limit(&redis).await;
    let _server = EmbeddedRedis::start_on(port).await.unwrap();
    until("calls go on", SECOND, || async { redis.ready().await.is_ok() }).await;
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let bench = Bench::start().await;
    ask::<()>(&mut bench.raw().await, &["CONFIG", "SET", "requirepass", "right-one"]).await;
    let url = format!("redis://:hunter2@127.0.0.1:{}", bench.server.port());
    let error = Redis::new(RedisConfig::new(url)).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("password") && !error.contains("hunter2"), "{error}");
    let url = format!("redis://:right-one@127.0.0.1:{}", bench.server.port());
    Redis::new(RedisConfig::new(url)).unwrap().ready().await.unwrap();
}
