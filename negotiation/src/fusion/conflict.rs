//! Sources that contradict each other: agreed, or contested with the camps named.
//!
//! ```text
//!    weight = confidence x track record x 2^(-age / half_life_ms)
//!
//!    labels:  the leader has agree_share of the weight, alone  --> agreed, else contested: one camp each label
//!    values:  two or more camps lie apart                      --> contested
//!             a few lie apart, or have a high modified z-score --> outliers, named and left out
//!             those would be as much as a camp                 --> contested
//!             else                                             --> agreed on the weighted mean of the rest
//! ```
//!
//! A mean between camps is a value that nobody holds, so there is none: a contested outcome has camps and no value.
//! Modified z-score: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): `0.6745 (x - median) / MAD`.

use super::line;
use super::numeric::{named, none_left};
use super::{LeftOut, Reason, intake, statistics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Timestamp};

/// The most half-lives that an age counts.
pub const HALF_LIVES_MAX: f64 = 60.0;
/// The longest half-life: 100 years.
pub const HALF_LIFE_MAX_MS: u64 = 100 * 366 * 24 * 3_600_000;

/// What the opener sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = fusion::conflict::Rules)]
pub struct Rules {
    /// The age at which a claim counts half, 1 to 3,162,240,000,000 ms; none: age does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_ms: Option<u64>,
    /// How far a source was right before: 0, or 1e-15 to 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub track_records: BTreeMap<String, f64>,
    /// The track record of a source that is not named: 0, or 1e-15 to 1; default 1.
    pub unknown_track_record: f64,
    /// Values this close say the same, 0 to 1e15, in their unit; default 0.
    pub tolerance: f64,
    /// A modified z-score above this, either way, is an outlier: 1 to 1e6; default 3.5.
    pub outlier_score: f64,
    /// A gap more than this many times as wide as the widest group parts camps: 1 to 1e6; default 3.
    pub camp_gap: f64,
    /// The share of the weight that makes a group a camp: 0.05 to 0.5; default 0.3.
    pub camp_share: f64,
    /// Labels: the share of the weight at which the leader is agreed: 0.05 to 1; default 0.6.
    pub agree_share: f64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            half_life_ms: None,
            track_records: BTreeMap::new(),
            unknown_track_record: 1.0,
            tolerance: 0.0,
            outlier_score: 3.5,
            camp_gap: 3.0,
            camp_share: 0.3,
            agree_share: 0.6,
        }
    }
}

/// What one source claims: a value or a label, the same kind for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = fusion::conflict::Claim)]
pub struct Claim {
    /// Who claims it; once each.
    pub source: String,
    /// The value, from -1e15 to 1e15; below 1e-30 in magnitude it counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The label, 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure the source is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// When it was observed; of no age where it does not say, or says a time to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
}

/// Whether there is one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = fusion::conflict::Verdict)]
pub enum Verdict {
    /// There is: `value` or `label`.
    Agreed,
    /// There is none: see the camps.
    Contested,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::conflict::Outcome)]
pub struct Outcome {
    /// Whether there is one answer.
    pub verdict: Verdict,
    /// The value agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The label agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Who holds what: the most weight first, then by value or label. One camp where a value is agreed on.
    pub camps: Vec<Camp>,
    /// Who is in no camp, by source.
    pub outliers: Vec<Outlier>,
    /// What each source that counted weighs, and why.
    pub weights: BTreeMap<String, Weight>,
    /// Who did not count, by source.
    pub left_out: Vec<LeftOut>,
    /// A few sentences.
    pub explanation: Vec<String>,
}

/// Sources that say the same, or nearly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::conflict::Camp)]
pub struct Camp {
    /// The weighted mean of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// Its greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greatest: Option<f64>,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its sources, in the order of their names.
    pub members: Vec<String>,
    /// Its share of the weight of all that counted.
    pub share: f64,
}

/// A source that is in no camp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::conflict::Outlier)]
pub struct Outlier {
    /// Who.
    pub source: String,
    /// What it said.
    pub value: f64,
    /// Its modified z-score among all that counted; none where MAD is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why it is in no camp.
    pub because: Because,
}

/// Why a source is in no camp; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = fusion::conflict::Because)]
pub enum Because {
    /// A wide gap parts it from every camp, and its group has too little weight to be one.
    Apart,
    /// Its modified z-score is above `outlier_score`.
    Score,
    /// At least half of the sources say exactly the same (MAD is 0), and this one says something else.
    NotTheSame,
}

/// What a source weighs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::conflict::Weight)]
pub struct Weight {
    /// As it says.
    pub confidence: f64,
    /// As the rules say.
    pub track_record: f64,
    /// For its age: 2^(-age / half-life).
    pub discount: f64,
    /// Its part of the weight of all that counted.
    pub share: f64,
}

/// A claim that passed every check.
struct Counted<'a> {
    claim: &'a Claim,
    confidence: Exact,
    track_record: Exact,
    discount: f64,
    weight: Exact,
}

/// What the sources agree on at `now`, or who stands against whom.
///
/// # Errors
/// `invalid_argument`: rules or a claim out of range, a source twice, values and labels mixed, none left to count.
pub fn resolve(rules: &Rules, claims: &[Claim], now: Timestamp) -> Result<Outcome, Error> {
    rules.check()?;
    let records = intake::weights(&rules.track_records, 1.0, "/rules/track_records")?;
    intake::count(claims.len(), "claims", "/claims")?;
    intake::distinct(claims.iter().map(|c| c.source.as_str()), "/claims", "/source")?;
    let is_value = claims.first().is_some_and(|first| first.value.is_some());
    let (mut counted, mut left_out) = (Vec::new(), Vec::new());
    for (i, claim) in claims.iter().enumerate() {
        claim.check(is_value, &format!("/claims/{i}"))?;
        let read = counted_at(rules, &records, claim, now, &format!("/claims/{i}"))?;
        let reason = if read.confidence.is_zero() { Reason::ZeroConfidence } else { Reason::ZeroWeight };
        if read.weight.is_zero() {
            left_out.push(LeftOut { source: claim.source.clone(), reason });
        } else {
            counted.push(read);
        }
    }
    counted.sort_by(|a, b| a.claim.source.cmp(&b.claim.source));
    left_out.sort_unstable();
    if counted.is_empty() {
        return Err(Error::invalid(none_left(&left_out)).with_field("/claims"));
    }
    let all = statistics::total(counted.iter().map(|c| &c.weight));
    let shares: Vec<Exact> = counted.iter().map(|c| &c.weight / &all).collect();
    let mut outcome = if is_value {
        line::of_values(rules, &each_on_line(&counted, &shares))
    } else {
        of_labels(rules, &counted, &shares)
    };
    outcome.weights =
        counted.iter().zip(&shares).map(|(c, share)| (c.claim.source.clone(), c.told(share))).collect();
    if !left_out.is_empty() {
        outcome.explanation.push(format!("Left out: {}.", named(&left_out)));
    }
    outcome.left_out = left_out;
    Ok(outcome)
}

/// 2^(-age / half-life), the age counted up to [`HALF_LIVES_MAX`] half-lives; 1 where there is no age.
pub fn discount(age_ms: u64, half_life_ms: u64) -> f64 {
    let half_lives = age_ms as f64 / half_life_ms.max(1) as f64;
    libm::exp2(-half_lives.min(HALF_LIVES_MAX))
}

fn of_labels(rules: &Rules, counted: &[Counted<'_>], shares: &[Exact]) -> Outcome {
    let mut by_label: BTreeMap<&str, (Exact, Vec<String>)> = BTreeMap::new();
    for (each, share) in counted.iter().zip(shares) {
        let label = each.claim.label.as_deref().unwrap_or_default();
        let (sum, members) = by_label.entry(label).or_insert_with(|| (Exact::zero(), Vec::new()));
        *sum = &*sum + share;
        members.push(each.claim.source.clone());
    }
    let mut held: Vec<(&str, Exact, Vec<String>)> =
        by_label.into_iter().map(|(label, (share, members))| (label, share, members)).collect();
    held.sort_by(|a, b| (&b.1, a.0).cmp(&(&a.1, b.0)));
    let is_alone = held.len() < 2 || held[0].1 > held[1].1;
    let agreed = held.first().filter(|(_, share, _)| is_alone && *share >= intake::exact(rules.agree_share));
    let label = agreed.map(|(label, ..)| (*label).to_owned());
    let camps: Vec<Camp> = held
        .iter()
        .map(|(label, share, members)| Camp {
            value: None,
            least: None,
            greatest: None,
            label: Some((*label).to_owned()),
            members: members.clone(),
            share: share.to_f64(),
        })
        .collect();
    let leading = camps.first().map_or(0.0, |camp| camp.share);
    let told = match &label {
        Some(label) => format!("{label} is agreed on, with {leading} of the weight."),
        None if !is_alone => format!("Contested: several labels have {leading} of the weight each."),
        None => format!(
            "Contested: the leading label has {leading} of the weight, less than {}.",
            rules.agree_share
        ),
    };
    let verdict = if label.is_some() { Verdict::Agreed } else { Verdict::Contested };
    Outcome { label, ..Outcome::of(verdict, camps, Vec::new(), told) }
}

/// Values with their sources and shares.
fn each_on_line<'a>(counted: &[Counted<'a>], shares: &[Exact]) -> Vec<(Exact, &'a str, Exact)> {
    let value = |c: &Counted<'a>| intake::exact(c.claim.value.unwrap_or_default());
    counted.iter().zip(shares).map(|(c, share)| (value(c), c.claim.source.as_str(), share.clone())).collect()
}

impl Outcome {
    pub(super) fn of(verdict: Verdict, camps: Vec<Camp>, outliers: Vec<Outlier>, told: String) -> Outcome {
        Outcome {
            verdict,
            value: None,
            label: None,
            camps,
            outliers,
            weights: BTreeMap::new(),
            left_out: Vec::new(),
            explanation: vec![told],
        }
    }
}

impl Counted<'_> {
    fn told(&self, share: &Exact) -> Weight {
        Weight {
            confidence: self.confidence.to_f64(),
            track_record: self.track_record.to_f64(),
            discount: self.discount,
            share: share.to_f64(),
        }
    }
}

fn counted_at<'a>(
    rules: &Rules,
    records: &BTreeMap<String, Exact>,
    claim: &'a Claim,
    now: Timestamp,
    field: &str,
) -> Result<Counted<'a>, Error> {
    let confidence = intake::confidence(claim.confidence, field)?;
    let unknown = || intake::exact(rules.unknown_track_record);
    let track_record = records.get(&claim.source).cloned().unwrap_or_else(unknown);
    let age_ms = claim.observed_at.map_or(0, |at| now.millis_since(at));
    let discount = rules.half_life_ms.map_or(1.0, |half_life_ms| discount(age_ms, half_life_ms));
    let weight = &(&confidence * &track_record) * &intake::exact(discount);
    Ok(Counted { claim, confidence, track_record, discount, weight })
}

impl Rules {
    /// # Errors
    /// `invalid_argument`: a rule out of its range.
    fn check(&self) -> Result<(), Error> {
        if let Some(half_life_ms) = self.half_life_ms.filter(|ms| !(1..=HALF_LIFE_MAX_MS).contains(ms)) {
            return Err(Error::invalid(format!(
                "a half-life of {half_life_ms} ms is out of range: it must be between 1 and {HALF_LIFE_MAX_MS}"
            ))
            .with_field("/rules/half_life_ms"));
        }
        intake::weight(self.unknown_track_record, 1.0, "/rules/unknown_track_record")?;
        for (value, least, most, field) in [
            (self.tolerance, 0.0, intake::NUMBER_MAX, "/rules/tolerance"),
            (self.outlier_score, 1.0, 1e6, "/rules/outlier_score"),
            (self.camp_gap, 1.0, 1e6, "/rules/camp_gap"),
            (self.camp_share, 0.05, 0.5, "/rules/camp_share"),
            (self.agree_share, 0.05, 1.0, "/rules/agree_share"),
        ] {
            intake::number_within(value, least, most, field)?;
        }
        Ok(())
    }
}

impl Claim {
    fn check(&self, is_value: bool, field: &str) -> Result<(), Error> {
        match (self.value, &self.label) {
            (Some(value), None) if is_value => intake::number(value, &format!("{field}/value")).map(drop),
            (None, Some(label)) if !is_value => intake::name(label, &format!("{field}/label")),
            _ => Err(Error::invalid(
                "a claim has either a value or a label, and all claims have the same of the two",
            )
            .with_field(field)),
        }
    }
}
