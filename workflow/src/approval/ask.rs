//! What a request comes to: every check that its types cannot make, its defaults, its fingerprints.

use super::canonical::canonical;
use crate::schema::Schema;
use serde_json::Value;
use synod_protocol::approval::{
    ApprovalRequired, ApprovalStatus, DecisionMade, EXPIRES_AFTER_MS, Need, REQUIRED_BYTES, REVISIONS, ROLE,
    RequestApproval,
};
use synod_protocol::{Code, EntityId, Error, Id, Json, Timestamp};

/// What asking may look at besides the command.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The time.
    pub now: Timestamp,
    /// The piece of work that it belongs to.
    pub correlation_id: String,
    /// The execution whose step it is.
    pub execution_id: Option<Id>,
    /// Where it is not the first: what it comes after.
    pub revision: Option<Revision<'a>>,
}

/// What a revision comes after.
#[derive(Clone, Copy, Debug)]
pub struct Revision<'a> {
    /// The revision before it.
    pub parent: &'a EntityId,
    /// Which it is, from 2.
    pub number: u32,
    /// What was asked for when the one before it was decided.
    pub feedback: &'a DecisionMade,
}

/// Asks people to decide.
///
/// # Errors
/// A field is not what it may be, it can never be approved as it is asked for, or it is too large; with the field.
pub fn required(command: &RequestApproval, asked: Asked<'_>) -> Result<ApprovalRequired, Error> {
    command.check()?;
    check_id(&command.approval_id, &asked)?;
    let need = command.need.unwrap_or_default();
    check_need(need, &command.approvers)?;
    if let Some(json) = &command.response_schema {
        schema(json)?;
    }
    let revision = asked.revision.map_or(1, |revision| revision.number);
    let max_revisions = command.max_revisions.unwrap_or(REVISIONS);
    if revision > max_revisions {
        let message =
            format!("this would be revision {revision} of {max_revisions}; no further one is taken");
        return Err(Error::new(Code::Unprocessable, message).with_field("/max_revisions"));
    }
    let required = ApprovalRequired {
        approval_id: command.approval_id.clone(),
        status: ApprovalStatus::Pending,
        title: command.title.clone(),
        show: command.show.clone(),
        shown: shown(revision, &command.show, &command.title)?,
        approvers: command.approvers.clone(),
        required: command.required.clone().unwrap_or_default(),
        need,
        expires_at: asked.now.plus_millis(command.expires_after_ms.unwrap_or(EXPIRES_AFTER_MS)),
        auto_approve_at: command.auto_approve_after_ms.map(|after| asked.now.plus_millis(after)),
        response_schema: command.response_schema.clone(),
        revision,
        max_revisions,
        parent: asked.revision.map(|revision| revision.parent.clone()),
        feedback: asked.revision.map(|revision| revision.feedback.clone()),
        execution_id: asked.execution_id,
        labels: command.labels.clone().unwrap_or_default(),
        correlation_id: asked.correlation_id,
        body: fingerprint(command)?,
    };
    let bytes = json(&required)?.as_str().len();
    if bytes > REQUIRED_BYTES {
        let message = format!(
            "with its schema, its labels and the feedback the approval has {bytes} bytes, the limit is {REQUIRED_BYTES}; show less, or refer to it"
        );
        return Err(Error::new(Code::PayloadTooLarge, message).with_field("/show"));
    }
    Ok(required)
}

/// By which a command is told from another with the same id.
///
/// # Errors
/// It has no JSON form.
pub fn fingerprint(command: &RequestApproval) -> Result<String, Error> {
    Ok(blake3::hash(canonical(&json(command)?).as_bytes()).to_hex()[..32].to_owned())
}

/// By which one knows exactly what was shown; see [`ApprovalRequired::shown`].
fn shown(revision: u32, show: &Json, title: &str) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Shown<'a> {
        revision: u32,
        show: &'a Json,
        title: &'a str,
    }
    let text = canonical(&json(&Shown { revision, show, title })?);
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

fn json<T: serde::Serialize>(of: &T) -> Result<Json, Error> {
    Json::of(of).map_err(|error| Error::invalid(error.to_string()))
}

/// Children of a root are its execution's steps and its own revisions: nobody else names them.
fn check_id(id: &EntityId, asked: &Asked<'_>) -> Result<(), Error> {
    let is_root = id.as_str() == id.root();
    if is_root || asked.execution_id.is_some() || asked.revision.is_some() {
        return Ok(());
    }
    let message = format!("{id} would belong to {}; an approval by itself has an id without `:`", id.root());
    Err(Error::invalid(message).with_field("/approval_id"))
}

/// Refuses what people can never reach: more of them than are named.
fn check_need(need: Need, approvers: &[String]) -> Result<(), Error> {
    let Need::Quorum(many) = need else { return Ok(()) };
    if approvers.iter().any(|entry| entry.starts_with(ROLE)) || many as usize <= approvers.len() {
        return Ok(());
    }
    let message =
        format!("the quorum is {many}, and {} may decide; ask for fewer, or name more", approvers.len());
    Err(Error::new(Code::Unprocessable, message).with_field("/need/quorum"))
}

/// The schema of what comes with an approval, compiled.
pub(super) fn schema(json: &Json) -> Result<Schema, Error> {
    let field = "/response_schema";
    let value: Value = value(json, field)?;
    Schema::new(&value)
        .map_err(|bad| Error::invalid(bad.to_string()).with_field(format!("{field}{}", bad.pointer)))
}

/// As the value that schemas speak of.
pub(super) fn value(json: &Json, field: &str) -> Result<Value, Error> {
    json.to().map_err(|error| Error::invalid(error.to_string()).with_field(field))
}
