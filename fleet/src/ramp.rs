//! How the load of a new agent, or of one whose breaker has closed again, comes up: not all at once.
//!
//! The share grows as in Envoy's slow start: `max(min_share, (elapsed / window) ^ (1 / aggression))`, so that work goes
//! there in proportion to it. Pure: a rule multiplies a weight with the share.
//!
//! ```text
//!   1 |                 ______
//!     |             __/          aggression 1: a straight line; above 1: quicker at first
//!     |         __/
//!     |  ______/  min_share
//!     +--------------------------> time since it came, or its breaker closed
//!      0        window
//! ```

use std::time::Duration;

/// How load comes up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    window_ms: u64,
    exponent: f64,
    min_share: f64,
}

/// A setting that a ramp cannot have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RampError {
    /// No exponent can be made of it.
    #[error("aggression is {0}, it must be above 0 and finite")]
    Aggression(f64),
    /// No share.
    #[error("the least share is {0}, it must be above 0 and at most 1")]
    MinShare(f64),
}

impl Default for Ramp {
    /// Ten seconds in a straight line, from a tenth on.
    fn default() -> Ramp {
        Ramp { window_ms: 10_000, exponent: 1.0, min_share: 0.1 }
    }
}

impl Ramp {
    /// A straight line from a tenth on, over so long.
    pub fn of(window: Duration) -> Ramp {
        Ramp { window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX), ..Ramp::default() }
    }

    /// A ramp of `window_ms` (0: none, the whole share at once).
    ///
    /// # Errors
    /// `aggression` must be above 0 and finite: with 1 the share grows evenly, above it more at first. `min_share` must
    /// be above 0, since what gets nothing never shows that it works, and at most 1.
    pub fn new(window_ms: u64, aggression: f64, min_share: f64) -> Result<Ramp, RampError> {
        if !(aggression > 0.0 && aggression.is_finite()) {
            return Err(RampError::Aggression(aggression));
        }
        if !(min_share > 0.0 && min_share <= 1.0) {
            return Err(RampError::MinShare(min_share));
        }
        Ok(Ramp { window_ms, exponent: 1.0 / aggression, min_share })
    }

    /// The share of its weight that something has at `now_ms` that came at `since_ms`: above 0, at most 1. A time
    /// before `since_ms` counts as that one.
    pub fn share(&self, since_ms: u64, now_ms: u64) -> f64 {
        let elapsed_ms = now_ms.saturating_sub(since_ms);
        if elapsed_ms >= self.window_ms {
            return 1.0;
        }
        // As Envoy does: the first millisecond counts as one that is over.
        let part = elapsed_ms.max(1) as f64 / self.window_ms as f64;
        let grown = if self.exponent == 1.0 { part } else { part.powf(self.exponent) };
        grown.clamp(self.min_share, 1.0)
    }

    /// When the whole share is reached, in the caller's milliseconds.
    pub fn ends_ms(&self, since_ms: u64) -> u64 {
        since_ms.saturating_add(self.window_ms)
    }
}
