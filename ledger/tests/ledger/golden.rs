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
    flow(&mut shard);
    shard
}

/// Something of every kind about workflows, executions and approvals.
fn flow(shard: &mut Shard) {
    let definition = "
id: press
input_schema: {type: object}
steps:
  - {id: skipped, when: input.no == true, task: {capability: c}}
  - id: draft
    depends_on: [skipped]
    retry: {max_attempts: 2, initial_backoff_ms: 50}
    consult: {capability: c, below: 0.5}
    task: {capability: c, input: '${{ input }}'}
  - id: release
    depends_on: [draft]
    approval: {title: 'Release?', show: '${{ steps.draft.output }}', approvers: [anna], revise: {step: draft}}
  - {id: go, depends_on: [release], wait: {signal: go}}
  - id: twice
    depends_on: [go]
    map: {items: '[1, 2]', concurrency: 2, step: {id: each, task: {capability: c, input: '${{ item }}'}}}
  - {id: last, depends_on: [twice], task: {capability: c}}
output: '${{ steps.twice.output }}'
";
    shard.ask("synod.agent.register", &registration("d", 4, &json!({"max_concurrency": 9}))).unwrap();
    shard.ask("synod.workflow.define", &json!({"workflow_id": "press", "definition": definition})).unwrap();
    let start = |id: &str| json!({"execution_id": id, "workflow_id": "press", "input": {"no": false}, "labels": {"team": "x"}});
    let by = |id: &str, who: &str, what: &str| json!({"approval_id": id, "approver": who, "decision": what, "comment": "so"});
    let decide = "synod.approval.decide";
    let output = |value: &str, confidence: f64| json!({"output": value, "confidence": confidence, "usage": {"tokens": 7}});
    let broken =
        |retryable: bool| json!({"error": {"code": "bad", "message": "it broke", "retryable": retryable}});
    shard.ask("synod.execution.start", &start("e1")).unwrap();
    shard.result("fail", "e1:draft", &broken(true)).unwrap();
    shard.wait(1_000);
    shard.result("complete", "e1:draft:2", &output("one", 0.2)).unwrap();
    shard.result("complete", "e1:draft:2/advice", &output("better", 1.0)).unwrap();
    shard.ask("synod.execution.pause", &json!({"execution_id": "e1", "reason": "lunch"})).unwrap();
    shard.ask("synod.execution.resume", &json!({"execution_id": "e1"})).unwrap();
    shard.ask(decide, &by("e1:release", "anna", "request_changes")).unwrap();
    shard.result("complete", "e1:draft:3", &output("two", 0.9)).unwrap();
    shard.ask(decide, &by("e1:release:2", "anna", "approve")).unwrap();
    let signal = json!({"execution_id": "e1", "name": "go", "payload": {"by": "me"}});
    shard.ask("synod.execution.signal", &signal).unwrap();
    shard.result("complete", "e1:each[0]", &output("x", 1.0)).unwrap();
    shard.result("complete", "e1:each[1]", &output("y", 1.0)).unwrap();
    shard.result("fail", "e1:last", &broken(false)).unwrap();
    shard.ask("synod.execution.retry", &json!({"execution_id": "e1", "step": "last"})).unwrap();
    shard.result("complete", "e1:last:2", &output("z", 1.0)).unwrap();
    // One more than may be under way at once is due, and waits.
    let narrow = "id: narrow\nconcurrency: 1\nsteps:\n  - {id: a, retry: {max_attempts: 2, initial_backoff_ms: 50}, task: {capability: c}}\n  - {id: b, task: {capability: c}}\n";
    let body = json!({"execution_id": "e2", "workflow_id": "narrow", "definition": narrow});
    shard.ask("synod.execution.start", &body).unwrap();
    shard.result("fail", "e2:a", &broken(true)).unwrap();
    shard.wait(1_000);
    shard.ask("synod.execution.cancel", &json!({"execution_id": "e2", "reason": "no more"})).unwrap();
    let needs = "id: needs\nsteps:\n  - {id: a, on_failure: continue, task: {capability: c}}\n  - id: p\n    parallel: {join: any, steps: [{id: x, task: {capability: c}}, {id: y, depends_on: [x], task: {capability: c}}]}\n";
    let body = json!({"execution_id": "e3", "workflow_id": "needs", "definition": needs});
    shard.ask("synod.execution.start", &body).unwrap();
    shard.result("fail", "e3:x", &broken(false)).unwrap();
    let request = |id: &str| {
        json!({"approval_id": id, "title": "Really?", "show": {"text": "it"}, "approvers": ["anna", "bert"],
        "need": "all", "expires_after_ms": 1_000, "response_schema": {"type": "object"}, "labels": {"team": "x"}})
    };
    for id in ["a1", "a2", "a3"] {
        shard.ask("synod.approval.request", &request(id)).unwrap();
    }
    let mut signed = by("a1", "anna", "approve");
    (signed["meaning"], signed["response_data"]) = (json!("responsible"), json!({"grade": 1}));
    shard.ask(decide, &signed).unwrap();
    shard.ask(decide, &by("a2", "bert", "reject")).unwrap();
    shard.ask(decide, &by("a3", "bert", "cancel")).unwrap();
    shard.wait(1_000);
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
