//! The check: what clients and agents noted, held against what the ledger and the events topic hold.
//!
//! ```text
//!   clients' journals --asked, accepted--.
//!   agents' journals  --took, did--------+--> judge --> Findings: lost, doubled, stale, strange
//!   ledger  --Book (fold, counting, audit, invariants)--|
//!   events  --Published---------------------------'
//! ```
//!
//! It knows nothing of what was done to the mesh, and reads nothing but files and topics.

mod book;
mod judge;
mod published;
mod recovery;
mod runs;
mod scripted;
mod talks;
#[cfg(test)]
mod tests;

pub use book::{Book, Claimed, TaskBook};
pub(crate) use judge::outstanding;
pub use judge::{Finding, Findings, Kind, Noted, judge};
pub use published::Published;
pub use recovery::{Moment, WentOn, recovery};
pub use runs::{Ran, Turn, Turned};
pub use talks::{Awarded, Talked};
