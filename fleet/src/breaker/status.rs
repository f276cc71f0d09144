//! What a breaker shows and tells.

use super::State;
use serde::{Deserialize, Serialize};

/// Something that happened to a breaker, in the order in which it did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It went from one state to another.
    Transition {
        /// Before.
        from: State,
        /// After; never the same.
        to: State,
        /// When.
        at_ns: u64,
    },
    /// The share of failed calls reached its threshold: why it opens next, or, when forced closed, would have; told
    /// then only the first time.
    FailureRateExceeded {
        /// The share, in percent.
        percent: f32,
        /// When.
        at_ns: u64,
    },
    /// The share of slow calls reached its threshold, likewise.
    SlowRateExceeded {
        /// The share, in percent.
        percent: f32,
        /// When.
        at_ns: u64,
    },
    /// An operator began it anew.
    Reset {
        /// When.
        at_ns: u64,
    },
}

/// A breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Since when; for a closed breaker the time from which load returns (see `ramp`).
    pub since_ns: u64,
    /// Share of failed calls in the window, in percent; `None` while there are too few to tell.
    pub failure_rate_percent: Option<f32>,
    /// Share of slow calls in the window, in percent; `None` while there are too few to tell.
    pub slow_rate_percent: Option<f32>,
    /// Results in the window: of an open breaker the one that it was opened for, with what came late.
    pub calls: u32,
    /// Of these, failed.
    pub failed: u32,
    /// Of these, slow.
    pub slow: u32,
    /// Of these, both.
    pub slow_failed: u32,
    /// Calls turned away since that window was begun.
    pub not_permitted: u64,
    /// How often it has opened without having closed; 0 while closed.
    pub attempts: u32,
    /// Open: only after this is a call let through.
    pub open_until_ns: Option<u64>,
    /// Half-open: calls that would be let through now.
    pub permits: Option<u32>,
}
