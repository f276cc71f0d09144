//! Votes.

use super::Ballot;
use crate::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use std::sync::Arc;

/// Casts ballots.
///
/// ```
/// use agent_sdk::{Agent, Ballot, Question, TaskError, Voter};
///
/// /// Wants whatever is shortest, and in that order.
/// struct Terse;
///
/// impl Voter for Terse {
///     async fn vote(&self, _: &Question, candidates: &[String]) -> Result<Option<Ballot>, TaskError> {
///         let mut best_first = candidates.to_vec();
///         best_first.sort_by_key(String::len);
///         Ok(Some(Ballot::ranking(best_first)))
///     }
/// }
///
/// let agent = Agent::builder("terse").invited_by("decide").voter(Terse);
/// ```
pub trait Voter: Send + Sync + 'static {
    /// Its ballot; `candidates` are what is voted on, `yes` and `no` in a consensus.
    fn vote(
        &self,
        question: &Question,
        candidates: &[String],
    ) -> impl Future<Output = Result<Option<Ballot>, TaskError>> + Send;
}

/// What voters are shown.
#[derive(Deserialize)]
struct Paper {
    candidates: Vec<String>,
}

impl AgentBuilder {
    /// Votes whenever it is asked for a `ballot`.
    #[must_use]
    pub fn voter(self, voter: impl Voter) -> AgentBuilder {
        self.role(("ballot", None), &Arc::new(voter), |voter, question| async move {
            let paper: Paper = question.content()?;
            voter.vote(&question, &paper.candidates).await
        })
    }
}
