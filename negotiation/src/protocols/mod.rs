//! The protocols: each room's rules, as something that participants are asked.

mod assign;
mod auction;
mod divide;
mod fuse;
mod resolve;
mod risk;
mod said;
mod vote;

pub use assign::{Assign, AssignTerms};
pub use auction::{Auction, AuctionBundles, AuctionTerms, Bid, BundleTerms, Bundles};
pub use divide::{
    Divide, DivideDemand, DivideOne, DivideRules, DivideSeveral, DivideTasks, DivideTier, DivideTiers,
};
pub use fuse::{Fuse, FuseRules, Labelled, Measured};
pub use resolve::{Claimed, Resolve};
pub use risk::{AssessRisk, Estimated};
pub(crate) use said::escaped;
pub use vote::{Consensus, ConsensusRules, Say, Vote};
