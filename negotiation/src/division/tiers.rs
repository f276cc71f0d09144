//! Strict priority with minima: what is promised first, then one tier after the other.
//!
//! ```text
//! 1. everyone      min(minimum, demand), whole; more of that than there is: an error that says how much is missing
//! 2. tier by tier  the lowest number first: what each still wants, by weighted max-min of what is left
//! ```
//!
//! A tier gets something beyond its minima only when every tier of a lower number has all that it asked for.

use super::maxmin::level;
use super::{demands, weights};
use crate::roster::{PARTICIPANTS_MAX, places};
use crate::scale;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Code, Error, Exact};

/// What is divided, and among whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierRules {
    /// How much there is: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
    /// Among whom, 1 to 1,000.
    pub users: Vec<TierUser>,
}

/// One of those among whom it is divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierUser {
    /// Its name; each stands in the rules once.
    pub name: String,
    /// Its tier: a lower number goes first. Numbers may be left out.
    #[serde(default)]
    pub tier: u32,
    /// What it gets before any tier is served, as far as it asks for it: 0 or more.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = serde_json::Value)]
    pub minimum: Exact,
    /// How much it counts in its tier: greater than 0.
    #[serde(default = "Exact::one")]
    #[schema(value_type = serde_json::Value)]
    pub weight: Exact,
}

/// What one user asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierDemand {
    /// Who.
    pub user: String,
    /// How much in all, what is promised counted in: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub demand: Exact,
}

/// What one user gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierAmount {
    /// Who.
    pub user: String,
    /// Its tier.
    pub tier: u32,
    /// What was asked for; 0 where there was no answer.
    #[schema(value_type = serde_json::Value)]
    pub demand: Exact,
    /// What of the amount was promised: the lesser of minimum and demand.
    #[schema(value_type = serde_json::Value)]
    pub minimum: Exact,
    /// What it gets in all: never more than it asked for.
    #[schema(value_type = serde_json::Value)]
    pub amount: Exact,
    /// Whether that is all that it asked for.
    pub satisfied: bool,
}

/// How one tier was served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierLevel {
    /// Which.
    pub tier: u32,
    /// What was left when its turn came.
    #[schema(value_type = serde_json::Value)]
    pub available: Exact,
    /// What it got of that, beyond its minima.
    #[schema(value_type = serde_json::Value)]
    pub given: Exact,
    /// What each who did not get all got beyond its minimum, over its weight; nothing where everyone did.
    #[schema(value_type = serde_json::Value)]
    pub level: Option<Exact>,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TierOutcome {
    /// One for each user, in the order of the rules.
    pub users: Vec<TierAmount>,
    /// One for each tier, in the order in which they were served.
    pub tiers: Vec<TierLevel>,
    /// What is left: more than 0 only where everyone got all.
    #[schema(value_type = serde_json::Value)]
    pub left: Exact,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

impl TierRules {
    /// Whether these rules can be opened. That the minima can be kept is no part of it: what is promised to who does not ask
    /// for it costs nothing.
    ///
    /// # Errors
    /// `invalid_argument` for a negative capacity or minimum, no user or more than 1,000, a repeated user, a weight of 0 or less.
    pub fn check(&self) -> Result<(), Error> {
        places("user", "/rules/users", self.users.iter().map(|u| u.name.as_str()), PARTICIPANTS_MAX)?;
        weights(self.users.iter().map(|u| &u.weight), "/rules/users", "/weight")?;
        for (place, user) in self.users.iter().enumerate() {
            scale::amount("the minimum", &user.minimum, || format!("/rules/users/{place}/minimum"))?;
        }
        scale::amount("the capacity", &self.capacity, || "/rules/capacity".into())
    }
}

/// Divides by these rules. Who did not answer asks for nothing.
///
/// # Errors
/// `invalid_argument` for rules that [`TierRules::check`] refuses, an unknown or repeated user, a negative demand, and numbers
/// with a common denominator of more than 4,096 bits; `unprocessable` where the minima that are asked for are more than there
/// is: it says how much is missing.
pub fn outcome(rules: &TierRules, inputs: &[TierDemand]) -> Result<TierOutcome, Error> {
    rules.check()?;
    let users = &rules.users;
    let places = places("user", "/rules/users", users.iter().map(|u| u.name.as_str()), PARTICIPANTS_MAX)?;
    let demands = demands(&places, inputs, |i| &i.user, |i| &i.demand)?;
    let all = demands.iter().chain(users.iter().map(|u| &u.minimum)).chain([&rules.capacity]);
    scale::measure(all, 4_096, "/rules/users")?;
    let minima: Vec<Exact> = users.iter().zip(&demands).map(|(u, d)| (&u.minimum).min(d).clone()).collect();
    let promised: Exact = minima.iter().sum();
    if promised > rules.capacity {
        return Err(shortage(&promised, &rules.capacity));
    }
    let mut left = &rules.capacity - &promised;
    let mut amounts = minima.clone();
    let mut levels = Vec::new();
    for (tier, members) in tiers(users) {
        let wanted: Vec<Exact> = members.iter().map(|&m| &demands[m] - &minima[m]).collect();
        let shares: Vec<Exact> = members.iter().map(|&m| users[m].weight.clone()).collect();
        let filled = level(&left, &wanted, &shares)?;
        let given: Exact = filled.amounts.iter().sum();
        for (&member, more) in members.iter().zip(&filled.amounts) {
            amounts[member] = &amounts[member] + more;
        }
        let available = left.clone();
        left = &left - &given;
        levels.push(TierLevel { tier, available, given, level: filled.level });
    }
    let explanation = explain(&promised, &levels, &left);
    let each = users.iter().zip(demands).zip(minima).zip(amounts);
    let users = each.map(|(((user, demand), minimum), amount)| TierAmount {
        user: user.name.clone(),
        tier: user.tier,
        satisfied: amount == demand,
        demand,
        minimum,
        amount,
    });
    Ok(TierOutcome { users: users.collect(), tiers: levels, left, explanation })
}

/// Who is in which tier, the lowest number first.
fn tiers(users: &[TierUser]) -> BTreeMap<u32, Vec<usize>> {
    let mut tiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (place, user) in users.iter().enumerate() {
        tiers.entry(user.tier).or_default().push(place);
    }
    tiers
}

fn shortage(promised: &Exact, capacity: &Exact) -> Error {
    let missing = promised - capacity;
    let message = format!(
        "the minima that are asked for come to {promised} and there is {capacity}: {missing} is missing, \
         a greater capacity or lesser minima would do"
    );
    Error::new(Code::Unprocessable, message).with_field("/rules/capacity")
}

fn explain(promised: &Exact, levels: &[TierLevel], left: &Exact) -> Vec<String> {
    let mut told = vec![format!("{} goes to the minima.", scale::told(promised))];
    for tier in levels {
        let (number, given) = (tier.tier, scale::told(&tier.given));
        told.push(match &tier.level {
            None => format!("Tier {number} gets all that it still wants: {given}."),
            Some(level) => {
                let level = scale::told(level);
                format!(
                    "Tier {number} gets the rest, {given}: {level} times its weight for whoever wants more."
                )
            }
        });
    }
    told.push(format!("{} is left.", scale::told(left)));
    told
}
