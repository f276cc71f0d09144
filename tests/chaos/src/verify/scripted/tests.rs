//! A ledger of runs that nothing disturbed is found clean; each thing that can be wrong with one is found, as what it is.

use super::{awaited, kept};
use crate::journal::ClientLine;
use crate::script::{Doing, Script, Undisturbed, step_of};
use crate::verify::runs::Runs;
use crate::verify::{Findings, Kind, Noted};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::approval::{ApprovalRequired, ApprovalStatus, DecisionMade};
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{EntityId, Json};

/// A run's records, each its events, as they would stand in the ledger.
struct Story {
    run: String,
    records: Vec<Vec<Event>>,
    noted: Noted,
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn event(entity: &str, what: What) -> Event {
    Event { entity: entity.parse().unwrap(), what }
}

fn submitted(task: &str, run: &str) -> What {
    What::TaskSubmitted(read(json!({"task_id": task, "status": "waiting", "capability": "chaos",
        "input": null, "priority": 5, "timeout_ms": 30000, "deadline": "2027-01-16T08:00:00.000Z",
        "retry": {"max_attempts": 1, "initial_backoff_ms": 200, "max_backoff_ms": 30000, "multiplier": 2.0},
        "strategy": "least_connections", "retry_on_suspect": false, "correlation_id": run, "execution_id": run,
        "body": "b"})))
}

fn required(id: &str, run: &str) -> What {
    let asked: ApprovalRequired = read(
        json!({"approval_id": id, "status": "pending", "title": "t", "show": null,
        "shown": "s", "approvers": ["ann"], "need": "any", "expires_at": "2027-01-16T08:00:00.000Z", "revision": 1,
        "max_revisions": 3, "execution_id": run, "correlation_id": run, "body": "b"}),
    );
    What::ApprovalRequired(Box::new(asked))
}

fn completed(task: &str, output: &Json) -> What {
    What::TaskCompleted(read(json!({"task_id": task, "status": "completed", "attempt": 1, "agent_id": "a",
        "output": output, "processing_ms": 0})))
}

fn failed(task: &str) -> What {
    let error = json!({"code": "unprocessable", "message": "the script says so"});
    What::TaskFailed(read(json!({"task_id": task, "status": "failed", "error": error})))
}

fn decision(by: &str, what: &str) -> DecisionMade {
    read(json!({"decision": what, "approver": by, "at": "2027-01-15T08:00:00.000Z", "shown": "s"}))
}

impl Story {
    /// The run that its number's script makes, with its journals.
    fn of(n: u64) -> Story {
        let run = format!("run-{n}");
        let nonce = |(step, items): &Doing, k: usize| format!("{step}{items:?}{k}");
        let undisturbed = Undisturbed::play(&run, &nonce).unwrap();
        let mut story = Story { run, records: Vec::new(), noted: Noted::default() };
        let asked: Vec<String> = vec![story.run.clone()];
        story.note(|noted| &mut noted.starters, &asked);
        let mut children: BTreeMap<Doing, EntityId> = BTreeMap::new();
        let mut revisions: BTreeMap<String, u32> = BTreeMap::new();
        for whats in undisturbed.turns {
            let mut record = Vec::new();
            for what in whats {
                if let What::ExecutionSignalled(e) = &what {
                    let said = format!("{}!{}", story.run, e.name);
                    story.note(|noted| &mut noted.people, &[said]);
                }
                record.extend(story.child_of(&what, &children, &mut revisions));
                let begun = match &what {
                    What::ExecutionStepStarted(e) => e.child.clone().map(|child| (e.clone(), child)),
                    _ => None,
                };
                record.push(event(&story.run, what));
                if let Some((e, child)) = begun {
                    let asks = undisturbed.approvals.contains_key(child.as_str());
                    let begin = if asks { required } else { submitted };
                    record.push(event(child.as_str(), begin(child.as_str(), &story.run)));
                    children.insert((e.step, e.items), child);
                }
            }
            story.records.push(record);
        }
        story
    }

    fn note(&mut self, of: fn(&mut Noted) -> &mut BTreeMap<String, Vec<ClientLine>>, said: &[String]) {
        let lines = of(&mut self.noted).entry("somebody".into()).or_default();
        for one in said {
            lines.push(ClientLine::Asked { task: one.clone(), key: String::new() });
            lines.push(ClientLine::Acked { task: one.clone(), place: None });
        }
    }

    /// The end of the child by which this happens.
    fn child_of(
        &mut self,
        what: &What,
        children: &BTreeMap<Doing, EntityId>,
        revisions: &mut BTreeMap<String, u32>,
    ) -> Vec<Event> {
        let of = |step: &str, items: &[u32]| children.get(&(step.to_owned(), items.to_vec())).cloned();
        let (child, end) = match what {
            What::ExecutionStepCompleted(e) => match (of(&e.step, &e.items), &e.output) {
                (Some(child), Some(output)) => (child, Some(output.clone())),
                _ => return Vec::new(),
            },
            What::ExecutionStepFailed(e) => match of(&e.step, &e.items) {
                Some(child) => (child, None),
                None => return Vec::new(),
            },
            What::ExecutionRevised(e) => (of(&e.step, &e.items).unwrap(), None),
            _ => return Vec::new(),
        };
        let (step, _) = step_of(child.as_str());
        let script = Script::of(&self.run).unwrap();
        let asks = ["review", "legal", "finance", "opened", "asked", "close"].contains(&step);
        match (asks, end) {
            (false, Some(output)) => vec![event(child.as_str(), completed(child.as_str(), &output))],
            (false, None) => vec![event(child.as_str(), failed(child.as_str()))],
            (true, _) => {
                let revision = revisions.entry(step.to_owned()).or_default();
                *revision += 1;
                let mut people = script.decides(step, *revision);
                if step == "asked" {
                    people = script.decides(step, 1);
                }
                let said: Vec<String> = people.iter().map(|by| format!("{child}!{}", by.person)).collect();
                self.note(|noted| &mut noted.people, &said);
                let last = people.pop().unwrap();
                let mut all: Vec<Event> = people
                    .iter()
                    .map(|by| {
                        let signed = json!({"approval_id": child, "status": "pending",
                            "decision": decision(by.person, "approve")});
                        event(child.as_str(), What::ApprovalSigned(read(signed)))
                    })
                    .collect();
                all.push(event(child.as_str(), end_of(&child, what, last.person)));
                all
            }
        }
    }

    fn findings(&self) -> Findings {
        let (mut runs, mut findings) = (Runs::default(), Findings::default());
        for record in &self.records {
            runs.events(0, record);
        }
        awaited(&mut findings, &self.noted, &runs);
        kept(&mut findings, &self.noted, &runs);
        findings
    }

    /// Record and place of the first event of which this is true.
    fn place(&self, is_it: impl Fn(&Event) -> bool) -> (usize, usize) {
        let at = |record: &Vec<Event>| record.iter().position(&is_it);
        self.records.iter().enumerate().find_map(|(n, record)| Some((n, at(record)?))).unwrap()
    }

    fn place_of(&self, entity: &str, ty: &str) -> (usize, usize) {
        self.place(|event| event.entity.as_str() == entity && event.what.ce_type() == ty)
    }

    fn without(&mut self, is_it: impl Fn(&Event) -> bool) {
        self.records.iter_mut().for_each(|record| record.retain(|event| !is_it(event)));
    }
}

fn end_of(child: &EntityId, what: &What, by: &str) -> What {
    let end = |status: ApprovalStatus, said: &str| {
        read(json!({"approval_id": child, "status": status, "revision": 1, "decision": decision(by, said)}))
    };
    match what {
        What::ExecutionRevised(_) => {
            What::ApprovalChangesRequested(end(ApprovalStatus::ChangesRequested, "request_changes"))
        }
        What::ExecutionStepFailed(_) => What::ApprovalRejected(end(ApprovalStatus::Rejected, "reject")),
        _ => What::ApprovalGranted(end(ApprovalStatus::Approved, "approve")),
    }
}

/// The run of this number, with this done to it, has these kinds of wrong and no other.
#[track_caller]
fn check(n: u64, what: impl FnOnce(&mut Story), wanted: &[Kind]) {
    let mut story = Story::of(n);
    what(&mut story);
    let findings = story.findings();
    let found: BTreeSet<Kind> = findings.counts.keys().copied().collect();
    assert_eq!(found, wanted.iter().copied().collect(), "{:#?}", findings.shown);
}

#[test]
fn sound_runs_are_clean() {
    for n in [0, 4, 2, 6, 10, 38, 3, 7] {
        check(n, |_| {}, &[]);
    }
    let ran = Story::of(6).findings().runs;
    assert_eq!((ran.started, ran.completed, ran.approvals, ran.revisions), (1, 1, 4, 1));
    let ran = Story::of(38).findings().runs;
    assert_eq!((ran.completed, ran.failed), (0, 1));
}

#[test]
fn a_result_that_counts_twice_is_found() {
    // The whole record once more: the child's end, and what the run makes of it.
    let again = |story: &mut Story| {
        let (n, _) = story.place_of("run-0:take", "synod.task.completed");
        let twice = story.records[n].clone();
        story.records.insert(n + 1, twice);
    };
    check(0, again, &[Kind::Doubled]);
    // The run counts it twice in one record.
    let both = |story: &mut Story| {
        let (n, at) = story.place_of("run-0", "synod.execution.step_completed");
        let twice = story.records[n][at].clone();
        story.records[n].insert(at + 1, twice);
    };
    check(0, both, &[Kind::Doubled]);
    // Another result counts than the one that the child has.
    let other = |story: &mut Story| {
        let (n, at) = story.place_of("run-0:take", "synod.task.completed");
        let output = Json::from(json!({"value": 1, "nonce": "another"}));
        story.records[n][at].what = completed("run-0:take", &output);
    };
    check(0, other, &[Kind::Doubled]);
}

#[test]
fn a_result_that_does_not_count_is_found() {
    let unheard = |story: &mut Story| {
        let (n, at) =
            story.place(|event| matches!(&event.what, What::ExecutionStepCompleted(e) if e.step == "facts"));
        story.records[n].remove(at);
    };
    check(2, unheard, &[Kind::Lost, Kind::Strange]);
}

#[test]
fn an_approval_that_is_lost_or_asked_twice_is_found() {
    let never = |story: &mut Story| {
        story.without(|event| event.entity.as_str() == "run-2:finance");
        story.noted.people.values_mut().for_each(|lines| {
            lines.retain(|line| !format!("{line:?}").contains("finance"));
        });
    };
    check(2, never, &[Kind::Lost, Kind::Doubled]);
    let again = |story: &mut Story| {
        let (n, at) = story.place_of("run-2:review", "synod.approval.required");
        let twice = story.records[n][at].clone();
        story.records[n].push(twice);
    };
    check(2, again, &[Kind::Doubled]);
    let another = |story: &mut Story| {
        let (n, _) = story.place_of("run-2:review", "synod.approval.required");
        story.records[n].push(event("run-2:review:2", required("run-2:review:2", "run-2")));
        story.records[n + 1].push(event(
            "run-2:review:2",
            end_of(&"run-2:review:2".parse().unwrap(), &submitted("x", "run-2"), "ann"),
        ));
        story.note(|noted| &mut noted.people, &["run-2:review:2!ann".to_owned()]);
    };
    check(2, another, &[Kind::Doubled, Kind::Strange]);
    let twice = |story: &mut Story| {
        let (n, at) = story.place_of("run-2:finance", "synod.approval.granted");
        let end = story.records[n][at].clone();
        story.records[n].push(end);
    };
    check(2, twice, &[Kind::Doubled]);
}

#[test]
fn what_people_said_and_what_stands_there_agree() {
    let taken = |story: &mut Story| story.note(|noted| &mut noted.people, &["run-2:review!dora".to_owned()]);
    check(2, taken, &[Kind::Lost]);
    let unsaid = |story: &mut Story| story.noted.people.clear();
    check(2, unsaid, &[Kind::Strange]);
    let unsent = |story: &mut Story| story.without(|event| matches!(event.what, What::ExecutionSignalled(_)));
    check(3, unsent, &[Kind::Lost]);
    let refused = |story: &mut Story| {
        let lines = story.noted.people.entry("somebody".into()).or_default();
        lines.push(ClientLine::Refused { task: "run-2:review!ann".into(), why: "no".into() });
    };
    check(2, refused, &[Kind::Strange]);
}

#[test]
fn another_end_than_the_undisturbed_is_found() {
    let output = |story: &mut Story| {
        let (n, at) = story.place_of("run-0", "synod.execution.completed");
        let What::ExecutionCompleted(end) = &mut story.records[n][at].what else { panic!() };
        end.output = Some(Json::from(json!({"value": 1})));
    };
    check(0, output, &[Kind::Strange]);
    let status = |story: &mut Story| {
        let (n, at) = story.place_of("run-0", "synod.execution.completed");
        let What::ExecutionCompleted(end) = story.records[n][at].what.clone() else { panic!() };
        let mut end = end;
        end.status = ExecutionStatus::Failed;
        story.records[n][at].what = What::ExecutionFailed(end);
    };
    check(0, status, &[Kind::Strange]);
}

#[test]
fn nothing_comes_after_the_end_and_nothing_lives_on() {
    let twice = |story: &mut Story| {
        let last = story.records.last().unwrap().last().unwrap().clone();
        story.records.push(vec![last]);
    };
    check(0, twice, &[Kind::Doubled, Kind::Strange]);
    let after = |story: &mut Story| {
        story.records.push(vec![event("run-0:late", submitted("run-0:late", "run-0"))]);
    };
    check(0, after, &[Kind::Strange]);
    let lives = |story: &mut Story| {
        let last = story.records.last_mut().unwrap();
        last.push(event("run-0:late", submitted("run-0:late", "run-0")));
    };
    check(0, lives, &[Kind::Strange]);
}

#[test]
fn a_run_that_is_not_there_or_has_not_ended_is_lost() {
    check(0, |story| story.note(|noted| &mut noted.starters, &["run-4".to_owned()]), &[Kind::Lost]);
    check(0, |story| drop(story.records.pop()), &[Kind::Lost]);
    check(0, |story| story.noted.starters.clear(), &[Kind::Strange]);
}
