//! Redis' stand-in: inboxes with the rule of `deliver.lua`, and the coordinators' leases. It may be wiped, or come back
//! as it was some time ago; then everything in here is as if it had never been.

use crate::bug::Bug;
use crate::permits::Semaphores;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_protocol::{EntityId, Json, Workspace};

/// Entries that an inbox may hold here, far below the real limit: what grows without bound is found early.
const INBOX_LIMIT: usize = 500;

/// A body in an inbox.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) attempt_id: Option<String>,
    pub(crate) value: Json,
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
    /// By coordinator, and until when.
    leases: BTreeMap<usize, (Lease, u64)>,
    /// Views of what has ended, by kind, with the ledger offset that each stands for.
    views: BTreeMap<ViewKey, (u64, Json)>,
    /// Which life of the data this is.
    pub(crate) era: u64,
    /// Who holds permits.
    pub(crate) permits: Semaphores,
}

/// By which a view is found: of which kind it is, whose, and its id.
pub(crate) type ViewKey = (&'static str, Workspace, EntityId);

/// What a coordinator's lease says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    pub(crate) life: u32,
    pub(crate) takes: bool,
    pub(crate) held: BTreeSet<u32>,
    pub(crate) serving: BTreeSet<u32>,
    pub(crate) beat: u64,
    pub(crate) lasts: u64,
}

/// The leases as read in one go.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    pub(crate) rows: Vec<(usize, Lease)>,
    pub(crate) run: u64,
    pub(crate) era: u64,
    pub(crate) age: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    pub(crate) memory: Memory,
    file: Memory,
    /// Not to be reached before this.
    pub(crate) down_until: u64,
    /// Which start of the server this is.
    pub(crate) run: u64,
    era_began: u64,
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

    /// Takes or renews a coordinator's lease, if no other process of its name holds it; whether it was there already.
    pub(crate) fn hold_lease(&mut self, node: usize, lease: &Lease, now: u64) -> Option<bool> {
        self.memory.leases.retain(|_, (_, until)| *until > now);
        let beat = match self.memory.leases.get(&node) {
            Some((held, _)) if held.life != lease.life => return None,
            Some((held, _)) => Some(held.beat),
            None => None,
        };
        let until = now + lease.lasts;
        let renewed = Lease { beat: beat.unwrap_or(0) + 1, ..lease.clone() };
        self.memory.leases.insert(node, (renewed, until));
        Some(beat.is_some())
    }

    /// The leases that stand, and which life of Redis, of its data and of the connections to it this is.
    pub(crate) fn leases(&self, now: u64) -> Leases {
        let standing = self.memory.leases.iter().filter(|(_, (_, until))| *until > now);
        Leases {
            rows: standing.map(|(node, (lease, _))| (*node, lease.clone())).collect(),
            run: self.run,
            era: self.memory.era,
            age: now.saturating_sub(self.era_began),
        }
    }

    /// Ends a lease.
    pub(crate) fn release_lease(&mut self, node: usize, life: u32) {
        if self.memory.leases.get(&node).is_some_and(|(lease, _)| lease.life == life) {
            self.memory.leases.remove(&node);
        }
    }

    /// Everything is gone.
    pub(crate) fn wipe(&mut self, now: u64) {
        self.memory = Memory { era: self.memory.era + 1, ..Memory::default() };
        self.era_began = now;
    }

    /// Writes its file.
    pub(crate) fn save(&mut self) {
        self.file = self.memory.clone();
    }

    /// Starts anew, with what it last wrote to its file.
    pub(crate) fn restore(&mut self) {
        self.memory = self.file.clone();
        self.run += 1;
    }

    /// Keeps the view of a task, unless a later record's is there.
    pub(crate) fn put_view(&mut self, key: &ViewKey, offset: u64, value: &Json) {
        let known = self.memory.views.get(key).map(|(at, _)| *at);
        if known.is_none_or(|at| at <= offset) {
            self.memory.views.insert(key.clone(), (offset, value.clone()));
        }
    }

    /// The view of one thing.
    pub(crate) fn view(&self, key: &ViewKey) -> Option<Json> {
        self.memory.views.get(key).map(|(_, value)| value.clone())
    }
}
