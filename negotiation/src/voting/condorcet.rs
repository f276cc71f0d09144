//! Duels: of each two candidates, who stands above the other on how much of the ballots. Condorcet, Copeland, Schulze.
//!
//! Schulze, "A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent single-winner election
//! method" (2011), with the widest paths by Floyd and Warshall; ties as in pref_voting 1.18.2 (`beat_path`, `copeland`).

use super::Profile;
use super::profile::greatest;
use serde::{Deserialize, Serialize};

/// How strong a won duel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// The ballots for the winner less those for the loser.
    #[default]
    Margins,
    /// The ballots for the winner.
    WinningVotes,
}

/// All duels of a vote. On a ballot, one who is left out stands below all who are ranked and equal to the others left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairwise {
    /// `[a][b]`: the weight of the ballots on which a stands above b.
    above: Vec<Vec<i128>>,
}

impl Pairwise {
    /// Counts the duels.
    pub fn count(profile: &Profile) -> Pairwise {
        let candidates = profile.candidates();
        let mut above = vec![vec![0; candidates]; candidates];
        for (ranking, weight) in profile.groups() {
            let mut below = (1_u128 << candidates) - 1;
            let mut unranked = below;
            for &candidate in ranking {
                unranked &= !(1 << candidate);
            }
            for (place, &candidate) in ranking.iter().enumerate() {
                below &= !(1 << candidate);
                let row = &mut above[usize::from(candidate)];
                for &lower in &ranking[place + 1..] {
                    row[usize::from(lower)] += weight;
                }
                let mut rest = below & unranked;
                while rest != 0 {
                    row[rest.trailing_zeros() as usize] += weight;
                    rest &= rest - 1;
                }
            }
        }
        Pairwise { above }
    }

    /// How many candidates there are.
    pub fn candidates(&self) -> usize {
        self.above.len()
    }

    /// The weight of the ballots on which `a` stands above `b`. Panics where either is no candidate.
    pub fn above(&self, a: usize, b: usize) -> i128 {
        self.above[a][b]
    }

    /// [`Pairwise::above`] less the same the other way round: above 0, `a` beats `b`.
    pub fn margin(&self, a: usize, b: usize) -> i128 {
        self.above[a][b] - self.above[b][a]
    }

    /// All margins, `[a][b]`.
    pub fn margins(&self) -> Vec<Vec<i128>> {
        let all = 0..self.candidates();
        all.clone().map(|a| all.clone().map(|b| self.margin(a, b)).collect()).collect()
    }

    /// Who beats every other one, if there is one.
    pub fn condorcet_winner(&self) -> Option<usize> {
        (0..self.candidates()).find(|&a| self.others(a).all(|b| self.margin(a, b) > 0))
    }

    /// All whom nobody beats, in order; there may be none.
    pub fn weak_condorcet_winners(&self) -> Vec<usize> {
        (0..self.candidates()).filter(|&a| self.others(a).all(|b| self.margin(a, b) >= 0)).collect()
    }

    /// Of each candidate, duels won less duels lost; a draw is nothing.
    pub fn copeland(&self) -> Vec<i128> {
        let score = |a| self.others(a).map(|b| self.margin(a, b).signum()).sum();
        (0..self.candidates()).map(score).collect()
    }

    /// Who wins by [`Pairwise::copeland`], in order.
    pub fn copeland_winners(&self) -> Vec<usize> {
        greatest(&self.copeland())
    }

    /// The weight of the ballots for `a` in the duel in which it has the fewest; nothing where it is alone.
    pub fn narrowest(&self, a: usize) -> Option<i128> {
        self.others(a).map(|b| self.above[a][b]).min()
    }

    fn others(&self, a: usize) -> impl Iterator<Item = usize> {
        (0..self.candidates()).filter(move |b| *b != a)
    }
}

/// `[a][b]`: the strength of the strongest path of won duels from a to b, 0 where there is none. A path is as strong as its
/// weakest duel.
pub fn schulze_paths(duels: &Pairwise, strength: Strength) -> Vec<Vec<i128>> {
    let candidates = duels.candidates();
    let direct = |a, b| match strength {
        _ if duels.margin(a, b) <= 0 => 0,
        Strength::Margins => duels.margin(a, b),
        Strength::WinningVotes => duels.above(a, b),
    };
    let mut paths: Vec<Vec<i128>> =
        (0..candidates).map(|a| (0..candidates).map(|b| direct(a, b)).collect()).collect();
    for through in 0..candidates {
        let onward = paths[through].clone();
        for (from, row) in paths.iter_mut().enumerate() {
            let reach = row[through];
            for (to, path) in row.iter_mut().enumerate() {
                if to != from {
                    *path = (*path).max(reach.min(onward[to]));
                }
            }
        }
    }
    paths
}

/// Who wins by Schulze, in order: those to whom no path is stronger than the path back. There is always one.
pub fn undefeated(paths: &[Vec<i128>]) -> Vec<usize> {
    let all = 0..paths.len();
    all.clone().filter(|&a| all.clone().all(|b| paths[b][a] <= paths[a][b])).collect()
}
