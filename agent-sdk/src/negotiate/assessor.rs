//! Estimates of risk.

use super::{Estimated, Feedback};
use crate::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use std::sync::Arc;

/// Estimates a risk, round after round, and hears in between what the others said, without names.
///
/// ```
/// use agent_sdk::{Agent, Assessor, Estimated, Feedback, Question, TaskError};
///
/// /// Begins at 0.3, then goes half the way to the others' median.
/// struct Openminded;
///
/// impl Assessor for Openminded {
///     async fn estimate(&self, _: &Question, heard: Option<&Feedback>) -> Result<Option<Estimated>, TaskError> {
///         Ok(Some(Estimated::of(heard.map_or(0.3, |heard| (0.3 + heard.value.median) / 2.0))))
///     }
/// }
///
/// let agent = Agent::builder("openminded").invited_by("assess").assessor(Openminded);
/// ```
pub trait Assessor: Send + Sync + 'static {
    /// Its estimate; `heard`: what the last round with enough answers said, none before there was one.
    fn estimate(
        &self,
        question: &Question,
        heard: Option<&Feedback>,
    ) -> impl Future<Output = Result<Option<Estimated>, TaskError>> + Send;
}

/// What assessors are shown.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    feedback: Option<Feedback>,
}

impl AgentBuilder {
    /// Assesses whenever it is asked for an `estimate`.
    #[must_use]
    pub fn assessor(self, assessor: impl Assessor) -> AgentBuilder {
        self.role(("estimate", None), &Arc::new(assessor), |assessor, question| async move {
            let shown: Shown = question.content()?;
            assessor.estimate(&question, shown.feedback.as_ref()).await
        })
    }
}
