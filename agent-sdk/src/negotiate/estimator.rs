//! What tasks would cost.

use crate::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_protocol::Exact;

/// Says what each task would cost with it, so that tasks are assigned at the least cost in all.
///
/// ```
/// use agent_sdk::{Agent, Estimator, Exact, Question, TaskError};
/// use std::collections::BTreeMap;
///
/// /// Long names are long ways; to the north it does not go.
/// struct Courier;
///
/// impl Estimator for Courier {
///     async fn costs(&self, _: &Question, tasks: &[String]) -> Result<Option<BTreeMap<String, Exact>>, TaskError> {
///         let can = tasks.iter().filter(|task| !task.starts_with("north"));
///         Ok(Some(can.map(|task| (task.clone(), (task.len() as u64).into())).collect()))
///     }
/// }
///
/// let agent = Agent::builder("courier").invited_by("deliver").estimator(Courier);
/// ```
pub trait Estimator: Send + Sync + 'static {
    /// The cost of each task that it can do, from -1e12 to 1e12; one that is not named it cannot do.
    fn costs(
        &self,
        question: &Question,
        tasks: &[String],
    ) -> impl Future<Output = Result<Option<BTreeMap<String, Exact>>, TaskError>> + Send;
}

/// What of the rules says what is to be done.
#[derive(Deserialize)]
struct Work {
    tasks: Vec<String>,
}

impl AgentBuilder {
    /// Estimates whenever it is asked for `costs`.
    #[must_use]
    pub fn estimator(self, estimator: impl Estimator) -> AgentBuilder {
        self.role(("costs", None), &Arc::new(estimator), |estimator, question| async move {
            let work: Work = question.rules()?;
            estimator.costs(&question, &work.tasks).await
        })
    }
}
