//! One agent, as this coordinator knows it: what it is, what it holds, and whether it may be chosen.

use super::stock::{Load, Stock, load_of};
use crate::balance::Candidate;
use crate::doubt::Doubts;
use std::collections::BTreeMap;
use synod_protocol::Capability;
use synod_protocol::command::Requires;
use synod_protocol::view::{AgentStatistics, AgentStatus, DirectoryEntry, Health, Outcome};

/// The label that says an agent's weight: a number from 0 (never by turns of weight) to a billion. Without it, or where it is
/// something else, its capacity is its weight.
pub const WEIGHT_LABEL: &str = "synod.weight";

const GREATEST_WEIGHT: f64 = 1e9;

/// Whoever may shut an agent. It gets new work only while all of them leave it open; each opens what it has shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Its breaker is open, or lets no more through.
    Breaker,
    /// It is suspected to be gone.
    Suspicion,
    /// It, its capability or its workspace is paused.
    Pause,
    /// An operator wants it so.
    Operator,
}

/// Which gates are shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates(u8);

impl Gates {
    pub(super) fn set(&mut self, gate: Gate, open: bool) {
        let bit = 1 << gate as u8;
        self.0 = if open { self.0 & !bit } else { self.0 | bit };
    }

    pub(super) fn all_open(self) -> bool {
        self.0 == 0
    }
}

/// One agent, as this coordinator knows it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its newest directory entry.
    pub entry: DirectoryEntry,
    /// The ledger offset that the entry stands for; a higher one wins.
    pub offset: u64,
    /// What it has done.
    pub statistics: AgentStatistics,
    number: u32,
    /// What it holds, by the shard that gave it.
    held: BTreeMap<u32, Held>,
    in_flight: u32,
    /// Attempts that it holds of shards that are not ours.
    elsewhere: u32,
    share: f64,
    weight: f64,
    pub(super) doubts: Doubts,
    pub(super) gates: Gates,
    pub(super) shut: BTreeMap<Capability, Gates>,
    stock: Stock,
}

#[derive(Clone, Debug, Default)]
struct Held {
    attempts: u32,
    load: Load,
}

impl Member {
    pub(super) fn new(entry: DirectoryEntry, offset: u64, number: u32) -> Member {
        let mut member = Member {
            offset,
            statistics: AgentStatistics::default(),
            number,
            held: BTreeMap::new(),
            in_flight: 0,
            elsewhere: 0,
            share: 1.0,
            weight: 0.0,
            doubts: Doubts::default(),
            gates: Gates::default(),
            shut: BTreeMap::new(),
            stock: Stock::default(),
            entry,
        };
        member.settle();
        member
    }

    /// Takes a newer entry; another process start holds nothing.
    pub(super) fn renew(&mut self, entry: DirectoryEntry, offset: u64) {
        if self.entry.incarnation != entry.incarnation {
            for held in std::mem::take(&mut self.held).into_values() {
                self.stock.give_back(&held.load);
            }
            (self.in_flight, self.elsewhere) = (0, 0);
            self.doubts = Doubts::default();
        } else if entry.health == Health::Lost {
            // What was thought the ledger knows now.
            self.doubts = Doubts::default();
        }
        (self.entry, self.offset) = (entry, offset);
        self.settle();
    }

    fn settle(&mut self) {
        let label = self.entry.labels.get(WEIGHT_LABEL).and_then(|text| text.parse::<f64>().ok());
        let label = label.filter(|weight| (0.0..=GREATEST_WEIGHT).contains(weight));
        self.weight = label.unwrap_or(f64::from(self.entry.max_concurrency));
        self.stock.set(&self.entry.resources);
        let listed = &self.entry.capabilities;
        self.shut.retain(|capability, _| listed.contains(capability));
    }

    /// Its number in the registry, from 0; that of one who left is given again. It decides between equals.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The attempts that it holds.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.saturating_add(self.elsewhere)
    }

    /// Those of them that shards of ours gave it.
    pub fn given_here(&self) -> u32 {
        self.in_flight
    }

    /// The attempts that it may hold now: its capacity, or while its share is below 1 that part of it, rounded up.
    pub fn room(&self) -> u32 {
        (f64::from(self.entry.max_concurrency) * self.share).ceil() as u32
    }

    /// How far it may be used, 0 to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Its weight: what its label says ([`WEIGHT_LABEL`]), or else its capacity.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The share of its scarcest resource that is in use, 0 to 1.
    pub fn dominant(&self) -> f64 {
        self.stock.dominant()
    }

    /// What is thought of it beyond what the ledger knows.
    pub fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// Its health as this coordinator sees it.
    pub fn health(&self) -> Health {
        self.doubts.health(self.entry.health)
    }

    /// Whether it gives signs of life and is to take work.
    pub fn is_well(&self) -> bool {
        self.health() == Health::Healthy
            && matches!(self.entry.status, AgentStatus::Idle | AgentStatus::Running)
    }

    /// Whether it has room for another attempt now.
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.room()
    }

    /// Whether nobody has shut it, for this capability (`None`: whichever).
    pub fn is_open(&self, capability: Option<&Capability>) -> bool {
        let shut = capability.and_then(|capability| self.shut.get(capability));
        self.share > 0.0 && self.gates.all_open() && shut.is_none_or(|gates| gates.all_open())
    }

    /// Whether it may be chosen for this capability.
    pub fn is_eligible(&self, capability: Option<&Capability>) -> bool {
        self.is_well() && self.has_room() && self.is_open(capability)
    }

    /// Whether it has what is required, and it is free: then the share of its scarcest resource that would be in use.
    pub fn fits(&self, requires: Option<&Requires>) -> Option<f64> {
        let Some(requires) = requires else { return Some(self.dominant()) };
        let mut labels = requires.labels.iter().flatten();
        if !labels.all(|(name, value)| self.entry.labels.get(name) == Some(value)) {
            return None;
        }
        requires.resources.as_ref().map_or(Some(self.dominant()), |resources| self.stock.with(resources))
    }

    pub(super) fn set_share(&mut self, share: f64) {
        self.share = share;
    }

    pub(super) fn report(&mut self, in_flight: u32) {
        self.elsewhere = in_flight.saturating_sub(self.in_flight);
    }

    pub(super) fn given(&mut self, shard: u32, resources: Option<&BTreeMap<String, f64>>) {
        let held = self.held.entry(shard).or_default();
        held.attempts = held.attempts.saturating_add(1);
        self.in_flight = self.in_flight.saturating_add(1);
        self.statistics.assigned += 1;
        if let Some(resources) = resources {
            let load = load_of(resources);
            self.stock.take(&load);
            for (name, amount) in load {
                let sum = held.load.entry(name).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
    }

    pub(super) fn ended(&mut self, shard: u32, outcome: Outcome, resources: Option<&BTreeMap<String, f64>>) {
        match outcome {
            Outcome::Completed => self.statistics.completed += 1,
            Outcome::Failed | Outcome::TimedOut | Outcome::Declined => self.statistics.failed += 1,
            Outcome::Lost => self.statistics.lost += 1,
            Outcome::Cancelled | Outcome::Withdrawn => {}
        }
        let Some(held) = self.held.get_mut(&shard).filter(|held| held.attempts > 0) else { return };
        held.attempts -= 1;
        self.in_flight -= 1;
        let mut back = if held.attempts == 0 { std::mem::take(&mut held.load) } else { Load::new() };
        for (name, amount) in resources.map(load_of).unwrap_or_default() {
            // No more comes back than was taken.
            if let Some(sum) = held.load.get_mut(&name) {
                let amount = amount.min(*sum);
                *sum -= amount;
                back.insert(name, amount);
            }
        }
        if held.attempts == 0 {
            self.held.remove(&shard);
        }
        if !back.is_empty() {
            self.stock.give_back(&back);
        }
    }

    /// Returns whether it held anything.
    pub(super) fn forget_shard(&mut self, shard: u32) -> bool {
        let Some(held) = self.held.remove(&shard) else { return false };
        self.in_flight -= held.attempts;
        self.stock.give_back(&held.load);
        true
    }

    /// As a rule sees it; what is known of its speed is the pool's.
    pub(super) fn candidate(&self) -> Candidate {
        let mut candidate = Candidate::new(self.number);
        (candidate.in_flight, candidate.room) = (self.in_flight(), self.room());
        (candidate.share, candidate.weight) = (self.share, self.weight);
        (candidate.dominant, candidate.assigned) = (self.dominant(), self.statistics.assigned);
        candidate
    }
}
