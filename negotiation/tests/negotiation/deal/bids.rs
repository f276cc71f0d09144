//! Which bid is the best.

use crate::deal::{each, id};
use proptest::prelude::*;
use serde_json::{Value, json};
use synod_negotiation::calibration::{Calibration, TrackRecord};
use synod_negotiation::contract_net::{Bidder, Ranking, Rules, rank};
use synod_protocol::Exact;

fn ranked(rules: &Value, bids: &Value) -> Ranking {
    let rules: Rules = serde_json::from_value(rules.clone()).unwrap();
    let bidders: Vec<Bidder> = bids
        .as_object()
        .unwrap()
        .iter()
        .map(|(who, bid)| Bidder { participant: id(who), bid: serde_json::from_value(bid.clone()).unwrap() })
        .collect();
    rank(&rules, &bidders).unwrap()
}

fn three() -> Value {
    json!({
        "a": { "price": 10, "time_ms": 100, "confidence": 0.9 },
        "b": { "price": 12, "time_ms": 50 },
        "c": { "price": 20, "time_ms": 60, "confidence": 0.5 },
    })
}

/// By hand: prices 10, 12, 20 score 1, 4/5, 0; times 100, 50, 60 score 0, 1, 4/5; confidences score 4/5, 1, 0.
#[test]
fn utility_is_a_weighted_mean_of_scores() {
    let rules = json!({ "utility": { "price": 2, "time": 1, "confidence": 1 } });
    let ranking = json!(ranked(&rules, &three()));
    assert_eq!(each(&ranking["ranked"], "participant"), ["b", "a", "c"]);
    assert_eq!(each(&ranking["ranked"], "utility"), ["9/10", "7/10", "1/5"]);
    let scores = json!([
        { "price": "4/5", "time": 1, "confidence": 1 },
        { "price": 1, "time": 0, "confidence": "4/5" },
        { "price": 0, "time": "4/5", "confidence": 0 },
    ]);
    assert_eq!(json!(each(&ranking["ranked"], "scores")), scores);
}

/// By hand: b is three times as late as promised in 5 of 5 results, and keeps half of its commitments.
#[test]
fn who_was_late_is_expected_to_be_late() {
    let rules = json!({
        "utility": { "price": 2, "time": 1, "confidence": 1 },
        "track_records": { "b": { "results": 5, "time_ratio": 3, "kept": 0.5 } },
    });
    let ranking = json!(ranked(&rules, &three()));
    assert_eq!(each(&ranking["ranked"], "participant"), ["a", "b", "c"]);
    assert_eq!(each(&ranking["ranked"], "utility"), ["3/4", "89/160", "1/4"]);
    let b = &ranking["ranked"][1];
    assert_eq!(b["stated"], json!({ "price": 12, "time_ms": 50, "confidence": 1 }));
    assert_eq!(b["calibration"], json!({ "results": 5, "price": 1, "time": 2, "confidence": "3/4" }));
    assert_eq!(b["calibrated"], json!({ "price": 12, "time_ms": 100, "confidence": "3/4" }));
}

#[test]
fn factors_are_drawn_towards_one() {
    let check = |record: Value, price: &str, time: &str, confidence: &str, results: u64| {
        let record: TrackRecord = serde_json::from_value(record).unwrap();
        record.check("").unwrap();
        let [price, time, confidence] = [price, time, confidence].map(|n| n.parse::<Exact>().unwrap());
        assert_eq!(record.calibration(), Calibration { results, price, time, confidence });
    };
    check(json!({}), "1", "1", "1", 0);
    check(json!({ "results": 1, "time_ratio": 7 }), "1", "2", "1", 1);
    check(json!({ "results": 4, "price_ratio": 2, "kept": 0 }), "13/9", "1", "5/9", 4);
    check(json!({ "results": 995, "time_ratio": 2 }), "1", "1.995", "1", 995);
    let of_some = json!({ "results": 6, "time_ratio": 3, "time_results": 5, "kept": 0, "kept_results": 1 });
    check(of_some, "1", "2", "5/6", 6);
    let late = json!({ "promised_ms": 100, "actual_ms": 300 });
    let as_said = json!({ "promised_ms": 100, "actual_ms": 100, "kept": true });
    let dear = json!({ "promised_price": 4, "actual_price": 10 });
    let history = json!([late, as_said, { "promised_ms": 100, "kept": false }, dear]);
    check(json!({ "history": history }), "5/4", "9/7", "6/7", 4);
    check(json!({ "results": 3, "time_ratio": 1, "history": [late] }), "1", "11/9", "1", 4);
}

#[test]
fn limits_are_kept_to_the_last_digit() {
    let check = |rules: Value, a: Value, why: Option<&str>| {
        let ranking = ranked(&rules, &json!({ "a": a }));
        assert_eq!(ranking.excluded.first().map(|one| one.why.as_str()), why, "{rules} {a}");
        assert_eq!(ranking.ranked.len(), usize::from(why.is_none()));
    };
    let dear = |results: u64| json!({ "a": { "results": results, "price_ratio": 2 } });
    check(json!({ "reserve": 10 }), json!({ "price": 10 }), None);
    check(
        json!({ "reserve": 10 }),
        json!({ "price": "10.0000000001" }),
        Some("its price is 100000000001/10000000000, the reserve is 10"),
    );
    check(json!({ "reserve": 15, "track_records": dear(5) }), json!({ "price": 10 }), None);
    check(
        json!({ "reserve": 15, "track_records": dear(6) }),
        json!({ "price": 10 }),
        Some("its price is 170/11, the reserve is 15"),
    );
    check(json!({ "max_time_ms": 50 }), json!({ "price": 1, "time_ms": 50 }), None);
    check(
        json!({ "max_time_ms": 50 }),
        json!({ "price": 1, "time_ms": 51 }),
        Some("it takes 51 ms, at most 50 ms are acceptable"),
    );
    let needs = json!({ "needs": { "gpu": 0.3, "disk": 0 } });
    check(needs.clone(), json!({ "price": 1, "resources": { "gpu": "3/10" } }), None);
    check(needs, json!({ "price": 1 }), Some("it has 0 of gpu, 3/10 is needed"));
}

#[test]
fn a_bid_that_is_not_acceptable_changes_no_score() {
    let rules = json!({ "reserve": 20 });
    let mut bids = json!({ "a": { "price": 10 }, "b": { "price": 15 }, "c": { "price": 20 } });
    let before = ranked(&rules, &bids).ranked;
    bids["d"] = json!({ "price": 1_000_000 });
    assert_eq!(ranked(&rules, &bids).ranked, before);
}

#[test]
fn all_equal_is_all_the_best_and_the_first_is_first() {
    let bids = json!({ "c": { "price": 3 }, "a": { "price": 3 }, "b": { "price": "6/2" } });
    let ranking = json!(ranked(&json!({ "utility": { "price": 1, "confidence": 1 } }), &bids));
    // serde_json's objects are sorted: a, b, c is the order in which these are given.
    assert_eq!(each(&ranking["ranked"], "participant"), ["a", "b", "c"]);
    assert_eq!(json!(each(&ranking["ranked"], "utility")), json!([1, 1, 1]));
}

fn bid() -> impl Strategy<Value = Value> {
    (0..6_u32, 1..6_u32, 0..=4_u32, 0..3_u32).prop_map(|(price, time_ms, sure, gpu)| {
        json!({ "price": price, "time_ms": time_ms, "confidence": f64::from(sure) / 4.0, "resources": { "gpu": gpu } })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Utilities are 0 to 1 and fall; who is at least as good in everything is not behind; and nobody is lost.
    #[test]
    fn a_ranking_is_in_order(bids in prop::collection::vec(bid(), 1..8), weights in (0..4_u32, 0..4_u32, 1..4_u32)) {
        let named: serde_json::Map<String, Value> =
            bids.iter().enumerate().map(|(i, bid)| (format!("p{i}"), bid.clone())).collect();
        let (price, time, confidence) = weights;
        let rules = json!({
            "utility": { "price": price, "time": time, "confidence": confidence },
            "reserve": 4, "needs": { "gpu": 1 },
            "track_records": { "p0": { "results": 3, "time_ratio": "1/3", "price_ratio": 2, "kept": 0.5 } },
        });
        let ranking = ranked(&rules, &named.into());
        prop_assert_eq!(ranking.ranked.len() + ranking.excluded.len(), bids.len());
        for (i, better) in ranking.ranked.iter().enumerate() {
            prop_assert!(better.utility >= Exact::zero() && better.utility <= Exact::one());
            for worse in &ranking.ranked[i + 1..] {
                prop_assert!(better.utility >= worse.utility);
                let (b, w) = (&better.calibrated, &worse.calibrated);
                let dominated = w.price < b.price && w.time_ms <= b.time_ms && w.confidence >= b.confidence;
                prop_assert!(!(dominated && price > 0), "{better:?} {worse:?}");
                if better.utility == worse.utility {
                    prop_assert!(better.participant < worse.participant, "the first of equals");
                }
            }
        }
    }
}

/// Numbers as long as they may be: the outcome still fits into a record of the ledger (921,600 bytes).
#[test]
fn the_longest_outcome_fits_into_a_record() {
    use synod_negotiation::contract_net::{Reply, Standing, follow};
    let history = |i: u64| -> Value {
        (0..50_u64)
            .map(|j| json!({ "promised_ms": 600_000_007 - 2 * (50 * i + j), "actual_ms": 1 + j }))
            .collect()
    };
    let records: serde_json::Map<String, Value> =
        (0..100).map(|i| (format!("p{i:03}"), json!({ "history": history(i) }))).collect();
    let rules = json!({ "utility": { "price": "1/7", "time": "1/11", "confidence": "1/13" }, "track_records": records });
    assert!(rules.to_string().len() < 256 * 1024);
    let rules: Rules = serde_json::from_value(rules).unwrap();
    let bidders: Vec<Bidder> = (0..1_000_u64)
        .map(|i| {
            let price = format!("{}.{}", i * i + 1, "7".repeat(39));
            let sure = format!("0.{}{i:03}", "3".repeat(36));
            let bid = json!({ "price": price, "time_ms": 1_000 + i, "confidence": sure });
            Bidder { participant: id(&format!("p{i:03}")), bid: serde_json::from_value(bid).unwrap() }
        })
        .collect();
    let lost = Reply::Lost { why: synod_negotiation::contract_net::Why::Silent, said: None };
    let replies: Vec<Reply> = std::iter::repeat_n(lost, 98).chain([Reply::Accepted]).collect();
    let Ok(Standing::Won(outcome)) = follow(&rules, &bidders, &replies) else { panic!("nobody won") };
    let bytes = json!(outcome).to_string().len();
    println!("{bytes} bytes");
    assert!(bytes < 900 * 1024);
}
