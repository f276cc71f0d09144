//! What the routes of all entities that end have in common: tasks, negotiations, executions, approvals.
//!
//! Each is made under an id that the body names or that is made here, waited for, read and changed alike.

use super::answer;
use super::request::{Caller, named, waited};
use crate::Shared;
use crate::door;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_ledger::{EntityKey, NegotiationKey, Subject, TaskKey};
use synod_protocol::approval::ApprovalStatus;
use synod_protocol::negotiation::NegotiationStatus;
use synod_protocol::view::TaskStatus;
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{Command, ContentType, EntityId, Error, Id, Json, codec};
use tokio::time::Instant;
use utoipa::IntoParams;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitParams {
    /// Answer once it has ended, or after so many milliseconds: 0 to 60,000.
    wait_ms: Option<u64>,
}

impl WaitParams {
    /// How long that is, checked, and until when.
    pub(super) fn wait(&self) -> Result<Wait, answer::Refusal> {
        let limit = waited(self.wait_ms)?;
        Ok(Wait { limit, until: Instant::now() + limit })
    }
}

/// How long a caller waits for the end, from when the request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    limit: Duration,
    until: Instant,
}

/// A kind of entity that ends, as its routes know it.
pub(super) struct Kind {
    /// Where all of them are.
    pub(super) path: &'static str,
    /// The member that holds an id.
    pub(super) id: &'static str,
    /// What an id begins with that is made here.
    prefix: &'static str,
    subject: fn(EntityKey) -> Subject,
    /// Whether what is shown has ended.
    is_over: fn(&Json) -> bool,
}

pub(super) const TASK: Kind = Kind {
    path: "/v1/tasks",
    id: "task_id",
    prefix: "task_",
    subject: |EntityKey { workspace, id }| Subject::Task(TaskKey { workspace, task: id }),
    is_over: |shown| stands(shown, TaskStatus::is_final),
};

pub(super) const NEGOTIATION: Kind = Kind {
    path: "/v1/negotiations",
    id: "negotiation_id",
    prefix: "neg_",
    subject: |EntityKey { workspace, id }| {
        Subject::Negotiation(NegotiationKey { workspace, negotiation: id })
    },
    is_over: |shown| stands(shown, NegotiationStatus::is_final),
};

pub(super) const EXECUTION: Kind = Kind {
    path: "/v1/executions",
    id: "execution_id",
    prefix: "exec_",
    subject: Subject::Execution,
    is_over: |shown| stands(shown, ExecutionStatus::is_final),
};

pub(super) const APPROVAL: Kind = Kind {
    path: "/v1/approvals",
    id: "approval_id",
    prefix: "appr_",
    subject: Subject::Approval,
    is_over: |shown| stands(shown, ApprovalStatus::is_final),
};

fn stands<S: DeserializeOwned>(shown: &Json, is_so: impl Fn(S) -> bool) -> bool {
    #[derive(Deserialize)]
    struct Shown<S> {
        status: S,
    }
    shown.to::<Shown<S>>().is_ok_and(|shown| is_so(shown.status))
}

/// A body that makes an entity, with its id in it.
pub(super) struct New {
    pub(super) id: EntityId,
    pub(super) body: Vec<u8>,
    /// The id was made of an `Idempotency-Key`.
    pub(super) derived: bool,
}

impl Kind {
    /// Where one is.
    pub(super) fn location(&self, id: &EntityId) -> String {
        format!("{}/{}", self.path, door::escaped(id.as_str()))
    }

    /// One, now or once it has ended.
    ///
    /// # Errors
    /// The owner's; `unavailable` when none answers in time.
    pub(super) async fn read(
        &self,
        shared: &Shared,
        caller: &Caller,
        id: &EntityId,
        wait: Duration,
    ) -> Result<Json, Error> {
        let workspace = &caller.workspace;
        let subject = (self.subject)(EntityKey::of(workspace, id));
        door::entity(shared, (workspace, id), &self.location(id), &subject, (wait, caller.came)).await
    }

    /// The answer to who asks for one: 202 where it was waited for and has not ended.
    pub(super) async fn get(
        &self,
        shared: &Shared,
        caller: &Caller,
        id: &str,
        params: &WaitParams,
    ) -> Result<Response, answer::Refusal> {
        let (id, Wait { limit, .. }) = (named(id)?, params.wait()?);
        let entity = self.read(shared, caller, &id, limit).await?;
        let ended = limit.is_zero() || (self.is_over)(&entity);
        let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(answer::entity(status, &entity, Some(self.location(&id))))
    }

    /// Has one made, and where there is a wait answers with the one that has ended, if it ends in time.
    ///
    /// # Errors
    /// Any refusal; `unavailable`.
    pub(super) async fn make(
        &self,
        shared: &Shared,
        caller: &Caller,
        command: Command,
        id: &EntityId,
        wait: Wait,
    ) -> Result<Response, Error> {
        command.check()?;
        // Its own id is what makes it idempotent here; the key has gone into it.
        let mut envelope = caller.envelope(command.ce_type(), id.as_str());
        envelope.id = uuid::Uuid::now_v7().to_string();
        let taken = door::decided(shared, command, &envelope, None, caller.came).await?;
        let (entity, made) = taken.entity()?;
        let location = Some(self.location(id));
        if !wait.limit.is_zero() {
            let left = wait.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let entity = self.read(shared, caller, id, left).await?;
            let status = if (self.is_over)(&entity) { StatusCode::OK } else { StatusCode::ACCEPTED };
            return Ok(answer::entity(status, &entity, location));
        }
        let status = if made { StatusCode::CREATED } else { StatusCode::OK };
        Ok(answer::entity(status, &entity, location))
    }

    /// The id of one that was given none: always the same for an `Idempotency-Key`.
    pub(super) fn id_for(&self, caller: &Caller) -> EntityId {
        EntityId::from(match &caller.idempotency_key {
            Some(key) => Id::derived(self.prefix, &caller.workspace, key),
            None => Id::made(self.prefix, uuid::Uuid::now_v7()),
        })
    }

    /// A body that may name the one that it makes.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`: it is no object, or names no id.
    pub(super) fn new_in(&self, body: &[u8], shared: &Shared, caller: &Caller) -> Result<New, Error> {
        let (members, named) = self.members(body, shared)?;
        match named {
            Some(id) => Ok(New { id, body: body.to_vec(), derived: false }),
            None => {
                let id = self.id_for(caller);
                let body = self.with_id(body, members, &id);
                Ok(New { id, body, derived: caller.idempotency_key.is_some() })
            }
        }
    }

    /// A body that may name the one that the path names.
    ///
    /// # Errors
    /// `invalid_argument`: it names another, or is no object; `payload_too_large`.
    pub(super) fn of_path(&self, body: &[u8], id: &EntityId, shared: &Shared) -> Result<Vec<u8>, Error> {
        let (members, named) = self.members(body, shared)?;
        match named {
            None => Ok(self.with_id(body, members, id)),
            Some(named) if named == *id => Ok(body.to_vec()),
            Some(named) => {
                let message = format!("the body names {named} as {}, the path {id}", self.id);
                Err(Error::invalid(message).with_field(format!("/{}", self.id)))
            }
        }
    }

    /// What is in a body, and the id that it names, if it does.
    fn members(
        &self,
        body: &[u8],
        shared: &Shared,
    ) -> Result<(BTreeMap<String, Json>, Option<EntityId>), Error> {
        let members: BTreeMap<String, Json> = codec::decode(ContentType::Json, body, &shared.config.limits)?;
        let read = |id: &Json| {
            id.to::<EntityId>().map_err(|e| Error::invalid(e.to_string()).with_field(format!("/{}", self.id)))
        };
        let id = members.get(self.id).filter(|id| id.as_str() != "null").map(read).transpose()?;
        Ok((members, id))
    }

    /// The same body, an object, with the id as its first member.
    fn with_id(&self, body: &[u8], mut members: BTreeMap<String, Json>, id: &EntityId) -> Vec<u8> {
        if members.remove(self.id).is_some() {
            // It stood there as null; written once more, it would stand there twice.
            let rest = Json::of(&members).unwrap_or_default();
            return self.with_id(rest.as_str().as_bytes(), members, id);
        }
        let text = String::from_utf8_lossy(body);
        let rest = text.trim_start().strip_prefix('{').unwrap_or_default();
        let comma = if members.is_empty() { "" } else { "," };
        format!("{{\"{}\":\"{id}\"{comma}{rest}", self.id).into_bytes()
    }
}

/// Has something done to an entity that is there; what it is then.
///
/// # Errors
/// Any refusal; `unavailable`.
pub(super) async fn changed(
    shared: &Shared,
    caller: &Caller,
    command: Command,
    id: &str,
) -> Result<Response, Error> {
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), id);
    let taken = door::decided(shared, command, &envelope, None, caller.came).await?;
    Ok(answer::entity(StatusCode::OK, &taken.entity()?.0, None))
}
