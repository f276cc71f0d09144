//! The seeded simulation: the real core of the ledger against a simulated log, Redis and network, in virtual time.
//!
//! One number is a whole history: how large the world is, what goes wrong in it and how often, every delay and every
//! choice follow from the seed. A failure is printed with its seed, and is there again with `synod-sim --seed S`.
//!
//! ```text
//!   run.rs     seeds in, outcomes out                 world.rs   time, the queue, the network
//!   plan.rs    what a seed decides about a run        mishap.rs  what goes wrong at a moment of its own
//!   node.rs lease.rs seat.rs serve.rs effects.rs archive.rs   a coordinator: the shell around the real `Tenure`, `Fold`, `Owner`
//!   broker.rs redis.rs                                what it talks to
//!   party.rs client.rs agent.rs                       who talks to it, and keeps a journal
//!   checks.rs  what must hold of a ledger alone       watch.rs   what must hold of the whole world
//!   bug.rs     bugs that are planted on purpose
//! ```
//!
//! Absent: clocks, threads and hash maps (but for the threads of `main.rs`, each with seeds of its own).

mod agent;
mod archive;
mod broker;
mod bug;
pub mod checks;
mod client;
mod effects;
mod lease;
mod mishap;
mod node;
mod party;
mod plan;
mod redis;
mod rng;
mod run;
mod seat;
mod serve;
mod tell;
mod watch;
mod world;

pub use bug::{Bug, NoSuchBug};
pub use run::{Failure, Figures, run, run_twice};
