//! A pick allocates nothing; what is given and ended allocates nothing once it has been so before.

use crate::world::{amounts, ask, capability, entry, key, labels, start};
use allocation_counter::measure;
use synod_fleet::queue::{Permit, Queue, Waiting};
use synod_fleet::{Fleet, Registry};
use synod_protocol::Workspace;
use synod_protocol::command::{Delivery, Requires};
use synod_protocol::view::{DirectoryEntry, Outcome};

fn fleet() -> Registry {
    let mut registry = Registry::default();
    for n in 0..1_000 {
        let mut entry = entry(&format!("a{n}"), 4);
        entry.labels = labels(&[("zone", if n == 700 { "far" } else { "near" })]);
        entry.resources = amounts(&[("mem", 8.0)]);
        registry.learn(entry, 1);
    }
    registry
}

#[test]
fn a_pick_allocates_nothing() {
    let registry = fleet();
    let workspace = Workspace::default_name();
    for rule in registry.rules() {
        let mut ask = ask(rule);
        assert!(ask.of(&registry).is_some(), "the pool is made");
        let count = |ask: &crate::world::Ask| {
            let (need, mut found) = (ask.need(&workspace), 0);
            let info = measure(|| {
                for _ in 0..100 {
                    found += u32::from(registry.pick(&need).is_some());
                    // What the ledger is handed: it shares the ids.
                    found += u32::from(registry.choose(&need).is_some());
                }
            });
            assert_eq!(found, 200, "{rule}: {ask:?}");
            info.count_total
        };
        assert_eq!(count(&ask), 0, "{rule}");
        ask.avoid = ["a0", "a1", "a999"].iter().map(|id| id.parse().unwrap()).collect();
        ask.requires = Some(Requires { labels: None, resources: Some(amounts(&[("mem", 1.0)])) });
        assert_eq!(count(&ask), 0, "{rule}, where some are to be avoided and a resource is required");
        ask.requires = Some(Requires { labels: Some(labels(&[("zone", "far")])), resources: None });
        assert_eq!(count(&ask), 0, "{rule}, where all are gone through");
    }
}

/// Only the name of a topic of its own has to be copied.
#[test]
fn an_agent_with_a_topic_costs_its_name() {
    let mut registry = Registry::default();
    let delivery = Delivery::Kafka { topic: "synod.inbox.a".into() };
    registry.learn(DirectoryEntry { delivery, ..entry("a", 4) }, 1);
    let (workspace, ask) = (Workspace::default_name(), ask("least_connections"));
    assert!(ask.of(&registry).is_some());
    let need = ask.need(&workspace);
    assert_eq!(measure(|| drop(registry.choose(&need))).count_total, 1);
    assert_eq!(measure(|| assert!(registry.pick(&need).is_some())).count_total, 0);
}

#[test]
fn given_and_ended_allocate_nothing_in_the_pools() {
    let mut registry = fleet();
    for rule in registry.rules().collect::<Vec<_>>() {
        assert!(ask(rule).of(&registry).is_some());
    }
    let (key, start) = (key("a5"), start(1));
    registry.given(&key, &start, 0);
    let info = measure(|| {
        for _ in 0..100 {
            registry.given(&key, &start, 0);
            registry.ended(&key, &start, 0, Outcome::Completed);
        }
    });
    assert_eq!(info.count_total, 0);
}

/// However agents come, and their shares go up and down meanwhile.
#[test]
fn turns_allocate_nothing_when_shares_change() {
    let (mut registry, ask) = (Registry::default(), ask("round_robin"));
    let workspace = Workspace::default_name();
    let pick = |registry: &Registry| {
        let info = measure(|| assert!(registry.pick(&ask.need(&workspace)).is_some()));
        assert_eq!(info.count_total, 0);
    };
    let set =
        |registry: &mut Registry, n: usize, share| registry.set_share(&key(&format!("a{n}")), share).unwrap();
    registry.learn(entry("a0", 4), 1);
    assert!(ask.of(&registry).is_some());
    // One after the other, each at once in its row.
    for n in 1..60 {
        registry.learn(entry(&format!("a{n}"), 4), 1);
        (0..n).for_each(|_| pick(&registry));
    }
    // So many different shares that there is no row for each: they go to the heap with their next turns.
    (0..60).for_each(|n| set(&mut registry, n, 1.0 - n as f64 / 100.0));
    (0..300).for_each(|_| pick(&registry));
    // Behind one whose turn is far off, those whose shares go up and down leave what no longer counts.
    (0..60).for_each(|n| set(&mut registry, n, if n < 20 { 1.0 } else { 0.0 }));
    (0..200).for_each(|_| pick(&registry));
    set(&mut registry, 0, 1e-5);
    (0..200).for_each(|_| pick(&registry));
    let mut round = |share| {
        (1..19).for_each(|n| set(&mut registry, n, share));
        (0..20).for_each(|_| pick(&registry));
    };
    (0..2_000).for_each(|n| round([1e-5, 1.0, 0.5][n % 3]));
    let info = measure(|| (0..20_000).for_each(|n| round([1e-5, 1.0, 0.5][n % 3])));
    assert!(info.bytes_current < 50_000, "{info:?}");
}

/// What comes and goes, each time by another name, leaves nothing behind.
#[test]
fn what_has_gone_takes_no_memory() {
    let (mut registry, mut queue, mut offset) = (Registry::default(), Queue::<u64, u64>::default(), 0u64);
    registry.learn(entry("stays", 2), 1);
    let mut come_and_go = |times: u64| {
        for _ in 0..times {
            offset += 1;
            let mut entry = entry("a", 2);
            entry.capabilities = vec![capability(&format!("c{offset}")), capability("c")];
            registry.learn(entry.clone(), offset);
            let mut ask = ask("round_robin");
            assert!(ask.of(&registry).is_some(), "of the pool that stays");
            ask.capability = capability(&format!("c{offset}"));
            assert!(ask.of(&registry).is_some());
            entry.capabilities.pop();
            registry.learn(entry, offset + 1);
            offset += 1;

            let workspace: Workspace = format!("w{offset}").parse().unwrap();
            let elsewhere = DirectoryEntry { workspace: workspace.clone(), ..crate::world::entry("a", 1) };
            registry.learn(elsewhere.clone(), offset);
            registry.learn(DirectoryEntry { gone: true, ..elsewhere }, offset + 1);
            let permits = vec![Permit::Key(workspace.clone(), format!("k{offset}"))];
            let waiting =
                Waiting { workspace, line: offset, permits, priority: 0, since_ms: offset, arrival: offset };
            queue.push(offset, waiting);
            assert!(queue.started(&offset, offset) && queue.ended(&offset));
        }
    };
    // So many who have left are remembered.
    come_and_go(10_000);
    let info = measure(|| come_and_go(10_000));
    assert!(info.count_current < 500 && info.bytes_current < 200_000, "{info:?}");
}
