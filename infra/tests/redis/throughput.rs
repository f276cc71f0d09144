//! Why calls share one connection: measured against the pool, both in one run.
//!
//! `cargo test -p synod-infra --release --test redis throughput -- --ignored --nocapture`

use super::Bench;
use std::future::Future;
use std::time::{Duration, Instant};
use synod_infra::redis::RedisConfig;

const TASKS: u64 = 256;
const CALLS_PER_TASK: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn shared_connection_against_pool() {
    let bench = Bench::start().await;
    let pool = deadpool_redis::Pool::builder(deadpool_redis::Manager::new(bench.server.url()).unwrap())
        .max_size(RedisConfig::new("").pool_size)
        .build()
        .unwrap();
    for _ in 0..3 {
        let redis = bench.redis.clone();
        let shared = rate(move || {
            let redis = redis.clone();
            async move { redis.ready().await.unwrap() }
        })
        .await;
        let pool = pool.clone();
        let pooled = rate(move || {
            let pool = pool.clone();
            async move {
                let mut connection = pool.get().await.unwrap();
                redis::cmd("PING").query_async::<()>(&mut connection).await.unwrap();
            }
        })
        .await;
        println!("shared {shared:.0}/s, pool {pooled:.0}/s, {:.1} times", shared / pooled);
    }
}

/// Calls per second of many tasks at once.
async fn rate<F>(call: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let tasks = (0..TASKS).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS_PER_TASK {
                call().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    }
    (TASKS * CALLS_PER_TASK) as f64 / began.elapsed().as_secs_f64()
}
