//! The rooms of this crate beside reference results of others, and properties.

mod deal;
mod voting;
mod voting_bad_input;
mod voting_decisions;
mod voting_properties;
