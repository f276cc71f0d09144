//! What stands in the ledger, byte for byte: read for years, so changed only knowingly.

use crate::log::read;
use crate::shard::{Shard, agent_key, at, registration, start};
use serde_json::json;
use std::collections::BTreeSet;
use synod_ledger::{Input, Record};
use synod_protocol::Error;
use synod_protocol::event::What;

/// Something of everything.
fn history() -> Shard {
    let mut shard = Shard::new();
    let more = json!({"labels": {"zone": "x"}, "resources": {"gpu": 1}, "description": "an agent",
        "delivery": {"kafka": {"topic": "synod.inbox.a"}}});
    shard.ask("synod.agent.register", &registration("a", 1, &more)).unwrap();
    let error =
        |retryable: bool| json!({"error": {"code": "bad", "message": "it broke", "retryable": retryable}});
    shard.submit("t", &json!({"retry": {"max_attempts": 2}, "labels": {"team": "x"}})).unwrap();
    shard.result("start", "t", &json!({})).unwrap();
    shard.result("progress", "t", &json!({"progress": 0.5, "note": "half", "partial": [1]})).unwrap();
    shard.result("fail", "t", &error(true)).unwrap();
    shard.wait(1_000);
    shard.result("fail", "t", &error(true)).unwrap();
    shard.submit("u", &json!({})).unwrap();
    shard.result("complete", "u", &json!({"output": {"y": 2}, "confidence": 0.9})).unwrap();
    shard.submit("v", &json!({"requires": {"labels": {"zone": "x"}}})).unwrap();
    shard.result("fail", "v", &error(false)).unwrap();
    shard.submit("w", &json!({})).unwrap();
    shard.result("decline", "w", &error(true)).unwrap();
    shard.ask("synod.task.cancel", &json!({"task_id": "w", "reason": "not wanted"})).unwrap();
    shard.ask("synod.task.cancel", &json!({"task_id": "nobody"})).unwrap_err();
    shard.submit("late", &json!({"deadline": at(0).to_string()})).unwrap();
    let (agent, incarnation) = (agent_key("a"), start(1));
    shard.happen(&Input::Judged { agent, incarnation, lost: true, reason: "silent".into() }, None);
    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    shard.ask("synod.agent.pause", &json!({"agent_id": "a", "reason": "lunch"})).unwrap();
    let order = json!({"agent_id": "a", "order": "force_open", "capability": "c", "reason": "a bad release"});
    shard.ask("synod.agent.order_breaker", &order).unwrap();
    shard.ask("synod.agent.resume", &json!({"agent_id": "a"})).unwrap();
    let error = json!({"agent_id": "a", "reason": "no disk", "recovery": "resume", "resume_after_ms": 5_000});
    shard.ask("synod.agent.report_error", &error).unwrap();
    shard.wait(5_000);
    shard.ask("synod.fleet.pause", &json!({"capability": "c", "mode": "halt", "reason": "fire"})).unwrap();
    shard.ask("synod.fleet.resume", &json!({"capability": "c"})).unwrap();
    let vote = |id: &str, more: serde_json::Value| {
        let mut body = json!({"negotiation_id": id, "protocol": "vote", "question": "which?", "round_ms": 1_000,
            "rules": {"candidates": ["x", "y"], "method": "plurality"}, "participants": ["a", "b"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let says = |id: &str, who: &str| json!({"negotiation_id": id, "participant": who, "response": "x"});
    let open = "synod.negotiation.open";
    shard.ask(open, &vote("n1", json!({"on_timeout": "extend", "labels": {"team": "x"}}))).unwrap();
    shard.ask("synod.negotiation.respond", &says("n1", "b")).unwrap();
    shard.ask(open, &vote("n2", json!({"quorum": {"count": 2}, "participants": ["b", "c"]}))).unwrap();
    shard.ask(open, &vote("n3", json!({"round_ms": 60_000, "weights": {"a": "1/2"}}))).unwrap();
    shard.ask("synod.negotiation.cancel", &json!({"negotiation_id": "n3", "reason": "never mind"})).unwrap();
    shard.wait(1_000);
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    shard.owner.fleet_changed();
    shard.turn();
    shard.wait(60_000);
    let (agent, incarnation) = (agent_key("a"), start(2));
    shard.happen(&Input::Forget { agent, incarnation, kept_ms: 60_000 }, None);
    shard.happen(&Input::Poison { offset: 7, error: Box::new(Error::invalid("no JSON")), meta: None }, None);
    shard.happen(&Input::PassedOn { offset: 8, partition: 3 }, None);
    shard.ask_kafka("by-kafka", 9, "synod.task.cancel", &json!({"task_id": "w"}));
    shard.ask("synod.agent.register", &registration("b", 3, &json!({}))).unwrap();
    let told =
        json!({"agent_id": "b", "kind": "translate", "promised_ms": 300, "actual_ms": 400, "kept": true});
    shard.ask("synod.agent.appraise", &told).unwrap();
    shard
}

#[test]
fn one_record_of_each_kind() {
    let shard = history();
    let mut seen = BTreeSet::new();
    let mut lines = Vec::new();
    for (_, bytes) in &shard.log.records {
        let text = std::str::from_utf8(bytes).unwrap();
        let Ok(Record::Step(step)) = Record::read(bytes) else {
            lines.push(text);
            continue;
        };
        assert_eq!(serde_json::to_string(&step).unwrap(), text, "read and written again");
        let kinds: Vec<_> = step.events.iter().map(|e| e.what.ce_type()).collect();
        let is_new = kinds.iter().any(|ty| !seen.contains(ty));
        if is_new || kinds.is_empty() {
            lines.push(text);
        }
        seen.extend(kinds);
    }
    assert_eq!(seen, What::TYPES.iter().copied().collect(), "every kind of event stands here");
    insta::assert_snapshot!("records", lines.join("\n"));
    assert_eq!(read(&shard.log.records[1].1).n, 1);
}
