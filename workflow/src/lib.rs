//! Workflows: what is to be done, in which order, by whom, with which people's consent.
//!
//! Pure: no clock, no randomness, no I/O; the same inputs give the same bytes.
//!
//! | room | what is there |
//! |---|---|
//! | [`source`] | YAML and JSON as a tree that knows where everything stands |
//! | [`definition`] | the document as types, its schema, its hash, a builder |
//! | [`expression`] | CEL: parsed, looked through, evaluated within a budget |
//! | [`schema`] | JSON Schema within bounds |
//! | [`Workflow`] | a definition that was checked, and what can start when |
//! | [`run`] | one run, as a state machine |
//! | [`approval`] | one approval, as a state machine |
//! | [`draw`] | it as text and as Mermaid |
//! | [`explain`] | it in sentences |
//! | [`graph`] | orders, groups, cycles, the critical path of any graph |

pub mod approval;
mod check;
mod compiled;
pub mod definition;
pub mod draw;
pub mod explain;
pub mod expression;
pub mod graph;
mod problem;
pub mod run;
pub mod schema;
pub mod source;
mod workflow;

pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub use workflow::{Blocked, Place, Role, Workflow};
