//! Many signals about one thing, and what to make of them.
//!
//! ```text
//!    values         --> numeric::outcome      --> one value, its variance, who counted how much
//!    labels, odds   --> categorical::outcome  --> one label, the shares of all, ties
//!    either, of mixed trust and age
//!                   --> conflict::resolve     --> agreed: a value or label | contested: the camps
//! ```
//!
//! - **No order of arrival.** Values and weights are added as exact numbers, by their decimal digits, and rounded once at
//!   the end: the same signals in any order give the same bytes. Logarithms and powers come from one library on every platform.
//! - **Nothing is left out silently.** Who did not count is named, with the reason.
//! - **Within what was said.** A fused value lies between the least and the greatest value that was given.

pub mod categorical;
pub mod conflict;
pub(crate) mod intake;
pub mod numeric;
pub mod statistics;

mod camps;
mod line;

pub use intake::{NUMBER_LEAST, NUMBER_MAX, SOURCES_MAX, WEIGHT_LEAST};

use serde::{Deserialize, Serialize};

/// A source that did not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = fusion::LeftOut)]
pub struct LeftOut {
    /// Whose signal.
    pub source: String,
    /// Why it did not count.
    pub reason: Reason,
}

/// Why a signal did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = fusion::Reason)]
pub enum Reason {
    /// The source itself gave it the confidence 0.
    ZeroConfidence,
    /// The rules give the source the weight, or the track record, 0.
    ZeroWeight,
    /// The method needs a variance, and there is none.
    NoVariance,
    /// It is stated in another unit than the rules name.
    OtherUnit,
    /// It was observed before `not_before`.
    TooOld,
    /// It is among the least values, which are trimmed.
    TrimmedLow,
    /// It is among the greatest values, which are trimmed.
    TrimmedHigh,
    /// Another source has a smaller variance.
    GreaterVariance,
}

impl Reason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ZeroConfidence => "zero_confidence",
            Reason::ZeroWeight => "zero_weight",
            Reason::NoVariance => "no_variance",
            Reason::OtherUnit => "other_unit",
            Reason::TooOld => "too_old",
            Reason::TrimmedLow => "trimmed_low",
            Reason::TrimmedHigh => "trimmed_high",
            Reason::GreaterVariance => "greater_variance",
        }
    }
}
