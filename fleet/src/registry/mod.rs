//! The registry: every known agent, what it can do, what it holds, and who is chosen.
//!
//! Each member has a slot, and for each capability and rule that was ever asked for there is a pool of those who can do it
//! ([`crate::balance`]). Everything that happens to a member is passed on to the pools where it has a seat, so
//! that choosing looks at those alone who may be chosen. What happens to an agent costs as much as it has seats: one for
//! each of its capabilities and each rule by which it is asked for.

mod book;
mod choose;
mod departed;
mod member;
mod rules;
mod stock;
#[cfg(test)]
mod tests;

pub use choose::{Choice, Departure, Fleet, NAMED, Need, Pick};
pub use member::{Gate, Member, WEIGHT_LABEL};
pub use rules::RuleError;

use crate::balance::{self, Rule};
use crate::doubt::{Cause, Doubt};
use book::Book;
use departed::Departed;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use synod_protocol::command::Delivery;
use synod_protocol::view::{DirectoryEntry, Health, Outcome};
use synod_protocol::{Capability, Id, Incarnation, Workspace};

/// How often pools that nobody asks for are looked for, in ms.
const SWEEP_MS: u64 = 60_000;

/// One agent of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub agent: Id,
}

/// What a member cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemberError {
    /// There is no such agent, or it has left.
    #[error("agent {agent} is not known in workspace {workspace}")]
    NotKnown {
        /// Where it was looked for.
        workspace: Workspace,
        /// Who.
        agent: Id,
    },
    /// It cannot do that.
    #[error("agent {agent} has no capability {capability}")]
    NotAble {
        /// Who.
        agent: Id,
        /// What.
        capability: Capability,
    },
    /// That is no share.
    #[error("{share} is not a share; it is a number from 0 to 1")]
    NoShare {
        /// What was given.
        share: f64,
    },
}

/// Every known agent.
///
/// `choose` and `pick` take `&self` all the same, though turns pass and pools are made: what the registry knows of the agents does
/// not change by it. It may be sent to another thread, not shared without a lock.
#[derive(Debug)]
pub struct Registry {
    /// By number. In the places of those who have left they still stand, until somebody else comes.
    members: Vec<Member>,
    slots: BTreeMap<AgentKey, u32>,
    free: Vec<u32>,
    departed: Departed,
    book: RefCell<Book>,
    rules: Vec<Arc<dyn Rule>>,
    default_rule: usize,
    preferred: BTreeMap<Capability, usize>,
    now_ms: u64,
    swept_ms: u64,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            members: Vec::new(),
            slots: BTreeMap::new(),
            free: Vec::new(),
            departed: Departed::default(),
            book: RefCell::default(),
            rules: balance::built_in(),
            default_rule: 0,
            preferred: BTreeMap::new(),
            now_ms: 0,
            swept_ms: 0,
        }
    }
}

impl Registry {
    /// Takes a directory entry; an older offset than the known one changes nothing.
    ///
    /// Returns whether anything changed.
    pub fn learn(&mut self, entry: DirectoryEntry, offset: u64) -> bool {
        let key = AgentKey { workspace: entry.workspace.clone(), agent: entry.agent_id.clone() };
        let before = self.get(&key).map(|known| known.offset).max(self.departed.offset(&key));
        if before.is_some_and(|known| known >= offset) {
            return false;
        }
        match (self.slots.get(&key).copied(), entry.gone) {
            (Some(slot), false) => self.renew(&key, slot, entry, offset),
            (None, false) => self.admit(key, entry, offset),
            (known, true) => {
                if let Some(slot) = known {
                    self.dismiss(&key, slot);
                }
                self.departed.remember(key, offset);
            }
        }
        true
    }

    /// Forgets an agent by a word that stands for this ledger offset; an older one changes nothing, nor does an entry
    /// that is older than it bring the agent back.
    ///
    /// Returns whether it was taken.
    pub fn forget(&mut self, key: &AgentKey, offset: u64) -> bool {
        let before = self.get(key).map(|known| known.offset).max(self.departed.offset(key));
        if before.is_some_and(|known| known >= offset) {
            return false;
        }
        if let Some(slot) = self.slots.get(key).copied() {
            self.dismiss(key, slot);
        }
        self.departed.remember(key.clone(), offset);
        true
    }

    fn admit(&mut self, key: AgentKey, entry: DirectoryEntry, offset: u64) {
        self.departed.forget(&key);
        let slot = self.free.pop().unwrap_or(self.members.len() as u32);
        let member = Member::new(entry, offset, slot);
        match self.members.get_mut(slot as usize) {
            Some(place) => *place = member,
            None => self.members.push(member),
        }
        let member = &self.members[slot as usize];
        let abilities: BTreeSet<&Capability> = member.entry.capabilities.iter().collect();
        for capability in abilities {
            self.book.get_mut().enter(&key, capability, member);
        }
        self.slots.insert(key, slot);
    }

    fn renew(&mut self, key: &AgentKey, slot: u32, entry: DirectoryEntry, offset: u64) {
        let member = &mut self.members[slot as usize];
        let book = self.book.get_mut();
        if member.entry.incarnation != entry.incarnation {
            book.forget_speed(slot);
        }
        let before = member.entry.capabilities.clone();
        member.renew(entry, offset);
        if before != member.entry.capabilities {
            let before: BTreeSet<&Capability> = before.iter().collect();
            let now: BTreeSet<&Capability> = member.entry.capabilities.iter().collect();
            for capability in before.difference(&now) {
                book.leave(key, capability, slot);
            }
            for capability in now.difference(&before) {
                book.enter(key, capability, member);
            }
        }
        book.refresh(member);
    }

    fn dismiss(&mut self, key: &AgentKey, slot: u32) {
        self.slots.remove(key);
        let member = &self.members[slot as usize];
        let abilities: BTreeSet<&Capability> = member.entry.capabilities.iter().collect();
        for capability in abilities {
            self.book.get_mut().leave(key, capability, slot);
        }
        self.free.push(slot);
    }

    /// Does something to a member, and tells the pools.
    fn change<T>(&mut self, key: &AgentKey, act: impl FnOnce(&mut Member) -> T) -> Result<T, MemberError> {
        let Some(slot) = self.slots.get(key) else {
            let AgentKey { workspace, agent } = key.clone();
            return Err(MemberError::NotKnown { workspace, agent });
        };
        let member = &mut self.members[*slot as usize];
        let done = act(member);
        self.book.get_mut().refresh(member);
        Ok(done)
    }

    /// Does something to a member if this is the process start that is known, and tells the pools.
    fn change_start(&mut self, key: &AgentKey, incarnation: &Incarnation, act: impl FnOnce(&mut Member)) {
        let Some(slot) = self.slots.get(key) else { return };
        let member = &mut self.members[*slot as usize];
        if member.entry.incarnation == *incarnation {
            act(member);
            self.book.get_mut().refresh(member);
        }
    }

    /// An attempt was given by a shard to this process start.
    pub fn given(&mut self, key: &AgentKey, incarnation: &Incarnation, shard: u32) {
        self.given_holding(key, incarnation, shard, None);
    }

    /// An attempt was given by a shard to this process start, and takes these resources until it ends.
    pub fn given_holding(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        shard: u32,
        resources: Option<&BTreeMap<String, f64>>,
    ) {
        self.change_start(key, incarnation, |member| member.given(shard, resources));
    }

    /// An attempt that a shard had given to this process start has ended.
    pub fn ended(&mut self, key: &AgentKey, incarnation: &Incarnation, shard: u32, outcome: Outcome) {
        self.ended_holding(key, incarnation, shard, outcome, None);
    }

    /// An attempt that a shard had given to this process start, with these resources, has ended.
    pub fn ended_holding(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        shard: u32,
        outcome: Outcome,
        resources: Option<&BTreeMap<String, f64>>,
    ) {
        self.change_start(key, incarnation, |member| member.ended(shard, outcome, resources));
    }

    /// Forgets what a shard had given, because its epoch is over; the next fold counts anew.
    pub fn forget_shard(&mut self, shard: u32) {
        for member in &mut self.members {
            if member.forget_shard(shard) {
                self.book.get_mut().refresh(member);
            }
        }
    }

    /// This process start says that it holds so many attempts in all. Those that we do not know of are other
    /// coordinators' and count too, until it says otherwise.
    pub fn report(&mut self, key: &AgentKey, incarnation: &Incarnation, in_flight: u32) {
        self.change_start(key, incarnation, |member| member.report(in_flight));
    }

    /// An attempt for this capability took this process start so long (µs), and succeeded or not: what `performance` goes by.
    ///
    /// Returns whether it was taken: not where the time is no number or below zero, nor where no rule has yet been asked for this
    /// capability, nor of another process start. A time above 7 days counts as 7 days.
    pub fn observe(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        capability: &Capability,
        took_us: f64,
        success: bool,
    ) -> bool {
        let Some(member) = self.get(key).filter(|member| member.entry.incarnation == *incarnation) else {
            return false;
        };
        let (slot, now_ms, book) = (member.number(), self.now_ms, self.book.get_mut());
        let able = book.number(&key.workspace, capability);
        able.is_some_and(|able| book.observe(able, slot, took_us, success, now_ms))
    }

    /// How far this agent may be used, from 0 (not at all) to 1: while it ramps up, or is only half trusted. Stays over a new process
    /// start; gone when it leaves.
    ///
    /// # Errors
    /// [`MemberError::NotKnown`], [`MemberError::NoShare`].
    pub fn set_share(&mut self, key: &AgentKey, share: f64) -> Result<(), MemberError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(MemberError::NoShare { share });
        }
        self.change(key, |member| member.set_share(share))
    }

    /// Opens or shuts one gate of this agent, for one capability or (`None`) for all. Stays over a new process start; gone when it
    /// leaves, and with the capability.
    ///
    /// # Errors
    /// [`MemberError::NotKnown`], [`MemberError::NotAble`].
    pub fn set_open(
        &mut self,
        key: &AgentKey,
        gate: Gate,
        capability: Option<&Capability>,
        open: bool,
    ) -> Result<(), MemberError> {
        self.change(key, |member| match capability {
            None => {
                member.gates.set(gate, open);
                Ok(())
            }
            Some(capability) if member.entry.capabilities.contains(capability) => {
                let gates = member.shut.entry(capability.clone()).or_default();
                gates.set(gate, open);
                if gates.all_open() {
                    member.shut.remove(capability);
                }
                Ok(())
            }
            Some(capability) => {
                let (agent, capability) = (key.agent.clone(), capability.clone());
                Err(MemberError::NotAble { agent, capability })
            }
        })?
    }

    /// Raises or drops a doubt about this process start; see [`Doubts::set`](crate::Doubts::set).
    pub fn doubt(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        cause: Cause,
        doubt: Option<Doubt>,
    ) -> bool {
        let mut changed = false;
        self.change_start(key, incarnation, |member| changed = member.doubts.set(cause, doubt));
        changed
    }

    /// It is so late, in milliseconds of the caller's monotonic time; an earlier time changes nothing. What is known of speed fades
    /// by it, and pools that nobody has asked for in 10 minutes are given up.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = self.now_ms;
            self.book.get_mut().sweep(self.now_ms);
        }
    }

    /// One agent.
    pub fn get(&self, key: &AgentKey) -> Option<&Member> {
        self.slots.get(key).map(|slot| &self.members[*slot as usize])
    }

    /// Every agent, by workspace and id.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentKey, &Member)> {
        self.slots.iter().map(|(key, slot)| (key, &self.members[*slot as usize]))
    }

    /// Who is served through Redis, not lost, and holds work.
    pub fn holders(&self) -> impl Iterator<Item = (AgentKey, Incarnation)> {
        self.iter().filter(|(_, member)| member.in_flight() > 0).filter_map(present)
    }

    /// Who is served through Redis and not lost, in order, from behind this one.
    pub fn present_from(&self, after: Option<&AgentKey>) -> impl Iterator<Item = (AgentKey, Incarnation)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let members = self.slots.range::<AgentKey, _>((from, Bound::Unbounded));
        members.map(|(key, slot)| (key, &self.members[*slot as usize])).filter_map(present)
    }

    /// Agents of one workspace, in order of their ids, from behind this one.
    pub fn after<'a>(
        &'a self,
        workspace: &'a Workspace,
        after: Option<&Id>,
    ) -> impl Iterator<Item = (&'a AgentKey, &'a Member)> {
        let from = |agent: &Id| AgentKey { workspace: workspace.clone(), agent: agent.clone() };
        let slots = match after.map(from) {
            Some(from) => self.slots.range((Bound::Excluded(from), Bound::Unbounded)),
            None => self.slots.range(..),
        };
        let ours = slots.skip_while(move |(key, _)| key.workspace < *workspace);
        let ours = ours.take_while(move |(key, _)| key.workspace == *workspace);
        ours.map(|(key, slot)| (key, &self.members[*slot as usize]))
    }

    /// How many agents are known.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many pools are kept: at most one for each capability and rule that was asked for.
    pub fn pools(&self) -> usize {
        self.book.borrow().pools()
    }
}

fn present((key, member): (&AgentKey, &Member)) -> Option<(AgentKey, Incarnation)> {
    let entry = &member.entry;
    (entry.delivery == Delivery::Redis && entry.health != Health::Lost)
        .then(|| (key.clone(), entry.incarnation.clone()))
}
