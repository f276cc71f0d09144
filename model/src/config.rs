//! What a run lets happen, and which rules are kept in it.

/// By which rule a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The latest claim's, and one more than the last.
    Contiguity,
    /// Everything counts.
    Off,
    /// The number is not looked at.
    EpochOnly,
    /// The epoch is not looked at.
    NumberOnly,
    /// The record stands where its author expected it.
    ExpectedOffset,
}

/// How a fold that begins at a floor takes the record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// It counts by definition, and sets epoch and number.
    TrustFirst,
    /// It counts if it counts.
    Unknown,
}

/// Where a reader takes its floor from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorSource {
    /// The last record that counts.
    Counting,
    /// The nearest record, counting or not, whose floor is not trimmed away.
    LastAny,
    /// The last record, whatever it is.
    LastOnly,
    /// The log's start.
    LogStart,
}

/// What a receiver compares, to refuse the word of a deposed owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    None,
    /// The record's offset.
    RecordOffset,
    /// The record's epoch.
    RecordEpoch,
    /// The epoch of the owner that issues the effect.
    IssuerEpoch,
}

/// Budgets (how much may happen) and rules (what is kept to).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is one rule that can be left out
pub struct Config {
    /// Commands in the commands topic, in order.
    pub kafka: Vec<u8>,
    /// Commands through the quick door.
    pub direct: Vec<u8>,
    /// Records in the log at most.
    pub max_log: usize,
    /// Claims at most.
    pub max_claims: u8,
    /// Images at most.
    pub max_images: u8,
    /// Faults (giving up, landing ahead, sending again) at most.
    pub max_faults: u8,
    /// Crashes at most.
    pub max_crashes: u8,
    /// Requests that wander about after their author gave up, at most.
    pub max_wandering: usize,
    /// Off: nothing is imaged or trimmed.
    pub floors: bool,
    /// Off: effects are performed in the instant of their release.
    pub effects: bool,
    /// The log may be trimmed.
    pub trim: bool,
    /// A direct request may arrive even after its answer.
    pub late_requests: bool,

    /// How records count.
    pub rule: Rule,
    /// How a fold begins at a floor.
    pub boot: Boot,
    /// Where the floor is taken from.
    pub floor_source: FloorSource,
    /// What receivers refuse.
    pub guard: Guard,
    /// An acknowledgement must carry the expected offset.
    pub check_offset: bool,
    /// Proven only when all earlier records of the epoch are.
    pub release_in_order: bool,
    /// Acknowledgements come in order.
    pub acks_in_order: bool,
    /// Effects are performed in order.
    pub perform_in_order: bool,
    /// A repeat is answered only from proven state.
    pub repeat_waits: bool,
    /// A rejection is a step too (command 3 is rejected while its entity is unborn).
    pub rejects_recorded: bool,
    /// The floor comes from proven images only.
    pub floor_proven: bool,
    /// The floor passes no unconfirmed step.
    pub floor_within_done: bool,
    /// An image serves the floor only once all steps of its entity before it are done.
    pub floor_keeps_base: bool,
    /// An effect can be issued again only where the fold knows its entity.
    pub effects_need_state: bool,
    /// Trimming goes to a recorded floor only.
    pub trim_recorded: bool,
    /// A fold whose floor is gone begins at the log's start.
    pub trimmed_is_fine: bool,
    /// Claims carry floor and done too.
    pub claim_carries: bool,
    /// Images carry floor and done too.
    pub image_carries: bool,
    /// A fold ends at its own claim, not at an end seen before.
    pub fold_through_claim: bool,

    /// Planted: a refused record's number is given to the next.
    pub reuse_n: bool,
    /// Planted: done moves before its effects.
    pub done_early: bool,
    /// Planted: done reaches what is sent, not what is proven.
    pub done_ends_at_sent: bool,
    /// Planted: the floor is the newest base, not the oldest.
    pub floor_skips: bool,
    /// A void record's done is believed.
    pub void_done: bool,
    /// Planted: an image that does not count is believed.
    pub old_images: bool,
}

impl Config {
    /// The rules as they are, faults and budgets small.
    pub fn design() -> Config {
        Config {
            kafka: vec![0, 1],
            direct: vec![2],
            max_log: 9,
            max_claims: 3,
            max_images: 1,
            max_faults: 2,
            max_crashes: 1,
            max_wandering: 2,
            floors: true,
            effects: true,
            trim: true,
            late_requests: false,
            rule: Rule::Contiguity,
            boot: Boot::TrustFirst,
            floor_source: FloorSource::LastAny,
            guard: Guard::None,
            check_offset: true,
            release_in_order: true,
            acks_in_order: false,
            perform_in_order: false,
            repeat_waits: true,
            rejects_recorded: true,
            floor_proven: true,
            floor_within_done: true,
            floor_keeps_base: false,
            effects_need_state: false,
            trim_recorded: true,
            trimmed_is_fine: false,
            claim_carries: false,
            image_carries: false,
            fold_through_claim: true,
            reuse_n: false,
            done_early: false,
            done_ends_at_sent: false,
            floor_skips: false,
            void_done: false,
            old_images: false,
        }
    }

    /// Fencing alone: effects in the instant of release (so a crash is a give-up), no floors.
    pub fn fence() -> Config {
        Config {
            effects: false,
            floors: false,
            trim: false,
            max_images: 0,
            max_crashes: 0,
            max_log: 7,
            acks_in_order: true,
            ..Config::design()
        }
    }

    /// Effects and `done`, no floors.
    pub fn effects() -> Config {
        Config {
            floors: false,
            trim: false,
            max_images: 0,
            max_log: 7,
            max_faults: 1,
            acks_in_order: true,
            kafka: vec![0],
            ..Config::design()
        }
    }

    /// Floors, images, trimming; few faults.
    pub fn floors() -> Config {
        Config {
            kafka: vec![0],
            direct: vec![1],
            max_images: 2,
            max_faults: 1,
            max_claims: 2,
            max_crashes: 0,
            max_log: 8,
            max_wandering: 1,
            acks_in_order: true,
            ..Config::design()
        }
    }

    /// For random walks.
    pub fn wide() -> Config {
        Config {
            kafka: vec![0, 1, 2],
            direct: vec![2, 3],
            max_log: 22,
            max_claims: 6,
            max_images: 6,
            max_faults: 5,
            max_crashes: 2,
            max_wandering: 4,
            late_requests: true,
            ..Config::design()
        }
    }
}
