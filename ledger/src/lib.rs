//! The ledger: records, the rule by which they count, the fold, and a shard's entities.
//!
//! Pure. Time, the seed of secrets and the fleet are arguments, and what they led to is recorded, so that
//! folding the records is the restore. The shell (coordinator) drives [`Owner`] and performs what it releases.
//!
//! ```text
//!            Input                                     bytes for synod.ledger.v1
//!   door ------------> Owner::handle --decide/apply--> Append{n, bytes} -----------> Kafka
//!                         ^   state in memory, ahead of proof                          |
//!                         |                                                            v
//!   effects, answers <-- Released <---- Owner::acked(n, offset == epoch + n) <---- acknowledgement
//! ```

mod agent;
mod audit;
mod counting;
mod decide;
mod effect;
mod fold;
mod invariants;
mod owner;
mod record;
mod seen;
mod state;
mod task;
pub mod tenure;

pub use agent::AgentState;
pub use audit::{Audit, Violation, Window, Wrong};
pub use counting::{Counting, Verdict};
pub use decide::{Context, Decision, Input, Meta, Subject, decide};
pub use effect::{Effect, effects};
pub use fold::{Fold, FoldError, Folded};
pub use invariants::invariants;
pub use owner::{Answer, Append, Doubt, Owner, Released, Ticket};
pub use record::{Claim, Door, InputRef, Kind, Record, RecordError, Step, VERSION};
pub use seen::{WINDOW_COUNT, WINDOW_MS};
pub use state::{Line, State, TaskKey};
pub use task::{AttemptState, DEFAULT_DEADLINE_MS, DEFAULT_TIMEOUT_MS, LOSS_LIMIT, TaskState};
