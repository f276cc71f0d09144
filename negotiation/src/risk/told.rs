//! What is told: to the participants between rounds, and to all at the end.

use super::Centre;
use serde::{Deserialize, Serialize};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = risk::Next)]
pub enum Next {
    /// Another round.
    Ask(Ask),
    /// No more.
    Done(Outcome),
}

/// A round that is to be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Ask)]
pub struct Ask {
    /// Which one, from 1.
    pub round: u32,
    /// What the last round with enough answers said; none before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// What a round said, without names. The numbers are of what is left when the f least and greatest are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Feedback)]
pub struct Feedback {
    /// Which round, from 1.
    pub round: u32,
    /// How many answered.
    pub answered: u32,
    /// Of the values.
    pub value: Summary,
    /// Of the impacts, where they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Summary>,
    /// The median of the confidences of those who state one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The reasons given, in the order of their text, each once; of more than 50 those whose values are farthest from the median.
    pub rationales: Vec<String>,
}

/// Of the numbers that are left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Summary)]
pub struct Summary {
    /// The least.
    pub least: f64,
    /// A quarter lies below; between two numbers in proportion (type 7 of Hyndman and Fan).
    pub lower_quartile: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// A quarter lies above.
    pub upper_quartile: f64,
    /// The greatest.
    pub greatest: f64,
    /// The greatest less the least.
    pub spread: f64,
}

/// How the rounds ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = risk::Verdict)]
pub enum Verdict {
    /// The spread is at most epsilon, in every dimension that was asked.
    Converged,
    /// It is not; the result is that of the last round with enough answers.
    NotConverged,
    /// No round had enough answers, so there is no result.
    TooFew,
}

/// How great a risk is, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = risk::Level)]
pub enum Level {
    /// Below every threshold.
    Low,
    /// From the first on.
    Medium,
    /// From the second on.
    High,
    /// From the third on.
    Critical,
}

impl Level {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Outcome)]
pub struct Outcome {
    /// How the rounds ended.
    pub verdict: Verdict,
    /// The highest level whose threshold the risk reaches; none where too few answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The risk: the value, or likelihood times impact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<f64>,
    /// The value, or the likelihood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Assessment>,
    /// The impact, where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Assessment>,
    /// How many rounds there were.
    pub rounds_used: u32,
    /// Which of them the result is from; none where too few answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_in: Option<u32>,
    /// How many answered in that round, or in the last one where too few did in each.
    pub answered: u32,
    /// How many had to: 3f + 1.
    pub needed: u32,
    /// Who stands apart, in the order of their names.
    pub dissent: Vec<Dissent>,
    /// A few sentences.
    pub explanation: Vec<String>,
}

/// One number that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Assessment)]
pub struct Assessment {
    /// The median or mean of what is left.
    pub result: f64,
    /// Which of the two.
    pub centre: Centre,
    /// What is left.
    pub summary: Summary,
}

/// Somebody whose answer, in the round that decided, is outside of what is left, or farther than epsilon from the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = risk::Dissent)]
pub struct Dissent {
    /// Who.
    pub participant: String,
    /// The estimate.
    pub value: f64,
    /// How far it is outside of what is left; 0 within.
    pub beyond: f64,
    /// How far it is above the result; below it where negative.
    pub from_result: f64,
    /// The estimate of the impact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<f64>,
    /// How far the impact is outside of what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_beyond: Option<f64>,
    /// How far the impact is above the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_from_result: Option<f64>,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
}
