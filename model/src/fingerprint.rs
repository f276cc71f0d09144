//! 64 bits that stand for a state. Two states that collide are taken for one: with 24 million of them, the chance that
//! any two do is about 1 in 60,000.

use crate::owner::Owner;
use crate::record::Record;
use crate::state::State;
use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys are fingerprints already.
pub(crate) type AsItIs = BuildHasherDefault<Same>;

#[derive(Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, print: u64) {
        self.0 = print;
    }
}

fn mixed(hash: u64, with: u64) -> u64 {
    let hash = (hash.rotate_left(23) ^ with).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 31)
}

fn ended(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 29)
}

fn word(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// Two half words.
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Without the author, which no reader looks at.
fn of_record(hash: u64, record: &Record) -> u64 {
    let Record { kind, epoch, n, command, position, born, entity, floor, done, .. } = *record;
    let thing = u8::from(born) | (entity << 1);
    let hash = mixed(hash, word([kind as u8, epoch, n, command, position, thing, floor, done]));
    mixed(hash, pair(record.image, record.decided_on))
}

fn of_owner(owner: &Owner) -> u64 {
    let Owner { mode, epoch, sent, proven, seen_end, position, had, trim_to, .. } = *owner;
    let mut hash = mixed(5, word([mode as u8, epoch, sent, proven, seen_end, position, had, trim_to]));
    let ([a, b, c], [d, e, f], (floor, done)) = (owner.bases, owner.proven_bases, owner.told);
    hash = mixed(hash, word([a, b, c, d, e, f, floor, done]));
    hash = mixed(mixed(hash, pair(owner.entities[0], owner.entities[1])), u64::from(owner.undone));
    for flight in &owner.flights {
        hash = of_record(mixed(hash, u64::from(flight.at) << 8 | u64::from(flight.acked)), &flight.record);
    }
    ended(hash)
}

/// The owners are alike, so a state and its mirror are one.
pub(crate) fn fingerprint(state: &State) -> u64 {
    let mut hash = state.log.iter().fold(3, of_record);
    let wandering = state.wandering.iter().map(|record| ended(of_record(9, record)));
    hash = mixed(hash, wandering.fold(0, u64::wrapping_add));
    hash = mixed(hash, pair(state.released, state.performed));
    let State { start, guard_seen, claims, images, faults, crashes, .. } = *state;
    let (answered, rejected) = (state.answered as u8, state.rejected as u8);
    hash = mixed(hash, word([start, answered, guard_seen, claims, images, faults, crashes, rejected]));
    let (one, other) = (of_owner(&state.owners[0]), of_owner(&state.owners[1]));
    ended(mixed(mixed(hash, one.min(other)), one.max(other)))
}
