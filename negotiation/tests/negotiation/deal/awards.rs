//! To whom the work goes, and that it is never two.

use crate::deal::{Life, asks, each, id, opened};
use proptest::prelude::*;
use serde_json::{Value, json};
use synod_protocol::Id;
use synod_protocol::negotiation::NegotiationStatus;

/// a, b, c bid 1, 2, 3 and d nothing.
fn announced(rules: Value) -> Life {
    let mut life = Life::new("contract_net", &["a", "b", "c", "d"], rules);
    assert_eq!(life.asks(), asks("bid", &["a", "b", "c", "d"]));
    for (who, price) in [("c", 3), ("a", 1), ("b", 2)] {
        life.says(who, json!({ "price": price, "time_ms": 100 }));
    }
    life.abstains("d");
    life
}

fn yes() -> Value {
    json!({ "accept": true })
}

#[test]
fn the_best_bidder_commits_itself() {
    let mut life = announced(json!({}));
    assert_eq!(life.asks(), asks("commit", &["a"]));
    assert_eq!(life.content(), json!({ "award": 1, "participant": "a", "price": 1, "time_ms": 100 }));
    assert_eq!(life.round().closes_at.millis_since(life.now), 5_000);
    life.says("a", yes());
    let outcome = life.decided();
    assert_eq!(outcome["winner"], "a");
    assert_eq!(outcome["award"]["price"], 1);
    assert_eq!((&outcome["bids"], &outcome["revoked"]), (&json!(3), &json!([])));
    assert_eq!(each(&outcome["ranking"], "participant"), ["a", "b", "c"]);
    assert_eq!(outcome.get("calibration"), None);
}

#[test]
fn an_award_goes_from_one_to_the_next() {
    let mut life = announced(json!({ "commit_ms": 200 }));
    life.says("a", json!({ "accept": false, "why": "busy" }));
    assert_eq!(life.asks(), asks("commit", &["b"]));
    assert_eq!(life.content()["award"], 2);
    life.waits(199);
    assert_eq!(life.asks(), asks("commit", &["b"]));
    life.waits(1);
    assert_eq!(life.asks(), asks("commit", &["c"]));
    life.dies("c");
    let (reason, found) = life.failed();
    assert_eq!(reason, "each of 3 awards was revoked, and no bidder is left");
    let revoked = json!([
        { "award": 1, "participant": "a", "stage": "commit", "why": "refused", "said": "busy" },
        { "award": 2, "participant": "b", "stage": "commit", "why": "silent" },
        { "award": 3, "participant": "c", "stage": "commit", "why": "gone", "said": "crash" },
    ]);
    assert_eq!(found["revoked"], revoked);
    assert_eq!(found.get("winner"), None);
}

#[test]
fn a_late_acceptance_is_refused() {
    let mut life = announced(json!({}));
    life.abstains("a");
    for round in [None, Some(1), Some(2), Some(3), Some(4)] {
        assert!(life.answers(round, "a", Some(yes())).is_err(), "{round:?}");
    }
    assert_eq!(life.refused("b", json!({ "accept": true, "award": 1 })), "/response/award");
    assert_eq!(life.asks(), asks("commit", &["b"]));
    life.says("b", json!({ "accept": true, "award": 2 }));
    assert_eq!(life.decided()["winner"], "b");
    assert!(life.answers(None, "a", Some(yes())).is_err());
}

#[test]
fn nobody_or_nobody_acceptable_fails() {
    let mut life = Life::new("contract_net", &["a", "b"], json!({ "reserve": 1 }));
    life.abstains("a").abstains("b");
    assert_eq!(life.failed().0, "nobody bid");
    let mut life = Life::new("contract_net", &["a", "b"], json!({ "reserve": 1 }));
    life.says("a", json!({ "price": 2 })).waits(1_000);
    let (reason, found) = life.failed();
    assert_eq!(reason, "none of 1 bids is acceptable");
    assert_eq!(found["excluded"], json!([{ "participant": "a", "why": "its price is 2, the reserve is 1" }]));
    let mut life = Life::new("contract_net", &["a", "b"], json!({}));
    life.waits(1_000);
    assert_eq!(life.failed().0, "no quorum: 0 answered, 1 were needed");
}

#[test]
fn the_first_of_equals_is_the_one_named_first() {
    let mut life = Life::new("contract_net", &["z", "m", "a"], json!({}));
    life.says("a", json!({ "price": 1 }))
        .says("m", json!({ "price": 1 }))
        .says("z", json!({ "price": "2/2" }));
    assert_eq!(life.asks(), asks("commit", &["z"]));
}

#[test]
fn the_result_is_awaited_for_twice_the_promised_time() {
    let mut life = announced(json!({ "result": true }));
    life.says("a", yes());
    assert_eq!(life.asks(), asks("result", &["a"]));
    assert_eq!(life.round().closes_at.millis_since(life.now), 200);
    assert_eq!(life.refused("a", yes()), "/response", "an acceptance is no result");
    life.waits(200);
    assert_eq!(life.asks(), asks("commit", &["b"]));
    life.says("b", yes()).waits(30);
    life.says("b", json!({ "failed": "no disk" }));
    life.says("c", yes()).waits(150);
    life.says("c", json!({ "result": null }));
    let outcome = life.decided();
    assert_eq!((&outcome["winner"], &outcome["result"]), (&json!("c"), &Value::Null));
    assert_eq!(outcome["actual_ms"], 150);
    let calibration = json!({
        "a": { "promised_ms": 100, "kept": false },
        "b": { "promised_ms": 100, "kept": false },
        "c": { "promised_ms": 100, "actual_ms": 150, "kept": true },
    });
    assert_eq!(outcome["calibration"], calibration);
    assert_eq!(each(&outcome["revoked"], "why"), ["silent", "failed"]);
    assert_eq!(each(&outcome["revoked"], "stage"), ["result", "result"]);
    // What became of it is taken for the next one as it stands.
    let records = json!({ "c": { "history": [calibration["c"]] }, "a": { "history": [calibration["a"]] } });
    let mut next = announced(json!({ "utility": { "time": 1 }, "track_records": records }));
    next.says("a", yes());
    let ranking = &next.decided()["ranking"];
    assert_eq!(each(ranking, "participant"), ["a", "b", "c"]);
    assert_eq!(ranking[0]["calibrated"]["confidence"], "5/6");
    assert_eq!(ranking[2]["calibrated"]["time_ms"], "325/3", "100 by (1.5 + 5) / 6");
}

#[test]
fn how_long_a_result_may_take() {
    let check = |more: Value, limit: u64| {
        let mut rules = json!({ "result": true });
        rules.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut life = announced(rules);
        life.says("a", yes());
        assert_eq!(life.round().closes_at.millis_since(life.now), limit, "{more}");
    };
    check(json!({ "result_slack": "4/3" }), 134);
    check(json!({ "result_slack": 1 }), 100);
    check(json!({ "result_ms": 10 }), 10);
    check(json!({ "result_ms": 10, "result_slack": 9 }), 10);
}

#[test]
fn it_ends_with_its_deadline_and_with_the_last_round() {
    let more = json!({ "deadline": "1970-01-01T00:16:40.300Z", "round_ms": 100 });
    let mut life = opened("contract_net", &["a", "b", "c"], json!({ "commit_ms": 200 }), more).unwrap();
    for who in ["a", "b", "c"] {
        life.says(who, json!({ "price": 1 }));
    }
    life.waits(200).waits(100);
    let (reason, found) = life.failed();
    assert_eq!(reason, "there is no time or no round left: c cannot be asked any more");
    assert_eq!(each(&found["revoked"], "participant"), ["a", "b"]);
    let names: Vec<String> = (0..120).map(|i| format!("p{i:03}")).collect();
    let named: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut life = Life::new("contract_net", &named, json!({}));
    for name in &named {
        life.says(name, json!({ "price": 1 }));
    }
    for name in &named[..99] {
        life.says(name, json!({ "accept": false }));
    }
    let (reason, found) = life.failed();
    assert_eq!(reason, "there is no time or no round left: p099 cannot be asked any more");
    assert_eq!(found["revoked"].as_array().unwrap().len(), 99);
    assert_eq!(found["ranking"].as_array().unwrap().len(), 100);
}

/// Nobody stands in for the one to whom an award was made.
#[test]
fn a_dead_winner_is_followed_by_the_next_bidder_and_by_nobody_else() {
    let more = json!({ "invite": { "capability": "x", "min": 0 }, "replace": true });
    let mut life = opened("contract_net", &["a", "b"], json!({}), more).unwrap();
    life.says("a", json!({ "price": 1 })).says("b", json!({ "price": 2 }));
    let seat = synod_protocol::negotiation::Seat {
        incarnation: crate::deal::incarnation(),
        delivery: Default::default(),
    };
    let asked = life.it.ask([(id("a"), seat)].into());
    life.apply(&asked);
    let standard = synod_negotiation::Protocols::standard();
    let gone = life.it.gone(
        standard,
        &id("a"),
        &crate::deal::incarnation(),
        "crash",
        Some(id("stranger")),
        life.now,
    );
    life.apply(&gone);
    assert_eq!(life.asks(), asks("commit", &["b"]));
    assert_eq!(life.it.participants.len(), 2);
}

const WHO: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Says { who: usize, round: Option<u32>, response: Option<Value>, times: usize },
    Waits(u64),
    Dies(usize),
}

fn response() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        3 => (0..3_u32).prop_map(|price| Some(json!({ "price": price, "time_ms": 100 }))),
        6 => Just(Some(yes())),
        2 => (1..4_u32).prop_map(|award| Some(json!({ "accept": true, "award": award }))),
        2 => Just(Some(json!({ "accept": false }))),
        2 => Just(Some(json!({ "result": 1 }))),
        2 => Just(Some(json!({ "failed": "x" }))),
        1 => Just(None),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let says = (0..4_usize, prop::option::weighted(0.3, 1..9_u32), response(), 1..3_usize)
        .prop_map(|(who, round, response, times)| Step::Says { who, round, response, times });
    prop_oneof![
        12 => says,
        2 => prop_oneof![Just(1_u64), Just(100), Just(200), Just(1_000)].prop_map(Step::Waits),
        1 => (0..4_usize).prop_map(Step::Dies),
    ]
}

/// Who holds an accepted award, read from the rounds alone.
fn holders(life: &Life, with_result: bool) -> Vec<Id> {
    let rounds = &life.it.rounds;
    let accepted = rounds.iter().enumerate().filter(|(_, round)| {
        round.kind == "commit"
            && round.responses().any(|(_, said)| said.to::<Value>().unwrap()["accept"] == true)
    });
    let is_held = |at: usize| match rounds.get(at + 1) {
        None => !with_result,
        Some(round) => round.closed_at.is_none() || life.it.is_decided() && at + 2 == rounds.len(),
    };
    accepted.filter(|(at, _)| is_held(*at)).map(|(_, round)| round.asked.first().unwrap().clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, from whomever, twice, late or out of order: at most one holds an accepted award, and only who was asked
    /// for it in the round that was open.
    #[test]
    fn there_are_never_two_awards_in_force(
        bids in prop::collection::vec(prop::option::weighted(0.8, 0..3_u32), 4),
        repeated in prop::sample::select(vec!["first", "last", "refused"]),
        with_result in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let more = json!({ "repeated": repeated });
        let mut life =
            opened("contract_net", &WHO, json!({ "result": with_result, "commit_ms": 200 }), more).unwrap();
        for (who, price) in WHO.iter().zip(bids) {
            let bid = price.map(|price| json!({ "price": price, "time_ms": 100 }));
            life.answers(None, who, bid).unwrap();
        }
        // Who holds an accepted award, by what was answered to whom.
        let mut holder: Option<&str> = None;
        for step in steps {
            match step {
                Step::Waits(ms) => { life.waits(ms); }
                Step::Dies(who) => { life.dies(WHO[who]); }
                Step::Says { who, round, response, times } => for _ in 0..times {
                    let (before, who) = (life.clone(), WHO[who]);
                    let open = before.it.round().cloned();
                    if life.answers(round, who, response.clone()).is_err() {
                        prop_assert_eq!(&life.it, &before.it, "what is refused changes nothing");
                        continue;
                    }
                    let open = open.unwrap();
                    prop_assert!(round.is_none_or(|round| round == open.round), "only the open round is answered");
                    prop_assert!(open.asked.contains(&id(who)), "only who is asked answers");
                    if open.kind == "commit" && response.as_ref().is_some_and(|said| said["accept"] == true) {
                        prop_assert_eq!(holder, None, "a second award is accepted");
                        prop_assert_eq!(&open.asked, &[id(who)].into());
                        holder = Some(who);
                    }
                },
            }
            // A result that is not to come any more frees the award.
            let is_result = life.it.round().is_some_and(|round| round.kind == "result");
            if with_result && !is_result && !life.it.is_decided() {
                holder = None;
            }
            let held = holders(&life, with_result);
            prop_assert!(held.len() <= 1, "{held:?}");
            prop_assert_eq!(held.first().map(Id::as_str), holder);
            if life.it.is_decided() {
                let outcome = life.decided();
                prop_assert_eq!(outcome["winner"].as_str(), holder);
            } else if life.it.status == NegotiationStatus::Failed {
                prop_assert_eq!(holder, None);
            }
        }
    }
}
