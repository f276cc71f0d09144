//! How risky a change is: assessors hear in rounds what the others said, without names, and come together; one of them lies, and does
//! not move the result out of what the honest ones said.

use super::stage::{SceneError, Stage};
use super::told::{Decided, Told};
use super::{bad, lines};
use agent_sdk::{AgentBuilder, Question, TaskError};
use serde::Deserialize;
use serde_json::{Value, json};

/// What became of earlier changes to a payments database, as seven assessors remember them: made up, in the shape of a change record.
const CHANGES: &str = include_str!("input/database_changes.csv");
/// Who says the same whatever it hears: the change is wanted.
const LIAR: &str = "vendor";
/// How many may lie without moving the result out of what the honest ones say.
const FAULTS: usize = 1;

struct Assessor {
    name: &'static str,
    changes: f64,
    failed: f64,
    remembers: &'static str,
}

fn assessors() -> Result<Vec<Assessor>, SceneError> {
    let read = |line: Vec<&'static str>| {
        let [name, changes, failed, remembers] = line[..] else {
            return Err(bad("an assessor has four fields"));
        };
        let number = |text: &str| text.parse::<f64>().map_err(|e| bad(&format!("{text}: {e}")));
        Ok(Assessor { name, changes: number(changes)?, failed: number(failed)?, remembers })
    };
    lines(CHANGES).map(read).collect()
}

impl Assessor {
    /// The share of changes that failed, by the rule of succession: of nothing seen one expects a half.
    fn expects(&self) -> f64 {
        if self.name == LIAR { 0.0 } else { (self.failed + 1.0) / (self.changes + 2.0) }
    }
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    Ok(assessors()?.iter().map(|assessor| assessor.name.to_owned()).collect())
}

#[derive(Deserialize)]
struct Asked {
    feedback: Option<Feedback>,
}

#[derive(Deserialize)]
struct Feedback {
    round: u32,
    value: Middle,
}

#[derive(Deserialize)]
struct Middle {
    median: f64,
}

/// An assessor begins with its own record, and goes half the way to the median with every round that it hears of.
fn estimate(own: f64, heard: Option<&Feedback>, lies: bool) -> f64 {
    let estimate = match heard.filter(|_| !lies) {
        None => own,
        Some(heard) => {
            let stays = 0.5_f64.powi(heard.round.min(20) as i32);
            own * stays + heard.value.median * (1.0 - stays)
        }
    };
    (estimate * 1e3).round() / 1e3
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    let assessor = assessors()?.into_iter().find(|one| one.name == name).ok_or_else(|| bad(name))?;
    let (own, remembers, lies) = (assessor.expects(), assessor.remembers, assessor.name == LIAR);
    Ok(agent.answers("estimate", move |question: Question| async move {
        let asked: Asked = question.content()?;
        let value = estimate(own, asked.feedback.as_ref(), lies);
        Ok::<_, TaskError>(Some(json!({"value": value, "rationale": remembers})))
    }))
}

pub(super) async fn play(stage: &Stage) -> Result<Told, SceneError> {
    let assessors = assessors()?;
    let rules = json!({
        "scale": {"min": 0, "max": 1, "epsilon": 0.05}, "faults": FAULTS, "rounds_max": 5,
        "thresholds": {"medium": 0.1, "high": 0.2, "critical": 0.5},
    });
    let question = "how likely does moving the payments database on Friday evening fail?";
    let open = stage.of(&members()?, stage.ask("friday", "assess_risk", &question, &rules)?)?;
    let decided = in_short(stage.decide(open).await?)?;
    let risk = decided.outcome["risk"].as_f64().unwrap_or(f64::NAN);
    let honest: Vec<f64> = assessors.iter().filter(|a| a.name != LIAR).map(Assessor::expects).collect();
    let least = honest.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = honest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let place = if (least..=greatest).contains(&risk) { "within" } else { "OUT OF" };
    Ok(Told {
        scene: "risk",
        about: format!(
            "Seven assessors say how likely a change fails, each by its own record of such changes; after each round they hear \
             what all said, without names. {LIAR} wants the change and says 0 whatever it hears."
        ),
        decisions: vec![decided],
        notes: vec![format!(
            "The result is {place} what the six honest ones began with, {least:.3} to {greatest:.3}: with {FAULTS} of {} \
             answers arbitrary it cannot be elsewhere.",
            assessors.len()
        )],
        run: stage.run.clone(),
        took_ms: stage.took_ms(),
    })
}

#[derive(Deserialize)]
struct Outcome {
    verdict: String,
    level: String,
    risk: f64,
    rounds_used: u32,
    dissent: Vec<Dissent>,
}

#[derive(Deserialize)]
struct Dissent {
    participant: String,
    value: Value,
}

fn in_short(decided: Decided) -> Result<Decided, SceneError> {
    let outcome: Outcome = serde_json::from_value(decided.outcome.clone())?;
    let verdict = outcome.verdict.replace('_', " ");
    let mut said = vec![format!(
        "{}: {:.1} %, {verdict} after {} rounds",
        outcome.level,
        outcome.risk * 100.0,
        outcome.rounds_used
    )];
    said.extend(
        outcome
            .dissent
            .iter()
            .map(|one| format!("on record as dissent: {} with {}", one.participant, one.value)),
    );
    Ok(decided.in_short(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assessor_comes_nearer_with_every_round_and_the_liar_does_not() {
        let heard = |round, median| Feedback { round, value: Middle { median } };
        assert_eq!(estimate(0.4, None, false), 0.4);
        assert_eq!(estimate(0.4, Some(&heard(1, 0.2)), false), 0.3);
        assert_eq!(estimate(0.4, Some(&heard(2, 0.2)), false), 0.25);
        assert_eq!(estimate(0.0, Some(&heard(1, 0.2)), true), 0.0);
    }
}
