//! Runs: each rule by itself, and random workflows under random fates.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use synod_workflow::run::{Event, Failure, Input, Key, Refused, Run, RunStatus, Status};
use synod_workflow::{Role, Workflow};

/// A run that is driven by hand: every event is kept, and after each input the fold of all is the run.
struct Driven {
    run: Run,
    events: Vec<Event>,
    now: u64,
}

impl Driven {
    fn new(text: &str, input: Json) -> Driven {
        let workflow = Workflow::parse(text).unwrap();
        let (run, events) = Run::start(&workflow, "wf_1", input, 1_000).unwrap();
        Driven { run, events, now: 1_000 }
    }

    fn take(&mut self, input: Input) -> Result<Vec<Event>, Refused> {
        let events = self.run.decide(self.now, input)?;
        self.events.extend(events.clone());
        let folded = Run::fold(self.run.workflow(), "wf_1", &self.events);
        assert_eq!(folded.status(), self.run.status());
        assert!(folded.doings().eq(self.run.doings()), "a fold is the run");
        Ok(events)
    }

    fn key(&self, id: &str, items: &[u32]) -> Key {
        Key { step: self.run.workflow().number(id).unwrap(), items: items.to_vec() }
    }

    fn done(&mut self, id: &str, output: Json) -> Vec<Event> {
        self.done_for(id, &[], output)
    }

    fn done_for(&mut self, id: &str, items: &[u32], output: Json) -> Vec<Event> {
        let key = self.key(id, items);
        let attempt = self.run.doing(&key).map_or(0, |doing| doing.attempt);
        self.take(Input::Completed { key, attempt, output, confidence: None, tokens: 0, money_micros: 0 })
            .unwrap()
    }

    fn fails(&mut self, id: &str, retryable: bool) -> Vec<Event> {
        let key = self.key(id, &[]);
        let attempt = self.run.doing(&key).map_or(0, |doing| doing.attempt);
        let failure = Failure { code: "boom".into(), message: "boom".into(), retryable };
        self.take(Input::Failed { key, attempt, failure }).unwrap()
    }

    fn tick(&mut self) {
        self.now = self.run.next_deadline().expect("nothing is due");
        self.take(Input::Tick).unwrap();
    }

    fn status(&self, id: &str) -> Option<Status> {
        self.run.doing(&self.key(id, &[])).map(|doing| doing.status)
    }

    /// The steps that are under way and that somebody works on.
    fn under_way(&self) -> Vec<String> {
        let open =
            self.run.doings().filter(|(_, doing)| doing.status == Status::Running && doing.attempt > 0);
        open.map(|(key, _)| format!("{}{:?}", self.run.workflow().place(key.step).unwrap().id, key.items))
            .collect()
    }
}

#[test]
fn outputs_go_from_step_to_step() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, task: {capability: c, input: '${{ input.x }}'}}, {id: b, depends_on: [a], task: {capability: c, input: {n: '${{ steps.a.output.n + 1 }}'}}}], output: '${{ steps.b.output }}'}",
        json!({"x": 7}),
    );
    assert_eq!(run.under_way(), ["a[]"]);
    assert_eq!(run.run.doing(&run.key("a", &[])).unwrap().request["input"], 7);
    run.done("a", json!({"n": 1}));
    assert_eq!(run.run.doing(&run.key("b", &[])).unwrap().request["input"], json!({"n": 2}));
    run.done("b", json!("end"));
    assert_eq!((run.run.status(), run.run.output()), (RunStatus::Completed, &json!("end")));
    assert_eq!(run.take(Input::Tick), Err(Refused::Over(RunStatus::Completed)));
}

#[test]
fn failures_are_retried_with_pauses_and_then_fall_back() {
    let mut run = Driven::new(
        "id: w\nsteps:\n  - id: a\n    task: {capability: c}\n    retry: {max_attempts: 2, initial_backoff_ms: 50}\n    output_schema: {type: integer}\n    fallback: {id: f, task: {capability: d, input: '${{ steps.a.error.code }}'}}\n  - {id: b, depends_on: [a], task: {capability: c, input: '${{ steps.a.output }}'}}\n",
        json!({}),
    );
    run.done("a", json!("no integer"));
    assert_eq!(run.status("a"), Some(Status::Retrying));
    assert_eq!(run.run.next_deadline(), Some(1_050));
    run.tick();
    assert_eq!(run.run.doing(&run.key("a", &[])).unwrap().attempt, 2);
    let late = Input::Completed {
        key: run.key("a", &[]),
        attempt: 1,
        output: json!(1),
        confidence: None,
        tokens: 0,
        money_micros: 0,
    };
    assert!(matches!(run.take(late), Err(Refused::NotUnderWay { attempt: 1, .. })));
    run.fails("a", true);
    assert_eq!((run.status("a"), run.under_way()), (Some(Status::FallingBack), vec!["f[]".to_owned()]));
    assert_eq!(run.run.doing(&run.key("f", &[])).unwrap().request["input"], "boom");
    run.done("f", json!(3));
    assert_eq!(run.run.doing(&run.key("b", &[])).unwrap().request["input"], 3);
}

#[test]
fn a_failure_fails_the_run_and_takes_back_the_rest() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, task: {capability: c}}, {id: b, task: {capability: c}}]}",
        json!({}),
    );
    run.fails("a", false);
    assert_eq!((run.run.status(), run.status("b")), (RunStatus::Failed, Some(Status::Cancelled)));
    let mut run = Driven::new(
        "{id: w, steps: [{id: a, on_failure: continue, task: {capability: c}}, {id: b, depends_on: [a], task: {capability: c, input: '${{ steps.a.error.code }}'}}]}",
        json!({}),
    );
    run.fails("a", false);
    assert_eq!(run.run.doing(&run.key("b", &[])).unwrap().request["input"], "boom");
}

#[test]
fn conditions_and_when_skip() {
    let text = "{id: w, steps: [{id: q, condition: {if: input.yes, then: [{id: y, task: {capability: c}}, {id: y2, task: {capability: c}}], else: [{id: n, task: {capability: c}}]}}, {id: after, depends_on: [q, n], when: steps.n.status == 'skipped', task: {capability: c}}]}";
    let mut run = Driven::new(text, json!({"yes": true}));
    assert_eq!((run.under_way(), run.status("n")), (vec!["y[]".to_owned()], Some(Status::Skipped)));
    run.done("y", json!(1));
    run.done("y2", json!(2));
    assert_eq!(
        (run.run.doing(&run.key("q", &[])).unwrap().output.clone(), run.under_way()),
        (json!(2), vec!["after[]".to_owned()])
    );
    let mut run = Driven::new(text, json!({"yes": false}));
    run.done("n", json!(1));
    assert_eq!((run.run.status(), run.status("after")), (RunStatus::Completed, Some(Status::Skipped)));
    let run = Driven::new(text, json!({"yes": 3}));
    assert_eq!(run.run.status(), RunStatus::Failed);
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
    run.done_for("e", &[1], json!("b"));
    assert_eq!(run.under_way(), ["e[0]", "e[2]", "e[3]"]);
    assert_eq!(run.run.doing(&run.key("e", &[3])).unwrap().request["input"], json!([30, 3]));
    for item in [0, 2, 3, 4] {
        run.done_for("e", &[item], json!(item));
    }
    assert_eq!(run.run.output(), &json!({"m": [0, "b", 2, 3, 4]}));
    let mut run = map_run("{at_least: 2}", 5);
    run.done_for("e", &[0], json!(0));
    run.done_for("e", &[1], json!(1));
    assert_eq!((run.run.status(), run.under_way().len()), (RunStatus::Completed, 0));
    let mut run = map_run("partial", 2);
    run.done_for("e", &[1], json!("x"));
    let failure = Failure { code: "boom".into(), message: "b".into(), retryable: false };
    run.take(Input::Failed { key: run.key("e", &[0]), attempt: 1, failure: failure.clone() }).unwrap();
    assert_eq!(
        run.run.output()["m"],
        json!({"completed": [{"index": 1, "output": "x"}], "failed": [{"index": 0, "error": failure}]})
    );
    assert_eq!(map_run("all", 0).run.output(), &json!({"m": []}));
    assert_eq!(map_run("any", 0).run.status(), RunStatus::Failed);
    assert_eq!(map_run("all", 10_001).run.status(), RunStatus::Failed);
}

#[test]
fn what_a_block_leaves_over_keeps_nobody_waiting() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: p, parallel: {join: any, concurrency: 1, steps: [{id: x, task: {capability: c}}, {id: y, task: {capability: c}}]}}, {id: z, depends_on: [y], task: {capability: c}}]}",
        json!({}),
    );
    run.done("x", json!(1));
    assert_eq!((run.status("y"), run.under_way()), (Some(Status::Skipped), vec!["z[]".to_owned()]));
}

#[test]
fn ten_thousand_items_are_no_trouble() {
    let workflow = Workflow::parse(
        "{id: w, steps: [{id: m, map: {items: input.list, step: {id: e, task: {capability: c}}}}]}",
    )
    .unwrap();
    let (mut run, _) = Run::start(&workflow, "wf_1", json!({ "list": vec![0; 10_000] }), 0).unwrap();
    for item in 0..10_000 {
        let key = Key { step: 1, items: vec![item] };
        run.decide(
            1,
            Input::Completed {
                key,
                attempt: 1,
                output: json!(item),
                confidence: None,
                tokens: 0,
                money_micros: 0,
            },
        )
        .unwrap();
    }
    assert_eq!((run.status(), run.output()["m"][9_999].clone()), (RunStatus::Completed, json!(9_999)));
}

#[test]
fn waits_signals_limits_and_deadlines() {
    let mut run = Driven::new(
        "{id: w, steps: [{id: t, wait: {for_ms: 100}}, {id: s, depends_on: [t], timeout_ms: 500, wait: {signal: go}}]}",
        json!({}),
    );
    assert!(matches!(
        run.take(Input::Signal { name: "go".into(), payload: json!(1) }),
        Err(Refused::NoSuchSignal(_))
    ));
    run.tick();
    assert_eq!((run.now, run.status("s")), (1_100, Some(Status::Running)));
    run.take(Input::Signal { name: "go".into(), payload: json!(1) }).unwrap();
    assert_eq!(run.run.output(), &json!({"s": 1}));
    let mut run = Driven::new("{id: w, steps: [{id: s, timeout_ms: 500, wait: {signal: go}}]}", json!({}));
    run.tick();
    assert_eq!((run.now, run.run.status()), (1_500, RunStatus::Failed));
    let mut run = Driven::new("{id: w, deadline_ms: 50, steps: [{id: a, task: {capability: c}}]}", json!({}));
    run.tick();
    assert_eq!(run.run.failure().unwrap().code, "deadline_exceeded");
    let mut run =
        Driven::new("{id: w, steps: [{id: u, wait: {until: \"'1970-01-01T00:00:05Z'\"}}]}", json!({}));
    run.tick();
    assert_eq!((run.now, run.run.status()), (5_000, RunStatus::Completed));
}

#[test]
fn concurrency_budget_pause_and_cancel() {
    let text = |more: &str| {
        format!(
            "{{id: w, {more} steps: [{{id: a, task: {{capability: c}}}}, {{id: b, task: {{capability: c}}}}, {{id: d, task: {{capability: c}}}}]}}"
        )
    };
    let mut run = Driven::new(&text("concurrency: 2,"), json!({}));
    assert_eq!(run.under_way(), ["a[]", "b[]"]);
    run.take(Input::Pause).unwrap();
    run.done("a", json!(1));
    assert_eq!(run.under_way(), ["b[]"], "paused");
    run.take(Input::Resume).unwrap();
    assert_eq!(run.under_way(), ["b[]", "d[]"]);
    let events = run.take(Input::Cancel).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::StepStarted { .. })));
    assert_eq!((run.run.status(), run.under_way().len()), (RunStatus::Cancelled, 0));
    let mut run = Driven::new(&text("budget: {steps: 2},"), json!({}));
    assert_eq!((run.run.status(), run.under_way().len()), (RunStatus::Paused, 2));
    run.done("a", json!(1));
    run.take(Input::Resume).unwrap();
    assert_eq!(run.under_way(), ["b[]", "d[]"]);
    let mut run = Driven::new(&text("budget: {tokens: 10}, concurrency: 1,"), json!({}));
    let key = run.key("a", &[]);
    run.take(Input::Completed {
        key,
        attempt: 1,
        output: json!(1),
        confidence: None,
        tokens: 12,
        money_micros: 0,
    })
    .unwrap();
    assert_eq!(run.run.status(), RunStatus::Paused);
    let workflow =
        Workflow::parse("{id: w, input_schema: {type: object}, steps: [{id: a, task: {capability: c}}]}")
            .unwrap();
    assert!(matches!(Run::start(&workflow, "x", json!(1), 0), Err(Refused::Input(_))));
}

/// A random step at some depth; ids are given in order, dependencies go to earlier siblings.
fn step(
    fates: &mut impl Iterator<Item = u8>,
    next: &mut usize,
    depth: usize,
    siblings: &[String],
) -> (String, Json) {
    let id = format!("s{next}");
    *next += 1;
    let mut fate = || fates.next().unwrap_or(0);
    let mut step = match (depth, fate() % 8) {
        (0..=1, 4) => json!({"parallel": null}),
        (0..=1, 5) => json!({"sequential": null}),
        (0..=1, 6) => json!({"condition": null}),
        (0..=1, 7) => json!({"map": null}),
        (_, 3) => json!({"wait": {"for_ms": 10}}),
        _ => json!({"task": {"capability": "c"}}),
    };
    step["id"] = json!(id);
    if !siblings.is_empty() && fate() % 2 == 0 {
        step["depends_on"] = json!([siblings[fate() as usize % siblings.len()]]);
    }
    match fate() % 8 {
        0 => step["when"] = json!("input.no"),
        1 => step["on_failure"] = json!("continue"),
        2 if step.get("task").is_some() => step["retry"] = json!({"max_attempts": 2}),
        3 => step["fallback"] = json!({"id": format!("{id}f"), "task": {"capability": "c"}}),
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
        let (mut run, mut events) = Run::start(&workflow, "wf_1", json!({"no": false, "list": [1, 2, 3]}), 0).unwrap();
        let mut fates = fates.into_iter();
        let mut now = 0;
        let mut checked = 0;
        for _ in 0..2_000 {
            // A step starts only when all that it waits for is over.
            for event in &events[checked..] {
                if let Event::StepStarted { key, .. } = event {
                    let is_over = |before: &usize| {
                        let key = Key { step: *before, items: key.items.clone() };
                        run.doings().any(|(other, doing)| other.step == key.step && key.items.starts_with(&other.items) && doing.ended_at.is_some())
                    };
                    prop_assert!(workflow.starts_after(key.step).iter().filter(|before| workflow.place(**before).unwrap().role != Role::Body).all(is_over), "{key:?} in {document:#}");
                }
            }
            checked = events.len();
            let open: Vec<(Key, u32)> = run.doings().filter(|(key, doing)| {
                doing.status == Status::Running && doing.attempt > 0
                    && matches!(workflow.step(key.step).unwrap().kind, synod_workflow::definition::Kind::Task(_))
            }).map(|(key, doing)| (key.clone(), doing.attempt)).collect();
            prop_assert!(open.len() <= 3, "concurrency");
            if !matches!(run.status(), RunStatus::Running) {
                break;
            }
            let fate = fates.next().unwrap_or(9);
            let input = match (open.is_empty(), run.next_deadline()) {
                (true, None) => return Err(TestCaseError::fail(format!("stuck: {document:#} {:#?}", run.doings().collect::<Vec<_>>()))),
                (true, Some(at)) => { now = at.max(now); Input::Tick }
                (false, Some(at)) if fate % 5 == 0 => { now = at.max(now); Input::Tick }
                _ => {
                    let (key, attempt) = open[fate as usize % open.len()].clone();
                    match fate % 4 {
                        0 => Input::Failed { key, attempt, failure: Failure { code: "x".into(), message: "x".into(), retryable: fate % 8 == 0 } },
                        _ => Input::Completed { key, attempt, output: json!(fate), confidence: None, tokens: 0, money_micros: 0 },
                    }
                }
            };
            events.extend(run.decide(now, input).unwrap());
        }
        prop_assert!(matches!(run.status(), RunStatus::Completed | RunStatus::Failed), "{document:#}");
        prop_assert!(run.doings().all(|(_, doing)| doing.ended_at.is_some()));
        let folded = Run::fold(&workflow, "wf_1", &events);
        prop_assert_eq!(folded.status(), run.status());
        prop_assert!(folded.doings().eq(run.doings()));
        let ends: Vec<&Key> = events.iter().filter_map(|event| if let Event::StepEnded { key, .. } = event { Some(key) } else { None }).collect();
        prop_assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), ends.len(), "each ends once");
    }
}
