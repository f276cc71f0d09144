//! Fusion: every participant is asked, once, for what it measured or would call it, and is a source.

use super::said;
use crate::fusion::{categorical, numeric};
use crate::protocol::{Call, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Id, Json, Timestamp};

/// What participants are asked for.
const SIGNAL: &str = "signal";

/// `fuse`: rules are [`FuseRules`]; an answer is a [`Measured`] or its number alone, or a [`Labelled`] or its label alone; the
/// outcome is that of the room.
#[derive(Clone, Copy, Debug)]
pub struct Fuse;

/// Of what kind the signals are, and what becomes of them. Where the rules give a source no weight, its weight as a participant
/// is its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FuseRules {
    /// Numbers become one.
    Numeric(numeric::Rules),
    /// Labels or probabilities become one label.
    Categorical(categorical::Rules),
}

/// What a participant answers where numbers are fused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The value, from -1e15 to 1e15.
    pub value: f64,
    /// The variance of its error, in the square of its unit, from 1e-30 to 1e15.
    #[serde(default)]
    pub variance: Option<f64>,
    /// How sure it is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// When it was observed.
    #[serde(default)]
    pub observed_at: Option<Timestamp>,
    /// The unit of the value.
    #[serde(default)]
    pub unit: Option<String>,
}

/// What a participant answers where labels are fused: a label or probabilities, one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// One of the categories.
    #[serde(default)]
    pub label: Option<String>,
    /// The probability of each category, together 1; 0 where one is not named.
    #[serde(default)]
    pub probabilities: Option<BTreeMap<String, f64>>,
    /// How sure it is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default)]
    pub confidence: Option<f64>,
}

impl Measured {
    /// This value; of all else nothing is said.
    pub fn of(value: f64) -> Measured {
        Measured { value, variance: None, confidence: None, observed_at: None, unit: None }
    }
}

impl Labelled {
    /// This label; of its confidence nothing is said.
    pub fn of(label: impl Into<String>) -> Labelled {
        Labelled { label: Some(label.into()), probabilities: None, confidence: None }
    }

    /// These probabilities, together 1; of its confidence nothing is said.
    pub fn probable<L: Into<String>>(probabilities: impl IntoIterator<Item = (L, f64)>) -> Labelled {
        let each = probabilities.into_iter().map(|(label, probability)| (label.into(), probability));
        Labelled { label: None, probabilities: Some(each.collect()), confidence: None }
    }
}

impl Protocol for Fuse {
    fn name(&self) -> &'static str {
        "fuse"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: FuseRules = table.rules()?;
        let (own, way) = match &rules {
            FuseRules::Numeric(rules) => (&rules.weights, "/rules/numeric"),
            FuseRules::Categorical(rules) => (&rules.weights, "/rules/categorical"),
        };
        said::known(table, own.keys().map(String::as_str), &format!("{way}/weights"))?;
        rules.clone().weighed(table).check().map_err(|error| {
            let place = said::below(&error, "/rules/weights").map(str::to_owned);
            // Whether what is wrong with the weights came from those of the participants.
            match place {
                Some(place) if place.is_empty() && own.is_empty() => error.with_field("/weights"),
                Some(place) if !place.is_empty() && !own.contains_key(&place[1..]) => {
                    error.with_field(format!("/weights{place}"))
                }
                _ => said::moved(error, "/rules", way),
            }
        })?;
        Ok(Call { kind: SIGNAL.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        match table.rules::<FuseRules>()? {
            FuseRules::Numeric(rules) => {
                let signal = measured(by, response)?;
                let rules = numeric::Rules { weights: BTreeMap::new(), ..rules };
                said::own_fault(numeric::outcome(&rules, std::slice::from_ref(&signal)), "/signals/0")?;
                same_unit(&rules, table, by, &signal)
            }
            FuseRules::Categorical(rules) => {
                let rules = categorical::Rules { weights: BTreeMap::new(), ..rules };
                said::own_fault(categorical::outcome(&rules, &[labelled(by, response)?]), "/signals/0")
            }
        }
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match table.rules::<FuseRules>().map(|rules| rules.weighed(table)) {
            Err(error) => Next::Failed { reason: error.message, outcome: None },
            Ok(FuseRules::Numeric(rules)) => {
                let signals = said::read(table, |participant, response| measured(&participant.id, response));
                let found = signals.and_then(|signals| numeric::outcome(&rules, &signals));
                said::decided(found, |outcome| &outcome.explanation)
            }
            Ok(FuseRules::Categorical(rules)) => {
                let signals = said::read(table, |participant, response| labelled(&participant.id, response));
                let found = signals.and_then(|signals| categorical::outcome(&rules, &signals));
                said::decided_unless(
                    found,
                    |outcome| &outcome.explanation,
                    |outcome| {
                        let why = "every category is given 0 by somebody, so there is no winner";
                        outcome.winner.is_none().then(|| why.to_owned())
                    },
                )
            }
        }
    }
}

impl FuseRules {
    /// The rules with the weights of the participants, where they give none and it is not 1.
    fn weighed(mut self, table: &Table<'_>) -> FuseRules {
        let weights = match &mut self {
            FuseRules::Numeric(rules) => &mut rules.weights,
            FuseRules::Categorical(rules) => &mut rules.weights,
        };
        for participant in table.participants.iter().filter(|p| p.weight != Exact::one()) {
            weights.entry(participant.id.to_string()).or_insert_with(|| participant.weight.to_f64());
        }
        self
    }

    /// Whether signals can be fused by them, as the room sees it: it looks at the rules before it looks at the signals.
    fn check(&self) -> Result<(), Error> {
        match self {
            FuseRules::Numeric(rules) => said::rules_fault(numeric::outcome(rules, &[]), "/rules"),
            FuseRules::Categorical(rules) => said::rules_fault(categorical::outcome(rules, &[]), "/rules"),
        }
    }
}

fn measured(by: &Id, response: &Json) -> Result<numeric::Signal, Error> {
    let source = by.to_string();
    if !said::is_object(response) {
        return Ok(numeric::Signal { source, value: answer(response)?, ..numeric::Signal::default() });
    }
    let Measured { value, variance, confidence, observed_at, unit } = answer(response)?;
    Ok(numeric::Signal { source, value, variance, confidence, observed_at, unit })
}

fn labelled(by: &Id, response: &Json) -> Result<categorical::Signal, Error> {
    let source = by.to_string();
    if !said::is_object(response) {
        let label = Some(answer(response)?);
        return Ok(categorical::Signal { source, label, ..categorical::Signal::default() });
    }
    let Labelled { label, probabilities, confidence } = answer(response)?;
    Ok(categorical::Signal { source, label, probabilities, confidence })
}

/// Where the rules name no unit, the first that is stated is the unit of all: another one would spoil it for all.
fn same_unit(
    rules: &numeric::Rules,
    table: &Table<'_>,
    by: &Id,
    signal: &numeric::Signal,
) -> Result<(), Error> {
    let (Some(unit), None) = (&signal.unit, &rules.unit) else { return Ok(()) };
    for (participant, response) in said::others(table, by) {
        let Some(stated) = measured(&participant.id, response)?.unit else { continue };
        if stated == *unit {
            return Ok(());
        }
        let message = format!("{unit} and {stated} cannot be fused: one unit, or the rules say which counts");
        return Err(Error::invalid(message).with_field("/response/unit"));
    }
    Ok(())
}
