//! Agents for tests, and what is asked of them.

use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::{AgentKey, Need, Pick, Registry};
use synod_protocol::command::{Delivery, Requires};
use synod_protocol::view::{AgentStatus, DirectoryEntry, Health};
use synod_protocol::{Capability, Id, Incarnation, Timestamp, Workspace};

pub(crate) fn start(n: u64) -> Incarnation {
    format!("0190f7a2-7c3e-7cc1-8f5e-{n:012x}").parse().unwrap()
}

pub(crate) fn capability(name: &str) -> Capability {
    name.parse().unwrap()
}

pub(crate) fn key(id: &str) -> AgentKey {
    AgentKey { workspace: Workspace::default_name(), agent: id.parse().unwrap() }
}

/// A healthy agent with this room and the capability `c`.
pub(crate) fn entry(id: &str, room: u32) -> DirectoryEntry {
    DirectoryEntry {
        agent_id: id.parse().unwrap(),
        workspace: Workspace::default_name(),
        incarnation: start(1),
        status: AgentStatus::Idle,
        health: Health::Healthy,
        capabilities: vec![capability("c")],
        max_concurrency: room,
        labels: BTreeMap::new(),
        resources: BTreeMap::new(),
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

/// A task's need, owned.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) capability: Capability,
    pub(crate) requires: Option<Requires>,
    pub(crate) avoid: BTreeSet<Id>,
    pub(crate) rule: String,
    pub(crate) random: u64,
}

pub(crate) fn ask(rule: &str) -> Ask {
    Ask {
        capability: capability("c"),
        requires: None,
        avoid: BTreeSet::new(),
        rule: rule.to_owned(),
        random: 0,
    }
}

impl Ask {
    pub(crate) fn of<'a>(&self, registry: &'a Registry) -> Option<Pick<'a>> {
        let workspace = Workspace::default_name();
        registry.pick(&self.need(&workspace))
    }

    pub(crate) fn need<'a>(&'a self, workspace: &'a Workspace) -> Need<'a> {
        Need {
            workspace,
            capability: Some(&self.capability),
            agent: None,
            requires: self.requires.as_ref(),
            avoid: &self.avoid,
            rule: Some(&self.rule),
            random: self.random,
        }
    }
}

pub(crate) fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn amounts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
    of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
}

pub(crate) fn id_of(pick: Option<Pick<'_>>) -> Option<String> {
    pick.map(|pick| pick.member.entry.agent_id.to_string())
}
