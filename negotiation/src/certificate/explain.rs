//! A negotiation in plain sentences: what was asked of whom, what came of it, and why.
//!
//! It says who answered, never what: of a round that is open it does not even say whether an answer was an abstention.

use super::{Certificate, canonical, tie_of};
use synod_protocol::negotiation::{
    ClosedBy, NegotiationStatus, NegotiationView, Participant, Round, Uncounted,
};
use synod_protocol::{Exact, Id, Json};

/// Names in a row that are told; of the others it is told how many they are.
const NAMES: usize = 20;
/// Characters of a question or an outcome that are told.
const SHOWN: usize = 300;

/// Tells a negotiation, whether or not it has ended. Names nothing that is secret while a sealed round is open.
pub fn explain(view: &NegotiationView) -> Vec<String> {
    let mut told = Vec::new();
    opening(view, &mut told);
    for round in &view.rounds {
        let number = round.round;
        tell_round(round, &mut told);
        let of_it = view.uncounted.iter().filter(|one| one.round == number);
        told.extend(of_it.map(|one| uncounted(one, round)));
        told.push(round_end(round, view));
    }
    ending(view, &mut told);
    told
}

/// Tells what a certificate records.
pub fn explain_certificate(it: &Certificate) -> Vec<String> {
    explain(&it.view())
}

impl Certificate {
    /// As a reader sees it, as far as it is on record: labels, the piece of work and what the decision started are not.
    fn view(&self) -> NegotiationView {
        NegotiationView {
            negotiation_id: self.negotiation_id.clone(),
            workspace: self.workspace.clone(),
            status: self.status,
            protocol: self.protocol.clone(),
            version: self.version,
            question: self.question.clone(),
            rules: self.rules.clone(),
            participants: self.participants.clone(),
            rounds: self.rounds.clone(),
            uncounted: self.uncounted.clone(),
            outcome: self.outcome.clone(),
            explanation: self.explanation.clone(),
            by_default: self.by_default,
            starts: None,
            reason: self.reason.clone(),
            opened_at: self.opened_at,
            deadline: self.deadline,
            ended_at: Some(self.ended_at),
            quorum: self.quorum.clone(),
            labels: std::collections::BTreeMap::new(),
            correlation_id: String::new(),
        }
    }
}

fn opening(view: &NegotiationView, told: &mut Vec<String>) {
    let deadline = view.deadline.map(|deadline| format!(", to be over by {deadline}")).unwrap_or_default();
    told.push(format!(
        "Negotiation {} was opened at {}{deadline}; it is decided by {}, version {}.",
        view.negotiation_id, view.opened_at, view.protocol, view.version
    ));
    if view.question.as_str() != "null" {
        told.push(format!("The question: {}.", shown(&view.question)));
    }
    let of = |invited: bool| named(view.participants.iter().filter(|p| p.invited == invited).map(|p| &p.id));
    let (by_name, found) = (of(false), of(true));
    told.push(match (by_name, found) {
        (Some(named), Some(invited)) => {
            format!("Participants: {named}; invited by what they can do: {invited}.")
        }
        (Some(ids), None) => format!("Participants: {ids}."),
        (None, Some(ids)) => format!("Participants, invited by what they can do: {ids}."),
        (None, None) => "Nobody takes part.".to_owned(),
    });
    let weighs = |one: &&Participant| one.weight != Exact::one();
    let weights =
        listed(view.participants.iter().filter(weighs).map(|one| format!("{} {}", one.id, one.weight)));
    told.extend(weights.map(|weights| format!("They weigh 1 each, but for {weights}.")));
    let roles =
        view.participants.iter().filter_map(|one| Some(format!("{} is {}", one.id, one.role.as_ref()?)));
    told.extend(listed(roles).map(|roles| format!("Roles: {roles}.")));
}

fn tell_round(round: &Round, told: &mut Vec<String>) {
    let first = round.asked.iter().filter(|id| !round.replaced.contains_key(*id));
    let whom = named(first).unwrap_or_else(|| "nobody".to_owned());
    let quorum = match round.quorum {
        0 => "the protocol needed no quorum".to_owned(),
        quorum => format!("{quorum} had to answer"),
    };
    let kind = if round.kind.is_empty() { "an answer" } else { &round.kind };
    told.push(format!("Round {} asked for {kind}, of {whom}; {quorum}.", round.round));
    if let Some(at) = round.extended_at {
        let closes_at = round.closes_at;
        told.push(format!(
            "At {at} its time was up and somebody was silent: it was extended, to {closes_at}."
        ));
    }
    for (id, of) in &round.replaced {
        told.push(format!("{id} was asked in place of {of}."));
    }
    for (id, why) in &round.gone {
        told.push(format!("{id} was gone before an answer: {why}."));
    }
}

fn uncounted(one: &Uncounted, round: &Round) -> String {
    let Uncounted { participant, position, reason, .. } = one;
    let what = match (&one.response, round.closed_at) {
        (None, Some(_)) => "An abstention",
        _ => "An answer",
    };
    format!("{what} of {participant}, at {position} in the ledger, does not count: {reason}.")
}

/// How it came out, or how it stands.
fn round_end(round: &Round, view: &NegotiationView) -> String {
    let (asked, answers) = (round.asked.len(), round.answers.len());
    let silent = match named(round.silent()) {
        Some(ids) => format!("; silent: {ids}"),
        None => String::new(),
    };
    let Some(closed_at) = round.closed_at else {
        let so_far = if view.status.is_final() { "Of" } else { "So far, of" };
        let closes_at = round.closes_at;
        let how = match view.status.is_final() {
            true => "it never ended".to_owned(),
            false => format!("its time is up at {closes_at}"),
        };
        return format!("{so_far} {asked} who are asked {answers} have answered{silent}; {how}.");
    };
    let abstained = round.answers.values().filter(|answer| answer.response.is_none()).count();
    let why = match round.closed_by {
        Some(ClosedBy::Complete) => "nobody was still to answer",
        Some(ClosedBy::Settled) => "nobody who was still to answer could have changed it",
        Some(ClosedBy::Time) => "its time was up",
        None => "it is not told why",
    };
    let cast = answers - abstained;
    format!(
        "Of {asked} who were asked {cast} answered and {abstained} abstained{silent}; it ended at {closed_at}: {why}."
    )
}

fn ending(view: &NegotiationView, told: &mut Vec<String>) {
    told.extend(view.explanation.iter().cloned());
    if let Some(tie) = view.outcome.as_ref().and_then(tie_of) {
        let tied = listed(tie.tied.into_iter()).unwrap_or_default();
        told.push(match tie.broken_by {
            Some(by) => format!("Tied: {tied}; chosen among by {}.", shown(&by)),
            None => format!("Tied: {tied}; nothing chose among them."),
        });
    }
    let at = view.ended_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let outcome = view.outcome.as_ref().map(shown);
    let why = view.reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
    match view.status {
        NegotiationStatus::Decided => {
            let how = if view.by_default { ", by default" } else { "" };
            told.push(format!("Decided{at}{how}: {}.", outcome.unwrap_or_default()));
        }
        NegotiationStatus::Failed => {
            told.push(format!("Failed{at}: {why}."));
            told.extend(outcome.map(|found| format!("Found all the same: {found}.")));
        }
        NegotiationStatus::Cancelled => told.push(format!("Cancelled{at}: {why}.")),
        NegotiationStatus::Open | NegotiationStatus::Collecting => {
            told.push("It has not ended.".to_owned());
        }
    }
}

fn shown(json: &Json) -> String {
    let text = canonical(json);
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}

fn named<'a>(ids: impl Iterator<Item = &'a Id>) -> Option<String> {
    listed(ids.map(Id::to_string))
}

fn listed(each: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = each.collect();
    let shown = all.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => None,
        count if count > NAMES => Some(format!("{shown} and {} more", count - NAMES)),
        _ => Some(shown),
    }
}
