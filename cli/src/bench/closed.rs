//! So many at a time: each that asks asks again once it has been answered, and what ends within a window counts.

use super::BenchError;
use super::publish::micros;
use super::site::LIMIT;
use futures::future::join_all;
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
    counted: AtomicU64,
    /// All that ended.
    ended: AtomicU64,
}

/// What came of it.
pub(super) struct Counted<M> {
    /// How long those took, in microseconds, that ended while it was counted.
    pub(super) took_us: Vec<f64>,
    /// For how long it was counted.
    pub(super) lasted: Duration,
    /// All that ended, before and after it was counted too.
    pub(super) ended: u64,
    /// What stood when it was first counted, and when it no longer was.
    pub(super) marks: (M, M),
}

/// Has `in_flight` of them ask by `one` for `warm_up`, then for `window`, which counts; who takes longer than that is given the
/// time for as many as are in flight.
///
/// # Errors
/// Those of `one` and of `mark`.
pub(super) async fn measure<M, F, Fut>(
    in_flight: usize,
    warm_up: Duration,
    window: Duration,
    one: F,
    mark: impl Fn() -> Result<M, BenchError>,
) -> Result<Counted<M>, BenchError>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BenchError>> + Send + 'static,
{
    let shared = Arc::new(Shared::default());
    let asking: Vec<_> = (0..in_flight).map(|_| tokio::spawn(ask(one.clone(), shared.clone()))).collect();
    tokio::time::sleep(warm_up).await; // the time is what is measured
    shared.phase.store(COUNTING, Ordering::Relaxed);
    let (began, before) = (Instant::now(), mark()?);
    tokio::time::sleep(window).await; // the time is what is measured
    while shared.counted.load(Ordering::Relaxed) < in_flight as u64 && began.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(1)).await; // the condition is asked again
    }
    shared.phase.store(ENDING, Ordering::Relaxed);
    let (lasted, after) = (began.elapsed(), mark()?);
    let mut took_us = Vec::new();
    for asked in join_all(asking).await {
        took_us.extend(asked??);
    }
    let ended = shared.ended.load(Ordering::Relaxed);
    Ok(Counted { took_us, lasted, ended, marks: (before, after) })
}

/// One after the other.
async fn ask<F, Fut>(one: F, shared: Arc<Shared>) -> Result<Vec<f64>, BenchError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), BenchError>>,
{
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        one().await?;
        shared.ended.fetch_add(1, Ordering::Relaxed);
        match shared.phase.load(Ordering::Relaxed) {
            WARMING => {}
            COUNTING => {
                took.push(micros(began));
                shared.counted.fetch_add(1, Ordering::Relaxed);
            }
            _ => return Ok(took),
        }
    }
}
