//! Approvals as entities of a shard: which there are, when each is due, and what an input does to one.
//!
//! How one is decided is none of this room's: that is `synod-workflow`'s.

use crate::decide::{Decision, Desk, Meta, nobody, refused};
use crate::memory::{Kept, Moved};
use crate::past::Past;
use crate::planted::{self, Bug};
use crate::shelf::{Shelf, Shelved};
use crate::state::State;
use crate::subject::{EntityKey, Subject};
use synod_protocol::approval::{ApprovalRequired, DecideApproval, RequestApproval, ResubmitApproval};
use synod_protocol::event::{Event, What};
use synod_protocol::{EntityId, Error, Timestamp};
use synod_workflow::approval::{Approval, Asked, Resubmitted, fingerprint, required};

/// The approvals of a shard.
pub(crate) type Approvals = Shelf<EntityKey, Approval>;

impl Shelved for Approval {
    fn timer(&self) -> Option<Timestamp> {
        self.timer()
    }

    fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    fn weight(&self) -> usize {
        self.weight()
    }
}

/// Whether this is about an approval.
pub(crate) fn is_about_one(what: &What) -> bool {
    what.ce_type().starts_with("synod.approval.")
}

impl State {
    /// One approval.
    pub fn approval(&self, key: &EntityKey) -> Option<&Approval> {
        self.approvals.get(key)
    }

    /// Approvals in memory after this one, for paging.
    pub fn approvals_after(&self, key: &EntityKey) -> impl Iterator<Item = (&EntityKey, &Approval)> {
        self.approvals.after(key)
    }

    pub(crate) fn apply_to_approval(
        &mut self,
        (offset, place): (u64, u64),
        now: Timestamp,
        key: &EntityKey,
        what: &What,
        moved: &mut Vec<Moved>,
    ) {
        let is_new = self.approvals.get(key).is_none();
        let mut is_told = what.is_end();
        match what {
            What::ApprovalRequired(asked) if is_new => {
                is_told = true;
                // The revision before it hears of it, too.
                if let Some(parent) = &asked.parent {
                    let parent = EntityKey::of(&key.workspace, parent);
                    self.approvals.change(&parent, |it| it.apply(what, now));
                }
                let kept = Kept { arrival: place, base: offset, state: Approval::new(asked, now) };
                moved.push(self.put_approval(key.clone(), kept));
            }
            _ => self.approvals.change(key, |it| it.apply(what, now)),
        }
        if is_told {
            self.remember((place, offset), now, &Subject::Approval(key.clone()), moved);
        }
    }
}

/// Asks for one.
pub(crate) fn requested(
    state: &State,
    cx: Desk<'_>,
    key: EntityKey,
    command: &RequestApproval,
    meta: &Meta,
) -> Decision {
    let subject = Subject::Approval(key);
    if state.knows(&subject) {
        return match fingerprint(command) {
            Ok(body) => again(state, subject, body),
            Err(error) => refused(error),
        };
    }
    let correlation_id = meta.correlation_id.clone().unwrap_or_else(|| command.approval_id.root().to_owned());
    let asked = Asked { now: cx.now, correlation_id, execution_id: None, revision: None };
    match required(command, asked) {
        Ok(asked) => about(subject, vec![What::ApprovalRequired(Box::new(asked))]),
        Err(error) => refused(error),
    }
}

/// What is known already is made again.
pub(crate) fn again(state: &State, subject: Subject, body: String) -> Decision {
    match subject.standing(state).map(|standing| standing.body == body) {
        Some(true) => Decision { subject: Some(subject), repeat: true, ..Decision::default() },
        Some(false) => refused(subject.made_otherwise()),
        None => match state.seen.entity(&subject) {
            Some(at) => {
                let past = Some(Past::Again { subject, at, body });
                Decision { repeat: true, past, ..Decision::default() }
            }
            None => refused(Error::not_found(subject.noun(), subject.id())),
        },
    }
}

/// Somebody decides.
pub(crate) fn decided(state: &State, cx: Desk<'_>, key: EntityKey, command: &DecideApproval) -> Decision {
    let Some(it) = state.approval(&key) else { return nobody(state, Subject::Approval(key)) };
    let now = if planted::is(Bug::DecidedLate) { cx.now.minus_millis(60_000) } else { cx.now };
    match it.decide(command, now) {
        Ok(whats) => about(Subject::Approval(key), whats),
        Err(error) => refused(error),
    }
}

/// The next revision of one to which changes were requested.
pub(crate) fn resubmitted(
    state: &State,
    cx: Desk<'_>,
    key: EntityKey,
    command: &ResubmitApproval,
) -> Decision {
    let Some(it) = state.approval(&key) else { return nobody(state, Subject::Approval(key)) };
    let of = |id: &EntityId| Subject::Approval(EntityKey::of(&key.workspace, id));
    match it.resubmit(command, cx.now) {
        Ok(Resubmitted::Next(next)) => {
            let subject = of(&next.approval_id);
            if state.knows(&subject) {
                return refused(subject.made_otherwise());
            }
            let ApprovalRequired { approval_id, .. } = &*next;
            let entity = approval_id.clone();
            let events = vec![Event { entity, what: What::ApprovalRequired(next) }];
            Decision { events, subject: Some(subject), ..Decision::default() }
        }
        Ok(Resubmitted::Again(id)) => {
            Decision { subject: Some(of(&id)), repeat: true, ..Decision::default() }
        }
        Err(error) => refused(error),
    }
}

/// Its time is up, one way or the other.
pub(crate) fn due(state: &State, cx: Desk<'_>, key: &EntityKey) -> Decision {
    let it = state.approval(key);
    let mut whats = it.map(|it| it.due(cx.now)).unwrap_or_default();
    if planted::is(Bug::AskedTwice) {
        whats.extend(it.map(|it| What::ApprovalRequired(it.required.clone())));
    }
    about(Subject::Approval(key.clone()), whats)
}

fn about(subject: Subject, whats: Vec<What>) -> Decision {
    let Subject::Approval(EntityKey { id, .. }) = &subject else { return Decision::default() };
    let events = whats.into_iter().map(|what| Event { entity: id.clone(), what }).collect();
    Decision { events, subject: Some(subject), ..Decision::default() }
}
