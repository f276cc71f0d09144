//! What breaks a tie.

use serde::{Deserialize, Serialize};

/// The rule by which one of several winners is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The one named first among the candidates.
    Order,
    /// By lot: the one whose [`by_lot`] is lowest.
    Seed,
    /// The one whom this participant's own ballot holds strictly above every other of the tied, whatever the ballot weighs. If
    /// there is none, or the chair cast no ballot, nothing is decided.
    Chair(String),
    /// Nothing: the vote decides nothing.
    #[default]
    Fail,
}

impl Ties {
    pub(super) fn is_chair(&self, participant: &str) -> bool {
        matches!(self, Ties::Chair(chair) if chair == participant)
    }
}

/// A candidate's lot: BLAKE3 of the seed, one zero byte and the candidate's name, all in UTF-8. The lowest wins, compared byte
/// by byte from the first.
pub fn by_lot(seed: &str, candidate: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed.as_bytes()).update(&[0]).update(candidate.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Who of the tied is chosen. `lots`: each candidate's, where lots are drawn; `chair`: how high the chair's ballot holds
/// each candidate.
pub(super) fn chosen(
    rule: &Ties,
    tied: &[usize],
    lots: &[[u8; 32]],
    chair: Option<&[usize]>,
) -> Option<usize> {
    match rule {
        Ties::Order => tied.iter().min().copied(),
        Ties::Seed => tied.iter().min_by_key(|&&candidate| (lots.get(candidate), candidate)).copied(),
        Ties::Chair(_) => {
            let levels = chair?;
            let top = tied.iter().map(|&candidate| levels[candidate]).max()?;
            let mut at_top = tied.iter().filter(|&&candidate| levels[candidate] == top);
            let first = at_top.next();
            first.filter(|_| at_top.next().is_none()).copied()
        }
        Ties::Fail => None,
    }
}
