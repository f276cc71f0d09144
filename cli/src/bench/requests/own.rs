//! Synod's own requests: what an asker of another does in a process of its own is done in this one.

use super::super::BenchError;
use super::super::figures::Samples;
use super::super::publish::micros;
use super::super::site::LIMIT;
use super::asker::{Figures, Order};
use agent_sdk::{Client, task};
use futures::future::join_all;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const ENDING: u8 = 2;

/// What those that ask share.
#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    /// Ended while it was counted.
    done: AtomicU64,
    /// All that ended.
    asked: AtomicU64,
}

/// Follows an order, as [`Order`] says.
///
/// # Errors
/// A request is refused or late, or its reply is another.
pub(super) async fn ask(client: &Client, capability: &str, order: &Order) -> Result<Figures, BenchError> {
    let shared = Arc::new(Shared::default());
    let text = "x".repeat(order.bytes);
    let askers: Vec<_> = (0..order.in_flight)
        .map(|_| {
            tokio::spawn(one_by_one(client.clone(), capability.to_owned(), text.clone(), shared.clone()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(order.warm_up_ms)).await; // the time is what is measured
    shared.phase.store(COUNTING, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(order.window_ms)).await; // the time is what is measured
    while shared.done.load(Ordering::Relaxed) < order.in_flight as u64 && began.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(1)).await; // the condition is asked again
    }
    shared.phase.store(ENDING, Ordering::Relaxed);
    let took_s = began.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for asker in join_all(askers).await {
        took.extend(asker??);
    }
    let done = took.len() as u64;
    let mut samples = Samples::default();
    samples.round(took);
    let row = samples.row("requests", "", "us");
    let asked = shared.asked.load(Ordering::Relaxed);
    Ok(Figures { done, asked, took_s, p50_us: row.median, p99_us: row.p99 })
}

/// One after the other; answers how long those took, in microseconds, that ended while it was counted.
async fn one_by_one(
    client: Client,
    capability: String,
    text: String,
    shared: Arc<Shared>,
) -> Result<Vec<f64>, BenchError> {
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        let reply = client.call::<Value>(task(&capability).input(&text), LIMIT).await?.output;
        if reply != text {
            return Err(BenchError::Missing(format!("synod: the reply is {reply}, {text} was sent")));
        }
        shared.asked.fetch_add(1, Ordering::Relaxed);
        match shared.phase.load(Ordering::Relaxed) {
            WARMING => {}
            COUNTING => {
                took.push(micros(began));
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            _ => return Ok(took),
        }
    }
}
