//! What cannot be negotiated by is told, with the place.

use crate::deal::{Life, opened};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn refused(protocol: &str, cases: Vec<(Value, &str)>) {
    for (rules, at) in cases {
        let error = opened(protocol, &["a", "b", "m"], rules.clone(), Value::Null).unwrap_err();
        assert_eq!(error.field.as_deref(), Some(at), "{rules}: {}", error.message);
        assert!(!error.message.is_empty());
    }
}

fn record(record: Value) -> Value {
    json!({ "track_records": { "a": record } })
}

#[test]
fn rules_of_a_contract_net() {
    let many: BTreeMap<String, u32> = (0..101).map(|i| (i.to_string(), 1)).collect();
    let long: Vec<Value> = vec![json!({}); 51];
    refused(
        "contract_net",
        vec![
            (json!({ "utility": {} }), "/rules/utility"),
            (json!({ "utility": { "price": 0, "time": 0 } }), "/rules/utility"),
            (json!({ "utility": { "price": -1, "time": 2 } }), "/rules/utility/price"),
            (json!({ "utility": { "speed": 1 } }), "/rules/utility/speed"),
            (json!({ "utility": { "time": "x" } }), "/rules/utility/time"),
            (json!({ "reserve": -1 }), "/rules/reserve"),
            (json!({ "max_time_ms": 0 }), "/rules/max_time_ms"),
            (json!({ "max_time_ms": 604_800_001 }), "/rules/max_time_ms"),
            (json!({ "commit_ms": 9 }), "/rules/commit_ms"),
            (json!({ "needs": { "gpu": -1 } }), "/rules/needs/gpu"),
            (json!({ "needs": { "": 1 } }), "/rules/needs"),
            (json!({ "needs": many }), "/rules/needs"),
            (json!({ "result": true, "result_slack": 0.9 }), "/rules/result_slack"),
            (json!({ "result": true, "result_ms": 9 }), "/rules/result_ms"),
            (json!({ "result_slack": 2 }), "/rules/result_slack"),
            (json!({ "result_ms": 100 }), "/rules/result_ms"),
            (record(json!({ "time_ratio": 1 })), "/rules/track_records/a/results"),
            (record(json!({ "results": 1_000_001 })), "/rules/track_records/a/results"),
            (record(json!({ "results": 1, "kept": 1.01 })), "/rules/track_records/a/kept"),
            (record(json!({ "results": 1, "price_ratio": -1 })), "/rules/track_records/a/price_ratio"),
            (record(json!({ "history": long })), "/rules/track_records/a/history"),
            (
                record(json!({ "history": [{ "promised_ms": 0 }] })),
                "/rules/track_records/a/history/0/promised_ms",
            ),
            (
                record(json!({ "history": [{ "promised_price": 0 }] })),
                "/rules/track_records/a/history/0/promised_price",
            ),
            (
                record(json!({ "history": [{ "actual_price": -1 }] })),
                "/rules/track_records/a/history/0/actual_price",
            ),
            (json!({ "x": 1 }), "/rules/x"),
        ],
    );
}

#[test]
fn bids_commitments_and_results() {
    let mut life =
        Life::new("contract_net", &["a", "b"], json!({ "utility": { "time": 1 }, "result": true }));
    for (bid, at) in [
        (json!({}), "/response"),
        (json!(7), "/response"),
        (json!({ "price": -1, "time_ms": 1 }), "/response/price"),
        (json!({ "price": "1/0", "time_ms": 1 }), "/response/price"),
        (json!({ "price": 1e300, "time_ms": 1 }), "/response/price"),
        (json!({ "price": 1 }), "/response/time_ms"),
        (json!({ "price": 1, "time_ms": 0 }), "/response/time_ms"),
        (json!({ "price": 1, "time_ms": 1, "confidence": 1.5 }), "/response/confidence"),
        (json!({ "price": 1, "time_ms": 1, "resources": { "x": -1 } }), "/response/resources/x"),
        (json!({ "price": 1, "time_ms": 1, "colour": "red" }), "/response/colour"),
    ] {
        assert_eq!(life.refused("a", bid.clone()), at, "{bid}");
    }
    life.says("a", json!({ "price": 1, "time_ms": 1 })).abstains("b");
    for (said, at) in [
        (json!({}), "/response"),
        (json!({ "accept": "yes" }), "/response/accept"),
        (json!({ "accept": true, "award": 2 }), "/response/award"),
        (json!({ "accept": false, "why": "x".repeat(1_001) }), "/response/why"),
        (json!({ "result": 1 }), "/response/result"),
    ] {
        assert_eq!(life.refused("a", said.clone()), at, "{said}");
    }
    life.says("a", json!({ "accept": true }));
    for (said, at) in
        [(json!({ "failed": "" }), "/response/failed"), (json!({ "failed": 1 }), "/response/failed")]
    {
        assert_eq!(life.refused("a", said.clone()), at, "{said}");
    }
}

#[test]
fn rules_of_offers() {
    refused(
        "offers",
        vec![
            (json!({ "accept": { "count": 0 } }), "/rules/accept/count"),
            (json!({ "accept": { "count": 4 } }), "/rules/accept/count"),
            (json!({ "accept": { "count": 3 }, "mediator": "m" }), "/rules/accept/count"),
            (json!({ "accept": { "share": 0 } }), "/rules/accept/share"),
            (json!({ "accept": { "share": "4/3" } }), "/rules/accept/share"),
            (json!({ "max_rounds": 0 }), "/rules/max_rounds"),
            (json!({ "max_rounds": 51 }), "/rules/max_rounds"),
            (json!({ "mediator": "z" }), "/rules/mediator"),
            (json!({ "proposer": "z" }), "/rules/proposer"),
            (json!({ "proposer": "m", "mediator": "m" }), "/rules/proposer"),
            (json!({ "proposer": "a", "initial": 1 }), "/rules/proposer"),
            (json!({ "initial": "x".repeat(17_000) }), "/rules/initial"),
            (json!({ "default": "x".repeat(17_000) }), "/rules/default"),
        ],
    );
    let error = opened("offers", &["m"], json!({ "mediator": "m" }), Value::Null).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("/rules/mediator"));
}

#[test]
fn rules_of_an_emergency() {
    let with = |key: &str, value: Value| {
        let mut rules = json!({ "procedure": "p", "roles": { "r": ["a", "b"] } });
        rules[key] = value;
        rules
    };
    let many: Vec<String> = vec!["x".into(); 101];
    refused(
        "emergency",
        vec![
            (json!({}), "/rules"),
            (json!({ "procedure": "p" }), "/rules/roles"),
            (with("procedure", json!("")), "/rules/procedure"),
            (with("steps", json!([""])), "/rules/steps/0"),
            (with("steps", json!(many)), "/rules/steps"),
            (with("role_steps", json!({ "s": [] })), "/rules/role_steps/s"),
            (with("roles", json!({})), "/rules/roles"),
            (with("roles", json!({ "r": [] })), "/rules/roles/r"),
            (with("roles", json!({ "": ["a"] })), "/rules/roles"),
            (with("roles", json!({ "r": ["a", "z"] })), "/rules/roles/r/1"),
            (with("roles", json!({ "r": ["a", "a"] })), "/rules/roles/r/1"),
            (with("acknowledge_ms", json!(9)), "/rules/acknowledge_ms"),
            (with("escalation", json!(["z"])), "/rules/escalation/0"),
            (with("escalation", json!(["m", "m"])), "/rules/escalation/1"),
            (with("required", json!({ "count": 0 })), "/rules/required/count"),
            (with("required", json!({ "count": 3 })), "/rules/required/count"),
            (with("required", json!("some")), "/rules/required"),
        ],
    );
}
