//! Decisions in one go.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::life::holds;
use serde_json::{Value, json};
use synod_negotiation::Protocols;
use synod_negotiation::tools::{aggregate_votes, coordinate, resolve_conflict};
use synod_protocol::{Code, Error, Json, Timestamp};

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn coordinated(input: Value) -> Result<Json, Error> {
    coordinate(Protocols::standard(), &input.into(), now())
}

fn check(found: Result<Json, Error>, part: &Value) {
    let found: Value = found.unwrap().to().unwrap();
    assert!(holds(&found, part), "{found}\nholds no {part}");
}

fn refused(found: Result<Json, Error>, field: &str) -> Error {
    let error = found.err().unwrap_or_else(|| panic!("{field} is taken"));
    assert_eq!(error.field.as_deref(), Some(field), "{}", error.message);
    error
}

#[test]
fn any_protocol_of_one_round() {
    let auction = json!({ "protocol": "auction", "answers": { "a": 3, "b": 3, "c": null } });
    check(
        coordinated(auction.clone()),
        &json!({ "status": "decided", "outcome": { "winner": "a", "price_each": 3 } }),
    );
    let mut in_order = auction;
    in_order["participants"] = json!(["d", "c", "b", "a"]);
    check(coordinated(in_order), &json!({ "outcome": { "winner": "b" } }));
    let vote = json!({ "protocol": "vote", "rules": { "candidates": ["x", "y"], "method": "plurality" },
        "answers": { "a": "x", "b": "y" }, "weights": { "b": 2 } });
    check(coordinated(vote.clone()), &json!({ "outcome": { "decided": "y", "support": 2 } }));
    let mut tie = vote;
    tie["weights"] = json!({});
    check(coordinated(tie), &json!({ "status": "failed", "outcome": { "tied": ["x", "y"] } }));
    let same = json!({ "protocol": "resolve", "rules": { "half_life_ms": 1_000 }, "now": "2026-01-01T00:00:01Z",
        "answers": { "a": { "value": 1, "observed_at": "2026-01-01T00:00:00Z" } } });
    check(coordinated(same), &json!({ "outcome": { "weights": { "a": { "discount": 0.5 } } } }));
}

#[test]
fn what_cannot_be_coordinated_is_told() {
    let auction = |more: Value| {
        let mut input = json!({ "protocol": "auction", "answers": { "a": 3 } });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        coordinated(input)
    };
    refused(auction(json!({ "protocol": "raffle" })), "/protocol");
    refused(auction(json!({ "rules": { "units": 0 } })), "/rules/units");
    refused(auction(json!({ "answers": { "a": { "bid": -1 } } })), "/answers/a/bid");
    refused(auction(json!({ "answers": {} })), "/answers");
    refused(auction(json!({ "participants": ["b"] })), "/answers/a");
    refused(auction(json!({ "participants": ["a", "a"] })), "/participants/1");
    refused(auction(json!({ "weights": { "b": 1 } })), "/weights/b");
    refused(auction(json!({ "weights": { "a": -1 } })), "/weights/a");
    refused(auction(json!({ "colour": 1 })), "/colour");
    let many: serde_json::Map<String, Value> = (0..1_001).map(|i| (format!("a{i}"), json!(1))).collect();
    refused(auction(json!({ "answers": many })), "/answers");
    let risk = json!({ "protocol": "assess_risk", "answers": { "a": 0, "b": 1 },
        "rules": { "scale": { "min": 0, "max": 1, "epsilon": 0 } } });
    assert_eq!(refused(coordinated(risk.clone()), "/answers").code, Code::Unprocessable);
    let mut close = risk;
    close["answers"] = json!({ "a": 1, "b": 1 });
    check(coordinated(close), &json!({ "outcome": { "verdict": "converged", "level": "critical" } }));
}

#[test]
fn votes_in_their_shortest_form() {
    let count = |input: Value| aggregate_votes(&input.into());
    check(
        count(json!({ "ballots": ["x", "y", "x", null] })),
        &json!({ "decided": "x", "turnout": { "cast": 3 } }),
    );
    check(
        count(json!({ "ballots": { "a": "x", "b": "y" }, "weights": { "b": "3/2" } })),
        &json!({ "decided": "y", "support": "3/2" }),
    );
    check(count(json!({ "ballots": ["x", "y"], "weights": [2, 1] })), &json!({ "decided": "x" }));
    check(
        count(json!({ "ballots": ["y", "x"] })),
        &json!({ "decided": null, "reason": "tie", "tied": ["x", "y"] }),
    );
    check(count(json!({ "ballots": ["y", "x"], "ties": "order" })), &json!({ "decided": "x" }));
    check(
        count(json!({ "ballots": [["x", "y"], ["y"], ["z", "y"]], "method": "approval" })),
        &json!({ "decided": "y", "support": 3 }),
    );
    check(
        count(json!({ "ballots": [["x", "y"], ["y", "x"], ["y", "x"]], "method": { "borda": {} } })),
        &json!({ "decided": "y" }),
    );
    check(
        count(
            json!({ "ballots": [{ "scores": { "x": 3, "y": 1 } }], "method": { "score": { "min": 0, "max": 5 } } }),
        ),
        &json!({ "decided": "x" }),
    );
    check(
        count(json!({ "ballots": ["x", "x", "y"], "threshold": "3/4" })),
        &json!({ "decided": null, "reason": "below_threshold", "winners": ["x"] }),
    );
    refused(count(json!({ "ballots": ["x", "z"], "candidates": ["x", "y"] })), "/ballots/1");
    refused(count(json!({ "ballots": ["x", 3] })), "/ballots/1");
    refused(count(json!({ "ballots": [["x", "x"]] })), "/ballots/0/1");
    refused(count(json!({ "ballots": [{ "ranking": ["x", "x"] }] })), "/ballots/0/ranking/1");
    refused(count(json!({ "ballots": ["x"], "weights": [-1] })), "/weights/0");
    refused(count(json!({ "ballots": ["x"], "weights": [1, 1] })), "/weights");
    refused(count(json!({ "ballots": ["x"], "threshold": 2 })), "/threshold");
    refused(count(json!({ "ballots": [] })), "/candidates");
    refused(count(json!({ "ballots": vec!["x"; 1_001] })), "/ballots");
    refused(count(json!({ "ballots": 3 })), "/ballots");
}

#[test]
fn conflicts() {
    let resolve = |input: Value| resolve_conflict(&input.into(), now());
    let claims = json!([{ "source": "a", "label": "x" }, { "source": "b", "label": "x" }, { "source": "c", "label": "y" }]);
    check(resolve(json!({ "claims": claims })), &json!({ "verdict": "agreed", "label": "x" }));
    check(
        resolve(json!({ "claims": claims, "rules": { "agree_share": 0.9 } })),
        &json!({ "verdict": "contested", "camps": [{ "label": "x" }, { "label": "y" }] }),
    );
    let aged = json!([{ "source": "a", "value": 1, "observed_at": now().minus_millis(1_000).to_string() }]);
    check(
        resolve(json!({ "claims": aged, "rules": { "half_life_ms": 1_000 } })),
        &json!({ "weights": { "a": { "discount": 0.5 } } }),
    );
    refused(resolve(json!({ "claims": [] })), "/claims");
    refused(resolve(json!({ "claims": claims, "rules": { "tolerance": -1 } })), "/rules/tolerance");
    refused(resolve(json!({ "claims": [{ "source": "a" }] })), "/claims/0");
}

/// The page of the tools says what is so.
#[test]
fn the_examples_of_the_page_are_so() {
    let page = include_str!("../../../docs/negotiation/tools.md");
    let mut ran = 0;
    for block in page.split("```json\n").skip(1) {
        let example: Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
        let input: Json = example["input"].clone().into();
        let found = match example["tool"].as_str().unwrap() {
            "coordinate" => coordinate(Protocols::standard(), &input, now()),
            "aggregate_votes" => aggregate_votes(&input),
            "resolve_conflict" => resolve_conflict(&input, now()),
            other => Ok(crate::requests::told(other, &example["input"]).into()),
        };
        check(found, &example["answer"]);
        ran += 1;
    }
    assert_eq!(ran, 9);
}
