//! Demands of what is scarce.

use super::{DivideDemand, DivideTasks};
use crate::{AgentBuilder, Question, TaskError};
use serde::Serialize;
use std::sync::Arc;
use synod_protocol::Exact;

/// What a claimant wants: an amount where one resource is divided, tasks where several are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Demand {
    /// So much in all.
    Amount(DivideDemand),
    /// As many tasks that need so much each (`drf`).
    Tasks(DivideTasks),
}

impl Demand {
    /// So much in all, 0 or more.
    pub fn of(amount: impl Into<Exact>) -> Demand {
        Demand::Amount(DivideDemand { demand: amount.into() })
    }

    /// As many tasks as there can be that need so much of each resource.
    pub fn tasks<N: Into<String>, A: Into<Exact>>(per_task: impl IntoIterator<Item = (N, A)>) -> Demand {
        let each = per_task.into_iter().map(|(resource, amount)| (resource.into(), amount.into()));
        Demand::Tasks(DivideTasks { per_task: each.collect(), max_tasks: None })
    }
}

/// Says how much of what is scarce it wants.
///
/// ```
/// use agent_sdk::{Agent, Claimant, Demand, Question, TaskError};
///
/// struct Renderer {
///     waiting: u64,
/// }
///
/// impl Claimant for Renderer {
///     async fn demand(&self, _: &Question) -> Result<Option<Demand>, TaskError> {
///         Ok(Some(Demand::of(2 * self.waiting)))
///     }
/// }
///
/// let agent = Agent::builder("renderer").invited_by("share").claimant(Renderer { waiting: 3 });
/// ```
pub trait Claimant: Send + Sync + 'static {
    /// What it wants; `None` gets nothing.
    fn demand(&self, question: &Question) -> impl Future<Output = Result<Option<Demand>, TaskError>> + Send;
}

impl AgentBuilder {
    /// Claims its share whenever it is asked for a `demand`.
    #[must_use]
    pub fn claimant(self, claimant: impl Claimant) -> AgentBuilder {
        self.role(("demand", None), &Arc::new(claimant), |claimant, question| async move {
            claimant.demand(&question).await
        })
    }
}
