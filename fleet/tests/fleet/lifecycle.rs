//! Agents come, change and go; pools follow, and are kept only where they are asked for.

use crate::world::{amounts, ask, capability, entry, id_of, key, labels, start};
use std::collections::BTreeSet;
use std::sync::Arc;
use synod_fleet::balance::{Candidate, Figures, Method, Moment, Rank, Rule};
use synod_fleet::{Fleet, Gate, LEAST_CONNECTIONS, MemberError, NAMED, Need, Registry, RuleError};
use synod_protocol::Workspace;
use synod_protocol::command::Requires;
use synod_protocol::view::{DirectoryEntry, Health, Outcome};

fn with(id: &str, capabilities: &[&str]) -> DirectoryEntry {
    DirectoryEntry { capabilities: capabilities.iter().map(|c| capability(c)).collect(), ..entry(id, 2) }
}

#[test]
fn what_an_agent_can_do_changes_while_it_runs() {
    let mut registry = Registry::default();
    let can = |registry: &Registry, what: &str| {
        let mut ask = ask("round_robin");
        ask.capability = capability(what);
        id_of(ask.of(registry)).is_some()
    };
    registry.learn(with("a", &["c", "d"]), 1);
    assert!(can(&registry, "c") && can(&registry, "d") && !can(&registry, "e"));
    registry.given(&key("a"), &start(1), 0);
    registry.learn(with("a", &["d", "e"]), 2);
    assert!(!can(&registry, "c") && can(&registry, "d") && can(&registry, "e"));
    assert_eq!(registry.get(&key("a")).unwrap().in_flight(), 1, "the same process start holds what it held");
    registry.learn(DirectoryEntry { max_concurrency: 1, ..with("a", &["d"]) }, 3);
    assert!(!can(&registry, "d"), "its room is full now");
    registry.learn(DirectoryEntry { health: Health::Draining, ..with("a", &["d"]) }, 4);
    assert!(!can(&registry, "d"));
    registry.learn(with("a", &["d"]), 5);
    assert!(can(&registry, "d"));
    registry.learn(DirectoryEntry { gone: true, ..with("a", &["d"]) }, 6);
    assert!(!can(&registry, "d") && registry.is_empty() && registry.pools() == 0);
}

#[test]
fn pools_are_made_when_asked_for_and_given_up_when_not() {
    let mut registry = Registry::default();
    registry.learn(with("a", &["c", "d"]), 1);
    registry.learn(with("b", &["c"]), 1);
    assert_eq!(registry.pools(), 0);
    registry.tick(1_000);
    ask("random").of(&registry).unwrap();
    ask(LEAST_CONNECTIONS).of(&registry).unwrap();
    ask(LEAST_CONNECTIONS).of(&registry).unwrap();
    assert_eq!(registry.pools(), 2);
    registry.tick(500_000);
    ask(LEAST_CONNECTIONS).of(&registry).unwrap();
    registry.tick(605_000);
    assert_eq!(registry.pools(), 1, "nobody asked for random in ten minutes");
    registry.given(&key("a"), &start(1), 0);
    assert_eq!(id_of(ask(LEAST_CONNECTIONS).of(&registry)).unwrap(), "b", "the one that is kept goes on");
    assert!(ask("random").of(&registry).is_some());
}

#[test]
fn another_process_start_is_known_nothing_of() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 2), 1);
    registry.given(&key("a"), &start(2), 0);
    assert_eq!(registry.get(&key("a")).unwrap().in_flight(), 0, "it is not the one that is known");
    registry.report(&key("a"), &start(1), 2);
    assert_eq!(id_of(ask("random").of(&registry)), None, "other coordinators have filled it");
    registry.learn(DirectoryEntry { incarnation: start(2), ..entry("a", 2) }, 2);
    registry.given(&key("a"), &start(1), 0);
    registry.report(&key("a"), &start(1), 2);
    assert_eq!(registry.get(&key("a")).unwrap().in_flight(), 0);
    assert!(!registry.observe(&key("a"), &start(1), &capability("c"), 1.0, true));
    registry.set_share(&key("a"), 0.5).unwrap();
    registry.learn(DirectoryEntry { incarnation: start(3), ..entry("a", 2) }, 3);
    assert_eq!(registry.get(&key("a")).unwrap().share(), 0.5, "who has set it, sets it back");
}

#[test]
fn what_an_agent_reports_counts_beyond_what_we_gave_it() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 9), 1);
    let in_flight = |registry: &Registry| registry.get(&key("a")).unwrap().in_flight();
    (0..3).for_each(|_| registry.given(&key("a"), &start(1), 0));
    registry.report(&key("a"), &start(1), 5);
    assert_eq!(in_flight(&registry), 5);
    registry.ended(&key("a"), &start(1), 0, Outcome::Failed);
    assert_eq!(in_flight(&registry), 4);
    registry.report(&key("a"), &start(1), 1);
    assert_eq!(in_flight(&registry), 2, "one of ours has not reached it yet");
    registry.report(&key("a"), &start(1), u32::MAX);
    assert_eq!(in_flight(&registry), u32::MAX);
}

#[test]
fn each_opens_what_it_has_shut() {
    let mut registry = Registry::default();
    registry.learn(with("a", &["c", "d"]), 1);
    let (c, d) = (capability("c"), capability("d"));
    let mut set = |gate, what, open| registry.set_open(&key("a"), gate, what, open).unwrap();
    set(Gate::Breaker, Some(&c), false);
    set(Gate::Operator, None, false);
    set(Gate::Suspicion, None, false);
    set(Gate::Suspicion, None, true);
    set(Gate::Breaker, None, true);
    let open = |registry: &Registry, what| registry.get(&key("a")).unwrap().is_open(Some(what));
    assert!(!open(&registry, &c) && !open(&registry, &d), "the operator has not opened it");
    registry.set_open(&key("a"), Gate::Operator, None, true).unwrap();
    assert!(!open(&registry, &c) && open(&registry, &d), "the breaker of one capability has not");
    assert!(ask("random").of(&registry).is_none());
    registry.set_open(&key("a"), Gate::Breaker, Some(&c), true).unwrap();
    assert!(ask("random").of(&registry).is_some());

    registry.set_share(&key("a"), 0.0).unwrap();
    let workspace = Workspace::default_name();
    assert_eq!(registry.headcount(&ask("random").need(&workspace)).shut, 1, "a share of nothing");
    let e = capability("e");
    let not_able = registry.set_open(&key("a"), Gate::Pause, Some(&e), false).unwrap_err();
    assert_eq!(not_able.to_string(), "agent a has no capability e");
    assert!(matches!(registry.set_share(&key("b"), 1.0), Err(MemberError::NotKnown { .. })));
    assert!(matches!(
        registry.set_open(&key("b"), Gate::Pause, None, false),
        Err(MemberError::NotKnown { .. })
    ));
}

#[test]
fn a_named_agent_is_chosen_if_it_may_be() {
    let mut registry = Registry::default();
    registry.learn(entry("a", 1), 1);
    let (workspace, agent, mut avoid) = (Workspace::default_name(), "a".parse().unwrap(), BTreeSet::new());
    let choose = |registry: &Registry, avoid: &BTreeSet<_>| {
        let need = Need {
            workspace: &workspace,
            capability: None,
            agent: Some(&agent),
            requires: None,
            avoid,
            rule: Some("random"),
            random: 0,
        };
        registry.choose(&need)
    };
    let choice = choose(&registry, &avoid).unwrap();
    assert_eq!((choice.rule, choice.candidates, choice.figures.get("room")), (NAMED, 1, Some(1.0)));
    registry.given(&key("a"), &start(1), 0);
    assert_eq!(choose(&registry, &avoid), None);
    registry.forget_shard(0);
    avoid.insert(agent.clone());
    assert_eq!(choose(&registry, &avoid), None);
}

#[test]
fn a_choice_says_why() {
    let mut registry = Registry::default();
    registry.learn(DirectoryEntry { resources: amounts(&[("gpu", 4.0)]), ..entry("a", 4) }, 1);
    registry.learn(DirectoryEntry { labels: labels(&[("zone", "x")]), ..entry("b", 4) }, 1);
    registry.given(&key("a"), &start(1), 0);
    let figures = |registry: &Registry, ask: &crate::world::Ask| {
        let pick = ask.of(registry).unwrap();
        let figures: Vec<String> =
            pick.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!(
            "{} of {} by {}: {}",
            pick.member.entry.agent_id,
            pick.candidates,
            pick.rule,
            figures.join(", ")
        )
    };
    let mut ask = ask(LEAST_CONNECTIONS);
    assert_eq!(figures(&registry, &ask), "b of 2 by least_connections: in_flight 0, room 4, assigned 0");
    ask.rule = "resources".into();
    ask.requires = Some(Requires { labels: None, resources: Some(amounts(&[("gpu", 3.0)])) });
    assert_eq!(figures(&registry, &ask), "a of 2 by resources: dominant_share 0.75, in_flight 1, room 4");
    ask.requires = Some(Requires { labels: Some(labels(&[("zone", "y")])), resources: None });
    let workspace = Workspace::default_name();
    assert!(ask.of(&registry).is_none());
    let count = registry.headcount(&ask.need(&workspace));
    assert_eq!((count.able, count.unfit, count.ready), (2, 2, 0));
}

/// The fullest first, as an embedder would write it.
#[derive(Debug)]
struct Pack(&'static str, Method);

impl Rule for Pack {
    fn name(&self) -> &'static str {
        self.0
    }
    fn method(&self) -> Method {
        self.1
    }
    fn rank(&self, candidate: &Candidate, _: &Moment) -> Rank {
        Rank::new(u64::from(u32::MAX - candidate.in_flight), 0)
    }
    fn figures(&self, candidate: &Candidate, _: &Moment) -> Figures {
        Figures::of([("in_flight", f64::from(candidate.in_flight))])
    }
}

#[test]
fn a_rule_is_added_and_preferred() {
    let mut registry = Registry::default();
    ["a", "b", "c"].iter().for_each(|id| assert!(registry.learn(entry(id, 2), 1)));
    registry.add_rule(Arc::new(Pack("pack", Method::Least))).unwrap();
    registry.add_rule(Arc::new(Pack("pack_of_all", Method::Draw(4)))).unwrap();
    registry.given(&key("b"), &start(1), 0);
    let picked = |registry: &Registry, rule: &str| {
        let pick = ask(rule).of(registry).unwrap();
        (pick.member.entry.agent_id.to_string(), pick.rule)
    };
    assert_eq!(picked(&registry, "pack"), ("b".into(), "pack"));
    assert_eq!(picked(&registry, "pack_of_all"), ("b".into(), "pack_of_all"));
    assert_eq!(picked(&registry, "no such rule"), ("a".into(), LEAST_CONNECTIONS));
    registry.set_default_rule("pack").unwrap();
    assert_eq!(picked(&registry, "no such rule"), ("b".into(), "pack"));
    let c = capability("c");
    registry.prefer_rule(&c, Some("round_robin")).unwrap();
    assert_eq!(picked(&registry, "").1, "round_robin");
    registry.prefer_rule(&c, None).unwrap();
    assert_eq!(picked(&registry, "").1, "pack");

    assert_eq!(
        registry.add_rule(Arc::new(Pack("pack", Method::Least))),
        Err(RuleError::Known { name: "pack" })
    );
    assert!(matches!(registry.add_rule(Arc::new(Pack("x", Method::Draw(0)))), Err(RuleError::Draws { .. })));
    assert!(matches!(registry.add_rule(Arc::new(Pack("x", Method::Draw(5)))), Err(RuleError::Draws { .. })));
    let mut names = (0..).map(|n| &*Box::leak(format!("rule {n}").into_boxed_str()));
    let refused =
        (0..100).find_map(|_| registry.add_rule(Arc::new(Pack(names.next()?, Method::Least))).err());
    assert_eq!((refused, registry.rules().count()), (Some(RuleError::TooMany), 64));
    let unknown = registry.set_default_rule("fastest").unwrap_err().to_string();
    assert!(unknown.contains("\"fastest\"") && unknown.contains("weighted_round_robin"), "{unknown}");
}
