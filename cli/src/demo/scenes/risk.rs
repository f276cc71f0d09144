//! How risky a change is: assessors hear in rounds what the others said, without names, and come together; one of them lies, and does
//! not move the result out of what the honest ones said.

use super::stage::{SceneError, Stage};
use super::told::{Decided, Told, word};
use super::{bad, lines};
use agent_sdk::{AgentBuilder, Assessor, Estimated, Feedback, Question, TaskError};
use serde_json::json;
use synod_negotiation::risk::{Level, Outcome};

/// What became of earlier changes to a payments database, as seven assessors remember them: made up, in the shape of a change record.
const CHANGES: &str = include_str!("input/database_changes.csv");
/// Who says the same whatever it hears: the change is wanted.
const LIAR: &str = "vendor";
/// How many may lie without moving the result out of what the honest ones say.
const FAULTS: usize = 1;

/// What one of them remembers of such changes.
struct Memory {
    name: &'static str,
    changes: f64,
    failed: f64,
    remembers: &'static str,
}

fn assessors() -> Result<Vec<Memory>, SceneError> {
    let read = |line: Vec<&'static str>| {
        let [name, changes, failed, remembers] = line[..] else {
            return Err(bad("an assessor has four fields"));
        };
        let number = |text: &str| text.parse::<f64>().map_err(|e| bad(&format!("{text}: {e}")));
        Ok(Memory { name, changes: number(changes)?, failed: number(failed)?, remembers })
    };
    lines(CHANGES).map(read).collect()
}

impl Memory {
    /// The share of changes that failed, by the rule of succession: of nothing seen one expects a half.
    fn expects(&self) -> f64 {
        if self.name == LIAR { 0.0 } else { (self.failed + 1.0) / (self.changes + 2.0) }
    }
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    Ok(assessors()?.iter().map(|assessor| assessor.name.to_owned()).collect())
}

impl Assessor for Memory {
    async fn estimate(&self, _: &Question, heard: Option<&Feedback>) -> Result<Option<Estimated>, TaskError> {
        let heard = heard.filter(|_| self.name != LIAR).map(|heard| (heard.round, heard.value.median));
        let rationale = Some(self.remembers.to_owned());
        Ok(Some(Estimated { rationale, ..Estimated::of(estimate(self.expects(), heard)) }))
    }
}

/// One begins with one's own record, and goes half the way to the median with every round that one hears of.
fn estimate(own: f64, heard: Option<(u32, f64)>) -> f64 {
    let estimate = heard.map_or(own, |(round, median)| {
        let stays = 0.5_f64.powi(round.min(20).cast_signed());
        own * stays + median * (1.0 - stays)
    });
    (estimate * 1e3).round() / 1e3
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    Ok(agent.assessor(assessors()?.into_iter().find(|one| one.name == name).ok_or_else(|| bad(name))?))
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
    let honest: Vec<f64> = assessors.iter().filter(|a| a.name != LIAR).map(Memory::expects).collect();
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

fn in_short(decided: Decided) -> Result<Decided, SceneError> {
    let outcome: Outcome = serde_json::from_value(decided.outcome.clone())?;
    let (level, risk) = (outcome.level.map_or("no level", Level::as_str), outcome.risk.unwrap_or(f64::NAN));
    let (verdict, rounds) = (word(&outcome.verdict)?, outcome.rounds_used);
    let mut said = vec![format!("{level}: {:.1} %, {verdict} after {rounds} rounds", risk * 100.0)];
    said.extend(outcome.dissent.iter().map(|one| {
        let why = one.rationale.as_deref().unwrap_or("no reason given");
        format!("on record as dissent: {} with {} ({why})", one.participant, one.value)
    }));
    Ok(decided.in_short(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assessor_comes_nearer_with_every_round() {
        assert_eq!(estimate(0.4, None), 0.4);
        assert_eq!(estimate(0.4, Some((1, 0.2))), 0.3);
        assert_eq!(estimate(0.4, Some((2, 0.2))), 0.25);
    }
}
