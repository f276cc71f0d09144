//! Who can do the work: a registry of agents, a balancing rule, and loss by absence and by silence.
//!
//! Pure arithmetic on values. The coordinator feeds it (directory, heartbeats, attempts given and ended)
//! and acts on what it says; it never learns what Kafka or Redis is.
//!
//! ```text
//! directory entry --> Registry --choose(need)--> Choice --> an attempt
//! look at presence -> Absence  --verdicts(now)--> who is suspected, who is lost
//! heartbeat -------> Silence  --since(now)-----> who has missed three
//! ```

mod absence;
pub mod accrual;
pub mod breaker;
mod doubt;
pub mod ramp;
mod registry;
pub mod retry;
mod silence;

pub use absence::{Absence, AbsenceTerms, Looked, Verdict};
pub use doubt::{Cause, Doubt, Doubts};
pub use registry::{AgentKey, Choice, Departure, Fleet, LEAST_CONNECTIONS, Member, Need, Registry};
pub use silence::{Heard, Silence, SilenceTerms};
