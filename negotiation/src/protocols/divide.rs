//! Divisions: every participant is asked for its demand, once, and is a user of what is divided.
//!
//! The rules name no users: they are the participants in the order in which they were named, each with its weight.

use super::said;
use crate::division::DivisionUser;
use crate::division::drf::{self, DrfDemand, DrfNeed, DrfResource, DrfRules, Filling};
use crate::division::maxmin::{self, MaxMinDemand, MaxMinRules};
use crate::division::tiers::{self, TierDemand, TierRules, TierUser};
use crate::protocol::{Call, Next, Protocol, Table, answer};
use crate::scale;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::Participant;
use synod_protocol::{Error, Exact, Id, Json};

/// What participants are asked for.
const DEMAND: &str = "demand";

/// `divide`: rules are [`DivideRules`]; an answer is a [`DivideDemand`] or its number alone, with `drf` a [`DivideTasks`]; the
/// outcome is that of the room.
#[derive(Clone, Copy, Debug)]
pub struct Divide;

/// What is divided, and in which way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DivideRules {
    /// One resource, by weighted max-min fairness.
    MaxMin(DivideOne),
    /// Several resources, by dominant resource fairness.
    Drf(DivideSeveral),
    /// One resource, minima first, then tier after tier.
    Tiers(DivideTiers),
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideOne {
    /// How much there is: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
}

/// Several resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideSeveral {
    /// Of what there is how much, 1 to 16.
    pub resources: Vec<DrfResource>,
    /// How tasks are handed out; `divisible` by default.
    #[serde(default)]
    pub filling: Filling,
    /// `divisible`: digits after the point that numbers of tasks keep, rounded down, 0 to 18; exact by default.
    #[serde(default)]
    pub decimals: Option<u32>,
}

/// One resource among tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideTiers {
    /// How much there is: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub capacity: Exact,
    /// Where participants stand; who is not named has tier 0 and no minimum.
    #[serde(default)]
    pub users: BTreeMap<Id, DivideTier>,
}

/// Where a participant stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideTier {
    /// A lower number goes first; 0 by default.
    #[serde(default)]
    pub tier: u32,
    /// What it gets before any tier is served, as far as it asks for it: 0 or more; 0 by default.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = serde_json::Value)]
    pub minimum: Exact,
}

/// What a participant answers where one resource is divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideDemand {
    /// How much it wants in all: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub demand: Exact,
}

/// What a participant answers where several resources are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideTasks {
    /// What one of its tasks needs of each resource: 0 or more; 0 of what is not named.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub per_task: BTreeMap<String, Exact>,
    /// The most tasks that it has a use for; as many as there can be by default.
    #[serde(default)]
    pub max_tasks: Option<u64>,
}

impl Protocol for Divide {
    fn name(&self) -> &'static str {
        "divide"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: DivideRules = table.rules()?;
        if let DivideRules::Tiers(tiers) = &rules {
            said::known(table, tiers.users.keys().map(Id::as_str), "/rules/tiers/users")?;
        }
        // Without a demand everything is looked at but the demands.
        rules.divide(table.participants, &[]).map_err(|error| rules.placed(table, error))?;
        Ok(Call { kind: DEMAND.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        let rules: DivideRules = table.rules()?;
        rules.read(by, response).map(drop)
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let found = table.rules().and_then(|rules: DivideRules| {
            let demands = said::read(table, |participant, response| rules.read(&participant.id, response))?;
            rules.divide(table.participants, &demands)
        });
        said::decided(found, |divided| match divided {
            Divided::MaxMin(outcome) => &outcome.explanation,
            Divided::Drf(outcome) => &outcome.explanation,
            Divided::Tiers(outcome) => &outcome.explanation,
        })
    }
}

/// What one participant wants.
enum Wanted {
    Amount(Id, Exact),
    Tasks(Id, DivideTasks),
}

/// What came of it; on the wire the outcome of the room alone.
enum Divided {
    MaxMin(maxmin::MaxMinOutcome),
    Drf(drf::DrfOutcome),
    Tiers(tiers::TierOutcome),
}

impl Serialize for Divided {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Divided::MaxMin(outcome) => outcome.serialize(s),
            Divided::Drf(outcome) => outcome.serialize(s),
            Divided::Tiers(outcome) => outcome.serialize(s),
        }
    }
}

impl DivideRules {
    fn read(&self, by: &Id, response: &Json) -> Result<Wanted, Error> {
        let DivideRules::Drf(several) = self else {
            let amount = said::amount(response, "demand", |given: DivideDemand| given.demand)?;
            return Ok(Wanted::Amount(by.clone(), amount));
        };
        let tasks: DivideTasks = answer(response)?;
        let known: BTreeSet<&str> = several.resources.iter().map(|resource| resource.name.as_str()).collect();
        for (resource, amount) in &tasks.per_task {
            let at = || format!("/response/per_task/{}", said::escaped(resource));
            if !known.contains(resource.as_str()) {
                let shown: String = resource.chars().take(80).collect();
                let message =
                    format!("{shown} is no resource of this negotiation, the rules name those that are");
                return Err(Error::invalid(message).with_field(at()));
            }
            scale::amount("what a task needs", amount, at)?;
        }
        Ok(Wanted::Tasks(by.clone(), tasks))
    }

    fn divide(&self, participants: &[Participant], wanted: &[Wanted]) -> Result<Divided, Error> {
        let users = || {
            let user = |p: &Participant| DivisionUser { name: p.id.to_string(), weight: p.weight.clone() };
            participants.iter().map(user).collect()
        };
        match self {
            DivideRules::MaxMin(one) => {
                let rules = MaxMinRules { capacity: one.capacity.clone(), users: users() };
                let demands: Vec<MaxMinDemand> =
                    amounts(wanted).map(|(user, demand)| MaxMinDemand { user, demand }).collect();
                maxmin::outcome(&rules, &demands).map(Divided::MaxMin)
            }
            DivideRules::Drf(several) => {
                let (resources, users) = (several.resources.clone(), users());
                let (filling, decimals) = (several.filling, several.decimals);
                let demands: Vec<DrfDemand> = wanted.iter().filter_map(drf_demand).collect();
                drf::outcome(&DrfRules { resources, users, filling, decimals }, &demands).map(Divided::Drf)
            }
            DivideRules::Tiers(tiers) => {
                let users = participants.iter().map(|p| tiers.user(p)).collect();
                let rules = TierRules { capacity: tiers.capacity.clone(), users };
                let demands: Vec<TierDemand> =
                    amounts(wanted).map(|(user, demand)| TierDemand { user, demand }).collect();
                tiers::outcome(&rules, &demands).map(Divided::Tiers)
            }
        }
    }

    /// The error of the room where the opener of the negotiation finds it.
    fn placed(&self, table: &Table<'_>, error: Error) -> Error {
        let way = match self {
            DivideRules::MaxMin(_) => "max_min",
            DivideRules::Drf(_) => "drf",
            DivideRules::Tiers(_) => "tiers",
        };
        let of_user = said::below(&error, "/rules/users").and_then(|place| said::whose(table, place));
        match of_user.map(|(id, rest)| (id.clone(), rest.to_owned())) {
            Some((id, rest)) if rest == "weight" => error.with_field(format!("/weights/{id}")),
            Some((id, rest)) => error.with_field(format!("/rules/{way}/users/{id}/{rest}")),
            None => said::moved(error, "/rules", &format!("/rules/{way}")),
        }
    }
}

impl DivideTiers {
    fn user(&self, participant: &Participant) -> TierUser {
        let given = self.users.get(&participant.id);
        TierUser {
            name: participant.id.to_string(),
            tier: given.map_or(0, |given| given.tier),
            minimum: given.map_or_else(Exact::zero, |given| given.minimum.clone()),
            weight: participant.weight.clone(),
        }
    }
}

fn amounts(wanted: &[Wanted]) -> impl Iterator<Item = (String, Exact)> {
    wanted.iter().filter_map(|one| match one {
        Wanted::Amount(user, demand) => Some((user.to_string(), demand.clone())),
        Wanted::Tasks(..) => None,
    })
}

fn drf_demand(wanted: &Wanted) -> Option<DrfDemand> {
    let Wanted::Tasks(user, tasks) = wanted else { return None };
    let need = |(resource, amount): (&String, &Exact)| DrfNeed {
        resource: resource.clone(),
        amount: amount.clone(),
    };
    Some(DrfDemand {
        user: user.to_string(),
        per_task: tasks.per_task.iter().map(need).collect(),
        max_tasks: tasks.max_tasks,
    })
}
