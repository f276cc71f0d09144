//! Chaos: parts of a real mesh are killed, stalled, cut off and wiped under load, and what was promised is held
//! against the ledger at the end.
//!
//! ```text
//!   synod-chaos run SCENARIO
//!     Ground        Kafka and Redis of its own (scripts/services), reached by a victim through Links (proxy.rs)
//!     Coordinators  the built `synod`, processes of their own
//!     Clients       `synod-chaos client`: a journal of what was accepted
//!     Agents        `synod-chaos agent`: a journal of what came and what was done
//!     People        `synod-chaos people`: a journal of what they decided
//!     verify        journals + ledger + events -> lost, doubled, stale, strange
//! ```
//!
//! Each scenario has a control run (`--control`) in which one guard is off and the same check has to find something.
//! It is no part of the product, and the product knows nothing of it.

mod agent;
mod client;
mod coordinator;
mod failover;
mod ground;
pub mod journal;
mod memory;
mod page;
mod people;
mod plan;
mod process;
mod program;
mod proxy;
mod record;
mod report;
mod scenarios;
pub mod script;
mod stage;
pub mod verify;

pub use program::main;

use std::time::Duration;

/// Why a run could not be carried through. What the check finds is no trouble but its result.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A file or a process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something is no JSON, or not the JSON that it should be.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A program does not start.
    #[error("{0} does not start: {1}")]
    Start(String, std::io::Error),
    /// A program ended that should run, or ended badly; with its last words.
    #[error("{0} ended:\n{1}")]
    Ended(String, String),
    /// What was waited for did not come.
    #[error("{0}: not within {1:?}")]
    Late(String, Duration),
    /// Kafka or Redis.
    #[error("{0}")]
    Services(String),
    /// Something else that cannot be gone on from.
    #[error("{0}")]
    Wrong(String),
}

impl Trouble {
    pub(crate) fn wrong(why: impl std::fmt::Display) -> Trouble {
        Trouble::Wrong(format!("{why}"))
    }
}
