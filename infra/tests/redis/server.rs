//! The embedded server: ready when said, gone when asked, gone with its parent.

use super::process::Actor;
use super::{Bench, SECOND, until};
use std::path::Path;
use std::time::Instant;
use synod_infra::redis::{EmbeddedRedis, EmbeddedRedisError, Redis, RedisConfig};

fn is_known(process_id: u32) -> bool {
    Path::new(&format!("/proc/{process_id}")).exists()
}

/// Whether it runs: one that has ended may stay known until whoever adopted it looks.
fn runs(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[tokio::test]
async fn it_answers_when_started_and_is_gone_within_a_second_of_shutdown() {
    let bench = Bench::start().await;
    bench.redis.ready().await.unwrap();
    let (process_id, port) = (bench.server.process_id(), bench.server.port());
    let began = Instant::now();
    bench.server.shutdown().await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert!(!is_known(process_id));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let server = EmbeddedRedis::start().await.unwrap();
    let process_id = server.process_id();
    drop(server);
    assert!(!is_known(process_id));
}

#[tokio::test]
async fn a_taken_port_is_named_as_the_reason() {
    let server = EmbeddedRedis::start().await.unwrap();
    let error = EmbeddedRedis::start_on(server.port()).await.unwrap_err();
    assert!(matches!(&error, EmbeddedRedisError::Ended(why) if why.contains("in use")), "{error}");
    Redis::new(RedisConfig::new(server.url())).unwrap().ready().await.unwrap();
}

#[tokio::test]
async fn many_start_at_once_each_on_its_own_port() {
    let servers = futures::future::join_all((0..8).map(|_| EmbeddedRedis::start())).await;
    let ports: std::collections::BTreeSet<u16> = servers.iter().map(|s| s.as_ref().unwrap().port()).collect();
    assert_eq!(ports.len(), 8);
}

#[tokio::test]
async fn it_dies_with_its_parent_even_by_sigkill() {
    let mut parent = Actor::start("keep_a_server", "");
    let said = parent.hear();
    let (process_id, url) = said.split_once(' ').unwrap();
    let process_id: u32 = process_id.parse().unwrap();
    let redis = Redis::new(RedisConfig::new(url)).unwrap();
    redis.ready().await.unwrap();
    assert!(runs(process_id));
    parent.kill();
    let took = until("redis-server ends with its parent", SECOND, || async { !runs(process_id) }).await;
    println!("gone {took:?} after its parent");
    assert!(redis.ready().await.is_err());
}

#[test]
fn without_redis_server_the_package_is_named() {
    let mut actor =
        Actor::start_with("start_without_a_path", "", |command| command.env("PATH", "/nonexistent"));
    let said = actor.hear();
    assert!(said.contains("Debian package `redis-server`"), "{said}");
}
