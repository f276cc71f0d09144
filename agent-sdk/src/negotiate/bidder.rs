//! Bids for work.

use super::{Award, Bid, Commitment, WorkReport};
use crate::{AgentBuilder, Question, TaskError};
use std::sync::Arc;

/// The protocol whose bids these are; those of auctions are others.
const CONTRACT_NET: Option<&str> = Some("contract_net");

/// Bids for work, commits itself to what it is awarded, and hands in what came of it.
///
/// ```
/// use agent_sdk::{Agent, Bid, Bidder, Question, TaskError};
///
/// /// Takes 3 for it, and half a second.
/// struct Cheap;
///
/// impl Bidder for Cheap {
///     async fn bid(&self, _: &Question) -> Result<Option<Bid>, TaskError> {
///         Ok(Some(Bid { time_ms: Some(500), ..Bid::at(3) }))
///     }
/// }
///
/// let agent = Agent::builder("cheap").invited_by("translate").bidder(Cheap);
/// ```
pub trait Bidder: Send + Sync + 'static {
    /// Its bid for the work that the question describes.
    fn bid(&self, question: &Question) -> impl Future<Output = Result<Option<Bid>, TaskError>> + Send;

    /// Whether it stands by its bid, now that the work is its own; it does by default. `None` loses the award.
    fn commit(
        &self,
        _question: &Question,
        _award: &Award,
    ) -> impl Future<Output = Result<Option<Commitment>, TaskError>> + Send {
        async { Ok(Some(Commitment::accept())) }
    }

    /// The result, where the rules ask for one (`result`): this is where the work is done. By default it says that it has none,
    /// which loses the award.
    fn result(
        &self,
        _question: &Question,
        _award: &Award,
    ) -> impl Future<Output = Result<Option<WorkReport>, TaskError>> + Send {
        async { Ok(Some(WorkReport::Failed("this bidder hands in no results".to_owned()))) }
    }
}

impl AgentBuilder {
    /// Takes part in contract nets: whenever one asks it for a `bid`, to `commit` itself, or for its `result`.
    #[must_use]
    pub fn bidder(self, bidder: impl Bidder) -> AgentBuilder {
        let bidder = Arc::new(bidder);
        self.role(
            ("bid", CONTRACT_NET),
            &bidder,
            |bidder, question| async move { bidder.bid(&question).await },
        )
        .role(("commit", CONTRACT_NET), &bidder, |bidder, question| async move {
            let award: Award = question.content()?;
            bidder.commit(&question, &award).await
        })
        .role(("result", CONTRACT_NET), &bidder, |bidder, question| async move {
            let award: Award = question.content()?;
            bidder.result(&question, &award).await
        })
    }
}
