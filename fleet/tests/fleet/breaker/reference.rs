//! The reference cases: what resilience4j 2.3 did with whole and overlapping calls, event by event.

use super::{MS, breaker};
use serde::Deserialize;
use std::time::Duration;
use synod_fleet::breaker::{Breaker, OpenWait, Outcome, Settings, State, Window};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Config,
    transitions: usize,
    events: Vec<Step>,
}

/// `[tMs, op, durationMs, ok, stateAfter, failureRate, slowRate, bufferedCalls]`
type Step = (u64, String, u64, u8, String, f64, f64, u32);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    window_type: String,
    window_size: u32,
    minimum_calls: u32,
    failure_rate_threshold: f32,
    slow_call_rate_threshold: f32,
    slow_call_duration_ms: u64,
    wait_duration_in_open_state_ms: u64,
    permitted_calls_in_half_open: u32,
}

/// A window as the reference names it.
pub(super) fn window(kind: &str, size: u32) -> Window {
    match kind {
        "COUNT" => Window::Calls(size),
        "TIME" => Window::Seconds(size),
        other => panic!("no window is {other}"),
    }
}

impl Config {
    fn settings(&self) -> Settings {
        Settings {
            window: window(&self.window_type, self.window_size),
            minimum_calls: self.minimum_calls,
            failure_rate_percent: self.failure_rate_threshold,
            slow_rate_percent: self.slow_call_rate_threshold,
            slow_call: Duration::from_millis(self.slow_call_duration_ms),
            open_wait: OpenWait::Fixed(Duration::from_millis(self.wait_duration_in_open_state_ms)),
            half_open_calls: self.permitted_calls_in_half_open,
            ..Settings::default()
        }
    }
}

pub(super) fn letter(state: State) -> &'static str {
    match state {
        State::Closed => "C",
        State::Open => "O",
        State::HalfOpen => "H",
        State::ForcedOpen => "F",
        State::MetricsOnly => "M",
        State::Disabled => "D",
    }
}

/// Plays one op; whether it was let through, and how many transitions that made.
fn play(breaker: &mut Breaker, op: &str, duration_ns: u64, now_ns: u64) -> (bool, usize) {
    let outcome = |letter| match letter {
        "s" => Outcome::Success,
        "f" => Outcome::Failure,
        "i" => Outcome::Ignored,
        other => panic!("no outcome is {other}"),
    };
    let (mut granted, mut events) = (true, Vec::new());
    if op.len() == 1 {
        let permission = breaker.try_acquire(now_ns);
        (granted, events) = (permission.granted, permission.events);
    }
    if op != "a" && granted {
        events.extend(breaker.record(outcome(op.trim_start_matches('e')), duration_ns, now_ns));
    }
    let transitions =
        events.iter().filter(|event| matches!(event, synod_fleet::breaker::Event::Transition { .. }));
    (granted, transitions.count())
}

/// Rates are written to three decimals, and -1 where there are too few calls.
fn is_rate(shown: Option<f32>, expected: f64) -> bool {
    match shown {
        None => expected == -1.0,
        Some(rate) => (f64::from(rate) - expected).abs() <= 0.000_501,
    }
}

#[test]
fn does_what_resilience4j_did() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors/breaker.json")).unwrap();
    assert!(vectors.cases.len() >= 25);
    for case in vectors.cases {
        // The reference's time zero is on a whole second.
        let epoch_ns = 1_700_000_000_000 * MS;
        let mut breaker = breaker(case.config.settings(), epoch_ns);
        let mut transitions = 0;
        for (i, (t_ms, op, duration_ms, ok, state, failure_rate, slow_rate, buffered)) in
            case.events.into_iter().enumerate()
        {
            let at = format!("{}, event {i} ({op} at {t_ms} ms)", case.name);
            let now_ns = epoch_ns + t_ms * MS;
            let (granted, count) = play(&mut breaker, &op, duration_ms * MS, now_ns);
            transitions += count;
            let status = breaker.status(now_ns);
            assert_eq!(granted, ok == 1, "{at}: granted");
            assert_eq!(letter(status.state), state, "{at}: state");
            assert!(is_rate(status.failure_rate_percent, failure_rate), "{at}: {status:?}, {failure_rate}");
            assert!(is_rate(status.slow_rate_percent, slow_rate), "{at}: {status:?}, {slow_rate}");
            assert_eq!(status.calls, buffered, "{at}: calls");
        }
        assert_eq!(transitions, case.transitions, "{}: transitions", case.name);
    }
}
