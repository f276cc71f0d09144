//! What this shard's attempts hold, as the fleet is told it: in the same breath in which they are given, so that no two shards of
//! this coordinator give what there is room for only once.

use super::Serving;
use synod_fleet::{AgentKey, AttemptKey};
use synod_ledger::{Append, Context, Input, Released, Ticket};
use synod_protocol::event::What;
use synod_protocol::{EntityId, Workspace};

impl Serving<'_> {
    /// Decides one input on the fleet as it is, and tells the fleet what is held by that.
    pub(super) fn decide(
        &mut self,
        input: &Input,
        ticket: Option<Ticket>,
        released: &mut Vec<Released>,
    ) -> Option<Append> {
        let shared = self.shared.clone();
        let (now, seed) = (self.now(), *uuid::Uuid::new_v4().as_bytes());
        let (mut was_given, mut has_ended) = (false, false);
        let mut fleet = shared.fleet.lock();
        let cx = Context {
            now,
            seed,
            fleet: &*fleet,
            protocols: &shared.config.protocols,
            definitions: &shared.definitions,
        };
        let append = self.owner.handle(&cx, input, ticket, released)?;
        let Some(workspace) = &append.workspace else { return Some(append) };
        let (now_ns, now_ms) = (shared.fleet.now_ns(), shared.fleet.now_ms());
        for event in &append.events {
            if let What::TaskStarted(e) = &event.what {
                let agent = AgentKey { workspace: workspace.clone(), agent: e.agent_id.clone() };
                shared.statistics.started(&agent);
            }
            let Some(holding) = self.owner.state().holding(workspace, event) else { continue };
            let attempt = self.attempt(workspace, &event.entity, holding.attempt);
            fleet.holding(&holding, attempt, now_ns);
            match &holding.end {
                None => shared.statistics.assigned(&holding.agent),
                Some(end) => shared.statistics.ended(&holding.agent, end.outcome, Some(end.took_ms)),
            }
            was_given |= holding.end.is_none();
            has_ended |= holding.end.is_some();
            if let What::TaskAttemptFailed(e) = &event.what
                && e.timed_out
            {
                let held = (e.task_id.clone(), e.attempt);
                fleet.overdue.add(&holding.agent, &holding.incarnation, held, now_ms);
            }
        }
        drop(fleet);
        if was_given {
            shared.fleet.was_given();
        }
        if has_ended {
            shared.fleet.has_ended();
        }
        Some(append)
    }

    fn attempt(&self, workspace: &Workspace, task: &EntityId, attempt: u32) -> AttemptKey {
        AttemptKey { shard: self.shard, workspace: workspace.clone(), task: task.clone(), attempt }
    }

    /// After a fold: what this shard's tasks hold counts as held.
    pub(super) fn count_held(&mut self) {
        let now_ns = self.shared.fleet.now_ns();
        let mut fleet = self.shared.fleet.lock();
        fleet.forget_shard(self.shard, now_ns);
        for (key, task) in self.owner.state().tasks() {
            if let Some((agent, incarnation)) = task.holder() {
                let agent = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
                fleet.registry.given_holding(&agent, incarnation, self.shard, task.resources());
            }
        }
    }
}
