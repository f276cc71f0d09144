//! The rooms of this crate beside reference results of others, and properties.
