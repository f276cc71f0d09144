//! Who is to own which shard: the rules by which a coordinator claims, hands over and stands down.
//!
//! Nothing here makes an owner; the claim in the ledger does that, and fences. These rules only keep
//! coordinators from claiming against each other, and keep moves few. A machine of plain values: the shell
//! tells it what it has read and done and asks for orders; the simulation does the same.
//!
//! ```text
//!            read, renewed                     claim          serving
//!   table ------------------> entitled? Away --------> Held --------> Held, serving
//!                                        ^   lost         |               | belongs to another, or leaving
//!                                        +----------------+   released    v
//!                                        +------------------------ handing over
//! ```
//!
//! - Shards are spread over the live coordinators by rendezvous hashing (Thaler and Ravishankar, 1998): who
//!   comes or goes moves only what is his.
//! - One claims what is his and what nobody lists as held; a holder that ignores him for `patience_ms` is claimed over.
//! - What belongs to another is handed over, a few at a time, and the next only when he serves the last.
//! - Redis that does not answer stops no owner, and nothing is claimed. Redis that has come back empty knows of
//!   too few: for one lease nothing is claimed or handed over.
//! - One whose epoch ended looks at a table read after that, and claims again after a growing pause if it is
//!   still his.

mod rendezvous;
mod table;
mod watch;

pub use rendezvous::rendezvous;
pub use table::{Orders, Route, Row, Table, Terms};

use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::Id;
use watch::Watch;

#[derive(Clone, Debug, Default)]
struct Holding {
    since_ms: u64,
    serving: bool,
    /// It was told to let go.
    going: bool,
    /// It was claimed over another that listed it.
    over_another: bool,
    /// Another listed it since our claim, whose claim may have come after ours.
    contested: bool,
    /// Since when it belongs to another.
    not_ours_since_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Retry {
    fenced_ms: u64,
    not_before_ms: u64,
    pause_ms: u64,
}

/// The tenure of one coordinator's shards.
#[derive(Clone, Debug)]
pub struct Tenure {
    me: Id,
    holder: String,
    terms: Terms,
    held: BTreeMap<u32, Holding>,
    retries: BTreeMap<u32, Retry>,
    /// What was handed over and is not served by anyone yet, and since when.
    moved: BTreeMap<u32, u64>,
    /// Since when another holds what is ours.
    ignored: BTreeMap<u32, u64>,
    table: Option<Table>,
    reachable: bool,
    watch: Watch,
    /// Who is live besides us, as of the last table.
    live: BTreeSet<Id>,
    /// To whom each shard belongs: among those who take shards and ourselves.
    belongs: Vec<Option<Id>>,
    candidates: BTreeSet<Id>,
    era: Option<(String, String)>,
    quiet_until_ms: u64,
    renewed_ms: Option<u64>,
    takes: bool,
    leaving: bool,
    first: bool,
}

impl Tenure {
    /// For the coordinator `me`, whose lease this `holder` keeps, in a mesh of so many shards.
    pub fn new(me: Id, holder: impl Into<String>, shards: u32, terms: Terms) -> Tenure {
        let mut tenure = Tenure {
            me,
            holder: holder.into(),
            terms,
            held: BTreeMap::new(),
            retries: BTreeMap::new(),
            moved: BTreeMap::new(),
            ignored: BTreeMap::new(),
            table: None,
            reachable: false,
            watch: Watch::default(),
            live: BTreeSet::new(),
            belongs: vec![None; shards as usize],
            candidates: BTreeSet::new(),
            era: None,
            quiet_until_ms: 0,
            renewed_ms: None,
            takes: false,
            leaving: false,
            first: false,
        };
        tenure.spread();
        tenure
    }

    /// Who this is.
    pub fn me(&self) -> &Id {
        &self.me
    }

    /// This coordinator has made the mesh: nobody can hold anything that Redis does not know of yet, and the first
    /// claims wait for nothing.
    pub fn is_first(&mut self) {
        self.first = true;
    }

    /// From now on it takes shards: it has joined Kafka.
    pub fn join(&mut self) {
        self.takes = !self.leaving;
        self.spread();
    }

    /// Whether our lease says that we take shards.
    pub fn takes(&self) -> bool {
        self.takes
    }

    /// Our lease was renewed by a call that began then.
    pub fn renewed(&mut self, began_ms: u64) {
        self.renewed_ms = Some(began_ms);
    }

    /// Whether our lease may have ended since it was last renewed: then others may have taken our shards, and
    /// the table is to be read before the lease is taken again.
    pub fn has_lapsed(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_none_or(|at| now_ms.saturating_sub(at) >= self.terms.lease_ms)
    }

    /// Redis did not answer.
    pub fn unread(&mut self) {
        self.reachable = false;
    }

    /// Takes in the leases as they stand.
    pub fn read(&mut self, table: Table) {
        if self.table.as_ref().is_some_and(|newer| newer.at_ms > table.at_ms) {
            return;
        }
        let era = (table.run_id.clone(), table.era.clone());
        if self.era.as_ref() != Some(&era) {
            // For how long it has had its data is only to be believed of the first one that we meet: one that
            // changed under our eyes may have come back empty, or with an old file.
            let age = if self.era.is_none() { table.age_ms } else { 0 };
            let quiet_ms = if self.first { 0 } else { self.terms.lease_ms.saturating_sub(age) };
            self.quiet_until_ms = table.at_ms + quiet_ms;
            self.era = Some(era);
        }
        self.live = self.watch.live(&table, &self.me, &self.terms);
        self.reachable = true;
        self.table = Some(table);
        self.spread();
        self.compare();
    }

    /// Spreads the shards over those who take any.
    fn spread(&mut self) {
        let rows = self.table.iter().flat_map(|table| &table.rows);
        let mut candidates: BTreeSet<Id> =
            rows.filter(|row| row.takes && self.live.contains(&row.id)).map(|row| row.id.clone()).collect();
        if self.takes {
            candidates.insert(self.me.clone());
        }
        if candidates != self.candidates {
            for (shard, belongs) in self.belongs.iter_mut().enumerate() {
                *belongs = rendezvous(shard as u32, &candidates).cloned();
            }
            self.candidates = candidates;
        }
    }

    /// Compares what we hold with what others list.
    fn compare(&mut self) {
        let Some(table) = self.table.take() else { return };
        for (shard, holding) in &mut self.held {
            let is_ours = self.belongs[*shard as usize].as_ref() == Some(&self.me);
            if is_ours {
                holding.not_ours_since_ms = None;
            } else {
                holding.not_ours_since_ms.get_or_insert(table.at_ms);
            }
            let other = table.rows.iter().any(|row| row.held.contains(shard) && self.live.contains(&row.id));
            // What was listed before our claim is not news.
            if other && !holding.over_another && table.at_ms >= holding.since_ms {
                holding.contested = true;
            }
        }
        for shard in 0..self.belongs.len() as u32 {
            let is_ours = self.belongs[shard as usize].as_ref() == Some(&self.me);
            let other = table.rows.iter().any(|row| row.held.contains(&shard) && self.live.contains(&row.id));
            if is_ours && other && !self.held.contains_key(&shard) {
                self.ignored.entry(shard).or_insert(table.at_ms);
            } else {
                self.ignored.remove(&shard);
            }
        }
        let served =
            |shard: &u32| table.rows.iter().any(|row| row.id != self.me && row.serving.contains(shard));
        self.moved.retain(|shard, _| !served(shard));
        self.table = Some(table);
    }

    /// What is to be done now. What it orders to claim counts as held; what it orders to let go counts as going.
    pub fn orders(&mut self, now_ms: u64) -> Orders {
        let mut orders = Orders::default();
        let others: Vec<u32> =
            (0..self.belongs.len() as u32).filter(|s| self.is_held_elsewhere(*s)).collect();
        let lapsed = self.table.as_ref().is_some_and(|table| self.has_lapsed(table.at_ms));
        for (shard, holding) in &mut self.held {
            let elsewhere = others.binary_search(shard).is_ok();
            let is_ours = self.belongs[*shard as usize].as_ref() == Some(&self.me);
            let in_doubt = match (holding.contested, elsewhere) {
                (false, _) => false,
                // It is ours; once the other has let go we claim anew, for its claim may have come after ours.
                (true, true) => lapsed || !is_ours,
                (true, false) => true,
            };
            if in_doubt && !holding.going {
                holding.going = true;
                orders.stand_down.push(*shard);
            }
        }
        orders.hand_over = self.next_to_hand_over(now_ms);
        for shard in 0..self.belongs.len() as u32 {
            if self.may_claim(shard, now_ms) {
                let over_another = others.binary_search(&shard).is_ok();
                self.held.insert(shard, Holding { since_ms: now_ms, over_another, ..Holding::default() });
                self.moved.remove(&shard);
                self.ignored.remove(&shard);
                orders.claim.push(shard);
                self.first = false;
            }
        }
        orders
    }

    fn next_to_hand_over(&mut self, now_ms: u64) -> Vec<u32> {
        let (me, settle) = (&self.me, self.terms.settle_ms);
        if self.leaving {
            // The next may not be there any more; an end must come all the same.
            self.moved.retain(|_, since| now_ms.saturating_sub(*since) < settle);
        } else if !self.reachable || now_ms < self.quiet_until_ms {
            return Vec::new();
        }
        self.moved.retain(|shard, _| self.belongs[*shard as usize].as_ref().is_some_and(|id| id != me));
        let alone = !self.reachable || self.candidates.is_empty();
        let going = self.held.values().filter(|holding| holding.going).count();
        let room = match self.leaving {
            true if alone => usize::MAX,
            true => self.terms.leaving_moves.saturating_sub(going + self.moved.len()),
            false => self.terms.moves.saturating_sub(going + self.moved.len()),
        };
        let mut orders = Vec::new();
        for (shard, holding) in &mut self.held {
            let another = self.belongs[*shard as usize].as_ref().is_some_and(|id| id != me);
            if orders.len() < room && !holding.going && (another || self.leaving) {
                holding.going = true;
                orders.push(*shard);
            }
        }
        orders
    }

    fn may_claim(&self, shard: u32, now_ms: u64) -> bool {
        let Some(table) = &self.table else { return false };
        let our_lease_stands = table.rows.iter().any(|row| row.id == self.me && row.holder == self.holder);
        let is_ours = self.belongs[shard as usize].as_ref() == Some(&self.me);
        let is_fresh = self.reachable && now_ms.saturating_sub(table.at_ms) < self.terms.lease_ms;
        if !is_ours || !our_lease_stands || !is_fresh || self.held.contains_key(&shard) {
            return false;
        }
        let too_early = |retry: &Retry| table.at_ms < retry.fenced_ms || now_ms < retry.not_before_ms;
        if now_ms < self.quiet_until_ms || self.retries.get(&shard).is_some_and(too_early) {
            return false;
        }
        let ignored_ms = self.ignored.get(&shard).map_or(0, |since| now_ms.saturating_sub(*since));
        !self.is_held_elsewhere(shard) || ignored_ms >= self.terms.patience_ms
    }

    fn is_held_elsewhere(&self, shard: u32) -> bool {
        self.holder_of(shard).is_some()
    }

    /// Another who lists it; the one to whom it belongs, if he is among them.
    fn holder_of(&self, shard: u32) -> Option<&Row> {
        let rows = self.table.iter().flat_map(|table| &table.rows);
        let belongs = self.belongs.get(shard as usize)?.as_ref();
        rows.filter(|row| row.held.contains(&shard) && self.live.contains(&row.id))
            .max_by_key(|row| (belongs == Some(&row.id), row.serving.contains(&shard)))
    }

    /// It serves: the claim is folded and what was waiting is handled.
    pub fn serving(&mut self, shard: u32, serves: bool) {
        if let Some(holding) = self.held.get_mut(&shard) {
            holding.serving = serves;
        }
    }

    /// Its epoch is over, or it could not be taken. `jitter` (0 to 255) is drawn by the caller: two that claim
    /// in turn must not do so in step.
    pub fn lost(&mut self, shard: u32, now_ms: u64, jitter: u8) {
        if self.held.get(&shard).is_some_and(|holding| holding.going) {
            // It was to let go anyhow.
            return self.released(shard, now_ms);
        }
        let Some(holding) = self.held.remove(&shard) else { return };
        let (first, longest) = self.terms.pause_ms;
        let was_steady = now_ms.saturating_sub(holding.since_ms) >= self.terms.steady_ms;
        let before = self.retries.get(&shard).map(|retry| retry.pause_ms).filter(|_| !was_steady);
        let pause_ms = before.map_or(first, |pause| (pause * 2).min(longest));
        let wait_ms = pause_ms / 2 + pause_ms * u64::from(jitter) / 255;
        self.retries.insert(shard, Retry { fenced_ms: now_ms, not_before_ms: now_ms + wait_ms, pause_ms });
    }

    /// It was let go of in good order.
    pub fn released(&mut self, shard: u32, now_ms: u64) {
        if self.held.remove(&shard).is_some() {
            self.moved.insert(shard, now_ms);
        }
    }

    /// From now on nothing is claimed and everything is handed over.
    pub fn leave(&mut self) {
        (self.takes, self.leaving) = (false, true);
        self.spread();
    }

    /// What our lease lists as held: also what is being handed over, but not what another holds already.
    pub fn held(&self) -> BTreeSet<u32> {
        let lists =
            |(shard, holding): (&u32, &Holding)| (!holding.going || !holding.contested).then_some(*shard);
        self.held.iter().filter_map(lists).collect()
    }

    /// What of this is served.
    pub fn served(&self) -> BTreeSet<u32> {
        self.held.iter().filter(|(_, holding)| holding.serving).map(|(shard, _)| *shard).collect()
    }

    /// Whether a shard is ours to work on, in whatever state.
    pub fn holds(&self, shard: u32) -> bool {
        self.held.contains_key(&shard)
    }

    /// Whether nobody else can have claimed it since, as far as the rules go: an owner that was not heard of for a
    /// while may have been replaced, and must ask the ledger before it answers a read.
    pub fn is_sure(&self, shard: u32, now_ms: u64) -> bool {
        let renewed = self.renewed_ms.is_some_and(|at| now_ms.saturating_sub(at) < 2 * self.terms.renew_ms);
        renewed
            && self.held.get(&shard).is_some_and(|holding| {
                let ignoring = holding.not_ours_since_ms.map_or(0, |since| now_ms.saturating_sub(since));
                !holding.contested && ignoring < self.terms.patience_ms / 2
            })
    }

    /// Where a request for it goes.
    pub fn route(&self, shard: u32) -> Route {
        if self.held.get(&shard).is_some_and(|holding| !holding.going) {
            return Route::Here;
        }
        let there = |row: &Row| Route::There { id: row.id.clone(), address: row.address.clone() };
        if let Some(holder) = self.holder_of(shard) {
            return there(holder);
        }
        let next = self.belongs.get(shard as usize).and_then(Option::as_ref);
        match next {
            Some(id) if *id == self.me => Route::Soon,
            Some(id) => self.row(id).map_or(Route::Nobody, there),
            None => Route::Nobody,
        }
    }

    /// The lease of another coordinator, as last read.
    pub fn row(&self, id: &Id) -> Option<&Row> {
        self.table.iter().flat_map(|table| &table.rows).find(|row| row.id == *id)
    }

    /// Everyone else who is live.
    pub fn others(&self) -> impl Iterator<Item = &Row> {
        let rows = self.table.iter().flat_map(|table| &table.rows);
        rows.filter(|row| self.live.contains(&row.id))
    }

    /// Who holds it, as far as we know.
    pub fn owner(&self, shard: u32) -> Option<&Id> {
        match self.held.contains_key(&shard) {
            true => Some(&self.me),
            false => self.holder_of(shard).map(|row| &row.id),
        }
    }

    /// To whom it belongs.
    pub fn belongs_to(&self, shard: u32) -> Option<&Id> {
        self.belongs.get(shard as usize)?.as_ref()
    }
}
