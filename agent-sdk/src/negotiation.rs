//! Who wants something decided: open, wait, answer, cancel.

use crate::client::Client;
use crate::door::{Accepted, DoorError};
use crate::http::encoded;
use std::time::Duration;
use synod_protocol::negotiation::{
    CancelNegotiation, NegotiationStatus, NegotiationView, OpenNegotiation, RespondNegotiation,
};
use synod_protocol::{Command, EntityId, Id, Json};
use tokio::time::Instant;

/// A negotiation that was opened; a cheap clone. Dropping it changes nothing: it goes on.
#[derive(Clone, Debug)]
pub struct NegotiationHandle {
    client: Client,
    negotiation_id: EntityId,
    /// Only Kafka had it when it was accepted: a coordinator may not know it yet.
    queued: bool,
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum NegotiationError {
    /// It failed, or was cancelled.
    #[error("negotiation {} is {}: {}", view.negotiation_id, view.status.as_str(), view.reason.as_deref().unwrap_or("no reason given"))]
    Ended {
        /// Everything about it.
        view: Box<NegotiationView>,
    },
    /// It has not ended in time, and goes on.
    #[error("negotiation {negotiation_id} has not ended within {} ms", limit.as_millis())]
    NotInTime {
        /// Which.
        negotiation_id: EntityId,
        /// The limit that passed.
        limit: Duration,
    },
    /// It was not accepted, or cannot be asked for.
    #[error(transparent)]
    Door(#[from] DoorError),
}

impl Client {
    /// Opens a negotiation; it is safe from then on.
    ///
    /// # Errors
    /// `Refused`; `NoAnswer`, in which case it may be there all the same: open it again, under the same id.
    pub async fn negotiate(&self, open: OpenNegotiation) -> Result<NegotiationHandle, DoorError> {
        let negotiation_id = open.negotiation_id.clone();
        let limit = self.mesh().config().command_limit;
        let command = Command::OpenNegotiation(Box::new(open));
        let accepted = self.mesh().command(&command, self.origin(), limit).await?;
        Ok(NegotiationHandle { client: self.clone(), negotiation_id, queued: accepted == Accepted::Queued })
    }

    /// Opens a negotiation and waits up to `limit` for its decision.
    ///
    /// # Errors
    /// See [`NegotiationError`]. It goes on when time is up.
    pub async fn decide(
        &self,
        open: OpenNegotiation,
        limit: Duration,
    ) -> Result<NegotiationView, NegotiationError> {
        let deadline = Instant::now() + limit;
        self.negotiate(open).await?.wait_until(deadline, limit).await
    }

    /// A handle on a negotiation opened elsewhere.
    pub fn negotiation(&self, negotiation_id: EntityId) -> NegotiationHandle {
        NegotiationHandle { client: self.clone(), negotiation_id, queued: false }
    }
}

impl NegotiationHandle {
    /// Its id.
    pub fn negotiation_id(&self) -> &EntityId {
        &self.negotiation_id
    }

    /// As it is now.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn get(&self) -> Result<NegotiationView, DoorError> {
        self.client.ask(&self.path(), self.client.mesh().config().command_limit).await
    }

    /// Waits for its decision, up to `limit`.
    ///
    /// # Errors
    /// See [`NegotiationError`].
    pub async fn wait(&self, limit: Duration) -> Result<NegotiationView, NegotiationError> {
        self.wait_until(Instant::now() + limit, limit).await
    }

    async fn wait_until(
        &self,
        deadline: Instant,
        limit: Duration,
    ) -> Result<NegotiationView, NegotiationError> {
        let late = || NegotiationError::NotInTime { negotiation_id: self.negotiation_id.clone(), limit };
        let view = tokio::time::timeout_at(deadline, self.ended(deadline)).await.map_err(|_| late())??;
        match view.status {
            NegotiationStatus::Decided => Ok(view),
            _ => Err(NegotiationError::Ended { view: Box::new(view) }),
        }
    }

    /// The negotiation once it has ended, however long that takes.
    async fn ended(&self, deadline: Instant) -> Result<NegotiationView, DoorError> {
        let is_over = |view: &NegotiationView| view.status.is_final();
        self.client.ended(&self.path(), self.queued, deadline, is_over).await
    }

    fn path(&self) -> String {
        format!("/v1/negotiations/{}", encoded(self.negotiation_id.as_str()))
    }

    /// Answers the round that is open, as this participant; `None`: it abstains.
    ///
    /// # Errors
    /// `Refused`: it was not asked, comes late, or that is no answer; `NoAnswer`.
    pub async fn respond(&self, participant: &Id, response: Option<Json>) -> Result<(), DoorError> {
        let respond = RespondNegotiation {
            negotiation_id: self.negotiation_id.clone(),
            participant: participant.clone(),
            round: None,
            abstain: response.is_none().then_some(true),
            response,
        };
        self.order(&Command::RespondNegotiation(respond)).await
    }

    /// Cancels it.
    ///
    /// # Errors
    /// `Refused` with `invalid_transition` when it has ended; `NoAnswer`.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), DoorError> {
        let (negotiation_id, reason) = (self.negotiation_id.clone(), Some(reason.into()));
        self.order(&Command::CancelNegotiation(CancelNegotiation { negotiation_id, reason })).await
    }

    async fn order(&self, command: &Command) -> Result<(), DoorError> {
        let limit = self.client.mesh().config().command_limit;
        self.client.mesh().command(command, self.client.origin(), limit).await.map(drop)
    }
}
