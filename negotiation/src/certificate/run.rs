//! The run, once more: the protocol is asked again at every step, and has to say what stands there.

use super::Certificate;
use super::canonical::difference;
use super::rounds::{in_order, present};
use super::verify::Findings;
use crate::protocol::{Call, Next, Protocol, Table};
use crate::said;
use crate::session::{LOOKS, next_round};
use std::collections::BTreeSet;
use synod_protocol::negotiation::{
    Answer, ClosedBy, NegotiationStatus, NextRound, Participant, ROUNDS, Repeated, Round,
};
use synod_protocol::{Error, Id, Json, Timestamp};

/// Recomputes all of it. `Err`: why not to its end.
pub(super) fn check(it: &Certificate, protocol: &dyn Protocol, found: &mut Findings) -> Result<(), String> {
    let there = present(it);
    let mut run = Run { it, protocol, rounds: Vec::new(), people: &it.participants[..there[0]] };
    let mut call = match protocol.begin(&run.table(it.opened_at)) {
        Ok(call) => call,
        Err(error) => {
            let place = error.field.clone().filter(|field| field.starts_with("/rules")).unwrap_or_default();
            found.say(place, format!("it would not have been opened: {}", error.message));
            return Err("the run was not recomputed: the protocol does not take the rules".to_owned());
        }
    };
    for (round, there) in it.rounds.iter().zip(there) {
        run.people = &it.participants[..there];
        run.called(round, &call, found);
        run.people = &it.participants[..there + round.replaced.len()];
        let before = found.count();
        run.answers(round, found);
        if found.count() > before {
            let number = round.round;
            return Err(format!("the run was recomputed up to round {number}, where an answer is none"));
        }
        let Some(closed_at) = round.closed_at else { return Ok(()) };
        if round.closed_by == Some(ClosedBy::Settled) {
            let place = format!("/rounds/{}/closed_by", round.round - 1);
            found.unless(protocol.settled(&run.table(closed_at)), &place, || {
                "it ended as settled, and those who were still to answer could have changed it".to_owned()
            });
        }
        if it.by_default && round.round as usize == it.rounds.len() {
            return Ok(());
        }
        match run.follows(round, closed_at, found) {
            Some(next) => call = next,
            None => return Ok(()),
        }
        if let Some(last) = run.rounds.last_mut() {
            last.clone_from(round);
        }
    }
    Ok(())
}

/// One answer as it came.
struct Step<'a> {
    by: &'a Id,
    answer: Answer,
    place: String,
    /// Whether it counts, or did until a later one.
    has_counted: bool,
}

struct Run<'a> {
    it: &'a Certificate,
    protocol: &'a dyn Protocol,
    /// The rounds so far, the last as it was while it was open.
    rounds: Vec<Round>,
    /// Who can answer.
    people: &'a [Participant],
}

impl Run<'_> {
    fn table(&self, now: Timestamp) -> Table<'_> {
        Table {
            question: &self.it.question,
            rules: &self.it.rules,
            participants: self.people,
            rounds: &self.rounds,
            seed: &self.it.seed,
            opened_at: self.it.opened_at,
            deadline: self.it.deadline,
            now,
        }
    }

    /// The round is the one that the protocol calls for.
    fn called(&self, round: &Round, call: &Call, found: &mut Findings) {
        let gone: BTreeSet<Id> =
            self.rounds.last().map(|before| before.gone.keys().cloned().collect()).unwrap_or_default();
        let (it, among) = (self.it, (self.people, &gone));
        let next =
            next_round(call, round.round, among, &it.quorum, it.round_ms, it.deadline, round.opened_at);
        let place = |member: &str| format!("/rounds/{}/{member}", round.round - 1);
        found.unless(next.kind == round.kind, &place("kind"), || {
            format!("the protocol asks for {}, here {} is asked for", next.kind, round.kind)
        });
        if let Some(inside) = difference(&next.content, &round.content) {
            let what = "this is not what the protocol asks";
            found.say(format!("{}{inside}", place("content")), what);
        }
        let asked = round.asked.iter().filter(|id| !round.replaced.contains_key(*id));
        found.unless(next.asked.iter().eq(asked), &place("asked"), || {
            format!("the protocol asks others: {}", named(&next.asked))
        });
        found.unless(next.quorum == round.quorum, &place("quorum"), || {
            format!("the quorum is {} and not {}", next.quorum, round.quorum)
        });
        let closes_at = self.closes_at(round, &next);
        found.unless(closes_at == Some(round.closes_at), &place("closes_at"), || match closes_at {
            Some(time) => format!("its time is up at {time}"),
            None => "it was extended before its time was up".to_owned(),
        });
    }

    /// When its time is up; none where it was extended before that.
    fn closes_at(&self, round: &Round, next: &NextRound) -> Option<Timestamp> {
        let Some(extended_at) = round.extended_at else { return Some(next.closes_at) };
        let later = extended_at.plus_millis(next.closes_at.millis_since(round.opened_at));
        let closes_at = self.it.deadline.map_or(later, |deadline| later.min(deadline));
        (extended_at >= next.closes_at).then_some(closes_at)
    }

    /// The protocol takes each answer, at its time, after those that stand before it; and none but the last settles the round.
    fn answers(&mut self, round: &Round, found: &mut Findings) {
        let mut open = round.clone();
        (open.closed_at, open.closed_by) = (None, None);
        open.answers.clear();
        self.rounds.push(open);
        if self.it.withheld() == Some(round.round) {
            return;
        }
        let steps = steps(self.it, round);
        for (at, step) in steps.iter().enumerate() {
            let response = step.answer.response.as_ref();
            let check = |response| self.protocol.check(&self.table(step.answer.at), step.by, response);
            refused(response.map_or(Ok(()), check), &step.place, found);
            let Some(open) = self.rounds.last_mut().filter(|_| step.has_counted) else { continue };
            open.answers.insert(step.by.clone(), step.answer.clone());
            // What was known at the opening came all at once.
            let is_whole = steps.get(at + 1).is_none_or(|next| next.answer.position != step.answer.position);
            let ends = at + 1 == steps.len()
                && round.closed_at == Some(step.answer.at)
                && match round.closed_by {
                    Some(ClosedBy::Settled) => true,
                    // Who answers once more makes no round complete.
                    Some(ClosedBy::Complete) => !steps[..at].iter().any(|before| before.by == step.by),
                    Some(ClosedBy::Time) | None => false,
                };
            if is_whole && !ends && self.is_settled(round, step.answer.at) {
                found.say(step.place.clone(), "this answer settled the round, which did not end with it");
            }
        }
    }

    /// Whether the round had to end here. Who was gone at that time is not on record: with nobody gone, more can still answer,
    /// and where even they change nothing, it was settled. It is not looked at after every answer of many.
    fn is_settled(&mut self, round: &Round, now: Timestamp) -> bool {
        let Some(open) = self.rounds.last_mut() else { return false };
        let gone = std::mem::take(&mut open.gone);
        let answers = open.answers.len();
        let is_looked_at = round.asked.len() < 2 * LOOKS
            && answers < round.asked.len()
            && answers >= (round.quorum as usize).max(1);
        let is_settled = is_looked_at && self.protocol.settled(&self.table(now));
        if let Some(open) = self.rounds.last_mut() {
            open.gone = gone;
        }
        is_settled
    }

    /// What follows from the round, by the protocol and by the limits: the call for the next, if there is one.
    fn follows(&self, round: &Round, now: Timestamp, found: &mut Findings) -> Option<Call> {
        let is_last = round.round as usize == self.it.rounds.len();
        let next = self.protocol.close(&self.table(now));
        let further = format!("/rounds/{}", round.round);
        match next {
            Next::Round(call) => return self.further(call, round, now, found),
            _ if !is_last => {
                found.say(further, format!("by the protocol it was over with round {}", round.round));
            }
            Next::Decided(decision) => self.decided(&decision.outcome, &decision.explanation, found),
            Next::Failed { reason, outcome } => self.failed(&reason, outcome.as_ref(), found),
        }
        None
    }

    /// The protocol asks further, and may, unless a limit is in the way.
    fn further(&self, call: Call, round: &Round, now: Timestamp, found: &mut Findings) -> Option<Call> {
        let number = round.round as usize;
        let is_past = self.it.deadline.is_some_and(|deadline| deadline <= now);
        let stopped = match number >= ROUNDS {
            true => Some(said::too_many_rounds(ROUNDS)),
            false => is_past.then(|| said::deadline_passed(number)),
        };
        match (stopped, number == self.it.rounds.len()) {
            (Some(reason), true) => self.failed(&reason, None, found),
            (Some(reason), false) => {
                found.say(format!("/rounds/{number}"), format!("there can be no further round: {reason}"));
            }
            (None, true) => {
                found.say("/rounds", "the protocol asks further, and no further round is there");
            }
            (None, false) => return Some(call),
        }
        None
    }

    fn decided(&self, outcome: &Json, explanation: &[String], found: &mut Findings) {
        found.unless(self.it.status == NegotiationStatus::Decided, "/status", || {
            "by the protocol it was decided".to_owned()
        });
        self.outcome(Some(outcome), found);
        let told = &self.it.explanation;
        let same = told.iter().zip(explanation).take_while(|(a, b)| a == b).count();
        found.unless(told == explanation, &format!("/explanation/{same}"), || match explanation.get(same) {
            Some(says) => format!("the protocol says: {says}"),
            None => "the protocol says no more than what stands before".to_owned(),
        });
    }

    fn failed(&self, reason: &str, outcome: Option<&Json>, found: &mut Findings) {
        found.unless(self.it.status == NegotiationStatus::Failed, "/status", || {
            format!("nothing was decided: {reason}")
        });
        self.outcome(outcome, found);
        found.unless(self.it.reason.as_deref() == Some(reason), "/reason", || {
            format!("the reason is: {reason}")
        });
    }

    fn outcome(&self, computed: Option<&Json>, found: &mut Findings) {
        let place = match (computed, &self.it.outcome) {
            (Some(computed), Some(told)) => difference(computed, told),
            (None, None) => None,
            _ => Some(String::new()),
        };
        if let Some(inside) = place {
            found.say(format!("/outcome{inside}"), "the answers and the rules give something else here");
        }
    }
}

/// Says where a protocol does not take an answer.
fn refused(taken: Result<(), Error>, place: &str, found: &mut Findings) {
    if let Err(error) = taken {
        let inside = error.field.as_deref().filter(|field| field.starts_with("/response"));
        let place = format!("{place}{}", inside.unwrap_or_default());
        found.say(place, format!("the protocol does not take this answer: {}", error.message));
    }
}

fn named(ids: &BTreeSet<Id>) -> String {
    let shown: Vec<&str> = ids.iter().take(20).map(Id::as_str).collect();
    let more = ids.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Answers to a round in the order of the ledger, those included that do not count, or no longer.
fn steps<'a>(it: &'a Certificate, round: &'a Round) -> Vec<Step<'a>> {
    let number = round.round;
    let counted = in_order(round).into_iter().map(|(by, answer)| {
        let place = format!("/rounds/{}/answers/{by}", number - 1);
        Step { by, answer: answer.clone(), place, has_counted: true }
    });
    let others = it.uncounted.iter().enumerate().filter(|(_, one)| one.round == number);
    let others = others.map(|(at, one)| {
        let answer = Answer { response: one.response.clone(), at: round.opened_at, position: one.position };
        let has_counted = it.repeated == Repeated::Last;
        Step { by: &one.participant, answer, place: format!("/uncounted/{at}"), has_counted }
    });
    let mut steps: Vec<Step<'_>> = counted.chain(others).collect();
    steps.sort_by_key(|step| step.answer.position);
    // When one came that does not count is not on record: not before those in front of it.
    let mut now = round.opened_at;
    for step in &mut steps {
        now = now.max(step.answer.at);
        step.answer.at = now;
    }
    steps
}
