//! Negotiations as entities of a shard: which there are, when each is due, and what an input does to one.
//!
//! How one is decided is none of this room's: that is `synod-negotiation`'s.

use crate::decide::{Decision, Desk, Meta, Subject, refused};
use crate::memory::{Kept, Moved, Thing};
use crate::past::Past;
use crate::planted::{self, Bug};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::{AgentKey, Fleet};
use synod_negotiation::{Known, Negotiation, Opening, open};
use synod_protocol::event::{Event, What};
use synod_protocol::negotiation::{CancelNegotiation, OpenNegotiation, RespondNegotiation, Seat};
use synod_protocol::{Code, EntityId, Error, Id, Incarnation, Timestamp, WorkKind, Workspace};

/// One negotiation of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NegotiationKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub negotiation: EntityId,
}

/// The negotiations of a shard, and the indexes over them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Negotiations {
    all: BTreeMap<NegotiationKey, Kept<Negotiation>>,
    timers: BTreeSet<(Timestamp, NegotiationKey)>,
    ended: BTreeSet<(Timestamp, NegotiationKey)>,
    ended_weight: usize,
    live_weight: usize,
}

impl Negotiations {
    pub(crate) fn get(&self, key: &NegotiationKey) -> Option<&Negotiation> {
        self.all.get(key).map(|kept| &kept.state)
    }

    pub(crate) fn kept(&self, key: &NegotiationKey) -> Option<&Kept<Negotiation>> {
        self.all.get(key)
    }

    /// All in memory, by workspace and id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NegotiationKey, &Negotiation)> {
        self.all.iter().map(|(key, kept)| (key, &kept.state))
    }

    /// Those after this one, for paging.
    pub(crate) fn after(
        &self,
        key: &NegotiationKey,
    ) -> impl Iterator<Item = (&NegotiationKey, &Negotiation)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.all.range((Excluded(key.clone()), Unbounded)).map(|(key, kept)| (key, &kept.state))
    }

    /// Those that go on.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&NegotiationKey, &Negotiation)> {
        self.timers.iter().filter_map(|(_, key)| Some((key, self.get(key)?)))
    }

    /// What is due next, and when.
    pub(crate) fn first_due(&self) -> Option<&(Timestamp, NegotiationKey)> {
        self.timers.first()
    }

    /// What those that have not ended weigh, in bytes.
    pub(crate) fn live_weight(&self) -> usize {
        self.live_weight
    }

    /// One that has to go to make room, if there is one: what has ended so long ago, or so much of it.
    pub(crate) fn to_forget(
        &self,
        now: Timestamp,
        ended_ms: u64,
        ended_bytes: usize,
    ) -> Option<NegotiationKey> {
        let (at, key) = self.ended.first()?;
        let is_old = now.millis_since(*at) > ended_ms;
        (is_old || self.ended_weight > ended_bytes).then(|| key.clone())
    }

    pub(crate) fn bases(&self) -> impl Iterator<Item = (u64, Thing)> {
        self.all.iter().map(|(key, kept)| (kept.base, Thing::Negotiation(key.clone())))
    }

    /// Where its newest image will stand; where the one before stood.
    pub(crate) fn rebase(&mut self, key: &NegotiationKey, base: u64) -> Option<u64> {
        self.all.get_mut(key).map(|kept| std::mem::replace(&mut kept.base, base))
    }

    pub(crate) fn insert(&mut self, key: NegotiationKey, kept: Kept<Negotiation>) -> Option<u64> {
        let before = self.remove(&key);
        self.index(&key, &kept.state);
        self.all.insert(key, kept);
        before
    }

    /// Forgets one; the base that it had.
    pub(crate) fn remove(&mut self, key: &NegotiationKey) -> Option<u64> {
        let kept = self.all.remove(key)?;
        self.unindex(key, &kept.state);
        Some(kept.base)
    }

    fn apply(&mut self, key: &NegotiationKey, what: &What, now: Timestamp, place: u64) {
        let Some(mut kept) = self.all.remove(key) else { return };
        self.unindex(key, &kept.state);
        kept.state.apply(what, now, place);
        self.index(key, &kept.state);
        self.all.insert(key.clone(), kept);
    }

    fn index(&mut self, key: &NegotiationKey, it: &Negotiation) {
        if let Some(at) = it.timer() {
            self.timers.insert((at, key.clone()));
        }
        match it.ended_at {
            Some(at) => {
                self.ended.insert((at, key.clone()));
                self.ended_weight += it.weight();
            }
            None => self.live_weight += it.weight(),
        }
    }

    fn unindex(&mut self, key: &NegotiationKey, it: &Negotiation) {
        if let Some(at) = it.timer() {
            self.timers.remove(&(at, key.clone()));
        }
        match it.ended_at {
            Some(at) => {
                self.ended.remove(&(at, key.clone()));
                self.ended_weight -= it.weight();
            }
            None => self.live_weight -= it.weight(),
        }
    }

    /// Checks the indexes against what they are of.
    ///
    /// # Errors
    /// How they differ.
    pub(crate) fn consistent(&self) -> Result<(), String> {
        let mut want = Negotiations::default();
        for (key, kept) in &self.all {
            want.insert(key.clone(), kept.clone());
            let it = &kept.state;
            if it.status.is_final() != it.ended_at.is_some() || it.decided.is_some() != it.is_decided() {
                return Err(format!(
                    "negotiation {} is {} and ended at {:?}",
                    key.negotiation,
                    it.status.as_str(),
                    it.ended_at
                ));
            }
        }
        if want == *self {
            Ok(())
        } else {
            Err("the indexes of negotiations differ from the negotiations".into())
        }
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
        let ends = matches!(
            what,
            What::NegotiationDecided(_) | What::NegotiationFailed(_) | What::NegotiationCancelled(_)
        );
        let is_new = self.negotiations.get(key).is_none();
        match what {
            What::NegotiationOpened(opened) if is_new => {
                let kept = Kept { arrival: place, base: offset, state: Negotiation::new(opened, now, place) };
                moved.push(self.put_negotiation(key.clone(), kept));
            }
            _ => self.negotiations.apply(key, what, now, place),
        }
        if ends || (is_new && matches!(what, What::NegotiationOpened(_))) {
            // Its id stays for the window from now on.
            let born = self.seen.insert_negotiation((place, offset), now, &key.workspace, &key.negotiation);
            moved.extend(born.map(|block| self.block_born(offset, block)));
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
    let able = |invite: &synod_protocol::negotiation::Invite| {
        let labels = invite.labels.clone().unwrap_or_default();
        let mut able = cx.fleet.able(&key.workspace, invite.capability.as_ref(), &labels);
        able.truncate(invite.max.unwrap_or(u32::MAX) as usize);
        able
    };
    let known = state.negotiation(&key);
    let past = state.seen.negotiation(&key.workspace, &key.negotiation);
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
                let past = Past::Opened { key, at, body };
                Decision { repeat: true, past: Some(past), ..Decision::default() }
            }
            _ => refused(Error::new(
                Code::AlreadyExists,
                format!("negotiation {} exists already and was opened with another body", key.negotiation),
            )),
        };
    }
    let look = |agent: &Id, kind: &WorkKind| {
        let agent = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
        cx.fleet.track_record(&agent, kind)
    };
    let opening = Opening {
        now: cx.now,
        seed: cx.secret(&key.negotiation),
        invited: command.invite.as_ref().map(able).unwrap_or_default(),
        correlation_id: meta.correlation_id.clone().unwrap_or_else(|| key.negotiation.root().to_owned()),
        traceparent: meta.traceparent.as_deref(),
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
        let Some(at) = state.seen.negotiation(&key.workspace, &key.negotiation) else {
            return refused(Error::not_found("negotiation", key.negotiation.as_str()));
        };
        let error = Error::new(Code::InvalidTransition, format!("negotiation {} has ended", key.negotiation));
        return Decision { past: Some(Past::NegotiationEnded { key, at }), ..refused(error) };
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
