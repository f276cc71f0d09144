//! From a count to a decision: scores, thresholds, quorum, veto, ties, and what is said of them.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::voting::{decide, voters};
use serde_json::{Value, json};
use synod_negotiation::voting::{Base, Reason, Roll, Rules, by_lot, outcome};

#[test]
fn scores_are_summed_or_averaged() {
    let cast = voters(json!([
        { "participant": "p", "weight": 2, "ballot": { "scores": { "a": 4, "b": "9/2" } } },
        { "participant": "q", "weight": "1/2", "ballot": { "scores": { "a": 3 } } },
        { "participant": "r", "weight": 1, "ballot": { "scores": {} } },
        { "participant": "s", "weight": 0, "ballot": { "scores": { "c": 5 } } },
    ]));
    for (grades, winner, scores) in
        [("sum", "a", json!(["19/2", 9, null])), ("mean", "b", json!(["19/5", "9/2", null]))]
    {
        let method = json!({ "score": { "min": 0, "max": 5, "grades": grades } });
        let rules = json!({ "candidates": ["a", "b", "c"], "method": method });
        let outcome = decide(&rules, &cast, &json!({ "entitled": 4 }));
        let got: Vec<_> = outcome.tally.scores.iter().map(|score| &score.score).collect();
        assert_eq!((outcome.decided.as_deref(), json!(got)), (Some(winner), scores), "{grades}");
    }
}

/// Two of three thirds are two thirds, and no more.
#[test]
fn a_threshold_is_met_or_it_is_not() {
    let third = |participant: &str, choice: Value| json!({ "participant": participant, "weight": "1/3", "ballot": choice });
    let (yes, no) = (json!({ "choice": "yes" }), json!({ "choice": "no" }));
    for (of, strictly, third_voter, entitled, decided) in [
        (Base::Cast, false, no.clone(), 1, Some("yes")),
        (Base::Cast, true, no.clone(), 1, None),
        (Base::Cast, true, Value::Null, 1, Some("yes")),
        (Base::Present, true, Value::Null, 1, None),
        (Base::Present, false, Value::Null, 2, Some("yes")),
        (Base::Entitled, false, no, 1, Some("yes")),
        (Base::Entitled, false, yes.clone(), 2, None),
    ] {
        let rules = Rules::consensus("2/3".parse().unwrap(), of, strictly);
        let voters =
            voters(json!([third("p", yes.clone()), third("q", yes.clone()), third("r", third_voter)]));
        let roll: Roll = serde_json::from_value(json!({ "entitled": entitled })).unwrap();
        let outcome = outcome(&rules, &voters, &roll).unwrap();
        assert_eq!(outcome.decided.as_deref(), decided, "{of:?} {strictly} {:?}", outcome.explanation);
        assert_eq!(outcome.reason, decided.map_or(Some(Reason::BelowThreshold), |_| None));
    }
}

#[test]
fn what_stands_in_the_way() {
    let base = json!({ "candidates": ["a", "b"], "method": "plurality", "veto": ["q"] });
    let a = json!({ "choice": "a" });
    let with = |key: &str, value: Value| {
        let mut rules = base.clone();
        rules[key] = value;
        rules
    };
    let two = json!([{ "participant": "p", "weight": 2, "ballot": a }, { "participant": "q", "weight": 1 }]);
    let mut stopped = two.clone();
    stopped[1]["veto"] = json!(true);
    let tie = json!([{ "participant": "p", "weight": 2, "ballot": a },
                     { "participant": "q", "weight": 2, "ballot": { "ranking": ["b", "a"] } }]);
    let weightless = json!([{ "participant": "p", "weight": 0, "ballot": a }]);
    let share = |share: &str, counting: &str| json!({ "share": { "at_least": share, "counting": counting } });
    let many =
        |at_least: u32, counting: &str| json!({ "voters": { "at_least": at_least, "counting": counting } });
    for (rules, cast, reason) in [
        (base.clone(), &two, None),
        (base.clone(), &stopped, Some(Reason::Vetoed)),
        (with("quorum", many(2, "present")), &two, None),
        (with("quorum", many(2, "cast")), &two, Some(Reason::NoQuorum)),
        (with("quorum", share("3/4", "present")), &two, None),
        (with("quorum", share("0.76", "present")), &two, Some(Reason::NoQuorum)),
        (with("quorum", share("1/2", "cast")), &two, None),
        (base.clone(), &weightless, Some(Reason::NoBallots)),
        (base.clone(), &tie, Some(Reason::Tie)),
        (with("method", json!("condorcet")), &tie, Some(Reason::NoWinner)),
        (with("support", json!({ "unanimity": "cast" })), &two, None),
        (with("support", json!({ "unanimity": "present" })), &two, Some(Reason::BelowThreshold)),
    ] {
        let outcome = decide(&rules, &voters(cast.clone()), &json!({ "entitled": 4 }));
        assert_eq!(outcome.reason, reason, "{rules} {:?}", outcome.explanation);
        assert_eq!(outcome.decided.is_some(), reason.is_none());
    }
}

#[test]
fn who_stopped_it_is_told_in_order() {
    let rules = json!({ "candidates": ["a"], "method": "approval", "veto": ["p", "q"] });
    let stopped = json!([{ "participant": "q", "weight": 1, "veto": true }, { "participant": "p", "weight": 0, "veto": true }]);
    let outcome = decide(&rules, &voters(stopped), &json!({ "entitled": 1 }));
    assert_eq!(
        (outcome.reason, outcome.vetoed_by),
        (Some(Reason::Vetoed), vec!["p".to_owned(), "q".to_owned()])
    );
    assert_eq!(
        outcome.explanation,
        [
            "0 voters cast ballots of weight 0; 2 abstained with weight 1; weight 0 of 1 was silent.",
            "Approvals: a 0.",
            "Nothing is decided: p, q stopped it."
        ]
    );
}

/// A run-off explains itself.
#[test]
fn a_decision_in_sentences() {
    let rules = json!({
        "candidates": ["memphis", "nashville", "chattanooga", "knoxville"],
        "method": { "instant_runoff": {} },
        "support": { "threshold": { "share": "1/2", "strictly": true } },
        "quorum": { "voters": { "at_least": 4 } },
    });
    let ranked = |participant: &str, weight: u32, ranking: [&str; 4]| json!({ "participant": participant, "weight": weight, "ballot": { "ranking": ranking } });
    let (m, n, c, k) = ("memphis", "nashville", "chattanooga", "knoxville");
    let cast = json!([
        ranked("p", 42, [m, n, c, k]),
        ranked("q", 26, [n, c, k, m]),
        ranked("r", 15, [c, k, n, m]),
        ranked("s", 17, [k, c, n, m]),
    ]);
    let outcome = decide(&rules, &voters(cast), &json!({ "entitled": 120 }));
    assert_eq!(
        outcome.explanation,
        [
            "4 voters cast ballots of weight 100; 0 abstained with weight 0; weight 20 of 120 was silent.",
            "For a quorum at least 4 voters had to cast or abstain.",
            "First places: memphis 42, nashville 26, knoxville 17, chattanooga 15.",
            "After round 1, chattanooga left.",
            "After round 2, nashville left.",
            "In round 3, the last: knoxville 58, memphis 42.",
            "Behind knoxville stands 58 of the 100 cast; more than 1/2 was needed.",
            "Decided: knoxville."
        ]
    );
}

#[test]
fn a_tie_is_broken_by_the_rule() {
    let ballot = |chair: Value| {
        voters(json!([
            { "participant": "p", "weight": 1, "ballot": { "approved": ["c", "b"] } },
            { "participant": "chair", "weight": 0, "ballot": chair },
        ]))
    };
    let drawn = ["b", "c"].into_iter().min_by_key(|name| by_lot("s", name)).unwrap();
    for (ties, chair, decided) in [
        (json!("order"), json!({ "approved": [] }), Some("b")),
        (json!("fail"), json!({ "approved": ["c"] }), None),
        (json!("seed"), json!({ "approved": ["c"] }), Some(drawn)),
        (json!({ "chair": "chair" }), json!({ "approved": ["a", "c"] }), Some("c")),
        (json!({ "chair": "chair" }), json!({ "approved": ["c", "b"] }), None),
        (json!({ "chair": "chair" }), json!({ "approved": ["a"] }), None),
        (json!({ "chair": "chair" }), Value::Null, None),
        (json!({ "chair": "nobody" }), json!({ "approved": ["c"] }), None),
    ] {
        let rules = json!({ "candidates": ["a", "b", "c"], "method": "approval", "ties": ties });
        let outcome = decide(&rules, &ballot(chair), &json!({ "entitled": 1, "seed": "s" }));
        assert_eq!(outcome.decided.as_deref(), decided, "{ties} {:?}", outcome.explanation);
        assert_eq!(outcome.tied, ["b", "c"]);
        assert_eq!(outcome.broken_by.is_some(), decided.is_some());
        assert_eq!(outcome.seed.as_deref(), (ties == json!("seed")).then_some("s"));
    }
}

/// The digest of a lot is BLAKE3 of `seed \0 name`, as `printf 's\0b' | b3sum` prints it.
#[test]
fn a_lot_can_be_drawn_again() {
    assert_eq!(by_lot("s", "b"), *blake3::hash(b"s\0b").as_bytes());
}

/// The rules on the first lines of docs/negotiation/voting.md.
#[test]
fn the_rules_of_the_documentation_can_be_read() {
    let page = include_str!("../../../docs/negotiation/voting.md");
    let (_, from) = page.split_once("```json").unwrap();
    let (rules, _) = from.split_once("```").unwrap();
    let rules: Rules = serde_json::from_str(rules).unwrap();
    rules.check().unwrap();
    assert_eq!(rules.veto, ["safety"]);
}
