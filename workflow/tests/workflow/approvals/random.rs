//! Random people under random rules, judged by trying everything.

use super::{Driven, after, again, decision_of};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use synod_protocol::Code;
use synod_protocol::approval::{ApprovalRequired, ApprovalStatus, Decision, DecisionMade, Need};
use synod_protocol::event::What;

/// Who decides, and in which roles, by number.
type Person = (usize, BTreeSet<usize>);

/// Whether each entry can have a person of its own, by trying all: the judge of the matching.
fn can_cover(entries: &[String], people: &[&DecisionMade]) -> bool {
    let Some((entry, rest)) = entries.split_first() else { return true };
    people.iter().enumerate().any(|(i, person)| {
        let is_it = match entry.strip_prefix("role:") {
            Some(role) => person.roles.iter().any(|his| his == role),
            None => person.approver.as_ref() == Some(entry),
        };
        let others: Vec<&DecisionMade> = [&people[..i], &people[i + 1..]].concat();
        is_it && can_cover(rest, &others)
    })
}

/// The rule, as it is written.
fn is_enough(required: &ApprovalRequired, decisions: &[DecisionMade]) -> bool {
    let approvals: Vec<&DecisionMade> =
        decisions.iter().filter(|made| made.decision == Decision::Approve).collect();
    let names: BTreeSet<_> = approvals.iter().map(|made| made.approver.clone()).collect();
    assert_eq!(names.len(), approvals.len(), "each is another person");
    let people = match required.need {
        Need::Any => 1,
        Need::All => required.approvers.len(),
        Need::Quorum(many) => many as usize,
    };
    let entries = if required.need == Need::All { &required.approvers } else { &required.required };
    approvals.len() >= people && can_cover(entries, &approvals)
}

/// Rules with up to five entries, of five people and five roles.
fn rules() -> impl Strategy<Value = serde_json::Value> {
    let entry = (any::<bool>(), 0..5usize)
        .prop_map(|(is_role, i)| if is_role { format!("role:r{i}") } else { format!("p{i}") });
    let need = prop_oneof![
        Just(json!("any")),
        Just(json!("all")),
        (1..=5u32).prop_map(|many| json!({ "quorum": many })),
    ];
    (prop::collection::btree_set(entry, 1..=5), any::<[bool; 5]>(), need).prop_map(
        |(entries, is_required, mut need)| {
            let entries: Vec<String> = entries.into_iter().collect();
            let has_roles = entries.iter().any(|entry| entry.starts_with("role:"));
            if !has_roles && need["quorum"].as_u64().is_some_and(|many| many > entries.len() as u64) {
                need = json!({ "quorum": entries.len() });
            }
            let required: Vec<&String> =
                entries.iter().zip(is_required).filter(|(_, it)| *it).map(|(entry, _)| entry).collect();
            json!({"approvers": entries, "required": required, "need": need})
        },
    )
}

fn person() -> impl Strategy<Value = Person> {
    (0..5usize, prop::collection::btree_set(0..5usize, 0..=5))
}

fn roles_of(person: &Person) -> Vec<String> {
    person.1.iter().map(|i| format!("r{i}")).collect()
}

/// What may happen to an approval.
#[derive(Clone, Debug)]
enum Happens {
    Decides(Person, Decision, u8),
    Fires,
    TakenBack,
    Resubmitted,
}

fn happens() -> impl Strategy<Value = Happens> {
    let decision = prop_oneof![
        12 => Just(Decision::Approve),
        1 => Just(Decision::Reject),
        1 => Just(Decision::RequestChanges),
        1 => Just(Decision::Cancel),
    ];
    prop_oneof![
        12 => (person(), decision, 0..2u8).prop_map(|(who, what, data)| Happens::Decides(who, what, data)),
        2 => Just(Happens::Fires),
        1 => Just(Happens::TakenBack),
        1 => Just(Happens::Resubmitted),
    ]
}

/// What must hold after each step; `before`: how it stood, `new`: what happened.
fn check(it: &Driven, before: &Driven, new: &[What]) {
    let ends = it.events.iter().filter(|(what, _)| !matches!(what, What::ApprovalSigned(_))).count();
    assert_eq!(ends, usize::from(it.it.status.is_final()), "it ends once");
    assert!(!before.it.status.is_final() || new.is_empty(), "nothing follows the end");
    let (expires, by_itself) = (it.first.expires_at, it.first.auto_approve_at);
    let is_met = is_enough(&it.first, &it.it.decisions);
    match it.it.status {
        ApprovalStatus::Pending => assert!(!is_met, "it has what it needs and is open"),
        ApprovalStatus::Approved => {
            let last = it.it.decisions.last().unwrap();
            let is_by_itself = it.it.decisions.len() == 1 && by_itself == Some(last.at) && last.at <= expires;
            assert!(if last.approver.is_some() { is_met } else { is_by_itself });
        }
        ApprovalStatus::TimedOut => assert!(it.it.ended_at.is_some_and(|at| at >= expires)),
        _ => {}
    }
    let people = it.it.decisions.iter().filter(|made| made.approver.is_some());
    for made in people {
        assert!(made.at < expires, "decided after its time");
        assert!(
            made.decision == Decision::Cancel
                || it.first.approvers.iter().any(|entry| { can_cover(std::slice::from_ref(entry), &[made]) })
        );
    }
    if let (Some(at), Some(first)) = (by_itself, it.it.decisions.first()) {
        assert!(first.at < at || first.approver.is_none(), "decided after it was approved by itself");
    }
    let signs = new.iter().all(|what| matches!(what, What::ApprovalSigned(_)));
    assert!(!signs || it.it.status == before.it.status);
    assert!(it.it.timer().is_none_or(|at| at <= expires));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_is_granted_with_the_first_approval_that_is_enough(
        rules in rules(),
        people in prop::collection::vec(person(), 1..=5),
    ) {
        let mut it = Driven::new(rules);
        for who in people {
            let patch = json!({ "roles": roles_of(&who) });
            match it.decides(&format!("p{}", who.0), "approve", patch, 1) {
                Ok(_) => {}
                Err(error) => prop_assert!(
                    matches!(error.code, Code::PermissionDenied | Code::AlreadyExists | Code::InvalidTransition),
                    "{error}"
                ),
            }
            let is_granted = it.it.status == ApprovalStatus::Approved;
            prop_assert_eq!(is_granted, is_enough(&it.first, &it.it.decisions));
        }
    }

    #[test]
    fn whatever_happens_it_keeps_its_rules(
        rules in rules(),
        times in (1..60u64, prop::option::of(1..60u64)),
        steps in prop::collection::vec((0..4i64, happens()), 1..25),
    ) {
        let (mut rules, mut now) = (rules, 0);
        rules["expires_after_ms"] = json!(times.0);
        rules["auto_approve_after_ms"] = json!(times.1);
        let mut it = Driven::new(rules);
        for (pause, step) in steps {
            now += pause;
            let before = it.clone();
            let new = match step {
                Happens::Decides(who, what, data) => {
                    let patch = json!({"roles": roles_of(&who), "response_data": data, "decision": what});
                    it.it.decide(&decision_of(&format!("p{}", who.0), "approve", patch), after(now)).unwrap_or_default()
                }
                Happens::Fires => it.it.due(after(now)),
                Happens::TakenBack => it.it.take_back("enough", after(now)),
                Happens::Resubmitted => {
                    let is_asked = it.it.resubmit(&again(json!(2)), after(now)).is_ok();
                    prop_assert_eq!(is_asked, it.it.status == ApprovalStatus::ChangesRequested);
                    Vec::new()
                }
            };
            prop_assert!(new.len() <= 1);
            it.take(&new, after(now));
            check(&it, &before, &new);
        }
        it.take(&it.it.due(after(1_000)), after(1_000));
        prop_assert!(it.it.status.is_final(), "its time is up some day");
    }
}
