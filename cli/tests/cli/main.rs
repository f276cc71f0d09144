//! The command line's pieces against the real world: coreutils, git, processes, the binary itself.

mod binary;
mod program;
mod tree;
