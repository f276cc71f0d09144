//! Recorded with resilience4j 2.3.0 itself under a clock and a scheduler that the recorder moved: operators' orders,
//! timers, back-off, boundaries of a nanosecond, clocks that run back, everything that it told.

use super::{MS, breaker, reference::letter, reference::window};
use serde::Deserialize;
use std::time::Duration;
use synod_fleet::breaker::{Breaker, Event, OpenWait, Order, Outcome, Settings};

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Config,
    events: Vec<Step>,
}

/// `[tNs, op, argumentNs, ok, stateAfter, [failureRate, slowRate, buffered, failed, slow, slowFailed, notPermitted], told]`
type Step = (u64, String, u64, u8, String, Option<(f32, f32, u32, u32, u32, u32, u64)>, Vec<Told>);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Told {
    Transition(String, String, String, u64),
    Rate(String, Option<f32>),
    Reset((String,)),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    window_type: String,
    window_size: u32,
    minimum_calls: u32,
    failure_rate_threshold: f32,
    slow_call_rate_threshold: f32,
    slow_call_ns: u64,
    permitted_calls_in_half_open: u32,
    half_open_max_ms: u64,
    automatic: bool,
    wait_ms: u64,
    multiplier: Option<f64>,
    wait_max_ms: Option<u64>,
    start_ns: u64,
    /// The clock runs back under a window of seconds, which the reference moves when it is looked at: rates are not
    /// compared.
    blind: bool,
}

impl Config {
    fn settings(&self) -> Settings {
        let initial = Duration::from_millis(self.wait_ms);
        Settings {
            window: window(&self.window_type, self.window_size),
            minimum_calls: self.minimum_calls,
            failure_rate_percent: self.failure_rate_threshold,
            slow_rate_percent: self.slow_call_rate_threshold,
            slow_call: Duration::from_nanos(self.slow_call_ns),
            open_wait: match self.multiplier {
                None => OpenWait::Fixed(initial),
                Some(multiplier) => OpenWait::Exponential {
                    initial,
                    multiplier,
                    max: self.wait_max_ms.map(Duration::from_millis),
                },
            },
            half_open_calls: self.permitted_calls_in_half_open,
            half_open_max: Duration::from_millis(self.half_open_max_ms),
            half_open_by_itself: self.automatic,
        }
    }
}

/// Plays one op; whether it was let through or obeyed, and what was told.
fn play(breaker: &mut Breaker, op: &str, arg_ns: u64, start_ns: u64, now_ns: u64) -> (bool, Vec<Event>) {
    let outcome = match op {
        "s" | "es" => Some(Outcome::Success),
        "f" | "ef" => Some(Outcome::Failure),
        "i" | "ei" => Some(Outcome::Ignored),
        _ => None,
    };
    let order = match op {
        "C" => Some(Order::Close),
        "O" => Some(Order::Open),
        "OF" => Some(Order::OpenFor(Duration::from_nanos(arg_ns))),
        "OU" => Some(Order::OpenUntil(start_ns + arg_ns)),
        "H" => Some(Order::HalfOpen),
        "F" => Some(Order::ForceOpen),
        "M" => Some(Order::ForceClosed),
        "D" => Some(Order::Disable),
        _ => None,
    };
    match (op, outcome, order) {
        (_, None, Some(order)) => match breaker.order(order, now_ns) {
            Ok(events) => (true, events),
            // What was due happens at the next call, at the time at which it was due.
            Err(_) => (false, breaker.poll(now_ns)),
        },
        ("X", ..) => (true, breaker.reset(now_ns)),
        ("r", ..) => (true, breaker.release(now_ns)),
        ("p", ..) => (true, breaker.poll(now_ns)),
        ("es" | "ef" | "ei", Some(outcome), _) => (true, breaker.record(outcome, arg_ns, now_ns)),
        ("a" | "s" | "f" | "i", outcome, _) => {
            let expected = breaker.would_permit(now_ns);
            let permission = breaker.try_acquire(now_ns);
            assert_eq!(permission.granted, expected, "what was foretold");
            let mut events = permission.events;
            if let Some(outcome) = outcome.filter(|_| permission.granted) {
                events.extend(breaker.record(outcome, arg_ns, now_ns));
            }
            (permission.granted, events)
        }
        other => panic!("no op is {other:?}"),
    }
}

fn told(event: Event, config: &Config) -> Told {
    let rate = |percent| (!config.blind).then_some(percent);
    match event {
        Event::Transition { from, to, at_ns } => {
            Told::Transition("T".into(), letter(from).into(), letter(to).into(), at_ns - config.start_ns)
        }
        Event::FailureRateExceeded { percent, .. } => Told::Rate("FR".into(), rate(percent)),
        Event::SlowRateExceeded { percent, .. } => Told::Rate("SR".into(), rate(percent)),
        Event::Reset { .. } => Told::Reset(("R".into(),)),
    }
}

#[test]
fn does_and_tells_what_resilience4j_did_under_orders_timers_and_odd_clocks() {
    let recording: Recording =
        serde_json::from_str(include_str!("../../vectors/breaker-orders.json")).unwrap();
    assert!(recording.cases.len() >= 40);
    for Case { name, config, events } in recording.cases {
        let mut breaker = breaker(config.settings(), config.start_ns);
        for (i, (t_ns, op, arg_ns, ok, state, shown, expected)) in events.into_iter().enumerate() {
            let at = format!("{name}, event {i} ({op} at {t_ns} ns)");
            let now_ns = config.start_ns + t_ns;
            let (is_ok, events) = play(&mut breaker, &op, arg_ns, config.start_ns, now_ns);
            let status = breaker.status(now_ns);
            let events: Vec<Told> = events.into_iter().map(|event| told(event, &config)).collect();
            assert_eq!(events, expected, "{at}: told");
            assert_eq!((is_ok, letter(status.state)), (ok == 1, state.as_str()), "{at}: ok, state");
            let Some(shown) = shown else { continue };
            let rate = |rate: Option<f32>| rate.unwrap_or(-1.0);
            let ours = (
                rate(status.failure_rate_percent),
                rate(status.slow_rate_percent),
                status.calls,
                status.failed,
                status.slow,
                status.slow_failed,
                status.not_permitted,
            );
            assert_eq!(ours, shown, "{at}: figures");
        }
    }
}

#[test]
fn the_recording_reaches_what_it_is_there_for() {
    let recording: Recording =
        serde_json::from_str(include_str!("../../vectors/breaker-orders.json")).unwrap();
    let cases = &recording.cases;
    let steps = || cases.iter().flat_map(|case| &case.events);
    for state in ["C", "O", "H", "F", "M", "D"] {
        assert!(steps().any(|step| step.4 == state), "state {state}");
    }
    for op in ["s", "f", "i", "a", "es", "ef", "ei", "r", "p", "X", "C", "O", "OF", "OU", "H", "F", "M", "D"]
    {
        assert!(steps().any(|step| step.1 == op), "op {op}");
    }
    assert!(steps().any(|step| step.3 == 0 && step.1 == "H"), "a refused order");
    assert!(
        cases.iter().any(|case| case.config.automatic && case.config.half_open_max_ms > 0),
        "both timers"
    );
    assert!(cases.iter().any(|case| case.config.multiplier.is_some()), "back-off");
    let runs_back = |case: &Case| case.events.windows(2).any(|pair| pair[1].0 < pair[0].0);
    assert!(cases.iter().any(|case| case.config.blind && runs_back(case)), "a clock that runs back, seconds");
    assert!(cases.iter().any(|case| !case.config.blind && runs_back(case)), "a clock that runs back, calls");
    assert!(steps().any(|step| step.0 % MS != 0), "times between milliseconds");
}
