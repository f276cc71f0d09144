//! The runs: what the protocol should survive, and what must be caught.

use crate::config::{Boot, Config, FloorSource, Guard, Rule};
use crate::explore::{Report, search, walk};

/// One configuration, explored.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub name: &'static str,
    /// Whether the protocol holds in it; else something must be found.
    pub holds: bool,
    /// What may happen in it, and which rules are kept.
    pub config: Config,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States at most.
    pub states: usize,
    /// From one state of so many it is tried whether all can still be done.
    pub live_every: u64,
    /// Actions of a random walk.
    pub actions: usize,
    /// Its seed.
    pub seed: u64,
}

impl Default for Limits {
    /// To the end, of what ends.
    fn default() -> Limits {
        Limits { states: 30_000_000, live_every: 256, actions: 20_000_000, seed: 1 }
    }
}

impl Run {
    /// Whether it is a random walk, which has no end.
    pub fn is_walk(&self) -> bool {
        self.name.starts_with("walk-")
    }

    /// Explores it.
    pub fn explore(&self, limits: Limits) -> Report {
        match self.is_walk() {
            true => walk(&self.config, limits.actions, limits.seed),
            false => search(&self.config, limits.states, limits.live_every),
        }
    }

    /// Whether it came out as it should.
    pub fn is_as_expected(&self, report: &Report) -> bool {
        self.holds == report.found.is_none()
    }
}

fn holds(name: &'static str, config: Config) -> Run {
    Run { name, holds: true, config }
}

fn caught(name: &'static str, config: Config) -> Run {
    Run { name, holds: false, config }
}

/// All of them.
pub fn runs() -> Vec<Run> {
    [
        fencing(),
        effects(),
        floors(),
        bugs(),
        readings_of_release(),
        readings_of_floor(),
        readings_of_guard(),
        walks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn fencing() -> Vec<Run> {
    let fence = Config::fence;
    vec![
        holds("fence-2claims", Config { max_claims: 2, ..fence() }),
        holds(
            "fence-2claims-any-ack",
            Config { max_claims: 2, acks_in_order: false, kafka: vec![0, 1], direct: vec![], ..fence() },
        ),
        holds(
            "fence-2claims-3faults",
            Config {
                max_claims: 2,
                max_faults: 3,
                max_wandering: 3,
                kafka: vec![0, 1],
                direct: vec![],
                max_log: 8,
                ..fence()
            },
        ),
        holds("fence-3claims", Config { kafka: vec![0], ..fence() }),
        holds("fence-4claims", Config { max_claims: 4, kafka: vec![0], direct: vec![], ..fence() }),
        holds(
            "fence-cross-door",
            Config { max_claims: 2, kafka: vec![0, 2], direct: vec![2], late_requests: true, ..fence() },
        ),
        holds(
            "fence-rejects",
            Config {
                max_claims: 2,
                kafka: vec![1],
                direct: vec![3],
                late_requests: true,
                effects: true,
                max_faults: 1,
                ..fence()
            },
        ),
        holds("fence-3claims-3faults", Config { kafka: vec![0], max_faults: 3, max_wandering: 3, ..fence() }),
        holds("fence-big", Config { acks_in_order: false, max_log: 8, ..fence() }),
    ]
}

fn effects() -> Vec<Run> {
    let effects = Config::effects;
    vec![
        holds("effects", effects()),
        holds("effects-issuer-guard", Config { guard: Guard::IssuerEpoch, ..effects() }),
        holds("effects-big", Config { max_faults: 2, max_log: 8, ..effects() }),
    ]
}

fn floors() -> Vec<Run> {
    let floors = Config::floors;
    vec![
        holds("floors", floors()),
        holds("floors-3claims", Config { max_claims: 3, max_faults: 0, max_log: 9, ..floors() }),
        holds(
            "floors-3images",
            Config { max_images: 3, max_faults: 0, kafka: vec![0, 2], max_log: 9, ..floors() },
        ),
        holds("floors-counting", Config { floor_source: FloorSource::Counting, ..floors() }),
        holds(
            "floors-logstart",
            Config { floor_source: FloorSource::LogStart, trim_recorded: false, ..floors() },
        ),
        holds("floors-image-carries", Config { image_carries: true, ..floors() }),
    ]
}

/// A rule is left out.
fn bugs() -> Vec<Run> {
    let (design, fence, floors) = (Config::design, Config::fence, Config::floors);
    vec![
        caught("bug-no-fence", Config { rule: Rule::Off, ..design() }),
        caught("bug-no-epoch", Config { rule: Rule::NumberOnly, ..design() }),
        caught("bug-no-n", Config { rule: Rule::EpochOnly, ..design() }),
        caught("bug-offset-rule", Config { rule: Rule::ExpectedOffset, ..design() }),
        caught("bug-no-offset-check", Config { check_offset: false, ..fence() }),
        caught(
            "bug-fold-old-end",
            Config { fold_through_claim: false, floor_source: FloorSource::LogStart, ..fence() },
        ),
        caught("bug-done-early", Config { done_early: true, ..design() }),
        caught("bug-done-in-flight", Config { done_ends_at_sent: true, ..design() }),
        caught("bug-floor-skips", Config { floor_skips: true, ..floors() }),
        caught(
            "bug-old-image",
            Config { old_images: true, max_faults: 0, max_claims: 3, max_log: 9, ..floors() },
        ),
        caught("bug-reuse-n", Config { reuse_n: true, ..design() }),
    ]
}

/// What the words about release and answers would allow.
fn readings_of_release() -> Vec<Run> {
    let (design, fence, effects) = (Config::design, Config::fence, Config::effects);
    vec![
        caught("q-release-any-order", Config { release_in_order: false, ..design() }),
        holds(
            "q-release-any-order-acks-in-order",
            Config { release_in_order: false, acks_in_order: true, max_claims: 2, ..fence() },
        ),
        caught("q-repeat-answered-at-once", Config { repeat_waits: false, ..design() }),
        caught(
            "q-reject-unrecorded",
            Config {
                rejects_recorded: false,
                kafka: vec![1],
                direct: vec![3],
                late_requests: true,
                ..design()
            },
        ),
        holds("q-void-done", Config { void_done: true, ..effects() }),
        holds("q-claim-carries-done", Config { claim_carries: true, ..effects() }),
    ]
}

/// What the words about floors would allow.
fn readings_of_floor() -> Vec<Run> {
    let floors = Config::floors;
    let based = || Config { effects_need_state: true, floor_keeps_base: true, ..Config::floors() };
    let counting = FloorSource::Counting;
    vec![
        caught(
            "q-claim-carries-counting",
            Config { claim_carries: true, floor_source: counting, max_claims: 3, ..floors() },
        ),
        caught("q-floor-past-done", Config { floor_within_done: false, kafka: vec![0, 2], ..floors() }),
        caught("q-floor-unproven-lastany", Config { floor_proven: false, ..floors() }),
        caught(
            "q-floor-unproven-counting",
            Config { floor_source: counting, floor_proven: false, ..floors() },
        ),
        caught("q-floor-boot-unknown", Config { boot: Boot::Unknown, ..floors() }),
        caught("q-trim-unrecorded", Config { trim_recorded: false, ..floors() }),
        caught(
            "q-floor-blind",
            Config { effects_need_state: true, kafka: vec![0, 2], max_log: 9, ..floors() },
        ),
        holds("q-floor-keeps-base", based()),
        holds(
            "q-floor-keeps-base-3images",
            Config { max_images: 3, max_faults: 0, kafka: vec![0, 2], max_log: 9, ..based() },
        ),
        caught("q-last-only", Config { floor_source: FloorSource::LastOnly, ..floors() }),
        holds("q-trimmed-is-fine", Config { trimmed_is_fine: true, max_claims: 3, max_log: 9, ..floors() }),
    ]
}

/// What a receiver might compare.
fn readings_of_guard() -> Vec<Run> {
    let effects = Config::effects;
    let offset = Guard::RecordOffset;
    vec![
        holds(
            "q-guard-record-offset-in-order",
            Config { guard: offset, perform_in_order: true, ..effects() },
        ),
        caught(
            "q-guard-record-offset",
            Config { guard: offset, kafka: vec![0, 1], max_claims: 2, ..effects() },
        ),
        caught("q-guard-record-epoch", Config { guard: Guard::RecordEpoch, kafka: vec![0, 1], ..effects() }),
    ]
}

fn walks() -> Vec<Run> {
    let wide = Config::wide;
    vec![
        holds("walk-wide", wide()),
        holds(
            "walk-wide-logstart",
            Config { floor_source: FloorSource::LogStart, trim_recorded: false, ..wide() },
        ),
        holds("walk-wide-counting", Config { floor_source: FloorSource::Counting, ..wide() }),
        holds("walk-wide-base", Config { effects_need_state: true, floor_keeps_base: true, ..wide() }),
    ]
}
