//! One call for what people want most: open, wait, and read what was decided as what it is.

use crate::door::DoorError;
use crate::{Client, NegotiationError};
use std::time::Duration;
use synod_negotiation::requests::{
    AssessRisk, DecideByConsensus, DeclareEmergency, DivideResources, Divided, FuseSignals, Fused, Request,
};
use synod_negotiation::{emergency, risk, voting};
use synod_protocol::negotiation::NegotiationView;
use synod_protocol::{Code, EntityId, Error, Id};

/// A decision: what it is, and everything about how it came to that.
#[derive(Clone, Debug)]
pub struct Decided<T> {
    /// What was decided.
    pub outcome: T,
    /// The negotiation.
    pub view: NegotiationView,
}

/// Each is a negotiation like any other: durable, and safe to repeat under its `negotiation_id`; one is made for who names none.
///
/// ```no_run
/// use agent_sdk::{Mesh, MeshConfig, negotiate::{Asking, FuseSignals}};
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Mesh::connect(MeshConfig::from_env()?)?.client();
/// let known = FuseSignals::of([("roof", 21.5), ("hall", 22.0)])?;
/// let asked = FuseSignals { ask: Some(Asking::capability("sense")?), ..known };
/// let fused = client.fuse(asked, Duration::from_secs(5)).await?;
/// println!("{:?}, {}", fused.outcome.value(), fused.view.explanation.join(" "));
/// # Ok(())
/// # }
/// ```
impl Client {
    /// Fuses signals, those given and those of the agents that are asked.
    ///
    /// # Errors
    /// See [`NegotiationError`]; `Refused` names the field of the request. It goes on when time is up.
    pub async fn fuse(
        &self,
        request: FuseSignals,
        limit: Duration,
    ) -> Result<Decided<Fused>, NegotiationError> {
        self.requested(request, limit).await
    }

    /// Assesses a risk.
    ///
    /// # Errors
    /// As [`Client::fuse`].
    pub async fn assess_risk(
        &self,
        request: AssessRisk,
        limit: Duration,
    ) -> Result<Decided<risk::Outcome>, NegotiationError> {
        self.requested(request, limit).await
    }

    /// Divides what is scarce.
    ///
    /// # Errors
    /// As [`Client::fuse`].
    pub async fn divide(
        &self,
        request: DivideResources,
        limit: Duration,
    ) -> Result<Decided<Divided>, NegotiationError> {
        self.requested(request, limit).await
    }

    /// Decides yes or no by a threshold: `outcome.decided`.
    ///
    /// # Errors
    /// As [`Client::fuse`]; `Ended` also where neither has the share that has to agree.
    pub async fn decide_by_consensus(
        &self,
        request: DecideByConsensus,
        limit: Duration,
    ) -> Result<Decided<voting::Outcome>, NegotiationError> {
        self.requested(request, limit).await
    }

    /// Declares an emergency; the outcome is who comes.
    ///
    /// # Errors
    /// As [`Client::fuse`].
    pub async fn declare_emergency(
        &self,
        request: DeclareEmergency,
        limit: Duration,
    ) -> Result<Decided<emergency::Report>, NegotiationError> {
        self.requested(request, limit).await
    }

    async fn requested<R: Request>(
        &self,
        request: R,
        limit: Duration,
    ) -> Result<Decided<R::Outcome>, NegotiationError> {
        let made = || EntityId::from(Id::made("neg_", uuid::Uuid::now_v7()));
        let id = request.named().cloned().unwrap_or_else(made);
        let open = request.open(id).map_err(DoorError::Refused)?;
        let view = self.decide(open, limit).await.map_err(|error| match error {
            NegotiationError::Door(DoorError::Refused(error)) => {
                DoorError::Refused(request.placed(error)).into()
            }
            other => other,
        })?;
        let outcome = view.outcome.clone().unwrap_or_default();
        let outcome = request.outcome(&outcome).map_err(|error| {
            DoorError::Refused(Error::new(Code::Internal, format!("the outcome does not read: {error}")))
        })?;
        Ok(Decided { outcome, view })
    }
}
