//! One label from many: votes by weight, or distributions pooled.
//!
//! | method | score of a category |
//! |---|---|
//! | `weighted_vote` | the share of the weight of those who name it |
//! | `linear_opinion_pool` | the weighted mean of its probabilities (Stone, 1961) |
//! | `log_opinion_pool` | the weighted geometric mean of its probabilities, over the sum of all (Genest and Zidek, 1986) |
//!
//! A label stands for the distribution that has all on it. A distribution votes for its most probable category, and
//! for several alike by equal parts. In the logarithmic pool a category to which anybody who counts gives 0 has 0: each
//! holds a veto, unless the rules set a floor. Where every category is vetoed there is no winner.

use super::numeric::{named, none_left};
use super::{LeftOut, Reason, intake, statistics};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::{Error, Exact};

/// How labels become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = fusion::categorical::Method)]
pub enum Method {
    /// The most weight wins. Counted exactly.
    #[default]
    WeightedVote,
    /// The weighted mean of the distributions.
    LinearOpinionPool,
    /// The weighted geometric mean of the distributions.
    LogOpinionPool,
}

impl Method {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::WeightedVote => "weighted_vote",
            Method::LinearOpinionPool => "linear_opinion_pool",
            Method::LogOpinionPool => "log_opinion_pool",
        }
    }
}

/// The most categories.
pub const CATEGORIES_MAX: usize = 100;
/// How far the sum of a distribution may be from 1.
pub const SUM_TOLERANCE: f64 = 1e-9;
/// Pooled probabilities this close to the greatest are a tie with it.
pub const TIE_TOLERANCE: f64 = 1e-12;

/// What the opener sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = fusion::categorical::Rules)]
pub struct Rules {
    /// How labels become one.
    #[serde(default)]
    pub method: Method,
    /// What may be said, 1 to 100; of several alike the first one here wins.
    pub categories: Vec<String>,
    /// What a source counts, 0 or 1e-15 to 1e15; 1 where it is not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// `log_opinion_pool`: what is less probable than this is raised to it, and the distribution divided by its new sum.
    /// More than 0, at most 1 / the number of categories. None: 0 is a veto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
}

/// What one source says: a label or a distribution, one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = fusion::categorical::Signal)]
pub struct Signal {
    /// Who says it; once each.
    pub source: String,
    /// One of the categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The probability of each category, 0 to 1, together 1 within 1e-9 (they are then divided by their sum); 0 where one is
    /// not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<BTreeMap<String, f64>>,
    /// How sure the source is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::categorical::Outcome)]
pub struct Outcome {
    /// The category with the highest score; none where every category is vetoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
    /// All that have the highest score, in the order of the categories, where there are several.
    pub tied: Vec<String>,
    /// The score of the winner less that of the next category, which is 0 where there is only one.
    pub margin: f64,
    /// Every category and its score, in the order of the categories; together 1, or all 0 where all are vetoed.
    pub scores: Vec<Score>,
    /// `log_opinion_pool`: the categories that somebody gives 0, in the order of the categories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vetoed: Vec<String>,
    /// The share of each source that counted; together 1.
    pub weights: BTreeMap<String, f64>,
    /// Who did not count, by source.
    pub left_out: Vec<LeftOut>,
    /// A few sentences.
    pub explanation: Vec<String>,
}

/// What a category comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::categorical::Score)]
pub struct Score {
    /// Which one.
    pub category: String,
    /// Its share of the votes, or its pooled probability.
    pub score: f64,
}

/// A signal that passed every check.
struct Counted<'a> {
    source: &'a str,
    weight: Exact,
    /// By category, as it was given.
    given: Vec<f64>,
}

/// Fuses the signals.
///
/// # Errors
/// `invalid_argument`: rules or a signal out of range, a category or source twice or unknown, none left to count.
pub fn outcome(rules: &Rules, signals: &[Signal]) -> Result<Outcome, Error> {
    let weights = rules.checked()?;
    intake::count(signals.len(), "signals", "/signals")?;
    intake::distinct(signals.iter().map(|s| s.source.as_str()), "/signals", "/source")?;
    let places: BTreeMap<&str, usize> =
        rules.categories.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();

    let (mut counted, mut left_out) = (Vec::new(), Vec::new());
    for (i, signal) in signals.iter().enumerate() {
        let read = signal.counted(&weights, &places, &format!("/signals/{i}"))?;
        let reason = if signal.confidence == Some(0.0) { Reason::ZeroConfidence } else { Reason::ZeroWeight };
        if read.weight.is_zero() {
            left_out.push(LeftOut { source: signal.source.clone(), reason });
        } else {
            counted.push(read);
        }
    }
    counted.sort_by_key(|c| c.source);
    left_out.sort_unstable();
    if counted.is_empty() {
        return Err(Error::invalid(none_left(&left_out)).with_field("/signals"));
    }
    let all = statistics::total(counted.iter().map(|c| &c.weight));
    let shares: Vec<f64> = counted.iter().map(|c| (&c.weight / &all).to_f64()).collect();
    let tally = match rules.method {
        Method::WeightedVote => votes(&counted, &all, rules.categories.len()),
        Method::LinearOpinionPool => pooled(&linear_pool(&distributions(&counted, None), &shares)),
        Method::LogOpinionPool => pooled(&log_pool(&distributions(&counted, rules.floor), &shares)),
    };
    let weights = counted.iter().zip(shares).map(|(c, share)| (c.source.to_owned(), share)).collect();
    Ok(compose(rules, tally, weights, left_out))
}

/// Scores by category, which are the highest, and by how much.
struct Tally {
    scores: Vec<f64>,
    leaders: Vec<usize>,
    margin: f64,
}

/// Counts votes without rounding.
fn votes(counted: &[Counted<'_>], all: &Exact, categories: usize) -> Tally {
    let mut sums = vec![Exact::zero(); categories];
    for each in counted {
        let most = each.given.iter().copied().fold(0.0, f64::max);
        let named: Vec<usize> = (0..categories).filter(|&c| each.given[c] == most).collect();
        let part = &each.weight / &Exact::from(named.len() as u64);
        for category in named {
            sums[category] = &sums[category] + &part;
        }
    }
    let highest = sums.iter().max().cloned().unwrap_or_else(Exact::zero);
    let leaders: Vec<usize> = (0..categories).filter(|&c| sums[c] == highest).collect();
    let next = sums.iter().enumerate().filter(|(c, _)| Some(c) != leaders.first()).map(|(_, sum)| sum).max();
    let margin = next.map_or_else(|| highest.clone(), |next| &highest - next);
    let scores = sums.iter().map(|sum| (sum / all).to_f64()).collect();
    Tally { scores, leaders, margin: (&margin / all).to_f64() }
}

/// What a pool comes to; no leader where all are 0.
fn pooled(scores: &[f64]) -> Tally {
    let highest = scores.iter().copied().fold(0.0, f64::max);
    let is_leading = |c: &usize| highest > 0.0 && highest - scores[*c] <= TIE_TOLERANCE;
    let leaders: Vec<usize> = (0..scores.len()).filter(is_leading).collect();
    let others = (0..scores.len()).filter(|c| Some(c) != leaders.first());
    let next = others.map(|c| scores[c]).fold(0.0, f64::max);
    let margin = if leaders.len() > 1 { 0.0 } else { highest - next };
    Tally { scores: scores.to_vec(), leaders, margin }
}

/// The weighted mean of distributions of the same length. The shares add up to 1.
pub fn linear_pool(distributions: &[Vec<f64>], shares: &[f64]) -> Vec<f64> {
    let categories = distributions.first().map_or(0, Vec::len);
    let means = (0..categories)
        .map(|c| sum(distributions.iter().zip(shares).map(|(each, share)| share * each[c])))
        .collect();
    normalised(means)
}

/// The weighted geometric mean of distributions of the same length, over its sum; all 0 where each category has a 0
/// somewhere. The shares are more than 0 and add up to 1. Logarithms less their greatest, so that nothing underflows
/// that matters: a pooled probability below about 1e-308 of the greatest is 0.
pub fn log_pool(distributions: &[Vec<f64>], shares: &[f64]) -> Vec<f64> {
    let categories = distributions.first().map_or(0, Vec::len);
    let logs: Vec<f64> = (0..categories)
        .map(|c| {
            if distributions.iter().any(|each| each[c] <= 0.0) {
                return f64::NEG_INFINITY;
            }
            sum(distributions.iter().zip(shares).map(|(each, share)| share * libm::log(each[c])))
        })
        .collect();
    let greatest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if greatest == f64::NEG_INFINITY {
        return vec![0.0; categories];
    }
    normalised(logs.iter().map(|log| libm::exp(log - greatest)).collect())
}

/// Each over the sum of all.
fn normalised(each: Vec<f64>) -> Vec<f64> {
    let all = sum(each.iter().copied());
    each.into_iter().map(|one| one / all).collect()
}

/// The distributions as they are pooled: divided by their sum, raised to the floor, divided again.
fn distributions(counted: &[Counted<'_>], floor: Option<f64>) -> Vec<Vec<f64>> {
    let raised = |each: Vec<f64>| match floor {
        Some(floor) => normalised(each.into_iter().map(|p| p.max(floor)).collect()),
        None => each,
    };
    counted.iter().map(|c| raised(normalised(c.given.clone()))).collect()
}

/// The sum with its rounding errors carried along (Neumaier, 1974), in the order given.
pub fn sum(each: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for one in each {
        let next = sum + one;
        lost += if sum.abs() >= one.abs() { (sum - next) + one } else { (one - next) + sum };
        sum = next;
    }
    sum + lost
}

fn compose(rules: &Rules, tally: Tally, weights: BTreeMap<String, f64>, left_out: Vec<LeftOut>) -> Outcome {
    let name = |c: &usize| rules.categories[*c].clone();
    let winner = tally.leaders.first().map(name);
    let tied: Vec<String> =
        if tally.leaders.len() > 1 { tally.leaders.iter().map(name).collect() } else { Vec::new() };
    let is_log = rules.method == Method::LogOpinionPool;
    let vetoed: Vec<String> =
        (0..tally.scores.len()).filter(|&c| is_log && tally.scores[c] == 0.0).map(|c| name(&c)).collect();
    let mut explanation = Vec::new();
    match (&winner, tally.leaders.first()) {
        (Some(winner), Some(&first)) => explanation.push(format!(
            "{} of {} gives {winner} with {}, {} ahead of the next.",
            rules.method.as_str(),
            weights.len(),
            tally.scores[first],
            tally.margin
        )),
        _ => explanation.push("Each category is given 0 by somebody, so there is no winner.".to_owned()),
    }
    if !tied.is_empty() {
        explanation.push(format!("{} are level; the first of the categories wins.", some(&tied)));
    }
    if !vetoed.is_empty() && winner.is_some() {
        explanation.push(format!("Given 0 by somebody, so they have 0: {}.", some(&vetoed)));
    }
    if !left_out.is_empty() {
        explanation.push(format!("Left out: {}.", named(&left_out)));
    }
    let scores = rules.categories.iter().cloned().zip(tally.scores);
    let scores = scores.map(|(category, score)| Score { category, score }).collect();
    Outcome { winner, tied, margin: tally.margin, scores, vetoed, weights, left_out, explanation }
}

/// The first few, and how many more.
fn some(names: &[String]) -> String {
    let shown = &names[..names.len().min(10)];
    let more = names.len() - shown.len();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

impl Rules {
    /// The weights, where everything else is right too.
    fn checked(&self) -> Result<BTreeMap<String, Exact>, Error> {
        let len = self.categories.len();
        intake::count(len, "categories", "/rules/categories")?;
        if len > CATEGORIES_MAX {
            return Err(Error::invalid(format!(
                "{len} categories are too many: at most {CATEGORIES_MAX} are taken"
            ))
            .with_field("/rules/categories"));
        }
        intake::distinct(self.categories.iter().map(String::as_str), "/rules/categories", "")?;
        if let Some(floor) = self.floor {
            if self.method != Method::LogOpinionPool {
                return Err(Error::invalid("floor is for log_opinion_pool only: leave it out")
                    .with_field("/rules/floor"));
            }
            let most = 1.0 / len as f64;
            if !(f64::MIN_POSITIVE..=most).contains(&floor) {
                return Err(Error::invalid(format!(
                    "{floor} is no floor: it must be more than 0 and at most {most}, one by the number of categories"
                ))
                .with_field("/rules/floor"));
            }
        }
        intake::weights(&self.weights, intake::NUMBER_MAX, "/rules/weights")
    }
}

impl Signal {
    fn counted<'a>(
        &'a self,
        weights: &BTreeMap<String, Exact>,
        places: &BTreeMap<&str, usize>,
        field: &str,
    ) -> Result<Counted<'a>, Error> {
        let confidence = intake::confidence(self.confidence, field)?;
        let weight = weights.get(&self.source).map_or_else(|| confidence.clone(), |w| w * &confidence);
        let given = match (&self.label, &self.probabilities) {
            (Some(label), None) => {
                let mut given = vec![0.0; places.len()];
                given[place(places, label, &format!("{field}/label"))?] = 1.0;
                given
            }
            (None, Some(probabilities)) => distribution(probabilities, places, field)?,
            _ => {
                return Err(Error::invalid("a signal has either a label or probabilities: one of the two")
                    .with_field(field));
            }
        };
        Ok(Counted { source: &self.source, weight, given })
    }
}

fn place(places: &BTreeMap<&str, usize>, category: &str, field: &str) -> Result<usize, Error> {
    places.get(category).copied().ok_or_else(|| {
        let shown: String = category.chars().take(80).collect();
        let known: BTreeSet<&str> = places.keys().copied().take(10).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Error::invalid(format!("{shown} is none of the categories, such as {known}")).with_field(field)
    })
}

/// By category, 0 where one is not named.
fn distribution(
    probabilities: &BTreeMap<String, f64>,
    places: &BTreeMap<&str, usize>,
    field: &str,
) -> Result<Vec<f64>, Error> {
    let field = format!("{field}/probabilities");
    let mut given = vec![0.0; places.len()];
    for (category, &p) in probabilities {
        let at = format!("{field}/{}", category.replace('~', "~0").replace('/', "~1"));
        let place = place(places, category, &at)?;
        if !(0.0..=1.0).contains(&p) {
            return Err(
                Error::invalid(format!("{p} is no probability: it must be between 0 and 1")).with_field(at)
            );
        }
        given[place] = p + 0.0;
    }
    let all = sum(given.iter().copied());
    if (all - 1.0).abs() > SUM_TOLERANCE {
        return Err(Error::invalid(format!("the probabilities add up to {all}: they must add up to 1"))
            .with_field(field));
    }
    Ok(given)
}
