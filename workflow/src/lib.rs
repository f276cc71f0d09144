//! Workflows: what is to be done, in which order, by whom, with which people's consent.
//!
//! Pure: no clock, no randomness, no I/O; the same inputs give the same bytes.
//!
//! | room | what is there |
//! |---|---|
//! | [`source`] | YAML and JSON as a tree that knows where everything stands |
//! | [`definition`] | the document as types, its schema, its hash, a builder |
//! | [`expression`] | CEL: parsed, looked through, evaluated within a budget |
//! | [`graph`] | orders, groups, cycles, the critical path of any graph |

pub mod definition;
pub mod expression;
pub mod graph;
mod problem;
pub mod source;

pub use problem::{PROBLEMS_MAX, Problem, Problems};
