//! Who takes which role.

use crate::deal::{Life, asks, each, opened};
use proptest::prelude::*;
use serde_json::{Value, json};

const ALL: [&str; 6] = ["lead", "net", "ops1", "ops2", "x", "y"];

fn yes() -> Value {
    json!({ "acknowledged": true })
}

fn called(more: Value) -> Life {
    let mut rules = json!({
        "procedure": "evacuate",
        "steps": ["stop writes"],
        "role_steps": { "ops": ["drain"] },
        "roles": { "ops": ["ops1", "ops2"], "command": ["lead"], "network": ["net"] },
        "escalation": ["x", "y"],
    });
    rules.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Life::new("emergency", &ALL, rules)
}

#[test]
fn everyone_is_there() {
    let mut life = called(json!({}));
    assert_eq!(life.asks(), asks("acknowledge", &["lead", "net", "ops1", "ops2"]));
    assert_eq!(life.round().closes_at.millis_since(life.now), 2_000);
    let alarm = json!({
        "procedure": "evacuate", "steps": ["stop writes"], "role_steps": { "ops": ["drain"] }, "escalation": 0,
        "roles": { "command": ["lead"], "network": ["net"], "ops": ["ops1", "ops2"] },
    });
    assert_eq!(life.content(), alarm);
    life.waits(5).says("ops2", json!({ "acknowledged": true, "note": "on my way" }));
    life.waits(5).says("ops1", yes()).says("lead", yes()).waits(90).says("net", yes());
    let report = life.decided();
    assert_eq!((&report["complete"], &report["escalation_steps"]), (&json!(true), &json!(0)));
    assert_eq!(each(&report["acknowledged"], "participant"), ["lead", "net", "ops1", "ops2"]);
    assert_eq!(json!(each(&report["acknowledged"], "after_ms")), json!([10, 100, 10, 5]));
    assert_eq!(report["acknowledged"][3]["note"], "on my way");
    assert_eq!((&report["silent"], &report["uncovered"]), (&json!([]), &json!([])));
}

#[test]
fn vacant_roles_go_down_the_list() {
    let mut life = called(json!({ "acknowledge_ms": 100 }));
    life.says("ops1", yes()).says("net", json!({ "unable": "no access" })).dies("lead").waits(100);
    assert_eq!(life.asks(), asks("acknowledge", &["x"]));
    assert_eq!(life.content()["roles"], json!({ "command": ["lead"], "network": ["net"] }));
    assert_eq!((&life.content()["role_steps"], &life.content()["escalation"]), (&json!({}), &json!(1)));
    life.waits(100);
    assert_eq!(life.asks(), asks("acknowledge", &["y"]));
    life.waits(20).says("y", yes());
    let report = life.decided();
    assert_eq!((&report["complete"], &report["escalation_steps"]), (&json!(true), &json!(2)));
    assert_eq!(report["silent"], json!(["ops2", "x"]));
    assert_eq!(report["unable"], json!([{ "participant": "net", "why": "no access" }]));
    assert_eq!(report["gone"], json!([{ "participant": "lead", "why": "crash" }]));
    let taken = json!([
        { "role": "command", "by": "y", "instead_of": "lead", "after_ms": 220 },
        { "role": "network", "by": "y", "instead_of": "net", "after_ms": 220 },
    ]);
    assert_eq!(report["taken_over"], taken);
    assert_eq!(
        report["acknowledged"][1],
        json!({ "participant": "y", "roles": ["command", "network"], "after_ms": 220 })
    );
}

#[test]
fn a_report_is_made_though_it_is_not_complete() {
    let silence = |more: Value| {
        let mut life = called(more);
        for _ in 0..3 {
            life.waits(2_000);
        }
        life
    };
    let report = silence(json!({})).decided();
    assert_eq!((&report["complete"], &report["acknowledged"]), (&json!(false), &json!([])));
    assert_eq!(report["uncovered"], json!(["command", "network", "ops"]));
    assert_eq!(report["silent"], json!(ALL));
    let (reason, found) = silence(json!({ "fail_when_incomplete": true })).failed();
    assert_eq!((reason.as_str(), found), ("the procedure evacuate is not complete", report));
}

#[test]
fn what_is_required() {
    // Who acknowledges of those who are called; who is asked next, for what; whether it is complete if that one does.
    let check = |required: Value, first: &[&str], next: Option<(&str, Value)>, complete: bool| {
        let mut life = called(json!({ "required": required, "escalation": ["x"] }));
        first.iter().for_each(|who| {
            life.says(who, yes());
        });
        life.waits(2_000);
        if let Some((who, roles)) = &next {
            assert_eq!(life.asks(), asks("acknowledge", &[who]), "{required} {first:?}");
            assert_eq!(life.content()["roles"], *roles, "{required} {first:?}");
            life.says(who, yes());
        }
        let report = life.decided();
        assert_eq!(report["complete"], complete, "{required} {first:?}");
        assert_eq!(report["required"], required);
    };
    let one_each = ["lead", "net", "ops2"];
    check(json!("roles"), &one_each, None, true);
    check(json!("all"), &one_each, Some(("x", json!({ "ops": ["ops1"] }))), true);
    check(json!("all"), &["lead", "net"], Some(("x", json!({ "ops": ["ops1", "ops2"] }))), true);
    check(json!({ "count": 3 }), &one_each, None, true);
    check(json!({ "count": 4 }), &one_each, Some(("x", json!({ "ops": ["ops1"] }))), true);
    check(json!({ "count": 1 }), &["net", "ops1"], Some(("x", json!({ "command": ["lead"] }))), true);
    check(json!({ "count": 4 }), &["lead", "ops1"], Some(("x", json!({ "network": ["net"] }))), false);
    check(
        json!({ "count": 4 }),
        &["ops1"],
        Some(("x", json!({ "command": ["lead"], "network": ["net"] }))),
        false,
    );
}

#[test]
fn who_was_asked_and_did_not_come_is_passed_over() {
    let mut life = called(json!({ "escalation": ["ops2", "ops1", "net", "x"] }));
    life.says("ops1", yes()).says("net", yes()).waits(2_000);
    assert_eq!(life.asks(), asks("acknowledge", &["ops1"]), "who has a role can take another");
    life.abstains("ops1");
    assert_eq!(life.asks(), asks("acknowledge", &["net"]));
    life.waits(7).says("net", yes());
    let report = life.decided();
    assert_eq!((&report["complete"], &report["escalation_steps"]), (&json!(true), &json!(2)));
    assert_eq!(
        report["acknowledged"][0],
        json!({ "participant": "net", "roles": ["command", "network"], "after_ms": 0 })
    );
    assert_eq!(report["taken_over"][0]["after_ms"], 2_007);
    assert_eq!(report["acknowledged"][1]["participant"], "ops1", "it has its own role all the same");
    // For a count alone, who has acknowledged is none more.
    let mut life = called(json!({ "required": { "count": 4 }, "escalation": ["lead", "x"] }));
    life.says("lead", yes()).says("net", yes()).says("ops1", yes()).waits(2_000);
    assert_eq!(life.asks(), asks("acknowledge", &["x"]));
}

#[test]
fn roles_may_come_from_the_opening() {
    let more = json!({ "roles": { "b": "first", "a": "second", "d": "first" } });
    let rules = json!({ "procedure": "p", "escalation": ["c"] });
    let mut life = opened("emergency", &["a", "b", "c", "d"], rules, more).unwrap();
    assert_eq!(life.content()["roles"], json!({ "first": ["b", "d"], "second": ["a"] }));
    life.says("a", yes()).abstains("b").abstains("d");
    assert_eq!(
        (life.asks(), &life.content()["roles"]),
        (asks("acknowledge", &["c"]), &json!({ "first": ["b"] }))
    );
    life.says("c", json!({ "unable": "" }));
    assert_eq!(
        life.decided()["unable"],
        json!([
            { "participant": "b" }, { "participant": "c", "why": "" }, { "participant": "d" },
        ])
    );
}

#[test]
fn a_deadline_ends_it_with_a_report() {
    let rules = json!({ "procedure": "p", "roles": { "r": ["a"] }, "escalation": ["b", "c"] });
    for (deadline, steps, rounds) in [("02.000", 0, 1), ("03.500", 1, 2)] {
        let deadline = format!("1970-01-01T00:16:{}Z", deadline.replace("02", "42").replace("03", "43"));
        let mut life =
            opened("emergency", &["a", "b", "c"], rules.clone(), json!({ "deadline": deadline })).unwrap();
        life.waits(2_000).waits(2_000);
        let report = life.decided();
        assert_eq!((&report["escalation_steps"], life.it.rounds.len()), (&json!(steps), rounds));
        assert_eq!(report["complete"], false);
    }
}

#[test]
fn what_is_no_acknowledgement_is_refused() {
    let mut life = called(json!({}));
    for (said, at) in [
        (json!({ "acknowledged": false }), "/response"),
        (json!({}), "/response"),
        (json!({ "acknowledged": true, "unable": "x" }), "/response"),
        (json!({ "unable": "x", "note": "y" }), "/response"),
        (json!({ "acknowledged": true, "note": "x".repeat(501) }), "/response/note"),
        (json!({ "unable": "x".repeat(501) }), "/response/unable"),
        (json!({ "ok": true }), "/response/ok"),
    ] {
        assert_eq!(life.refused("lead", said.clone()), at, "{said}");
    }
    assert!(life.answers(None, "x", Some(yes())).is_err(), "who has no role is not asked yet");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// It ends, with a report in which everyone who was asked stands once, and that is complete only if it is.
    #[test]
    fn there_is_always_a_report(
        required in prop::sample::select(vec![json!("all"), json!("roles"), json!({ "count": 2 }), json!({ "count": 4 })]),
        list in prop::sample::subsequence(ALL.to_vec(), 0..6),
        said in prop::collection::vec(0..4_u32, 12),
    ) {
        let mut life = called(json!({ "required": required, "escalation": list }));
        let mut said = said.into_iter();
        while let Some(round) = life.it.round().cloned() {
            prop_assert!(life.it.rounds.len() <= 1 + list.len());
            for who in &round.asked {
                match said.next().unwrap_or(0) {
                    0 => { life.dies(who.as_str()); }
                    1 => {}
                    2 => { life.says(who.as_str(), json!({ "unable": "x" })); }
                    _ => { life.says(who.as_str(), yes()); }
                }
            }
            life.waits(2_000);
        }
        let report = life.decided();
        let asked: std::collections::BTreeSet<_> =
            life.it.rounds.iter().flat_map(|round| &round.asked).map(ToString::to_string).collect();
        let mut told: Vec<String> = report["silent"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().into()).collect();
        for list in ["acknowledged", "unable", "gone"] {
            told.extend(each(&report[list], "participant").iter().map(|id| id.as_str().unwrap().to_owned()));
        }
        told.sort();
        prop_assert_eq!(told, asked.into_iter().collect::<Vec<_>>());
        let came = report["acknowledged"].as_array().unwrap().len() as u64;
        let covered = report["uncovered"].as_array().unwrap().is_empty();
        let complete = report["complete"] == true;
        match required["count"].as_u64() {
            Some(count) => prop_assert_eq!(complete, came >= count),
            None if required == "roles" => prop_assert_eq!(complete, covered),
            None => prop_assert!(!complete || covered),
        }
    }
}
