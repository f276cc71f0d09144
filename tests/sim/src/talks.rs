//! What must hold of negotiations, by the steps of a ledger alone: never two awards in force, each decided once, each
//! answer counted once, what a decision starts started once, and a certificate that verifies.
//!
//! A reader with a book of its own. Of the core it uses `Negotiation::apply` alone, to have something to certify, and to
//! hold the fold's state against.

use crate::checks::ensure;
use crate::tally::Met;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{NegotiationKey, State, Step, Window};
use synod_negotiation::{Negotiation, Protocols, certificate, verify};
use synod_protocol::event::{Event, What};
use synod_protocol::negotiation::{
    ClosedBy, NegotiationAsked, NegotiationDecided, NegotiationOpened, NegotiationResponded,
    NegotiationStatus, NextRound, OnTimeout, ParticipantGone, Repeated, RoundClosed,
};
use synod_protocol::{EntityId, Id, Incarnation, Json, Timestamp};

/// A participant's process in a round of a negotiation.
pub(crate) type Asked = (EntityId, u32, Id, Incarnation);

/// Rounds shorter than this need not reach everybody.
const REACHED_WITHIN_MS: u64 = 1_500;

/// Work that is somebody's until its holder says no, is gone, or its time is up.
#[derive(Debug)]
struct Award {
    number: u32,
    holder: Id,
    /// It has committed itself.
    kept: bool,
}

/// The round that is open.
#[derive(Debug)]
struct Open {
    number: u32,
    kind: String,
    asked: BTreeSet<Id>,
    began: Timestamp,
    closes_at: Timestamp,
    answers: BTreeMap<Id, Option<Json>>,
    gone: BTreeSet<Id>,
    extended: bool,
}

/// One negotiation.
#[derive(Debug)]
struct Talk {
    it: Negotiation,
    open: Option<Open>,
    award: Option<Award>,
    awarded: BTreeSet<Id>,
    ended: Option<Timestamp>,
    /// Its `then` was started, by whatever life of this id.
    has_started: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Talks {
    window: Window,
    all: BTreeMap<NegotiationKey, Talk>,
    /// Who was asked, by steps that count.
    asked: BTreeSet<Asked>,
    /// Whom an ask has reached.
    reached: BTreeSet<(EntityId, u32, Id)>,
    /// Since when nothing goes wrong, and who has been there all the while.
    steady: Option<(Timestamp, BTreeSet<Id>)>,
    met: Vec<Met>,
}

impl Talks {
    pub(crate) fn new(window: Window) -> Talks {
        let (all, asked, reached) = Default::default();
        Talks { window, all, asked, reached, steady: None, met: Vec::new() }
    }

    /// From now on nothing goes wrong, and these are there.
    pub(crate) fn steady(&mut self, now: Timestamp, there: BTreeSet<Id>) {
        self.steady = Some((now, there));
    }

    /// An agent is not there any more.
    pub(crate) fn leaves(&mut self, id: &Id) {
        if let Some((_, there)) = &mut self.steady {
            there.remove(id);
        }
    }

    /// A participant has been handed what it is asked.
    ///
    /// # Errors
    /// The ledger does not ask that.
    pub(crate) fn reaches(&mut self, asked: &Asked) -> Result<(), String> {
        let (negotiation, round, id, _) = asked;
        ensure(self.asked.contains(asked), || {
            format!("{id} was asked in round {round} of {negotiation}, and the ledger knows nothing of it")
        })?;
        self.reached.insert((negotiation.clone(), *round, id.clone()));
        Ok(())
    }

    /// How a negotiation has ended, if it is known.
    pub(crate) fn ended(&self, key: &NegotiationKey) -> Option<&Negotiation> {
        self.all.get(key).filter(|talk| talk.ended.is_some()).map(|talk| &talk.it)
    }

    /// Whether a negotiation was ever opened.
    pub(crate) fn knows(&self, key: &NegotiationKey) -> bool {
        self.all.contains_key(key)
    }

    /// The first that has not ended.
    pub(crate) fn first_live(&self) -> Option<&EntityId> {
        self.all.iter().find(|(_, talk)| talk.ended.is_none()).map(|(key, _)| &key.negotiation)
    }

    /// Awards whose holders are still to commit themselves.
    pub(crate) fn awaiting_commitment(&self) -> usize {
        let awaits = |talk: &&Talk| talk.award.as_ref().is_some_and(|award| !award.kept);
        self.all.values().filter(|talk| talk.ended.is_none()).filter(awaits).count()
    }

    /// What was met since this was asked last.
    pub(crate) fn met(&mut self) -> Vec<Met> {
        std::mem::take(&mut self.met)
    }

    /// Takes in a step that counts, with the state after it.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn see(&mut self, step: &Step, state: &State) -> Result<(), String> {
        let Some(workspace) = &step.workspace else { return Ok(()) };
        let key_of = |id: &EntityId| NegotiationKey { workspace: workspace.clone(), negotiation: id.clone() };
        let mut touched = BTreeSet::new();
        for event in step.events.iter().filter(|e| e.what.ce_type().starts_with("synod.negotiation.")) {
            let key = key_of(&event.entity);
            self.event(&key, &event.what, step)
                .map_err(|why| format!("negotiation {}: {why}", event.entity))?;
            touched.insert(key);
        }
        self.starts(step, &touched)?;
        for key in touched {
            let Some(talk) = self.all.get(&key) else { continue };
            let wrong = |why: String| format!("negotiation {}: {why}", key.negotiation);
            ensure(talk.open.is_some() || talk.ended.is_some(), || {
                wrong("its last round is closed, and nothing follows from it".into())
            })?;
            // It may have left memory in this very step.
            let same = state.negotiation(&key).is_none_or(|found| *found == talk.it);
            ensure(same, || wrong("the fold's state is not what the events say".into()))?;
            if talk.ended.is_some() && talk.it.status != NegotiationStatus::Cancelled {
                certified(&key, &talk.it).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, key: &NegotiationKey, what: &What, step: &Step) -> Result<(), String> {
        let (now, place) = (step.now, step.epoch + step.n);
        if let What::NegotiationOpened(opened) = what {
            return self.opened(key, opened, now, place);
        }
        let reached = &self.reached;
        let talk = self.all.get_mut(key).ok_or("something happens to it, and it was never opened")?;
        ensure(talk.ended.is_none(), || {
            format!("{} after it has ended as {}", what.ce_type(), talk.it.status.as_str())
        })?;
        match what {
            What::NegotiationAsked(e) => {
                self.met.extend(talk.asked(e)?);
                let asked = e.asked.iter().map(|(id, seat)| {
                    (key.negotiation.clone(), e.round, id.clone(), seat.incarnation.clone())
                });
                self.asked.extend(asked);
            }
            What::NegotiationResponded(e) => self.met.extend(talk.responded(e)?),
            What::NegotiationParticipantGone(e) => self.met.extend(talk.gone(e)?),
            What::NegotiationExtended(e) => {
                let may = talk.it.opened.on_timeout == OnTimeout::Extend;
                let open = talk.open.as_mut().filter(|open| open.number == e.round && !open.extended);
                let open = open.filter(|open| may && now >= open.closes_at);
                let open = open.ok_or("a round is extended that may not be")?;
                (open.closes_at, open.extended) = (e.closes_at, true);
                self.met.push(Met::Extended);
            }
            What::NegotiationRoundClosed(e) => {
                if let (Some((since, there)), Some(open)) = (&self.steady, &talk.open)
                    && open.began > *since
                    && now.millis_since(open.began) > REACHED_WITHIN_MS
                {
                    let to_reach = open.asked.iter().filter(|id| there.contains(*id));
                    for id in to_reach {
                        let has = reached.contains(&(key.negotiation.clone(), open.number, id.clone()));
                        ensure(has, || format!("{id} is there, and round {} never reached it", open.number))?;
                    }
                }
                self.met.extend(talk.closed(e, now)?);
            }
            What::NegotiationDecided(e) => self.met.extend(talk.decided(e, now)?),
            What::NegotiationFailed(e) => {
                let kept = talk.award.as_ref().filter(|award| award.kept && !wants_result(&talk.it));
                ensure(kept.is_none(), || format!("it fails, and {kept:?} is in force"))?;
                let no_quorum = e.reason.as_ref().is_some_and(|why| why.contains("quorum"));
                let too_large = e.reason.as_ref().is_some_and(|why| why.contains("does not fit"));
                self.met.extend(no_quorum.then_some(Met::NoQuorum));
                self.met.extend(too_large.then_some(Met::EndTooLarge));
                self.met.push(Met::NegotiationFailed);
                talk.over(now);
            }
            What::NegotiationCancelled(_) => {
                self.met.push(Met::NegotiationCancelled);
                talk.over(now);
            }
            _ => {}
        }
        talk.it.apply(what, now, place);
        Ok(())
    }

    fn opened(
        &mut self,
        key: &NegotiationKey,
        opened: &NegotiationOpened,
        now: Timestamp,
        place: u64,
    ) -> Result<(), String> {
        let before = self.all.get(key);
        // An id that is forgotten may be used again.
        let is_forgotten =
            |ended: Timestamp| now.millis_since(ended) >= self.window.ms && self.window != Window::default();
        let may = before.is_none_or(|before| before.ended.is_some_and(is_forgotten));
        ensure(may, || "it is opened a second time".to_owned())?;
        let has_started = before.is_some_and(|before| before.has_started);
        let mut open = Open::of(&opened.first, now);
        let known = opened.secret.iter().flat_map(|secret| &secret.answers);
        open.answers.extend(known.map(|(id, response)| (id.clone(), Some(response.clone()))));
        let it = Negotiation::new(opened, now, place);
        let (award, awarded, ended) = Default::default();
        self.all.insert(key.clone(), Talk { it, open: Some(open), award, awarded, ended, has_started });
        self.met.push(Met::Opened);
        Ok(())
    }

    /// What a decision starts is started in the step that decides, and never otherwise.
    fn starts(&mut self, step: &Step, touched: &BTreeSet<NegotiationKey>) -> Result<(), String> {
        let started = |id: &str| {
            let is = |e: &&Event| matches!(e.what, What::TaskSubmitted(_)) && e.entity.as_str() == id;
            step.events.iter().filter(is).count()
        };
        for key in touched {
            let Some(talk) = self.all.get_mut(key) else { continue };
            let count = started(&format!("{}:then", key.negotiation));
            let decides = |e: &&Event| e.entity == key.negotiation;
            let mut decided = step.events.iter().filter(decides).filter_map(|e| match &e.what {
                What::NegotiationDecided(decided) => Some(decided),
                _ => None,
            });
            let wants = decided.next().is_some_and(|decided| talk.starts(decided)) && !talk.has_started;
            ensure(count == usize::from(wants), || {
                format!("negotiation {}: its decision starts {count} tasks", key.negotiation)
            })?;
            talk.has_started |= wants;
            self.met.extend(wants.then_some(Met::ThenStarted));
        }
        let is_then =
            |e: &&Event| matches!(e.what, What::TaskSubmitted(_)) && e.entity.as_str().ends_with(":then");
        let count = step.events.iter().filter(is_then).count();
        ensure(count <= touched.len(), || "a task is started by a decision that was not taken".to_owned())
    }
}

impl Open {
    fn of(next: &NextRound, now: Timestamp) -> Open {
        Open {
            number: next.round,
            kind: next.kind.clone(),
            asked: next.asked.clone(),
            began: now,
            closes_at: next.closes_at,
            answers: BTreeMap::new(),
            gone: BTreeSet::new(),
            extended: false,
        }
    }
}

impl Talk {
    fn over(&mut self, now: Timestamp) {
        (self.open, self.award, self.ended) = (None, None, Some(now));
    }

    fn asked(&mut self, e: &NegotiationAsked) -> Result<Vec<Met>, String> {
        let open = self.open.as_mut().filter(|open| open.number == e.round);
        let open =
            open.ok_or_else(|| format!("round {} is not open, and somebody is asked in it", e.round))?;
        let mut met = Vec::new();
        for id in e.asked.keys() {
            ensure(open.asked.contains(id), || format!("{id} is asked, and is none of round {}", e.round))?;
            open.gone.remove(id);
            met.extend(self.it.asked.contains_key(id).then_some(Met::AskedAnew));
        }
        Ok(met)
    }

    /// An answer counts in the round that is open, of somebody who is asked, once.
    fn responded(&mut self, e: &NegotiationResponded) -> Result<Vec<Met>, String> {
        let (who, number) = (&e.participant, e.round);
        if e.uncounted.is_some() {
            return Ok(vec![Met::Uncounted]);
        }
        let open = self.open.as_mut().filter(|open| open.number == number);
        let open = open.ok_or_else(|| {
            format!("an answer of {who} to round {number} counts, and that round is not open")
        })?;
        ensure(open.asked.contains(who), || format!("an answer of {who} counts, and it was not asked"))?;
        let before = open.answers.insert(who.clone(), e.response.clone());
        open.gone.remove(who);
        let policy = self.it.opened.repeated;
        ensure(before.is_none() || policy == Repeated::Last, || {
            format!("a second answer of {who} to round {number} counts, the policy is {policy:?}")
        })?;
        Ok(before.map(|_| Met::Replaced).into_iter().collect())
    }

    fn gone(&mut self, e: &ParticipantGone) -> Result<Vec<Met>, String> {
        let open = self.open.as_mut().filter(|open| open.number == e.round);
        let open = open.ok_or_else(|| format!("{} is gone from a round that is not open", e.participant))?;
        let mut met = vec![Met::ParticipantGone];
        open.gone.insert(e.participant.clone());
        if let Some(instead) = &e.replaced_by {
            ensure(open.asked.insert(instead.clone()), || {
                format!("{instead} comes in place of another, and was there")
            })?;
            met.push(Met::SubstituteAsked);
        }
        Ok(met)
    }

    /// A round closes; an award is given only where none is in force.
    fn closed(&mut self, e: &RoundClosed, now: Timestamp) -> Result<Vec<Met>, String> {
        let open = self.open.take().filter(|open| open.number == e.round);
        let open = open.ok_or_else(|| format!("round {} closes, and is not open", e.round))?;
        let (counted, told) = (open.answers.len(), e.answers as usize);
        ensure(counted == told, || {
            format!("{counted} answers to round {} counted, it tells {told}", e.round)
        })?;
        let is_up = now >= open.closes_at;
        ensure(e.closed_by != ClosedBy::Time || is_up, || {
            format!("round {} closes because its time is up, before {:?}", e.round, open.closes_at)
        })?;
        let silent = open.asked.iter().find(|id| !open.answers.contains_key(*id) && !open.gone.contains(*id));
        ensure(e.closed_by != ClosedBy::Complete || silent.is_none(), || {
            format!("round {} is complete without {silent:?}", e.round)
        })?;
        let mut met: Vec<Met> =
            (e.closed_by == ClosedBy::Settled).then_some(Met::Settled).into_iter().collect();
        met.extend(self.comes_of_the_award(&open, is_up)?);
        let Some(next) = &e.next else { return Ok(met) };
        ensure(next.round == e.round + 1, || format!("round {} follows on {}", next.round, e.round))?;
        if next.kind == "commit" {
            self.is_awarded(next)?;
            met.push(Met::Awarded);
        } else if next.kind == "result" {
            let kept = self.award.as_ref().filter(|award| award.kept && next.asked.contains(&award.holder));
            ensure(kept.is_some(), || format!("{:?} is asked for a result without an award", next.asked))?;
        }
        self.open = Some(Open::of(next, now));
        Ok(met)
    }

    /// What the holder of the award has said when its round closes: the award is kept, or lapses.
    fn comes_of_the_award(&mut self, open: &Open, is_up: bool) -> Result<Option<Met>, String> {
        let Some(award) = &mut self.award else { return Ok(None) };
        let says = |name: &str| {
            let response = open.answers.get(&award.holder)?.as_ref()?;
            response.to::<BTreeMap<String, Json>>().ok()?.remove(name)
        };
        let met = if open.answers.contains_key(&award.holder) {
            let keeps = match open.kind.as_str() {
                "commit" => says("accept").is_some_and(|accept| accept.as_str() == "true"),
                _ => says("result").is_some(),
            };
            award.kept &= keeps || open.kind == "commit";
            award.kept |= keeps;
            if keeps { None } else { Some(Met::AwardRefused) }
        } else {
            let gone = open.gone.contains(&award.holder);
            ensure(gone || is_up, || format!("{award:?} is revoked while its holder may still keep it"))?;
            Some(if gone { Met::HolderGone } else { Met::AwardLapsed })
        };
        if met.is_some() {
            self.award = None;
        }
        Ok(met)
    }

    fn is_awarded(&mut self, next: &NextRound) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Terms {
            award: u32,
            participant: Id,
        }
        let Terms { award: number, participant: holder } =
            next.content.to().map_err(|error| format!("an award cannot be read: {error}"))?;
        ensure(self.award.is_none(), || {
            format!("award {number} is given, and {:?} is in force", self.award)
        })?;
        ensure(next.asked.iter().eq([&holder]), || format!("award {number} asks {:?}", next.asked))?;
        ensure(self.awarded.insert(holder.clone()), || format!("{holder} is given the award again"))?;
        self.award = Some(Award { number, holder, kept: false });
        Ok(())
    }

    fn decided(&mut self, e: &NegotiationDecided, now: Timestamp) -> Result<Vec<Met>, String> {
        ensure(self.open.is_none(), || "it is decided while a round is open".to_owned())?;
        if self.it.opened.protocol == "contract_net" && !e.by_default {
            #[derive(serde::Deserialize)]
            struct Outcome {
                winner: Id,
                award: Terms,
            }
            #[derive(serde::Deserialize)]
            struct Terms {
                award: u32,
            }
            let Outcome { winner, award: Terms { award } } =
                e.outcome.to().map_err(|error| format!("an outcome cannot be read: {error}"))?;
            let held = self.award.as_ref();
            let is_its = held.is_some_and(|held| held.kept && held.holder == winner && held.number == award);
            ensure(is_its, || format!("{winner} wins by award {award}, and {held:?} is in force"))?;
        }
        self.over(now);
        let by_default = e.by_default.then_some(Met::ByDefault);
        Ok(by_default.into_iter().chain([Met::Decided]).collect())
    }

    /// Whether this decision starts a task.
    fn starts(&self, decided: &NegotiationDecided) -> bool {
        let Some(task) = self.it.opened.then.as_ref().and_then(|then| then.task.as_ref()) else {
            return false;
        };
        let names_one = || {
            let outcome = decided.outcome.to::<BTreeMap<String, Json>>().unwrap_or_default();
            let winner = outcome.get("winner").or(outcome.get("decided"));
            winner.is_some_and(|winner| winner.to::<Id>().is_ok())
        };
        task.winner != Some(true) || names_one()
    }
}

fn wants_result(it: &Negotiation) -> bool {
    it.opened.rules.as_str().contains("\"result\":true")
}

/// The certificate of one that has ended verifies, by nothing but its text.
fn certified(key: &NegotiationKey, it: &Negotiation) -> Result<(), String> {
    let made = certificate(&key.workspace, it).map_err(|error| error.to_string())?;
    let verified = verify(&made.text(), Protocols::standard());
    ensure(verified.holds(), || format!("its certificate does not verify: {verified:?}"))
}
