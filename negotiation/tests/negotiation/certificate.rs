//! Certificates of whole lives: what is true verifies, what was changed is found.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::certificate_lives::{Life, id, lived_again, protocols, script};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use synod_negotiation::certificate::{CERTIFICATE_BYTES, canonical, explain_certificate};
use synod_negotiation::{Certificate, Protocols, certificate, explain, verify};
use synod_protocol::negotiation::{CancelNegotiation, NegotiationStatus};
use synod_protocol::{Json, Timestamp, Workspace};

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

pub(crate) fn certified(life: &Life) -> Certificate {
    certificate(&Workspace::default_name(), &life.it).unwrap()
}

/// A vote of three with weights, an abstention, an answer too many and a tie that a lot breaks.
pub(crate) fn a_vote(extra: &Value) -> Life {
    let mut command = json!({
        "negotiation_id": "release:vote", "protocol": "vote", "question": "Which build?",
        "rules": { "candidates": ["green", "blue"], "method": "plurality", "ties": "seed" },
        "participants": ["ann", "bob", "cid", "dora"], "weights": { "ann": "1/2", "bob": 0.5, "dora": 2 },
        "quorum": { "count": 3 }, "round_ms": 1_000,
    });
    for (key, value) in extra.as_object().unwrap() {
        command[key] = value.clone();
    }
    let command = serde_json::from_value(command).unwrap();
    let mut life = Life::open(&command, "c0ffee", vec![], at(0), 100).unwrap();
    life.wait(10);
    life.respond(&id("ann"), Some(Json::from(json!("green"))));
    life.wait(10);
    life.respond(&id("bob"), Some(Json::from(json!({ "choice": "blue" }))));
    life.respond(&id("bob"), Some(Json::from(json!("green"))));
    life.wait(10);
    life.respond(&id("cid"), None);
    life
}

pub(crate) fn a_tie() -> Life {
    let mut life = a_vote(&json!({}));
    life.gone(&id("dora"), "its lease ended", None);
    life
}

#[test]
fn a_certificate_in_full() {
    let it = certified(&a_tie());
    assert!(verify(&it.text(), Protocols::standard()).holds());
    let (drawn, seed) = (it.outcome.as_ref().unwrap().to::<Value>().unwrap(), blake3::hash(b"c0ffee"));
    let first: Value = serde_json::from_str(&it.text()).unwrap();
    assert_eq!(first["format"], 1);
    assert_eq!(first["tie_break"], json!({ "tied": ["green", "blue"], "broken_by": "seed" }));
    assert_eq!(first["seed_digest"], seed.to_hex().to_string());
    assert_eq!(first["participants"][0], json!({ "id": "ann", "weight": "1/2" }));
    assert_eq!(first["uncounted"][0]["reason"], "an earlier answer counts");
    assert_eq!(first["rounds"][0]["answers"]["cid"], json!({ "at": at(30), "position": 104 }));
    assert!(["green", "blue"].contains(&drawn["decided"].as_str().unwrap()));
    assert_eq!(
        explain_certificate(&it)[..8],
        [
            "Negotiation release:vote was opened at 2027-01-15T08:00:00.000Z; it is decided by vote, version 1.",
            "The question: \"Which build?\".",
            "Participants: ann, bob, cid, dora.",
            "They weigh 1 each, but for ann 1/2, bob 1/2, dora 2.",
            "Round 1 asked for ballot, of ann, bob, cid, dora; 3 had to answer.",
            "dora was gone before an answer: its lease ended.",
            "An answer of bob, at 103 in the ledger, does not count: an earlier answer counts.",
            "Of 4 who were asked 2 answered and 1 abstained; it ended at 2027-01-15T08:00:00.030Z: nobody was still to answer.",
        ]
    );
}

/// The digest can be recomputed by hand: BLAKE3 of the canonical text without its digest.
#[test]
fn the_digest_is_of_everything_else() {
    let it = certified(&a_tie());
    let mut whole: Value = serde_json::from_str(&it.text()).unwrap();
    whole.as_object_mut().unwrap().remove("digest");
    let text = canonical(&Json::from(whole));
    assert_eq!(it.digest, blake3::hash(text.as_bytes()).to_hex().to_string());
    assert_eq!(it.digest, "14f39ddfa9819bfff9db5253b3077cdf26a17dea4b7fd81a6718adef10243e70");
}

#[test]
fn there_is_none_of_what_goes_on_or_was_cancelled() {
    let mut life = a_vote(&json!({}));
    let of = |life: &Life| certificate(&Workspace::default_name(), &life.it).unwrap_err();
    assert_eq!(of(&life).status, NegotiationStatus::Collecting);
    let id = life.it.opened.negotiation_id.clone();
    for what in life.it.cancel(&CancelNegotiation { negotiation_id: id, reason: None }).unwrap() {
        life.it.apply(&what, at(50), 110);
    }
    assert_eq!(
        of(&life).to_string(),
        "negotiation release:vote is cancelled: a certificate is of one that was decided or has failed"
    );
    assert!(explain(&life.it.view(&Workspace::default_name())).last().unwrap().starts_with("Cancelled"));
}

/// Neither a view nor a certificate tells what was answered to a sealed round that is open, or never closed.
#[test]
fn a_secret_stays_one() {
    let mut life = a_vote(&json!({ "on_timeout": "fail" }));
    let view = life.it.view(&Workspace::default_name());
    let so_far = explain(&view);
    assert!(so_far.contains(
        &"So far, of 4 who are asked 3 have answered; silent: dora; its time is up at 2027-01-15T08:00:01.000Z."
            .to_owned()
    ));
    assert!(so_far.iter().all(|line| !line.contains("abstain") && !line.contains("An abstention")));
    life.run_out();
    let it = certified(&life);
    assert_eq!(it.reason.as_deref(), Some("time was up in round 1, and 1 had not answered"));
    assert!(it.rounds[0].answers.values().all(|answer| answer.response.is_none()));
    assert!(verify(&it.text(), Protocols::standard()).holds());
    let open = certified(&{
        let mut life = a_vote(&json!({ "on_timeout": "fail", "sealed": false }));
        life.run_out();
        life
    });
    assert!(open.rounds[0].answers[&id("ann")].response.is_some());
    assert!(verify(&open.text(), Protocols::standard()).holds());
}

#[test]
fn what_cannot_be_recomputed_is_told() {
    let it = certified(&a_tie());
    let found = verify(&it.text(), &Protocols::none());
    assert!(found.findings.is_empty() && !found.recomputed && !found.holds());
    assert_eq!(found.note.as_deref(), Some("the run was not recomputed: protocol vote is not known here"));
    let mut newer = it.clone();
    newer.version = 2;
    newer.digest = newer.digest_of_content();
    let found = verify(&newer.text(), Protocols::standard());
    assert_eq!(
        found.note.as_deref(),
        Some("the run was not recomputed: it was decided by version 2 of protocol vote, here is version 1")
    );
    let mut late = it;
    late.rounds[0].answers.get_mut(&id("ann")).unwrap().at = at(31);
    late.digest = late.digest_of_content();
    assert_eq!(verify(&late.text(), &Protocols::none()).findings[0].at, "/rounds/0/answers/ann/at");
}

#[test]
fn what_does_not_read_is_told() {
    let it = certified(&a_tie()).text();
    let large = format!("{it}{}", " ".repeat(CERTIFICATE_BYTES));
    let deep = it.replacen("\"Which build?\"", &format!("{}{}", "[".repeat(200), "]".repeat(200)), 1);
    for (text, place, says) in [
        ("", "", "does not read"),
        ("[]", "", "does not read"),
        ("{}", "/format", "is missing"),
        (&it.replacen("\"format\":1", "\"format\":2", 1), "/format", "the format is 2"),
        (&it.replacen("\"by_default\":false", "\"by_default\":0", 1), "/by_default", "does not read"),
        (&it.replacen("\"sealed\":true,", "", 1), "", "missing field `sealed`"),
        (&it.replacen("\"by_default\"", "\"more\":1,\"by_default\"", 1), "/more", "unknown field"),
        (&it.replacen("\"position\"", "\"more\":1,\"position\"", 1), "/rounds/0/answers/ann/more", "unknown"),
        (
            &it.replacen("\"weight\":\"1/2\"", "\"weight\":\"2/4\"", 1),
            "/participants/0/weight",
            "has another form",
        ),
        (&large, "", "are read"),
        (&deep, "", "nested deeper"),
    ] {
        let found = verify(text, Protocols::standard());
        let is_told = |f: &synod_negotiation::certificate::Finding| f.at == place && f.what.contains(says);
        assert!(found.findings.iter().any(is_told), "{place} {says} {found:?}");
    }
}

/// Each byte, changed to several others: what is still the same JSON holds, everything else is found.
#[test]
fn no_byte_can_be_changed() {
    let it = certified(&a_tie()).text();
    let whole: Value = serde_json::from_str(&it).unwrap();
    let (mut found, mut same) = (0, 0);
    for place in 0..it.len() {
        for to in [b'0', b'7', b'e', b'"', b' '] {
            let mut bytes = it.clone().into_bytes();
            bytes[place] = to;
            let text = String::from_utf8(bytes).unwrap();
            let is_same = serde_json::from_str::<Value>(&text).is_ok_and(|value| value == whole);
            let findings = verify(&text, Protocols::standard()).findings;
            assert_eq!(findings.is_empty(), is_same, "at {place} to {}: {findings:?}", char::from(to));
            if is_same { same += 1 } else { found += 1 }
        }
    }
    println!("{found} changes of a byte were found, {same} changed nothing");
}

/// The same value with keys the other way round and white space between.
fn spread(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let each = members.iter().rev().map(|(k, v)| format!("{} :\n {}", json!(k), spread(v)));
            format!("{{ {} }}", each.collect::<Vec<_>>().join(" ,\t"))
        }
        Value::Array(items) => format!("[ {} ]", items.iter().map(spread).collect::<Vec<_>>().join(" , ")),
        other => other.to_string(),
    }
}

/// Every place of a JSON value that has a value of its own.
fn leaves(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, v)| leaves(v, &format!("{at}/{key}"), all));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(n, v)| leaves(v, &format!("{at}/{n}"), all));
        }
        _ => all.push(at.to_owned()),
    }
}

/// Another value in place of this.
fn other(value: &Value, how: usize) -> Value {
    let swaps = [
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),
        ("yes", "no"),
        ("no", "yes"),
        ("first", "last"),
        ("last", "first"),
        ("complete", "settled"),
        ("settled", "time"),
        ("time", "complete"),
        ("decide", "fail"),
        ("fail", "extend"),
        ("extend", "decide"),
        ("p0", "p1"),
        ("i0", "p0"),
        ("decided", "failed"),
        ("1/2", "1/3"),
    ];
    match value {
        Value::Bool(b) => json!(!b),
        Value::Number(n) => match (n.as_u64(), how % 3) {
            (Some(n), 0) => json!(n + 1),
            (Some(n), 1) => json!(n.saturating_sub(1)),
            (Some(n), _) => json!(n + 1_000),
            _ => json!(0.5),
        },
        Value::String(text) => {
            if let Ok(time) = Timestamp::parse(text) {
                let ms = [1, 1_000, 400][how % 3];
                return json!(if how.is_multiple_of(2) {
                    time.plus_millis(ms)
                } else {
                    time.minus_millis(ms)
                });
            }
            let swap = swaps.iter().find(|(from, _)| from == text);
            json!(swap.map_or_else(|| format!("{text}x"), |(_, to)| (*to).to_owned()))
        }
        Value::Null => json!(1),
        Value::Array(_) => json!([1]),
        Value::Object(_) => json!({ "p0": "why" }),
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn what_is_true_verifies(script in script()) {
        let Some(life) = script.live() else { return Ok(()) };
        let it = certified(&life);
        let text = it.text();
        let found = verify(&text, &protocols());
        prop_assert!(found.holds(), "{found:?}\n{text}");
        prop_assert_eq!(&certified(&script.live().unwrap()).text(), &text, "same life, same bytes");
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert!(verify(&spread(&value), &protocols()).holds());
        let again: Certificate = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&again.text(), &text);
        if it.withheld().is_none() {
            prop_assert!(lived_again(&it).contains(&text), "what is told can be lived: {text}");
        }
        prop_assert!(!explain(&life.it.view(&Workspace::default_name())).is_empty());
    }

    /// A change behind a new digest is found, or what is told could have happened just so.
    #[test]
    fn what_is_changed_is_found_or_could_have_been(script in script(), picks in prop::collection::vec((any::<prop::sample::Index>(), 0..6usize), 12)) {
        let Some(life) = script.live() else { return Ok(()) };
        let whole: Value = serde_json::from_str(&certified(&life).text()).unwrap();
        let mut places = Vec::new();
        leaves(&whole, "", &mut places);
        for (pick, how) in picks {
            let place = pick.get(&places);
            let mut changed = whole.clone();
            let leaf = changed.pointer_mut(place).unwrap();
            *leaf = other(leaf, how);
            let Ok(mut it) = serde_json::from_value::<Certificate>(changed.clone()) else { continue };
            it.digest = it.digest_of_content();
            let found = verify(&it.text(), &protocols());
            if found.holds() && it.withheld().is_none() {
                prop_assert!(lived_again(&it).contains(&it.text()), "{place} of {whole}");
            }
        }
    }
}
