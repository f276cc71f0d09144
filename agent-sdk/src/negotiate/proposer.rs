//! Offers and counter-offers.

use super::protocols::Proposal;
use super::{Offered, Reply};
use crate::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use std::sync::Arc;
use synod_protocol::Json;

/// Agrees with others on an offer: makes one, accepts, counters or rejects another's, or mediates.
///
/// ```
/// use agent_sdk::{Agent, Json, Offered, Proposer, Question, Reply, TaskError};
///
/// /// Sells from 80 on.
/// struct Seller;
///
/// impl Proposer for Seller {
///     async fn respond(&self, _: &Question, tabled: &Offered) -> Result<Option<Reply>, TaskError> {
///         let price: Option<u32> = tabled.offer.to().ok();
///         let wanted = Json::from(serde_json::json!(80));
///         Ok(Some(if price >= Some(80) { Reply::Accept(true) } else { Reply::Counter(wanted) }))
///     }
/// }
///
/// let agent = Agent::builder("seller").invited_by("trade").proposer(Seller);
/// ```
pub trait Proposer: Send + Sync + 'static {
    /// The first offer, where it is the one to make it. It abstains by default, and there is no agreement then.
    fn offer(&self, _question: &Question) -> impl Future<Output = Result<Option<Json>, TaskError>> + Send {
        async { Ok(None) }
    }

    /// What it says of the offer on the table.
    fn respond(
        &self,
        question: &Question,
        tabled: &Offered,
    ) -> impl Future<Output = Result<Option<Reply>, TaskError>> + Send;

    /// What holds, where the others could not agree and it is the mediator; `offers` are those with the most support first. By
    /// default it is the first of them.
    fn mediate(
        &self,
        _question: &Question,
        offers: &[Offered],
    ) -> impl Future<Output = Result<Option<Json>, TaskError>> + Send {
        let first = offers.first().map(|offered| offered.offer.clone());
        async { Ok(first) }
    }
}

/// What a mediator is shown.
#[derive(Deserialize)]
struct Shown {
    offers: Vec<Offered>,
}

impl AgentBuilder {
    /// Negotiates whenever it is asked for an `offer`, a `counter` to one, or to `mediate`.
    #[must_use]
    pub fn proposer(self, proposer: impl Proposer) -> AgentBuilder {
        let proposer = Arc::new(proposer);
        let proposal = |offer: Option<Json>| offer.map(|offer| Proposal { offer });
        self.role(("offer", None), &proposer, move |proposer, question| async move {
            Ok(proposal(proposer.offer(&question).await?))
        })
        .role(("counter", None), &proposer, |proposer, question| async move {
            let tabled: Offered = question.content()?;
            proposer.respond(&question, &tabled).await
        })
        .role(("mediate", None), &proposer, move |proposer, question| async move {
            let shown: Shown = question.content()?;
            Ok(proposal(proposer.mediate(&question, &shown.offers).await?))
        })
    }
}
