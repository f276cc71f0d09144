//! Turns: who is next, by stride scheduling (Waldspurger and Weihl 1995). Each turn of a seat comes a step after the last;
//! the step is the longer the less its weight.
//!
//! Who has had its turn comes after all others of the same step. So those of one step stand in a row, and the next is at the head of
//! a row: with few different weights a turn costs the same however many there are. Whoever comes from elsewhere (a newcomer, one
//! that was away, one whose weight has changed) stands in a heap until its turn.
//!
//! ```text
//! row, step 1   [ c 7 | a 7 | d 8 ]        next: the least head of all, c
//! row, step 5   [ e 9 | b 11 ]
//! heap          ( f 10 )
//! ```

use super::Rank;
use super::heap::{Heap, Item};
use super::pool::Fits;
use std::collections::VecDeque;

/// A turn of weight 1 is so long.
const TURN: f64 = 18_446_744_073_709_551_616.0;

/// Multiples of it, taken without their whole part, are spread evenly however many they are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// No weight counts as less or more than these, so that a turn comes, and passes.
const WEIGHTS: (f64, f64) = (1e-6, 1e10);

/// Different steps that have a row; the others all stand in the heap.
const ROWS: usize = 16;

/// It stands in the heap.
const NO_ROW: u8 = u8::MAX;

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Up to here all have had their turns.
    now: u128,
    seats: Vec<Seat>,
    rows: Vec<Row>,
    heap: Heap,
    open: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    turn: u128,
    step: u128,
    slot: u32,
    /// What stands in a row for it counts only with this number.
    stamp: u32,
    row: u8,
    open: bool,
}

#[derive(Debug)]
struct Row {
    step: u128,
    /// Seats of this step.
    members: usize,
    items: VecDeque<(Item, u32)>,
}

/// How long a turn of so much weight is.
fn step_of(weight: f64) -> u128 {
    (TURN / weight.max(WEIGHTS.0).min(WEIGHTS.1)) as u128
}

impl Turns {
    pub(super) fn len(&self) -> usize {
        self.open
    }

    pub(super) fn contains(&self, seat: u32) -> bool {
        self.seats.get(seat as usize).is_some_and(|seat| seat.open)
    }

    /// Gives a seat to a newcomer. Its first turn comes within one, and those of several are spread evenly over it, so
    /// that a strong one does not have all of its turns in a row.
    pub(super) fn join(&mut self, seat: u32, slot: u32, weight: f64) {
        let step = step_of(weight);
        let early = (f64::from(slot) * GOLDEN).fract();
        let turn = self.now + step - (step as f64 * early) as u128;
        let empty = Seat { turn: 0, step: 0, slot: 0, stamp: 0, row: NO_ROW, open: false };
        if self.seats.len() <= seat as usize {
            self.seats.resize(seat as usize + 1, empty);
        }
        let stamp = self.seats[seat as usize].stamp;
        let row = self.enrol(step);
        self.seats[seat as usize] = Seat { turn, step, slot, stamp, row, open: false };
        self.heap.reserve(self.seats.len());
    }

    pub(super) fn leave(&mut self, seat: u32) {
        self.shut(seat);
        self.strike_off(self.seats[seat as usize].row);
    }

    /// One that may have more than before need not wait for a turn that was far off because it might have little.
    pub(super) fn weigh(&mut self, seat: u32, weight: f64) {
        let (step, before) = (step_of(weight), self.seats[seat as usize]);
        if step == before.step {
            return;
        }
        self.strike_off(before.row);
        let row = self.enrol(step);
        let place = &mut self.seats[seat as usize];
        (place.step, place.row) = (step, row);
        if step < before.step && before.turn > self.now + step {
            place.turn = self.now + step;
            if before.open {
                self.stand_apart(seat);
            }
        }
    }

    pub(super) fn open(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        if !place.open {
            // What it did not use while it was away is not made up for.
            (place.turn, place.open) = (place.turn.max(self.now), true);
            self.open += 1;
            self.stand_apart(seat);
        }
    }

    pub(super) fn shut(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        if place.open {
            place.open = false;
            place.stamp = place.stamp.wrapping_add(1);
            self.open -= 1;
            self.heap.remove(seat);
        }
    }

    /// The seat that is next, of those that fit; its turn is over.
    pub(super) fn next(&mut self, fits: Option<Fits<'_>>) -> Option<u32> {
        let first = self.first()?;
        let chosen = match fits {
            None => first,
            Some(fits) => self.first_that(fits)?,
        };
        self.now = self.now.max(self.seats[first.seat as usize].turn);
        self.had(chosen.seat);
        Some(chosen.seat)
    }

    fn first(&mut self) -> Option<Item> {
        let mut first = self.heap.first();
        for row in &mut self.rows {
            while let Some((item, stamp)) = row.items.front().copied() {
                if self.seats[item.seat as usize].stamp == stamp {
                    first = Some(first.map_or(item, |known| known.min(item)));
                    break;
                }
                row.items.pop_front();
            }
        }
        first
    }

    fn first_that(&self, fits: Fits<'_>) -> Option<Item> {
        let rank = |item: Item| fits(item.slot).map(|_| (item.rank, ()));
        let mut first = self.heap.least(rank).map(|(item, ())| item);
        for row in &self.rows {
            let counting =
                row.items.iter().filter(|(item, stamp)| self.seats[item.seat as usize].stamp == *stamp);
            let nearer = counting.take_while(|(item, _)| first.is_none_or(|known| *item < known));
            first = nearer.map(|(item, _)| *item).find(|item| fits(item.slot).is_some()).or(first);
        }
        first
    }

    /// A seat has had its turn.
    fn had(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        place.turn += place.step;
        place.stamp = place.stamp.wrapping_add(1);
        let item = Item { rank: Rank::turn(place.turn), slot: place.slot, seat };
        self.stand(item);
    }

    /// At the end of its row if it comes after all there, else in the heap.
    fn stand(&mut self, item: Item) {
        let place = &self.seats[item.seat as usize];
        if let Some(row) = self.rows.get_mut(usize::from(place.row)) {
            let in_order = row.items.back().is_none_or(|(last, _)| *last < item);
            if in_order && row.items.len() < row.items.capacity() {
                row.items.push_back((item, place.stamp));
                self.heap.remove(item.seat);
                return;
            }
        }
        self.heap.set(item);
    }

    /// Puts all that wait in the heap into their rows, in order, where they had to come one by one.
    pub(super) fn line_up(&mut self) {
        let mut all: Vec<Item> = self.heap.take().collect();
        all.sort_unstable();
        for item in all {
            self.stand(item);
        }
    }

    fn stand_apart(&mut self, seat: u32) {
        let place = &mut self.seats[seat as usize];
        place.stamp = place.stamp.wrapping_add(1);
        self.heap.set(Item { rank: Rank::turn(place.turn), slot: place.slot, seat });
    }

    /// One more of this step: its row, with room for all of them, twice for those that come and go.
    fn enrol(&mut self, step: u128) -> u8 {
        let free = |row: &Row| row.members == 0 && row.items.is_empty();
        let known =
            self.rows.iter().position(|row| row.step == step).or_else(|| self.rows.iter().position(free));
        let number = match known {
            Some(number) => number,
            None if self.rows.len() < ROWS => {
                self.rows.push(Row { step, members: 0, items: VecDeque::new() });
                self.rows.len() - 1
            }
            None => return NO_ROW,
        };
        let row = &mut self.rows[number];
        (row.step, row.members) = (step, row.members + 1);
        row.items.reserve((2 * row.members).saturating_sub(row.items.len()));
        number as u8
    }

    fn strike_off(&mut self, row: u8) {
        if let Some(row) = self.rows.get_mut(usize::from(row)) {
            row.members -= 1;
        }
    }
}
