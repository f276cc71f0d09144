//! A contract net: work is announced, agents bid for it, and the best bidder that commits itself gets it.
//!
//! ```text
//!   bids --rank--> best --award--> commit? --yes--> result? --yes--> decided
//!                   ^                 | no, silent     | failed, silent
//!                   +---- next best --+----------------+            nobody left: failed
//! ```
//!
//! An award is in force from the moment the bidder is asked to commit itself until that round closes without its consent,
//! or the next without its result. Awards are made one after the other, so there are never two in force. The protocol is
//! R. G. Smith, The Contract Net Protocol, IEEE Trans. Computers C-29(12), 1980; commitment and revocation as in the FIPA
//! Contract Net Interaction Protocol, SC00029H.

mod awards;
mod ranking;
mod rules;

pub use awards::{Award, Outcome, Reply, Revoked, Stage, Standing, Why, follow};
pub use ranking::{Bidder, Excluded, Figures, Ranked, Ranking, Scores, rank};
pub use rules::{Bid, Rules, Weights};

/// Most bids of one round.
pub const BIDS_MAX: usize = 1_000;
/// Most resources of one bid, or that are needed.
pub const RESOURCES_MAX: usize = 100;
/// Most bidders that an outcome shows in its ranking, and most that it shows as not acceptable.
pub const SHOWN: usize = 100;
