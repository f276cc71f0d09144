//! The crate from outside: reference results of other implementations, golden messages, properties.

#![allow(clippy::unwrap_used)]

mod broken;
mod definitions;
mod expressions;
mod graph;
