//! A breaker that goes on in another process: as if nothing had been, but for trials that nobody waits for any more.

use super::MS;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::breaker::{Breaker, Kept, OpenWait, Outcome, Policy, Settings, State, Window};

const SECOND_NS: u64 = 1_000 * MS;

fn policy(window: Window) -> Arc<Policy> {
    let settings = Settings {
        window,
        minimum_calls: 4,
        open_wait: OpenWait::Fixed(Duration::from_millis(2_000)),
        half_open_calls: 3,
        ..Settings::default()
    };
    Arc::new(settings.try_into().expect("settings that can be"))
}

/// What is kept of it, by way of the text that it is kept as.
fn kept(breaker: &Breaker, now_ns: u64) -> Kept {
    let kept = breaker.kept(now_ns).expect("no operator's word stands");
    serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap()
}

fn step(breaker: &mut Breaker, (failed, slow): (bool, bool), now_ns: u64) -> bool {
    let granted = breaker.try_acquire(now_ns).granted;
    if granted {
        let outcome = if failed { Outcome::Failure } else { Outcome::Success };
        breaker.record(outcome, if slow { 120 * SECOND_NS } else { MS }, now_ns);
    }
    granted
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![(1u32..12).prop_map(Window::Calls), (1u32..6).prop_map(Window::Seconds)]
}

proptest! {
    /// Both get the same calls after it, `ago` later; the one that never stopped is the reference.
    #[test]
    fn it_goes_on_as_if_it_had_never_stopped(
        window in window(),
        before in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..900), 0..40),
        ago_ms in 0u64..5_000,
        after in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..900), 0..40),
    ) {
        let mut now_ns = 1_000 * SECOND_NS;
        let mut whole = Breaker::new(policy(window), now_ns);
        for (failed, slow, pause_ms) in before {
            now_ns += pause_ms * MS;
            step(&mut whole, (failed, slow), now_ns);
        }
        // Of a second that is over only how long ago it was is known.
        now_ns = now_ns.next_multiple_of(SECOND_NS);
        let ago_ns = ago_ms.next_multiple_of(1_000) * MS;
        let was = kept(&whole, now_ns);
        now_ns += ago_ns;
        let mut restored = Breaker::restored(policy(window), &was, ago_ns, now_ns);
        if was.state == State::HalfOpen {
            prop_assert_eq!(restored.status(now_ns).permits, Some(3), "the trials that were out are nobody's");
            return Ok(());
        }
        let counts = |breaker: &Breaker| {
            let status = breaker.status(now_ns);
            // One that is open counts anew before it closes.
            let counted = (status.calls, status.failed, status.slow, status.slow_failed);
            (status.state, (status.state == State::Closed).then_some(counted), status.attempts)
        };
        prop_assert_eq!(counts(&restored), counts(&whole));
        for (failed, slow, pause_ms) in after {
            now_ns += pause_ms * MS;
            let one = step(&mut whole, (failed, slow), now_ns);
            let other = step(&mut restored, (failed, slow), now_ns);
            prop_assert_eq!(one, other);
            prop_assert_eq!(restored.state(), whole.state());
        }
    }
}
