//! Who can do what, and the pools that are kept of them: one for each capability and rule that was asked for.

use super::AgentKey;
use super::member::Member;
use crate::balance::Rule;
use crate::balance::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use synod_protocol::{Capability, Workspace};

/// A pool that nobody asked for so long is given up, in ms. What was known of speed there is lost.
const IDLE_MS: u64 = 600_000;

#[derive(Debug, Default)]
pub(super) struct Book {
    numbers: BTreeMap<Workspace, BTreeMap<Capability, u32>>,
    able: Vec<Able>,
    free_able: Vec<u32>,
    pools: Vec<Option<Kept>>,
    free_pools: Vec<u32>,
    /// By member: the pools where it has a seat, in order, and which.
    seats: Vec<Vec<(u32, u32)>>,
}

/// Those who can do one thing.
#[derive(Debug)]
struct Able {
    capability: Capability,
    members: BTreeSet<u32>,
    /// By rule.
    pools: Vec<(usize, u32)>,
}

#[derive(Debug)]
struct Kept {
    able: u32,
    pool: Pool,
}

impl Book {
    /// Who can do this, as a number.
    pub(super) fn number(&self, workspace: &Workspace, capability: &Capability) -> Option<u32> {
        self.numbers.get(workspace)?.get(capability).copied()
    }

    /// Everyone who can do this.
    pub(super) fn able(&self, number: u32) -> impl Iterator<Item = u32> {
        self.able[number as usize].members.iter().copied()
    }

    /// A member can do this from now on.
    pub(super) fn enter(&mut self, key: &AgentKey, capability: &Capability, member: &Member) {
        let able = self.number(&key.workspace, capability).unwrap_or_else(|| self.begin(key, capability));
        self.able[able as usize].members.insert(member.number());
        for (_, pool) in self.able[able as usize].pools.clone() {
            self.sit(pool, member);
        }
    }

    fn begin(&mut self, key: &AgentKey, capability: &Capability) -> u32 {
        let able = Able { capability: capability.clone(), members: BTreeSet::new(), pools: Vec::new() };
        let number = put(&mut self.able, &mut self.free_able, able);
        self.numbers.entry(key.workspace.clone()).or_default().insert(capability.clone(), number);
        number
    }

    fn sit(&mut self, pool: u32, member: &Member) {
        let Some(kept) = self.pools.get_mut(pool as usize).and_then(Option::as_mut) else { return };
        let open = member.is_eligible(Some(&self.able[kept.able as usize].capability));
        let seat = kept.pool.join(member.candidate(), open);
        let slot = member.number() as usize;
        if self.seats.len() <= slot {
            self.seats.resize_with(slot + 1, Vec::new);
        }
        let seats = &mut self.seats[slot];
        let at = seats.partition_point(|(known, _)| *known < pool);
        seats.insert(at, (pool, seat));
    }

    /// A member can no longer do this.
    pub(super) fn leave(&mut self, key: &AgentKey, capability: &Capability, slot: u32) {
        let Some(number) = self.number(&key.workspace, capability) else { return };
        self.able[number as usize].members.remove(&slot);
        for (_, pool) in self.able[number as usize].pools.clone() {
            if let (Some(seat), Some(kept)) = (self.unseat(slot, pool), &mut self.pools[pool as usize]) {
                kept.pool.leave(seat);
            }
        }
        if self.able[number as usize].members.is_empty() {
            self.end(key, capability, number);
        }
    }

    fn unseat(&mut self, slot: u32, pool: u32) -> Option<u32> {
        let seats = self.seats.get_mut(slot as usize)?;
        let at = seats.binary_search_by_key(&pool, |(known, _)| *known).ok()?;
        Some(seats.remove(at).1)
    }

    fn end(&mut self, key: &AgentKey, capability: &Capability, number: u32) {
        for (_, pool) in std::mem::take(&mut self.able[number as usize].pools) {
            self.pools[pool as usize] = None;
            self.free_pools.push(pool);
        }
        if let Some(known) = self.numbers.get_mut(&key.workspace) {
            known.remove(capability);
            if known.is_empty() {
                self.numbers.remove(&key.workspace);
            }
        }
        self.free_able.push(number);
    }

    /// Something about a member has changed.
    pub(super) fn refresh(&mut self, member: &Member) {
        let candidate = member.candidate();
        for (pool, seat) in self.seats.get(member.number() as usize).into_iter().flatten() {
            if let Some(kept) = &mut self.pools[*pool as usize] {
                let capability = &self.able[kept.able as usize].capability;
                kept.pool.update(*seat, &candidate, member.is_eligible(Some(capability)));
            }
        }
    }

    /// A member was started anew: what was known of its speed is over.
    pub(super) fn forget_speed(&mut self, slot: u32) {
        for (pool, seat) in self.seats.get(slot as usize).into_iter().flatten() {
            if let Some(kept) = &mut self.pools[*pool as usize] {
                kept.pool.forget_speed(*seat);
            }
        }
    }

    /// An attempt for this capability took so long. Returns whether that could be taken.
    pub(super) fn observe(&mut self, able: u32, slot: u32, took_us: f64, success: bool, now_ms: u64) -> bool {
        let seats = self.seats.get(slot as usize).map_or(&[][..], Vec::as_slice);
        let mut taken = false;
        for (_, pool) in &self.able[able as usize].pools {
            let seat = seats.binary_search_by_key(pool, |(known, _)| *known).map(|at| seats[at].1);
            if let (Ok(seat), Some(kept)) = (seat, &mut self.pools[*pool as usize]) {
                taken |= kept.pool.observe(seat, took_us, success, now_ms);
            }
        }
        taken
    }

    /// The pool of this capability and rule; made, if this is the first time, from all who can do it.
    pub(super) fn pool(
        &mut self,
        able: u32,
        rule: usize,
        rules: &[Arc<dyn Rule>],
        members: &[Member],
    ) -> Option<&mut Pool> {
        let known =
            self.able[able as usize].pools.iter().find(|(known, _)| *known == rule).map(|(_, pool)| *pool);
        let number = match known {
            Some(number) => number,
            None => {
                let pool = Pool::new(rules[rule].clone());
                let number = put(&mut self.pools, &mut self.free_pools, Some(Kept { able, pool }));
                self.able[able as usize].pools.push((rule, number));
                for slot in self.able[able as usize].members.clone() {
                    self.sit(number, &members[slot as usize]);
                }
                if let Some(kept) = &mut self.pools[number as usize] {
                    kept.pool.complete();
                }
                number
            }
        };
        self.pools[number as usize].as_mut().map(|kept| &mut kept.pool)
    }

    /// Gives up pools that nobody has asked for in a long time.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for number in 0..self.pools.len() as u32 {
            let idle = |kept: &Kept| now_ms.saturating_sub(kept.pool.asked_ms) >= IDLE_MS;
            if !self.pools[number as usize].as_ref().is_some_and(idle) {
                continue;
            }
            let Some(kept) = self.pools[number as usize].take() else { continue };
            for slot in &self.able[kept.able as usize].members.clone() {
                self.unseat(*slot, number);
            }
            self.able[kept.able as usize].pools.retain(|(_, pool)| *pool != number);
            self.free_pools.push(number);
        }
    }

    /// How many pools there are.
    pub(super) fn pools(&self) -> usize {
        self.pools.iter().flatten().count()
    }
}

/// Puts it where there is a gap, or at the end; says where.
fn put<T>(all: &mut Vec<T>, free: &mut Vec<u32>, one: T) -> u32 {
    match free.pop() {
        Some(number) => {
            all[number as usize] = one;
            number
        }
        None => {
            all.push(one);
            (all.len() - 1) as u32
        }
    }
}
