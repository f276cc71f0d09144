//! What a coordinator hears of agents: by their silence, and by the directory.

use crate::plan::MS;
use crate::tally::Met;
use crate::world::World;
use synod_fleet::{Cause, Doubt};
use synod_ledger::Input;
use synod_protocol::Incarnation;
use synod_protocol::view::{DirectoryEntry, Health};

/// Silence after which a coordinator suspects an agent, by itself.
const SUSPECTED_AFTER: u64 = 250 * MS;
/// Silence after which an agent is judged lost.
const LOST_AFTER: u64 = 600 * MS;

impl World {
    /// Doubts and judges agents that have been silent for too long, and those that are heard again.
    pub(crate) fn look_at_agents(&mut self, node: usize) {
        if self.redis.down_until > self.now {
            self.nodes[node].hears_from = self.now;
        }
        let since = self.now - self.nodes[node].hears_from;
        self.doubt_agents(node, since);
        let mut judged = Vec::new();
        for (key, member) in self.nodes[node].fleet.iter() {
            let silent = self.silent_for(&key.agent, &member.entry.incarnation).min(since);
            let lost = match member.entry.health {
                Health::Lost if silent == 0 => false,
                Health::Healthy | Health::Suspected | Health::Draining if silent > LOST_AFTER => true,
                _ => continue,
            };
            judged.push((key.clone(), member.entry.incarnation.clone(), lost));
        }
        for (agent, incarnation, lost) in judged {
            let shard = self.shard_of(agent.agent.as_str());
            let reason = if lost { "silent" } else { "heard again" }.to_owned();
            let input = Input::Judged { agent, incarnation, lost, reason };
            self.with_serving(node, shard, None, |world, s| {
                // While it catches up nothing but commands is decided; it will be looked at again.
                if s.owner.is_catching_up() { Ok(()) } else { world.decide(node, shard, s, &input, None) }
            });
        }
    }

    /// What a coordinator thinks of agents by itself, and acts on before the ledger has it.
    fn doubt_agents(&mut self, node: usize, since: u64) {
        let mut doubts = Vec::new();
        for (key, member) in self.nodes[node].fleet.iter() {
            let start = member.entry.incarnation.clone();
            let silent = self.silent_for(&key.agent, &start).min(since);
            let doubt = (silent > SUSPECTED_AFTER).then(|| Doubt {
                lost: silent > LOST_AFTER,
                since_ms: self.now / MS,
                why: "silent".to_owned(),
            });
            doubts.push((key.clone(), start, doubt));
        }
        let mut changed = false;
        for (key, start, doubt) in doubts {
            changed |= self.nodes[node].fleet.doubt(&key, &start, Cause::Silence, doubt);
        }
        if changed {
            self.met(Met::Doubted);
            self.fleet_changed(node);
        }
    }

    fn fleet_changed(&mut self, node: usize) {
        for shard in 0..self.plan.shards {
            self.with_serving(node, shard, None, |_, s| {
                s.owner.fleet_changed();
                Ok(())
            });
        }
    }

    /// An entry of the directory reaches a coordinator.
    pub(crate) fn learns(&mut self, node: usize, entry: DirectoryEntry, offset: u64) {
        if self.nodes[node].fleet.learn(entry, offset) {
            self.fleet_changed(node);
        }
    }

    /// How long a process start of an agent has been silent.
    fn silent_for(&self, agent: &synod_protocol::Id, incarnation: &Incarnation) -> u64 {
        let party = self.parties.iter().find(|party| party.is_agent(agent));
        party.map_or(u64::MAX, |party| party.silent_for(incarnation, self.now))
    }
}
