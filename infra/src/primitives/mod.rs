//! What agents hold in common, in Redis: each operation is one script or one command.
//!
//! The bodies, answers and limits are `synod_protocol::primitives`; this room says what they do to Redis. A refusal is a
//! [`protocol::Error`] with its code; that Redis is away is `unavailable`, with `applied` saying whether the call may have
//! had its effect. Every key is named in [`keys`].
//!
//! [`protocol::Error`]: synod_protocol::Error

pub mod budgets;
pub mod counters;
pub mod feed;
pub mod keys;
pub mod leases;
pub mod limits;
pub mod memory;
pub mod mirror;
mod operations;
pub mod queues;
pub mod state;
pub mod subscriptions;
