//! The protocols over rooms, each through whole lives.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::life::{Life, holds};
use proptest::prelude::*;
use serde_json::{Value, json};
use synod_negotiation::Protocols;

/// The page of the protocols says what is so.
#[test]
fn the_examples_of_the_page_are_so() {
    let page = include_str!("../../../docs/negotiation/protocols.md");
    let mut seen = std::collections::BTreeSet::new();
    for block in page.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let mut example: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let take = |example: &mut Value, name: &str| example.as_object_mut().unwrap().remove(name);
        let rounds = take(&mut example, "rounds").unwrap();
        let outcome = take(&mut example, "outcome").unwrap();
        let status = take(&mut example, "status").unwrap_or(json!("decided"));
        seen.insert(example["protocol"].as_str().unwrap().to_owned());
        let mut life = Life::open(example).unwrap_or_else(|e| panic!("{e:?}: {text}"));
        for round in rounds.as_array().unwrap() {
            let number = life.it.rounds.len();
            life.answers(round).unwrap_or_else(|e| panic!("{e:?}: {text}"));
            if life.it.round().is_some_and(|open| open.round as usize == number) {
                life.time_is_up();
            }
        }
        assert_eq!(json!(life.status()), status, "{text}: {:?}", life.it.reason);
        assert!(holds(&life.outcome(), &outcome), "{text}\ncame to {}", life.outcome());
        assert_eq!(life.it.opened.version, 1);
    }
    let documented: Vec<&str> = Protocols::standard().names().filter(|name| seen.contains(*name)).collect();
    assert_eq!(documented.len(), 9, "an example of each: {seen:?}");
}

#[allow(clippy::needless_pass_by_value)] // rules are written where they are used
fn opened(protocol: &str, rules: Value) -> Value {
    json!({ "protocol": protocol, "rules": rules, "participants": ["a", "b", "c", "d"] })
}

fn scale() -> Value {
    json!({ "min": 0, "max": 1, "epsilon": 0.1 })
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let weights = |mut command: Value, weights: Value| {
        command["weights"] = weights;
        command
    };
    for (command, field) in [
        (opened("divide", json!({})), "/rules"),
        (opened("divide", json!({ "max_min": {} })), "/rules/max_min"),
        (opened("divide", json!({ "max_min": { "capacity": -1 } })), "/rules/max_min/capacity"),
        (opened("divide", json!({ "max_min": { "capacity": 1, "users": [] } })), "/rules/max_min/users"),
        (weights(opened("divide", json!({ "max_min": { "capacity": 1 } })), json!({ "c": 0 })), "/weights/c"),
        (weights(opened("divide", json!({ "tiers": { "capacity": 1 } })), json!({ "b": 0 })), "/weights/b"),
        (opened("divide", json!({ "drf": { "resources": [] } })), "/rules/drf/resources"),
        (
            opened("divide", json!({ "drf": { "resources": [{ "name": "r", "capacity": "-1/2" }] } })),
            "/rules/drf/resources/0/capacity",
        ),
        (
            opened("divide", json!({ "tiers": { "capacity": 1, "users": { "x": {} } } })),
            "/rules/tiers/users/x",
        ),
        (
            opened("divide", json!({ "tiers": { "capacity": 1, "users": { "d": { "minimum": -1 } } } })),
            "/rules/tiers/users/d/minimum",
        ),
        (opened("assign", json!({ "tasks": [] })), "/rules/tasks"),
        (opened("assign", json!({ "tasks": ["t", "t"] })), "/rules/tasks/1"),
        (opened("assign", json!({ "tasks": ["t"], "capacities": { "x": 1 } })), "/rules/capacities/x"),
        (opened("assign", json!({ "tasks": ["t"], "capacities": { "c": 1_001 } })), "/rules/capacities/c"),
        (opened("auction", json!({ "units": 0 })), "/rules/units"),
        (opened("auction", json!({ "reserve": -1 })), "/rules/reserve"),
        (opened("auction", json!({ "pricing": "third_price" })), "/rules/pricing"),
        (opened("auction_bundles", json!({ "items": ["i", "i"] })), "/rules/items/1"),
        (opened("fuse", json!({ "numeric": { "trim": 0.1 } })), "/rules/numeric/trim"),
        (opened("fuse", json!({ "numeric": { "weights": { "x": 1 } } })), "/rules/numeric/weights/x"),
        (opened("fuse", json!({ "numeric": { "weights": { "a": -1 } } })), "/rules/numeric/weights/a"),
        (
            opened("fuse", json!({ "numeric": { "method": "trimmed_mean", "weights": { "a": 2 } } })),
            "/rules/numeric/weights",
        ),
        (
            weights(
                opened("fuse", json!({ "numeric": { "method": "inverse_variance" } })),
                json!({ "a": 2 }),
            ),
            "/weights",
        ),
        (weights(opened("fuse", json!({ "numeric": {} })), json!({ "b": 1e-20 })), "/weights/b"),
        (opened("fuse", json!({ "categorical": { "categories": [] } })), "/rules/categorical/categories"),
        (opened("resolve", json!({ "tolerance": -1 })), "/rules/tolerance"),
        (opened("resolve", json!({ "track_records": { "a": 2 } })), "/rules/track_records/a"),
        (opened("assess_risk", json!({ "scale": scale(), "faults": 2 })), "/rules/faults"),
        (opened("assess_risk", json!({ "scale": scale(), "rounds_max": 0 })), "/rules/rounds_max"),
    ] {
        let shown = command.to_string();
        let refused = Life::open(command).err().unwrap_or_else(|| panic!("{shown} opens"));
        assert_eq!(refused.field.as_deref(), Some(field), "{shown}: {}", refused.message);
    }
}

#[test]
fn answers_that_are_none_are_refused_and_harm_nobody() {
    let max_min = json!({ "max_min": { "capacity": 10 } });
    let drf = json!({ "drf": { "resources": [{ "name": "r/1", "capacity": 1 }] } });
    let tasks = json!({ "tasks": ["t"] });
    let items = json!({ "items": ["i", "j"] });
    let labels = json!({ "categorical": { "categories": ["x", "y"] } });
    let huge = "9".repeat(60);
    for (protocol, rules, response, field) in [
        ("divide", &max_min, json!(-1), "/response"),
        ("divide", &max_min, json!({ "demand": "-1/3" }), "/response/demand"),
        ("divide", &max_min, json!({ "demand": 1, "user": "b" }), "/response/user"),
        ("divide", &max_min, json!("much"), "/response"),
        ("divide", &max_min, json!([1]), "/response"),
        ("divide", &max_min, json!({ "demand": huge }), "/response/demand"),
        ("divide", &drf, json!(3), "/response"),
        ("divide", &drf, json!({ "per_task": { "s/1": 1 } }), "/response/per_task/s~11"),
        ("divide", &drf, json!({ "per_task": { "r/1": -1 } }), "/response/per_task/r~11"),
        ("assign", &tasks, json!({ "u": 1 }), "/response/u"),
        ("assign", &tasks, json!({ "t": "x" }), "/response/t"),
        ("assign", &tasks, json!({ "t": huge }), "/response/t"),
        ("auction", &json!({}), json!({ "bid": -1 }), "/response/bid"),
        ("auction", &json!({}), json!({ "amount": 1 }), "/response/amount"),
        (
            "auction_bundles",
            &items,
            json!({ "bundles": [{ "items": [], "value": 1 }] }),
            "/response/bundles/0/items",
        ),
        (
            "auction_bundles",
            &items,
            json!({ "bundles": [{ "items": ["k"], "value": 1 }] }),
            "/response/bundles/0/items/0",
        ),
        (
            "auction_bundles",
            &items,
            json!({ "bundles": [{ "items": ["i"], "value": -1 }] }),
            "/response/bundles/0/value",
        ),
        (
            "auction_bundles",
            &items,
            json!({ "bundles": vec![json!({ "items": ["i"], "value": 1 }); 51] }),
            "/response/bundles",
        ),
        ("fuse", &json!({ "numeric": {} }), json!({ "value": 1e16 }), "/response/value"),
        ("fuse", &json!({ "numeric": {} }), json!({ "value": 1, "variance": 0 }), "/response/variance"),
        ("fuse", &json!({ "numeric": {} }), json!({ "value": 1, "source": "b" }), "/response/source"),
        ("fuse", &labels, json!("z"), "/response/label"),
        ("fuse", &labels, json!({ "probabilities": { "x": 0.5 } }), "/response/probabilities"),
        ("fuse", &labels, json!({}), "/response"),
        ("resolve", &json!({}), json!({ "value": 1, "label": "x" }), "/response"),
        ("resolve", &json!({}), json!({ "value": 1, "confidence": 2 }), "/response/confidence"),
        ("assess_risk", &json!({ "scale": scale() }), json!(2), "/response/value"),
        ("assess_risk", &json!({ "scale": scale() }), json!({ "value": 1, "impact": 1 }), "/response/impact"),
    ] {
        let mut life = Life::open(opened(protocol, rules.clone())).unwrap();
        let refused = life.answer("a", &response).err().unwrap_or_else(|| panic!("{response} is taken"));
        assert_eq!(refused.field.as_deref(), Some(field), "{protocol} {response}: {}", refused.message);
        assert!(life.it.rounds[0].answers.is_empty());
    }
}

/// What does not go together is refused when it comes, so that nobody can spoil it for the others.
#[test]
fn one_answer_does_not_spoil_the_others() {
    for (protocol, rules, first, then, field) in [
        (
            "fuse",
            json!({ "numeric": {} }),
            json!({ "value": 1, "unit": "C" }),
            json!({ "value": 1, "unit": "F" }),
            "/response/unit",
        ),
        ("resolve", json!({}), json!("x"), json!(1), "/response"),
    ] {
        let mut life = Life::open(opened(protocol, rules)).unwrap();
        life.answer("a", &first).unwrap();
        let refused = life.answer("b", &then).err().unwrap();
        assert_eq!(refused.field.as_deref(), Some(field), "{protocol}: {}", refused.message);
        life.time_is_up();
        assert_eq!(life.status(), "decided", "{protocol}: {:?}", life.it.reason);
    }
}

/// Numbers as far apart as they may be are counted with each other; the finest are rounded.
#[test]
fn the_greatest_and_the_finest_numbers_are_counted() {
    let mut life = Life::open(opened("assign", json!({ "tasks": ["t", "u", "v"] }))).unwrap();
    let (prime, seventh) = ("1/170141183460469231731687303715884105727", "-1/7");
    life.answers(&json!({
        "a": { "t": 1e12 }, "b": { "u": -1e12, "t": prime }, "c": { "v": seventh, "t": 0.1234567890123456 },
        "d": { "t": "1000000000000.1" }
    }))
    .unwrap_err();
    life.answer("d", &Value::Null).unwrap();
    let costs = json!([1_000_000_000_000_u64, -1_000_000_000_000_i64, "-1428571428571429/10000000000000000"]);
    let outcome = life.outcome();
    let found: Vec<&Value> = outcome["pairs"].as_array().unwrap().iter().map(|pair| &pair["cost"]).collect();
    assert_eq!(json!(found), costs, "{outcome}");

    let mut life = Life::open(opened("auction_bundles", json!({ "items": ["i", "j"] }))).unwrap();
    let bid = |item: &str, value: Value| json!({ "bundles": [{ "items": [item], "value": value }] });
    life.answer("a", &bid("i", json!(1e12))).unwrap();
    life.answer("b", &bid("j", json!("1/7"))).unwrap();
    let refused = life.answer("c", &bid("j", json!(1e13))).err().unwrap();
    assert_eq!(refused.field.as_deref(), Some("/response/bundles/0/value"));
    life.answers(&json!({ "c": bid("j", json!(prime)), "d": null })).unwrap();
    assert!(holds(
        &life.outcome(),
        &json!({ "winners": [{ "bidder": "a" }, { "bidder": "b" }], "unsold": [] })
    ));
}

#[test]
fn the_silent_the_abstaining_and_the_gone() {
    for (protocol, rules, given, outcome) in [
        (
            "divide",
            json!({ "max_min": { "capacity": 4 } }),
            json!(5),
            json!({ "users": [{ "amount": 4 }, { "amount": 0 }, { "amount": 0 }, { "amount": 0 }] }),
        ),
        (
            "assign",
            json!({ "tasks": ["t", "u"], "capacities": { "a": 2 } }),
            json!({ "t": 1, "u": 2 }),
            json!({ "pairs": [{ "agent": "a" }, { "agent": "a" }], "feasible": true }),
        ),
        ("auction", json!({ "reserve": 2 }), json!(5), json!({ "winner": "a", "price_each": 2 })),
        (
            "auction_bundles",
            json!({ "items": ["i", "j"] }),
            json!({ "bundles": [{ "items": ["i"], "value": 1 }] }),
            json!({ "unsold": ["j"], "revenue": 0 }),
        ),
        ("fuse", json!({ "numeric": {} }), json!(5), json!({ "value": 5.0, "weights": { "a": 1 } })),
        ("resolve", json!({}), json!("x"), json!({ "verdict": "agreed", "label": "x" })),
        (
            "assess_risk",
            json!({ "scale": scale() }),
            json!(1),
            json!({ "verdict": "converged", "level": "critical", "answered": 1 }),
        ),
    ] {
        let mut life = Life::open(opened(protocol, rules)).unwrap();
        life.answer("b", &Value::Null).unwrap();
        life.answer("a", &given).unwrap();
        life.dies("c", None);
        assert_eq!(life.status(), "collecting", "{protocol} waits for d");
        life.time_is_up();
        assert_eq!(life.status(), "decided", "{protocol}: {:?}", life.it.reason);
        assert!(holds(&life.outcome(), &outcome), "{protocol}: {}", life.outcome());
        assert!(!life.it.decided.as_ref().unwrap().explanation.is_empty());
    }
}

#[test]
fn where_nobody_says_anything() {
    let items = json!({ "items": ["i"] });
    for (protocol, rules, status, found) in [
        ("divide", json!({ "max_min": { "capacity": 4 } }), "decided", true),
        ("assign", json!({ "tasks": ["t"] }), "failed", true),
        ("auction", json!({}), "failed", true),
        ("auction_bundles", items, "failed", true),
        ("fuse", json!({ "numeric": {} }), "failed", false),
        ("resolve", json!({}), "failed", false),
        ("assess_risk", json!({ "scale": scale(), "rounds_max": 1 }), "failed", true),
    ] {
        let mut life = Life::open(opened(protocol, rules)).unwrap();
        life.answers(&json!({ "a": null, "b": null, "c": null, "d": null })).unwrap();
        assert_eq!((life.status(), life.outcome().is_object()), (status, found), "{protocol}");
        assert_eq!(life.it.reason.is_some(), status == "failed", "{protocol}");
    }
}

#[test]
fn minima_that_cannot_be_kept_fail_it() {
    let rules =
        json!({ "tiers": { "capacity": 3, "users": { "a": { "minimum": 2 }, "b": { "minimum": 2 } } } });
    let mut life = Life::open(opened("divide", rules)).unwrap();
    life.answers(&json!({ "a": 2, "b": 9, "c": 0, "d": 0 })).unwrap();
    assert_eq!(life.status(), "failed");
    assert!(life.it.reason.as_ref().unwrap().contains("1 is missing"), "{:?}", life.it.reason);
}

/// Signals that are all known are fused where they are handed in.
#[test]
fn known_signals_are_fused_at_once() {
    let command = json!({ "protocol": "fuse", "rules": { "numeric": { "method": "inverse_variance" } },
        "answers": { "s1": { "value": 1, "variance": 1 }, "s2": { "value": 4, "variance": 2 } } });
    let life = Life::open(command).unwrap();
    assert_eq!((life.status(), &life.outcome()["value"]), ("decided", &json!(2.0)));
    let wrong =
        json!({ "protocol": "fuse", "rules": { "numeric": {} }, "answers": { "s1": { "value": 1e16 } } });
    assert_eq!(Life::open(wrong).err().unwrap().field.as_deref(), Some("/answers/s1/value"));
}

/// A claim grows old until the round closes, not until it is answered, and is as old whenever it is counted.
#[test]
fn ages_are_those_when_the_round_closed() {
    let rules = json!({ "half_life_ms": 30_000 });
    let mut life = Life::open(opened("resolve", rules)).unwrap();
    let opened_at = life.now.to_string();
    life.answer("a", &json!({ "value": 1, "observed_at": opened_at })).unwrap();
    life.answer("b", &json!({ "value": 1 })).unwrap();
    life.time_is_up();
    let outcome = life.outcome();
    assert_eq!(outcome["weights"]["a"]["discount"], json!(0.5), "{outcome}");
    assert_eq!(outcome["weights"]["b"]["share"], json!(2.0 / 3.0));
    let again =
        Protocols::standard().get("resolve").unwrap().close(&life.it.table(life.now.plus_millis(99_999)));
    assert_eq!(again, Protocols::standard().get("resolve").unwrap().close(&life.it.table(life.now)));
}

#[test]
fn risk_is_asked_in_rounds() {
    let rules = json!({ "scale": scale(), "rounds_max": 3 });
    let mut life = Life::open(opened("assess_risk", rules)).unwrap();
    assert_eq!(life.content(), json!({ "round": 1 }));
    life.answers(&json!({ "a": 0, "b": { "value": 1, "rationale": "fire" }, "c": 0.5, "d": null })).unwrap();
    assert_eq!((life.status(), life.it.rounds.len()), ("collecting", 2));
    let content = life.content();
    assert!(holds(&content, &json!({ "round": 2, "feedback": { "answered": 3, "rationales": ["fire"] } })));
    assert_eq!(content["feedback"]["value"]["median"], json!(0.5));
    let told = content.to_string();
    assert!(!told.contains("participant") && !told.contains("\"b\""), "{told}");
    // A round that decides nothing is used up; the one before it decides.
    life.dies("d", None);
    life.answers(&json!({ "a": null, "b": null, "c": null })).unwrap();
    assert_eq!(life.it.rounds.len(), 3);
    assert_eq!(life.it.rounds[2].asked.len(), 3, "who is gone is not asked again");
    assert_eq!(life.content()["feedback"]["round"], json!(1));
    life.answers(&json!({ "a": 0.2, "b": 0.9, "c": 0.3 })).unwrap();
    assert!(holds(
        &life.outcome(),
        &json!({ "verdict": "not_converged", "level": "medium", "rounds_used": 3, "decided_in": 3, "value": { "result": 0.3 } })
    ));
}

/// Whoever has estimated is not forgotten because there is no time for another round.
#[test]
fn a_deadline_ends_the_rounds_of_risk() {
    let mut command = opened("assess_risk", json!({ "scale": scale(), "rounds_max": 5 }));
    command["deadline"] = json!("2027-01-15T08:00:10Z");
    let mut life = Life::open(command).unwrap();
    life.answers(&json!({ "a": 0, "b": 1, "c": 0.5 })).unwrap();
    life.time_is_up();
    assert_eq!(life.status(), "decided", "{:?}", life.it.reason);
    assert!(holds(&life.outcome(), &json!({ "verdict": "not_converged", "decided_in": 1, "risk": 0.5 })));
}

#[test]
fn too_few_estimates_fail_it() {
    let mut life = Life::open(opened("assess_risk", json!({ "scale": scale(), "faults": 1 }))).unwrap();
    for _ in 0..3 {
        life.answers(&json!({ "a": 0, "b": 1, "c": 0.5, "d": null })).unwrap();
    }
    assert_eq!((life.status(), &life.outcome()["verdict"]), ("failed", &json!("too_few")));
    assert_eq!(life.it.reason.as_deref(), Some("too few answered: no round had 4 answers"));
}

/// Whoever comes in place of one that died is one of those among whom it is decided, the last of them.
#[test]
fn who_stands_in_for_another() {
    let command = |protocol: &str, rules: Value| json!({ "protocol": protocol, "rules": rules, "replace": true, "invite": { "capability": "c" } });
    let mut life = Life::with(command("auction", json!({})), &["a", "b"]).unwrap();
    life.dies("b", Some("a0"));
    life.answers(&json!({ "a0": 3, "a": 3 })).unwrap();
    assert!(holds(&life.outcome(), &json!({ "winner": "a", "price_each": 3 })), "{}", life.outcome());

    let mut life =
        Life::with(command("divide", json!({ "max_min": { "capacity": 4 } })), &["a", "b"]).unwrap();
    life.dies("b", Some("a0"));
    life.answers(&json!({ "a0": 3, "a": 3 })).unwrap();
    let amounts =
        json!([{ "user": "a", "amount": 2 }, { "user": "b", "amount": 0 }, { "user": "a0", "amount": 2 }]);
    assert!(holds(&life.outcome(), &json!({ "users": amounts })), "{}", life.outcome());

    // More can bid than there were at first, and one who was thought to be gone: the bundles of all are not too many.
    let mut life = Life::with(command("auction_bundles", json!({ "items": ["i"] })), &["a", "b"]).unwrap();
    let bundles = |count| json!({ "bundles": vec![json!({ "items": ["i"], "value": 1 }); count] });
    life.answer("a", &bundles(100)).unwrap();
    life.dies("b", Some("x"));
    life.answer("b", &bundles(66)).unwrap();
    let refused = life.answer("x", &bundles(66)).err().unwrap();
    assert_eq!(refused.field.as_deref(), Some("/response/bundles"));
    life.answer("x", &bundles(34)).unwrap();
    assert_eq!(life.status(), "decided");
}

/// As many as there may be, each answer looked at when it comes.
#[test]
fn a_thousand_participants() {
    let names: Vec<String> = (0..1_000).map(|i| format!("p{i:03}")).collect();
    for (protocol, rules) in [
        ("divide", json!({ "max_min": { "capacity": 5_000 } })),
        ("assign", json!({ "tasks": ["t", "u"] })),
        ("auction", json!({ "units": 10 })),
        ("fuse", json!({ "numeric": {} })),
        ("resolve", json!({})),
        ("assess_risk", json!({ "scale": { "min": 0, "max": 10, "epsilon": 10 }, "faults": 333 })),
    ] {
        let answer = |i: usize| match protocol {
            "assign" => json!({ "t": i % 7, "u": 9 - i % 9 }),
            _ => json!(i % 10),
        };
        let answers: serde_json::Map<String, Value> =
            names.iter().enumerate().map(|(i, name)| (name.clone(), answer(i))).collect();
        let life = Life::open(json!({ "protocol": protocol, "rules": rules, "answers": answers })).unwrap();
        assert_eq!(life.status(), "decided", "{protocol}: {:?}", life.it.reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The order in which answers come decides nothing.
    #[test]
    fn the_order_of_answers_decides_nothing(
        which in 0_usize..7,
        numbers in proptest::collection::vec(0_u32..4, 4),
        order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let (protocol, rules) = [
            ("divide", json!({ "max_min": { "capacity": 5 } })),
            ("divide", json!({ "tiers": { "capacity": 5, "users": { "b": { "tier": 1, "minimum": 1 } } } })),
            ("auction", json!({ "units": 2 })),
            ("fuse", json!({ "numeric": {} })),
            ("fuse", json!({ "numeric": { "method": "trimmed_mean", "trim": 0.25 } })),
            ("resolve", json!({ "tolerance": 1 })),
            ("assess_risk", json!({ "scale": { "min": 0, "max": 4, "epsilon": 0 }, "rounds_max": 1 })),
        ][which].clone();
        let names = ["a", "b", "c", "d"];
        let ended = |order: &[usize]| {
            let mut life = Life::open(opened(protocol, rules.clone())).unwrap();
            for &i in order {
                life.answer(names[i], &json!(numbers[i])).unwrap();
            }
            (life.status(), life.it.outcome().map(|outcome| outcome.as_str().to_owned()))
        };
        prop_assert_eq!(ended(&order), ended(&[0, 1, 2, 3]));
    }
}
