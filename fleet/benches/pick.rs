//! What a pick costs, by rule and by how many agents there are, beside one atomic increment and tower's balancer.
//!
//! ```sh
//! cargo bench -p synod-fleet --bench pick
//! ```
//!
//! After `--`: how many agents at most, and the arms that are to be measured and no others, as in `-- 100000 performance`.
//!
//! All arms take turns in short bursts, so that what the machine does besides falls on all alike. Given are the median of the
//! bursts and, for a machine that is busy, their best tenth, in ns for one pick from one registry with a pool for each rule; `choose` is what the ledger calls, with its copies of the
//! ids. `+ given, ended` is a pick, the attempt given, and the oldest ended, in a registry with this pool alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use synod_fleet::balance::Seeded;
use synod_fleet::{AgentKey, Fleet as _, Gate, Need, Registry};
use synod_protocol::command::Delivery;
use synod_protocol::view::{AgentStatus, DirectoryEntry, Health, Outcome};
use synod_protocol::{Capability, Id, Incarnation, Timestamp, Workspace};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};

const BURSTS: usize = 201;
const REGISTERED: &str = "registered anew, six pools";

/// One arm: a name, and what does so many picks.
type Arm = (String, Box<dyn FnMut(u64)>);

fn main() {
    let most: usize = std::env::args().filter_map(|n| n.parse().ok()).next().unwrap_or(1_000_000);
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-') && arg.parse::<usize>().is_err())
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let sizes = [100, 1_000, 10_000, 100_000, 1_000_000];
    let mut table: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut note = |name: String, ns: (f64, f64)| {
        if !order.contains(&name) {
            order.push(name.clone());
        }
        table.entry(name).or_default().push(ns);
    };
    for agents in sizes.into_iter().filter(|agents| *agents <= most) {
        let mut arms = picks(agents);
        arms.retain(|(name, _)| wanted(name));
        measure(&mut arms).into_iter().for_each(|(name, ns)| note(name, ns));
        drop(arms);
        for rule in Registry::default().rules().filter(|rule| wanted(&worked(rule))) {
            measure(&mut [work(agents, rule)]).into_iter().for_each(|(name, ns)| note(name, ns));
        }
        if wanted(REGISTERED) {
            measure(&mut [registered(agents)]).into_iter().for_each(|(name, ns)| note(name, ns));
        }
    }
    for (what, of) in [("ns, median", 0), ("ns, best tenth", 1)] {
        print!("\n{what:40}");
        sizes.into_iter().filter(|agents| *agents <= most).for_each(|agents| print!("{agents:>10}"));
        println!();
        for name in &order {
            print!("{name:40}");
            table[name].iter().for_each(|(median, best)| print!("{:10.1}", [median, best][of]));
            println!();
        }
    }
}

fn measure(arms: &mut [Arm]) -> Vec<(String, (f64, f64))> {
    let mut bursts: Vec<Vec<f64>> = arms.iter().map(|_| Vec::new()).collect();
    let lengths: Vec<u64> = arms.iter_mut().map(|(_, arm)| calibrated(arm)).collect();
    for _ in 0..BURSTS {
        for ((_, arm), (times, length)) in arms.iter_mut().zip(bursts.iter_mut().zip(&lengths)) {
            let began = now();
            arm(*length);
            times.push(began.elapsed().as_nanos() as f64 / *length as f64);
        }
    }
    let figures = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        (times[BURSTS / 2], times[BURSTS / 10])
    };
    arms.iter().zip(bursts).map(|((name, _), times)| (name.clone(), figures(times))).collect()
}

/// As many as take about half a ms; warm after that.
fn calibrated(arm: &mut dyn FnMut(u64)) -> u64 {
    let mut length = 16;
    loop {
        let began = now();
        arm(length);
        if began.elapsed().as_micros() >= 500 || length >= 1 << 22 {
            return length;
        }
        length *= 2;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate does not")]
fn now() -> Instant {
    Instant::now()
}

/// The arms that only pick, and what they stand beside.
fn picks(agents: usize) -> Vec<Arm> {
    let counter = AtomicU64::new(0);
    let mut arms: Vec<Arm> = vec![(
        "one atomic increment".into(),
        Box::new(move |n| {
            for _ in 0..n {
                black_box(counter.fetch_add(1, Ordering::Relaxed));
            }
        }),
    )];
    arms.push(dense(agents));
    arms.push(tower_p2c(agents));
    let rules: Vec<&'static str> = Registry::default().rules().collect();
    let fleet = Rc::new(RefCell::new(Fleet::new(agents, &rules)));
    arms.extend(rules.iter().map(|rule| pick(&fleet, rule)));
    arms.push(choose(&fleet, "least_connections"));
    arms.push(choose(&fleet, "performance"));
    arms
}

/// Two at random of a dense array, the less busy: the floor of what such a choice can cost.
fn dense(agents: usize) -> Arm {
    let (loads, mut seeded) = (vec![0u32; agents], Seeded::new(1));
    let arm = move |n| {
        for _ in 0..n {
            let (a, b) = (seeded.below(agents), seeded.below(agents));
            black_box(if loads[a] <= loads[b] { a } else { b });
        }
    };
    ("power of two choices, dense array".into(), Box::new(arm))
}

#[derive(Clone)]
struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

/// tower's balancer: two at random by `PeakEwma`; to be ready is its pick. The call, without which it picks no more, is in it.
fn tower_p2c(agents: usize) -> Arm {
    let memory = std::time::Duration::from_secs(10);
    let services = (0..agents).map(|_| {
        PeakEwma::new(
            Nothing,
            std::time::Duration::from_millis(30),
            memory.as_nanos() as f64,
            CompleteOnResponse::default(),
        )
    });
    let mut balance = Balance::new(ServiceList::new(services.collect::<Vec<_>>()));
    let mut context = Context::from_waker(Waker::noop());
    let arm = move |n| {
        for _ in 0..n {
            match balance.poll_ready(&mut context) {
                Poll::Ready(Ok(())) => drop(black_box(balance.call(()))),
                _ => unreachable!("all services are ready"),
            }
        }
    };
    ("tower, p2c with PeakEwma, and the call".into(), Box::new(arm))
}

/// What a fleet for a benchmark consists of.
struct Fleet {
    registry: Registry,
    keys: Vec<AgentKey>,
    workspace: Workspace,
    capability: Capability,
    start: Incarnation,
    nobody: BTreeSet<Id>,
    seeded: Seeded,
}

impl Fleet {
    /// Agents with room for 16, half full; one in ten is shut by its breaker. A pool for each of these rules.
    fn new(agents: usize, rules: &[&str]) -> Fleet {
        let start: Incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().expect("a process start");
        let mut fleet = Fleet {
            registry: Registry::default(),
            keys: Vec::new(),
            workspace: Workspace::default_name(),
            capability: "work".parse().expect("a capability"),
            start,
            nobody: BTreeSet::new(),
            seeded: Seeded::new(1),
        };
        for n in 0..agents {
            fleet.join(n);
        }
        for rule in rules {
            assert!(fleet.registry.pick(&fleet.need(rule, 0)).is_some(), "the pool is made");
        }
        for n in 0..agents {
            let took = 1e6 * (1.0 + fleet.seeded.unit());
            fleet.registry.observe(&fleet.keys[n], &fleet.start, &fleet.capability, took, true);
        }
        fleet
    }

    fn join(&mut self, n: usize) {
        let agent_id: Id = format!("agent-{n}").parse().expect("an id");
        let key = AgentKey { workspace: self.workspace.clone(), agent: agent_id.clone() };
        let entry = DirectoryEntry {
            agent_id,
            workspace: self.workspace.clone(),
            incarnation: self.start.clone(),
            status: AgentStatus::Idle,
            health: Health::Healthy,
            capabilities: vec![self.capability.clone()],
            max_concurrency: 16,
            labels: BTreeMap::new(),
            resources: BTreeMap::new(),
            delivery: Delivery::Redis,
            description: None,
            registered_at: Timestamp::from_millis(0),
            breaker_orders: Vec::new(),
            track_records: std::collections::BTreeMap::new(),
            gone: false,
            revision: 0,
            restarts: 0,
            recovery: None,
            resume_at: None,
            warning: None,
        };
        self.registry.learn(entry, 1);
        (0..self.seeded.below(16)).for_each(|_| self.registry.given(&key, &self.start, 0));
        if n % 10 == 9 {
            let _ = self.registry.set_open(&key, Gate::Breaker, Some(&self.capability), false);
        }
        self.keys.push(key);
    }

    fn need<'a>(&'a self, rule: &'a str, random: u64) -> Need<'a> {
        Need {
            workspace: &self.workspace,
            capability: Some(&self.capability),
            agent: None,
            requires: None,
            avoid: &self.nobody,
            rule: Some(rule),
            random,
        }
    }
}

fn pick(fleet: &Rc<RefCell<Fleet>>, rule: &'static str) -> Arm {
    let (fleet, mut random) = (fleet.clone(), 0u64);
    let arm = move |n| {
        let fleet = fleet.borrow();
        for _ in 0..n {
            random = random.wrapping_add(1);
            black_box(fleet.registry.pick(&fleet.need(rule, random)));
        }
    };
    (rule.to_owned(), Box::new(arm))
}

fn choose(fleet: &Rc<RefCell<Fleet>>, rule: &'static str) -> Arm {
    let (fleet, mut random) = (fleet.clone(), 0u64);
    let arm = move |n| {
        let fleet = fleet.borrow();
        for _ in 0..n {
            random = random.wrapping_add(1);
            drop(black_box(fleet.registry.choose(&fleet.need(rule, random))));
        }
    };
    (format!("{rule}, choose"), Box::new(arm))
}

fn work(agents: usize, rule: &'static str) -> Arm {
    let (mut fleet, mut seeded, mut held) = (Fleet::new(agents, &[rule]), Seeded::new(9), VecDeque::new());
    let arm = move |n| {
        for _ in 0..n {
            let random = seeded.next_u64();
            let picked =
                fleet.registry.pick(&fleet.need(rule, random)).map(|pick| pick.member.number() as usize);
            if let Some(picked) = picked {
                fleet.registry.given(&fleet.keys[picked], &fleet.start, 0);
                held.push_back(picked);
            }
            if held.len() > agents || picked.is_none() {
                let Some(oldest) = held.pop_front() else { continue };
                fleet.registry.ended(&fleet.keys[oldest], &fleet.start, 0, Outcome::Completed);
            }
        }
    };
    (worked(rule), Box::new(arm))
}

fn worked(rule: &str) -> String {
    format!("{rule} + given, ended")
}

/// An agent with a pool of each rule registers anew, with other labels.
fn registered(agents: usize) -> Arm {
    let rules: Vec<&'static str> = Registry::default().rules().collect();
    let (mut fleet, mut seeded, mut offset) = (Fleet::new(agents, &rules), Seeded::new(9), 1);
    let arm = move |n| {
        for _ in 0..n {
            let key = &fleet.keys[seeded.below(agents)];
            offset += 1;
            let Some(mut entry) = fleet.registry.get(key).map(|member| member.entry.clone()) else {
                continue;
            };
            entry.labels.insert("zone".into(), offset.to_string());
            black_box(fleet.registry.learn(entry, offset));
        }
    };
    (REGISTERED.into(), Box::new(arm))
}
