//! Short bodies that open negotiations: what they open, what is decided at once, and where an error stands.

#![allow(clippy::unwrap_used)] // a test's way to fail

use crate::life::holds;
use serde_json::{Value, json};
use synod_negotiation::requests::{
    Asking, AssessRisk, DecideByConsensus, DeclareEmergency, DivideResources, Divided, FuseMethod,
    FuseSignals, Request,
};
use synod_negotiation::{Opening, Protocols, open};
use synod_protocol::event::What;
use synod_protocol::{EntityId, Error, Exact, Json, Timestamp};

fn opened<R: Request>(request: &R) -> Result<Vec<What>, Error> {
    let id: EntityId = "n".parse().unwrap();
    let opening = Opening {
        now: Timestamp::from_millis(1_800_000_000_000),
        seed: "00".to_owned(),
        invited: ["i1", "i2"].map(|id| id.parse().unwrap()).to_vec(),
        correlation_id: "c".to_owned(),
        traceparent: None,
    };
    let command = request.open(request.named().cloned().unwrap_or(id))?;
    synod_protocol::Command::OpenNegotiation(Box::new(command.clone()))
        .check()
        .and_then(|()| {
            open(
                Protocols::standard(),
                &command,
                Opening { invited: invited(&command, opening.invited.clone()), ..opening },
            )
        })
        .map_err(|error| request.placed(error))
}

/// Who is found, where somebody is looked for.
fn invited(
    command: &synod_protocol::negotiation::OpenNegotiation,
    there: Vec<synod_protocol::Id>,
) -> Vec<synod_protocol::Id> {
    if command.invite.is_some() { there } else { Vec::new() }
}

/// Reads the body as the tool does and opens what it asks for.
fn events(tool: &str, input: Value) -> Result<Vec<What>, Error> {
    fn read<R: Request + serde::de::DeserializeOwned>(input: Value) -> Result<Vec<What>, Error> {
        opened(&synod_protocol::codec::read_at::<R>(Json::from(input).as_str(), "")?)
    }
    match tool {
        "fuse_signals" => read::<FuseSignals>(input),
        "assess_risk" => read::<AssessRisk>(input),
        "divide_resources" => read::<DivideResources>(input),
        "decide_by_consensus" => read::<DecideByConsensus>(input),
        "declare_emergency" => read::<DeclareEmergency>(input),
        other => panic!("{other} is no tool"),
    }
}

/// What is shown of a negotiation that such a body opens.
pub(crate) fn told(tool: &str, input: Value) -> Value {
    let events = events(tool, input).unwrap();
    let opened = events.iter().find_map(|event| match event {
        What::NegotiationOpened(opened) => Some(opened),
        _ => None,
    });
    let decided = events.iter().find_map(|event| match event {
        What::NegotiationDecided(decided) => Some(json!({"status": "decided", "outcome": decided.outcome})),
        _ => None,
    });
    decided.unwrap_or_else(|| {
        let opened = opened.unwrap();
        let first = &opened.first;
        // Answers that are known from the beginning come with the opening.
        let is_answered = opened.secret.as_ref().is_some_and(|secret| !secret.answers.is_empty());
        let status = if is_answered { "collecting" } else { "open" };
        json!({"status": status, "rounds": [{"kind": first.kind, "asked": first.asked, "content": first.content}]})
    })
}

#[track_caller]
fn check(tool: &str, input: Value, part: &Value) {
    let found = told(tool, input);
    assert!(holds(&found, part), "{found}\nholds no {part}");
}

#[test]
fn what_is_given_is_decided_at_once() {
    check(
        "fuse_signals",
        json!({"signals": {"a": 20, "b": {"value": 22}}}),
        &json!({"outcome": {"value": 21.0}}),
    );
    check(
        "fuse_signals",
        json!({"signals": {"a": "spam", "b": "ham"}, "weights": {"b": 2}, "categories": ["spam", "ham"]}),
        &json!({"outcome": {"winner": "ham"}}),
    );
    check(
        "assess_risk",
        json!({"estimates": {"a": 0.2, "b": 0.9}}),
        &json!({"status": "decided", "outcome": {"rounds_used": 1, "risk": 0.55, "level": "high"}}),
    );
    check(
        "divide_resources",
        json!({"capacity": 10, "demands": {"a": 2, "b": 9}, "tiers": {"b": {"minimum": 9}}}),
        &json!({"outcome": {"users": [{"user": "a", "amount": 1}, {"user": "b", "amount": 9}]}}),
    );
    check(
        "divide_resources",
        json!({"resources": {"cpu": 9}, "demands": {"a": {"per_task": {"cpu": 3}}}}),
        &json!({"outcome": {"users": [{"user": "a", "tasks": 3}]}}),
    );
    check(
        "decide_by_consensus",
        json!({"ballots": {"a": "yes", "b": "no", "c": "yes"}, "threshold": 0.6}),
        &json!({"outcome": {"decided": "yes"}}),
    );
}

#[test]
fn who_is_asked_is_waited_for() {
    let ask = json!({"agents": ["a", "b"]});
    check(
        "fuse_signals",
        json!({"signals": {"b": 1}, "ask": ask}),
        &json!({"rounds": [{"kind": "signal", "asked": ["a", "b"]}]}),
    );
    check(
        "assess_risk",
        json!({"ask": {"capability": "assess", "agents": ["z"]}, "question": "?"}),
        &json!({"rounds": [{"kind": "estimate", "asked": ["i1", "i2", "z"]}]}),
    );
    check(
        "declare_emergency",
        json!({"procedure": "fire", "roles": {"lead": ["a"], "scribe": ["a", "b"]}, "escalation": ["c", "a"]}),
        &json!({"rounds": [{"kind": "acknowledge", "asked": ["a", "b"], "content": {"procedure": "fire"}}]}),
    );
}

/// An error stands where the short body has it, never where the negotiation has it.
#[test]
fn errors_name_the_field_of_the_short_body() {
    for (tool, input, field) in [
        ("fuse_signals", json!({}), "/ask"),
        ("fuse_signals", json!({"ask": {}}), "/ask"),
        ("fuse_signals", json!({"ask": {"agents": ["a", "a"]}}), "/ask/agents/1"),
        ("fuse_signals", json!({"ask": {"agents": ["a"], "min": 2}}), "/ask/min"),
        ("fuse_signals", json!({"ask": {"capability": "c", "min": 3}}), "/ask/min"),
        ("fuse_signals", json!({"ask": {"agents": ["a"], "within_ms": 1}}), "/ask/within_ms"),
        ("fuse_signals", json!({"ask": {"agents": ["a"], "quorum": {"count": 2}}}), "/ask/quorum"),
        ("fuse_signals", json!({"signals": {"a": "x"}}), "/signals/a"),
        ("fuse_signals", json!({"signals": {"a": {"value": 1, "variance": -1}}}), "/signals/a/variance"),
        ("fuse_signals", json!({"signals": {"a": 1}, "weights": {"b": 1}}), "/weights/b"),
        ("fuse_signals", json!({"signals": {"a": 1}, "weights": {"a": -1}}), "/weights/a"),
        ("fuse_signals", json!({"signals": {"a": 1}, "trim": 0.7, "method": "trimmed_mean"}), "/trim"),
        ("fuse_signals", json!({"signals": {"a": 1}, "method": "weighted_vote"}), "/method"),
        ("fuse_signals", json!({"signals": {"a": 1}, "method": "guess"}), "/method"),
        ("fuse_signals", json!({"signals": {"a": 1}, "floor": 0.1}), "/floor"),
        ("fuse_signals", json!({"signals": {"a": "x"}, "categories": ["x", "x"]}), "/categories/1"),
        ("fuse_signals", json!({"signals": {"a": "x"}, "categories": ["x"], "unit": "C"}), "/unit"),
        ("fuse_signals", json!({"signals": {"a": "x"}, "categories": ["x"], "method": "median"}), "/method"),
        ("fuse_signals", json!({"signals": {"a": "z"}, "categories": ["x"]}), "/signals/a"),
        ("assess_risk", json!({}), "/ask"),
        ("assess_risk", json!({"estimates": {"a": 0.5}, "rounds_max": 2}), "/rounds_max"),
        ("assess_risk", json!({"ask": {"agents": ["a"]}, "rounds_max": 21}), "/rounds_max"),
        ("assess_risk", json!({"estimates": {"a": 2}}), "/estimates/a"),
        ("assess_risk", json!({"estimates": {"a": 0.5}, "faults": 1}), "/faults"),
        (
            "assess_risk",
            json!({"estimates": {"a": 0.5}, "scale": {"min": 1, "max": 0, "epsilon": 0}}),
            "/scale/max",
        ),
        ("divide_resources", json!({"demands": {"a": 1}}), "/capacity"),
        ("divide_resources", json!({"demands": {"a": 1}, "capacity": -1}), "/capacity"),
        (
            "divide_resources",
            json!({"demands": {"a": 1}, "capacity": 1, "resources": {"cpu": 1}}),
            "/resources",
        ),
        ("divide_resources", json!({"demands": {"a": -1}, "capacity": 1}), "/demands/a"),
        ("divide_resources", json!({"demands": {"a": 1}, "capacity": 1, "decimals": 2}), "/decimals"),
        ("divide_resources", json!({"demands": {"a": 1}, "capacity": 1, "tiers": {"b": {}}}), "/tiers/b"),
        (
            "divide_resources",
            json!({"demands": {"a": 1}, "capacity": 1, "tiers": {"a": {"minimum": -1}}}),
            "/tiers/a/minimum",
        ),
        ("divide_resources", json!({"demands": {"a": 1}, "capacity": 1, "weights": {"a": 0}}), "/weights/a"),
        (
            "divide_resources",
            json!({"demands": {"a": {"per_task": {}}}, "resources": {"b": 1, "cpu": -1}}),
            "/resources/cpu",
        ),
        (
            "divide_resources",
            json!({"demands": {"a": {"per_task": {"gpu": 1}}}, "resources": {"cpu": 1}}),
            "/demands/a/per_task/gpu",
        ),
        (
            "divide_resources",
            json!({"demands": {"a": {"per_task": {}}}, "resources": {"cpu": 1}, "decimals": 19}),
            "/decimals",
        ),
        (
            "divide_resources",
            json!({"demands": {"a": {"per_task": {}}}, "resources": {"cpu": 1}, "tiers": {}}),
            "/tiers",
        ),
        ("decide_by_consensus", json!({"ballots": {"a": "maybe"}}), "/ballots/a"),
        ("decide_by_consensus", json!({"ballots": {"a": "yes"}, "threshold": 2}), "/threshold"),
        ("decide_by_consensus", json!({"ballots": {"a": "yes"}, "weights": {"a": 0}}), "/weights"),
        ("declare_emergency", json!({"procedure": "", "roles": {"lead": ["a"]}}), "/procedure"),
        ("declare_emergency", json!({"procedure": "p", "roles": {}}), "/roles"),
        ("declare_emergency", json!({"procedure": "p", "roles": {"lead": []}}), "/roles/lead"),
        (
            "declare_emergency",
            json!({"procedure": "p", "roles": {"lead": ["a"]}, "escalation": ["b", "b"]}),
            "/escalation/1",
        ),
        (
            "declare_emergency",
            json!({"procedure": "p", "roles": {"lead": ["a"]}, "acknowledge_ms": 1}),
            "/acknowledge_ms",
        ),
        (
            "declare_emergency",
            json!({"procedure": "p", "roles": {"lead": ["a"]}, "required": {"count": 2}}),
            "/required/count",
        ),
        (
            "declare_emergency",
            json!({"procedure": "p", "roles": {"lead": ["a"]}, "role_steps": {"x": []}}),
            "/role_steps/x",
        ),
    ] {
        let error = events(tool, input.clone()).err().unwrap_or_else(|| panic!("{tool} takes {input}"));
        assert_eq!(error.field.as_deref(), Some(field), "{tool} {input}: {}", error.message);
    }
}

#[test]
fn a_program_says_the_same_in_few_words() {
    let fused = FuseSignals {
        method: Some(FuseMethod::Median),
        ..FuseSignals::of([("a", 1.0), ("b", 3.0)]).unwrap()
    };
    let found = &opened(&fused).unwrap()[1..];
    assert!(
        found.iter().any(|event| matches!(event, What::NegotiationDecided(decided)
        if fused.outcome(&decided.outcome).unwrap().value() == Some(2.0))),
        "{found:?}"
    );
    let divided = DivideResources::capacity(10).among([("a", 4), ("b", 9)]).unwrap();
    let found = opened(&divided).unwrap();
    let outcome = found.iter().find_map(|event| match event {
        What::NegotiationDecided(decided) => Some(divided.outcome(&decided.outcome).unwrap()),
        _ => None,
    });
    let outcome: Divided = outcome.unwrap();
    assert_eq!((outcome.amount("b"), outcome.amount("z")), (Some(&Exact::from(6)), None));
    let error = FuseSignals::of([("no name", 1.0)]).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("/signals/no name"));
    assert!(Asking::agents(["no name"]).is_err());
}
