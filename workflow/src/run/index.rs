//! What follows from the doings of a run, kept beside them: what may start, what is over and still to be said, what is due, and
//! counts.
//!
//! [`Run::apply`](super::Run::apply) keeps it up to date event by event; [`Run::rebuild`](super::Run) makes it anew, where a
//! run is read from an image or much of it begins again. Both give the same.

use super::doing::Doing;
use super::{APPROVALS, CONCURRENCY, Key, Run};
use crate::definition::{Kind, MapOver, Parallel};
use crate::workflow::Role;
use rpds::RedBlackTreeSetSync;
use std::fmt;
use synod_protocol::Timestamp;
use synod_protocol::workflow::{ExecutionStatus, StepStatus};

/// What room a step needs to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// None: a block, a wait, or what is only cancelled.
    Free,
    /// Of the run's concurrency.
    Work,
    /// Of the approvals that may be pending.
    People,
}

/// What follows from the doings.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Index {
    /// What could start but for room, a pause, or because one input starts only so much; by the room that it needs.
    ready: [RedBlackTreeSetSync<Key>; 3],
    /// Blocks, waits and steps with fallbacks whose end has come and is to be said.
    over: RedBlackTreeSetSync<Key>,
    timers: RedBlackTreeSetSync<(Timestamp, Key)>,
    /// Steps at the top that are over.
    top_good: u32,
    top_bad: u32,
    /// Under way, by the room that they take.
    taken: [u32; 3],
    /// Doings by status.
    pub(super) counts: [u32; 8],
    /// Bytes of results.
    pub(super) held: usize,
    /// Bytes in memory.
    pub(super) weight: usize,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = |set: &RedBlackTreeSetSync<Key>| set.iter().cloned().collect::<Vec<_>>();
        f.debug_struct("Index")
            .field("ready", &self.ready.each_ref().map(keys))
            .field("over", &keys(&self.over))
            .field("timers", &self.timers.iter().collect::<Vec<_>>())
            .field("top", &(self.top_good, self.top_bad))
            .field("taken", &self.taken)
            .field("counts", &self.counts)
            .field("bytes", &(self.held, self.weight))
            .finish()
    }
}

/// How a block or a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Reached,
    Lost,
}

/// What one doing adds to the index.
#[derive(Clone, Copy, Default)]
struct Share {
    status: Option<StepStatus>,
    room: Option<Room>,
    counts: bool,
    good: bool,
    held: usize,
    weight: usize,
    timers: [Option<Timestamp>; 2],
}

impl Run {
    /// Changes, adds or removes a doing; what it adds to the index follows.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Doing)) {
        let Some(before) = self.doings.get(key).map(|doing| self.share_of(key, doing)) else { return };
        if let Some(doing) = self.doings.get_mut(key) {
            change(doing);
        }
        let after = self.doings.get(key).map(|doing| self.share_of(key, doing)).unwrap_or_default();
        self.tally(key, before, after);
    }

    /// As [`Run::change`], where it has not begun.
    pub(super) fn add(&mut self, key: &Key, doing: Doing) {
        let share = self.share_of(key, &doing);
        self.doings.insert_mut(key.clone(), doing);
        self.unready(key);
        self.tally(key, Share::default(), share);
    }

    fn share_of(&self, key: &Key, doing: &Doing) -> Share {
        let is_work = matches!(doing.status, StepStatus::Running | StepStatus::Consulting);
        let room = Some(self.room(key.step)).filter(|_| is_work);
        let counts = doing.left.is_none() && self.workflow.role(key.step) != Role::Fallback;
        Share {
            status: Some(doing.status),
            room,
            counts,
            good: counts && self.is_good(key.step, doing),
            held: doing.held(),
            weight: doing.weight(),
            timers: [doing.wake_at, doing.due_at],
        }
    }

    fn tally(&mut self, key: &Key, before: Share, after: Share) {
        let index = &mut self.index;
        index.held = index.held + after.held - before.held;
        index.weight = index.weight + after.weight - before.weight;
        if let Some(status) = before.status {
            index.counts[status as usize] -= 1;
        }
        if let Some(status) = after.status {
            index.counts[status as usize] += 1;
        }
        if let Some(room) = before.room {
            index.taken[room as usize] -= 1;
        }
        if let Some(room) = after.room {
            index.taken[room as usize] += 1;
        }
        if before.timers != after.timers {
            for at in before.timers.into_iter().flatten() {
                index.timers.remove_mut(&(at, key.clone()));
            }
            for at in after.timers.into_iter().flatten() {
                index.timers.insert_mut((at, key.clone()));
            }
        }
        let sums = |share: Share| {
            let is_final = share.status.is_some_and(StepStatus::is_final);
            let is_there = share.counts && share.status.is_some();
            (
                u32::from(is_there && !is_final),
                u32::from(is_there && is_final && share.good),
                u32::from(is_there && is_final && !share.good),
            )
        };
        let (before, after) = (sums(before), sums(after));
        if before == after {
            return;
        }
        match self.parent(key) {
            None => {
                self.index.top_good = self.index.top_good + after.1 - before.1;
                self.index.top_bad = self.index.top_bad + after.2 - before.2;
            }
            Some(parent) => {
                // Counts are no part of what a doing adds to the index.
                if let Some(parent) = self.doings.get_mut(&parent) {
                    parent.open = parent.open + after.0 - before.0;
                    parent.good = parent.good + after.1 - before.1;
                    parent.bad = parent.bad + after.2 - before.2;
                }
            }
        }
    }

    /// All of it, from the doings.
    pub(super) fn rebuild(&mut self) {
        self.index = Index::default();
        let keys: Vec<Key> = self.doings.keys().cloned().collect();
        for key in &keys {
            if let Some(doing) =
                self.doings.get_mut(key).filter(|doing| doing.open + doing.good + doing.bad > 0)
            {
                (doing.open, doing.good, doing.bad) = (0, 0, 0);
            }
        }
        for key in &keys {
            let Some(share) = self.doings.get(key).map(|doing| self.share_of(key, doing)) else { continue };
            self.tally(key, Share::default(), share);
        }
        self.index.weight += self.past.values().map(super::doing::Past::weight).sum::<usize>();
        self.index.held += self.past.values().map(|past| past.anew.held()).sum::<usize>();
        if self.status.is_final() {
            return;
        }
        for step in self.workflow.clone().members(None) {
            self.look_ready(&Key { step, items: Vec::new() });
        }
        for key in &keys {
            self.look_inside(key);
        }
    }

    /// Whether something within a doing may start, and whether the doing is over.
    pub(super) fn look_inside(&mut self, key: &Key) {
        let Some((status, wake_at)) = self.doings.get(key).map(|doing| (doing.status, doing.wake_at)) else {
            return;
        };
        match status {
            StepStatus::Running => {
                let members = self.offered(key);
                members.iter().for_each(|member| self.look_ready(member));
            }
            StepStatus::FallingBack => {
                if let Some(fallback) = self.workflow.fallback(key.step) {
                    self.look_ready(&self.key_for(fallback, &key.items));
                }
            }
            StepStatus::Retrying if wake_at.is_none() => self.index_ready(key),
            _ => {}
        }
        self.look_over(key);
    }

    /// Puts a step with the ready ones if it may start.
    pub(super) fn look_ready(&mut self, key: &Key) {
        if self.may_start(key) {
            self.index_ready(key);
        }
    }

    pub(super) fn index_ready(&mut self, key: &Key) {
        let room = if self.bad_dependency(key).is_some() { Room::Free } else { self.room(key.step) };
        self.index.ready[room as usize].insert_mut(key.clone());
    }

    pub(super) fn unready(&mut self, key: &Key) {
        for ready in &mut self.index.ready {
            if ready.contains(key) {
                ready.remove_mut(key);
            }
        }
    }

    /// Nothing within a doing may start or is to be said any more.
    pub(super) fn unready_inside(&mut self, key: &Key) {
        let within = |other: &Key, step: usize| other.step == step && other.items.starts_with(&key.items);
        for step in self.workflow.within(key.step).skip(1) {
            let first = Key { step, items: key.items.clone() };
            for set in self.index.ready.iter_mut().chain([&mut self.index.over]) {
                let inside = set.range(first.clone()..).take_while(|other| within(other, step));
                let inside: Vec<Key> = inside.cloned().collect();
                for key in inside {
                    set.remove_mut(&key);
                }
            }
        }
    }

    /// Nothing starts and nothing is to be said any more: the run is over.
    pub(super) fn unready_all(&mut self) {
        self.index.ready = Default::default();
        self.index.over = RedBlackTreeSetSync::new_sync();
    }

    /// Its end has been said, or has not come after all.
    pub(super) fn not_over(&mut self, key: &Key) {
        self.index.over.remove_mut(key);
    }

    /// Looks whether the end of a doing has come.
    pub(super) fn look_over(&mut self, key: &Key) {
        let Some(doing) = self.doings.get(key) else { return };
        let is_over = match doing.status {
            StepStatus::Running => doing.signalled || self.block_end(key, doing).is_some(),
            StepStatus::FallingBack => {
                let fallback = self.workflow.fallback(key.step).map(|step| self.key_for(step, &key.items));
                fallback.is_some_and(|fallback| self.is_settled(&fallback))
            }
            _ => false,
        };
        if is_over {
            self.index.over.insert_mut(key.clone());
        }
    }

    /// Looks at every step that waits for this one.
    pub(super) fn look_after(&mut self, key: &Key) {
        let workflow = self.workflow.clone();
        for step in workflow.started_by(key.step) {
            if workflow.maps_around(*step) <= key.items.len() {
                self.look_ready(&self.key_for(*step, &key.items));
                continue;
            }
            // It stands in a map that this does not: each of its doings may go on.
            let Some(above) = workflow.place(*step).and_then(|place| place.parent) else { continue };
            let open =
                self.doings_of(above, &key.items).filter(|(_, doing)| doing.status == StepStatus::Running);
            let blocks: Vec<Key> = open.map(|(block, _)| block.clone()).collect();
            for block in blocks {
                let members = self.offered(&block);
                members
                    .iter()
                    .filter(|member| member.step == *step)
                    .for_each(|member| self.look_ready(member));
            }
        }
    }

    /// Whether a step has not begun, what is around it is open, and what it waits for is over.
    fn may_start(&self, key: &Key) -> bool {
        if self.doings.contains_key(key) {
            return false;
        }
        let role = self.workflow.role(key.step);
        if let Some(parent) = self.parent(key) {
            let Some(doing) = self.doings.get(&parent) else { return false };
            let wanted = if role == Role::Fallback { StepStatus::FallingBack } else { StepStatus::Running };
            let offered = role != Role::Body
                || key.items.last().is_some_and(|item| *item < self.items_offered(&parent, doing));
            if doing.status != wanted || !offered {
                return false;
            }
        }
        role == Role::Fallback
            || self.workflow.gate(key.step).all(|before| self.is_settled(&self.key_for(before, &key.items)))
    }

    /// What it needed and is not completed.
    pub(super) fn bad_dependency(&self, key: &Key) -> Option<Key> {
        if self.workflow.role(key.step) == Role::Fallback {
            return None;
        }
        let mut before = self.workflow.gate(key.step).map(|before| self.key_for(before, &key.items));
        before.find(|before| self.doings.get(before).is_some_and(|doing| !self.is_good(before.step, doing)))
    }

    pub(super) fn is_settled(&self, key: &Key) -> bool {
        self.doings.get(key).is_some_and(|doing| doing.status.is_final())
    }

    /// The room that a step takes while it is under way.
    pub(super) fn room(&self, step: usize) -> Room {
        match self.workflow.step(step).map(|step| &step.kind) {
            Some(Kind::Task(_) | Kind::Agent(_) | Kind::Negotiation(_)) => Room::Work,
            Some(Kind::Approval(_)) => Room::People,
            _ => Room::Free,
        }
    }

    /// How many steps of a block may be under way at once.
    pub(super) fn width(&self, key: &Key) -> u32 {
        match self.workflow.step(key.step).map(|step| &step.kind) {
            Some(Kind::Parallel(Parallel { concurrency, .. })) => concurrency.unwrap_or(u32::MAX),
            Some(Kind::Map(MapOver { concurrency, .. })) => concurrency.unwrap_or(16),
            _ => u32::MAX,
        }
    }

    /// Of a map: how many of its items may have begun by now. They begin in their order.
    fn items_offered(&self, key: &Key, doing: &Doing) -> u32 {
        let all = doing.items.as_ref().map_or(0, |items| items.all.len());
        let ended = doing.good + doing.bad;
        u32::try_from(all).unwrap_or(u32::MAX).min(ended.saturating_add(self.width(key)))
    }

    /// The steps of a block that may have begun by now, of a map all that are offered.
    fn offered(&self, key: &Key) -> Vec<Key> {
        let Some(doing) = self.doings.get(key) else { return Vec::new() };
        match &doing.items {
            None => self.members(key),
            Some(_) => self.bodies(key, 0..self.items_offered(key, doing)),
        }
    }

    /// One item of a map is over: others may begin.
    pub(super) fn offer_next(&mut self, map: &Key) {
        let Some(doing) = self.doings.get(map).filter(|doing| doing.items.is_some()) else { return };
        let next = self.items_offered(map, doing);
        // Each that ends makes room for one; where several have ended since, those before were offered then.
        self.bodies(map, next.saturating_sub(1)..next).iter().for_each(|body| self.look_ready(body));
    }

    /// The bodies of a map for some of its items.
    pub(super) fn bodies(&self, map: &Key, items: std::ops::Range<u32>) -> Vec<Key> {
        let Some(body) = self.workflow.members(Some(map.step)).next() else { return Vec::new() };
        let key = |item| Key { step: body, items: map.items.iter().copied().chain([item]).collect() };
        items.map(key).collect()
    }

    /// How the run is over, if it is.
    pub(super) fn top_end(&self) -> Option<End> {
        if self.index.top_bad > 0 {
            return Some(End::Lost);
        }
        let all = self.workflow.members(None).count();
        (self.index.top_good as usize == all).then_some(End::Reached)
    }

    /// The next whose end is to be said.
    pub(super) fn next_over(&self) -> Option<&Key> {
        self.index.over.first()
    }

    pub(super) fn is_to_be_said(&self, key: &Key) -> bool {
        self.index.over.contains(key)
    }

    /// The next that may start and has room, in the order of the document; none in a run that does not go on.
    pub(super) fn next_ready(&self) -> Option<&Key> {
        if self.status != ExecutionStatus::Running {
            return None;
        }
        let rooms = [Room::Free, Room::Work, Room::People].into_iter().filter(|room| self.is_room(*room));
        rooms
            .filter_map(|room| self.index.ready[room as usize].iter().find(|key| self.is_room_around(key)))
            .min()
    }

    /// Whether what is ready could start now.
    pub(super) fn has_room(&self, key: &Key) -> bool {
        self.status == ExecutionStatus::Running
            && self.is_room(self.room(key.step))
            && self.is_room_around(key)
    }

    fn is_room(&self, room: Room) -> bool {
        let most = match room {
            Room::Free => return true,
            Room::Work => self.workflow.definition().concurrency.unwrap_or(CONCURRENCY),
            Room::People => APPROVALS,
        };
        self.index.taken[room as usize] < most
    }

    /// Whether the block around has room; what was begun before keeps its own.
    fn is_room_around(&self, key: &Key) -> bool {
        let Some(parent) = self.parent(key).filter(|_| !self.doings.contains_key(key)) else { return true };
        self.doings.get(&parent).is_some_and(|doing| doing.open < self.width(&parent))
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.index.timers.first().map(|(at, _)| *at)
    }

    /// What is due by now, the first so many.
    pub(super) fn due(&self, now: Timestamp, most: usize) -> Vec<Key> {
        let due = self.index.timers.iter().take_while(|(at, _)| *at <= now);
        due.take(most).map(|(_, key)| key.clone()).collect()
    }
}
