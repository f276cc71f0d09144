//! From rules and voters to the outcome.

use super::ballots::{Poll, Scale};
use super::condorcet::{Pairwise, schulze_paths, undefeated};
use super::profile::greatest;
use super::rules::Said;
use super::runoff::RunoffRound;
use super::ties::{Ties, by_lot};
use super::{
    Elimination, Grades, Method, Roll, Rules, Voter, approval, borda, explain, first_places, instant_runoff,
    means,
};
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// Why a vote decides nothing; of several the one that stands first here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody who may stopped it.
    Vetoed,
    /// Too few took part.
    NoQuorum,
    /// No ballot of any weight was cast.
    NoBallots,
    /// The method elects nobody: there is no Condorcet winner.
    NoWinner,
    /// Several win, and the rule for ties chooses none of them.
    Tie,
    /// Too little weight stands behind the winner.
    BelowThreshold,
}

/// A candidate and a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Score {
    /// Who.
    pub candidate: String,
    /// How much; none: nobody of any weight scored it.
    #[schema(value_type = Option<serde_json::Value>)]
    pub score: Option<Exact>,
}

/// One round of a run-off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Round {
    /// Who is in, in order, and the weight of the ballots that stand for it.
    pub votes: Vec<Score>,
    /// The weight of the ballots that rank nobody who is in.
    #[schema(value_type = serde_json::Value)]
    pub exhausted: Exact,
    /// Who leaves after it, in order; nobody after the last round.
    pub eliminated: Vec<String>,
}

/// The count. What a method does not count is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tally {
    /// In the order of the candidates: first places (plurality, run-off), approvals, scores, points, duels won less lost.
    pub scores: Vec<Score>,
    /// The rounds of a run-off; empty of parallel universes.
    pub rounds: Vec<Round>,
    /// Condorcet, Copeland, Schulze: `[a][b]` is the weight above b less the weight below, by the order of the candidates.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    pub margins: Vec<Vec<Exact>>,
    /// Schulze: `[a][b]` is the strength of the strongest path from a to b, 0 where there is none.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    pub paths: Vec<Vec<Exact>>,
    /// Condorcet, Copeland, Schulze: who beats every other one.
    pub condorcet_winner: Option<String>,
    /// Condorcet, Copeland, Schulze: whom nobody beats, in order.
    pub weak_condorcet_winners: Vec<String>,
}

/// Who took part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Turnout {
    /// Voters who cast a ballot.
    pub voters_cast: u32,
    /// Voters who abstained.
    pub voters_abstained: u32,
    /// The weight of the ballots cast.
    #[schema(value_type = serde_json::Value)]
    pub cast: Exact,
    /// The weight of those who abstained.
    #[schema(value_type = serde_json::Value)]
    pub abstained: Exact,
    /// The weight of those who were silent.
    #[schema(value_type = serde_json::Value)]
    pub silent: Exact,
    /// All three together.
    #[schema(value_type = serde_json::Value)]
    pub entitled: Exact,
}

/// What came of a vote, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outcome {
    /// What is decided; none: see `reason`.
    pub decided: Option<String>,
    /// Why nothing is decided.
    pub reason: Option<Reason>,
    /// All whom the count elects, in the order of the candidates.
    pub winners: Vec<String>,
    /// The same where they are several, else empty.
    pub tied: Vec<String>,
    /// What chose among the tied; none where nothing did.
    pub broken_by: Option<Ties>,
    /// What lots were to be drawn from, where lots break ties.
    pub seed: Option<String>,
    /// The weight behind the one chosen.
    #[schema(value_type = Option<serde_json::Value>)]
    pub support: Option<Exact>,
    /// Who stopped the decision, sorted.
    pub vetoed_by: Vec<String>,
    /// Who took part.
    pub turnout: Turnout,
    /// The count.
    pub tally: Tally,
    /// The same in sentences.
    pub explanation: Vec<String>,
}

/// Counts a vote and decides it. The order of the voters does not matter.
///
/// # Errors
/// `invalid_argument`, with the place: rules by which no vote can be held ([`Rules::check`]); a voter who cannot stand in
/// it ([`Rules::check_voter`]), stands twice, or is one of more than [`super::VOTERS_MAX`]; voters of more weight than is
/// entitled; a seed that is missing; weights or scores too fine or too large to count exactly.
pub fn outcome(rules: &Rules, voters: &[Voter], roll: &Roll) -> Result<Outcome, Error> {
    let poll = Poll::read(rules, voters, &[], roll)?;
    let count = Count::of(rules, &poll)?;
    let mut standing = poll.standing.clone();
    (standing.winners, standing.support) = (count.winners, count.support);
    let verdict = standing.verdict(rules, &lots(rules, roll));
    let winners = named(rules, &standing.winners);
    let tied = if winners.len() > 1 { winners.clone() } else { Vec::new() };
    let exact = |units| poll.scale.exact(units);
    let mut outcome = Outcome {
        decided: verdict.decided().map(|winner| rules.candidates[winner].clone()),
        reason: verdict.reason,
        broken_by: verdict.chosen.filter(|_| !tied.is_empty()).map(|_| rules.ties.clone()),
        winners,
        tied,
        seed: roll.seed.clone().filter(|_| rules.ties == Ties::Seed),
        support: verdict.chosen.map(|winner| exact(standing.support[winner])),
        vetoed_by: poll.vetoes.clone(),
        turnout: Turnout {
            voters_cast: standing.voters_cast,
            voters_abstained: standing.voters_abstained,
            cast: exact(standing.cast),
            abstained: exact(standing.abstained),
            silent: exact(standing.entitled - standing.cast - standing.abstained),
            entitled: exact(standing.entitled),
        },
        tally: count.tally,
        explanation: Vec::new(),
    };
    let chosen = verdict.chosen.map(|winner| rules.candidates[winner].as_str());
    outcome.explanation = explain::sentences(rules, &outcome, chosen);
    Ok(outcome)
}

/// Each candidate's lot, where lots break ties.
pub(super) fn lots(rules: &Rules, roll: &Roll) -> Vec<[u8; 32]> {
    match (&rules.ties, &roll.seed) {
        (Ties::Seed, Some(seed)) => rules.candidates.iter().map(|name| by_lot(seed, name)).collect(),
        _ => Vec::new(),
    }
}

fn named(rules: &Rules, candidates: &[usize]) -> Vec<String> {
    candidates.iter().map(|&candidate| rules.candidates[candidate].clone()).collect()
}

fn matrix(scale: &Scale, units: &[Vec<i128>]) -> Vec<Vec<Exact>> {
    units.iter().map(|row| row.iter().map(|&units| scale.exact(units)).collect()).collect()
}

/// Whom the method elects, and the weight behind each candidate.
pub(super) struct Count {
    pub(super) winners: Vec<usize>,
    pub(super) support: Vec<i128>,
    pub(super) tally: Tally,
}

impl Count {
    /// Counts by the method of the rules.
    pub(super) fn of(rules: &Rules, poll: &Poll<'_>) -> Result<Count, Error> {
        match &rules.method {
            Method::Plurality => {
                let firsts = first_places(&poll.profile()?);
                Ok(Count::by(rules, poll, &firsts, firsts.clone()))
            }
            Method::Approval => {
                let ballots = poll.cast.iter().filter_map(|(said, units)| match said {
                    Said::Approved(approved) => Some((approved.as_slice(), *units)),
                    Said::Ranking(_) | Said::Scores(_) => None,
                });
                let approvals = approval(poll.candidates, ballots);
                Ok(Count::by(rules, poll, &approvals, approvals.clone()))
            }
            Method::Borda { truncated } => {
                let profile = poll.profile()?;
                Ok(Count::by(rules, poll, &borda(&profile, *truncated), first_places(&profile)))
            }
            Method::Score { grades, .. } => Count::scores(rules, poll, *grades),
            Method::InstantRunoff { elimination } => Count::runoff(rules, poll, *elimination),
            Method::Condorcet | Method::Copeland | Method::Schulze { .. } => Count::duels(rules, poll),
        }
    }

    /// The greatest of these scores, in units of weight, win.
    fn by(rules: &Rules, poll: &Poll<'_>, scores: &[i128], support: Vec<i128>) -> Count {
        let shown = scores.iter().map(|&score| Some(poll.scale.exact(score))).collect();
        let tally = Tally { scores: listed(rules, shown), ..Tally::default() };
        Count { winners: greatest(scores), support, tally }
    }

    fn scores(rules: &Rules, poll: &Poll<'_>, grades: Grades) -> Result<Count, Error> {
        let too_fine = || {
            let message = "the scores and weights have too many digits to be summed exactly; use fewer";
            Error::invalid(message).with_field("/voters")
        };
        let given = || {
            poll.cast.iter().filter_map(|(said, units)| match said {
                Said::Scores(scores) => Some((scores, *units)),
                Said::Ranking(_) | Said::Approved(_) => None,
            })
        };
        let all = given().flat_map(|(scores, _)| scores.iter().map(|(_, score)| *score));
        let scale = Scale::of(all).ok_or_else(too_fine)?;
        let nothing = vec![0_i128; poll.candidates];
        let (mut sums, mut weights, mut support) = (nothing.clone(), nothing.clone(), nothing);
        for (scores, units) in given() {
            let best = scores.iter().map(|(_, score)| *score).max();
            for (candidate, score) in scores {
                let points = scale.units(score).and_then(|score| score.checked_mul(units));
                let sum = points.and_then(|points| sums[*candidate].checked_add(points));
                sums[*candidate] = sum.ok_or_else(too_fine)?;
                weights[*candidate] += units;
                support[*candidate] += if best == Some(*score) { units } else { 0 };
            }
        }
        let exact_sums: Vec<Exact> = sums.iter().map(|&sum| poll.scale.product(&scale, sum)).collect();
        let exact_weights: Vec<Exact> = weights.iter().map(|&units| poll.scale.exact(units)).collect();
        let mut scores = means(&exact_sums, &exact_weights);
        if grades == Grades::Sum {
            let scored = exact_sums.into_iter().zip(&weights);
            scores = scored.map(|(sum, weight)| (*weight > 0).then_some(sum)).collect();
        }
        // None is below every score, so who was scored by nobody wins only where all were.
        let winners = greatest(&scores);
        let tally = Tally { scores: listed(rules, scores), ..Tally::default() };
        Ok(Count { winners, support, tally })
    }

    fn runoff(rules: &Rules, poll: &Poll<'_>, elimination: Elimination) -> Result<Count, Error> {
        let profile = poll.profile()?;
        let runoff = instant_runoff(&profile, elimination)?;
        let firsts = first_places(&profile);
        let mut support = firsts.clone();
        if let Some(last) = runoff.rounds.last() {
            support = vec![0; poll.candidates];
            last.votes.iter().for_each(|(candidate, votes)| support[*candidate] = *votes);
        }
        let shown = firsts.iter().map(|&first| Some(poll.scale.exact(first))).collect();
        let round = |round: &RunoffRound| Round {
            votes: round
                .votes
                .iter()
                .map(|(candidate, votes)| Score {
                    candidate: rules.candidates[*candidate].clone(),
                    score: Some(poll.scale.exact(*votes)),
                })
                .collect(),
            exhausted: poll.scale.exact(round.exhausted),
            eliminated: named(rules, &round.eliminated),
        };
        let rounds = runoff.rounds.iter().map(round).collect();
        let tally = Tally { scores: listed(rules, shown), rounds, ..Tally::default() };
        Ok(Count { winners: runoff.winners, support, tally })
    }

    fn duels(rules: &Rules, poll: &Poll<'_>) -> Result<Count, Error> {
        let profile = poll.profile()?;
        let duels = Pairwise::count(&profile);
        let firsts = first_places(&profile);
        let support =
            (0..poll.candidates).map(|candidate| duels.narrowest(candidate).unwrap_or(firsts[candidate]));
        let mut tally = Tally {
            margins: matrix(&poll.scale, &duels.margins()),
            condorcet_winner: duels.condorcet_winner().map(|winner| rules.candidates[winner].clone()),
            weak_condorcet_winners: named(rules, &duels.weak_condorcet_winners()),
            ..Tally::default()
        };
        let winners = match &rules.method {
            Method::Schulze { strength } => {
                let paths = schulze_paths(&duels, *strength);
                tally.paths = matrix(&poll.scale, &paths);
                undefeated(&paths)
            }
            Method::Copeland => {
                let scores = duels.copeland();
                let shown = scores.iter().map(|&score| Some(Exact::from(score as i64))).collect();
                tally.scores = listed(rules, shown);
                duels.copeland_winners()
            }
            _ => duels.condorcet_winner().into_iter().collect(),
        };
        Ok(Count { winners, support: support.collect(), tally })
    }
}

fn listed(rules: &Rules, scores: Vec<Option<Exact>>) -> Vec<Score> {
    let named = rules.candidates.iter().zip(scores);
    named.map(|(candidate, score)| Score { candidate: candidate.clone(), score }).collect()
}
