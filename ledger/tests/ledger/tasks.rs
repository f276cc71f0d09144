//! A task's life: what happens to it, and where that leaves it.

use crate::shard::{Shard, agent_key, at, refused, registration, submission, taken, task_key};
use serde_json::{Value, json};
use synod_ledger::Input;
use synod_protocol::Code;
use synod_protocol::event::What;
use synod_protocol::view::Outcome;

/// Something that happens to the task.
#[derive(Clone, Copy, Debug)]
enum Do {
    Start,
    Progress,
    Complete,
    Fail,
    FailForGood,
    Decline,
    LoseAgent,
    AgentLeaves,
    TakeBack,
    Cancel,
    Wait(u64),
}
use Do::{
    AgentLeaves, Cancel, Complete, Decline, Fail, FailForGood, LoseAgent, Progress, Start, TakeBack, Wait,
};

fn error(retryable: bool) -> Value {
    json!({"error": {"code": "bad", "message": "it broke", "retryable": retryable}})
}

impl Shard {
    fn live(&mut self, script: &[Do]) {
        for act in script {
            match act {
                Start => drop(self.result("start", "t", &json!({})).unwrap()),
                Progress => drop(self.result("progress", "t", &json!({"progress": 0.5})).unwrap()),
                Complete => drop(self.result("complete", "t", &json!({"output": {"y": 2}})).unwrap()),
                Fail => drop(self.result("fail", "t", &error(true)).unwrap()),
                FailForGood => drop(self.result("fail", "t", &error(false)).unwrap()),
                Decline => drop(self.result("decline", "t", &error(true)).unwrap()),
                LoseAgent => self.lose_holder("t"),
                AgentLeaves => self.leave_holder("t"),
                TakeBack => {
                    let attempt = self.task("t").attempts.last().map_or(1, |last| last.seen.attempt);
                    let reason = "it waited".to_owned();
                    let input = Input::Unclaimed { task: task_key("t"), attempt, reason };
                    self.happen(&input, None);
                }
                Cancel => drop(self.ask("synod.task.cancel", &json!({"task_id": "t"})).unwrap()),
                Wait(ms) => self.wait(*ms),
            }
        }
    }
}

/// With these agents, a task submitted with `more` lives `script`: then its story is `story`, `status` is where it
/// stands and `outcomes` is how its attempts ended, each by whom.
fn check(agents: &[&str], more: &Value, script: &[Do], story: &str, status: &str, outcomes: &str) {
    let mut shard = Shard::with(agents);
    shard.submit("t", more).unwrap();
    shard.live(script);
    let task = shard.task("t");
    let name = |o: Option<Outcome>| o.map_or("-".into(), |o| format!("{o:?}").to_lowercase());
    let ends: Vec<_> =
        task.attempts.iter().map(|a| format!("{}:{}", a.seen.agent_id, name(a.seen.outcome))).collect();
    let got = (shard.story("t"), task.status.as_str(), ends.join(" "));
    assert_eq!(got, (story.to_owned(), status, outcomes.to_owned()), "{more} {script:?}");
}

#[test]
fn a_task_is_done_by_an_agent() {
    let none = json!({});
    check(&["a"], &none, &[], "submitted assigned", "assigned", "a:-");
    check(&["a"], &none, &[Complete], "submitted assigned completed", "completed", "a:completed");
    check(
        &["a"],
        &none,
        &[Start, Start, Progress, Complete],
        "submitted assigned started progressed completed",
        "completed",
        "a:completed",
    );
    check(&["a"], &none, &[Progress], "submitted assigned progressed", "running", "a:-");
    check(&[], &none, &[], "submitted", "waiting", "");
    check(
        &["a", "b"],
        &json!({"capability": null, "agent_id": "b"}),
        &[],
        "submitted assigned",
        "assigned",
        "b:-",
    );
    check(&["a"], &json!({"capability": "other"}), &[], "submitted", "waiting", "");
}

#[test]
fn what_its_agent_does_not_take_goes_to_another_if_there_is_one() {
    let none = json!({});
    let back = "submitted assigned reassigned";
    check(&["a", "b"], &none, &[TakeBack], &format!("{back} assigned"), "assigned", "a:withdrawn b:-");
    // Nobody else: it waits, and whoever has room next may have it, the same too.
    check(&["a"], &none, &[TakeBack], back, "waiting", "a:withdrawn");
    let begun = "submitted assigned started";
    check(&["a", "b"], &none, &[Start, TakeBack], begun, "running", "a:-");
    let done = "submitted assigned completed";
    check(&["a", "b"], &none, &[Complete, TakeBack], done, "completed", "a:completed");
    // Attempts that are over are not taken back, nor those of later ones for them.
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &none).unwrap();
    shard.live(&[Fail, Wait(200)]);
    let late = Input::Unclaimed { task: task_key("t"), attempt: 1, reason: "it waited".into() };
    assert_eq!(shard.happen(&late, None), None, "no record either");
    assert_eq!(shard.task("t").status.as_str(), "assigned");
}

#[test]
fn failures_and_time_outs_use_up_the_attempts() {
    let none = json!({});
    let one = "submitted assigned attempt_failed retry_scheduled";
    check(&["a"], &none, &[Fail], one, "retrying", "a:failed");
    let two = format!("{one} assigned attempt_failed retry_scheduled");
    check(&["a"], &none, &[Fail, Wait(200), Fail], &two, "retrying", "a:failed a:failed");
    let all = format!("{two} assigned attempt_failed dead_lettered");
    let fail_all = [Fail, Wait(200), Fail, Wait(400), Fail];
    check(&["a"], &none, &fail_all, &all, "dead_lettered", "a:failed a:failed a:failed");
    check(
        &["a"],
        &json!({"retry": {"max_attempts": 1}}),
        &[Fail],
        "submitted assigned attempt_failed dead_lettered",
        "dead_lettered",
        "a:failed",
    );
    let failed = "submitted assigned attempt_failed failed";
    check(&["a"], &none, &[FailForGood], failed, "failed", "a:failed");
    let quick = json!({"timeout_ms": 1_000, "retry": {"max_attempts": 2}});
    check(&["a"], &quick, &[Wait(999)], "submitted assigned", "assigned", "a:-");
    check(&["a"], &quick, &[Wait(1_000)], one, "retrying", "a:timedout");
    check(
        &["a"],
        &quick,
        &[Wait(5_000)],
        "submitted assigned attempt_failed retry_scheduled assigned attempt_failed dead_lettered",
        "dead_lettered",
        "a:timedout a:timedout",
    );
    check(
        &["a"],
        &quick,
        &[Start, Wait(5_000)],
        "submitted assigned started attempt_failed retry_scheduled assigned attempt_failed dead_lettered",
        "dead_lettered",
        "a:timedout a:timedout",
    );
}

#[test]
fn a_declined_task_goes_to_another_and_uses_up_nothing() {
    let once = json!({"retry": {"max_attempts": 1}});
    let moved = "submitted assigned declined reassigned assigned";
    check(&["a", "b"], &once, &[Decline], moved, "assigned", "a:declined b:-");
    let nobody = format!("{moved} declined reassigned");
    check(&["a", "b"], &once, &[Decline, Decline], &nobody, "waiting", "a:declined b:declined");
    check(&["a", "b"], &once, &[Decline, Decline, Wait(60_000)], &nobody, "waiting", "a:declined b:declined");
    check(
        &["a", "b"],
        &once,
        &[Decline, Complete],
        &format!("{moved} completed"),
        "completed",
        "a:declined b:completed",
    );
    check(
        &["a", "b"],
        &json!({"capability": null, "agent_id": "b"}),
        &[Decline],
        "submitted assigned declined failed",
        "failed",
        "b:declined",
    );
}

#[test]
fn a_lost_agents_task_goes_to_another_and_the_third_loss_ends_it() {
    let once = json!({"retry": {"max_attempts": 1}});
    let lost = "reassigned assigned";
    check(&["a"], &once, &[LoseAgent], "submitted assigned reassigned", "waiting", "a:lost");
    let two = format!("submitted assigned {lost} {lost}");
    check(&["a", "b", "c"], &once, &[LoseAgent, LoseAgent], &two, "assigned", "a:lost b:lost c:-");
    check(
        &["a", "b", "c", "d"],
        &once,
        &[LoseAgent, LoseAgent, LoseAgent],
        &format!("{two} reassigned dead_lettered"),
        "dead_lettered",
        "a:lost b:lost c:lost",
    );
    check(
        &["a", "b", "c"],
        &json!({"retry": {"max_attempts": 2}}),
        &[LoseAgent, LoseAgent, Fail],
        &format!("{two} attempt_failed retry_scheduled"),
        "retrying",
        "a:lost b:lost c:failed",
    );
}

#[test]
fn a_deadline_ends_a_task_wherever_it_stands() {
    let soon = json!({"deadline": at(1_000).to_string()});
    check(&[], &soon, &[Wait(999)], "submitted", "waiting", "");
    check(&[], &soon, &[Wait(1_000)], "submitted failed", "failed", "");
    let with = "submitted assigned attempt_failed failed";
    check(&["a"], &soon, &[Wait(1_000)], with, "failed", "a:timedout");
    check(
        &["a"],
        &soon,
        &[Start, Wait(1_000)],
        "submitted assigned started attempt_failed failed",
        "failed",
        "a:timedout",
    );
    let late = json!({"deadline": at(1_000).to_string(), "retry": {"initial_backoff_ms": 60_000, "max_backoff_ms": 60_000}});
    check(
        &["a"],
        &late,
        &[Fail, Wait(1_000)],
        "submitted assigned attempt_failed retry_scheduled failed",
        "failed",
        "a:failed",
    );
    check(&["a"], &json!({"deadline": at(0).to_string()}), &[], "submitted failed", "failed", "");
    check(&[], &json!({}), &[Wait(24 * 3_600_000)], "submitted failed", "failed", "");
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &json!({"timeout_ms": 60_000, "deadline": at(1_000).to_string()})).unwrap();
    assert_eq!(shard.work[0].1.deadline, at(1_000), "an attempt never outlasts its task");
    shard.wait(1_000);
    assert_eq!(shard.notices, [("a".into(), "synod.task.withdrawn".into(), 1)]);
}

#[test]
fn a_task_is_cancelled_in_any_status() {
    let none = json!({});
    check(&[], &none, &[Cancel], "submitted cancelled", "cancelled", "");
    check(&["a"], &none, &[Cancel], "submitted assigned cancelled", "cancelled", "a:cancelled");
    check(
        &["a"],
        &none,
        &[Start, Cancel],
        "submitted assigned started cancelled",
        "cancelled",
        "a:cancelled",
    );
    let retrying = "submitted assigned attempt_failed retry_scheduled cancelled";
    check(&["a"], &none, &[Fail, Cancel, Wait(60_000)], retrying, "cancelled", "a:failed");
    check(&[], &none, &[Cancel, Cancel], "submitted cancelled", "cancelled", "");
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &none).unwrap();
    shard.live(&[Cancel]);
    assert_eq!(shard.notices, [("a".into(), "synod.task.cancelled".into(), 1)]);
    shard.submit("u", &none).unwrap();
    assert_eq!(shard.task("u").status.as_str(), "assigned", "the agent has room again");
}

/// After `script`, this verb with what the first attempt was given (and `more` over it) is refused with this.
fn check_refused(script: &[Do], verb: &str, more: &Value, want: (Code, Option<&str>)) {
    let mut shard = Shard::with(&["a", "b", "c"]);
    shard.submit("t", &json!({"retry": {"max_attempts": 2}})).unwrap();
    let first = shard.work[0].1.clone();
    shard.live(script);
    let mut body = json!({"task_id": "t"});
    if verb != "cancel" {
        body["attempt"] = json!(first.attempt);
        body["attempt_token"] = json!(first.attempt_token);
    }
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let before = (shard.told.len(), format!("{:?}", shard.task("t")));
    let answer = shard.ask(&format!("synod.task.{verb}"), &body);
    assert_eq!(refused(&answer), want, "{script:?} {verb} {more}");
    assert_eq!((shard.told.len(), format!("{:?}", shard.task("t"))), before, "nothing happened");
}

#[test]
fn results_count_only_for_the_attempt_in_force() {
    let none = json!({});
    let fenced = (Code::Fenced, None);
    for verb in ["start", "progress", "complete", "fail", "decline"] {
        let more = if matches!(verb, "fail" | "decline") { error(true) } else { json!({}) };
        let over = |field: &str, value: Value| {
            let mut more = more.clone();
            more[field] = value;
            more
        };
        check_refused(&[], verb, &over("attempt_token", json!("guess")), fenced);
        check_refused(&[], verb, &over("attempt_token", json!("")), fenced);
        check_refused(&[], verb, &over("attempt", json!(0)), fenced);
        check_refused(&[], verb, &over("attempt", json!(2)), fenced);
        check_refused(&[Fail], verb, &more, fenced);
        check_refused(&[Fail, Wait(200)], verb, &more, fenced);
        check_refused(&[Fail, Wait(200)], verb, &over("attempt", json!(2)), fenced);
        check_refused(&[LoseAgent], verb, &more, fenced);
        check_refused(&[Decline], verb, &more, fenced);
        check_refused(&[], verb, &over("task_id", json!("nobody")), (Code::NotFound, None));
        for (script, status) in [
            (&[Complete][..], "completed"),
            (&[FailForGood], "failed"),
            (&[Cancel], "cancelled"),
            (&[Fail, Wait(200), Fail], "dead_lettered"),
        ] {
            check_refused(script, verb, &more, (Code::InvalidTransition, Some(status)));
        }
    }
    for (script, status) in [
        (&[Complete][..], "completed"),
        (&[FailForGood], "failed"),
        (&[Fail, Wait(200), Fail], "dead_lettered"),
    ] {
        check_refused(script, "cancel", &none, (Code::InvalidTransition, Some(status)));
    }
    check_refused(&[], "cancel", &json!({"task_id": "nobody"}), (Code::NotFound, None));
}

#[test]
fn a_retry_waits_for_its_back_off() {
    for (policy, bounds) in [
        (json!({}), vec![(0, 200), (0, 400)]),
        (
            json!({"initial_backoff_ms": 1_000, "multiplier": 10, "max_backoff_ms": 5_000}),
            vec![(0, 1_000), (0, 5_000)],
        ),
        (json!({"initial_backoff_ms": 0}), vec![(0, 0), (0, 0)]),
        (json!({"initial_backoff_ms": 9_000, "max_backoff_ms": 10}), vec![(0, 10), (0, 10)]),
    ] {
        let mut shard = Shard::with(&["a"]);
        shard.submit("t", &json!({"retry": policy})).unwrap();
        for (low, high) in bounds {
            shard.live(&[Fail]);
            let What::TaskRetryScheduled(scheduled) = &shard.told.last().unwrap().what else {
                panic!("a retry, not {:?}", shard.told.last())
            };
            let back_off = scheduled.at.millis_since(shard.now);
            assert!((low..=high).contains(&back_off), "{policy}: {back_off}");
            if back_off > 0 {
                shard.wait(back_off - 1);
                assert_eq!(shard.task("t").status.as_str(), "retrying");
                // A word from the fleet that comes at this moment does not hurry it either.
                shard.happen(&Input::Dispatch(task_key("t")), None);
                assert_eq!(shard.task("t").status.as_str(), "retrying", "not before its time");
            }
            shard.wait(1);
            assert_eq!(shard.task("t").status.as_str(), "assigned");
        }
    }
}

#[test]
fn nothing_is_begun_after_the_deadline() {
    let mut shard = Shard::new();
    shard.submit("t", &json!({"deadline": at(1_000).to_string()})).unwrap();
    shard.now = at(1_000);
    // The agent comes in the very moment; what is due has not been looked at yet.
    shard.ask("synod.agent.register", &registration("a", 1, &json!({}))).unwrap();
    assert_eq!(shard.story("t"), "submitted");
    shard.wait(0);
    assert_eq!(shard.story("t"), "submitted failed");
}

#[test]
fn agents_that_leave_in_good_order_use_up_nothing() {
    let once = json!({"retry": {"max_attempts": 1}});
    check(
        &["a", "b", "c", "d"],
        &once,
        &[AgentLeaves, AgentLeaves, AgentLeaves, Complete],
        "submitted assigned reassigned assigned reassigned assigned reassigned assigned completed",
        "completed",
        "a:withdrawn b:withdrawn c:withdrawn d:completed",
    );
}

#[test]
fn the_urgent_go_first_and_among_equals_who_came_first() {
    let mut shard = Shard::new();
    for (id, priority) in [("low", 0), ("first", 5), ("second", 5), ("high", 9), ("third", 5)] {
        shard.submit(id, &json!({"priority": priority})).unwrap();
    }
    shard.ask("synod.agent.register", &registration("a", 1, &json!({}))).unwrap();
    for _ in 0..5 {
        let task = shard.work.last().unwrap().1.task_id.to_string();
        shard.result("complete", &task, &json!({})).unwrap();
    }
    let order: Vec<_> = shard.work.iter().map(|(_, work)| work.task_id.as_str()).collect();
    assert_eq!(order, ["high", "first", "second", "third", "low"]);
}

#[test]
fn nobody_waits_behind_those_that_nobody_can_serve() {
    let mut shard = Shard::with(&["a"]);
    for i in 0..100 {
        let picky = json!({"requires": {"labels": {"run": "gone"}}, "priority": 9});
        shard.submit(&format!("picky-{i}"), &picky).unwrap();
    }
    shard.submit("t", &json!({})).unwrap();
    assert_eq!(shard.task("t").status.as_str(), "assigned");
    shard.submit("u", &json!({})).unwrap();
    shard.result("complete", "t", &json!({})).unwrap();
    assert_eq!(shard.task("u").status.as_str(), "assigned");
}

#[test]
fn nobody_overtakes_a_line() {
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &json!({})).unwrap();
    shard.submit("u", &json!({})).unwrap();
    let key = agent_key("a");
    // Room appears, and before anyone has looked at the line another task comes.
    shard.fleet.ended(&key, &crate::shard::start(1), 0, Outcome::Completed);
    let submit = crate::shard::command("synod.task.submit", &submission("v", &json!({})));
    let input = Input::Command { command: Box::new(submit), meta: crate::shard::meta("v", None) };
    shard.happen(&input, None);
    assert_eq!((shard.task("u").status.as_str(), shard.task("v").status.as_str()), ("waiting", "waiting"));
    shard.settle();
    assert_eq!((shard.task("u").status.as_str(), shard.task("v").status.as_str()), ("assigned", "waiting"));
}

#[test]
fn the_last_error_shows_until_there_is_a_result() {
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &json!({"retry": {"max_attempts": 2}})).unwrap();
    shard.live(&[Progress, Fail]);
    let show = |shard: &mut Shard| {
        let view = taken(&shard.read(&synod_ledger::Subject::Task(task_key("t")))).0;
        (view["error"]["message"].as_str().map(str::to_owned), view["progress"].clone())
    };
    assert_eq!(
        show(&mut shard),
        (Some("bad: it broke".into()), Value::Null),
        "while it waits to be tried again"
    );
    shard.live(&[Wait(200), Complete]);
    assert_eq!(show(&mut shard), (None, Value::Null));
}

/// What whoever had the last attempt was handed: the capability asked for, and the input.
fn handed(shard: &Shard) -> (String, Value) {
    let (_, work) = shard.work.iter().rev().find(|(_, work)| work.task_id.as_str() == "t").expect("work");
    let capability = work.capability.as_ref().map_or_else(String::new, ToString::to_string);
    (capability, serde_json::from_str(work.input.as_str()).unwrap())
}

#[test]
fn retries_adjust_their_input_and_the_last_is_escalated() {
    let mut shard = Shard::with(&["a"]);
    let expert = registration("expert", 1, &json!({"capabilities": ["expertise"]}));
    shard.ask("synod.agent.register", &expert).unwrap();
    let more = json!({
        "input": {"model": "small", "text": "x"}, "retry": {"max_attempts": 4, "initial_backoff_ms": 1},
        "escalate_to": "expertise", "adjustments": [{"temperature": 0}, {"model": "large"}],
    });
    shard.submit("t", &more).unwrap();
    let (plain, capability) = (json!({"model": "small", "text": "x"}), handed(&shard).0);
    assert_eq!(handed(&shard).1, plain);
    let wanted = [
        ("a", capability.as_str(), json!({"model": "small", "text": "x", "temperature": 0})),
        ("a", capability.as_str(), json!({"model": "large", "text": "x"})),
        ("expert", "expertise", json!({"model": "large", "text": "x"})),
    ];
    for (agent, capability, input) in wanted {
        shard.live(&[Fail, Wait(10)]);
        assert_eq!(handed(&shard), (capability.to_owned(), input));
        assert_eq!(shard.task("t").attempts.last().unwrap().seen.agent_id.as_str(), agent);
    }
    // Its loss is no failure: the next is escalated too, and waits for one who can.
    shard.live(&[LoseAgent]);
    let task = shard.task("t");
    assert_eq!(
        (task.status.as_str(), task.capability().map(ToString::to_string)),
        ("waiting", Some("expertise".into()))
    );
    let again = registration("expert", 2, &json!({"capabilities": ["expertise"]}));
    shard.ask("synod.agent.register", &again).unwrap();
    shard.settle();
    assert_eq!(handed(&shard).0, "expertise");
    shard.live(&[Fail]);
    assert_eq!(shard.task("t").status.as_str(), "dead_lettered");
    let folded = shard.task("t").clone();
    shard.succeed();
    assert_eq!(shard.task("t"), &folded);
}

#[test]
fn a_task_for_one_agent_may_be_escalated_to_others() {
    let mut shard = Shard::with(&["a"]);
    let expert = registration("expert", 1, &json!({"capabilities": ["expertise"]}));
    shard.ask("synod.agent.register", &expert).unwrap();
    let named = json!({"capability": null, "agent_id": "a", "escalate_to": "expertise",
        "retry": {"max_attempts": 2, "initial_backoff_ms": 1}});
    shard.submit("t", &named).unwrap();
    shard.live(&[Fail, Wait(10)]);
    assert_eq!(handed(&shard).0, "expertise");
    // Whoever declines it is not the one whom it names.
    shard.live(&[Decline]);
    assert_eq!(shard.task("t").status.as_str(), "waiting");
}
