//! An agent's life: registrations, process starts, and every change in every status.

use crate::shard::{Shard, agent_key, refused, registration, start, taken};
use serde_json::{Value, json};
use synod_ledger::Input;
use synod_protocol::Code;

/// Changes that bring an agent to a status, and to a health.
const STATUSES: [(&str, &[&str]); 4] =
    [("idle", &[]), ("paused", &["pause"]), ("error", &["report_error"]), ("completed", &["stop"])];

impl Shard {
    fn register(&mut self, number: u64, more: &Value) -> synod_ledger::Answer {
        self.ask("synod.agent.register", &registration("a", number, more))
    }

    fn change(&mut self, change: &str, more: &Value) -> synod_ledger::Answer {
        let mut body = json!({"agent_id": "a"});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.ask(&format!("synod.agent.{change}"), &body)
    }

    fn judge(&mut self, number: u64, lost: bool) {
        let reason = "heartbeats".to_owned();
        let (agent, incarnation) = (agent_key("a"), start(number));
        self.happen(&Input::Judged { agent, incarnation, lost, reason }, None);
    }

    fn stands(&self) -> (&'static str, &'static str) {
        let agent = self.owner.state().agent(&agent_key("a")).unwrap();
        (agent.status.as_str(), agent.health.as_str())
    }
}

/// In each status (idle, paused, error, completed) the change leads to this status and health, or is illegal (`None`).
fn check(change: &str, want: [Option<(&str, &str)>; 4]) {
    for ((status, path), want) in STATUSES.iter().zip(want) {
        let mut shard = Shard::new();
        shard.register(1, &json!({})).unwrap();
        for step in *path {
            shard.change(step, &json!({})).unwrap();
        }
        assert_eq!(shard.stands(), (*status, "healthy"));
        let answer = shard.change(change, &json!({"reason": "why not"}));
        match want {
            Some(want) => {
                let (view, _) = taken(&answer);
                assert_eq!((view["status"].as_str(), view["health"].as_str()), (Some(want.0), Some(want.1)));
                assert_eq!(shard.stands(), want, "{change} while {status}");
            }
            None => {
                assert_eq!(refused(&answer), (Code::InvalidTransition, Some(*status)), "{change}");
                assert_eq!(shard.stands(), (*status, "healthy"));
            }
        }
        let directory =
            shard.fleet.get(&agent_key("a")).map(|m| (m.entry.status.as_str(), m.entry.health.as_str()));
        let known = (change != "deregister").then(|| shard.stands());
        assert_eq!(directory, known, "what the directory says after {change} while {status}");
    }
}

#[test]
fn every_change_in_every_status() {
    let (idle, paused) = (Some(("idle", "healthy")), Some(("paused", "healthy")));
    let (error, completed) = (Some(("error", "healthy")), Some(("completed", "healthy")));
    //                      idle       paused     error      completed
    check("start", [idle, idle, idle, None]);
    check("pause", [paused, paused, None, None]);
    check("resume", [None, idle, None, None]);
    check("drain", [Some(("idle", "draining")), Some(("paused", "draining")), None, None]);
    check("report_error", [error, error, error, None]);
    check("stop", [completed, completed, completed, completed]);
    check("deregister", [completed, completed, completed, completed]);
}

#[test]
fn what_changes_nothing_is_no_event() {
    let mut shard = Shard::new();
    shard.register(1, &json!({})).unwrap();
    for change in ["start", "pause", "pause", "resume", "drain", "drain", "start", "stop", "stop"] {
        shard.change(change, &json!({})).unwrap();
    }
    let changes = "status_changed ".repeat(5);
    assert_eq!(shard.story("a"), format!("registered {}", changes.trim()));
}

#[test]
fn an_agent_that_is_not_there_cannot_change() {
    let mut shard = Shard::new();
    for change in ["start", "pause", "resume", "drain", "report_error", "stop", "deregister"] {
        assert_eq!(refused(&shard.change(change, &json!({}))), (Code::NotFound, None), "{change}");
    }
    shard.register(1, &json!({})).unwrap();
    shard.change("deregister", &json!({})).unwrap();
    assert_eq!(shard.story("a"), "registered deregistered");
    for change in ["start", "stop", "deregister"] {
        assert_eq!(
            refused(&shard.change(change, &json!({}))),
            (Code::NotFound, None),
            "{change} after leaving"
        );
    }
    shard.register(2, &json!({})).unwrap();
    assert_eq!(shard.stands(), ("idle", "healthy"));
}

#[test]
fn a_registration_again_changes_only_what_it_says() {
    let mut shard = Shard::new();
    let (view, _) = taken(&shard.register(1, &json!({})));
    assert_eq!(view["max_concurrency"], 1);
    shard.register(1, &json!({})).unwrap();
    assert_eq!(shard.story("a"), "registered", "the same again");
    shard.change("pause", &json!({})).unwrap();
    shard.register(1, &json!({"capabilities": ["c", "d"], "max_concurrency": 4})).unwrap();
    assert_eq!(shard.story("a"), "registered status_changed registered", "it can do more");
    assert_eq!(shard.stands(), ("paused", "healthy"), "and is still paused");
    shard.register(1, &json!({"capabilities": ["c", "d"], "max_concurrency": 4})).unwrap();
    assert_eq!(shard.story("a"), "registered status_changed registered");
    let member = shard.fleet.get(&agent_key("a")).unwrap();
    assert_eq!((member.entry.capabilities.len(), member.entry.max_concurrency), (2, 4));
}

/// A process start that stands so, registers again and stands so.
fn check_again(changes: &[&str], lost: bool, want: (&str, &str)) {
    let mut shard = Shard::new();
    shard.register(1, &json!({})).unwrap();
    for change in changes {
        shard.change(change, &json!({})).unwrap();
    }
    if lost {
        shard.judge(1, true);
    }
    shard.register(1, &json!({})).unwrap();
    assert_eq!(shard.stands(), want, "{changes:?}, lost: {lost}");
    let told = shard.told.len();
    shard.register(1, &json!({})).unwrap();
    assert_eq!(shard.told.len(), told, "once more is nothing new");
}

#[test]
fn a_registration_again_undoes_no_command() {
    check_again(&[], false, ("idle", "healthy"));
    check_again(&[], true, ("idle", "healthy"));
    check_again(&["pause"], false, ("paused", "healthy"));
    check_again(&["pause"], true, ("paused", "healthy"));
    check_again(&["drain"], false, ("idle", "draining"));
    check_again(&["drain"], true, ("idle", "draining"));
    check_again(&["report_error"], true, ("error", "healthy"));
    check_again(&["stop"], false, ("completed", "healthy"));
    check_again(&["stop"], true, ("completed", "healthy"));
    check_again(&["drain", "stop"], false, ("completed", "draining"));
}

#[test]
fn a_restart_supersedes_and_the_old_start_is_fenced_for_ever() {
    let mut shard = Shard::new();
    shard.register(1, &json!({})).unwrap();
    shard.change("pause", &json!({})).unwrap();
    shard.register(2, &json!({})).unwrap();
    assert_eq!(shard.stands(), ("idle", "healthy"), "a restart begins anew");
    assert_eq!(shard.owner.state().agent(&agent_key("a")).unwrap().incarnation(), &start(2));
    assert_eq!(refused(&shard.register(1, &json!({}))), (Code::Fenced, None));
    for change in ["start", "pause", "resume", "drain", "report_error", "stop", "deregister"] {
        let old = json!({"incarnation": start(1).as_str()});
        assert_eq!(refused(&shard.change(change, &old)), (Code::Fenced, None), "{change}");
    }
    shard.change("pause", &json!({"incarnation": start(2).as_str()})).unwrap();
    shard.judge(1, true);
    assert_eq!(shard.stands(), ("paused", "healthy"), "a verdict on the old start is none on the new");
    shard.change("deregister", &json!({})).unwrap();
    assert_eq!(
        refused(&shard.register(1, &json!({}))),
        (Code::Fenced, None),
        "even when the new one has left"
    );
}

#[test]
fn a_lost_agent_is_heard_of_again() {
    let mut shard = Shard::new();
    shard.register(1, &json!({})).unwrap();
    shard.judge(1, true);
    shard.judge(1, true);
    assert_eq!((shard.stands(), shard.story("a")), (("idle", "lost"), "registered lost".into()));
    shard.submit("t", &json!({})).unwrap();
    assert_eq!(shard.story("t"), "submitted", "nothing goes there");
    shard.judge(1, false);
    shard.judge(1, false);
    assert_eq!(shard.story("a"), "registered lost status_changed");
    shard.settle();
    assert_eq!(shard.story("t"), "submitted assigned");
    shard.change("drain", &json!({})).unwrap();
    shard.judge(1, true);
    shard.judge(1, false);
    assert_eq!(shard.stands(), ("idle", "draining"), "being lost for a while undoes no command");
}

#[test]
fn who_does_not_take_work_is_not_given_any() {
    for change in ["pause", "drain", "report_error", "stop", "deregister"] {
        let mut shard = Shard::with(&["a"]);
        shard.change(change, &json!({})).unwrap();
        shard.submit("t", &json!({})).unwrap();
        assert_eq!(shard.story("t"), "submitted", "after {change}");
        shard.register(2, &json!({})).unwrap();
        assert_eq!(shard.story("t"), "submitted assigned", "a restart after {change}");
    }
}
