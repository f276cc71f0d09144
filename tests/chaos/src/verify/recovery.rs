//! How long a shard stood still, by the broker's clock.

use super::book::Book;
use serde::{Deserialize, Serialize};

/// A moment from which shards should go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What happened.
    pub what: String,
    /// When, Unix ms.
    pub at_ms: i64,
    /// Whose shards have to be taken over; `None` where every shard should just go on.
    pub victim: Option<String>,
}

/// How soon a shard went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WentOn {
    /// Which.
    pub shard: u32,
    /// From the moment to the first new step; `None` where none came.
    pub after_ms: Option<u64>,
}

/// From a moment to the first new step, of each shard that it concerns. Where an owner was the victim a new step is
/// one of a later claim.
pub fn recovery(book: &Book, moment: &Moment) -> Vec<WentOn> {
    let mut shards = Vec::new();
    for shard in 0..book.shards() {
        let first = match &moment.victim {
            Some(victim) => {
                let claims = book.claims(shard);
                let owner = claims.iter().rev().find(|claim| claim.at_ms < moment.at_ms);
                if owner.is_none_or(|claim| claim.owner != *victim) {
                    continue;
                }
                let later = claims.iter().filter(|claim| claim.at_ms >= moment.at_ms);
                later.filter_map(|claim| claim.first_step_ms).min()
            }
            None => book.first_step_after(shard, moment.at_ms),
        };
        shards.push(WentOn { shard, after_ms: first.map(|at| (at - moment.at_ms).unsigned_abs()) });
    }
    shards
}
