//! What a lock and a counter cost beside the plainest use of the same crate and the same Redis, in turns.
//!
//! `cargo run --release -p synod-infra --example leases -- [redis://… (its own by default)]`
//!
//! - acquire and release, beside `SET NX PX` and a script that compares and deletes, p50 of each round;
//! - a contended hand-over, in round trips: from before the release until the next holder goes on;
//! - a counter's addition (plain; with bounds and operation id), beside `INCR`.

use redis::AsyncCommands as _;
use std::error::Error;
use std::time::{Duration, Instant};
use synod_infra::primitives::counters::Counters;
use synod_infra::primitives::leases::{Ask, Held, Locks};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig};
use synod_protocol::primitives::counters::Add;
use synod_protocol::{Name, Workspace};

const ROUNDS: usize = 15;
const CALLS: usize = 2_000;
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The p50 of one round, in µs.
async fn round(mut once: impl AsyncFnMut(usize) -> Outcome<()>) -> Outcome<f64> {
    let mut took = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let began = Instant::now();
        once(n).await?;
        took.push(began.elapsed());
    }
    Ok(middle(took.iter().map(Duration::as_secs_f64).collect()) * 1e6)
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn told(what: &str, ours: &[f64], plain: &[f64]) {
    let ratios: Vec<f64> = ours.iter().zip(plain).map(|(ours, plain)| ours / plain).collect();
    let spread = |of: &[f64]| {
        let least = of.iter().copied().fold(f64::INFINITY, f64::min);
        let most = of.iter().copied().fold(0.0, f64::max);
        format!("{:.2} ({least:.2} to {most:.2})", middle(of.to_vec()))
    };
    println!("{what}: {} µs, plain {} µs, ratio {}", spread(ours), spread(plain), spread(&ratios));
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let own = EmbeddedRedis::start().await?;
    let url = std::env::args().nth(1).unwrap_or_else(|| own.url());
    let redis = Redis::new(RedisConfig::new(url.clone()))?;
    redis.ready().await?;
    let plain = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    locks(&redis, &plain).await?;
    hand_over(&redis, &plain).await?;
    counters(&redis, &plain).await
}

async fn locks(redis: &Redis, plain: &redis::aio::MultiplexedConnection) -> Outcome<()> {
    let (locks, w, name): (_, _, Name) =
        (Locks::new(redis.clone()), Workspace::default_name(), "bench".parse()?);
    let ask = Ask { owner: "me".parse()?, ttl_ms: 30_000, wait: Duration::ZERO, watched: false };
    let release = redis::Script::new(COMPARE_AND_DELETE);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut c = plain.clone();
        bare.push(
            round(async |n| {
                let mut set = redis::cmd("SET");
                set.arg("bench:lock")
                    .arg(n)
                    .arg("NX")
                    .arg("PX")
                    .arg(30_000)
                    .query_async::<()>(&mut c)
                    .await?;
                Ok(release.key("bench:lock").arg(n).invoke_async(&mut c).await?)
            })
            .await?,
        );
        ours.push(
            round(async |_| {
                let grant = locks.acquire(&w, &name, &ask, None).await?;
                Ok(locks.release(&w, Held::from(&grant.lease), None).await?)
            })
            .await?,
        );
    }
    told("acquire and release", &ours, &bare);
    Ok(())
}

/// One round trip is a `PING` on the same kind of connection.
async fn hand_over(redis: &Redis, plain: &redis::aio::MultiplexedConnection) -> Outcome<()> {
    let (locks, w, name): (_, _, Name) =
        (Locks::new(redis.clone()), Workspace::default_name(), "line".parse()?);
    let mut ask = Ask { owner: "me".parse()?, ttl_ms: 30_000, wait: Duration::ZERO, watched: false };
    let mut holder = locks.acquire(&w, &name, &ask, None).await?;
    ask.wait = Duration::from_secs(30);
    let (mut ours, mut trips) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut c, mut took) = (plain.clone(), Vec::new());
        trips.push(round(async |_| Ok(redis::cmd("PING").query_async::<()>(&mut c).await?)).await?);
        for _ in 0..CALLS / 10 {
            let waits = tokio::spawn({
                let (locks, w, name, ask) = (locks.clone(), w.clone(), name.clone(), ask.clone());
                async move { locks.acquire(&w, &name, &ask, None).await.map(|grant| (grant, Instant::now())) }
            });
            while locks.get(&w, &name).await?.waiters == 0 {
                tokio::task::yield_now().await;
            }
            let began = Instant::now();
            locks.release(&w, Held::from(&holder.lease), None).await?;
            let (grant, at) = waits.await??;
            took.push((at - began).as_secs_f64() * 1e6);
            holder = grant;
        }
        ours.push(middle(took));
    }
    told("hand-over, in round trips", &ours, &trips);
    Ok(())
}

async fn counters(redis: &Redis, plain: &redis::aio::MultiplexedConnection) -> Outcome<()> {
    let (counters, w, name): (_, _, Name) =
        (Counters::new(redis.clone()), Workspace::default_name(), "bench".parse()?);
    let add = Add { add: 1, floor: None, ceiling: None, operation_id: None };
    let (mut ours, mut bounded, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..ROUNDS {
        let mut c = plain.clone();
        bare.push(round(async |_| Ok(c.incr::<_, _, i64>("bench:counter", 1).await.map(drop)?)).await?);
        ours.push(round(async |_| Ok(counters.add(&w, &name, &add, None).await.map(drop)?)).await?);
        bounded.push(
            round(async |n| {
                let operation_id = Some(format!("{turn}-{n}").parse()?);
                let add = Add { floor: Some(0), ceiling: Some(i64::MAX), operation_id, ..add.clone() };
                Ok(counters.add(&w, &name, &add, None).await.map(drop)?)
            })
            .await?,
        );
    }
    told("counter, plain", &ours, &bare);
    told("counter, with bounds and operation id", &bounded, &bare);
    Ok(())
}
