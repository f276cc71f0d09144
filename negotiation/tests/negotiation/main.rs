//! The rooms of this crate beside reference results of others, and properties.

mod fusion;
mod risk;
