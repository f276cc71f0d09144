//! Which offer is agreed on.

use crate::deal::{Life, asks, opened};
use proptest::prelude::*;
use serde_json::{Value, json};

fn yes() -> Value {
    json!({ "accept": true })
}

fn counter(offer: impl Into<Value>) -> Value {
    json!({ "counter": offer.into() })
}

fn no() -> Value {
    json!({ "reject": "no" })
}

#[test]
fn two_haggle() {
    let mut life = Life::new("offers", &["buyer", "seller"], json!({}));
    assert_eq!(life.asks(), asks("offer", &["buyer"]));
    life.says("buyer", json!({ "offer": 50 }));
    assert_eq!(life.asks(), asks("counter", &["seller"]));
    assert_eq!(life.content(), json!({ "offer": 50, "by": "buyer", "support": 1, "needed": 2 }));
    life.says("seller", counter(90));
    assert_eq!(life.asks(), asks("counter", &["buyer"]));
    life.says("buyer", counter(70));
    life.says("seller", yes());
    let outcome = life.decided();
    assert_eq!((&outcome["offer"], &outcome["by"]), (&json!(70), &json!("buyer")));
    assert_eq!(outcome["accepted_by"], json!(["buyer", "seller"]));
    assert_eq!((&outcome["rounds"], &outcome["decided_by"]), (&json!(3), &json!("agreement")));
    let tabled = json!([
        { "by": "buyer", "support": 1, "countered": 1, "rejected": 0 },
        { "by": "seller", "support": 1, "countered": 1, "rejected": 0 },
        { "by": "buyer", "support": 2, "countered": 0, "rejected": 0 },
    ]);
    assert_eq!(outcome["tabled"], tabled);
}

/// Counters wait in the order of participants; one that two have made comes first; one that enough have made is agreed.
#[test]
fn the_next_offer_is_the_one_with_the_most_support() {
    let start =
        || Life::new("offers", &["d", "c", "b", "a"], json!({ "accept": { "count": 3 }, "initial": 0 }));
    let mut life = start();
    assert_eq!(life.asks(), asks("counter", &["a", "b", "c", "d"]));
    assert_eq!(life.content(), json!({ "offer": 0, "support": 0, "needed": 3 }));
    for (who, offer) in [("a", 1), ("b", 2), ("c", 1), ("d", 4)] {
        life.says(who, counter(offer));
    }
    assert_eq!((life.content()["offer"].clone(), life.asks()), (json!(1), asks("counter", &["b", "d"])));
    life.says("b", no()).says("d", no());
    assert_eq!(life.content()["offer"], 4, "d is named first");
    life.says("a", no()).says("b", no()).says("c", no());
    assert_eq!(life.content()["offer"], 2);
    life.says("a", counter(4)).says("c", counter(4)).says("d", no());
    let outcome = life.decided();
    assert_eq!((&outcome["offer"], &outcome["by"]), (&json!(4), &json!("d")), "three have made it");
    assert_eq!(outcome["accepted_by"], json!(["d", "c", "a"]));
    let mut life = start();
    for who in ["a", "b", "c"] {
        life.says(who, counter(7));
    }
    life.abstains("d");
    assert_eq!((&life.decided()["offer"], life.it.rounds.len()), (&json!(7), 1), "agreed without a round");
}

#[test]
fn an_offer_that_comes_back_is_agreed_on() {
    let mut life = Life::new("offers", &["a", "b"], json!({}));
    life.says("a", json!({ "offer": 50 })).says("b", counter(90)).says("a", no());
    assert_eq!(
        life.failed().0,
        "no agreement on 2 offers: 2 of 2 parties were needed, and there is no default"
    );
    let mut life = Life::new("offers", &["a", "b", "c"], json!({ "accept": { "share": "2/3" } }));
    life.says("a", json!({ "offer": 50 })).says("b", counter(90)).says("c", no());
    life.says("a", no()).says("c", counter(50));
    assert_eq!(life.decided()["accepted_by"], json!(["a", "c"]));
}

#[test]
fn enough_is_enough() {
    for (accept, parties, needed) in [
        (json!(null), 3, 3),
        (json!({ "count": 1 }), 3, 1),
        (json!({ "share": "2/3" }), 3, 2),
        (json!({ "share": "2/3" }), 4, 3),
        (json!({ "share": 0.5 }), 4, 2),
        (json!({ "share": 0.500001 }), 4, 3),
        (json!({ "share": 0.001 }), 4, 1),
    ] {
        let life =
            Life::new("offers", &["a", "b", "c", "d"][..parties], json!({ "accept": accept, "initial": {} }));
        assert_eq!(life.content()["needed"], needed, "{accept} of {parties}");
    }
    let mut life = Life::new("offers", &["a", "b", "c"], json!({ "accept": { "count": 2 }, "initial": 1 }));
    life.says("c", yes()).says("a", yes());
    assert_eq!(life.decided()["accepted_by"], json!(["a", "c"]), "b is not waited for");
    let mut life = Life::new("offers", &["a", "b"], json!({ "accept": { "count": 1 } }));
    life.says("a", json!({ "offer": "x" }));
    assert_eq!(life.decided()["rounds"], 0, "its maker is enough");
}

#[test]
fn rounds_used_up_go_to_the_mediator_and_then_to_the_default() {
    let rules = json!({ "max_rounds": 2, "mediator": "m", "default": "keep", "proposer": "b" });
    let start = || {
        let mut life = Life::new("offers", &["a", "m", "b"], rules.clone());
        assert_eq!(life.asks(), asks("offer", &["b"]));
        life.says("b", json!({ "offer": 1 }));
        assert_eq!(life.asks(), asks("counter", &["a"]), "the mediator is no party");
        life.says("a", counter(2)).says("b", counter(3));
        assert_eq!(life.asks(), asks("mediate", &["m"]));
        life
    };
    let mut life = start();
    let offers = json!({ "offers": [
        { "offer": 1, "by": "b", "support": 1, "needed": 2 },
        { "offer": 2, "by": "a", "support": 1, "needed": 2 },
        { "offer": 3, "by": "b", "support": 1, "needed": 2 },
    ] });
    assert_eq!(life.content(), offers);
    life.says("m", json!({ "offer": 2 }));
    let outcome = life.decided();
    assert_eq!((&outcome["offer"], &outcome["by"]), (&json!(2), &json!("m")));
    assert_eq!((&outcome["accepted_by"], &outcome["decided_by"]), (&json!(["a"]), &json!("mediator")));
    for silent in [
        |life: &mut Life| {
            life.waits(1_000);
        },
        |life: &mut Life| {
            life.abstains("m");
        },
        |life: &mut Life| {
            life.dies("m");
        },
    ] {
        let mut life = start();
        silent(&mut life);
        let outcome = life.decided();
        assert_eq!((&outcome["offer"], &outcome["decided_by"]), (&json!("keep"), &json!("default")));
        assert_eq!((outcome.get("by"), &outcome["accepted_by"]), (None, &json!([])));
    }
}

#[test]
fn without_an_offer_there_is_the_mediator_the_default_or_nothing() {
    let mut life = Life::new("offers", &["a", "b"], json!({}));
    life.waits(1_000);
    assert_eq!(
        life.failed().0,
        "no agreement on 0 offers: 2 of 2 parties were needed, and there is no default"
    );
    let mut life = Life::new("offers", &["a", "b"], json!({ "mediator": "b" }));
    life.abstains("a");
    assert_eq!((life.content(), life.asks()), (json!({ "offers": [] }), asks("mediate", &["b"])));
    let mut life = Life::new("offers", &["a", "b"], json!({ "default": 0 }));
    life.dies("a");
    assert_eq!(life.decided()["decided_by"], "default");
}

#[test]
fn silence_accepts_nothing_and_the_dead_are_not_asked_next() {
    let mut life = Life::new("offers", &["a", "b", "c"], json!({ "accept": { "count": 2 }, "initial": 0 }));
    life.dies("c").says("a", counter(1)).waits(1_000);
    assert_eq!((life.content()["offer"].clone(), life.asks()), (json!(1), asks("counter", &["b"])));
    life.says("b", yes());
    assert_eq!(life.decided()["accepted_by"], json!(["a", "b"]));
}

#[test]
fn a_deadline_leads_to_the_default() {
    let more = json!({ "deadline": "1970-01-01T00:16:41.500Z" });
    let rules = json!({ "default": "keep", "initial": 0, "mediator": "m" });
    let mut life = opened("offers", &["a", "b", "m"], rules, more).unwrap();
    life.says("a", counter(1)).waits(1_000).waits(500);
    let outcome = life.decided();
    assert_eq!((&outcome["offer"], &outcome["rounds"]), (&json!("keep"), &json!(2)));
}

#[test]
fn what_is_no_answer_is_refused() {
    let mut life = Life::new("offers", &["a", "b"], json!({ "initial": { "x": 1 } }));
    for (said, at) in [
        (json!({ "accept": false }), "/response/accept"),
        (json!({ "counter": { "x": 1 } }), "/response/counter"),
        (json!({ "counter": "x".repeat(17_000) }), "/response/counter"),
        (json!({ "reject": "x".repeat(1_001) }), "/response/reject"),
        (json!({ "offer": 1 }), "/response"),
        (json!({ "accept": true, "counter": 1 }), "/response"),
        (json!("accept"), "/response"),
    ] {
        let field = life.refused("a", said.clone());
        assert!(field.starts_with(at), "{said}: {field}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is said it ends, in at most as many rounds as were set, and what is agreed has enough support.
    #[test]
    fn it_always_ends(
        max in 1..6_u32, needed in 1..=3_u32, with_mediator in any::<bool>(), initial in any::<bool>(),
        said in prop::collection::vec((0..4_u32, 0..4_u32), 60),
    ) {
        let mut rules = json!({ "max_rounds": max, "accept": { "count": needed } });
        if with_mediator { rules["mediator"] = json!("m"); }
        if initial { rules["initial"] = json!(0); }
        let parties: &[&str] = if with_mediator { &["a", "b", "m", "c"] } else { &["a", "b", "c"] };
        let mut life = Life::new("offers", parties, rules);
        let mut said = said.into_iter().cycle();
        let mut looks = 0;
        while let Some(round) = life.it.round().cloned() {
            looks += 1;
            prop_assert!(looks <= 2 + max);
            for who in &round.asked {
                let Some((what, offer)) = said.next() else { break };
                let response = match (round.kind.as_str(), what) {
                    ("counter", 0) => yes(),
                    ("counter", 1 | 2) => counter(offer),
                    ("counter", _) => no(),
                    (_, 0) => continue,
                    _ => json!({ "offer": offer }),
                };
                let _ = life.answers(Some(round.round), who.as_str(), Some(response));
            }
            life.waits(1_000);
        }
        if life.it.is_decided() {
            let outcome = life.decided();
            let support = outcome["accepted_by"].as_array().unwrap().len();
            let agreed = outcome["decided_by"] == "agreement";
            prop_assert!(!agreed || support >= needed as usize);
            prop_assert!(agreed || with_mediator);
            prop_assert!(outcome["rounds"].as_u64().unwrap() <= max.into());
        }
    }
}
