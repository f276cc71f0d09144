//! A runbook at night: all who have a role are called at once, one does not wake up, and the call goes down the list.

use super::stage::{SceneError, Stage};
use super::told::{Decided, Told};
use agent_sdk::{Acknowledgement, AgentBuilder, Alarm, Question, Responder, TaskError};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use synod_negotiation::emergency::Report;

/// A runbook for a hall whose cooling fails, with the roster of one night and what each says when the call comes: made up, in the
/// shape of such a runbook.
const RUNBOOK: &str = include_str!("input/cooling_failure.json");

#[derive(Deserialize)]
struct Runbook {
    about: String,
    alarm: String,
    procedure: String,
    steps: Vec<String>,
    roles: BTreeMap<String, String>,
    role_steps: BTreeMap<String, Vec<String>>,
    escalation: Vec<String>,
    acknowledge_ms: u64,
    answers: BTreeMap<String, Acknowledgement>,
    asleep: Vec<String>,
}

fn runbook() -> Result<Runbook, SceneError> {
    Ok(serde_json::from_str(RUNBOOK)?)
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    let runbook = runbook()?;
    Ok(runbook.roles.into_values().chain(runbook.escalation).collect())
}

/// Somebody on the roster: awake, with what it says, or asleep.
struct OnCall(Option<Acknowledgement>);

impl Responder for OnCall {
    async fn acknowledge(&self, _: &Question, _: &Alarm) -> Result<Option<Acknowledgement>, TaskError> {
        match &self.0 {
            Some(answer) => Ok(Some(answer.clone())),
            // It is there and says nothing, until nobody waits for it any more.
            None => std::future::pending().await,
        }
    }
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    let mut runbook = runbook()?;
    let answer = runbook.answers.remove(name);
    if answer.is_none() && !runbook.asleep.iter().any(|one| one == name) {
        return Err(super::bad(name));
    }
    Ok(agent.responder(OnCall(answer)))
}

pub(super) async fn play(stage: &Stage) -> Result<Told, SceneError> {
    let runbook = runbook()?;
    let ids = |names: &[String]| names.iter().map(|name| stage.id(name)).collect::<Result<Vec<_>, _>>();
    let roles = runbook.roles.iter().map(|(role, name)| Ok((role, [stage.id(name)?])));
    let roles: BTreeMap<_, _> = roles.collect::<Result<_, SceneError>>()?;
    let rules = json!({
        "procedure": runbook.procedure, "steps": runbook.steps, "roles": roles, "role_steps": runbook.role_steps,
        "escalation": ids(&runbook.escalation)?, "acknowledge_ms": runbook.acknowledge_ms,
    });
    let question = json!({"alarm": runbook.alarm});
    let open = stage.of(&members()?, stage.ask("cooling", "emergency", &question, &rules)?)?;
    let decided = in_short(stage.decide(open).await?)?;
    Ok(Told {
        scene: "emergency",
        about: format!(
            "{} Who is called has {:.1} s to acknowledge.",
            runbook.about,
            runbook.acknowledge_ms as f64 / 1e3
        ),
        decisions: vec![decided],
        notes: Vec::new(),
        run: stage.run.clone(),
        took_ms: stage.took_ms(),
    })
}

fn in_short(decided: Decided) -> Result<Decided, SceneError> {
    let outcome: Report = serde_json::from_value(decided.outcome.clone())?;
    let mut said = vec![match outcome.complete {
        true => "every role is taken".to_owned(),
        false => format!("NOT complete: nobody has {}", outcome.uncovered.join(", ")),
    }];
    said.extend(outcome.acknowledged.iter().map(|one| {
        format!("{} has {} ({} ms after the alarm)", one.participant, one.roles.join(" and "), one.after_ms)
    }));
    said.extend(outcome.silent.iter().map(|who| format!("{who} was called and is silent")));
    said.extend(outcome.unable.iter().map(|one| {
        format!("{} cannot: {}", one.participant, one.why.as_deref().unwrap_or("no reason given"))
    }));
    said.extend(outcome.taken_over.iter().map(|one| {
        format!(
            "{} took {} in place of {}, {} ms after the alarm",
            one.by, one.role, one.instead_of, one.after_ms
        )
    }));
    Ok(decided.in_short(said))
}
