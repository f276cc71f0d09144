//! Fuse these signals.

use super::{Asking, Common, Request, given, read};
use crate::fusion::{categorical, numeric};
use crate::protocols::FuseRules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{EntityId, Error, Exact, Id, Json, Timestamp};

/// Signals become one: numbers, or labels where `categories` says which there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FuseSignals {
    /// The negotiation's id; made where there is none.
    #[serde(default)]
    pub negotiation_id: Option<EntityId>,
    /// What those who are asked are shown.
    #[serde(default)]
    pub question: Json,
    /// By source what it says: a number or `{"value", "variance", …}`; a label or `{"label"}` or `{"probabilities"}`.
    #[serde(default)]
    pub signals: BTreeMap<Id, Json>,
    /// Who is asked for a signal.
    #[serde(default)]
    pub ask: Option<Asking>,
    /// How they become one; `weighted_mean`, of labels `weighted_vote` by default.
    #[serde(default)]
    pub method: Option<FuseMethod>,
    /// How much each source counts; 1 by default.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub weights: BTreeMap<Id, Exact>,
    /// Labels: which there are, 1 to 100; of several alike the first one wins.
    #[serde(default)]
    pub categories: Option<Vec<String>>,
    /// Labels, `log_opinion_pool`: what is less probable is raised to it.
    #[serde(default)]
    pub floor: Option<f64>,
    /// Numbers: the unit.
    #[serde(default)]
    pub unit: Option<String>,
    /// Numbers, `trimmed_mean`: the share trimmed from each side.
    #[serde(default)]
    pub trim: Option<f64>,
    /// Numbers: what was observed earlier is left out.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
}

/// How signals become one: the first five numbers, the others labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the methods of the two rooms, which say what they are")]
pub enum FuseMethod {
    InverseVariance,
    WeightedMean,
    TrimmedMean,
    Median,
    CovarianceIntersection,
    WeightedVote,
    LinearOpinionPool,
    LogOpinionPool,
}

/// What signals became.
#[derive(Clone, Debug, PartialEq)]
pub enum Fused {
    /// A number.
    Value(numeric::Outcome),
    /// A label.
    Label(categorical::Outcome),
}

impl Fused {
    /// The value, where numbers were fused.
    pub fn value(&self) -> Option<f64> {
        match self {
            Fused::Value(outcome) => Some(outcome.value),
            Fused::Label(_) => None,
        }
    }

    /// The label that wins, where labels were fused.
    pub fn label(&self) -> Option<&str> {
        match self {
            Fused::Value(_) => None,
            Fused::Label(outcome) => outcome.winner.as_deref(),
        }
    }
}

impl FuseMethod {
    fn of_numbers(self) -> Option<numeric::Method> {
        Some(match self {
            FuseMethod::InverseVariance => numeric::Method::InverseVariance,
            FuseMethod::WeightedMean => numeric::Method::WeightedMean,
            FuseMethod::TrimmedMean => numeric::Method::TrimmedMean,
            FuseMethod::Median => numeric::Method::Median,
            FuseMethod::CovarianceIntersection => numeric::Method::CovarianceIntersection,
            _ => return None,
        })
    }

    fn of_labels(self) -> Option<categorical::Method> {
        Some(match self {
            FuseMethod::WeightedVote => categorical::Method::WeightedVote,
            FuseMethod::LinearOpinionPool => categorical::Method::LinearOpinionPool,
            FuseMethod::LogOpinionPool => categorical::Method::LogOpinionPool,
            _ => return None,
        })
    }
}

impl FuseSignals {
    /// Of signals that are known: a number, a label, or all that there is to say of one.
    ///
    /// # Errors
    /// A source's name is none.
    pub fn of<'a, S: Serialize>(
        signals: impl IntoIterator<Item = (&'a str, S)>,
    ) -> Result<FuseSignals, Error> {
        Ok(FuseSignals { signals: given(signals, "signals")?, ..FuseSignals::default() })
    }

    /// Of the signals of those who are asked.
    pub fn asking(ask: Asking) -> FuseSignals {
        FuseSignals { ask: Some(ask), ..FuseSignals::default() }
    }

    fn common(&self) -> Common<'_> {
        Common {
            protocol: "fuse",
            question: &self.question,
            ask: self.ask.as_ref(),
            given: ("signals", &self.signals),
            weights: &self.weights,
        }
    }

    fn rules(&self) -> Result<FuseRules, Error> {
        let other = |field: &str, of: &str| {
            let what = if self.categories.is_some() {
                "there are categories, so labels"
            } else {
                "without categories numbers"
            };
            let message = format!("{field} is for {of}, and {what} are fused");
            Error::invalid(message).with_field(format!("/{field}"))
        };
        let Some(categories) = self.categories.clone() else {
            let method = self.method.unwrap_or(FuseMethod::WeightedMean);
            let method = method.of_numbers().ok_or_else(|| other("method", "labels"))?;
            if self.floor.is_some() {
                return Err(other("floor", "labels"));
            }
            let (unit, trim, not_before) = (self.unit.clone(), self.trim, self.not_before);
            let weights = BTreeMap::new();
            return Ok(FuseRules::Numeric(numeric::Rules { method, trim, weights, unit, not_before }));
        };
        let method = self.method.unwrap_or(FuseMethod::WeightedVote);
        let method = method.of_labels().ok_or_else(|| other("method", "numbers"))?;
        let of_numbers = [
            ("unit", self.unit.is_some()),
            ("trim", self.trim.is_some()),
            ("not_before", self.not_before.is_some()),
        ];
        if let Some((field, _)) = of_numbers.iter().find(|(_, is_set)| *is_set) {
            return Err(other(field, "numbers"));
        }
        let weights = BTreeMap::new();
        Ok(FuseRules::Categorical(categorical::Rules { method, categories, weights, floor: self.floor }))
    }
}

impl Request for FuseSignals {
    type Outcome = Fused;

    fn named(&self) -> Option<&EntityId> {
        self.negotiation_id.as_ref()
    }

    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error> {
        self.common().open(negotiation_id, &self.rules()?)
    }

    fn placed(&self, error: Error) -> Error {
        self.common().placed(error, &[("/rules/numeric", ""), ("/rules/categorical", "")])
    }

    fn outcome(&self, outcome: &Json) -> Result<Fused, serde_json::Error> {
        match self.categories {
            None => read(outcome).map(Fused::Value),
            Some(_) => read(outcome).map(Fused::Label),
        }
    }
}
