//! What no agent should say, and some will.

use crate::world::{amounts, ask, capability, entry, id_of, key, labels, start};
use synod_fleet::balance::{Candidate, Figures, Method, Moment, Rank, Rule};
use synod_fleet::{MemberError, Registry, WEIGHT_LABEL};
use synod_protocol::command::Requires;
use synod_protocol::view::{DirectoryEntry, Outcome};

const RULES: [&str; 6] =
    ["least_connections", "round_robin", "weighted_round_robin", "performance", "resources", "random"];

#[test]
fn no_room_and_room_for_a_billion() {
    let mut registry = Registry::default();
    registry.learn(entry("none", 0), 1);
    for rule in RULES {
        assert_eq!(id_of(ask(rule).of(&registry)), None, "{rule}");
    }
    registry.set_share(&key("none"), 0.5).unwrap();
    registry.learn(entry("billion", 1_000_000_000), 1);
    registry.learn(entry("most", u32::MAX), 1);
    for rule in RULES {
        for _ in 0..100 {
            let id = id_of(ask(rule).of(&registry)).unwrap();
            assert_ne!(id, "none", "{rule}");
            registry.given(&key(&id), &start(1), 0);
        }
    }
}

#[test]
fn a_time_that_is_none_changes_nothing() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 1);
    assert!(ask("performance").of(&registry).is_some());
    let c = capability("c");
    assert!(registry.observe(&key("a"), &start(1), &c, 5e3, true));
    let before = ask("performance").of(&registry).unwrap().figures;
    for bad in [f64::NAN, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!registry.observe(&key("a"), &start(1), &c, bad, false), "{bad}");
    }
    assert_eq!(ask("performance").of(&registry).unwrap().figures, before);
    assert!(!registry.observe(&key("a"), &start(1), &capability("never-asked-for"), 1.0, true));
    assert!(!registry.observe(&key("b"), &start(1), &c, 1.0, true));
    registry.tick(u64::MAX);
    registry.tick(0);
    assert!(ask("performance").of(&registry).is_some());
}

#[test]
fn a_share_that_is_none_is_refused() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 1);
    for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        assert!(matches!(registry.set_share(&key("a"), bad), Err(MemberError::NoShare { .. })), "{bad}");
    }
    assert_eq!(registry.get(&key("a")).unwrap().share(), 1.0);
    registry.set_share(&key("a"), f64::MIN_POSITIVE).unwrap();
    RULES.iter().for_each(|rule| assert!(ask(rule).of(&registry).is_some(), "{rule}"));
}

#[test]
fn a_weight_that_is_none_is_the_capacity() {
    let check = |label: &str, weight: f64| {
        let mut registry = Registry::default();
        registry.learn(DirectoryEntry { labels: labels(&[(WEIGHT_LABEL, label)]), ..entry("a", 7) }, 1);
        assert_eq!(registry.get(&key("a")).unwrap().weight(), weight, "{label}");
        assert_eq!(id_of(ask("weighted_round_robin").of(&registry)).is_some(), weight > 0.0, "{label}");
    };
    check("3.5", 3.5);
    check("0", 0.0);
    check("-0", 0.0);
    for bad in ["", "heavy", "NaN", "inf", "-1", "1e10"] {
        check(bad, 7.0);
    }
    check("1e-300", 1e-300);
    check("1000000000", 1e9);
}

#[test]
fn an_agent_with_ten_thousand_capabilities() {
    let mut registry = Registry::default();
    let names: Vec<_> = (0..10_000).map(|n| capability(&format!("c{n}"))).collect();
    for id in ["a", "b"] {
        registry.learn(DirectoryEntry { capabilities: names.clone(), ..entry(id, 2) }, 1);
    }
    for name in names.iter().step_by(7) {
        let mut ask = ask("least_connections");
        ask.capability = name.clone();
        assert!(ask.of(&registry).is_some());
    }
    assert_eq!(registry.pools(), 1_429);
    registry.given(&key("a"), &start(1), 0);
    let mut ask = ask("least_connections");
    ask.capability = names[7 * 700].clone();
    assert_eq!(id_of(ask.of(&registry)).unwrap(), "b");
    registry.learn(DirectoryEntry { capabilities: names[..1].to_vec(), ..entry("a", 2) }, 2);
    registry.learn(DirectoryEntry { gone: true, ..entry("b", 2) }, 2);
    assert_eq!(registry.pools(), 1);
}

#[test]
fn resources_that_are_no_numbers() {
    let mut registry = Registry::default();
    let resources = amounts(&[("gpu", f64::NAN), ("mem", -4.0), ("disk", f64::INFINITY), ("cpu", 2.0)]);
    registry.learn(DirectoryEntry { resources, ..entry("a", 9) }, 1);
    let fits = |registry: &Registry, name: &str, amount| {
        let mut ask = ask("resources");
        ask.requires = Some(Requires { labels: None, resources: Some(amounts(&[(name, amount)])) });
        ask.of(registry).is_some()
    };
    assert!(!fits(&registry, "gpu", 1.0) && !fits(&registry, "mem", 1.0) && fits(&registry, "disk", 1e300));
    assert!(!fits(&registry, "cpu", f64::NAN) && fits(&registry, "cpu", -1.0));
    // What is taken is given back as it was, whatever is said at the end.
    registry.given_holding(&key("a"), &start(1), 0, Some(&amounts(&[("cpu", 2.0), ("gpu", f64::NAN)])));
    assert!(!fits(&registry, "cpu", 1.0));
    registry.given(&key("a"), &start(1), 0);
    registry.ended_holding(&key("a"), &start(1), 0, Outcome::Completed, Some(&amounts(&[("cpu", 99.0)])));
    assert!(fits(&registry, "cpu", 2.0));
    registry.given_holding(&key("a"), &start(1), 1, Some(&amounts(&[("cpu", 2.0)])));
    registry.ended(&key("a"), &start(1), 1, Outcome::Lost);
    assert!(fits(&registry, "cpu", 2.0), "with the last attempt of a shard all of it comes back");
}

#[test]
fn one_that_registers_without_end_leaves_nothing_behind() {
    let mut registry = Registry::default();
    for offset in 0..10_000u64 {
        let mut entry = DirectoryEntry { incarnation: start(offset), ..entry("a", 2) };
        entry.capabilities = vec![capability(&format!("c{offset}"))];
        entry.gone = offset % 3 == 2;
        registry.learn(entry, offset);
        let mut ask = ask("least_connections");
        ask.capability = capability(&format!("c{offset}"));
        assert_eq!(ask.of(&registry).is_some(), offset % 3 != 2);
        registry.given(&key("a"), &start(offset), 0);
    }
    assert_eq!((registry.len(), registry.pools()), (1, 1));
    assert_eq!(registry.get(&key("a")).unwrap().number(), 0);
}

/// A rule that makes nonsense of its figures.
#[derive(Debug)]
struct Nonsense(Method);

impl Rule for Nonsense {
    fn name(&self) -> &'static str {
        match self.0 {
            Method::Least => "least nonsense",
            Method::Turns => "nonsense by turns",
            Method::Draw(_) => "drawn nonsense",
        }
    }
    fn method(&self) -> Method {
        self.0
    }
    fn rank(&self, candidate: &Candidate, _: &Moment) -> Rank {
        Rank::cost(f64::NAN, candidate.assigned)
    }
    fn weight(&self, candidate: &Candidate) -> f64 {
        [f64::NAN, f64::INFINITY, -1.0][(candidate.weight as usize) % 3]
    }
    fn figures(&self, _: &Candidate, _: &Moment) -> Figures {
        Figures::default()
    }
}

#[test]
fn a_rule_of_nonsense_still_chooses_somebody() {
    let mut registry = Registry::default();
    for room in 3..9 {
        registry.learn(entry(&format!("a{room}"), room), 1);
    }
    for method in [Method::Least, Method::Turns, Method::Draw(3)] {
        let rule = Nonsense(method);
        let name = rule.name();
        registry.add_rule(std::sync::Arc::new(rule)).unwrap();
        let picked: Vec<_> = (0..100).map(|_| id_of(ask(name).of(&registry)).unwrap()).collect();
        // Two are of infinite weight: even so each has its turn.
        let of_turns =
            ["a4", "a7"].iter().all(|id| picked.iter().filter(|picked| picked == id).count() == 50);
        assert_eq!(of_turns, method == Method::Turns, "{name}: {picked:?}");
    }
}
