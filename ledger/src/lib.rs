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

mod agenda;
mod agent;
mod approvals;
mod audit;
mod counting;
mod decide;
mod effect;
mod executions;
mod fold;
mod holding;
mod invariants;
mod memory;
mod negotiations;
mod owner;
mod past;
mod pauses;
#[cfg(feature = "planted")]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
mod recent;
mod record;
mod retries;
mod rules;
mod seen;
mod shelf;
mod state;
mod subject;
mod task;
pub mod tenure;
mod why;
mod workflows;

pub use agenda::{Answered, Next, Wanted};
pub use agent::AgentState;
pub use audit::{Audit, Violation, Wrong};
pub use counting::{Counting, Verdict};
pub use decide::{Context, Decision, Input, Meta, decide};
pub use effect::{Effect, attempt_id, round_id};
pub use fold::{Fold, FoldError, Folded, Owed};
pub use holding::{End, Holding};
pub use invariants::invariants;
pub use memory::{Keep, Thing};
pub use negotiations::NegotiationKey;
pub use owner::{Answer, Append, Doubt, Limits, Owner, Released, Ticket};
pub use past::{Past, Search, life_from};
pub use pauses::PausesInForce;
pub use recent::Had;
pub use record::{
    AgentImage, Claim, Door, EntityImage, Image, Imaged, InputRef, Kind, NegotiationImage, Record,
    RecordError, Step, TaskImage, VERSION, floor_of,
};
pub use rules::{Rules, Try};
pub use seen::{SeenImage, WINDOW_COUNT, WINDOW_MOST, WINDOW_MS, Window};
pub use state::{LastInput, Line, ShardImage, State, TaskKey};
pub use subject::{EntityKey, Standing, Subject};
pub use task::{AttemptState, DEFAULT_DEADLINE_MS, DEFAULT_TIMEOUT_MS, LOSS_LIMIT, TaskState};
pub use workflows::{Definitions, NoDefinitions, WorkflowState, read_definition};
