//! A pool: everyone who has one capability, kept for one rule so that a pick costs as little as the rule allows.
//!
//! Each member has a seat, which stays; those that may be chosen now stand besides in `open`, those that may not do not, and
//! come back. For rules that rank, `open` is a heap of four children a node by rank and slot, and its top is the pick;
//! for rules that draw, it is in no order.
//!
//! ```text
//! seats   [ a | b | c | d ]        figures, turn; stable numbers
//! places  [ 1 | - | 0 | 2 ]        where in `open`, `-`: shut, full or ill
//! open    [ c | a | d ]            heap, or in any order
//! ```
//!
//! Nothing here allocates but joining.

use super::seeded::Seeded;
use super::{Candidate, DRAWS, Figures, Method, Moment, Rank, Rule, performance};
use std::sync::Arc;

/// Children of a node of the heap.
const ARITY: usize = 4;

/// As long as it fits into so many places, the heap is gone through best first; then all of it.
const FRONTIER: usize = 64;

/// A turn of weight 1 is so long.
const TURN: f64 = 18_446_744_073_709_551_616.0;

/// Multiples of it, taken without their whole part, are spread evenly however many they are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// No weight counts as less or more than these, so that a turn comes, and passes.
const WEIGHTS: (f64, f64) = (1e-6, 1e10);

/// Ranks that are kept do not depend on the moment.
const STILL: Moment = Moment { now_ms: 0, typical_us: 0.0 };

const NOWHERE: u32 = u32::MAX;

/// Whether a slot has what a task asks beyond the capability: then its dominant share with the task.
pub(crate) type Fits<'a> = &'a dyn Fn(u32) -> Option<f64>;

#[derive(Debug)]
pub(crate) struct Pool {
    rule: Arc<dyn Rule>,
    method: Method,
    seats: Vec<Seat>,
    free: Vec<u32>,
    places: Vec<u32>,
    open: Vec<Item>,
    /// The turn up to which all have had theirs.
    turn: u128,
    typical_us: f64,
    /// When it was last asked, in the registry's time.
    pub(crate) asked_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    candidate: Candidate,
    /// When it is next, by the pool's turn.
    turn: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    rank: Rank,
    slot: u32,
    seat: u32,
}

/// Who was picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picked {
    pub(crate) slot: u32,
    /// How many were open.
    pub(crate) open: u32,
    pub(crate) figures: Figures,
}

impl Pool {
    pub(crate) fn new(rule: Arc<dyn Rule>) -> Pool {
        Pool {
            method: rule.method(),
            rule,
            seats: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            open: Vec::new(),
            turn: 0,
            typical_us: 0.0,
            asked_ms: 0,
        }
    }

    pub(crate) fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// Gives a newcomer a seat. Its first turn comes within one, and those of several are spread evenly over it, so that a
    /// strong one does not have all of its turns in a row.
    pub(crate) fn join(&mut self, candidate: Candidate, open: bool) -> u32 {
        let step = self.step(&candidate);
        let early = (f64::from(candidate.slot) * GOLDEN).fract();
        let turn = self.turn + step - (step as f64 * early) as u128;
        let seat = Seat { candidate, turn };
        let number = match self.free.pop() {
            Some(number) => {
                self.seats[number as usize] = seat;
                number
            }
            None => {
                self.seats.push(seat);
                self.places.push(NOWHERE);
                (self.seats.len() - 1) as u32
            }
        };
        if open && self.may_open(&candidate) {
            self.enter(number);
        }
        number
    }

    pub(crate) fn leave(&mut self, seat: u32) {
        self.exit(seat);
        self.free.push(seat);
    }

    /// Takes what has changed about a member; what is known of its speed stays.
    pub(crate) fn update(&mut self, seat: u32, now: &Candidate, open: bool) {
        let (at, step) = (seat as usize, self.step(now));
        let known = self.seats[at].candidate;
        self.seats[at].candidate =
            Candidate { latency_us: known.latency_us, success: known.success, heard_ms: known.heard_ms, ..*now };
        if self.method == Method::Turns && step < self.step(&known) {
            // One that may have more need not wait for a turn that was far off because it might have little.
            self.seats[at].turn = self.seats[at].turn.min(self.turn + step);
        }
        let is_open = self.places[at] != NOWHERE;
        match (is_open, open && self.may_open(now)) {
            (true, false) => self.exit(seat),
            (false, true) => self.enter(seat),
            (true, true) => self.rank_again(seat),
            (false, false) => {}
        }
    }

    /// Takes the end of an attempt into what is known of the member's speed.
    pub(crate) fn observe(&mut self, seat: u32, took_us: f64, success: bool, now_ms: u64) -> bool {
        let took = performance::observe(&mut self.seats[seat as usize].candidate, took_us, success, now_ms);
        if took && success {
            let part = if self.typical_us == 0.0 { 1.0 } else { 1.0 / 32.0 };
            self.typical_us += (took_us - self.typical_us) * part;
        }
        if took && self.places[seat as usize] != NOWHERE {
            self.rank_again(seat);
        }
        took
    }

    /// Forgets what is known of the member's speed.
    pub(crate) fn forget_speed(&mut self, seat: u32) {
        let candidate = &mut self.seats[seat as usize].candidate;
        (candidate.latency_us, candidate.success, candidate.heard_ms) = (0.0, 1.0, None);
        if self.places[seat as usize] != NOWHERE {
            self.rank_again(seat);
        }
    }

    /// The one that the rule chooses, and its turn is over.
    pub(crate) fn pick(&mut self, seed: u64, now_ms: u64, fits: Option<Fits<'_>>) -> Option<Picked> {
        self.asked_ms = now_ms;
        if self.open.is_empty() {
            return None;
        }
        let moment = Moment { now_ms, typical_us: self.typical_us };
        let (seat, dominant) = match self.method {
            Method::Draw(n) => {
                let n = usize::from(n).clamp(1, DRAWS);
                let (place, dominant) = self.draw(n, Seeded::new(seed), &moment, fits)?;
                (self.open[place].seat, dominant)
            }
            Method::Least | Method::Turns => self.least(fits)?,
        };
        let mut candidate = self.seats[seat as usize].candidate;
        candidate.dominant = dominant.unwrap_or(candidate.dominant);
        if self.method == Method::Turns {
            self.take_turn(seat, &candidate);
        }
        let figures = self.rule.figures(&candidate, &moment);
        Some(Picked { slot: candidate.slot, open: self.open.len() as u32, figures })
    }

    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn slot_at(&self, place: usize) -> u32 {
        self.open[place].slot
    }

    pub(super) fn weight_at(&self, place: usize) -> f64 {
        self.rule.weight(&self.seats[self.open[place].seat as usize].candidate)
    }

    /// Its rank at this moment, and what decides between equals.
    pub(super) fn rank_of(&self, place: usize, dominant: Option<f64>, moment: &Moment) -> (Rank, u32) {
        let mut candidate = self.seats[self.open[place].seat as usize].candidate;
        candidate.dominant = dominant.unwrap_or(candidate.dominant);
        (self.rule.rank(&candidate, moment), candidate.slot)
    }

    fn may_open(&self, candidate: &Candidate) -> bool {
        self.method != Method::Turns || self.rule.weight(candidate) > 0.0
    }

    fn step(&self, candidate: &Candidate) -> u128 {
        if self.method != Method::Turns {
            return 0;
        }
        (TURN / self.rule.weight(candidate).max(WEIGHTS.0).min(WEIGHTS.1)) as u128
    }

    fn take_turn(&mut self, seat: u32, candidate: &Candidate) {
        let first = self.seats[self.open[0].seat as usize].turn;
        self.turn = self.turn.max(first);
        self.seats[seat as usize].turn += self.step(candidate);
        self.rank_again(seat);
    }

    fn rank(&self, seat: u32) -> Rank {
        let seat = &self.seats[seat as usize];
        match self.method {
            Method::Least => self.rule.rank(&seat.candidate, &STILL),
            Method::Turns => Rank::turn(seat.turn),
            Method::Draw(_) => Rank::EQUAL,
        }
    }

    fn enter(&mut self, seat: u32) {
        // What it did not use while it was away is not made up for.
        let turn = &mut self.seats[seat as usize].turn;
        *turn = (*turn).max(self.turn);
        let item = Item { rank: self.rank(seat), slot: self.seats[seat as usize].candidate.slot, seat };
        self.open.push(item);
        self.settle(self.open.len() - 1);
    }

    fn exit(&mut self, seat: u32) {
        let place = std::mem::replace(&mut self.places[seat as usize], NOWHERE) as usize;
        if place == NOWHERE as usize {
            return;
        }
        self.open.swap_remove(place);
        if place < self.open.len() {
            self.settle(place);
        }
    }

    fn rank_again(&mut self, seat: u32) {
        if matches!(self.method, Method::Draw(_)) {
            return;
        }
        let place = self.places[seat as usize] as usize;
        self.open[place].rank = self.rank(seat);
        self.settle(place);
    }

    /// Puts the one at this place where it belongs.
    fn settle(&mut self, mut place: usize) {
        let item = self.open[place];
        if !matches!(self.method, Method::Draw(_)) {
            place = self.rise(place, item);
            place = self.sink(place, item);
        }
        self.put(place, item);
    }

    fn put(&mut self, place: usize, item: Item) {
        self.open[place] = item;
        self.places[item.seat as usize] = place as u32;
    }

    fn rise(&mut self, mut place: usize, item: Item) -> usize {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.open[parent] <= item {
                break;
            }
            self.put(place, self.open[parent]);
            place = parent;
        }
        place
    }

    fn sink(&mut self, mut place: usize, item: Item) -> usize {
        while let Some(child) = self.least_child(place) {
            if item <= self.open[child] {
                break;
            }
            self.put(place, self.open[child]);
            place = child;
        }
        place
    }

    fn least_child(&self, place: usize) -> Option<usize> {
        let first = place * ARITY + 1;
        (first..self.open.len().min(first + ARITY)).min_by_key(|child| self.open[*child])
    }

    /// The least of those that fit. Where nothing is asked that is the top. Else they are gone through from the best on
    /// while the way is short, then in any order; the answer is the same.
    fn least(&self, fits: Option<Fits<'_>>) -> Option<(u32, Option<f64>)> {
        let Some(fits) = fits else { return Some((self.open[0].seat, None)) };
        let mut best: Option<(Item, Option<f64>)> = None;
        let mut frontier = [0usize; FRONTIER];
        let mut len = 1;
        while len > 0 {
            let nearest = (0..len).min_by_key(|at| self.open[frontier[*at]]).unwrap_or(0);
            let place = frontier[nearest];
            if best.is_some_and(|(found, _)| found <= self.open[place]) {
                break;
            }
            self.consider(place, fits, &mut best);
            len -= 1;
            frontier[nearest] = frontier[len];
            let first = place * ARITY + 1;
            let children = first..self.open.len().min(first + ARITY);
            if len + children.len() > FRONTIER {
                (0..self.open.len()).for_each(|place| self.consider(place, fits, &mut best));
                break;
            }
            for child in children {
                frontier[len] = child;
                len += 1;
            }
        }
        best.map(|(item, dominant)| (item.seat, dominant))
    }

    /// Takes the one at this place if it fits and is better than the best so far.
    fn consider(&self, place: usize, fits: Fits<'_>, best: &mut Option<(Item, Option<f64>)>) {
        let item = self.open[place];
        // With the task its rank is no lower.
        if best.is_some_and(|(found, _)| found <= item) {
            return;
        }
        let Some(dominant) = fits(item.slot) else { return };
        let mut with = item;
        if self.method == Method::Least {
            let candidate = Candidate { dominant, ..self.seats[item.seat as usize].candidate };
            with.rank = self.rule.rank(&candidate, &STILL);
        }
        if best.is_none_or(|(found, _)| with < found) {
            *best = Some((with, Some(dominant)));
        }
    }
}
