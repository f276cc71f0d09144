//! A request to a worker and its reply: Synod's quick door beside what a user would take instead.
//!
//! ```text
//!   synod:  Client::call --> coordinator --> agent --> coordinator --> Client::call       all but the coordinator in this process
//!   peer:   order --stdin--> asker --request--> worker --reply--> asker --stdout--> figures      asker and workers: processes
//! ```
//!
//! 1, 64 and 512 in flight, all arms by turns in each round; who is first in one round is last in another. What runs in between is
//! at rest, and all arms share the machine, its Kafka and its Redis.

mod asker;
mod beside;
mod own;

use beside::Peer;
pub use beside::{Beside, BesideError};

use super::figures::{Outcome, Samples, Side, Verdict};
use super::process::Process;
use super::site::{Site, end};
use super::{BenchError, Effort};
use agent_sdk::Client;
use asker::{Asker, Figures, Order};
use std::time::Duration;

const AGENTS: usize = 8;
/// Attempts at a time of each agent: enough for the most that is in flight.
const CONCURRENCY: u32 = 64;
const IN_FLIGHT: [usize; 3] = [1, 64, 512];
/// Of the text that is sent and comes back.
const BYTES: usize = 200;
/// Services that Synod uses, where it is said which processes they are.
const OURS: [&str; 2] = ["kafka", "redis"];

pub(super) async fn measure(site: &Site, beside: &Beside, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, warm_up_ms, window_ms, cold_ms) =
        effort.of((5, 1_000, 4_000, 15_000), (2, 300, 1_000, 1_000));
    let rounds = beside.rounds.unwrap_or(rounds);
    let capability = site.named("requests");
    let agents = site.echoes(&capability, AGENTS, CONCURRENCY).await?;
    let mut arms = vec![Arm::ours(site, capability, beside)];
    for peer in &beside.peers {
        arms.push(Arm::of(peer, beside).await?);
    }
    let order = |in_flight| Order { in_flight, warm_up_ms, window_ms, bytes: BYTES };
    for arm in &mut arms {
        // It does not count: what runs on a virtual machine of its own, as Kafka does, compiles itself meanwhile.
        arm.who.ask(&Order { window_ms: cold_ms, ..order(IN_FLIGHT[1]) }).await?;
    }
    for round in 0..rounds {
        for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            for turn in 0..arms.len() {
                let at = (round + turn) % arms.len();
                arms[at].round(n, &order(in_flight)).await?;
            }
        }
    }
    let outcome = told(&arms);
    for arm in arms {
        arm.who.end().await?;
    }
    end(agents).await?;
    Ok(outcome)
}

fn told(arms: &[Arm]) -> Outcome {
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for (n, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        for (place, arm) in arms.iter().enumerate() {
            let measured = &arm.measured[n];
            let name = |what: &str| format!("{in_flight} in flight, {}{what}", arm.name);
            rows.push(measured.rate.row("requests", name(""), "1/s"));
            rows.push(measured.p50_us.row("requests", name(": p50"), "us"));
            rows.push(measured.p99_us.row("requests", name(": p99"), "us"));
            for (part, used) in arm.parts.iter().zip(&measured.cpu_us) {
                rows.push(used.row("requests", name(&format!(": {}", part.name)), "CPU us"));
            }
            // The first is Synod, and what is told of it stands beside what is told of the others.
            let ours = &arms[0].measured[n];
            let what = |of: &str| format!("requests, {in_flight} in flight: {of} of {}", arm.name);
            if place == 0 {
                verdicts.push(Verdict::told(what("requests/s"), measured.rate.spread()));
                verdicts.push(Verdict::told(what("p50 in us"), measured.p50_us.spread()));
                verdicts.push(Verdict::told(what("p99 in us"), measured.p99_us.spread()));
                continue;
            }
            let rate = ours.rate.over(&measured.rate);
            verdicts.push(Verdict::goal(what("requests/s over those"), rate, Side::AtLeast, 1.0));
            let p50 = ours.p50_us.over(&measured.p50_us);
            verdicts.push(Verdict::goal(what("p50 over that"), p50, Side::AtMost, 1.0));
            verdicts.push(Verdict::told(what("p99 over that"), ours.p99_us.over(&measured.p99_us)));
        }
    }
    Outcome { rows, verdicts }
}

/// One of those that are compared.
struct Arm {
    name: String,
    who: Who,
    parts: Vec<Part>,
    measured: [Measured; IN_FLIGHT.len()],
}

/// Who asks.
enum Who {
    Synod { client: Client, capability: String },
    Peer(Box<Asker>),
}

/// Processes whose time a request takes.
struct Part {
    name: String,
    process: Process,
}

/// What one number in flight measured of one arm.
#[derive(Default)]
struct Measured {
    rate: Samples,
    p50_us: Samples,
    p99_us: Samples,
    /// Processor time of a request, by part.
    cpu_us: Vec<Samples>,
}

impl Arm {
    fn ours(site: &Site, capability: String, beside: &Beside) -> Arm {
        let mut parts = vec![
            Part { name: "client, agents".to_owned(), process: Process::own() },
            Part { name: "coordinator".to_owned(), process: site.coordinator.clone() },
        ];
        parts.extend(services(beside, &OURS));
        Arm::new("synod", Who::Synod { client: site.client.clone(), capability }, parts)
    }

    async fn of(peer: &Peer, beside: &Beside) -> Result<Arm, BenchError> {
        let asker = Asker::start(peer).await?;
        let mut parts = vec![Part { name: "asker, workers".to_owned(), process: asker.process().clone() }];
        let uses: Vec<&str> = peer.uses.iter().map(String::as_str).collect();
        parts.extend(services(beside, &uses));
        Ok(Arm::new(&peer.name, Who::Peer(Box::new(asker)), parts))
    }

    fn new(name: &str, who: Who, parts: Vec<Part>) -> Arm {
        let measured = std::array::from_fn(|_| Measured {
            cpu_us: parts.iter().map(|_| Samples::default()).collect(),
            ..Measured::default()
        });
        Arm { name: name.to_owned(), who, parts, measured }
    }

    async fn round(&mut self, n: usize, order: &Order) -> Result<(), BenchError> {
        let before = self.used()?;
        let Figures { done, asked, took_s, p50_us, p99_us } = self.who.ask(order).await?;
        let after = self.used()?;
        if done == 0 || took_s <= 0.0 {
            let why = format!("{}: no request ended with {} in flight", self.name, order.in_flight);
            return Err(BenchError::Missing(why));
        }
        let measured = &mut self.measured[n];
        measured.rate.one(done as f64 / took_s);
        measured.p50_us.one(p50_us);
        measured.p99_us.one(p99_us);
        for (part, (before, after)) in measured.cpu_us.iter_mut().zip(before.iter().zip(after)) {
            part.one(after.saturating_sub(*before).as_secs_f64() * 1e6 / asked as f64);
        }
        Ok(())
    }

    /// Processor time so far, by part.
    fn used(&self) -> Result<Vec<Duration>, BenchError> {
        let used = self.parts.iter().map(|part| match &self.who {
            // The coordinator is beneath this process, and a part of its own.
            Who::Synod { .. } => part.process.cpu(),
            Who::Peer(_) => part.process.cpu_with_descendants(),
        });
        Ok(used.collect::<Result<_, _>>()?)
    }
}

impl Who {
    async fn ask(&mut self, order: &Order) -> Result<Figures, BenchError> {
        match self {
            Who::Synod { client, capability } => own::ask(client, capability, order).await,
            Who::Peer(asker) => asker.ask(order).await,
        }
    }

    async fn end(self) -> Result<(), BenchError> {
        match self {
            Who::Synod { .. } => Ok(()),
            Who::Peer(asker) => asker.end().await,
        }
    }
}

/// Those of these services of which it is known which processes they are.
fn services(beside: &Beside, names: &[&str]) -> Vec<Part> {
    let part = |name: &&str| {
        let pid = beside.services.get(*name)?;
        Some(Part { name: (*name).to_owned(), process: Process::of(*pid) })
    };
    names.iter().filter_map(part).collect()
}
