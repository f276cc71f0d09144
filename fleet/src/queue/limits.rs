//! Permits: how many of a kind may run at a time, and which lines sleep until one comes back.

use super::line::Due;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use synod_protocol::{Capability, Workspace};

/// What a task takes while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permit {
    /// One of a workspace's quota.
    Workspace(Workspace),
    /// One of those for a capability.
    Capability(Workspace, Capability),
    /// One of those with the same concurrency key.
    Key(Workspace, String),
}

/// Its name wherever it is written down: `workspace/<ws>`, `capability/<ws>/<capability>`, `key/<ws>/<key>`.
impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Permit::Workspace(workspace) => write!(f, "workspace/{workspace}"),
            Permit::Capability(workspace, capability) => write!(f, "capability/{workspace}/{capability}"),
            Permit::Key(workspace, key) => write!(f, "key/{workspace}/{key}"),
        }
    }
}

/// What names no permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no permit")]
pub struct NoPermit(String);

impl FromStr for Permit {
    type Err = NoPermit;

    fn from_str(name: &str) -> Result<Permit, NoPermit> {
        let parts: Vec<&str> = name.splitn(3, '/').collect();
        let read = match parts[..] {
            ["workspace", workspace] => workspace.parse().ok().map(Permit::Workspace),
            ["capability", workspace, capability] => workspace
                .parse()
                .ok()
                .and_then(|workspace| Some(Permit::Capability(workspace, capability.parse().ok()?))),
            ["key", workspace, key] => {
                workspace.parse().ok().map(|workspace| Permit::Key(workspace, key.to_owned()))
            }
            _ => None,
        };
        read.ok_or_else(|| NoPermit(name.to_owned()))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Limits {
    per_key: u32,
    numbers: BTreeMap<Permit, u32>,
    all: Vec<Limit>,
    free: Vec<u32>,
    /// A line may sleep for want of what is out elsewhere, as far as was heard.
    hearsay: bool,
}

#[derive(Clone, Debug)]
struct Limit {
    permit: Permit,
    /// How many there are, where that was set.
    most: Option<u32>,
    in_use: u32,
    /// How many are out elsewhere, as was last heard.
    elsewhere: u32,
    /// Lines on their feet that want one.
    ready: u64,
    /// Lines that sleep, the one with the most urgent first in front.
    asleep: BTreeSet<(Due, u32)>,
    /// Lines and running tasks that take one; it is forgotten with the last of them, unless its number was set.
    users: u64,
}

impl Limits {
    pub(super) fn new(per_key: u32) -> Limits {
        Limits { per_key, numbers: BTreeMap::new(), all: Vec::new(), free: Vec::new(), hearsay: false }
    }

    /// Their numbers, each once and in order, for one more user of each.
    pub(super) fn numbers(&mut self, permits: Vec<Permit>) -> Vec<u32> {
        let each: BTreeSet<Permit> = permits.into_iter().collect();
        let mut numbers: Vec<u32> = each.into_iter().map(|permit| self.number(permit)).collect();
        numbers.sort_unstable();
        for number in &numbers {
            self.all[*number as usize].users += 1;
        }
        numbers
    }

    /// Their numbers, each once and in order; `None`: there is none of some.
    pub(super) fn known(&self, permits: &[Permit]) -> Option<Vec<u32>> {
        let each: Option<BTreeSet<u32>> =
            permits.iter().map(|permit| self.numbers.get(permit).copied()).collect();
        Some(each?.into_iter().collect())
    }

    fn number(&mut self, permit: Permit) -> u32 {
        if let Some(number) = self.numbers.get(&permit) {
            return *number;
        }
        let limit = Limit {
            permit: permit.clone(),
            most: None,
            in_use: 0,
            elsewhere: 0,
            ready: 0,
            asleep: BTreeSet::new(),
            users: 0,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = limit;
                number
            }
            None => {
                self.all.push(limit);
                (self.all.len() - 1) as u32
            }
        };
        self.numbers.insert(permit, number);
        number
    }

    /// One user of each less.
    pub(super) fn let_go(&mut self, permits: &[u32]) {
        for number in permits {
            let limit = &mut self.all[*number as usize];
            limit.users -= 1;
            if limit.users == 0 && limit.most.is_none() {
                self.numbers.remove(&limit.permit);
                self.free.push(*number);
            }
        }
    }

    /// Sets how many there are, for one more user.
    pub(super) fn set(&mut self, permit: &Permit, most: Option<u32>) -> u32 {
        let number = self.number(permit.clone());
        let limit = &mut self.all[number as usize];
        limit.most = most;
        limit.users += 1;
        number
    }

    pub(super) fn take(&mut self, permits: &[u32]) {
        for number in permits {
            let limit = &mut self.all[*number as usize];
            limit.in_use += 1;
            limit.users += 1;
        }
    }

    /// Takes back a [`Limits::take`] of one who has not begun.
    pub(super) fn untake(&mut self, permits: &[u32]) {
        self.give_back(permits);
        self.let_go(permits);
    }

    pub(super) fn give_back(&mut self, permits: &[u32]) {
        for number in permits {
            self.all[*number as usize].in_use -= 1;
        }
    }

    pub(super) fn permit(&self, number: u32) -> &Permit {
        &self.all[number as usize].permit
    }

    pub(super) fn in_use(&self, permit: &Permit) -> u32 {
        self.numbers.get(permit).map_or(0, |number| self.all[*number as usize].in_use)
    }

    /// How many may still be taken.
    fn left(&self, number: u32) -> u64 {
        let limit = &self.all[number as usize];
        let most = match (&limit.permit, limit.most) {
            (_, Some(most)) => u64::from(most),
            (Permit::Key(..), None) => u64::from(self.per_key),
            (_, None) => u64::MAX,
        };
        most.saturating_sub(u64::from(limit.in_use) + u64::from(limit.elsewhere))
    }

    /// So many are out in all, as was heard elsewhere. Returns its number, if anyone here wants one.
    pub(super) fn heard(&mut self, permit: &Permit, out: u32) -> Option<u32> {
        let number = *self.numbers.get(permit)?;
        let limit = &mut self.all[number as usize];
        limit.elsewhere = out.saturating_sub(limit.in_use);
        self.hearsay |= limit.elsewhere > 0 && !limit.asleep.is_empty();
        Some(number)
    }

    /// Those for which lines sleep although not all are out here, after this one and around.
    pub(super) fn out_elsewhere(&mut self, after: u32, most: usize) -> Vec<u32> {
        let all = self.all.len() as u32;
        let around = (after.saturating_add(1).min(all)..all).chain(0..after.saturating_add(1).min(all));
        let waits = |number: &u32| {
            let limit = &self.all[*number as usize];
            !limit.asleep.is_empty() && limit.elsewhere > 0
        };
        let out: Vec<u32> = around.filter(waits).take(most).collect();
        self.hearsay = !out.is_empty();
        out
    }

    /// Whether a line may sleep for want of what is out elsewhere.
    pub(super) fn hearsay(&self) -> bool {
        self.hearsay
    }

    /// What was heard of it is old: one may be free.
    pub(super) fn one_may_be_free(&mut self, number: u32) {
        let limit = &mut self.all[number as usize];
        limit.elsewhere = limit.elsewhere.saturating_sub(1);
    }

    /// The first of these of which none is left.
    pub(super) fn first_out(&self, permits: &[u32]) -> Option<u32> {
        permits.iter().copied().find(|number| self.left(*number) == 0)
    }

    pub(super) fn ready(&mut self, permits: &[u32], change: i64) {
        for number in permits {
            let limit = &mut self.all[*number as usize];
            limit.ready = limit.ready.saturating_add_signed(change);
        }
    }

    pub(super) fn down(&mut self, number: u32, due: Due, line: u32) {
        let limit = &mut self.all[number as usize];
        limit.asleep.insert((due, line));
        self.hearsay |= limit.elsewhere > 0;
    }

    pub(super) fn up(&mut self, number: u32, due: Due, line: u32) {
        self.all[number as usize].asleep.remove(&(due, line));
    }

    /// A line that may be woken: as long as more are left than lines on their feet want.
    pub(super) fn to_wake(&self, number: u32) -> Option<u32> {
        let limit = &self.all[number as usize];
        let (_, line) = limit.asleep.first().filter(|_| limit.ready < self.left(number))?;
        Some(*line)
    }
}
