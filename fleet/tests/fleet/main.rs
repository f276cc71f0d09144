//! The fleet from outside: choosing against naive models, what a pick costs, the queue.

mod allocation;
mod bad_input;
mod choosing;
mod lifecycle;
mod model;
mod queue;
mod weights;
mod world;
