//! Runs of size: what one input does is bounded, and what a run takes grows with what it does and no faster.

use crate::driven::{Driven, at, id, opening, value};
use serde_json::json;
use std::time::{Duration, Instant};
use synod_protocol::Limits;
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::ExecutionStatus;
use synod_workflow::Workflow;
use synod_workflow::run::{Input, Outcome, RESULTS_BYTES, Run};

fn workflow(text: &str) -> Workflow {
    Workflow::parse(text).unwrap()
}

const MAP: &str = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, step: {id: e, task: {capability: c, input: '${{ [item, index] }}'}}}}]}";

/// Bytes of an outcome's events as the ledger has them, and of what it asks for.
fn written(outcome: &Outcome) -> (usize, usize) {
    let event = |what: &What| Event { entity: "wf_1".parse().unwrap(), what: what.clone() };
    let asked = outcome.asks.iter().map(|ask| match &ask.what {
        synod_workflow::run::Request::Task(task, _) => serde_json::to_string(task).unwrap().len(),
        other => panic!("{other:?}"),
    });
    let whats = outcome.whats.iter();
    (whats.map(|what| serde_json::to_string(&event(what)).unwrap().len()).sum(), asked.sum())
}

/// Runs a map to its end as the ledger would, on copies; how long that took.
fn run_through(items: u32) -> (Duration, usize) {
    let workflow = workflow(MAP);
    let began = Instant::now();
    let (mut run, outcome) =
        Run::start(&workflow, opening(json!({ "list": vec![0; items as usize] })), at(0)).unwrap();
    let (mut next, mut asked, mut most) = (0, outcome.asks.len(), 0);
    while !run.status().is_final() {
        let mut copy = run.clone();
        let input = match run.goes_on() {
            true => Input::GoOn,
            false => {
                next += 1;
                Input::Completed {
                    child: id(&format!("e[{}]", next - 1)),
                    output: json!(next).into(),
                    confidence: None,
                    agent_id: None,
                    usage: None,
                }
            }
        };
        let outcome = copy.decide(at(1), input).unwrap();
        for what in &outcome.whats {
            run.apply(what, at(1));
        }
        asked += outcome.asks.len();
        most = most.max(outcome.whats.len());
        drop(copy);
    }
    assert_eq!((run.status(), asked), (ExecutionStatus::Completed, items as usize));
    (began.elapsed(), most)
}

#[test]
fn ten_thousand_items_take_ten_times_as_long_as_one_thousand() {
    // The quickest of three, so that what else the machine does counts for little.
    let quickest = |items| (0..3).map(|_| run_through(items).0).min().unwrap();
    let (small, large) = (quickest(1_000), quickest(10_000));
    // Linear would be 10, by the depth of trees a little more; quadratic 100.
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    assert!(ratio < 30.0, "{ratio}: {small:?} for 1,000, {large:?} for 10,000");
}

#[test]
fn one_input_does_what_fits_into_one_record() {
    let limit = Limits::default().record_bytes;
    let check = |text: &str, list: serde_json::Value, inputs: usize| {
        let workflow = workflow(text);
        let (mut run, outcome) = Run::start(&workflow, opening(json!({ "list": list })), at(0)).unwrap();
        let (mut all, mut sizes) = (1, vec![written(&outcome)]);
        while run.goes_on() {
            sizes.push(written(&run.decide(at(0), Input::GoOn).unwrap()));
            all += 1;
        }
        assert!(all >= inputs, "{all} inputs");
        for (events, asks) in sizes {
            // Each request stands in an event of its own besides, and what is assigned at once in another.
            assert!(events + asks < limit - 300 * 1024, "{events} and {asks}");
        }
        run
    };
    let run = check(MAP, json!(vec![0; 1_000]), 3);
    assert_eq!(run.children().count(), 1_000);
    let fat = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, step: {id: e, task: {capability: c, input: '${{ input.list.map(x, item) }}'}}}}]}";
    // Forty requests of a hundred KB each.
    check(fat, json!(vec!["x".repeat(2_500); 40]), 10);
    // The first record has the input besides.
    let list: Vec<_> =
        std::iter::once(json!("x".repeat(240_000))).chain((0..1_000).map(|i| json!(i))).collect();
    check(MAP, json!(list), 5);
    // What ends without anybody's doing is bounded too.
    let skipped = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, step: {id: q, sequential: {steps: [{id: e, when: 'index < 0', task: {capability: c}}]}}}}]}";
    let run = check(skipped, json!(vec![0; 5_000]), 5);
    assert_eq!(run.status(), ExecutionStatus::Completed);
}

#[test]
fn an_end_is_one_event_whatever_it_ends() {
    let mut run = Driven::new(MAP, json!({ "list": vec![0; 300] }));
    let whats = run.take(Input::Cancel { reason: None }).unwrap();
    assert_eq!((whats.len(), run.taken_back.len(), run.view().step_counts.len()), (1, 300, 1));
    let any = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, join: any, step: {id: e, task: {capability: c}}}}]}";
    let mut run = Driven::new(any, json!({ "list": vec![0; 300] }));
    let whats = run.done("e[0]", json!(1));
    assert_eq!((whats.len(), run.taken_back.len()), (3, 299), "the item, the map, the run");
}

#[test]
fn many_that_are_due_at_once_come_one_record_at_a_time() {
    let map = |m: &str, e: &str| {
        format!(
            "{{id: {m}, map: {{items: input.list, concurrency: 1000, step: {{id: {e}, wait: {{for_ms: 10}}}}}}}}"
        )
    };
    let text = format!("{{id: w, steps: [{}, {}]}}", map("m", "e"), map("n", "f"));
    let mut run = Driven::new(&text, json!({ "list": vec![0; 1_000] }));
    run.now = 1_010;
    run.take_one(Input::Due).unwrap();
    assert_eq!(run.run.next_deadline(), Some(at(1_010)), "some are due still");
    run.tick();
    assert_eq!((run.status(), run.now), (ExecutionStatus::Completed, 1_010));
}

#[test]
fn a_run_that_grows_too_large_fails_and_says_so() {
    let text = "{id: w, steps: [{id: m, map: {items: input.list, step: {id: e, task: {capability: c}}}}]}";
    let workflow = workflow(text);
    let (mut run, _) = Run::start(&workflow, opening(json!({ "list": vec![0; 100] })), at(0)).unwrap();
    let before = run.weight();
    let fat = synod_protocol::Json::from(json!("x".repeat(250_000)));
    let mut done = 0;
    while run.status() == ExecutionStatus::Running {
        let child = id(&format!("e[{done}]"));
        run.decide(
            at(0),
            Input::Completed { child, output: fat.clone(), confidence: None, agent_id: None, usage: None },
        )
        .unwrap();
        done += 1;
    }
    let error = run.view(&synod_protocol::Workspace::default_name()).error.unwrap();
    assert_eq!((error.code.as_str(), done), ("run_too_large", RESULTS_BYTES / 250_002 + 1));
    let grown = run.weight() - before;
    assert!((RESULTS_BYTES..RESULTS_BYTES * 11 / 10).contains(&grown), "{grown}");
    // So it does where it only has too many doings.
    let text = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, step: {id: n, map: {items: input.list, concurrency: 1000, step: {id: e, wait: {signal: s}}}}}}]}";
    let (mut run, _) =
        Run::start(&Workflow::parse(text).unwrap(), opening(json!({ "list": vec![0; 400] })), at(0)).unwrap();
    while run.goes_on() {
        run.decide(at(0), Input::GoOn).unwrap();
    }
    assert_eq!(run.view(&synod_protocol::Workspace::default_name()).error.unwrap().code, "run_too_large");
}

#[test]
fn an_output_too_large_to_be_told_stands_with_its_steps() {
    let text = "{id: w, steps: [{id: m, map: {items: input.list, step: {id: e, task: {capability: c}}}}]}";
    let mut run = Driven::new(text, json!({ "list": [1, 2] }));
    run.done("e[0]", json!("x".repeat(200_000)));
    run.done("e[1]", json!("y".repeat(200_000)));
    let view = run.view();
    assert_eq!((view.status, view.output, view.output_left_out), (ExecutionStatus::Completed, None, true));
    let output = run.step("m").unwrap().output.unwrap();
    assert_eq!(value(&output)[1].as_str().unwrap().len(), 200_000);
}

#[test]
fn approvals_are_pending_by_the_five_hundred() {
    let text = "{id: w, steps: [{id: m, map: {items: input.list, concurrency: 1000, step: {id: e, approval: {title: t, approvers: [ann]}}}}, {id: a, task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({ "list": vec![0; 600] }));
    assert_eq!(run.under_way().len(), 501);
    run.decided("e[7]", synod_protocol::approval::ApprovalStatus::Approved, 1);
    assert_eq!(run.under_way().len(), 501);
    assert!(run.run.waits_for(&id("e[500]")) && !run.run.waits_for(&id("e[501]")));
}
