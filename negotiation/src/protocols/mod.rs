//! The protocols: each room's rules, as something that participants are asked.

mod contract_net;
mod emergency;
mod offers;
mod vote;

pub use contract_net::{Commitment, ContractNet, Report as WorkReport};
pub use emergency::{Acknowledgement, Alarm, Emergency};
pub use offers::{Offers, Proposal};
pub use vote::{Consensus, ConsensusRules, Say, Vote};
