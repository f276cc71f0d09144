//! Negotiations as entities: what survives, what is owed, what is refused, and that each is decided once.

use crate::shard::{Shard, meta, negotiation_key, refused, registration, start, taken};
use serde_json::{Value, json};
use synod_ledger::{Effect, Input, Past, Released, Subject};
use synod_negotiation::Negotiation;
use synod_protocol::event::What;
use synod_protocol::negotiation::RespondNegotiation;
use synod_protocol::{Code, Command, Json};

/// A vote between x and y, with `more` over it.
fn vote(id: &str, more: &Value) -> Value {
    let mut body = json!({"negotiation_id": id, "protocol": "vote", "question": "which?",
        "rules": {"candidates": ["x", "y"], "method": "plurality"}, "participants": ["a", "b", "c"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

fn open(shard: &mut Shard, id: &str, more: &Value) -> Value {
    taken(&shard.ask("synod.negotiation.open", &vote(id, more))).0
}

fn says(id: &str, who: &str, what: &str) -> Value {
    json!({"negotiation_id": id, "participant": who, "response": what})
}

const RESPOND: &str = "synod.negotiation.respond";

fn it<'a>(shard: &'a Shard, id: &str) -> &'a Negotiation {
    shard.owner.state().negotiation(&negotiation_key(id)).expect("a negotiation")
}

fn decided(shard: &Shard, id: &str) -> Value {
    it(shard, id).outcome().map_or(Value::Null, |outcome| outcome.to::<Value>().unwrap()["decided"].clone())
}

fn asked(shard: &Shard) -> Vec<(&str, u32)> {
    shard.asks.iter().map(|ask| (ask.participant.as_str(), ask.round)).collect()
}

#[test]
fn a_vote_is_asked_answered_and_decided_the_moment_nothing_can_change_it() {
    let mut shard = Shard::with(&["a", "b"]);
    let view = open(&mut shard, "n", &json!({}));
    assert_eq!((&view["status"], &view["rounds"][0]["kind"]), (&json!("open"), &json!("ballot")));
    assert_eq!(asked(&shard), [("a", 1), ("b", 1)], "c is no agent, and answers by itself");
    let (brief, _) = taken(&shard.ask(RESPOND, &says("n", "a", "x")));
    assert_eq!(
        (&brief["status"], &brief["answers"], &brief["awaited"]),
        (&json!("collecting"), &json!(1), &json!(2))
    );
    taken(&shard.ask(RESPOND, &says("n", "c", "x")));
    assert_eq!(decided(&shard, "n"), "x", "b cannot change it");
    assert_eq!(shard.story("n"), "opened asked responded responded round_closed decided");
    assert_eq!(
        refused(&shard.ask(RESPOND, &says("n", "b", "y"))),
        (Code::InvalidTransition, Some("decided"))
    );
    shard.wait(100_000);
    assert_eq!(shard.story("n"), "opened asked responded responded round_closed decided", "once");
}

#[test]
fn who_was_not_asked_who_is_late_and_what_is_no_answer_are_refused() {
    let mut shard = Shard::with(&[]);
    open(&mut shard, "n", &json!({}));
    for (what, body, code) in [
        ("a stranger", says("n", "z", "x"), Code::PermissionDenied),
        ("no candidate", says("n", "a", "z"), Code::InvalidArgument),
        (
            "no ballot",
            json!({"negotiation_id": "n", "participant": "a", "response": [1]}),
            Code::InvalidArgument,
        ),
        (
            "another round",
            json!({"negotiation_id": "n", "participant": "a", "round": 2, "response": "x"}),
            Code::InvalidTransition,
        ),
        ("nobody's", says("m", "a", "x"), Code::NotFound),
    ] {
        assert_eq!(refused(&shard.ask(RESPOND, &body)).0, code, "{what}");
    }
    assert_eq!(shard.story("n"), "opened");
    for (what, more, code) in [
        ("a protocol that is not known", json!({"protocol": "guess"}), Code::InvalidArgument),
        ("rules that are none", json!({"rules": {"candidates": []}}), Code::InvalidArgument),
        ("a quorum of more than there are", json!({"quorum": {"count": 4}}), Code::Unprocessable),
        (
            "a deadline that has passed",
            json!({"deadline": crate::shard::at(0).to_string()}),
            Code::InvalidArgument,
        ),
        ("a weight of a stranger", json!({"weights": {"z": 1}}), Code::InvalidArgument),
        ("no weight at all", json!({"weights": {"a": 0, "b": 0, "c": 0}}), Code::InvalidArgument),
        ("an answer that is none", json!({"answers": {"a": "z"}}), Code::InvalidArgument),
        ("nobody who can", json!({"participants": null, "invite": {"capability": "c"}}), Code::Unprocessable),
    ] {
        let answer = shard.ask("synod.negotiation.open", &vote("wrong", &more));
        assert_eq!(refused(&answer).0, code, "{what}: {answer:?}");
    }
    assert!(shard.owner.state().negotiation(&negotiation_key("wrong")).is_none());
}

#[test]
fn a_second_answer_does_what_the_opener_said() {
    for (repeated, want, code) in
        [("first", "x", None), ("last", "y", None), ("refused", "x", Some(Code::AlreadyExists))]
    {
        let mut shard = Shard::with(&[]);
        open(&mut shard, "n", &json!({"repeated": repeated, "participants": ["a", "b"], "round_ms": 1_000}));
        taken(&shard.ask(RESPOND, &says("n", "a", "x")));
        taken(&shard.ask(RESPOND, &says("n", "a", "x")));
        assert_eq!(shard.story("n"), "opened responded", "the same again changes nothing");
        let second = shard.ask(RESPOND, &says("n", "a", "y"));
        assert_eq!(second.as_ref().err().map(|error| error.code), code, "{repeated}");
        shard.wait(1_000);
        assert_eq!(decided(&shard, "n"), want, "{repeated}");
        let uncounted: Vec<_> = it(&shard, "n").uncounted.iter().map(|one| one.reason.as_str()).collect();
        let reasons: &[&str] = match repeated {
            "first" => &["an earlier answer counts"],
            "last" => &["replaced by a later answer"],
            _ => &[],
        };
        assert_eq!(uncounted, reasons);
    }
}

#[test]
fn when_time_is_up_it_does_what_the_opener_said() {
    for (on_timeout, answers, story, want) in [
        (json!("decide"), 1, "opened responded round_closed decided", json!("x")),
        (json!("decide"), 0, "opened failed", Value::Null),
        (json!("fail"), 1, "opened responded failed", Value::Null),
        (json!("extend"), 1, "opened responded extended round_closed decided", json!("x")),
        (json!({"default": {"decided": "z"}}), 1, "opened responded round_closed decided", json!("z")),
    ] {
        let mut shard = Shard::with(&[]);
        open(&mut shard, "n", &json!({"on_timeout": on_timeout, "round_ms": 1_000}));
        for who in ["a", "b"].iter().take(answers) {
            taken(&shard.ask(RESPOND, &says("n", who, "x")));
        }
        shard.wait(999);
        assert!(!it(&shard, "n").status.is_final());
        shard.wait(1_001);
        assert_eq!((shard.story("n").as_str(), decided(&shard, "n")), (story, want), "{on_timeout}");
    }
}

#[test]
fn one_whose_end_is_too_large_for_a_record_ends_all_the_same() {
    let mut shard = Shard::with(&[]);
    // It stands once in what opens it, and twice in what decides it: as the outcome, and as the input of what that starts.
    let outcome = json!({"decided": "z", "why": "z".repeat(crate::shard::RECORD_LIMIT * 2 / 3)});
    let more =
        json!({"on_timeout": {"default": outcome}, "round_ms": 1_000, "then": {"task": {"capability": "c"}}});
    open(&mut shard, "n", &more);
    taken(&shard.ask(RESPOND, &says("n", "a", "x")));
    shard.wait(1_000);
    assert_eq!(shard.story("n"), "opened responded failed");
    let found = it(&shard, "n").reason.as_deref();
    assert_eq!(found, Some("what follows from round 1 does not fit into one record of the ledger"));
    let made = synod_negotiation::certificate(&negotiation_key("n").workspace, it(&shard, "n")).unwrap();
    let verified = synod_negotiation::verify(&made.text(), synod_negotiation::Protocols::standard());
    assert!(verified.holds(), "{verified:?}");
}

#[test]
fn an_abstention_is_no_silence() {
    let mut shard = Shard::with(&[]);
    open(
        &mut shard,
        "n",
        &json!({"quorum": {"share": "2/3"}, "participants": ["a", "b", "c"], "round_ms": 1_000}),
    );
    taken(&shard.ask(RESPOND, &says("n", "a", "x")));
    taken(&shard.ask(RESPOND, &json!({"negotiation_id": "n", "participant": "b", "abstain": true})));
    shard.wait(1_000);
    assert_eq!(decided(&shard, "n"), "x", "two of three took part");
    open(
        &mut shard,
        "m",
        &json!({"quorum": {"share": "2/3"}, "participants": ["a", "b", "c"], "round_ms": 1_000}),
    );
    taken(&shard.ask(RESPOND, &says("m", "a", "x")));
    shard.wait(1_000);
    assert_eq!(it(&shard, "m").reason.as_deref(), Some("no quorum: 1 answered, 2 were needed"));
}

#[test]
fn who_dies_is_not_waited_for_and_who_comes_again_is_asked_again() {
    let mut shard = Shard::with(&["a", "b"]);
    open(&mut shard, "n", &json!({"participants": ["a", "b"]}));
    taken(&shard.ask("synod.agent.register", &registration("a", 2, &json!({}))));
    shard.owner.fleet_changed();
    shard.turn();
    assert_eq!(asked(&shard), [("a", 1), ("b", 1), ("a", 1)]);
    assert_eq!(shard.asks[2].incarnation, start(2));
    taken(&shard.ask(RESPOND, &says("n", "a", "y")));
    taken(&shard.ask("synod.agent.deregister", &json!({"agent_id": "b"})));
    shard.owner.fleet_changed();
    shard.turn();
    assert_eq!(decided(&shard, "n"), "y");
    let gone = it(&shard, "n").rounds[0].gone.values().next().cloned();
    assert_eq!(gone.as_deref(), Some("agent b has left"));
}

#[test]
fn one_that_dies_is_replaced_by_another_that_can() {
    let mut shard = Shard::with(&["a", "b", "d"]);
    let invite = json!({"participants": null, "invite": {"capability": "c", "max": 2}, "replace": true});
    open(&mut shard, "n", &invite);
    assert_eq!(asked(&shard), [("a", 1), ("b", 1)]);
    taken(&shard.ask("synod.agent.deregister", &json!({"agent_id": "b"})));
    shard.owner.fleet_changed();
    shard.turn();
    assert_eq!(asked(&shard), [("a", 1), ("b", 1), ("d", 1)]);
    taken(&shard.ask(RESPOND, &says("n", "a", "y")));
    taken(&shard.ask(RESPOND, &says("n", "d", "y")));
    assert_eq!(decided(&shard, "n"), "y");
}

#[test]
fn what_is_secret_is_neither_shown_nor_published_before_the_round_closes() {
    let mut shard = Shard::with(&[]);
    open(&mut shard, "n", &json!({"participants": ["a", "b"]}));
    taken(&shard.ask(RESPOND, &says("n", "a", "y")));
    let view = taken(&shard.read(&Subject::Negotiation(negotiation_key("n")))).0;
    assert!(view["rounds"][0]["answers"]["a"]["response"].is_null(), "{view}");
    let responded =
        shard.told.iter().find(|told| matches!(told.what, What::NegotiationResponded(_))).unwrap();
    let event = synod_protocol::Event { entity: "n".parse().unwrap(), what: responded.what.clone() };
    let published: Value = event.public_value().unwrap().to().unwrap();
    assert!(published.get("response").is_none(), "{published}");
    let opened = shard.told.iter().find(|told| matches!(told.what, What::NegotiationOpened(_))).unwrap();
    let event = synod_protocol::Event { entity: "n".parse().unwrap(), what: opened.what.clone() };
    assert!(event.public_value().unwrap().to::<Value>().unwrap().get("secret").is_none());
    taken(&shard.ask(RESPOND, &says("n", "b", "y")));
    let view = taken(&shard.read(&Subject::Negotiation(negotiation_key("n")))).0;
    assert_eq!(view["rounds"][0]["answers"]["a"]["response"], "y");
}

/// The owner dies with each number of steps made: whoever comes next finds the same, and asks again whoever is awaited.
#[test]
fn a_take_over_at_any_moment_loses_nothing_and_decides_once() {
    for after in 0..3 {
        let mut shard = Shard::with(&["a", "b", "c"]);
        let more = json!({"then": {"task": {"capability": "c"}}});
        open(&mut shard, "n", &more);
        let answers = [("a", "x"), ("b", "y"), ("c", "x")];
        for (who, what) in answers.iter().take(after) {
            taken(&shard.ask(RESPOND, &says("n", who, what)));
        }
        let before = it(&shard, "n").clone();
        let released = shard.succeed();
        assert_eq!(*it(&shard, "n"), before);
        let again: Vec<String> = released
            .iter()
            .flat_map(|one| match one {
                Released::Again(effects) | Released::Effects { effects, .. } => effects.as_slice(),
                _ => &[],
            })
            .filter_map(|effect| match effect {
                Effect::Deliver { agent, envelope, .. } if envelope.ty == "synod.negotiation.asked" => {
                    Some(agent.agent.to_string())
                }
                _ => None,
            })
            .collect();
        for (who, _) in answers.iter().skip(after) {
            assert!(again.iter().any(|agent| agent == who), "{who} is asked again: {again:?}");
        }
        for (who, what) in answers.iter().skip(after) {
            taken(&shard.ask(RESPOND, &says("n", who, what)));
        }
        assert_eq!(decided(&shard, "n"), "x");
        let ends = shard.told.iter().filter(|told| matches!(told.what, What::NegotiationDecided(_))).count();
        assert_eq!(ends, 1);
        assert!(shard.story("n:then").starts_with("submitted assigned"), "{}", shard.story("n:then"));
    }
}

#[test]
fn the_same_again_is_answered_with_it_and_another_is_refused() {
    let mut shard = Shard::with(&[]);
    open(&mut shard, "n", &json!({}));
    let (_, made) = taken(&shard.ask("synod.negotiation.open", &vote("n", &json!({}))));
    assert!(!made);
    let other = shard.ask("synod.negotiation.open", &vote("n", &json!({"round_ms": 99})));
    assert_eq!(refused(&other).0, Code::AlreadyExists);
    taken(&shard.ask("synod.negotiation.cancel", &json!({"negotiation_id": "n", "reason": "never mind"})));
    taken(&shard.ask("synod.negotiation.cancel", &json!({"negotiation_id": "n"})));
    assert_eq!(shard.story("n"), "opened cancelled");
    // Long after, it has left memory: whoever asks is told where it is.
    shard.wait(700_000);
    open(&mut shard, "m", &json!({}));
    assert!(shard.owner.state().negotiation(&negotiation_key("n")).is_none());
    shard.past.clear();
    for (ty, body) in [
        ("synod.negotiation.open", vote("n", &json!({}))),
        (RESPOND, says("n", "a", "x")),
        ("synod.negotiation.cancel", json!({"negotiation_id": "n"})),
    ] {
        shard.happen_asked(ty, &body);
    }
    let past: Vec<&Past> = shard.past.iter().map(|(_, past)| past).collect();
    assert!(
        matches!(
            past[..],
            [Past::Opened { .. }, Past::NegotiationEnded { .. }, Past::NegotiationEnded { .. }]
        ),
        "{past:?}"
    );
}

#[test]
fn answers_that_would_not_fit_into_a_record_are_refused() {
    let mut shard = Shard::with(&[]);
    open(&mut shard, "n", &json!({"repeated": "last"}));
    let mut codes = Vec::new();
    for times in 0..15 {
        let choice = if times % 2 == 0 { "x" } else { "y" };
        // What stands there weighs, white space too, and what was replaced as well: it stays on record.
        let text = format!("{{\"choice\":{}\"{choice}\"}}", " ".repeat(40_000));
        let command = Box::new(Command::RespondNegotiation(RespondNegotiation {
            negotiation_id: "n".parse().unwrap(),
            participant: "a".parse().unwrap(),
            round: None,
            response: Some(Json::parse(&text).unwrap()),
            abstain: None,
        }));
        shard.answers.clear();
        shard.happen(&Input::Command { command, meta: meta(&format!("ce-a-{times}"), None) }, Some(0));
        codes.push(shard.answers.pop().unwrap().1.err().map(|error| error.code));
    }
    let refused = codes.iter().position(Option::is_some);
    assert_eq!((refused, codes[13]), (Some(13), Some(Code::PayloadTooLarge)), "within 512 KiB: {codes:?}");
}
