//! Those who may be drawn, in no order; each can be taken out.

const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Bag {
    seats: Vec<u32>,
    /// By seat.
    places: Vec<u32>,
}

impl Bag {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The seat at a place below [`Bag::len`].
    pub(super) fn at(&self, place: usize) -> u32 {
        self.seats[place]
    }

    pub(super) fn contains(&self, seat: u32) -> bool {
        self.places.get(seat as usize).is_some_and(|place| *place != NOWHERE)
    }

    pub(super) fn insert(&mut self, seat: u32) {
        if self.places.len() <= seat as usize {
            self.places.resize(seat as usize + 1, NOWHERE);
        }
        if !self.contains(seat) {
            self.places[seat as usize] = self.seats.len() as u32;
            self.seats.push(seat);
        }
    }

    pub(super) fn remove(&mut self, seat: u32) {
        if !self.contains(seat) {
            return;
        }
        let place = std::mem::replace(&mut self.places[seat as usize], NOWHERE) as usize;
        self.seats.swap_remove(place);
        if let Some(moved) = self.seats.get(place) {
            self.places[*moved as usize] = place as u32;
        }
    }
}
