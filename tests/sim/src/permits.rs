//! Permits in the simulation: Redis' semaphores with the rules of `take_permits.lua` and its like, the shell that asks
//! for them, and what must hold of them.
//!
//! No more attempts in force, over all shards and by records that count, hold a permit than there are of it, at any moment
//! of a run in which Redis loses nothing; and at the end of every run nobody holds a permit for an attempt that is over.

use crate::bug::Bug;
use crate::node::{Action, Outcome};
use crate::plan::{MS, SECOND};
use crate::serve::{Over, Serving};
use crate::tally::Met;
use crate::world::{Issued, World};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::queue::Permit;
use synod_ledger::{Answered, Try, Wanted};

/// So long a permit is taken before it is held, as in the shell.
const PROVISIONAL: u64 = 30 * SECOND;
/// So long nothing is granted by data that have just begun.
const GRACE: u64 = 3 * SECOND;

/// Who holds a permit, and until when.
#[derive(Clone, Copy, Debug)]
struct Held {
    until: u64,
    /// When it was granted last.
    granted: u64,
    /// The ledger's record of it has said so.
    confirmed: bool,
    /// By an owner that had been deposed, of which Redis, wiped since, knew nothing: it ends by itself.
    stale: bool,
}

/// The semaphores, as Redis has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Semaphores {
    out: BTreeMap<String, BTreeMap<(u32, Try), Held>>,
    guard: BTreeMap<u32, u64>,
    /// The start of the server that these data are of, and since when.
    era: Option<(u64, u64)>,
    /// What the newest owner of a shard has given back: its shell keeps the order of what it issues.
    given_back: BTreeSet<(u32, Try)>,
}

impl Semaphores {
    /// Whether this owner may hold permits; a newer one that calls is noted.
    fn passes(&mut self, shard: u32, epoch: u64) -> bool {
        let newest = self.guard.entry(shard).or_default();
        *newest = epoch.max(*newest);
        epoch == *newest
    }

    fn era(&mut self, run: u64, now: u64) -> u64 {
        match self.era {
            Some((of, began)) if of == run => began,
            _ => {
                self.era = Some((run, now));
                now
            }
        }
    }

    fn out(&mut self, permit: &str, now: u64) -> &mut BTreeMap<(u32, Try), Held> {
        let out = self.out.entry(permit.to_owned()).or_default();
        out.retain(|_, held| held.until > now);
        out
    }
}

impl World {
    /// An owner wants permits for one of its tasks.
    pub(crate) fn wants(&mut self, node: usize, shard: u32, s: &Serving, wanted: Wanted) {
        let epoch = s.owner.epoch();
        self.depart(node, Action::WantPermits { shard, epoch, wanted });
    }

    /// Redis is asked for them; `None`: a newer owner has been there.
    pub(crate) fn take_permits(
        &mut self,
        shard: u32,
        epoch: u64,
        wanted: &Wanted,
        down: bool,
        unheard: bool,
    ) -> Option<Answered> {
        let unknown = |why: &str| Some(Answered::Unknown(why.into()));
        if down {
            return unknown("Redis cannot be reached");
        }
        let (now, run, lost) = (self.now, self.redis.run, self.redis.memory.era > 0);
        let permits = &mut self.redis.memory.permits;
        if !permits.passes(shard, epoch) {
            return None;
        }
        let began = permits.era(run, now);
        // What is there since the dawn has lost nothing.
        if (lost || run > 0) && now - began < GRACE {
            return unknown("the data have just begun");
        }
        let holder = (shard, wanted.by.clone());
        let mut none = None;
        for (permit, most) in &wanted.permits {
            let out = permits.out(&permit.to_string(), now);
            if out.len() >= *most as usize
                && !out.contains_key(&holder)
                && self.bug != Some(Bug::PermitsUncounted)
            {
                none = none.or(Some((permit.clone(), out.len() as u32)));
            }
        }
        let answer = match none {
            Some((permit, out)) => Answered::Refused(permit, out),
            None => {
                permits.given_back.remove(&holder);
                let mut counts = Vec::new();
                for (permit, _) in &wanted.permits {
                    let out = permits.out(&permit.to_string(), now);
                    let held = out.entry(holder.clone()).or_insert(Held {
                        until: 0,
                        granted: now,
                        stale: false,
                        confirmed: false,
                    });
                    (held.until, held.granted) = (held.until.max(now + PROVISIONAL), now);
                    counts.push(out.len() as u32);
                }
                Answered::Granted(counts)
            }
        };
        self.note(Some(shard), || format!("permits for {:?} by epoch {epoch}: {answer:?}", wanted.by));
        self.met(if matches!(answer, Answered::Granted(_)) {
            Met::PermitsTaken
        } else {
            Met::PermitsRefused
        });
        if unheard { unknown("Redis did not answer") } else { Some(answer) }
    }

    /// The answer reaches who asked.
    pub(crate) fn permits_answered(
        &mut self,
        node: usize,
        shard: u32,
        epoch: u64,
        wanted: &Wanted,
        answer: Option<Answered>,
    ) {
        self.with_serving(node, shard, Some(epoch), |world, s| {
            let Some(answer) = answer else {
                return Err(Over::Doubt("a newer owner has asked for permits".into()));
            };
            if let Some(input) = s.owner.answered(wanted, &answer) {
                world.decide(node, shard, s, &input, None)?;
            }
            let task = s.owner.state().task(&wanted.by.task);
            let current = task.and_then(synod_ledger::TaskState::current);
            let assigned = current.is_some_and(|attempt| attempt.seen.attempt == wanted.by.attempt);
            if matches!(answer, Answered::Granted(_)) && !assigned {
                let (wanted, at) = (wanted.clone(), world.now);
                world.depart(node, Action::GiveUpPermits { shard, epoch, wanted, at });
            }
            Ok(())
        });
    }

    /// What was granted leads to nothing.
    pub(crate) fn give_up_permits(&mut self, shard: u32, epoch: u64, wanted: &Wanted, at: u64) {
        let (now, holder) = (self.now, (shard, wanted.by.clone()));
        let permits = &mut self.redis.memory.permits;
        if !permits.passes(shard, epoch) {
            return;
        }
        for (permit, _) in &wanted.permits {
            // It may have been granted anew meanwhile: the shell keeps the order of what it asks.
            let out = permits.out(&permit.to_string(), now);
            if out.get(&holder).is_some_and(|held| !held.confirmed && held.granted <= at) {
                out.remove(&holder);
            }
        }
    }

    pub(crate) fn hold_permits(
        &mut self,
        issued: &Issued,
        by: &Try,
        names: &[String],
        for_ms: u64,
    ) -> Outcome {
        let (now, run, holder) = (self.now, self.redis.run, (issued.shard, by.clone()));
        let has_lost = self.redis.memory.era > 0 || run > 0;
        let stale = has_lost && self.newest.get(&issued.shard).is_some_and(|newest| issued.epoch < *newest);
        let permits = &mut self.redis.memory.permits;
        if !permits.passes(issued.shard, issued.epoch) {
            return Outcome::Fenced;
        }
        permits.era(run, now);
        if !permits.given_back.contains(&holder) {
            for name in names {
                let held = Held { until: now + for_ms * MS, granted: now, confirmed: true, stale };
                permits.out(name, now).insert(holder.clone(), held);
            }
        }
        self.is_performed(issued);
        Outcome::Confirmed
    }

    pub(crate) fn give_back_permits(&mut self, issued: &Issued, by: &Try, names: &[String]) -> Outcome {
        let (now, holder) = (self.now, (issued.shard, by.clone()));
        let (node, shard, epoch) = (issued.pid.node, issued.shard, issued.epoch);
        let from = (node, shard, epoch, by.clone(), 0);
        if self.holding.range(from..=(node, shard, epoch, by.clone(), u64::MAX)).next().is_some() {
            return Outcome::Failed;
        }
        if self.bug != Some(Bug::PermitsKept) {
            let permits = &mut self.redis.memory.permits;
            permits.passes(issued.shard, issued.epoch);
            permits.given_back.insert(holder.clone());
            for name in names {
                permits.out(name, now).remove(&holder);
            }
        }
        self.is_performed(issued);
        Outcome::Confirmed
    }

    /// No more attempts in force hold a permit than there are of it.
    pub(crate) fn limits_hold(&self) -> Result<(), String> {
        let mishaps = &self.plan.mishaps;
        if mishaps.wipes > 0 || mishaps.old_files > 0 {
            // Who stands still meanwhile cannot say in time what it holds.
            return Ok(());
        }
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for shard in 0..self.plan.shards {
            for (_, task) in self.watch.shard(shard).ledger.state().tasks() {
                for name in task.current().iter().flat_map(|current| &current.permits) {
                    *held.entry(name).or_default() += 1;
                }
            }
        }
        for (name, held) in held {
            let most = name.parse::<Permit>().ok().and_then(|permit| self.plan.rules.most(&permit));
            if most.is_none_or(|most| held > most) {
                return Err(format!("{held} attempts in force hold {name}, of which there are {most:?}"));
            }
        }
        Ok(())
    }

    /// At the end nobody holds anything; what was taken and led to nothing comes back by itself.
    pub(crate) fn permits_balance(&self) -> Result<(), String> {
        if self.watch.has_lost_data() || self.plan.mishaps.old_files > 0 {
            // Where a shard has stopped, not all is over; and an old file has those in it who have given back since, for as
            // long as they might have run.
            return Ok(());
        }
        for (name, out) in &self.redis.memory.permits.out {
            let is_kept = |held: &Held| held.confirmed && !held.stale && held.until > self.now;
            if let Some((holder, held)) = out.iter().find(|(_, held)| is_kept(held)) {
                return Err(format!("{holder:?} holds {name} and is over: {held:?}"));
            }
        }
        Ok(())
    }
}
