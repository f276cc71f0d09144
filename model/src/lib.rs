//! The ledger's protocol as an explicit-state model of one shard; see the README for what is in it and what is not.
//!
//! ```text
//! Run (a Config) ──> explore ── State::successors ──> State, State, …  each with check::wrong
//!                       │            │
//!                       │            └─ owner: what an owner has in memory and in flight
//!                       │               fold:  what any reader makes of the log
//!                       └──────────────> Report: what was found, by the shortest way
//! ```
//!
//! Offsets are `u8` and sets of offsets or commands are bits: a state is small, and there are millions. Nothing in here
//! is used by production; what production and model share is the rules, in words (DESIGN: fencing by contiguity, floor).

mod act;
mod check;
mod config;
mod explore;
mod fingerprint;
mod fold;
mod owner;
mod record;
mod runs;
mod state;

pub use config::Config;
pub use explore::{Found, Report};
pub use runs::{Limits, Run, runs};
