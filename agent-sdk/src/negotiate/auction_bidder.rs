//! Bids in auctions.

use super::CombinatorialBundle;
use super::protocols::Bundles;
use crate::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use std::sync::Arc;
use synod_protocol::Exact;

/// Bids in sealed auctions.
///
/// ```
/// use agent_sdk::{Agent, AuctionBidder, Exact, Question, TaskError};
///
/// /// What it is worth to us: in a second-price auction nothing else pays.
/// struct Truthful(u64);
///
/// impl AuctionBidder for Truthful {
///     async fn bid(&self, _: &Question) -> Result<Option<Exact>, TaskError> {
///         Ok(Some(self.0.into()))
///     }
/// }
///
/// let agent = Agent::builder("truthful").invited_by("buy").auction_bidder(Truthful(12));
/// ```
pub trait AuctionBidder: Send + Sync + 'static {
    /// How much it bids for one unit, 0 or more.
    fn bid(&self, question: &Question) -> impl Future<Output = Result<Option<Exact>, TaskError>> + Send;

    /// What it bids where items are sold together or apart: it gets one of these at most. It abstains by default.
    fn bundles(
        &self,
        _question: &Question,
        _items: &[String],
    ) -> impl Future<Output = Result<Option<Vec<CombinatorialBundle>>, TaskError>> + Send {
        async { Ok(None) }
    }
}

/// What of the rules says what is sold.
#[derive(Deserialize)]
struct Sold {
    items: Vec<String>,
}

impl AgentBuilder {
    /// Takes part in auctions: whenever `auction` or `auction_bundles` asks it for a `bid`.
    #[must_use]
    pub fn auction_bidder(self, bidder: impl AuctionBidder) -> AgentBuilder {
        let bidder = Arc::new(bidder);
        self.role(
            ("bid", Some("auction")),
            &bidder,
            |bidder, question| async move { bidder.bid(&question).await },
        )
        .role(("bid", Some("auction_bundles")), &bidder, |bidder, question| async move {
            let sold: Sold = question.rules()?;
            let bundles = bidder.bundles(&question, &sold.items).await?;
            Ok(bundles.map(|bundles| Bundles { bundles }))
        })
    }
}
