//! The seeded simulation: the real core of the ledger against a simulated log, Redis and network, in virtual time.
//!
//! One number is a whole history: how large the world is, what goes wrong in it and how often, every delay and every
//! choice follow from the seed. A failure is printed with its seed, and is there again with `synod-sim --seed S`.
//!
//! ```text
//!   run.rs     seeds in, outcomes out                 world.rs   time, the queue, the network
//!   plan.rs    what a seed decides about a run        mishap.rs  what goes wrong at a moment of its own
//!   node.rs lease.rs seat.rs   a coordinator: its process, the real `Tenure`, the real `Fold`
//!   serve.rs work.rs effects.rs archive.rs presence.rs        its shell around the real `Owner`
//!   broker.rs redis.rs message.rs                     what it talks to, and what is on its way
//!   party.rs client.rs agent.rs                       who talks to it, and keeps a journal
//!   opener.rs answers.rs                              who negotiates, and how they answer
//!   starter.rs people.rs flows.rs                     who runs workflows and decides approvals, and which workflows
//!   checks.rs  what must hold of a ledger alone       watch.rs   what must hold of the whole world
//!   turns.rs   whose turn it may not be               tell.rs    records in a line
//!   talks.rs   never two awards, each decided once
//!   runs.rs book.rs shape.rs alone.rs   each execution as its definition says, and as it ends undisturbed
//!   decisions.rs   each approval asked once, decided once
//!   tally.rs   what has befallen it
//!   bug.rs     bugs that are planted on purpose
//! ```
//!
//! Absent: clocks, threads and hash maps (but for the threads of `main.rs`, each with seeds of its own).

mod agent;
mod alone;
mod answers;
mod archive;
mod book;
mod broker;
mod bug;
pub mod checks;
mod client;
mod decisions;
mod effects;
mod flows;
mod lease;
mod message;
mod mishap;
mod node;
mod opener;
mod party;
mod people;
mod permits;
mod plan;
mod presence;
mod print;
mod redis;
mod rng;
mod run;
mod runs;
mod seat;
mod serve;
mod shape;
mod starter;
mod talks;
mod tally;
mod tell;
mod turns;
mod watch;
mod work;
mod world;

pub use bug::{Bug, NoSuchBug};
pub use run::{Failure, Figures, run, run_twice};
pub use tally::{Met, Tally};
