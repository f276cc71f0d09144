//! How many messages a second one process puts in, leases and acknowledges: an arm of `scripts/bench-peers`.
//!
//! `queue_rate jobs <redis url> <jobs> <in flight>` prints messages per second. `queue_rate depth <redis url> <waiting>`
//! prints, one per line, the mean µs of an enqueue, a lease and an ack one after the other, with so many waiting.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: what fails ends it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_infra::primitives::queues::{QueueLimits, Queues};
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::primitives::queue::{LeaseRequest, NewMessage};
use synod_protocol::{Json, Name, Workspace};

/// Messages of one lease: what a consumer with room for as many asks for.
const LEASED: u64 = 16;
/// Rounds over which a mean is taken.
const ROUNDS: u32 = 2_000;

#[derive(Clone)]
struct Line {
    queues: Queues,
    workspace: Workspace,
    name: Name,
}

impl Line {
    async fn put(&self, payload: u64) {
        let new = NewMessage::new(Json::of(&serde_json::json!({ "n": payload })).unwrap());
        self.queues.enqueue(&self.workspace, &self.name, &[new], None).await.unwrap();
    }

    async fn take(&self, limit: u64, wait_ms: u64) -> Vec<(Name, String)> {
        let request = LeaseRequest {
            limit: Some(limit),
            wait_ms: Some(wait_ms),
            ..LeaseRequest::new("c", Duration::from_secs(600))
        };
        let items = self.queues.lease(&self.workspace, &self.name, &request, None).await.unwrap();
        items.into_iter().map(|m| (m.message_id.parse().unwrap(), m.receipt)).collect()
    }

    async fn ack(&self, (id, receipt): &(Name, String)) {
        self.queues.ack(&self.workspace, &self.name, id, receipt, None).await.unwrap();
    }
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let redis = Redis::new(RedisConfig {
        command_timeout: Duration::from_secs(10),
        ..RedisConfig::new(words[1].clone())
    });
    let limits = QueueLimits { messages: 10_000_000, bytes: 8 << 30 };
    let line = Line {
        queues: Queues::with_limits(redis.unwrap(), limits),
        workspace: Workspace::default_name(),
        name: "bench".parse().unwrap(),
    };
    match words[0].as_str() {
        "jobs" => jobs(line, words[2].parse().unwrap(), words[3].parse().unwrap()).await,
        _ => depth(line, words[2].parse().unwrap()).await,
    }
}

async fn jobs(line: Line, jobs: u64, in_flight: u64) {
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (line, next) = (line.clone(), next.clone());
        all.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= jobs {
                    return;
                }
                line.put(n).await;
            }
        });
    }
    for _ in 0..in_flight.div_ceil(LEASED) {
        let (line, done) = (line.clone(), done.clone());
        all.spawn(async move {
            while done.load(Ordering::Relaxed) < jobs {
                let messages = line.take(LEASED, 200).await;
                futures::future::join_all(messages.iter().map(|message| line.ack(message))).await;
                done.fetch_add(messages.len() as u64, Ordering::Relaxed);
            }
        });
    }
    while done.load(Ordering::Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{:.0}", jobs as f64 / began.elapsed().as_secs_f64());
}

async fn depth(line: Line, waiting: usize) {
    let mut left = waiting;
    while left > 0 {
        let some = left.min(1_000);
        let new = NewMessage::new(Json::of(&1).unwrap());
        line.queues.enqueue(&line.workspace, &line.name, &vec![new; some], None).await.unwrap();
        left -= some;
    }
    let mut spent = [Duration::ZERO; 3];
    for n in 0..ROUNDS {
        let began = Instant::now();
        line.put(n.into()).await;
        let put = Instant::now();
        let message = line.take(1, 0).await.remove(0);
        let taken = Instant::now();
        line.ack(&message).await;
        spent[0] += put - began;
        spent[1] += taken - put;
        spent[2] += taken.elapsed();
    }
    for time in spent {
        println!("{:.1}", time.as_secs_f64() * 1e6 / f64::from(ROUNDS));
    }
}
