//! From voters with exact weights to ballots in whole units.

use super::profile::{Profile, UNITS_MAX};
use super::rules::{Said, named, not_negative};
use super::threshold::Standing;
use super::{Outstanding, Roll, Rules, VOTERS_MAX, Voter};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive};
use std::collections::BTreeSet;
use synod_protocol::{Error, Exact};

/// Most bits of a common denominator.
const DENOMINATOR_BITS: u64 = 256;

/// One unit of weight is `1 / denominator`.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    denominator: BigInt,
}

impl Scale {
    /// One in which all of these are whole; nothing where it would be too fine to count in.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a Exact>) -> Option<Scale> {
        let mut denominator = BigInt::one();
        for value in values {
            let other = value.as_rational().denom();
            if !other.is_one() && *other != denominator {
                // a/b in lowest terms has the denominator b/gcd, and the least common multiple is a * b/gcd.
                let lowest = BigRational::new(denominator.clone(), other.clone());
                denominator *= lowest.denom();
            }
            if denominator.bits() > DENOMINATOR_BITS {
                return None;
            }
        }
        Some(Scale { denominator })
    }

    /// In units. The value must be one of those that the scale was made of; nothing where it is too large.
    pub(super) fn units(&self, value: &Exact) -> Option<i128> {
        let value = value.as_rational();
        (value.numer() * (&self.denominator / value.denom())).to_i128()
    }

    /// What so many units are.
    pub(super) fn exact(&self, units: i128) -> Exact {
        Exact::from(BigRational::new(units.into(), self.denominator.clone()))
    }

    /// A sum of products of a number in these units and one in those of `other`.
    pub(super) fn product(&self, other: &Scale, units: i128) -> Exact {
        Exact::from(BigRational::new(units.into(), &self.denominator * &other.denominator))
    }
}

/// A vote as it was read: every check is done.
pub(super) struct Poll<'v> {
    pub(super) candidates: usize,
    pub(super) scale: Scale,
    /// What those say who cast, and what it weighs.
    pub(super) cast: Vec<(Said<'v>, i128)>,
    /// Who stopped the decision, by name in order.
    pub(super) vetoes: Vec<String>,
    /// Who took part; no winners and no support yet.
    pub(super) standing: Standing,
    /// The weights of those outstanding, as they stand there.
    pub(super) outstanding: Vec<i128>,
}

impl<'v> Poll<'v> {
    /// Reads it.
    pub(super) fn read(
        rules: &Rules,
        voters: &'v [Voter],
        outstanding: &[Outstanding],
        roll: &Roll,
    ) -> Result<Poll<'v>, Error> {
        rules.check()?;
        roll.check(rules)?;
        let count = voters.len() + outstanding.len();
        if count > VOTERS_MAX {
            let message = format!("a vote has at most {VOTERS_MAX} voters, not {count}");
            return Err(Error::invalid(message).with_field("/voters"));
        }
        let index = rules.index();
        let mut names = BTreeSet::new();
        let mut said = Vec::with_capacity(voters.len());
        for (place, voter) in voters.iter().enumerate() {
            let at = format!("/voters/{place}");
            said.push(rules.parse(voter, &index, &at)?);
            once(&mut names, &voter.participant, &at)?;
        }
        for (place, voter) in outstanding.iter().enumerate() {
            let at = format!("/outstanding/{place}");
            named("participant", &voter.participant, &format!("{at}/participant"))?;
            not_negative(&voter.weight, &format!("{at}/weight"))?;
            once(&mut names, &voter.participant, &at)?;
        }
        let weights = voters.iter().map(|voter| &voter.weight);
        let weights = weights.chain(outstanding.iter().map(|voter| &voter.weight));
        let (scale, entitled, mut units) = weigh(weights, &roll.entitled)?;
        let outstanding = units.split_off(voters.len());
        let mut poll = Poll {
            candidates: rules.candidates.len(),
            scale,
            cast: Vec::with_capacity(voters.len()),
            vetoes: Vec::new(),
            standing: Standing { entitled, ..Standing::default() },
            outstanding,
        };
        for ((voter, said), units) in voters.iter().zip(said).zip(units) {
            poll.take(rules, voter, said, units);
        }
        poll.vetoes.sort();
        Ok(poll)
    }

    fn take(&mut self, rules: &Rules, voter: &Voter, said: Option<Said<'v>>, units: i128) {
        if voter.veto {
            self.vetoes.push(voter.participant.clone());
            self.standing.vetoed = true;
        }
        let Some(said) = said else {
            self.standing.abstained += units;
            self.standing.voters_abstained += 1;
            return;
        };
        if rules.ties.is_chair(&voter.participant) {
            self.standing.chair = Some(said.levels(self.candidates));
        }
        self.standing.cast += units;
        self.standing.voters_cast += 1;
        self.cast.push((said, units));
    }

    /// The rankings.
    pub(super) fn profile(&self) -> Result<Profile, Error> {
        let ranked = self.cast.iter().filter_map(|(said, units)| match said {
            Said::Ranking(ranking) => Some((ranking, *units)),
            Said::Approved(_) | Said::Scores(_) => None,
        });
        Profile::new(self.candidates, ranked)
    }
}

fn once<'a>(names: &mut BTreeSet<&'a str>, name: &'a str, at: &str) -> Result<(), Error> {
    if !names.insert(name) {
        let message = format!("{name:?} stands twice among those who vote; each may stand once");
        return Err(Error::invalid(message).with_field(format!("{at}/participant")));
    }
    Ok(())
}

/// The scale, the entitled weight and the weights in its units.
fn weigh<'a>(
    weights: impl Iterator<Item = &'a Exact> + Clone,
    entitled: &'a Exact,
) -> Result<(Scale, i128, Vec<i128>), Error> {
    let too_fine = || {
        let message =
            "the weights have no common unit of which all together are at most 2^100; use fewer digits";
        Error::invalid(message).with_field("/voters")
    };
    let scale = Scale::of(weights.clone().chain([entitled])).ok_or_else(too_fine)?;
    let whole = scale.units(entitled).filter(|units| *units <= UNITS_MAX).ok_or_else(too_fine)?;
    let mut total = 0_i128;
    let mut units = Vec::new();
    for weight in weights {
        let one = scale.units(weight).filter(|units| *units <= UNITS_MAX).ok_or_else(too_fine)?;
        total += one;
        units.push(one);
    }
    if total > whole {
        let sum = scale.exact(total);
        let message = format!("the voters weigh {sum} together, more than the {entitled} that are entitled");
        return Err(Error::invalid(message).with_field("/entitled"));
    }
    Ok((scale, whole, units))
}
