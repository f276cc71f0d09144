//! A breaker written the long way: it keeps every result that it was told, and counts anew each time.

use super::breaker;
use proptest::prelude::*;
use std::time::Duration;
use synod_fleet::breaker::{OpenWait, Outcome, Settings, State, Status, Window};

const SECOND: u64 = 1_000_000_000;

struct Plain {
    settings: Settings,
    wait_ns: u64,
    state: State,
    opened_ns: u64,
    permits: u32,
    window: Window,
    /// When, failed, slow; since the window was begun.
    results: Vec<(u64, bool, bool)>,
}

impl Plain {
    fn new(settings: Settings) -> Plain {
        let OpenWait::Fixed(wait) = settings.open_wait else { panic!("a fixed wait") };
        let window = settings.window;
        Plain {
            settings,
            wait_ns: wait.as_nanos() as u64,
            state: State::Closed,
            opened_ns: 0,
            permits: 0,
            window,
            results: Vec::new(),
        }
    }

    fn begin(&mut self, state: State, window: Window) {
        (self.state, self.window) = (state, window);
        self.results.clear();
    }

    fn ask(&mut self, now_ns: u64) -> bool {
        if self.state == State::Open && now_ns - self.opened_ns > self.wait_ns {
            self.begin(State::HalfOpen, Window::Calls(self.settings.half_open_calls));
            self.permits = self.settings.half_open_calls;
        }
        match self.state {
            State::Closed => true,
            State::HalfOpen if self.permits > 0 => {
                self.permits -= 1;
                true
            }
            _ => false,
        }
    }

    fn tell(&mut self, outcome: Outcome, duration_ns: u64, now_ns: u64) {
        if outcome == Outcome::Ignored {
            self.permits += 1;
            return;
        }
        let slow = duration_ns > self.settings.slow_call.as_nanos() as u64;
        self.results.push((now_ns, outcome == Outcome::Failure, slow));
        let (_, Some((failed, slow))) = self.figures(now_ns) else { return };
        let is_bad = failed >= self.settings.failure_rate_percent || slow >= self.settings.slow_rate_percent;
        match (self.state, is_bad) {
            (State::Closed | State::HalfOpen, true) => {
                (self.state, self.opened_ns) = (State::Open, now_ns);
            }
            (State::HalfOpen, false) => self.begin(State::Closed, self.settings.window),
            _ => {}
        }
    }

    /// Calls, failed and slow ones; and their rates, if there are enough.
    fn figures(&self, now_ns: u64) -> ([u32; 3], Option<(f32, f32)>) {
        let newest = self.results.iter().rev();
        let (within, minimum): (Vec<_>, u32) = match self.window {
            Window::Calls(size) => {
                (newest.take(size as usize).collect(), self.settings.minimum_calls.min(size))
            }
            Window::Seconds(size) => {
                let is_within = |at: u64| at / SECOND + u64::from(size) > now_ns / SECOND;
                (newest.filter(|result| is_within(result.0)).collect(), self.settings.minimum_calls)
            }
        };
        let count = |which: fn(&&&(u64, bool, bool)) -> bool| within.iter().filter(which).count() as u32;
        let (calls, failed, slow) = (within.len() as u32, count(|result| result.1), count(|result| result.2));
        let rate = |part: u32| part as f32 * 100.0 / calls as f32;
        let rates = (calls >= minimum).then(|| (rate(failed), rate(slow)));
        ([calls, failed, slow], rates)
    }

    fn check(&self, status: &Status, now_ns: u64) {
        let (counts, rates) = self.figures(now_ns);
        assert_eq!(status.state, self.state);
        assert_eq!([status.calls, status.failed, status.slow], counts);
        assert_eq!(status.failure_rate_percent.zip(status.slow_rate_percent), rates);
        let permits = (self.state == State::HalfOpen).then_some(self.permits);
        assert_eq!(status.permits, permits);
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let window = prop_oneof![(1..70_u32).prop_map(Window::Calls), (1..8_u32).prop_map(Window::Seconds)];
    let percent = || prop_oneof![Just(100.0_f32), Just(50.0), Just(33.3), 0.5..100.0_f32];
    (window, 1..12_u32, percent(), percent(), 1..6_u32, 1..4_000_u64).prop_map(
        |(window, minimum_calls, failure_rate_percent, slow_rate_percent, half_open_calls, wait_ms)| {
            Settings {
                window,
                minimum_calls,
                failure_rate_percent,
                slow_rate_percent,
                slow_call: Duration::from_secs(1),
                open_wait: OpenWait::Fixed(Duration::from_millis(wait_ms)),
                half_open_calls,
                ..Settings::default()
            }
        },
    )
}

/// Nanoseconds since the last one: often none, often across a boundary.
fn pause_ns() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => Just(1), 2 => 0..SECOND / 2, 1 => Just(SECOND), 1 => 0..10 * SECOND]
}

fn call() -> impl Strategy<Value = (u8, Outcome, u64)> {
    let outcome =
        prop_oneof![4 => Just(Outcome::Success), 4 => Just(Outcome::Failure), 1 => Just(Outcome::Ignored)];
    (0..5_u8, outcome, prop_oneof![Just(SECOND), Just(SECOND + 1), 0..3 * SECOND])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn counts_as_one_that_keeps_everything(
        settings in settings(),
        calls in proptest::collection::vec((pause_ns(), call()), 1..160),
    ) {
        let mut now_ns = 1_000 * SECOND;
        let (mut breaker, mut plain) = (breaker(settings.clone(), now_ns), Plain::new(settings));
        for (pause_ns, (how, outcome, duration_ns)) in calls {
            now_ns += pause_ns;
            // Whole calls mostly; sometimes only the beginning, sometimes only the end of one that overlaps.
            let granted = how == 4 || {
                let granted = breaker.try_acquire(now_ns).granted;
                prop_assert_eq!(granted, plain.ask(now_ns));
                granted
            };
            if granted && how != 3 {
                breaker.record(outcome, duration_ns, now_ns);
                plain.tell(outcome, duration_ns, now_ns);
            }
            plain.check(&breaker.status(now_ns), now_ns);
        }
    }
}
