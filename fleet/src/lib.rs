//! Who can do the work: a registry of agents, balancing rules, the queue before the fleet, and loss by absence and by
//! silence.
//!
//! Pure arithmetic on values. The coordinator feeds it (directory, heartbeats, attempts given and ended)
//! and acts on what it says; it never learns what Kafka or Redis is.
//!
//! ```text
//! directory entry --> Registry --choose(need)--> Choice --> an attempt
//! Guards (breakers, ramp) --> gates, shares -^      ^
//! waiting task ----> Queue --first---- need --------'
//! look at presence -> Absence  --verdicts(now)--> who is suspected, who is lost
//! heartbeat -------> Silence  --judge(now)-----> who is suspected, who is lost
//! ```

mod absence;
pub mod accrual;
pub mod balance;
pub mod breaker;
mod doubt;
mod guards;
pub mod queue;
pub mod ramp;
mod registry;
pub mod retry;
mod silence;

pub use absence::{Absence, AbsenceTerms, Looked, Sight, Verdict};
pub use doubt::{Cause, Doubt, Doubts};
pub use guards::{AttemptKey, Call, Guards, Scope, Told};
pub use registry::{
    AgentKey, Choice, Departure, Fleet, Gate, Member, MemberError, NAMED, Need, Pick, Registry, RuleError,
    WEIGHT_LABEL,
};
pub use silence::{Heard, Silence, SilenceTerms};

/// The name of the rule by default: the smallest share of its room in use ([`balance::LeastConnections`]).
pub const LEAST_CONNECTIONS: &str = "least_connections";
