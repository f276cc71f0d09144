//! Rules that go by weight come to their weights, and new agents come in by and by.

use crate::world::{ask, capability, entry, id_of, key, labels, start};
use proptest::prelude::{Just, ProptestConfig, prop_oneof, proptest};
use std::collections::BTreeMap;
use synod_fleet::balance::Seeded;
use synod_fleet::{Registry, WEIGHT_LABEL};
use synod_protocol::view::Outcome;

fn fleet_of(weights: &[u32]) -> Registry {
    let mut registry = Registry::default();
    for (n, weight) in weights.iter().enumerate() {
        let mut entry = entry(&format!("a{n}"), 1_000_000);
        entry.labels = labels(&[(WEIGHT_LABEL, &weight.to_string())]);
        registry.learn(entry, 1);
    }
    registry
}

/// How often each is picked.
fn counts(registry: &Registry, rule: &str, picks: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let (mut ask, mut seeded) = (ask(rule), Seeded::new(7));
    for _ in 0..picks {
        ask.random = seeded.next_u64();
        *counts.entry(id_of(ask.of(registry)).unwrap()).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_ever_off_his_due_by_more_than_a_turn_or_two(
        weights in proptest::collection::vec(prop_oneof![0u32..50, Just(1), Just(1_000)], 2..9),
        picks in 1u64..3_000,
    ) {
        if weights.iter().sum::<u32>() == 0 {
            return Ok(());
        }
        let counts = counts(&fleet_of(&weights), "weighted_round_robin", picks);
        let sum: u32 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let due = picks as f64 * f64::from(*weight) / f64::from(sum);
            let had = *counts.get(&format!("a{n}")).unwrap_or(&0) as f64;
            assert!((had - due).abs() < 3.0, "weights {weights:?}: a{n} had {had}, due {due}, of {picks}");
            assert!(*weight > 0 || had == 0.0);
        }
    }

    #[test]
    fn plain_round_robin_is_even_whatever_the_weights(weights in proptest::collection::vec(0u32..50, 1..9), rounds in 1u64..50) {
        let counts = counts(&fleet_of(&weights), "round_robin", rounds * weights.len() as u64);
        assert!(counts.len() == weights.len() && counts.values().all(|had| *had == rounds), "{counts:?}");
    }
}

#[test]
fn random_is_even_among_those_that_may_be_chosen() {
    for away in [0, 1, 5, 7] {
        let mut registry = fleet_of(&[1; 10]);
        (0..away).for_each(|n| registry.set_share(&key(&format!("a{n}")), 0.0).unwrap());
        let counts = counts(&registry, "random", 10_000);
        let even = 10_000 / (10 - away);
        assert_eq!(counts.len() as u64, 10 - away);
        assert!(counts.values().all(|had| had.abs_diff(even) < even / 8), "{away} away: {counts:?}");
    }
}

#[test]
fn turns_of_weight_are_spread_out() {
    let registry = fleet_of(&[5, 1, 1]);
    let ask = ask("weighted_round_robin");
    let order: String = (0..14).map(|_| id_of(ask.of(&registry)).unwrap()[1..].to_owned()).collect();
    assert_eq!(order.matches('0').count(), 10, "{order}");
    assert!(!order.contains("0000") && order.matches('1').count() == 2, "{order}");
}

#[test]
fn a_ramping_agent_gets_its_share_and_no_more() {
    let check = |rule: &str, low: u64, high: u64| {
        let mut registry = fleet_of(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        registry.set_share(&key("a3"), 0.1).unwrap();
        let had = counts(&registry, rule, 10_000).get("a3").copied().unwrap_or(0);
        assert!((low..=high).contains(&had), "{rule}: {had} of 10,000");
    };
    // A tenth of what the nine others each get: 10,000 × 0.1 / 9.1 = 110.
    check("round_robin", 109, 111);
    check("weighted_round_robin", 109, 111);
    check("random", 80, 140);
    // Drawn a tenth as often, and then still to be the better of two.
    check("performance", 80, 200);
}

#[test]
fn a_share_cuts_the_room_and_all_of_it_comes_back() {
    let mut registry = Registry::default();
    registry.learn(entry("old", 100), 1);
    registry.learn(entry("new", 100), 1);
    let mut fill = |share: f64| {
        registry.set_share(&key("new"), share).unwrap();
        while let Some(id) = id_of(ask("least_connections").of(&registry)) {
            registry.given(&key(&id), &start(1), 0);
        }
        registry.get(&key("new")).unwrap().in_flight()
    };
    assert_eq!([fill(0.001), fill(0.25), fill(0.5), fill(0.0), fill(1.0)], [1, 25, 50, 50, 100]);
}

#[test]
fn who_comes_back_does_not_make_up_for_it() {
    let mut registry = fleet_of(&[1, 1]);
    let ask = ask("round_robin");
    registry.set_share(&key("a0"), 0.0).unwrap();
    (0..1_000).for_each(|_| assert_eq!(id_of(ask.of(&registry)).unwrap(), "a1"));
    registry.set_share(&key("a0"), 1.0).unwrap();
    let next: Vec<String> = (0..6).map(|_| id_of(ask.of(&registry)).unwrap()).collect();
    assert_eq!(next.iter().filter(|id| *id == "a0").count(), 3, "{next:?}");
}

#[test]
fn the_slow_and_the_failing_get_less_by_performance() {
    let mut registry = fleet_of(&[1, 1, 1]);
    let mut work = |took: [f64; 3], fails: [bool; 3]| {
        let (mut had, mut ask, mut seeded) = ([0; 3], ask("performance"), Seeded::new(3));
        for _ in 0..3_000 {
            ask.random = seeded.next_u64();
            let id = id_of(ask.of(&registry)).unwrap();
            let n: usize = id[1..].parse().unwrap();
            had[n] += 1;
            registry.given(&key(&id), &start(1), 0);
            registry.ended(&key(&id), &start(1), 0, Outcome::Completed);
            let success = !(fails[n] && seeded.below(10) < 6);
            registry.observe(&key(&id), &start(1), &capability("c"), took[n], success);
        }
        had
    };
    let slow = work([1e4, 1e4, 1e5], [false; 3]);
    assert!(slow[2] < 50, "{slow:?}");
    let failing = work([1e5; 3], [true, false, false]);
    assert!(failing[0] < 200, "{failing:?}");
}
