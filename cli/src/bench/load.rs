//! Sustained tasks per second with eight agents, and what each costs the coordinator.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::process::Process;
use super::publish::micros;
use super::site::{LIMIT, Site, end};
use super::{BenchError, Effort};
use agent_sdk::{Client, task};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_protocol::Json;

const AGENTS: usize = 8;
/// Attempts at a time of each agent: enough for the most that is in flight.
const CONCURRENCY: u32 = 64;
const IN_FLIGHT: [usize; 3] = [1, 64, 512];

/// What one number in flight measured.
#[derive(Default)]
pub(super) struct Arm {
    pub(super) rate: Samples,
    pub(super) coordinator_us: Samples,
    bench_us: Samples,
    pub(super) latency_us: Samples,
    late_us: Samples,
    /// Tasks that did not come to their result.
    failed: u64,
}

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, warm_up, window) = effort.of(
        (5, Duration::from_millis(1_500), Duration::from_secs(6)),
        (2, Duration::from_millis(300), Duration::from_secs(1)),
    );
    let capability = site.named("load");
    let agents = site.echoes(&capability, AGENTS, CONCURRENCY).await?;
    let mut arms = <[Arm; 3]>::default();
    for _ in 0..rounds {
        for (arm, in_flight) in arms.iter_mut().zip(IN_FLIGHT) {
            arm.round(site, &capability, in_flight, warm_up, window).await?;
        }
    }
    end(agents).await?;
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for (arm, in_flight) in arms.iter().zip(IN_FLIGHT) {
        let name = |what: &str| format!("{in_flight} in flight{what}");
        rows.push(arm.rate.row("load", name(""), "1/s"));
        rows.push(arm.latency_us.row("load", name(": p50"), "us"));
        rows.push(arm.late_us.row("load", name(": p99"), "us"));
        rows.push(arm.coordinator_us.row("load", name(": coordinator"), "CPU us"));
        rows.push(arm.bench_us.row("load", name(": clients, agents"), "CPU us"));
        if arm.failed > 0 {
            let mut failed = Samples::default();
            failed.one(arm.failed as f64);
            let what = format!("tasks without a result, {in_flight} in flight");
            verdicts.push(Verdict::goal(what, failed.spread(), Side::AtMost, 0.0));
        }
        verdicts.push(Verdict::told(format!("tasks/s, 8 agents, {in_flight} in flight"), arm.rate.spread()));
        verdicts.push(Verdict::told(
            format!("coordinator CPU per task in us, {in_flight} in flight"),
            arm.coordinator_us.spread(),
        ));
    }
    let resident = site.coordinator.resident_bytes()? as f64 / (1024.0 * 1024.0);
    let mut after = Samples::default();
    after.one(resident);
    verdicts.push(Verdict::told("coordinator's memory after all that, in MiB", after.spread()));
    Ok(Outcome { rows, verdicts })
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;

/// What the clients of one round share.
#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    stop: AtomicBool,
    done: AtomicU64,
}

impl Arm {
    /// So many clients for `warm_up`, then for `window`, which counts.
    pub(super) async fn round(
        &mut self,
        site: &Site,
        capability: &str,
        in_flight: usize,
        warm_up: Duration,
        window: Duration,
    ) -> Result<(), BenchError> {
        let shared = Arc::new(Shared::default());
        let clients: Vec<_> = (0..in_flight)
            .map(|_| tokio::spawn(submit(site.client.clone(), capability.to_owned(), shared.clone())))
            .collect();
        tokio::time::sleep(warm_up).await; // the time is what is measured
        shared.phase.store(COUNTING, Ordering::Relaxed);
        let before = (Instant::now(), site.coordinator.cpu()?, Process::own().cpu()?);
        tokio::time::sleep(window).await; // the time is what is measured
        let done = shared.done.load(Ordering::Relaxed) as f64;
        let after = (before.0.elapsed(), site.coordinator.cpu()?, Process::own().cpu()?);
        shared.stop.store(true, Ordering::Relaxed);
        let mut took = Samples::default();
        let mut all = Vec::new();
        for client in join_all(clients).await {
            let (took, failed) = client?;
            all.extend(took);
            self.failed += failed;
        }
        took.round(all);
        if done == 0.0 {
            return Err(BenchError::Missing(format!("no task ended with {in_flight} in flight")));
        }
        let row = took.row("load", "", "us");
        self.rate.one(done / after.0.as_secs_f64());
        self.coordinator_us.one((after.1 - before.1).as_secs_f64() * 1e6 / done);
        self.bench_us.one((after.2 - before.2).as_secs_f64() * 1e6 / done);
        self.latency_us.one(row.median);
        self.late_us.one(row.p99);
        Ok(())
    }
}

/// One task after the other; answers how long those took that ended while it was counted, and how many
/// came to nothing at any time.
async fn submit(client: Client, capability: String, shared: Arc<Shared>) -> (Vec<f64>, u64) {
    let input = "x".repeat(200);
    let (mut took, mut failed) = (Vec::new(), 0);
    while !shared.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        if let Err(error) = client.call::<Json>(task(&capability).input(&input), LIMIT).await {
            tracing::warn!(%error, "a task came to nothing");
            failed += 1;
            continue;
        }
        if shared.phase.load(Ordering::Relaxed) != WARMING && !shared.stop.load(Ordering::Relaxed) {
            shared.done.fetch_add(1, Ordering::Relaxed);
            took.push(micros(began));
        }
    }
    (took, failed)
}
