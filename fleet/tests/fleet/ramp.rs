//! The load of what is new.

use proptest::prelude::*;
use synod_fleet::ramp::{Ramp, RampError};

#[test]
fn grows_as_envoys_slow_start_does() {
    let check = |aggression: f64, min_share: f64, elapsed_ms: u64, expected: f64| {
        let share = Ramp::new(10_000, aggression, min_share).unwrap().share(500, 500 + elapsed_ms);
        assert!((share - expected).abs() < 1e-12, "{aggression}, {elapsed_ms} ms: {share}");
    };
    check(1.0, 0.1, 0, 0.1);
    check(1.0, 0.1, 1_000, 0.1);
    check(1.0, 0.1, 2_500, 0.25);
    check(1.0, 0.1, 9_999, 0.9999);
    check(1.0, 0.1, 10_000, 1.0);
    check(1.0, 0.1, u64::MAX - 500, 1.0);
    check(1.0, 0.000_01, 0, 0.000_1);
    check(2.0, 0.1, 2_500, 0.5);
    check(0.5, 0.01, 5_000, 0.25);
    check(1.0, 1.0, 0, 1.0);
}

#[test]
fn none_at_all_and_a_clock_that_runs_back() {
    assert_eq!(Ramp::new(0, 1.0, 0.1).unwrap().share(7, 7), 1.0);
    assert_eq!(Ramp::default().share(5_000, 0), 0.1);
    assert_eq!(Ramp::default().ends_ms(u64::MAX), u64::MAX);
    assert_eq!(Ramp::default().ends_ms(5), 10_005);
}

#[test]
fn what_is_no_ramp_is_refused() {
    for aggression in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(Ramp::new(1, aggression, 0.1), Err(RampError::Aggression(aggression)));
    }
    assert!(Ramp::new(1, f64::NAN, 0.1).is_err());
    for min_share in [0.0, -0.1, 1.1] {
        assert_eq!(Ramp::new(1, 1.0, min_share), Err(RampError::MinShare(min_share)));
    }
    assert!(Ramp::new(1, 1.0, f64::NAN).is_err());
}

proptest! {
    #[test]
    fn a_share_grows_and_stays_a_share(
        window_ms in any::<u64>(),
        aggression in prop_oneof![1e-300..1e300_f64, 0.1..10.0_f64],
        min_share in 1e-9..1.0_f64,
        since_ms in any::<u64>(),
        times in proptest::collection::vec(any::<u64>(), 2..20),
    ) {
        let ramp = Ramp::new(window_ms, aggression, min_share).unwrap();
        let mut times = times;
        times.sort_unstable();
        let shares: Vec<f64> = times.iter().map(|now_ms| ramp.share(since_ms, *now_ms)).collect();
        prop_assert!(shares.is_sorted());
        prop_assert!(shares.iter().all(|share| (min_share..=1.0).contains(share)));
    }
}
