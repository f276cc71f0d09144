//! A coordinator's lease, and the orders that the real `Tenure` gives by the leases of all: the shell around it, as
//! `coordinator/src/tenure.rs` is.

use crate::node::{Action, Doing};
use crate::plan::{MS, Plan};
use crate::redis::{Lease, Leases};
use crate::seat::Phase;
use crate::tally::Met;
use crate::world::{Call, Pid, What, World};
use synod_ledger::tenure::{Route, Row, Table, Tenure, Terms};
use synod_protocol::Id;

/// The tenure of a process start.
pub(crate) fn tenure(node: usize, life: u32, plan: &Plan) -> Tenure {
    let lease_ms = plan.lease / MS;
    let terms = Terms {
        lease_ms,
        renew_ms: lease_ms / 4,
        patience_ms: 2 * lease_ms,
        moves: 2,
        leaving_moves: 4,
        settle_ms: 300,
        pause_ms: (20, 500),
        steady_ms: 2_000,
    };
    let mut tenure = Tenure::new(id_of(node), format!("{node}-{life}"), plan.shards, terms);
    tenure.join();
    tenure
}

/// A coordinator's id.
pub(crate) fn id_of(node: usize) -> Id {
    // Nothing but letters and digits, which is an id.
    format!("n{node}").parse().unwrap_or_else(|_| unreachable!())
}

impl World {
    fn now_ms(&self) -> u64 {
        self.now / MS
    }

    /// A regular look at the leases; our own is renewed before, unless it may have ended.
    pub(crate) fn look_at_leases(&mut self, pid: Pid) {
        if !self.nodes[pid.node].tenure.has_lapsed(self.now_ms()) {
            self.depart(pid.node, Action::RenewLease);
        }
        self.depart(pid.node, Action::LookAtLeases);
    }

    /// The call that renews our lease leaves, with what it says now.
    pub(crate) fn lease_goes(&mut self, pid: Pid) {
        let (delay, began_ms, lasts) = (self.latency(), self.now_ms(), self.plan.lease);
        let who = &mut self.nodes[pid.node];
        for (seat, shard) in who.seats.iter().zip(0..) {
            let serves = matches!(&seat.phase, Phase::Serving(s) if s.until.is_none());
            who.tenure.serving(shard, serves);
        }
        let tenure = &who.tenure;
        let lease = Lease {
            life: pid.life,
            takes: tenure.takes(),
            held: tenure.held(),
            serving: tenure.served(),
            beat: 0,
            lasts,
        };
        self.after(delay, What::Redis(Call::Lease { pid, lease, began_ms }));
    }

    /// What became of it: `Some(false)` if Redis had not known it.
    pub(crate) fn lease_held(&mut self, pid: Pid, began_ms: u64, renewed: Option<bool>) {
        let Some(renewed) = renewed else { return };
        let who = &mut self.nodes[pid.node];
        who.tenure.renewed(began_ms);
        if !renewed && std::mem::replace(&mut who.has_held, true) {
            // Redis has lost our lease, and with it perhaps all that it held.
            for shard in 0..self.plan.shards {
                self.with_serving(pid.node, shard, None, |world, s| {
                    let mut released = Vec::new();
                    s.owner.redeliver(&mut released);
                    world.release(pid.node, shard, s, released);
                    Ok(())
                });
            }
        }
        self.nodes[pid.node].has_held = true;
        if !renewed {
            // It counts once it is seen in the table.
            self.depart(pid.node, Action::LookAtLeases);
        }
    }

    /// The leases have been read, or not.
    pub(crate) fn leases_read(&mut self, pid: Pid, at_ms: u64, leases: Option<Leases>) {
        let connection = self.redis.down_until;
        let present: Vec<bool> = self.nodes.iter().map(|node| node.up).collect();
        let tenure = &mut self.nodes[pid.node].tenure;
        let Some(leases) = leases else {
            tenure.unread();
            return self.obey(pid);
        };
        let row = |(node, lease): (usize, Lease)| Row {
            id: id_of(node),
            holder: format!("{node}-{}", lease.life),
            address: node.to_string(),
            takes: lease.takes,
            held: lease.held,
            serving: lease.serving,
            beat: lease.beat,
            present: Some(present[node]),
        };
        tenure.read(Table {
            at_ms,
            run_id: leases.run.to_string(),
            connection,
            era: leases.era.to_string(),
            age_ms: leases.age / MS + if leases.era == 0 { 10_000 } else { 0 },
            rows: leases.rows.into_iter().map(row).collect(),
        });
        self.obey(pid);
        if self.nodes[pid.node].tenure.has_lapsed(self.now_ms()) {
            self.depart(pid.node, Action::RenewLease);
        }
    }

    /// Has the seats do what the tenure orders.
    pub(crate) fn obey(&mut self, pid: Pid) {
        let (node, now_ms) = (pid.node, self.now_ms());
        let orders = self.nodes[node].tenure.orders(now_ms);
        for shard in orders.claim {
            match self.nodes[node].seats[shard as usize].phase {
                Phase::Idle => self.claim(node, shard),
                // A rogue has it already, or there is nothing to be had any more.
                _ => self.nodes[node].tenure.lost(shard, now_ms, 255),
            }
        }
        for shard in orders.hand_over.into_iter().chain(orders.stand_down) {
            self.lets_go(node, shard);
        }
        for shard in 0..self.plan.shards {
            let who = &mut self.nodes[node];
            let (holds, leaving) = (who.tenure.holds(shard), who.leaving);
            let seat = &mut who.seats[shard as usize];
            match &seat.phase {
                Phase::Idle if !leaving && !holds && std::mem::take(&mut seat.rogue) => {
                    seat.is_rogue = true;
                    self.met(Met::Rogue);
                    self.claim(node, shard);
                }
                // One that should never have been lets go with the rest of its process.
                Phase::Serving(_) | Phase::Claiming if !holds && (leaving || !seat.is_rogue) => {
                    self.lets_go(node, shard);
                }
                _ => {}
            }
        }
        let who = &self.nodes[node];
        if who.leaving && who.seats.iter().all(|seat| matches!(seat.phase, Phase::Idle | Phase::DataLost)) {
            self.depart(node, Action::ReleaseLease);
        }
    }

    fn lets_go(&mut self, node: usize, shard: u32) {
        let until = self.now + 300 * MS;
        self.note(Some(shard), || format!("node {node} is to let go"));
        match &mut self.nodes[node].seats[shard as usize].phase {
            Phase::Serving(serving) => {
                serving.finishing.get_or_insert(until);
                self.with_serving(node, shard, None, |_, _| Ok(()));
            }
            // Its claim may still land; nobody will fold through it.
            Phase::Claiming => self.become_idle(node, shard, true),
            Phase::Idle | Phase::DataLost => {
                let now_ms = self.now_ms();
                self.nodes[node].tenure.released(shard, now_ms);
            }
        }
    }

    /// A seat has come to be idle: in good order, or because its epoch is over.
    pub(crate) fn tells_tenure(&mut self, node: usize, shard: u32, released: bool) {
        let (now_ms, jitter) = (self.now_ms(), self.rng.below(256) as u8);
        let who = &mut self.nodes[node];
        if released {
            who.tenure.released(shard, now_ms);
        } else {
            who.tenure.lost(shard, now_ms, jitter);
        }
        let pid = Pid { node, life: who.life };
        self.after(1, What::Node(pid, Doing::Obey));
    }

    /// The other coordinator to which a request for a shard goes, if there is one.
    pub(crate) fn route(&self, node: usize, shard: u32) -> Option<usize> {
        match self.nodes[node].tenure.route(shard) {
            Route::There { address, .. } => address.parse().ok(),
            Route::Here | Route::Soon | Route::Nobody => None,
        }
    }
}
