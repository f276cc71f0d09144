//! Track records that the mesh keeps: those that are written into the rules at the opening, and what an end tells.

use crate::deal::{Life, asks, id, opened_knowing};
use serde_json::{Value, json};
use synod_negotiation::{Known, Protocols, certificate, fingerprint, verify};
use synod_protocol::track::{AppraiseAgent, WorkRecord};
use synod_protocol::{Exact, Id, Json, WorkKind, Workspace};

/// All are known to be three times as late as promised in 5 results of 6, and to keep half of 6; c is known of nothing.
fn kept(agent: &Id, kind: &WorkKind) -> Option<WorkRecord> {
    (kind.as_str() == "translate" && agent.as_str() != "c").then(|| WorkRecord {
        results: 6,
        time_ratio: Some(3_i64.into()),
        time_results: 5,
        kept: Exact::ratio(1, 2),
        kept_results: 6,
        ..WorkRecord::default()
    })
}

fn announced(rules: Value, more: Value) -> Life {
    let mut life = opened_knowing("contract_net", &["a", "b", "c"], rules, more, Known::by(&kept)).unwrap();
    for (who, time_ms) in [("a", 100), ("b", 101), ("c", 150)] {
        life.says(who, json!({ "price": 1, "time_ms": time_ms }));
    }
    life
}

fn rules(more: Value) -> Value {
    let mut rules = json!({ "utility": { "time": 1 }, "track": "translate" });
    rules.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rules
}

fn on_record(life: &Life) -> Value {
    life.it.opened.rules.to::<Value>().unwrap()
}

/// What was told of each: whose, promised and actual time, whether it was kept.
fn told(appraisals: &[AppraiseAgent]) -> Value {
    let of = |one: &AppraiseAgent| {
        assert_eq!(one.kind.as_str(), "translate");
        json!([one.agent_id, one.promised_ms, one.actual_ms, one.kept])
    };
    appraisals.iter().map(of).collect()
}

#[test]
fn what_is_known_is_written_into_the_rules() {
    let given = json!({ "a": { "results": 1, "time_ratio": 1 } });
    let asked = rules(json!({ "track_records": given, "result": true }));
    let mut life = announced(asked.clone(), json!({}));
    let mut filled = asked.clone();
    filled["track_records"]["b"] = json!({ "results": 6, "time_ratio": 3, "time_results": 5, "kept": "1/2" });
    assert_eq!(on_record(&life), filled, "b's alone: a's was given, of c nothing is known");
    let command = json!({ "negotiation_id": "n", "protocol": "contract_net", "participants": ["a", "b", "c"],
        "rules": asked, "round_ms": 1_000 });
    let body = fingerprint(&serde_json::from_value(command).unwrap()).unwrap();
    assert_eq!(life.it.opened.body, body, "the same command again is the same");

    assert_eq!(life.asks(), asks("commit", &["a"]));
    life.says("a", json!({ "accept": true })).waits(30).says("a", json!({ "result": 7 }));
    let outcome = life.decided();
    // By hand: (5 · 3 + 5) / 10 and (6 · 1/2 + 5) / 11.
    let b = &outcome["ranking"][2];
    assert_eq!((&b["participant"], &b["calibrated"]["time_ms"]), (&json!("b"), &json!(202)));
    assert_eq!(b["calibration"]["confidence"], "8/11");
    let sentences = &life.it.decided.as_ref().unwrap().explanation;
    let said = "The bid of b was weighed by 6 earlier results of translate: its price by 1, its time by 2, its confidence by 0.727.";
    assert!(sentences.iter().any(|sentence| sentence == said), "{sentences:?}");

    let mut certificate = certificate(&Workspace::default_name(), &life.it).unwrap();
    let verified = verify(&certificate.text(), Protocols::standard());
    assert!(verified.holds() && verified.recomputed, "from the file alone: {verified:?}");
    let other = certificate.rules.as_str().replace(r#""time_ratio":3"#, r#""time_ratio":1"#);
    assert_ne!(other, certificate.rules.as_str());
    certificate.rules = Json::parse(&other).unwrap();
    certificate.digest = certificate.digest_of_content();
    let found = verify(&certificate.text(), Protocols::standard()).findings;
    assert!(found.iter().any(|one| one.at.starts_with("/outcome")), "another record: {found:?}");
}

#[test]
fn without_a_kind_or_a_record_the_rules_stay() {
    let life = announced(json!({ "utility": { "time": 1 } }), json!({}));
    assert_eq!(on_record(&life), json!({ "utility": { "time": 1 } }));
    let life = announced(json!({ "track": "paint" }), json!({}));
    assert_eq!(on_record(&life), json!({ "track": "paint" }));
    let wrong = opened_knowing("contract_net", &["a"], json!({ "track": "No" }), json!({}), Known::default());
    assert_eq!(wrong.unwrap_err().field.as_deref(), Some("/rules/track"));
}

#[test]
fn each_end_that_is_known_is_told() {
    let mut life = announced(rules(json!({ "result": true })), json!({}));
    assert_eq!(life.asks(), asks("commit", &["c"]));
    life.says("c", json!({ "accept": false }));
    life.says("a", json!({ "accept": true })).waits(200);
    life.says("b", json!({ "accept": true })).waits(150).says("b", json!({ "result": null }));
    let appraisals = life.it.decided.as_ref().unwrap().appraisals.clone();
    // c broke no promise: it was free to refuse.
    assert_eq!(told(&appraisals), json!([["a", 100, null, false], ["b", 101, 150, true]]));
    assert_eq!(appraisals[1].agent_id, id("b"));
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut untracked = announced(json!({ "utility": { "time": 1 }, "result": true }), json!({}));
    untracked.says("a", json!({ "accept": true })).says("a", json!({ "result": 1 }));
    assert_eq!(untracked.it.decided.as_ref().unwrap().appraisals, []);

    let mut no_result = announced(rules(json!({})), json!({}));
    no_result.says("c", json!({ "accept": true }));
    assert_eq!(no_result.it.decided.as_ref().unwrap().appraisals, [], "nobody has seen a result");

    // c promised 150 ms and was given 50: that it was silent says nothing. a failed in the same time, and b kept its word.
    let mut cut = announced(rules(json!({ "result": true, "result_ms": 50 })), json!({}));
    cut.says("c", json!({ "accept": true })).waits(50);
    cut.says("a", json!({ "accept": true })).says("a", json!({ "failed": "no disk" }));
    cut.says("b", json!({ "accept": true })).waits(20).says("b", json!({ "result": 1 }));
    let appraisals = &cut.it.decided.as_ref().unwrap().appraisals;
    assert_eq!(told(appraisals), json!([["a", 100, null, false], ["b", 101, 20, true]]));
}

#[test]
fn a_default_outcome_tells_of_nobody() {
    let forged = json!({ "calibration": { "a": { "kept": false } } });
    let more = json!({ "on_timeout": { "default": forged } });
    let known = Known::by(&kept);
    let mut life = opened_knowing("contract_net", &["a", "b"], rules(json!({})), more, known).unwrap();
    life.waits(1_000);
    assert_eq!(life.decided(), forged);
    assert_eq!(life.it.decided.as_ref().unwrap().appraisals, []);
}

#[test]
fn a_net_that_fails_tells_too() {
    let mut life = announced(rules(json!({ "result": true })), json!({}));
    for who in ["c", "a"] {
        life.says(who, json!({ "accept": true })).says(who, json!({ "failed": "no" }));
    }
    life.says("b", json!({ "accept": true }));
    let events = life.it.due(Protocols::standard(), life.now.plus_millis(1_000));
    let Some(synod_protocol::event::What::NegotiationFailed(failed)) = events.last() else {
        panic!("{events:?}")
    };
    let all = json!([["a", 100, null, false], ["b", 101, null, false], ["c", 150, null, false]]);
    assert_eq!(told(&failed.appraisals), all);
}
