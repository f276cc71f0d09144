//! The protocols: each room's rules, as something that participants are asked.

mod vote;

pub use vote::{Consensus, ConsensusRules, Say, Vote};
