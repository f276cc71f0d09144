//! One approval from its request to its end: who may decide what, and when it is over.
//!
//! Each function looks and says what happens, as events; [`Approval::apply`] changes the state by them, and does so whenever
//! the ledger is folded. Time is an argument, and the time decides: at or after its end nothing is decided any more, whether or
//! not the timer has been fired.
//!
//! | room | what is there |
//! |---|---|
//! | `ask` | what a request comes to: its checks, its defaults, its fingerprints |
//! | `decide` | what a decision, a resubmission and the passing of time do |
//! | `rule` | who fits, and when enough have approved |
//! | `canonical` | JSON with one text for one value |
//!
//! Absent: identities. Until they are checked at the door, who says who he is, and in which roles, is believed.

mod ask;
mod canonical;
mod decide;
mod rule;

pub use ask::{Asked, Revision, fingerprint, required};
pub use decide::{Resubmitted, next_revision};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use synod_protocol::approval::{
    Approval as View, ApprovalEnded, ApprovalRequired, ApprovalStatus, Decision, DecisionMade,
};
use synod_protocol::event::What;
use synod_protocol::{EntityId, Timestamp, Workspace};

/// All of one approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// As it was asked.
    pub required: Box<ApprovalRequired>,
    /// When that was.
    pub asked_at: Timestamp,
    /// How it stands.
    pub status: ApprovalStatus,
    /// Every decision, in the order in which they came.
    pub decisions: Vec<DecisionMade>,
    /// What was resubmitted after this.
    pub revised: Option<Revised>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the decisions weigh as JSON, in bytes.
    weight: usize,
}

/// The revision after one to which changes were requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// Which.
    pub approval_id: EntityId,
    /// What it shows, by which the same is told from another.
    pub shown: String,
}

impl Approval {
    /// The state after the event that asked for it.
    pub fn new(required: &ApprovalRequired, now: Timestamp) -> Approval {
        Approval {
            required: Box::new(required.clone()),
            asked_at: now,
            status: ApprovalStatus::Pending,
            decisions: Vec::new(),
            revised: None,
            ended_at: None,
            weight: 0,
        }
    }

    /// The state after an event of its own, or after the request of the revision after it; total.
    pub fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::ApprovalSigned(e) => self.add(&e.decision),
            What::ApprovalGranted(e)
            | What::ApprovalRejected(e)
            | What::ApprovalChangesRequested(e)
            | What::ApprovalCancelled(e)
            | What::ApprovalTimedOut(e) => self.apply_end(e, now),
            What::ApprovalRequired(e) if e.parent.as_ref() == Some(self.id()) => {
                self.revised = Some(Revised { approval_id: e.approval_id.clone(), shown: e.shown.clone() });
            }
            _ => {}
        }
    }

    fn apply_end(&mut self, e: &ApprovalEnded, now: Timestamp) {
        if let Some(decision) = &e.decision {
            self.add(decision);
        }
        (self.status, self.ended_at) = (e.status, Some(now));
    }

    fn add(&mut self, decision: &DecisionMade) {
        self.weight += decide::weight_of(decision);
        self.decisions.push(decision.clone());
    }

    fn id(&self) -> &EntityId {
        &self.required.approval_id
    }

    /// When something is due by itself: its time is up, or it is approved by itself. The latter only while nobody has decided.
    pub fn timer(&self) -> Option<Timestamp> {
        (!self.status.is_final()).then(|| {
            let by_itself = self.by_itself_at();
            by_itself.map_or(self.required.expires_at, |at| at.min(self.required.expires_at))
        })
    }

    /// When it is approved by itself, as it stands.
    fn by_itself_at(&self) -> Option<Timestamp> {
        self.required.auto_approve_at.filter(|_| self.decisions.is_empty())
    }

    /// How it stands at a time, whether or not the timer has been fired.
    pub fn status_at(&self, now: Timestamp) -> ApprovalStatus {
        match self.timer() {
            Some(due) if due <= now && self.by_itself_at() == Some(due) => ApprovalStatus::Approved,
            Some(due) if due <= now => ApprovalStatus::TimedOut,
            _ => self.status,
        }
    }

    /// What it weighs in memory, in bytes, about.
    pub fn weight(&self) -> usize {
        let required = &self.required;
        let names = required.approvers.iter().chain(&required.required).map(String::len).sum::<usize>();
        let labels = required.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let schema = required.response_schema.as_ref().map_or(0, |schema| schema.as_str().len());
        let feedback = required.feedback.as_ref().map_or(0, decide::weight_of);
        let shown = required.title.len() + required.show.as_str().len();
        1_000 + names + labels + schema + feedback + shown + self.weight
    }

    /// Whether it waits for this person: he may decide, and has not yet approved it.
    pub fn is_pending_for(&self, approver: &str, roles: &BTreeSet<String>) -> bool {
        !self.status.is_final() && self.may_decide(approver, roles) && !self.has_approved(approver)
    }

    fn may_decide(&self, approver: &str, roles: &BTreeSet<String>) -> bool {
        self.required.approvers.iter().any(|entry| rule::fits(entry, approver, roles))
    }

    fn has_approved(&self, approver: &str) -> bool {
        self.decisions
            .iter()
            .any(|made| made.decision == Decision::Approve && made.approver.as_deref() == Some(approver))
    }

    /// As a reader sees it.
    pub fn view(&self, workspace: &Workspace) -> View {
        let required = &*self.required;
        View {
            workspace: workspace.clone(),
            approval_id: required.approval_id.clone(),
            status: self.status,
            title: required.title.clone(),
            show: required.show.clone(),
            shown: required.shown.clone(),
            approvers: required.approvers.clone(),
            required: required.required.clone(),
            need: required.need,
            expires_at: required.expires_at,
            auto_approve_at: required.auto_approve_at,
            response_schema: required.response_schema.clone(),
            revision: required.revision,
            max_revisions: required.max_revisions,
            parent: required.parent.clone(),
            feedback: required.feedback.clone(),
            execution_id: required.execution_id.clone(),
            labels: required.labels.clone(),
            correlation_id: required.correlation_id.clone(),
            created_at: self.asked_at,
            decisions: self.decisions.clone(),
            revised_as: self.revised.as_ref().map(|revised| revised.approval_id.clone()),
            ended_at: self.ended_at,
        }
    }
}
