//! A circuit breaker: who fails too often, or answers too slowly, is left alone for a while and then tried carefully.
//!
//! For equal settings its states, rates and counts equal those of resilience4j 2.3 (`CircuitBreakerStateMachine`
//! with synchronised windows) after every call, at the boundaries too. Arithmetic on values: the caller says what
//! time it is, asks before each call, tells the result, and acts on the events that it is handed. Nothing in here
//! waits, and nothing happens between two calls; what was due meanwhile happens, at the time at which it was due, as
//! the first thing of the next.
//!
//! ```text
//!              a rate at its threshold              asked after the wait, or by itself
//!    Closed ---------------------------> Open ------------------------------------> HalfOpen
//!      ^                                  ^  a rate at its threshold, or too long half-open |
//!      |                                  +------------------------------------------------+
//!      +---------------------------- enough results, both rates below ---------------------+
//!
//!    ForcedOpen, MetricsOnly, Disabled: only an operator leads there and away again (`operator`)
//! ```
//!
//! - **Strictly after, strictly slower.** Open lets a call through only after its wait, not at its end; a call is slow
//!   only if it took longer than the threshold. A rate counts from the threshold on, and is looked at after every
//!   result, a success too.
//! - **Late results.** A result counts in the state that holds when it comes, whenever its call began: one begun
//!   while closed counts on trial when half-open. In Open it changes the rates and nothing else.
//! - **Ignored errors** (the caller's fault) are not recorded, and half-open give a permit back, whenever the
//!   call began: so an ignored error of a call begun while closed lets one more through than `half_open_calls`.
//! - A call let through whose result never comes holds its permit until `half_open_max`: who knows that there will be
//!   none (a withdrawn attempt, a lost agent) must say so with [`Breaker::release`] or a failure.
//!
//! Time is nanoseconds, of which the reference's instants are made; seconds of a time-based window begin where the
//! caller's time is a whole second. Three things differ, each where the reference is at fault: a reset stops the
//! timers of the state that it ends (there they go off later in whatever state holds); Open reached from ForcedOpen
//! or Disabled drops late results (there recording them throws); looking at a breaker never moves its window (there it
//! does, when the clock has run back).

mod course;
mod kept;
mod operator;
mod policy;
mod status;
mod window;

pub use kept::{Kept, Results};
pub use operator::{IllegalTransition, Order};
pub use policy::{CALLS_MAX, OpenWait, Policy, SECONDS_MAX, Settings, SettingsError, Window};
pub use status::{Event, Status};

use course::{Course, Phase};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use window::Counts;

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Lets everything through and watches the rates.
    Closed,
    /// Lets nothing through until its wait is over.
    Open,
    /// Lets a few through, whose results decide.
    HalfOpen,
    /// An operator lets nothing through; no result counts.
    ForcedOpen,
    /// An operator lets everything through; rates are kept for display and decide nothing.
    MetricsOnly,
    /// An operator lets everything through; nothing is kept.
    Disabled,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Success,
    /// Not, through the fault of whom this breaker guards.
    Failure,
    /// Not, through the caller's own fault: says nothing of whom this breaker guards.
    Ignored,
}

/// The answer to one who asked whether to call.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Permission {
    /// Whether he may. If so, the result must be told, or the permit released.
    pub granted: bool,
    /// What happened on the way.
    pub events: Vec<Event>,
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Arc<Policy>,
    course: Course,
    window: window::Window,
    /// Calls turned away since the window was begun.
    not_permitted: u64,
}

impl Breaker {
    /// A closed one that has seen nothing, at `now_ns`.
    pub fn new(policy: Arc<Policy>, now_ns: u64) -> Breaker {
        let window = window::Window::new(policy.window, now_ns);
        let course = Course { phase: Phase::Closed, since_ns: now_ns };
        Breaker { policy, course, window, not_permitted: 0 }
    }

    /// What it is doing, as of the last call. See [`Breaker::poll`] for what is due since.
    pub fn state(&self) -> State {
        self.course.phase.state()
    }

    /// Whether [`Breaker::try_acquire`] would grant a call at `now_ns`. Changes nothing and allocates nothing, so that
    /// candidates can be sorted out before one of them is asked.
    pub fn would_permit(&self, now_ns: u64) -> bool {
        match self.course.at(&self.policy, now_ns).phase {
            Phase::Closed | Phase::MetricsOnly { .. } | Phase::Disabled => true,
            Phase::Open { until_ns, .. } => now_ns > until_ns,
            Phase::HalfOpen { permits, .. } => permits > 0,
            Phase::ForcedOpen { .. } => false,
        }
    }

    /// Asks for one call at `now_ns`. An open breaker whose wait is over becomes half-open by being asked.
    pub fn try_acquire(&mut self, now_ns: u64) -> Permission {
        let mut events = self.poll(now_ns);
        if let Phase::Open { until_ns, .. } = self.course.phase
            && now_ns > until_ns
        {
            let course = self.course.half_opened(&self.policy, now_ns);
            self.enter(course, &mut events);
        }
        let granted = match &mut self.course.phase {
            Phase::Closed | Phase::MetricsOnly { .. } | Phase::Disabled => true,
            Phase::HalfOpen { permits, .. } if *permits > 0 => {
                *permits -= 1;
                true
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } | Phase::ForcedOpen { .. } => false,
        };
        if !granted {
            self.not_permitted = self.not_permitted.saturating_add(1);
        }
        Permission { granted, events }
    }

    /// Tells at `now_ns` how a call ended that took `duration_ns`.
    pub fn record(&mut self, outcome: Outcome, duration_ns: u64, now_ns: u64) -> Vec<Event> {
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Ignored => return self.release(now_ns),
        };
        let mut events = self.poll(now_ns);
        let slow = duration_ns > self.policy.slow_call_ns;
        let counts = self.window.record(failed, slow, now_ns);
        if let Some(rates) = self.rates(counts) {
            self.judge(rates, now_ns, &mut events);
        }
        events
    }

    /// Gives back what [`Breaker::try_acquire`] granted: the call was not made, or its end says nothing.
    pub fn release(&mut self, now_ns: u64) -> Vec<Event> {
        let events = self.poll(now_ns);
        if let Phase::HalfOpen { permits, .. } = &mut self.course.phase {
            *permits = permits.saturating_add(1);
        }
        events
    }

    /// Lets happen what is due at `now_ns`: half-open by itself, open again after `half_open_max`. Each happens at the
    /// time at which it was due, so it does not matter how often this is called (nor at all: every other call does the
    /// same first). Of a long absence only the first 16 steps are made so, the last of them at `now_ns`.
    pub fn poll(&mut self, now_ns: u64) -> Vec<Event> {
        let mut events = Vec::new();
        if self.next_deadline_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let policy = Arc::clone(&self.policy);
            for course in self.course.steps(&policy, now_ns) {
                self.enter(course, &mut events);
            }
        }
        events
    }

    /// When something will happen by itself; `None`: never, as things stand.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.course.deadline_ns(&self.policy)
    }

    /// Whether it is closed and has nothing in its window at `now_ns`: then a new one is as good, and this one can be
    /// dropped.
    pub fn is_blank(&self, now_ns: u64) -> bool {
        self.state() == State::Closed && self.window.counts(now_ns).calls == 0
    }

    /// What a display shows of it at `now_ns`. Lets nothing happen: call [`Breaker::poll`] first for that.
    pub fn status(&self, now_ns: u64) -> Status {
        let counts = self.window.counts(now_ns);
        let rates = self.rates(counts);
        let (attempts, open_until_ns, permits) = match self.course.phase {
            Phase::Open { until_ns, attempts } => (attempts, Some(until_ns), None),
            Phase::HalfOpen { permits, attempts } => (attempts, None, Some(permits)),
            Phase::ForcedOpen { attempts } => (attempts, None, None),
            Phase::Closed | Phase::MetricsOnly { .. } | Phase::Disabled => (0, None, None),
        };
        Status {
            state: self.state(),
            since_ns: self.course.since_ns,
            failure_rate_percent: rates.map(|rates| rates.failed),
            slow_rate_percent: rates.map(|rates| rates.slow),
            calls: counts.calls,
            failed: counts.failed,
            slow: counts.slow,
            slow_failed: counts.slow_failed,
            not_permitted: self.not_permitted,
            attempts,
            open_until_ns,
            permits,
        }
    }

    /// Bytes that it takes, with its share of the heap.
    pub fn bytes(&self) -> usize {
        size_of::<Breaker>() + self.window.heap_bytes()
    }

    /// The rates of what is counted; `None` while that is too little to tell.
    fn rates(&self, counts: Counts) -> Option<Rates> {
        let is_enough = counts.calls > 0 && counts.calls >= self.window.minimum(self.policy.minimum_calls);
        is_enough
            .then(|| Rates { failed: percent(counts.failed, counts), slow: percent(counts.slow, counts) })
    }

    /// Acts on the rates as they are after a result.
    fn judge(&mut self, rates: Rates, now_ns: u64, events: &mut Vec<Event>) {
        let failing = rates.failed >= self.policy.failure_rate_percent;
        let slow = rates.slow >= self.policy.slow_rate_percent;
        let too_many = Event::FailureRateExceeded { percent: rates.failed, at_ns: now_ns };
        let too_slow = Event::SlowRateExceeded { percent: rates.slow, at_ns: now_ns };
        match &mut self.course.phase {
            Phase::Closed if failing || slow => {
                events.extend(failing.then_some(too_many));
                events.extend(slow.then_some(too_slow));
                let course = self.course.opened(&self.policy, now_ns);
                self.enter(course, events);
            }
            Phase::HalfOpen { .. } if failing || slow => {
                let course = self.course.opened(&self.policy, now_ns);
                self.enter(course, events);
            }
            Phase::HalfOpen { .. } => self.enter(Course { phase: Phase::Closed, since_ns: now_ns }, events),
            Phase::MetricsOnly { failing_told, slow_told } => {
                // Told once each, however often the rate comes back there.
                events.extend((failing && !*failing_told).then_some(too_many));
                events.extend((slow && !*slow_told).then_some(too_slow));
                *failing_told |= failing;
                *slow_told |= slow;
            }
            Phase::Closed | Phase::Open { .. } | Phase::ForcedOpen { .. } | Phase::Disabled => {}
        }
    }

    /// Begins what `course` says, at the time that it says. ForcedOpen and Disabled keep nothing; Open goes on with the window that it was opened for; what
    /// was closed and is closed again has been so since before.
    fn enter(&mut self, course: Course, events: &mut Vec<Event>) {
        let from = self.state();
        let to = course.phase.state();
        let window = match to {
            State::Open => None,
            State::HalfOpen => Some(window::Window::of_calls(self.policy.half_open_calls)),
            State::Closed | State::MetricsOnly => {
                Some(window::Window::new(self.policy.window, course.since_ns))
            }
            State::ForcedOpen | State::Disabled => Some(window::Window::of_calls(0)),
        };
        if let Some(window) = window {
            self.window = window;
            self.not_permitted = 0;
        }
        let was_closed = from == State::Closed && to == State::Closed;
        let since_ns = if was_closed { self.course.since_ns } else { course.since_ns };
        self.course = Course { since_ns, ..course };
        if from != to {
            events.push(Event::Transition { from, to, at_ns: course.since_ns });
        }
    }
}

#[derive(Clone, Copy)]
struct Rates {
    failed: f32,
    slow: f32,
}

/// In single precision and in this order, as the reference does it: the thresholds are compared with this.
fn percent(part: u32, counts: Counts) -> f32 {
    part as f32 * 100.0 / counts.calls as f32
}
