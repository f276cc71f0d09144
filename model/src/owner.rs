//! What an owner has in memory and in flight.

use crate::config::Config;
use crate::record::{Entity, Flight, Kind, NONE, Record, SHARD, after, packed};

/// Where an owner stands; one that crashed is an `Out` that remembers nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Out,
    Claiming,
    Claimed,
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) mode: Mode,
    pub(crate) epoch: u8,
    /// Records of this epoch, sent.
    pub(crate) sent: u8,
    /// Records of this epoch, proven.
    pub(crate) proven: u8,
    /// The log's end before the claim: only for the planted fold that ends there.
    pub(crate) seen_end: u8,
    /// In memory, ahead of acknowledgements.
    pub(crate) entities: [Entity; 2],
    /// The same of the Kafka position.
    pub(crate) position: u8,
    /// Newest image or birth (shard: newest position), in memory.
    pub(crate) bases: [u8; 3],
    /// The same, proven.
    pub(crate) proven_bases: [u8; 3],
    /// Commands whose record is proven or folded.
    pub(crate) had: u8,
    /// Released steps (proven or folded) whose effect is not confirmed.
    pub(crate) undone: u32,
    /// The newest floor that a proven or folded step carries.
    pub(crate) trim_to: u8,
    /// Floor and done as last written, for claims that carry them.
    pub(crate) told: (u8, u8),
    pub(crate) flights: [Flight; 2],
}

impl Owner {
    pub(crate) fn new(mode: Mode) -> Owner {
        Owner {
            mode,
            epoch: NONE,
            sent: 0,
            proven: 0,
            seen_end: 0,
            entities: [0; 2],
            position: 0,
            bases: [NONE; 3],
            proven_bases: [NONE; 3],
            had: 0,
            undone: 0,
            trim_to: 0,
            told: (0, 0),
            flights: [Flight::EMPTY; 2],
        }
    }

    /// Whether one more record may be in flight.
    pub(crate) fn has_room(&self) -> bool {
        self.flights.iter().any(Flight::is_empty)
    }

    pub(crate) fn first_undone(&self) -> u8 {
        if self.undone == 0 { NONE } else { self.undone.trailing_zeros() as u8 }
    }

    fn done(&self, config: &Config) -> u8 {
        if !config.effects {
            return 0;
        }
        let reached = if config.done_ends_at_sent { self.sent } else { self.proven };
        let end = self.epoch + 1 + reached;
        if config.done_early { end } else { end.min(self.first_undone()) }
    }

    pub(crate) fn floor(&self, config: &Config) -> u8 {
        let bases = if config.floor_proven { &self.proven_bases } else { &self.bases };
        if !config.floors || bases[SHARD] == NONE {
            return 0;
        }
        let live = bases.iter().copied().filter(|base| *base != NONE);
        let floor = if config.floor_skips { live.max() } else { live.min() }.unwrap_or(0);
        match (config.floor_within_done, config.floor_proven) {
            (false, _) => floor,
            (true, true) => floor.min(self.first_undone()),
            (true, false) => floor.min(self.done(config)),
        }
    }

    /// Puts a record in flight; its fate is open.
    pub(crate) fn send(&mut self, mut record: Record, by: usize, config: &Config) {
        record.by = by as u8;
        if record.kind == Kind::Claim {
            if config.claim_carries {
                (record.floor, record.done) = self.told;
            }
        } else {
            self.number(&mut record, config);
        }
        if let Some(free) = self.flights.iter_mut().find(|flight| flight.is_empty()) {
            *free = Flight { record, at: NONE, acked: false };
        }
    }

    /// Gives it its place in the epoch, and takes it into the bases in memory.
    fn number(&mut self, record: &mut Record, config: &Config) {
        self.sent += 1;
        (record.epoch, record.n) = (self.epoch, self.sent);
        if record.kind == Kind::Step || config.image_carries {
            (record.floor, record.done) = (self.floor(config), self.done(config));
        }
        if config.claim_carries && record.kind == Kind::Step {
            self.told = (record.floor, record.done);
        }
        let expected = self.epoch + record.n;
        if config.floors && (record.kind == Kind::Image || record.born) {
            self.bases[usize::from(record.entity)] = expected;
        }
        if config.floors && record.kind == Kind::Step && record.position > 0 {
            self.bases[SHARD] = expected;
        }
    }

    /// Decides a command on the state in memory and sends the step.
    pub(crate) fn decide(&mut self, command: u8, position: u8, by: usize, config: &Config) {
        let entity = usize::from(command & 1);
        let born = self.entities[entity] == 0;
        let step = Record {
            kind: Kind::Step,
            image: u32::from(command == 3 && born),
            command,
            position,
            entity: entity as u8,
            born,
            decided_on: packed(&self.entities),
            ..Flight::EMPTY.record
        };
        self.send(step, by, config);
        self.entities[entity] = after(self.entities[entity], command);
        if position > 0 {
            self.position = position;
        }
    }
}
