//! Negotiations as entities of a shard: which there are, when each is due, and what an input does to one.
//!
//! How one is decided is none of this room's: that is `synod-negotiation`'s.

use crate::decide::{Decision, Desk, Meta, nobody, refused};
use crate::memory::{Kept, Moved};
use crate::past::Past;
use crate::planted::{self, Bug};
use crate::shelf::{Shelf, Shelved};
use crate::state::State;
use crate::subject::Subject;
use std::collections::BTreeMap;
use synod_fleet::{AgentKey, Fleet};
use synod_negotiation::{Known, Negotiation, Opening, open};
use synod_protocol::event::{Event, What};
use synod_protocol::negotiation::{CancelNegotiation, OpenNegotiation, RespondNegotiation, Seat};
use synod_protocol::{EntityId, Error, Id, Incarnation, Timestamp, WorkKind, Workspace};

/// One negotiation of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NegotiationKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub negotiation: EntityId,
}

/// The negotiations of a shard.
pub(crate) type Negotiations = Shelf<NegotiationKey, Negotiation>;

impl Shelved for Negotiation {
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

/// Checks negotiations by themselves, and the indexes over them.
///
/// # Errors
/// What is wrong.
pub(crate) fn consistent(all: &Negotiations) -> Result<(), String> {
    for (key, it) in all.iter() {
        if it.status.is_final() != it.ended_at.is_some() || it.decided.is_some() != it.is_decided() {
            return Err(format!(
                "negotiation {} is {} and ended at {:?}",
                key.negotiation,
                it.status.as_str(),
                it.ended_at
            ));
        }
    }
    match all.is_consistent() {
        true => Ok(()),
        false => Err("the indexes of negotiations differ from the negotiations".into()),
    }
}

/// How a negotiation has ended or gone on, if that is what happened: these events are of negotiations.
pub(crate) fn is_about_one(what: &What) -> bool {
    what.ce_type().starts_with("synod.negotiation.")
}

impl State {
    /// One negotiation.
    pub fn negotiation(&self, key: &NegotiationKey) -> Option<&Negotiation> {
        self.negotiations.get(key)
    }

    /// Every negotiation in memory, by workspace and id.
    pub fn negotiations(&self) -> impl Iterator<Item = (&NegotiationKey, &Negotiation)> {
        self.negotiations.iter()
    }

    /// Negotiations in memory after this one, for paging.
    pub fn negotiations_after(
        &self,
        key: &NegotiationKey,
    ) -> impl Iterator<Item = (&NegotiationKey, &Negotiation)> {
        self.negotiations.after(key)
    }

    pub(crate) fn apply_to_negotiation(
        &mut self,
        (offset, place): (u64, u64),
        now: Timestamp,
        key: &NegotiationKey,
        what: &What,
        moved: &mut Vec<Moved>,
    ) {
        let ends = what.is_end();
        let is_new = self.negotiations.get(key).is_none();
        match what {
            What::NegotiationOpened(opened) if is_new => {
                let kept = Kept { arrival: place, base: offset, state: Negotiation::new(opened, now, place) };
                moved.push(self.put_negotiation(key.clone(), kept));
            }
            _ => self.negotiations.change(key, |it| it.apply(what, now, place)),
        }
        if ends || (is_new && matches!(what, What::NegotiationOpened(_))) {
            self.remember((place, offset), now, &Subject::Negotiation(key.clone()), moved);
        }
    }
}

/// Opens a negotiation.
pub(crate) fn opened(
    state: &State,
    cx: Desk<'_>,
    key: NegotiationKey,
    command: &OpenNegotiation,
    meta: &Meta,
) -> Decision {
    let known = state.negotiation(&key);
    let past = state.seen.entity(&Subject::Negotiation(key.clone()));
    if known.is_some() || past.is_some() {
        let body = match synod_negotiation::fingerprint(command) {
            Ok(body) => body,
            Err(error) => return refused(error),
        };
        return match (known, past) {
            (Some(known), _) if known.opened.body == body => {
                Decision { subject: Some(Subject::Negotiation(key)), repeat: true, ..Decision::default() }
            }
            (None, Some(at)) => {
                let past = Past::Again { subject: Subject::Negotiation(key), at, body };
                Decision { repeat: true, past: Some(past), ..Decision::default() }
            }
            _ => refused(Subject::Negotiation(key).made_otherwise()),
        };
    }
    let correlation = meta.correlation_id.clone().unwrap_or_else(|| key.negotiation.root().to_owned());
    opened_as(state, cx, key, command, correlation, meta.traceparent.as_deref())
}

/// Opens one that is not known yet, as a part of this piece of work.
pub(crate) fn opened_as(
    state: &State,
    cx: Desk<'_>,
    key: NegotiationKey,
    command: &OpenNegotiation,
    correlation_id: String,
    traceparent: Option<&str>,
) -> Decision {
    let able = |invite: &synod_protocol::negotiation::Invite| {
        let labels = invite.labels.clone().unwrap_or_default();
        let mut able = cx.fleet.able(&key.workspace, invite.capability.as_ref(), &labels);
        able.truncate(invite.max.unwrap_or(u32::MAX) as usize);
        able
    };
    let look = |agent: &Id, kind: &WorkKind| {
        let agent = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
        cx.fleet.track_record(&agent, kind)
    };
    let opening = Opening {
        now: cx.now,
        seed: cx.secret(&key.negotiation),
        invited: command.invite.as_ref().map(able).unwrap_or_default(),
        correlation_id,
        traceparent,
        known: Known::by(&look),
    };
    match open(cx.protocols, command, opening) {
        Ok(whats) => about(state, cx, key, whats),
        Err(error) => refused(error),
    }
}

/// What a participant's answer does.
pub(crate) fn responded(
    state: &State,
    cx: Desk<'_>,
    key: NegotiationKey,
    command: &RespondNegotiation,
) -> Decision {
    let subject = Some(Subject::NegotiationBrief(key.clone()));
    let act = |it: &Negotiation| planted::as_answered(it, command).respond(cx.protocols, command, cx.now);
    Decision { subject, ..asked(state, cx, key, act) }
}

/// Somebody wants it no more.
pub(crate) fn cancelled(
    state: &State,
    cx: Desk<'_>,
    key: NegotiationKey,
    command: &CancelNegotiation,
) -> Decision {
    asked(state, cx, key, |it| it.cancel(command))
}

fn asked(
    state: &State,
    cx: Desk<'_>,
    key: NegotiationKey,
    act: impl FnOnce(&Negotiation) -> Result<Vec<What>, Error>,
) -> Decision {
    let Some(it) = state.negotiation(&key) else {
        return nobody(state, Subject::Negotiation(key));
    };
    match act(it) {
        Ok(whats) => about(state, cx, key, whats),
        Err(error) => refused(error),
    }
}

/// A round's time is up.
pub(crate) fn due(state: &State, cx: Desk<'_>, key: &NegotiationKey) -> Decision {
    let Some(it) = state.negotiation(key) else { return Decision::default() };
    let lapses = it.timer().filter(|_| planted::is(Bug::AwardAgain));
    about(state, cx, key.clone(), it.due(cx.protocols, lapses.unwrap_or(cx.now).max(cx.now)))
}

/// A participant's process is gone.
pub(crate) fn gone(
    state: &State,
    cx: Desk<'_>,
    key: &NegotiationKey,
    participant: &Id,
    incarnation: &Incarnation,
    reason: &str,
) -> Decision {
    let Some(it) = state.negotiation(key) else { return Decision::default() };
    let instead = it.replaces(participant).and_then(|invite| {
        let labels = invite.labels.clone().unwrap_or_default();
        let able = cx.fleet.able(&key.workspace, invite.capability.as_ref(), &labels);
        able.into_iter().find(|id| it.participant(id).is_none())
    });
    let whats = it.gone(cx.protocols, participant, incarnation, reason, instead, cx.now);
    about(state, cx, key.clone(), whats)
}

/// Participants run now as what they were not asked as.
pub(crate) fn seats(state: &State, cx: Desk<'_>, key: &NegotiationKey) -> Decision {
    let Some(it) = state.negotiation(key) else { return Decision::default() };
    let whats = it.ask(seats_of(it, key, cx.fleet));
    about(state, cx, key.clone(), whats)
}

/// The processes of those who are still to answer.
pub(crate) fn seats_of(it: &Negotiation, key: &NegotiationKey, fleet: &dyn Fleet) -> BTreeMap<Id, Seat> {
    let present = |id: &Id| {
        let agent = AgentKey { workspace: key.workspace.clone(), agent: id.clone() };
        let (incarnation, delivery) = fleet.present(&agent)?;
        Some((id.clone(), Seat { incarnation, delivery }))
    };
    let awaited = it
        .round()
        .filter(|round| round.round == 1 || !planted::is(Bug::AskForgotten))
        .into_iter()
        .flat_map(|round| round.asked.iter().filter(|id| !round.answers.contains_key(*id)));
    awaited.filter_map(present).collect()
}

/// These things happen to a negotiation, and where that begins a round its participants are asked in the same step.
fn about(state: &State, cx: Desk<'_>, key: NegotiationKey, mut whats: Vec<What>) -> Decision {
    if whats.iter().any(asks_anew) {
        let known = state.negotiation(&key).cloned();
        let after = whats.iter().fold(known, |known, what| match (known, what) {
            (None, What::NegotiationOpened(opened)) => Some(Negotiation::new(opened, cx.now, 0)),
            (Some(mut known), what) => {
                known.apply(what, cx.now, 0);
                Some(known)
            }
            (None, _) => None,
        });
        whats.extend(after.iter().flat_map(|it| it.ask(seats_of(it, &key, cx.fleet))));
    }
    let entity = key.negotiation.clone();
    let mut events: Vec<Event> =
        whats.into_iter().map(|what| Event { entity: entity.clone(), what }).collect();
    let is_late = || state.negotiation(&key).and_then(Negotiation::timer).is_some_and(|due| due <= cx.now);
    if !planted::is(Bug::ThenForgotten) || !is_late() {
        crate::decide::started_by(state, cx, &key, &mut events);
    }
    Decision { events, subject: Some(Subject::Negotiation(key)), ..Decision::default() }
}

/// Whether somebody may have to be asked after this.
fn asks_anew(what: &What) -> bool {
    match what {
        What::NegotiationOpened(_) => true,
        What::NegotiationRoundClosed(closed) => closed.next.is_some(),
        What::NegotiationParticipantGone(gone) => gone.replaced_by.is_some(),
        _ => false,
    }
}
