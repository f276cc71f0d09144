//! Counters, budgets and rate limits: numbers that many change at once.
//!
//! ```text
//! counter   add within floor and ceiling
//! budget    limit = spent + reserved + remaining:  reserve --> spend, spend … --> return what is left (or it runs out)
//! limit     a token bucket: `burst` tokens, refilled at `rate_per_s`
//! ```

use super::locks::check_ttl;
use crate::error::Error;
use crate::id::{Id, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest amount of a budget.
pub const AMOUNT_LIMIT: u64 = (1 << 53) - 1;
/// Reservations of one budget that may be open at a time.
pub const RESERVATIONS: u32 = 10_000;
/// Operation ids of the last 24 h that one counter or one budget remembers. Beyond it new ones are `overloaded`: none is
/// forgotten before its time.
pub const OPERATIONS: u32 = 1_000_000;
/// The largest burst of a rate limit, in tokens.
pub const BURST_LIMIT: u64 = 1_000_000;
/// The largest rate, in tokens per second.
pub const RATE_LIMIT: f64 = 1_000_000.0;

/// Adds to a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// How much; negative takes away.
    pub add: i64,
    /// Not done if it would leave less.
    #[serde(default)]
    pub floor: Option<i64>,
    /// Not done if it would leave more.
    #[serde(default)]
    pub ceiling: Option<i64>,
    /// Done once within 24 h: a repeat gets the first answer, refusals too.
    #[serde(default)]
    pub operation_id: Option<Name>,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counter {
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: i64,
}

/// Sets a budget's limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBudget {
    /// How much may be spent in all, 0 to 2^53-1. It may be less than what is spent already: then nothing is left.
    pub limit: u64,
}

/// Sets a part of a budget aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// How much, 0 to 2^53-1.
    pub amount: u64,
    /// It returns by itself after it, 10 to 86,400,000.
    pub ttl_ms: u64,
    /// Done once within 24 h: a repeat gets the first answer, refusals too.
    #[serde(default)]
    pub operation_id: Option<Name>,
}

/// Spends from a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    /// From which.
    pub reservation: Id,
    /// How much, at most what is left of it.
    pub amount: u64,
    /// Done once within 24 h: a repeat gets the first answer, refusals too.
    #[serde(default)]
    pub operation_id: Option<Name>,
}

/// Gives back what is left of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// Which.
    pub reservation: Id,
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Its name.
    pub name: Name,
    /// How much may be spent in all.
    pub limit: u64,
    /// How much is spent.
    pub spent: u64,
    /// How much is set aside.
    pub reserved: u64,
    /// How much can be reserved; below 0 where the limit was lowered.
    pub remaining: i64,
    /// How many reservations are open.
    pub reservations: u64,
}

/// What a reservation is after a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reservation {
    /// Its id.
    pub reservation: Id,
    /// What is left of it: 0 once it was returned.
    pub left: u64,
    /// What can still be reserved of the budget.
    pub remaining: i64,
}

/// Takes from a rate limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// How many tokens, 0 to `burst`; all or none.
    pub take: u64,
    /// How many come back in a second, 0.001 to 1,000,000, with at most three decimals.
    pub rate_per_s: f64,
    /// How many there are at most, 1 to 1,000,000.
    pub burst: u64,
}

/// Whether it may be done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// Whether they were taken.
    pub allowed: bool,
    /// When as many will be there, if nobody else takes any; 0 where allowed.
    pub retry_after_ms: u64,
    /// Whole tokens that are left.
    pub remaining: u64,
}

impl SetBudget {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        check_amount(self.limit, "limit")
    }
}

impl Reserve {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        check_amount(self.amount, "amount")?;
        check_ttl(self.ttl_ms)
    }
}

impl Spend {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        check_amount(self.amount, "amount")
    }
}

impl Take {
    /// Whether everything is within its range; the rate in thousandths of a token per second.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<u64, Error> {
        let wrong = |field: &str, said: String| Err(Error::invalid(said).with_field(format!("/{field}")));
        if !(1..=BURST_LIMIT).contains(&self.burst) {
            return wrong("burst", format!("burst is {}, it must be 1 to {BURST_LIMIT}", self.burst));
        }
        if self.take > self.burst {
            let said =
                format!("take is {}, of a burst of {} it would never be allowed", self.take, self.burst);
            return wrong("take", said);
        }
        let rate = self.rate_per_s;
        // Not in the range is also what is no number.
        if !(0.001..=RATE_LIMIT).contains(&rate) {
            return wrong("rate_per_s", format!("rate_per_s is {rate}, it must be 0.001 to {RATE_LIMIT}"));
        }
        let thousandths = (rate * 1000.0).round();
        if (rate * 1000.0 - thousandths).abs() > 1e-6 * thousandths.max(1.0).sqrt() {
            return wrong("rate_per_s", format!("rate_per_s is {rate}, it may have at most three decimals"));
        }
        // Positive and at most 10^9.
        Ok(thousandths as u64)
    }
}

fn check_amount(amount: u64, field: &str) -> Result<(), Error> {
    if amount <= AMOUNT_LIMIT {
        return Ok(());
    }
    Err(Error::invalid(format!("{field} is {amount}, it must be 0 to {AMOUNT_LIMIT}"))
        .with_field(format!("/{field}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_whole_thousandths() {
        let check = |rate_per_s: f64, thousandths: Option<u64>| {
            let take = Take { take: 1, rate_per_s, burst: 1 };
            assert_eq!(take.check().ok(), thousandths, "{rate_per_s}");
        };
        check(1.0, Some(1000));
        check(0.1, Some(100));
        check(1.001, Some(1001));
        check(999_999.999, Some(999_999_999));
        check(1_000_000.0, Some(1_000_000_000));
        check(0.001, Some(1));
        for bad in [0.0, -1.0, 0.0001, 0.0005, 0.1234, 1.0005, 1_000_000.001, f64::NAN, f64::INFINITY] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_out_of_range_is_told_with_its_place() {
        let take = |take, burst| Take { take, rate_per_s: 1.0, burst }.check().err().and_then(|e| e.field);
        assert_eq!(take(0, 1), None);
        assert_eq!(take(2, 1).as_deref(), Some("/take"));
        assert_eq!(take(0, 0).as_deref(), Some("/burst"));
        assert_eq!(take(0, BURST_LIMIT + 1).as_deref(), Some("/burst"));
        let limit = |limit| SetBudget { limit }.check().err().and_then(|e| e.field);
        assert_eq!((limit(AMOUNT_LIMIT), limit(AMOUNT_LIMIT + 1).as_deref()), (None, Some("/limit")));
        for bad in [
            r#"{"add":1.5}"#,
            r#"{"add":9223372036854775808}"#,
            r#"{"add":"1"}"#,
            r#"{"add":1,"by":1}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Add>(bad).is_err(), "{bad}");
        }
    }
}
