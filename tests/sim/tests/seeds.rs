//! A small fixed set of seeds, so that `cargo test` alone meets the simulation; `scripts/test` runs new ones.

use synod_sim::{run, run_twice};

#[test]
fn a_hundred_seeds_hold() {
    let mut counted = 0;
    for seed in 1..=100 {
        match run(seed, None) {
            Ok(figures) => counted += figures.counted,
            Err(failure) => panic!("seed {seed}: {}\n{}", failure.why, failure.timeline.join("\n")),
        }
    }
    assert!(counted > 1_000, "only {counted} records counted: the simulation has come to a standstill");
}

#[test]
fn a_seed_is_one_history() {
    for seed in 1..=20 {
        assert!(run_twice(seed, None).is_ok(), "seed {seed}");
    }
}
