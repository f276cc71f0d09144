//! Approvals as entities: two at once, revisions, expiry beside decisions, and what survives an owner.

use crate::shard::{Shard, refused, taken};
use serde_json::{Value, json};
use synod_ledger::{EntityKey, Input, Keep, Past, Released, Subject};
use synod_protocol::{Code, Workspace};

const DECIDE: &str = "synod.approval.decide";

fn key(id: &str) -> EntityKey {
    EntityKey { workspace: Workspace::default_name(), id: id.parse().unwrap() }
}

fn request(shard: &mut Shard, id: &str, more: &Value) -> Value {
    let mut body = json!({"approval_id": id, "title": "Release?", "show": {"text": id}, "approvers": ["anna", "role:legal"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    taken(&shard.ask("synod.approval.request", &body)).0
}

fn decision(id: &str, who: &str, what: &str) -> Value {
    json!({"approval_id": id, "approver": who, "decision": what})
}

fn status(shard: &Shard, id: &str) -> &'static str {
    Subject::Approval(key(id)).standing(shard.owner.state()).expect("an approval").status
}

#[test]
fn two_that_wait_at_once_are_decided_each_by_itself() {
    let mut shard = Shard::new();
    let one = request(&mut shard, "a", &json!({}));
    assert_eq!((&one["status"], &one["revision"]), (&json!("pending"), &json!(1)));
    request(&mut shard, "b", &json!({}));
    taken(&shard.ask(DECIDE, &decision("b", "anna", "reject")));
    assert_eq!((status(&shard, "a"), status(&shard, "b")), ("pending", "rejected"));
    taken(&shard.ask(DECIDE, &decision("a", "anna", "approve")));
    assert_eq!((shard.story("a"), shard.story("b")), ("required granted".into(), "required rejected".into()));
    assert_eq!(refused(&shard.ask(DECIDE, &decision("a", "eve", "approve"))), (Code::PermissionDenied, None));
}

#[test]
fn it_is_asked_for_once_and_known_again() {
    let mut shard = Shard::new();
    request(&mut shard, "a", &json!({}));
    let body = json!({"approval_id": "a", "title": "Release?", "show": {"text": "a"}, "approvers": ["anna", "role:legal"]});
    assert!(!taken(&shard.ask("synod.approval.request", &body)).1);
    let mut other = body.clone();
    other["title"] = json!("Another?");
    assert_eq!(refused(&shard.ask("synod.approval.request", &other)), (Code::AlreadyExists, None));
    assert_eq!(refused(&shard.ask(DECIDE, &decision("nobody", "anna", "approve"))), (Code::NotFound, None));
    // Once it has left memory the shell finds it again.
    taken(&shard.ask(DECIDE, &decision("a", "anna", "approve")));
    shard.wait(Keep::default().runs_ms + 1);
    request(&mut shard, "b", &json!({}));
    assert!(shard.owner.state().approval(&key("a")).is_none());
    shard.happen_asked("synod.approval.request", &body);
    shard.happen_asked(DECIDE, &decision("a", "anna", "approve"));
    let past: Vec<_> = shard.past.iter().map(|(_, past)| past).collect();
    assert!(matches!(&past[..], [Past::Again { .. }, Past::Over { .. }]), "{past:?}");
}

/// So long they are found and resubmitted by hand; who decides on many large ones has the oldest of them leave sooner.
#[test]
fn decided_ones_stay_for_a_day_or_until_they_weigh_too_much() {
    let mut shard = Shard::new();
    let decided = |shard: &mut Shard, id: &str, more: &Value| {
        request(shard, id, more);
        taken(&shard.ask(DECIDE, &decision(id, "anna", "approve")));
    };
    decided(&mut shard, "a", &json!({}));
    shard.wait(Keep::default().runs_ms);
    let large = json!({"show": {"text": "x".repeat(50_000)}});
    for n in 1..5 {
        decided(&mut shard, &format!("large-{n}"), &large);
    }
    assert_eq!((status(&shard, "a"), status(&shard, "large-1")), ("approved", "approved"));
    let too_many = Keep::default().ended_bytes / 50_000 + 2;
    for n in 5..=too_many {
        decided(&mut shard, &format!("large-{n}"), &large);
    }
    let there = |id: &str| shard.owner.state().approval(&key(id)).is_some();
    assert!(!there("a") && !there("large-1") && there(&format!("large-{too_many}")));
}

#[test]
fn changes_are_wanted_and_the_next_revision_is_another() {
    let mut shard = Shard::new();
    request(&mut shard, "a", &json!({}));
    let revise = |text: &str| json!({"approval_id": "a", "show": {"text": text}});
    assert_eq!(
        refused(&shard.ask("synod.approval.resubmit", &revise("new"))),
        (Code::InvalidTransition, Some("pending"))
    );
    let mut wants = decision("a", "anna", "request_changes");
    wants["comment"] = json!("shorter");
    taken(&shard.ask(DECIDE, &wants));
    let (next, made) = taken(&shard.ask("synod.approval.resubmit", &revise("new")));
    assert!(made);
    assert_eq!(
        (&next["approval_id"], &next["revision"], &next["parent"], &next["feedback"]["comment"]),
        (&json!("a:r2"), &json!(2), &json!("a"), &json!("shorter"))
    );
    assert_ne!(next["shown"], taken(&shard.read(&Subject::Approval(key("a")))).0["shown"]);
    assert_eq!(taken(&shard.read(&Subject::Approval(key("a")))).0["revised_as"], "a:r2");
    // A second revision while that one is open: the same is a repeat, another is refused, also by the next owner.
    for _ in 0..2 {
        let (again, made) = taken(&shard.ask("synod.approval.resubmit", &revise("new")));
        assert_eq!((&again["approval_id"], made), (&json!("a:r2"), false));
        assert_eq!(refused(&shard.ask("synod.approval.resubmit", &revise("newer"))).0, Code::AlreadyExists);
        shard.succeed();
    }
    // The very same command again is answered with what it made.
    let again = shard.ask_as("same", "synod.approval.resubmit", &revise("new"));
    assert_eq!(taken(&shard.ask_as("same", "synod.approval.resubmit", &revise("new"))).0, taken(&again).0);
    assert_eq!(taken(&again).0["approval_id"], "a:r2");
    // What was decided on is over; its revision is what counts.
    assert_eq!(
        refused(&shard.ask(DECIDE, &decision("a", "anna", "approve"))),
        (Code::InvalidTransition, Some("changes_requested"))
    );
    taken(&shard.ask(DECIDE, &decision("a:r2", "anna", "approve")));
    assert_eq!((status(&shard, "a"), status(&shard, "a:r2")), ("changes_requested", "approved"));
}

#[test]
fn time_decides_and_never_the_race() {
    for (after, want) in [(999, "approved"), (1_000, "timed_out"), (1_001, "timed_out")] {
        let mut shard = Shard::new();
        request(&mut shard, "a", &json!({"expires_after_ms": 1_000}));
        shard.now = shard.now.plus_millis(after);
        let answer = shard.ask(DECIDE, &decision("a", "anna", "approve"));
        assert_eq!(answer.is_ok(), want == "approved", "{after} ms: {answer:?}");
        if let Err(error) = answer {
            assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some("timed_out")));
        }
        shard.wait(5_000);
        assert_eq!(status(&shard, "a"), want, "{after} ms");
        assert_eq!(shard.story("a").split(' ').count(), 2, "it ends once");
    }
}

#[test]
fn one_approves_itself_unless_somebody_has_said_something() {
    let mut shard = Shard::new();
    let two = json!({"auto_approve_after_ms": 1_000, "need": {"quorum": 2}, "expires_after_ms": 2_000});
    request(&mut shard, "a", &two);
    request(&mut shard, "b", &two);
    taken(&shard.ask(DECIDE, &decision("b", "anna", "approve")));
    shard.wait(3_000);
    assert_eq!((status(&shard, "a"), status(&shard, "b")), ("approved", "timed_out"));
    assert_eq!(shard.story("b"), "required signed timed_out");
}

#[test]
fn a_decision_during_a_take_over_counts_once() {
    let mut shard = Shard::new();
    request(&mut shard, "a", &json!({}));
    let answer = shard.ask_as("same", DECIDE, &decision("a", "anna", "approve"));
    taken(&answer);
    let released = shard.succeed();
    assert!(
        released.iter().any(|one| matches!(one, Released::Effects { effects, .. }
            if effects.iter().any(|effect| matches!(effect, synod_ledger::Effect::View { kind: "approval", .. })))),
        "what the first owner may have left undone is owed again"
    );
    assert!(!taken(&shard.ask_as("same", DECIDE, &decision("a", "anna", "approve"))).1);
    assert_eq!(shard.story("a"), "required granted");
    // Its timer is there for the next owner too.
    request(&mut shard, "b", &json!({"expires_after_ms": 1_000}));
    shard.succeed();
    shard.wait(2_000);
    assert_eq!(status(&shard, "b"), "timed_out");
    assert!(shard.happen(&Input::ApprovalDue(key("b")), None).is_none(), "once");
}
