//! Instant run-off: whoever has more than half of the live ballots wins; else the last leave and their ballots move on.
//!
//! As in pref_voting 1.18.2: `instant_runoff` and `instant_runoff_for_truncated_linear_orders` (simultaneous),
//! `instant_runoff_tb` (one at a time), `instant_runoff_put` (parallel universes). A ballot is live in a round if it ranks
//! one who is still in; the others are exhausted and do not count towards the half.

use super::profile::greatest;
use super::{Profile, UNIVERSE_CANDIDATES_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use synod_protocol::Error;

/// Who leaves where several have the fewest ballots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Elimination {
    /// All of them at once. Where these are all who remain, all of them win.
    #[default]
    Simultaneous,
    /// The one named first among the candidates.
    LowestIndexOutFirst,
    /// The one named last among the candidates.
    HighestIndexOutFirst,
    /// Every one of them, each in a world of its own: who wins in some world wins.
    ParallelUniverses,
}

/// One round of a run-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunoffRound {
    /// Who is in, by index, and the weight of the ballots that stand for him.
    pub votes: Vec<(usize, i128)>,
    /// The weight of the ballots that rank nobody who is in.
    pub exhausted: i128,
    /// Who leaves after it.
    pub eliminated: Vec<usize>,
}

/// How a run-off went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runoff {
    /// Its rounds, at least one; none of parallel universes.
    pub rounds: Vec<RunoffRound>,
    /// Who wins, in order.
    pub winners: Vec<usize>,
}

/// Runs it. Parallel universes: [`parallel_universes`].
///
/// # Errors
/// Parallel universes of more than [`UNIVERSE_CANDIDATES_MAX`] candidates.
pub fn instant_runoff(profile: &Profile, elimination: Elimination) -> Result<Runoff, Error> {
    if elimination == Elimination::ParallelUniverses {
        return Ok(Runoff { rounds: Vec::new(), winners: parallel_universes(profile)? });
    }
    let mut standing = everyone(profile);
    let mut rounds = Vec::new();
    loop {
        let mut round = round(profile, standing);
        if let Some(winners) = winners(&round, elimination) {
            rounds.push(round);
            return Ok(Runoff { rounds, winners });
        }
        let last = last(&round);
        round.eliminated = match elimination {
            Elimination::LowestIndexOutFirst => last[..1].to_vec(),
            Elimination::HighestIndexOutFirst => last[last.len() - 1..].to_vec(),
            Elimination::Simultaneous | Elimination::ParallelUniverses => last,
        };
        standing = without(standing, &round.eliminated);
        rounds.push(round);
    }
}

/// Every candidate who wins under some order of breaking the ties for the last place.
///
/// # Errors
/// More than [`UNIVERSE_CANDIDATES_MAX`] candidates.
pub fn parallel_universes(profile: &Profile) -> Result<Vec<usize>, Error> {
    if profile.candidates() > UNIVERSE_CANDIDATES_MAX {
        return Err(too_many_universes(profile.candidates()));
    }
    let mut reached = BTreeSet::from([everyone(profile)]);
    let mut ahead = vec![everyone(profile)];
    let mut won = BTreeSet::new();
    while let Some(standing) = ahead.pop() {
        let round = round(profile, standing);
        if let Some(winners) = winners(&round, Elimination::ParallelUniverses) {
            won.extend(winners);
            continue;
        }
        for candidate in last(&round) {
            let next = without(standing, &[candidate]);
            if reached.insert(next) {
                ahead.push(next);
            }
        }
    }
    Ok(won.into_iter().collect())
}

/// The refusal of parallel universes of so many.
pub(super) fn too_many_universes(candidates: usize) -> Error {
    let message = format!(
        "parallel universes are followed for up to {UNIVERSE_CANDIDATES_MAX} candidates, not {candidates}"
    );
    Error::invalid(message).with_field("/candidates")
}

/// Each candidate is one bit.
fn everyone(profile: &Profile) -> u128 {
    (1 << profile.candidates()) - 1
}

fn without(standing: u128, leaving: &[usize]) -> u128 {
    leaving.iter().fold(standing, |left, candidate| left & !(1 << candidate))
}

fn round(profile: &Profile, standing: u128) -> RunoffRound {
    let mut votes = vec![0; profile.candidates()];
    let mut exhausted = 0;
    for (ranking, weight) in profile.groups() {
        match ranking.iter().find(|&&candidate| standing & (1 << candidate) != 0) {
            Some(&candidate) => votes[usize::from(candidate)] += weight,
            None => exhausted += weight,
        }
    }
    let votes = (0..votes.len()).filter(|i| standing & (1 << i) != 0).map(|i| (i, votes[i])).collect();
    RunoffRound { votes, exhausted, eliminated: Vec::new() }
}

/// Who wins in this round, if it decides.
fn winners(round: &RunoffRound, elimination: Elimination) -> Option<Vec<usize>> {
    let live: i128 = round.votes.iter().map(|(_, votes)| votes).sum();
    let counts: Vec<i128> = round.votes.iter().map(|(_, votes)| *votes).collect();
    let first = greatest(&counts);
    let all_equal = first.len() == counts.len();
    let decided = counts.len() == 1
        || counts.iter().any(|votes| 2 * votes > live)
        || live == 0
        || (all_equal && elimination == Elimination::Simultaneous);
    decided.then(|| first.into_iter().map(|i| round.votes[i].0).collect())
}

/// Who has the fewest, in order.
fn last(round: &RunoffRound) -> Vec<usize> {
    let fewest = round.votes.iter().map(|(_, votes)| *votes).min();
    round.votes.iter().filter(|(_, votes)| Some(*votes) == fewest).map(|(i, _)| *i).collect()
}
