//! What a decision needs besides a winner: who took part, and how much of the weight stands behind it.

use super::ties;
use super::{Reason, Rules};
use num_bigint::BigInt;
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// Of what a share is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The weight of the ballots cast, empty ones too.
    #[default]
    Cast,
    /// That, and the weight of those who abstained.
    Present,
    /// The weight of all who may vote.
    Entitled,
}

/// A share of the weight that the winner needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The share: above 0 up to 1, or with `strictly` from 0 to below 1.
    #[schema(value_type = serde_json::Value)]
    pub share: Exact,
    /// Of what.
    #[serde(default)]
    pub of: Base,
    /// Whether exactly the share is too little.
    #[serde(default)]
    pub strictly: bool,
}

/// What the winner needs besides winning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// Nothing.
    #[default]
    Any,
    /// A share of the weight.
    Threshold(Threshold),
    /// All of the weight. Who weighs nothing does not break it.
    Unanimity(Base),
}

/// Who must have taken part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Quorum {
    /// So many voters, whatever they weigh.
    Voters {
        /// 1 to [`super::VOTERS_MAX`].
        at_least: u32,
        /// Whether abstaining is taking part; it is by default.
        #[serde(default)]
        counting: Counting,
    },
    /// A share of the entitled weight.
    Share {
        /// Above 0 up to 1.
        #[schema(value_type = serde_json::Value)]
        at_least: Exact,
        /// Whether abstaining is taking part; it is by default.
        #[serde(default)]
        counting: Counting,
    },
}

/// Who counts for a quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// Who cast a ballot or abstained.
    #[default]
    Present,
    /// Who cast a ballot.
    Cast,
}

impl Support {
    /// The share, of what, and whether strictly; none where nothing is needed.
    pub(super) fn needed(&self) -> Option<Threshold> {
        match self {
            Support::Any => None,
            Support::Threshold(threshold) => Some(threshold.clone()),
            Support::Unanimity(of) => Some(Threshold { share: Exact::one(), of: *of, strictly: false }),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let Support::Threshold(Threshold { share, strictly, .. }) = self else { return Ok(()) };
        let message = match strictly {
            false if share.is_negative() || share.is_zero() || *share > Exact::one() => {
                format!("a threshold of at least a share is above 0 and at most 1, not {share}")
            }
            true if share.is_negative() || *share >= Exact::one() => {
                format!("a threshold of more than a share is from 0 to below 1, not {share}")
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(message).with_field("/support/threshold/share"))
    }
}

impl Quorum {
    pub(super) fn check(&self) -> Result<(), Error> {
        let most = super::VOTERS_MAX as u32;
        let (message, at) = match self {
            Quorum::Voters { at_least, .. } if *at_least == 0 || *at_least > most => {
                (format!("a quorum is of 1 to {most} voters, not {at_least}"), "/quorum/voters/at_least")
            }
            Quorum::Share { at_least, .. }
                if at_least.is_negative() || at_least.is_zero() || *at_least > Exact::one() =>
            {
                let message = format!("a quorum is a share above 0 and at most 1, not {at_least}");
                (message, "/quorum/share/at_least")
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(message).with_field(at))
    }
}

/// Where a vote stands, in units of weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) entitled: i128,
    pub(super) cast: i128,
    pub(super) abstained: i128,
    pub(super) voters_cast: u32,
    pub(super) voters_abstained: u32,
    pub(super) vetoed: bool,
    /// How high the chair's ballot holds each candidate.
    pub(super) chair: Option<Vec<usize>>,
    /// Whom the count elects, in order.
    pub(super) winners: Vec<usize>,
    /// Of each candidate, the weight behind it.
    pub(super) support: Vec<i128>,
}

/// What comes of a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The winner once ties are broken, whether or not it is decided.
    pub(super) chosen: Option<usize>,
    /// What stands in the way.
    pub(super) reason: Option<Reason>,
}

impl Verdict {
    pub(super) fn decided(&self) -> Option<usize> {
        self.chosen.filter(|_| self.reason.is_none())
    }
}

impl Standing {
    pub(super) fn weight_of(&self, base: Base) -> i128 {
        match base {
            Base::Cast => self.cast,
            Base::Present => self.cast + self.abstained,
            Base::Entitled => self.entitled,
        }
    }

    /// Whether enough took part.
    pub(super) fn has_quorum(&self, rules: &Rules) -> bool {
        match &rules.quorum {
            None => true,
            Some(Quorum::Voters { at_least, counting: Counting::Cast }) => self.voters_cast >= *at_least,
            Some(Quorum::Voters { at_least, counting: Counting::Present }) => {
                self.voters_cast + self.voters_abstained >= *at_least
            }
            Some(Quorum::Share { at_least, counting }) => {
                let taking_part = match counting {
                    Counting::Cast => self.cast,
                    Counting::Present => self.cast + self.abstained,
                };
                reaches(taking_part, self.entitled, at_least, false)
            }
        }
    }

    /// What comes of it: the first of these that stands in the way, veto, quorum, no ballot of any weight, no winner, a tie that
    /// the rule leaves, too little support.
    pub(super) fn verdict(&self, rules: &Rules, lots: &[[u8; 32]]) -> Verdict {
        let chosen = match self.winners.as_slice() {
            [] => None,
            [only] => Some(*only),
            tied => ties::chosen(&rules.ties, tied, lots, self.chair.as_deref()),
        };
        let supported = || match (rules.support.needed(), chosen) {
            (Some(Threshold { share, of, strictly }), Some(winner)) => {
                reaches(self.support[winner], self.weight_of(of), &share, strictly)
            }
            _ => true,
        };
        let reason = if self.vetoed {
            Some(Reason::Vetoed)
        } else if !self.has_quorum(rules) {
            Some(Reason::NoQuorum)
        } else if self.cast == 0 {
            Some(Reason::NoBallots)
        } else if self.winners.is_empty() {
            Some(Reason::NoWinner)
        } else if chosen.is_none() {
            Some(Reason::Tie)
        } else if !supported() {
            Some(Reason::BelowThreshold)
        } else {
            None
        };
        Verdict { chosen, reason }
    }
}

/// Whether `part` is at least the share of `whole`, or more than it.
fn reaches(part: i128, whole: i128, share: &Exact, strictly: bool) -> bool {
    let share = share.as_rational();
    let (part, needed) = (BigInt::from(part) * share.denom(), BigInt::from(whole) * share.numer());
    if strictly { part > needed } else { part >= needed }
}
