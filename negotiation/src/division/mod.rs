//! Who gets how much of what is scarce: three ways to divide it, each exact and never more than there is.
//!
//! | way | what it divides | what it promises |
//! |---|---|---|
//! | [`maxmin`] | one resource | nobody can have more without someone who has less having less still |
//! | [`drf`] | several resources, in tasks that need some of each | the same, of the greatest share that each has of any |
//! | [`tiers`] | one resource | minima first, then one tier after the other, each by `maxmin` |
//!
//! Numbers are fractions, so a boundary is a boundary: where a resource is full it is full to the last digit. The order of
//! the users in the rules decides the ties of the whole tasks; the order of the answers decides nothing.

pub mod drf;
pub mod maxmin;
pub mod tiers;

use crate::scale;
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// One of those among whom something is divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivisionUser {
    /// Its name; each stands in the rules once.
    pub name: String,
    /// How much it counts beside the others: greater than 0. Of weight 2 is who gets twice what one of weight 1 gets.
    #[serde(default = "Exact::one")]
    #[schema(value_type = serde_json::Value)]
    pub weight: Exact,
}

impl DivisionUser {
    /// A user of weight 1.
    pub fn new(name: impl Into<String>) -> DivisionUser {
        DivisionUser { name: name.into(), weight: Exact::one() }
    }
}

/// What each answered, by the place of who did; of no answer, nothing is asked for.
fn demands<'a, T>(
    places: &std::collections::BTreeMap<&str, usize>,
    inputs: &'a [T],
    user: impl Fn(&'a T) -> &'a str,
    demand: impl Fn(&'a T) -> &'a Exact,
) -> Result<Vec<Exact>, Error> {
    let answers = crate::roster::answers("user", places, inputs.iter().map(user), "/inputs", "user")?;
    for (number, input) in inputs.iter().enumerate() {
        scale::amount("the demand", demand(input), || format!("/inputs/{number}/demand"))?;
    }
    Ok(answers.into_iter().map(|n| n.map_or_else(Exact::zero, |n| demand(&inputs[n]).clone())).collect())
}

/// The weights, each looked at.
fn weights<'a>(each: impl IntoIterator<Item = &'a Exact>, field: &str, key: &str) -> Result<(), Error> {
    for (place, weight) in each.into_iter().enumerate() {
        scale::weight(weight, || format!("{field}/{place}{key}"))?;
    }
    Ok(())
}
