//! An outcome in a few sentences.

use super::threshold::{Base, Counting};
use super::{Method, Outcome, Quorum, Reason, Rules, Score, Ties};
use std::fmt::Write;

/// Most candidates that are named with their scores.
const SHOWN: usize = 5;

/// Who took part, what was counted, what broke a tie, what was needed, what is decided. `chosen`: the winner once ties are
/// broken.
pub(super) fn sentences(rules: &Rules, outcome: &Outcome, chosen: Option<&str>) -> Vec<String> {
    let mut said = vec![turnout(outcome)];
    said.extend(quorum(rules));
    said.extend(count(rules, outcome));
    said.extend(tie(rules, outcome, chosen));
    said.extend(support(rules, outcome, chosen));
    said.push(decision(outcome));
    said
}

fn turnout(outcome: &Outcome) -> String {
    let t = &outcome.turnout;
    format!(
        "{} voters cast ballots of weight {}; {} abstained with weight {}; weight {} of {} was silent.",
        t.voters_cast, t.cast, t.voters_abstained, t.abstained, t.silent, t.entitled
    )
}

fn quorum(rules: &Rules) -> Option<String> {
    let taking_part = |counting: &Counting| match counting {
        Counting::Present => "cast or abstain",
        Counting::Cast => "cast",
    };
    rules.quorum.as_ref().map(|quorum| match quorum {
        Quorum::Voters { at_least, counting } => {
            format!("For a quorum at least {at_least} voters had to {}.", taking_part(counting))
        }
        Quorum::Share { at_least, counting } => {
            format!(
                "For a quorum at least {at_least} of the entitled weight had to {}.",
                taking_part(counting)
            )
        }
    })
}

/// The highest first; equal ones in the order of the candidates.
fn highest(scores: &[Score]) -> String {
    let mut by_score: Vec<&Score> = scores.iter().collect();
    by_score.sort_by(|a, b| b.score.cmp(&a.score));
    let mut list = String::new();
    for (place, one) in by_score.iter().take(SHOWN).enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        let score = one.score.as_ref().map_or_else(|| "no score".to_owned(), ToString::to_string);
        let _ = write!(list, "{comma}{} {score}", one.candidate);
    }
    if scores.len() > SHOWN {
        let _ = write!(list, ", {} more", scores.len() - SHOWN);
    }
    list
}

fn count(rules: &Rules, outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let what = match &rules.method {
        Method::Plurality => "First places",
        Method::Approval => "Approvals",
        Method::Score { .. } => "Scores",
        Method::Borda { .. } => "Borda points",
        Method::InstantRunoff { .. } => "First places",
        Method::Copeland => "Duels won less duels lost",
        Method::Condorcet | Method::Schulze { .. } => {
            return vec![match &tally.condorcet_winner {
                Some(winner) => format!("{winner} beats every other candidate."),
                None => "No candidate beats every other.".to_owned(),
            }];
        }
    };
    let mut said = vec![format!("{what}: {}.", highest(&tally.scores))];
    for (number, round) in
        tally.rounds.iter().enumerate().filter(|(_, round)| !round.eliminated.is_empty()).take(SHOWN)
    {
        said.push(format!("After round {}, {} left.", number + 1, listed(&round.eliminated)));
    }
    let rounds = tally.rounds.len();
    if let Some(last) = tally.rounds.last().filter(|_| rounds > 1) {
        said.push(format!("In round {rounds}, the last: {}.", highest(&last.votes)));
    }
    said
}

fn tie(rules: &Rules, outcome: &Outcome, chosen: Option<&str>) -> Option<String> {
    if outcome.tied.is_empty() {
        return None;
    }
    let tied = listed(&outcome.tied);
    let broken = match (&rules.ties, chosen) {
        (Ties::Order, Some(chosen)) => format!("{chosen} is named first among the candidates"),
        (Ties::Seed, Some(chosen)) => format!("the lot fell on {chosen}"),
        (Ties::Chair(chair), Some(chosen)) => {
            format!("the ballot of the chair, {chair}, holds {chosen} highest")
        }
        (Ties::Chair(chair), None) => {
            format!("no ballot of the chair, {chair}, holds one of them above the others")
        }
        (_, _) => "nothing breaks it".to_owned(),
    };
    Some(format!("Tied: {tied}; {broken}."))
}

fn support(rules: &Rules, outcome: &Outcome, chosen: Option<&str>) -> Option<String> {
    let needed = rules.support.needed()?;
    let (chosen, support) = (chosen?, outcome.support.as_ref()?);
    let t = &outcome.turnout;
    let (base, whole) = match needed.of {
        Base::Cast => ("cast", t.cast.clone()),
        Base::Present => ("present", &t.cast + &t.abstained),
        Base::Entitled => ("entitled", t.entitled.clone()),
    };
    let least = if needed.strictly { "more than" } else { "at least" };
    Some(format!(
        "Behind {chosen} stands {support} of the {whole} {base}; {least} {} was needed.",
        needed.share
    ))
}

fn decision(outcome: &Outcome) -> String {
    match (&outcome.decided, outcome.reason) {
        (Some(decided), _) => format!("Decided: {decided}."),
        (None, Some(Reason::Vetoed)) => {
            format!("Nothing is decided: {} stopped it.", listed(&outcome.vetoed_by))
        }
        (None, Some(Reason::NoQuorum)) => "Nothing is decided: there was no quorum.".to_owned(),
        (None, Some(Reason::NoBallots)) => "Nothing is decided: no ballot of any weight was cast.".to_owned(),
        (None, Some(Reason::NoWinner)) => "Nothing is decided: there is no Condorcet winner.".to_owned(),
        (None, Some(Reason::Tie)) => "Nothing is decided: the tie stands.".to_owned(),
        (None, Some(Reason::BelowThreshold) | None) => {
            "Nothing is decided: the winner has too little support.".to_owned()
        }
    }
}

/// `a, b, c`; of many the first and how many more.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
