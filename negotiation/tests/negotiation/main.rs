//! The rooms of this crate beside reference results of others, and properties.

mod assignment;
mod auction;
mod division;
