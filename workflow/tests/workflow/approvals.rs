//! Approvals: each rule by itself, each refusal with its code and field, and random people under random rules.

mod random;
mod revisions;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use synod_protocol::approval::{
    ApprovalRequired, ApprovalStatus, DecideApproval, Decision, DecisionMade, Need, RequestApproval,
    ResubmitApproval,
};
use synod_protocol::event::What;
use synod_protocol::{Code, Error, Json, Timestamp, Workspace};
use synod_workflow::approval::{Approval, Asked, Revision, fingerprint, required};

/// So many milliseconds after it was asked.
fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

/// `base` with what `patch` says otherwise.
fn with<T: serde::de::DeserializeOwned>(base: Value, patch: Value) -> T {
    Json::from(base).merged(&Json::from(patch)).to().unwrap()
}

fn request(patch: Value) -> RequestApproval {
    with(
        json!({"approval_id": "a", "title": "Release?", "show": {"text": "it"}, "approvers": ["ann"]}),
        patch,
    )
}

fn asked() -> Asked<'static> {
    Asked { now: after(0), correlation_id: "c".into(), execution_id: None, revision: None }
}

fn refused(error: &Error) -> (Code, Option<&str>) {
    (error.code, error.field.as_deref())
}

/// An approval that is driven by hand: after each event it is what its image and the fold of all events are.
#[derive(Clone)]
struct Driven {
    it: Approval,
    first: ApprovalRequired,
    events: Vec<(What, Timestamp)>,
}

impl Driven {
    fn new(patch: Value) -> Driven {
        Driven::of(required(&request(patch), asked()).unwrap(), after(0))
    }

    fn of(first: ApprovalRequired, now: Timestamp) -> Driven {
        Driven { it: Approval::new(&first, now), first, events: Vec::new() }
    }

    fn take(&mut self, events: &[What], now: Timestamp) {
        for what in events {
            self.it.apply(what, now);
            self.events.push((what.clone(), now));
        }
        let mut folded = Approval::new(&self.first, self.it.asked_at);
        self.events.iter().for_each(|(what, now)| folded.apply(what, *now));
        assert_eq!(folded, self.it, "the fold is the state");
        let image = serde_json::to_string(&self.it).unwrap();
        assert_eq!(serde_json::from_str::<Approval>(&image).unwrap(), self.it, "the image is the state");
        assert_eq!(self.it.ended_at.is_some(), self.it.status.is_final());
        assert_eq!(self.it.timer().is_some(), !self.it.status.is_final());
    }

    /// The types of what a decision does, which is done.
    fn decides(
        &mut self,
        who: &str,
        decision: &str,
        patch: Value,
        at: i64,
    ) -> Result<Vec<&'static str>, Error> {
        let events = self.it.decide(&decision_of(who, decision, patch), after(at))?;
        self.take(&events, after(at));
        Ok(events.iter().map(What::ce_type).collect())
    }

    fn approves(&mut self, who: &str, roles: &[&str]) -> Vec<&'static str> {
        self.decides(who, "approve", json!({ "roles": roles }), 1).unwrap()
    }

    /// Why a decision is refused, a millisecond after it was asked.
    fn refuses(&self, who: &str, decision: &str, patch: Value) -> Error {
        self.it.decide(&decision_of(who, decision, patch), after(1)).unwrap_err()
    }

    fn due(&mut self, at: i64) -> Vec<&'static str> {
        let events = self.it.due(after(at));
        self.take(&events, after(at));
        events.iter().map(What::ce_type).collect()
    }
}

fn decision_of(who: &str, decision: &str, patch: Value) -> DecideApproval {
    with(json!({"approval_id": "a", "approver": who, "decision": decision}), patch)
}

fn again(show: impl Into<Json>) -> ResubmitApproval {
    ResubmitApproval { approval_id: "a".parse().unwrap(), title: None, show: show.into() }
}

const SIGNED: &str = "synod.approval.signed";
const GRANTED: &str = "synod.approval.granted";
const REJECTED: &str = "synod.approval.rejected";
const CHANGES: &str = "synod.approval.changes_requested";
const CANCELLED: &str = "synod.approval.cancelled";
const TIMED_OUT: &str = "synod.approval.timed_out";

#[test]
fn a_request_comes_to_what_is_said_and_the_defaults() {
    let command = request(json!({"show": {"b": 1.10, "a": "\u{e9}", "text": null}, "labels": {"k": "v"}}));
    let it = required(&command, Asked { execution_id: Some("run".parse().unwrap()), ..asked() }).unwrap();
    let text = r#"{"revision":1,"show":{"a":"é","b":1.1},"title":"Release?"}"#;
    assert_eq!(it.shown, blake3::hash(text.as_bytes()).to_hex().to_string());
    assert_eq!((it.need, it.revision, it.max_revisions), (Need::Any, 1, 3));
    assert_eq!((it.expires_at, it.auto_approve_at), (after(24 * 3_600_000), None));
    assert_eq!(
        (it.status, it.parent.clone(), it.execution_id.clone()),
        (ApprovalStatus::Pending, None, Some("run".parse().unwrap()))
    );
    assert_eq!((it.body.clone(), it.correlation_id.as_str()), (fingerprint(&command).unwrap(), "c"));
    let it = Driven::new(json!({"expires_after_ms": 5, "auto_approve_after_ms": 3}));
    assert_eq!((it.first.expires_at, it.first.auto_approve_at), (after(5), Some(after(3))));
    let view = it.it.view(&Workspace::default_name());
    assert_eq!((view.created_at, view.expires_at, view.ended_at), (after(0), after(5), None));
    assert_eq!((view.shown, view.title.as_str()), (it.first.shown, "Release?"));
}

#[test]
fn fingerprints_tell_apart_what_is_different_and_nothing_else() {
    let parse = |show: &str| {
        let text = format!(r#"{{"approval_id":"a","title":"t","approvers":["x"],"show":{show}}}"#);
        serde_json::from_str::<RequestApproval>(&text).unwrap()
    };
    let both =
        |show: &str| (fingerprint(&parse(show)).unwrap(), required(&parse(show), asked()).unwrap().shown);
    assert_eq!(both(r#"{"a":1,"b":[2]}"#), both(r#"{ "b":[ 2 ],"a":1 }"#));
    // As floating-point numbers these two are one.
    let (one, other) = (both("12345678901234567890123"), both("12345678901234567890124"));
    assert!(one.0 != other.0 && one.1 != other.1);
    assert_ne!(fingerprint(&request(json!({}))), fingerprint(&request(json!({"need": "all"}))));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    use Code::{InvalidArgument, PayloadTooLarge, Unprocessable};
    let check = |patch: Value, code: Code, field: &str, says: &str| {
        let error = required(&request(patch.clone()), asked()).unwrap_err();
        assert_eq!(refused(&error), (code, Some(field)), "{patch}: {error}");
        assert!(error.message.contains(says), "{error} does not say {says:?}");
    };
    check(json!({"title": ""}), InvalidArgument, "/title", "one line");
    check(json!({"title": "a\nb"}), InvalidArgument, "/title", "one line");
    check(json!({"title": "x".repeat(4_097)}), InvalidArgument, "/title", "4096");
    check(json!({"show": "x".repeat(262_143)}), PayloadTooLarge, "/show", "262144");
    check(json!({"approvers": []}), InvalidArgument, "/approvers", "1 to 64");
    let many: Vec<String> = (0..65).map(|i| format!("p{i}")).collect();
    check(json!({"approvers": many}), InvalidArgument, "/approvers", "1 to 64");
    check(json!({"approvers": ["ann", ""]}), InvalidArgument, "/approvers/1", "1 to 128 bytes");
    check(json!({"approvers": ["role:"]}), InvalidArgument, "/approvers/0", "1 to 128 bytes");
    check(json!({"approvers": [" ann"]}), InvalidArgument, "/approvers/0", "white space");
    check(json!({"approvers": ["a\u{7}"]}), InvalidArgument, "/approvers/0", "control");
    check(json!({"approvers": ["x".repeat(129)]}), InvalidArgument, "/approvers/0", "1 to 128 bytes");
    check(json!({"approvers": ["ann", "bob", "ann"]}), InvalidArgument, "/approvers/2", "twice");
    check(json!({"required": ["bob"]}), InvalidArgument, "/required/0", "no approver");
    check(json!({"required": ["ann", "ann"]}), InvalidArgument, "/required/1", "twice");
    check(json!({"need": {"quorum": 0}}), InvalidArgument, "/need/quorum", "1 to 256");
    check(
        json!({"need": {"quorum": 257}, "approvers": ["role:r"]}),
        InvalidArgument,
        "/need/quorum",
        "1 to 256",
    );
    check(json!({"need": {"quorum": 2}}), Unprocessable, "/need/quorum", "1 may decide");
    check(json!({"expires_after_ms": 0}), InvalidArgument, "/expires_after_ms", "it must be 1");
    check(
        json!({"expires_after_ms": 31_622_400_001_u64}),
        InvalidArgument,
        "/expires_after_ms",
        "it must be 1",
    );
    check(json!({"auto_approve_after_ms": 0}), InvalidArgument, "/auto_approve_after_ms", "it must be 1");
    check(json!({"max_revisions": 0}), InvalidArgument, "/max_revisions", "1 to 20");
    check(json!({"max_revisions": 21}), InvalidArgument, "/max_revisions", "1 to 20");
    check(json!({"response_schema": 3}), InvalidArgument, "/response_schema", "object");
    let bad = json!({"response_schema": {"properties": {"a": {"type": "colour"}}}});
    check(bad, InvalidArgument, "/response_schema/properties/a/type", "no JSON Schema");
    check(json!({"labels": {"": "v"}}), InvalidArgument, "/labels", "1 to 128");
    check(json!({"approval_id": "a:r2"}), InvalidArgument, "/approval_id", "without `:`");
    let labels: serde_json::Map<_, _> = (0..40).map(|i| (i.to_string(), "x".repeat(4_000).into())).collect();
    check(json!({"labels": labels, "show": "x".repeat(262_142)}), PayloadTooLarge, "/show", "409600");
    // What a role has is not known, and a step's id is its execution's.
    assert!(required(&request(json!({"need": {"quorum": 256}, "approvers": ["role:r"]})), asked()).is_ok());
    let of_a_run = Asked { execution_id: Some("a".parse().unwrap()), ..asked() };
    assert!(required(&request(json!({"approval_id": "a:step"})), of_a_run).is_ok());
}

#[test]
fn a_revision_beyond_the_last_is_refused() {
    let (parent, made) = ("a:s".parse().unwrap(), made_by("ann", &[]));
    let ask = |number| {
        let revision = Some(Revision { parent: &parent, number, feedback: &made });
        let command = request(json!({"approval_id": "a:s2", "max_revisions": 2}));
        required(&command, Asked { revision, execution_id: Some("a".parse().unwrap()), ..asked() })
    };
    let second = ask(2).unwrap();
    assert_eq!(
        (second.revision, second.parent, second.feedback),
        (2, Some(parent.clone()), Some(made.clone()))
    );
    assert_eq!(refused(&ask(3).unwrap_err()), (Code::Unprocessable, Some("/max_revisions")));
}

fn made_by(who: &str, roles: &[String]) -> DecisionMade {
    with(
        json!({"decision": "request_changes", "approver": who, "roles": roles, "at": after(1), "shown": "s"}),
        json!({}),
    )
}

#[test]
fn decisions_that_make_no_sense_are_refused() {
    use Code::{Conflict, InvalidArgument, PayloadTooLarge, PermissionDenied};
    let it = Driven::new(json!({"approvers": ["ann", "role:editor"]}));
    let check = |who: &str, patch: Value, code: Code, field: &str, says: &str| {
        let error = it.refuses(who, "approve", patch.clone());
        assert_eq!(refused(&error), (code, Some(field)), "{patch}: {error}");
        assert!(error.message.contains(says), "{error} does not say {says:?}");
    };
    check("", json!({}), InvalidArgument, "/approver", "1 to 128 bytes");
    check("role:editor", json!({}), InvalidArgument, "/approver", "a person decides");
    check("bob", json!({"roles": ["role:editor"]}), InvalidArgument, "/roles", "without `role:`");
    check("bob", json!({"roles": [""]}), InvalidArgument, "/roles", "1 to 128 bytes");
    let many: Vec<String> = (0..257).map(|i| format!("r{i}")).collect();
    check("bob", json!({"roles": many}), InvalidArgument, "/roles", "0 to 256");
    check("ann", json!({"comment": "x".repeat(4_097)}), InvalidArgument, "/comment", "4096");
    check("ann", json!({"meaning": "x".repeat(4_097)}), InvalidArgument, "/meaning", "4096");
    check("ann", json!({"response_data": "x".repeat(65_535)}), PayloadTooLarge, "/response_data", "65536");
    check("bob", json!({}), PermissionDenied, "/approver", "who may: ann, role:editor");
    // A role's name is nobody's.
    check("editor", json!({"roles": ["ann"]}), PermissionDenied, "/approver", "who may: ann, role:editor");
    let error = it.refuses("ann", "approve", json!({"shown": "other"}));
    assert_eq!(refused(&error), (Conflict, Some("/shown")));
    assert!(error.message.contains("other") && error.message.contains(&it.first.shown), "{error}");
    let named: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
    let error = Driven::new(json!({"approvers": named})).refuses("ann", "reject", json!({}));
    assert!(error.message.ends_with("who may: p0, p1, p2, p3, p4, p5, p6, p7 and 2 more"), "{error}");
}

#[test]
fn what_is_decided_is_on_record() {
    let mut it = Driven::new(json!({"approvers": ["role:editor"]}));
    let shown = it.first.shown.clone();
    let patch = json!({"roles": ["editor", "cook"], "comment": "fine", "meaning": "reviewed", "response_data": {"n": 1}, "shown": shown});
    assert_eq!(it.decides("bob", "approve", patch, 7).unwrap(), [GRANTED]);
    let (What::ApprovalGranted(e), at) = &it.events[0] else { panic!("{:?}", it.events) };
    let made = e.decision.as_ref().unwrap();
    assert_eq!((made.approver.as_deref(), made.at, *at), (Some("bob"), after(7), after(7)));
    assert_eq!(made.roles, BTreeSet::from(["editor".to_owned()]), "those that count");
    assert_eq!((made.comment.as_deref(), made.meaning.as_deref()), (Some("fine"), Some("reviewed")));
    assert_eq!(
        (made.response_data.clone(), &made.shown),
        (Some(Json::from(json!({"n": 1}))), &it.first.shown)
    );
    let view = it.it.view(&Workspace::default_name());
    assert_eq!(
        (view.status, view.decisions, view.ended_at),
        (ApprovalStatus::Approved, vec![made.clone()], Some(after(7)))
    );
}

#[test]
fn any_takes_one_a_quorum_takes_as_many_people() {
    assert_eq!(Driven::new(json!({"approvers": ["ann", "bob"]})).approves("bob", &[]), [GRANTED]);
    let mut it = Driven::new(json!({"approvers": ["ann", "role:r"], "need": {"quorum": 3}}));
    assert_eq!(it.approves("ann", &["r"]), [SIGNED]);
    assert_eq!(it.approves("bob", &["r"]), [SIGNED]);
    assert_eq!(it.approves("bob", &["r"]), [""; 0], "one person counts once");
    assert_eq!(it.approves("cat", &["r"]), [GRANTED]);
}

#[test]
fn whoever_is_required_approves_whoever_else_does() {
    let mut it =
        Driven::new(json!({"approvers": ["ann", "bob", "cat"], "required": ["ann"], "need": {"quorum": 2}}));
    assert_eq!((it.approves("bob", &[]), it.approves("cat", &[])), (vec![SIGNED], vec![SIGNED]));
    assert_eq!(it.approves("ann", &[]), [GRANTED]);
    let mut it = Driven::new(json!({"approvers": ["ann", "role:r"], "required": ["ann", "role:r"]}));
    assert_eq!(it.approves("ann", &["r"]), [SIGNED], "for one of the two entries");
    assert_eq!(it.approves("bob", &["r"]), [GRANTED]);
}

#[test]
fn all_takes_a_person_for_each_entry_whoever_comes_first() {
    let mut it = Driven::new(json!({"approvers": ["role:a", "role:b", "ann"], "need": "all"}));
    assert_eq!(it.approves("bob", &["a", "b"]), [SIGNED]);
    assert_eq!(it.approves("ann", &["a", "b"]), [SIGNED]);
    // With cat for the first role, bob is free for the second: whom an entry got first does not stand.
    assert_eq!(it.approves("cat", &["a"]), [GRANTED]);
    let mut it = Driven::new(json!({"approvers": ["role:a", "role:b"], "need": "all"}));
    assert_eq!(
        (it.approves("bob", &["a"]), it.approves("cat", &["a"])),
        (vec![SIGNED], vec![SIGNED]),
        "nobody for b"
    );
}

#[test]
fn one_person_approves_once_and_may_think_otherwise() {
    let it = || {
        let mut it = Driven::new(json!({"approvers": ["ann", "bob"], "need": "all"}));
        assert_eq!(it.decides("ann", "approve", json!({"comment": "yes"}), 1).unwrap(), [SIGNED]);
        it
    };
    assert_eq!(it().decides("ann", "approve", json!({"comment": "yes"}), 2).unwrap(), [""; 0], "a repeat");
    let error = it().refuses("ann", "approve", json!({"comment": "well"}));
    assert_eq!(refused(&error), (Code::AlreadyExists, Some("/approver")));
    for (decision, ends) in [("reject", REJECTED), ("request_changes", CHANGES), ("cancel", CANCELLED)] {
        let mut it = it();
        assert_eq!(it.decides("ann", decision, json!({}), 2).unwrap(), [ends]);
        assert_eq!(it.it.decisions.len(), 2, "both are on record");
    }
}

#[test]
fn one_decision_against_it_ends_it() {
    let it = || Driven::new(json!({"approvers": ["ann", "bob"], "need": "all"}));
    for (decision, ends, status) in [
        ("reject", REJECTED, ApprovalStatus::Rejected),
        ("request_changes", CHANGES, ApprovalStatus::ChangesRequested),
        ("cancel", CANCELLED, ApprovalStatus::Cancelled),
    ] {
        let mut it = it();
        assert_eq!(it.decides("ann", decision, json!({}), 1).unwrap(), [ends]);
        assert_eq!((it.it.status, it.it.timer(), it.it.due(after(i64::MAX / 2))), (status, None, Vec::new()));
        assert_eq!(it.decides("ann", decision, json!({}), 2).unwrap(), [""; 0], "a repeat");
        let error = it.refuses("bob", "approve", json!({}));
        assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some(status.as_str())));
    }
    let mut it = it();
    assert_eq!(it.refuses("eve", "reject", json!({})).code, Code::PermissionDenied);
    assert_eq!(it.decides("eve", "cancel", json!({}), 1).unwrap(), [CANCELLED], "anybody may");
    assert_eq!(it.it.decisions[0].approver.as_deref(), Some("eve"));
}

#[test]
fn changes_are_not_requested_of_the_last_revision() {
    let error = Driven::new(json!({"max_revisions": 1})).refuses("ann", "request_changes", json!({}));
    assert_eq!(refused(&error), (Code::Unprocessable, Some("/decision")));
    assert!(error.message.contains("revision 1 of 1"), "{error}");
}

#[test]
fn data_are_held_to_the_schema_where_it_is_approved() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let mut it = Driven::new(json!({ "response_schema": schema }));
    for (patch, says) in [
        (json!({"response_data": {"n": "x"}}), "`/n`"),
        (json!({"response_data": {}}), "does not fit"),
        (json!({}), "is missing"),
    ] {
        let error = it.refuses("ann", "approve", patch);
        assert_eq!(refused(&error), (Code::InvalidArgument, Some("/response_data")));
        assert!(error.message.contains(says), "{error} does not say {says:?}");
    }
    assert_eq!(it.clone().decides("ann", "reject", json!({"response_data": 7}), 1).unwrap(), [REJECTED]);
    assert_eq!(it.decides("ann", "approve", json!({"response_data": {"n": 3}}), 1).unwrap(), [GRANTED]);
    let mut it = Driven::new(json!({"response_schema": {"type": ["integer", "null"]}}));
    assert_eq!(it.approves("ann", &[]), [GRANTED], "a schema may say that nothing need come");
}

/// A millisecond before its time is up one may decide; then the time has, whether or not the timer was fired.
#[test]
fn the_time_decides_and_never_the_race() {
    for (patch, status, fires) in [
        (json!({"expires_after_ms": 100}), ApprovalStatus::TimedOut, TIMED_OUT),
        (json!({"auto_approve_after_ms": 100}), ApprovalStatus::Approved, GRANTED),
    ] {
        let it = Driven::new(patch);
        for decision in ["approve", "reject", "request_changes", "cancel"] {
            assert!(it.it.decide(&decision_of("ann", decision, json!({})), after(99)).is_ok());
            for at in [100, 101] {
                let error = it.it.decide(&decision_of("ann", decision, json!({})), after(at)).unwrap_err();
                assert_eq!(
                    (error.code, error.status.as_deref()),
                    (Code::InvalidTransition, Some(status.as_str()))
                );
            }
        }
        assert_eq!(
            (it.it.status_at(after(99)), it.it.status_at(after(100))),
            (ApprovalStatus::Pending, status)
        );
        assert_eq!((it.it.timer(), it.it.due(after(99))), (Some(after(100)), Vec::new()));
        let mut late = it.clone();
        assert_eq!(
            (late.due(170), late.it.status, late.it.ended_at),
            (vec![fires], status, Some(after(170)))
        );
        assert_eq!(late.due(171), [""; 0]);
    }
}

#[test]
fn what_is_due_first_happens_and_of_both_at_once_the_approval() {
    for (expires, by_itself, fires) in [(100, 99, GRANTED), (100, 100, GRANTED), (100, 101, TIMED_OUT)] {
        let patch = json!({"expires_after_ms": expires, "auto_approve_after_ms": by_itself});
        let mut it = Driven::new(patch);
        assert_eq!(it.it.timer(), Some(after(expires.min(by_itself))));
        assert_eq!(it.due(500), [fires], "expires after {expires}, approved by itself after {by_itself}");
    }
    let mut it = Driven::new(json!({"auto_approve_after_ms": 100}));
    it.due(500);
    let made = &it.it.decisions[0];
    assert_eq!((made.decision, made.approver.clone(), made.at), (Decision::Approve, None, after(100)));
}

#[test]
fn nothing_is_approved_by_itself_once_somebody_has_decided() {
    let patch = json!({"approvers": ["ann", "bob"], "need": "all", "expires_after_ms": 200, "auto_approve_after_ms": 100});
    let mut it = Driven::new(patch);
    assert_eq!(it.decides("ann", "approve", json!({}), 99).unwrap(), [SIGNED]);
    assert_eq!((it.it.timer(), it.due(100)), (Some(after(200)), vec![]));
    assert_eq!(it.clone().decides("bob", "approve", json!({}), 150).unwrap(), [GRANTED]);
    assert_eq!(it.due(200), [TIMED_OUT]);
    assert_eq!(it.decides("ann", "approve", json!({}), 300).unwrap(), [""; 0], "a repeat, even now");
}

#[test]
fn an_execution_takes_back_what_is_open() {
    let mut it = Driven::new(json!({"expires_after_ms": 100}));
    assert_eq!(it.it.take_back("late", after(100)), it.it.due(after(100)), "it had been over");
    let events = it.it.take_back(&"é".repeat(1_000), after(99));
    it.take(&events, after(99));
    assert_eq!((it.it.status, it.it.take_back("again", after(99))), (ApprovalStatus::Cancelled, Vec::new()));
    let made = &it.it.decisions[0];
    assert_eq!((made.decision, made.approver.clone()), (Decision::Cancel, None));
    assert_eq!(made.comment.as_ref().map(String::len), Some(1_024));
}

#[test]
fn two_that_are_open_at_once_know_nothing_of_each_other() {
    let mut one = Driven::new(json!({"approvers": ["ann", "bob"], "need": "all"}));
    let mut other = Driven::new(json!({"approval_id": "b", "approvers": ["ann", "bob"], "need": "all"}));
    assert_eq!((one.approves("ann", &[]), other.approves("bob", &[])), (vec![SIGNED], vec![SIGNED]));
    assert_eq!((other.approves("ann", &[]), one.it.status), (vec![GRANTED], ApprovalStatus::Pending));
    assert_eq!(
        (one.decides("bob", "reject", json!({}), 1).unwrap(), other.it.status),
        (vec![REJECTED], ApprovalStatus::Approved)
    );
    // The request of another's revision is none of its own.
    let third = required(&request(json!({"approval_id": "b"})), asked()).unwrap();
    one.take(&[What::ApprovalRequired(Box::new(third))], after(2));
    assert_eq!(one.it.revised, None);
}

#[test]
fn it_waits_for_those_who_may_decide_and_have_not() {
    let mut it = Driven::new(json!({"approvers": ["ann", "role:r"], "need": {"quorum": 2}}));
    let waits =
        |it: &Driven, who: &str, role: &str| it.it.is_pending_for(who, &BTreeSet::from([role.to_owned()]));
    assert!(waits(&it, "ann", "x") && waits(&it, "bob", "r") && !waits(&it, "bob", "x"));
    it.approves("ann", &[]);
    assert!(!waits(&it, "ann", "r") && waits(&it, "bob", "r"));
    it.approves("bob", &["r"]);
    assert!(!waits(&it, "cat", "r"), "it is over");
}
