//! What a reader makes of the log: the one fold of all, and where it may begin.

use crate::config::{Boot, Config, FloorSource, Rule};
use crate::record::{Entity, Kind, NONE, Record, SHARD, after, packed};

/// What a fold came to. Sets of offsets and commands are bits.
pub(crate) struct Fold {
    pub(crate) epoch: u8,
    pub(crate) n: u8,
    pub(crate) entities: [Entity; 2],
    /// Which of them were born or imaged in what was read.
    pub(crate) known: [bool; 2],
    pub(crate) position: u8,
    /// Newest image or birth of each entity, newest position of the shard.
    pub(crate) bases: [u8; 3],
    pub(crate) done: u8,
    pub(crate) floor: u8,
    /// Records that count.
    pub(crate) counted: u32,
    /// Steps among them.
    pub(crate) steps: u32,
    /// Steps met where their entity was not known.
    pub(crate) blind: u32,
    /// Commands applied, rejections included.
    pub(crate) applied: u32,
    /// Commands applied and not rejected.
    pub(crate) accepted: u32,
    /// What was found wrong on the way, by a fold of the whole.
    pub(crate) wrong: Option<&'static str>,
}

/// Folds offsets `from` up to `to`.
pub(crate) fn fold(log: &[Record], from: usize, to: usize, config: &Config) -> Fold {
    let whole = from == 0;
    let mut fold = Fold {
        epoch: NONE,
        n: 0,
        entities: [0; 2],
        known: [whole; 2],
        position: 0,
        bases: [NONE; 3],
        done: from as u8,
        floor: from as u8,
        counted: 0,
        steps: 0,
        blind: 0,
        applied: 0,
        accepted: 0,
        wrong: None,
    };
    if !whole && config.boot == Boot::TrustFirst && log[from].kind != Kind::Claim {
        (fold.epoch, fold.n) = (log[from].epoch, log[from].n.wrapping_sub(1));
    }
    for (offset, record) in log.iter().enumerate().take(to).skip(from) {
        fold.record(offset, record, whole, config);
    }
    fold
}

impl Fold {
    fn record(&mut self, offset: usize, record: &Record, whole: bool, config: &Config) {
        if record.kind == Kind::Claim {
            (self.epoch, self.n) = (offset as u8, 0);
            if config.claim_carries {
                (self.floor, self.done) = (record.floor, record.done);
            }
            return;
        }
        let counts = self.counts(offset, record, config.rule);
        if !counts && config.void_done && record.kind == Kind::Step {
            self.done = self.done.max(record.done);
        }
        if counts {
            self.n = record.n;
            self.counted |= 1 << offset;
        } else if !(config.old_images && record.kind == Kind::Image) {
            return;
        }
        match record.kind {
            Kind::Image => self.image(offset, record, config),
            _ => self.step(offset, record, whole),
        }
    }

    fn counts(&self, offset: usize, record: &Record, rule: Rule) -> bool {
        match rule {
            Rule::Contiguity => record.epoch == self.epoch && record.n == self.n.wrapping_add(1),
            Rule::Off => true,
            Rule::EpochOnly => record.epoch == self.epoch,
            Rule::NumberOnly => record.n == self.n.wrapping_add(1),
            Rule::ExpectedOffset => record.epoch == self.epoch && offset as u8 == record.epoch + record.n,
        }
    }

    fn image(&mut self, offset: usize, record: &Record, config: &Config) {
        let entity = usize::from(record.entity);
        if entity == SHARD {
            self.position = record.image as u8;
        } else {
            self.entities[entity] = record.image;
            self.known[entity] = true;
        }
        self.bases[entity] = offset as u8;
        if config.image_carries {
            (self.floor, self.done) = (record.floor, record.done);
        }
    }

    fn step(&mut self, offset: usize, record: &Record, whole: bool) {
        let entity = usize::from(record.entity);
        self.steps |= 1 << offset;
        if whole {
            if (self.applied >> record.command) & 1 == 1 {
                self.wrong = self.wrong.or(Some("I1 input applied twice"));
            }
            if record.decided_on != packed(&self.entities) {
                self.wrong = self.wrong.or(Some("I1 decided on a state that is not the fold's"));
            }
        }
        self.applied |= 1 << record.command;
        if record.image == 0 {
            self.accepted |= 1 << record.command;
        }
        if record.born {
            self.known[entity] = true;
            self.entities[entity] = 0;
            self.bases[entity] = offset as u8;
        }
        match self.known[entity] {
            true => self.entities[entity] = after(self.entities[entity], record.command),
            false => self.blind |= 1 << offset,
        }
        if record.position > 0 {
            self.position = record.position;
            self.bases[SHARD] = offset as u8;
        }
        (self.done, self.floor) = (record.done, record.floor);
    }
}

/// Where a reader whose end is `to` begins; `None` if the log no longer reaches back that far.
pub(crate) fn find_floor(log: &[Record], start: u8, to: usize, config: &Config) -> Option<usize> {
    let first = usize::from(start);
    let floor = match config.floor_source {
        FloorSource::Counting => fold(log, 0, to, config).floor,
        FloorSource::LogStart => start,
        FloorSource::LastOnly => log[..to].iter().rev().find(|r| r.kind == Kind::Step).map_or(0, |r| r.floor),
        FloorSource::LastAny => {
            let carries = |r: &&Record| r.kind == Kind::Step || r.kind == Kind::Image && config.image_carries;
            let mut newest_first = log[first..to.max(first)].iter().rev();
            newest_first.find(|r| carries(r) && r.floor >= start).map_or(0, |r| r.floor)
        }
    };
    if floor < start {
        return (config.trimmed_is_fine && first < to).then_some(first);
    }
    // A floor at or past the end can only come from a record that is void.
    Some(if usize::from(floor) >= to { to.saturating_sub(1) } else { usize::from(floor) })
}
