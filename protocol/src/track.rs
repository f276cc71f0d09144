//! How true an agent's promises turned out, by kind of work: what is told of one result, and what is kept of all of them.
//!
//! Only means are kept, and exactly: each ratio is rounded to [`PLACES`] decimals when it is taken in, so that the sum of so many
//! of them, and with it their mean, has few digits however long the record goes on.
//!
//! ```text
//!   AppraiseAgent --told--> Told {time, price, kept} --WorkRecord::with--> WorkRecord {means and of how many}
//! ```

use crate::command::check_range;
use crate::error::Error;
use crate::event::is_zero;
use crate::exact::Exact;
use crate::id::{Id, Incarnation, WorkKind};
use crate::time::Timestamp;
use crate::view::{AgentStatus, Health};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Kinds of work of one agent that are remembered: the one that was told of longest ago goes first.
pub const KINDS: usize = 100;
/// Results that a mean is of at most: before one more is taken in, what there is counts half.
pub const RESULTS: u64 = 1_000_000;
/// The greatest ratio of what was to what was promised; a greater one is taken for it.
pub const RATIO_MAX: i64 = 1_000_000;
/// Decimals to which a ratio is rounded when it is taken in, halves up.
pub const PLACES: u32 = 6;
/// Seven days, in milliseconds: the longest time that is promised or told.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

/// `synod.agent.appraise`: what became of one promise of an agent. What is absent says nothing; something has to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppraiseAgent {
    /// Whose.
    pub agent_id: Id,
    /// The kind of work.
    pub kind: WorkKind,
    /// The time that was promised, 1 ms to 7 days; goes into the record together with `actual_ms` alone.
    #[serde(default)]
    pub promised_ms: Option<u64>,
    /// The time that it took, 0 ms to 7 days.
    #[serde(default)]
    pub actual_ms: Option<u64>,
    /// The price that was promised, more than 0; goes into the record together with `actual_price` alone.
    #[serde(default)]
    pub promised_price: Option<Exact>,
    /// The price that it had, 0 or more.
    #[serde(default)]
    pub actual_price: Option<Exact>,
    /// Whether there was a result.
    #[serde(default)]
    pub kept: Option<bool>,
}

/// What one result says, as it goes into the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Actual by promised time.
    pub time: Option<Exact>,
    /// Actual by promised price.
    pub price: Option<Exact>,
    /// 1 where there was a result, 0 where there was none.
    pub kept: Option<Exact>,
}

impl AppraiseAgent {
    /// What it says.
    pub fn told(&self) -> Told {
        let times = self.actual_ms.map(Exact::from).zip(self.promised_ms.map(Exact::from));
        let prices = self.actual_price.clone().zip(self.promised_price.clone());
        Told {
            time: times.and_then(|(was, promised)| ratio(&was, &promised)),
            price: prices.and_then(|(was, promised)| ratio(&was, &promised)),
            kept: self.kept.map(|kept| Exact::from(i64::from(kept))),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, ms, least) in [("promised_ms", self.promised_ms, 1), ("actual_ms", self.actual_ms, 0)] {
            let Some(ms) = ms else { continue };
            check_range(&format!("/{name}"), name, ms, least, LONGEST_MS)?;
        }
        let refused = |name: &str, price: &Exact, rule: &str| {
            Err(Error::invalid(format!("{name} is {price}, it must be {rule}"))
                .with_field(format!("/{name}")))
        };
        if let Some(price) = self.promised_price.as_ref().filter(|price| **price <= Exact::zero()) {
            return refused("promised_price", price, "more than 0");
        }
        if let Some(price) = self.actual_price.as_ref().filter(|price| price.is_negative()) {
            return refused("actual_price", price, "0 or more");
        }
        if self.told() == Told::default() {
            let message = "it says nothing: promised_ms and actual_ms, promised_price and actual_price, or kept is needed";
            return Err(Error::invalid(message).with_field("/kept"));
        }
        Ok(())
    }
}

/// Actual by promised, as it is taken in; none where nothing was promised.
fn ratio(was: &Exact, promised: &Exact) -> Option<Exact> {
    was.checked_div(promised).map(|ratio| ratio.min(RATIO_MAX.into()).rounded(PLACES))
}

/// What became of an agent's promises of one kind of work: means, and of how many results each is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkRecord {
    /// How many results were told of.
    pub results: u64,
    /// Mean of actual by promised time; more than 1 is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ratio: Option<Exact>,
    /// Of how many results that is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub time_results: u64,
    /// Mean of actual by promised price; more than 1 is dear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_ratio: Option<Exact>,
    /// Of how many results that is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub price_results: u64,
    /// Share of commitments that were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Exact>,
    /// Of how many results that is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_results: u64,
    /// When a result was last told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
}

impl WorkRecord {
    /// The record with one more result.
    #[must_use]
    pub fn with(&self, told: &Told, now: Timestamp) -> WorkRecord {
        let half = self.results >= RESULTS;
        let results = if half { self.results / 2 } else { self.results };
        let (time_ratio, time_results) = with(&self.time_ratio, self.time_results, &told.time, half);
        let (price_ratio, price_results) = with(&self.price_ratio, self.price_results, &told.price, half);
        let (kept, kept_results) = with(&self.kept, self.kept_results, &told.kept, half);
        let (results, told_at) = (results + 1, Some(now));
        WorkRecord {
            results,
            time_ratio,
            time_results,
            price_ratio,
            price_results,
            kept,
            kept_results,
            told_at,
        }
    }
}

/// A mean of so many with one more, after it was made to count half where that is due.
fn with(mean: &Option<Exact>, count: u64, told: &Option<Exact>, half: bool) -> (Option<Exact>, u64) {
    let kept = if half { count / 2 } else { count };
    let mut sum = mean.as_ref().map_or_else(Exact::zero, |mean| mean * &Exact::from(kept));
    if half {
        // As a sum of rounded ratios has: its digits do not grow.
        sum = sum.rounded(PLACES);
    }
    let count = kept + u64::from(told.is_some());
    if let Some(told) = told {
        sum = &sum + told;
    }
    (sum.checked_div(&Exact::from(count)), count)
}

/// What is kept of an agent: its records by kind, [`KINDS`] at most.
pub type WorkRecords = BTreeMap<WorkKind, WorkRecord>;

/// Puts a record in its place, and lets the one go that was told of longest ago where there are too many; of several the first by
/// name.
pub fn keep(records: &mut WorkRecords, kind: WorkKind, record: WorkRecord) {
    records.insert(kind, record);
    while records.len() > KINDS {
        let oldest = records.iter().min_by_key(|(kind, record)| (record.told_at, (*kind).clone()));
        let Some(oldest) = oldest.map(|(kind, _)| kind.clone()) else { return };
        records.remove(&oldest);
    }
}

/// `synod.agent.appraised`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentAppraised {
    /// Whose.
    pub agent_id: Id,
    /// Its newest process start.
    pub incarnation: Incarnation,
    /// Its status after this, which is as before.
    pub status: AgentStatus,
    /// Its health after this, which is as before.
    pub health: Health,
    /// The kind of work.
    pub kind: WorkKind,
    /// Actual by promised time, as it was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ratio: Option<Exact>,
    /// Actual by promised price, as it was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_ratio: Option<Exact>,
    /// Whether there was a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
    /// The record of this kind after it.
    pub record: WorkRecord,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn appraisal(value: &serde_json::Value) -> AppraiseAgent {
        let mut whole = json!({"agent_id": "a", "kind": "translate"});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn means_are_of_those_results_that_tell_of_them() {
        let told = [
            json!({"promised_ms": 100, "actual_ms": 300, "kept": true}),
            json!({"promised_ms": 100, "kept": false}),
            json!({"promised_ms": 3, "actual_ms": 1, "promised_price": 3, "actual_price": 2}),
        ];
        let record = told
            .into_iter()
            .fold(WorkRecord::default(), |record, one| record.with(&appraisal(&one).told(), at(7)));
        assert_eq!(
            serde_json::to_value(&record).unwrap(),
            json!({"results": 3, "time_ratio": "3333333/2000000", "time_results": 2,
                "price_ratio": "666667/1000000", "price_results": 1, "kept": "1/2", "kept_results": 2,
                "told_at": "1970-01-01T00:00:00.007Z"}),
        );
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<WorkRecord>(&text).unwrap(), record);
    }

    #[test]
    fn what_says_nothing_or_cannot_be_is_refused() {
        for (value, field) in [
            (json!({}), "/kept"),
            (json!({"promised_ms": 5}), "/kept"),
            (json!({"promised_ms": 5, "actual_price": 2}), "/kept"),
            (json!({"promised_ms": 0, "actual_ms": 5}), "/promised_ms"),
            (json!({"promised_ms": 1, "actual_ms": LONGEST_MS + 1}), "/actual_ms"),
            (json!({"promised_price": 0, "actual_price": 5}), "/promised_price"),
            (json!({"promised_price": 1, "actual_price": -1}), "/actual_price"),
        ] {
            let error = appraisal(&value).check().unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{value}: {error}");
        }
        assert!(appraisal(&json!({"kept": false})).check().is_ok());
        for kind in ["", "A", "a b", &"a".repeat(65)] {
            let read = serde_json::from_value::<AppraiseAgent>(json!({"agent_id": "a", "kind": kind}));
            assert!(read.is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_record_goes_on_for_ever_in_few_digits() {
        let third = appraisal(&json!({"promised_ms": 3, "actual_ms": 4, "kept": true})).told();
        let mut record = WorkRecord {
            results: RESULTS - 1,
            time_ratio: Exact::ratio(999_999_999_999_999_999, 999_999_000_000),
            time_results: RESULTS - 1,
            ..WorkRecord::default()
        };
        for n in 0..200_i64 {
            record = record.with(&third, at(n));
            assert!(record.results <= RESULTS);
            // It is brought to its limit again and again.
            if record.results > 500_010 {
                (record.results, record.time_results) = (RESULTS, record.time_results.max(RESULTS - 3));
            }
            let text = serde_json::to_string(&record).unwrap();
            let read: WorkRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(read, record);
            assert!(text.len() < 300, "{text}");
        }
    }

    #[test]
    fn the_kind_that_was_told_of_longest_ago_goes() {
        let mut records = WorkRecords::new();
        let kind = |n: usize| format!("k{n}").parse::<WorkKind>().unwrap();
        let told = appraisal(&json!({"kept": true})).told();
        for n in 0..KINDS {
            keep(&mut records, kind(n), WorkRecord::default().with(&told, at(n as i64)));
        }
        let again = records[&kind(0)].with(&told, at(1_000));
        keep(&mut records, kind(0), again);
        keep(&mut records, kind(KINDS), WorkRecord::default().with(&told, at(1_001)));
        assert_eq!(records.len(), KINDS);
        assert!(!records.contains_key(&kind(1)), "told of longest ago");
        assert!(records.contains_key(&kind(0)) && records.contains_key(&kind(KINDS)));
    }

    proptest! {
        /// The mean is that of the rounded ratios, whatever the order.
        #[test]
        fn a_mean_is_the_sum_by_the_number(mut times in prop::collection::vec((1_u64..1_000, 0_u64..5_000), 1..60)) {
            let fold = |times: &[(u64, u64)]| times.iter().fold(WorkRecord::default(), |record, (promised, was)| {
                let told = appraisal(&json!({"promised_ms": promised, "actual_ms": was})).told();
                record.with(&told, at(0))
            });
            let record = fold(&times);
            let sum: Exact = times.iter().filter_map(|(p, w)| ratio(&(*w).into(), &(*p).into())).sum();
            prop_assert_eq!(&record.time_ratio, &sum.checked_div(&Exact::from(times.len() as u64)));
            times.reverse();
            prop_assert_eq!(fold(&times), record);
        }
    }
}
