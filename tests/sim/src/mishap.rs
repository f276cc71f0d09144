//! Whole parts of the world go wrong at a moment of their own.

use crate::plan::MS;
use crate::tally::Met;
use crate::world::{Ghost, Request, What, World};
use synod_ledger::{Claim, Record};

/// Something that befalls the world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mishap {
    /// A coordinator's process starts. (No mishap; it is planned in the same way.)
    Start {
        node: usize,
    },
    /// It dies, soon.
    Crash,
    /// It stands still, soon.
    Pause,
    /// It leaves in good order.
    Leave,
    /// It claims a shard that is not its own.
    Rogue,
    /// Somebody claims and is gone.
    PasserBy,
    /// Something foreign lands in the ledger.
    Junk,
    Wipe,
    Save,
    OldFile,
    RedisOutage,
    AgentDies,
    AgentStarts {
        party: usize,
    },
    AgentPauses,
    ClockJumps,
    Retention,
}

impl World {
    /// Every mishap of this run gets its moment.
    pub(crate) fn plan_mishaps(&mut self) {
        let plan = self.plan.mishaps.clone();
        let planned = [
            (plan.crashes, Mishap::Crash),
            (plan.pauses, Mishap::Pause),
            (plan.leaves, Mishap::Leave),
            (plan.rogues, Mishap::Rogue),
            (plan.passers_by, Mishap::PasserBy),
            (plan.junk, Mishap::Junk),
            (plan.wipes, Mishap::Wipe),
            (plan.old_files * 2, Mishap::Save),
            (plan.old_files, Mishap::OldFile),
            (plan.redis_outages, Mishap::RedisOutage),
            (plan.agent_deaths, Mishap::AgentDies),
            (plan.agent_pauses, Mishap::AgentPauses),
            (plan.clock_jumps, Mishap::ClockJumps),
            (u64::from(plan.retention), Mishap::Retention),
        ];
        for (times, mishap) in planned {
            for _ in 0..times {
                let at = self.rng.below(self.plan.calm_at);
                self.after(at, What::Mishap(mishap));
            }
        }
    }

    /// It happens now.
    pub(crate) fn mishap(&mut self, mishap: Mishap) {
        let node = self.rng.index(self.nodes.len());
        let shard = self.rng.below(u64::from(self.plan.shards)) as u32;
        match mishap {
            Mishap::Start { node } => self.start_node(node),
            Mishap::AgentStarts { party } => self.start_agent(party),
            _ if self.calm => {}
            Mishap::Crash => self.nodes[node].dies_after = Some(self.rng.between(1, 60) as u32),
            Mishap::Pause => {
                let how_long = self.rng.between(10 * MS, 3 * self.plan.lease);
                self.nodes[node].stands_after = Some((self.rng.between(1, 60) as u32, how_long));
            }
            Mishap::Leave => {
                self.note(None, || format!("node {node} is asked to leave"));
                self.nodes[node].leaving = true;
                self.nodes[node].tenure.leave();
            }
            Mishap::Rogue => self.nodes[node].seats[shard as usize].rogue = true,
            Mishap::PasserBy => {
                self.met(Met::PasserBy);
                let Ok(bytes) = Claim::by("passer-by", self.timestamp()).to_bytes() else { return };
                self.foreign(shard, bytes);
            }
            Mishap::Junk => {
                self.met(Met::Junk);
                self.junk(shard);
            }
            Mishap::Wipe => {
                self.note(None, || "Redis is wiped".into());
                self.met(Met::Wipe);
                self.redis.wipe(self.now);
            }
            Mishap::Save => self.redis.save(),
            Mishap::OldFile => {
                self.note(None, || "Redis comes back with an old file".into());
                self.met(Met::OldFile);
                self.redis.restore();
                self.redis.down_until = self.now + self.rng.below(300 * MS);
            }
            Mishap::RedisOutage => {
                let how_long = self.rng.between(10 * MS, 3 * self.plan.lease);
                self.met(Met::RedisOutage);
                self.note(None, || format!("Redis cannot be reached for {} ms", how_long / MS));
                self.redis.down_until = self.now + how_long;
            }
            Mishap::AgentDies => {
                let party = self.rng.index(self.plan.agents);
                self.kill_agent(party);
            }
            Mishap::AgentPauses => {
                let (party, how_long) = (self.rng.index(self.plan.agents), self.rng.between(10, 2_000) * MS);
                self.pause_agent(party, how_long);
            }
            Mishap::ClockJumps => {
                self.met(Met::ClockJump);
                let hours = self.rng.between(0, 4) as i64 - 2;
                self.nodes[node].skew_ms = hours * 3_600_000 + self.rng.below(1_000) as i64;
            }
            Mishap::Retention => {
                let commands = &mut self.shards[shard as usize].commands;
                let end = commands.end();
                commands.trim(end);
                let lost = self.watch.shard(shard).ledger.next_position() < end;
                self.note(Some(shard), || {
                    format!("retention deletes the commands before {end}; lost: {lost}")
                });
                self.watch.shard_mut(shard).data_lost |= lost;
                self.met(Met::Retention);
            }
        }
    }

    fn foreign(&mut self, shard: u32, bytes: Vec<u8>) {
        self.after(0, What::Broker(Request::Append { shard, bytes, ghost: Ghost::default(), ack: None }));
    }

    /// Something that is not ours, or was once.
    fn junk(&mut self, shard: u32) {
        let log = &self.shards[shard as usize].ledger;
        let kind = self.rng.below(4);
        let which = self.rng.below(log.end());
        let bytes = log.ever(which).map(|(_, bytes)| bytes.clone());
        let bytes = match (kind, bytes.as_deref().map(Record::read)) {
            (0, _) | (_, None | Some(Err(_))) => b"{\"not\":\"ours\"}".to_vec(),
            (1, _) => b"\xff\x00 no text at all".to_vec(),
            (_, Some(Ok(Record::Step(mut step)))) => {
                // A record of the past again, or one that is far ahead.
                if kind == 2 {
                    step.n += 1_000_000;
                }
                serde_json::to_vec(&step).unwrap_or_default()
            }
            (_, Some(Ok(_))) => b"{\"v\":1,\"kind\":\"nonsense\"".to_vec(),
        };
        self.foreign(shard, bytes);
    }
}
