//! Risk: rounds of estimates. All are asked, hear without names what the others said, and are asked again, until they are close,
//! or the rounds are used up, or there is no time left.

use super::said;
use crate::protocol::{Call, Next, Protocol, Table, answer};
use crate::risk::{self, Ask, Estimate, Outcome, Rules, Verdict};
use serde::{Deserialize, Serialize};
use synod_protocol::negotiation::Round;
use synod_protocol::{Error, Id, Json};

/// What participants are asked for.
const ESTIMATE: &str = "estimate";

/// `assess_risk`: rules are [`Rules`]; an answer is an [`Estimated`] or its number alone; the outcome is an [`Outcome`]. What is
/// asked beside the question is an [`Ask`].
#[derive(Clone, Copy, Debug)]
pub struct AssessRisk;

/// What a participant answers in each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimated {
    /// The risk, or its likelihood, on the scale.
    pub value: f64,
    /// How bad it would be, where the rules ask for it, and only there.
    #[serde(default)]
    pub impact: Option<f64>,
    /// How sure it is, 0 to 1; shown, not counted.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// Why; at most 1,000 characters. Shown to the others without the name.
    #[serde(default)]
    pub rationale: Option<String>,
}

impl Estimated {
    /// This value; of all else nothing is said.
    pub fn of(value: f64) -> Estimated {
        Estimated { value, impact: None, confidence: None, rationale: None }
    }
}

impl Protocol for AssessRisk {
    fn name(&self) -> &'static str {
        "assess_risk"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: Rules = table.rules()?;
        rules.check()?;
        let (needed, there) = (rules.needed(), table.participants.len());
        if there < needed {
            let message = format!(
                "{there} participants are too few: for {} arbitrary answers not to matter there must be {needed}",
                rules.faults
            );
            return Err(Error::invalid(message).with_field("/rules/faults"));
        }
        Ok(call(&Ask { round: 1, feedback: None }))
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        estimate(by, response)?.check(&table.rules()?, "/response")
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match next(table) {
            Ok(risk::Next::Ask(ask)) => Next::Round(call(&ask)),
            Ok(risk::Next::Done(outcome)) => told(&outcome),
            Err(error) => Next::Failed { reason: error.message, outcome: None },
        }
    }
}

fn call(ask: &Ask) -> Call {
    Call { kind: ESTIMATE.to_owned(), content: Json::of(ask).unwrap_or_default(), ..Call::default() }
}

fn next(table: &Table<'_>) -> Result<risk::Next, Error> {
    let rules: Rules = table.rules()?;
    let rounds: Vec<Vec<Estimate>> = table.rounds.iter().map(estimates).collect::<Result<_, _>>()?;
    if table.may_go_on() {
        return risk::next(&rules, &rounds);
    }
    // Nobody can be asked any more, so what is there decides.
    risk::outcome(&rules, &rounds).map(risk::Next::Done)
}

fn estimates(round: &Round) -> Result<Vec<Estimate>, Error> {
    round.responses().map(|(id, response)| estimate(id, response)).collect()
}

fn estimate(by: &Id, response: &Json) -> Result<Estimate, Error> {
    let participant = by.to_string();
    if !said::is_object(response) {
        return Ok(Estimate { participant, value: answer(response)?, ..Estimate::default() });
    }
    let Estimated { value, impact, confidence, rationale } = answer(response)?;
    Ok(Estimate { participant, value, impact, confidence, rationale })
}

fn told(outcome: &Outcome) -> Next {
    said::decided_unless(
        Ok(outcome),
        |outcome| &outcome.explanation,
        |outcome| {
            let too_few = outcome.verdict == Verdict::TooFew;
            too_few.then(|| format!("too few answered: no round had {} answers", outcome.needed))
        },
    )
}
