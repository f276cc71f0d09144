//! A breaker as it is kept for whoever comes next: what it counted and where it stands, with ages instead of times, since
//! the next process has another clock.

use super::course::{Course, Phase};
use super::window::Window;
use super::{Breaker, Policy, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const NANOS_PER_MS: u64 = 1_000_000;

/// What is kept of a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// `closed`, `open` or `half_open`; what an operator has ordered is kept elsewhere.
    pub state: State,
    /// How long it has stood there, in ms.
    pub since_ms: u64,
    /// `open`: how long it stays so yet, in ms.
    pub left_ms: u64,
    /// How often it has opened in a row.
    pub opened: u32,
    /// What it has counted.
    pub results: Results,
}

/// The results in a window, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Results {
    /// A digit for each call: 1 for failed plus 2 for slow.
    Calls(String),
    /// For each second in which there were any: its age in seconds, then calls, failed, slow, slow and failed.
    Seconds(Vec<(u64, [u32; 4])>),
}

impl Breaker {
    /// What is to be kept of it; `None` while an operator's word stands.
    pub fn kept(&self, now_ns: u64) -> Option<Kept> {
        let (left_ns, opened) = match self.course.phase {
            Phase::Closed => (0, 0),
            Phase::Open { until_ns, attempts } => (until_ns.saturating_sub(now_ns), attempts),
            Phase::HalfOpen { attempts, .. } => (0, attempts),
            Phase::ForcedOpen { .. } | Phase::MetricsOnly { .. } | Phase::Disabled => return None,
        };
        Some(Kept {
            state: self.state(),
            since_ms: now_ns.saturating_sub(self.course.since_ns) / NANOS_PER_MS,
            left_ms: left_ns / NANOS_PER_MS,
            opened,
            results: self.window.results(now_ns),
        })
    }

    /// A breaker that goes on where one was, so many nanoseconds ago. Trials that were out then are nobody's: half-open
    /// begins with all its permits. Of a window of another kind nothing is counted.
    pub fn restored(policy: Arc<Policy>, kept: &Kept, ago_ns: u64, now_ns: u64) -> Breaker {
        let since_ns =
            now_ns.saturating_sub(ago_ns).saturating_sub(kept.since_ms.saturating_mul(NANOS_PER_MS));
        let attempts = kept.opened;
        let (phase, window) = match kept.state {
            State::Open => {
                let left_ns = kept.left_ms.saturating_mul(NANOS_PER_MS);
                let until_ns = now_ns.saturating_sub(ago_ns).saturating_add(left_ns);
                (Phase::Open { until_ns, attempts }, None)
            }
            State::HalfOpen => {
                let permits = policy.half_open_calls;
                (Phase::HalfOpen { permits, attempts }, Some(Window::of_calls(permits)))
            }
            _ => (Phase::Closed, None),
        };
        let window = window.unwrap_or_else(|| Window::refilled(policy.window, &kept.results, ago_ns, now_ns));
        Breaker { policy, course: Course { phase, since_ns }, window, not_permitted: 0 }
    }
}
