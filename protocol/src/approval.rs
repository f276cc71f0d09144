//! The words of approvals: what people are asked to decide, and what they decided.

use crate::command::{check_labels, check_range, check_text};
use crate::error::{Code, Error};
use crate::id::{EntityId, Id, Workspace};
use crate::json::{Json, there};
use crate::limits::LIST_ENTRIES;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// How long an approval waits where nothing is said, in milliseconds: 24 hours.
pub const EXPIRES_AFTER_MS: u64 = 24 * 3_600_000;
/// The longest that an approval may wait, in milliseconds: 366 days.
pub const EXPIRES_MOST_MS: u64 = 366 * 24 * 3_600_000;
/// Those who may decide, at most.
pub const APPROVERS: usize = 64;
/// Revisions where nothing is said; at most 20.
pub const REVISIONS: u32 = 3;
/// The most that may be said.
pub const REVISIONS_MOST: u32 = 20;
/// Bytes of the name of a person or a role.
pub const NAME_BYTES: usize = 128;
/// Bytes of what is shown: 256 KiB.
pub const SHOW_BYTES: usize = 256 * 1024;
/// Bytes of the data of one decision: 64 KiB.
pub const DATA_BYTES: usize = 64 * 1024;
/// Approvals that one may need; further ones are taken only where they are needed still.
pub const SIGNATURES: usize = 256;
/// Bytes of all decisions of one approval, as JSON, but for the one that ends it: 320 KiB.
pub const DECISIONS_BYTES: usize = 320 * 1024;
/// Bytes of all that is said when one is asked, as JSON, with the feedback to the revision before: 400 KiB.
pub const REQUIRED_BYTES: usize = 400 * 1024;
/// What an entry of `approvers` begins with that stands for all in a role.
pub const ROLE: &str = "role:";

/// How many have to approve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Need {
    /// One of them.
    #[default]
    Any,
    /// Every one: each entry by a person of its own.
    All,
    /// So many different people, 1 to 256.
    Quorum(u32),
}

/// `synod.approval.request`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestApproval {
    /// Its id, chosen by who asks: that of a root, without `:`, unless it belongs to an execution.
    pub approval_id: EntityId,
    /// What is asked, in one line of 1 to 4,096 bytes.
    pub title: String,
    /// Exactly what is shown and decided on, 256 KiB at most.
    #[serde(default)]
    pub show: Json,
    /// Who may decide, 1 to 64, each once: names, or roles as `role:<name>`; a name has 1 to 128 bytes.
    pub approvers: Vec<String>,
    /// Who of them has to approve, whoever else does; entries of `approvers`.
    #[serde(default)]
    pub required: Option<Vec<String>>,
    /// How many of them have to approve; `any` by default.
    #[serde(default)]
    pub need: Option<Need>,
    /// Milliseconds until it is timed out, 1 ms to 366 days; 24 hours by default.
    #[serde(default)]
    pub expires_after_ms: Option<u64>,
    /// Milliseconds after which it is approved by itself where nobody has decided; never by default.
    #[serde(default)]
    pub auto_approve_after_ms: Option<u64>,
    /// JSON Schema of the data that comes with an approval; what comes with other decisions is not held to it.
    #[serde(default)]
    pub response_schema: Option<Json>,
    /// How many revisions there may be in all, 1 to 20; 3 by default. 1: a request for changes is not taken.
    #[serde(default)]
    pub max_revisions: Option<u32>,
    /// Free labels to find it by.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes.
    Approve,
    /// No.
    Reject,
    /// Not like this.
    RequestChanges,
    /// It is wanted no more.
    Cancel,
}

/// `synod.approval.decide`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// Which.
    pub approval_id: EntityId,
    /// What.
    pub decision: Decision,
    /// Who: a name of 1 to 128 bytes. He is believed.
    pub approver: String,
    /// The roles that he decides in, without `role:`; 256 at most. He is believed.
    #[serde(default)]
    pub roles: Option<BTreeSet<String>>,
    /// For people; 4,096 bytes at most.
    #[serde(default)]
    pub comment: Option<String>,
    /// What the decision stands for, such as `reviewed` or `responsible`; 4,096 bytes at most.
    #[serde(default)]
    pub meaning: Option<String>,
    /// Data, as the approval's schema wants it where it is approved; 64 KiB at most.
    #[serde(default)]
    pub response_data: Option<Json>,
    /// The fingerprint of what he was shown; another than the approval's is refused.
    #[serde(default)]
    pub shown: Option<String>,
}

/// `synod.approval.resubmit`: the next revision of an approval to which changes were requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResubmitApproval {
    /// The one to which changes were requested.
    pub approval_id: EntityId,
    /// What is asked, in one line; as before by default.
    #[serde(default)]
    pub title: Option<String>,
    /// Exactly what is shown and decided on.
    pub show: Json,
}

impl RequestApproval {
    /// Whether each field by itself is what it may be. Whether it can be decided at all is seen where it is asked.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the field.
    pub fn check(&self) -> Result<(), Error> {
        check_title(&self.title)?;
        check_bytes("/show", Some(&self.show), SHOW_BYTES)?;
        check_range(
            "/approvers",
            "the number of approvers",
            self.approvers.len() as u64,
            1,
            APPROVERS as u64,
        )?;
        for (i, entry) in self.approvers.iter().enumerate() {
            let field = format!("/approvers/{i}");
            check_name(&field, entry.strip_prefix(ROLE).unwrap_or(entry))?;
            check_once(&field, entry, &self.approvers[..i])?;
        }
        let required = self.required.as_deref().unwrap_or_default();
        for (i, entry) in required.iter().enumerate() {
            let field = format!("/required/{i}");
            if !self.approvers.contains(entry) {
                let message = format!("{entry:?} is required and is no approver; name it in approvers, too");
                return Err(Error::invalid(message).with_field(field));
            }
            check_once(&field, entry, &required[..i])?;
        }
        if let Some(Need::Quorum(many)) = self.need {
            check_range("/need/quorum", "the quorum", u64::from(many), 1, SIGNATURES as u64)?;
        }
        for (field, time) in [
            ("/expires_after_ms", self.expires_after_ms),
            ("/auto_approve_after_ms", self.auto_approve_after_ms),
        ] {
            check_range(field, &field[1..], time.unwrap_or(EXPIRES_AFTER_MS), 1, EXPIRES_MOST_MS)?;
        }
        let revisions = u64::from(self.max_revisions.unwrap_or(REVISIONS));
        check_range("/max_revisions", "max_revisions", revisions, 1, u64::from(REVISIONS_MOST))?;
        check_labels("/labels", self.labels.as_ref())
    }
}

impl DecideApproval {
    /// Whether each field by itself is what it may be.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the field.
    pub fn check(&self) -> Result<(), Error> {
        check_name("/approver", &self.approver)?;
        if self.approver.starts_with(ROLE) {
            let message =
                "a person decides, not a role; name the person here and what is after `role:` in roles";
            return Err(Error::invalid(message).with_field("/approver"));
        }
        let roles = self.roles.iter().flatten();
        check_range("/roles", "the number of roles", roles.clone().count() as u64, 0, LIST_ENTRIES as u64)?;
        for role in roles {
            check_name("/roles", role)?;
            if role.starts_with(ROLE) {
                let message = format!("{role:?} is written without `role:` here");
                return Err(Error::invalid(message).with_field("/roles"));
            }
        }
        check_text("/comment", self.comment.as_deref())?;
        check_text("/meaning", self.meaning.as_deref())?;
        check_text("/shown", self.shown.as_deref())?;
        check_bytes("/response_data", self.response_data.as_ref(), DATA_BYTES)
    }
}

impl ResubmitApproval {
    /// Whether each field by itself is what it may be.
    ///
    /// # Errors
    /// `invalid_argument` or `payload_too_large`, with the field.
    pub fn check(&self) -> Result<(), Error> {
        self.title.as_deref().map_or(Ok(()), check_title)?;
        check_bytes("/show", Some(&self.show), SHOW_BYTES)
    }
}

fn check_title(title: &str) -> Result<(), Error> {
    check_text("/title", Some(title))?;
    if title.trim().is_empty() || title.chars().any(char::is_control) {
        let message =
            "the title is one line of 1 to 4,096 bytes, without control characters; put more into show";
        return Err(Error::invalid(message).with_field("/title"));
    }
    Ok(())
}

fn check_name(field: &str, name: &str) -> Result<(), Error> {
    let is_text = name.trim() == name && !name.chars().any(char::is_control);
    if (1..=NAME_BYTES).contains(&name.len()) && is_text {
        return Ok(());
    }
    let message = format!(
        "{} names nobody: a name has 1 to {NAME_BYTES} bytes, no control characters and no white space around it",
        crate::id::shown(name)
    );
    Err(Error::invalid(message).with_field(field))
}

fn check_once(field: &str, entry: &String, before: &[String]) -> Result<(), Error> {
    if before.contains(entry) {
        return Err(Error::invalid(format!("{entry:?} stands here twice; keep one")).with_field(field));
    }
    Ok(())
}

fn check_bytes(field: &str, json: Option<&Json>, limit: usize) -> Result<(), Error> {
    match json.map(|json| json.as_str().len()) {
        Some(bytes) if bytes > limit => {
            let message = format!("{} has {bytes} bytes, the limit is {limit}", &field[1..]);
            Err(Error::new(Code::PayloadTooLarge, message).with_field(field))
        }
        _ => Ok(()),
    }
}

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// It waits for people.
    Pending,
    /// Over: as many as are needed have approved.
    Approved,
    /// Over: somebody rejected it.
    Rejected,
    /// Over: somebody wants it otherwise; its next revision is another approval.
    ChangesRequested,
    /// Over: it was wanted no more.
    Cancelled,
    /// Over: its time was up.
    TimedOut,
}

impl ApprovalStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ApprovalStatus::Pending => "pending",
            ApprovalStatus::Approved => "approved",
            ApprovalStatus::Rejected => "rejected",
            ApprovalStatus::ChangesRequested => "changes_requested",
            ApprovalStatus::Cancelled => "cancelled",
            ApprovalStatus::TimedOut => "timed_out",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        self != ApprovalStatus::Pending
    }
}

/// One decision of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionMade {
    /// What.
    pub decision: Decision,
    /// Who; absent where it was approved by itself, or taken back with its execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// The roles that he decided in: of those that he named, the ones that may decide.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<String>,
    /// When.
    pub at: Timestamp,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What the decision stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// Data that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub response_data: Option<Json>,
    /// The fingerprint of exactly what was shown.
    pub shown: String,
}

/// `synod.approval.required`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalRequired {
    /// Which.
    pub approval_id: EntityId,
    /// Its status after this.
    pub status: ApprovalStatus,
    /// What is asked.
    pub title: String,
    /// Exactly what is shown and decided on.
    pub show: Json,
    /// The fingerprint of title and what is shown: blake3 of the compact JSON `{"revision":…,"show":…,"title":…}` with sorted names at every level,
    /// numbers as they are written, strings with no escapes but those that JSON wants; in hexadecimal.
    pub shown: String,
    /// Who may decide.
    pub approvers: Vec<String>,
    /// Who of them has to approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// How many of them have to approve.
    pub need: Need,
    /// When its time is up.
    pub expires_at: Timestamp,
    /// When it is approved by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve_at: Option<Timestamp>,
    /// JSON Schema of the data that comes with an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Json>,
    /// Which revision this is, from 1.
    pub revision: u32,
    /// How many there may be in all.
    pub max_revisions: u32,
    /// The revision before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<EntityId>,
    /// What was asked for when that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<DecisionMade>,
    /// The execution whose step it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Id>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// Fingerprint of the command's body, by which a repeat is told from another approval of that id.
    pub body: String,
}

/// `synod.approval.signed`: one has approved, and more have to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalSigned {
    /// Which.
    pub approval_id: EntityId,
    /// Its status after this.
    pub status: ApprovalStatus,
    /// The decision.
    pub decision: DecisionMade,
}

/// `synod.approval.granted`, `.rejected`, `.changes_requested`, `.cancelled`, `.timed_out`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalEnded {
    /// Which.
    pub approval_id: EntityId,
    /// Its status after this.
    pub status: ApprovalStatus,
    /// Which revision it was, from 1.
    pub revision: u32,
    /// The decision that ended it; absent where its time was up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionMade>,
    /// The execution whose step it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Id>,
}

/// An approval as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Whose.
    pub workspace: Workspace,
    /// Which.
    pub approval_id: EntityId,
    /// How it stands.
    pub status: ApprovalStatus,
    /// What is asked.
    pub title: String,
    /// Exactly what is shown and decided on.
    pub show: Json,
    /// The fingerprint of title and what is shown: blake3 of the compact JSON `{"revision":…,"show":…,"title":…}` with sorted names at every level,
    /// numbers as they are written, strings with no escapes but those that JSON wants; in hexadecimal.
    pub shown: String,
    /// Who may decide.
    pub approvers: Vec<String>,
    /// Who of them has to approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// How many of them have to approve.
    pub need: Need,
    /// When its time is up.
    pub expires_at: Timestamp,
    /// When it is approved by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve_at: Option<Timestamp>,
    /// JSON Schema of the data that comes with an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Json>,
    /// Which revision this is, from 1.
    pub revision: u32,
    /// How many there may be in all.
    pub max_revisions: u32,
    /// The revision before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<EntityId>,
    /// What was asked for when that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<DecisionMade>,
    /// The execution whose step it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Id>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Every decision, in the order in which they came.
    pub decisions: Vec<DecisionMade>,
    /// The revision after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revised_as: Option<EntityId>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}
