//! Negotiations as the ledger tells them: what was opened, who was given an award and whether another was in force, how
//! often each was decided, and whether its certificate verifies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use synod_ledger::Step;
use synod_negotiation::{Negotiation, Protocols, certificate, verify};
use synod_protocol::event::What;
use synod_protocol::negotiation::{ClosedBy, NegotiationStatus, Repeated, Round, RoundClosed};
use synod_protocol::{Id, Json, Timestamp, Workspace};

/// An award, when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awarded {
    /// Where the negotiation lives.
    pub shard: u32,
    /// Which negotiation.
    pub negotiation: String,
    /// Whose it is.
    pub holder: Id,
}

/// What the ledger says of one negotiation.
#[derive(Clone, Debug, Default)]
pub(super) struct TalkBook {
    pub(super) opened: u32,
    pub(super) ended: u32,
    /// How often what it starts was submitted, and whether it has to be.
    pub(super) started: u32,
    pub(super) starts: bool,
    it: Option<Negotiation>,
    /// Who holds the award, and whether it has committed itself.
    award: Option<(Id, bool)>,
    awarded: BTreeSet<Id>,
    /// Which answers count in the round that is open.
    counted: BTreeSet<Id>,
}

impl TalkBook {
    /// Whether it was decided, and how it ended is known.
    pub(super) fn is_decided(&self) -> bool {
        self.it.as_ref().is_some_and(Negotiation::is_decided)
    }
}

/// What there was to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Talked {
    /// Negotiations that were opened.
    pub opened: u64,
    /// Those that were decided.
    pub decided: u64,
    /// Those that failed.
    pub failed: u64,
    /// Awards given.
    pub awards: u64,
    /// Awards that their holders did not keep.
    pub revoked: u64,
    /// Claims that came while an award waited for its commitment: once for each such award.
    pub claimed_between: u64,
    /// Participants that were gone.
    pub gone: u64,
    /// Certificates that verified.
    pub certified: u64,
}

/// All negotiations of all shards.
#[derive(Debug, Default)]
pub(super) struct Talks {
    all: HashMap<String, TalkBook>,
    /// Awards that wait for their commitment, by shard.
    waiting: BTreeMap<u32, BTreeSet<String>>,
    latest: Option<Awarded>,
    talked: Talked,
    /// Awards given while another was in force.
    doubled: Vec<String>,
    strange: Vec<String>,
}

impl Talks {
    pub(super) fn all(&self) -> &HashMap<String, TalkBook> {
        &self.all
    }

    pub(super) fn talked(&self) -> Talked {
        self.talked
    }

    pub(super) fn latest(&self) -> Option<&Awarded> {
        self.latest.as_ref()
    }

    pub(super) fn doubled(&self) -> &[String] {
        &self.doubled
    }

    pub(super) fn strange(&self) -> &[String] {
        &self.strange
    }

    /// Somebody has claimed a shard.
    pub(super) fn claimed(&mut self, shard: u32) {
        self.talked.claimed_between += self.waiting.get(&shard).map_or(0, |some| some.len() as u64);
    }

    /// Takes in a step that counts.
    pub(super) fn step(&mut self, shard: u32, step: &Step) {
        let Some(workspace) = &step.workspace else { return };
        for event in &step.events {
            let id = event.entity.as_str();
            if let (What::TaskSubmitted(_), Some(by)) = (&event.what, id.strip_suffix(":then")) {
                self.all.entry(by.to_owned()).or_default().started += 1;
            }
            if !event.what.ce_type().starts_with("synod.negotiation.") {
                continue;
            }
            self.event(shard, id, &event.what, step.now, step.epoch + step.n);
            let Some(it) = self.all.get(id).and_then(|talk| talk.it.as_ref()) else { continue };
            if matches!(event.what, What::NegotiationDecided(_) | What::NegotiationFailed(_)) {
                match certified(workspace, it) {
                    Ok(()) => self.talked.certified += 1,
                    Err(why) => self.strange.push(format!("the certificate of {id}: {why}")),
                }
            }
        }
    }

    fn event(&mut self, shard: u32, id: &str, what: &What, now: Timestamp, place: u64) {
        let talk = self.all.entry(id.to_owned()).or_default();
        let ended = talk.ended > 0;
        if let What::NegotiationOpened(opened) = what {
            talk.opened += 1;
            talk.starts = opened.then.is_some();
            talk.it = Some(Negotiation::new(opened, now, place));
            self.talked.opened += 1;
            return;
        }
        let Some(it) = &mut talk.it else {
            return self.strange.push(format!("{} of {id}, which was never opened", what.ce_type()));
        };
        let round = it.round().cloned();
        match (what, &round) {
            (What::NegotiationDecided(_), _) => {
                (talk.ended, self.talked.decided) = (talk.ended + 1, self.talked.decided + 1);
            }
            (What::NegotiationFailed(_), _) => {
                (talk.ended, self.talked.failed) = (talk.ended + 1, self.talked.failed + 1);
            }
            (What::NegotiationCancelled(_), _) => talk.ended += 1,
            (What::NegotiationParticipantGone(_), _) => self.talked.gone += 1,
            (What::NegotiationResponded(e), Some(open)) if e.uncounted.is_none() => {
                let asked = e.round == open.round && open.asked.contains(&e.participant);
                let again = !talk.counted.insert(e.participant.clone());
                if !asked || (again && it.opened.repeated != Repeated::Last) {
                    self.strange
                        .push(format!("an answer of {} to round {} of {id} counts", e.participant, e.round));
                }
            }
            (What::NegotiationRoundClosed(e), Some(open)) => {
                talk.counted.clear();
                let (given, waits) = follow(&mut talk.award, &mut talk.awarded, e, open, now);
                match given {
                    Ok(Some((holder, revoked))) => {
                        self.talked.awards += 1;
                        self.talked.revoked += u64::from(revoked);
                        self.latest = Some(Awarded { shard, negotiation: id.to_owned(), holder });
                    }
                    Ok(None) => {}
                    Err(why) => self.doubled.push(format!("{id}: {why}")),
                }
                let waiting = self.waiting.entry(shard).or_default();
                if waits {
                    waiting.insert(id.to_owned())
                } else {
                    waiting.remove(id)
                };
            }
            _ => {}
        }
        if let (What::NegotiationDecided(e), Some((holder, kept))) = (what, &talk.award) {
            let winner = e
                .outcome
                .to::<BTreeMap<String, Json>>()
                .ok()
                .and_then(|mut o| o.remove("winner")?.to::<Id>().ok());
            if winner.as_ref() != Some(holder) || !kept {
                self.doubled.push(format!("{id}: {winner:?} wins, and the award is {holder}'s"));
            }
        }
        if ended {
            self.strange.push(format!("{} of {id}, which had ended", what.ce_type()));
        }
        it.apply(what, now, place);
        if it.status == NegotiationStatus::Cancelled || it.ended_at.is_some() {
            self.waiting.entry(shard).or_default().remove(id);
        }
    }
}

/// What a round that closes does to the award: to whom it is given, and whether it was revoked from another, or why it may
/// not be; and whether one now waits for its commitment.
fn follow(
    award: &mut Option<(Id, bool)>,
    awarded: &mut BTreeSet<Id>,
    e: &RoundClosed,
    open: &Round,
    now: Timestamp,
) -> (Result<Option<(Id, bool)>, String>, bool) {
    let mut revoked = false;
    if let Some((holder, kept)) = award {
        let says = open.answers.get(holder).map(|answer| {
            let response = answer.response.as_ref().map_or("", Json::as_str);
            response.contains("\"accept\":true") || response.contains("\"result\"")
        });
        let is_up = e.closed_by == ClosedBy::Time && now >= open.closes_at;
        match says {
            Some(true) => *kept = true,
            None if !is_up && !open.gone.contains_key(holder) => {
                return (Err(format!("the award of {holder} is revoked before its time is up")), false);
            }
            Some(false) | None => revoked = true,
        }
    }
    if revoked {
        *award = None;
    }
    let Some(next) = e.next.as_ref().filter(|next| next.kind == "commit") else { return (Ok(None), false) };
    let Some(holder) = next.asked.first().filter(|_| next.asked.len() == 1).cloned() else {
        return (Err(format!("an award asks {:?}", next.asked)), false);
    };
    if let Some((other, _)) = award {
        return (Err(format!("an award is given to {holder}, and {other} holds it")), false);
    }
    if !awarded.insert(holder.clone()) {
        return (Err(format!("{holder} is given the award a second time")), false);
    }
    *award = Some((holder.clone(), false));
    (Ok(Some((holder, revoked))), true)
}

fn certified(workspace: &Workspace, it: &Negotiation) -> Result<(), String> {
    let made = certificate(workspace, it).map_err(|error| error.to_string())?;
    let verified = verify(&made.text(), Protocols::standard());
    if verified.holds() { Ok(()) } else { Err(format!("{verified:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use synod_negotiation::{Known, Opening, open};
    use synod_protocol::negotiation::{OpenNegotiation, RespondNegotiation};

    const AT: i64 = 1_800_000_000_000;

    /// A contract net between `a`, who bids less, and `b`: what happens, each with its time.
    fn contract(until: &str) -> Vec<(What, Timestamp)> {
        let at = |ms| Timestamp::from_millis(AT + ms);
        let mut command = OpenNegotiation::new("n".parse().unwrap(), "contract_net", Json::null());
        command.participants = Some(vec!["a".parse().unwrap(), "b".parse().unwrap()]);
        command.rules = Some(Json::of(&json!({"commit_ms": 1_000})).unwrap());
        let opening = Opening {
            now: at(0),
            seed: "s".into(),
            invited: Vec::new(),
            correlation_id: "n".into(),
            traceparent: None,
            known: Known::default(),
        };
        let whats = open(Protocols::standard(), &command, opening).unwrap();
        let What::NegotiationOpened(opened) = &whats[0] else { panic!("{whats:?}") };
        let mut it = Negotiation::new(opened, at(0), 1);
        let mut all: Vec<_> = whats.into_iter().map(|what| (what, at(0))).collect();
        let said = [("a", json!({"price": 1})), ("b", json!({"price": 2})), ("a", json!({"accept": true}))];
        for (ms, (who, response)) in (1..).zip(said) {
            if until == "award" && ms == 3 {
                break;
            }
            let respond = RespondNegotiation {
                negotiation_id: "n".parse().unwrap(),
                participant: who.parse().unwrap(),
                round: None,
                response: Some(Json::of(&response).unwrap()),
                abstain: None,
            };
            for what in it.respond(Protocols::standard(), &respond, at(ms)).unwrap() {
                it.apply(&what, at(ms), ms as u64 + 1);
                all.push((what, at(ms)));
            }
        }
        all
    }

    fn read(all: &[(What, Timestamp)]) -> Talks {
        let mut talks = Talks::default();
        for (place, (what, now)) in (1..).zip(all) {
            talks.event(0, "n", what, *now, place);
        }
        talks
    }

    #[test]
    fn a_sound_contract_net_is_clean() {
        let mut talks = read(&contract("award"));
        assert_eq!(talks.latest().map(|award| award.holder.as_str()), Some("a"));
        talks.claimed(0);
        assert_eq!((talks.talked().awards, talks.talked().claimed_between), (1, 1));
        let talks = read(&contract("end"));
        assert_eq!((talks.doubled(), talks.strange()), (&[][..], &[][..]));
        assert_eq!((talks.talked().decided, talks.all()["n"].ended), (1, 1));
    }

    #[test]
    fn an_award_that_is_in_force_is_not_given_to_another() {
        let mut all = contract("award");
        let Some((What::NegotiationRoundClosed(closed), _)) = all.last().cloned() else { panic!("{all:?}") };
        let mut again = closed;
        (again.round, again.closed_by, again.answers) = (2, ClosedBy::Time, 0);
        let next = again.next.as_mut().unwrap();
        (next.round, next.asked) = (3, BTreeSet::from(["b".parse().unwrap()]));
        let early = Timestamp::from_millis(AT + 500);
        all.push((What::NegotiationRoundClosed(again.clone()), early));
        assert_eq!(read(&all).doubled().len(), 1);
        // When its time is up it may be.
        all.pop();
        all.push((What::NegotiationRoundClosed(again), Timestamp::from_millis(AT + 5_000)));
        let talks = read(&all);
        assert_eq!((talks.doubled().len(), talks.talked().revoked), (0, 1));
    }

    #[test]
    fn what_comes_after_the_end_is_found() {
        let mut all = contract("end");
        all.extend(all.last().cloned());
        let talks = read(&all);
        assert_eq!((talks.all()["n"].ended, talks.strange().len()), (2, 1));
    }

    #[test]
    fn a_winner_that_does_not_hold_the_award_is_found() {
        let mut all = contract("end");
        if let Some((What::NegotiationDecided(decided), _)) = all.last_mut() {
            decided.outcome = Json::of(&json!({"winner": "b"})).unwrap();
        }
        assert_eq!(read(&all).doubled().len(), 1);
    }

    #[test]
    fn an_answer_that_counts_twice_is_found() {
        let mut all = contract("award");
        let first = all.iter().position(|(what, _)| matches!(what, What::NegotiationResponded(_))).unwrap();
        all.insert(first + 1, all[first].clone());
        assert_eq!(read(&all).strange().len(), 1);
    }
}
