//! Who can do the work, room by room: against reference cases, naive models, and odd input; what a pick costs.

#![allow(clippy::unwrap_used)] // a test's way to fail

mod accrual;
mod allocation;
mod bad_input;
mod breaker;
mod choosing;
mod elsewhere;
mod guards;
mod lifecycle;
mod model;
mod queue;
mod ramp;
mod retry;
mod simulated;
mod weights;
mod world;
