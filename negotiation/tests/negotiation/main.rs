//! The rooms of this crate beside reference results of others, and properties.

mod certificate;
mod certificate_found;
mod certificate_lives;
mod voting;
mod voting_bad_input;
mod voting_decisions;
mod voting_properties;
