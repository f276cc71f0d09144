//! A coordinator's process: its belief about leases, its fleet, its seats at the shards; and how it dies, stands still
//! and comes back.

use crate::lease;
use crate::party::Asking;
use crate::plan::{MS, Plan};
use crate::redis::Leases;
use crate::seat::{Phase, Seat};
use crate::serve::{Ask, Serving};
use crate::tally::Met;
use crate::world::{Call, Ghost, Issued, Pid, Request, What, World};
use synod_fleet::{AgentKey, Registry};
use synod_ledger::tenure::Tenure;
use synod_ledger::{Answer, Answered, Past, Wanted};
use synod_protocol::Error;
use synod_protocol::view::DirectoryEntry;

/// One coordinator, whether its process is up or not.
pub(crate) struct Node {
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) paused_until: u64,
    /// Dies when it has done so many things more.
    pub(crate) dies_after: Option<u32>,
    /// Stands still for so long when it has done so many things more.
    pub(crate) stands_after: Option<(u32, u64)>,
    pub(crate) leaving: bool,
    /// Its wall clock, against the broker's; nothing may follow from it.
    pub(crate) skew_ms: i64,
    pub(crate) departs_at: u64,
    pub(crate) tenure: Tenure,
    /// Whether its lease was its own before.
    pub(crate) has_held: bool,
    pub(crate) fleet: Registry,
    /// Since when it can hear agents.
    pub(crate) hears_from: u64,
    pub(crate) seats: Vec<Seat>,
}

/// Something that a coordinator's process does, unless it stands still (then later) or is another by then (then not).
#[derive(Debug)]
pub(crate) enum Doing {
    /// An action departs.
    Go(Box<Action>),
    /// A regular look at leases and agents.
    Tick,
    /// What became of a renewal that began then: whether Redis knew the lease, if it renewed it.
    LeaseHeld { began_ms: u64, renewed: Option<bool> },
    /// The leases as they stood when they were asked for, if Redis has answered.
    LeasesRead { at_ms: u64, leases: Option<Leases> },
    /// What the tenure orders is to be done.
    Obey,
    /// A claim is acknowledged.
    Claimed { shard: u32, try_no: u64, outcome: Result<Option<u64>, String> },
    /// Where the fold through a claim is to begin can be looked up.
    Floor { shard: u32, try_no: u64, epoch: u64 },
    /// What a claim found can be folded.
    Fold { shard: u32, try_no: u64, epoch: u64, from: Option<u64> },
    /// An append is acknowledged.
    Acked { shard: u32, epoch: u64, n: u64, outcome: Result<Option<u64>, String> },
    /// There may be commands to read.
    Poll { shard: u32 },
    /// Something may be due.
    Wake { shard: u32, epoch: u64 },
    /// A request through the quick door; passed on once.
    Asked { asking: Asking, passed_on: bool },
    /// What has left memory can be looked up, for somebody or for a reply.
    LookUp { shard: u32, past: Past, waits: Waits },
    /// A look-up has taken too long.
    Gone { shard: u32 },
    /// What became of an effect.
    Effect { issued: Box<Issued>, outcome: Outcome },
    /// What became of permits that were wanted; `None`: a newer owner has asked for some.
    PermitsAnswered { shard: u32, epoch: u64, wanted: Wanted, answer: Option<Answered> },
    /// A misplaced command has been passed on, or not.
    PassedOn { shard: u32, epoch: u64, offset: u64, landed: bool },
    /// An entry of the directory.
    Directory { offset: u64, entry: Box<DirectoryEntry> },
}

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Waits {
    /// Whoever asked.
    Asking(Box<Asking>),
    /// An effect that is a reply.
    Reply(Box<Issued>),
}

/// What became of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Confirmed,
    Fenced,
    Failed,
}

/// Something that a process does to the outside.
#[derive(Debug)]
pub(crate) enum Action {
    Claim { shard: u32, try_no: u64 },
    Append { shard: u32, epoch: u64, n: u64, bytes: Vec<u8>, ghost: Ghost },
    Effect(Issued),
    Answer { asking: Asking, answer: Answer },
    Forward { to: usize, asking: Asking },
    PassOn { shard: u32, epoch: u64, offset: u64 },
    Mend { shard: u32, offset: u64, entry: Box<DirectoryEntry> },
    Trim { shard: u32, below: u64 },
    WantPermits { shard: u32, epoch: u64, wanted: Wanted },
    GiveUpPermits { shard: u32, epoch: u64, wanted: Wanted, at: u64 },
    RenewLease,
    LookAtLeases,
    ReleaseLease,
}

impl Node {
    pub(crate) fn new(node: usize, life: u32, plan: &Plan) -> Node {
        Node {
            life,
            up: false,
            paused_until: 0,
            dies_after: None,
            stands_after: None,
            leaving: false,
            skew_ms: 0,
            departs_at: 0,
            tenure: lease::tenure(node, life, plan),
            has_held: false,
            fleet: Registry::default(),
            hears_from: 0,
            seats: (0..plan.shards).map(|_| Seat::default()).collect(),
        }
    }

    /// Its belief to own a shard.
    pub(crate) fn serving(&self, shard: u32) -> Option<&Serving> {
        match &self.seats[shard as usize].phase {
            Phase::Serving(serving) if self.up => Some(serving),
            _ => None,
        }
    }
}

impl World {
    /// A process starts.
    pub(crate) fn start_node(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        let shards = self.plan.shards;
        let life = self.nodes[node].life + 1;
        let old = std::mem::replace(&mut self.nodes[node], Node::new(node, life, &self.plan));
        let new = &mut self.nodes[node];
        (new.up, new.skew_ms) = (true, old.skew_ms);
        (new.departs_at, new.hears_from) = (self.now, self.now);
        let pid = Pid { node, life: new.life };
        self.note(None, || format!("node {node} starts, life {}", pid.life));
        // It reads the directory from its beginning.
        for shard in 0..shards as usize {
            let delay = self.latency();
            for (offset, entry) in self.shards[shard].directory.clone() {
                self.after(delay, What::Node(pid, Doing::Directory { offset, entry: Box::new(entry) }));
            }
        }
        let delay = self.rng.below(20 * MS);
        self.after(delay, What::Node(pid, Doing::Tick));
    }

    /// A process ends, whatever it was about to do.
    pub(crate) fn kill_node(&mut self, node: usize) {
        let who = &mut self.nodes[node];
        if !who.up {
            return;
        }
        who.up = false;
        let owners: Vec<(usize, usize)> = who
            .seats
            .iter()
            .filter_map(|seat| match &seat.phase {
                Phase::Serving(s) => Some((s.owner.in_flight(), s.owner.owed())),
                _ => None,
            })
            .collect();
        let owned: Vec<u32> = (0..)
            .zip(&who.seats)
            .filter(|(_, seat)| matches!(seat.phase, Phase::Serving(_)))
            .map(|(shard, _)| shard)
            .collect();
        for seat in &mut who.seats {
            *seat = Seat::default();
        }
        self.note(None, || format!("node {node} dies"));
        self.met(Met::Crash);
        for shard in owned {
            if self.watch.shard(shard).ledger.talks().awaiting_commitment() > 0 {
                self.met(Met::CrashInAward);
            }
        }
        for (in_flight, owed) in owners {
            if in_flight > 0 {
                self.met(Met::CrashInFlight);
            }
            if owed > 0 {
                self.met(Met::CrashOwing);
            }
        }
        let again = if self.calm { self.rng.below(200 * MS) } else { self.rng.between(20, 2_000) * MS };
        self.after(again, What::Mishap(crate::mishap::Mishap::Start { node }));
    }

    /// A process does one thing.
    pub(crate) fn node_does(&mut self, pid: Pid, doing: Doing) {
        let node = pid.node;
        let who = &mut self.nodes[node];
        if who.life != pid.life || !who.up {
            return;
        }
        if who.paused_until > self.now {
            let later = who.paused_until - self.now;
            self.after(later, What::Node(pid, doing));
            return;
        }
        if let Some(left) = &mut who.dies_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                who.dies_after = None;
                self.kill_node(node);
                return;
            }
        }
        if let Some((left, how_long)) = &mut who.stands_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let how_long = *how_long;
                who.stands_after = None;
                who.paused_until = self.now + how_long;
                self.met(Met::Pause);
                if how_long > self.plan.lease {
                    self.met(Met::PauseBeyondLease);
                }
                self.note(None, || format!("node {node} stands still for {} ms", how_long / MS));
                self.after(how_long, What::Node(pid, doing));
                return;
            }
        }
        self.does(pid, doing);
    }

    fn does(&mut self, pid: Pid, doing: Doing) {
        let node = pid.node;
        match doing {
            Doing::Go(action) => self.goes(pid, *action),
            Doing::Tick => self.tick(pid),
            Doing::LeaseHeld { began_ms, renewed } => self.lease_held(pid, began_ms, renewed),
            Doing::LeasesRead { at_ms, leases } => self.leases_read(pid, at_ms, leases),
            Doing::Obey => self.obey(pid),
            Doing::Claimed { shard, try_no, outcome } => self.claimed(pid, shard, try_no, &outcome),
            Doing::Floor { shard, try_no, epoch } => self.look_for_floor(pid, shard, try_no, epoch),
            Doing::Fold { shard, try_no, epoch, from } => self.fold(pid, shard, (try_no, epoch), from),
            Doing::Acked { shard, epoch, n, outcome } => self.acked(node, shard, epoch, n, outcome),
            Doing::Poll { shard } => {
                self.nodes[node].seats[shard as usize].polling = false;
                self.with_serving(node, shard, None, |world, s| world.poll(shard, s));
            }
            Doing::Wake { shard, epoch } => self.with_serving(node, shard, Some(epoch), |world, s| {
                if s.wake_at <= world.now {
                    s.wake_at = u64::MAX;
                }
                Ok(())
            }),
            Doing::Asked { asking, passed_on } => self.asked(node, asking, passed_on),
            Doing::LookUp { shard, past, waits } => self.look_up(node, shard, past, waits),
            Doing::Gone { shard } => self.gone(node, shard),
            Doing::Effect { issued, outcome } => self.effect_done(node, *issued, outcome),
            Doing::PermitsAnswered { shard, epoch, wanted, answer } => {
                self.permits_answered(node, shard, epoch, &wanted, answer);
            }
            Doing::PassedOn { shard, epoch, offset, landed } => {
                self.with_serving(node, shard, Some(epoch), |_, s| s.passed_on(offset, landed));
            }
            Doing::Directory { offset, entry } => self.learns(node, *entry, offset),
        }
    }

    fn tick(&mut self, pid: Pid) {
        let again = self.plan.lease / 4 + self.rng.below(self.plan.lease / 8);
        self.after(again, What::Node(pid, Doing::Tick));
        self.look_at_leases(pid);
        self.look_at_agents(pid.node);
        for shard in 0..self.plan.shards {
            self.with_serving(pid.node, shard, None, |world, s| {
                // There may be room that another shard has made.
                s.owner.there_is_room();
                if s.owner.looks() {
                    s.owner.look_again();
                }
                world.gives_a_sign(pid.node, shard, s);
                world.trims(pid.node, shard, s);
                Ok(())
            });
        }
    }

    /// A request through the quick door.
    fn asked(&mut self, node: usize, asking: Asking, passed_on: bool) {
        let shard = asking.shard;
        if self.nodes[node].serving(shard).is_some() {
            self.with_serving(node, shard, None, |world, s| {
                s.asks.push_back(Ask::Request(asking));
                if s.asks.len() > 1_000 {
                    world.breaks(Some(shard), "a thousand requests wait".into());
                }
                Ok(())
            });
            return;
        }
        match self.route(node, shard).filter(|_| !passed_on) {
            Some(to) => self.depart(node, Action::Forward { to, asking }),
            None => {
                let answer = Err(Error::unavailable("the shard's owner cannot be reached"));
                self.depart(node, Action::Answer { asking, answer });
            }
        }
    }

    /// An action leaves the process.
    fn goes(&mut self, pid: Pid, action: Action) {
        match action {
            Action::Claim { shard, try_no } => self.claim_goes(pid, shard, try_no),
            Action::Append { shard, epoch, n, bytes, ghost } => {
                self.append_goes(pid, shard, crate::world::Of::Step { epoch, n }, bytes, ghost);
            }
            Action::Effect(issued) => self.effect_goes(issued),
            Action::Answer { asking, answer } => self.answer_goes(asking, answer),
            Action::Forward { to, asking } => {
                let life = self.nodes[to].life;
                let delay = self.latency();
                self.after(
                    delay,
                    What::Node(Pid { node: to, life }, Doing::Asked { asking, passed_on: true }),
                );
            }
            Action::PassOn { shard, epoch, offset } => self.pass_on_goes(pid, shard, epoch, offset),
            Action::Mend { shard, offset, entry } => {
                let delay = self.latency();
                self.after(delay, What::Broker(Request::Mend { shard, offset, entry }));
            }
            Action::Trim { shard, below } => {
                let delay = self.latency();
                self.after(delay, What::Broker(Request::Trim { shard, below }));
            }
            Action::WantPermits { shard, epoch, wanted } => {
                let delay = self.latency();
                self.after(delay, What::Redis(Call::Permits { pid, shard, epoch, wanted }));
            }
            Action::GiveUpPermits { shard, epoch, wanted, at } => {
                let delay = self.latency();
                self.after(delay, What::Redis(Call::GiveUp { shard, epoch, wanted, at }));
            }
            Action::RenewLease => self.lease_goes(pid),
            Action::LookAtLeases => {
                let (delay, at_ms) = (self.latency(), self.now / MS);
                self.after(delay, What::Redis(Call::Look { pid, at_ms }));
            }
            Action::ReleaseLease => {
                let delay = self.latency();
                self.after(delay, What::Redis(Call::Release(pid)));
                // That was the last thing that it had to do.
                self.met(Met::Leave);
                self.kill_node(pid.node);
            }
        }
    }

    /// Where an entity lives.
    pub(crate) fn shard_of(&self, root: &str) -> u32 {
        synod_protocol::topics::partition(root.as_bytes(), self.plan.shards)
    }

    /// What a coordinator's wall clock shows.
    pub(crate) fn wall_clock(&self, node: usize) -> synod_protocol::Timestamp {
        let ms = self.timestamp().as_millis().saturating_add(self.nodes[node].skew_ms);
        synod_protocol::Timestamp::from_millis(ms)
    }
}

/// A read through the quick door, or a command.
pub(crate) fn is_admission(asking: &Asking) -> bool {
    asking.command.as_ref().is_some_and(|command| command.is_admission())
}

/// The agent that an entry of the directory is about.
pub(crate) fn agent_key(agent: &synod_protocol::Id) -> AgentKey {
    AgentKey { workspace: synod_protocol::Workspace::default_name(), agent: agent.clone() }
}
