//! From the rounds so far to what comes next.

use super::told::{Ask, Assessment, Dissent, Feedback, Level, Next, Outcome, Summary, Verdict};
use super::{Centre, Estimate, RATIONALES_SHOWN_MAX, Rules, Scale};
use crate::fusion::{intake, statistics};
use std::collections::BTreeSet;
use synod_protocol::{Error, Exact};

/// What comes after these rounds, the first of them first: another round with what the others said, or the outcome. Done
/// where the spread of the last round is at most epsilon in every dimension, or no round is left.
///
/// # Errors
/// `invalid_argument`: rules or an estimate out of range, a participant twice in a round, more rounds than the rules allow.
pub fn next(rules: &Rules, rounds: &[Vec<Estimate>]) -> Result<Next, Error> {
    check(rules, rounds)?;
    let used = rounds.len() as u32;
    let decisive = Decisive::of(rules, rounds);
    let is_settled = decisive.as_ref().is_some_and(|d| d.round == used && d.has_converged(rules));
    if is_settled || used >= rules.rounds_max {
        return Ok(Next::Done(concluded(rules, rounds, decisive)?));
    }
    Ok(Next::Ask(Ask { round: used + 1, feedback: decisive.map(|d| d.feedback()) }))
}

/// What these rounds come to if there is no further one, at a deadline for example.
///
/// # Errors
/// As [`next`].
pub fn outcome(rules: &Rules, rounds: &[Vec<Estimate>]) -> Result<Outcome, Error> {
    check(rules, rounds)?;
    concluded(rules, rounds, Decisive::of(rules, rounds))
}

/// The statistics of what is left of `values` when the `faults` least and greatest are dropped; nothing unless there are
/// more than three times as many, and all are finite.
pub fn summary(values: &[f64], faults: usize) -> Option<Summary> {
    if values.len() <= faults.checked_mul(3)? || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    Some(Rest::of(values.iter().copied(), faults)?.summary)
}

fn check(rules: &Rules, rounds: &[Vec<Estimate>]) -> Result<(), Error> {
    rules.check()?;
    if rounds.len() > rules.rounds_max as usize {
        return Err(Error::invalid(format!(
            "{} rounds are too many: the rules allow {}",
            rounds.len(),
            rules.rounds_max
        ))
        .with_field("/rounds"));
    }
    for (r, round) in rounds.iter().enumerate() {
        let field = format!("/rounds/{r}");
        intake::few_enough(round.len(), "estimates", &field)?;
        intake::distinct(round.iter().map(|e| e.participant.as_str()), &field, "/participant")?;
        for (i, estimate) in round.iter().enumerate() {
            estimate.check(rules, &format!("{field}/{i}"))?;
        }
    }
    Ok(())
}

/// What is left of one dimension of a round.
struct Rest {
    /// Ascending.
    values: Vec<Exact>,
    summary: Summary,
}

impl Rest {
    /// Nothing where nothing is left.
    fn of(values: impl Iterator<Item = f64>, faults: usize) -> Option<Rest> {
        let mut values: Vec<Exact> = values.map(intake::exact).collect();
        values.sort_unstable();
        let values = values.get(faults..values.len().checked_sub(faults)?)?.to_vec();
        let at = |quarters: i64| Some(statistics::quantile(&values, &Exact::ratio(quarters, 4)?)?.to_f64());
        let (least, greatest) = (values.first()?, values.last()?);
        let summary = Summary {
            least: least.to_f64(),
            lower_quartile: at(1)?,
            median: at(2)?,
            upper_quartile: at(3)?,
            greatest: greatest.to_f64(),
            spread: (greatest - least).to_f64(),
        };
        Some(Rest { values, summary })
    }

    fn result(&self, centre: Centre) -> Exact {
        let result = match centre {
            Centre::Median => statistics::median(&self.values),
            Centre::Mean => statistics::mean(&self.values),
        };
        result.unwrap_or_else(Exact::zero)
    }

    fn is_within(&self, epsilon: f64) -> bool {
        match (self.values.first(), self.values.last()) {
            (Some(least), Some(greatest)) => greatest - least <= intake::exact(epsilon),
            _ => false,
        }
    }

    /// How far a value is outside of what is left.
    fn beyond(&self, value: &Exact) -> Exact {
        match (self.values.first(), self.values.last()) {
            (Some(least), _) if value < least => least - value,
            (_, Some(greatest)) if value > greatest => value - greatest,
            _ => Exact::zero(),
        }
    }
}

/// The last round with enough answers.
struct Decisive<'a> {
    /// From 1.
    round: u32,
    estimates: &'a [Estimate],
    value: Rest,
    impact: Option<Rest>,
}

impl<'a> Decisive<'a> {
    /// None where no round has enough.
    fn of(rules: &Rules, rounds: &'a [Vec<Estimate>]) -> Option<Decisive<'a>> {
        let at = rounds.iter().rposition(|round| round.len() >= rules.needed())?;
        let estimates = rounds.get(at)?;
        let faults = rules.faults as usize;
        let value = Rest::of(estimates.iter().map(|e| e.value), faults)?;
        let impact = rules.impact.and_then(|_| Rest::of(estimates.iter().filter_map(|e| e.impact), faults));
        Some(Decisive { round: at as u32 + 1, estimates, value, impact })
    }

    fn has_converged(&self, rules: &Rules) -> bool {
        let is_close = |rest: &Rest, scale: &Scale| rest.is_within(scale.epsilon);
        let impact = self.impact.as_ref().zip(rules.impact.as_ref());
        is_close(&self.value, &rules.scale) && impact.is_none_or(|(rest, scale)| is_close(rest, scale))
    }

    fn feedback(&self) -> Feedback {
        let mut confidences: Vec<Exact> =
            self.estimates.iter().filter_map(|e| e.confidence).map(intake::exact).collect();
        confidences.sort_unstable();
        Feedback {
            round: self.round,
            answered: self.estimates.len() as u32,
            value: self.value.summary,
            impact: self.impact.as_ref().map(|rest| rest.summary),
            confidence: statistics::median(&confidences).map(|c| c.to_f64()),
            rationales: self.rationales(),
        }
    }

    /// Each text once, without what would tell whose it is.
    fn rationales(&self) -> Vec<String> {
        let median = self.value.result(Centre::Median);
        let mut given: Vec<(Exact, &str)> = self
            .estimates
            .iter()
            .filter_map(|e| {
                let text = e.rationale.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
                Some((statistics::distance(&intake::exact(e.value), &median), text))
            })
            .collect();
        given.sort_unstable_by(|a, b| (&b.0, a.1).cmp(&(&a.0, b.1)));
        let mut shown = BTreeSet::new();
        for (_, text) in given {
            if shown.len() < RATIONALES_SHOWN_MAX {
                shown.insert(text.to_owned());
            }
        }
        shown.into_iter().collect()
    }

    /// The results in each dimension, and the risk.
    fn results(&self, rules: &Rules) -> (Exact, Option<Exact>, Exact) {
        let value = self.value.result(rules.centre);
        let impact = self.impact.as_ref().map(|rest| rest.result(rules.centre));
        let risk = impact.as_ref().map_or_else(|| value.clone(), |impact| &value * impact);
        (value, impact, risk)
    }

    fn dissent(&self, rules: &Rules, value: &Exact, impact: Option<&Exact>) -> Vec<Dissent> {
        let mut dissent = Vec::new();
        for estimate in self.estimates {
            let of_value = Standing::of(estimate.value, &self.value, value, rules.scale.epsilon);
            let of_impact = match (estimate.impact, &self.impact, impact, &rules.impact) {
                (Some(own), Some(rest), Some(result), Some(scale)) => {
                    Some(Standing::of(own, rest, result, scale.epsilon))
                }
                _ => None,
            };
            if of_value.is_apart || of_impact.as_ref().is_some_and(|s| s.is_apart) {
                dissent.push(Dissent {
                    participant: estimate.participant.clone(),
                    value: estimate.value,
                    beyond: of_value.beyond,
                    from_result: of_value.from_result,
                    impact: estimate.impact,
                    impact_beyond: of_impact.as_ref().map(|s| s.beyond),
                    impact_from_result: of_impact.as_ref().map(|s| s.from_result),
                    rationale: estimate.rationale.clone(),
                });
            }
        }
        dissent.sort_by(|a, b| a.participant.cmp(&b.participant));
        dissent
    }
}

/// Where one answer stands to the result.
struct Standing {
    is_apart: bool,
    beyond: f64,
    from_result: f64,
}

impl Standing {
    fn of(own: f64, rest: &Rest, result: &Exact, epsilon: f64) -> Standing {
        let own = intake::exact(own);
        let beyond = rest.beyond(&own);
        let is_far = statistics::distance(&own, result) > intake::exact(epsilon);
        let is_apart = is_far || !beyond.is_zero();
        Standing { is_apart, beyond: beyond.to_f64(), from_result: (&own - result).to_f64() }
    }
}

fn concluded(
    rules: &Rules,
    rounds: &[Vec<Estimate>],
    decisive: Option<Decisive<'_>>,
) -> Result<Outcome, Error> {
    let needed = rules.needed() as u32;
    let rounds_used = rounds.len() as u32;
    let Some(decisive) = decisive else {
        let answered = rounds.last().map_or(0, Vec::len) as u32;
        return Ok(Outcome {
            verdict: Verdict::TooFew,
            level: None,
            risk: None,
            value: None,
            impact: None,
            rounds_used,
            decided_in: None,
            answered,
            needed,
            dissent: Vec::new(),
            explanation: vec![format!(
                "No round had {needed} answers, so nothing is decided: {} arbitrary answers must not matter.",
                rules.faults
            )],
        });
    };
    let (value, impact, risk) = decisive.results(rules);
    let mut level = Level::Low;
    for (threshold, named) in rules.levels()? {
        if risk >= threshold {
            level = named;
        }
    }
    let verdict = if decisive.has_converged(rules) { Verdict::Converged } else { Verdict::NotConverged };
    let dissent = decisive.dissent(rules, &value, impact.as_ref());
    let assessed = |result: &Exact, rest: &Rest| Assessment {
        result: result.to_f64(),
        centre: rules.centre,
        summary: rest.summary,
    };
    let mut outcome = Outcome {
        verdict,
        level: Some(level),
        risk: Some(risk.to_f64()),
        value: Some(assessed(&value, &decisive.value)),
        impact: impact.as_ref().zip(decisive.impact.as_ref()).map(|(result, rest)| assessed(result, rest)),
        rounds_used,
        decided_in: Some(decisive.round),
        answered: decisive.estimates.len() as u32,
        needed,
        dissent,
        explanation: Vec::new(),
    };
    outcome.explanation = explain(rules, &outcome, level, risk.to_f64());
    Ok(outcome)
}

fn explain(rules: &Rules, outcome: &Outcome, level: Level, risk: f64) -> Vec<String> {
    let round = outcome.decided_in.unwrap_or_default();
    let mut told = vec![format!("The risk is {risk}, which is {}.", level.as_str())];
    if let (Some(value), Some(impact)) = (&outcome.value, &outcome.impact) {
        told.push(format!("It is the likelihood {} times the impact {}.", value.result, impact.result));
    }
    told.push(format!(
        "Round {round} of at most {} decided, with {} answers, of which the {} least and greatest were dropped.",
        rules.rounds_max, outcome.answered, rules.faults
    ));
    told.push(match outcome.verdict {
        Verdict::Converged => "The spread of the rest is at most epsilon.".to_owned(),
        _ => "The spread of the rest is more than epsilon.".to_owned(),
    });
    if !outcome.dissent.is_empty() {
        told.push(format!("{} stand apart; their reasons are kept.", outcome.dissent.len()));
    }
    told
}
