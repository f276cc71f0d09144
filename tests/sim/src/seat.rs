//! A coordinator's seat at one shard: from idle to claim, fold and serve, and from every doubt back.

use crate::bug::Bug;
use crate::node::{Action, Doing};
use crate::plan::MS;
use crate::serve::Serving;
use crate::tally::Met;
use crate::world::{Ack, Ghost, How, Of, Pid, Request, What, World};
use std::collections::BTreeSet;
use synod_ledger::{Audit, Claim, Fold, Folded, Limits, Owner, Record, floor_of, invariants};

/// Where a seat stands.
#[derive(Default)]
pub(crate) enum Phase {
    /// Not ours, as far as we know.
    #[default]
    Idle,
    /// A claim is on its way, or is being folded through.
    Claiming,
    /// Ours, as far as we know.
    Serving(Box<Serving>),
    /// Acknowledged records are missing; nothing more is done here.
    DataLost,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Seat {
    pub(crate) phase: Phase,
    try_no: u64,
    /// Claims once, whoever should own it.
    pub(crate) rogue: bool,
    /// It did.
    pub(crate) is_rogue: bool,
    /// When the claim's acknowledgement came: the shard's time counts on from there.
    claimed_at: u64,
    /// The ledger's end before the claim was sent: what the planted bug folds to.
    end_before: u64,
    /// When the last append of this process arrives at the broker, and the last acknowledgement here.
    pipe: u64,
    acks: u64,
    /// A read of the commands is on its way.
    pub(crate) polling: bool,
    /// Commands that are being passed on to another partition, by epoch and offset.
    pub(crate) passing: BTreeSet<(u64, u64)>,
}

impl World {
    /// Claims.
    pub(crate) fn claim(&mut self, node: usize, shard: u32) {
        let seat = &mut self.nodes[node].seats[shard as usize];
        seat.phase = Phase::Claiming;
        seat.try_no += 1;
        let try_no = seat.try_no;
        self.note(Some(shard), || format!("node {node} will claim"));
        self.depart(node, Action::Claim { shard, try_no });
    }

    /// A claim leaves the process.
    pub(crate) fn claim_goes(&mut self, pid: Pid, shard: u32, try_no: u64) {
        let at = self.wall_clock(pid.node);
        let end = self.shards[shard as usize].ledger.end();
        self.nodes[pid.node].seats[shard as usize].end_before = end;
        let Ok(bytes) = Claim::by(format!("node-{}", pid.node), at).to_bytes() else { return };
        self.append_goes(pid, shard, Of::Claim { try_no }, bytes, Ghost::default());
    }

    /// A record leaves the process; what becomes of it is decided here.
    pub(crate) fn append_goes(&mut self, pid: Pid, shard: u32, of: Of, bytes: Vec<u8>, ghost: Ghost) {
        let rates = self.plan.appends.clone();
        let stalls = self.rng.happens(rates.stalled);
        let stall = if stalls { self.rng.below(2_000) * MS } else { 0 };
        let mut arrives = self.now + self.latency() + stall;
        let seat = &mut self.nodes[pid.node].seats[shard as usize];
        let overtaken = self.rng.happens(rates.overtaken);
        if overtaken {
            arrives += self.rng.below(300) * MS;
        } else {
            arrives = arrives.max(seat.pipe + 1);
            seat.pipe = arrives;
        }
        let mut takes = self.latency();
        if rates.acks_any_order {
            takes += self.rng.below(20 * MS);
        }
        // Claims are few; what happens to one that is heard of late is worth to be seen.
        let more = if matches!(of, Of::Claim { .. }) { 5 } else { 1 };
        if self.rng.happens(rates.late_ack * more) {
            takes += self.rng.below(1_500) * MS;
        }
        let ack = |how| Ack { pid, shard, of, how, takes };
        let delay = arrives - self.now;
        if stalls {
            self.met(Met::Stalled);
        }
        if overtaken {
            self.met(Met::Overtaken);
        }
        if self.rng.happens(rates.refused) {
            self.met(Met::Refused);
            self.note(Some(shard), || format!("the append {of:?} of node {} will be refused", pid.node));
            self.after(delay + takes, What::Node(pid, answer_to(shard, of, Err("refused".into()))));
            return;
        }
        if self.rng.happens(rates.failed_and_late) {
            self.met(Met::FailedAndLate);
            self.note(Some(shard), || {
                format!("the append {of:?} of node {} will fail, and land later", pid.node)
            });
            self.after(takes, What::Node(pid, answer_to(shard, of, Err("timed out".into()))));
            let later = delay + self.rng.below(2_500) * MS;
            self.after(later, What::Broker(Request::Append { shard, bytes, ghost, ack: None }));
            return;
        }
        if self.rng.happens(rates.doubled) {
            self.met(Met::Doubled);
            let within = [MS, 2_000 * MS][self.rng.index(2)];
            let later = delay + 1 + self.rng.below(within);
            let (bytes, ghost) = (bytes.clone(), ghost.clone());
            self.after(later, What::Broker(Request::Append { shard, bytes, ghost, ack: None }));
        }
        let how = match () {
            () if self.rng.happens(rates.failed_but_there) => {
                self.met(Met::FailedButThere);
                How::AsFailed
            }
            () if self.rng.happens(rates.no_offset) => How::Without,
            () => How::WithOffset,
        };
        self.after(delay, What::Broker(Request::Append { shard, bytes, ghost, ack: Some(ack(how)) }));
    }

    /// A record has landed; its author hears of it.
    pub(crate) fn acknowledge(&mut self, ack: Ack, offset: u64) {
        let outcome = match ack.how {
            How::WithOffset => Ok(Some(offset)),
            How::Without => Ok(None),
            How::AsFailed => Err("timed out".to_owned()),
        };
        let mut at = self.now + ack.takes;
        if !self.plan.appends.acks_any_order {
            let seat = &mut self.nodes[ack.pid.node].seats[ack.shard as usize];
            at = at.max(seat.acks + 1);
            seat.acks = at;
        }
        let delay = at - self.now;
        self.after(delay, What::Node(ack.pid, answer_to(ack.shard, ack.of, outcome)));
    }

    /// A claim's acknowledgement.
    pub(crate) fn claimed(
        &mut self,
        pid: Pid,
        shard: u32,
        try_no: u64,
        outcome: &Result<Option<u64>, String>,
    ) {
        let seat = &mut self.nodes[pid.node].seats[shard as usize];
        if seat.try_no != try_no || !matches!(seat.phase, Phase::Claiming) {
            return;
        }
        match outcome {
            Ok(Some(epoch)) => {
                let epoch = *epoch;
                let delay = self.latency() + self.latency();
                self.note(Some(shard), || format!("node {} has claimed at {epoch}", pid.node));
                self.nodes[pid.node].seats[shard as usize].claimed_at = self.now;
                self.after(delay, What::Node(pid, Doing::Floor { shard, try_no, epoch }));
            }
            Ok(None) | Err(_) => {
                self.met(Met::ClaimInDoubt);
                self.note(Some(shard), || format!("node {}'s claim is in doubt: {outcome:?}", pid.node));
                self.become_idle(pid.node, shard, false);
            }
        }
    }

    /// Whether this is the claim that the seat has made last, and is about.
    fn is_claiming(&self, node: usize, shard: u32, try_no: u64) -> bool {
        let seat = &self.nodes[node].seats[shard as usize];
        seat.try_no == try_no && matches!(seat.phase, Phase::Claiming)
    }

    /// Looks for the floor of the nearest step before the claim that is not trimmed away, whether or not it counts.
    pub(crate) fn look_for_floor(&mut self, pid: Pid, shard: u32, try_no: u64, epoch: u64) {
        if !self.is_claiming(pid.node, shard, try_no) {
            return;
        }
        let log = &self.shards[shard as usize].ledger;
        let low = log.start();
        if low > epoch {
            self.met(Met::TrimmedClaim);
            self.note(Some(shard), || format!("node {}'s claim {epoch} has been trimmed away", pid.node));
            return self.become_idle(pid.node, shard, false);
        }
        let named = |offset| floor_of(offset, &log.get(offset)?.1).filter(|floor| *floor >= low);
        let from = (low..epoch).rev().find_map(named);
        if from.is_none() && low > 0 && log.end() > epoch + 1 {
            // Whoever trimmed it there has named that floor: behind our claim, if not before it.
            self.met(Met::TrimmedClaim);
            self.note(Some(shard), || format!("node {}'s claim {epoch} has been overtaken", pid.node));
            return self.become_idle(pid.node, shard, false);
        }
        if from.is_none() && low > 0 {
            return self.breaks(
                Some(shard),
                format!("the ledger begins at {low}, and no step before claim {epoch} names a floor there"),
            );
        }
        let delay = self.latency() + self.latency();
        self.after(delay, What::Node(pid, Doing::Fold { shard, try_no, epoch, from }));
    }

    /// Folds through the claim and begins to serve.
    pub(crate) fn fold(&mut self, pid: Pid, shard: u32, (try_no, epoch): (u64, u64), from: Option<u64>) {
        let node = pid.node;
        if !self.is_claiming(node, shard, try_no) {
            return;
        }
        if self.shards[shard as usize].ledger.start() > from.unwrap_or(0) {
            self.note(Some(shard), || format!("node {node} cannot read from {from:?}: it is trimmed away"));
            return self.become_idle(node, shard, false);
        }
        let seat = &self.nodes[node].seats[shard as usize];
        let claimed_at = seat.claimed_at;
        let stops_at = if self.bug == Some(Bug::FoldBeforeClaim) { seat.end_before } else { epoch };
        let judged = self.rng.happens(self.plan.judged);
        let folded = match self.folded(shard, stops_at, epoch, from, judged) {
            Ok(folded) => folded,
            Err(why) => return self.breaks(Some(shard), format!("node {node} cannot fold: {why}")),
        };
        self.met(if from.is_none() { Met::FoldFromBirth } else { Met::FoldFromFloor });
        if self.shards[shard as usize].ledger.start() > 0 {
            self.met(Met::FoldOfTrimmed);
        }
        let newest = self.newest.entry(shard).or_default();
        *newest = epoch.max(*newest);
        let lineage = match self.watch.folded(shard, epoch, &folded) {
            Ok(lineage) => lineage,
            Err(why) => return self.breaks(Some(shard), format!("node {node}: {why}")),
        };
        let began = (folded.now, claimed_at);
        let position = folded.state.position();
        let limits = Limits {
            record_bytes: self.plan.record_limit,
            image_within: self.plan.image_within,
            live_bytes: self.plan.live_bytes,
        };
        let mut rules = self.plan.rules.clone();
        if self.bug == Some(Bug::AgeUncounted) {
            rules.queue.aging_ms = 365 * 24 * 3_600_000;
        }
        let (owner, owed) = Owner::with(shard, folded, limits, rules);
        self.note(Some(shard), || {
            format!(
                "node {node} has folded from {from:?} through {epoch}: position {position}, {} steps owed",
                owed.len()
            )
        });
        let others = self.nodes.iter().filter(|other| other.serving(shard).is_some()).count();
        match others {
            0 => {}
            1 => self.met(Met::TwoOwners),
            _ => self.met(Met::ThreeOwners),
        }
        let serving = Serving::new(owner, began, lineage, self.now);
        self.nodes[node].seats[shard as usize].phase = Phase::Serving(Box::new(serving));
        self.with_serving(node, shard, Some(epoch), |world, s| world.begins(node, shard, s, owed));
    }

    /// The fold of what is in the log, through the claim at `epoch`; what lies from `stops_at` on is passed over.
    /// If `judged`, by the audit too, and by the invariants after each record: where it begins at a floor, as soon as
    /// the step that names it has been met, for only then is everything known.
    fn folded(
        &self,
        shard: u32,
        stops_at: u64,
        epoch: u64,
        from: Option<u64>,
        judged: bool,
    ) -> Result<Folded, String> {
        let log = &self.shards[shard as usize].ledger;
        let keep = self.plan.keep.clone();
        let window = keep.window;
        let (mut fold, mut audit) = match from {
            Some(floor) => (Fold::from_floor(keep, floor), Audit::from_floor(window, floor)),
            None => (Fold::whole(keep), Audit::new(window)),
        };
        let mut whole = from.is_none();
        for offset in from.unwrap_or(0)..=epoch {
            let Some((at, bytes)) = log.get(offset) else {
                return Err(format!("offset {offset} is not there"));
            };
            let bytes: &[u8] = if offset >= stops_at && offset < epoch { b"{}" } else { bytes };
            let verdict = fold.record(offset, Some(*at), bytes).map_err(|e| e.to_string())?;
            if !judged {
                continue;
            }
            let audited = match Record::read(bytes) {
                Ok(record) => audit.record(offset, &record, verdict),
                Err(_) => audit.foreign(offset),
            };
            audited.map_err(|violation| format!("from {from:?}: {violation}"))?;
            whole |= from.is_some() && floor_of(offset, bytes) == from;
            if whole {
                invariants(fold.state()).map_err(|why| format!("from {from:?}, after {offset}: {why}"))?;
            }
        }
        fold.finish().map_err(|e| e.to_string())
    }

    /// It is nobody's business any more: let go of in good order, or its epoch is over, or never began.
    pub(crate) fn become_idle(&mut self, node: usize, shard: u32, released: bool) {
        let who = &mut self.nodes[node];
        who.fleet.forget_shard(shard);
        let seat = &mut who.seats[shard as usize];
        (seat.phase, seat.is_rogue) = (Phase::Idle, false);
        self.tells_tenure(node, shard, released);
    }
}

impl Seat {
    /// Whether a misplaced command is on its way already.
    pub(crate) fn is_passing(&self, epoch: u64, offset: u64) -> bool {
        self.passing.contains(&(epoch, offset))
    }
}

fn answer_to(shard: u32, of: Of, outcome: Result<Option<u64>, String>) -> Doing {
    match of {
        Of::Claim { try_no } => Doing::Claimed { shard, try_no, outcome },
        Of::Step { epoch, n } => Doing::Acked { shard, epoch, n, outcome },
    }
}
