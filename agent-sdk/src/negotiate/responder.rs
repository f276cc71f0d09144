//! Emergencies.

use super::{Acknowledgement, Alarm};
use crate::{AgentBuilder, Question, TaskError};
use std::sync::Arc;

/// Is called in an emergency.
///
/// ```
/// use agent_sdk::{Acknowledgement, Agent, Alarm, Question, Responder, TaskError};
///
/// /// Always there.
/// struct Watch;
/// impl Responder for Watch {}
///
/// /// Leads nothing.
/// struct Helper;
/// impl Responder for Helper {
///     async fn acknowledge(&self, _: &Question, alarm: &Alarm) -> Result<Option<Acknowledgement>, TaskError> {
///         let leads = alarm.roles.contains_key("lead");
///         Ok(Some(if leads { Acknowledgement::unable("not trained") } else { Acknowledgement::given() }))
///     }
/// }
///
/// let agents = [Agent::builder("watch").invited_by("respond").responder(Watch),
///     Agent::builder("helper").invited_by("respond").responder(Helper)];
/// ```
pub trait Responder: Send + Sync + 'static {
    /// Whether it comes; it does by default. `alarm` says which procedure it is, and what its roles have to do. `None`: it cannot.
    fn acknowledge(
        &self,
        _question: &Question,
        _alarm: &Alarm,
    ) -> impl Future<Output = Result<Option<Acknowledgement>, TaskError>> + Send {
        async { Ok(Some(Acknowledgement::given())) }
    }
}

impl AgentBuilder {
    /// Responds whenever it is asked to `acknowledge` an emergency.
    #[must_use]
    pub fn responder(self, responder: impl Responder) -> AgentBuilder {
        self.role(("acknowledge", None), &Arc::new(responder), |responder, question| async move {
            let alarm: Alarm = question.content()?;
            responder.acknowledge(&question, &alarm).await
        })
    }
}
