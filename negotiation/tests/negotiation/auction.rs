//! Auctions: reference cases, that truth pays, and what is refused.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use synod_negotiation::auction::combinatorial::{self, BundleBid};
use synod_negotiation::auction::{self, AuctionOutcome};
use synod_protocol::{Code, Exact};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    read(value)
}

fn cases(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/assignment.json")).unwrap();
    file["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect()
}

fn sell(pricing: &str, bids: &[i64], units: u32, reserve: i64) -> AuctionOutcome {
    let bidders: Vec<String> = (0..bids.len()).map(|b| b.to_string()).collect();
    let inputs: Vec<Value> = bids
        .iter()
        .enumerate()
        .rev()
        .map(|(b, bid)| json!({"bidder": b.to_string(), "amount": bid}))
        .collect();
    let rules = json!({"bidders": bidders, "pricing": pricing, "units": units, "reserve": reserve});
    auction::outcome(&read(&rules), &list(&json!(inputs))).unwrap()
}

fn winners(outcome: &AuctionOutcome) -> Vec<usize> {
    outcome.winners.iter().map(|w| w.bidder.parse().unwrap()).collect()
}

#[test]
fn second_price_of_the_reference_cases() {
    for case in cases("second_price") {
        let bids: Vec<i64> = read(&case["bids"]);
        let outcome = sell("second_price", &bids, read(&case["units"]), read(&case["reserve"]));
        assert_eq!(json!(winners(&outcome)), case["winners"], "{}", case["name"]);
        assert_eq!(json!(outcome.price_each), case["price_each"], "{}", case["name"]);
        assert_eq!(json!(outcome.tie_at_the_line), case["tie_at_the_line"], "{}", case["name"]);
    }
}

#[test]
fn bundles_of_the_reference_cases() {
    for case in cases("combinatorial") {
        let bids: Vec<(usize, Vec<usize>, Exact)> = read(&case["bids"]);
        let bids: Vec<BundleBid> =
            bids.into_iter().map(|(bidder, items, value)| BundleBid { bidder, items, value }).collect();
        let awarded = combinatorial::award(read(&case["items"]), &bids).unwrap();
        assert_eq!(json!(awarded.value), case["optimum"], "{}", case["name"]);
        let prices: serde_json::Map<String, Value> = awarded
            .winners
            .iter()
            .zip(&awarded.prices)
            .map(|(&w, price)| (bids[w].bidder.to_string(), json!(price)))
            .collect();
        let mut won = awarded.winners.clone();
        won.sort_unstable();
        let found = json!({"bids": won, "vcg": prices});
        assert!(case["optimal"].as_array().unwrap().contains(&found), "{}: {found}", case["name"]);
    }
}

#[test]
fn what_each_pays() {
    let first = sell("first_price", &[7, 9, 8, 9], 3, 8);
    assert_eq!(winners(&first), [1, 3, 2]);
    assert_eq!(json!(first.winners.iter().map(|w| &w.price).collect::<Vec<_>>()), json!([9, 9, 8]));
    assert_eq!((first.price_each, first.best_losing_bid, first.unsold), (None, None, 0));

    let tie = sell("second_price", &[5, 8, 8], 1, 0);
    assert_eq!((winners(&tie), json!(tie.price_each), tie.tie_at_the_line), (vec![1], json!(8), true));
    let reserve = sell("second_price", &[5, 8, 6], 2, 6);
    assert_eq!(
        (winners(&reserve), json!(reserve.price_each)),
        (vec![1, 2], json!(6)),
        "5 does not reach the reserve"
    );
    let none = sell("second_price", &[5, 8, 6], 2, 9);
    assert_eq!((none.winners.len(), none.price_each, none.unsold), (0, None, 2));
    assert_eq!(none.explanation, ["No bid reaches the reserve of 9: nothing is sold."]);
    assert_eq!(winners(&sell("second_price", &[0], 1, 0)), [0], "0 reaches a reserve of 0");
}

#[test]
fn what_is_no_auction_is_refused() {
    for (bidders, units, reserve, inputs, field) in [
        (json!([]), 1, 0, json!([]), "/rules/bidders"),
        (json!(["a", "a"]), 1, 0, json!([]), "/rules/bidders/1"),
        (json!(["a"]), 0, 0, json!([]), "/rules/units"),
        (json!(["a"]), 1_001, 0, json!([]), "/rules/units"),
        (json!(["a"]), 1, -1, json!([]), "/rules/reserve"),
        (json!(["a"]), 1, 0, json!([{"bidder": "b", "amount": 1}]), "/inputs/0/bidder"),
        (json!(["a"]), 1, 0, json!([{"bidder": "a", "amount": -1}]), "/inputs/0/amount"),
        (
            json!(["a"]),
            1,
            0,
            json!([{"bidder": "a", "amount": 1}, {"bidder": "a", "amount": 2}]),
            "/inputs/1/bidder",
        ),
    ] {
        let rules = json!({"bidders": bidders, "units": units, "reserve": reserve});
        let refused = auction::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some(field)));
    }
}

#[test]
fn bundles_by_names() {
    let rules = json!({"bidders": ["a", "b", "c"], "items": ["gpu", "disk", "line"]});
    let inputs = json!([
        {"bidder": "c", "bundles": [{"items": ["disk"], "value": 5}, {"items": ["line"], "value": 0}]},
        {"bidder": "a", "bundles": [{"items": ["disk", "gpu"], "value": "21/2"}, {"items": ["gpu"], "value": 6}]},
    ]);
    let outcome = combinatorial::outcome(&read(&rules), &list(&inputs)).unwrap();
    assert_eq!(
        json!(outcome.winners),
        json!([
            {"bidder": "a", "items": ["gpu"], "value": 6, "price": 0},
            {"bidder": "c", "items": ["disk"], "value": 5, "price": "9/2"},
        ])
    );
    assert_eq!((json!(outcome.value), json!(outcome.revenue)), (json!(11), json!("9/2")));
    assert_eq!(outcome.unsold, ["line"]);
}

#[test]
fn bundles_that_are_none_are_refused() {
    let rules = json!({"bidders": ["a"], "items": ["x", "y"]});
    let bundle =
        |items: Value, value: i64| json!([{"bidder": "a", "bundles": [{"items": items, "value": value}]}]);
    let many: Vec<Value> = (0..201).map(|n| json!({"items": ["x"], "value": n})).collect();
    for (inputs, field) in [
        (bundle(json!([]), 1), "/inputs/0/bundles/0/items"),
        (bundle(json!(["z"]), 1), "/inputs/0/bundles/0/items/0"),
        (bundle(json!(["x", "x"]), 1), "/inputs/0/bundles/0/items/1"),
        (bundle(json!(["x"]), -1), "/inputs/0/bundles/0/value"),
        (json!([{"bidder": "a", "bundles": many}]), "/inputs"),
        (json!([{"bidder": "b", "bundles": []}]), "/inputs/0/bidder"),
    ] {
        let refused = combinatorial::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some(field)));
    }
    let items: Vec<String> = (0..17).map(|n| n.to_string()).collect();
    let refused = combinatorial::outcome(&read(&json!({"bidders": ["a"], "items": items})), &[]).unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("/rules/items"));
}

/// What a bidder to whom it is worth `value` gains.
fn gain(outcome: &AuctionOutcome, bidder: usize, value: i64) -> Exact {
    let won = outcome.winners.iter().find(|w| w.bidder == bidder.to_string());
    won.map_or_else(Exact::zero, |w| Exact::from(value) - w.price.clone())
}

fn any_bids() -> impl Strategy<Value = Vec<BundleBid>> {
    let bid = (0_usize..4, 1_usize..32, 0_i64..20).prop_map(|(bidder, set, value)| BundleBid {
        bidder,
        items: (0..5).filter(|item| set >> item & 1 == 1).collect(),
        value: Exact::from(value),
    });
    prop::collection::vec(bid, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn truth_pays_with_second_price(
        bids in prop::collection::vec(0_i64..12, 1..8), who in 0_usize..8, other in 0_i64..14, units in 1_u32..4, reserve in 0_i64..8,
    ) {
        let who = who % bids.len();
        let honest = gain(&sell("second_price", &bids, units, reserve), who, bids[who]);
        let mut untrue = bids.clone();
        untrue[who] = other;
        prop_assert!(!honest.is_negative());
        prop_assert!(honest >= gain(&sell("second_price", &untrue, units, reserve), who, bids[who]));
    }

    #[test]
    fn never_under_the_reserve_and_never_more_than_there_are(
        bids in prop::collection::vec(0_i64..12, 1..9), units in 1_u32..4, reserve in 0_i64..14,
    ) {
        for pricing in ["first_price", "second_price"] {
            let outcome = sell(pricing, &bids, units, reserve);
            prop_assert!(outcome.winners.len() <= units as usize);
            prop_assert_eq!(outcome.winners.len() + outcome.unsold as usize, units as usize);
            prop_assert!(outcome.winners.iter().all(|w| w.price >= Exact::from(reserve) && w.price <= w.bid));
            let again = sell(pricing, &bids, units, reserve);
            prop_assert_eq!(serde_json::to_vec(&outcome).unwrap(), serde_json::to_vec(&again).unwrap());
        }
    }

    #[test]
    fn bundles_are_what_brute_force_finds(bids in any_bids()) {
        let best = |without: usize| -> Exact {
            (0_usize..1 << bids.len()).filter_map(|chosen| {
                let mut items = Vec::new();
                let mut bidders = Vec::new();
                let mut sum = Exact::zero();
                for (_, bid) in bids.iter().enumerate().filter(|(b, _)| chosen >> b & 1 == 1) {
                    let clash = bid.bidder == without || bidders.contains(&bid.bidder) || bid.items.iter().any(|i| items.contains(i));
                    if clash { return None; }
                    items.extend(bid.items.iter().copied());
                    bidders.push(bid.bidder);
                    sum = sum + bid.value.clone();
                }
                Some(sum)
            }).max().unwrap()
        };
        let awarded = combinatorial::award(5, &bids).unwrap();
        prop_assert_eq!(&awarded.value, &best(usize::MAX));
        let together: Exact = awarded.winners.iter().map(|&w| &bids[w].value).sum();
        prop_assert_eq!(&together, &awarded.value);
        for (&winner, price) in awarded.winners.iter().zip(&awarded.prices) {
            let bid = &bids[winner];
            prop_assert!(!bid.value.is_zero() && !price.is_negative() && price <= &bid.value);
            prop_assert_eq!(price, &(best(bid.bidder) - (&awarded.value - &bid.value)));
        }
    }
}
