//! Back-off and budget.

use proptest::prelude::*;
use synod_fleet::retry::{Budget, BudgetError, BudgetSettings, backoff_ms, ceiling_ms, is_exhausted};
use synod_protocol::event::Retry;

fn retry(initial_backoff_ms: u64, max_backoff_ms: u64, multiplier: f64) -> Retry {
    Retry { max_attempts: 3, initial_backoff_ms, max_backoff_ms, multiplier }
}

#[test]
fn the_ceiling_grows_from_failure_to_failure() {
    let check = |initial, max, multiplier, expected: &[u64]| {
        let retry = retry(initial, max, multiplier);
        let ceilings: Vec<u64> =
            (1..).take(expected.len()).map(|failures| ceiling_ms(&retry, failures)).collect();
        assert_eq!(ceilings, expected, "{retry:?}");
    };
    check(200, 30_000, 2.0, &[200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    check(100, 1_000, 1.5, &[100, 150, 225, 337, 506, 759, 1_000]);
    check(100, 1_000, 1.0, &[100, 100, 100]);
    check(5_000, 1_000, 2.0, &[1_000, 1_000]);
    check(0, 1_000, 2.0, &[0, 0]);
    check(100, 0, 2.0, &[0, 0]);
    check(100, 1_000, f64::NAN, &[100, 100]);
    check(100, 1_000, 0.1, &[100, 100]);
    check(100, 1_000, -3.0, &[100, 100]);
    check(100, 1_000, f64::INFINITY, &[100, 1_000]);
    check(0, 1_000, f64::INFINITY, &[0, 0]);
    check(u64::MAX, u64::MAX, 2.0, &[u64::MAX, u64::MAX]);
    assert_eq!(ceiling_ms(&retry(200, 30_000, 2.0), 0), 200);
    assert_eq!(ceiling_ms(&retry(200, 30_000, 2.0), u32::MAX), 30_000);
    assert_eq!(ceiling_ms(&retry(1, u64::MAX, 1.000_000_001), u32::MAX), 1, "and soon");
}

#[test]
fn the_wait_is_anything_up_to_the_ceiling() {
    let retry = retry(3, 3, 2.0);
    let quarter = 1_u64 << 62;
    let waits: Vec<u64> = [0, quarter - 1, quarter, 2 * quarter, 3 * quarter - 1, 3 * quarter, u64::MAX]
        .map(|random| backoff_ms(&retry, 1, random))
        .into();
    assert_eq!(waits, [0, 0, 1, 2, 2, 3, 3], "0, 1, 2 and 3 alike");
    assert_eq!(
        backoff_ms(&Retry { max_backoff_ms: u64::MAX, initial_backoff_ms: u64::MAX, ..retry }, 1, 7),
        7
    );
    assert!(!is_exhausted(&retry, 2));
    assert!(is_exhausted(&retry, 3));
    assert!(is_exhausted(&retry, 4));
}

#[test]
fn a_fifth_of_first_attempts_and_ten_a_second() {
    let mut budget = Budget::new(BudgetSettings::default(), 0).unwrap();
    assert_eq!(budget.available(0), 100, "ten a second for ten seconds");
    for _ in 0..50 {
        budget.deposit(100);
    }
    assert_eq!(budget.available(100), 110);
    let made = (0..1_000).filter(|_| budget.withdraw(200)).count();
    assert_eq!((made, budget.refused()), (110, 890));
    // They are forgotten a window later, the retries as well as the first attempts.
    assert_eq!(budget.available(9_999), 0);
    assert_eq!(budget.available(10_000), 100);
    assert!(budget.withdraw(10_000));
    assert_eq!(budget.available(5_000), 99, "a clock that runs back stands still");
}

#[test]
fn without_a_minimum_retries_are_earned() {
    let settings = BudgetSettings { ratio: 0.5, min_per_second: 0, window_s: 1 };
    let mut budget = Budget::new(settings, 77).unwrap();
    assert!(!budget.withdraw(77));
    budget.deposit(77);
    assert!(!budget.withdraw(77), "half of one");
    budget.deposit(78);
    assert!(budget.withdraw(79));
    assert!(!budget.withdraw(79));
    budget.deposit(80);
    budget.deposit(80);
    assert!(!budget.withdraw(5_000), "earned too long ago");
}

#[test]
fn what_is_no_budget_is_refused() {
    let new = |ratio, min_per_second, window_s| {
        Budget::new(BudgetSettings { ratio, min_per_second, window_s }, 0).err()
    };
    assert_eq!(new(0.0, 0, 1), None);
    assert_eq!(new(10.0, 100_000, 3_600), None);
    assert_eq!(new(-0.1, 0, 1), Some(BudgetError::Ratio(-0.1)));
    assert_eq!(new(10.1, 0, 1), Some(BudgetError::Ratio(10.1)));
    assert!(new(f64::NAN, 0, 1).is_some());
    assert_eq!(new(0.1, 100_001, 1), Some(BudgetError::MinPerSecond(100_001)));
    assert_eq!(new(0.1, 1, 0), Some(BudgetError::Window(0)));
    assert_eq!(new(0.1, 1, 3_601), Some(BudgetError::Window(3_601)));
}

proptest! {
    #[test]
    fn a_wait_is_never_longer_than_the_ceiling(
        initial in any::<u64>(), max in any::<u64>(), multiplier in any::<f64>(), failures in any::<u32>(), random in any::<u64>(),
    ) {
        let retry = retry(initial, max, multiplier);
        let ceiling = ceiling_ms(&retry, failures);
        prop_assert!(ceiling <= max);
        prop_assert!(ceiling >= initial.min(max) / 2, "rounding apart no less than the first");
        prop_assert!(backoff_ms(&retry, failures, random) <= ceiling);
        prop_assert!(ceiling <= ceiling_ms(&retry, failures.saturating_add(1)));
    }

    /// Whenever a retry is allowed, those of the window with it are within the share of its first attempts and the
    /// minimum; and none is refused without need.
    #[test]
    fn a_retry_is_allowed_within_the_share_of_its_window_and_only_then(
        ratio in 0.0..2.0_f64,
        min_per_second in 0..5_u32,
        ops in proptest::collection::vec((0..400_u64, any::<bool>()), 1..300),
    ) {
        let settings = BudgetSettings { ratio, min_per_second, window_s: 2 };
        let mut budget = Budget::new(settings, 0).unwrap();
        let (mut now_ms, mut firsts, mut retries) = (0, Vec::new(), Vec::new());
        for (pause_ms, is_first) in ops {
            now_ms += pause_ms / 4;
            let room = budget.available(now_ms);
            if is_first {
                budget.deposit(now_ms);
                firsts.push(now_ms);
            } else {
                // The window is made of tenths: 200 ms each.
                let within = |times: &[u64]| times.iter().filter(|at| **at / 200 + 10 > now_ms / 200).count() as f64;
                let deposit = (ratio * 1_000.0).round() / 1_000.0;
                let allowed = within(&firsts) * deposit + f64::from(min_per_second * 2);
                let granted = budget.withdraw(now_ms);
                prop_assert_eq!(granted, room > 0);
                prop_assert_eq!(granted, within(&retries) + 1.0 <= allowed + 1e-9);
                if granted {
                    retries.push(now_ms);
                }
            }
        }
    }

    #[test]
    fn a_budget_survives_any_clock(times in proptest::collection::vec((any::<u64>(), any::<bool>()), 1..100)) {
        let mut budget = Budget::new(BudgetSettings { window_s: 3_600, ratio: 10.0, min_per_second: 100_000 }, 0).unwrap();
        for (now_ms, is_first) in times {
            if is_first { budget.deposit(now_ms); } else { budget.withdraw(now_ms); }
            budget.available(now_ms);
        }
    }
}
