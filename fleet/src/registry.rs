//! The registry: every known agent, what it can do, and how many attempts it holds.

use crate::doubt::{Cause, Doubt, Doubts};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use synod_protocol::command::{Delivery, Requires};
use synod_protocol::view::{AgentStatistics, AgentStatus, DirectoryEntry, Health, Outcome};
use synod_protocol::{Capability, Id, Incarnation, Workspace};

/// The name of the one rule there is so far: the agent with the smallest share of its room in use;
/// among equals the one that was given least so far, then by id.
pub const LEAST_CONNECTIONS: &str = "least_connections";

/// Agents that have left and are remembered, so that no older entry brings them back: the latest so many.
const DEPARTED_LIMIT: usize = 10_000;

/// One agent of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub agent: Id,
}

/// What a task needs of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The task's workspace.
    pub workspace: &'a Workspace,
    /// Any agent that can do this.
    pub capability: Option<&'a Capability>,
    /// This agent and no other.
    pub agent: Option<&'a Id>,
    /// What it must have.
    pub requires: Option<&'a Requires>,
    /// Who must not be asked (again).
    pub avoid: &'a BTreeSet<Id>,
}

/// The agent chosen, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Who.
    pub agent: Id,
    /// Which process start of it.
    pub incarnation: Incarnation,
    /// How its work reaches it.
    pub delivery: Delivery,
    /// The balancing rule.
    pub rule: &'static str,
    /// How many agents could have done it.
    pub candidates: u32,
    /// The attempts that the chosen one held.
    pub in_flight: u32,
}

/// What a shard asks of the fleet.
pub trait Fleet {
    /// The best agent for this need that has room, or `None`.
    fn choose(&self, need: &Need<'_>) -> Option<Choice>;

    /// Whether this process start, which holds work, is gone.
    fn gone(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<Departure>;

    /// Why this process start, which holds work, is suspected to be gone, if it is.
    fn suspected(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<&str>;
}

/// How a process start is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Whether it was lost, rather than having left in good order.
    pub lost: bool,
    /// In words, after the agent's name.
    pub how: &'static str,
}

/// One agent, as this coordinator knows it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its newest directory entry.
    pub entry: DirectoryEntry,
    /// The ledger offset that the entry stands for; a higher one wins.
    pub offset: u64,
    /// What it has done.
    pub statistics: AgentStatistics,
    doubts: Doubts,
    /// Attempts that it holds, by the shard that gave them.
    held: BTreeMap<u32, u32>,
    in_flight: u32,
}

impl Member {
    /// The attempts that it holds.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What is thought of it beyond what the ledger knows.
    pub fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// Its health as this coordinator sees it.
    pub fn health(&self) -> Health {
        self.doubts.health(self.entry.health)
    }

    fn takes_work(&self) -> bool {
        self.health() == Health::Healthy
            && matches!(self.entry.status, AgentStatus::Idle | AgentStatus::Running)
            && self.in_flight < self.entry.max_concurrency
    }

    fn has(&self, requires: Option<&Requires>) -> bool {
        let Some(requires) = requires else { return true };
        let labels = requires.labels.iter().flatten();
        let resources = requires.resources.iter().flatten();
        labels.into_iter().all(|(name, value)| self.entry.labels.get(name) == Some(value))
            && resources
                .into_iter()
                .all(|(name, least)| self.entry.resources.get(name).is_some_and(|has| has >= least))
    }
}

/// Every known agent.
#[derive(Debug, Default)]
pub struct Registry {
    members: BTreeMap<AgentKey, Member>,
    able: BTreeMap<(Workspace, Capability), BTreeSet<Id>>,
    /// Who has left: by which offset, and when relative to the others.
    departed: BTreeMap<AgentKey, (u64, u64)>,
    departures: BTreeMap<u64, AgentKey>,
}

impl Registry {
    /// Takes a directory entry; an older offset than the known one changes nothing.
    ///
    /// Returns whether anything changed.
    pub fn learn(&mut self, entry: DirectoryEntry, offset: u64) -> bool {
        let key = AgentKey { workspace: entry.workspace.clone(), agent: entry.agent_id.clone() };
        let before = self.members.get(&key).map(|known| known.offset);
        let before = before.max(self.departed.get(&key).map(|(left_at, _)| *left_at));
        if before.is_some_and(|known| known >= offset) {
            return false;
        }
        self.forget_abilities(&key);
        if let Some((_, turn)) = self.departed.remove(&key) {
            self.departures.remove(&turn);
        }
        if entry.gone {
            self.members.remove(&key);
            self.remember_departed(key, offset);
            return true;
        }
        for capability in &entry.capabilities {
            let able = self.able.entry((key.workspace.clone(), capability.clone())).or_default();
            able.insert(key.agent.clone());
        }
        let kept = self.members.remove(&key);
        let same_start = kept.as_ref().is_some_and(|known| known.entry.incarnation == entry.incarnation);
        let (statistics, doubts, held, in_flight) = match kept {
            Some(known) if same_start => {
                // What was thought the ledger knows now.
                let doubts = if entry.health == Health::Lost { Doubts::default() } else { known.doubts };
                (known.statistics, doubts, known.held, known.in_flight)
            }
            Some(known) => (known.statistics, Doubts::default(), BTreeMap::new(), 0),
            None => Default::default(),
        };
        self.members.insert(key, Member { entry, offset, statistics, doubts, held, in_flight });
        true
    }

    fn remember_departed(&mut self, key: AgentKey, offset: u64) {
        let turn = self.departures.last_key_value().map_or(0, |(last, _)| last + 1);
        self.departures.insert(turn, key.clone());
        self.departed.insert(key, (offset, turn));
        if self.departures.len() > DEPARTED_LIMIT
            && let Some((_, oldest)) = self.departures.pop_first()
        {
            self.departed.remove(&oldest);
        }
    }

    fn forget_abilities(&mut self, key: &AgentKey) {
        let Some(known) = self.members.get(key) else { return };
        for capability in &known.entry.capabilities {
            let place = (key.workspace.clone(), capability.clone());
            if let Some(able) = self.able.get_mut(&place) {
                able.remove(&key.agent);
                if able.is_empty() {
                    self.able.remove(&place);
                }
            }
        }
    }

    /// An attempt was given by a shard to this process start.
    pub fn given(&mut self, key: &AgentKey, incarnation: &Incarnation, shard: u32) {
        if let Some(member) = self.members.get_mut(key).filter(|m| m.entry.incarnation == *incarnation) {
            *member.held.entry(shard).or_default() += 1;
            member.in_flight += 1;
            member.statistics.assigned += 1;
        }
    }

    /// An attempt that a shard had given to this process start has ended.
    pub fn ended(&mut self, key: &AgentKey, incarnation: &Incarnation, shard: u32, outcome: Outcome) {
        let Some(member) = self.members.get_mut(key).filter(|m| m.entry.incarnation == *incarnation) else {
            return;
        };
        match outcome {
            Outcome::Completed => member.statistics.completed += 1,
            Outcome::Failed | Outcome::TimedOut | Outcome::Declined => member.statistics.failed += 1,
            Outcome::Lost => member.statistics.lost += 1,
            Outcome::Cancelled | Outcome::Withdrawn => {}
        }
        if let Some(held) = member.held.get_mut(&shard).filter(|held| **held > 0) {
            *held -= 1;
            member.in_flight -= 1;
        }
    }

    /// Raises or drops a doubt about this process start; see [`Doubts::set`].
    pub fn doubt(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        cause: Cause,
        doubt: Option<Doubt>,
    ) -> bool {
        let member = self.members.get_mut(key).filter(|m| m.entry.incarnation == *incarnation);
        member.is_some_and(|member| member.doubts.set(cause, doubt))
    }

    /// Forgets what a shard had given, because its epoch is over; the next fold counts anew.
    pub fn forget_shard(&mut self, shard: u32) {
        for member in self.members.values_mut() {
            member.in_flight -= member.held.remove(&shard).unwrap_or(0);
        }
    }

    /// One agent.
    pub fn get(&self, key: &AgentKey) -> Option<&Member> {
        self.members.get(key)
    }

    /// Every agent, by workspace and id.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentKey, &Member)> {
        self.members.iter()
    }

    /// Who is served through Redis, not lost, and holds work.
    pub fn holders(&self) -> impl Iterator<Item = (AgentKey, Incarnation)> {
        self.members.iter().filter(|(_, m)| m.in_flight > 0).filter_map(present)
    }

    /// Who is served through Redis and not lost, in order, from behind this one.
    pub fn present_from(&self, after: Option<&AgentKey>) -> impl Iterator<Item = (AgentKey, Incarnation)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<AgentKey, _>((from, Bound::Unbounded)).filter_map(present)
    }

    /// How many agents are known.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Fleet for Registry {
    fn choose(&self, need: &Need<'_>) -> Option<Choice> {
        let pick = |ids: &mut dyn Iterator<Item = &Id>| {
            let mut candidates = 0u32;
            let mut best: Option<&Member> = None;
            for id in ids {
                let key = AgentKey { workspace: need.workspace.clone(), agent: id.clone() };
                let Some(member) = self.members.get(&key) else { continue };
                if need.avoid.contains(id) || !member.takes_work() || !member.has(need.requires) {
                    continue;
                }
                candidates += 1;
                if best.is_none_or(|b| is_less_busy(member, b)) {
                    best = Some(member);
                }
            }
            best.map(|member| Choice {
                agent: member.entry.agent_id.clone(),
                incarnation: member.entry.incarnation.clone(),
                delivery: member.entry.delivery.clone(),
                rule: LEAST_CONNECTIONS,
                candidates,
                in_flight: member.in_flight,
            })
        };
        match (need.agent, need.capability) {
            (Some(agent), _) => pick(&mut std::iter::once(agent)),
            (None, Some(capability)) => {
                let able = self.able.get(&(need.workspace.clone(), capability.clone()))?;
                pick(&mut able.iter())
            }
            (None, None) => None,
        }
    }

    fn gone(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<Departure> {
        let (lost, how) = match self.get(agent) {
            None => (false, "has left"),
            Some(m) if m.entry.incarnation != *incarnation => (true, "was started anew"),
            Some(m) if m.health() == Health::Lost => (true, "was lost"),
            Some(_) => return None,
        };
        Some(Departure { lost, how })
    }

    fn suspected(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<&str> {
        let member = self.get(agent).filter(|m| m.entry.incarnation == *incarnation)?;
        member.doubts.worst().map(|doubt| doubt.why.as_str())
    }
}

fn present((key, member): (&AgentKey, &Member)) -> Option<(AgentKey, Incarnation)> {
    let entry = &member.entry;
    (entry.delivery == Delivery::Redis && entry.health != Health::Lost)
        .then(|| (key.clone(), entry.incarnation.clone()))
}

/// Compares shares of room in use by cross-multiplication, so that nothing is rounded.
fn is_less_busy(a: &Member, b: &Member) -> bool {
    let share = |x: &Member, y: &Member| u64::from(x.in_flight) * u64::from(y.entry.max_concurrency);
    (share(a, b), a.statistics.assigned) < (share(b, a), b.statistics.assigned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::Timestamp;

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
            gone: false,
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
    fn who_is_doubted_gets_no_work_until_the_doubt_is_over() {
        let mut registry = Registry::default();
        registry.learn(entry("a", 2), 1);
        let (start, restart) = (START.parse().unwrap(), RESTART.parse().unwrap());
        let doubt = |lost| Some(Doubt { lost, since_ms: 5, why: "not seen".into() });
        assert!(!registry.doubt(&key("a"), &restart, Cause::Absence, doubt(true)), "another process start");
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
        assert_eq!(registry.get(&key("a")).unwrap().doubts(), &Doubts::default());
        registry.learn(entry("a", 2), 3);
        registry.doubt(&key("a"), &start, Cause::Absence, doubt(true));
        registry.learn(DirectoryEntry { incarnation: restart, ..entry("a", 2) }, 4);
        assert_eq!(choose(&registry, None, &[]).as_deref(), Some("a"));
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
    fn only_so_many_who_have_left_are_remembered() {
        let mut registry = Registry::default();
        for i in 0..=DEPARTED_LIMIT {
            registry.learn(DirectoryEntry { gone: true, ..entry(&format!("a{i}"), 1) }, i as u64);
        }
        assert_eq!((registry.departed.len(), registry.departures.len()), (DEPARTED_LIMIT, DEPARTED_LIMIT));
        for offset in 1..1_000 {
            registry.learn(DirectoryEntry { gone: offset % 2 == 0, ..entry("a5", 1) }, 1_000_000 + offset);
        }
        assert!(registry.departures.len() <= DEPARTED_LIMIT && registry.departed.len() <= DEPARTED_LIMIT);
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
}
