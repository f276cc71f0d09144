//! Who can do the work: a registry of agents, balancing rules, the queue before the fleet, and loss by silence.
//!
//! Pure arithmetic on values. The coordinator feeds it (directory, heartbeats, attempts given and ended)
//! and acts on what it says; it never learns what Kafka or Redis is.
//!
//! ```text
//! directory entry --> Registry --choose(need)--> Choice --> an attempt
//! breakers, ramp --> gates, shares -^               ^
//! waiting task ----> Queue --first---- need --------'
//! heartbeat -------> Silence  --overdue(now)--> who has missed three
//! ```

pub mod balance;
pub mod queue;
mod registry;
mod silence;

pub use registry::{
    AgentKey, Choice, Departure, Fleet, Gate, Headcount, Member, MemberError, NAMED, Need, Pick, Registry,
    RuleError, WEIGHT_LABEL,
};
pub use silence::Silence;

/// The name of the rule by default: the smallest share of its room in use ([`balance::LeastConnections`]).
pub const LEAST_CONNECTIONS: &str = "least_connections";
