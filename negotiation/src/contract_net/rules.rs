//! What the opener sets, and what a bidder says.

use super::RESOURCES_MAX;
use crate::bounds::{self, LONGEST_MS};
use crate::calibration::TrackRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Id};

/// How long a bidder has to commit itself where nothing is said, in milliseconds.
const COMMIT_MS: u64 = 5_000;

/// What the opener of a contract net sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What makes a bid good; the price alone by default.
    #[serde(default)]
    pub utility: Option<Weights>,
    /// The highest price that is acceptable, after calibration; 0 or more.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub reserve: Option<Exact>,
    /// The longest time that is acceptable, after calibration; 1 ms to 7 days.
    #[serde(default)]
    pub max_time_ms: Option<u64>,
    /// What a bidder has to have at least, by name; at most 100.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, f64>)]
    pub needs: BTreeMap<String, Exact>,
    /// How long a bidder has to commit itself, 10 ms to 7 days; 5,000 by default.
    #[serde(default)]
    pub commit_ms: Option<u64>,
    /// Whether the winner is asked for its result; false by default.
    #[serde(default)]
    pub result: bool,
    /// How many times the promised time the result may take, 1 to 1,000; 2 by default.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub result_slack: Option<Exact>,
    /// How long the result may take, whatever was promised, 10 ms to 7 days.
    #[serde(default)]
    pub result_ms: Option<u64>,
    /// What became of earlier promises, by participant; at most 1,000.
    #[serde(default)]
    pub track_records: BTreeMap<Id, TrackRecord>,
}

/// How much each figure of a bid counts: each 0 or more, not all 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// A low price.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = f64)]
    pub price: Exact,
    /// A short time.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = f64)]
    pub time: Exact,
    /// A high confidence.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = f64)]
    pub confidence: Exact,
}

/// What a bidder says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bid {
    /// What it wants for it, 0 or more.
    #[schema(value_type = f64)]
    pub price: Exact,
    /// How long it will take, 1 ms to 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// How sure it is, 0 to 1; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub confidence: Option<Exact>,
    /// What it has, by name, each 0 or more; at most 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, f64>)]
    pub resources: BTreeMap<String, Exact>,
}

impl Bid {
    /// For this price, 0 or more; of all else nothing is said.
    pub fn at(price: impl Into<Exact>) -> Bid {
        Bid { price: price.into(), time_ms: None, confidence: None, resources: BTreeMap::new() }
    }
}

impl Rules {
    /// Whether work can be announced by them.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the rules.
    pub fn check(&self) -> Result<(), Error> {
        self.weights().check()?;
        self.reserve.as_ref().map_or(Ok(()), |reserve| bounds::not_negative("/reserve", reserve))?;
        bounds::time("/max_time_ms", self.max_time_ms, 1)?;
        bounds::time("/commit_ms", self.commit_ms, 10)?;
        bounds::time("/result_ms", self.result_ms, 10)?;
        check_resources("/needs", &self.needs)?;
        let slack = self.result_slack.as_ref();
        slack.map_or(Ok(()), |slack| bounds::between("/result_slack", slack, 1, 1_000))?;
        if !self.result {
            let set =
                [("result_slack", self.result_slack.is_some()), ("result_ms", self.result_ms.is_some())];
            if let Some((name, _)) = set.iter().find(|(_, is_set)| *is_set) {
                let message = format!("{name} is for the result, which is asked for only with result: true");
                return Err(Error::invalid(message).with_field(format!("/{name}")));
            }
        }
        bounds::count("/track_records", self.track_records.len(), 0, 1_000)?;
        self.track_records.iter().try_for_each(|(id, record)| record.check(&format!("/track_records/{id}")))
    }

    /// Whether this is a bid.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the bid.
    pub fn check_bid(&self, bid: &Bid) -> Result<(), Error> {
        bounds::not_negative("/price", &bid.price)?;
        bounds::time("/time_ms", bid.time_ms, 1)?;
        bid.confidence.as_ref().map_or(Ok(()), |sure| bounds::between("/confidence", sure, 0, 1))?;
        check_resources("/resources", &bid.resources)?;
        if bid.time_ms.is_none() && self.needs_time() {
            return Err(
                Error::invalid("a bid has to say time_ms here, its time counts").with_field("/time_ms")
            );
        }
        Ok(())
    }

    /// Whether the time of a bid is looked at: weighed, limited, or what the result is awaited by.
    fn needs_time(&self) -> bool {
        !self.weights().time.is_zero()
            || self.max_time_ms.is_some()
            || (self.result && self.result_ms.is_none())
    }

    /// What makes a bid good.
    pub fn weights(&self) -> Weights {
        let price_alone = || Weights { price: Exact::one(), time: Exact::zero(), confidence: Exact::zero() };
        self.utility.clone().unwrap_or_else(price_alone)
    }

    /// How long a bidder has to commit itself, in milliseconds.
    pub fn commit_ms(&self) -> u64 {
        self.commit_ms.unwrap_or(COMMIT_MS)
    }

    /// How long the result of such a bid may take, in milliseconds: `result_ms`, or the promised time by the slack, rounded up to
    /// a whole millisecond, 10 ms to 7 days.
    pub fn result_ms(&self, time_ms: Option<u64>) -> u64 {
        let by_promise = || {
            let slack = self.result_slack.clone().unwrap_or_else(|| 2_i64.into());
            let promised = Exact::from(time_ms.unwrap_or(LONGEST_MS));
            (&slack * &promised).ceil().clamp(10, LONGEST_MS)
        };
        self.result_ms.unwrap_or_else(by_promise)
    }
}

impl Weights {
    fn check(&self) -> Result<(), Error> {
        let each = [("price", &self.price), ("time", &self.time), ("confidence", &self.confidence)];
        for (name, weight) in each {
            bounds::not_negative(&format!("/utility/{name}"), weight)?;
        }
        if each.iter().all(|(_, weight)| weight.is_zero()) {
            let message =
                "all weights of utility are 0; at least one of price, time and confidence has to count";
            return Err(Error::invalid(message).with_field("/utility"));
        }
        Ok(())
    }
}

fn check_resources(at: &str, resources: &BTreeMap<String, Exact>) -> Result<(), Error> {
    bounds::count(at, resources.len(), 0, RESOURCES_MAX)?;
    for (name, amount) in resources {
        bounds::text(at, name, 1, 256)?;
        bounds::not_negative(&format!("{at}/{name}"), amount)?;
    }
    Ok(())
}
