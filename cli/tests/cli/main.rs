//! The command line's pieces against the real world: coreutils, git, processes, the binary itself.

// Helpers of tests unwrap as tests do.
#![allow(clippy::unwrap_used)]

mod binary;
mod program;
mod tree;
