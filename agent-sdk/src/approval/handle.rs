//! Approvals in the hands of who asked: wait, decide, resubmit, watch.

use super::request::ApprovalRequest;
use super::verdict::Verdict;
use crate::agent::TaskError;
use crate::client::Client;
use crate::door::{Accepted, DoorError};
use crate::http::encoded;
use crate::page::Page;
use crate::watch::{Watch, watch};
use serde::Serialize;
use std::time::Duration;
use synod_protocol::approval::{Approval, ApprovalStatus, ResubmitApproval};
use synod_protocol::{Code, Command, EntityId, Error, Json};
use tokio::time::Instant;

/// Approvals that one question for those that wait is answered with at most.
const PENDING_MOST: usize = 1_000;

/// An approval that was asked for; a cheap clone. Dropping it changes nothing: it waits on.
#[derive(Clone, Debug)]
pub struct ApprovalHandle {
    client: Client,
    approval_id: EntityId,
    /// Only Kafka had it when it was accepted: a coordinator may not know it yet.
    queued: bool,
}

/// Why something is not approved.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// It was rejected, cancelled or timed out, or changes are wanted: its `status` says which, its `decisions` by whom.
    #[error("approval {} is {}{}", approval.approval_id, approval.status.as_str(), why(approval))]
    Ended {
        /// Everything about it.
        approval: Box<Approval>,
    },
    /// It has not been decided in time, and waits on.
    #[error("approval {approval_id} was not decided within {} ms", limit.as_millis())]
    NotInTime {
        /// Which.
        approval_id: EntityId,
        /// The limit that passed.
        limit: Duration,
    },
    /// It was not accepted, or cannot be asked for.
    #[error(transparent)]
    Door(#[from] DoorError),
}

fn why(approval: &Approval) -> String {
    let last = approval.decisions.last();
    last.and_then(|decision| decision.comment.as_deref()).map_or_else(String::new, |why| format!(": {why}"))
}

impl Client {
    /// Asks people for approval; it is safe from then on.
    ///
    /// # Errors
    /// `Refused`; `NoAnswer`, in which case it may be there all the same: ask again, under the same id.
    pub async fn request_approval(&self, request: ApprovalRequest) -> Result<ApprovalHandle, DoorError> {
        let request = request.command()?;
        let approval_id = request.approval_id.clone();
        let command = Command::RequestApproval(Box::new(request));
        let limit = self.mesh().config().command_limit;
        let accepted = self.mesh().command(&command, self.origin(), limit).await?;
        Ok(ApprovalHandle { client: self.clone(), approval_id, queued: accepted == Accepted::Queued })
    }

    /// A handle on an approval asked for elsewhere.
    pub fn approval(&self, approval_id: EntityId) -> ApprovalHandle {
        ApprovalHandle { client: self.clone(), approval_id, queued: false }
    }

    /// Waits up to `limit` until an approval is approved.
    ///
    /// # Errors
    /// As [`ApprovalHandle::wait`].
    pub async fn wait_for_approval(
        &self,
        approval_id: EntityId,
        limit: Duration,
    ) -> Result<Approval, ApprovalError> {
        self.approval(approval_id).wait(limit).await
    }

    /// What waits for this person, by his name or in one of these roles (without `role:`): at most 1,000, in the order of their
    /// ids; what comes after them is there when they are decided.
    ///
    /// # Errors
    /// `Refused`; `NoAnswer`.
    pub async fn pending_approvals(
        &self,
        approver: &str,
        roles: &[&str],
    ) -> Result<Vec<Approval>, DoorError> {
        let in_roles: String = roles.iter().map(|role| format!("&role={}", encoded(role))).collect();
        let question = format!("/v1/approvals?status=pending&approver={}{in_roles}", encoded(approver));
        let limit = self.mesh().config().command_limit;
        let mut pending: Vec<Approval> = Vec::new();
        let mut path = question.clone();
        loop {
            let page: Page<Approval> = self.ask(&path, limit).await?;
            pending.extend(page.items);
            match page.next_cursor {
                Some(cursor) if pending.len() < PENDING_MOST => {
                    path = format!("{question}&cursor={}", encoded(&cursor));
                }
                _ => break,
            }
        }
        pending.truncate(PENDING_MOST);
        Ok(pending)
    }
}

impl ApprovalHandle {
    /// Its id.
    pub fn approval_id(&self) -> &EntityId {
        &self.approval_id
    }

    /// As it is now.
    ///
    /// # Errors
    /// `Refused` with `not_found`, among others; `NoAnswer`.
    pub async fn get(&self) -> Result<Approval, DoorError> {
        self.client.ask(&self.path(), self.limit()).await
    }

    /// Waits until it is approved, up to `limit`.
    ///
    /// # Errors
    /// See [`ApprovalError`].
    pub async fn wait(&self, limit: Duration) -> Result<Approval, ApprovalError> {
        let deadline = Instant::now() + limit;
        let is_over = |approval: &Approval| approval.status.is_final();
        let path = self.path();
        let ended = self.client.ended(&path, self.queued, deadline, is_over);
        let late = || ApprovalError::NotInTime { approval_id: self.approval_id.clone(), limit };
        let approval = tokio::time::timeout_at(deadline, ended).await.map_err(|_| late())??;
        match approval.status {
            ApprovalStatus::Approved => Ok(approval),
            _ => Err(ApprovalError::Ended { approval: Box::new(approval) }),
        }
    }

    /// What happens to it, from its being asked to its end, one event after the other.
    pub fn watch(&self) -> Watch {
        watch(self.client.clone(), self.approval_id.clone())
    }

    /// Decides on it, in a person's name. The same again is answered as the first time.
    ///
    /// # Errors
    /// `Refused`: he may not (`permission_denied`), it is over (`invalid_transition`), something else is shown (`conflict`), the data
    /// does not fit (`invalid_argument`), no changes can be requested any more (`unprocessable`); `NoAnswer`.
    pub async fn decide(&self, verdict: Verdict) -> Result<(), DoorError> {
        let decide = verdict.on(&self.approval_id)?;
        self.order(&Command::DecideApproval(decide)).await
    }

    /// Asks again after changes were requested, and shows this: the next revision, an approval of its own. The same again is the
    /// same revision. That of a workflow's step is asked again by the workflow itself.
    ///
    /// # Errors
    /// `Refused`: no changes were requested (`invalid_transition`), another revision is there (`already_exists`), it is a
    /// workflow's (`unprocessable`); `NoAnswer`.
    pub async fn resubmit(
        &self,
        title: Option<String>,
        show: impl Serialize,
    ) -> Result<ApprovalHandle, DoorError> {
        let show =
            Json::of(&show).map_err(|e| Error::invalid(format!("what is shown: {e}")).with_field("/show"))?;
        let approval_id = self.approval_id.clone();
        self.order(&Command::ResubmitApproval(ResubmitApproval { approval_id, title, show })).await?;
        let unknown = || Error::new(Code::Internal, "it was resubmitted, and names no next revision");
        let next = self.get().await?.revised_as.ok_or_else(unknown)?;
        Ok(self.client.approval(next))
    }

    async fn order(&self, command: &Command) -> Result<(), DoorError> {
        self.client.mesh().command(command, self.client.origin(), self.limit()).await.map(drop)
    }

    fn limit(&self) -> Duration {
        self.client.mesh().config().command_limit
    }

    fn path(&self) -> String {
        format!("/v1/approvals/{}", encoded(self.approval_id.as_str()))
    }
}

/// An approval that a handler itself asked for.
impl From<ApprovalError> for TaskError {
    fn from(error: ApprovalError) -> TaskError {
        let message = error.to_string();
        match error {
            ApprovalError::Door(error) => error.into(),
            ApprovalError::Ended { approval } => TaskError::permanent(approval.status.as_str(), message),
            ApprovalError::NotInTime { .. } => TaskError::retryable("approval_late", message),
        }
    }
}
