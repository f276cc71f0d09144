//! Three steps one after another: runs per second and how long one takes, at 1, 64 and 512 in flight.

use super::super::figures::{Outcome, Samples, Side, Verdict};
use super::super::process::Process;
use super::super::site::{Site, end};
use super::super::{BenchError, Effort, closed};
use super::cost;
use super::peer::{Form, Peer};
use agent_sdk::workflow::patterns;
use std::sync::Arc;
use std::time::Duration;

const AGENTS: usize = 8;
/// Attempts at a time of each agent: enough for the most that is in flight.
const CONCURRENCY: u32 = 64;
const IN_FLIGHT: [usize; 3] = [1, 64, 512];
/// Bytes of the input, which each step hands on.
const INPUT_BYTES: usize = 200;

pub(super) async fn measure(
    site: &Site,
    restate: Option<&str>,
    effort: Effort,
) -> Result<Outcome, BenchError> {
    let (rounds, warm_up, window) = effort.of(
        (5, Duration::from_millis(1_000), Duration::from_secs(4)),
        (2, Duration::from_millis(300), Duration::from_secs(1)),
    );
    let (workflow, capability) = (site.named("three"), site.named("step"));
    let agents = site.echoes(&capability, AGENTS, CONCURRENCY).await?;
    let stages = ["a", "b", "c"].map(|step| (step, capability.as_str()));
    let definition = patterns::pipeline(&workflow, &stages)
        .map_err(|wrong| BenchError::Missing(format!("a definition of three steps: {wrong}")))?;
    site.client.define_workflow(&definition).await?;
    let mut peers = vec![Peer::Synod { client: site.client.clone(), workflow }];
    if let Some(ingress) = restate {
        peers.push(Peer::restate(ingress, Form::Calls)?);
        peers.push(Peer::restate(ingress, Form::Runs)?);
    }
    let mut all: Vec<[Arm; 3]> = peers.iter().map(|_| <[Arm; 3]>::default()).collect();
    for round in 0..rounds {
        for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            // Who is first in one round is last in another.
            for turn in 0..peers.len() {
                let at = (round + turn) % peers.len();
                all[at][n].round(site, &peers[at], in_flight, warm_up, window).await?;
            }
        }
    }
    let mut outcome = told(&peers, &all);
    let one = cost::of_runs(site, &peers[0], effort).await?;
    outcome.rows.extend(one.rows);
    outcome.verdicts.extend(one.verdicts);
    end(agents).await?;
    Ok(outcome)
}

/// Every run has the same input.
pub(super) fn input() -> String {
    "x".repeat(INPUT_BYTES)
}

fn told(peers: &[Peer], all: &[[Arm; 3]]) -> Outcome {
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        for (peer, arms) in peers.iter().zip(all) {
            let arm = &arms[n];
            let name = |what: &str| format!("{in_flight} in flight, {peer}{what}");
            rows.push(arm.rate.row("workflows", name(""), "runs/s"));
            rows.push(arm.latency_us.row("workflows", name(": p50"), "us"));
            rows.push(arm.late_us.row("workflows", name(": p99"), "us"));
            if matches!(peer, Peer::Synod { .. }) {
                rows.push(arm.coordinator_us.row("workflows", name(": coordinator"), "CPU us"));
                rows.push(arm.own_us.row("workflows", name(": driver, agents"), "CPU us"));
            }
            // The first is Synod, and what is told of it stands beside what is told of the others.
            let ours = &all[0][n];
            let what = |of: &str| format!("three steps, {in_flight} in flight: {of} of {peer}");
            match peer {
                Peer::Synod { .. } => {
                    verdicts.push(Verdict::told(what("runs/s"), arm.rate.spread()));
                    verdicts.push(Verdict::told(what("p50 in us"), arm.latency_us.spread()));
                }
                Peer::Restate { form: Form::Calls, .. } => {
                    let rate = ours.rate.over(&arm.rate);
                    verdicts.push(Verdict::goal(what("runs/s over those"), rate, Side::AtLeast, 3.0));
                    let p50 = ours.latency_us.over(&arm.latency_us);
                    verdicts.push(Verdict::goal(what("p50 over that"), p50, Side::AtMost, 0.5));
                }
                Peer::Restate { form: Form::Runs, .. } => {
                    verdicts.push(Verdict::told(what("runs/s over those"), ours.rate.over(&arm.rate)));
                    let p50 = ours.latency_us.over(&arm.latency_us);
                    verdicts.push(Verdict::told(what("p50 over that"), p50));
                }
            }
        }
    }
    Outcome { rows, verdicts }
}

/// What one number in flight measured of one peer.
#[derive(Default)]
struct Arm {
    rate: Samples,
    latency_us: Samples,
    late_us: Samples,
    coordinator_us: Samples,
    own_us: Samples,
}

impl Arm {
    async fn round(
        &mut self,
        site: &Site,
        peer: &Peer,
        in_flight: usize,
        warm_up: Duration,
        window: Duration,
    ) -> Result<(), BenchError> {
        let what = Arc::new((peer.clone(), input()));
        let one = move || {
            let what = what.clone();
            async move { what.0.run(&what.1).await }
        };
        let used = || Ok([site.coordinator.cpu()?, Process::own().cpu()?]);
        let counted = closed::measure(in_flight, warm_up, window, one, used).await?;
        if counted.took_us.is_empty() {
            let why = format!("{peer}: no run ended with {in_flight} in flight");
            return Err(BenchError::Missing(why));
        }
        let done = counted.took_us.len() as f64;
        let mut took = Samples::default();
        took.round(counted.took_us);
        let row = took.row("workflows", "", "us");
        self.rate.one(done / counted.lasted.as_secs_f64());
        self.latency_us.one(row.median);
        self.late_us.one(row.p99);
        let (before, after) = counted.marks;
        self.coordinator_us.one((after[0] - before[0]).as_secs_f64() * 1e6 / done);
        self.own_us.one((after[1] - before[1]).as_secs_f64() * 1e6 / done);
        Ok(())
    }
}
