//! `/metrics`: what has been counted, and what is looked at when it is asked for.

use crate::Shared;
use crate::health::{Phase, ShardStatus};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use synod_infra::kafka::ClientStats;
use synod_infra::telemetry::names;
use synod_protocol::view::TaskStatus;

/// Where a task stands that has not ended.
const LIVE: [TaskStatus; 5] = [
    TaskStatus::Waiting,
    TaskStatus::Assigned,
    TaskStatus::Running,
    TaskStatus::Retrying,
    TaskStatus::InputRequired,
];

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text format 0.0.4")))]
pub(crate) async fn get_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let Some(metrics) = &shared.config.metrics else {
        return (StatusCode::NOT_FOUND, "metrics are off in this process\n").into_response();
    };
    let shards = shared.status.shards();
    of_shards(&shards);
    for (health, count) in shared.fleet.counts() {
        metrics::gauge!(names::AGENTS, "health" => health).set(count as f64);
    }
    for (state, count) in crate::breakers::counts(&shared) {
        metrics::gauge!(names::BREAKERS, "state" => state).set(count as f64);
    }
    for (client, stats) in shared.kafka.stats() {
        of_kafka(client, &stats);
    }
    let pool = shared.redis.pool();
    metrics::gauge!(names::REDIS_POOL_CONNECTIONS, "state" => "used").set(pool.used as f64);
    metrics::gauge!(names::REDIS_POOL_CONNECTIONS, "state" => "idle").set(pool.idle as f64);
    metrics::gauge!(names::REDIS_POOL_WAITING).set(pool.waiting as f64);
    ([("content-type", "text/plain; version=0.0.4")], metrics.render()).into_response()
}

/// What stands in the shards that are held. Of one that is not there is nothing to tell: its lag is 0.
fn of_shards(shards: &[ShardStatus]) {
    let held = || shards.iter().filter(|s| s.phase != Phase::StandingBy);
    metrics::gauge!(names::SHARDS_OWNED).set(held().count() as f64);
    metrics::gauge!(names::COMMANDS_WAITING).set(held().map(|s| s.lag).sum::<u64>() as f64);
    metrics::gauge!(names::EFFECTS_PENDING).set(held().map(|s| s.owed).sum::<usize>() as f64);
    for shard in shards {
        let lag = if shard.phase == Phase::StandingBy { 0 } else { shard.lag };
        metrics::gauge!(names::SHARD_LAG, "shard" => shard.shard.to_string()).set(lag as f64);
    }
    let seconds = |ms: Option<u64>| ms.unwrap_or(0) as f64 / 1000.0;
    metrics::gauge!(names::OLDEST_COMMAND_SECONDS)
        .set(seconds(held().filter_map(|s| s.oldest_waiting_ms).max()));
    metrics::gauge!(names::OLDEST_TASK_SECONDS).set(seconds(held().map(|s| s.oldest_ms.0).max()));
    metrics::gauge!(names::OLDEST_APPROVAL_SECONDS).set(seconds(held().map(|s| s.oldest_ms.1).max()));
    for status in LIVE {
        // One that no shard has any more is 0, and not what it was.
        let count = held().filter_map(|s| s.tasks.get(&status)).sum::<u64>();
        metrics::gauge!(names::TASKS, "status" => status.as_str()).set(count as f64);
    }
    metrics::gauge!(names::NEGOTIATIONS).set(held().map(|s| s.live.0).sum::<usize>() as f64);
    metrics::gauge!(names::EXECUTIONS).set(held().map(|s| s.live.1).sum::<usize>() as f64);
    metrics::gauge!(names::APPROVALS).set(held().map(|s| s.live.2).sum::<usize>() as f64);
}

fn of_kafka(client: &'static str, stats: &ClientStats) {
    let brokers = || stats.brokers.values();
    let slowest_us = brokers().map(|broker| broker.rtt_avg_us).max().unwrap_or(0);
    let failed = brokers().map(|b| b.tx_errors + b.rx_errors + b.tx_retries + b.timeouts).sum();
    metrics::gauge!(names::KAFKA_QUEUE_RECORDS, "client" => client).set(stats.queue_records as f64);
    metrics::gauge!(names::KAFKA_QUEUE_BYTES, "client" => client).set(stats.queue_bytes as f64);
    metrics::gauge!(names::KAFKA_BROKERS_UP, "client" => client)
        .set(brokers().filter(|b| b.up).count() as f64);
    metrics::gauge!(names::KAFKA_ROUND_TRIP_SECONDS, "client" => client).set(slowest_us as f64 / 1e6);
    metrics::counter!(names::KAFKA_REQUESTS_FAILED_TOTAL, "client" => client).absolute(failed);
}
