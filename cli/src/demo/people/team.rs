//! The second part: a team answers two questions, and asks its expert only where it is not sure.

use super::agents::{Answer, DOCUMENTS};
use super::told::{Answered, Step};
use super::{PeopleError, definition};
use agent_sdk::Client;
use agent_sdk::workflow::{ExecutionResult, execution_of};
use serde_json::json;
use std::time::Duration;

const WORKFLOW: &str = include_str!("given/research-team.yaml");

/// Below this the workflow asks the expert, as its definition says.
pub(super) const SURE: f64 = 0.6;
/// A question, and whose the answer is to be: nearly all words of the first stand in one sentence; of the second the documents do not know
/// bakers' word for it.
const QUESTIONS: [(&str, &str); 2] = [
    ("why is it that dough rises in the net of gluten", "researcher"),
    ("what is oven spring of a loaf", "expert"),
];
/// An answer takes this long at most.
const SOON: Duration = Duration::from_secs(20);

/// Asks both.
pub(super) async fn play(client: &Client, run: &str) -> Result<Vec<Answered>, PeopleError> {
    let workflow = definition(WORKFLOW, "team.", run)?;
    let documents: Vec<&str> = DOCUMENTS.iter().map(|(name, _)| *name).collect();
    let mut answers = Vec::new();
    for (n, (question, by)) in QUESTIONS.into_iter().enumerate() {
        let id = format!("{run}-question-{}", n + 1);
        let input = json!({"question": question, "documents": documents});
        let done = client.execute::<Answer>(execution_of(&workflow).id(id).input(input), SOON).await?;
        answers.push(answered(question, by, &done, run)?);
    }
    Ok(answers)
}

/// What came of it, if it came as the definition says.
fn answered(
    question: &str,
    by: &str,
    done: &ExecutionResult<Answer>,
    run: &str,
) -> Result<Answered, PeopleError> {
    let research = done.execution.steps.iter().find(|step| step.step == "research");
    let research = research.ok_or_else(|| PeopleError::unexpected("nobody researched"))?;
    let sure = research.confidence.unwrap_or_default();
    let consulted = research.advice.is_some();
    if consulted != (sure < SURE) {
        let did = if consulted { "was" } else { "was not" };
        return Err(PeopleError::unexpected(format!("the expert {did} asked at a confidence of {sure:.2}")));
    }
    let Answer { text, source, by: told } = done.output.clone();
    if told != by {
        return Err(PeopleError::unexpected(format!(
            "{question:?} was to be answered by the {by}, and was by the {told}"
        )));
    }
    Ok(Answered {
        question: question.to_owned(),
        confidence: sure,
        consulted,
        answer: text,
        source,
        by: told,
        steps: Step::all(&done.execution, run),
        took_ms: done.execution.ended_at.map_or(0, |at| at.millis_since(done.execution.started_at)),
    })
}
