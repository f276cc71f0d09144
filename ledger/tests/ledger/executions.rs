//! Executions as entities: their children, what one step does to all of them, and that no owner's death changes how they end.

use crate::shard::{CEILINGS, Shard, refused, registration, start, taken, task_key};
use serde_json::{Value, json};
use synod_ledger::{EntityKey, Keep, Subject};
use synod_protocol::{Code, Workspace};

const START: &str = "synod.execution.start";
const DECIDE: &str = "synod.approval.decide";

fn key(id: &str) -> EntityKey {
    EntityKey { workspace: Workspace::default_name(), id: id.parse().unwrap() }
}

fn view(shard: &mut Shard, id: &str) -> Value {
    taken(&shard.read(&Subject::Execution(key(id)))).0
}

fn status(shard: &Shard, id: &str) -> &'static str {
    Subject::Execution(key(id)).standing(shard.owner.state()).expect("an execution").status
}

/// Starts `e` by a definition that comes with it.
fn begin(shard: &mut Shard, definition: &str, input: &Value) -> Value {
    let body = json!({"execution_id": "e", "workflow_id": "w", "definition": definition, "input": input});
    taken(&shard.ask(START, &body)).0
}

/// Agents with room for all.
fn crew() -> Shard {
    let mut shard = Shard::new();
    for id in ["a1", "a2"] {
        let able = json!({"capabilities": ["c", "d"], "max_concurrency": 1_000});
        shard.ask("synod.agent.register", &registration(id, 1, &able)).unwrap();
    }
    shard
}

fn done(shard: &mut Shard, task: &str, output: &Value) {
    taken(&shard.result("complete", task, &json!({ "output": output })));
}

fn failed(shard: &mut Shard, task: &str, retryable: bool) {
    let error = json!({"code": "boom", "message": "it broke", "retryable": retryable});
    taken(&shard.result("fail", task, &json!({ "error": error })));
}

/// What the agent was last given for a task.
fn given(shard: &Shard, task: &str) -> Value {
    let work = shard.work.iter().rev().find(|(_, work)| work.task_id.as_str() == task).expect("work");
    work.1.input.to().unwrap()
}

const LINE: &str = "
id: w
steps:
  - {id: a, task: {capability: c, input: '${{ input.n }}'}}
  - {id: b, depends_on: [a], task: {capability: c, input: {twice: '${{ steps.a.output.n * 2 }}'}}}
  - {id: d, depends_on: [b], task: {capability: d, input: '${{ steps.b.output }}'}}
output: {end: '${{ steps.d.output }}'}
";

#[test]
fn steps_follow_each_other_in_the_step_that_ends_the_one_before() {
    let mut shard = crew();
    let started = begin(&mut shard, LINE, &json!({"n": 3}));
    assert_eq!((&started["status"], &started["workflow_id"]), (&json!("running"), &json!("w")));
    assert_eq!(given(&shard, "e:a"), 3);
    let before = shard.log.records.len();
    done(&mut shard, "e:a", &json!({"n": 21}));
    assert_eq!(
        shard.log.records.len(),
        before + 1,
        "the end of one and the begin of the next are one record"
    );
    assert_eq!(given(&shard, "e:b"), json!({"twice": 42}));
    done(&mut shard, "e:b", &json!("b"));
    done(&mut shard, "e:d", &json!("d"));
    let ended = view(&mut shard, "e");
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!({"end": "d"})));
    assert_eq!(
        shard.story("e"),
        "started step_started step_completed step_started step_completed step_started step_completed completed"
    );
    let steps: Vec<_> =
        ended["steps"].as_array().unwrap().iter().map(|s| (&s["step"], &s["child"])).collect();
    assert_eq!(steps[1], (&json!("b"), &json!("e:b")));
    assert_eq!(ended["steps"][1]["input"], json!({"twice": 42}));
}

#[test]
fn the_same_start_again_is_the_same_execution() {
    let mut shard = crew();
    begin(&mut shard, LINE, &json!({"n": 3}));
    let body = json!({"execution_id": "e", "workflow_id": "w", "definition": LINE, "input": {"n": 3}});
    assert!(!taken(&shard.ask(START, &body)).1);
    let other = json!({"execution_id": "e", "workflow_id": "w", "definition": LINE, "input": {"n": 4}});
    assert_eq!(refused(&shard.ask(START, &other)), (Code::AlreadyExists, None));
    let unknown = json!({"execution_id": "f", "workflow_id": "nobody"});
    assert_eq!(refused(&shard.ask(START, &unknown)), (Code::NotFound, None));
    let mut bad = body.clone();
    bad["execution_id"] = json!("g");
    bad["definition"] = json!("id: w\nsteps:\n  - {id: a, depends_on: [a], task: {capability: c}}\n");
    assert_eq!(refused(&shard.ask(START, &bad)).0, Code::Unprocessable);
}

#[test]
fn a_workflow_is_defined_once_and_executions_keep_to_their_version() {
    let mut shard = crew();
    let define = |text: &str| json!({"workflow_id": "w", "definition": text});
    let (first, made) = taken(&shard.ask("synod.workflow.define", &define(LINE)));
    assert_eq!((&first["version"], made), (&json!(1), true));
    assert!(!taken(&shard.ask("synod.workflow.define", &define(LINE))).1, "the same is no new version");
    taken(&shard.ask(START, &json!({"execution_id": "e", "workflow_id": "w", "input": {"n": 1}})));
    let short = "id: w\nsteps:\n  - {id: only, task: {capability: c}}\n";
    let (second, _) = taken(&shard.ask("synod.workflow.define", &define(short)));
    assert_eq!(second["version"], 2);
    assert_eq!(
        shard.workflows.iter().map(|w| w.version).collect::<Vec<_>>(),
        [1, 2],
        "the directory hears of it"
    );
    shard.succeed();
    for (task, output) in [("e:a", json!({"n": 1})), ("e:b", json!(2)), ("e:d", json!(3))] {
        done(&mut shard, task, &output);
    }
    assert_eq!(view(&mut shard, "e")["hash"], first["hash"]);
    assert_eq!(status(&shard, "e"), "completed");
    taken(&shard.ask(START, &json!({"execution_id": "f", "workflow_id": "w"})));
    assert_eq!(given(&shard, "f:only"), Value::Null);
    let stale = json!({"execution_id": "g", "workflow_id": "w", "hash": first["hash"]});
    assert_eq!(refused(&shard.ask(START, &stale)).0, Code::NotFound);
}

#[test]
fn failures_are_tried_again_with_what_was_wrong() {
    let text = "id: w\nsteps:\n  - {id: a, retry: {max_attempts: 3, initial_backoff_ms: 50}, output_schema: {type: integer}, task: {capability: c}}\n";
    let mut shard = crew();
    begin(&mut shard, text, &Value::Null);
    failed(&mut shard, "e:a", true);
    assert_eq!(
        shard.story("e:a"),
        "submitted assigned attempt_failed failed",
        "no dead letter: it is tried again"
    );
    shard.wait(1_000);
    let feedback = |shard: &Shard| -> Value {
        shard.work.last().unwrap().1.feedback.as_ref().map_or(Value::Null, |json| json.to().unwrap())
    };
    assert_eq!(feedback(&shard)["error"]["code"], "boom");
    done(&mut shard, "e:a:2", &json!("no integer"));
    shard.wait(1_000);
    assert_eq!(feedback(&shard)["error"]["code"], "output_schema");
    done(&mut shard, "e:a:3", &json!(7));
    assert_eq!((status(&shard, "e"), &view(&mut shard, "e")["output"]), ("completed", &json!({"a": 7})));
}

const ASKING: &str = "
id: w
steps:
  - {id: draft, task: {capability: c, input: '${{ input }}'}}
  - {id: other, task: {capability: c}}
  - id: ok
    depends_on: [draft]
    approval: {title: 'Release?', show: '${{ steps.draft.output }}', approvers: [anna], revise: {step: draft}}
  - {id: out, depends_on: [ok, other], task: {capability: d, input: '${{ steps.ok.output.revision }}'}}
";

#[test]
fn people_revise_and_then_approve() {
    let mut shard = crew();
    begin(&mut shard, ASKING, &json!("x"));
    done(&mut shard, "e:other", &json!(0));
    done(&mut shard, "e:draft", &json!("first"));
    let wants = json!({"approval_id": "e:ok", "approver": "anna", "decision": "request_changes", "comment": "shorter"});
    taken(&shard.ask(DECIDE, &wants));
    let work = &shard.work.last().unwrap().1;
    assert_eq!(work.task_id.as_str(), "e:draft:2");
    assert_eq!(work.feedback.as_ref().unwrap().to::<Value>().unwrap()["comment"], "shorter");
    shard.succeed();
    done(&mut shard, "e:draft:2", &json!("second"));
    let next = taken(&shard.read(&Subject::Approval(key("e:ok:2")))).0;
    assert_eq!(
        (&next["revision"], &next["parent"], &next["show"], &next["execution_id"]),
        (&json!(2), &json!("e:ok"), &json!("second"), &json!("e"))
    );
    let approve = json!({"approval_id": "e:ok:2", "approver": "anna", "decision": "approve"});
    taken(&shard.ask(DECIDE, &approve));
    assert_eq!(given(&shard, "e:out"), 2);
    done(&mut shard, "e:out", &json!("done"));
    assert_eq!(status(&shard, "e"), "completed");
    assert_eq!(
        shard.told.iter().filter(|t| t.entity == "e:other" && t.ty == "synod.task.submitted").count(),
        1
    );
}

#[test]
fn one_that_is_cancelled_while_people_are_asked_starts_nothing() {
    let mut shard = crew();
    begin(&mut shard, ASKING, &json!("x"));
    done(&mut shard, "e:draft", &json!("first"));
    taken(&shard.ask("synod.execution.cancel", &json!({"execution_id": "e", "reason": "no more"})));
    assert_eq!((status(&shard, "e"), shard.story("e:ok")), ("cancelled", "required cancelled".to_owned()));
    assert_eq!(shard.story("e:other"), "submitted assigned cancelled");
    let before = shard.told.len();
    let late = shard.ask(DECIDE, &json!({"approval_id": "e:ok", "approver": "anna", "decision": "approve"}));
    assert_eq!(refused(&late), (Code::InvalidTransition, Some("cancelled")));
    assert_eq!(
        refused(&shard.ask("synod.execution.resume", &json!({"execution_id": "e"}))).0,
        Code::InvalidTransition
    );
    shard.wait(100_000);
    assert_eq!(shard.told.len(), before, "nothing happens any more");
}

#[test]
fn a_child_that_somebody_cancels_fails_its_step() {
    let mut shard = crew();
    begin(&mut shard, LINE, &json!({"n": 1}));
    taken(&shard.ask("synod.task.cancel", &json!({"task_id": "e:a", "reason": "by hand"})));
    let ended = view(&mut shard, "e");
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("cancelled")));
    // By hand it is done once more.
    taken(&shard.ask("synod.execution.retry", &json!({"execution_id": "e", "step": "a"})));
    assert_eq!(status(&shard, "e"), "running");
    done(&mut shard, "e:a:2", &json!({"n": 5}));
    assert_eq!(given(&shard, "e:b"), json!({"twice": 10}));
}

/// It was there when that was decided, so it is there when it happens, however long ago it ended.
#[test]
fn one_that_is_about_to_leave_memory_is_taken_up_again_all_the_same() {
    let mut shard = crew();
    begin(&mut shard, LINE, &json!({"n": 1}));
    failed(&mut shard, "e:a", false);
    shard.wait(Keep::default().runs_ms + 1);
    assert_eq!(status(&shard, "e"), "failed");
    taken(&shard.ask("synod.execution.retry", &json!({"execution_id": "e", "step": "a"})));
    assert_eq!(status(&shard, "e"), "running");
    done(&mut shard, "e:a:2", &json!({"n": 5}));
    assert_eq!(given(&shard, "e:b"), json!({"twice": 10}));
}

/// Its tasks have long left memory when somebody comes in the morning; it has not.
#[test]
fn one_that_failed_is_taken_up_again_for_a_day() {
    let mut shard = crew();
    begin(&mut shard, LINE, &json!({"n": 1}));
    failed(&mut shard, "e:a", false);
    shard.wait(Keep::default().runs_ms);
    shard.submit("u", &json!({})).unwrap();
    assert!(shard.owner.state().task(&task_key("e:a")).is_none(), "a task that ended");
    taken(&shard.ask("synod.execution.retry", &json!({"execution_id": "e", "step": "a"})));
    failed(&mut shard, "e:a:2", false);
    assert_eq!(status(&shard, "e"), "failed");
    shard.wait(Keep::default().runs_ms + 1);
    shard.submit("v", &json!({})).unwrap();
    assert!(shard.owner.state().execution(&key("e")).is_none(), "a day later");
}

/// A day is the longest: of ended runs that weigh more than is kept the oldest leave sooner.
#[test]
fn ended_ones_weigh_no_more_than_is_kept() {
    let mut shard = crew();
    let too_many = Keep::default().ended_bytes / 50_000 + 2;
    let there = |shard: &Shard, n: usize| shard.owner.state().execution(&key(&format!("e{n}"))).is_some();
    for n in 1..=too_many {
        let input = json!({"n": 1, "more": "x".repeat(50_000)});
        let body =
            json!({"execution_id": format!("e{n}"), "workflow_id": "w", "definition": LINE, "input": input});
        taken(&shard.ask(START, &body));
        failed(&mut shard, &format!("e{n}:a"), false);
        assert!(there(&shard, n) && (n > 5 || there(&shard, 1)), "{n}");
    }
    assert!(!there(&shard, 1));
}

#[test]
fn agents_decide_together_as_a_step() {
    let text = "
id: w
steps:
  - id: which
    negotiation: {protocol: vote, question: 'which?', rules: {candidates: [x, y], method: plurality}, participants: [a1, a2]}
  - {id: after, depends_on: [which], task: {capability: c, input: '${{ steps.which.output.decided }}'}}
";
    let mut shard = crew();
    begin(&mut shard, text, &Value::Null);
    for who in ["a1", "a2"] {
        let says = json!({"negotiation_id": "e:which", "participant": who, "response": "y"});
        let _ = shard.ask("synod.negotiation.respond", &says);
    }
    assert_eq!(given(&shard, "e:after"), "y");
}

#[test]
fn what_does_not_fit_into_one_step_is_started_by_the_next() {
    let text = "id: w\nsteps:\n  - {id: m, map: {items: input, concurrency: 1000, step: {id: e, task: {capability: c, input: '${{ item }}'}}}}\n";
    let mut shard = crew();
    let items: Vec<_> = (0..300).map(|i| format!("{i:0>100}")).collect();
    begin(&mut shard, text, &json!(items));
    shard.settle();
    let largest = shard.log.records.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    assert!(largest < CEILINGS.record_bytes, "{largest}");
    assert!(shard.log.records.len() > 5, "{}", shard.log.records.len());
    for item in 0..300 {
        done(&mut shard, &format!("e:e[{item}]"), &json!(item));
    }
    let ended = view(&mut shard, "e");
    assert_eq!(
        (&ended["status"], ended["output"]["m"].as_array().unwrap().len()),
        (&json!("completed"), 300)
    );
}

/// The same script, with an owner who dies before every `nth` thing that happens.
fn script(nth: usize) -> (Value, String) {
    let mut shard = crew();
    let mut left = nth;
    let mut breathe = |shard: &mut Shard| {
        if nth > 0 {
            left -= 1;
            if left == 0 {
                shard.succeed();
                left = nth;
            }
        }
    };
    let text = "
id: w
steps:
  - {id: a, retry: {max_attempts: 2, initial_backoff_ms: 50}, task: {capability: c}}
  - id: p
    depends_on: [a]
    parallel:
      join: {at_least: 2}
      steps: [{id: x, task: {capability: c}}, {id: y, task: {capability: d}}, {id: z, task: {capability: d}}]
  - {id: w1, depends_on: [p], wait: {for_ms: 500}}
  - {id: sig, depends_on: [w1], wait: {signal: go}}
  - id: ok
    depends_on: [sig]
    approval: {title: 'Go?', approvers: [anna], revise: {step: sig}}
  - {id: end, depends_on: [ok], task: {capability: c, input: '${{ [steps.p.output, steps.sig.output] }}'}}
";
    begin(&mut shard, text, &json!({"n": 3}));
    breathe(&mut shard);
    failed(&mut shard, "e:a", true);
    breathe(&mut shard);
    shard.wait(1_000);
    breathe(&mut shard);
    done(&mut shard, "e:a:2", &json!(1));
    breathe(&mut shard);
    done(&mut shard, "e:y", &json!("y"));
    breathe(&mut shard);
    done(&mut shard, "e:x", &json!("x"));
    breathe(&mut shard);
    shard.wait(1_000);
    let signal = json!({"execution_id": "e", "name": "go", "payload": {"by": "me"}});
    taken(&shard.ask("synod.execution.signal", &signal));
    breathe(&mut shard);
    let wants = json!({"approval_id": "e:ok", "approver": "anna", "decision": "request_changes"});
    taken(&shard.ask(DECIDE, &wants));
    breathe(&mut shard);
    taken(&shard.ask("synod.execution.signal", &signal));
    breathe(&mut shard);
    let approve = json!({"approval_id": "e:ok:2", "approver": "anna", "decision": "approve"});
    taken(&shard.ask(DECIDE, &approve));
    breathe(&mut shard);
    done(&mut shard, "e:end", &json!("end"));
    (view(&mut shard, "e"), shard.story("e"))
}

#[test]
fn it_ends_as_it_would_whenever_its_owner_dies() {
    let undisturbed = script(0);
    assert_eq!(undisturbed.0["status"], "completed", "{undisturbed:?}");
    for nth in 1..=6 {
        let (disturbed, story) = script(nth);
        assert_eq!(story, undisturbed.1, "every {nth}");
        let of = |view: &Value| (view["status"].clone(), view["output"].clone(), view["step_counts"].clone());
        assert_eq!(of(&disturbed), of(&undisturbed.0), "every {nth}");
    }
}

#[test]
fn an_agent_that_dies_is_no_failure_of_the_step() {
    let mut shard = crew();
    begin(&mut shard, LINE, &json!({"n": 1}));
    shard.lose_holder("e:a");
    assert_eq!(status(&shard, "e"), "running");
    let _ = start(2);
    done(&mut shard, "e:a", &json!({"n": 1}));
    assert_eq!(given(&shard, "e:b"), json!({"twice": 2}));
}
