//! The protocols: each room's rules, as something that participants are asked.

mod assign;
mod auction;
mod contract_net;
mod divide;
mod emergency;
mod fuse;
mod offers;
mod resolve;
mod risk;
mod said;
mod vote;

pub use assign::{Assign, AssignTerms};
pub use auction::{Auction, AuctionBundles, AuctionTerms, Bid, BundleTerms, Bundles};
pub use contract_net::{Commitment, ContractNet, Report as WorkReport};
pub use divide::{
    Divide, DivideDemand, DivideOne, DivideRules, DivideSeveral, DivideTasks, DivideTier, DivideTiers,
};
pub use emergency::{Acknowledgement, Alarm, Emergency};
pub use fuse::{Fuse, FuseRules, Labelled, Measured};
pub use offers::{Offers, Proposal};
pub use resolve::{Claimed, Resolve};
pub use risk::{AssessRisk, Estimated};
pub(crate) use said::escaped;
pub use vote::{Consensus, ConsensusRules, Say, Vote};
