//! What agents hold in common: the bodies and answers of the primitives that live in Redis.
//!
//! The same types stand behind HTTP, the SDK and the command line, so that a limit is checked in one place. What is
//! in here is pure: what a merge makes of two values, which range a key belongs to; Redis is `synod-infra`'s.
pub mod changes;
pub mod counters;
pub mod locks;
mod pattern;
mod position;
pub mod state;

pub mod memory;
pub mod queue;

mod checked;
