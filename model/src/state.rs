//! Everything there is at one moment, and what changes it: landing, acknowledging, proof, doubt, fold.

use crate::config::Config;
use crate::fold::{Fold, find_floor, fold};
use crate::owner::{Mode, Owner};
use crate::record::{Flight, Kind, NONE, Record, SHARD, below, had, has};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The whole history; what stands before `start` is trimmed away.
    pub(crate) log: Vec<Record>,
    pub(crate) start: u8,
    pub(crate) owners: [Owner; 2],
    /// Requests whose author gave up, and second sendings: each may land once, at any time. Sorted.
    pub(crate) wandering: Vec<Record>,
    /// Ghost: offsets whose effect was released.
    pub(crate) released: u32,
    /// Ghost: offsets whose effect reached its receiver.
    pub(crate) performed: u32,
    /// Direct commands answered.
    pub(crate) answered: u32,
    /// Those of them that were told "rejected".
    pub(crate) rejected: u32,
    /// What the receiver's guard has seen.
    pub(crate) guard_seen: u8,
    pub(crate) claims: u8,
    pub(crate) images: u8,
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            log: Vec::new(),
            start: 0,
            owners: [Owner::new(Mode::Out); 2],
            wandering: Vec::new(),
            released: 0,
            performed: 0,
            answered: 0,
            rejected: 0,
            guard_seen: 0,
            claims: 0,
            images: 0,
            faults: 0,
            crashes: 0,
        }
    }

    pub(crate) fn append(&mut self, record: Record) -> u8 {
        self.log.push(record);
        self.log.len() as u8 - 1
    }

    pub(crate) fn let_wander(&mut self, record: Record, config: &Config) {
        if self.wandering.len() < config.max_wandering {
            self.wandering.push(record);
            self.wandering.sort();
        }
    }

    /// The epoch is over for this owner: it stops releasing. What is queued may still land, what was released may
    /// still be performed, unless it crashed.
    pub(crate) fn doubt(&mut self, who: usize, crash: bool, config: &Config) {
        let old = self.owners[who];
        for flight in old.flights.iter().filter(|flight| !flight.is_empty() && flight.at == NONE) {
            self.let_wander(flight.record, config);
        }
        let mut owner = Owner::new(Mode::Out);
        if !crash {
            (owner.told, owner.undone, owner.epoch) = (old.told, old.undone, old.epoch);
        }
        if owner.undone == 0 {
            owner.epoch = NONE;
        }
        self.owners[who] = owner;
    }

    /// A record of this owner is proven: what it owes is released.
    fn proof(&mut self, who: usize, flight: Flight, config: &Config) {
        let (record, at) = (flight.record, flight.at);
        let mut entries = self.log.iter().zip(0u8..);
        let undone = self.owners[who].undone;
        let owes = entries.any(|(other, offset)| has(undone, offset) && other.entity == record.entity);
        let owner = &mut self.owners[who];
        owner.proven = owner.proven.max(record.n);
        let is_base = record.born || record.kind == Kind::Image && !(config.floor_keeps_base && owes);
        if config.floors && is_base {
            owner.proven_bases[usize::from(record.entity)] = at;
        }
        if record.kind == Kind::Step {
            if config.floors && record.position > 0 {
                owner.proven_bases[SHARD] = at;
            }
            owner.had |= 1 << record.command;
            if config.effects {
                owner.undone |= 1 << at;
            } else {
                self.performed |= 1 << at;
                if config.direct.contains(&record.command) {
                    self.answered |= 1 << record.command;
                }
            }
            self.released |= 1 << at;
        }
        let owner = &mut self.owners[who];
        if record.kind == Kind::Step || config.image_carries {
            owner.trim_to = owner.trim_to.max(record.floor);
        }
        if !config.trim_recorded {
            owner.trim_to = owner.trim_to.max(owner.floor(config));
        }
    }

    /// A flight of this owner is acknowledged, with the offset at which it landed.
    pub(crate) fn acknowledge(&mut self, who: usize, index: usize, config: &Config) {
        let flight = self.owners[who].flights[index];
        if flight.record.kind == Kind::Claim {
            let owner = &mut self.owners[who];
            owner.flights[index] = Flight::EMPTY;
            (owner.epoch, owner.undone, owner.mode) = (flight.at, 0, Mode::Claimed);
            if !config.trim && config.fold_through_claim {
                self.fold_own(who, config);
            }
            return;
        }
        if config.check_offset && flight.at != self.owners[who].epoch + flight.record.n {
            return self.doubt(who, false, config);
        }
        self.owners[who].flights[index].acked = true;
        if !config.release_in_order {
            self.proof(who, flight, config);
            let flights = &mut self.owners[who].flights;
            if index == 0 {
                flights[0] = flights[1];
            }
            flights[1] = Flight::EMPTY;
            return;
        }
        while self.owners[who].flights[0].acked {
            let first = self.owners[who].flights[0];
            self.proof(who, first, config);
            self.owners[who].flights = [self.owners[who].flights[1], Flight::EMPTY];
        }
    }

    /// The fold of an owner that has its claim.
    pub(crate) fn fold_own(&mut self, who: usize, config: &Config) {
        let claimed = self.owners[who];
        let to = match config.fold_through_claim {
            true => usize::from(claimed.epoch) + 1,
            false => usize::from(claimed.seen_end),
        };
        if self.start > claimed.epoch {
            return self.doubt(who, false, config);
        }
        let Some(from) = find_floor(&self.log, self.start, to, config) else {
            return self.doubt(who, false, config);
        };
        let folded = fold(&self.log, from, to, config);
        let bases = self.proven_bases_after(&folded, from, to, config);
        let owner = &mut self.owners[who];
        (owner.mode, owner.seen_end) = (Mode::Ready, 0);
        (owner.entities, owner.position) = (folded.entities, folded.position);
        if config.floors {
            (owner.bases, owner.proven_bases) = (folded.bases, bases);
        }
        owner.had = (0..8).filter(|command| had(&folded.entities, *command)).fold(0, |set, c| set | 1 << c);
        owner.undone = folded.steps & !below(folded.done);
        owner.trim_to = folded.floor;
        if !config.effects {
            self.perform_all(who, to, config);
        }
    }

    /// The newest image or birth of each entity with no unconfirmed step of the same entity before it.
    fn proven_bases_after(&self, folded: &Fold, from: usize, to: usize, config: &Config) -> [u8; 3] {
        let mut bases = folded.bases;
        if !config.floor_keeps_base {
            return bases;
        }
        for (entity, base) in bases.iter_mut().enumerate().take(SHARD) {
            for (record, at) in self.log.iter().zip(0u8..).take(to).skip(from) {
                if !has(folded.counted, at) || usize::from(record.entity) != entity {
                    continue;
                }
                if record.kind == Kind::Image || record.born {
                    *base = at;
                }
                if record.kind == Kind::Step && at >= folded.done {
                    break;
                }
            }
        }
        bases
    }

    /// What is owed is issued again and confirmed at once.
    fn perform_all(&mut self, who: usize, to: usize, config: &Config) {
        let undone = self.owners[who].undone;
        for (record, at) in self.log.iter().zip(0u8..).take(to) {
            if has(undone, at) && config.direct.contains(&record.command) {
                self.answered |= 1 << record.command;
            }
        }
        self.performed |= undone;
        self.owners[who].undone = 0;
    }
}
