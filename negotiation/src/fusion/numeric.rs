//! One value from many: means, medians, and what variances allow.
//!
//! | method | weight of a source | variance |
//! |---|---|---|
//! | `inverse_variance` | 1 / its variance | 1 / sum(1 / variance), where the errors are independent |
//! | `weighted_mean` | its weight × its confidence | sum(share² × variance), where all have one |
//! | `trimmed_mean` | 1, or 0 where it is trimmed | none |
//! | `median` | its weight × its confidence | none |
//! | `covariance_intersection` | 1 where its variance is the least, else 0 | the least variance |
//!
//! Inverse variance: Cochran (1937). Trimmed mean: as `scipy.stats.trim_mean`. Covariance intersection: Julier and
//! Uhlmann (1997): `1/P = sum(w/P_i)`, `x = P sum(w x_i/P_i)`, the w from 0 to 1 with the sum 1 so that P is least. For
//! single numbers 1/P is a mean of the 1/P_i, so P is least where all of w is on the least variance. Where several
//! have it, every split among them gives the same P; here they have equal parts. P holds whatever their errors have in common.

use super::{LeftOut, Reason, intake, statistics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Timestamp};

/// How values become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = fusion::numeric::Method)]
pub enum Method {
    /// The smaller a variance, the more it counts; right where the errors are independent.
    InverseVariance,
    /// By weight and confidence.
    #[default]
    WeightedMean,
    /// Without the extremes, all others alike.
    TrimmedMean,
    /// The value with half of the weight on each side.
    Median,
    /// Safe where nobody knows what the errors have in common.
    CovarianceIntersection,
}

impl Method {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::InverseVariance => "inverse_variance",
            Method::WeightedMean => "weighted_mean",
            Method::TrimmedMean => "trimmed_mean",
            Method::Median => "median",
            Method::CovarianceIntersection => "covariance_intersection",
        }
    }
}

/// The share trimmed from each side where none is given.
pub const TRIM_DEFAULT: f64 = 0.1;

/// What the opener sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = fusion::numeric::Rules)]
pub struct Rules {
    /// How values become one.
    #[serde(default)]
    pub method: Method,
    /// `trimmed_mean`: the share trimmed from each side, from 0 to less than 0.5; [`TRIM_DEFAULT`] where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trim: Option<f64>,
    /// `weighted_mean`, `median`: what a source counts, 0 or 1e-15 to 1e15; 1 where it is not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// The unit; a signal that states another is left out. Where there is none here, all that state one must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What was observed earlier than this is left out; what says no time is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// What one source says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = fusion::numeric::Signal)]
pub struct Signal {
    /// Who says it; once each.
    pub source: String,
    /// The value, from -1e15 to 1e15; below 1e-30 in magnitude it counts as 0.
    pub value: f64,
    /// The variance of its error, in the square of its unit, from 1e-30 to 1e15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
    /// How sure the source is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// When it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// The unit of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::numeric::Outcome)]
pub struct Outcome {
    /// The fused value, between the least and the greatest that counted.
    pub value: f64,
    /// Its variance, where the method and the signals tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
    /// The greatest variance that it can have, whatever the errors have in common: the square of sum(share × deviation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variance_bound: Option<f64>,
    /// How far apart those are that counted.
    pub spread: Spread,
    /// The share of each source that counted; together 1.
    pub weights: BTreeMap<String, f64>,
    /// Who did not count, by source.
    pub left_out: Vec<LeftOut>,
    /// The unit, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A few sentences.
    pub explanation: Vec<String>,
}

/// How far apart values are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::numeric::Spread)]
pub struct Spread {
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
    /// The root of the mean square of the distances from the fused value, by share.
    pub deviation: f64,
}

/// A signal that passed every check.
#[derive(Clone)]
struct Counted<'a> {
    source: &'a str,
    value: Exact,
    variance: Option<f64>,
    /// What the rules and the source give it.
    weight: Exact,
}

/// Fuses the signals.
///
/// # Errors
/// `invalid_argument`: rules or a signal out of range, a source twice, units that differ, none left to count.
pub fn outcome(rules: &Rules, signals: &[Signal]) -> Result<Outcome, Error> {
    let weights = rules.checked()?;
    intake::count(signals.len(), "signals", "/signals")?;
    intake::distinct(signals.iter().map(|s| s.source.as_str()), "/signals", "/source")?;
    let unit = rules.unit_of(signals)?;

    let (mut counted, mut left_out) = (Vec::new(), Vec::new());
    for (i, signal) in signals.iter().enumerate() {
        let read = signal.counted(&weights, &format!("/signals/{i}"))?;
        match rules.reason_against(signal, &read) {
            Some(reason) => left_out.push(left(&read, reason)),
            None => counted.push(read),
        }
    }
    counted.sort_by(|a, b| (&a.value, a.source).cmp(&(&b.value, b.source)));
    let counted = weigh(rules, counted, &mut left_out);
    left_out.sort_unstable();
    if counted.is_empty() {
        return Err(Error::invalid(none_left(&left_out)).with_field("/signals"));
    }
    compose(rules, &counted, left_out, unit).ok_or_else(|| {
        Error::invalid("the weights add up to 0: at least one must be more than 0")
            .with_field("/rules/weights")
    })
}

/// Gives each the weight that the method gives it, and leaves out those to whom it gives none. By value, then by source.
fn weigh<'a>(rules: &Rules, each: Vec<Counted<'a>>, left_out: &mut Vec<LeftOut>) -> Vec<Counted<'a>> {
    match rules.method {
        Method::WeightedMean | Method::Median => each,
        Method::InverseVariance => each
            .into_iter()
            .map(|c| Counted { weight: c.variance.map_or_else(Exact::zero, |v| intake::exact(1.0 / v)), ..c })
            .collect(),
        Method::TrimmedMean => {
            let cut = trimmed(each.len(), rules.trim.unwrap_or(TRIM_DEFAULT));
            let end = each.len() - cut;
            left_out.extend(each[..cut].iter().map(|c| left(c, Reason::TrimmedLow)));
            left_out.extend(each[end..].iter().map(|c| left(c, Reason::TrimmedHigh)));
            each[cut..end].iter().map(|c| Counted { weight: Exact::one(), ..c.clone() }).collect()
        }
        Method::CovarianceIntersection => {
            let least = each.iter().filter_map(|c| c.variance).fold(f64::INFINITY, f64::min);
            let (best, others): (Vec<_>, Vec<_>) = each.into_iter().partition(|c| c.variance == Some(least));
            left_out.extend(others.iter().map(|c| left(c, Reason::GreaterVariance)));
            best.into_iter().map(|c| Counted { weight: Exact::one(), ..c }).collect()
        }
    }
}

/// How many of `len` are trimmed from each side: the whole part of `share × len` in double precision, as
/// `scipy.stats.trim_mean` has it. (So 0.29 of 100 is 28: the product of these doubles is less than 29.)
pub fn trimmed(len: usize, share: f64) -> usize {
    // The product is less than half of `len`, so it fits.
    ((share * len as f64) as usize).min(len.saturating_sub(1) / 2)
}

/// Nothing where the weights add up to 0.
fn compose(
    rules: &Rules,
    counted: &[Counted<'_>],
    left_out: Vec<LeftOut>,
    unit: Option<String>,
) -> Option<Outcome> {
    let pairs: Vec<(Exact, Exact)> = counted.iter().map(|c| (c.value.clone(), c.weight.clone())).collect();
    let value = match rules.method {
        Method::Median => statistics::weighted_median(&pairs)?,
        _ => statistics::weighted_mean(&pairs)?,
    };
    let all = statistics::total(counted.iter().map(|c| &c.weight));
    let shares = counted.iter().map(|c| c.weight.checked_div(&all)).collect::<Option<Vec<_>>>()?;
    let spread = Spread {
        least: counted.first()?.value.to_f64(),
        greatest: counted.last()?.value.to_f64(),
        deviation: statistics::weighted_square(&pairs, &value)?.to_f64().sqrt(),
    };
    let (variance, variance_bound) = variances(rules.method, counted, &shares, &all);
    let value = value.to_f64().clamp(spread.least, spread.greatest);
    let weights: BTreeMap<String, f64> =
        counted.iter().zip(&shares).map(|(c, share)| (c.source.to_owned(), share.to_f64())).collect();
    let explanation = explain(rules, value, variance, &spread, weights.len(), &left_out, unit.as_deref());
    Some(Outcome { value, variance, variance_bound, spread, weights, left_out, unit, explanation })
}

/// The variance where the errors are independent, and the greatest there can be.
fn variances(
    method: Method,
    counted: &[Counted<'_>],
    shares: &[Exact],
    all: &Exact,
) -> (Option<f64>, Option<f64>) {
    let known: Option<Vec<f64>> = counted.iter().map(|c| c.variance).collect();
    let Some(known) = known else { return (None, None) };
    let deviation: Exact = shares.iter().zip(&known).map(|(share, v)| share * &intake::exact(v.sqrt())).sum();
    let bound = Some((&deviation * &deviation).to_f64());
    match method {
        Method::TrimmedMean | Method::Median => (None, None),
        Method::InverseVariance => (Exact::one().checked_div(all).map(|v| v.to_f64()), bound),
        Method::CovarianceIntersection => (known.first().copied(), known.first().copied()),
        Method::WeightedMean => {
            let sum: Exact =
                shares.iter().zip(&known).map(|(share, v)| &(share * share) * &intake::exact(*v)).sum();
            (Some(sum.to_f64()), bound)
        }
    }
}

fn explain(
    rules: &Rules,
    value: f64,
    variance: Option<f64>,
    spread: &Spread,
    counted: usize,
    left_out: &[LeftOut],
    unit: Option<&str>,
) -> Vec<String> {
    let unit = unit.map_or_else(String::new, |unit| format!(" {unit}"));
    let method = rules.method.as_str();
    let mut told = vec![format!("{method} of {counted} gives {value}{unit}.")];
    told.push(format!("Those that counted lie between {} and {}{unit}.", spread.least, spread.greatest));
    if let Some(variance) = variance {
        told.push(match rules.method {
            Method::CovarianceIntersection => {
                format!("Its variance is at most {variance}, whatever the errors have in common.")
            }
            _ => format!("Its variance is {variance} if the errors are independent."),
        });
    }
    if !left_out.is_empty() {
        told.push(format!("Left out: {}.", named(left_out)));
    }
    told
}

/// The first few by name, with the reason, and how many more.
pub(crate) fn named(left_out: &[LeftOut]) -> String {
    let mut told: Vec<String> =
        left_out.iter().take(10).map(|l| format!("{} ({})", l.source, l.reason.as_str())).collect();
    if left_out.len() > told.len() {
        told.push(format!("and {} more", left_out.len() - told.len()));
    }
    told.join(", ")
}

/// Why there is nothing to count.
pub(crate) fn none_left(left_out: &[LeftOut]) -> String {
    format!("none is left to count: {}; at least one must count", named(left_out))
}

fn left(counted: &Counted<'_>, reason: Reason) -> LeftOut {
    LeftOut { source: counted.source.to_owned(), reason }
}

impl Rules {
    /// The weights, where everything else is right too.
    fn checked(&self) -> Result<BTreeMap<String, Exact>, Error> {
        if let Some(trim) = self.trim {
            if self.method != Method::TrimmedMean {
                return Err(
                    Error::invalid("trim is for trimmed_mean only: leave it out").with_field("/rules/trim")
                );
            }
            if !(0.0..0.5).contains(&trim) {
                return Err(Error::invalid(format!("{trim} cannot be trimmed: from 0 to less than 0.5"))
                    .with_field("/rules/trim"));
            }
        }
        let is_weighing = matches!(self.method, Method::WeightedMean | Method::Median);
        if !self.weights.is_empty() && !is_weighing {
            return Err(Error::invalid("weights are for weighted_mean and median only: leave them out")
                .with_field("/rules/weights"));
        }
        self.unit.as_ref().map_or(Ok(()), |unit| intake::name(unit, "/rules/unit"))?;
        intake::weights(&self.weights, intake::NUMBER_MAX, "/rules/weights")
    }

    /// The unit of the value: the rules', or the one that all agree on.
    fn unit_of(&self, signals: &[Signal]) -> Result<Option<String>, Error> {
        let mut unit = self.unit.as_deref();
        for (i, signal) in signals.iter().enumerate() {
            let Some(stated) = signal.unit.as_deref() else { continue };
            let field = format!("/signals/{i}/unit");
            intake::name(stated, &field)?;
            let known = *unit.get_or_insert(stated);
            if self.unit.is_none() && known != stated {
                return Err(Error::invalid(format!(
                    "{stated} and {known} cannot be fused: one unit, or the rules say which counts"
                ))
                .with_field(field));
            }
        }
        Ok(unit.map(str::to_owned))
    }

    /// Why a signal does not count, if so; the first that holds.
    fn reason_against(&self, signal: &Signal, read: &Counted<'_>) -> Option<Reason> {
        let needs_variance = matches!(self.method, Method::InverseVariance | Method::CovarianceIntersection);
        let is_other = |unit: &String| self.unit.as_ref().is_some_and(|wanted| wanted != unit);
        let is_old = |at: Timestamp| self.not_before.is_some_and(|first| at < first);
        if signal.unit.as_ref().is_some_and(is_other) {
            Some(Reason::OtherUnit)
        } else if signal.observed_at.is_some_and(is_old) {
            Some(Reason::TooOld)
        } else if signal.confidence == Some(0.0) {
            Some(Reason::ZeroConfidence)
        } else if read.weight.is_zero() {
            Some(Reason::ZeroWeight)
        } else if needs_variance && signal.variance.is_none() {
            Some(Reason::NoVariance)
        } else {
            None
        }
    }
}

impl Signal {
    fn counted<'a>(&'a self, weights: &BTreeMap<String, Exact>, field: &str) -> Result<Counted<'a>, Error> {
        let value = intake::number(self.value, &format!("{field}/value"))?;
        let variance = self.variance.map(|v| intake::variance(v, field)).transpose()?;
        let confidence = intake::confidence(self.confidence, field)?;
        let weight = weights.get(&self.source).map_or_else(|| confidence.clone(), |w| w * &confidence);
        Ok(Counted { source: &self.source, value, variance, weight })
    }
}
