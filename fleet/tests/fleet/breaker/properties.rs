//! What must hold of every breaker, whatever befalls it.

use super::{MS, breaker};
use proptest::prelude::*;
use std::time::Duration;
use synod_fleet::breaker::{Breaker, Event, OpenWait, Order, Outcome, Settings, State, Window};

#[derive(Clone, Copy, Debug)]
enum Op {
    Ask,
    /// The end of a call; of one in flight where there is one.
    End(Outcome, u64),
    Release,
    Order(Order),
    Reset,
}

fn settings() -> impl Strategy<Value = Settings> {
    let window = prop_oneof![(1..40_u32).prop_map(Window::Calls), (1..5_u32).prop_map(Window::Seconds)];
    let wait = prop_oneof![
        (1..3_000_u64).prop_map(|ms| OpenWait::Fixed(Duration::from_millis(ms))),
        (1..3_000_u64, 1.0..4.0).prop_map(|(ms, multiplier)| OpenWait::Exponential {
            initial: Duration::from_millis(ms),
            multiplier,
            max: None,
        }),
    ];
    (window, 1..8_u32, 1.0..100.0_f32, wait, 1..5_u32, 0..2_000_u64, any::<bool>()).prop_map(
        |(
            window,
            minimum_calls,
            failure_rate_percent,
            open_wait,
            half_open_calls,
            half_open_max_ms,
            by_itself,
        )| {
            Settings {
                window,
                minimum_calls,
                failure_rate_percent,
                open_wait,
                half_open_calls,
                half_open_max: Duration::from_millis(half_open_max_ms),
                half_open_by_itself: by_itself,
                ..Settings::default()
            }
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![1 => Just(Outcome::Success), 3 => Just(Outcome::Failure), 1 => Just(Outcome::Ignored)]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        Just(Order::Close),
        Just(Order::Open),
        any::<u64>().prop_map(|ms| Order::OpenFor(Duration::from_millis(ms))),
        any::<u64>().prop_map(Order::OpenUntil),
        Just(Order::HalfOpen),
        Just(Order::ForceOpen),
        Just(Order::ForceClosed),
        Just(Order::Disable),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Ask),
        6 => (outcome(), any::<u64>()).prop_map(|(outcome, duration_ns)| Op::End(outcome, duration_ns)),
        1 => Just(Op::Release),
        1 => order().prop_map(Op::Order),
        1 => Just(Op::Reset),
    ]
}

fn do_it(breaker: &mut Breaker, op: Op, now_ns: u64) -> Vec<Event> {
    match op {
        Op::Ask => breaker.try_acquire(now_ns).events,
        Op::End(outcome, duration_ns) => breaker.record(outcome, duration_ns, now_ns),
        Op::Release => breaker.release(now_ns),
        Op::Order(order) => breaker.order(order, now_ns).unwrap_or_default(),
        Op::Reset => breaker.reset(now_ns),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Each result belongs to a call that was let through, and comes before the breaker has changed since: then never
    /// more are under way half-open than it permits.
    #[test]
    fn half_open_has_no_more_under_way_than_permitted(
        settings in settings(),
        ops in proptest::collection::vec((0..800_u64, any::<bool>(), outcome()), 1..200),
    ) {
        let mut breaker = breaker(settings.clone(), 0);
        let (mut now_ns, mut under_way, mut begun) = (0, 0, (State::Closed, 0));
        for (pause_ms, is_ask, outcome) in ops {
            now_ns += pause_ms * MS;
            breaker.poll(now_ns);
            let status = breaker.status(now_ns);
            if (status.state, status.since_ns) != begun {
                (under_way, begun) = (0, (status.state, status.since_ns));
            }
            if is_ask {
                let granted = breaker.try_acquire(now_ns).granted;
                let status = breaker.status(now_ns);
                if (status.state, status.since_ns) != begun {
                    (under_way, begun) = (0, (status.state, status.since_ns));
                }
                under_way += u32::from(granted);
            } else if under_way > 0 {
                under_way -= 1;
                breaker.record(outcome, 0, now_ns);
            }
            if breaker.state() == State::HalfOpen {
                prop_assert!(under_way <= settings.half_open_calls);
            }
        }
    }

    #[test]
    fn open_lets_nothing_through_until_strictly_after_its_wait(
        settings in settings(),
        now_ns in any::<u64>(),
        part in 0.0..1.0_f64,
    ) {
        let settings = Settings { half_open_by_itself: false, ..settings };
        let mut breaker = breaker(settings, now_ns);
        breaker.order(Order::Open, now_ns).unwrap();
        let until_ns = breaker.status(now_ns).open_until_ns.unwrap();
        let before_ns = now_ns + ((until_ns - now_ns) as f64 * part) as u64;
        prop_assert!(!breaker.try_acquire(before_ns.min(until_ns)).granted);
        prop_assert!(!breaker.try_acquire(until_ns).granted);
        if let Some(after_ns) = until_ns.checked_add(1) {
            prop_assert!(breaker.would_permit(after_ns));
            prop_assert!(breaker.try_acquire(after_ns).granted);
            prop_assert_eq!(breaker.state(), State::HalfOpen);
        }
    }

    /// Any time, running any way, any duration, any order.
    #[test]
    fn nothing_breaks_it_and_what_is_foretold_happens(
        settings in settings(),
        ops in proptest::collection::vec((any::<u64>(), 0..3_u8, op()), 1..60),
    ) {
        let mut breaker = breaker(settings, 0);
        let mut now_ns = 0_u64;
        for (time, how, op) in ops {
            now_ns = match how {
                0 => time,
                1 => now_ns.saturating_add(time % (5_000 * MS)),
                _ => now_ns,
            };
            let expected = breaker.would_permit(now_ns);
            prop_assert_eq!(breaker.clone().try_acquire(now_ns).granted, expected);
            let before = breaker.state();
            let mut state = before;
            for event in do_it(&mut breaker, op, now_ns) {
                if let Event::Transition { from, to, .. } = event {
                    prop_assert_eq!(state, from);
                    prop_assert_ne!(from, to);
                    state = to;
                }
            }
            prop_assert_eq!(state, breaker.state(), "every change is told");
            let status = breaker.status(now_ns);
            prop_assert!(status.failed <= status.calls && status.slow <= status.calls);
            prop_assert!(status.slow_failed <= status.failed.min(status.slow));
            for rate in [status.failure_rate_percent, status.slow_rate_percent].into_iter().flatten() {
                prop_assert!((0.0..=100.0).contains(&rate));
            }
        }
    }

    /// What is due happens at its time, whether anyone looks in between or not.
    #[test]
    fn looking_more_often_changes_nothing(
        settings in settings(),
        ops in proptest::collection::vec((0..3_000_u64, op()), 1..40),
    ) {
        let slow_ones = settings.half_open_max.as_millis() == 0 || settings.half_open_max.as_millis() > 400;
        prop_assume!(slow_ones || !settings.half_open_by_itself);
        let mut seldom = breaker(settings, 0);
        let mut often = seldom.clone();
        let mut now_ns = 0;
        for (pause_ms, op) in ops {
            let mut seen = Vec::new();
            for _ in 0..pause_ms {
                now_ns += MS;
                seen.extend(often.poll(now_ns));
            }
            seen.extend(do_it(&mut often, op, now_ns));
            prop_assert_eq!(do_it(&mut seldom, op, now_ns), seen);
            prop_assert_eq!(seldom.status(now_ns), often.status(now_ns));
        }
    }
}
