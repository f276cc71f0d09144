//! Every planted bug is caught: what the simulation does not catch it does not show to be absent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use synod_sim::{Bug, run, run_twice};

/// Seeds within which each is caught.
const WITHIN: u64 = 2_000;
/// Every how-manieth seed is run twice, as `synod-sim` does.
const TWICE: u64 = 8;

/// How many seeds it took to catch a bug, and by what.
fn caught(bug: Bug) -> Option<(u64, String)> {
    (1..=WITHIN).find_map(|seed| {
        let ran = if seed % TWICE == 1 { run_twice(seed, Some(bug)) } else { run(seed, Some(bug)) };
        Some((seed, ran.err()?.why))
    })
}

#[test]
fn every_planted_bug_is_caught_within_2_000_seeds() {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = Vec::new();
        while let Some((bug, name)) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let found = caught(*bug);
            let took = began.elapsed().as_secs_f64();
            match found {
                Some((seeds, why)) => {
                    let why: String = why.lines().next().unwrap_or_default().chars().take(150).collect();
                    println!("{name:<20} {seeds:>5} seeds {took:>6.2} s  {why}");
                }
                None => {
                    println!("{name:<20} NOT within {WITHIN} seeds, {took:.2} s");
                    missed.push(*name);
                }
            }
        }
        missed
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let missed: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("a thread panicked")).collect()
    });
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn without_a_bug_the_same_build_holds() {
    for seed in 1..=50 {
        if let Err(failure) = run(seed, None) {
            panic!("seed {seed}: {}\n{}", failure.why, failure.timeline.join("\n"));
        }
    }
}
