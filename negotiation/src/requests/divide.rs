//! Divide these resources.

use super::{Asking, Common, Request, given, read};
use crate::division::drf::{DrfOutcome, DrfResource, Filling};
use crate::division::maxmin::MaxMinOutcome;
use crate::division::tiers::TierOutcome;
use crate::protocols::{DivideOne, DivideRules, DivideSeveral, DivideTier, DivideTiers, escaped};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{EntityId, Error, Exact, Id, Json};

/// What is scarce, and who wants how much: one resource (`capacity`), or several (`resources`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DivideResources {
    /// The negotiation's id; made where there is none.
    #[serde(default)]
    pub negotiation_id: Option<EntityId>,
    /// What those who are asked are shown.
    #[serde(default)]
    pub question: Json,
    /// How much there is of the one resource: 0 or more.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub capacity: Option<Exact>,
    /// One resource: who goes first, and gets what at least; the others have tier 0. Without it all are alike.
    #[serde(default)]
    pub tiers: Option<BTreeMap<Id, DivideTier>>,
    /// Several resources: how much there is of each, 1 to 16; they count in the order of their names.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>)]
    pub resources: Option<BTreeMap<String, Exact>>,
    /// Several resources: how tasks are handed out; `divisible` by default.
    #[serde(default)]
    pub filling: Option<Filling>,
    /// Several resources, `divisible`: digits after the point that numbers of tasks keep, 0 to 18; exact by default.
    #[serde(default)]
    pub decimals: Option<u32>,
    /// By user what it wants: an amount, or of several resources `{"per_task", "max_tasks"}`.
    #[serde(default)]
    pub demands: BTreeMap<Id, Json>,
    /// Who is asked for a demand.
    #[serde(default)]
    pub ask: Option<Asking>,
    /// How much each counts, more than 0; 1 by default.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub weights: BTreeMap<Id, Exact>,
}

/// Who gets how much.
#[derive(Clone, Debug, PartialEq)]
pub enum Divided {
    /// Of one resource, all alike.
    MaxMin(MaxMinOutcome),
    /// Of one resource, by tiers.
    Tiers(TierOutcome),
    /// Of several resources.
    Drf(DrfOutcome),
}

impl Divided {
    /// How much of the one resource this user gets; how many tasks, of several. Nothing for who is no user.
    pub fn amount(&self, user: &str) -> Option<&Exact> {
        match self {
            Divided::MaxMin(outcome) => {
                outcome.users.iter().find(|one| one.user == user).map(|one| &one.amount)
            }
            Divided::Tiers(outcome) => {
                outcome.users.iter().find(|one| one.user == user).map(|one| &one.amount)
            }
            Divided::Drf(outcome) => outcome.users.iter().find(|one| one.user == user).map(|one| &one.tasks),
        }
    }
}

impl DivideResources {
    /// So much of one resource.
    pub fn capacity(capacity: impl Into<Exact>) -> DivideResources {
        DivideResources { capacity: Some(capacity.into()), ..DivideResources::default() }
    }

    /// So much of each resource.
    pub fn resources<A: Into<Exact>>(
        resources: impl IntoIterator<Item = (impl Into<String>, A)>,
    ) -> DivideResources {
        let each = resources.into_iter().map(|(name, amount)| (name.into(), amount.into()));
        DivideResources { resources: Some(each.collect()), ..DivideResources::default() }
    }

    /// The same among those whose demands are known: an amount, or what a task needs.
    ///
    /// # Errors
    /// A user's name is none.
    pub fn among<'a, D: Serialize>(
        mut self,
        demands: impl IntoIterator<Item = (&'a str, D)>,
    ) -> Result<DivideResources, Error> {
        self.demands.extend(given(demands, "demands")?);
        Ok(self)
    }

    fn common(&self) -> Common<'_> {
        Common {
            protocol: "divide",
            question: &self.question,
            ask: self.ask.as_ref(),
            given: ("demands", &self.demands),
            weights: &self.weights,
        }
    }

    fn rules(&self) -> Result<DivideRules, Error> {
        let set = |fields: &[(&'static str, bool)]| {
            fields.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name)
        };
        let refuse = |field: &str, message: &str| {
            Err(Error::invalid(format!("{field} {message}")).with_field(format!("/{field}")))
        };
        match (&self.capacity, &self.resources) {
            (Some(_), Some(_)) => {
                refuse("resources", "are several, and capacity is that of one: one of the two")
            }
            (None, None) => {
                refuse("capacity", "says how much there is to divide, or resources of what how much")
            }
            (Some(capacity), None) => {
                if let Some(field) =
                    set(&[("filling", self.filling.is_some()), ("decimals", self.decimals.is_some())])
                {
                    return refuse(field, "is for several resources");
                }
                let capacity = capacity.clone();
                Ok(match self.tiers.clone() {
                    None => DivideRules::MaxMin(DivideOne { capacity }),
                    Some(users) => DivideRules::Tiers(DivideTiers { capacity, users }),
                })
            }
            (None, Some(resources)) => {
                if self.tiers.is_some() {
                    return refuse("tiers", "are for one resource");
                }
                let one = |(name, capacity): (&String, &Exact)| DrfResource {
                    name: name.clone(),
                    capacity: capacity.clone(),
                };
                let resources = resources.iter().map(one).collect();
                let (filling, decimals) = (self.filling.unwrap_or_default(), self.decimals);
                Ok(DivideRules::Drf(DivideSeveral { resources, filling, decimals }))
            }
        }
    }
}

impl Request for DivideResources {
    type Outcome = Divided;

    fn named(&self) -> Option<&EntityId> {
        self.negotiation_id.as_ref()
    }

    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error> {
        self.common().open(negotiation_id, &self.rules()?)
    }

    fn placed(&self, error: Error) -> Error {
        let names = self.resources.iter().flat_map(BTreeMap::keys).enumerate();
        let of_resource: Vec<(String, String)> = names
            .map(|(at, name)| (format!("/rules/drf/resources/{at}"), format!("/resources/{}", escaped(name))))
            .collect();
        // In the body a resource is its capacity.
        let (error, of_resource) =
            match error.field.as_deref().and_then(|field| field.strip_suffix("/capacity")) {
                Some(one) if of_resource.iter().any(|(from, _)| from == one) => {
                    let one = one.to_owned();
                    (error.with_field(one), of_resource)
                }
                _ => (error, of_resource),
            };
        let mut places: Vec<(&str, &str)> =
            of_resource.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        places.extend([
            ("/rules/max_min", ""),
            ("/rules/tiers/users", "/tiers"),
            ("/rules/tiers", ""),
            ("/rules/drf", ""),
        ]);
        self.common().placed(error, &places)
    }

    fn outcome(&self, outcome: &Json) -> Result<Divided, serde_json::Error> {
        match (&self.resources, &self.tiers) {
            (Some(_), _) => read(outcome).map(Divided::Drf),
            (None, Some(_)) => read(outcome).map(Divided::Tiers),
            (None, None) => read(outcome).map(Divided::MaxMin),
        }
    }
}
