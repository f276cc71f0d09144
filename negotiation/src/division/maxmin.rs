//! Weighted max-min fairness: one resource, filled like water into glasses as wide as their weights and as high as their demands.
//!
//! Everybody gets `min(demand, level * weight)` with one level for all, the highest at which no more is given than there is.
//! So nobody's `amount / weight` can grow without that of someone who has less shrinking, and who asks for little gets it whole.
//! Source: Bertsekas and Gallager, *Data Networks* (1992), 6.5.2; Keshav, *An Engineering Approach to Computer Networking*
//! (1997), 9.2.

use super::{DivisionUser, demands, weights};
use crate::roster::{PARTICIPANTS_MAX, places};
use crate::scale;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// Bits of the common denominator of all demands with the capacity, and of all weights.
const COMMON_BITS: u64 = 4_096;

/// What is divided, and among whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxMinRules {
    /// How much there is: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
    /// Among whom, 1 to 1,000.
    pub users: Vec<DivisionUser>,
}

/// What one user asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxMinDemand {
    /// Who.
    pub user: String,
    /// How much: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub demand: Exact,
}

/// What one user gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxMinAmount {
    /// Who.
    pub user: String,
    /// What was asked for; 0 where there was no answer.
    #[schema(value_type = serde_json::Value)]
    pub demand: Exact,
    /// What it gets: never more than it asked for.
    #[schema(value_type = serde_json::Value)]
    pub amount: Exact,
    /// Whether that is all that it asked for.
    pub satisfied: bool,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxMinOutcome {
    /// One for each user, in the order of the rules.
    pub users: Vec<MaxMinAmount>,
    /// `amount / weight` of everyone who did not get all; nothing where everyone did.
    #[schema(value_type = serde_json::Value)]
    pub level: Option<Exact>,
    /// What is left: more than 0 only where everyone got all.
    #[schema(value_type = serde_json::Value)]
    pub left: Exact,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What [`fill`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// What each gets, in the order given.
    pub amounts: Vec<Exact>,
    /// `amount / weight` of everyone who did not get all; nothing where everyone did.
    pub level: Option<Exact>,
}

impl MaxMinRules {
    /// Whether these rules can be opened.
    ///
    /// # Errors
    /// `invalid_argument` for a negative capacity, no user or more than 1,000, a repeated user, a weight of 0 or less.
    pub fn check(&self) -> Result<(), Error> {
        places("user", "/rules/users", self.users.iter().map(|u| u.name.as_str()), PARTICIPANTS_MAX)?;
        weights(self.users.iter().map(|u| &u.weight), "/rules/users", "/weight")?;
        scale::amount("the capacity", &self.capacity, || "/rules/capacity".into())
    }
}

/// Divides by these rules. Who did not answer asks for nothing.
///
/// # Errors
/// `invalid_argument` for rules that [`MaxMinRules::check`] refuses, an unknown or repeated user, a negative demand, and
/// numbers with a common denominator of more than 4,096 bits.
pub fn outcome(rules: &MaxMinRules, inputs: &[MaxMinDemand]) -> Result<MaxMinOutcome, Error> {
    rules.check()?;
    let places =
        places("user", "/rules/users", rules.users.iter().map(|u| u.name.as_str()), PARTICIPANTS_MAX)?;
    let demands = demands(&places, inputs, |i| &i.user, |i| &i.demand)?;
    let weights: Vec<Exact> = rules.users.iter().map(|u| u.weight.clone()).collect();
    let filled = fill(&rules.capacity, &demands, &weights)?;
    let given: Exact = filled.amounts.iter().sum();
    let left = &rules.capacity - &given;
    let each = rules.users.iter().zip(demands).zip(filled.amounts);
    let users: Vec<MaxMinAmount> = each
        .map(|((user, demand), amount)| MaxMinAmount {
            user: user.name.clone(),
            satisfied: amount == demand,
            demand,
            amount,
        })
        .collect();
    let explanation = explain(&users, filled.level.as_ref(), &rules.capacity, &left);
    Ok(MaxMinOutcome { users, level: filled.level, left, explanation })
}

/// Divides `capacity`: each gets `min(demand, level * weight)`.
///
/// # Errors
/// `invalid_argument` for lists of unequal length or of more than 1,000, a negative capacity or demand, a weight of 0 or
/// less, and numbers with a common denominator of more than 4,096 bits.
pub fn fill(capacity: &Exact, demands: &[Exact], shares: &[Exact]) -> Result<Filled, Error> {
    if demands.len() != shares.len() || demands.len() > PARTICIPANTS_MAX {
        let message = format!("there are as many weights as demands, and at most {PARTICIPANTS_MAX}");
        return Err(Error::invalid(message).with_field("/weights"));
    }
    weights(shares, "/weights", "")?;
    scale::amount("the capacity", capacity, || "/capacity".into())?;
    for (place, demand) in demands.iter().enumerate() {
        scale::amount("the demand", demand, || format!("/demands/{place}"))?;
    }
    level(capacity, demands, shares)
}

/// [`fill`] of numbers that were looked at: differences of such numbers have longer parts than what anybody may write.
pub(super) fn level(capacity: &Exact, demands: &[Exact], shares: &[Exact]) -> Result<Filled, Error> {
    let measure = scale::measure(demands.iter().chain([capacity]), COMMON_BITS, "/inputs")?;
    let weighed = scale::measure(shares, COMMON_BITS, "/rules/users")?;
    let asked: Vec<BigInt> = demands.iter().map(|d| scale::whole(d, &measure)).collect();
    let widths: Vec<BigInt> = shares.iter().map(|w| scale::whole(w, &weighed)).collect();
    let Some((room, width)) = overflowing(scale::whole(capacity, &measure), &asked, &widths) else {
        return Ok(Filled { amounts: demands.to_vec(), level: None });
    };
    // One level, reduced once: room / measure over width / weighed.
    let level = BigRational::new(&room * &weighed, &width * &measure);
    let amounts = demands.iter().zip(shares).enumerate().map(|(place, (demand, share))| {
        if &asked[place] * &width <= &room * &widths[place] {
            return demand.clone();
        }
        scale::times(&level, share.as_rational().numer(), share.as_rational().denom())
    });
    Ok(Filled { amounts: amounts.collect(), level: Some(level.into()) })
}

/// What is left for those who do not get all, and their width together; nothing where everyone gets all.
fn overflowing(mut room: BigInt, asked: &[BigInt], widths: &[BigInt]) -> Option<(BigInt, BigInt)> {
    let mut by_height: Vec<usize> = (0..asked.len()).collect();
    by_height.sort_by(|&a, &b| (&asked[a] * &widths[b]).cmp(&(&asked[b] * &widths[a])));
    let mut width: BigInt = widths.iter().sum();
    for place in by_height {
        // At the height of this one everyone from here on would have `asked / its width` times their own.
        if &asked[place] * &width > &room * &widths[place] {
            return Some((room, width));
        }
        room -= &asked[place];
        width -= &widths[place];
    }
    debug_assert!(width.is_zero());
    None
}

fn explain(users: &[MaxMinAmount], level: Option<&Exact>, capacity: &Exact, left: &Exact) -> Vec<String> {
    let satisfied = users.iter().filter(|u| u.satisfied).count();
    let first = format!("{} is divided among {} users.", scale::told(capacity), users.len());
    let second = match level {
        None => format!("Everyone gets all that was asked for; {} is left.", scale::told(left)),
        Some(level) => format!(
            "{satisfied} of them get all that they asked for; each of the others gets {} times its weight.",
            scale::told(level)
        ),
    };
    vec![first, second]
}
