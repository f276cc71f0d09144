//! What an operator may do to a breaker.

use super::course::{Course, Phase};
use super::{Breaker, Event, State};
use std::time::Duration;

/// An order of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close, with an empty window.
    Close,
    /// Open, as when a rate had reached its threshold: counts as one more opening.
    Open,
    /// Open for this long, whole milliseconds: does not count as one more opening.
    OpenFor(Duration),
    /// Open until this time in nanoseconds, past or to come: does not count as one more opening.
    OpenUntil(u64),
    /// Half-open, with all permits.
    HalfOpen,
    /// Let nothing through until told otherwise: force open.
    ForceOpen,
    /// Let everything through until told otherwise, and keep the rates for display: force closed.
    ForceClosed,
    /// Let everything through until told otherwise, and keep nothing.
    Disable,
}

impl Order {
    fn aim(self) -> State {
        match self {
            Order::Close => State::Closed,
            Order::Open | Order::OpenFor(_) | Order::OpenUntil(_) => State::Open,
            Order::HalfOpen => State::HalfOpen,
            Order::ForceOpen => State::ForcedOpen,
            Order::ForceClosed => State::MetricsOnly,
            Order::Disable => State::Disabled,
        }
    }
}

/// An order that the breaker's state does not allow; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a breaker that is {from:?} cannot become {to:?}")]
pub struct IllegalTransition {
    /// Its state.
    pub from: State,
    /// What it was told to become.
    pub to: State,
}

impl Breaker {
    /// Does what an operator orders, at `now_ns`, once what is due has happened.
    ///
    /// # Errors
    /// As in the reference a closed breaker cannot become half-open, and one that is forced closed
    /// ([`State::MetricsOnly`]) cannot become open or half-open: close it first.
    pub fn order(&mut self, order: Order, now_ns: u64) -> Result<Vec<Event>, IllegalTransition> {
        // Time alone leads only from Open and HalfOpen to one another, and from there every order is legal.
        let (from, to) = (self.state(), order.aim());
        if !is_legal(from, to) {
            return Err(IllegalTransition { from, to });
        }
        let mut events = self.poll(now_ns);
        let phase = |phase| Course { phase, since_ns: now_ns };
        let course = match order {
            Order::Close => phase(Phase::Closed),
            Order::Open => self.course.opened(&self.policy, now_ns),
            Order::OpenFor(wait) => {
                let wait_ns = super::policy::whole_ms(wait).saturating_mul(1_000_000);
                self.course.opened_until(now_ns.saturating_add(wait_ns), now_ns)
            }
            Order::OpenUntil(until_ns) => self.course.opened_until(until_ns, now_ns),
            Order::HalfOpen => self.course.half_opened(&self.policy, now_ns),
            Order::ForceOpen => self.course.forced_open(now_ns),
            Order::ForceClosed => phase(Phase::MetricsOnly { failing_told: false, slow_told: false }),
            Order::Disable => phase(Phase::Disabled),
        };
        self.enter(course, &mut events);
        Ok(events)
    }

    /// Begins anew: closed, with an empty window, whatever it was.
    pub fn reset(&mut self, now_ns: u64) -> Vec<Event> {
        let mut events = self.poll(now_ns);
        self.enter(Course { phase: Phase::Closed, since_ns: now_ns }, &mut events);
        events.push(Event::Reset { at_ns: now_ns });
        events
    }
}

fn is_legal(from: State, to: State) -> bool {
    !matches!(
        (from, to),
        (State::Closed, State::HalfOpen) | (State::MetricsOnly, State::Open | State::HalfOpen)
    )
}
