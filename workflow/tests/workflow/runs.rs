//! Runs: each rule by itself.

use crate::driven::{Driven, at, failure, id, opening, value};
use serde_json::{Value, json};
use synod_protocol::Code;
use synod_protocol::event::What;
use synod_protocol::workflow::{ExecutionStatus, StepStatus, Usage};
use synod_workflow::Workflow;
use synod_workflow::run::{Input, Run};

#[test]
fn outputs_go_from_step_to_step() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, task: {capability: c, input: '${{ input.x }}'}}, {id: b, depends_on: [a], task: {capability: c, input: {n: '${{ steps.a.output.n + 1 }}', who: '${{ run.labels.team }}'}}}], output: '${{ steps.b.output }}'}",
        json!({"x": 7}),
    );
    assert_eq!(run.under_way(), ["a"]);
    assert_eq!(run.input("a", &[]), 7);
    run.done("a", json!({"n": 1}));
    assert_eq!(run.input("b", &[]), json!({"n": 2, "who": "red"}));
    assert_eq!(value(&run.task("b").0.input), json!({"n": 2, "who": "red"}));
    run.done("b", json!("end"));
    assert_eq!((run.status(), run.output()), (ExecutionStatus::Completed, json!("end")));
    let refused = run.take(Input::Due).unwrap_err();
    assert_eq!((refused.code, refused.status.as_deref()), (Code::InvalidTransition, Some("completed")));
}

#[test]
fn failures_are_retried_with_pauses_and_then_fall_back() {
    let mut run = Driven::new(
        "id: w\nsteps:\n  - id: a\n    task: {capability: c}\n    retry: {max_attempts: 2, initial_backoff_ms: 1000}\n    output_schema: {type: integer}\n    fallback: {id: f, task: {capability: d, input: '${{ steps.a.error.code }}'}}\n  - {id: b, depends_on: [a], task: {capability: c, input: '${{ steps.a.output }}'}}\n",
        json!({}),
    );
    run.done("a", json!("no integer"));
    assert_eq!(run.is("a"), Some(StepStatus::Retrying));
    // With 20 % of jitter, by the id of the attempt that failed.
    let wait = run.run.next_deadline().unwrap().millis_since(at(1_000));
    assert!((800..=1_200).contains(&wait) && wait != 1_000, "{wait}");
    run.tick();
    assert_eq!(run.under_way(), ["a:2"]);
    let told = run.task("a:2").1;
    assert_eq!((&told["attempt"], &told["error"]["code"]), (&json!(1), &json!("output_schema")));
    let late = Input::Completed {
        child: id("a"),
        output: json!(1).into(),
        confidence: None,
        agent_id: None,
        usage: None,
    };
    let refused = run.take(late).unwrap_err();
    assert_eq!((refused.code, refused.status.as_deref()), (Code::InvalidTransition, Some("running")));
    let whats = run.fails("a:2", true);
    let failed = whats.iter().filter(|what| matches!(what, What::ExecutionStepFailed(_))).count();
    assert_eq!(
        (failed, run.is("a"), run.under_way()),
        (1, Some(StepStatus::FallingBack), vec!["f".to_owned()])
    );
    assert_eq!(run.input("f", &[]), "boom");
    run.done("f", json!(3));
    assert_eq!(run.input("b", &[]), 3);
}

#[test]
fn what_a_fallback_gives_has_to_fit_too() {
    let text = "{id: w, steps: [{id: a, output_schema: {type: integer}, task: {capability: c}, fallback: {id: f, task: {capability: d}}}]}";
    let mut run = Driven::new(text, json!({}));
    run.fails("a", false);
    run.done("f", json!("no integer"));
    assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "output_schema".to_owned()));
    let block = "{id: w, steps: [{id: s, output_schema: {minItems: 2}, map: {items: input.list, step: {id: e, task: {capability: c}}}}]}";
    let mut run = Driven::new(block, json!({"list": [1]}));
    run.done("e[0]", json!(1));
    assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "output_schema".to_owned()));
}

#[test]
fn a_failure_fails_the_run_and_takes_back_the_rest() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, task: {capability: c}}, {id: b, task: {capability: c}}]}",
        json!({}),
    );
    let whats = run.fails("a", false);
    assert_eq!((run.status(), run.is("b")), (ExecutionStatus::Failed, Some(StepStatus::Cancelled)));
    assert_eq!((run.taken_back.contains(&id("b")), run.taken_back.len()), (true, 1));
    // One event for the step, one for the run with all that was open.
    assert_eq!(whats.len(), 2);
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, on_failure: continue, task: {capability: c}}, {id: b, depends_on: [a], task: {capability: c, input: '${{ steps.a.error.code }}'}}]}",
        json!({}),
    );
    run.fails("a", false);
    assert_eq!(run.input("b", &[]), "boom");
}

#[test]
fn conditions_and_when_skip() {
    let text = "{id: w, steps: [{id: q, condition: {if: input.yes, then: [{id: y, task: {capability: c}}, {id: y2, task: {capability: c}}], else: [{id: n, task: {capability: c}}]}}, {id: after, depends_on: [q, n], when: steps.n.status == 'skipped', task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({"yes": true}));
    assert_eq!((run.under_way(), run.is("n")), (vec!["y".to_owned()], Some(StepStatus::Skipped)));
    run.done("y", json!(1));
    run.done("y2", json!(2));
    assert_eq!(value(&run.step("q").unwrap().output.unwrap()), 2);
    assert_eq!(run.under_way(), ["after"]);
    let mut run = Driven::new(text, json!({"yes": false}));
    run.done("n", json!(1));
    assert_eq!((run.status(), run.is("after")), (ExecutionStatus::Completed, Some(StepStatus::Skipped)));
    let run = Driven::new(text, json!({"yes": 3}));
    assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "expression".to_owned()));
}

fn map_run(join: &str, items: usize) -> Driven {
    let text = format!(
        "{{id: w, steps: [{{id: m, map: {{items: input.list, concurrency: 3, join: {join}, step: {{id: e, task: {{capability: c, input: '${{{{ [item, index] }}}}'}}}}}}}}]}}"
    );
    Driven::new(&text, json!({ "list": (0..items).map(|i| i * 10).collect::<Vec<_>>() }))
}

#[test]
fn maps_run_so_many_at_once_and_join() {
    let mut run = map_run("all", 5);
    assert_eq!(run.under_way(), ["e[0]", "e[1]", "e[2]"]);
    run.done("e[1]", json!("b"));
    assert_eq!(run.under_way(), ["e[0]", "e[2]", "e[3]"]);
    assert_eq!(run.input("e", &[3]), json!([30, 3]));
    for item in [0, 2, 3, 4] {
        run.done(&format!("e[{item}]"), json!(item));
    }
    assert_eq!(run.output(), json!({"m": [0, "b", 2, 3, 4]}));
    let mut run = map_run("{at_least: 2}", 5);
    run.done("e[0]", json!(0));
    run.done("e[1]", json!(1));
    assert_eq!(
        (run.status(), run.under_way().len(), run.taken_back.len()),
        (ExecutionStatus::Completed, 0, 2)
    );
    assert_eq!(run.output(), json!({"m": [0, 1, null, null, null]}));
    let mut run = map_run("partial", 2);
    run.done("e[1]", json!("x"));
    run.fails("e[0]", false);
    assert_eq!(
        run.output()["m"],
        json!({"completed": [{"index": 1, "output": "x"}], "failed": [{"index": 0, "error": failure("boom", false)}]})
    );
    assert_eq!(map_run("all", 0).output(), json!({"m": []}));
    assert_eq!(map_run("any", 0).status(), ExecutionStatus::Failed);
    assert_eq!(map_run("all", 10_001).status(), ExecutionStatus::Failed);
}

#[test]
fn what_a_block_leaves_over_keeps_nobody_waiting() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: p, parallel: {join: any, concurrency: 1, steps: [{id: x, task: {capability: c}}, {id: y, task: {capability: c}}]}}, {id: z, depends_on: [y], task: {capability: c}}]}",
        json!({}),
    );
    let whats = run.done("x", json!(1));
    assert_eq!((run.is("y"), run.under_way()), (Some(StepStatus::Skipped), vec!["z".to_owned()]));
    // The step, its block, and what starts then: what was left over has no event of its own.
    assert_eq!(whats.len(), 3);
}

#[test]
fn what_is_ready_in_a_block_that_is_over_starts_no_more() {
    let text = "{id: w, concurrency: 1, steps: [{id: m, timeout_ms: 2000, on_failure: continue, map: {items: input.list, step: {id: e, retry: {max_attempts: 2, initial_backoff_ms: 10}, task: {capability: c}}}}, {id: k, depends_on: [m], task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({"list": [1, 2, 3]}));
    run.fails("e[0]", true);
    assert_eq!(run.under_way(), ["e[1]"]);
    run.tick();
    assert_eq!(
        run.under_way(),
        ["e[1]"],
        "the next attempt of the first is due, and the third could start, but for room"
    );
    run.tick();
    assert_eq!((run.now, run.under_way()), (3_000, vec!["k".to_owned()]));
    run.done("k", json!(1));
    assert_eq!((run.status(), run.asked.len()), (ExecutionStatus::Completed, 3));
}

#[test]
fn a_block_without_room_for_all_is_no_trap() {
    // `s` would hold the only place while it waits for `b`, which has none.
    let text = "{id: w, steps: [{id: p, parallel: {concurrency: 1, steps: [{id: s, sequential: {steps: [{id: a, depends_on: [z], task: {capability: c}}]}}, {id: b, task: {capability: c}}]}}, {id: z, depends_on: [b], task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({}));
    for step in ["b", "z", "a"] {
        assert_eq!(run.under_way(), [step]);
        run.done(step, json!(1));
    }
    assert_eq!(run.status(), ExecutionStatus::Completed);
}

#[test]
fn waits_signals_limits_and_deadlines() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: t, wait: {for_ms: 100}}, {id: s, depends_on: [t], timeout_ms: 500, save_as: 'k/${{ run.id }}', wait: {signal: go}}]}",
        json!({}),
    );
    let go = || Input::Signal { name: "go".into(), payload: json!(1).into() };
    assert_eq!(run.take(go()).unwrap_err().code, Code::NotFound);
    run.tick();
    assert_eq!((run.now, run.is("s")), (1_100, Some(StepStatus::Running)));
    let whats = run.take(go()).unwrap();
    let saved = whats.iter().find_map(|what| match what {
        What::ExecutionStepCompleted(e) => e.saved_as.clone(),
        _ => None,
    });
    assert_eq!((run.output(), saved.as_deref()), (json!({"s": 1}), Some("k/wf_1")));
    let mut run = Driven::new("{id: w, steps: [{id: s, timeout_ms: 500, wait: {signal: go}}]}", json!({}));
    run.tick();
    assert_eq!((run.now, run.status()), (1_500, ExecutionStatus::Failed));
    let mut run = Driven::new("{id: w, deadline_ms: 50, steps: [{id: a, task: {capability: c}}]}", json!({}));
    run.tick();
    assert_eq!((run.why(), run.taken_back.len()), ("deadline_exceeded".to_owned(), 1));
    let text = "{id: w, deadline_ms: 50, steps: [{id: a, task: {capability: c}}, {id: b, depends_on: [a], task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({}));
    run.now = 1_050;
    run.done("a", json!(1));
    assert_eq!((run.why(), run.asked.len()), ("deadline_exceeded".to_owned(), 1), "no time for another step");
    assert_eq!(run.is("a"), Some(StepStatus::Completed), "what was done is kept");
    let mut run = Driven::new(text, json!({}));
    run.done("a", json!(1));
    run.now = 1_050;
    run.done("b", json!(1));
    assert_eq!(run.status(), ExecutionStatus::Completed, "nothing is left to do");
    let mut run =
        Driven::new("{id: w, steps: [{id: u, wait: {until: \"'1970-01-01T00:00:05Z'\"}}]}", json!({}));
    run.tick();
    assert_eq!((run.now, run.status()), (5_000, ExecutionStatus::Completed));
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, timeout_ms: 500, fallback: {id: f, task: {capability: c}}, task: {capability: c}}]}",
        json!({}),
    );
    run.tick();
    assert_eq!(
        (run.status(), run.taken_back.contains(&id("a"))),
        (ExecutionStatus::Failed, true),
        "no time for a fallback"
    );
}

#[test]
fn a_signal_comes_to_all_that_wait_for_it() {
    let text = "{id: w, steps: [{id: m, map: {items: input.list, step: {id: q, sequential: {steps: [{id: s, wait: {signal: go}}]}}}}]}";
    let mut run = Driven::new(text, json!({"list": [1, 2, 3]}));
    run.take(Input::Signal { name: "go".into(), payload: json!({"x": 1}).into() }).unwrap();
    assert_eq!(run.output(), json!({"m": [{"x": 1}, {"x": 1}, {"x": 1}]}));
    let payloads =
        run.whats.iter().filter(|what| matches!(what, What::ExecutionStepCompleted(e) if e.output.is_some()));
    assert_eq!(payloads.count(), 0, "the payload stands in one event");
}

#[test]
fn concurrency_budget_pause_and_cancel() {
    let text = |more: &str| {
        format!(
            "{{id: w, {more} steps: [{{id: a, task: {{capability: c}}}}, {{id: b, task: {{capability: c}}}}, {{id: d, task: {{capability: c}}}}]}}"
        )
    };
    let mut run = Driven::new(&text("concurrency: 2,"), json!({}));
    assert_eq!(run.under_way(), ["a", "b"]);
    run.take(Input::Pause { reason: Some("lunch".into()) }).unwrap();
    assert_eq!(run.view().paused_because.as_deref(), Some("lunch"));
    run.done("a", json!(1));
    assert_eq!(run.under_way(), ["b"], "paused");
    assert_eq!(run.take(Input::Pause { reason: Some("tea".into()) }).unwrap(), [], "it is paused");
    assert_eq!(run.view().paused_because.as_deref(), Some("lunch"));
    run.take(Input::Resume).unwrap();
    assert_eq!(run.under_way(), ["b", "d"]);
    assert_eq!(run.take(Input::Resume).unwrap(), [], "it goes on");
    let whats = run.take(Input::Cancel { reason: None }).unwrap();
    assert_eq!(
        (whats.len(), run.taken_back.len()),
        (1, 2),
        "it starts nothing, and says in one event that it is over"
    );
    assert_eq!((run.status(), run.under_way().len()), (ExecutionStatus::Cancelled, 0));
    assert_eq!(run.take(Input::Cancel { reason: None }).unwrap(), [], "it is cancelled");
    assert_eq!(run.take(Input::Pause { reason: None }).unwrap_err().status.as_deref(), Some("cancelled"));
    let mut run = Driven::new(&text("budget: {steps: 2},"), json!({}));
    assert_eq!((run.status(), run.under_way().len()), (ExecutionStatus::Paused, 2));
    run.done("a", json!(1));
    run.take(Input::Resume).unwrap();
    assert_eq!(run.under_way(), ["b", "d"]);
    let mut run = Driven::new(&text("budget: {tokens: 10}, concurrency: 1,"), json!({}));
    let usage = Usage { tokens: 12, money_micros: 5 };
    run.done_with("a", json!(1), None, Some(usage));
    assert_eq!((run.status(), run.view().usage), (ExecutionStatus::Paused, usage));
    assert!(run.view().paused_because.unwrap().contains("budget"));
    let workflow =
        Workflow::parse("{id: w, input_schema: {type: object}, steps: [{id: a, task: {capability: c}}]}")
            .unwrap();
    let refused = Run::start(&workflow, opening(json!(1)), at(0)).unwrap_err();
    assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some("/input")));
}

#[test]
fn a_task_has_what_is_left_of_the_time() {
    let text = |more: &str| {
        format!(
            "{{id: w, deadline_ms: 60000, steps: [{{id: a, priority: 7, {more} retry: {{max_attempts: 2, initial_backoff_ms: 0}}, task: {{capability: c, strategy: x, requires: {{labels: {{z: y}}}}}}}}]}}"
        )
    };
    let mut run = Driven::new(&text("timeout_ms: 5000,"), json!({}));
    run.now += 1_000;
    run.fails("a", true);
    let (task, told) = run.task("a:2");
    assert_eq!((task.timeout_ms, task.deadline, task.priority), (Some(4_000), Some(at(6_000)), Some(7)));
    assert_eq!(told, json!({"attempt": 1, "error": {"code": "boom", "message": "it is boom"}}));
    assert_eq!(task.retry.as_ref().unwrap().max_attempts, Some(1));
    assert_eq!(task.strategy.as_deref(), Some("x"));
    assert_eq!(task.labels.as_ref().unwrap()["synod.step"], "a");
    let run = Driven::new(&text(""), json!({}));
    assert_eq!((run.task("a").0.timeout_ms, run.task("a").0.deadline), (Some(60_000), Some(at(61_000))));
    let run = Driven::new(
        "{id: w, steps: [{id: a, agent: {agent_id: '${{ input.who }}'}}]}",
        json!({"who": "ann"}),
    );
    assert_eq!((run.task("a").0.timeout_ms, run.task("a").0.deadline), (Some(24 * 3_600_000), None));
    assert_eq!(run.task("a").0.agent_id.as_ref().unwrap().as_str(), "ann");
    let run = Driven::new(
        "{id: w, steps: [{id: a, agent: {agent_id: '${{ input.who }}'}}]}",
        json!({"who": "a b"}),
    );
    assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "expression".to_owned()));
}

#[test]
fn a_result_is_put_under_its_key_or_the_step_fails() {
    let text = "{id: w, steps: [{id: a, save_as: 'r/${{ input.n }}', task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({"n": "x"}));
    let whats = run.done("a", json!(5));
    let What::ExecutionStepCompleted(done) = &whats[0] else { panic!("{whats:?}") };
    assert_eq!((done.saved_as.as_deref(), done.output.as_ref().map(value)), (Some("r/x"), Some(json!(5))));
    for bad in [json!("a\nb"), json!("x".repeat(600))] {
        let mut run = Driven::new(text, json!({ "n": bad }));
        run.done("a", json!(5));
        assert_eq!((run.status(), run.why()), (ExecutionStatus::Failed, "save_as".to_owned()));
    }
}

#[test]
fn numbers_that_cannot_be_read_are_told() {
    let text = "{id: w, steps: [{id: a, retry: {max_attempts: 2}, task: {capability: c}}]}";
    let workflow = Workflow::parse(text).unwrap();
    let huge = synod_protocol::Json::parse("1e999").unwrap();
    let opened = synod_workflow::run::Opening { input: huge.clone(), ..opening(json!(null)) };
    assert_eq!(Run::start(&workflow, opened, at(0)).unwrap_err().field.as_deref(), Some("/input"));
    let mut run = Driven::new(text, json!({}));
    run.take(Input::Completed {
        child: id("a"),
        output: huge,
        confidence: None,
        agent_id: None,
        usage: None,
    })
    .unwrap();
    assert_eq!(
        (run.is("a"), run.step("a").unwrap().error.unwrap().code.as_str()),
        (Some(StepStatus::Retrying), "unreadable")
    );
}

#[test]
fn a_childs_id_names_its_doing() {
    let text = "{id: w, steps: [{id: a, task: {capability: c}}, {id: m, map: {items: input.list, step: {id: n, map: {items: input.list, step: {id: e, approval: {title: t, approvers: [ann]}}}}}}, {id: p, wait: {for_ms: 5}}]}";
    let run = Driven::new(text, json!({"list": [1, 2]}));
    assert_eq!(run.under_way(), ["a", "e[0][0]", "e[0][1]", "e[1][0]", "e[1][1]"]);
    let read =
        |child: &str| run.run.child(&id(child)).map(|child| (child.attempt, child.advice, child.key.items));
    assert_eq!(read("a"), Some((1, false, vec![])));
    assert_eq!(read("a:7/advice"), Some((7, true, vec![])));
    assert_eq!(read("e[1][0]:2"), Some((2, false, vec![1, 0])));
    for none in [
        "a:1",
        "a:02",
        "a[0]",
        "e[1]",
        "e[1][0]x",
        "e[01][0]",
        "e[1][0]/advice",
        "b",
        "m",
        "p",
        "a/advice/advice",
        "a:2:3",
        "a:0",
    ] {
        assert_eq!(read(none), None, "{none}");
    }
    assert_eq!(run.run.child(&"wf_2:a".parse().unwrap()), None);
    assert_eq!(run.run.child(&"wf_1".parse().unwrap()), None);
}

#[test]
fn a_view_shows_each_doing() {
    let text = "{id: w, steps: [{id: m, map: {items: input.list, step: {id: e, task: {capability: c, input: '${{ item }}'}}}}]}";
    let mut run = Driven::new(text, json!({"list": (0..20).collect::<Vec<_>>()}));
    run.done_with("e[0]", json!("x"), Some(0.5), None);
    let view = run.view();
    let counts = serde_json::to_value(&view.step_counts).unwrap();
    assert_eq!(counts, json!({"running": 17, "completed": 1}));
    assert_eq!((view.steps.len(), view.labels["team"].as_str()), (18, "red"));
    let first = &view.steps[1];
    assert_eq!(
        (first.step.as_str(), &first.items, first.kind.as_str(), first.attempts),
        ("e", &vec![0], "task", 1)
    );
    assert_eq!((first.child.clone(), first.confidence), (Some(id("e[0]")), Some(0.5)));
    assert_eq!(first.input.as_ref().map(value), Some(json!(0)));
    let page = run.run.steps(run.run.key("e", &[15]).as_ref(), 10);
    assert_eq!(page.iter().map(|step| step.items[0]).collect::<Vec<_>>(), [16]);
    let brief = run.run.brief(&view.workspace);
    assert_eq!((brief.step_counts, brief.status), (view.step_counts, ExecutionStatus::Running));
}

#[test]
fn an_image_that_cannot_be_says_so() {
    let run = Driven::new("{id: w, steps: [{id: a, task: {capability: c}}]}", json!({}));
    let image = serde_json::to_value(&run.run).unwrap();
    let check = |pointer: &str, to: Value, says: &str| {
        let mut broken = image.clone();
        *broken.pointer_mut(pointer).unwrap() = to;
        let error = serde_json::from_value::<Run>(broken).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    check("/started/definition/steps/0/id", json!("a b"), "cannot be read");
    check("/started/hash", json!("00"), "has the hash");
    check("/doings/0/0/step", json!(7), "no step 7");
    let mut other: Run = serde_json::from_value(image).unwrap();
    other.share(run.run.workflow());
    assert_eq!(other, run.run);
    assert!(std::ptr::eq(other.workflow().definition(), run.run.workflow().definition()));
}
