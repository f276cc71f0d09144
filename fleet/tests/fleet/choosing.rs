//! Whatever happens to the fleet, a pick is what a scan of everyone would find, and only of those who may be chosen.

use crate::model::Both;
use crate::world::{Ask, id_of};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use synod_fleet::Registry;

const RULES: [&str; 6] =
    ["least_connections", "round_robin", "weighted_round_robin", "performance", "resources", "random"];

/// Lets things happen, and after each asks by this rule; `expected` says who is to be chosen.
fn check(
    seed: u64,
    names: usize,
    steps: usize,
    rule: &str,
    mut expected: impl FnMut(&mut Both, &Ask) -> Option<String>,
) {
    let mut both = Both::new(seed, names);
    let mut found = 0;
    for step in 0..steps {
        both.step();
        let ask = both.any_ask(rule);
        let picked = id_of(ask.of(&both.registry));
        assert_eq!(picked, expected(&mut both, &ask), "{rule}, seed {seed}, step {step}: {ask:?}");
        found += usize::from(picked.is_some());
        if let Some(name) = picked.filter(|_| both.seeded.below(2) == 0) {
            let mem = ask.requires.and_then(|r| r.resources).map_or(0.0, |r| r["mem"]);
            both.give(&name, mem);
        }
    }
    assert!(steps < 1_000 || found > steps / 10, "{rule}: {found} of {steps} found anybody");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn least_connections_is_the_least_of_all(seed: u64, names in 1usize..12, steps in 1usize..400) {
        check(seed, names, steps, "least_connections", |both, ask| both.least_connections(ask));
    }

    #[test]
    fn resources_is_the_least_dominant_of_all_that_fit(seed: u64, names in 1usize..12, steps in 1usize..400) {
        check(seed, names, steps, "resources", |both, ask| both.resources(ask));
    }

    #[test]
    fn round_robin_goes_by_turns(seed: u64, names in 1usize..12, steps in 1usize..400) {
        check(seed, names, steps, "round_robin", |both, ask| both.in_turn(ask, false));
    }

    #[test]
    fn weighted_round_robin_goes_by_turns_of_weight(seed: u64, names in 1usize..12, steps in 1usize..400) {
        check(seed, names, steps, "weighted_round_robin", |both, ask| both.in_turn(ask, true));
    }

    #[test]
    fn whoever_may_be_drawn_is_drawn_and_nobody_else(seed: u64, names in 1usize..8, steps in 1usize..60) {
        for rule in ["random", "performance"] {
            let mut both = Both::new(seed, names);
            for _ in 0..steps {
                both.step();
                let mut ask = both.any_ask(rule);
                let eligible = both.eligible(&ask);
                let picked = id_of(ask.of(&both.registry));
                prop_assert_eq!(picked.is_some(), !eligible.is_empty());
                prop_assert_eq!(&picked, &id_of(ask.of(&both.registry)), "the same number, another choice");
                let all: Vec<String> = eligible.iter().map(|agent| agent.entry.agent_id.to_string()).collect();
                assert!(picked.iter().all(|picked| all.contains(picked)), "{picked:?} of {all:?}");
                if rule == "random" && eligible.iter().all(|agent| agent.share == 1.0) {
                    let mut drawn: Vec<String> = (0..60 * all.len() as u64)
                        .filter_map(|random| { ask.random = random; id_of(ask.of(&both.registry)) })
                        .collect();
                    drawn.sort();
                    drawn.dedup();
                    prop_assert_eq!(drawn, all);
                }
            }
        }
    }

    #[test]
    fn those_counted_are_all_there_are(seed: u64, steps in 1usize..200) {
        let mut both = Both::new(seed, 9);
        (0..steps).for_each(|_| both.step());
        for rule in RULES {
            let ask = both.any_ask(rule);
            let workspace = synod_protocol::Workspace::default_name();
            let count = both.registry.headcount(&ask.need(&workspace));
            prop_assert_eq!(count.ready as usize, both.eligible(&ask).len());
            let others = count.avoided + count.unfit + count.unwell + count.shut + count.full;
            prop_assert_eq!(count.able, count.ready + others);
        }
    }
}

/// So many that the way to one who fits is long: first by best first, then by going through all.
#[test]
fn it_is_so_among_many_too() {
    check(1, 700, 6_000, "least_connections", |both, ask| both.least_connections(ask));
    check(2, 700, 6_000, "resources", |both, ask| both.resources(ask));
    check(3, 700, 3_000, "weighted_round_robin", |both, ask| both.in_turn(ask, true));
}

/// A turn far off, because others did not fit, is no reason to go earlier when one is to have less.
#[test]
fn it_was_so_here_too() {
    check(9_549_778_268_748_744_685, 10, 53, "round_robin", |both, ask| both.in_turn(ask, false));
}

#[test]
fn of_two_performance_takes_the_better_and_of_many_never_the_worst() {
    use crate::world::{ask, capability, entry, key, start};
    let mut registry = Registry::default();
    let mut ask = ask("performance");
    for (n, id) in ["a", "b", "c", "d"].iter().enumerate() {
        registry.learn(entry(id, 100), n as u64);
    }
    assert!(ask.of(&registry).is_some());
    let mut observe = |id: &str, took: f64, success| {
        assert!(registry.observe(&key(id), &start(1), &capability("c"), took, success));
    };
    for (id, took) in [("a", 1e3), ("b", 2e3), ("c", 3e3), ("d", 9e3)] {
        observe(id, took, true);
    }
    // Thrice as slow as the first, and fails always.
    (0..64).for_each(|_| observe("c", 3e3, false));
    // By itself, and where something is asked that all have.
    for avoid in [None, Some("z")] {
        ask.avoid = avoid.into_iter().map(|id| id.parse().unwrap()).collect();
        let mut seen = [0; 4];
        for random in 0..10_000 {
            ask.random = random;
            let picked = id_of(ask.of(&registry)).unwrap();
            seen["abcd".find(&picked).unwrap()] += 1;
        }
        // The best of four is in half of the pairs, the second in a third.
        assert!((4_800..5_200).contains(&seen[0]) && (3_133..3_533).contains(&seen[1]), "{seen:?}");
        assert!((1_467..1_867).contains(&seen[3]) && seen[2] == 0, "{seen:?}");
    }
}
