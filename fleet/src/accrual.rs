//! How suspicious a silence is: the phi accrual failure detector (Hayashibara, Défago, Yared and Katayama, 2004).
//!
//! Phi is `-log10(P)`, where P is the chance that a heartbeat comes later still, given the intervals seen so far:
//! with phi 1 one suspicion in ten is wrong, with 8 one in a hundred million. The values equal those of the JVM's
//! implementations (`PhiAccrualFailureDetector` of Akka and Apache Pekko): the normal distribution by its logistic
//! approximation, with the same operations in the same order on the same integers. The last digit may differ where the
//! platforms' `exp` and `log10` do.
//!
//! ```text
//!    heartbeat --> interval --> the last `max_samples` --> mean, deviation --\
//!    now - last heartbeat ---------------------------------------------------> phi --< threshold?--> available
//! ```
//!
//! - The first heartbeat stands for two intervals, a quarter below and a quarter above `first_heartbeat_estimate_ms`.
//! - An interval is learnt only if the agent was still available when it ended: a long pause must not teach patience.
//! - Where the clock has run back, the interval is below zero, and is learnt as the reference learns it. What the
//!   reference answers with an exception (sums below zero) or not at all (a deviation that is no number) teaches
//!   nothing here, and counts as no deviation; nor does an interval of more than 24 days teach anything.

use std::collections::VecDeque;
use std::sync::Arc;

/// The longest estimate, pause or least deviation: a day.
pub const SPAN_MAX_MS: u64 = 24 * 3_600_000;
/// The most intervals that are remembered.
pub const SAMPLES_MAX: u32 = 10_000;

/// The settings of a detector. By default threshold and least deviation are those of Pekko's cluster, the samples those of
/// its remote watch; the pause is shorter than either's, for agents that speak every second.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// From this phi on it is unavailable; above 0, finite; 8 by default.
    pub threshold: f64,
    /// Intervals remembered, 1 to [`SAMPLES_MAX`]; 200 by default. Four bytes each.
    pub max_samples: u32,
    /// The deviation is never taken to be less, 1 ms to a day; 100 ms by default. Too little makes every hiccup a
    /// suspicion.
    pub min_std_deviation_ms: u64,
    /// Added to the mean: a pause (a collection, a busy host) that is no anomaly, 0 to a day; 1 s by default.
    pub acceptable_pause_ms: u64,
    /// How often heartbeats are thought to come before any interval is known, 1 ms to a day; 1 s by default.
    pub first_heartbeat_estimate_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threshold: 8.0,
            max_samples: 200,
            min_std_deviation_ms: 100,
            acceptable_pause_ms: 1_000,
            first_heartbeat_estimate_ms: 1_000,
        }
    }
}

/// A setting that a detector cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// No threshold.
    #[error("threshold is {0}, it must be above 0 and finite")]
    Threshold(f64),
    /// Outside its range.
    #[error("{name} is {value}, it must be {min} to {max}")]
    Range {
        /// The setting.
        name: &'static str,
        /// As given.
        value: u64,
        /// The least that it may be.
        min: u64,
        /// The most that it may be.
        max: u64,
    },
}

/// Settings that were checked. Many detectors share them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy(Settings);

impl TryFrom<Settings> for Policy {
    type Error = SettingsError;

    fn try_from(settings: Settings) -> Result<Policy, SettingsError> {
        if !(settings.threshold > 0.0 && settings.threshold.is_finite()) {
            return Err(SettingsError::Threshold(settings.threshold));
        }
        let check = |name, value, min, max| {
            let is_in = (min..=max).contains(&value);
            if is_in { Ok(()) } else { Err(SettingsError::Range { name, value, min, max }) }
        };
        check("max_samples", settings.max_samples.into(), 1, SAMPLES_MAX.into())?;
        check("min_std_deviation_ms", settings.min_std_deviation_ms, 1, SPAN_MAX_MS)?;
        check("acceptable_pause_ms", settings.acceptable_pause_ms, 0, SPAN_MAX_MS)?;
        check("first_heartbeat_estimate_ms", settings.first_heartbeat_estimate_ms, 1, SPAN_MAX_MS)?;
        Ok(Policy(settings))
    }
}

/// The detector of one process start.
#[derive(Clone, Debug)]
pub struct Detector {
    policy: Arc<Policy>,
    history: History,
    heard_ms: Option<u64>,
}

/// Why a silence is judged as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Suspicion: 0 or more, up to infinity.
    pub phi: f64,
    /// Phi from which on it is unavailable.
    pub threshold: f64,
    /// Milliseconds since the last heartbeat.
    pub silent_ms: u64,
    /// Mean interval in milliseconds, with the acceptable pause.
    pub mean_ms: f64,
    /// Deviation in milliseconds, as used.
    pub std_deviation_ms: f64,
    /// Intervals that this rests on.
    pub samples: usize,
}

impl Detector {
    /// One that has heard nothing.
    pub fn new(policy: Arc<Policy>) -> Detector {
        Detector { policy, history: History::default(), heard_ms: None }
    }

    /// A heartbeat. Returns whether its interval was learnt.
    pub fn heartbeat(&mut self, now_ms: u64) -> bool {
        let is_learnt = match self.heard_ms {
            None => {
                let mean = self.policy.0.first_heartbeat_estimate_ms as i64;
                let deviation = mean / 4;
                self.learn(mean - deviation) && self.learn(mean + deviation)
            }
            Some(heard_ms) => self.is_available(now_ms) && self.learn(elapsed_ms(heard_ms, now_ms)),
        };
        self.heard_ms = Some(now_ms);
        is_learnt
    }

    /// Suspicion at `now_ms`: 0 to infinity; 0 before the first heartbeat.
    pub fn phi(&self, now_ms: u64) -> f64 {
        self.evidence(now_ms).map_or(0.0, |evidence| evidence.phi)
    }

    /// Whether phi is below the threshold; so it is before the first heartbeat.
    pub fn is_available(&self, now_ms: u64) -> bool {
        self.phi(now_ms) < self.policy.0.threshold
    }

    /// Whether there was a heartbeat at all.
    pub fn is_monitoring(&self) -> bool {
        self.heard_ms.is_some()
    }

    /// Suspicion and what it rests on; `None` before the first heartbeat.
    pub fn evidence(&self, now_ms: u64) -> Option<Evidence> {
        let settings = &self.policy.0;
        let elapsed_ms = elapsed_ms(self.heard_ms?, now_ms);
        let mean_ms = self.history.mean() + settings.acceptable_pause_ms as f64;
        // Below zero, by rounding alone, the variance has no root: `max` passes over that.
        let std_deviation_ms = self.history.variance().sqrt().max(settings.min_std_deviation_ms as f64);
        Some(Evidence {
            phi: phi(elapsed_ms, mean_ms, std_deviation_ms),
            threshold: settings.threshold,
            silent_ms: u64::try_from(elapsed_ms).unwrap_or(0),
            mean_ms,
            std_deviation_ms,
            samples: self.history.intervals.len(),
        })
    }

    /// Bytes that it takes, with its share of the heap.
    pub fn bytes(&self) -> usize {
        size_of::<Detector>() + self.history.intervals.capacity() * size_of::<i32>()
    }

    fn learn(&mut self, interval_ms: i64) -> bool {
        self.history.push(interval_ms, self.policy.0.max_samples as usize)
    }
}

/// Below zero where the clock has run back.
fn elapsed_ms(from_ms: u64, to_ms: u64) -> i64 {
    let apart_ms = i64::try_from(to_ms.abs_diff(from_ms)).unwrap_or(i64::MAX);
    if to_ms < from_ms { -apart_ms } else { apart_ms }
}

/// `-log10(1 - F(elapsed))`, F the normal distribution as in the β Mathematics Handbook's logistic approximation
/// (error at most 0.00014). Where it is 0 it is positive zero, so that no display shows "-0".
fn phi(elapsed_ms: i64, mean_ms: f64, std_deviation_ms: f64) -> f64 {
    let elapsed_ms = elapsed_ms as f64;
    let y = (elapsed_ms - mean_ms) / std_deviation_ms;
    let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
    let chance = if elapsed_ms > mean_ms { e / (1.0 + e) } else { 1.0 - 1.0 / (1.0 + e) };
    -chance.log10() + 0.0
}

/// The newest intervals, with their sum and the sum of their squares.
#[derive(Clone, Debug, Default)]
struct History {
    intervals: VecDeque<i32>,
    sum: i64,
    sum_of_squares: i64,
}

impl History {
    /// Takes an interval in, for the oldest if there is no room; or leaves all as it is, and says so.
    fn push(&mut self, interval_ms: i64, max_samples: usize) -> bool {
        let Ok(interval) = i32::try_from(interval_ms) else { return false };
        let oldest = match self.intervals.front() {
            Some(oldest) if self.intervals.len() >= max_samples => i64::from(*oldest),
            _ => 0,
        };
        // The reference makes, and checks, a history without the oldest on the way.
        let (rest, rest_of_squares) = (self.sum - oldest, self.sum_of_squares - oldest * oldest);
        let square = interval_ms * interval_ms;
        let (Some(sum), Some(sum_of_squares)) =
            (rest.checked_add(interval_ms), rest_of_squares.checked_add(square))
        else {
            return false;
        };
        if rest < 0 || sum < 0 {
            return false;
        }
        if self.intervals.len() >= max_samples {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
        (self.sum, self.sum_of_squares) = (sum, sum_of_squares);
        true
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / self.intervals.len() as f64
    }

    fn variance(&self) -> f64 {
        let mean = self.mean();
        self.sum_of_squares as f64 / self.intervals.len() as f64 - mean * mean
    }
}
