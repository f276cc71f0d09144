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
fn an_invitation_without_a_capability_is_for_everyone_with_the_labels() {
    let mut shard = Shard::with(&["a", "b"]);
    let other = registration("d", 1, &json!({"capabilities": ["other"], "labels": {"site": "eu"}}));
    taken(&shard.ask("synod.agent.register", &other));
    let all = |shard: &mut Shard, id: &str, invite: &Value| {
        shard.asks.clear();
        open(shard, id, &json!({"participants": null, "invite": invite}));
        asked(shard).into_iter().map(|(who, _)| who.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all(&mut shard, "n", &json!({})), ["a", "b", "d"]);
    assert_eq!(all(&mut shard, "m", &json!({"capability": "other"})), ["d"]);
    assert_eq!(all(&mut shard, "o", &json!({"labels": {"site": "eu"}})), ["d"]);
    let nobody = vote("p", &json!({"participants": null, "invite": {"labels": {"site": "us"}}}));
    assert_eq!(refused(&shard.ask("synod.negotiation.open", &nobody)).0, Code::Unprocessable);
}

#[test]
fn an_emergency_is_urgent_and_so_is_whatever_is_said_to_be() {
    let rules = json!({"procedure": "p", "roles": {"lead": ["a"]}});
    let emergency = json!({"protocol": "emergency", "rules": rules, "participants": ["a"]});
    let mut calm = emergency.clone();
    calm["urgent"] = json!(false);
    for (more, urgent) in
        [(json!({}), false), (json!({"urgent": true}), true), (emergency, true), (calm, false)]
    {
        let mut shard = Shard::with(&["a"]);
        open(&mut shard, "n", &more);
        assert_eq!((it(&shard, "n").opened.urgent, shard.asks[0].urgent), (urgent, urgent), "{more}");
        // The next owner asks again as urgently.
        let asks: Vec<bool> = shard
            .succeed()
            .iter()
            .flat_map(|one| match one {
                Released::Again(effects) | Released::Effects { effects, .. } => effects.as_slice(),
                _ => &[],
            })
            .filter_map(|effect| match effect {
                Effect::Deliver { urgent, attempt_id: Some(_), .. } => Some(*urgent),
                _ => None,
            })
            .collect();
        assert!(!asks.is_empty() && asks.iter().all(|it| *it == urgent), "{asks:?}");
    }
}

#[test]
fn the_task_of_an_urgent_decision_goes_first_unless_its_priority_is_said() {
    for (urgent, priority, want) in [(false, None, 5), (true, None, 9), (true, Some(3), 3)] {
        let mut shard = Shard::with(&[]);
        let then = json!({"task": {"capability": "c", "priority": priority}});
        open(&mut shard, "n", &json!({"urgent": urgent, "then": then}));
        taken(&shard.ask(RESPOND, &says("n", "a", "x")));
        taken(&shard.ask(RESPOND, &says("n", "b", "x")));
        let task = shard.owner.state().task(&crate::shard::task_key("n:then")).expect("a task");
        assert_eq!(task.submitted.priority, want);
    }
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

/// What a decision puts into shared state and publishes, of what an owner has released.
fn started(released: &[Released]) -> Vec<String> {
    let effects = released.iter().flat_map(|one| match one {
        Released::Again(effects) | Released::Effects { effects, .. } => effects.as_slice(),
        _ => &[],
    });
    let told = effects.filter_map(|effect| match effect {
        Effect::PutState { key, put, by, .. } => Some(format!("{by} puts {key} {}", put.value.as_str())),
        Effect::Publish { envelope, value, .. } if !envelope.ty.starts_with("synod.") => {
            Some(format!("{} {} {}", envelope.id, envelope.ty, value.as_str()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn a_decision_starts_a_task_a_write_and_an_event_also_under_the_next_owner() {
    for by_default in [false, true] {
        let mut shard = Shard::with(&["w"]);
        let more = json!({"then": {
            "task": {"capability": "c"},
            "state": {"key": "chosen", "tags": ["vote"], "ttl_ms": 60_000},
            "event": {"type": "shop.chosen", "data": {"by": "us"}},
        }, "round_ms": 1_000, "on_timeout": {"default": {"decided": "z"}}});
        open(&mut shard, "n", &more);
        shard.unheard = true;
        if by_default {
            shard.wait(1_000);
        } else {
            taken(&shard.ask(RESPOND, &says("n", "a", "x")));
            taken(&shard.ask(RESPOND, &says("n", "b", "x")));
        }
        let outcome = it(&shard, "n").outcome().unwrap().to::<Value>().unwrap();
        assert_eq!(shard.written, [("chosen".to_owned(), "n".to_owned(), outcome.clone())]);
        let [(ce_id, ty, value)] = &shard.announced[..] else { panic!("{:?}", shard.announced) };
        assert_eq!(ty, "shop.chosen");
        assert_eq!(*value, json!({"negotiation_id": "n", "outcome": outcome, "data": {"by": "us"}}));
        let starts = it(&shard, "n").decided.as_ref().unwrap().starts.clone().unwrap();
        assert_eq!(starts.task, Some("n:then".parse().unwrap()));
        assert!(starts.not_started.is_empty(), "{starts:?}");
        // The owner dies without having heard that they are done, and the negotiation has left memory meanwhile.
        let ce_id = ce_id.clone();
        shard.wait(1_000_000);
        open(&mut shard, "m", &json!({}));
        assert!(shard.owner.state().negotiation(&negotiation_key("n")).is_none());
        let again = started(&shard.succeed());
        assert_eq!(again.len(), 2, "{again:?}");
        assert!(again[0].starts_with("n puts chosen "), "{again:?}");
        assert!(again[1].starts_with(&format!("{ce_id} shop.chosen ")), "{again:?}");
    }
}

#[test]
fn what_a_decision_cannot_start_is_told_with_it() {
    let then = json!({"task": {"capability": "c"}, "state": {"key": "k"}, "event": {"type": "t"}});
    let told = |outcome: &Value, then: &Value, is_there: bool| {
        let mut shard = Shard::with(&[]);
        if is_there {
            taken(&shard.ask("synod.task.submit", &json!({"task_id": "n:then", "capability": "c"})));
        }
        let more = json!({"then": then, "round_ms": 1_000, "on_timeout": {"default": outcome}});
        open(&mut shard, "n", &more);
        shard.wait(1_000);
        it(&shard, "n").decided.as_ref().unwrap().starts.clone().unwrap()
    };
    let all = told(&json!({"decided": "z"}), &then, false);
    assert!(all.task.is_some() && all.state.is_some() && all.event.is_some() && all.not_started.is_empty());
    let twice = told(&json!({"decided": "z"}), &then, true);
    assert_eq!(
        (twice.task, twice.not_started),
        (None, vec!["the task: there is a task n:then already".into()])
    );
    let nobody = told(&json!(7), &json!({"task": {"winner": true}, "event": {"type": "t"}}), false);
    assert_eq!(nobody.not_started, ["the task: the outcome names no winner"]);
    assert!(nobody.event.is_some(), "the rest is started");
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
    assert!(matches!(past[..], [Past::Again { .. }, Past::Over { .. }, Past::Over { .. }]), "{past:?}");
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
