//! A pool: everyone who has one capability, kept for one rule so that a pick costs as little as the rule allows.
//!
//! Each member has a seat, which stays. Those that may be chosen now are besides in a heap, where the rule ranks or goes by
//! turns, or in a bag, where it draws; those that are shut, full or ill are not, and come back.
//!
//! ```text
//! seats   [ a | b | c | d ]       figures; stable numbers
//! heap    [ c | a | d ]           by rank: c is the pick     (b is full)
//! ```
//!
//! A pick allocates nothing.

use super::bag::Bag;
use super::heap::{Heap, Item};
use super::seeded::Seeded;
use super::turns::Turns;
use super::{Candidate, DRAWS, Figures, Method, Moment, Rank, Rule, performance};
use std::sync::Arc;

/// Ranks that are kept do not depend on the moment.
const STILL: Moment = Moment { now_ms: 0, typical_us: 0.0 };

/// Whether a slot has what a task asks beyond the capability: then its dominant share with the task.
pub(crate) type Fits<'a> = &'a dyn Fn(u32) -> Option<f64>;

#[derive(Debug)]
pub(crate) struct Pool {
    rule: Arc<dyn Rule>,
    seats: Vec<Candidate>,
    free: Vec<u32>,
    open: Open,
    typical_us: f64,
    /// When it was last asked, in the registry's time.
    pub(crate) asked_ms: u64,
}

/// Those that may be chosen.
#[derive(Debug)]
enum Open {
    Ranked(Heap),
    InTurn(Turns),
    Drawn(Bag, u8),
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
        let open = match rule.method() {
            Method::Least => Open::Ranked(Heap::default()),
            Method::Turns => Open::InTurn(Turns::default()),
            Method::Draw(n) => Open::Drawn(Bag::default(), n.clamp(1, DRAWS as u8)),
        };
        Pool { rule, seats: Vec::new(), free: Vec::new(), open, typical_us: 0.0, asked_ms: 0 }
    }

    pub(crate) fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// Gives a newcomer a seat.
    pub(crate) fn join(&mut self, candidate: Candidate, open: bool) -> u32 {
        let seat = match self.free.pop() {
            Some(seat) => {
                self.seats[seat as usize] = candidate;
                seat
            }
            None => {
                self.seats.push(candidate);
                (self.seats.len() - 1) as u32
            }
        };
        if let Open::InTurn(turns) = &mut self.open {
            turns.join(seat, candidate.slot(), self.rule.weight(&candidate));
        }
        self.stand(seat, open);
        seat
    }

    /// All that there are have joined.
    pub(crate) fn complete(&mut self) {
        if let Open::InTurn(turns) = &mut self.open {
            turns.line_up();
        }
    }

    pub(crate) fn leave(&mut self, seat: u32) {
        match &mut self.open {
            Open::InTurn(turns) => turns.leave(seat),
            _ => self.stand(seat, false),
        }
        self.free.push(seat);
    }

    /// Takes what has changed about a member; what is known of its speed stays.
    pub(crate) fn update(&mut self, seat: u32, now: &Candidate, open: bool) {
        let known = &mut self.seats[seat as usize];
        if let Open::InTurn(turns) = &mut self.open {
            turns.weigh(seat, self.rule.weight(now));
        }
        let (latency_us, success, heard) = (known.latency_us, known.success, known.heard);
        *known = Candidate { latency_us, success, heard, ..*now };
        self.stand(seat, open);
    }

    /// Takes the end of an attempt into what is known of the member's speed.
    pub(crate) fn observe(&mut self, seat: u32, took_us: f64, success: bool, now_ms: u64) -> bool {
        let took = performance::observe(&mut self.seats[seat as usize], took_us, success, now_ms);
        if took && success {
            let part = if self.typical_us == 0.0 { 1.0 } else { 1.0 / 32.0 };
            self.typical_us += (took_us - self.typical_us) * part;
        }
        self.stand(seat, self.is_open(seat));
        took
    }

    /// Forgets what is known of the member's speed.
    pub(crate) fn forget_speed(&mut self, seat: u32) {
        let candidate = &mut self.seats[seat as usize];
        (candidate.latency_us, candidate.success, candidate.heard) = (0.0, 1.0, None);
        self.stand(seat, self.is_open(seat));
    }

    fn is_open(&self, seat: u32) -> bool {
        match &self.open {
            Open::Ranked(heap) => heap.contains(seat),
            Open::InTurn(turns) => turns.contains(seat),
            Open::Drawn(bag, _) => bag.contains(seat),
        }
    }

    /// Puts a seat where it belongs now.
    fn stand(&mut self, seat: u32, open: bool) {
        let candidate = &self.seats[seat as usize];
        let slot = candidate.slot();
        match &mut self.open {
            Open::Ranked(heap) if open => {
                heap.set(Item { rank: self.rule.rank(candidate, &STILL), slot, seat });
            }
            Open::InTurn(turns) if open && self.rule.weight(candidate) > 0.0 => turns.open(seat),
            Open::Drawn(bag, _) if open => bag.insert(seat),
            Open::Ranked(heap) => heap.remove(seat),
            Open::InTurn(turns) => turns.shut(seat),
            Open::Drawn(bag, _) => bag.remove(seat),
        }
        self.seats[seat as usize].set_open(open);
    }

    /// The one that the rule chooses, and its turn is over.
    pub(crate) fn pick(&mut self, seed: u64, now_ms: u64, fits: Option<Fits<'_>>) -> Option<Picked> {
        self.asked_ms = now_ms;
        let moment = Moment { now_ms, typical_us: self.typical_us };
        let in_turn = match &mut self.open {
            Open::InTurn(turns) => Some(turns.next(fits)?),
            _ => None,
        };
        let (seat, dominant) = match (&self.open, in_turn) {
            (Open::Ranked(heap), _) => self.least(heap, fits)?,
            (Open::Drawn(bag, n), _) => self.draw(bag, usize::from(*n), Seeded::new(seed), &moment, fits)?,
            (Open::InTurn(_), seat) => (seat?, None),
        };
        let mut candidate = self.seats[seat as usize];
        candidate.dominant = dominant.unwrap_or(candidate.dominant);
        let figures = self.rule.figures(&candidate, &moment);
        Some(Picked { slot: candidate.slot(), open: self.open_len() as u32, figures })
    }

    fn open_len(&self) -> usize {
        match &self.open {
            Open::Ranked(heap) => heap.len(),
            Open::InTurn(turns) => turns.len(),
            Open::Drawn(bag, _) => bag.len(),
        }
    }

    /// The least of those that fit; where nothing is asked, the first.
    fn least(&self, heap: &Heap, fits: Option<Fits<'_>>) -> Option<(u32, Option<f64>)> {
        let Some(fits) = fits else { return heap.first().map(|item| (item.seat, None)) };
        let found = heap.least(|item| {
            let dominant = fits(item.slot)?;
            Some((self.rank(item.seat, Some(dominant), &STILL), dominant))
        });
        found.map(|(item, dominant)| (item.seat, Some(dominant)))
    }

    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn seat(&self, seat: u32) -> &Candidate {
        &self.seats[seat as usize]
    }

    /// What a seat costs at a moment; where a task asks for resources, with the task.
    pub(super) fn rank(&self, seat: u32, dominant: Option<f64>, moment: &Moment) -> Rank {
        let candidate = &self.seats[seat as usize];
        match dominant {
            None => self.rule.rank(candidate, moment),
            Some(dominant) => self.rule.rank(&Candidate { dominant, ..*candidate }, moment),
        }
    }
}
