//! Many tasks to many agents at the least cost in all, or for the greatest value.
//!
//! Exact, for any costs: negative ones, forbidden pairs, agents that take several tasks. As many pairs as can be come first,
//! then the cost of all of them together. Of several best assignments one is singled out by the order of the rules alone: the
//! first task goes to the first agent that it can have in any of them, then the second task, and so on.

mod solve;

use crate::roster::{PARTICIPANTS_MAX, answers, places};
use crate::scale::{self, PART_BITS_MAX};
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact};

/// Most tasks.
pub const TASKS_MAX: usize = 1_000;
/// Most agents times tasks.
pub const PAIRS_MAX: usize = 250_000;
/// Bits of the costs as whole numbers of a common measure, and of that measure.
pub const COST_BITS_MAX: u64 = 95;

/// What is assigned, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentRules {
    /// The tasks, 1 to 1,000. Their order decides between assignments that cost the same.
    pub tasks: Vec<String>,
    /// The agents, 1 to 1,000; agents times tasks are at most 250,000.
    pub agents: Vec<AssignmentAgent>,
    /// Whether the greatest sum is wanted instead of the least.
    #[serde(default)]
    pub maximize: bool,
}

/// One of those who take tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentAgent {
    /// Its name; each stands in the rules once.
    pub name: String,
    /// How many tasks it takes at most.
    #[serde(default = "one")]
    pub capacity: u32,
}

fn one() -> u32 {
    1
}

/// What one agent says that tasks cost with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentCosts {
    /// Who.
    pub agent: String,
    /// One for each task that it can do.
    pub costs: Vec<TaskCost>,
}

/// What one task costs with one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskCost {
    /// Which.
    pub task: String,
    /// How much, of either sign; nothing: it cannot do this one, as with a task that is not named.
    #[serde(default)]
    #[schema(value_type = serde_json::Value)]
    pub cost: Option<Exact>,
}

/// A task and who does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentPair {
    /// The task.
    pub task: String,
    /// Who does it.
    pub agent: String,
    /// What it costs with that one.
    #[schema(value_type = serde_json::Value)]
    pub cost: Exact,
}

/// Who does what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentOutcome {
    /// In the order of the tasks in the rules.
    pub pairs: Vec<AssignmentPair>,
    /// Tasks that nobody does, in that order.
    pub unassigned: Vec<String>,
    /// What it costs in all.
    #[schema(value_type = serde_json::Value)]
    pub total: Exact,
    /// Whether every task is assigned or every agent has as many as it takes. Otherwise forbidden pairs stood in the way: there
    /// are as many pairs as can be, and it is the best of those.
    pub feasible: bool,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What [`assign`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// Who does each task.
    pub agent_of: Vec<Option<usize>>,
    /// What it costs in all.
    pub total: Exact,
    /// See [`AssignmentOutcome::feasible`].
    pub feasible: bool,
}

impl AssignmentRules {
    /// Whether these rules can be opened.
    ///
    /// # Errors
    /// `invalid_argument` for no task or agent, too many of them, a repeated one, a capacity over 1,000.
    pub fn check(&self) -> Result<(), Error> {
        self.places().map(drop)
    }

    /// Where each task and each agent stands.
    fn places(&self) -> Result<[BTreeMap<&str, usize>; 2], Error> {
        let tasks = places("task", "/rules/tasks", self.tasks.iter().map(String::as_str), TASKS_MAX)?;
        let agents = self.agents.iter().map(|a| a.name.as_str());
        let agents = places("agent", "/rules/agents", agents, PARTICIPANTS_MAX)?;
        if tasks.len() * agents.len() > PAIRS_MAX {
            let message = format!("{} tasks times {} agents are over {PAIRS_MAX}", tasks.len(), agents.len());
            return Err(Error::invalid(message).with_field("/rules/tasks"));
        }
        for (place, agent) in self.agents.iter().enumerate() {
            if agent.capacity as usize > TASKS_MAX {
                let message = format!("the capacity is {}, it must be 0 to {TASKS_MAX}", agent.capacity);
                return Err(Error::invalid(message).with_field(format!("/rules/agents/{place}/capacity")));
            }
        }
        Ok([tasks, agents])
    }
}

/// Assigns by these rules. An agent that did not answer does nothing.
///
/// # Errors
/// `invalid_argument` for rules that [`AssignmentRules::check`] refuses, an unknown or repeated agent or task, and costs that
/// [`assign`] refuses.
pub fn outcome(rules: &AssignmentRules, inputs: &[AssignmentCosts]) -> Result<AssignmentOutcome, Error> {
    let [tasks, agents] = rules.places()?;
    let who = answers("agent", &agents, inputs.iter().map(|i| i.agent.as_str()), "/inputs", "agent")?;
    let costs = inputs.iter().enumerate().map(|(number, input)| costs(&tasks, number, input));
    let costs: Vec<Vec<Option<Exact>>> = costs.collect::<Result<_, _>>()?;
    let none = || vec![None; rules.tasks.len()];
    let costs: Vec<Vec<Option<Exact>>> =
        who.iter().map(|n| n.map_or_else(none, |n| costs[n].clone())).collect();
    let capacities: Vec<u32> = rules.agents.iter().map(|a| a.capacity).collect();
    let assigned = assign(&costs, &capacities, rules.maximize)?;
    let pairs = assigned.agent_of.iter().enumerate().filter_map(|(task, agent)| {
        let agent = (*agent)?;
        let cost = costs[agent][task].clone()?;
        Some(AssignmentPair {
            task: rules.tasks[task].clone(),
            agent: rules.agents[agent].name.clone(),
            cost,
        })
    });
    let pairs: Vec<AssignmentPair> = pairs.collect();
    let unassigned = rules.tasks.iter().zip(&assigned.agent_of).filter(|(_, agent)| agent.is_none());
    let unassigned: Vec<String> = unassigned.map(|(task, _)| task.clone()).collect();
    let explanation = explain(rules, pairs.len(), &assigned);
    Ok(AssignmentOutcome {
        pairs,
        unassigned,
        total: assigned.total,
        feasible: assigned.feasible,
        explanation,
    })
}

/// What this answer says of each task.
fn costs(
    tasks: &BTreeMap<&str, usize>,
    number: usize,
    input: &AssignmentCosts,
) -> Result<Vec<Option<Exact>>, Error> {
    let field = format!("/inputs/{number}/costs");
    let named = answers("task", tasks, input.costs.iter().map(|c| c.task.as_str()), &field, "task")?;
    for (place, cost) in input.costs.iter().enumerate() {
        if let Some(cost) = &cost.cost {
            scale::size("the cost", cost, || format!("{field}/{place}/cost"))?;
        }
    }
    Ok(named.into_iter().map(|n| input.costs[n?].cost.clone()).collect())
}

/// Assigns by number: `costs[agent][task]`, nothing where the pair is forbidden. As many pairs as can be, then the least sum,
/// or the greatest with `maximize`; of equals, the first task has the first agent that it can have, then the second task, ….
///
/// # Errors
/// `invalid_argument` for rows of unequal length, as many capacities as there are not rows, more than [`TASKS_MAX`] tasks or
/// [`PAIRS_MAX`] pairs, and costs that are, in a common measure, no whole numbers within [`COST_BITS_MAX`] bits of each other.
pub fn assign(costs: &[Vec<Option<Exact>>], capacities: &[u32], maximize: bool) -> Result<Assigned, Error> {
    let tasks = costs.first().map_or(0, Vec::len);
    if costs.len() != capacities.len() || costs.iter().any(|row| row.len() != tasks) {
        let message = "there is a capacity for each row of costs, and all rows are equally long";
        return Err(Error::invalid(message).with_field("/costs"));
    }
    if tasks > TASKS_MAX || costs.len() * tasks > PAIRS_MAX {
        let message = format!("there are at most {TASKS_MAX} tasks, and {PAIRS_MAX} agents times tasks");
        return Err(Error::invalid(message).with_field("/costs"));
    }
    let whole = whole(costs, maximize)?;
    let places: Vec<usize> = capacities.iter().map(|&c| (c as usize).min(tasks)).collect();
    let agent_of = solve::solve(&solve::Grid::new(&whole, tasks), &places);
    let chosen = agent_of.iter().enumerate().filter_map(|(task, agent)| costs[(*agent)?][task].as_ref());
    let total = chosen.clone().sum();
    let most = capacities.iter().map(|&c| c as usize).sum::<usize>().min(tasks);
    Ok(Assigned { total, feasible: chosen.count() == most, agent_of })
}

/// The costs as whole numbers from 0 on, the least being the best.
fn whole(costs: &[Vec<Option<Exact>>], maximize: bool) -> Result<Vec<Vec<Option<i128>>>, Error> {
    let all = || costs.iter().flatten().flatten();
    for (agent, row) in costs.iter().enumerate() {
        for (task, cost) in row.iter().enumerate().filter_map(|(task, cost)| Some((task, cost.as_ref()?))) {
            scale::size("the cost", cost, || format!("/costs/{agent}/{task}"))?;
        }
    }
    let measure = scale::measure(all(), PART_BITS_MAX, "/inputs")?;
    let signed = |cost: &Exact| {
        let whole = scale::whole(cost, &measure);
        if maximize { -whole } else { whole }
    };
    let least = all().map(signed).min().unwrap_or_default();
    let from_least = |cost: &Exact| -> Result<i128, Error> {
        let above: BigInt = signed(cost) - &least;
        above.to_i128().filter(|_| above.bits() <= COST_BITS_MAX).ok_or_else(|| {
            let message = format!(
                "the costs differ by more than 2^{COST_BITS_MAX} times their common measure: use coarser ones"
            );
            Error::invalid(message).with_field("/inputs")
        })
    };
    let row = |row: &Vec<Option<Exact>>| row.iter().map(|c| c.as_ref().map(from_least).transpose()).collect();
    costs.iter().map(row).collect()
}

fn explain(rules: &AssignmentRules, pairs: usize, assigned: &Assigned) -> Vec<String> {
    let best = if rules.maximize { "greatest" } else { "least" };
    let total = scale::told(&assigned.total);
    let mut told = vec![format!(
        "{pairs} of {} tasks go to {} agents; {total} is the {best} sum of that many pairs.",
        rules.tasks.len(),
        rules.agents.len()
    )];
    if !assigned.feasible {
        told.push("More pairs cannot be: no agent with a place left can do what is left over, however tasks are moved.".into());
    }
    told
}
