//! Choosing: what a task needs, who gets it, and why, or why nobody.

use super::{AgentKey, Member, Registry, RuleError};
use crate::balance::Figures;
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::command::{Delivery, Requires};
use synod_protocol::track::WorkRecord;
use synod_protocol::view::{AgentStatus, AgentsCounted, Health};
use synod_protocol::{Capability, Id, Incarnation, WorkKind, Workspace};

/// What stands for the rule where the task names its agent.
pub const NAMED: &str = "named";

/// What a task needs of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The task's workspace.
    pub workspace: &'a Workspace,
    /// Any agent that can do this.
    pub capability: Option<&'a Capability>,
    /// This agent and no other.
    pub agent: Option<&'a Id>,
    /// What it must have, and have free.
    pub requires: Option<&'a Requires>,
    /// Who must not be asked (again).
    pub avoid: &'a BTreeSet<Id>,
    /// The rule to choose by; where there is none of that name, and for `None`, the capability's or the default.
    pub rule: Option<&'a str>,
    /// A random number for this choice alone. No secret: what is drawn shows something of it.
    pub random: u64,
}

/// The agent picked, and why; borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// Who.
    pub member: &'a Member,
    /// The balancing rule.
    pub rule: &'static str,
    /// How many with this capability were open and had room. Those are not taken off that lack what is required, or
    /// are to be avoided: counting them would mean to look at all. [`Registry::headcount`] does.
    pub candidates: u32,
    /// The figures that decided.
    pub figures: Figures,
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
    /// How many agents were open and had room, as [`Pick::candidates`].
    pub candidates: u32,
    /// The attempts that the chosen one held.
    pub in_flight: u32,
    /// The figures that decided.
    pub figures: Figures,
}

/// What a shard asks of the fleet.
pub trait Fleet {
    /// The best agent for this need that has room, or `None`.
    fn choose(&self, need: &Need<'_>) -> Option<Choice>;

    /// Whether there is a rule of this name.
    ///
    /// # Errors
    /// [`RuleError::NotKnown`].
    fn check_rule(&self, name: &str) -> Result<(), RuleError>;

    /// Whether this process start, which holds work, is gone.
    fn gone(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<Departure>;

    /// Why this process start, which holds work, is suspected to be gone, if it is.
    fn suspected(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<&str>;

    /// Why attempts of tasks of this workspace that ask for this must not go on, if they must not.
    fn halted(&self, _workspace: &Workspace, _capability: Option<&Capability>) -> Option<String> {
        None
    }

    /// The process start of an agent that can be asked something now, however much work it holds, and how it is reached.
    fn present(&self, agent: &AgentKey) -> Option<(Incarnation, Delivery)>;

    /// Agents that can do this (`None`: whatever they can), have these labels and can be asked something now, by id.
    fn able(
        &self,
        workspace: &Workspace,
        capability: Option<&Capability>,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Id>;

    /// What became of an agent's promises of this kind of work, if that is known.
    fn track_record(&self, agent: &AgentKey, kind: &WorkKind) -> Option<WorkRecord>;
}

/// How a process start is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Whether it was lost, rather than having left in good order.
    pub lost: bool,
    /// In words, after the agent's name.
    pub how: &'static str,
}

impl Registry {
    /// The best agent for this need that has room, or `None`. Allocates nothing, unless it is the first pick of this rule for this
    /// capability: that makes the pool, from all who can do it.
    ///
    /// What it costs where labels, resources or agents to avoid are named depends on how many fit. A rule that ranks looks from the
    /// best on at up to about 20, a rule that draws at 64 at random; if that finds nobody they look at all.
    pub fn pick(&self, need: &Need<'_>) -> Option<Pick<'_>> {
        let Some(capability) = need.capability.filter(|_| need.agent.is_none()) else {
            return self.named(need);
        };
        let mut book = self.book.borrow_mut();
        let able = book.number(need.workspace, capability)?;
        let rule = self.rule_for(need.rule, capability);
        let pool = book.pool(able, rule, &self.rules, &self.members)?;
        let fits = |slot: u32| dominant(&self.members[slot as usize], need);
        let asks_more = need.requires.is_some() || !need.avoid.is_empty();
        let picked = pool.pick(need.random, self.now_ms, if asks_more { Some(&fits) } else { None })?;
        Some(Pick {
            member: &self.members[picked.slot as usize],
            rule: pool.rule().name(),
            candidates: picked.open,
            figures: picked.figures,
        })
    }

    fn named(&self, need: &Need<'_>) -> Option<Pick<'_>> {
        let member = self.member(need)?;
        dominant(member, need).filter(|_| member.is_eligible(need.capability))?;
        let in_flight = ("in_flight", f64::from(member.in_flight()));
        let figures = Figures::of([in_flight, ("room", f64::from(member.room()))]);
        Some(Pick { member, rule: NAMED, candidates: 1, figures })
    }

    fn member(&self, need: &Need<'_>) -> Option<&Member> {
        self.get(&AgentKey { workspace: need.workspace.clone(), agent: need.agent?.clone() })
    }

    /// How many could be chosen, and what is the matter with the others. Looks at everyone who is able.
    pub fn headcount(&self, need: &Need<'_>) -> AgentsCounted {
        let mut count = AgentsCounted::default();
        if need.agent.is_some() {
            self.member(need).into_iter().for_each(|member| add(&mut count, member, need));
            return count;
        }
        let book = self.book.borrow();
        let able = need.capability.and_then(|capability| book.number(need.workspace, capability));
        for slot in able.into_iter().flat_map(|able| book.able(able)) {
            add(&mut count, &self.members[slot as usize], need);
        }
        count
    }
}

/// Counts an agent that is able, in the one count in which it stands.
fn add(counts: &mut AgentsCounted, member: &Member, need: &Need<'_>) {
    counts.able += 1;
    let count = if need.avoid.contains(&member.entry.agent_id) {
        &mut counts.avoided
    } else if !member.is_well() {
        &mut counts.unwell
    } else if !member.is_open(need.capability) {
        &mut counts.shut
    } else if !member.has_room() {
        &mut counts.full
    } else if member.fits(need.requires).is_none() {
        &mut counts.unfit
    } else {
        &mut counts.ready
    };
    *count += 1;
}

/// The dominant share that a member would have; `None` if it is not to be asked or lacks something.
fn dominant(member: &Member, need: &Need<'_>) -> Option<f64> {
    if need.avoid.contains(&member.entry.agent_id) {
        return None;
    }
    member.fits(need.requires)
}

impl Fleet for Registry {
    fn choose(&self, need: &Need<'_>) -> Option<Choice> {
        self.pick(need).map(|pick| Choice {
            agent: pick.member.entry.agent_id.clone(),
            incarnation: pick.member.entry.incarnation.clone(),
            delivery: pick.member.entry.delivery.clone(),
            rule: pick.rule,
            candidates: pick.candidates,
            in_flight: pick.member.in_flight(),
            figures: pick.figures,
        })
    }

    fn check_rule(&self, name: &str) -> Result<(), RuleError> {
        self.known_rule(name).map(drop)
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
        member.doubts().worst().map(|doubt| doubt.why.as_str())
    }

    fn present(&self, agent: &AgentKey) -> Option<(Incarnation, Delivery)> {
        let member = self.get(agent).filter(|member| can_be_asked(member))?;
        Some((member.entry.incarnation.clone(), member.entry.delivery.clone()))
    }

    fn able(
        &self,
        workspace: &Workspace,
        capability: Option<&Capability>,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Id> {
        let fits = |member: &Member| {
            capability.is_none_or(|wanted| member.entry.capabilities.contains(wanted))
                && labels.iter().all(|(name, value)| member.entry.labels.get(name) == Some(value))
                && can_be_asked(member)
        };
        let ours = self.iter().filter(|(key, member)| key.workspace == *workspace && fits(member));
        ours.map(|(key, _)| key.agent.clone()).collect()
    }

    fn track_record(&self, agent: &AgentKey, kind: &WorkKind) -> Option<WorkRecord> {
        self.get(agent)?.entry.track_records.get(kind).cloned()
    }
}

/// Whether it runs, takes part and is thought to live.
fn can_be_asked(member: &Member) -> bool {
    let takes_part = matches!(member.entry.status, AgentStatus::Idle | AgentStatus::Running);
    !member.entry.gone && takes_part && matches!(member.health(), Health::Healthy | Health::Suspected)
}
