//! What stays in memory, and since when the ledger has it whole.
//!
//! Each thing has a **base**: the offset of its newest image, or of its birth. A fold that begins at or before every
//! base finds everything; so the floor follows from the bases, and the thing with the oldest is imaged next.
//! Ended tasks and old commands leave memory by rules of the state alone, so that every fold forgets the same.

use crate::agent::AgentState;
use crate::negotiations::NegotiationKey;
use crate::record::{AgentImage, EntityImage, Imaged, NegotiationImage, TaskImage};
use crate::seen::{Forgotten, Window};
use crate::shelf::gone;
use crate::state::{ShardImage, State, TaskKey};
use crate::subject::EntityKey;
use crate::task::TaskState;
use crate::workflows::WorkflowState;
use std::collections::BTreeMap;
use synod_fleet::AgentKey;
use synod_negotiation::Negotiation;
use synod_protocol::Timestamp;
use synod_workflow::approval::Approval;
use synod_workflow::run::Run;

/// A thing that is imaged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The shard's own: position and counts.
    Shard,
    /// A block of the commands had.
    Seen(u64),
    /// An agent.
    Agent(AgentKey),
    /// A task.
    Task(TaskKey),
    /// A negotiation.
    Negotiation(NegotiationKey),
    /// A workflow.
    Workflow(EntityKey),
    /// An execution.
    Execution(EntityKey),
    /// An approval.
    Approval(EntityKey),
}

/// An entity in memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept<T> {
    /// The place of the step by which it came.
    pub(crate) arrival: u64,
    /// Its base.
    pub(crate) base: u64,
    /// All of it.
    pub(crate) state: T,
}

/// A thing's base has moved: from nowhere at a birth, to nowhere when it has left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The base before.
    pub from: Option<u64>,
    /// The base after.
    pub to: Option<u64>,
}

/// What stays in memory. Owners that differ in it agree on everything else.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// How long an ended task or negotiation stays at most, in milliseconds.
    pub ended_ms: u64,
    /// How long an ended execution or approval stays at most, in milliseconds: a person may come back to it, to retry a step or
    /// to ask once more, and finds it in lists.
    pub runs_ms: u64,
    /// What the ended ones of a kind may weigh together, in bytes; the oldest make room.
    pub ended_bytes: usize,
    /// Which commands are remembered.
    pub window: Window,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { ended_ms: 600_000, runs_ms: 86_400_000, ended_bytes: 1 << 20, window: Window::default() }
    }
}

impl State {
    /// A shard begins with its first claim.
    pub(crate) fn born(&mut self, offset: u64) -> Moved {
        self.shard_base = offset;
        self.by_base.insert((offset, Thing::Shard));
        Moved { from: None, to: Some(offset) }
    }

    pub(crate) fn put_task(&mut self, arrival: u64, base: u64, key: TaskKey, state: TaskState) -> Moved {
        let from = self.remove_task(&key);
        let kept = Kept { arrival, base, state };
        self.index(&key, &kept);
        self.by_base.insert((base, Thing::Task(key.clone())));
        self.tasks.insert(key, kept);
        Moved { from, to: Some(base) }
    }

    pub(crate) fn put_agent(&mut self, arrival: u64, base: u64, key: AgentKey, state: AgentState) -> Moved {
        let timer = state.timer();
        let before = self.agents.insert(key.clone(), Kept { arrival, base, state });
        self.move_agent_timer(&key, before.as_ref().and_then(|kept| kept.state.timer()), timer);
        let from = before.map(|kept| kept.base);
        self.rebase(Thing::Agent(key), from, base)
    }

    pub(crate) fn put_negotiation(&mut self, key: NegotiationKey, kept: Kept<Negotiation>) -> Moved {
        let base = kept.base;
        let from = self.negotiations.insert(key.clone(), kept);
        self.rebase(Thing::Negotiation(key), from, base)
    }

    pub(crate) fn put_workflow(&mut self, key: EntityKey, kept: Kept<WorkflowState>) -> Moved {
        let base = kept.base;
        let from = self.workflows.insert(key.clone(), kept);
        self.rebase(Thing::Workflow(key), from, base)
    }

    /// Executions of one definition hold it together.
    pub(crate) fn put_execution(&mut self, key: EntityKey, mut kept: Kept<Run>) -> Moved {
        let base = kept.base;
        if let Some(before) = self.executions.get(&key) {
            let hash = before.workflow().hash().to_owned();
            self.definitions.leave(&hash);
        }
        let shared = self.definitions.join(kept.state.workflow().clone());
        kept.state.share(&shared);
        let from = self.executions.insert(key.clone(), kept);
        self.rebase(Thing::Execution(key), from, base)
    }

    pub(crate) fn put_approval(&mut self, key: EntityKey, kept: Kept<Approval>) -> Moved {
        let base = kept.base;
        let from = self.approvals.insert(key.clone(), kept);
        self.rebase(Thing::Approval(key), from, base)
    }

    pub(crate) fn block_born(&mut self, offset: u64, block: u64) -> Moved {
        self.rebase(Thing::Seen(block), None, offset)
    }

    fn rebase(&mut self, thing: Thing, from: Option<u64>, to: u64) -> Moved {
        if let Some(from) = from {
            self.by_base.remove(&(from, thing.clone()));
        }
        self.by_base.insert((to, thing));
        Moved { from, to: Some(to) }
    }

    fn remove_task(&mut self, key: &TaskKey) -> Option<u64> {
        let kept = self.tasks.remove(key)?;
        self.unindex(key, &kept);
        self.by_base.remove(&(kept.base, Thing::Task(key.clone())));
        Some(kept.base)
    }

    /// Forgets an agent; the base that it had.
    pub(crate) fn remove_agent(&mut self, key: &AgentKey) -> Option<u64> {
        let kept = self.agents.remove(key)?;
        self.move_agent_timer(key, kept.state.timer(), None);
        self.by_base.remove(&(kept.base, Thing::Agent(key.clone())));
        Some(kept.base)
    }

    /// A thing as it is to stand in an image.
    pub(crate) fn image(&self, thing: &Thing) -> Option<Imaged> {
        Some(match thing {
            Thing::Shard => {
                let now = Some(self.now).filter(|now| *now != Timestamp::default());
                Imaged::Shard(ShardImage { now, ..self.shard.clone() })
            }
            Thing::Seen(block) => Imaged::Seen(self.seen.image(*block)?),
            Thing::Task(key) => {
                let kept = self.tasks.get(key)?;
                let (workspace, id) = (key.workspace.clone(), key.task.clone());
                Imaged::Task(TaskImage { workspace, id, arrival: kept.arrival, state: kept.state.clone() })
            }
            Thing::Agent(key) => {
                let kept = self.agents.get(key)?;
                let (workspace, id) = (key.workspace.clone(), key.agent.clone());
                Imaged::Agent(AgentImage { workspace, id, arrival: kept.arrival, state: kept.state.clone() })
            }
            Thing::Negotiation(key) => {
                let Kept { arrival, state, .. } = self.negotiations.kept(key)?.clone();
                let (workspace, id) = (key.workspace.clone(), key.negotiation.clone());
                Imaged::Negotiation(Box::new(NegotiationImage { workspace, id, arrival, state }))
            }
            Thing::Workflow(key) => Imaged::Workflow(imaged(key, self.workflows.kept(key)?)),
            Thing::Execution(key) => Imaged::Execution(imaged(key, self.executions.kept(key)?)),
            Thing::Approval(key) => Imaged::Approval(imaged(key, self.approvals.kept(key)?)),
        })
    }

    /// The state after an image that counts at `offset`.
    ///
    /// # Errors
    /// A sentence, where its content cannot be.
    pub(crate) fn restore(&mut self, offset: u64, image: &Imaged) -> Result<Vec<Moved>, String> {
        let mut moved = Vec::new();
        let last = match image {
            Imaged::Shard(shard) => {
                moved.extend(self.let_go_of_dropped());
                self.now = self.now.max(shard.now.unwrap_or_default());
                self.shard = ShardImage { now: None, ..shard.clone() };
                let known = self.by_base.remove(&(self.shard_base, Thing::Shard));
                let from = known.then_some(self.shard_base);
                self.shard_base = offset;
                self.rebase(Thing::Shard, from, offset)
            }
            Imaged::Seen(seen) => {
                let from = self.seen.restore(offset, seen)?;
                self.rebase(Thing::Seen(seen.block), from, offset)
            }
            Imaged::Task(task) => {
                let key = TaskKey { workspace: task.workspace.clone(), task: task.id.clone() };
                self.put_task(task.arrival, offset, key, task.state.clone())
            }
            Imaged::Agent(agent) => {
                let key = AgentKey { workspace: agent.workspace.clone(), agent: agent.id.clone() };
                self.put_agent(agent.arrival, offset, key, agent.state.clone())
            }
            Imaged::Negotiation(it) => {
                let key = NegotiationKey { workspace: it.workspace.clone(), negotiation: it.id.clone() };
                let kept = Kept { arrival: it.arrival, base: offset, state: it.state.clone() };
                self.put_negotiation(key, kept)
            }
            Imaged::Workflow(it) => {
                let (key, kept) = restored(it, offset);
                self.put_workflow(key, kept)
            }
            Imaged::Execution(it) => {
                let (key, kept) = restored(it, offset);
                self.put_execution(key, kept)
            }
            Imaged::Approval(it) => {
                let (key, kept) = restored(it, offset);
                self.put_approval(key, kept)
            }
        };
        moved.push(last);
        Ok(moved)
    }

    /// Notes that the owner's own image of a thing will stand at `offset`.
    pub(crate) fn imaged(&mut self, thing: &Thing, offset: u64) -> Vec<Moved> {
        let mut moved = Vec::new();
        let from = match thing {
            Thing::Shard => {
                moved.extend(self.let_go_of_dropped());
                Some(std::mem::replace(&mut self.shard_base, offset))
            }
            Thing::Seen(block) => self.seen.rebase(*block, offset),
            Thing::Task(key) => self.tasks.get_mut(key).map(|k| std::mem::replace(&mut k.base, offset)),
            Thing::Agent(key) => self.agents.get_mut(key).map(|k| std::mem::replace(&mut k.base, offset)),
            Thing::Negotiation(key) => self.negotiations.rebase(key, offset),
            Thing::Workflow(key) => self.workflows.rebase(key, offset),
            Thing::Execution(key) => self.executions.rebase(key, offset),
            Thing::Approval(key) => self.approvals.rebase(key, offset),
        };
        moved.push(self.rebase(thing.clone(), from, offset));
        moved
    }

    /// That blocks were dropped stands in the shard's image: from then on a fold need not begin before them.
    fn let_go_of_dropped(&mut self) -> impl Iterator<Item = Moved> + use<> {
        std::mem::take(&mut self.dropped).into_iter().map(|base| Moved { from: Some(base), to: None })
    }

    /// The base of an entity, if it is known.
    pub(crate) fn base_of(&self, thing: &Thing) -> Option<u64> {
        match thing {
            Thing::Shard => Some(self.shard_base),
            Thing::Seen(block) => self.seen.base(*block),
            Thing::Task(key) => self.tasks.get(key).map(|kept| kept.base),
            Thing::Agent(key) => self.agents.get(key).map(|kept| kept.base),
            Thing::Negotiation(key) => self.negotiations.kept(key).map(|kept| kept.base),
            Thing::Workflow(key) => self.workflows.kept(key).map(|kept| kept.base),
            Thing::Execution(key) => self.executions.kept(key).map(|kept| kept.base),
            Thing::Approval(key) => self.approvals.kept(key).map(|kept| kept.base),
        }
    }

    /// The same, with all let go that would be by the next step: two that know the same are then equal.
    pub fn settled(&self) -> State {
        let mut state = self.clone();
        state.forget(&mut Vec::new());
        state
    }

    /// Lets go of ended tasks and old commands.
    pub(crate) fn forget(&mut self, moved: &mut Vec<Moved>) {
        while let Some((at, key)) = self.ended.first() {
            let young = self.now.millis_since(*at) <= self.keep.ended_ms;
            if young && self.ended_weight <= self.keep.ended_bytes {
                break;
            }
            let key = key.clone();
            moved.push(Moved { from: self.remove_task(&key), to: None });
        }
        let Keep { ended_ms, runs_ms, ended_bytes, .. } = self.keep;
        for (key, base, _) in self.negotiations.forget(self.now, ended_ms, ended_bytes) {
            self.by_base.remove(&(base, Thing::Negotiation(key)));
            moved.push(gone(base));
        }
        for (key, base, run) in self.executions.forget(self.now, runs_ms, ended_bytes) {
            self.definitions.leave(run.workflow().hash());
            self.by_base.remove(&(base, Thing::Execution(key)));
            moved.push(gone(base));
        }
        for (key, base, _) in self.approvals.forget(self.now, runs_ms, ended_bytes) {
            self.by_base.remove(&(base, Thing::Approval(key)));
            moved.push(gone(base));
        }
        for Forgotten { block, base, newest } in self.seen.forget(self.now, self.keep.window) {
            self.by_base.remove(&(base, Thing::Seen(block)));
            self.dropped.push(base);
            self.shard.forgotten = self.shard.forgotten.max(Some(newest));
        }
    }
}

/// A thing as it stands in an image.
fn imaged<T: Clone>(key: &EntityKey, kept: &Kept<T>) -> Box<EntityImage<T>> {
    let (workspace, id) = (key.workspace.clone(), key.id.clone());
    Box::new(EntityImage { workspace, id, arrival: kept.arrival, state: kept.state.clone() })
}

/// The same, as it comes back from the image at `offset`.
fn restored<T: Clone>(it: &EntityImage<T>, offset: u64) -> (EntityKey, Kept<T>) {
    let key = EntityKey::of(&it.workspace, &it.id);
    (key, Kept { arrival: it.arrival, base: offset, state: it.state.clone() })
}

/// The proven bases, and how many things have each: the floor is never past the least.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bases(BTreeMap<u64, u32>);

impl Bases {
    pub(crate) fn take(&mut self, moved: &[Moved]) {
        for Moved { from, to } in moved {
            if let Some(to) = to {
                *self.0.entry(*to).or_default() += 1;
            }
            if let Some(from) = from
                && let Some(count) = self.0.get_mut(from)
            {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(from);
                }
            }
        }
    }

    /// Where a floor would pass all that lives.
    pub(crate) fn greatest(&self) -> Option<u64> {
        self.0.keys().next_back().copied()
    }

    pub(crate) fn least(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fold may meet nothing but the shard's image behind its floor, where only a step that does not count names it.
    #[test]
    fn the_shards_image_brings_its_time() {
        let now = Timestamp::from_millis(1_000);
        let mut had = State { now, ..State::default() };
        had.shard.position = 7;
        let image = had.image(&Thing::Shard).unwrap();
        let mut found = State::default();
        found.restore(3, &image).unwrap();
        assert_eq!((found.now, &found.shard), (now, &had.shard));
        found.now = Timestamp::from_millis(2_000);
        found.restore(4, &image).unwrap();
        assert_eq!(found.now.as_millis(), 2_000, "it never runs back");
    }
}
