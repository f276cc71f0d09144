//! A heap of those who may be chosen, in which each can be found, ranked anew and taken out.
//!
//! Four children a node: half as deep as with two, and they lie side by side.

use super::Rank;

const ARITY: usize = 4;

/// As long as the way fits into so many places, it is gone from the best on; then all are looked at.
const FRONTIER: usize = 64;

const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Heap {
    items: Vec<Item>,
    /// By seat.
    places: Vec<u32>,
}

/// The order is total, so what comes first does not depend on how the heap came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) rank: Rank,
    pub(super) slot: u32,
    pub(super) seat: u32,
}

impl Heap {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn first(&self) -> Option<Item> {
        self.items.first().copied()
    }

    /// Makes room, so that so many can be taken in without any being made then.
    pub(super) fn reserve(&mut self, items: usize) {
        self.items.reserve(items.saturating_sub(self.items.len()));
        self.places.resize(self.places.len().max(items), NOWHERE);
    }

    pub(super) fn contains(&self, seat: u32) -> bool {
        self.places.get(seat as usize).is_some_and(|place| *place != NOWHERE)
    }

    /// All of them, in no order; none is left.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Item> {
        self.places.fill(NOWHERE);
        self.items.drain(..)
    }

    /// Takes it in, or ranks it anew.
    pub(super) fn set(&mut self, item: Item) {
        if self.places.len() <= item.seat as usize {
            self.places.resize(item.seat as usize + 1, NOWHERE);
        }
        let mut place = self.places[item.seat as usize] as usize;
        if place == NOWHERE as usize {
            place = self.items.len();
            self.items.push(item);
        }
        self.settle(place, item);
    }

    pub(super) fn remove(&mut self, seat: u32) {
        if !self.contains(seat) {
            return;
        }
        let place = std::mem::replace(&mut self.places[seat as usize], NOWHERE) as usize;
        self.items.swap_remove(place);
        if let Some(item) = self.items.get(place).copied() {
            self.settle(place, item);
        }
    }

    /// Puts it where it belongs, beginning at this place.
    fn settle(&mut self, mut place: usize, item: Item) {
        while place > 0 && item < self.items[(place - 1) / ARITY] {
            let parent = (place - 1) / ARITY;
            self.put(place, self.items[parent]);
            place = parent;
        }
        while let Some(child) = self.least_child(place).filter(|child| self.items[*child] < item) {
            self.put(place, self.items[child]);
            place = child;
        }
        self.put(place, item);
    }

    fn put(&mut self, place: usize, item: Item) {
        self.items[place] = item;
        self.places[item.seat as usize] = place as u32;
    }

    fn children(&self, place: usize) -> std::ops::Range<usize> {
        let first = (place * ARITY + 1).min(self.items.len());
        first..self.items.len().min(first + ARITY)
    }

    fn least_child(&self, place: usize) -> Option<usize> {
        self.children(place).min_by_key(|child| self.items[*child])
    }

    /// The least for which `rank` says anything, by what it says. Where that is less than the rank that is kept, it may be overlooked.
    ///
    /// They are gone through from the best on while the way is short, then in any order; the answer is the same.
    pub(super) fn least<X: Copy>(&self, rank: impl Fn(Item) -> Option<(Rank, X)>) -> Option<(Item, X)> {
        let mut best: Option<(Item, X)> = None;
        let consider = |best: &mut Option<(Item, X)>, place: usize| {
            let item = self.items[place];
            if best.is_some_and(|(found, _)| found <= item) {
                return;
            }
            let Some((rank, x)) = rank(item) else { return };
            let with = Item { rank, ..item };
            if best.is_none_or(|(found, _)| with < found) {
                *best = Some((with, x));
            }
        };
        let mut frontier = [0usize; FRONTIER];
        let mut len = self.items.len().min(1);
        while len > 0 {
            let nearest = (0..len).min_by_key(|at| self.items[frontier[*at]]).unwrap_or(0);
            let place = frontier[nearest];
            if best.is_some_and(|(found, _)| found <= self.items[place]) {
                break;
            }
            consider(&mut best, place);
            len -= 1;
            frontier[nearest] = frontier[len];
            let children = self.children(place);
            if len + children.len() > FRONTIER {
                (0..self.items.len()).for_each(|place| consider(&mut best, place));
                break;
            }
            for child in children {
                frontier[len] = child;
                len += 1;
            }
        }
        best
    }
}
