//! What is scarce, divided: machines by dominant resource fairness in whole jobs, then a line with minima that were promised.

use super::bad;
use super::stage::{SceneError, Stage};
use super::told::{Decided, Told};
use agent_sdk::{AgentBuilder, Claimant, Demand, Question, TaskError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_negotiation::division::drf::{DrfOutcome, DrfShare, DrfUse};
use synod_negotiation::division::tiers::{TierAmount, TierOutcome};
use synod_negotiation::protocols::{DivideRules, DivideTasks};

/// What a cluster has free for one night, and what four teams want of it: made up, in the proportions of such jobs.
const NIGHT: &str = include_str!("input/cluster_night.json");

#[derive(Deserialize)]
struct Night {
    about: String,
    free: BTreeMap<String, u64>,
    line_gbit: u64,
    teams: BTreeMap<String, Team>,
}

#[derive(Clone, Deserialize)]
struct Team {
    job: BTreeMap<String, u64>,
    jobs: u64,
    line: Line,
}

#[derive(Clone, Deserialize)]
struct Line {
    wanted: u64,
    promised: u64,
    tier: u32,
}

fn night() -> Result<Night, SceneError> {
    Ok(serde_json::from_str(NIGHT)?)
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    Ok(night()?.teams.into_keys().collect())
}

/// A team demands what it has work for: jobs where machines are divided, Gbit/s where the line is.
impl Claimant for Team {
    async fn demand(&self, question: &Question) -> Result<Option<Demand>, TaskError> {
        Ok(Some(match question.rules::<DivideRules>()? {
            DivideRules::Drf(_) => {
                let per_task = self.job.iter().map(|(name, amount)| (name.clone(), (*amount).into()));
                Demand::Tasks(DivideTasks { per_task: per_task.collect(), max_tasks: Some(self.jobs) })
            }
            _ => Demand::of(self.line.wanted),
        }))
    }
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    Ok(agent.claimant(night()?.teams.remove(name).ok_or_else(|| bad(name))?))
}

pub(super) async fn play(stage: &Stage) -> Result<Told, SceneError> {
    let night = night()?;
    let names = members()?;
    let resources: Vec<Value> =
        night.free.iter().map(|(name, capacity)| json!({"name": name, "capacity": capacity})).collect();
    let rules = json!({"drf": {"resources": resources, "filling": "discrete_skip"}});
    let question = "which jobs run tonight?";
    let machines = stage.of(&names, stage.ask("machines", "divide", &question, &rules)?)?;
    let machines = jobs_in_short(stage.decide(machines).await?)?;

    let users = night.teams.iter().map(|(name, team)| {
        Ok((stage.id(name)?.to_string(), json!({"tier": team.line.tier, "minimum": team.line.promised})))
    });
    let users: BTreeMap<String, Value> = users.collect::<Result<_, SceneError>>()?;
    let rules = json!({"tiers": {"capacity": night.line_gbit, "users": users}});
    let question = "who gets how many Gbit/s of the line to the archive?";
    let line = stage.of(&names, stage.ask("line", "divide", &question, &rules)?)?;
    let line = line_in_short(stage.decide(line).await?, night.line_gbit)?;
    Ok(Told {
        scene: "scarcity",
        about: night.about,
        decisions: vec![machines, line],
        notes: Vec::new(),
        run: stage.run.clone(),
        took_ms: stage.took_ms(),
    })
}

fn jobs_in_short(decided: Decided) -> Result<Decided, SceneError> {
    let jobs: DrfOutcome = serde_json::from_value(decided.outcome.clone())?;
    let user = |one: &DrfShare| {
        let of = one.dominant_resource.as_deref().unwrap_or("nothing");
        format!("{:<10} {:>3} jobs, {} of all {of}", one.user, one.tasks.to_string(), one.dominant_share)
    };
    let used = |one: &DrfUse| format!("{} of {} {}", one.used, one.capacity, one.resource);
    let mut said: Vec<String> = jobs.users.iter().map(user).collect();
    said.push(format!("in use: {}", jobs.resources.iter().map(used).collect::<Vec<_>>().join(", ")));
    Ok(decided.in_short(said))
}

fn line_in_short(decided: Decided, capacity: u64) -> Result<Decided, SceneError> {
    let shares: TierOutcome = serde_json::from_value(decided.outcome.clone())?;
    let share = |one: &TierAmount| {
        let TierAmount { user, tier, demand, minimum, amount, .. } = one;
        let (amount, demand) = (amount.to_string(), demand.to_string());
        format!("{user:<10} {amount:>3} of {demand:>2} Gbit/s wanted ({minimum} promised, tier {tier})")
    };
    let mut said: Vec<String> = shares.users.iter().map(share).collect();
    said.push(format!("{} of {capacity} Gbit/s are left", shares.left));
    Ok(decided.in_short(said))
}
