//! Assignments: every participant is asked, once, what each task costs with it, and is an agent that takes tasks.

use super::said;
use crate::assignment::{AssignmentAgent, AssignmentCosts, AssignmentRules, TaskCost, outcome};
use crate::protocol::{Call, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::{Error, Exact, Id, Json};

/// What participants are asked for.
const COSTS: &str = "costs";

/// `assign`: rules are [`AssignTerms`]; an answer is the cost of each task that it can do, `{"t1": 4, "t2": null}`; the outcome is
/// an [`AssignmentOutcome`](crate::assignment::AssignmentOutcome).
#[derive(Clone, Copy, Debug)]
pub struct Assign;

/// What is assigned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignTerms {
    /// The tasks, 1 to 1,000; tasks times participants are at most 250,000.
    pub tasks: Vec<String>,
    /// How many tasks a participant takes at most, 0 to 1,000; 1 where it is not named.
    #[serde(default)]
    pub capacities: BTreeMap<Id, u32>,
    /// Whether the greatest sum is wanted instead of the least; false by default.
    #[serde(default)]
    pub maximize: bool,
}

/// What a participant answers: a cost by task. One of null, like a task that is not named, it cannot do.
fn read(by: &Id, response: &Json) -> Result<AssignmentCosts, Error> {
    let given: BTreeMap<String, Option<Exact>> = answer(response)?;
    let costs = given.into_iter().map(|(task, cost)| {
        let at = || format!("/response/{}", said::escaped(&task));
        let cost = cost.map(|cost| said::together("the cost", &cost, at)).transpose()?;
        Ok(TaskCost { task, cost })
    });
    Ok(AssignmentCosts { agent: by.to_string(), costs: costs.collect::<Result<_, Error>>()? })
}

impl Protocol for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let terms: AssignTerms = table.rules()?;
        said::known(table, terms.capacities.keys().map(Id::as_str), "/rules/capacities")?;
        terms.of(table).check().map_err(|error| {
            let of_agent = said::below(&error, "/rules/agents").and_then(|place| said::whose(table, place));
            match of_agent.map(|(id, _)| format!("/rules/capacities/{id}")) {
                Some(field) => error.with_field(field),
                None => error,
            }
        })?;
        Ok(Call { kind: COSTS.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        let terms: AssignTerms = table.rules()?;
        let costs = read(by, response)?.costs;
        let tasks: BTreeSet<&str> = terms.tasks.iter().map(String::as_str).collect();
        let Some(unknown) = costs.iter().find(|cost| !tasks.contains(cost.task.as_str())) else {
            return Ok(());
        };
        let shown: String = unknown.task.chars().take(80).collect();
        let message = format!("{shown} is no task of this negotiation, the rules name those that are");
        Err(Error::invalid(message).with_field(format!("/response/{}", said::escaped(&unknown.task))))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let found = table.rules().and_then(|terms: AssignTerms| {
            let costs = said::read(table, |participant, response| read(&participant.id, response))?;
            outcome(&terms.of(table), &costs)
        });
        said::decided_unless(
            found,
            |outcome| &outcome.explanation,
            |outcome| outcome.pairs.is_empty().then(|| "no participant can do any of the tasks".to_owned()),
        )
    }
}

impl AssignTerms {
    /// The rules of the room, with the participants as agents.
    fn of(&self, table: &Table<'_>) -> AssignmentRules {
        let agents = table.participants.iter().map(|participant| AssignmentAgent {
            name: participant.id.to_string(),
            capacity: self.capacities.get(&participant.id).copied().unwrap_or(1),
        });
        AssignmentRules { tasks: self.tasks.clone(), agents: agents.collect(), maximize: self.maximize }
    }
}
