//! Redis as it is: every test here runs on a real `redis-server`, started by the test, and fails without one.
#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test, in helper functions too")]

mod budgets;
mod changes;
mod contexts;
mod counters;
mod failover;
mod inbox;
mod lease;
mod linear;
mod lock_histories;
mod lock_lists;
mod locks;
mod memories;
mod network;
mod outage;
mod permits;
mod presence;
mod process;
mod queue_history;
mod queue_model;
mod queues;
mod replies_and_views;
mod scripts;
mod semaphores;
mod sentinel;
mod server;
mod snapshots;
mod state;
mod telemetry;

use std::time::{Duration, Instant};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig};
use synod_protocol::{Id, Incarnation, Workspace};

/// A server of the test's own, a handle to it, and names that no other test has.
struct Bench {
    server: EmbeddedRedis,
    redis: Redis,
    workspace: Workspace,
    agent: Id,
    incarnation: Incarnation,
}

impl Bench {
    async fn start() -> Bench {
        let server = EmbeddedRedis::start().await.expect("redis-server must be installed for these tests");
        Bench {
            redis: Redis::new(RedisConfig::new(server.url())).unwrap(),
            server,
            workspace: "w-1".parse().unwrap(),
            agent: Id::made("agent_", uuid::Uuid::new_v4()),
            incarnation: uuid::Uuid::new_v4().into(),
        }
    }

    /// A plain connection of the test's own, for what no room offers.
    async fn raw(&self) -> redis::aio::MultiplexedConnection {
        raw(&self.server.url()).await
    }
}

async fn raw(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    // No limit of its own: how quick the machine is is not what is tested by it.
    let patient = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

/// Runs one raw command.
async fn ask<T: redis::FromRedisValue>(
    connection: &mut redis::aio::MultiplexedConnection,
    words: &[&str],
) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await.unwrap()
}

/// Connections that the server has accepted since its start, this one included.
async fn connections_received(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = ask(connection, &["INFO", "stats"]).await;
    let count = info.lines().find_map(|l| l.strip_prefix("total_connections_received:")).unwrap();
    count.trim().parse().unwrap()
}

/// Waits for a condition, looking every 5 ms; how long it took. Panics after `limit`.
async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

const SECOND: Duration = Duration::from_secs(1);
