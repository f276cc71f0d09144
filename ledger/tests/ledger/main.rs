//! The ledger, driven as the shell drives it: an owner before a log in memory, a registry as fleet, time as a number.
//!
//! `shard` is the bench that everything else stands on. `tasks` and `agents` are tables of what may happen to each; `life` is about errors, being forgotten and pauses; `limits` is about who waits
//! for what, and what a task takes while it runs;
//! `owner` is about what may leave and when; `fold` throws random histories at all of it.

#![allow(clippy::unwrap_used)] // a test's way to fail

mod agents;
mod approvals;
mod executions;
mod fold;
mod golden;
mod history;
mod life;
mod limits;
mod log;
mod negotiations;
mod owner;
mod repeats;
mod shard;
mod tasks;
mod track;
mod world;
