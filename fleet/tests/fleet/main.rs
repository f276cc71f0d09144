//! The fleet from outside: choosing against naive models, what a pick costs, the queue.

#![allow(clippy::unwrap_used)] // a test's way to fail

mod allocation;
mod bad_input;
mod choosing;
mod lifecycle;
mod model;
mod queue;
mod simulated;
mod weights;
mod world;
