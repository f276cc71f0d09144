//! In what state a breaker is and since when, and what time alone makes of it.

use super::{Policy, State};

const NANOS_PER_MS: u64 = 1_000_000;
/// Steps that are made one by one after a long absence.
const STEPS_MAX: usize = 16;

/// A state and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    Closed,
    /// `attempts`: how often it has opened without having closed.
    Open {
        until_ns: u64,
        attempts: u32,
    },
    HalfOpen {
        permits: u32,
        attempts: u32,
    },
    ForcedOpen {
        attempts: u32,
    },
    MetricsOnly {
        failing_told: bool,
        slow_told: bool,
    },
    Disabled,
}

impl Phase {
    pub(super) fn state(self) -> State {
        match self {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::ForcedOpen { .. } => State::ForcedOpen,
            Phase::MetricsOnly { .. } => State::MetricsOnly,
            Phase::Disabled => State::Disabled,
        }
    }

    fn attempts(self) -> u32 {
        match self {
            Phase::Open { attempts, .. }
            | Phase::HalfOpen { attempts, .. }
            | Phase::ForcedOpen { attempts } => attempts,
            Phase::Closed | Phase::MetricsOnly { .. } | Phase::Disabled => 0,
        }
    }
}

/// A phase and when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) phase: Phase,
    pub(super) since_ns: u64,
}

impl Course {
    /// Opened once more.
    pub(super) fn opened(self, policy: &Policy, now_ns: u64) -> Course {
        let attempts = self.phase.attempts().saturating_add(1);
        let until_ns = now_ns.saturating_add(policy.open_wait_ns(attempts));
        Course { phase: Phase::Open { until_ns, attempts }, since_ns: now_ns }
    }

    /// Opened until then, which does not count as once more.
    pub(super) fn opened_until(self, until_ns: u64, now_ns: u64) -> Course {
        Course { phase: Phase::Open { until_ns, attempts: self.phase.attempts() }, since_ns: now_ns }
    }

    /// Opened for good, which counts as once more.
    pub(super) fn forced_open(self, now_ns: u64) -> Course {
        let attempts = self.phase.attempts().saturating_add(1);
        Course { phase: Phase::ForcedOpen { attempts }, since_ns: now_ns }
    }

    pub(super) fn half_opened(self, policy: &Policy, now_ns: u64) -> Course {
        let phase = Phase::HalfOpen { permits: policy.half_open_calls, attempts: self.phase.attempts() };
        Course { phase, since_ns: now_ns }
    }

    /// When time alone ends this phase; `None`: never.
    pub(super) fn deadline_ns(self, policy: &Policy) -> Option<u64> {
        match self.phase {
            // In whole milliseconds from the opening on, as the reference's scheduler is told.
            Phase::Open { until_ns, .. } if policy.half_open_by_itself => {
                let wait_ns = until_ns.saturating_sub(self.since_ns);
                self.since_ns.checked_add(wait_ns - wait_ns % NANOS_PER_MS)
            }
            Phase::HalfOpen { .. } => policy.half_open_max_ns.and_then(|max| self.since_ns.checked_add(max)),
            _ => None,
        }
    }

    /// What time alone makes of it until `now_ns`, step by step.
    pub(super) fn steps(self, policy: &Policy, now_ns: u64) -> impl Iterator<Item = Course> {
        let mut course = self;
        (1..=STEPS_MAX).map_while(move |n| {
            course = course.step(policy, now_ns, n == STEPS_MAX)?;
            Some(course)
        })
    }

    /// What it is at `now_ns`, if nobody asks.
    pub(super) fn at(self, policy: &Policy, now_ns: u64) -> Course {
        self.steps(policy, now_ns).last().unwrap_or(self)
    }

    fn step(self, policy: &Policy, now_ns: u64, is_last: bool) -> Option<Course> {
        let due_ns = self.deadline_ns(policy).filter(|due_ns| *due_ns <= now_ns)?;
        let at_ns = if is_last { now_ns } else { due_ns };
        Some(match self.phase {
            Phase::Open { .. } => self.half_opened(policy, at_ns),
            _ => self.opened(policy, at_ns),
        })
    }
}
