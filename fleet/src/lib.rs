//! Who can do the work: a registry of agents, a balancing rule, and loss by silence.
//!
//! Pure arithmetic on values. The coordinator feeds it (directory, heartbeats, attempts given and ended)
//! and acts on what it says; it never learns what Kafka or Redis is. Breakers, more rules and the accrual
//! detector belong here too, and are not here yet.
//!
//! ```text
//! directory entry --> Registry --choose(need)--> Choice --> an attempt
//! heartbeat -------> Silence  --overdue(now)--> who has missed three
//! ```

pub mod accrual;
pub mod breaker;
pub mod ramp;
mod registry;
pub mod retry;
mod silence;

pub use registry::{AgentKey, Choice, Departure, Fleet, LEAST_CONNECTIONS, Member, Need, Registry};
pub use silence::Silence;
