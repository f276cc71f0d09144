//! What a decision, a resubmission and the passing of time do.

use super::ask::{self, Asked, Revision};
use super::{Approval, rule};
use std::collections::BTreeSet;
use synod_protocol::approval::{
    ApprovalEnded, ApprovalRequired, ApprovalSigned, ApprovalStatus, DECISIONS_BYTES, DecideApproval,
    Decision, DecisionMade, ROLE, RequestApproval, ResubmitApproval, SIGNATURES,
};
use synod_protocol::event::What;
use synod_protocol::{Code, EntityId, Error, Json, Timestamp};

/// Approvers that a refusal names.
const TOLD: usize = 8;
/// Bytes of a reason that are kept.
const REASON_BYTES: usize = 1024;

/// What a resubmission comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Resubmitted {
    /// This is asked next.
    Next(Box<ApprovalRequired>),
    /// The same was resubmitted before, as this.
    Again(EntityId),
}

/// What a decision weighs as JSON, in bytes.
pub(super) fn weight_of(decision: &DecisionMade) -> usize {
    Json::of(decision).map_or(0, |json| json.as_str().len())
}

impl Approval {
    /// What a decision does. Nothing where the same person has decided just that before.
    ///
    /// # Errors
    /// He may not decide, was shown something else, comes too late, has approved otherwise, or his data are not what they should be.
    pub fn decide(&self, command: &DecideApproval, now: Timestamp) -> Result<Vec<What>, Error> {
        command.check()?;
        self.check_may(command)?;
        self.check_shown(command)?;
        let made = self.made(command, now);
        if self.decisions.iter().any(|before| is_same(before, &made)) {
            return Ok(Vec::new());
        }
        if self.status_at(now).is_final() {
            return Err(self.over(now));
        }
        match command.decision {
            Decision::Approve => self.approve(made),
            Decision::Reject => Ok(vec![self.ended(ApprovalStatus::Rejected, Some(made))]),
            Decision::RequestChanges => self.request_changes(made),
            Decision::Cancel => Ok(vec![self.ended(ApprovalStatus::Cancelled, Some(made))]),
        }
    }

    /// Anybody may cancel; all else is for those who were asked.
    fn check_may(&self, command: &DecideApproval) -> Result<(), Error> {
        let none = BTreeSet::new();
        let roles = command.roles.as_ref().unwrap_or(&none);
        if command.decision == Decision::Cancel || self.may_decide(&command.approver, roles) {
            return Ok(());
        }
        let named = &self.required.approvers;
        let mut who = named[..named.len().min(TOLD)].join(", ");
        if named.len() > TOLD {
            who = format!("{who} and {} more", named.len() - TOLD);
        }
        let by = &command.approver;
        let message = format!("{by} may not decide approval {}; who may: {who}", self.id());
        Err(Error::new(Code::PermissionDenied, message).with_field("/approver"))
    }

    fn check_shown(&self, command: &DecideApproval) -> Result<(), Error> {
        let here = &self.required.shown;
        match &command.shown {
            Some(there) if there != here => {
                let message = format!(
                    "the decision is on what has the fingerprint {}, approval {} shows {here}; look at it again",
                    crate::expression::shortened(there),
                    self.id()
                );
                Err(Error::new(Code::Conflict, message).with_field("/shown"))
            }
            _ => Ok(()),
        }
    }

    fn made(&self, command: &DecideApproval, now: Timestamp) -> DecisionMade {
        let asked: BTreeSet<&str> =
            self.required.approvers.iter().filter_map(|entry| entry.strip_prefix(ROLE)).collect();
        DecisionMade {
            decision: command.decision,
            approver: Some(command.approver.clone()),
            // Others count for nothing, and the record of each decision stays small.
            roles: command
                .roles
                .iter()
                .flatten()
                .filter(|role| asked.contains(role.as_str()))
                .cloned()
                .collect(),
            at: now,
            comment: command.comment.clone(),
            meaning: command.meaning.clone(),
            response_data: command.response_data.clone(),
            shown: self.required.shown.clone(),
        }
    }

    fn approve(&self, made: DecisionMade) -> Result<Vec<What>, Error> {
        let by = made.approver.as_deref().unwrap_or_default();
        if self.has_approved(by) {
            let message = format!(
                "{by} has approved {} otherwise before; that stands, but he may still reject or request changes",
                self.id()
            );
            return Err(Error::new(Code::AlreadyExists, message).with_field("/approver"));
        }
        self.check_data(made.response_data.as_ref())?;
        let before: Vec<&DecisionMade> = self.approvals().collect();
        let after: Vec<&DecisionMade> = before.iter().copied().chain([&made]).collect();
        if rule::is_met(&self.required, &after) {
            return Ok(vec![self.ended(ApprovalStatus::Approved, Some(made))]);
        }
        self.check_room(&before, &after, &made)?;
        Ok(vec![What::ApprovalSigned(ApprovalSigned {
            approval_id: self.id().clone(),
            status: ApprovalStatus::Pending,
            decision: made,
        })])
    }

    /// Approvals that do not end it grow within limits: of those beyond the most that can be needed, only what is needed still.
    fn check_room(
        &self,
        before: &[&DecisionMade],
        after: &[&DecisionMade],
        made: &DecisionMade,
    ) -> Result<(), Error> {
        let is_needed = || rule::progress(&self.required, after) > rule::progress(&self.required, before);
        if before.len() >= SIGNATURES && !is_needed() {
            let message = format!(
                "{} people have approved {} already; only approvals by those who are still needed are taken",
                before.len(),
                self.id()
            );
            return Err(Error::new(Code::Unprocessable, message).with_field("/approver"));
        }
        let bytes = self.weight + weight_of(made);
        if bytes > DECISIONS_BYTES {
            let message = format!(
                "the decisions on {} would have {bytes} bytes, the limit is {DECISIONS_BYTES}; say less",
                self.id()
            );
            return Err(Error::new(Code::PayloadTooLarge, message).with_field("/response_data"));
        }
        Ok(())
    }

    /// What is not there is `null`, so that a schema can say that nothing need come.
    fn check_data(&self, data: Option<&Json>) -> Result<(), Error> {
        let Some(schema) = &self.required.response_schema else { return Ok(()) };
        let field = "/response_data";
        let value = data.map_or(Ok(serde_json::Value::Null), |data| ask::value(data, field))?;
        ask::schema(schema)?.check(&value).map_err(|why| {
            let what =
                if data.is_some() { "response_data does not fit" } else { "response_data is missing:" };
            Error::invalid(format!("{what} the approval's schema: {why}")).with_field(field)
        })
    }

    fn request_changes(&self, made: DecisionMade) -> Result<Vec<What>, Error> {
        let (revision, most) = (self.required.revision, self.required.max_revisions);
        if revision >= most {
            let message = format!(
                "{} is revision {revision} of {most}: there is no further one; approve or reject",
                self.id()
            );
            return Err(Error::new(Code::Unprocessable, message).with_field("/decision"));
        }
        Ok(vec![self.ended(ApprovalStatus::ChangesRequested, Some(made))])
    }

    fn approvals(&self) -> impl Iterator<Item = &DecisionMade> {
        self.decisions.iter().filter(|made| made.decision == Decision::Approve)
    }

    fn over(&self, now: Timestamp) -> Error {
        let status = self.status_at(now).as_str();
        Error::invalid_transition(format!("approval {} is {status}", self.id()), status)
    }

    fn ended(&self, status: ApprovalStatus, decision: Option<DecisionMade>) -> What {
        let ended = ApprovalEnded {
            approval_id: self.id().clone(),
            status,
            revision: self.required.revision,
            decision,
            execution_id: self.required.execution_id.clone(),
        };
        match status {
            ApprovalStatus::Approved => What::ApprovalGranted(ended),
            ApprovalStatus::Rejected => What::ApprovalRejected(ended),
            ApprovalStatus::ChangesRequested => What::ApprovalChangesRequested(ended),
            ApprovalStatus::TimedOut => What::ApprovalTimedOut(ended),
            ApprovalStatus::Cancelled | ApprovalStatus::Pending => What::ApprovalCancelled(ended),
        }
    }

    /// A decision that no person made.
    fn by_nobody(&self, decision: Decision, comment: Option<String>, at: Timestamp) -> DecisionMade {
        DecisionMade {
            decision,
            approver: None,
            roles: BTreeSet::new(),
            at,
            comment,
            meaning: None,
            response_data: None,
            shown: self.required.shown.clone(),
        }
    }

    /// What the time does: it is approved by itself, or its time is up. Nothing before that.
    pub fn due(&self, now: Timestamp) -> Vec<What> {
        let Some(at) = self.timer() else { return Vec::new() };
        match self.status_at(now) {
            ApprovalStatus::Approved => {
                let made = self.by_nobody(Decision::Approve, None, at);
                vec![self.ended(ApprovalStatus::Approved, Some(made))]
            }
            ApprovalStatus::TimedOut => vec![self.ended(ApprovalStatus::TimedOut, None)],
            _ => Vec::new(),
        }
    }

    /// Its execution wants it no more. Nothing if it is over; what was due before that happens all the same.
    pub fn take_back(&self, reason: &str, now: Timestamp) -> Vec<What> {
        if self.status.is_final() {
            return Vec::new();
        }
        if self.status_at(now).is_final() {
            return self.due(now);
        }
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned();
        let made = self.by_nobody(Decision::Cancel, Some(reason), now);
        vec![self.ended(ApprovalStatus::Cancelled, Some(made))]
    }

    /// The next revision of one to which changes were requested: `<first>:r2`, then `:r3`, …
    ///
    /// # Errors
    /// No changes were requested, something else was resubmitted before, its execution does it, or it cannot be asked.
    pub fn resubmit(&self, command: &ResubmitApproval, now: Timestamp) -> Result<Resubmitted, Error> {
        if let Some(execution) = &self.required.execution_id {
            let message =
                format!("{} belongs to execution {execution}, which asks again by itself", self.id());
            return Err(Error::new(Code::Unprocessable, message).with_field("/approval_id"));
        }
        let status = self.status_at(now);
        let feedback = self.decisions.last().filter(|_| status == ApprovalStatus::ChangesRequested);
        let Some(feedback) = feedback else {
            let message = format!(
                "approval {} is {}; only one to which changes were requested is resubmitted",
                self.id(),
                status.as_str()
            );
            return Err(Error::invalid_transition(message, status.as_str()));
        };
        let next = self.next(command, feedback, now)?;
        match &self.revised {
            None => Ok(Resubmitted::Next(Box::new(next))),
            Some(revised) if revised.shown == next.shown => {
                Ok(Resubmitted::Again(revised.approval_id.clone()))
            }
            Some(revised) => {
                let message =
                    format!("{} has been resubmitted otherwise, as {}", self.id(), revised.approval_id);
                Err(Error::new(Code::AlreadyExists, message).with_field("/approval_id"))
            }
        }
    }

    fn next(
        &self,
        command: &ResubmitApproval,
        feedback: &DecisionMade,
        now: Timestamp,
    ) -> Result<ApprovalRequired, Error> {
        let before = &*self.required;
        let number = before.revision + 1;
        let request = RequestApproval {
            approval_id: next_revision(self.id())?,
            title: command.title.clone().unwrap_or_else(|| before.title.clone()),
            show: command.show.clone(),
            approvers: before.approvers.clone(),
            required: Some(before.required.clone()),
            need: Some(before.need),
            expires_after_ms: Some(before.expires_at.millis_since(self.asked_at)),
            auto_approve_after_ms: before.auto_approve_at.map(|at| at.millis_since(self.asked_at)),
            response_schema: before.response_schema.clone(),
            max_revisions: Some(before.max_revisions),
            labels: Some(before.labels.clone()),
        };
        let asked = Asked {
            now,
            correlation_id: before.correlation_id.clone(),
            execution_id: None,
            revision: Some(Revision { parent: self.id(), number, feedback }),
        };
        ask::required(&request, asked)
    }
}

/// The id of the revision after one that belongs to no execution: `<first>:r2`, then `:r3`, …
///
/// # Errors
/// It would be too long.
pub fn next_revision(id: &EntityId) -> Result<EntityId, Error> {
    let id = id.as_str();
    let revised = id.rsplit_once(":r").and_then(|(first, number)| Some((first, number.parse::<u32>().ok()?)));
    let (first, number) = revised.unwrap_or((id, 1));
    format!("{first}:r{}", number.saturating_add(1)).parse()
}

/// Whether it is the same decision of the same person, whenever it was made.
fn is_same(one: &DecisionMade, other: &DecisionMade) -> bool {
    DecisionMade { at: other.at, ..one.clone() } == *other
}
