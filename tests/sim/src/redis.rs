//! Redis' stand-in: inboxes with the rule of `deliver.lua`, and the coordinators' leases. It may be wiped, or come back
//! as it was some time ago; then everything in here is as if it had never been.

use crate::bug::Bug;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Entries that an inbox may hold here, far below the real limit: what grows without bound is found early.
const INBOX_LIMIT: usize = 500;

/// A body in an inbox.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) attempt_id: Option<String>,
    pub(crate) value: synod_protocol::Json,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Accepted,
    AlreadyThere,
    Fenced,
    Full,
}

/// One agent's inbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) bodies: VecDeque<Body>,
    /// The newest epoch heard of each shard.
    guard: BTreeMap<u32, u64>,
    seen: BTreeSet<String>,
    /// The same, whatever rule the guard follows: for the check that nothing stale is accepted.
    heard: BTreeMap<u32, u64>,
}

/// All that Redis remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    inboxes: BTreeMap<usize, Inbox>,
    /// By coordinator: which process start of it, and until when.
    leases: BTreeMap<usize, (u32, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    memory: Memory,
    file: Memory,
    /// Not to be reached before this.
    pub(crate) down_until: u64,
}

impl Redis {
    /// Delivers as the script does. `Err` if the receiver accepted what it had to refuse.
    pub(crate) fn deliver(
        &mut self,
        agent: usize,
        shard: u32,
        epoch: u64,
        record: u64,
        body: Body,
        bug: Option<Bug>,
    ) -> Result<Delivered, String> {
        let inbox = self.memory.inboxes.entry(agent).or_default();
        let stale = inbox.heard.get(&shard).copied().filter(|newest| *newest > epoch);
        let newest_heard = inbox.heard.entry(shard).or_default();
        *newest_heard = epoch.max(*newest_heard);
        // The planted bug compares the record's offset, as a view rightly does.
        let mark = if bug == Some(Bug::InboxByRecord) { record } else { epoch };
        let newest = inbox.guard.entry(shard).or_default();
        *newest = mark.max(*newest);
        let newest = *newest;
        if body.attempt_id.as_ref().is_some_and(|id| inbox.seen.contains(id)) {
            return Ok(Delivered::AlreadyThere);
        }
        if mark < newest {
            return Ok(Delivered::Fenced);
        }
        if inbox.bodies.len() >= INBOX_LIMIT {
            return Ok(Delivered::Full);
        }
        if let Some(newest) = stale {
            return Err(format!(
                "the inbox of agent {agent} had heard epoch {newest} of shard {shard} and took an effect of epoch {epoch}"
            ));
        }
        inbox.seen.extend(body.attempt_id.clone());
        inbox.bodies.push_back(body);
        Ok(Delivered::Accepted)
    }

    /// Takes the first of an inbox.
    pub(crate) fn take(&mut self, agent: usize) -> Option<Body> {
        self.memory.inboxes.get_mut(&agent)?.bodies.pop_front()
    }

    /// Takes or renews a coordinator's lease; whether it was there already, and who else holds one.
    pub(crate) fn hold_lease(&mut self, node: usize, life: u32, now: u64, lease: u64) -> (bool, Vec<usize>) {
        self.memory.leases.retain(|_, (_, until)| *until > now);
        let renewed =
            self.memory.leases.insert(node, (life, now + lease)).is_some_and(|(was, _)| was == life);
        (renewed, self.memory.leases.keys().copied().collect())
    }

    /// Ends a lease.
    pub(crate) fn release_lease(&mut self, node: usize, life: u32) {
        if self.memory.leases.get(&node).is_some_and(|(whose, _)| *whose == life) {
            self.memory.leases.remove(&node);
        }
    }

    /// Everything is gone.
    pub(crate) fn wipe(&mut self) {
        self.memory = Memory::default();
    }

    /// Writes its file.
    pub(crate) fn save(&mut self) {
        self.file = self.memory.clone();
    }

    /// Comes back as it was when it last wrote its file.
    pub(crate) fn restore(&mut self) {
        self.memory = self.file.clone();
    }
}
