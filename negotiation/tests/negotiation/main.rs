//! The rooms of this crate beside reference results of others, and properties.
#![allow(clippy::unwrap_used)] // a test's way to fail

mod assignment;
mod auction;
mod certificate;
mod certificate_found;
mod certificate_lives;
mod deal;
mod division;
mod fusion;
mod life;
mod protocols;
mod requests;
mod risk;
mod tools;
mod voting;
mod voting_bad_input;
mod voting_decisions;
mod voting_properties;
