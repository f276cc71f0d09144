//! The command line against the real world: coreutils, git, processes, meshes, the binary itself.

// Helpers of tests unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod bench;
mod binary;
mod breaks;
mod demo;
mod dlq;
mod doctor;
mod flow;
mod ledger;
mod program;
mod real;
mod running;
mod scenes;
mod top;
mod tree;
mod up;
mod validate;
mod work;
