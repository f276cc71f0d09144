//! A coordinator's seat at one shard: from idle to claim, fold and serve, and from every doubt back.

use crate::bug::Bug;
use crate::node::{Action, Doing};
use crate::plan::MS;
use crate::serve::Serving;
use crate::world::{Ack, Ghost, How, Of, Pid, Request, What, World};
use std::collections::BTreeSet;
use synod_ledger::{Claim, Fold, Folded, Owner};

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
    retry_at: u64,
    pause: u64,
    /// Claims once whoever should own it.
    pub(crate) rogue: bool,
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
    /// Claims what should be ours, and hands over what should not.
    pub(crate) fn look_at_seats(&mut self, pid: Pid) {
        let node = pid.node;
        for shard in 0..self.plan.shards {
            let who = &mut self.nodes[node];
            let entitled = who.tenure.is_entitled(node, shard) && !who.leaving;
            let may_claim = who.tenure.may_claim(self.now);
            let leaving = who.leaving;
            let seat = &mut who.seats[shard as usize];
            match &mut seat.phase {
                Phase::Idle => {
                    let rogue = std::mem::take(&mut seat.rogue) && !leaving;
                    if rogue || (entitled && may_claim && self.now >= seat.retry_at) {
                        self.claim(node, shard);
                    }
                }
                Phase::Serving(serving) if !entitled && serving.finishing.is_none() => {
                    serving.finishing = Some(self.now + 500 * MS);
                    self.note(Some(shard), || format!("node {node} hands over"));
                    self.with_serving(node, shard, None, |_, _| Ok(()));
                }
                Phase::Claiming | Phase::Serving(_) | Phase::DataLost => {}
            }
        }
        let who = &self.nodes[node];
        if who.leaving && who.seats.iter().all(|seat| matches!(seat.phase, Phase::Idle | Phase::DataLost)) {
            self.depart(node, Action::ReleaseLease);
        }
    }

    fn claim(&mut self, node: usize, shard: u32) {
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
        if self.rng.happens(rates.late_ack) {
            takes += self.rng.below(1_500) * MS;
        }
        let ack = |how| Ack { pid, shard, of, how, takes };
        let delay = arrives - self.now;
        if self.rng.happens(rates.refused) {
            self.note(Some(shard), || format!("the append {of:?} of node {} will be refused", pid.node));
            self.after(delay + takes, What::Node(pid, answer_to(shard, of, Err("refused".into()))));
            return;
        }
        if self.rng.happens(rates.failed_and_late) {
            self.note(Some(shard), || {
                format!("the append {of:?} of node {} will fail, and land later", pid.node)
            });
            self.after(takes, What::Node(pid, answer_to(shard, of, Err("timed out".into()))));
            let later = delay + self.rng.below(2_500) * MS;
            self.after(later, What::Broker(Request::Append { shard, bytes, ghost, ack: None }));
            return;
        }
        if self.rng.happens(rates.doubled) {
            let within = [MS, 2_000 * MS][self.rng.index(2)];
            let later = delay + 1 + self.rng.below(within);
            let bytes = bytes.clone();
            self.after(later, What::Broker(Request::Append { shard, bytes, ghost, ack: None }));
        }
        let how = match () {
            () if self.rng.happens(rates.failed_but_there) => How::AsFailed,
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
                self.after(delay, What::Node(pid, Doing::Fold { shard, try_no, epoch }));
            }
            Ok(None) | Err(_) => {
                self.note(Some(shard), || format!("node {}'s claim is in doubt: {outcome:?}", pid.node));
                self.become_idle(pid.node, shard);
            }
        }
    }

    /// Folds through the claim and begins to serve.
    pub(crate) fn fold(&mut self, pid: Pid, shard: u32, try_no: u64, epoch: u64) {
        let node = pid.node;
        let seat = &self.nodes[node].seats[shard as usize];
        if seat.try_no != try_no || !matches!(seat.phase, Phase::Claiming) {
            return;
        }
        let claimed_at = seat.claimed_at;
        let stops_at = if self.bug == Some(Bug::FoldBeforeClaim) { seat.end_before } else { epoch };
        let folded = match self.folded(shard, stops_at, epoch) {
            Ok(folded) => folded,
            Err(why) => return self.breaks(Some(shard), format!("node {node} cannot fold: {why}")),
        };
        let lineage = match self.watch.folded(shard, epoch, &folded) {
            Ok(lineage) => lineage,
            Err(why) => return self.breaks(Some(shard), format!("node {node}: {why}")),
        };
        let began = (folded.now, claimed_at);
        let position = folded.state.position;
        let (owner, owed) = Owner::new(shard, folded, self.plan.record_limit);
        self.note(Some(shard), || {
            format!("node {node} has folded through {epoch}: position {position}, {} steps owed", owed.len())
        });
        let serving = Serving::new(owner, began, lineage);
        self.nodes[node].seats[shard as usize].phase = Phase::Serving(Box::new(serving));
        self.with_serving(node, shard, Some(epoch), |world, s| world.begins(node, shard, s, owed));
    }

    /// The fold of what is in the log, through the claim at `epoch`; what lies from `stops_at` on is passed over.
    fn folded(&self, shard: u32, stops_at: u64, epoch: u64) -> Result<Folded, String> {
        let log = &self.shards[shard as usize].ledger;
        let mut fold = Fold::default();
        for offset in log.start()..=epoch {
            let Some((at, bytes)) = log.get(offset) else {
                return Err(format!("offset {offset} is not there"));
            };
            let bytes: &[u8] = if offset >= stops_at && offset < epoch { b"{}" } else { bytes };
            fold.record(offset, Some(*at), bytes).map_err(|e| e.to_string())?;
        }
        fold.finish().map_err(|e| e.to_string())
    }

    /// The epoch is over for us, or never began; perhaps it is claimed anew, not at once.
    pub(crate) fn become_idle(&mut self, node: usize, shard: u32) {
        let (jitter, now, calm) = (self.rng.between(50, 150), self.now, self.calm);
        let who = &mut self.nodes[node];
        who.fleet.forget_shard(shard);
        let seat = &mut who.seats[shard as usize];
        seat.phase = Phase::Idle;
        seat.pause = if calm { 20 * MS } else { (seat.pause * 2).clamp(20 * MS, 500 * MS) };
        let pause = seat.pause * jitter / 100;
        seat.retry_at = now + pause;
        let pid = Pid { node, life: who.life };
        // The next look finds it idle.
        self.after(pause + 1, What::Node(pid, Doing::Leases(None)));
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
