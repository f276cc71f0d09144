//! How great a risk is: rounds of estimates with anonymous feedback (Delphi), decided so that a few liars do not matter.
//!
//! ```text
//!    round 1 --> drop the f least and f greatest --> spread at most epsilon? -- yes --> done
//!                         |                                  no, and rounds left
//!                         +--> what the rest said, without names --> round 2 ...
//! ```
//!
//! - **Within what the honest said.** Of n > 3f answers, of which at most f are arbitrary, the f least and the f greatest
//!   are dropped; what is left lies between the least and the greatest honest one, and so does its median or mean
//!   (Dolev, Lynch, Pinter, Stark and Weihl, Reaching Approximate Agreement in the Presence of Faults, 1986). All that
//!   feedback says in numbers is of what is left, too.
//! - **Nobody's confidence counts.** Anybody can claim it, so it is only shown.
//! - **Dissent is kept**: who was outside of what is left, or far from the result, and the reasons given.
//! - A round with too few answers (n <= 3f) is used up and decides nothing; the last one with enough decides.
//!
//! Delphi: Dalkey and Helmer (1963). Everything is counted exactly and rounded once, in what is told.

mod course;
mod told;

pub use course::{next, outcome, summary};
pub use told::{Ask, Assessment, Dissent, Feedback, Level, Next, Outcome, Summary, Verdict};

use crate::fusion::intake;
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// The most rounds.
pub const ROUNDS_MAX: u32 = 20;
/// The most characters of a rationale.
pub const RATIONALE_MAX: usize = 1_000;
/// The most rationales that feedback shows.
pub const RATIONALES_SHOWN_MAX: usize = 50;

/// What the opener sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = risk::Rules)]
pub struct Rules {
    /// What `value` may be, and how close is close enough.
    pub scale: Scale,
    /// The same of `impact`: then `value` is the likelihood, and the risk is their product. No scale goes below 0 then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Scale>,
    /// The most rounds, 1 to 20; default 3.
    #[serde(default = "rounds_default")]
    pub rounds_max: u32,
    /// How many arbitrary answers must not matter (f), 0 to 333; default 0.
    #[serde(default)]
    pub faults: u32,
    /// What is taken of those that are left; default `median`.
    #[serde(default)]
    pub centre: Centre,
    /// Where the levels begin; default a quarter, a half and three quarters of the way from the least risk to the greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

fn rounds_default() -> u32 {
    3
}

/// What an estimate may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = risk::Scale)]
pub struct Scale {
    /// The least, from -1e15.
    pub min: f64,
    /// The greatest, to 1e15; more than the least.
    pub max: f64,
    /// A round whose spread is at most this is the last; 0 to 1e15.
    pub epsilon: f64,
}

/// What is taken of those that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = risk::Centre)]
pub enum Centre {
    /// The middle one, or the mean of the two in the middle.
    #[default]
    Median,
    /// All alike.
    Mean,
}

/// The least risk of each level above `low`; none greater than the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = risk::Thresholds)]
pub struct Thresholds {
    /// From here `medium`.
    pub medium: f64,
    /// From here `high`.
    pub high: f64,
    /// From here `critical`.
    pub critical: f64,
}

/// What one participant answers in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = risk::Estimate)]
pub struct Estimate {
    /// Who answers; once in a round.
    pub participant: String,
    /// The risk, or its likelihood, on the scale.
    pub value: f64,
    /// How bad it would be, where the rules ask for it, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<f64>,
    /// How sure he is, 0 to 1; shown, not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Why; at most 1,000 characters. Shown to the others without the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
}

impl Rules {
    /// How many must answer for a round to count: 3f + 1.
    pub fn needed(&self) -> usize {
        3 * self.faults as usize + 1
    }

    /// Whether the rules can be played by.
    ///
    /// # Errors
    /// `invalid_argument`: a rule out of its range.
    pub fn check(&self) -> Result<(), Error> {
        self.scale.check("/rules/scale")?;
        if let Some(impact) = &self.impact {
            impact.check("/rules/impact")?;
            for (scale, field) in [(&self.scale, "/rules/scale/min"), (impact, "/rules/impact/min")] {
                if scale.min < 0.0 {
                    return Err(Error::invalid(format!(
                        "{} is below 0: likelihood and impact are multiplied, so their scales begin at 0 or above",
                        scale.min
                    ))
                    .with_field(field));
                }
            }
        }
        if !(1..=ROUNDS_MAX).contains(&self.rounds_max) {
            return Err(Error::invalid(format!(
                "{} rounds are out of range: there are between 1 and {ROUNDS_MAX}",
                self.rounds_max
            ))
            .with_field("/rules/rounds_max"));
        }
        let faults_max = (intake::SOURCES_MAX - 1) / 3;
        if self.faults as usize > faults_max {
            return Err(Error::invalid(format!(
                "{} faults are too many: at most {faults_max}, for more than 3 times as many must answer",
                self.faults
            ))
            .with_field("/rules/faults"));
        }
        self.levels().map(drop)
    }

    /// The least risk of each level, with the level, ascending.
    pub(crate) fn levels(&self) -> Result<[(Exact, Level); 3], Error> {
        let Some(given) = &self.thresholds else {
            let (least, greatest) = self.range();
            let part = |quarters: i64| {
                let part = Exact::ratio(quarters, 4).unwrap_or_else(Exact::zero);
                &least + &(&(&greatest - &least) * &part)
            };
            return Ok([(part(1), Level::Medium), (part(2), Level::High), (part(3), Level::Critical)]);
        };
        let at = |name: &str| format!("/rules/thresholds/{name}");
        // A product may be as great as the square of the greatest number.
        let most = intake::NUMBER_MAX * intake::NUMBER_MAX;
        let read = |value: f64, name: &str| intake::number_within(value, -most, most, &at(name));
        let medium = read(given.medium, "medium")?;
        let high = read(given.high, "high")?;
        let critical = read(given.critical, "critical")?;
        if medium > high || high > critical {
            let named = if medium > high { "high" } else { "critical" };
            return Err(Error::invalid(format!(
                "{named} begins below the level under it: medium, high and critical ascend"
            ))
            .with_field(at(named)));
        }
        Ok([(medium, Level::Medium), (high, Level::High), (critical, Level::Critical)])
    }

    /// The least and the greatest risk there can be.
    fn range(&self) -> (Exact, Exact) {
        let (min, max) = (intake::exact(self.scale.min), intake::exact(self.scale.max));
        match &self.impact {
            None => (min, max),
            Some(impact) => (&min * &intake::exact(impact.min), &max * &intake::exact(impact.max)),
        }
    }
}

impl Scale {
    fn check(&self, field: &str) -> Result<(), Error> {
        intake::number(self.min, &format!("{field}/min"))?;
        intake::number(self.max, &format!("{field}/max"))?;
        intake::number_within(self.epsilon, 0.0, intake::NUMBER_MAX, &format!("{field}/epsilon"))?;
        if self.min >= self.max {
            return Err(Error::invalid(format!(
                "the scale from {} to {} is empty: the greatest must be more than the least",
                self.min, self.max
            ))
            .with_field(format!("{field}/max")));
        }
        Ok(())
    }
}

impl Estimate {
    /// Whether it can be counted under these rules. `field` is where it stands, such as `/rounds/0/3`.
    ///
    /// # Errors
    /// `invalid_argument`: outside its scale, an impact not asked for or missing, a rationale too long.
    pub fn check(&self, rules: &Rules, field: &str) -> Result<(), Error> {
        intake::name(&self.participant, &format!("{field}/participant"))?;
        intake::number_within(self.value, rules.scale.min, rules.scale.max, &format!("{field}/value"))?;
        let at = format!("{field}/impact");
        match (self.impact, &rules.impact) {
            (Some(impact), Some(scale)) => {
                intake::number_within(impact, scale.min, scale.max, &at)?;
            }
            (None, Some(_)) => {
                return Err(Error::invalid("the impact is missing: the rules ask for it").with_field(at));
            }
            (Some(_), None) => {
                return Err(Error::invalid("the rules do not ask for an impact: leave it out").with_field(at));
            }
            (None, None) => {}
        }
        if let Some(confidence) = self.confidence {
            intake::number_within(confidence, 0.0, 1.0, &format!("{field}/confidence"))?;
        }
        let is_long = |text: &String| text.len() > RATIONALE_MAX && text.chars().count() > RATIONALE_MAX;
        if self.rationale.as_ref().is_some_and(is_long) {
            return Err(Error::invalid(format!("a rationale has at most {RATIONALE_MAX} characters"))
                .with_field(format!("{field}/rationale")));
        }
        Ok(())
    }
}
