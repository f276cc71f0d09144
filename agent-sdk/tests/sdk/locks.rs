//! Guards: they renew themselves, say at once when they are lost, and cancel what they guard.

use super::{Bed, SOON};
use agent_sdk::{Addition, Code, LockGuard, LockOptions, Lost, Mesh, MeshConfig};
use std::time::Duration;
use synod_infra::redis::{Redis, RedisConfig};

const SHORT: Duration = Duration::from_millis(200);

/// A script's worth of what an operator may do to Redis, by its own command line.
fn redis_cli(bed: &Bed, words: &[&str]) {
    let port = bed.redis.port().to_string();
    let done = std::process::Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

async fn take(bed: &Bed, options: LockOptions) -> LockGuard {
    bed.mesh.locks().acquire("l", options).await.unwrap()
}

async fn lost(guard: &LockGuard) -> Lost {
    tokio::time::timeout(SOON, guard.lost()).await.expect("told in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_outlives_its_lease_by_renewing_it_and_is_given_back_once() {
    let bed = Bed::start().await;
    let guard = take(&bed, LockOptions::default().ttl(SHORT)).await;
    let first = guard.lease().expires_at;
    let locks = bed.mesh.locks();
    let began = tokio::time::Instant::now();
    while locks.get("l").await.unwrap().expires_at.millis_since(first) < 3 * SHORT.as_millis() as u64 {
        assert!(began.elapsed() < SOON, "not renewed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(guard.is_held());
    assert_eq!(locks.acquire("l", LockOptions::default()).await.unwrap_err().code, Code::Conflict);
    let (token, cancelled) = (guard.token(), guard.cancellation());
    let waits = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("l", LockOptions::waiting(SOON)).await }
    });
    while locks.get("l").await.unwrap().waiters == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guard.release().await.unwrap();
    assert!(cancelled.is_cancelled());
    let next = waits.await.unwrap().unwrap();
    assert!(next.token() > token);
    // Dropped is released.
    drop(next);
    let again = locks.acquire("l", LockOptions::waiting(SOON)).await.unwrap();
    assert_eq!(again.run(async { 7 }).await, Ok(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_told_and_its_work_cancelled() {
    let bed = Bed::start().await;
    // Redis has forgotten it.
    let guard = take(&bed, LockOptions::default().ttl(SHORT)).await;
    redis_cli(&bed, &["FLUSHALL"]);
    assert_eq!(guard.run(std::future::pending::<()>()).await, Err(Lost::Fenced));
    assert!(!guard.is_held());
    assert_eq!(guard.release().await.unwrap_err().code, Code::Fenced);

    // An operator has broken it: told at once, long before it would be renewed.
    let guard = take(&bed, LockOptions::waiting(SOON).ttl(Duration::from_secs(3600))).await;
    let redis = Redis::new(RedisConfig::new(bed.redis.url())).unwrap();
    let all = synod_infra::primitives::leases::Locks::new(redis);
    all.break_open(&bed.config.workspace, &"l".parse().unwrap(), None, None).await.unwrap();
    assert_eq!(lost(&guard).await, Lost::Broken);
    assert!(guard.cancellation().is_cancelled());
}

/// Nobody answers: at the end of its lease, by our own clock, it counts as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_renewed_counts_as_lost_when_its_lease_ends() {
    let bed = Bed::start().await;
    let guard = take(&bed, LockOptions::default().ttl(2 * SHORT)).await;
    redis_cli(&bed, &["CLIENT", "PAUSE", "60000", "ALL"]);
    assert_eq!(guard.run(std::future::pending::<()>()).await, Err(Lost::Unknown));
    assert!(!guard.is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_counters_budgets_and_limits_are_the_meshs() {
    let bed = Bed::start().await;
    let permits = bed.mesh.semaphores();
    let (a, _b) = (
        permits.acquire("s", 2, LockOptions::default()).await.unwrap(),
        permits.acquire("s", 2, LockOptions::default()).await.unwrap(),
    );
    assert_eq!(permits.acquire("s", 2, LockOptions::default()).await.unwrap_err().code, Code::Conflict);
    a.release().await.unwrap();
    assert_eq!(permits.get("s").await.unwrap().available, 1);
    let counters = bed.mesh.counters();
    assert_eq!(counters.add("c", 2).await, Ok(2));
    assert_eq!(counters.add("c", Addition::of(-3).floor(0)).await.unwrap_err().value, Some(2));
    assert_eq!(counters.get("c").await, Ok(2));
    let budgets = bed.mesh.budgets();
    budgets.set("b", 10).await.unwrap();
    let mine = budgets.reserve("b", 6, SOON).await.unwrap().reservation;
    assert_eq!(budgets.spend("b", &mine, 4).await.unwrap().left, 2);
    assert_eq!(budgets.give_back("b", &mine).await.unwrap().remaining, 6);
    assert!(bed.mesh.limits().take("l", 1, 1.0, 1).await.unwrap().allowed);
    assert!(!bed.mesh.limits().take("l", 1, 1.0, 1).await.unwrap().allowed);
}

#[tokio::test]
async fn without_redis_it_is_unavailable() {
    let mesh = Mesh::connect(MeshConfig::http("http://127.0.0.1:1")).unwrap();
    assert_eq!(mesh.locks().acquire("l", LockOptions::default()).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(mesh.counters().get("c").await.unwrap_err().code, Code::Unavailable);
}
