//! The crate from outside: reference results of other implementations, golden messages, properties.

#![allow(clippy::unwrap_used)]
// That hostile texts end soon is seen by a clock, and the judge of expressions takes a hash map.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod approvals;
mod broken;
mod definitions;
mod driven;
mod expressions;
mod graph;
mod runs;
mod runs_again;
mod runs_random;
mod runs_size;
mod standard;
