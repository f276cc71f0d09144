//! A discrete-event simulation of a fleet at work: events in virtual time, all chance from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use synod_fleet::balance::Seeded;
use synod_fleet::{AgentKey, Need, Registry, WEIGHT_LABEL};
use synod_protocol::command::Delivery;
use synod_protocol::view::{self, AgentStatus, DirectoryEntry, Health};
use synod_protocol::{Capability, Incarnation, Timestamp, Workspace};

/// The yardstick: one queue, from which whoever has a free hand takes the next.
pub(crate) const SHARED_QUEUE: &str = "single shared queue";

/// An attempt of the mean length takes an agent of speed 1 so long, in µs.
const MEAN_US: f64 = 100_000.0;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Agents in all.
    pub(crate) agents: usize,
    /// Attempts that each works on at a time.
    pub(crate) hands: u32,
    /// How many times as many it takes into its inbox.
    pub(crate) inbox: u32,
    /// What comes, as a part of what all can do.
    pub(crate) load: f64,
    /// Tasks in all; the first tenth is not counted.
    pub(crate) tasks: usize,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { agents: 50, hands: 4, inbox: 1, load: 0.8, tasks: 100_000 }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The greatest time-averaged number of attempts held by an agent, by the mean of all.
    pub(crate) imbalance: f64,
}

#[derive(Clone, Copy)]
struct Nature {
    speed: f64,
    fails: f64,
}

/// Three speeds in turn; the first agent ten times slower than the middle one, the second fails three times in ten.
fn nature(n: usize) -> Nature {
    match n {
        0 => Nature { speed: 0.1, fails: 0.0 },
        1 => Nature { speed: 1.0, fails: 0.3 },
        n => Nature { speed: [0.5, 1.0, 2.0][n % 3], fails: 0.0 },
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes,
    Ends { agent: usize, task: usize, given_us: u64 },
}

#[derive(Default)]
struct Agent {
    working: u32,
    inbox: VecDeque<(usize, u64)>,
    held: u32,
    held_since_us: u64,
    /// Attempts × µs.
    area: f64,
}

struct World<'a> {
    plan: &'a Plan,
    /// `None`: the shared queue.
    rule: Option<&'a str>,
    registry: Registry,
    keys: Vec<AgentKey>,
    numbers: BTreeMap<AgentKey, usize>,
    agents: Vec<Agent>,
    waiting: VecDeque<usize>,
    came_us: Vec<u64>,
    took_us: Vec<u64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    now_us: u64,
    order: u64,
    seeded: Seeded,
    workspace: Workspace,
    capability: Capability,
    start: Incarnation,
    nobody: BTreeSet<synod_protocol::Id>,
}

/// Runs it by a rule of the registry, or by [`SHARED_QUEUE`].
pub(crate) fn run(plan: &Plan, rule: &str, seed: u64) -> Outcome {
    let mut world = World::new(plan, rule, seed);
    world.after(0.0, Event::Comes);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now_us = at;
        world.registry.tick(at / 1_000);
        match event {
            Event::Comes => world.comes(),
            Event::Ends { agent, task, given_us } => world.ends(agent, task, given_us),
        }
        world.hand_out();
    }
    world.outcome()
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, rule: &'a str, seed: u64) -> World<'a> {
        let (workspace, capability) = (Workspace::default_name(), "work".parse().expect("a capability"));
        let start: Incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().expect("a process start");
        let shared = rule == SHARED_QUEUE;
        let (mut registry, mut keys) = (Registry::default(), Vec::new());
        for n in 0..plan.agents {
            let agent_id: synod_protocol::Id = format!("agent-{n}").parse().expect("an id");
            keys.push(AgentKey { workspace: workspace.clone(), agent: agent_id.clone() });
            let entry = DirectoryEntry {
                agent_id,
                workspace: workspace.clone(),
                incarnation: start.clone(),
                status: AgentStatus::Idle,
                health: Health::Healthy,
                capabilities: vec![Capability::clone(&capability)],
                max_concurrency: plan.hands * if shared { 1 } else { plan.inbox },
                // Whoever sets weights knows how strong each is.
                labels: [(WEIGHT_LABEL.to_owned(), nature(n).speed.to_string())].into(),
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
            registry.learn(entry, 0);
        }
        World {
            plan,
            rule: (!shared).then_some(rule),
            registry,
            numbers: keys.iter().cloned().zip(0..).collect(),
            keys,
            agents: (0..plan.agents).map(|_| Agent::default()).collect(),
            waiting: VecDeque::new(),
            came_us: Vec::new(),
            took_us: Vec::new(),
            events: BinaryHeap::new(),
            now_us: 0,
            order: 0,
            seeded: Seeded::new(seed),
            workspace,
            capability,
            start,
            nobody: BTreeSet::new(),
        }
    }

    /// Tasks per µs that come.
    fn rate(&self) -> f64 {
        let all = (0..self.plan.agents).map(|n| nature(n).speed * (1.0 - nature(n).fails)).sum::<f64>();
        self.plan.load * all * f64::from(self.plan.hands) / MEAN_US
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.seeded.unit()).ln()
    }

    fn after(&mut self, us: f64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((self.now_us + us as u64, self.order, event)));
    }

    fn comes(&mut self) {
        self.waiting.push_back(self.came_us.len());
        self.came_us.push(self.now_us);
        if self.came_us.len() < self.plan.tasks {
            let gap = self.exponential() / self.rate();
            self.after(gap, Event::Comes);
        }
    }

    /// Gives those that wait to whom the rule says, as long as there is anybody.
    fn hand_out(&mut self) {
        while let Some(task) = self.waiting.front().copied() {
            let Some(agent) = self.choose() else { break };
            self.waiting.pop_front();
            self.registry.given(&self.keys[agent], &self.start, 0);
            self.weigh(agent, 1);
            self.agents[agent].inbox.push_back((task, self.now_us));
            self.work(agent);
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let need = Need {
            workspace: &self.workspace,
            capability: Some(&self.capability),
            agent: None,
            requires: None,
            avoid: &self.nobody,
            // Whoever has a free hand is as likely as another to reach into the shared queue first.
            rule: Some(self.rule.unwrap_or("random")),
            random: self.seeded.next_u64(),
        };
        let pick = self.registry.pick(&need)?;
        let key = AgentKey { workspace: self.workspace.clone(), agent: pick.member.entry.agent_id.clone() };
        self.numbers.get(&key).copied()
    }

    fn work(&mut self, agent: usize) {
        while self.agents[agent].working < self.plan.hands {
            let Some((task, given_us)) = self.agents[agent].inbox.pop_front() else { break };
            self.agents[agent].working += 1;
            let takes = self.exponential() * MEAN_US / nature(agent).speed;
            self.after(takes, Event::Ends { agent, task, given_us });
        }
    }

    fn ends(&mut self, agent: usize, task: usize, given_us: u64) {
        let success = self.seeded.unit() >= nature(agent).fails;
        let outcome = if success { view::Outcome::Completed } else { view::Outcome::Failed };
        let key = &self.keys[agent];
        self.registry.ended(key, &self.start, 0, outcome);
        let took = (self.now_us - given_us) as f64;
        self.registry.observe(key, &self.start, &self.capability, took, success);
        self.weigh(agent, -1);
        self.agents[agent].working -= 1;
        if success {
            if task >= self.plan.tasks / 10 {
                self.took_us.push(self.now_us - self.came_us[task]);
            }
        } else {
            self.waiting.push_front(task);
        }
        self.work(agent);
    }

    fn weigh(&mut self, agent: usize, change: i32) {
        let agent = &mut self.agents[agent];
        agent.area += f64::from(agent.held) * (self.now_us - agent.held_since_us) as f64;
        agent.held = agent.held.saturating_add_signed(change);
        agent.held_since_us = self.now_us;
    }

    fn outcome(mut self) -> Outcome {
        self.took_us.sort_unstable();
        let at = |part: f64| self.took_us[(self.took_us.len() as f64 * part) as usize] as f64 / 1e3;
        let areas = self.agents.iter().map(|agent| agent.area);
        let mean = areas.clone().sum::<f64>() / self.plan.agents as f64;
        Outcome {
            mean_ms: self.took_us.iter().sum::<u64>() as f64 / self.took_us.len() as f64 / 1e3,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            imbalance: areas.fold(0.0, f64::max) / mean,
        }
    }
}
