//! What holds of every negotiation, whatever its protocol: who may answer, when, in which order, and how a round ends.

use super::Certificate;
use super::verify::Findings;
use crate::said;
use crate::session::UNCOUNTED;
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::{
    Answer, ClosedBy, NegotiationStatus, OnTimeout, PARTICIPANTS, Participant, Quorum, ROUNDS, Repeated,
    Round, Uncounted,
};
use synod_protocol::{Exact, Id, Timestamp};

/// How long a round may be said to last, in milliseconds.
const ROUND_MS_RANGE: std::ops::RangeInclusive<u64> = 10..=7 * 24 * 3_600_000;

/// Answers of one round, in the order of the ledger.
pub(super) fn in_order(round: &Round) -> Vec<(&Id, &Answer)> {
    let mut answers: Vec<_> = round.answers.iter().collect();
    answers.sort_by_key(|(_, answer)| answer.position);
    answers
}

/// How many could answer when each round began: who came in place of another stands behind those who were there.
pub(super) fn present(it: &Certificate) -> Vec<usize> {
    let came: usize = it.rounds.iter().map(|round| round.replaced.len()).sum();
    let mut there = it.participants.len().saturating_sub(came);
    let each = it.rounds.iter().map(|round| {
        let at_its_beginning = there;
        there += round.replaced.len();
        at_its_beginning
    });
    each.collect()
}

/// Whether a protocol may be shown it: false where it is not what any negotiation looks like.
pub(super) fn check(it: &Certificate, found: &mut Findings) -> bool {
    let before = found.count();
    people(it, found);
    numbers(it, found);
    settings(it, found);
    in_their_order(it, found);
    if found.count() > before {
        return false;
    }
    let there = present(it);
    for (at, (round, there)) in it.rounds.iter().zip(there).enumerate() {
        let one = One { it, round, at, there, is_last: at + 1 == it.rounds.len() };
        one.asked(found);
        if found.count() > before {
            return false;
        }
        one.times(found);
        one.answers(found);
        one.extended(found);
        one.closed(found);
    }
    uncounted(it, found);
    in_turn(it, found);
    places(it, found);
    ending(it, found);
    true
}

fn people(it: &Certificate, found: &mut Findings) {
    let count = it.participants.len();
    found.unless((1..=PARTICIPANTS).contains(&count), "/participants", || {
        format!("there are {count} participants; a negotiation has 1 to {PARTICIPANTS}")
    });
    let mut known = BTreeSet::new();
    for (at, one) in it.participants.iter().enumerate() {
        let place = format!("/participants/{at}");
        found.unless(known.insert(&one.id), &place, || format!("{} stands here a second time", one.id));
        found.unless(!one.weight.is_negative(), &place, || format!("the weight of {} is below 0", one.id));
    }
}

/// Those named stand before those who were found; who came later is looked at in its round.
fn in_their_order(it: &Certificate, found: &mut Findings) {
    let there = present(it).first().copied().unwrap_or_default();
    let people = it.participants.get(..there).unwrap_or_default();
    let invited = people.iter().filter(|one| one.invited).count();
    let named = people.iter().take_while(|one| !one.invited).count();
    found.unless(named + invited == people.len(), &format!("/participants/{named}"), || {
        "those who were found by what they can do stand behind those who were named".to_owned()
    });
    for (at, one) in people.iter().enumerate() {
        let length = one.role.as_ref().map_or(1, String::len);
        found.unless((1..=128).contains(&length), &format!("/participants/{at}/role"), || {
            format!("a role has 1 to 128 bytes, this one has {length}")
        });
    }
    let Some(invite) = &it.replace else { return };
    // Who was found and was named already stands among those named.
    let (least, most) = (invite.min.unwrap_or(1) as usize, invite.max.unwrap_or(u32::MAX) as usize);
    found.unless(least <= people.len() && invited <= most, "/replace", || {
        format!("{invited} of {} were found and not named; {least} to {most} were to be found", people.len())
    });
}

/// What an opener may say.
fn settings(it: &Certificate, found: &mut Findings) {
    found.unless(ROUND_MS_RANGE.contains(&it.round_ms), "/round_ms", || {
        format!("a round lasts 10 ms to 7 days, not {} ms", it.round_ms)
    });
    let is_quorum = match &it.quorum {
        Quorum::Count(count) => *count > 0,
        Quorum::Share(share) => *share > Exact::zero() && *share <= Exact::one(),
    };
    found.unless(is_quorum, "/quorum", || {
        "a quorum is at least 1, or a share of more than 0 and at most 1".to_owned()
    });
}

fn numbers(it: &Certificate, found: &mut Findings) {
    let count = it.rounds.len();
    found.unless((1..=ROUNDS).contains(&count), "/rounds", || {
        format!("there are {count} rounds; a negotiation has 1 to {ROUNDS}")
    });
    for (at, round) in it.rounds.iter().enumerate() {
        found.unless(round.round as usize == at + 1, &format!("/rounds/{at}/round"), || {
            format!("this is round {}, its number is {}", at + 1, round.round)
        });
    }
    let (came, all) =
        (it.rounds.iter().map(|round| round.replaced.len()).sum::<usize>(), it.participants.len());
    found.unless(came < all, "/participants", || {
        format!("{came} came in place of others, and there are {all} in all")
    });
}

/// One round, in its place.
struct One<'a> {
    it: &'a Certificate,
    round: &'a Round,
    at: usize,
    /// How many could answer when it began.
    there: usize,
    is_last: bool,
}

impl One<'_> {
    fn place(&self, member: &str) -> String {
        format!("/rounds/{}/{member}", self.at)
    }

    fn say(&self, found: &mut Findings, member: &str, what: String) {
        found.say(self.place(member), what);
    }

    fn unless(&self, found: &mut Findings, holds: bool, member: &str, what: impl FnOnce() -> String) {
        found.unless(holds, &self.place(member), what);
    }

    /// When it was over, one way or the other.
    fn end(&self) -> Timestamp {
        self.round.closed_at.unwrap_or(self.it.ended_at)
    }

    fn is_past_deadline(&self, now: Timestamp) -> bool {
        self.it.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Those who are asked are participants, those who answered or are gone were asked.
    fn asked(&self, found: &mut Findings) {
        let Round { asked, answers, gone, replaced, .. } = self.round;
        let (before, new) = self.it.participants.split_at(self.there);
        let new = &new[..replaced.len()];
        let ids: BTreeSet<&Id> = before.iter().chain(new).map(|one| &one.id).collect();
        for id in asked.iter().filter(|id| !ids.contains(id)) {
            self.say(found, "asked", format!("{id} is asked and was no participant then"));
        }
        for id in answers.keys().filter(|id| !asked.contains(*id)) {
            self.say(found, &format!("answers/{id}"), format!("{id} answered and was not asked"));
        }
        for id in gone.keys() {
            self.unless(found, asked.contains(id), &format!("gone/{id}"), || {
                format!("{id} is gone and was not asked")
            });
            self.unless(found, !answers.contains_key(id), &format!("gone/{id}"), || {
                format!("{id} is gone and has answered all the same")
            });
        }
        for (id, of) in replaced {
            self.replaced(found, id, of, before, new);
        }
    }

    fn replaced(&self, found: &mut Findings, id: &Id, of: &Id, before: &[Participant], new: &[Participant]) {
        let member = format!("replaced/{id}");
        self.unless(found, self.it.replace.is_some(), &member, || {
            format!("{id} came in place of {of}, and nobody wanted that")
        });
        self.unless(found, self.round.asked.contains(id) && self.round.asked.contains(of), &member, || {
            format!("{id} came in place of {of}, and not both of them were asked")
        });
        let came = new.iter().find(|one| one.id == *id);
        let is_plain = |one: &Participant| one.invited && one.role.is_none() && one.weight == Exact::one();
        self.unless(found, came.is_some_and(is_plain), &member, || {
            format!("{id} came in place of {of}: so it is invited, weighs 1, has no role, and stands behind those who were there")
        });
        self.unless(
            found,
            before.iter().chain(new).any(|one| one.id == *of && one.id != *id && one.invited),
            &member,
            || format!("{id} came in place of {of}, who was not there, or was named and is not replaced"),
        );
    }

    fn times(&self, found: &mut Findings) {
        let Round { opened_at, closes_at, closed_at, closed_by, quorum, .. } = self.round;
        let began = match self.at.checked_sub(1).and_then(|before| self.it.rounds.get(before)) {
            Some(before) => before.closed_at,
            None => Some(self.it.opened_at),
        };
        self.unless(found, began == Some(*opened_at), "opened_at", || {
            "a round begins when the one before it ends, the first when the negotiation is opened".to_owned()
        });
        self.unless(found, closed_at.is_some() == closed_by.is_some(), "closed_by", || {
            "a round that ended has both a time and a reason for it".to_owned()
        });
        self.unless(found, closed_at.is_some() || self.is_last, "closed_at", || {
            "another round follows, and this one did not end".to_owned()
        });
        self.unless(found, self.end() >= *opened_at, "closed_at", || "it ended before it began".to_owned());
        self.unless(
            found,
            self.it.deadline.is_none_or(|deadline| *closes_at <= deadline),
            "closes_at",
            || "its time is up after the deadline".to_owned(),
        );
        let of_all = self.it.quorum.of(self.there);
        self.unless(found, *quorum == 0 || *quorum == of_all, "quorum", || {
            format!("the quorum of {} participants is {of_all}, or none: it is {quorum}", self.there)
        });
        let first = self.round.asked.len() - self.round.replaced.len().min(self.round.asked.len());
        self.unless(found, self.at > 0 || *quorum as usize <= first, "quorum", || {
            format!("{first} were asked and {quorum} had to answer: it would not have been opened")
        });
    }

    /// Each while the round was open, in the order of the ledger.
    fn answers(&self, found: &mut Findings) {
        let answers = in_order(self.round);
        let before = self.at.checked_sub(1).and_then(|before| highest(&self.it.rounds[before]));
        let mut last_at = self.round.opened_at;
        for (id, answer) in answers {
            let member = |name: &str| format!("answers/{id}/{name}");
            self.unless(found, answer.at >= self.round.opened_at, &member("at"), || {
                format!("{id} answered before the round began")
            });
            self.unless(found, answer.at <= self.end(), &member("at"), || {
                format!("{id} answered after the round had ended")
            });
            self.unless(found, answer.at >= last_at, &member("at"), || {
                format!("{id} answered earlier than one who stands before it in the ledger")
            });
            let grows = before.is_none_or(|before| answer.position > before);
            self.unless(found, grows, &member("position"), || {
                format!("position {} is that of an earlier round", answer.position)
            });
            last_at = last_at.max(answer.at);
            self.unless(
                found,
                self.it.withheld() != Some(self.round.round) || answer.response.is_none(),
                &member("response"),
                || "the round was sealed and never ended: what was answered is a secret".to_owned(),
            );
        }
    }

    fn extended(&self, found: &mut Findings) {
        let Some(at) = self.round.extended_at else { return };
        let wanted = self.it.on_timeout == OnTimeout::Extend && self.round.quorum > 0;
        self.unless(found, wanted, "extended_at", || "it was extended, and that was not wanted".to_owned());
        let possible = self.round.opened_at < at && at <= self.end() && !self.is_past_deadline(at);
        self.unless(found, possible && at < self.round.closes_at, "extended_at", || {
            "it was extended before it began, after it ended, or after the deadline".to_owned()
        });
    }

    /// Why it ended is true.
    fn closed(&self, found: &mut Findings) {
        let (Some(at), Some(by)) = (self.round.closed_at, self.round.closed_by) else { return };
        let (answers, awaited, quorum) =
            (self.round.answers.len(), self.round.silent().count(), self.round.quorum as usize);
        let defaults = self.is_last && self.it.by_default;
        self.unless(found, answers >= quorum || defaults, "quorum", || {
            format!("{answers} answered, {quorum} were needed: such a round fails")
        });
        let last = in_order(self.round).last().copied();
        let is_new = last.is_none_or(|(by, _)| !self.has_replaced(by));
        let last = last.map(|(_, answer)| answer.at);
        match by {
            ClosedBy::Complete => {
                self.unless(found, awaited == 0, "closed_by", || {
                    format!("it ended as complete, and {awaited} were still to answer")
                });
                let by_then = last.unwrap_or(self.round.opened_at);
                self.unless(
                    found,
                    at == by_then && is_new || !self.round.gone.is_empty(),
                    "closed_at",
                    || "it was complete with the last who had not answered, and ended otherwise".to_owned(),
                );
            }
            ClosedBy::Settled => {
                self.unless(found, awaited > 0, "closed_by", || {
                    "it ended as settled, and nobody was still to answer: it was complete".to_owned()
                });
                self.unless(found, last == Some(at), "closed_at", || {
                    "an answer settles a round, and none came at the time at which it ended".to_owned()
                });
            }
            ClosedBy::Time => self.by_time(found, at, awaited, defaults),
        }
    }

    /// Whether an answer of his to this round was replaced by a later one.
    fn has_replaced(&self, by: &Id) -> bool {
        let of_round = |one: &&Uncounted| one.round == self.round.round && one.participant == *by;
        self.it.repeated == Repeated::Last && self.it.uncounted.iter().any(|one| of_round(&one))
    }

    fn by_time(&self, found: &mut Findings, at: Timestamp, awaited: usize, defaults: bool) {
        self.unless(found, at >= self.round.closes_at, "closed_at", || {
            "its time was up, and it ended before that".to_owned()
        });
        self.unless(found, awaited > 0, "closed_by", || {
            "it ended because its time was up, and nobody was still to answer: it was complete".to_owned()
        });
        let may = self.round.quorum == 0
            || match self.it.on_timeout {
                OnTimeout::Decide => true,
                OnTimeout::Extend => self.round.extended_at.is_some() || self.is_past_deadline(at),
                OnTimeout::Fail => false,
                OnTimeout::Default(_) => defaults,
            };
        self.unless(found, may, "closed_by", || {
            "time was up, and what was to happen then (on_timeout) is something else".to_owned()
        });
    }
}

fn highest(round: &Round) -> Option<u64> {
    round.answers.values().map(|answer| answer.position).max()
}

/// What does not count, for a reason that is true.
fn uncounted(it: &Certificate, found: &mut Findings) {
    let count = it.uncounted.len();
    found.unless(count <= UNCOUNTED, "/uncounted", || format!("there are {count}; {UNCOUNTED} are kept"));
    for (at, one) in it.uncounted.iter().enumerate() {
        let (place, by) = (format!("/uncounted/{at}"), &one.participant);
        let round = it.rounds.iter().find(|round| round.round == one.round);
        let Some((round, counted)) = round.and_then(|round| Some((round, round.answers.get(by)?))) else {
            found.say(place, format!("{by} has no answer to round {} that counts instead", one.round));
            continue;
        };
        because(it, one, counted, &place, found);
        let (number, position) = (round.round as usize, format!("{place}/position"));
        let after = number.checked_sub(2).and_then(|before| highest(&it.rounds[before]));
        let until = it.rounds.get(number).and_then(|next| next.answers.values().map(|a| a.position).min());
        let is_within =
            after.is_none_or(|after| one.position > after) && until.is_none_or(|until| one.position < until);
        found.unless(is_within, &position, || format!("round {number} was not open there"));
        let ends_with_answer = match round.closed_by {
            Some(ClosedBy::Complete) => round.gone.is_empty(),
            Some(ClosedBy::Settled) => true,
            Some(ClosedBy::Time) | None => false,
        };
        let is_before_end = !ends_with_answer || highest(round).is_none_or(|end| one.position < end);
        found.unless(is_before_end, &position, || format!("round {number} had ended there"));
        found.unless(it.withheld() != Some(one.round) || one.response.is_none(), &place, || {
            "the round was sealed and never ended: what was answered is a secret".to_owned()
        });
    }
}

/// The next answer of the same participant to the same round, where that does not count either.
fn replaced_by<'a>(it: &'a Certificate, one: &Uncounted, counted: &Answer) -> Option<&'a Uncounted> {
    let same = it.uncounted.iter().filter(|other| {
        (&other.participant, other.round) == (&one.participant, one.round)
            && other.position > one.position
            && other.position < counted.position
    });
    same.min_by_key(|other| other.position)
}

/// They stand in the order in which they ceased to count.
fn in_turn(it: &Certificate, found: &mut Findings) {
    let mut last = None;
    for (at, one) in it.uncounted.iter().enumerate() {
        let round = it.rounds.get((one.round as usize).wrapping_sub(1));
        let Some(counted) = round.and_then(|round| round.answers.get(&one.participant)) else { continue };
        let turn = match it.repeated {
            Repeated::Last => replaced_by(it, one, counted).map_or(counted.position, |later| later.position),
            Repeated::First | Repeated::Refused => one.position,
        };
        found.unless(last.is_none_or(|last| turn > last), &format!("/uncounted/{at}/position"), || {
            "it stands behind one that came, or was replaced, after it".to_owned()
        });
        last = last.max(Some(turn));
    }
}

/// Each answer stands at a place of its own in the ledger; but those that were known at the opening stand all where it does.
fn places(it: &Certificate, found: &mut Findings) {
    let mut at_one: BTreeMap<u64, Vec<(String, bool)>> = BTreeMap::new();
    let could_be_known = |round: u32, by: &Id, said: bool| {
        let is_named = it.participants.iter().any(|one| one.id == *by && !one.invited);
        round == 1 && is_named && (said || it.withheld() == Some(1))
    };
    for round in &it.rounds {
        for (by, answer) in &round.answers {
            let is_known =
                answer.at == it.opened_at && could_be_known(round.round, by, answer.response.is_some());
            let place = format!("/rounds/{}/answers/{by}/position", round.round - 1);
            at_one.entry(answer.position).or_default().push((place, is_known));
        }
    }
    for (at, one) in it.uncounted.iter().enumerate() {
        let is_known = it.repeated == Repeated::Last
            && could_be_known(one.round, &one.participant, one.response.is_some());
        at_one.entry(one.position).or_default().push((format!("/uncounted/{at}/position"), is_known));
    }
    let first = at_one.keys().next().copied();
    for (position, there) in at_one.iter().filter(|(_, there)| there.len() > 1) {
        for (place, is_known) in there {
            found.unless(*is_known && Some(*position) == first, place, || {
                format!("position {position} is that of another answer, and not all of these were known at the opening")
            });
        }
    }
}

fn because(it: &Certificate, one: &Uncounted, counted: &Answer, place: &str, found: &mut Findings) {
    let is_secret = it.withheld() == Some(one.round);
    let holds = match it.repeated {
        Repeated::First => {
            one.reason == said::EARLIER_COUNTS
                && one.position > counted.position
                && (is_secret || one.response != counted.response)
        }
        Repeated::Last => {
            let then = replaced_by(it, one, counted).map_or(&counted.response, |later| &later.response);
            one.reason == said::REPLACED
                && one.position < counted.position
                && (is_secret || one.response != *then)
        }
        Repeated::Refused => false,
    };
    found.unless(holds, &format!("{place}/reason"), || {
        "by the answer that counts, and by what a second answer does (repeated), this is not why".to_owned()
    });
}

/// The end fits the last round.
fn ending(it: &Certificate, found: &mut Findings) {
    let Some(last) = it.rounds.last() else { return };
    let place = format!("/rounds/{}/closed_at", it.rounds.len() - 1);
    found.unless(last.closed_at.is_none_or(|at| at == it.ended_at), "/ended_at", || {
        "it was over when its last round ended, which was at another time".to_owned()
    });
    found.unless(it.deadline.is_none_or(|deadline| deadline > it.opened_at), "/deadline", || {
        "the deadline had passed when it was opened".to_owned()
    });
    match it.status {
        NegotiationStatus::Decided => {
            found.unless(last.closed_at.is_some(), &place, || {
                "it was decided, and its last round did not end".to_owned()
            });
            found.unless(it.outcome.is_some(), "/outcome", || {
                "it was decided, and there is no outcome".to_owned()
            });
            found.unless(it.reason.is_none(), "/reason", || {
                "it was decided, and a reason says why not".to_owned()
            });
            defaulted(it, last, found);
        }
        NegotiationStatus::Failed => {
            found.unless(it.explanation.is_empty() && !it.by_default, "/explanation", || {
                "nothing was decided, and something explains a decision".to_owned()
            });
            match &it.reason {
                Some(reason) if last.closed_at.is_none() => unfinished(it, last, reason, found),
                Some(_) => {}
                None => found.say("/reason", "nothing was decided, and no reason says why"),
            }
        }
        other => {
            let status = other.as_str();
            found.say(
                "/status",
                format!("it is {status}: a certificate is of one that was decided or failed"),
            );
        }
    }
}

fn defaulted(it: &Certificate, last: &Round, found: &mut Findings) {
    if !it.by_default {
        return;
    }
    let stated = match &it.on_timeout {
        OnTimeout::Default(stated) => Some(stated),
        _ => None,
    };
    found.unless(it.outcome.as_ref() == stated, "/outcome", || {
        "it was decided by default, and this is not the default that was stated".to_owned()
    });
    found.unless(last.closed_by == Some(ClosedBy::Time) && last.quorum > 0, "/by_default", || {
        "it was decided by default, and the last round did not end by time, or was the protocol's own"
            .to_owned()
    });
    found.unless(it.explanation == [said::by_default(last.round)], "/explanation", || {
        format!("a default is explained so: {}", said::by_default(last.round))
    });
}

/// It failed while a round was open.
fn unfinished(it: &Certificate, last: &Round, reason: &str, found: &mut Findings) {
    found.unless(it.outcome.is_none(), "/outcome", || {
        "the last round did not end, and something was found in it".to_owned()
    });
    let (answers, awaited, quorum) = (last.answers.len(), last.silent().count(), last.quorum as usize);
    let is_up = it.ended_at >= last.closes_at;
    let is_past = it.deadline.is_some_and(|deadline| deadline <= it.ended_at);
    let out_of_reach = answers + awaited < quorum && (!last.gone.is_empty() || it.ended_at == last.opened_at);
    let too_few = answers < quorum
        && is_up
        && match it.on_timeout {
            OnTimeout::Decide => true,
            OnTimeout::Extend => last.extended_at.is_some() || is_past,
            OnTimeout::Fail | OnTimeout::Default(_) => false,
        };
    let was_silent = it.on_timeout == OnTimeout::Fail && is_up && quorum > 0 && awaited > 0;
    let holds = [
        ((out_of_reach || too_few), said::no_quorum(answers, quorum)),
        (was_silent, said::time_was_up(last.round, awaited)),
        (is_up, said::unknown_protocol(&it.protocol, last.round)),
        (is_up, said::too_large(last.round)),
    ];
    found.unless(holds.iter().any(|(is_so, says)| *is_so && says == reason), "/reason", || {
        format!(
            "the last round did not end, and this is not why: {answers} of {quorum} that were needed have answered, {awaited} were still to answer"
        )
    });
}
