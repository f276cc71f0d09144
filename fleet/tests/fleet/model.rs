//! The naive registry: facts in plain maps, every choice a scan of all. The pools must agree with it.

use crate::world::{Ask, capability, entry, key, start};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::balance::Seeded;
use synod_fleet::{Gate, Registry, WEIGHT_LABEL};
use synod_protocol::command::Requires;
use synod_protocol::view::{AgentStatus, DirectoryEntry, Health, Outcome};

const CAPABILITIES: [&str; 3] = ["c", "d", "e"];
const GATES: [Gate; 4] = [Gate::Breaker, Gate::Suspicion, Gate::Pause, Gate::Operator];

/// A registry and the model, to which the same things happen.
pub(crate) struct Both {
    pub(crate) registry: Registry,
    pub(crate) agents: BTreeMap<String, Agent>,
    turns: BTreeMap<(String, bool), Turns>,
    pub(crate) seeded: Seeded,
    names: usize,
    offset: u64,
    now_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) entry: DirectoryEntry,
    pub(crate) share: f64,
    shut: BTreeSet<(Gate, Option<String>)>,
    /// What it holds: the shard, and of its resource.
    held: Vec<(u32, f64)>,
    assigned: u64,
    number: u32,
}

/// Stride scheduling, by the book.
#[derive(Default)]
struct Turns {
    now: u128,
    seats: BTreeMap<String, (u128, u128, bool)>,
}

impl Agent {
    pub(crate) fn room(&self) -> u32 {
        let whole = f64::from(self.entry.max_concurrency);
        if self.share < 1.0 { (whole * self.share).ceil().max(1.0).min(whole) as u32 } else { whole as u32 }
    }

    pub(crate) fn eligible(&self, ask: &Ask) -> bool {
        let shut =
            |(_, what): &(Gate, Option<String>)| what.as_deref().is_none_or(|c| c == ask.capability.as_str());
        self.entry.health == Health::Healthy
            && matches!(self.entry.status, AgentStatus::Idle | AgentStatus::Running)
            && self.entry.capabilities.contains(&ask.capability)
            && self.share > 0.0
            && !self.shut.iter().any(shut)
            && (self.held.len() as u32) < self.room()
    }

    fn used(&self) -> f64 {
        self.held.iter().map(|(_, amount)| amount).sum()
    }

    /// The share of its resource with so much more; nothing, if that is too much.
    fn share_with(&self, more: f64) -> Option<f64> {
        let has = self.entry.resources["mem"];
        let used = self.used() + more;
        let share = if used == 0.0 { 0.0 } else { (used / has).min(1.0) };
        (used <= has || more == 0.0).then_some(share)
    }

    fn fits(&self, ask: &Ask) -> bool {
        let required = ask.requires.clone().unwrap_or(Requires { labels: None, resources: None });
        let zone = required.labels.is_none_or(|labels| labels["zone"] == self.entry.labels["zone"]);
        let mem = required.resources.is_none_or(|resources| self.share_with(resources["mem"]).is_some());
        zone && mem && !ask.avoid.contains(&self.entry.agent_id)
    }

    fn weight(&self, weighted: bool) -> f64 {
        let labelled = self.entry.labels.get(WEIGHT_LABEL).map(|text| text.parse::<f64>().unwrap());
        let weight = labelled.unwrap_or(f64::from(self.entry.max_concurrency));
        if weighted { weight * self.share } else { self.share }
    }
}

impl Both {
    pub(crate) fn new(seed: u64, names: usize) -> Both {
        Both {
            registry: Registry::default(),
            agents: BTreeMap::new(),
            turns: BTreeMap::new(),
            seeded: Seeded::new(seed),
            names,
            offset: 0,
            now_ms: 0,
        }
    }

    fn any_name(&mut self) -> String {
        format!("a{}", self.seeded.below(self.names))
    }

    fn any_capabilities(&mut self) -> Vec<synod_protocol::Capability> {
        let any = self.seeded.below(8);
        let chosen = CAPABILITIES.iter().enumerate().filter(|(bit, _)| any & (1 << bit) != 0);
        // Named twice is named once.
        chosen.flat_map(|(_, name)| [capability(name), capability(name)]).collect()
    }

    fn learn(&mut self, name: &str, entry: DirectoryEntry) {
        self.offset += 1;
        assert!(self.registry.learn(entry.clone(), self.offset));
        assert!(!self.registry.learn(DirectoryEntry { gone: !entry.gone, ..entry.clone() }, self.offset));
        if entry.gone {
            self.agents.remove(name);
            return;
        }
        let number = self.registry.get(&key(name)).unwrap().number();
        let agent = self.agents.entry(name.to_owned()).or_insert_with(|| Agent {
            entry: entry.clone(),
            share: 1.0,
            shut: BTreeSet::new(),
            held: Vec::new(),
            assigned: 0,
            number,
        });
        if agent.entry.incarnation != entry.incarnation {
            agent.held.clear();
        }
        agent
            .shut
            .retain(|(_, what)| what.as_deref().is_none_or(|c| entry.capabilities.contains(&capability(c))));
        agent.entry = entry;
    }

    fn new_entry(&mut self, name: &str) -> DirectoryEntry {
        let mut entry = entry(name, [0, 1, 2, 3, 7, 1_000_000_000][self.seeded.below(6)]);
        entry.incarnation = start(1 + self.seeded.below(2) as u64);
        entry.capabilities = self.any_capabilities();
        entry.labels.insert("zone".into(), format!("z{}", self.seeded.below(40)));
        if self.seeded.below(3) == 0 {
            let weight = ["0", "1", "2.5", "10"][self.seeded.below(4)];
            entry.labels.insert(WEIGHT_LABEL.into(), weight.into());
        }
        entry.resources.insert("mem".into(), [0.0, 1.0, 4.0, 16.0][self.seeded.below(4)]);
        entry
    }

    /// Something happens.
    pub(crate) fn step(&mut self) {
        let name = self.any_name();
        match (self.seeded.below(12), self.agents.get(&name).cloned()) {
            (0, known) if known.is_none() || self.seeded.below(4) == 0 => {
                let mut entry = self.new_entry(&name);
                entry.gone = known.is_some() && self.seeded.below(2) == 0;
                self.learn(&name, entry);
            }
            (_, None) => {
                let entry = self.new_entry(&name);
                self.learn(&name, entry);
            }
            (1, Some(agent)) => {
                let health =
                    [Health::Healthy, Health::Healthy, Health::Suspected, Health::Lost, Health::Draining];
                let status =
                    [AgentStatus::Idle, AgentStatus::Running, AgentStatus::Paused, AgentStatus::Error];
                let (health, status) = (health[self.seeded.below(5)], status[self.seeded.below(4)]);
                self.learn(&name, DirectoryEntry { health, status, ..agent.entry });
            }
            (2, Some(_)) => {
                let (gate, open) = (GATES[self.seeded.below(4)], self.seeded.below(3) > 0);
                let what = [None, Some(CAPABILITIES[self.seeded.below(3)])][self.seeded.below(2)];
                self.gate(&name, gate, what, open);
            }
            (3, Some(_)) => {
                let share = [0.0, 0.01, 0.3, 1.0, 1.0][self.seeded.below(5)];
                self.registry.set_share(&key(&name), share).unwrap();
                self.agents.get_mut(&name).unwrap().share = share;
            }
            (4..=6, Some(_)) => self.end(&name),
            (7, Some(agent)) => {
                let (took, success) = (self.seeded.below(1_000_000) as f64, self.seeded.below(4) > 0);
                for what in CAPABILITIES {
                    self.registry.observe(
                        &key(&name),
                        &agent.entry.incarnation,
                        &capability(what),
                        took,
                        success,
                    );
                }
            }
            (8, _) => {
                self.now_ms += self.seeded.below(20_000) as u64;
                self.registry.tick(self.now_ms);
            }
            (9, _) if self.seeded.below(10) == 0 => {
                self.registry.forget_shard(1);
                self.agents.values_mut().for_each(|agent| agent.held.retain(|(shard, _)| *shard != 1));
            }
            (_, Some(agent)) => {
                let mem = self.seeded.below(3) as f64 / 4.0;
                let mem = agent.share_with(mem).map_or(0.0, |_| mem);
                self.give(&name, mem);
            }
        }
        self.turns_follow();
    }

    fn gate(&mut self, name: &str, gate: Gate, what: Option<&str>, open: bool) {
        let named = what.map(capability);
        let told = self.registry.set_open(&key(name), gate, named.as_ref(), open);
        let agent = self.agents.get_mut(name).unwrap();
        if named.is_some_and(|named| !agent.entry.capabilities.contains(&named)) {
            assert!(told.is_err());
            return;
        }
        told.unwrap();
        let place = (gate, what.map(str::to_owned));
        if open {
            agent.shut.remove(&place)
        } else {
            agent.shut.insert(place)
        };
    }

    fn end(&mut self, name: &str) {
        let agent = self.agents.get_mut(name).unwrap();
        let Some((shard, mem)) = agent.held.pop() else { return };
        let (incarnation, load) = (agent.entry.incarnation.clone(), [("mem".to_owned(), mem)].into());
        self.registry.ended_holding(&key(name), &incarnation, shard, Outcome::Completed, Some(&load));
    }

    pub(crate) fn give(&mut self, name: &str, mem: f64) {
        let shard = self.seeded.below(2) as u32;
        let agent = self.agents.get_mut(name).unwrap();
        agent.held.push((shard, mem));
        agent.assigned += 1;
        let (incarnation, load) = (agent.entry.incarnation.clone(), [("mem".to_owned(), mem)].into());
        self.registry.given_holding(&key(name), &incarnation, shard, Some(&load));
        self.turns_follow();
    }

    /// An ask of any kind for this rule.
    pub(crate) fn any_ask(&mut self, rule: &str) -> Ask {
        let mut ask = crate::world::ask(rule);
        ask.capability = capability(CAPABILITIES[self.seeded.below(3)]);
        ask.random = self.seeded.next_u64();
        let labels = (self.seeded.below(3) == 0)
            .then(|| [("zone".to_owned(), format!("z{}", self.seeded.below(40)))].into());
        let resources = (self.seeded.below(3) == 0)
            .then(|| [("mem".to_owned(), self.seeded.below(9) as f64 / 4.0)].into());
        if labels.is_some() || resources.is_some() {
            ask.requires = Some(Requires { labels, resources });
        }
        for _ in 0..self.seeded.below(3) {
            ask.avoid.insert(self.any_name().parse().unwrap());
        }
        ask
    }

    /// Everyone who may be chosen.
    pub(crate) fn eligible(&self, ask: &Ask) -> Vec<&Agent> {
        self.agents.values().filter(|agent| agent.eligible(ask) && agent.fits(ask)).collect()
    }

    /// Who is to be chosen by least connections.
    pub(crate) fn least_connections(&self, ask: &Ask) -> Option<String> {
        let all = self.eligible(ask);
        let share = |a: &Agent, b: &Agent| a.held.len() as u128 * u128::from(b.room());
        let least = all.into_iter().min_by(|a, b| {
            share(a, b).cmp(&share(b, a)).then((a.assigned, a.number).cmp(&(b.assigned, b.number)))
        });
        least.map(|agent| agent.entry.agent_id.to_string())
    }

    /// Who is to be chosen by resources.
    pub(crate) fn resources(&self, ask: &Ask) -> Option<String> {
        let mem = ask.requires.as_ref().and_then(|r| r.resources.as_ref()).map_or(0.0, |r| r["mem"]);
        let cost = |agent: &Agent| {
            let room = (agent.held.len() as f64 + 1.0) / f64::from(agent.room());
            agent.share_with(mem).unwrap().max(room)
        };
        let least = self.eligible(ask).into_iter().min_by(|a, b| {
            cost(a).total_cmp(&cost(b)).then((a.assigned, a.number).cmp(&(b.assigned, b.number)))
        });
        least.map(|agent| agent.entry.agent_id.to_string())
    }

    /// Who is to be chosen in turn; its turn is over.
    pub(crate) fn in_turn(&mut self, ask: &Ask, weighted: bool) -> Option<String> {
        let place = (ask.capability.to_string(), weighted);
        if self.agents.values().any(|agent| agent.entry.capabilities.contains(&ask.capability)) {
            self.turns.entry(place.clone()).or_default();
            self.turns_follow();
        }
        let (all, turns) = (self.eligible(ask), self.turns.get(&place)?);
        let next = all
            .iter()
            .filter(|agent| agent.weight(weighted) > 0.0)
            .min_by_key(|agent| (turns.seats[agent.entry.agent_id.as_str()].0, agent.number));
        let chosen = next?.entry.agent_id.to_string();
        let turns = self.turns.get_mut(&place)?;
        let first = turns.seats.values().filter(|(_, _, open)| *open).map(|(turn, ..)| *turn).min()?;
        turns.now = turns.now.max(first);
        let (turn, step, _) = turns.seats.get_mut(&chosen)?;
        *turn += *step;
        Some(chosen)
    }

    /// Newcomers wait a turn; who may have more need not wait for one that was far off; who was away makes up nothing.
    fn turns_follow(&mut self) {
        let agents = &self.agents;
        self.turns.retain(|(what, _), _| {
            agents.values().any(|agent| agent.entry.capabilities.contains(&capability(what)))
        });
        for ((what, weighted), turns) in &mut self.turns {
            let ask = Ask { capability: capability(what), ..crate::world::ask("") };
            turns.seats.retain(|name, _| {
                agents.get(name).is_some_and(|agent| agent.entry.capabilities.contains(&ask.capability))
            });
            for (name, agent) in agents {
                if !agent.entry.capabilities.contains(&ask.capability) {
                    continue;
                }
                let weight = agent.weight(*weighted);
                let step = (2f64.powi(64) / weight.clamp(1e-6, 1e10)) as u128;
                let open = agent.eligible(&ask) && weight > 0.0;
                let early = (f64::from(agent.number) * 0.618_033_988_749_894_9).fract();
                let first = turns.now + step - (step as f64 * early) as u128;
                let seat = turns.seats.entry(name.clone()).or_insert((first, step, false));
                if step < seat.1 {
                    seat.0 = seat.0.min(turns.now + step);
                }
                if open && !seat.2 {
                    seat.0 = seat.0.max(turns.now);
                }
                (seat.1, seat.2) = (step, open);
            }
        }
    }
}
