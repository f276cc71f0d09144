//! Who waits, for what, and whose turn it is; and what a task takes while it runs.

use crate::shard::{Shard, registration, submission, task_key};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_fleet::queue::Settings;
use synod_fleet::retry::BudgetSettings;
use synod_ledger::{Effect, Input, Released, Rules};
use synod_protocol::Code;
use synod_protocol::event::What;
use synod_protocol::view::WaitReason;

/// A shard with as many agents, each with room for one.
fn shard(rules: Rules, agents: u64) -> Shard {
    let mut shard = Shard::by(rules);
    for n in 0..agents {
        shard.ask("synod.agent.register", &registration(&format!("a{n}"), 1, &json!({}))).unwrap();
    }
    shard.told.clear();
    shard
}

fn quota(most: u32) -> Rules {
    Rules { quota: Some(most), ..Rules::default() }
}

fn with_key(key: &str) -> Value {
    json!({"concurrency_key": key})
}

impl Shard {
    fn held(&self, permit: &str) -> usize {
        self.held.get(permit).map_or(0, std::collections::BTreeSet::len)
    }

    fn held_in_all(&self) -> usize {
        self.held.values().map(std::collections::BTreeSet::len).sum()
    }

    fn why(&self, task: &str) -> Option<(WaitReason, Option<String>)> {
        self.owner.why_waiting(&task_key(task)).map(|why| (why.reason, why.permit))
    }

    fn runs(&self, task: &str) -> bool {
        self.task(task).current().is_some()
    }
}

#[test]
fn of_the_tasks_of_one_key_one_runs_and_its_end_lets_the_next() {
    let mut shard = shard(Rules::default(), 3);
    for task in ["t1", "t2", "t3"] {
        shard.submit(task, &with_key("k")).unwrap();
    }
    shard.submit("free", &json!({})).unwrap();
    assert_eq!([shard.runs("t1"), shard.runs("t2"), shard.runs("free")], [true, false, true]);
    let out = (WaitReason::Permit, Some("key/default/k".to_owned()));
    assert_eq!((shard.why("t2"), shard.why("t1")), (Some(out), None));
    assert!(
        shard
            .owner
            .why_waiting(&task_key("t2"))
            .unwrap()
            .message
            .contains("all 1 permits of concurrency key k")
    );
    let asked = shard.asked;
    shard.settle();
    assert_eq!(shard.asked, asked, "what is out here need not be asked for");
    for (ended, next) in [("t1", "t2"), ("t2", "t3")] {
        shard.result("complete", ended, &json!({"output": 1})).unwrap();
        shard.settle();
        assert!(shard.runs(next) && shard.held("key/default/k") == 1);
    }
    shard.result("complete", "t3", &json!({"output": 1})).unwrap();
    assert_eq!(shard.held_in_all(), 0);
}

/// Every way in which an attempt ends gives back what it held; the record says so.
#[test]
fn every_end_of_an_attempt_gives_back() {
    let error = |retryable: bool| json!({"error": {"code": "c", "message": "m", "retryable": retryable}});
    type End<'a> = (&'a str, Box<dyn Fn(&mut Shard)>);
    let ends: Vec<End<'_>> = vec![
        ("completed", Box::new(|s| drop(s.result("complete", "t", &json!({"output": 1})).unwrap()))),
        ("failed", Box::new(move |s| drop(s.result("fail", "t", &error(true)).unwrap()))),
        ("failed for good", Box::new(move |s| drop(s.result("fail", "t", &error(false)).unwrap()))),
        ("declined", Box::new(move |s| drop(s.result("decline", "t", &error(true)).unwrap()))),
        ("cancelled", Box::new(|s| drop(s.ask("synod.task.cancel", &json!({"task_id": "t"})).unwrap()))),
        ("timed out", Box::new(|s| s.wait(1_000))),
        ("lost", Box::new(|s| s.lose_holder("t"))),
        ("left", Box::new(|s| s.leave_holder("t"))),
    ];
    for (how, end) in ends {
        let mut shard = shard(quota(5), 1);
        shard.submit("t", &json!({"concurrency_key": "k", "timeout_ms": 1_000})).unwrap();
        assert_eq!((shard.held("key/default/k"), shard.held("workspace/default")), (1, 1), "{how}");
        end(&mut shard);
        assert_eq!(shard.held_in_all(), 0, "{how}");
        let back: Vec<_> = shard.told.iter().filter_map(|told| told.what.gives_back()).collect();
        assert_eq!(back.len(), 1, "{how}: once");
        assert_eq!(
            (back[0].attempt, &back[0].permits[..]),
            (1, &["workspace/default".into(), "key/default/k".into()][..])
        );
        let assigned = shard.told.iter().find_map(|told| match &told.what {
            What::TaskAssigned(assigned) => Some(assigned.permits.clone()),
            _ => None,
        });
        assert_eq!(assigned.as_ref(), Some(&back[0].permits), "{how}");
    }
}

/// What a dead owner left undone its successor does: it holds what runs, and gives back what has ended.
#[test]
fn a_successor_holds_and_gives_back() {
    let mut shard = shard(Rules::default(), 2);
    shard.submit("runs", &with_key("a")).unwrap();
    shard.submit("ends", &with_key("b")).unwrap();
    // Its end is recorded, and nothing of that step performed.
    let work = shard.work.iter().find(|(_, work)| work.task_id.as_str() == "ends").unwrap().1.clone();
    let body = json!({"task_id": "ends", "attempt": 1, "attempt_token": work.attempt_token, "output": 1});
    let command = Box::new(crate::shard::command("synod.task.complete", &body));
    let (append, _) = shard.decide(&Input::Command { command, meta: crate::shard::meta("end", None) }, None);
    shard.log.append(shard.now, append.unwrap().bytes);
    shard.held.clear();
    let released = shard.succeed();
    let effects: Vec<&Effect> = released
        .iter()
        .flat_map(|one| match one {
            Released::Effects { effects, .. } | Released::Again(effects) => &effects[..],
            _ => &[],
        })
        .collect();
    let names = |wanted: fn(&Effect) -> Option<(&str, u32)>| {
        effects.iter().filter_map(|e| wanted(e)).collect::<Vec<_>>()
    };
    let held = names(|effect| match effect {
        Effect::HoldPermits { by, .. } => Some((by.task.task.as_str(), by.attempt)),
        _ => None,
    });
    assert_eq!(held, [("runs", 1)], "also where Redis has lost everything, and not what has ended");
    let back = names(|effect| match effect {
        Effect::GiveBack { by, .. } => Some((by.task.task.as_str(), by.attempt)),
        _ => None,
    });
    assert_eq!(back, [("ends", 1)]);
    shard.submit("next", &with_key("a")).unwrap();
    assert!(!shard.runs("next"), "what runs since before counts");
}

#[test]
fn what_others_hold_is_asked_for_again_now_and_then() {
    let mut shard = shard(Rules::default(), 3);
    let other = synod_ledger::Try { task: task_key("elsewhere"), attempt: 1 };
    shard.held.entry("key/default/k".into()).or_default().insert(other.clone());
    shard.submit("t1", &with_key("k")).unwrap();
    shard.submit("t2", &with_key("k")).unwrap();
    assert_eq!(shard.why("t1"), Some((WaitReason::Permit, Some("key/default/k".into()))));
    assert!(shard.owner.looks());
    let asked = shard.asked;
    (0..10).for_each(|_| shard.settle());
    assert_eq!(shard.asked, asked, "nobody asks before it is time to look again");
    shard.owner.look_again();
    shard.settle();
    assert_eq!(shard.asked, asked + 1, "one asks for all of the key");
    shard.held.get_mut("key/default/k").unwrap().remove(&other);
    shard.owner.look_again();
    shard.settle();
    assert!(shard.runs("t1") && !shard.runs("t2"));
}

#[test]
fn while_permits_cannot_be_asked_for_others_go_on() {
    let mut shard = shard(Rules::default(), 3);
    shard.no_permits = Some("Redis is away".into());
    for n in 0..100 {
        shard.submit(&format!("t{n}"), &with_key(&format!("k{n}"))).unwrap();
    }
    shard.submit("free", &json!({})).unwrap();
    assert!(shard.runs("free"));
    assert!(shard.owner.why_waiting(&task_key("t1")).unwrap().message.contains("Redis is away"));
    let asked = shard.asked;
    shard.owner.look_again();
    shard.settle();
    assert_eq!(shard.asked, asked + 1, "one finds out for all");
    shard.no_permits = None;
    for _ in 0..5 {
        shard.owner.look_again();
        shard.settle();
    }
    assert_eq!(
        (shard.runs("t0"), shard.runs("t1"), shard.why("t50")),
        (true, true, Some((WaitReason::Agent, None)))
    );
}

/// Answers take as long as a time limit: one asks, however many come, and who needs no permits goes on.
#[test]
fn while_nothing_is_known_of_permits_one_asks_for_all() {
    let mut shard = shard(Rules::default(), 3);
    shard.no_permits = Some("Redis is away".into());
    shard.submit("first", &with_key("k")).unwrap();
    (shard.asked, shard.unanswered) = (0, true);
    shard.owner.look_again();
    shard.settle();
    for n in 0..50 {
        shard.submit(&format!("t{n}"), &with_key(&format!("k{n}"))).unwrap();
    }
    shard.submit("free", &json!({})).unwrap();
    assert_eq!((shard.asked, shard.runs("free")), (1, true));
    for task in ["first", "t1"] {
        assert_eq!(shard.why(task), Some((WaitReason::Permits, None)), "also while it is being asked");
    }
}

/// However many want different permits, so many questions are open at a time; nobody else waits for the answers.
#[test]
fn open_questions_are_bounded() {
    let mut shard = shard(Rules::default(), 3);
    shard.unanswered = true;
    for n in 0..200 {
        shard.submit(&format!("t{n}"), &with_key(&format!("k{n}"))).unwrap();
    }
    shard.submit("free", &json!({})).unwrap();
    assert_eq!((shard.asked, shard.runs("free")), (64, true));
}

/// Nobody to do it: what was taken for it is given back, and nobody of the same kind asks for more.
#[test]
fn permits_for_which_nobody_works_are_not_kept() {
    let mut shard = shard(quota(1_000), 0);
    for n in 0..50 {
        shard.submit(&format!("t{n}"), &with_key(&format!("k{n}"))).unwrap();
    }
    assert_eq!(shard.held_in_all(), 0);
    let asked = shard.asked;
    shard.settle();
    assert_eq!(shard.asked, asked + 1, "the others of the line need not");
    shard.ask("synod.agent.register", &registration("a", 1, &json!({"max_concurrency": 50}))).unwrap();
    assert_eq!((shard.held_in_all(), shard.owner.state().waiting()), (100, 0));
}

/// Priority counts, and age; over all lines of a workspace.
#[test]
fn who_has_waited_long_enough_goes_before_the_urgent() {
    let rules = Rules { queue: Settings { aging_ms: 1_000, ..Settings::default() }, ..Rules::default() };
    let mut shard = shard(rules, 1);
    shard.submit("runs", &json!({})).unwrap();
    shard.submit("old", &json!({"priority": 0})).unwrap();
    shard.wait(5_000);
    shard.submit("urgent", &json!({"priority": 9})).unwrap();
    shard.submit("middling", &json!({"priority": 5})).unwrap();
    let next = |shard: &mut Shard, ended: &str| {
        shard.result("complete", ended, &json!({"output": 1})).unwrap();
        shard.settle();
    };
    next(&mut shard, "runs");
    assert!(shard.runs("urgent"), "9 levels are worth 9 s, and it has waited 5");
    next(&mut shard, "urgent");
    assert!(shard.runs("old"), "4 levels more are worth 4 s");
}

#[test]
fn what_would_wait_in_vain_is_refused_through_either_door_and_may_come_again() {
    let rules = Rules {
        queue: Settings { waiting: 3, waiting_per_workspace: 2, ..Settings::default() },
        ..Rules::default()
    };
    let mut shard = shard(rules, 1);
    for task in ["runs", "w1", "w2"] {
        shard.submit(task, &json!({})).unwrap();
    }
    let records = shard.log.records.len();
    let full = shard.submit("w3", &json!({})).unwrap_err();
    assert_eq!((full.code, full.retry_after_ms), (Code::Overloaded, Some(1_000)));
    assert!(full.message.contains("2 tasks wait in this workspace, the limit is 2"), "{}", full.message);
    assert_eq!(shard.log.records.len(), records, "nothing is on record of it");
    let (ty, error) = shard.ask_kafka("ce-k", 0, "synod.task.submit", &submission("k", &json!({})));
    assert_eq!((ty.as_str(), &error["code"]), ("synod.rejected", &json!("overloaded")));
    shard.submit("w1", &json!({})).unwrap();
    shard.ask("synod.task.cancel", &json!({"task_id": "w1"})).unwrap();
    shard.submit("w3", &json!({})).unwrap();
}

#[test]
fn what_cannot_be_begun_in_time_is_refused_with_the_figures() {
    let mut shard = shard(Rules::default(), 1);
    for n in 0..30 {
        shard.submit(&format!("t{n}"), &json!({})).unwrap();
    }
    for n in 0..12 {
        shard.wait(100);
        shard.result("complete", &format!("t{n}"), &json!({"output": 1})).unwrap();
        shard.settle();
    }
    let in_time =
        |ms: u64, now: synod_protocol::Timestamp| json!({"deadline": now.plus_millis(ms).to_string()});
    let late = shard.submit("late", &in_time(1_000, shard.now)).unwrap_err();
    assert_eq!((late.code, late.retry_after_ms), (Code::Overloaded, Some(700)));
    assert!(
        late.message.starts_with("17 tasks are before it, and at one every 100.0 ms they take 1700 ms"),
        "{late:?}"
    );
    shard.submit("in-time", &in_time(2_000, shard.now)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random histories: the queue is what the state says (checked after every input on this bench), no more hold a
    /// permit than there are, and with room all of them end and nothing is held.
    #[test]
    fn limits_hold_and_balance(deeds in proptest::collection::vec((0u8..12, 0usize..12, 0usize..3), 1..80)) {
        let rules = Rules {
            limits: [("c".parse().unwrap(), 3)].into(),
            queue: Settings { per_key: 2, ..Settings::default() },
            ..quota(4)
        };
        let mut shard = shard(rules, 5);
        let most: BTreeMap<&str, usize> =
            [("workspace/default", 4), ("capability/default/c", 3), ("key/default/k0", 2), ("key/default/k1", 2)].into();
        let error = json!({"error": {"code": "c", "message": "m"}});
        for (deed, task, key) in deeds {
            let id = format!("t{task}");
            let known = shard.owner.state().task(&task_key(&id)).map(|task| task.current().is_some());
            match (deed, known) {
                (0..=4, None) => {
                    let more = if key < 2 { with_key(&format!("k{key}")) } else { json!({}) };
                    drop(shard.submit(&id, &more));
                }
                (5, Some(true)) => drop(shard.result("complete", &id, &json!({"output": 1}))),
                (6, Some(true)) => drop(shard.result("fail", &id, &error)),
                (7, Some(true)) => drop(shard.result("decline", &id, &error)),
                (8, Some(true)) => shard.lose_holder(&id),
                (9, Some(_)) => drop(shard.ask("synod.task.cancel", &json!({"task_id": id}))),
                (10, _) => drop(shard.succeed()),
                _ => shard.wait(100),
            }
            shard.owner.look_again();
            shard.settle();
            for (permit, most) in &most {
                prop_assert!(shard.held(permit) <= *most, "{permit}");
            }
        }
        for round in 0..60u64 {
            shard.ask("synod.agent.register", &registration(&format!("b{round}"), 1, &json!({}))).unwrap();
            let running: Vec<String> = shard.owner.state().tasks()
                .filter(|(_, task)| task.current().is_some()).map(|(key, _)| key.task.to_string()).collect();
            for id in running {
                drop(shard.result("complete", &id, &json!({"output": 1})).unwrap());
            }
            shard.wait(1_000);
            shard.owner.look_again();
            shard.settle();
        }
        prop_assert_eq!((shard.owner.state().live_tasks(), shard.held_in_all()), (0, 0));
    }
}

#[test]
fn a_named_agent_is_waited_for_and_said_so() {
    let mut shard = shard(Rules::default(), 0);
    shard.ask("synod.task.submit", &json!({"task_id": "t", "agent_id": "x", "input": 1})).unwrap();
    let why = shard.owner.why_waiting(&task_key("t")).unwrap();
    assert_eq!(why.message, "no agent x, which it names, was found that is well and has room");
}

#[test]
fn retries_beyond_their_budget_wait_and_first_attempts_do_not() {
    let retries = BudgetSettings { ratio: 0.0, min_per_second: 2, window_s: 1 };
    let mut shard = shard(Rules { retries, ..Rules::default() }, 20);
    let retry = json!({"retry": {"initial_backoff_ms": 0, "max_attempts": 5}});
    let error = json!({"error": {"code": "bad", "message": "it broke", "retryable": true}});
    let tasks: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
    for task in &tasks {
        shard.submit(task, &retry).unwrap();
    }
    for task in &tasks {
        shard.result("fail", task, &error).unwrap();
    }
    let again = |shard: &Shard| tasks.iter().filter(|task| shard.task(task).attempts.len() == 2).count();
    shard.wait(10);
    assert_eq!(again(&shard), 2, "as many as the budget begins with");
    let held: Vec<&String> = tasks.iter().filter(|task| shard.why(task).is_some()).collect();
    assert_eq!(held.len(), 8);
    assert_eq!(shard.why(held[0]), Some((WaitReason::Retry, None)));
    // Who comes new is not held up, nor are retries of other work.
    shard.submit("new", &json!({})).unwrap();
    assert!(shard.runs("new"));
    // One that is cancelled meanwhile takes no room.
    shard.ask("synod.task.cancel", &json!({"task_id": held[0]})).unwrap();
    for second in 1..=4 {
        shard.wait(1_000);
        shard.settle();
        assert_eq!(again(&shard), (2 + 2 * second).min(9), "after {second} s");
    }
}
