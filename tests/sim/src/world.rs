//! The world: virtual time, a queue of what is to happen, and who lives in it.
//!
//! ```text
//!   queue --(time, order)--> one happening --> node | broker | Redis | party --> more happenings
//!                                    \--> watch: what must hold
//! ```
//!
//! Whatever a process does to the outside departs as a happening of its own, so that it may die or stand still before
//! each; what has departed arrives, whatever becomes of its sender.

use crate::broker::Partitions;
use crate::bug::Bug;
pub(crate) use crate::message::{Ack, Back, Call, Ghost, How, Issued, Of, Request};
use crate::mishap::Mishap;
use crate::node::{Action, Doing, Node};
use crate::party::{Party, PartyDoing};
use crate::plan::{MS, Plan, SECOND};
use crate::redis::Redis;
use crate::rng::Rng;
use crate::tally::{Met, Tally};
use crate::watch::Watch;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use synod_ledger::Try;
use synod_protocol::Timestamp;

/// When everything begins.
const DAWN_MS: i64 = 1_800_000_000_000;
/// How long after the end of all faults the world may still not be quiet.
const QUIET_LIMIT: u64 = 90 * SECOND;
/// How much may happen in one run; most have a few thousand happenings.
const HAPPENINGS_LIMIT: u64 = 500_000;
/// How many lines of its timeline a failure shows.
const TIMELINE: usize = 400;

/// A process start of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid {
    pub(crate) node: usize,
    pub(crate) life: u32,
}

/// Something that is to happen.
#[derive(Debug)]
pub(crate) enum What {
    /// In a coordinator's process.
    Node(Pid, Doing),
    /// A request arrives at the broker.
    Broker(Request),
    /// A call arrives at Redis.
    Redis(Call),
    /// To a party, in this life of it.
    Party(usize, u32, PartyDoing),
    /// Something goes wrong.
    Mishap(Mishap),
    /// Nothing goes wrong from here on.
    Calm,
    /// Nothing has gone wrong for a while.
    Rest,
    /// Is everything done?
    IsQuiet,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// See the module.
pub(crate) struct World {
    /// Microseconds since the beginning.
    pub(crate) now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) calm: bool,
    pub(crate) shards: Vec<Partitions>,
    pub(crate) redis: Redis,
    /// The newest epoch that was folded, by shard.
    pub(crate) newest: BTreeMap<u32, u64>,
    /// Permits that are being held, by node, shard, epoch and attempt, and the step that owes it: an attempt's end never goes
    /// before its beginning.
    pub(crate) holding: BTreeSet<(usize, u32, u64, Try, u64)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) parties: Vec<Party>,
    pub(crate) watch: Watch,
    pub(crate) bug: Option<Bug>,
    pub(crate) broken: Option<Broken>,
    quiet: bool,
    timeline: Option<VecDeque<(Option<u32>, String)>>,
    pub(crate) happened: u64,
    pub(crate) tally: Tally,
}

/// What was found to be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) shard: Option<u32>,
    pub(crate) why: String,
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, traced: bool) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let shards = plan.shards;
        let mut world = World {
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            rng,
            calm: false,
            shards: (0..shards).map(|_| Partitions::default()).collect(),
            redis: Redis::default(),
            newest: BTreeMap::new(),
            holding: BTreeSet::new(),
            nodes: (0..plan.nodes).map(|node| Node::new(node, 0, &plan)).collect(),
            parties: Vec::new(),
            watch: Watch::new(shards, &plan.keep, plan.rules.queue.aging_ms),
            bug,
            broken: None,
            quiet: false,
            timeline: traced.then(VecDeque::new),
            happened: 0,
            tally: Tally::default(),
            plan,
        };
        world.people();
        for node in 0..world.nodes.len() {
            let at = world.rng.below(200 * MS);
            world.after(at, What::Mishap(Mishap::Start { node }));
        }
        world.plan_mishaps();
        let calm_at = world.plan.calm_at;
        world.after(calm_at, What::Calm);
        world
    }

    /// Lets everything happen until the world is quiet or something is wrong.
    pub(crate) fn run(&mut self) {
        let limit = self.plan.calm_at + QUIET_LIMIT;
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.happened += 1;
            self.happen(next.what);
            if self.broken.is_some() || self.quiet {
                return;
            }
            if self.happened > HAPPENINGS_LIMIT {
                self.breaks(
                    None,
                    format!("{HAPPENINGS_LIMIT} things have happened, and there is no end to it"),
                );
            } else if self.now > limit {
                let why = self.why_not_quiet();
                self.breaks(None, format!("{} s after the last fault: {why}", QUIET_LIMIT / SECOND));
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Node(pid, doing) => self.node_does(pid, doing),
            What::Broker(request) => self.broker_gets(request),
            What::Redis(call) => self.redis_gets(call),
            What::Party(party, life, doing) => self.party_does(party, life, doing),
            What::Mishap(mishap) => self.mishap(mishap),
            What::Calm => self.becomes_calm(),
            What::Rest => self.comes_to_rest(),
            What::IsQuiet => match self.why_not_quiet() {
                why if why.is_empty() => {
                    self.quiet = true;
                    for met in self.watch.resting() {
                        self.met(met);
                    }
                    if let Err((shard, why)) = self.watch.at_the_end() {
                        self.breaks(Some(shard), why);
                    }
                    if let Err(why) = self.permits_balance() {
                        self.breaks(None, why);
                    }
                }
                _ => self.after(250 * MS, What::IsQuiet),
            },
        }
    }

    // --- time and the network ------------------------------------------------------------------------------------

    /// Schedules.
    pub(crate) fn after(&mut self, delay: u64, what: What) {
        self.order += 1;
        let (at, order) = (self.now + delay, self.order);
        self.queue.push(Reverse(Scheduled { at, order, what }));
    }

    /// One way through the network.
    pub(crate) fn latency(&mut self) -> u64 {
        let base = 50 + self.rng.below(self.plan.latency);
        if self.rng.happens(self.plan.late) { base + self.rng.below(self.plan.late_by) } else { base }
    }

    /// The broker's time.
    pub(crate) fn timestamp(&self) -> Timestamp {
        stamp(self.now)
    }

    /// A process begins an action: it departs a moment later, in the order in which actions were begun.
    pub(crate) fn depart(&mut self, node: usize, action: Action) {
        let gap = 1 + self.rng.below(40);
        let who = &mut self.nodes[node];
        who.departs_at = who.departs_at.max(self.now) + gap;
        let (delay, life) = (who.departs_at - self.now, who.life);
        self.after(delay, What::Node(Pid { node, life }, Doing::Go(Box::new(action))));
    }

    /// Counts what has happened.
    pub(crate) fn met(&mut self, what: Met) {
        self.tally.met(what);
    }

    // --- what is wrong, and how it came about --------------------------------------------------------------------

    /// Something is wrong; the first thing is kept.
    pub(crate) fn breaks(&mut self, shard: Option<u32>, why: String) {
        self.note(shard, || format!("BROKEN: {why}"));
        self.broken.get_or_insert(Broken { shard, why });
    }

    /// Something is wrong if this says so.
    pub(crate) fn must(&mut self, shard: u32, result: Result<(), String>) {
        if let Err(why) = result {
            self.breaks(Some(shard), why);
        }
    }

    /// Whether lines are written down.
    pub(crate) fn is_traced(&self) -> bool {
        self.timeline.is_some()
    }

    /// A line of the timeline.
    pub(crate) fn note(&mut self, shard: Option<u32>, line: impl FnOnce() -> String) {
        let Some(timeline) = &mut self.timeline else { return };
        if timeline.len() > TIMELINE * 10 {
            timeline.pop_front();
        }
        let at = self.now;
        timeline.push_back((shard, format!("{:>6}.{:03} ms  {}", at / MS, at % MS, line())));
    }

    /// The last lines about a shard, or about all.
    pub(crate) fn timeline(&self) -> Vec<String> {
        let wanted = self.broken.as_ref().and_then(|broken| broken.shard);
        let lines = self
            .timeline
            .iter()
            .flatten()
            .filter(|(shard, _)| wanted.is_none() || shard.is_none() || *shard == wanted);
        let lines: Vec<_> = lines
            .map(|(shard, line)| {
                shard.map_or(line.clone(), |shard| line.replacen("ms  ", &format!("ms  [{shard}] "), 1))
            })
            .collect();
        lines[lines.len().saturating_sub(TIMELINE)..].to_vec()
    }

    // --- the end -------------------------------------------------------------------------------------------------

    fn becomes_calm(&mut self) {
        self.note(None, || "--- no more faults ---".into());
        self.calm = true;
        self.plan.late = 0;
        self.plan.latency = self.plan.latency.min(2_000);
        (self.plan.appends, self.plan.messages) = Default::default();
        (self.plan.silent_work, self.plan.failing_work, self.plan.declined_work) = (0, 0, 0);
        self.plan.answers = Default::default();
        self.plan.people = Default::default();
        self.redis.down_until = self.now;
        for node in 0..self.nodes.len() {
            self.nodes[node].dies_after = None;
            self.nodes[node].stands_after = None;
            if !self.nodes[node].up {
                let at = self.rng.below(100 * MS);
                self.after(at, What::Mishap(Mishap::Start { node }));
            }
        }
        self.parties_become_calm();
        self.after(500 * MS, What::IsQuiet);
        if self.plan.holds_one_in_calm {
            self.after(self.rests_after(), What::Rest);
        }
    }

    /// Whoever is there by now stays; one negotiation is held among them.
    fn comes_to_rest(&mut self) {
        let there = self.parties.iter().filter_map(crate::party::Party::is_there).collect();
        self.watch.steady(self.timestamp(), &there);
        self.plan.holds_one_in_calm = false;
        self.opens_in_calm();
    }

    /// What is still open; empty when nothing is.
    fn why_not_quiet(&self) -> String {
        if self.watch.has_lost_data() {
            // Agents of a shard that has stopped take no work of the others: nothing need come to an end any more.
            return String::new();
        }
        for shard in 0..self.plan.shards {
            let watched = self.watch.shard(shard);
            let serving: Vec<_> = self.nodes.iter().filter_map(|node| node.serving(shard)).collect();
            if serving.is_empty() {
                return format!("shard {shard} has no owner");
            }
            if let Some(task) = watched.ledger.first_live() {
                return format!("task {task} of shard {shard} has not ended");
            }
            let end = self.shards[shard as usize].commands.end();
            if watched.ledger.next_position() < end {
                return format!("commands {} to {end} of shard {shard} wait", watched.ledger.next_position());
            }
            let current = serving.iter().find(|s| Some(s.owner.epoch()) == watched.ledger.epoch());
            match current {
                Some(s) if s.owner.in_flight() > 0 => return format!("shard {shard} has records in flight"),
                Some(s) if s.owner.owed() > 0 => return format!("shard {shard} owes effects"),
                None => return format!("shard {shard} has no owner in force"),
                Some(s) if s.owner.is_catching_up() => return format!("shard {shard} is catching up"),
                _ => {}
            }
            if let Some(offset) = watched.first_unsettled() {
                return format!("the effects of record {offset} of shard {shard} were never all performed");
            }
        }
        if self.plan.holds_one_in_calm {
            return "one negotiation is still to be held".into();
        }
        if let Some(negotiation) = self.first_awaited() {
            return format!("nobody was told how negotiation {negotiation} has ended");
        }
        self.parties.iter().find_map(crate::party::Party::why_not_quiet).unwrap_or_default()
    }
}

/// The broker's time of a moment of the simulation.
pub(crate) fn stamp(us: u64) -> Timestamp {
    Timestamp::from_millis(DAWN_MS).plus_millis(us / MS)
}
