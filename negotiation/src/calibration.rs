//! How true the promises of a bidder turned out: what its next bid is worth by what became of its earlier ones.
//!
//! A bid is multiplied by a factor for each of its figures. Few results say little, so a factor is drawn towards 1 as
//! if [`SHRINKAGE`] promises had been kept exactly: `(sum of the ratios + k) / (n + k)`, which for a mean ratio `r` of `n`
//! results is `(n r + k) / (n + k)`. Nothing is rounded.

use crate::bounds;
use serde::{Deserialize, Serialize};
use synod_protocol::track::{RATIO_MAX, RESULTS as RESULTS_MAX, WorkRecord};
use synod_protocol::{Error, Exact};

/// k: so many results that were exactly as promised are added to those that there are.
pub const SHRINKAGE: u64 = 5;
/// Single results of one participant.
pub const HISTORY_MAX: usize = 50;

/// What became of a participant's earlier promises: means, single results, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackRecord {
    /// How many results the means below are of, 0 to 1,000,000; 0 by default.
    #[serde(default)]
    pub results: u64,
    /// Mean of actual by promised time, 0 to 1,000,000; more than 1 is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub time_ratio: Option<Exact>,
    /// Of how many results that mean is, where not of all; 1 to `results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_results: Option<u64>,
    /// Mean of actual by promised price, 0 to 1,000,000; more than 1 is dear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub price_ratio: Option<Exact>,
    /// Of how many results that mean is, where not of all; 1 to `results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_results: Option<u64>,
    /// Share of commitments that were kept, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub kept: Option<Exact>,
    /// Of how many results that share is, where not of all; 1 to `results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_results: Option<u64>,
    /// Single results, besides those of the means; at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

/// What became of one promise. What is absent says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// The time that was promised, 1 ms to 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised_ms: Option<u64>,
    /// The time that it took, 0 ms to 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_ms: Option<u64>,
    /// The price that was promised, more than 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub promised_price: Option<Exact>,
    /// The price that it had, 0 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub actual_price: Option<Exact>,
    /// Whether there was a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
}

/// By what the figures of a bid are multiplied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Calibration {
    /// How many results are known, single ones and those of means.
    pub results: u64,
    /// The price.
    #[schema(value_type = f64)]
    pub price: Exact,
    /// The time.
    #[schema(value_type = f64)]
    pub time: Exact,
    /// The confidence; at most 1.
    #[schema(value_type = f64)]
    pub confidence: Exact,
}

impl From<WorkRecord> for TrackRecord {
    /// What the mesh has kept, as rules say it.
    fn from(kept: WorkRecord) -> TrackRecord {
        let of = |results: u64| (results != kept.results && results > 0).then_some(results);
        TrackRecord {
            results: kept.results,
            time_results: of(kept.time_results),
            price_results: of(kept.price_results),
            kept_results: of(kept.kept_results),
            time_ratio: kept.time_ratio,
            price_ratio: kept.price_ratio,
            kept: kept.kept,
            history: Vec::new(),
        }
    }
}

impl TrackRecord {
    /// Whether it can be one; `at` is where it stands.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        bounds::within(&format!("{at}/results"), self.results, 0, RESULTS_MAX)?;
        for (name, value, most, (of, results)) in [
            ("time_ratio", &self.time_ratio, RATIO_MAX, ("time_results", self.time_results)),
            ("price_ratio", &self.price_ratio, RATIO_MAX, ("price_results", self.price_results)),
            ("kept", &self.kept, 1, ("kept_results", self.kept_results)),
        ] {
            let Some(value) = value else {
                if results.is_some() {
                    let message = format!("{of} is of how many results {name} is, which is not there");
                    return Err(Error::invalid(message).with_field(format!("{at}/{of}")));
                }
                continue;
            };
            bounds::between(&format!("{at}/{name}"), value, 0, most)?;
            if self.results == 0 {
                let message = format!("{name} is a mean of results; results says of how many, at least 1");
                return Err(Error::invalid(message).with_field(format!("{at}/results")));
            }
            results.map_or(Ok(()), |of_it| bounds::within(&format!("{at}/{of}"), of_it, 1, self.results))?;
        }
        bounds::count(&format!("{at}/history"), self.history.len(), 0, HISTORY_MAX)?;
        self.history.iter().enumerate().try_for_each(|(i, past)| past.check(&format!("{at}/history/{i}")))
    }

    /// By what it multiplies a bid.
    pub fn calibration(&self) -> Calibration {
        let single = |of: fn(&Past) -> Option<Exact>| self.history.iter().filter_map(of).collect::<Vec<_>>();
        let of = |results: Option<u64>| results.unwrap_or(self.results);
        Calibration {
            results: self.results + self.history.len() as u64,
            price: factor(of(self.price_results), self.price_ratio.as_ref(), &single(Past::price_ratio)),
            time: factor(of(self.time_results), self.time_ratio.as_ref(), &single(Past::time_ratio)),
            confidence: factor(of(self.kept_results), self.kept.as_ref(), &single(Past::kept)),
        }
    }
}

impl Default for Calibration {
    /// Of whom nothing is known: a bid is taken as it is.
    fn default() -> Calibration {
        Calibration { results: 0, price: Exact::one(), time: Exact::one(), confidence: Exact::one() }
    }
}

/// `(n mean + sum of single ratios + k) / (n + single ratios + k)`; without a mean `n` is 0.
fn factor(results: u64, mean: Option<&Exact>, single: &[Exact]) -> Exact {
    let (n, of_means) = match mean {
        Some(mean) => (results, &Exact::from(results) * mean),
        None => (0, Exact::zero()),
    };
    let sum = of_means + single.iter().sum() + Exact::from(SHRINKAGE);
    sum.checked_div(&Exact::from(n + single.len() as u64 + SHRINKAGE)).unwrap_or_else(Exact::one)
}

impl Past {
    fn check(&self, at: &str) -> Result<(), Error> {
        bounds::time(&format!("{at}/promised_ms"), self.promised_ms, 1)?;
        bounds::time(&format!("{at}/actual_ms"), self.actual_ms, 0)?;
        if let Some(price) = self.promised_price.as_ref().filter(|price| **price <= Exact::zero()) {
            let message = format!("promised_price is {price}, it must be more than 0");
            return Err(Error::invalid(message).with_field(format!("{at}/promised_price")));
        }
        self.actual_price
            .as_ref()
            .map_or(Ok(()), |price| bounds::not_negative(&format!("{at}/actual_price"), price))
    }

    fn time_ratio(&self) -> Option<Exact> {
        Exact::from(self.actual_ms?).checked_div(&self.promised_ms?.into())
    }

    fn price_ratio(&self) -> Option<Exact> {
        self.actual_price.as_ref()?.checked_div(self.promised_price.as_ref()?)
    }

    fn kept(&self) -> Option<Exact> {
        self.kept.map(|kept| if kept { Exact::one() } else { Exact::zero() })
    }
}
