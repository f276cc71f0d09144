//! Who fits an entry of `approvers`, and when enough people have approved.

use std::collections::BTreeSet;
use synod_protocol::approval::{ApprovalRequired, DecisionMade, Need, ROLE};

/// Whether a person fits an entry: by his name, or by a role that he decides in.
pub(super) fn fits(entry: &str, approver: &str, roles: &BTreeSet<String>) -> bool {
    match entry.strip_prefix(ROLE) {
        Some(role) => roles.contains(role),
        None => entry == approver,
    }
}

/// Whether these approvals, each of another person, are enough.
pub(super) fn is_met(required: &ApprovalRequired, approvals: &[&DecisionMade]) -> bool {
    let (people, entries) = wanted(required);
    approvals.len() >= people && covered(entries, approvals) == entries.len()
}

/// How far these approvals, each of another person, have come: people and entries that count. An approval that brings it no
/// further brings nothing further later: entries are covered as a matching, whose size grows with people as a matroid's rank.
pub(super) fn progress(required: &ApprovalRequired, approvals: &[&DecisionMade]) -> usize {
    let (people, entries) = wanted(required);
    approvals.len().min(people) + covered(entries, approvals)
}

/// How many people there have to be, and which entries each by a person of its own.
fn wanted(required: &ApprovalRequired) -> (usize, &[String]) {
    match required.need {
        Need::Any => (1, &required.required),
        Need::All => (required.approvers.len(), &required.approvers),
        Need::Quorum(many) => (many as usize, &required.required),
    }
}

/// How many of the entries can be covered, each by a person of its own: a maximum matching, by augmenting paths.
fn covered(entries: &[String], approvals: &[&DecisionMade]) -> usize {
    let fitting: Vec<Vec<usize>> = entries.iter().map(|entry| those_who_fit(entry, approvals)).collect();
    let mut covers = vec![None; approvals.len()];
    (0..entries.len())
        .filter(|entry| augment(*entry, &fitting, &mut covers, &mut vec![false; approvals.len()]))
        .count()
}

fn those_who_fit(entry: &str, approvals: &[&DecisionMade]) -> Vec<usize> {
    let fits =
        |made: &DecisionMade| made.approver.as_ref().is_some_and(|name| fits(entry, name, &made.roles));
    approvals.iter().enumerate().filter(|(_, made)| fits(made)).map(|(person, _)| person).collect()
}

/// Finds a person for an entry, others changing over where they can. As deep as there are entries: 64 at most.
fn augment(entry: usize, fitting: &[Vec<usize>], covers: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &person in &fitting[entry] {
        if std::mem::replace(&mut tried[person], true) {
            continue;
        }
        if covers[person].is_none_or(|other| augment(other, fitting, covers, tried)) {
            covers[person] = Some(entry);
            return true;
        }
    }
    false
}
