//! What no vote can be held with is told, with the place; nothing panics.

#![allow(clippy::unwrap_used)] // a test's way to fail

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use synod_negotiation::voting::{Elimination, Profile, Roll, Rules, Voter, instant_runoff, outcome};

#[test]
fn bad_inputs_are_told() {
    let rules = json!({ "candidates": ["a", "b"], "method": "plurality" });
    let with = |key: &str, value: Value| {
        let mut rules = rules.clone();
        rules[key] = value;
        rules
    };
    let ballot = |ballot: Value| json!([{ "participant": "p", "weight": 1, "ballot": ballot }]);
    let good = ballot(json!({ "choice": "a" }));
    let weight = |weight: Value| json!([{ "participant": "p", "weight": weight }]);
    let many: Vec<_> = (0..1_001).map(|i| json!({ "participant": format!("p{i}"), "weight": 0 })).collect();
    let hundred_and_one: Vec<_> = (0..101).map(|i| i.to_string()).collect();
    let score = with("method", json!({ "score": { "min": 0, "max": 5 } }));
    let primes = [97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173];
    let primes: Vec<_> = primes
        .iter()
        .map(|prime| json!({ "participant": prime.to_string(), "weight": format!("1/{prime}") }))
        .collect();
    let threshold = |share: Value, strictly: bool| {
        with("support", json!({ "threshold": { "share": share, "strictly": strictly } }))
    };
    for (rules, cast, at) in [
        (with("candidates", json!([])), &good, "/candidates"),
        (with("candidates", json!(hundred_and_one)), &good, "/candidates"),
        (with("candidates", json!(["a", "b", "a"])), &good, "/candidates/2"),
        (with("candidates", json!(["a", ""])), &good, "/candidates/1"),
        (with("candidates", json!(["a", "x".repeat(257)])), &good, "/candidates/1"),
        (with("veto", json!(["p", "p"])), &good, "/veto/1"),
        (with("ties", json!("seed")), &good, "/seed"),
        (with("ties", json!({ "chair": "" })), &good, "/ties/chair"),
        (threshold(json!(0), false), &good, "/support/threshold/share"),
        (threshold(json!("3/2"), false), &good, "/support/threshold/share"),
        (threshold(json!(1), true), &good, "/support/threshold/share"),
        (threshold(json!(-1), true), &good, "/support/threshold/share"),
        (with("quorum", json!({ "voters": { "at_least": 0 } })), &good, "/quorum/voters/at_least"),
        (with("quorum", json!({ "share": { "at_least": 0 } })), &good, "/quorum/share/at_least"),
        (with("quorum", json!({ "share": { "at_least": 1.1 } })), &good, "/quorum/share/at_least"),
        (with("method", json!({ "score": { "min": 5, "max": 5 } })), &good, "/method/score/min"),
        (rules.clone(), &ballot(json!({ "choice": "c" })), "/voters/0/ballot/choice"),
        (rules.clone(), &ballot(json!({ "ranking": ["a", "b", "a"] })), "/voters/0/ballot/ranking/2"),
        (rules.clone(), &ballot(json!({ "approved": ["a"] })), "/voters/0/ballot"),
        (rules.clone(), &ballot(json!({ "scores": {} })), "/voters/0/ballot"),
        (score.clone(), &ballot(json!({ "choice": "a" })), "/voters/0/ballot"),
        (score.clone(), &ballot(json!({ "scores": { "a": 5.5 } })), "/voters/0/ballot/scores/a"),
        (score, &ballot(json!({ "scores": { "x/y": 5 } })), "/voters/0/ballot/scores/x~1y"),
        (
            with("method", json!("approval")),
            &ballot(json!({ "approved": ["b", "b"] })),
            "/voters/0/ballot/approved/1",
        ),
        (rules.clone(), &weight(json!(-1)), "/voters/0/weight"),
        (rules.clone(), &weight(json!(11)), "/entitled"),
        (rules.clone(), &weight(json!(1e-60)), "/voters"),
        (rules.clone(), &json!(primes), "/voters"),
        (rules.clone(), &json!([{ "participant": "", "weight": 1 }]), "/voters/0/participant"),
        (rules.clone(), &json!([good[0], good[0]]), "/voters/1/participant"),
        (rules.clone(), &json!([{ "participant": "p", "weight": 1, "veto": true }]), "/voters/0/veto"),
        (rules.clone(), &json!(many), "/voters"),
    ] {
        let rules: Rules = serde_json::from_value(rules).unwrap();
        let roll: Roll = serde_json::from_value(json!({ "entitled": 10 })).unwrap();
        let cast: Vec<Voter> = serde_json::from_value(cast.clone()).unwrap();
        let refused = outcome(&rules, &cast, &roll).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some(at), "{refused}");
    }
    for (place, written) in [
        ("method", json!("dictator")),
        ("method", json!({ "score": { "min": 0, "max": 5, "mid": 1 } })),
        ("quorum", json!({ "voters": { "at_least": -1 } })),
        ("surprise", json!(1)),
    ] {
        let refused = serde_json::from_value::<Rules>(with(place, written.clone()));
        assert!(refused.is_err(), "{written}");
    }
}

#[test]
fn profiles_have_bounds() {
    let universes = Profile::new(17, [(vec![0], 1)]).unwrap();
    assert!(instant_runoff(&universes, Elimination::ParallelUniverses).is_err());
    for (m, ballot, weight) in
        [(0, vec![], 1), (101, vec![], 1), (2, vec![2], 1), (2, vec![0, 0], 1), (2, vec![0], -1)]
    {
        assert!(Profile::new(m, [(ballot, weight)]).is_err());
    }
    assert!(Profile::new(2, [(vec![0], i128::MAX), (vec![1], i128::MAX)]).is_err());
}

const ODD: [&str; 9] =
    ["0", "1", "1/3", "1e60", "1e-60", "-1", "123456789012345678901234567890", "0.1", "1/999999937"];

proptest! {
    /// Whatever the numbers are: counted or refused.
    #[test]
    fn odd_numbers_do_no_harm(
        weights in prop::collection::vec(select(ODD.to_vec()), 0..12),
        scores in prop::collection::vec(select(ODD.to_vec()), 12),
        (entitled, min, max, share) in (select(ODD.to_vec()), select(ODD.to_vec()), select(ODD.to_vec()), select(ODD.to_vec())),
        ranked in any::<bool>(),
    ) {
        let method = if ranked { json!({ "borda": {} }) } else { json!({ "score": { "min": min, "max": max } }) };
        let rules: Rules = serde_json::from_value(json!({
            "candidates": ["a", "b"], "method": method, "support": { "threshold": { "share": share, "of": "entitled" } },
        })).unwrap();
        let cast: Vec<_> = weights.iter().zip(&scores).enumerate().map(|(i, (weight, score))| {
            let ballot = if ranked { json!({ "ranking": ["b"] }) } else { json!({ "scores": { "a": score } }) };
            json!({ "participant": i.to_string(), "weight": weight, "ballot": ballot })
        }).collect();
        let cast: Vec<Voter> = serde_json::from_value(json!(cast)).unwrap();
        let roll: Roll = serde_json::from_value(json!({ "entitled": entitled })).unwrap();
        if let Ok(outcome) = outcome(&rules, &cast, &roll) {
            prop_assert_eq!(outcome.decided.is_none(), outcome.reason.is_some());
        }
    }
}
