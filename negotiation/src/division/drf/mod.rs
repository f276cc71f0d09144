//! Dominant Resource Fairness: several resources, among users whose tasks need some of each.
//!
//! A user's dominant share is the greatest share that it has of any resource: its tasks times the greatest of its needs over
//! the capacity. DRF raises everybody's `dominant share / weight` together. Source: Ghodsi, Zaharia, Hindman, Konwinski,
//! Shenker and Stoica, *Dominant Resource Fairness: Fair Allocation of Multiple Resource Types* (NSDI 2011).
//!
//! | filling | what is handed out |
//! |---|---|
//! | `divisible` | any part of a task; who needs a full resource stops, the others go on (progressive filling) |
//! | `discrete_stop` | whole tasks, to the lowest `share / weight`; all end at the first task that does not fit (the paper's Algorithm 1) |
//! | `discrete_skip` | whole tasks, the same; only the user whose task does not fit ends |

mod discrete;
mod divisible;
mod units;

pub use discrete::TASKS_MAX;
pub use divisible::{CUT_BITS_MAX, EXACT_BITS_MAX};
pub use units::COMMON_BITS_MAX;

use super::{DivisionUser, weights};
use crate::roster::{PARTICIPANTS_MAX, answers, places};
use crate::scale;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact};
use units::Units;

/// Most resources.
pub const RESOURCES_MAX: usize = 16;
/// Most digits after the point to which numbers of tasks can be rounded down.
pub const DECIMALS_MAX: u32 = 18;

/// What is divided, among whom and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfRules {
    /// Of what there is how much, 1 to 16.
    pub resources: Vec<DrfResource>,
    /// Among whom, 1 to 1,000. Their order decides the ties of the whole tasks.
    pub users: Vec<DivisionUser>,
    /// How tasks are handed out.
    #[serde(default)]
    pub filling: Filling,
    /// `divisible`: digits after the point that numbers of tasks keep, rounded down, 0 to 18; nothing: they stay exact, and are
    /// as long as they come out.
    #[serde(default)]
    pub decimals: Option<u32>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfResource {
    /// Its name; each stands in the rules once.
    pub name: String,
    /// How much there is: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
}

/// How tasks are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filling {
    /// Any part of a task.
    #[default]
    Divisible,
    /// Whole tasks, until one does not fit.
    DiscreteStop,
    /// Whole tasks, until none fits.
    DiscreteSkip,
}

/// What one user asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfDemand {
    /// Who.
    pub user: String,
    /// What one task needs. Of a resource that is not named it needs nothing.
    pub per_task: Vec<DrfNeed>,
    /// The most tasks that it has a use for; nothing: as many as there can be.
    #[serde(default)]
    pub max_tasks: Option<u64>,
}

/// What one task needs of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfNeed {
    /// Of which.
    pub resource: String,
    /// How much: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub amount: Exact,
}

/// Why a user has no more tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrfEnd {
    /// It did not answer.
    NoAnswer,
    /// It has its `max_tasks`.
    MaxTasks,
    /// A resource that it needs is full, or has not enough left for a whole task.
    Resource,
    /// Its tasks need nothing and it said no `max_tasks`: that could be any number, and is taken for none.
    NeedsNothing,
    /// `discrete_stop`: the task of another did not fit.
    Ended,
}

/// What one user gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfShare {
    /// Who.
    pub user: String,
    /// How many tasks; whole ones unless divisible.
    #[schema(value_type = serde_json::Value)]
    pub tasks: Exact,
    /// The resource of which it needs the greatest part; of several the first in the rules; nothing where it needs none.
    pub dominant_resource: Option<String>,
    /// Its part of that, 0 to 1.
    #[schema(value_type = serde_json::Value)]
    pub dominant_share: Exact,
    /// Why it has no more.
    pub end: DrfEnd,
    /// For `resource`: which; of several the first in the rules.
    pub full: Option<String>,
}

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfUse {
    /// Which.
    pub resource: String,
    /// How much there is.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
    /// How much of it the tasks take: never more.
    #[schema(value_type = serde_json::Value)]
    pub used: Exact,
}

/// Who gets how many tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrfOutcome {
    /// One for each user, in the order of the rules.
    pub users: Vec<DrfShare>,
    /// One for each resource, in the order of the rules.
    pub resources: Vec<DrfUse>,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// The same by number instead of by name, for [`fill`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// How much there is of each resource: 0 or more.
    pub capacity: Vec<Exact>,
    /// For each user, what one of its tasks needs of each resource: 0 or more.
    pub per_task: Vec<Vec<Exact>>,
    /// How much each user counts: greater than 0.
    pub weights: Vec<Exact>,
    /// The most tasks of each user; nothing: as many as there can be.
    pub max_tasks: Vec<Option<u64>>,
}

/// What [`fill`] found, each in the order of the users or of the resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// How many tasks each user has.
    pub tasks: Vec<Exact>,
    /// Its dominant share.
    pub shares: Vec<Exact>,
    /// The resource that is dominant; nothing where it needs none.
    pub dominant: Vec<Option<usize>>,
    /// Why it has no more, and for `resource` which.
    pub ends: Vec<(DrfEnd, Option<usize>)>,
    /// How much of each resource is used.
    pub used: Vec<Exact>,
}

impl DrfRules {
    /// Whether these rules can be opened.
    ///
    /// # Errors
    /// `invalid_argument` for no resource or more than 16, no user or more than 1,000, a repeated name, a negative capacity,
    /// a weight of 0 or less, more than 18 decimals.
    pub fn check(&self) -> Result<(), Error> {
        self.places().map(drop)
    }

    /// Where each resource and each user stands.
    fn places(&self) -> Result<[BTreeMap<&str, usize>; 2], Error> {
        let resources = self.resources.iter().map(|r| r.name.as_str());
        let resources = places("resource", "/rules/resources", resources, RESOURCES_MAX)?;
        let users = self.users.iter().map(|u| u.name.as_str());
        let users = places("user", "/rules/users", users, PARTICIPANTS_MAX)?;
        for (place, resource) in self.resources.iter().enumerate() {
            scale::amount("the capacity", &resource.capacity, || {
                format!("/rules/resources/{place}/capacity")
            })?;
        }
        weights(self.users.iter().map(|u| &u.weight), "/rules/users", "/weight")?;
        if let Some(decimals) = self.decimals.filter(|&decimals| decimals > DECIMALS_MAX) {
            let message = format!("there are {decimals} decimals, there may be 0 to {DECIMALS_MAX}");
            return Err(Error::invalid(message).with_field("/rules/decimals"));
        }
        Ok([resources, users])
    }
}

/// Divides by these rules. Who did not answer gets nothing.
///
/// # Errors
/// `invalid_argument` for rules that [`DrfRules::check`] refuses, an unknown or repeated user or resource, a negative need,
/// and whatever [`fill`] refuses.
pub fn outcome(rules: &DrfRules, inputs: &[DrfDemand]) -> Result<DrfOutcome, Error> {
    let [resources, users] = rules.places()?;
    let who = answers("user", &users, inputs.iter().map(|i| i.user.as_str()), "/inputs", "user")?;
    let needs = inputs.iter().enumerate().map(|(number, input)| needs(&resources, number, input));
    let needs: Vec<Vec<Exact>> = needs.collect::<Result<_, _>>()?;
    let nothing = || vec![Exact::zero(); resources.len()];
    let tasks = Tasks {
        capacity: rules.resources.iter().map(|r| r.capacity.clone()).collect(),
        per_task: who.iter().map(|n| n.map_or_else(nothing, |n| needs[n].clone())).collect(),
        weights: rules.users.iter().map(|u| u.weight.clone()).collect(),
        max_tasks: who.iter().map(|n| n.map_or(Some(0), |n| inputs[n].max_tasks)).collect(),
    };
    let filled = fill(&tasks, rules.filling, rules.decimals)?;
    let explanation = explain(rules, &filled);
    let name = |resource: Option<usize>| resource.map(|r| rules.resources[r].name.clone());
    let users = rules.users.iter().enumerate().map(|(place, user)| {
        let (end, full) = filled.ends[place];
        DrfShare {
            user: user.name.clone(),
            tasks: filled.tasks[place].clone(),
            dominant_resource: name(filled.dominant[place]),
            dominant_share: filled.shares[place].clone(),
            end: if who[place].is_none() { DrfEnd::NoAnswer } else { end },
            full: name(full),
        }
    });
    let resources = rules.resources.iter().zip(&filled.used).map(|(resource, used)| DrfUse {
        resource: resource.name.clone(),
        capacity: resource.capacity.clone(),
        used: used.clone(),
    });
    Ok(DrfOutcome { users: users.collect(), resources: resources.collect(), explanation })
}

/// What one task of this answer needs of each resource.
fn needs(resources: &BTreeMap<&str, usize>, number: usize, input: &DrfDemand) -> Result<Vec<Exact>, Error> {
    let field = format!("/inputs/{number}/per_task");
    let named = input.per_task.iter().map(|n| n.resource.as_str());
    let named = answers("resource", resources, named, &field, "resource")?;
    for (place, need) in input.per_task.iter().enumerate() {
        scale::amount("what a task needs", &need.amount, || format!("{field}/{place}/amount"))?;
    }
    Ok(named.into_iter().map(|n| n.map_or_else(Exact::zero, |n| input.per_task[n].amount.clone())).collect())
}

/// Hands out tasks; parts of tasks are cut off after so many `decimals`, at most [`DECIMALS_MAX`], or left exact.
///
/// # Errors
/// `invalid_argument` for lists of unequal length, more than 1,000 users or 16 resources, a negative number, a weight of 0 or
/// less, parts of tasks that are too long ([`COMMON_BITS_MAX`], [`EXACT_BITS_MAX`], [`CUT_BITS_MAX`]), and more whole tasks than [`TASKS_MAX`].
pub fn fill(tasks: &Tasks, filling: Filling, decimals: Option<u32>) -> Result<Filled, Error> {
    let units = Units::of(tasks)?;
    match filling {
        Filling::Divisible => divisible::fill(&units, decimals.map(|d| d.min(DECIMALS_MAX))),
        Filling::DiscreteStop => discrete::fill(&units, true),
        Filling::DiscreteSkip => discrete::fill(&units, false),
    }
}

fn explain(rules: &DrfRules, filled: &Filled) -> Vec<String> {
    let how = match rules.filling {
        Filling::Divisible => "Everybody's dominant share over weight rises together, in parts of tasks",
        Filling::DiscreteStop => {
            "Whoever has the lowest dominant share over weight gets the next whole task, until one does not fit"
        }
        Filling::DiscreteSkip => {
            "Whoever has the lowest dominant share over weight gets the next whole task; whose task does not fit is left out"
        }
    };
    let mut told = vec![format!("{how}.")];
    for (place, resource) in rules.resources.iter().enumerate() {
        let stopped = filled.ends.iter().filter(|(_, full)| *full == Some(place)).count();
        if stopped > 0 {
            let (used, capacity) = (scale::told(&filled.used[place]), scale::told(&resource.capacity));
            let users = if stopped == 1 { "1 user has" } else { &format!("{stopped} users have") };
            told.push(format!(
                "{} is used to {used} of {capacity}: {users} no more for that.",
                resource.name
            ));
        }
    }
    let whole = filled.ends.iter().filter(|(end, _)| *end == DrfEnd::MaxTasks).count();
    if whole > 0 {
        told.push(format!(
            "{whole} of {} users have all the tasks that they have a use for.",
            rules.users.len()
        ));
    }
    told
}
