//! Roles in negotiations: one small trait for each, so that a strategy is a few lines.
//!
//! | role | is asked for | by the protocols |
//! |---|---|---|
//! | [`Voter`] | a ballot | `vote`, `consensus` |
//! | [`Bidder`] | a bid, a commitment, a result | `contract_net` |
//! | [`AuctionBidder`] | a bid | `auction`, `auction_bundles` |
//! | [`Proposer`] | an offer, an answer to one | `offers` |
//! | [`Assessor`] | an estimate, round after round | `assess_risk` |
//! | [`Source`] | a signal, a claim | `fuse`, `resolve` |
//! | [`Responder`] | an acknowledgement | `emergency` |
//! | [`Claimant`] | a demand | `divide` |
//! | [`Estimator`] | costs | `assign` |
//!
//! `AgentBuilder::voter` and its like give an agent a role; it may have several. `Ok(None)` abstains, and so does who has no answer
//! to a question; an error is logged and leaves the round without an answer. What is asked and answered are the types of the
//! protocols themselves. The rules are not read for a role, so that one with a newer member silences nobody: ask
//! [`Question::rules`](crate::Question::rules).

mod assessor;
mod auction_bidder;
mod bidder;
mod claimant;
mod estimator;
mod proposer;
mod responder;
mod source;
mod voter;

pub use assessor::Assessor;
pub use auction_bidder::AuctionBidder;
pub use bidder::Bidder;
pub use claimant::{Claimant, Demand};
pub use estimator::Estimator;
pub use proposer::Proposer;
pub use responder::Responder;
pub use source::{Signal, Source};
pub use voter::Voter;

pub use synod_negotiation::auction::combinatorial::CombinatorialBundle;
pub use synod_negotiation::contract_net::{Award, Bid};
pub use synod_negotiation::offers::{Offered, Say as Reply};
pub use synod_negotiation::protocols::{
    Acknowledgement, Alarm, Claimed, Commitment, DivideDemand, DivideTasks, Estimated, Labelled, Measured,
    Say as Ballot, WorkReport,
};
pub use synod_negotiation::risk::Feedback;
pub use synod_negotiation::{assignment, auction, contract_net, division, emergency, fusion, offers};
pub use synod_negotiation::{protocols, risk, voting};

use crate::TaskError;
use synod_protocol::Exact;

/// A float as the exact number that its shortest decimal digits say: 0.1 is one tenth.
///
/// # Errors
/// It is not finite: permanent.
pub fn exact(value: f64) -> Result<Exact, TaskError> {
    Exact::from_f64(value)
        .ok_or_else(|| TaskError::permanent("invalid_output", format!("{value} is no number to answer with")))
}
