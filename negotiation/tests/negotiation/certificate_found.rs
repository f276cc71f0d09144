//! What is found of each kind of change, behind a new digest.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::certificate::{a_tie, a_vote, at, certified};
use crate::certificate_lives::{Life, id, protocols};
use serde_json::{Value, json};
use synod_negotiation::{Certificate, verify};
use synod_protocol::Json;

/// The places of all findings, once a member has been changed and the digest fits again.
fn places(it: &Certificate, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut whole: Value = serde_json::from_str(&it.text()).unwrap();
    change(&mut whole);
    let mut it: Certificate = serde_json::from_value(whole).unwrap();
    it.digest = it.digest_of_content();
    verify(&it.text(), &protocols()).findings.into_iter().map(|finding| finding.at).collect()
}

fn check(it: &Certificate, place: &str, to: impl Into<Value>, first: &str) {
    let to = to.into();
    let found = places(it, |whole| whole.pointer_mut(place).unwrap().clone_from(&to));
    assert_eq!(found.first().map(String::as_str), Some(first), "{place} to {to}: {found:?}");
}

#[test]
fn a_changed_vote_is_found() {
    let it = certified(&a_tie());
    assert!(places(&it, |_| ()).is_empty());
    for (place, to, first) in [
        ("/rounds/0/answers/ann/response", json!("blue"), "/outcome/broken_by"),
        ("/rounds/0/answers/ann/response", json!("red"), "/rounds/0/answers/ann/response"),
        ("/rounds/0/answers/ann/at", json!(at(-1)), "/rounds/0/answers/ann/at"),
        ("/rounds/0/answers/cid/at", json!(at(31)), "/rounds/0/answers/cid/at"),
        ("/rounds/0/answers/bob/position", json!(101), "/rounds/0/answers/ann/position"),
        ("/participants/3/weight", json!(1), "/outcome/explanation/0"),
        ("/participants/3/weight", json!(-1), "/participants/3"),
        ("/participants/3/id", json!("ann"), "/participants/3"),
        ("/seed", json!("c0ffef"), "/seed_digest"),
        ("/seed_digest", json!("00"), "/seed_digest"),
        ("/rules/ties", json!("order"), "/outcome/broken_by"),
        ("/rules/method", json!("approval"), "/rounds/0/answers/ann/response"),
        ("/rules/candidates", json!([]), "/rules/candidates"),
        ("/rounds/0/kind", json!("bid"), "/rounds/0/kind"),
        ("/rounds/0/content/candidates/1", json!("red"), "/rounds/0/content/candidates/1"),
        ("/rounds/0/asked", json!(["ann", "bob", "cid", "dora", "eve"]), "/rounds/0/asked"),
        ("/rounds/0/asked", json!(["ann", "bob", "dora"]), "/rounds/0/answers/cid"),
        ("/rounds/0/quorum", json!(2), "/rounds/0/quorum"),
        ("/rounds/0/round", json!(2), "/rounds/0/round"),
        ("/rounds/0/closes_at", json!(at(1001)), "/rounds/0/closes_at"),
        ("/rounds/0/closed_by", json!("settled"), "/rounds/0/closed_by"),
        ("/rounds/0/closed_by", json!("time"), "/rounds/0/closed_at"),
        ("/rounds/0/gone", json!({}), "/rounds/0/closed_by"),
        ("/quorum/count", json!(4), "/rounds/0/quorum"),
        ("/ended_at", json!(at(40)), "/ended_at"),
        ("/opened_at", json!(at(1)), "/rounds/0/opened_at"),
        ("/status", json!("failed"), "/explanation"),
        ("/status", json!("open"), "/status"),
        ("/repeated", json!("last"), "/uncounted/0/reason"),
        ("/uncounted/0/reason", json!("too late"), "/uncounted/0/reason"),
        ("/uncounted/0/participant", json!("dora"), "/uncounted/0"),
        ("/uncounted/0/position", json!(102), "/uncounted/0/reason"),
        ("/uncounted/0/response", json!("red"), "/uncounted/0/response"),
        ("/outcome/winners", json!(["blue"]), "/outcome/winners/0"),
        ("/tie_break/broken_by", json!("order"), "/tie_break"),
        ("/explanation/0", json!("So it is."), "/explanation/0"),
        ("/by_default", json!(true), "/outcome"),
        ("/round_ms", json!(5), "/round_ms"),
        ("/round_ms", json!(999), "/rounds/0/closes_at"),
    ] {
        check(&it, place, to, first);
    }
}

#[test]
fn an_answer_left_out_is_found() {
    let it = certified(&a_tie());
    let found = places(&it, |whole| {
        whole["rounds"][0]["answers"].as_object_mut().unwrap().remove("cid");
    });
    assert_eq!(found[0], "/rounds/0/quorum");
}

#[test]
fn how_rounds_end_is_found() {
    // Dora weighs more than all others: with her it is settled.
    let mut life = a_vote(&json!({ "participants": ["ann", "bob", "cid", "dora", "eve"] }));
    life.respond(&id("dora"), Some(Json::from(json!("green"))));
    let settled = certified(&life);
    check(&settled, "/rounds/0/closed_by", json!("complete"), "/rounds/0/closed_by");
    check(&settled, "/rounds/0/closed_at", json!(at(31)), "/rounds/0/closed_at");
    check(&settled, "/participants/4/weight", json!(9), "/rounds/0/closed_by");

    let mut life = a_vote(&json!({ "on_timeout": "extend" }));
    life.run_out();
    let extended = certified(&life);
    assert_eq!(extended.rounds[0].extended_at, Some(at(1001)));
    check(&extended, "/rounds/0/extended_at", json!(at(999)), "/rounds/0/closes_at");
    check(&extended, "/rounds/0/extended_at", Value::Null, "/rounds/0/closed_by");
    check(&extended, "/on_timeout", json!("decide"), "/rounds/0/extended_at");
    check(&extended, "/rounds/0/closed_at", json!(at(1500)), "/rounds/0/closed_at");

    let mut life = a_vote(&json!({ "on_timeout": { "default": "blue" } }));
    life.run_out();
    let defaulted = certified(&life);
    assert!(defaulted.by_default);
    check(&defaulted, "/on_timeout/default", json!("green"), "/outcome");
    check(&defaulted, "/on_timeout", json!("decide"), "/outcome");
    check(&defaulted, "/by_default", json!(false), "/rounds/0/closed_by");
    check(&defaulted, "/explanation", json!([]), "/explanation");
    check(&defaulted, "/rounds/0/asked", json!(["ann", "bob", "cid"]), "/rounds/0/closed_by");

    let mut life = a_vote(&json!({ "quorum": { "count": 4 } }));
    life.run_out();
    let failed = certified(&life);
    assert_eq!(failed.reason.as_deref(), Some("no quorum: 3 answered, 4 were needed"));
    check(&failed, "/reason", json!("no quorum: 3 answered, 5 were needed"), "/reason");
    check(&failed, "/ended_at", json!(at(900)), "/reason");
    check(&failed, "/on_timeout", json!("fail"), "/reason");
}

#[test]
fn a_round_too_few_or_too_many_is_found() {
    let command = json!({
        "negotiation_id": "n", "protocol": "talk", "rules": { "rounds": 3 }, "participants": ["a", "b", "c"],
        "invite": { "capability": "judge" }, "replace": true, "round_ms": 1_000, "deadline": at(10_000),
    });
    let command = serde_json::from_value(command).unwrap();
    let mut life = Life::open(&command, "00", vec![id("i")], at(0), 1).unwrap();
    let say = |life: &mut Life, who: &str| life.respond(&id(who), Some(Json::from(json!("x"))));
    life.gone(&id("i"), "its lease ended", Some(id("j")));
    for who in ["a", "b", "c", "j", "a", "b", "c", "j"] {
        life.wait(1);
        assert!(say(&mut life, who), "{who}");
    }
    life.run_out();
    let it = certified(&life);
    assert_eq!(it.rounds.len(), 3, "{}", it.text());
    assert!(places(&it, |_| ()).is_empty());
    let last = json!(at(10_000));
    for (place, to, first) in [
        ("/rules/rounds", json!(2), "/rounds/2"),
        ("/rules/rounds", json!(4), "/rounds"),
        ("/rounds/1/asked", json!(["a", "b", "c"]), "/rounds/1/closed_by"),
        ("/rounds/1/quorum", json!(1), "/rounds/1/quorum"),
        ("/rounds/0/replaced", json!({}), "/rounds/0/content/of"),
        ("/rounds/0/replaced/j", json!("a"), "/rounds/0/replaced/j"),
        ("/participants/4/weight", json!(2), "/rounds/0/replaced/j"),
        ("/rounds/2/opened_at", json!(at(7)), "/rounds/2/opened_at"),
        ("/rounds/1/answers/a/position", json!(2), "/rounds/1/answers/a/position"),
        ("/deadline", json!(at(5)), "/rounds/0/closes_at"),
        ("/rounds/2/closes_at", last, "/rounds/2/closed_at"),
    ] {
        check(&it, place, to, first);
    }
}
