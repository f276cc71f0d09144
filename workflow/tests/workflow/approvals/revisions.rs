//! What follows a request for changes, and what bounds all of it.

use super::{Driven, GRANTED, REJECTED, SIGNED, after, again, asked, decision_of, refused, request, with};
use serde_json::json;
use synod_protocol::approval::ApprovalRequired;
use synod_protocol::event::What;
use synod_protocol::{Code, Id, Limits, Workspace};
use synod_workflow::approval::{Asked, Resubmitted, required};

#[test]
fn the_next_revision_follows_a_request_for_changes() {
    let mut first = Driven::new(json!({
        "approvers": ["ann", "role:r"], "required": ["ann"], "need": {"quorum": 2}, "expires_after_ms": 1_000,
        "auto_approve_after_ms": 500, "labels": {"k": "v"}, "max_revisions": 3,
    }));
    let over = |it: &Driven, at| it.it.resubmit(&again(json!(2)), after(at)).unwrap_err();
    assert_eq!(
        (over(&first, 1).code, over(&first, 1).status.as_deref()),
        (Code::InvalidTransition, Some("pending"))
    );
    assert_eq!(over(&first, 500).status.as_deref(), Some("approved"), "the time decides here, too");
    first.decides("ann", "request_changes", json!({"comment": "shorter"}), 10).unwrap();
    // Long after its time would have been up.
    let Resubmitted::Next(next) = first.it.resubmit(&again(json!(2)), after(9_000)).unwrap() else {
        panic!()
    };
    assert_eq!((next.approval_id.as_str(), next.revision), ("a:r2", 2));
    assert_eq!(
        (next.parent.as_ref(), next.feedback.as_ref()),
        (Some(&first.first.approval_id), first.it.decisions.last())
    );
    assert_eq!((next.expires_at, next.auto_approve_at), (after(10_000), Some(after(9_500))));
    assert_eq!((&next.title, next.show.as_str()), (&first.first.title, "2"));
    let terms = |it: &ApprovalRequired| {
        (it.approvers.clone(), it.required.clone(), it.need, it.labels.clone(), it.max_revisions)
    };
    assert_eq!(terms(&next), terms(&first.first));
    assert_ne!(next.shown, first.first.shown);

    // Once it is asked, the same again is that one, and another is refused.
    first.take(&[What::ApprovalRequired(next.clone())], after(9_000));
    assert_eq!(first.it.view(&Workspace::default_name()).revised_as, Some(next.approval_id.clone()));
    let repeat = first.it.resubmit(&again(json!(2)), after(9_001)).unwrap();
    assert_eq!(repeat, Resubmitted::Again(next.approval_id.clone()));
    let error = first.it.resubmit(&again(json!(3)), after(9_001)).unwrap_err();
    assert_eq!(refused(&error), (Code::AlreadyExists, Some("/approval_id")));

    let mut second = Driven::of(*next, after(9_000));
    second.decides("bob", "request_changes", json!({"roles": ["r"]}), 9_001).unwrap();
    let retitled = with(json!({"approval_id": "a:r2", "show": 3}), json!({"title": "Now?"}));
    let Resubmitted::Next(third) = second.it.resubmit(&retitled, after(9_002)).unwrap() else { panic!() };
    assert_eq!((third.approval_id.as_str(), third.revision, third.title.as_str()), ("a:r3", 3, "Now?"));
    let third = Driven::of(*third, after(9_002));
    let error = third.it.decide(&decision_of("ann", "request_changes", json!({})), after(9_003)).unwrap_err();
    assert_eq!(refused(&error), (Code::Unprocessable, Some("/decision")));
}

#[test]
fn a_second_revision_cannot_begin_while_the_first_is_open() {
    let mut first = Driven::new(json!({}));
    for at in [0, 5] {
        let error = first.it.resubmit(&again(json!(2)), after(at)).unwrap_err();
        assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some("pending")));
    }
    first.approves("ann", &[]);
    let error = first.it.resubmit(&again(json!(2)), after(5)).unwrap_err();
    assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some("approved")));
}

#[test]
fn resubmissions_that_make_no_sense_are_refused() {
    let labels: serde_json::Map<_, _> = (0..40).map(|i| (i.to_string(), "x".repeat(4_000).into())).collect();
    let mut it = Driven::new(json!({ "labels": labels }));
    it.decides("ann", "request_changes", json!({}), 1).unwrap();
    let error = |command| it.it.resubmit(&command, after(2)).unwrap_err();
    assert_eq!(refused(&error(again(json!("x".repeat(262_142))))), (Code::PayloadTooLarge, Some("/show")));
    assert_eq!(refused(&error(again(json!("x".repeat(262_143))))), (Code::PayloadTooLarge, Some("/show")));
    let untitled = with(json!({"approval_id": "a", "show": 1}), json!({"title": ""}));
    assert_eq!(refused(&error(untitled)), (Code::InvalidArgument, Some("/title")));
    let of_a_run = Asked { execution_id: Some("a".parse::<Id>().unwrap()), ..asked() };
    let mut it = Driven::of(required(&request(json!({"approval_id": "a:s"})), of_a_run).unwrap(), after(0));
    it.decides("ann", "request_changes", json!({}), 1).unwrap();
    let error = it.it.resubmit(&again(json!(2)), after(2)).unwrap_err();
    assert_eq!(refused(&error), (Code::Unprocessable, Some("/approval_id")));
}

#[test]
fn approvals_that_end_nothing_grow_within_limits() {
    let mut it = Driven::new(json!({"approvers": ["ann", "role:r", "bob"], "required": ["ann", "bob"]}));
    for i in 0..256 {
        let command = decision_of(&format!("p{i}"), "approve", json!({"roles": ["r"]}));
        it.it.decide(&command, after(1)).unwrap().iter().for_each(|what| it.it.apply(what, after(1)));
    }
    let error = it.refuses("one-more", "approve", json!({"roles": ["r"]}));
    assert_eq!((refused(&error), it.it.decisions.len()), ((Code::Unprocessable, Some("/approver")), 256));
    for (who, ends) in [("ann", "synod.approval.signed"), ("bob", GRANTED)] {
        let events = it.it.decide(&decision_of(who, "approve", json!({})), after(1)).unwrap();
        assert_eq!(events[0].ce_type(), ends, "who is needed still passes");
        it.it.apply(&events[0], after(1));
    }

    let mut it = Driven::new(json!({"approvers": ["role:r"], "need": {"quorum": 9}}));
    let large = json!({"roles": ["r"], "response_data": "x".repeat(65_000)});
    let before = it.it.weight();
    for i in 0..5 {
        assert_eq!(it.decides(&format!("p{i}"), "approve", large.clone(), 1).unwrap(), [SIGNED]);
    }
    assert!(it.it.weight() > before + 5 * 65_000);
    let error = it.refuses("p5", "approve", large.clone());
    assert_eq!(refused(&error), (Code::PayloadTooLarge, Some("/response_data")));
    assert_eq!(it.approves("p5", &["r"]), [SIGNED], "who says less passes");
    assert_eq!(it.decides("p6", "reject", large, 1).unwrap(), [REJECTED], "and what ends it");
}

/// The largest that an approval can be fits into one record of the ledger.
#[test]
fn the_largest_fits_into_a_record() {
    let role = |i: usize| format!("{i:02}{}", "\"".repeat(126));
    let approvers: Vec<String> = (0..64).map(|i| format!("role:{}", role(i))).collect();
    let roles: Vec<String> = (0..64).map(role).collect();
    let worst = "\u{1}".repeat(4_096);
    let all =
        json!({"roles": roles, "comment": worst, "meaning": worst, "response_data": "x".repeat(65_534)});
    let labels: serde_json::Map<_, _> = (0..30).map(|i| (i.to_string(), "x".repeat(4_000).into())).collect();
    let mut first = Driven::new(json!({"approvers": approvers, "need": {"quorum": 20}, "labels": labels}));
    first.decides("ann", "request_changes", all.clone(), 1).unwrap();
    // As much as may be shown besides the feedback and the labels.
    let next = |bytes: usize| first.it.resubmit(&again(json!("x".repeat(bytes))), after(2));
    let mut bytes = 262_142;
    while next(bytes).is_err() {
        bytes -= 1_000;
    }
    let Resubmitted::Next(next) = next(bytes).unwrap() else { panic!() };
    let mut it = Driven::of(*next, after(2));
    let mut signs = (0..).map(|i| format!("p{i}"));
    while let Ok(signed) = it.decides(&signs.next().unwrap(), "approve", all.clone(), 3) {
        assert_eq!(signed, [SIGNED]);
    }
    let small = json!({"roles": ["00".to_owned() + &"\"".repeat(126)], "response_data": "x".repeat(10_000)});
    while it.decides(&signs.next().unwrap(), "approve", small.clone(), 3).is_ok() {}
    assert_eq!(it.decides("end", "reject", all, 4).unwrap(), [REJECTED]);
    let (image, most) = (serde_json::to_vec(&it.it).unwrap().len(), Limits::default().record_bytes);
    assert!((most * 9 / 10..most).contains(&image), "{image} bytes, a record has {most} at most");
}
