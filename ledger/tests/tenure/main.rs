//! The tenure of shards: each rule at a table, and a small mesh under random joins, leaves, crashes, pauses and wipes.

mod rules;
mod world;

use synod_protocol::Id;

const SHARDS: u32 = 16;

fn id(name: &str) -> Id {
    name.parse().expect("an id")
}
