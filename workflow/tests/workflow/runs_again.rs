//! Runs in which something is done again: revisions, retries by hand; and experts.

use crate::driven::{Driven, at, failure, id, value};
use serde_json::{Value, json};
use synod_protocol::Code;
use synod_protocol::approval::ApprovalStatus::{Approved, Cancelled, ChangesRequested, Rejected, TimedOut};
use synod_protocol::event::What;
use synod_protocol::workflow::{ExecutionStatus, StepStatus, Usage};
use synod_workflow::run::{Input, Request};

const REVISED: &str = "{id: w, steps: [{id: src, task: {capability: c}}, {id: draft, depends_on: [src], task: {capability: c}}, {id: check, depends_on: [draft], sequential: {steps: [{id: spell, task: {capability: c}}, {id: facts, task: {capability: c, input: '${{ steps.spell.output }}'}}]}}, {id: other, depends_on: [draft], wait: {signal: go}}, {id: ok, depends_on: [check, src], approval: {title: 'Fine?', show: '${{ steps.draft.output }}', approvers: [ann], need: {quorum: 1}, revise: {step: draft, max_revisions: 2}}}], output: '${{ steps.ok.output }}'}";

fn to_approval(run: &mut Driven, attempt: &str, draft: &str) {
    run.done(&format!("draft{attempt}"), json!(draft));
    run.done(&format!("spell{attempt}"), json!(1));
    run.done(&format!("facts{attempt}"), json!(1));
}

#[test]
fn a_request_for_changes_has_things_done_again() {
    let mut run = Driven::new(REVISED, json!({}));
    run.done("src", json!(0));
    to_approval(&mut run, "", "one");
    let Request::Approval(request, None) = run.ask("ok") else { panic!("a first revision has no parent") };
    assert_eq!((request.max_revisions, value(&request.show)), (Some(2), json!("one")));
    let whats = run.decided("ok", ChangesRequested, 1);
    let What::ExecutionRevised(revised) = &whats[0] else { panic!("{whats:?}") };
    assert_eq!((revised.from.as_str(), revised.revision, revised.step.as_str()), ("draft", 2, "ok"));
    // What came before, and what does not lead to the approval, stands.
    assert_eq!((run.is("src"), run.is("other")), (Some(StepStatus::Completed), Some(StepStatus::Running)));
    assert_eq!(run.under_way(), ["draft:2"]);
    assert_eq!((run.is("check"), run.is("spell"), run.is("ok")), (None, None, None));
    let told = run.task("draft:2").1;
    assert_eq!(
        told,
        json!({"revision": 2, "comment": "as for 1", "response_data": {"tone": "warm"}, "approver": "ann"})
    );
    to_approval(&mut run, ":2", "two");
    assert_eq!(run.task("spell:2").1, Value::Null, "the feedback is for the step that it names");
    let Request::Approval(request, Some(revision)) = run.ask("ok:2") else {
        panic!("a revision has a parent")
    };
    assert_eq!((revision.number, &revision.parent, value(&request.show)), (2, &id("ok"), json!("two")));
    assert_eq!(revision.feedback.comment.as_deref(), Some("as for 1"));
    let shown = run.step("ok").unwrap();
    assert_eq!(
        (shown.revision, shown.attempts, shown.earlier[0].decision.as_ref().unwrap().comment.as_deref()),
        (2, 2, Some("as for 1"))
    );
    assert_eq!(run.step("draft").unwrap().earlier[0].output.as_ref().map(value), Some(json!("one")));
    run.decided("ok:2", Approved, 2);
    run.take(Input::Signal { name: "go".into(), payload: json!(null).into() }).unwrap();
    let output = json!({"status": "approved", "approver": "ann", "comment": "as for 2", "response_data": {"tone": "warm"}, "revision": 2});
    assert_eq!((run.status(), run.output()), (ExecutionStatus::Completed, output));
}

#[test]
fn revisions_are_bounded() {
    let mut run = Driven::new(REVISED, json!({}));
    run.done("src", json!(0));
    to_approval(&mut run, "", "one");
    run.decided("ok", ChangesRequested, 1);
    to_approval(&mut run, ":2", "two");
    // The approval itself takes none any more; the run would not go round for ever even so.
    run.decided("ok:2", ChangesRequested, 2);
    assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "changes_requested".to_owned()));
    let text = "{id: w, steps: [{id: ok, approval: {title: t, approvers: [ann]}}]}";
    for (status, code) in [
        (Rejected, "rejected"),
        (TimedOut, "timed_out"),
        (Cancelled, "cancelled"),
        (ChangesRequested, "changes_requested"),
    ] {
        let mut run = Driven::new(text, json!({}));
        assert!(
            matches!(run.ask("ok"), Request::Approval(request, None) if request.max_revisions == Some(1))
        );
        run.decided("ok", status, 1);
        assert_eq!(run.why(), code);
    }
    let mut run = Driven::new(text, json!({}));
    let refused = run.take(Input::Completed {
        child: id("ok"),
        output: json!(1).into(),
        confidence: None,
        agent_id: None,
        usage: None,
    });
    assert_eq!(refused.unwrap_err().code, Code::InvalidTransition, "people decide, no agent");
}

#[test]
fn a_revision_begins_within_a_block_and_a_map() {
    // Each item has its own loop; the block that the step stands in is opened again for it.
    let text = "{id: w, steps: [{id: m, map: {items: input.list, step: {id: q, sequential: {steps: [{id: s, sequential: {steps: [{id: a, task: {capability: c}}, {id: b, task: {capability: c, input: '${{ steps.a.output }}'}}]}}, {id: ok, depends_on: [s], approval: {title: t, show: '${{ steps.s.output }}', approvers: [ann], revise: {step: b}}}]}}}}]}";
    let mut run = Driven::new(text, json!({"list": [1, 2]}));
    for item in 0..2 {
        run.done(&format!("a[{item}]"), json!(item));
        run.done(&format!("b[{item}]"), json!("first"));
    }
    run.decided("ok[1]", ChangesRequested, 1);
    assert_eq!(run.under_way(), ["b[1]:2", "ok[0]"]);
    assert_eq!(run.step_for("s", &[1]).unwrap().status, StepStatus::Running);
    assert_eq!(run.step_for("a", &[1]).unwrap().status, StepStatus::Completed);
    assert_eq!(run.input("b", &[1]), 1);
    run.done("b[1]:2", json!("second"));
    assert!(matches!(run.ask("ok[1]:2"), Request::Approval(request, _) if value(&request.show) == "second"));
    run.decided("ok[1]:2", Approved, 2);
    run.decided("ok[0]", Approved, 1);
    assert_eq!(run.status(), ExecutionStatus::Completed);
}

#[test]
fn a_block_that_is_done_again_tells_all_within_it() {
    let text = "{id: w, steps: [{id: s, sequential: {steps: [{id: a, task: {capability: c}}, {id: b, task: {capability: c}}]}}, {id: ok, depends_on: [s], approval: {title: t, approvers: [ann], revise: {step: s}}}]}";
    let mut run = Driven::new(text, json!({}));
    run.done("a", json!(1));
    run.done("b", json!(1));
    run.decided("ok", ChangesRequested, 1);
    assert_eq!(run.task("a:2").1["comment"], "as for 1");
    run.done("a:2", json!(2));
    assert_eq!(run.task("b:2").1["comment"], "as for 1");
}

#[test]
fn a_block_whose_fallback_was_done_is_done_again_as_a_whole() {
    let text = "{id: w, steps: [{id: s, fallback: {id: f, task: {capability: c}}, parallel: {steps: [{id: a, task: {capability: c}}, {id: b, task: {capability: c}}, {id: x, wait: {signal: go}}]}}, {id: ok, depends_on: [s], approval: {title: t, approvers: [ann], revise: {step: a}}}]}";
    let mut run = Driven::new(text, json!({}));
    run.done("a", json!(1));
    run.fails("b", false);
    run.done("f", json!(2));
    run.decided("ok", ChangesRequested, 1);
    assert_eq!(run.under_way(), ["a:2", "b:2"]);
    assert_eq!((run.task("a:2").1["revision"].clone(), run.task("b:2").1), (json!(2), Value::Null));
    run.done("a:2", json!(3));
    run.done("b:2", json!(4));
    run.take(Input::Signal { name: "go".into(), payload: json!(5).into() }).unwrap();
    assert_eq!(value(&run.step("s").unwrap().output.unwrap()), json!({"a": 3, "b": 4, "x": 5}));
    assert_eq!(run.under_way(), ["ok:2"]);
}

#[test]
fn an_approval_within_what_is_done_again_begins_anew() {
    let text = "{id: w, steps: [{id: a, task: {capability: c}}, {id: in1, depends_on: [a], approval: {title: t, approvers: [ann], revise: {step: a, max_revisions: 2}}}, {id: out, depends_on: [in1], approval: {title: t, approvers: [bob], revise: {step: a, max_revisions: 2}}}]}";
    let mut run = Driven::new(text, json!({}));
    run.done("a", json!(1));
    run.decided("in1", ChangesRequested, 1);
    run.done("a:2", json!(2));
    run.decided("in1:2", Approved, 2);
    run.decided("out", ChangesRequested, 1);
    run.done("a:3", json!(3));
    // It was not this one's changes that were requested: it has all its revisions again.
    assert!(matches!(run.ask("in1:3"), Request::Approval(_, None)));
    run.decided("in1:3", ChangesRequested, 1);
    run.done("a:4", json!(4));
    run.decided("in1:4", Approved, 2);
    assert!(matches!(run.ask("out:2"), Request::Approval(_, Some(revision)) if revision.parent == id("out")));
    run.decided("out:2", Approved, 2);
    assert_eq!((run.status(), run.step("a").unwrap().revision), (ExecutionStatus::Completed, 4));
}

#[test]
fn a_step_that_failed_is_retried_by_hand() {
    let text = "{id: w, deadline_ms: 10000, steps: [{id: p, parallel: {steps: [{id: x, retry: {max_attempts: 2, initial_backoff_ms: 0}, task: {capability: c}}, {id: y, task: {capability: c}}, {id: z, depends_on: [x], task: {capability: c, input: '${{ steps.x.output }}'}}]}}, {id: e, task: {capability: c}}, {id: after, depends_on: [p], task: {capability: c}}]}";
    let retry = |step: &str| Input::Retry { step: step.into(), items: vec![] };
    let mut run = Driven::new(text, json!({}));
    assert_eq!(run.take(retry("nope")).unwrap_err().code, Code::NotFound);
    assert_eq!(
        run.take(Input::Retry { step: "x".into(), items: vec![1] }).unwrap_err().field.as_deref(),
        Some("/items")
    );
    let refused = run.take(retry("x")).unwrap_err();
    assert_eq!((refused.code, refused.status.as_deref()), (Code::InvalidTransition, Some("running")));
    run.done("y", json!("kept"));
    run.fails("x", true);
    run.fails("x:2", true);
    assert_eq!(
        (run.status(), run.is("p"), run.is("z")),
        (ExecutionStatus::Failed, Some(StepStatus::Failed), Some(StepStatus::Skipped))
    );
    assert!(run.taken_back.contains(&id("e")));
    let whats = run.take(retry("x")).unwrap();
    assert!(matches!(&whats[0], What::ExecutionRetried(e) if e.status == ExecutionStatus::Running));
    // What it kept from being done begins anew, under ids that were not there before; what was done is kept.
    assert_eq!(
        (run.status(), run.under_way()),
        (ExecutionStatus::Running, vec!["x:3".to_owned(), "e:2".to_owned()])
    );
    assert_eq!(run.task("x:3").1["attempt"], 2, "it is told why the attempt before failed");
    assert_eq!(run.task("e:2").1, Value::Null, "it did not fail");
    run.fails("x:3", true);
    assert_eq!(run.under_way(), ["x:4", "e:2"], "its retries begin anew");
    run.done("x:4", json!(7));
    assert_eq!(run.input("z", &[]), 7);
    run.done("z", json!(8));
    assert_eq!(value(&run.step("p").unwrap().output.unwrap()), json!({"x": 7, "y": "kept", "z": 8}));
    run.done("e:2", json!(1));
    run.done("after", json!(1));
    assert_eq!(run.status(), ExecutionStatus::Completed);
    assert_eq!(run.take(retry("x")).unwrap_err().status.as_deref(), Some("completed"));
    let mut run = Driven::new(text, json!({}));
    run.fails("x", false);
    run.now = 11_000;
    assert!(run.take(retry("x")).unwrap_err().message.contains("time of the execution is up"));
}

#[test]
fn a_retry_opens_what_failed_for_it_and_nothing_that_is_over() {
    // `b` was cancelled in a block of its own that failed for that.
    let text = "{id: w, steps: [{id: p, parallel: {join: partial, steps: [{id: x, task: {capability: c}}, {id: s, sequential: {steps: [{id: b, depends_on: [x], task: {capability: c}}]}}, {id: y, task: {capability: c}}]}}, {id: k, parallel: {join: any, steps: [{id: g, task: {capability: c}}, {id: h, task: {capability: c}}]}}, {id: hold, wait: {signal: go}}]}";
    let mut run = Driven::new(text, json!({}));
    run.fails("x", false);
    assert_eq!(
        (run.is("s"), run.is("b"), run.status()),
        (Some(StepStatus::Failed), Some(StepStatus::Cancelled), ExecutionStatus::Running)
    );
    run.take(Input::Retry { step: "x".into(), items: vec![] }).unwrap();
    assert_eq!((run.is("s"), run.is("b")), (Some(StepStatus::Running), None));
    run.done("x:2", json!(1));
    assert_eq!(run.under_way(), ["b", "y", "g", "h"]);
    run.fails("g", false);
    run.done("h", json!(1));
    let refused = run.take(Input::Retry { step: "g".into(), items: vec![] }).unwrap_err();
    assert!(refused.message.contains("is over"), "{refused}");
    let text = "{id: w, steps: [{id: a, task: {capability: c}, fallback: {id: f, task: {capability: c}}}]}";
    let mut run = Driven::new(text, json!({}));
    run.fails("a", false);
    run.fails("f", false);
    assert!(run.take(Input::Retry { step: "f".into(), items: vec![] }).is_err());
    run.take(Input::Retry { step: "a".into(), items: vec![] }).unwrap();
    assert_eq!((run.under_way(), run.is("f")), (vec!["a:2".to_owned()], None));
    run.fails("a:2", false);
    assert_eq!(run.under_way(), ["f:2"]);
}

#[test]
fn an_expert_is_asked_and_does_not_decide() {
    let text = |more: &str| {
        format!(
            "{{id: w, concurrency: 1, steps: [{{id: a, timeout_ms: 900, consult: {{capability: law, {more}}}, task: {{capability: c, input: {{q: 1}}}}}}, {{id: b, depends_on: [a], task: {{capability: c, input: '${{{{ steps.a.advice }}}}'}}}}]}}"
        )
    };
    let below = text("below: 0.7");
    let mut run = Driven::new(&below, json!({}));
    let usage = |tokens| Some(Usage { tokens, money_micros: 0 });
    run.done_with("a", json!("maybe"), Some(0.6), usage(5));
    assert_eq!((run.is("a"), run.under_way()), (Some(StepStatus::Consulting), vec!["a/advice".to_owned()]));
    let (task, _) = run.task("a/advice");
    assert_eq!(
        (task.capability.as_ref().unwrap().as_str(), value(&task.input)),
        ("law", json!({"input": {"q": 1}, "output": "maybe"}))
    );
    assert_eq!((task.timeout_ms, task.deadline), (Some(900), Some(at(1_900))));
    let again = Input::Completed {
        child: id("a"),
        output: json!(1).into(),
        confidence: None,
        agent_id: None,
        usage: None,
    };
    assert_eq!(run.take(again).unwrap_err().status.as_deref(), Some("consulting"));
    run.done_with("a/advice", json!({"yes": true}), None, usage(7));
    assert_eq!((run.input("b", &[]), run.view().usage.tokens), (json!({"yes": true}), 12));
    let step = run.step("a").unwrap();
    assert_eq!(
        (step.output.as_ref().map(value), step.confidence, step.agent_id.is_some()),
        (Some(json!("maybe")), Some(0.6), true)
    );
    // Sure enough, or nothing said of it: nobody is asked.
    for confidence in [Some(0.7), None] {
        let mut run = Driven::new(&below, json!({}));
        run.done_with("a", json!(1), confidence, None);
        assert_eq!(run.under_way(), ["b"]);
    }
    // An expert that fails, or is too late, or cannot be asked, is no failure of the step.
    let mut run = Driven::new(&below, json!({}));
    run.done_with("a", json!(1), Some(0.1), None);
    run.fails("a/advice", true);
    assert_eq!(run.input("b", &[]), json!({"error": {"code": "boom", "message": "it is boom"}}));
    let mut run = Driven::new(&below, json!({}));
    run.done_with("a", json!(1), Some(0.1), None);
    run.tick();
    assert_eq!(
        (run.input("b", &[])["error"]["code"].clone(), run.taken_back.contains(&id("a/advice"))),
        (json!("deadline_exceeded"), true)
    );
    let mut run = Driven::new(
        &text("when: 'output.risk > 3 && confidence < 2.0', input: '${{ output.none }}'"),
        json!({}),
    );
    run.done("a", json!({"risk": 4}));
    assert_eq!(run.input("b", &[])["error"]["code"], "expression");
    let mut run = Driven::new(&text("when: output.risk > 3"), json!({}));
    run.done("a", json!({"risk": 3}));
    assert_eq!(run.under_way(), ["b"]);
    let mut run = Driven::new(&below, json!({}));
    run.done_with("a", json!(1), Some(0.1), None);
    run.take(Input::Cancel { reason: Some("no".into()) }).unwrap();
    assert_eq!((run.why(), run.taken_back.contains(&id("a/advice"))), ("cancelled".to_owned(), true));
    assert_eq!(failure("cancelled", false).code, run.why());
}
