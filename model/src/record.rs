//! One record of the log.

/// No such offset.
pub(crate) const NONE: u8 = 255;
/// The "entity" that is the shard itself: the Kafka position.
pub(crate) const SHARD: usize = 2;

/// What a record is; `Empty` fills an unused place among the flights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    #[default]
    Empty,
    Claim,
    Step,
    Image,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The author: only the traces look at it.
    pub(crate) by: u8,
    /// Its author's claim; `NONE` in a claim, whose own offset is the epoch.
    pub(crate) epoch: u8,
    pub(crate) n: u8,
    /// A step's command.
    pub(crate) command: u8,
    /// The Kafka position after a step; 0: it came through the quick door.
    pub(crate) position: u8,
    /// A step by which its entity comes to be.
    pub(crate) born: bool,
    pub(crate) entity: u8,
    /// The state that an image shows; in a step 1 if it records a rejection.
    pub(crate) image: u32,
    pub(crate) floor: u8,
    /// Exclusive: effects of all counting steps below it are confirmed.
    pub(crate) done: u8,
    /// The state that it was decided on: a ghost, for the checks only.
    pub(crate) decided_on: u32,
}

/// A record on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) record: Record,
    /// Where it has landed; `NONE` while it has not.
    pub(crate) at: u8,
    pub(crate) acked: bool,
}

impl Flight {
    pub(crate) const EMPTY: Flight = Flight {
        record: Record {
            kind: Kind::Empty,
            by: 0,
            epoch: 0,
            n: 0,
            command: 0,
            position: 0,
            born: false,
            entity: 0,
            image: 0,
            floor: 0,
            done: 0,
            decided_on: 0,
        },
        at: NONE,
        acked: false,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.record.kind == Kind::Empty
    }
}

/// An entity's state is the list of the commands that it has had, three bits each, the newest lowest.
pub(crate) type Entity = u32;

/// The entity after one more command.
pub(crate) fn after(entity: Entity, command: u8) -> Entity {
    (entity << 3) & 0xffff | (u32::from(command) + 1)
}

/// Whether the entity of this command has had it.
pub(crate) fn had(entities: &[Entity; 2], command: u8) -> bool {
    let mut rest = entities[usize::from(command & 1)];
    while rest > 0 {
        if rest & 7 == u32::from(command) + 1 {
            return true;
        }
        rest >>= 3;
    }
    false
}

/// Both entities in one word.
pub(crate) fn packed(entities: &[Entity; 2]) -> u32 {
    entities[0] | (entities[1] << 16)
}

/// Whether this offset or command is in the set.
pub(crate) fn has(set: u32, member: u8) -> bool {
    (set >> member) & 1 == 1
}

/// Everything below this offset.
pub(crate) fn below(offset: u8) -> u32 {
    (1 << offset) - 1
}

impl Record {
    /// For a trace: `3:B step e2 n1 cmd0k floor0 done<2`.
    pub(crate) fn shown(&self, offset: usize) -> String {
        let who = ["A", "B"][usize::from(self.by)];
        match self.kind {
            Kind::Empty => format!("{offset}:-"),
            Kind::Claim => format!("{offset}:{who} claim"),
            Kind::Step => {
                let door = if self.position > 0 { "k" } else { "d" };
                let Record { epoch, n, command, floor, done, .. } = self;
                format!("{offset}:{who} step e{epoch} n{n} cmd{command}{door} floor{floor} done<{done}")
            }
            Kind::Image => {
                let of = ["x", "y", "shard"][usize::from(self.entity)];
                format!("{offset}:{who} image e{} n{} of {of}", self.epoch, self.n)
            }
        }
    }
}
