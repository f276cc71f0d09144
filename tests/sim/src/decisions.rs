//! What must hold of approvals, by the steps of a ledger alone: each is asked for once and ends once, by those who were asked and
//! in its time, and never by too few.

use crate::checks::ensure;
use crate::runs::may_come_again;
use crate::tally::Met;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{EntityKey, State, Step, Window};
use synod_protocol::approval::{
    ApprovalEnded, ApprovalRequired, ApprovalStatus, Decision, DecisionMade, Need,
};
use synod_protocol::event::What;
use synod_protocol::{EntityId, Timestamp};

/// One approval.
#[derive(Debug)]
struct Asked {
    required: ApprovalRequired,
    status: ApprovalStatus,
    /// Who has approved.
    signed: BTreeSet<String>,
    ended_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Decisions {
    window: Window,
    all: BTreeMap<EntityKey, Asked>,
}

impl Decisions {
    pub(crate) fn new(window: Window) -> Decisions {
        Decisions { window, all: BTreeMap::new() }
    }

    /// Approvals that wait.
    pub(crate) fn pending(&self) -> usize {
        self.all.values().filter(|asked| !asked.status.is_final()).count()
    }

    /// The first that waits.
    pub(crate) fn first_live(&self) -> Option<&EntityId> {
        self.all.iter().find(|(_, asked)| !asked.status.is_final()).map(|(key, _)| &key.id)
    }

    /// How one has ended.
    pub(crate) fn ended(&self, key: &EntityKey) -> Option<ApprovalStatus> {
        self.all.get(key).map(|asked| asked.status).filter(|status| status.is_final())
    }

    /// Takes in a step that counts, with the state after it.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn see(&mut self, step: &Step, state: &State, met: &mut Vec<Met>) -> Result<(), String> {
        let Some(workspace) = &step.workspace else { return Ok(()) };
        for event in step.events.iter().filter(|e| e.what.ce_type().starts_with("synod.approval.")) {
            let key = EntityKey { workspace: workspace.clone(), id: event.entity.clone() };
            let happened = match &event.what {
                What::ApprovalRequired(required) => self.required(&key, required, step.now),
                what => self.happens(&key, what, step.now),
            };
            met.extend(happened.map_err(|why| format!("approval {}: {why}", key.id))?);
            let (known, had) =
                (state.approval(&key).map(|it| it.status), self.all.get(&key).map(|a| a.status));
            // It may have left memory in this very step, or change once more in it.
            let changes = step.events.iter().filter(|other| other.entity == key.id).count() > 1;
            ensure(known.is_none() || changes || known == had, || {
                format!("approval {}: the fold's state is {known:?}, and the events say {had:?}", key.id)
            })?;
        }
        Ok(())
    }

    fn required(
        &mut self,
        key: &EntityKey,
        required: &ApprovalRequired,
        now: Timestamp,
    ) -> Result<Option<Met>, String> {
        let ended = self.all.get(key).map(|asked| asked.ended_at);
        ensure(may_come_again(ended, now, self.window), || "it is asked for a second time".to_owned())?;
        if let Some(parent) = &required.parent {
            let before = EntityKey { id: parent.clone(), ..key.clone() };
            let before = self.all.get(&before);
            let wanted = before.is_some_and(|before| {
                before.status == ApprovalStatus::ChangesRequested
                    && before.required.revision + 1 == required.revision
            });
            ensure(wanted && required.feedback.is_some(), || {
                format!("it is revision {} of {parent}, which is {before:?}", required.revision)
            })?;
        }
        let within = (1..=required.max_revisions).contains(&required.revision);
        ensure(within && (required.parent.is_some() == (required.revision > 1)), || {
            format!("it is revision {} of {:?}", required.revision, required.parent)
        })?;
        let (status, signed, ended_at) = (ApprovalStatus::Pending, BTreeSet::new(), None);
        self.all.insert(key.clone(), Asked { required: required.clone(), status, signed, ended_at });
        Ok(Some(if required.parent.is_some() { Met::AskedAgain } else { Met::ApprovalAsked }))
    }

    fn happens(&mut self, key: &EntityKey, what: &What, now: Timestamp) -> Result<Option<Met>, String> {
        let asked = self.all.get_mut(key).ok_or("something happens to it, and nobody has asked for it")?;
        ensure(!asked.status.is_final(), || {
            format!("{} after it has ended as {}", what.ce_type(), asked.status.as_str())
        })?;
        match what {
            What::ApprovalSigned(e) => {
                asked.decided(&e.decision, now)?;
                asked.signs(&e.decision)?;
                ensure(!asked.is_enough(), || "it is signed by all that it needs, and waits".to_owned())?;
                Ok(Some(Met::ApprovalSigned))
            }
            What::ApprovalGranted(e)
            | What::ApprovalRejected(e)
            | What::ApprovalChangesRequested(e)
            | What::ApprovalCancelled(e)
            | What::ApprovalTimedOut(e) => asked.ends(e, now).map(Some),
            other => Err(format!("{} is no event that the judge knows", other.ce_type())),
        }
    }
}

impl Asked {
    /// Somebody who may has decided, in time.
    fn decided(&self, made: &DecisionMade, now: Timestamp) -> Result<(), String> {
        let who = made.approver.as_deref().unwrap_or_default();
        ensure(now < self.required.expires_at, || {
            format!("{who} decides at {now}, and its time was up at {}", self.required.expires_at)
        })?;
        let by_itself = self.required.auto_approve_at.filter(|_| self.signed.is_empty());
        ensure(by_itself.is_none_or(|at| now < at), || {
            format!("{who} decides at {now}, and it was approved by itself at {by_itself:?}")
        })?;
        let is_asked = |entry: &String| {
            entry == who || entry.strip_prefix("role:").is_some_and(|role| made.roles.contains(role))
        };
        let may = made.decision == Decision::Cancel || self.required.approvers.iter().any(is_asked);
        ensure(may, || format!("{who} decides, and was not asked"))
    }

    fn signs(&mut self, made: &DecisionMade) -> Result<(), String> {
        let who = made.approver.clone().unwrap_or_default();
        ensure(self.signed.insert(who.clone()), || format!("{who} approves a second time"))
    }

    /// Whether those who have signed suffice: those who are asked here have a place of their own each.
    fn is_enough(&self) -> bool {
        let has = |entry: &String| match entry.as_str() {
            "role:legal" => self.signed.contains("carl"),
            name => self.signed.contains(name),
        };
        let many = match self.required.need {
            Need::Any => 1,
            Need::Quorum(many) => many as usize,
            Need::All => self.required.approvers.len(),
        };
        self.signed.len() >= many && self.required.required.iter().all(has)
    }

    fn ends(&mut self, e: &ApprovalEnded, now: Timestamp) -> Result<Met, String> {
        let person = e.decision.as_ref().filter(|made| made.approver.is_some());
        if let Some(made) = person {
            self.decided(made, now)?;
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let met = match (e.status, person) {
            (ApprovalStatus::Approved, Some(made)) => {
                self.signs(made)?;
                ensure(self.is_enough(), || format!("it is granted by {:?} alone", self.signed))?;
                Met::ApprovalGranted
            }
            (ApprovalStatus::Approved, None) => {
                let may = due(self.required.auto_approve_at) && self.signed.is_empty();
                ensure(may, || format!("it approves itself, signed by {:?}", self.signed))?;
                Met::ApprovedItself
            }
            (ApprovalStatus::TimedOut, _) => {
                ensure(due(Some(self.required.expires_at)), || "its time is said to be up".to_owned())?;
                Met::ApprovalTimedOut
            }
            (ApprovalStatus::ChangesRequested, Some(_)) => {
                let may = self.required.revision < self.required.max_revisions;
                ensure(may, || "changes are wanted of the last revision".to_owned())?;
                Met::ChangesWanted
            }
            (ApprovalStatus::Cancelled, Some(_)) => Met::ApprovalCancelled,
            (ApprovalStatus::Cancelled, None) => {
                let of_one = self.required.execution_id.is_some();
                ensure(of_one, || "it is taken back, and belongs to no execution".to_owned())?;
                Met::ApprovalTakenBack
            }
            (ApprovalStatus::Rejected, Some(_)) => Met::ApprovalRejected,
            (status, _) => return Err(format!("it ends as {status:?} by {:?}", e.decision)),
        };
        (self.status, self.ended_at) = (e.status, Some(now));
        Ok(met)
    }
}
