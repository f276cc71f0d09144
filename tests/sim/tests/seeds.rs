//! A fixed set of seeds, so that `cargo test` alone meets the simulation; `scripts/test` runs new ones.

use synod_sim::{Met, Tally, run, run_twice};

/// Seeds in which everything that can befall the world has befallen it.
const SEEDS: u64 = 2_400;

#[test]
fn everything_befalls_the_world_and_every_seed_holds() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let work = |first: u64| {
        let (mut counted, mut tally) = (0, Tally::default());
        for seed in (1 + first..=SEEDS).step_by(threads as usize) {
            match run(seed, None) {
                Ok(figures) => {
                    counted += figures.counted;
                    tally.add(&figures.tally);
                }
                Err(failure) => panic!("seed {seed}: {}\n{}", failure.why, failure.timeline.join("\n")),
            }
        }
        (counted, tally)
    };
    let (mut counted, mut tally) = (0, Tally::default());
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
        for handle in handles {
            let (more, met) = handle.join().expect("a seed failed");
            counted += more;
            tally.add(&met);
        }
    });
    println!("{tally}");
    assert!(counted > 20 * SEEDS, "only {counted} steps counted: the simulation has come to a standstill");
    let never: Vec<_> = Met::ALL.iter().filter(|(met, _)| tally.count(*met) == 0).collect();
    assert!(never.is_empty(), "what never happened is not shown to be survived: {never:?}");
}

#[test]
fn a_seed_is_one_history() {
    for seed in 1..=20 {
        assert!(run_twice(seed, None).is_ok(), "seed {seed}");
    }
}
