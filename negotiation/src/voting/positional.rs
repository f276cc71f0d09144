//! Counts in which each ballot gives points by itself: plurality, approval, score, Borda.
//!
//! Borda of truncated rankings as in pref_voting 1.18.2, `symmetric_borda_scores` and `domination_borda_scores`; score as
//! in its `score_voting`, where a candidate whom nobody scored is left out of the comparison.

use super::Profile;
use serde::{Deserialize, Serialize};
use synod_protocol::Exact;

/// What a Borda ballot says of the candidates that it leaves out. On full rankings both elect the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncated {
    /// Points: how many stand strictly below. On a full ranking of m: m-1 for the first to 0 for the last.
    #[default]
    Domination,
    /// Points: how many stand strictly below, less how many stand strictly above.
    Symmetric,
}

/// How the scores of a candidate become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grades {
    /// Score times weight, summed; who does not score a candidate adds nothing to it.
    #[default]
    Sum,
    /// The sum, divided by the weight of those who scored the candidate.
    Mean,
}

/// Of each candidate, the weight of the ballots on which it is first.
pub fn first_places(profile: &Profile) -> Vec<i128> {
    let mut places = vec![0; profile.candidates()];
    for (ranking, weight) in profile.groups() {
        if let Some(&first) = ranking.first() {
            places[usize::from(first)] += weight;
        }
    }
    places
}

/// Of each candidate, its Borda points.
pub fn borda(profile: &Profile, truncated: Truncated) -> Vec<i128> {
    let candidates = profile.candidates();
    let mut points = vec![0; candidates];
    for (ranking, weight) in profile.groups() {
        let left_out = candidates - ranking.len();
        for (above, &candidate) in ranking.iter().enumerate() {
            let below = candidates - above - 1;
            let own = match truncated {
                Truncated::Domination => below as i128,
                Truncated::Symmetric => below as i128 - above as i128,
            };
            points[usize::from(candidate)] += own * weight;
        }
        if truncated == Truncated::Symmetric && left_out > 0 {
            let ranked = ranking.iter().fold(0_u128, |ranked, candidate| ranked | 1 << candidate);
            for candidate in (0..candidates).filter(|candidate| ranked & (1 << candidate) == 0) {
                points[candidate] -= ranking.len() as i128 * weight;
            }
        }
    }
    points
}

/// Of each of so many candidates, the weight of the ballots that approve it. Indices at or above `candidates` count for
/// nothing; the weights together must fit.
pub fn approval<'a>(candidates: usize, ballots: impl IntoIterator<Item = (&'a [usize], i128)>) -> Vec<i128> {
    let mut approved = vec![0; candidates];
    for (ballot, weight) in ballots {
        for &candidate in ballot {
            if let Some(sum) = approved.get_mut(candidate) {
                *sum += weight;
            }
        }
    }
    approved
}

/// Of each candidate, its mean from its sum and the weight of those who scored it; nothing where nobody did.
pub fn means(sums: &[Exact], weights: &[Exact]) -> Vec<Option<Exact>> {
    sums.iter().zip(weights).map(|(sum, weight)| sum.checked_div(weight)).collect()
}
