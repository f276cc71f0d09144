//! Random workflows under random fates.

use crate::driven::{Driven, failure};
use proptest::prelude::*;
use serde_json::{Value, json};
use synod_protocol::approval::ApprovalStatus;
use synod_protocol::event::What;
use synod_protocol::workflow::{ExecutionStatus, StepStatus};
use synod_workflow::definition::Kind;
use synod_workflow::run::{ChildKind, Input, Key};
use synod_workflow::{Role, Workflow};

/// A random step at some depth; ids are given in order, dependencies go to earlier siblings.
fn step(
    fates: &mut impl Iterator<Item = u8>,
    next: &mut usize,
    depth: usize,
    siblings: &[String],
) -> (String, Value) {
    let id = format!("s{next}");
    *next += 1;
    let mut fate = || fates.next().unwrap_or(0);
    let mut step = match (depth, fate() % 10) {
        (0..=1, 4) => json!({"parallel": null}),
        (0..=1, 5) => json!({"sequential": null}),
        (0..=1, 6) => json!({"condition": null}),
        (0..=1, 7) => json!({"map": null}),
        (_, 2) => json!({"wait": {"signal": "go"}, "timeout_ms": 70}),
        (_, 3) => json!({"wait": {"for_ms": 10}}),
        (_, 8 | 9) => json!({"approval": {"title": "t", "approvers": ["ann"]}}),
        _ => json!({"task": {"capability": "c"}}),
    };
    step["id"] = json!(id);
    if !siblings.is_empty() && fate() % 2 == 0 {
        let before = &siblings[fate() as usize % siblings.len()];
        step["depends_on"] = json!([before]);
        if step.get("approval").is_some() {
            step["approval"]["revise"] = json!({"step": before, "max_revisions": 2});
        }
    }
    match fate() % 8 {
        0 => step["when"] = json!("input.no"),
        1 => step["on_failure"] = json!("continue"),
        2 if step.get("task").is_some() => step["retry"] = json!({"max_attempts": 2}),
        3 => step["fallback"] = json!({"id": format!("{id}f"), "task": {"capability": "c"}}),
        4 if step.get("task").is_some() => step["consult"] = json!({"capability": "x", "below": 0.5}),
        5 => step["timeout_ms"] = json!(100),
        _ => {}
    }
    let join =
        [json!("all"), json!("any"), json!({"at_least": 1}), json!("partial")][fate() as usize % 4].clone();
    let many = 1 + fate() as usize % 3;
    let mut list = |many: usize| {
        let (mut names, mut all) = (Vec::new(), Vec::new());
        for _ in 0..many {
            let (name, one) = self::step(fates, next, depth + 1, &names);
            names.push(name);
            all.push(one);
        }
        all
    };
    if step.get("parallel").is_some() {
        step["parallel"] = json!({"steps": list(many), "join": join, "concurrency": 2});
    } else if step.get("sequential").is_some() {
        step["sequential"] = json!({"steps": list(many)});
    } else if step.get("condition").is_some() {
        step["condition"] = json!({"if": if many == 1 { "input.no" } else { "!input.no" }, "then": list(many), "else": list(1)});
    } else if step.get("map").is_some() {
        step["map"] = json!({"items": "input.list", "concurrency": 2, "join": join, "step": list(1)[0]});
    }
    (id, step)
}

/// Whether all that a step waits for was over when it started; what is told of it is the state after the input, by which a
/// revision may not have taken any of that back.
fn may_have_started(run: &Driven, what: &What) -> bool {
    let What::ExecutionStepStarted(started) = what else { return true };
    let workflow = run.run.workflow();
    let number = workflow.number(&started.step).unwrap();
    let items = &started.items;
    if started.attempt > 1 && workflow.step(number).unwrap().retry.is_some() {
        // It had begun before.
        return true;
    }
    if let (Role::Fallback, Some(instead)) =
        (workflow.place(number).unwrap().role, workflow.place(number).unwrap().parent)
    {
        // It comes when its step fails, whatever is done again by then.
        let key = Key { step: instead, items: items.clone() };
        let status = run.run.step(&key).map(|step| step.status);
        return status.is_some_and(|status| status == StepStatus::FallingBack || status.is_final());
    }
    workflow.starts_after(number).into_iter().all(|before| {
        let place = workflow.place(before).unwrap();
        let depth =
            (0..=items.len()).find(|depth| run.run.key(place.id.as_str(), &items[..*depth]).is_some());
        let step = depth.and_then(|depth| run.step_for(place.id.as_str(), &items[..depth]));
        place.role == Role::Body || step.is_some_and(|step| step.status.is_final())
    })
}

/// One random input; whether one was found.
fn next_input(run: &mut Driven, fate: u8, retries: &mut u32) -> bool {
    let open: Vec<_> = run.run.children().collect();
    let due = run.run.next_deadline().filter(|_| open.is_empty() || fate.is_multiple_of(5));
    if let Some(due) = due {
        run.now = run.now.max(due.as_millis());
        run.take(Input::Due).unwrap();
    } else if run.status() == ExecutionStatus::Paused {
        run.take(Input::Resume).unwrap();
    } else if fate.is_multiple_of(31) {
        run.take(Input::Pause { reason: None }).unwrap();
    } else if fate.is_multiple_of(7)
        && run.take(Input::Signal { name: "go".into(), payload: json!(fate).into() }).is_ok()
    {
    } else if fate.is_multiple_of(3) && *retries > 0 && retry(run) {
        *retries -= 1;
    } else if let Some(child) = open.get(fate as usize % open.len().max(1)).cloned() {
        let output = json!(fate).into();
        let name = child.id.as_str()["wf_1:".len()..].to_owned();
        match (child.kind, fate % 4) {
            (ChildKind::Approval, way) => {
                let revision = run
                    .step_for(run.run.workflow().place(child.key.step).unwrap().id.as_str(), &child.key.items)
                    .unwrap();
                let number = match run.ask(&name) {
                    synod_workflow::run::Request::Approval(_, Some(of)) => of.number,
                    _ => 1,
                };
                assert!(number <= revision.revision);
                let status = [
                    ApprovalStatus::ChangesRequested,
                    ApprovalStatus::Approved,
                    ApprovalStatus::Rejected,
                    ApprovalStatus::ChangesRequested,
                ][way as usize];
                run.decided(&name, status, number);
            }
            (_, 0) => {
                let failure = failure("x", fate.is_multiple_of(8));
                run.take(Input::Failed { child: child.id, failure, usage: None }).unwrap();
            }
            _ => {
                let confidence = Some(f64::from(fate % 10) / 10.0);
                run.take(Input::Completed {
                    child: child.id,
                    output,
                    confidence,
                    agent_id: None,
                    usage: None,
                })
                .unwrap();
            }
        }
    } else {
        return false;
    }
    true
}

/// Retries the first step that failed, if one can be retried.
fn retry(run: &mut Driven) -> bool {
    let failed: Vec<_> =
        run.run.steps(None, 1_000).into_iter().filter(|step| step.status == StepStatus::Failed).collect();
    failed.into_iter().any(|step| run.take(Input::Retry { step: step.step, items: step.items }).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_run_ends_and_starts_only_what_may_start(shape in prop::collection::vec(any::<u8>(), 0..120), fates in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mut shape, mut next, mut names, mut steps) = (shape.into_iter(), 0, Vec::new(), Vec::new());
        for _ in 0..4 {
            let (name, one) = step(&mut shape, &mut next, 0, &names);
            names.push(name);
            steps.push(one);
        }
        let document = json!({"id": "w", "concurrency": 3, "steps": steps});
        let workflow = Workflow::parse(&document.to_string()).unwrap();
        let mut run = Driven::of(&workflow, json!({"no": false, "list": [1, 2, 3]}));
        // Half of them know no retries by hand: where one of those comes, what went on without the step is not taken back.
        let mut retries = if fates.len() % 2 == 0 { 3 } else { 0 };
        let (mut fates, mut from, checks) = (fates.into_iter(), 0, retries == 0);
        for _ in 0..2_000 {
            if checks {
                for what in &run.whats[from..] {
                    prop_assert!(may_have_started(&run, what), "{what:?} in {document:#}");
                }
            }
            from = run.whats.len();
            let work = run.run.children().filter(|child| child.kind != ChildKind::Approval).count();
            prop_assert!(work <= 3, "concurrency");
            let fate = fates.next().unwrap_or(9);
            if run.status().is_final() {
                if run.status() != ExecutionStatus::Failed || retries == 0 || !fate.is_multiple_of(2) || !retry(&mut run) {
                    break;
                }
                retries -= 1;
                continue;
            }
            prop_assert!(next_input(&mut run, fate, &mut retries), "stuck: {document:#} {:#?}", run.run.steps(None, 1_000));
        }
        prop_assert!(matches!(run.status(), ExecutionStatus::Completed | ExecutionStatus::Failed), "{document:#}");
        prop_assert!(run.run.steps(None, 1_000).iter().all(|step| step.ended_at.is_some()));
        prop_assert_eq!(run.run.children().count(), 0);
        prop_assert_eq!(run.run.next_deadline(), None);
        // Whatever was asked was answered or taken back, and is over in any case.
        let kinds = |key: &Key| matches!(workflow.step(key.step).unwrap().kind, Kind::Task(_) | Kind::Approval(_));
        prop_assert!(run.asked.iter().all(|ask| kinds(&run.run.child(&ask.id).unwrap().key)));
    }

    #[test]
    fn a_cancelled_run_starts_nothing(shape in prop::collection::vec(any::<u8>(), 0..80), fates in prop::collection::vec(any::<u8>(), 0..12)) {
        let (mut shape, mut next) = (shape.into_iter(), 0);
        let (_, one) = step(&mut shape, &mut next, 0, &[]);
        let (_, two) = step(&mut shape, &mut next, 0, &[]);
        let workflow = Workflow::parse(&json!({"id": "w", "steps": [one, two]}).to_string()).unwrap();
        let mut run = Driven::of(&workflow, json!({"no": false, "list": [1, 2]}));
        for fate in fates {
            if run.status().is_final() || !next_input(&mut run, fate, &mut 0) {
                break;
            }
        }
        if !run.status().is_final() {
            let open: Vec<_> = run.run.children().map(|child| child.id).collect();
            let whats = run.take(Input::Cancel { reason: None }).unwrap();
            prop_assert_eq!(whats.len(), 1);
            prop_assert!(open.iter().all(|child| run.taken_back.contains(child)));
            prop_assert!(!run.run.goes_on());
            for input in [Input::GoOn, Input::Due, Input::Resume, Input::Signal { name: "go".into(), payload: json!(1).into() }] {
                prop_assert!(run.take(input).is_err());
            }
            for child in open {
                let late = Input::Completed { child, output: json!(1).into(), confidence: None, agent_id: None, usage: None };
                prop_assert!(run.take(late).is_err());
            }
        }
    }
}
