//! The registry by itself: who is known, who has left, who is shut.

use super::*;
use synod_protocol::Timestamp;
use synod_protocol::command::{Delivery, Requires};
use synod_protocol::view::{AgentStatus, Health};

const START: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
const RESTART: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

fn entry(id: &str, room: u32) -> DirectoryEntry {
    DirectoryEntry {
        agent_id: id.parse().unwrap(),
        workspace: Workspace::default_name(),
        incarnation: START.parse().unwrap(),
        status: AgentStatus::Idle,
        health: Health::Healthy,
        capabilities: vec!["c".parse().unwrap()],
        max_concurrency: room,
        labels: BTreeMap::from([("zone".into(), id.into())]),
        resources: BTreeMap::from([("gpu".into(), 1.0)]),
        delivery: Delivery::Redis,
        description: None,
        registered_at: Timestamp::from_millis(0),
        breaker_orders: Vec::new(),
        track_records: std::collections::BTreeMap::new(),
        gone: false,
        revision: 0,
        restarts: 0,
        recovery: None,
        resume_at: None,
        warning: None,
    }
}

fn key(id: &str) -> AgentKey {
    AgentKey { workspace: Workspace::default_name(), agent: id.parse().unwrap() }
}

fn choose(registry: &Registry, requires: Option<&Requires>, avoid: &[&str]) -> Option<String> {
    let capability = "c".parse().unwrap();
    let avoid = avoid.iter().map(|id| id.parse().unwrap()).collect();
    let workspace = Workspace::default_name();
    let need = Need {
        workspace: &workspace,
        capability: Some(&capability),
        agent: None,
        requires,
        avoid: &avoid,
        rule: None,
        random: 0,
    };
    registry.choose(&need).map(|choice| choice.agent.to_string())
}

#[test]
fn the_least_busy_agent_is_chosen_until_none_has_room() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 1);
    registry.learn(entry("b", 3), 1);
    let mut order = Vec::new();
    while let Some(id) = choose(&registry, None, &[]) {
        registry.given(&key(&id), &START.parse().unwrap(), 0);
        order.push(id);
    }
    assert_eq!(order, ["a", "b", "b", "b"]);
    registry.ended(&key("a"), &START.parse().unwrap(), 0, Outcome::Completed);
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
}

#[test]
fn only_who_fits_is_chosen() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 1);
    registry.learn(entry("b", 1), 1);
    let zone =
        |z: &str| Requires { labels: Some(BTreeMap::from([("zone".into(), z.into())])), resources: None };
    let gpu = |n| Requires { labels: None, resources: Some(BTreeMap::from([("gpu".into(), n)])) };
    assert_eq!(choose(&registry, Some(&zone("b")), &[]).as_deref(), Some("b"));
    assert_eq!(choose(&registry, Some(&zone("c")), &[]), None);
    assert_eq!(choose(&registry, Some(&gpu(1.0)), &[]).as_deref(), Some("a"));
    assert_eq!(choose(&registry, Some(&gpu(1.5)), &[]), None);
    assert_eq!(choose(&registry, None, &["a"]).as_deref(), Some("b"));
    registry.learn(DirectoryEntry { health: Health::Lost, ..entry("a", 1) }, 2);
    registry.learn(DirectoryEntry { status: AgentStatus::Paused, ..entry("b", 1) }, 2);
    assert_eq!(choose(&registry, None, &[]), None);
}

#[test]
fn an_older_entry_changes_nothing_and_a_restart_holds_nothing() {
    let mut registry = Registry::default();
    assert!(registry.learn(entry("a", 1), 5));
    assert!(!registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 5));
    registry.given(&key("a"), &START.parse().unwrap(), 0);
    assert_eq!(choose(&registry, None, &[]), None);
    registry.learn(DirectoryEntry { incarnation: RESTART.parse().unwrap(), ..entry("a", 1) }, 6);
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
    registry.ended(&key("a"), &START.parse().unwrap(), 0, Outcome::Lost);
    assert_eq!(registry.get(&key("a")).unwrap().in_flight(), 0);
}

#[test]
fn who_has_left_does_not_come_back_by_an_older_entry() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 5);
    assert!(registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 7));
    assert!(!registry.learn(entry("a", 1), 6), "written late by a former owner");
    assert!(!registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 7), "the same again");
    assert_eq!((choose(&registry, None, &[]), registry.len()), (None, 0));
    assert!(registry.learn(entry("a", 1), 8));
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
    assert!(!registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 7));
}

#[test]
fn a_shard_that_is_given_up_takes_its_counts_with_it() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 9), 1);
    for shard in [0, 0, 1] {
        registry.given(&key("a"), &START.parse().unwrap(), shard);
    }
    registry.forget_shard(0);
    assert_eq!(registry.get(&key("a")).unwrap().in_flight(), 1);
}

#[test]
fn who_is_doubted_gets_no_work_until_the_doubt_is_over() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 2), 1);
    let (start, restart) = (START.parse().unwrap(), RESTART.parse().unwrap());
    let doubt = |lost| Some(Doubt { lost, since_ms: 5, why: "not seen".into() });
    assert!(!registry.doubt(&key("a"), &restart, Cause::Absence, doubt(true)), "another process start");
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
    assert!(registry.doubt(&key("a"), &start, Cause::Absence, doubt(false)));
    assert!(!registry.doubt(&key("a"), &start, Cause::Absence, doubt(false)), "nothing new");
    assert_eq!((choose(&registry, None, &[]), registry.gone(&key("a"), &start)), (None, None));
    assert_eq!(registry.suspected(&key("a"), &start), Some("not seen"));
    assert_eq!(registry.suspected(&key("a"), &restart), None);
    assert!(registry.doubt(&key("a"), &start, Cause::Absence, doubt(true)));
    assert!(registry.gone(&key("a"), &start).unwrap().lost);
    assert!(registry.doubt(&key("a"), &start, Cause::Absence, None));
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
    // The ledger's word takes the doubt's place; a new process start has none.
    registry.doubt(&key("a"), &start, Cause::Absence, doubt(true));
    registry.learn(DirectoryEntry { health: Health::Lost, ..entry("a", 2) }, 2);
    assert!(registry.get(&key("a")).unwrap().doubts().worst().is_none());
    registry.learn(entry("a", 2), 3);
    registry.doubt(&key("a"), &start, Cause::Absence, doubt(true));
    registry.learn(DirectoryEntry { incarnation: restart, ..entry("a", 2) }, 4);
    assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
}
