//! Ranked ballots as numbers: candidates by index, equal ballots together.

use super::CANDIDATES_MAX;
use std::collections::BTreeMap;
use synod_protocol::Error;

/// The most that all ballots together may weigh: points of 100 candidates stay far within 128 bits.
pub(super) const UNITS_MAX: i128 = 1 << 100;

/// Ranked ballots, equal ones together. Weights are whole units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    candidates: usize,
    groups: Vec<(Vec<u8>, i128)>,
}

impl Profile {
    /// Ballots, each a ranking (best first, indices below `candidates`, none twice, some or all left out) and its weight.
    ///
    /// # Errors
    /// No candidate or more than [`CANDIDATES_MAX`]; an index that is none or stands twice; a weight below 0; more than
    /// 2^100 units in all.
    pub fn new<R: AsRef<[usize]>>(
        candidates: usize,
        ballots: impl IntoIterator<Item = (R, i128)>,
    ) -> Result<Profile, Error> {
        if candidates == 0 || candidates > CANDIDATES_MAX {
            let message = format!("a vote has 1 to {CANDIDATES_MAX} candidates, not {candidates}");
            return Err(Error::invalid(message).with_field("/candidates"));
        }
        let mut groups: BTreeMap<Vec<u8>, i128> = BTreeMap::new();
        let mut total = 0_i128;
        for (place, (ranking, weight)) in ballots.into_iter().enumerate() {
            let refused = |message: String| Error::invalid(message).with_field(format!("/ballots/{place}"));
            if weight < 0 {
                return Err(refused(format!("a ballot weighs 0 or more, not {weight}")));
            }
            total = total.saturating_add(weight);
            if total > UNITS_MAX {
                return Err(refused("the ballots weigh more than 2^100 units together".into()));
            }
            *groups.entry(compact(candidates, ranking.as_ref()).map_err(refused)?).or_default() += weight;
        }
        groups.retain(|_, weight| *weight > 0);
        Ok(Profile { candidates, groups: groups.into_iter().collect() })
    }

    /// How many candidates there are.
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// The different ballots, in order, each with its weight above 0.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], i128)> {
        self.groups.iter().map(|(ranking, weight)| (ranking.as_slice(), *weight))
    }
}

/// The ranking in bytes; why it is none.
fn compact(candidates: usize, ranking: &[usize]) -> Result<Vec<u8>, String> {
    let mut seen = 0_u128;
    let mut bytes = Vec::with_capacity(ranking.len().min(candidates));
    for &candidate in ranking {
        if candidate >= candidates {
            return Err(format!("{candidate} is no candidate: they are 0 to {}", candidates - 1));
        }
        if seen & (1 << candidate) != 0 {
            return Err(format!("candidate {candidate} stands twice; each may stand once"));
        }
        seen |= 1 << candidate;
        bytes.push(candidate as u8);
    }
    Ok(bytes)
}

/// The indices of the greatest, in order; none of nothing.
pub(super) fn greatest<T: Ord>(values: &[T]) -> Vec<usize> {
    let Some(most) = values.iter().max() else { return Vec::new() };
    (0..values.len()).filter(|&i| values[i] == *most).collect()
}
