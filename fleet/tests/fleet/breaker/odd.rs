//! Settings that cannot be, boundaries, and where it differs from the reference on purpose.

use super::{MS, breaker};
use std::time::Duration;
use synod_fleet::breaker::{
    Breaker, CALLS_MAX, Event, IllegalTransition, OpenWait, Order, Outcome, Policy, SECONDS_MAX, Settings,
    State, Window,
};

fn two_calls() -> Settings {
    Settings {
        window: Window::Calls(2),
        minimum_calls: 2,
        open_wait: OpenWait::Fixed(Duration::from_secs(1)),
        half_open_calls: 2,
        ..Settings::default()
    }
}

fn fail_twice(breaker: &mut Breaker, now_ns: u64) {
    breaker.record(Outcome::Failure, 0, now_ns);
    breaker.record(Outcome::Failure, 0, now_ns);
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let check = |change: fn(&mut Settings), expected: Option<&str>| {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = Policy::try_from(settings).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    };
    let exponential =
        |multiplier| OpenWait::Exponential { initial: Duration::from_secs(1), multiplier, max: None };
    check(|_| {}, None);
    check(|s| s.window = Window::Calls(0), Some("window is 0, it must be 1 to 1000000"));
    check(|s| s.window = Window::Calls(CALLS_MAX + 1), Some("window is 1000001, it must be 1 to 1000000"));
    check(|s| s.window = Window::Seconds(0), Some("window is 0, it must be 1 to 86400"));
    check(|s| s.window = Window::Seconds(SECONDS_MAX + 1), Some("window is 86401, it must be 1 to 86400"));
    check(|s| s.minimum_calls = 0, Some("minimum_calls is 0, it must be 1 to 4294967295"));
    check(|s| s.minimum_calls = u32::MAX, None);
    check(|s| s.half_open_calls = 0, Some("half_open_calls is 0, it must be 1 to 1000000"));
    check(
        |s| s.failure_rate_percent = 0.0,
        Some("failure_rate_percent is 0, it must be above 0 and at most 100 percent"),
    );
    check(|s| s.failure_rate_percent = 100.0, None);
    check(
        |s| s.failure_rate_percent = 100.01,
        Some("failure_rate_percent is 100.01, it must be above 0 and at most 100 percent"),
    );
    check(
        |s| s.slow_rate_percent = f32::NAN,
        Some("slow_rate_percent is NaN, it must be above 0 and at most 100 percent"),
    );
    check(|s| s.slow_call = Duration::ZERO, Some("slow_call is 0ns, it must be at least 1ns"));
    check(|s| s.slow_call = Duration::MAX, None);
    check(
        |s| s.open_wait = OpenWait::Fixed(Duration::from_micros(999)),
        Some("open_wait is 999µs, it must be at least 1ms"),
    );
    check(|s| s.half_open_max = Duration::MAX, None);
    for (multiplier, is_refused) in
        [(1.0, false), (0.99, true), (f64::NAN, true), (f64::INFINITY, true), (-2.0, true)]
    {
        let settings = Settings { open_wait: exponential(multiplier), ..Settings::default() };
        assert_eq!(Policy::try_from(settings).is_err(), is_refused, "{multiplier}");
    }
    let no_room =
        OpenWait::Exponential { initial: Duration::from_secs(1), multiplier: 2.0, max: Some(Duration::ZERO) };
    assert!(Policy::try_from(Settings { open_wait: no_room, ..Settings::default() }).is_err());
}

#[test]
fn each_opening_without_a_closing_waits_longer() {
    let open_wait = OpenWait::Exponential {
        initial: Duration::from_millis(3),
        multiplier: 1.5,
        max: Some(Duration::from_millis(20)),
    };
    let mut breaker = breaker(Settings { open_wait, half_open_calls: 1, ..two_calls() }, 0);
    let mut now_ns = 0;
    fail_twice(&mut breaker, now_ns);
    // Cut to whole milliseconds at every step: not 3, 4.5, 6.75.
    for (attempts, wait_ms) in [(1, 3), (2, 4), (3, 6), (4, 9), (5, 13), (6, 19), (7, 20), (8, 20)] {
        let status = breaker.status(now_ns);
        assert_eq!((status.attempts, status.open_until_ns), (attempts, Some(now_ns + wait_ms * MS)));
        now_ns += wait_ms * MS + 1;
        assert!(breaker.try_acquire(now_ns).granted);
        breaker.record(Outcome::Failure, 0, now_ns);
    }
    breaker.reset(now_ns);
    fail_twice(&mut breaker, now_ns);
    assert_eq!(breaker.status(now_ns).attempts, 1, "once closed it begins anew");
}

#[test]
fn a_wait_beyond_all_time_never_ends() {
    let forever =
        Settings { open_wait: OpenWait::Fixed(Duration::MAX), half_open_by_itself: true, ..two_calls() };
    let mut breaker = breaker(forever, 5);
    fail_twice(&mut breaker, 5);
    assert!(!breaker.try_acquire(u64::MAX - MS).granted);
    breaker.order(Order::OpenFor(Duration::MAX), 6).unwrap();
    assert!(!breaker.would_permit(u64::MAX - MS));

    let trial = Settings { half_open_max: Duration::MAX, ..two_calls() };
    let mut breaker = self::breaker(trial, 5);
    breaker.order(Order::Open, 5).unwrap();
    breaker.order(Order::HalfOpen, 5).unwrap();
    assert_eq!(breaker.next_deadline_ns(), None);
    assert!(breaker.try_acquire(u64::MAX).granted);
}

#[test]
fn an_operator_is_obeyed_or_told_why_not() {
    let mut breaker = breaker(two_calls(), 0);
    let error = breaker.order(Order::HalfOpen, 1).unwrap_err();
    assert_eq!(error, IllegalTransition { from: State::Closed, to: State::HalfOpen });
    assert_eq!(error.to_string(), "a breaker that is Closed cannot become HalfOpen");
    breaker.order(Order::ForceClosed, 2).unwrap();
    assert!(breaker.order(Order::Open, 3).is_err() && breaker.order(Order::HalfOpen, 3).is_err());

    // Forced closed it lets everything through, says once each what it sees, and stays.
    let rates: Vec<Event> =
        (4..10).flat_map(|now| breaker.record(Outcome::Failure, 61_000 * MS, now)).collect();
    let expected = [
        Event::FailureRateExceeded { percent: 100.0, at_ns: 5 },
        Event::SlowRateExceeded { percent: 100.0, at_ns: 5 },
    ];
    assert_eq!(rates, expected);
    assert!(breaker.try_acquire(10).granted);

    breaker.order(Order::ForceOpen, 11).unwrap();
    assert!(!breaker.try_acquire(u64::MAX).granted);
    assert_eq!(breaker.status(11).not_permitted, 1);
    let events = breaker.reset(12);
    assert_eq!(
        events,
        [
            Event::Transition { from: State::ForcedOpen, to: State::Closed, at_ns: 12 },
            Event::Reset { at_ns: 12 }
        ]
    );
    assert_eq!(breaker.reset(13), [Event::Reset { at_ns: 13 }]);
    assert_eq!(breaker.status(13).since_ns, 12, "closed all along: its load need not come up again");
}

#[test]
fn a_reset_stops_the_timers_of_what_it_ends() {
    let settings = Settings { half_open_max: Duration::from_secs(5), ..two_calls() };
    let mut breaker = breaker(settings, 0);
    breaker.order(Order::Open, 0).unwrap();
    assert!(breaker.try_acquire(1_000 * MS + 1).granted);
    assert_eq!(breaker.next_deadline_ns(), Some(6_000 * MS + 1));
    breaker.reset(2_000 * MS);
    assert_eq!(breaker.next_deadline_ns(), None);
    assert_eq!(breaker.poll(60_000 * MS), []);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn what_is_due_happens_before_an_order_is_obeyed() {
    let settings = Settings { half_open_max: Duration::from_secs(5), ..two_calls() };
    let mut breaker = breaker(settings, 0);
    breaker.order(Order::Open, 3).unwrap();
    breaker.order(Order::HalfOpen, 4).unwrap();
    let events = breaker.order(Order::HalfOpen, 6_000 * MS).unwrap();
    let due = Event::Transition { from: State::HalfOpen, to: State::Open, at_ns: 5_000 * MS + 4 };
    let obeyed = Event::Transition { from: State::Open, to: State::HalfOpen, at_ns: 6_000 * MS };
    assert_eq!(events, [due, obeyed]);
}

#[test]
fn after_a_long_absence_it_catches_up_in_a_few_steps() {
    let settings = Settings {
        open_wait: OpenWait::Fixed(Duration::from_millis(1)),
        half_open_max: Duration::from_millis(1),
        half_open_by_itself: true,
        ..two_calls()
    };
    let mut breaker = breaker(settings, 0);
    breaker.order(Order::Open, 0).unwrap();
    let year_ns = 365 * 24 * 3_600_000 * MS;
    let events = breaker.poll(year_ns);
    assert_eq!(events.len(), 16);
    assert_eq!(events[0], Event::Transition { from: State::Open, to: State::HalfOpen, at_ns: MS });
    assert_eq!(events[15], Event::Transition { from: State::HalfOpen, to: State::Open, at_ns: year_ns });
    assert_eq!(breaker.poll(year_ns), []);
}

#[test]
fn open_reached_from_where_nothing_is_kept_drops_late_results() {
    for order in [Order::ForceOpen, Order::Disable] {
        let mut breaker = breaker(two_calls(), 0);
        breaker.order(order, 0).unwrap();
        breaker.order(Order::Open, 0).unwrap();
        assert_eq!(breaker.record(Outcome::Failure, 0, 1), []);
        assert_eq!(breaker.status(1).calls, 0);
    }
}

#[test]
fn it_takes_little_and_nothing_before_the_first_result() {
    assert!(size_of::<Breaker>() <= 120, "{}", size_of::<Breaker>());
    let bytes = |window, results: u64| {
        let settings = Settings { window, minimum_calls: 1_000, ..Settings::default() };
        let mut breaker = breaker(settings, 0);
        for i in 0..results {
            breaker.record(Outcome::Failure, 0, i * 1_000 * MS);
        }
        breaker.bytes() - size_of::<Breaker>()
    };
    assert_eq!(bytes(Window::Calls(100), 0), 0);
    assert_eq!(bytes(Window::Calls(100), 1_000), 32);
    assert_eq!(bytes(Window::Seconds(3_600), 0), 0);
    assert!(bytes(Window::Seconds(3_600), 1) <= 96);
    assert!(bytes(Window::Seconds(60), 10_000) <= 64 * 24);
}

#[test]
fn blank_is_one_that_a_new_one_would_replace() {
    let settings = Settings { window: Window::Seconds(2), minimum_calls: 5, ..two_calls() };
    let mut breaker = breaker(settings, 0);
    assert!(breaker.is_blank(0));
    breaker.record(Outcome::Success, 0, 500 * MS);
    assert!(!breaker.is_blank(1_999 * MS));
    assert!(breaker.is_blank(2_000 * MS), "its only result is past");
    breaker.order(Order::Open, 2_000 * MS).unwrap();
    assert!(!breaker.is_blank(60_000 * MS));
}
